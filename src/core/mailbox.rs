//! One mailbox: a queue with a cursor, and who reads it.

use super::{
    Batch, ConnId, Delivery, FullPolicy, Key, MailboxLimits, Message, Millis, Name, OpenMailbox,
    Session, States, Totals, Version,
    ids::MailboxId,
    lost::Lost,
    pace::Pace,
    table::Named,
    timers::{PluginTimer, first_due},
};
use smallvec::SmallVec;
use std::{collections::VecDeque, sync::Arc};

/// A message in a mailbox.
#[derive(Debug)]
struct Queued {
    seq: u64,
    expires_at: Millis,
    message: Arc<Message>,
}

/// A held read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    pub conn: ConnId,
    pub cursor: u64,
    pub until: Millis,
}

/// What became of a message that was to enter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pushed {
    Queued { dropped: usize },
    Full,
}

/// Marks in the queue: `confirmed` ≤ `handed` ≤ `last`. Everything at or
/// before `confirmed` is gone; what lies after `handed` no reader has seen.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub name: Name,
    pub key: Key,
    /// Tells this mailbox from earlier ones in its slot.
    pub serial: u32,
    pub identity: Option<Arc<str>>,
    pub states: States,
    /// Changes with `states`.
    pub version: Version,
    /// Slots of its groups.
    pub groups: SmallVec<[u32; 2]>,
    limits: MailboxLimits,
    queue: VecDeque<Queued>,
    bytes: usize,
    last: u64,
    confirmed: u64,
    handed: u64,
    /// Queued messages with a collapse key: none means there is nothing to
    /// search.
    collapsible: u32,
    /// No message expires before this.
    first_expiry: Millis,
    lost: Lost,
    pace: Option<Box<Pace>>,
    /// Messages up to this seq do not count for the pace.
    unpaced: u64,
    pub reader: Option<Reader>,
    /// What plugins were told last.
    pub attached: bool,
    /// Since when it has no held read.
    pub away_since: Millis,
    pub linger_ms: u64,
    pub timers: Vec<PluginTimer>,
    /// When its alarm rings; `Millis::MAX`: none is set.
    pub alarm_at: Millis,
    /// The last send that has reached (or skipped) it.
    pub mark: u64,
    /// In the list of mailboxes to look at when the commit is through.
    pub touched: bool,
}

impl Named for Mailbox {
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl Mailbox {
    pub fn new(open: &OpenMailbox, serial: u32, version: Version, now: Millis) -> Self {
        let per_second = open.limits.per_second;
        Self {
            name: open.name.clone(),
            key: open.key,
            serial,
            identity: open.identity.clone(),
            states: open.states.clone(),
            version,
            groups: SmallVec::new(),
            limits: open.limits,
            queue: VecDeque::new(),
            bytes: 0,
            last: 0,
            confirmed: 0,
            handed: 0,
            collapsible: 0,
            first_expiry: Millis::MAX,
            lost: Lost::default(),
            pace: (per_second > 0).then(|| Box::new(Pace::new(per_second))),
            unpaced: 0,
            reader: None,
            attached: false,
            away_since: now,
            linger_ms: open.linger_ms,
            timers: Vec::new(),
            alarm_at: Millis::MAX,
            mark: 0,
            touched: false,
        }
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    pub fn session(&self, slot: u32) -> Session {
        Session {
            id: MailboxId { slot, serial: self.serial },
            name: self.name.clone(),
            identity: self.identity.clone(),
            states: self.states.clone(),
            version: self.version,
        }
    }

    /// What is in it so far came with its opening: not paced.
    pub fn end_of_first_messages(&mut self) {
        self.unpaced = self.last;
    }

    pub fn push(&mut self, now: Millis, message: &Arc<Message>, totals: &mut Totals) -> Pushed {
        let len = message.len_bytes();
        if len > self.limits.bytes as usize {
            return Pushed::Full;
        }
        self.drop_expired(now, totals);
        let place = self.collapse_place(message);
        let freed = place.map_or(0, |at| self.queue[at].message.len_bytes());
        if let Some(at) = place
            && self.bytes - freed + len <= self.limits.bytes as usize
        {
            self.replace(at, now, message, totals);
            return Pushed::Queued { dropped: 0 };
        }
        if self.limits.full == FullPolicy::Reject && !self.has_room(len) {
            return Pushed::Full;
        }
        if let Some(at) = place {
            // It no longer fits in its place; it goes to the end instead.
            self.remove(at, totals);
            totals.collapsed += 1;
        }
        let mut dropped = 0;
        while !self.has_room(len) {
            let seq = self.remove(0, totals);
            self.lost.note(seq);
            dropped += 1;
        }
        totals.dropped += dropped as u64;
        self.append(now, message, totals);
        Pushed::Queued { dropped }
    }

    fn has_room(&self, len: usize) -> bool {
        self.queue.len() < self.limits.messages as usize
            && self.bytes + len <= self.limits.bytes as usize
    }

    fn append(&mut self, now: Millis, message: &Arc<Message>, totals: &mut Totals) {
        self.last += 1;
        let expires_at = message.expires_at(now);
        self.first_expiry = self.first_expiry.min(expires_at);
        self.collapsible += u32::from(message.collapse.is_some());
        self.bytes += message.len_bytes();
        totals.queued_messages += 1;
        totals.queued_bytes += message.len_bytes();
        self.queue.push_back(Queued { seq: self.last, expires_at, message: message.clone() });
    }

    /// Where a message with the same collapse key waits, not yet handed out.
    fn collapse_place(&self, message: &Message) -> Option<usize> {
        let key = message.collapse.as_deref()?;
        if self.collapsible == 0 {
            return None;
        }
        let waiting = self.queue.partition_point(|q| q.seq <= self.handed);
        self.queue
            .range(waiting..)
            .position(|q| q.message.collapse.as_deref() == Some(key))
            .map(|at| waiting + at)
    }

    fn replace(&mut self, at: usize, now: Millis, message: &Arc<Message>, totals: &mut Totals) {
        let place = &mut self.queue[at];
        self.bytes = self.bytes - place.message.len_bytes() + message.len_bytes();
        totals.queued_bytes = totals.queued_bytes - place.message.len_bytes() + message.len_bytes();
        totals.collapsed += 1;
        place.expires_at = message.expires_at(now);
        self.first_expiry = self.first_expiry.min(place.expires_at);
        place.message = message.clone();
    }

    /// Takes one message out and returns its seq.
    fn remove(&mut self, at: usize, totals: &mut Totals) -> u64 {
        let gone = self.queue.remove(at).expect("callers name a place within the queue");
        self.note_gone(&gone, totals);
        gone.seq
    }

    fn note_gone(&mut self, gone: &Queued, totals: &mut Totals) {
        self.bytes -= gone.message.len_bytes();
        self.collapsible -= u32::from(gone.message.collapse.is_some());
        totals.queued_messages -= 1;
        totals.queued_bytes -= gone.message.len_bytes();
    }

    /// The reader has processed everything up to the cursor.
    pub fn confirm(&mut self, cursor: u64, totals: &mut Totals) {
        if cursor <= self.confirmed {
            return;
        }
        while self.queue.front().is_some_and(|q| q.seq <= cursor) {
            self.remove(0, totals);
        }
        self.confirmed = cursor;
        self.handed = self.handed.max(cursor);
        self.lost.forget(cursor);
        if self.queue.is_empty() {
            self.first_expiry = Millis::MAX;
            // A burst's memory is not kept for a mailbox that is quiet again.
            if self.queue.capacity() > 32 {
                self.queue = VecDeque::new();
            }
        }
    }

    /// What a reader at `cursor` gets now, if there is anything to say. Marks
    /// it as handed out; it stays until a later cursor confirms it.
    pub fn take(
        &mut self,
        now: Millis,
        cursor: u64,
        max_messages: usize,
        max_bytes: usize,
        totals: &mut Totals,
    ) -> Option<Batch> {
        if cursor >= self.last {
            return None;
        }
        self.drop_expired(now, totals);
        let paced_after = self.handed.max(self.unpaced);
        let mut allowance = self.pace.as_mut().map_or(usize::MAX, |pace| pace.allowance(now));
        let mut messages = SmallVec::new();
        let mut bytes = 0;
        let mut paced = 0;
        let mut up_to = self.last;
        let start = self.queue.partition_point(|q| q.seq <= cursor);
        for queued in self.queue.range(start..) {
            let is_paced = queued.seq > paced_after;
            let full = messages.len() >= max_messages || bytes >= max_bytes;
            if full || (is_paced && allowance == 0) {
                up_to = queued.seq - 1;
                break;
            }
            if is_paced {
                allowance -= 1;
                paced += 1;
            }
            bytes += queued.message.len_bytes();
            messages.push(Delivery { seq: queued.seq, message: queued.message.clone() });
        }
        let lost = self.lost_between(cursor, up_to);
        if messages.is_empty() && lost == 0 {
            return None;
        }
        if let Some(pace) = self.pace.as_mut() {
            pace.spend(now, paced);
        }
        self.handed = self.handed.max(up_to);
        totals.handed_out += messages.len() as u64;
        Some(Batch { cursor: up_to, lost, messages })
    }

    /// Dropped messages in `cursor+1..=up_to`. What somebody else's cursor has
    /// confirmed already is lost for a reader that comes with an older one.
    fn lost_between(&self, cursor: u64, up_to: u64) -> u64 {
        let trimmed = self.confirmed.min(up_to).saturating_sub(cursor);
        let from = cursor.max(self.confirmed);
        trimmed + self.lost.after(from) - self.lost.after(up_to.max(from))
    }

    fn drop_expired(&mut self, now: Millis, totals: &mut Totals) {
        if self.first_expiry > now {
            return;
        }
        let mut queue = std::mem::take(&mut self.queue);
        self.first_expiry = Millis::MAX;
        queue.retain(|queued| {
            if queued.expires_at <= now {
                self.note_gone(queued, totals);
                totals.ttl_expired += 1;
                return false;
            }
            self.first_expiry = self.first_expiry.min(queued.expires_at);
            true
        });
        self.queue = queue;
    }

    /// Gives its memory back and takes what it held out of the totals.
    pub fn clear(&mut self, totals: &mut Totals) {
        totals.queued_messages -= self.queue.len();
        totals.queued_bytes -= self.bytes;
        self.queue = VecDeque::new();
        self.bytes = 0;
    }

    /// Looks at what expired; called when the alarm rings.
    pub fn ring(&mut self, now: Millis, totals: &mut Totals) {
        self.drop_expired(now, totals);
    }

    /// When it wants to be looked at next.
    pub fn due(&self, grace_ms: Millis) -> Millis {
        let mut due = self.first_expiry.min(first_due(&self.timers));
        match &self.reader {
            Some(reader) => {
                due = due.min(reader.until);
                if let Some(pace) = &self.pace
                    && reader.cursor < self.last
                    && !self.queue.is_empty()
                {
                    due = due.min(pace.ready_at());
                }
            }
            None => {
                if self.attached {
                    due = due.min(self.away_since.saturating_add(grace_ms));
                }
                due = due.min(self.away_since.saturating_add(self.linger_ms));
            }
        }
        due
    }
}
