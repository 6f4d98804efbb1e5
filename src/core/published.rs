//! Which publishes were done, by their ids: one that comes again is not done
//! again.

use super::{
    Change, CommitError, KeptPublish, Millis, Name, PublishId, SendReport, growth::within,
    state::Core,
};
use hashbrown::{DefaultHashBuilder, HashTable, hash_table};
use std::{collections::VecDeque, hash::BuildHasher};

/// What an id counts beside its own bytes: an entry and a place in the index,
/// both in tables that double, and the allocation.
const ENTRY_BYTES: usize = 128;

/// What a name in a report counts beside its own bytes.
const NAME_BYTES: usize = 48;

/// Ids forgotten at once, so that a crowd whose time is over does not hold the
/// lock for long. More than one comes at once, so they do not pile up.
const MAX_FORGOTTEN_AT_ONCE: usize = 16;

/// Room for fewer entries than this is not given back.
const MIN_ROOM: usize = 1024;

impl Core {
    /// The report of a publish with this id that was done within the window, if
    /// there is one; it counts as a repetition then. For those who want to know
    /// before a [`Core::commit`], which looks by itself.
    #[inline(never)] // most publishes have no id
    pub fn done_before(&mut self, now: Millis, id: &PublishId) -> Option<SendReport> {
        let report = self.published.find(now, id)?;
        self.books.totals.repeated += 1;
        Some(SendReport { duplicate: true, ..report })
    }

    /// # Errors
    /// If so many are remembered that there is no room: to forget one before its
    /// time would break the promise.
    #[inline(never)] // as above
    pub(super) fn check_room_for(
        &mut self,
        now: Millis,
        id: &PublishId,
    ) -> Result<(), CommitError> {
        self.published.forget(now);
        let limit = self.limits.max_publish_id_bytes;
        within("bytes of publish ids", limit, self.published.bytes, bytes_of(id))
    }

    /// The publish with this id was done, by these sends.
    #[inline(never)] // as above
    pub(super) fn remember(&mut self, now: Millis, id: &PublishId, sends: &[SendReport]) {
        let mut report = SendReport::default();
        sends.iter().cloned().for_each(|send| report.merge(send));
        let until = now.saturating_add(self.limits.publish_id_window_ms);
        let kept = KeptPublish { id: id.clone(), report, until };
        self.books.note(|| Change::Published(kept.clone().into()));
        self.published.put(kept);
        if self.published.due < self.app_alarm_at {
            self.arm_app();
        }
    }
}

/// Ids of publishes with their reports, each until its time is over.
#[derive(Debug)]
pub(super) struct Published {
    /// In the order in which they came, which is mostly that of their times.
    entries: VecDeque<Entry>,
    /// How many went from the front: the number of the first entry.
    gone: u64,
    /// Numbers of entries by their ids. Never iterated over, so its random
    /// hashing shows nowhere.
    by_id: HashTable<u64>,
    hasher: DefaultHashBuilder,
    bytes: usize,
    /// When to look for those whose time is over, should nobody publish until
    /// then.
    due: Millis,
}

#[derive(Debug)]
struct Entry {
    id: PublishId,
    until: Millis,
    queued: usize,
    dropped: usize,
    /// Most reports name nobody.
    names: Option<Box<Names>>,
}

#[derive(Debug)]
struct Names {
    missing: Vec<Name>,
    full: Vec<Name>,
}

impl Published {
    pub fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            gone: 0,
            by_id: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            bytes: 0,
            due: Millis::MAX,
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// When [`Published::ring`] has something to do; `Millis::MAX`: never.
    pub fn due(&self) -> Millis {
        self.due
    }

    fn find(&self, now: Millis, id: &PublishId) -> Option<SendReport> {
        let entry = |number: &u64| &self.entries[(number - self.gone) as usize];
        let hash = self.hasher.hash_one(id);
        let number = self.by_id.find(hash, |number| entry(number).id == *id)?;
        Some(entry(number)).filter(|entry| entry.until > now).map(Entry::report)
    }

    /// Remembers one more. If its id is known, that one's time is over.
    pub fn put(&mut self, kept: KeptPublish) {
        let number = self.gone + self.entries.len() as u64;
        let until = kept.until;
        let entry = Entry::from(kept);
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        let Self { entries, gone, by_id, hasher, .. } = self;
        let id_of = |number: &u64| &entries[(number - *gone) as usize].id;
        let id = id_of(&number);
        let place = by_id.entry(
            hasher.hash_one(id),
            |known| id_of(known) == id,
            |known| hasher.hash_one(id_of(known)),
        );
        match place {
            hash_table::Entry::Occupied(mut known) => *known.get_mut() = number,
            hash_table::Entry::Vacant(free) => {
                free.insert(number);
            }
        }
        if self.due == Millis::MAX {
            self.due = until;
        }
    }

    /// Forgets some whose time is over.
    pub fn forget(&mut self, now: Millis) {
        for _ in 0..MAX_FORGOTTEN_AT_ONCE {
            let Some(entry) = self.entries.pop_front_if(|entry| entry.until <= now) else { break };
            self.bytes -= entry.bytes();
            let number = self.gone;
            self.gone += 1;
            // Its id may be another's by now.
            let hash = self.hasher.hash_one(&entry.id);
            if let Ok(known) = self.by_id.find_entry(hash, |known| *known == number) {
                known.remove();
            }
        }
    }

    /// The same when they are due. Once for all that are remembered, so that a
    /// steady publisher wakes nobody for each.
    pub fn ring(&mut self, now: Millis) {
        self.forget(now);
        if self.due > now {
            return;
        }
        self.due = match (self.entries.front(), self.entries.back()) {
            (Some(first), _) if first.until <= now => first.until,
            // Times can be out of order after a restart with another window.
            (Some(first), Some(last)) => first.until.max(last.until),
            _ => Millis::MAX,
        };
        let (room, len) = (self.entries.capacity(), self.entries.len());
        if room > MIN_ROOM && len < room / 4 {
            self.entries.shrink_to(2 * len);
            let Self { entries, gone, by_id, hasher, .. } = self;
            by_id.shrink_to(2 * len, |n| hasher.hash_one(&entries[(n - *gone) as usize].id));
        }
    }

    /// Those that are remembered, in order.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (&PublishId, Millis, SendReport)> {
        self.entries.iter().map(|entry| (&entry.id, entry.until, entry.report()))
    }
}

impl Entry {
    fn report(&self) -> SendReport {
        let (missing, full) = match self.names.as_deref() {
            Some(names) => (names.missing.clone(), names.full.clone()),
            None => (Vec::new(), Vec::new()),
        };
        SendReport { queued: self.queued, missing, full, dropped: self.dropped, duplicate: false }
    }

    /// What it counts against the app's limit.
    fn bytes(&self) -> usize {
        let names = self.names.iter().flat_map(|names| names.missing.iter().chain(&names.full));
        bytes_of(&self.id) + names.map(|name| NAME_BYTES + name.as_str().len()).sum::<usize>()
    }
}

impl From<KeptPublish> for Entry {
    fn from(kept: KeptPublish) -> Self {
        let KeptPublish { id, report, until } = kept;
        let SendReport { queued, missing, full, dropped, duplicate: _ } = report;
        let named = !(missing.is_empty() && full.is_empty());
        let names = named.then(|| Names { missing, full }.into());
        Self { id, until, queued, dropped, names }
    }
}

/// What an id counts, with a report that names nobody.
fn bytes_of(id: &PublishId) -> usize {
    ENTRY_BYTES + id.as_str().len()
}
