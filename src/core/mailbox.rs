//! One mailbox: a queue, and the seats of those who read it.

mod kept;
mod seats;

pub use seats::MAX_SEATS;
pub(super) use seats::{Reader, Seat};

use super::{
    Batch, Delivery, FullPolicy, MailboxLimits, Message, Millis, Name, OpenMailbox, PluginName,
    Session, Uid, Version,
    books::{Books, Changed},
    ids::MailboxId,
    lost::Lost,
    pace::Pace,
    queue::{Queue, Queued},
    table::Named,
    timers::{PluginTimer, first_due, take_due},
};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;

/// What became of a message that was to enter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pushed {
    Queued { seq: u64, dropped: usize },
    Full,
}

/// A group that a mailbox is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    /// The group's slot.
    pub group: u32,
    /// Where among the group's members the mailbox is; the highest bit says that
    /// the mailbox's client chose the group.
    place: u32,
}

impl Membership {
    const CHOSEN: u32 = 1 << 31;

    pub fn new(group: u32, place: usize, chosen: bool) -> Self {
        let place = u32::try_from(place).ok().filter(|place| *place < Self::CHOSEN);
        // A mailbox takes some hundred bytes.
        let place = place.expect("no machine has room for two thousand million mailboxes");
        Self { group, place: if chosen { place | Self::CHOSEN } else { place } }
    }

    pub fn place(self) -> u32 {
        self.place & !Self::CHOSEN
    }

    pub fn is_chosen(self) -> bool {
        self.place & Self::CHOSEN != 0
    }
}

/// What few mailboxes have: the others pay a pointer for it.
#[derive(Default, Debug)]
struct Rare {
    lost: Lost,
    pace: Option<Pace>,
    timers: Vec<PluginTimer>,
    /// Those that are not in front; at most [`MAX_SEATS`] with the one that is.
    seats: Vec<Seat>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.lost.is_empty()
            && self.pace.is_none()
            && self.timers.is_empty()
            && self.seats.is_empty()
    }
}

/// There are very many of these: what grows here is paid by every client that
/// waits. `tests/allocations` holds the size.
///
/// Each seat has its marks in the queue: `confirmed` ≤ `handed` ≤ `last`.
/// Everything at or before the least `confirmed` is gone; what lies after the
/// greatest `handed` no reader has seen.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub name: Name,
    /// The one in front.
    pub seat: Seat,
    /// Tells this mailbox from all others, even those before a restart.
    pub uid: Uid,
    pub identity: Option<Arc<str>>,
    /// As in [`super::States`]; a `Vec`, since most plugins keep none.
    pub states: Vec<(PluginName, Bytes)>,
    /// Changes with `states`.
    pub version: Version,
    pub groups: SmallVec<[Membership; 1]>,
    limits: MailboxLimits,
    queue: Queue,
    /// Of all queued payloads; bounded by `limits.bytes`.
    bytes: u32,
    last: u64,
    /// Queued messages with a collapse key: none means there is nothing to
    /// search.
    collapsible: u32,
    /// No message expires before this.
    first_expiry: Millis,
    rare: Option<Box<Rare>>,
    /// Opens of the same identity get seats.
    is_shared: bool,
    /// What plugins were told last.
    pub attached: bool,
    pub linger_ms: u64,
    /// When its alarm rings; `Millis::MAX`: none is set.
    pub alarm_at: Millis,
    /// The last send that has reached (or skipped) it.
    pub mark: u64,
    /// In the list of mailboxes to look at when the commit is through.
    pub touched: bool,
    /// Since the changes were taken last.
    pub changed: Changed,
}

impl Named for Mailbox {
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl Mailbox {
    pub fn new(open: &OpenMailbox, version: Version, now: Millis) -> Self {
        let per_second = open.limits.per_second;
        Self {
            name: open.name.clone(),
            seat: Seat::new(open.key, 0, now),
            uid: Uid(version),
            identity: open.identity.clone(),
            states: open.states.to_vec(),
            version,
            groups: SmallVec::new(),
            limits: open.limits,
            queue: Queue::default(),
            bytes: 0,
            last: 0,
            collapsible: 0,
            first_expiry: Millis::MAX,
            rare: (per_second > 0).then(|| {
                Box::new(Rare { pace: Some(Pace::new(per_second.into())), ..Rare::default() })
            }),
            is_shared: open.shared,
            attached: false,
            linger_ms: open.linger_ms,
            alarm_at: Millis::MAX,
            mark: 0,
            touched: false,
            changed: Changed::default(),
        }
    }

    pub fn id(&self, slot: u32) -> MailboxId {
        // The low half: it only has to differ from the serials that running
        // events and alarms may still remember.
        MailboxId { slot, serial: self.uid.0 as u32 }
    }

    pub fn is(&self, id: MailboxId) -> bool {
        self.uid.0 as u32 == id.serial
    }

    pub fn session(&self, slot: u32) -> Session {
        Session {
            id: self.id(slot),
            name: self.name.clone(),
            identity: self.identity.clone(),
            states: self.states.iter().cloned().collect(),
            version: self.version,
        }
    }

    /// What is in it so far came with its opening: not paced.
    pub fn end_of_first_messages(&mut self) {
        let last = self.last;
        if let Some(pace) = self.pace() {
            pace.begin_after(last);
        }
    }

    fn pace(&mut self) -> Option<&mut Pace> {
        self.rare.as_mut()?.pace.as_mut()
    }

    pub fn timers(&self) -> &[PluginTimer] {
        self.rare.as_ref().map_or(&[], |rare| &rare.timers)
    }

    pub fn take_due_timers(&mut self, now: Millis) -> Vec<PluginTimer> {
        self.rare.as_mut().map_or_else(Vec::new, |rare| take_due(&mut rare.timers, now))
    }

    pub fn membership(&self, group: u32) -> Option<&Membership> {
        self.groups.iter().find(|membership| membership.group == group)
    }

    /// Another member has left the group, and its place is now this one's.
    pub fn moved_in(&mut self, group: u32, place: u32) {
        let membership = self.groups.iter_mut().find(|membership| membership.group == group);
        let membership = membership.expect("a group's member knows the group");
        membership.place = place | (membership.place & Membership::CHOSEN);
    }

    /// To set or cancel some.
    pub fn timers_mut(&mut self) -> &mut Vec<PluginTimer> {
        &mut self.rare.get_or_insert_default().timers
    }

    pub fn push(&mut self, now: Millis, message: &Arc<Message>, books: &mut Books) -> Pushed {
        let fits = u32::try_from(message.len_bytes()).ok().filter(|len| *len <= self.limits.bytes);
        let Some(len) = fits else { return Pushed::Full };
        self.drop_expired(now, books);
        let place = self.collapse_place(message);
        if let Some(at) = place
            && self.replace(at, now, message, books)
        {
            let seq = self.queue.seq_at(at);
            return Pushed::Queued { seq, dropped: 0 };
        }
        if self.limits.full == FullPolicy::Reject && !self.has_room(len) {
            return Pushed::Full;
        }
        if let Some(at) = place {
            // It no longer fits in its place; it goes to the end instead.
            if let Some(old) = self.queue.get_mut(at) {
                books.superseded(&old.message, self.uid);
            }
            self.remove(at, books);
            books.totals.collapsed += 1;
        }
        let mut dropped = 0;
        while !self.has_room(len) {
            let seq = self.remove(0, books);
            self.rare.get_or_insert_default().lost.note(seq);
            self.changed.add(Changed::MARKS);
            // One that a reader was handed is mostly not missed. Whoever comes
            // back with a cursor before it is told all the same.
            dropped += usize::from(seq > self.handed_to_any());
        }
        books.totals.dropped += dropped as u64;
        self.append(now, message, len, books);
        Pushed::Queued { seq: self.last, dropped }
    }

    fn has_room(&self, len: u32) -> bool {
        self.queue.len() < self.limits.messages as usize && len <= self.limits.bytes - self.bytes
    }

    fn append(&mut self, now: Millis, message: &Arc<Message>, len: u32, books: &mut Books) {
        self.last += 1;
        let expires_at = message.expires_at(now);
        self.first_expiry = self.first_expiry.min(expires_at);
        self.collapsible += u32::from(message.collapse.is_some());
        self.bytes += len;
        books.totals.queued_messages += 1;
        books.totals.queued_bytes += len as usize;
        self.queue.push(Queued { seq: self.last, expires_at, message: message.clone() });
    }

    /// Where a message with the same collapse key waits, not yet handed out.
    fn collapse_place(&self, message: &Message) -> Option<usize> {
        let key = message.collapse.as_deref()?;
        if self.collapsible == 0 {
            return None;
        }
        let waiting = self.queue.place_after(self.handed_to_any());
        self.queue
            .from(waiting)
            .position(|q| q.message.collapse.as_deref() == Some(key))
            .map(|at| waiting + at)
    }

    /// Puts a message into the place of another; whether it fits there.
    fn replace(
        &mut self,
        at: usize,
        now: Millis,
        message: &Arc<Message>,
        books: &mut Books,
    ) -> bool {
        let place = self.queue.get_mut(at).expect("it was found there");
        let (old, new) = (place.message.len_bytes(), message.len_bytes());
        let bytes = self.bytes as usize - old + new;
        let Some(bytes) = u32::try_from(bytes).ok().filter(|bytes| *bytes <= self.limits.bytes)
        else {
            return false;
        };
        self.bytes = bytes;
        books.totals.queued_bytes = books.totals.queued_bytes - old + new;
        books.totals.collapsed += 1;
        place.expires_at = message.expires_at(now);
        self.first_expiry = self.first_expiry.min(place.expires_at);
        let old = std::mem::replace(&mut place.message, message.clone());
        books.superseded(&old, self.uid);
        books.left(&old);
        true
    }

    /// Takes one message out and returns its seq.
    fn remove(&mut self, at: usize, books: &mut Books) -> u64 {
        let gone = self.queue.remove(at).expect("callers name a place within the queue");
        self.note_gone(&gone, books);
        gone.seq
    }

    #[inline]
    fn note_gone(&mut self, gone: &Queued, books: &mut Books) {
        let len = gone.message.len_bytes();
        self.bytes -= u32::try_from(len).expect("it was let in");
        self.collapsible -= u32::from(gone.message.collapse.is_some());
        books.totals.queued_messages -= 1;
        books.totals.queued_bytes -= len;
        books.left(&gone.message);
    }

    /// The reader has processed everything up to the cursor.
    #[inline]
    pub fn confirm(&mut self, cursor: u64, books: &mut Books) {
        if cursor <= self.seat.confirmed {
            return;
        }
        self.changed.add(Changed::MARKS);
        self.seat.confirmed = cursor;
        self.seat.handed = self.seat.handed.max(cursor);
        self.trim(books);
    }

    /// Lets go of what all seats have confirmed.
    #[inline(always)] // each read confirms, and few seats end
    fn trim(&mut self, books: &mut Books) {
        let trimmed = self.trimmed();
        let mut queue = std::mem::take(&mut self.queue);
        queue.drain_front(queue.place_after(trimmed), |gone| self.note_gone(&gone, books));
        self.queue = queue;
        if let Some(rare) = &mut self.rare {
            rare.lost.forget(trimmed);
            if rare.is_empty() {
                self.rare = None;
            }
        }
        if self.queue.is_empty() {
            self.first_expiry = Millis::MAX;
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
        books: &mut Books,
    ) -> Option<Batch> {
        if cursor >= self.last {
            return None;
        }
        self.drop_expired(now, books);
        let (paced_after, mut allowance) =
            self.pace().map_or((u64::MAX, 0), |pace| (pace.begins_after(), pace.allowance(now)));
        let mut bytes = 0;
        let mut paced = 0;
        let mut up_to = self.last;
        let start = self.queue.place_after(cursor);
        // At once, and not by doubling.
        let mut messages = SmallVec::with_capacity((self.queue.len() - start).min(max_messages));
        for queued in self.queue.from(start) {
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
        if let Some(pace) = self.pace() {
            pace.spend(now, paced);
            pace.begin_after(up_to);
        }
        self.changed.add(Changed::MARKS);
        self.seat.handed = self.seat.handed.max(up_to);
        books.totals.handed_out += messages.len() as u64;
        Some(Batch { cursor: up_to, lost, messages })
    }

    /// Dropped messages in `cursor+1..=up_to`. What was confirmed (by all seats)
    /// already is lost for a reader that comes with an older cursor.
    fn lost_between(&self, cursor: u64, up_to: u64) -> u64 {
        let gone = self.trimmed();
        let trimmed = gone.min(up_to).saturating_sub(cursor);
        let from = cursor.max(gone);
        let dropped = self
            .rare
            .as_ref()
            .map_or(0, |rare| rare.lost.after(from) - rare.lost.after(up_to.max(from)));
        trimmed + dropped
    }

    #[inline]
    fn drop_expired(&mut self, now: Millis, books: &mut Books) {
        if self.first_expiry <= now {
            self.look_for_expired(now, books);
        }
    }

    #[cold]
    fn look_for_expired(&mut self, now: Millis, books: &mut Books) {
        let mut queue = std::mem::take(&mut self.queue);
        self.first_expiry = Millis::MAX;
        queue.retain(|queued| {
            if queued.expires_at <= now {
                self.note_gone(queued, books);
                books.totals.ttl_expired += 1;
                self.changed.add(Changed::MARKS);
                return false;
            }
            self.first_expiry = self.first_expiry.min(queued.expires_at);
            true
        });
        self.queue = queue;
    }

    /// Gives its memory back and takes what it held out of the books.totals.
    pub fn clear(&mut self, books: &mut Books) {
        if books.record.is_some() {
            self.queue.from(0).for_each(|queued| books.left(&queued.message));
        }
        books.totals.queued_messages -= self.queue.len();
        books.totals.queued_bytes -= self.bytes as usize;
        self.queue = Queue::default();
        self.bytes = 0;
    }

    /// Looks at what expired; called when the alarm rings.
    pub fn ring(&mut self, now: Millis, books: &mut Books) {
        self.drop_expired(now, books);
    }

    /// When it wants to be looked at next.
    pub fn due(&self, grace_ms: Millis) -> Millis {
        self.first_expiry.min(first_due(self.timers())).min(self.seats_due(grace_ms))
    }
}

#[cfg(test)]
impl Mailbox {
    /// What waits: seq, when it expires, and how long it is.
    pub fn waiting(&self) -> Vec<(u64, Millis, usize)> {
        self.queue.from(0).map(|q| (q.seq, q.expires_at, q.message.len_bytes())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_only_on_purpose() {
        let size = size_of::<Mailbox>();
        assert!(size <= 272, "{size} bytes: what few mailboxes have belongs into `Rare`");
    }
}
