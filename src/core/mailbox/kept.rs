//! What of a mailbox outlives the process, and a mailbox from that.

use super::{
    super::{
        KeptGroup, KeptMailbox, KeptSeat, Key, Marks, Message, Millis, Version,
        books::{Books, Changed},
        lost::Lost,
        pace::Pace,
        queue::{Queue, Queued},
    },
    Mailbox, Rare, Seat,
};
use smallvec::SmallVec;
use std::sync::Arc;

impl Mailbox {
    /// One that was kept, without its groups and messages.
    pub fn restored(kept: KeptMailbox, marks: Marks, version: Version, away_since: Millis) -> Self {
        let KeptMailbox { uid, name, identity, shared, limits, linger_ms, .. } = kept;
        let mut seats = marks.seats.into_iter().map(|seat| {
            let KeptSeat { key, confirmed, handed } = seat;
            Seat::restored(key, confirmed, handed, away_since)
        });
        // What has no seat was never open: nobody has its key.
        let seat = seats.next().unwrap_or_else(|| Seat::new(Key([0; 16]), 0, away_since));
        let rare = Rare {
            lost: Lost::of(marks.lost),
            pace: (limits.per_second > 0).then(|| Pace::new(limits.per_second.into())),
            timers: kept.timers,
            seats: seats.collect(),
        };
        Self {
            name,
            seat,
            uid,
            identity,
            states: kept.states,
            version,
            groups: SmallVec::new(),
            limits,
            queue: Queue::default(),
            bytes: 0,
            last: marks.last,
            collapsible: 0,
            first_expiry: Millis::MAX,
            rare: (!rare.is_empty()).then(|| Box::new(rare)),
            is_shared: shared,
            attached: kept.attached,
            linger_ms,
            alarm_at: Millis::MAX,
            mark: 0,
            touched: false,
            changed: Changed::default(),
        }
    }

    /// Itself, as it is to last. Groups have names that only the core knows.
    pub fn kept(&self, groups: Vec<KeptGroup>) -> KeptMailbox {
        KeptMailbox {
            uid: self.uid,
            name: self.name.clone(),
            identity: self.identity.clone(),
            shared: self.is_shared,
            limits: self.limits,
            linger_ms: self.linger_ms,
            attached: self.attached,
            groups,
            states: self.states.clone(),
            timers: self.timers().to_vec(),
        }
    }

    pub fn marks(&self) -> Marks {
        let lost = self.rare.as_ref().map(|rare| rare.lost.runs().to_vec());
        Marks { seats: self.kept_seats(), last: self.last, lost: lost.unwrap_or_default() }
    }

    /// A message got this seq, whether it waits still or not.
    pub fn has_given(&mut self, seq: u64) {
        self.last = self.last.max(seq);
    }

    /// The next so many seqs are given to no message.
    pub fn leave_out(&mut self, seqs: u64) {
        self.last += seqs;
    }

    /// Puts a message that was kept back into its place; whether it still waits.
    /// They come in the order in which they were sent: of two with one seq, the
    /// second has taken the place of the first.
    pub fn requeue(
        &mut self,
        seq: u64,
        expires_at: Millis,
        message: &Arc<Message>,
        books: &mut Books,
    ) -> bool {
        let lost_up_to = self.rare.as_ref().map_or(0, |rare| rare.lost.up_to());
        if seq <= self.trimmed().max(lost_up_to) {
            return false;
        }
        // It was let in, so it fits.
        let len = u32::try_from(message.len_bytes()).unwrap_or(u32::MAX);
        let queued = Queued { seq, expires_at, message: message.clone() };
        if let Some(old) = self.queue.put(queued) {
            self.note_gone(&old, books);
        }
        self.bytes = self.bytes.saturating_add(len);
        self.collapsible += u32::from(message.collapse.is_some());
        self.first_expiry = self.first_expiry.min(expires_at);
        books.totals.queued_messages += 1;
        books.totals.queued_bytes += len as usize;
        true
    }
}
