//! What every change of a mailbox is booked in.

use super::{Change, Message, Totals, Uid};

/// Counts, and what is recorded.
#[derive(Default, Debug)]
pub(super) struct Books {
    pub totals: Totals,
    /// None: nothing of this core lasts. Boxed, since most have none.
    pub record: Option<Box<Record>>,
}

/// What has changed since [`super::Core::take_changes`].
#[derive(Default, Debug)]
pub(super) struct Record {
    pub changes: Vec<Change>,
    /// Slots of mailboxes about which something has changed, see [`Changed`].
    /// It is written down only once, as it is when the changes are taken.
    pub changed: Vec<u32>,
    /// Of the send that runs: who has got the message, under which seq.
    pub receivers: Vec<(Uid, u64)>,
}

impl Books {
    pub fn note(&mut self, change: impl FnOnce() -> Change) {
        if let Some(record) = &mut self.record {
            record.changes.push(change());
        }
    }

    /// A message leaves a mailbox before its turn.
    #[inline]
    pub fn superseded(&mut self, message: &Message, mailbox: Uid) {
        if let Some(kept) = message.kept.get() {
            self.note(|| Change::Superseded { message: kept.id, mailbox });
        }
    }

    /// A message has left a mailbox.
    #[inline]
    pub fn left(&mut self, message: &Message) {
        if let Some(kept) = message.kept.get()
            && kept.left()
        {
            self.note(|| Change::Done { message: kept.id });
        }
    }
}

/// What about a mailbox has changed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Changed(u8);

impl Changed {
    /// Its groups, states, timers, or what plugins were told of it.
    pub const ITSELF: Self = Self(1);
    /// Where its readers are, or what was dropped.
    pub const MARKS: Self = Self(2);
    /// It is in [`Record::changed`].
    const LISTED: Self = Self(4);

    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it has to be put on the list, on which it is from now on.
    pub fn list(&mut self) -> bool {
        let is_new = self.0 != 0 && !self.has(Self::LISTED);
        if is_new {
            self.add(Self::LISTED);
        }
        is_new
    }
}
