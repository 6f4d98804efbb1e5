//! The accounts: every payload arrives once, in its sender's order, where it
//! was sent to. A run in which one does not has failed, whatever its figures.

use serde::Serialize;

/// What went wrong, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Payloads that never came.
    pub lost: u64,
    /// … that came again.
    pub doubled: u64,
    /// … that came after a later one of the same sender.
    pub reordered: u64,
    /// … that came to somebody else, are damaged, or that nobody sent.
    pub stray: u64,
    /// Answers that no working server gives to these requests.
    pub errors: u64,
    /// Connections that the server closed.
    pub reconnects: u64,
}

impl Faults {
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

/// What one receiver has got of one sender.
#[derive(Debug)]
pub struct Stream {
    next: u32,
    /// What was jumped over and may come yet; empty in a good run.
    missing: Vec<u32>,
}

impl Default for Stream {
    fn default() -> Self {
        Self { next: FIRST, missing: Vec::new() }
    }
}

/// The first sequence number of every stream.
pub const FIRST: u32 = 1;

impl Stream {
    /// A payload came; `sent` is the last one that was sent. Whether it counts
    /// as a delivery: not if it came before.
    pub fn arrived(&mut self, seq: u32, sent: u32, faults: &mut Faults) -> bool {
        if seq == self.next && seq <= sent {
            self.next += 1;
            return true;
        }
        if !(FIRST..=sent).contains(&seq) {
            faults.stray += 1;
            return false;
        }
        if seq > self.next {
            self.missing.extend(self.next..seq);
            self.next = seq + 1;
            return true;
        }
        let Some(at) = self.missing.iter().position(|missing| *missing == seq) else {
            faults.doubled += 1;
            return false;
        };
        self.missing.swap_remove(at);
        faults.reordered += 1;
        true
    }

    /// Nothing of what was sent is on its way.
    pub fn has_all(&self, sent: u32) -> bool {
        self.next > sent && self.missing.is_empty()
    }

    /// How many of those that were sent have not come.
    pub fn lost(&self, sent: u32) -> u64 {
        let never = (sent + 1).saturating_sub(self.next);
        self.missing.len() as u64 + u64::from(never)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults of a stream of which these arrive and `sent` were sent.
    fn faults(arrivals: &[u32], sent: u32) -> Faults {
        let (mut stream, mut faults) = (Stream::default(), Faults::default());
        for seq in arrivals {
            stream.arrived(*seq, sent, &mut faults);
        }
        faults.lost = stream.lost(sent);
        faults
    }

    #[test]
    fn a_whole_stream_in_order_has_none() {
        assert!(faults(&[1, 2, 3, 4], 4).none());
        assert!(faults(&[], 0).none());
    }

    #[test]
    fn lost_ones_are_counted_at_the_end_and_in_the_middle() {
        assert_eq!(faults(&[1, 2], 4), Faults { lost: 2, ..Faults::default() });
        assert_eq!(faults(&[1, 4], 4), Faults { lost: 2, ..Faults::default() });
        assert_eq!(faults(&[3], 4), Faults { lost: 3, ..Faults::default() });
        assert_eq!(faults(&[], 1), Faults { lost: 1, ..Faults::default() });
    }

    #[test]
    fn doubled_ones_are_counted() {
        assert_eq!(faults(&[1, 1, 2, 3], 3), Faults { doubled: 1, ..Faults::default() });
        assert_eq!(faults(&[1, 2, 3, 1, 2], 3), Faults { doubled: 2, ..Faults::default() });
    }

    #[test]
    fn reordered_ones_are_counted_and_not_lost() {
        assert_eq!(faults(&[2, 1, 3], 3), Faults { reordered: 1, ..Faults::default() });
        assert_eq!(faults(&[3, 1, 2], 3), Faults { reordered: 2, ..Faults::default() });
        let twice = Faults { reordered: 1, doubled: 1, ..Faults::default() };
        assert_eq!(faults(&[2, 1, 1], 2), twice);
    }

    #[test]
    fn what_nobody_sent_is_stray() {
        assert_eq!(faults(&[1, 2], 1), Faults { stray: 1, ..Faults::default() });
        assert_eq!(faults(&[0, 1], 1), Faults { stray: 1, ..Faults::default() });
    }
}
