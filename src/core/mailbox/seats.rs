//! Who reads a mailbox, and how far each of them is.
//!
//! A mailbox has a seat for who opened it; one that was opened shared has a
//! further one for each device that joined. One seat is *in front*: mostly the
//! only one, else the one whose turn it is. The others are among what few
//! mailboxes have, so that an unshared mailbox neither pays for them nor asks
//! which one is meant: what is done about a reader is done to the front.

use super::{
    super::{
        AccessError, ConnId, KeptSeat, Key, Millis, OpenMailbox,
        books::{Books, Changed},
    },
    Mailbox,
};
use smallvec::SmallVec;
use std::ops::Range;

/// Most seats of a mailbox.
pub const MAX_SEATS: usize = 16;

/// A held read.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Reader {
    pub conn: ConnId,
    /// It has got everything up to this seq.
    pub cursor: u64,
    pub until: Millis,
}

/// One device's place at a mailbox. `confirmed` ≤ `handed` ≤ the mailbox's last
/// seq.
#[derive(Debug)]
pub(in super::super) struct Seat {
    pub key: Key,
    pub(super) confirmed: u64,
    /// What lies after it this seat's reader has not seen.
    pub(super) handed: u64,
    /// Who reads, or was the last to.
    reader: Reader,
    /// The reader waits for its answer.
    is_held: bool,
    /// Since when it has no held read.
    pub away_since: Millis,
}

impl Seat {
    /// One that begins behind this seq.
    pub fn new(key: Key, begins_after: u64, now: Millis) -> Self {
        Self {
            key,
            confirmed: begins_after,
            handed: begins_after,
            reader: Reader { conn: ConnId(0), cursor: 0, until: 0 },
            is_held: false,
            away_since: now,
        }
    }

    pub fn restored(key: Key, confirmed: u64, handed: u64, away_since: Millis) -> Self {
        Self { handed, ..Self::new(key, confirmed, away_since) }
    }

    fn reader(&self) -> Option<&Reader> {
        self.is_held.then_some(&self.reader)
    }

    fn is_late(&self, now: Millis, linger_ms: u64) -> bool {
        !self.is_held && now >= self.away_since.saturating_add(linger_ms)
    }
}

/// The seat in front.
impl Mailbox {
    /// A reader cannot have processed what there never was.
    pub fn check_cursor(&self, cursor: u64) -> Result<(), AccessError> {
        let last = self.last;
        if cursor > last { Err(AccessError::BadCursor { last }) } else { Ok(()) }
    }

    pub fn confirmed(&self) -> u64 {
        self.seat.confirmed
    }

    /// What lies after it its reader has not seen.
    pub fn handed(&self) -> u64 {
        self.seat.handed
    }

    /// The read that is held.
    pub fn reader(&self) -> Option<&Reader> {
        self.seat.reader()
    }

    /// Whether this connection was the last to read.
    pub fn is_read_by(&self, conn: ConnId) -> bool {
        self.seat.reader.conn == conn
    }

    /// A read comes; whether it is held will be seen.
    pub fn read_by(&mut self, conn: ConnId) {
        self.seat.reader.conn = conn;
    }

    pub fn hold(&mut self, cursor: u64, until: Millis) {
        let seat = &mut self.seat;
        seat.reader = Reader { cursor, until, ..seat.reader };
        seat.is_held = true;
    }

    /// The read is no longer held.
    pub fn let_go(&mut self) -> Option<Reader> {
        let seat = &mut self.seat;
        std::mem::take(&mut seat.is_held).then_some(seat.reader)
    }
}

/// All seats. They have places: 0 is the front.
impl Mailbox {
    /// How many there are.
    pub fn seats(&self) -> usize {
        1 + self.others().len()
    }

    /// Asked before anything that is about the others, which few mailboxes have.
    #[inline]
    pub fn has_others(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.seats.is_empty())
    }

    /// Where the others are. Turning to one after the other has each of them in
    /// front once.
    pub fn other_places(&self) -> Range<usize> {
        1..self.seats()
    }

    fn others(&self) -> &[Seat] {
        self.rare.as_ref().map_or(&[], |rare| &rare.seats)
    }

    pub(super) fn kept_seats(&self) -> SmallVec<[KeptSeat; 1]> {
        let kept = |seat: &Seat| {
            let Seat { key, confirmed, handed, .. } = *seat;
            KeptSeat { key, confirmed, handed }
        };
        self.all_seats().map(kept).collect()
    }

    fn all_seats(&self) -> impl Iterator<Item = &Seat> {
        std::iter::once(&self.seat).chain(self.others())
    }

    /// Where the seat is that this key opens.
    pub fn place_of(&self, key: Key) -> Option<usize> {
        self.all_seats().position(|seat| seat.key == key)
    }

    /// Brings the seat to the front that this key opens; whether there is one.
    #[inline]
    pub fn turn_to_key(&mut self, key: Key) -> bool {
        self.seat.key == key || self.has_others() && self.turn_to_other(key)
    }

    #[cold]
    fn turn_to_other(&mut self, key: Key) -> bool {
        let place = self.place_of(key);
        place.is_some_and(|place| {
            self.turn_to(place);
            true
        })
    }

    /// Where the seat is whose held read has this connection.
    pub fn place_held_by(&self, conn: ConnId) -> Option<usize> {
        self.all_seats().position(|seat| seat.reader().is_some_and(|reader| reader.conn == conn))
    }

    /// Brings a seat to the front; the one that was there takes its place.
    pub fn turn_to(&mut self, place: usize) {
        if place > 0
            && let Some(rare) = &mut self.rare
        {
            std::mem::swap(&mut self.seat, &mut rare.seats[place - 1]);
        }
    }

    /// Whether an open gets a seat here, and not a refusal.
    pub fn shares_with(&self, open: &OpenMailbox) -> bool {
        let is_same = self.identity.is_some() && self.identity == open.identity;
        self.is_shared && open.shared && is_same
    }

    /// A further seat, where the oldest message waits that some seat has not
    /// confirmed; behind which seq that is.
    pub fn add_seat(&mut self, key: Key, now: Millis) -> u64 {
        let begins_after = self.trimmed();
        self.changed.add(Changed::MARKS);
        let seats = &mut self.rare.get_or_insert_default().seats;
        seats.push(Seat::new(key, begins_after, now));
        begins_after
    }

    /// Ends the seat in front, which is not the only one: nothing waits for it
    /// any more.
    pub fn end_seat(&mut self, books: &mut Books) {
        if let Some(next) = self.rare.as_mut().and_then(|rare| rare.seats.pop()) {
            self.seat = next;
            self.changed.add(Changed::MARKS);
            self.trim(books);
        }
    }

    /// Ends the seats whose readers stayed away for longer than the mailbox
    /// lingers; whether one is left.
    pub fn end_late_seats(&mut self, now: Millis, books: &mut Books) -> bool {
        if self.has_others() {
            self.end_late_others(now, books);
        }
        !self.seat.is_late(now, self.linger_ms)
    }

    /// If the one in front is late, an other that is not takes its place.
    #[cold]
    fn end_late_others(&mut self, now: Millis, books: &mut Books) {
        let linger_ms = self.linger_ms;
        if let Some(rare) = &mut self.rare {
            let before = rare.seats.len();
            rare.seats.retain(|seat| !seat.is_late(now, linger_ms));
            if rare.seats.len() < before {
                self.changed.add(Changed::MARKS);
            }
        }
        if self.seat.is_late(now, linger_ms) {
            self.end_seat(books);
        } else {
            self.trim(books);
        }
    }

    /// Up to where all seats have confirmed: what lies before is gone.
    #[inline]
    pub(super) fn trimmed(&self) -> u64 {
        if self.has_others() { self.least_confirmed() } else { self.seat.confirmed }
    }

    #[cold]
    fn least_confirmed(&self) -> u64 {
        self.others().iter().fold(self.seat.confirmed, |least, seat| least.min(seat.confirmed))
    }

    /// What lies after it no reader has seen.
    pub(super) fn handed_to_any(&self) -> u64 {
        self.others().iter().fold(self.seat.handed, |most, seat| most.max(seat.handed))
    }

    /// Whether a read is held.
    #[inline]
    pub fn is_waited_for(&self) -> bool {
        self.seat.is_held || self.has_others() && self.do_others_wait()
    }

    #[cold]
    fn do_others_wait(&self) -> bool {
        self.others().iter().any(|seat| seat.is_held)
    }

    /// Since when none of them has a held read; none: one has.
    pub fn away_since(&self) -> Option<Millis> {
        if self.is_waited_for() {
            return None;
        }
        let since = self.seat.away_since;
        Some(self.others().iter().fold(since, |latest, seat| latest.max(seat.away_since)))
    }

    /// When one of them wants to be looked at next, or the plugins are to be told
    /// that nobody reads.
    #[inline]
    pub(super) fn seats_due(&self, grace_ms: Millis) -> Millis {
        if self.has_others() {
            return self.others_due(grace_ms);
        }
        let due = self.due_of(&self.seat);
        match self.attached && !self.seat.is_held {
            true => due.min(self.seat.away_since.saturating_add(grace_ms)),
            false => due,
        }
    }

    #[cold]
    fn others_due(&self, grace_ms: Millis) -> Millis {
        let due = self.all_seats().fold(Millis::MAX, |due, seat| due.min(self.due_of(seat)));
        match self.away_since() {
            Some(since) if self.attached => due.min(since.saturating_add(grace_ms)),
            _ => due,
        }
    }

    #[inline]
    fn due_of(&self, seat: &Seat) -> Millis {
        let Some(reader) = seat.reader() else {
            return seat.away_since.saturating_add(self.linger_ms);
        };
        match self.rare.as_ref().and_then(|rare| rare.pace.as_ref()) {
            Some(pace) if reader.cursor < self.last && !self.queue.is_empty() => {
                reader.until.min(pace.ready_at())
            }
            _ => reader.until,
        }
    }
}
