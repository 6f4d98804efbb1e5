//! The only place where the server looks at a clock for an event.

use crate::app::Now;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::SystemTime;

/// Of the monotonic clock at its start, in milliseconds: ten years.
const START_MS: u64 = 10 * 365 * 24 * 3600 * 1000;

/// Tells both clocks of an event. A copy tells the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// On the system's monotonic clock.
    start_ms: u64,
}

impl Clock {
    /// A clock whose monotonic time starts far enough behind 0 that what was
    /// before a restart has a time, too.
    #[must_use]
    pub fn start() -> Self {
        // The coarse clock is never ahead of the exact one.
        Self { start_ms: read_ms(ClockId::MonotonicCoarse) }
    }

    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono: self.mono_ms(), unix_ms: unix_ms() }
    }

    /// Milliseconds since the start, plus [`START_MS`].
    #[must_use]
    pub fn mono_ms(&self) -> u64 {
        read_ms(ClockId::Monotonic) - self.start_ms + START_MS
    }

    /// The same up to some milliseconds late, for a fifth of the price: good
    /// enough for the time limits of connections.
    #[must_use]
    pub(super) fn coarse_ms(&self) -> u64 {
        read_ms(ClockId::MonotonicCoarse) - self.start_ms + START_MS
    }
}

/// The coarse time is less late than this, in milliseconds: between two of them
/// so much less may have passed than they say.
pub(super) const COARSE_MS: u64 = 20;

/// Whole seconds since 1970, up to some milliseconds late.
pub(super) fn unix_second() -> u64 {
    read_ms(ClockId::RealtimeCoarse) / 1000
}

/// By way of the C library, unlike the others, so that a test can set it.
fn unix_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_secs() * 1000 + u64::from(since.subsec_millis())
}

fn read_ms(clock: ClockId) -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    // Neither is negative, unless somebody sets his clock to before 1970.
    let part = |n: i64| u64::try_from(n).unwrap_or_default();
    part(tv_sec).saturating_mul(1000) + part(tv_nsec) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_agree() {
        let clock = Clock::start();
        let (coarse, exact, later) = (clock.coarse_ms(), clock.mono_ms(), clock.now().mono);
        assert!(1 <= coarse && coarse <= exact && exact <= later, "{coarse} {exact} {later}");
        let system = std::time::UNIX_EPOCH.elapsed().expect("it is after 1970").as_secs();
        assert!(system.abs_diff(unix_second()) <= 1);
    }
}
