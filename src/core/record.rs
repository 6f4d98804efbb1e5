//! Writing down what changes.

use super::{
    Change, KeptGroup, Message, Millis, Sent, Uid,
    books::{Changed, Record},
    message::Kept,
    state::Core,
};
use std::sync::Arc;

/// Room for more changes than this is not kept for the next call.
const MAX_KEPT_CHANGES: usize = 1024;

impl Core {
    /// From now on every change of what is to last is noted, for
    /// [`Core::take_changes`].
    pub fn record(&mut self) {
        self.books.record.get_or_insert_default();
    }

    /// Moves what has changed since the last time into `out`. To be called
    /// after each call that changes something, before others see it.
    pub fn take_changes(&mut self, out: &mut Vec<Change>) {
        let Some(record) = &mut self.books.record else { return };
        let mut changed = std::mem::take(&mut record.changed);
        out.append(&mut record.changes);
        if record.changes.capacity() > MAX_KEPT_CHANGES {
            record.changes = Vec::new();
        }
        for slot in changed.drain(..) {
            // Closed meanwhile, it is on the list in vain.
            let Some(mailbox) = self.mailboxes.get_mut(slot) else { continue };
            let what = std::mem::take(&mut mailbox.changed);
            let mailbox = &self.mailboxes[slot];
            if what.has(Changed::ITSELF) {
                let group = |of: &super::mailbox::Membership| {
                    let name = self.groups[of.group].name.clone();
                    KeptGroup { name, chosen: of.is_chosen() }
                };
                let groups = mailbox.groups.iter().map(group).collect();
                out.push(Change::Mailbox(mailbox.kept(groups).into()));
            }
            if what.has(Changed::MARKS) {
                out.push(Change::Marks { mailbox: mailbox.uid, marks: mailbox.marks() });
            }
        }
        if let Some(record) = &mut self.books.record
            && changed.capacity() <= MAX_KEPT_CHANGES
        {
            record.changed = changed;
        }
    }

    /// Something about a mailbox may have changed.
    #[inline]
    pub(super) fn list(&mut self, slot: u32) {
        if let Some(record) = &mut self.books.record
            && self.mailboxes[slot].changed.list()
        {
            record.changed.push(slot);
        }
    }

    /// A mailbox itself has changed, not only its marks.
    #[inline]
    pub(super) fn note_itself(&mut self, slot: u32) {
        self.mailboxes[slot].changed.add(Changed::ITSELF);
        self.list(slot);
    }

    /// The message to send: its copy if it lasts already, for a message has one
    /// life on disk.
    pub(super) fn fresh(&self, message: &Arc<Message>) -> Option<Arc<Message>> {
        let is_kept = self.books.record.is_some() && message.kept.get().is_some();
        is_kept.then(|| message.by(None))
    }

    #[inline]
    pub(super) fn note_receiver(&mut self, mailbox: Uid, seq: u64) {
        if let Some(record) = &mut self.books.record {
            record.receivers.push((mailbox, seq));
        }
    }

    /// The receivers noted so far have got this message.
    pub(super) fn note_sent(&mut self, now: Millis, message: &Arc<Message>) {
        let Some(Record { receivers, .. }) = self.books.record.as_deref_mut() else { return };
        if receivers.is_empty() {
            return;
        }
        let to = std::mem::take(receivers);
        let id = self.count();
        let waits = u32::try_from(to.len()).expect("there are fewer mailboxes");
        if message.kept.set(Kept::new(id, waits)).is_err() {
            debug_assert!(false, "a message is sent once");
        }
        let sent = Sent { id, message: message.clone(), expires_at: message.expires_at(now), to };
        self.books.note(|| Change::Sent(sent.into()));
    }
}
