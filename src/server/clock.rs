//! The only place where the server looks at a clock for an event.

use crate::app::Now;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells both clocks of an event. A copy tells the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic time starts at 1 ms, so that 0 lies before
    /// everything.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    #[must_use]
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.mono_ms(), unix_ms: millis(unix) }
    }

    /// Milliseconds since the start, plus one.
    #[must_use]
    pub fn mono_ms(&self) -> u64 {
        millis(self.start.elapsed()) + 1
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    // Enough for half a billion years.
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}
