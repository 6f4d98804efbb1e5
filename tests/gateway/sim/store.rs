//! What a store keeps, as plainly as a model can say it: whole transactions in
//! their order, of which a power cut may take those that no sync has followed.
//! That the real one is like this is what `src/store/tests/power.rs` is about.

use super::model::ModelBox;
use cometbox::{
    app::Keeper,
    core::{Change, Image, Message, Uid},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// What can be wrong with a gateway, for worlds that are to notice it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Who waits is told before anything is written.
    AcknowledgesEarly,
    /// What is to be on disk is with the operating system only.
    SkipsSyncs,
    /// Seqs that readers may have seen are given again.
    ReusesSeqs,
    /// Changes that are called so (see [`kind`]) do not reach the store.
    Forgets(&'static str),
}

/// How a change is called; `is_known`: its mailbox has been written before.
fn kind(change: &Change, is_known: bool) -> &'static str {
    match change {
        Change::Mailbox(_) if is_known => "mailbox",
        Change::Mailbox(_) => "opened",
        Change::Marks { .. } => "marks",
        Change::Closed { .. } => "closed",
        Change::Epitaph(_) => "epitaph",
        Change::Sent(_) => "sent",
        Change::Superseded { .. } => "superseded",
        Change::Done { .. } => "done",
        Change::Timer { .. } => "timer",
        Change::Value { .. } => "value",
        Change::Published(_) => "published",
    }
}

/// What the world's model was when a transaction ended.
#[derive(Clone, Default)]
pub struct Moment {
    pub boxes: BTreeMap<String, ModelBox>,
    pub counted: u64,
    /// When it was written; none: nothing ever was.
    pub seen: Option<u64>,
}

#[derive(Default)]
struct Inbox {
    changes: Vec<Change>,
    known: BTreeSet<Uid>,
}

pub struct Store {
    fault: Option<Fault>,
    /// What the core has left, to be written.
    inbox: Arc<Mutex<Inbox>>,
    /// With the operating system since the last sync, oldest first.
    written: VecDeque<(Vec<Change>, Moment)>,
    /// On disk.
    image: Image,
    moment: Moment,
    /// There is no room.
    pub is_full: bool,
    /// The last write has failed.
    pub is_failing: bool,
}

impl Store {
    pub fn new(fault: Option<Fault>) -> Self {
        Self {
            fault,
            inbox: Arc::default(),
            written: VecDeque::new(),
            image: Image::default(),
            moment: Moment::default(),
            is_full: false,
            is_failing: false,
        }
    }

    /// Takes the changes of an app.
    pub fn keeper(&self) -> Keeper {
        let (inbox, fault) = (self.inbox.clone(), self.fault);
        Box::new(move |changes| {
            let mut inbox = inbox.lock();
            for change in changes.drain(..) {
                let is_known = match &change {
                    Change::Mailbox(kept) => !inbox.known.insert(kept.uid),
                    _ => false,
                };
                if fault != Some(Fault::Forgets(kind(&change, is_known))) {
                    inbox.changes.push(change);
                }
            }
        })
    }

    /// Writes what there is as one transaction; false: there is no room for it.
    pub fn write(&mut self, sync: bool, moment: Moment) -> bool {
        self.is_failing = self.is_full;
        if self.is_full {
            return false;
        }
        self.written.push_back((std::mem::take(&mut self.inbox.lock().changes), moment));
        if sync && self.fault != Some(Fault::SkipsSyncs) {
            self.survive(self.written.len());
        }
        true
    }

    /// How many transactions a power cut may take.
    pub fn unsynced(&self) -> usize {
        self.written.len()
    }

    /// The process is gone, and so many of those transactions are there.
    pub fn crash(&mut self, surviving: usize) {
        self.survive(surviving);
        self.written.clear();
        self.inbox.lock().changes.clear();
        self.is_failing = false;
    }

    fn survive(&mut self, transactions: usize) {
        for (changes, moment) in self.written.drain(..transactions) {
            changes.into_iter().for_each(|change| self.image.apply(change));
            self.moment = moment;
        }
    }

    /// What is there, for a new life, and what the model was.
    pub fn read(&self) -> (Image, Moment) {
        let mut image = self.image.clone();
        for sent in image.messages.values_mut() {
            // As it comes from a disk: not the one that the old core has.
            let old = &sent.message;
            let new = Message::new(old.payload.clone(), old.ttl_ms, old.collapse.clone());
            if let Some(channel) = old.channel.get() {
                new.channel.get_or_init(|| channel.clone());
            }
            sent.message = new;
        }
        (image, self.moment.clone())
    }

    /// Messages in it, and notes about some that wait elsewhere only.
    pub fn messages(&self) -> (usize, usize) {
        (self.image.messages.len(), self.image.superseded.len())
    }
}
