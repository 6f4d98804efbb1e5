//! What goes through mailboxes.

use super::{Millis, Name};
use bytes::Bytes;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// The kind of a payload. It stays what it is from sender to reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The bytes are one valid JSON text.
    Json,
    /// The bytes are valid UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// Bytes with a kind. Whoever makes one has checked that the bytes are of the
/// kind. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    pub kind: Kind,
    pub bytes: Bytes,
}

impl Payload {
    /// A payload of JSON text that the caller knows to be valid.
    pub fn json(text: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Json, bytes: text.into() }
    }
}

/// A message on its way into any number of mailboxes, which share it.
#[derive(Debug)]
pub struct Message {
    pub payload: Payload,
    /// How long it may wait in a mailbox, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// A newer message with this key takes its place while it waits.
    pub collapse: Option<Box<str>>,
    /// The payload as a transport writes it, made by the first reader that
    /// needs it and shared with the others. Not used for payloads that go out
    /// as they are.
    pub encoded_json: OnceLock<Bytes>,
    /// The same for MessagePack.
    pub encoded_msgpack: OnceLock<Bytes>,
    /// The group that it was sent to, set when it is sent. None: it was sent to
    /// mailboxes by name, or came with their opening.
    pub channel: OnceLock<Name>,
    /// What a core that records knows of it. Unset: it does not last.
    pub(super) kept: OnceLock<Kept>,
}

/// A message that lasts.
#[derive(Debug)]
pub(super) struct Kept {
    pub id: u64,
    /// Mailboxes in which it waits. Changed under the core's lock only.
    waits: AtomicU32,
}

impl Kept {
    pub fn new(id: u64, waits: u32) -> Self {
        Self { id, waits: AtomicU32::new(waits) }
    }

    pub fn set_waits(&self, waits: u32) {
        self.waits.store(waits, Relaxed);
    }

    /// It has left a mailbox; whether that was the last one.
    pub fn left(&self) -> bool {
        self.waits.fetch_sub(1, Relaxed) == 1
    }
}

impl Message {
    #[must_use]
    pub fn new(payload: Payload, ttl_ms: Option<u64>, collapse: Option<Box<str>>) -> Arc<Self> {
        Arc::new(Self {
            payload,
            ttl_ms,
            collapse,
            encoded_json: OnceLock::new(),
            encoded_msgpack: OnceLock::new(),
            channel: OnceLock::new(),
            kept: OnceLock::new(),
        })
    }

    /// The same for those that it reaches another way: by this group, or (none)
    /// by their names. The payload's bytes are shared.
    pub(super) fn by(&self, channel: Option<&Name>) -> Arc<Self> {
        Arc::new(Self {
            payload: self.payload.clone(),
            ttl_ms: self.ttl_ms,
            collapse: self.collapse.clone(),
            encoded_json: OnceLock::new(),
            encoded_msgpack: OnceLock::new(),
            channel: channel.map_or_else(OnceLock::new, |name| OnceLock::from(name.clone())),
            kept: OnceLock::new(),
        })
    }

    /// The same, which takes nobody's place and leaves its own to nobody.
    pub(super) fn without_collapse(&self) -> Arc<Self> {
        let message = Self::new(self.payload.clone(), self.ttl_ms, None);
        if let Some(channel) = self.channel.get() {
            message.channel.get_or_init(|| channel.clone());
        }
        message
    }

    /// What it counts against a mailbox's limit, in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.payload.bytes.len()
    }

    pub(super) fn expires_at(&self, now: Millis) -> Millis {
        self.ttl_ms.map_or(Millis::MAX, |ttl| now.saturating_add(ttl))
    }
}

/// Who gets a message: these mailboxes and all members of these groups, each
/// once, but none of `except`. Whoever is a member of several gets it by the
/// first of them, a mailbox that is named and a member by the group.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Address {
    pub mailboxes: Vec<Name>,
    pub groups: Vec<Name>,
    pub except: Vec<Name>,
}

/// What became of one send.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct SendReport {
    /// Mailboxes that took the message.
    pub queued: usize,
    /// Addressed mailboxes that do not exist.
    pub missing: Vec<Name>,
    /// Mailboxes that refused it: full under [`FullPolicy::Reject`], or smaller
    /// than the message.
    pub full: Vec<Name>,
    /// Older messages that went to make room.
    pub dropped: usize,
    /// It was done before, by a publish with the same id; the rest is what
    /// became of that one.
    pub duplicate: bool,
}

impl SendReport {
    /// Adds what another send of the same event did.
    pub fn merge(&mut self, other: Self) {
        self.queued += other.queued;
        self.missing.extend(other.missing);
        self.full.extend(other.full);
        self.dropped += other.dropped;
        self.duplicate |= other.duplicate;
    }
}

/// What happens to a message for a mailbox that is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FullPolicy {
    /// The oldest message goes, and the reader is told.
    #[default]
    DropOldest,
    /// The new message is refused, and the publisher is told.
    Reject,
}

/// One message as it goes to a reader.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub seq: u64,
    pub message: Arc<Message>,
}

/// What a read brings.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where the reader goes on.
    pub cursor: u64,
    /// Messages behind the reader's cursor that were dropped.
    pub lost: u64,
    /// In order; one without allocation, since that is the usual case.
    pub messages: smallvec::SmallVec<[Delivery; 1]>,
}

impl Batch {
    /// The newest of its messages by [`Sent::id`](super::Sent); 0 if there is
    /// none, or the core does not record.
    #[must_use]
    pub fn newest_kept(&self) -> u64 {
        let ids = self.messages.iter().filter_map(|delivery| delivery.message.kept.get());
        ids.map(|kept| kept.id).max().unwrap_or_default()
    }
}
