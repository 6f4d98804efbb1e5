//! What of the core outlives the process.
//!
//! A core that records ([`Core::record`](super::Core::record)) notes every
//! change of what is to last. Applied in order, the changes make an [`Image`],
//! from which [`Core::restore`](super::Core::restore) goes on. Held reads,
//! versions and counts are not part of it: they end with the process.

use super::{
    CloseCause, Key, MailboxLimits, Message, Millis, Name, PluginName, PublishId, SendReport,
    lost::Run, timers::PluginTimer,
};
use bytes::Bytes;
use smallvec::SmallVec;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A mailbox for good. Unlike a [`MailboxId`](super::MailboxId) it means the
/// same after a restart, and is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Uid(pub u64);

/// One change of what is to last. What a later change overrules can be left out:
/// of several [`Change::Mailbox`] and [`Change::Marks`] of one mailbox, all but
/// the last of each.
#[derive(Clone, Debug)]
pub enum Change {
    /// A mailbox opened, or something about it has changed.
    Mailbox(Box<KeptMailbox>),
    /// A reader, a message or a drop moved its marks.
    Marks { mailbox: Uid, marks: Marks },
    /// It is gone, with all that waits in it.
    Closed { mailbox: Uid },
    /// What its client is to be told, should it come back.
    Epitaph(Box<KeptEpitaph>),
    /// A message went into mailboxes.
    Sent(Box<Sent>),
    /// In this mailbox a message was replaced by a newer one of its collapse
    /// key; in others it may still wait.
    Superseded { message: u64, mailbox: Uid },
    /// A message waits in no mailbox any more.
    Done { message: u64 },
    /// A timer of the app itself; none: it rang or was cancelled.
    Timer { plugin: PluginName, name: Box<str>, at: Option<Millis> },
    /// None: it was deleted.
    Value { key: Box<str>, value: Option<Bytes> },
    /// A publish with an id was done.
    Published(Box<KeptPublish>),
}

/// A mailbox without its marks and messages.
#[derive(Clone, Debug)]
pub struct KeptMailbox {
    pub uid: Uid,
    pub name: Name,
    pub identity: Option<Arc<str>>,
    /// Opens of the same identity get seats.
    pub shared: bool,
    pub limits: MailboxLimits,
    pub linger_ms: u64,
    /// What plugins were told last.
    pub attached: bool,
    pub groups: Vec<KeptGroup>,
    pub states: Vec<(PluginName, Bytes)>,
    pub timers: Vec<PluginTimer>,
}

/// A group that a mailbox is in.
#[derive(Clone, Debug)]
pub struct KeptGroup {
    pub name: Name,
    /// By the mailbox's client.
    pub chosen: bool,
}

/// Where a mailbox's readers are, and its messages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    pub seats: SmallVec<[KeptSeat; 1]>,
    /// The last seq that was given to a message.
    pub last: u64,
    /// What was dropped; nothing at or before its end waits any more.
    pub lost: Vec<Run>,
}

/// A place at a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptSeat {
    pub key: Key,
    pub confirmed: u64,
    /// Behind what was handed out, if the last moments are missing.
    pub handed: u64,
}

/// A message on its way into mailboxes.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Rises from message to message.
    pub id: u64,
    pub message: Arc<Message>,
    pub expires_at: Millis,
    /// Each mailbox with the seq that the message has there.
    pub to: Vec<(Uid, u64)>,
}

/// Why a mailbox closed, for its client that comes back.
#[derive(Clone, Debug)]
pub struct KeptEpitaph {
    pub name: Name,
    pub key: Key,
    pub cause: CloseCause,
    pub reason: Box<str>,
    pub until: Millis,
}

/// What became of a publish, for a publisher that asks for it once more.
#[derive(Clone, Debug)]
pub struct KeptPublish {
    pub id: PublishId,
    pub report: SendReport,
    pub until: Millis,
}

/// All that lasts, at one moment.
#[derive(Clone, Default, Debug)]
pub struct Image {
    pub mailboxes: BTreeMap<Uid, (KeptMailbox, Marks)>,
    /// By their ids.
    pub messages: BTreeMap<u64, Sent>,
    /// Where messages wait no longer, though elsewhere they do.
    pub superseded: BTreeSet<(u64, Uid)>,
    pub timers: BTreeMap<(PluginName, Box<str>), Millis>,
    pub values: BTreeMap<Box<str>, Bytes>,
    /// In the order of closing.
    pub epitaphs: Vec<KeptEpitaph>,
    /// In the order of publishing; of those with the same id only the last counts.
    pub published: Vec<KeptPublish>,
    /// Ids that were given to mailboxes and messages lie below it.
    pub next_id: u64,
}

impl Image {
    /// What the image is after one more change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Mailbox(kept) => {
                self.next_id = self.next_id.max(kept.uid.0 + 1);
                match self.mailboxes.get_mut(&kept.uid) {
                    Some((old, _)) => *old = *kept,
                    None => {
                        self.mailboxes.insert(kept.uid, (*kept, Marks::default()));
                    }
                }
            }
            Change::Marks { mailbox, marks } => {
                if let Some((_, old)) = self.mailboxes.get_mut(&mailbox) {
                    *old = marks;
                }
            }
            Change::Closed { mailbox } => {
                self.mailboxes.remove(&mailbox);
            }
            Change::Epitaph(epitaph) => self.epitaphs.push(*epitaph),
            Change::Sent(sent) => {
                self.next_id = self.next_id.max(sent.id + 1);
                self.messages.insert(sent.id, *sent);
            }
            Change::Superseded { message, mailbox } => {
                self.superseded.insert((message, mailbox));
            }
            Change::Done { message } => {
                self.messages.remove(&message);
                self.superseded.retain(|(of, _)| *of != message);
            }
            Change::Timer { plugin, name, at: Some(at) } => {
                self.timers.insert((plugin, name), at);
            }
            Change::Timer { plugin, name, at: None } => {
                self.timers.remove(&(plugin, name));
            }
            Change::Value { key, value: Some(value) } => {
                self.values.insert(key, value);
            }
            Change::Value { key, value: None } => {
                self.values.remove(&key);
            }
            Change::Published(kept) => self.published.push(*kept),
        }
    }
}

impl Marks {
    /// Nothing at or before it waits any more.
    #[must_use]
    pub fn settled(&self) -> u64 {
        let confirmed = self.seats.iter().map(|seat| seat.confirmed).min();
        self.lost.last().map_or(0, |run| run.last).max(confirmed.unwrap_or_default())
    }
}
