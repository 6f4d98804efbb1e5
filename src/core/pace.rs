//! At most N messages in any second, evenly spread.

use super::Millis;
use std::collections::VecDeque;

const WINDOW_MS: Millis = 1000;

/// Two rules together: no window of a second holds more than `per_second`
/// messages (the bound that is promised), and after k messages the next wait k
/// shares of a second (so that a steady flow arrives evenly, not as a burst a
/// second).
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u32,
    next_at: Millis,
    /// Messages up to this seq do not count: they came with the opening, or were
    /// handed out before.
    begins_after: u64,
    /// When the messages of the last second were handed out; at most
    /// `per_second` entries.
    recent: VecDeque<Millis>,
}

impl Pace {
    pub fn new(per_second: u32) -> Self {
        Self { per_second, next_at: 0, begins_after: 0, recent: VecDeque::new() }
    }

    /// Messages up to this seq do not count any more.
    pub fn begin_after(&mut self, seq: u64) {
        self.begins_after = self.begins_after.max(seq);
    }

    pub fn begins_after(&self) -> u64 {
        self.begins_after
    }

    /// How many messages may be handed out now.
    pub fn allowance(&mut self, now: Millis) -> usize {
        if now < self.next_at {
            return 0;
        }
        while self.recent.front().is_some_and(|at| at + WINDOW_MS <= now) {
            self.recent.pop_front();
        }
        self.per_second as usize - self.recent.len()
    }

    /// Notes that `count` messages were handed out, no more than allowed.
    pub fn spend(&mut self, now: Millis, count: usize) {
        if count == 0 {
            return;
        }
        self.recent.extend(std::iter::repeat_n(now, count));
        self.next_at = now + (count as u64 * WINDOW_MS).div_ceil(u64::from(self.per_second));
    }

    /// When the next message may go.
    pub fn ready_at(&self) -> Millis {
        let full = self.recent.len() >= self.per_second as usize;
        let window = if full { self.recent.front().map_or(0, |at| at + WINDOW_MS) } else { 0 };
        window.max(self.next_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_n_in_any_second_however_they_are_taken() {
        for per_second in [1, 3, 10, 1000] {
            let mut pace = Pace::new(per_second);
            let mut taken = Vec::new();
            for now in 0..5000 {
                // A reader that comes every 7 ms and takes all it may.
                if now % 7 == 0 {
                    let n = pace.allowance(now);
                    pace.spend(now, n);
                    taken.extend(std::iter::repeat_n(now, n));
                }
            }
            for (i, at) in taken.iter().enumerate() {
                let in_window = taken[i..].iter().take_while(|t| **t < at + 1000).count();
                assert!(in_window <= per_second as usize, "{in_window} in a second at {at}");
            }
            assert!(taken.len() >= 4 * per_second as usize, "too slow: {}", taken.len());
        }
    }

    #[test]
    fn single_messages_are_spread() {
        let mut pace = Pace::new(4);
        let mut at = Vec::new();
        for now in 0..1000 {
            if pace.allowance(now) > 0 {
                pace.spend(now, 1);
                at.push(now);
            }
        }
        assert_eq!(at, [0, 250, 500, 750]);
        assert_eq!(pace.ready_at(), 1000);
    }
}
