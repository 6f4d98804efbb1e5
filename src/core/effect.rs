//! What the core asks the shell to do.

use super::{Batch, ConnId, MailboxId, PluginName, Session};

/// Why a mailbox closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseCause {
    Client,
    Expired,
    Plugin,
    Operator,
    Replaced,
}

impl CloseCause {
    const ALL: [Self; 5] =
        [Self::Client, Self::Expired, Self::Plugin, Self::Operator, Self::Replaced];

    /// The one that is called so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == name)
    }

    /// As it is called on the wire, in logs and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Expired => "expired",
            Self::Plugin => "plugin",
            Self::Operator => "operator",
            Self::Replaced => "replaced",
        }
    }
}

/// How a held read ends.
#[derive(Clone, Debug)]
pub enum Answer {
    Batch(Batch),
    /// Nothing came in the time it was held.
    Nothing,
    /// Another reader took over.
    Displaced,
    Closed {
        cause: CloseCause,
        reason: Box<str>,
    },
}

/// Something that plugins are told.
#[derive(Clone, Debug)]
pub enum Notice {
    Attached(Session),
    Detached(Session),
    Closed(Session, CloseCause),
    Timer { plugin: PluginName, name: Box<str>, session: Option<Session> },
}

/// What came out of the core. Reused from call to call, so that a delivery
/// allocates nothing.
#[derive(Default, Debug)]
pub struct Effects {
    /// Held reads to answer; each connection at most once.
    pub answers: Vec<(ConnId, Answer)>,
    /// In order. `VecDeque` because running one can add others.
    pub notices: std::collections::VecDeque<Notice>,
}

/// Where a read starts, and what it confirms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadFrom {
    /// A reader comes (whoever reads is displaced) and has processed everything
    /// up to this seq, which it confirms. None: it reads on behind what was
    /// confirmed last.
    Cursor(Option<u64>),
    /// The same for a reader without a cursor (Bayeux without acknowledgements):
    /// that it comes again confirms everything that was handed out before.
    Handed,
    /// The connection that read last goes on: a stream. It was handed
    /// everything up to this seq and confirms nothing.
    Position(u64),
}

/// How a read starts.
#[derive(Debug)]
pub enum Polled {
    /// There is something; the read is over.
    Ready(Batch),
    /// It is held by this mailbox; an [`Answer`] will come for its connection.
    Held(MailboxId),
    /// Nothing, and it did not want to wait.
    Nothing,
    /// A stream cannot go on: another reader has taken over since.
    Displaced,
}

/// What an operator sees of a mailbox or asks about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    pub mailboxes: usize,
    pub groups: usize,
    pub held: usize,
    pub queued_messages: usize,
    pub queued_bytes: usize,
    pub values: usize,
    pub value_bytes: usize,
    /// Session states of all mailboxes.
    pub state_bytes: usize,
    /// Publishes that are remembered by their ids.
    pub publish_ids: usize,
    /// Since the start.
    pub handed_out: u64,
    pub dropped: u64,
    pub ttl_expired: u64,
    pub collapsed: u64,
    pub opened: u64,
    pub closed: u64,
    /// Publishes that were not done again, by their ids.
    pub repeated: u64,
}
