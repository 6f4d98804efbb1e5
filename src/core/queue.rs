//! The messages that wait in a mailbox.

use super::{Message, Millis};
use std::{collections::VecDeque, sync::Arc};

/// A message in a mailbox.
#[derive(Debug)]
pub(super) struct Queued {
    pub seq: u64,
    pub expires_at: Millis,
    pub message: Arc<Message>,
}

/// Messages by rising seq. One alone has its place in the mailbox itself: a
/// reader that keeps up never has more, so that delivering to it allocates
/// nothing, and a mailbox that waits for its next message owns no memory.
#[derive(Default, Debug)]
pub(super) enum Queue {
    #[default]
    Empty,
    One(Queued),
    /// Until it is empty again; a burst's memory does not outlive the burst.
    Many(VecDeque<Queued>),
}

impl Queue {
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Many(queue) => queue.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn slices(&self) -> (&[Queued], &[Queued]) {
        match self {
            Self::Empty => (&[], &[]),
            Self::One(queued) => (std::slice::from_ref(queued), &[]),
            Self::Many(queue) => queue.as_slices(),
        }
    }

    /// Those at this place and behind it.
    pub fn from(&self, place: usize) -> impl Iterator<Item = &Queued> {
        let (front, back) = self.slices();
        let split = place.min(front.len());
        front[split..].iter().chain(&back[(place - split).min(back.len())..])
    }

    /// The place of the first behind this seq.
    pub fn place_after(&self, seq: u64) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(queued) => usize::from(queued.seq <= seq),
            Self::Many(queue) => queue.partition_point(|queued| queued.seq <= seq),
        }
    }

    /// The seq of the message at a place that there is.
    pub fn seq_at(&self, place: usize) -> u64 {
        self.from(place).next().map_or(0, |queued| queued.seq)
    }

    /// Puts a message where its seq says; the one that has the same seq goes.
    pub fn put(&mut self, queued: Queued) -> Option<Queued> {
        let place = self.place_after(queued.seq.saturating_sub(1));
        match self.get_mut(place) {
            Some(old) if old.seq == queued.seq => return Some(std::mem::replace(old, queued)),
            Some(_) => {
                if let Self::One(_) = self {
                    let first = self.remove(0);
                    *self = Self::Many(first.into_iter().collect());
                }
                if let Self::Many(queue) = self {
                    queue.insert(place, queued);
                }
            }
            None => self.push(queued),
        }
        None
    }

    pub fn get_mut(&mut self, place: usize) -> Option<&mut Queued> {
        match self {
            Self::One(queued) if place == 0 => Some(queued),
            Self::Many(queue) => queue.get_mut(place),
            _ => None,
        }
    }

    #[inline]
    pub fn push(&mut self, queued: Queued) {
        match self {
            Self::Empty => *self = Self::One(queued),
            Self::One(_) => {
                let first = self.remove(0);
                *self = Self::Many(first.into_iter().chain([queued]).collect());
            }
            Self::Many(queue) => queue.push_back(queued),
        }
    }

    pub fn remove(&mut self, place: usize) -> Option<Queued> {
        match self {
            Self::Many(queue) => {
                let gone = queue.remove(place);
                if queue.is_empty() {
                    *self = Self::Empty;
                }
                gone
            }
            Self::One(_) if place == 0 => match std::mem::take(self) {
                Self::One(queued) => Some(queued),
                _ => None,
            },
            _ => None,
        }
    }

    /// Takes out the first so many, which are there.
    #[inline]
    pub fn drain_front(&mut self, count: usize, mut gone: impl FnMut(Queued)) {
        match self {
            Self::Many(queue) if count < queue.len() => queue.drain(..count).for_each(gone),
            _ if count == 0 => {}
            _ => match std::mem::take(self) {
                Self::Empty => {}
                Self::One(queued) => gone(queued),
                Self::Many(queue) => queue.into_iter().for_each(gone),
            },
        }
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&Queued) -> bool) {
        match self {
            Self::Empty => {}
            Self::One(queued) => {
                if !keep(queued) {
                    *self = Self::Empty;
                }
            }
            Self::Many(queue) => {
                queue.retain(keep);
                if queue.is_empty() {
                    *self = Self::Empty;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Payload;

    fn queue(seqs: &[u64]) -> Queue {
        let mut queue = Queue::default();
        for seq in seqs {
            let message = Message::new(Payload::json("1"), None, None);
            queue.push(Queued { seq: *seq, expires_at: Millis::MAX, message });
        }
        queue
    }

    fn seqs(queue: &Queue, from: usize) -> Vec<u64> {
        queue.from(from).map(|queued| queued.seq).collect()
    }

    #[test]
    fn is_the_same_with_none_with_one_and_with_many() {
        for all in [&[][..], &[3], &[3, 5], &[3, 5, 6, 9, 10, 12]] {
            let queue = queue(all);
            assert_eq!((queue.len(), queue.is_empty()), (all.len(), all.is_empty()));
            for from in 0..=all.len() + 1 {
                assert_eq!(seqs(&queue, from), all.get(from..).unwrap_or_default());
            }
            for seq in 0..14 {
                let behind = all.iter().filter(|s| **s <= seq).count();
                assert_eq!(queue.place_after(seq), behind);
            }
        }
    }

    #[test]
    fn drains_as_many_as_it_is_told() {
        for all in [&[][..], &[1], &[1, 2, 3]] {
            for count in 0..=all.len() {
                let (mut queue, mut gone) = (queue(all), Vec::new());
                queue.drain_front(count, |queued| gone.push(queued.seq));
                assert_eq!((&gone[..], seqs(&queue, 0)), (&all[..count], all[count..].to_vec()));
                assert_eq!(queue.is_empty(), count == all.len());
            }
        }
    }

    #[test]
    fn removes_from_any_place_and_owns_nothing_once_it_is_empty() {
        let mut queue = queue(&[1, 2, 3]);
        assert!(queue.remove(3).is_none());
        assert_eq!(queue.remove(1).map(|queued| queued.seq), Some(2));
        assert_eq!(seqs(&queue, 0), [1, 3]);
        queue.get_mut(1).expect("it is there").seq = 4;
        queue.retain(|queued| queued.seq != 1);
        assert_eq!(queue.remove(0).map(|queued| queued.seq), Some(4));
        assert!(matches!(queue, Queue::Empty));
        assert!(queue.remove(0).is_none());
    }
}
