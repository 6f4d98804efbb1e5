//! Changes on their way to disk, those that a later one overrules left out.

use crate::core::{
    Change, KeptEpitaph, KeptMailbox, KeptPublish, Marks, Millis, PluginName, Sent, Uid,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What a change counts beside its payload, in bytes.
const CHANGE_BYTES: usize = 128;

/// About what a name in a report counts, in bytes.
const NAME_BYTES: usize = 32;

/// Some changes. However long the disk takes, what is in here is bounded by what
/// is in the core: a mailbox, its marks, a value are there once.
#[derive(Default, Debug)]
pub(super) struct Batch {
    pub mailboxes: BTreeMap<Uid, Box<KeptMailbox>>,
    pub marks: BTreeMap<Uid, Marks>,
    pub closed: BTreeSet<Uid>,
    pub sent: BTreeMap<u64, Box<Sent>>,
    pub done: BTreeSet<u64>,
    pub superseded: BTreeSet<(u64, Uid)>,
    pub timers: BTreeMap<(PluginName, Box<str>), Option<Millis>>,
    pub values: BTreeMap<Box<str>, Option<Bytes>>,
    pub epitaphs: Vec<KeptEpitaph>,
    pub published: Vec<KeptPublish>,
    /// Ids that were given lie below it.
    pub next_id: u64,
}

impl Batch {
    pub fn add(&mut self, change: Change) {
        match change {
            Change::Mailbox(kept) => {
                self.next_id = self.next_id.max(kept.uid.0 + 1);
                self.mailboxes.insert(kept.uid, kept);
            }
            Change::Marks { mailbox, marks } => {
                self.marks.insert(mailbox, marks);
            }
            Change::Closed { mailbox } => {
                self.marks.remove(&mailbox);
                self.mailboxes.remove(&mailbox);
                self.closed.insert(mailbox);
            }
            Change::Epitaph(epitaph) => self.epitaphs.push(*epitaph),
            Change::Sent(sent) => {
                self.next_id = self.next_id.max(sent.id + 1);
                self.sent.insert(sent.id, sent);
            }
            Change::Superseded { message, mailbox } => {
                self.superseded.insert((message, mailbox));
            }
            // Came and went between two batches: it need not be written at all.
            Change::Done { message } => {
                if self.sent.remove(&message).is_none() {
                    self.done.insert(message);
                }
                let gone = (message, Uid(0))..=(message, Uid(u64::MAX));
                let gone: Vec<_> = self.superseded.range(gone).copied().collect();
                gone.iter().for_each(|entry| {
                    self.superseded.remove(entry);
                });
            }
            Change::Timer { plugin, name, at } => {
                self.timers.insert((plugin, name), at);
            }
            Change::Value { key, value } => {
                self.values.insert(key, value);
            }
            Change::Published(kept) => self.published.push(*kept),
        }
    }
}

/// About what a change takes while it waits to be written, in bytes.
pub(super) fn size_bytes(change: &Change) -> usize {
    let more = match change {
        Change::Sent(sent) => sent.message.len_bytes() + 16 * sent.to.len(),
        Change::Mailbox(kept) => {
            kept.states.iter().map(|(_, state)| state.len()).sum::<usize>() + 32 * kept.groups.len()
        }
        Change::Value { value: Some(value), .. } => value.len(),
        Change::Published(kept) => {
            let report = &kept.report;
            kept.id.as_str().len() + NAME_BYTES * (report.missing.len() + report.full.len())
        }
        _ => 0,
    };
    CHANGE_BYTES + more
}
