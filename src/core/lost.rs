//! Which messages were dropped, so that a reader can be told how many it lost.

/// Most runs kept. Beyond it the two oldest become one; a cursor inside a
/// merged run is told at most the run's count. Drops come in order and mostly
/// side by side, so a second run is rare already.
const MAX_RUNS: usize = 16;

/// Dropped seqs as runs, oldest first.
#[derive(Default, Debug)]
pub(super) struct Lost {
    runs: Vec<Run>,
}

/// Seqs side by side, or some that were merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub first: u64,
    pub last: u64,
    /// Dropped seqs in `first..=last`.
    pub count: u64,
}

impl Lost {
    /// Notes a dropped seq; each is larger than the one before.
    pub fn note(&mut self, seq: u64) {
        match self.runs.last_mut() {
            Some(run) if run.last + 1 == seq => {
                run.last = seq;
                run.count += 1;
            }
            _ => self.runs.push(Run { first: seq, last: seq, count: 1 }),
        }
        if self.runs.len() > MAX_RUNS {
            let oldest = self.runs.remove(0);
            self.runs[0].first = oldest.first;
            self.runs[0].count += oldest.count;
        }
    }

    pub fn of(runs: Vec<Run>) -> Self {
        Self { runs }
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The last dropped seq, before which nothing waits: the oldest goes first.
    pub fn up_to(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.last)
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many dropped seqs lie after the cursor.
    pub fn after(&self, cursor: u64) -> u64 {
        self.runs.iter().map(|run| run.after(cursor)).sum()
    }

    /// Forgets what lies at or before the cursor, which was confirmed.
    pub fn forget(&mut self, cursor: u64) {
        self.runs.retain(|run| run.last > cursor);
    }
}

impl Run {
    fn after(&self, cursor: u64) -> u64 {
        if cursor < self.first {
            self.count
        } else {
            self.count.min(self.last.saturating_sub(cursor))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_lies_after_any_cursor() {
        let mut lost = Lost::default();
        for seq in [1, 2, 3, 7, 8] {
            lost.note(seq);
        }
        let after: Vec<u64> = (0..=9).map(|cursor| lost.after(cursor)).collect();
        assert_eq!(after, [5, 4, 3, 2, 2, 2, 2, 1, 0, 0]);
        lost.forget(3);
        assert_eq!(lost.after(0), 2);
        lost.forget(8);
        assert_eq!(lost.after(0), 0);
    }

    #[test]
    fn many_runs_stay_bounded_and_keep_the_sum() {
        let mut lost = Lost::default();
        for i in 0..1000 {
            lost.note(i * 2 + 1);
        }
        assert_eq!(lost.runs.len(), MAX_RUNS);
        assert_eq!(lost.after(0), 1000);
        assert_eq!(lost.after(1999), 0);
    }
}
