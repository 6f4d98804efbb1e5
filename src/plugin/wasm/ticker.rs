//! The clock that ends calls which run too long.

use parking_lot::{Condvar, Mutex};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Length of a tick, in milliseconds: a call that runs too long is found two of
/// them later at most. Each tick takes the thread that serves off its core; a
/// thousand in a second were some per cent of all that a delivery costs.
pub(super) const TICK_MS: u64 = 5;

/// How many ticks it goes on after it was last needed, so that it is not put to
/// sleep and woken again between calls that come one after the other: waking
/// it costs more than a whole call.
const LINGER_TICKS: u64 = 4;

/// A thread that calls a function every [`TICK_MS`] while a call may be running,
/// and sleeps otherwise. Ends when it is dropped.
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

    /// Keeps it ticking for at least one tick from now.
    pub(super) fn keep(&self) {
        let shared = &*self.0;
        let until = shared.ticks.load(Ordering::Relaxed) + 1 + LINGER_TICKS;
        // Usually true: an earlier call of the same tick asked for as much. A
        // stale view of `ticks` is made up for by the linger.
        if shared.until.load(Ordering::Relaxed) >= until {
            return;
        }
        shared.until.fetch_max(until, Ordering::SeqCst);
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
            std::thread::sleep(Duration::from_millis(TICK_MS));
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
