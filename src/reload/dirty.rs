//! Which sources have changed and were not looked at yet.

use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// A save is often several writes and renames: wait until nothing happens for
/// so long.
const QUIET: Duration = Duration::from_millis(50);

/// But not longer than so many times, if something keeps writing.
const MAX_WAITS: u32 = 40;

/// A set of sources, by index. Bounded by the highest one.
#[derive(Debug)]
pub(super) struct Dirty {
    /// More than the highest index.
    bound: AtomicUsize,
    set: Mutex<BTreeSet<usize>>,
    changed: Notify,
}

impl Dirty {
    pub(super) fn new(bound: usize) -> Self {
        Self { bound: AtomicUsize::new(bound), set: Mutex::default(), changed: Notify::new() }
    }

    /// There are other sources now, whose indexes are below this bound.
    pub(super) fn has(&self, bound: usize) {
        self.bound.store(bound, Relaxed);
    }

    pub(super) fn mark(&self, index: usize) {
        self.set.lock().insert(index);
        self.changed.notify_one();
    }

    /// Marks every index, those of no source as well.
    pub(super) fn mark_all(&self) {
        self.set.lock().extend(0..self.bound.load(Relaxed));
        self.changed.notify_one();
    }

    /// Waits until this source is dirty; none: any. For one task at a time.
    pub(super) async fn wait(&self, index: Option<usize>) {
        loop {
            // A mark after this look leaves a permit, so none is missed.
            let dirty = match index {
                Some(index) => self.set.lock().contains(&index),
                None => !self.set.lock().is_empty(),
            };
            if dirty {
                return;
            }
            self.changed.notified().await;
        }
    }

    /// Waits until it is quiet, and takes the dirty ones.
    pub(super) async fn settle(&self) -> BTreeSet<usize> {
        for _ in 0..MAX_WAITS {
            if timeout(QUIET, self.changed.notified()).await.is_err() {
                break;
            }
        }
        std::mem::take(&mut *self.set.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn marks_add_up_until_it_is_quiet() {
        let dirty = Dirty::new(3);
        dirty.mark(1);
        dirty.wait(Some(1)).await;
        dirty.mark(1);
        dirty.mark(2);
        assert_eq!(dirty.settle().await, [1, 2].into());
        assert_eq!(dirty.wait(None).now_or_never(), None);
        dirty.mark_all();
        dirty.wait(None).await;
        assert_eq!(dirty.settle().await, [0, 1, 2].into());
    }
}
