//! The clock that ends calls which run too long.

use parking_lot::{Condvar, Mutex};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Length of a tick. A deadline is a number of ticks.
const TICK: Duration = Duration::from_millis(1);

/// How many ticks it goes on after the last deadline, so that it is not put to
/// sleep and woken again between calls that come one after the other: waking
/// it costs more than a whole call. About as long as its ticks cost what waking
/// it does: an app with a few events in a second is not to pay for a thousand
/// ticks.
const LINGER_TICKS: u64 = 20;

/// A thread that calls a function every millisecond while a call may be
/// running, and sleeps otherwise. Ends when it is dropped.
pub(super) struct Ticker(Arc<Shared>);

struct Shared {
    ticks: AtomicU64,
    /// The tick up to which somebody needs it.
    until: AtomicU64,
    asleep: AtomicBool,
    over: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Ticker {
    /// # Errors
    /// If no thread can be started.
    pub(super) fn start(tick: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            ticks: AtomicU64::new(0),
            until: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            over: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("plugin-clock".into()).spawn(move || theirs.run(tick))?;
        Ok(Self(shared))
    }

    /// Ticks so far. They stand still while nobody needs them.
    pub(super) fn now(&self) -> u64 {
        self.0.ticks.load(Ordering::Relaxed)
    }

    /// Keeps it ticking for at least so many ticks from now.
    pub(super) fn keep(&self, ticks: u64) {
        let shared = &*self.0;
        let need = shared.ticks.load(Ordering::Relaxed).saturating_add(ticks);
        // Usually true: an earlier call of the same tick asked for as much. A
        // stale view of `ticks` is made up for by the linger.
        if shared.until.load(Ordering::Relaxed) >= need.saturating_add(LINGER_TICKS) {
            return;
        }
        shared.until.fetch_max(need.saturating_add(LINGER_TICKS), Ordering::SeqCst);
        // Pairs with `doze`: either it sees the new `until` or we see it asleep.
        if shared.asleep.load(Ordering::SeqCst) {
            let _guard = shared.lock.lock();
            shared.wake.notify_one();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        let _guard = self.0.lock.lock();
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn run(&self, tick: impl Fn()) {
        while !self.over.load(Ordering::SeqCst) {
            if self.ticks.load(Ordering::Relaxed) >= self.until.load(Ordering::SeqCst) {
                self.doze();
            }
            std::thread::sleep(TICK);
            self.ticks.fetch_add(1, Ordering::Relaxed);
            tick();
        }
    }

    fn doze(&self) {
        let mut guard = self.lock.lock();
        self.asleep.store(true, Ordering::SeqCst);
        while self.ticks.load(Ordering::Relaxed) >= self.until.load(Ordering::SeqCst)
            && !self.over.load(Ordering::SeqCst)
        {
            self.wake.wait(&mut guard);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}
