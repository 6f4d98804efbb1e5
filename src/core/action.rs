//! What a commit is made of.

use super::{
    Address, CloseCause, FullPolicy, Key, MailboxId, Message, Millis, Name, PluginName, PublishId,
    SendReport, Version,
};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;

/// One thing to do. Names that do not exist (any more) are no error: a mailbox
/// can expire between an event and its commit.
#[derive(Clone, Debug)]
pub enum Action {
    Send {
        to: Address,
        message: Arc<Message>,
    },
    Join {
        mailbox: Name,
        group: Name,
        /// By its client, who may leave it again.
        chosen: bool,
    },
    Leave {
        mailbox: Name,
        group: Name,
    },
    Close {
        mailbox: Name,
        cause: CloseCause,
        reason: Box<str>,
    },
    /// None removes it.
    SetState {
        plugin: PluginName,
        state: Option<Bytes>,
    },
    SetTimer {
        plugin: PluginName,
        mailbox: Option<Name>,
        name: Box<str>,
        delay_ms: u64,
    },
    CancelTimer {
        plugin: PluginName,
        mailbox: Option<Name>,
        name: Box<str>,
    },
    Put {
        key: Box<str>,
        value: Bytes,
    },
    Delete {
        key: Box<str>,
    },
}

/// Something a plugin looked up before it decided, with what it saw. A commit
/// whose reads no longer hold does nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    Value { key: Box<str>, version: Option<Version> },
    Group { name: Box<str>, version: Option<Version> },
    Mailbox { name: Box<str>, attached: Option<bool> },
}

/// The session states of a mailbox, one per plugin that stored one.
pub type States = SmallVec<[(PluginName, Bytes); 1]>;

/// A mailbox as an event sees it.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: MailboxId,
    pub name: Name,
    pub identity: Option<Arc<str>>,
    pub states: States,
    pub(super) version: Version,
}

impl Session {
    /// The state that this plugin stored last.
    #[must_use]
    pub fn state(&self, plugin: &PluginName) -> Option<&Bytes> {
        self.states.iter().find(|(p, _)| p == plugin).map(|(_, state)| state)
    }
}

/// The actions of one event and what they rest on.
#[derive(Default, Debug)]
pub struct Commit<'a> {
    /// The mailbox the event is about, as it was before. If it is gone or has
    /// changed since, nothing is done.
    pub session: Option<Session>,
    pub reads: Vec<Read>,
    /// A mailbox to open first. Boxed, since most commits open none and are
    /// moved about.
    pub open: Option<Box<OpenMailbox>>,
    /// A published message that is delivered before the actions. Like an
    /// [`Action::Send`], but it need not be copied for a commit that may have
    /// to be tried again.
    pub publish: Option<(&'a Address, &'a Arc<Message>)>,
    /// By which the commit is done once within a window: if it was done before,
    /// it does nothing and says what became of it then.
    pub id: Option<&'a PublishId>,
    pub actions: Vec<Action>,
}

/// A mailbox to be.
#[derive(Clone, Debug)]
pub struct OpenMailbox {
    pub name: Name,
    pub key: Key,
    /// Close whoever has the name, instead of failing.
    pub replace: bool,
    /// Later opens of the same name and identity that are shared as well get
    /// seats at this mailbox, and do not fail or replace it.
    pub shared: bool,
    pub identity: Option<Arc<str>>,
    pub states: States,
    pub groups: Vec<Name>,
    pub linger_ms: u64,
    pub limits: MailboxLimits,
    /// Messages that wait in it from the start; not paced.
    pub first: Vec<Arc<Message>>,
}

/// Bounds of one mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MailboxLimits {
    /// Waiting and unconfirmed messages; at least 1.
    pub messages: u32,
    /// Their payloads together, in bytes.
    pub bytes: u32,
    pub full: FullPolicy,
    /// Messages handed out in any second; 0: as many as there are.
    pub per_second: u16,
}

/// Why a commit did nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitError {
    /// Something it rests on has changed: call the plugins again.
    #[error("the state changed meanwhile")]
    Conflict,
    /// The mailbox it is about is gone.
    #[error("the mailbox is gone")]
    Gone,
    #[error("the name {0:?} is taken")]
    NameTaken(Name),
    /// The shared mailbox of this name has [`MAX_SEATS`](super::MAX_SEATS) seats.
    #[error("all seats of {0:?} are taken")]
    NoSeat(Name),
    #[error("set_state in an event that is about no mailbox")]
    NoSession,
    /// The app has reached one of its limits.
    #[error("the app's limit of {limit} {what} is reached")]
    Limit { what: &'static str, limit: usize },
}

/// Why a read was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessError {
    /// No such mailbox.
    NotFound,
    WrongKey,
    /// It was closed on purpose, not long ago.
    Closed {
        cause: CloseCause,
        reason: Box<str>,
    },
    /// The cursor is ahead of the mailbox, whose last seq is this.
    BadCursor {
        last: u64,
    },
}

/// What a committed event did.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// One report for what was published and per [`Action::Send`], in order; of a
    /// duplicate a single one.
    pub sends: SmallVec<[SendReport; 1]>,
    /// Where the client starts that has opened a mailbox, if one has.
    pub cursor: u64,
}

/// The app's bounds, all of them counts but for the bytes and milliseconds
/// named so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreLimits {
    pub max_mailboxes: usize,
    /// Payloads in all mailboxes together, in bytes, each counted in every
    /// mailbox it waits in.
    pub max_queued_bytes: usize,
    pub max_groups: usize,
    pub max_groups_per_mailbox: usize,
    pub max_timers: usize,
    pub max_values: usize,
    /// Keys and values of the key-value space together.
    pub max_value_bytes: usize,
    /// Session states of all mailboxes together.
    pub max_state_bytes: usize,
    /// Most messages in one answer.
    pub max_batch_messages: usize,
    /// An answer takes no further message once its payloads reach this.
    pub max_batch_bytes: usize,
    /// How long a mailbox may be without a reader before it counts as
    /// detached.
    pub detach_grace_ms: Millis,
    /// How long the reason of a close is remembered for a client that comes
    /// back for it.
    pub closed_memory_ms: Millis,
    /// How long the id of a publish is remembered.
    pub publish_id_window_ms: Millis,
    /// Remembered ids and the names in their reports together, with what it
    /// takes to find them. A report may go beyond it; then no further id fits.
    pub max_publish_id_bytes: usize,
}
