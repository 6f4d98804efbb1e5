//! What came of a step: time that passes, answers, notices, and what holds
//! between any two steps.

use super::{
    model::{Held, Seat},
    plugin::number,
    world::{GRACE_MS, GROUPS, MAX_BATCH, World, show},
};
use cometbox::{app::Answers, core::Answer};

impl World {
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            let mut out = Answers::new();
            let next = self.app.tick(self.now(), &mut out);
            self.note(format_args!("tick {next}"));
            self.after_tick();
            self.apply(out);
            // A tick may leave work to the next one, at the same time.
            if next > end {
                break;
            }
            self.now = self.now.max(next);
        }
        self.now = end;
    }

    /// The notices of a tick: only what is due, and all that is due.
    fn after_tick(&mut self) {
        let notices = std::mem::take(&mut *self.shared.notices.lock());
        for (who, what) in notices {
            let mailbox = self.boxes.get_mut(&who).expect("notices are about open mailboxes");
            if what == "timer" {
                assert_eq!(mailbox.timer.take(), Some(self.now), "{who} rings");
                continue;
            }
            let is_over = |held: &Held| held.until <= self.now;
            assert!(mailbox.seats.iter().all(|seat| seat.held.as_ref().is_none_or(is_over)));
            // A read that ends now leaves the mailbox without a reader now.
            let since = mailbox.away_since().unwrap_or(self.now);
            match what.as_str() {
                "detached" => {
                    assert!(std::mem::take(&mut mailbox.attached), "{who} detached twice");
                    let at = (since + GRACE_MS).max(mailbox.left_at);
                    assert_eq!(self.now, at, "{who} detached");
                }
                "expired" => {
                    assert_eq!(self.now, since + mailbox.linger_ms, "{who} expired");
                    let seats = self.boxes.remove(&who).map_or_else(Vec::new, |b| b.seats);
                    self.end_reads(seats, "Nothing");
                }
                other => panic!("a tick told {other} of {who}"),
            }
            self.note(format_args!("notice {who} {what}"));
        }
        self.late_leave();
    }

    /// Who stayed away for too long loses its seat, of which nothing is told.
    fn late_leave(&mut self) {
        let now = self.now;
        let mut left = Vec::new();
        for mailbox in self.boxes.values_mut() {
            let linger_ms = mailbox.linger_ms;
            let stays = |seat: &Seat| match &seat.held {
                Some(held) => held.until > now || linger_ms > 0,
                None => seat.away_since + linger_ms > now,
            };
            // Of the last the notice is on its way.
            if mailbox.seats.iter().any(stays) {
                left.extend(mailbox.keep_seats(stays));
            }
        }
        self.end_reads(left, "Nothing");
    }

    /// Seats are gone, whose held reads must be told so.
    pub(super) fn end_reads(&mut self, seats: Vec<Seat>, told: &'static str) {
        let held = seats.into_iter().filter_map(|seat| seat.held);
        self.ending.extend(held.map(|held| (held.conn, told)));
    }

    /// Answers to held reads: who expects one gets exactly the model's.
    pub(super) fn apply(&mut self, out: Answers) {
        for (conn, answer) in out {
            self.note(format_args!("answer {} {answer:?}", conn.0));
            if let Some(at) = self.ending.iter().position(|(ending, _)| *ending == conn.0) {
                let (_, expected) = self.ending.remove(at);
                assert!(format!("{answer:?}").starts_with(expected), "{answer:?}: {expected}");
                continue;
            }
            let is_its = |seat: &&Seat| seat.held.as_ref().is_some_and(|h| h.conn == conn.0);
            let mut seats = self.boxes.values().flat_map(|mailbox| &mailbox.seats);
            let seat = seats.find(is_its).expect("only held reads are answered");
            let (device, key) = (seat.device, seat.key);
            let who = device.0;
            let mailbox = self.boxes.get_mut(who).expect("it was found there");
            let seat = mailbox.seat(key).expect("it was found there");
            let held = seat.held.take().expect("it was found by it");
            seat.away_since = self.now;
            match answer {
                Answer::Batch(batch) => {
                    let taken = mailbox.take(key, self.now, held.cursor, MAX_BATCH);
                    assert_eq!(Some(show(&batch)), taken, "{who}");
                    let lost = self.rng.u32(0..5) == 0;
                    self.receive(device, key, batch, held.conn, lost);
                }
                Answer::Nothing => assert_eq!(held.until, self.now, "{who} waits its time"),
                other => panic!("{who} got {other:?}"),
            }
        }
        assert!(self.ending.is_empty(), "not answered: {:?}", self.ending);
    }

    pub(super) fn expect_notice(&mut self, who: &str, what: &str) {
        let mut notices = self.shared.notices.lock();
        let at = notices.iter().position(|(w, n)| w == who && n == what);
        let at = at.unwrap_or_else(|| panic!("{who} {what} was not told: {notices:?}"));
        notices.remove(at);
    }

    /// What holds between any two steps.
    pub(super) fn check(&mut self) {
        assert!(self.shared.notices.lock().is_empty(), "nothing is told without a reason");
        for (who, mailbox) in &mut self.boxes {
            assert!(mailbox.timer.is_none_or(|at| at >= self.now), "{who} did not ring");
            for seat in mailbox.seats.clone() {
                let held = seat.held.as_ref();
                let fed = held.and_then(|h| mailbox.take(seat.key, self.now, h.cursor, 1));
                assert!(fed.is_none(), "{who} waits for {fed:?}, which is there");
            }
            assert!(mailbox.waiting() <= mailbox.max_messages);
        }
        let totals = self.app.totals();
        assert_eq!(totals.mailboxes, self.boxes.len());
        let seats = self.boxes.values().flat_map(|mailbox| &mailbox.seats);
        assert_eq!(totals.held, seats.filter(|seat| seat.held.is_some()).count());
        let mut reads = self.app.reads();
        let mut groups = 0;
        for group in GROUPS {
            let mut members: Vec<_> =
                reads.members(group).iter().map(ToString::to_string).collect();
            members.sort();
            let expected: Vec<_> = self
                .boxes
                .iter()
                .filter(|(_, mailbox)| mailbox.groups.contains(group))
                .map(|(who, _)| who.clone())
                .collect();
            assert_eq!(members, expected, "members of {group}");
            groups += usize::from(!members.is_empty());
        }
        assert_eq!(totals.groups, groups, "an empty group is gone");
        let counted = reads.value("count").map_or(0, |value| number(&value));
        assert_eq!(counted, self.counted, "no count is lost, none is doubled");
    }
}
