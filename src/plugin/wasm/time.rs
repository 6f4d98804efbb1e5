//! How long a call may take.

use super::{host::Broken, ticker::TICK_MS};
use crate::plugin::FailureKind;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// A call is ended after so many times its limit, even if it hardly got to
/// work.
const MAX_STRETCH: u64 = 20;

/// A call that takes about so long is slow, in milliseconds.
const SLOW_MS: u64 = 3;

/// The time of one call.
///
/// The clock looks at the calls that run, every [`TICK_MS`]. Few are long enough
/// to be seen; one that is may work for its limit from then on, by the time of
/// its thread: that a thread is not run, because the machine does something
/// else, must not fail the plugin's call, and asking for that time costs as much
/// as a short call.
#[derive(Default)]
pub(super) struct Time {
    limit_ms: u64,
    /// When it was first looked at, and what the thread had worked then.
    seen: Option<(Instant, Duration)>,
}

impl Time {
    /// A call starts, that may work for so long and up to two ticks more.
    pub(super) fn start(limit_ms: u64) -> Self {
        Self { limit_ms, seen: None }
    }

    /// The clock has ticked.
    ///
    /// # Errors
    /// If the call is over its time.
    pub(super) fn look(&mut self) -> wasmtime::Result<()> {
        self.look_at(Instant::now(), worked())
    }

    fn look_at(&mut self, now: Instant, worked: Duration) -> wasmtime::Result<()> {
        let (since, worked_before) = *self.seen.get_or_insert((now, worked));
        let limit = Duration::from_millis(self.limit_ms);
        let stretched = Duration::from_millis(self.limit_ms.saturating_mul(MAX_STRETCH));
        if worked.saturating_sub(worked_before) >= limit || now - since >= stretched {
            let text = format!("it ran longer than {} ms", self.limit_ms);
            return Err(Broken::trap(FailureKind::Time, text));
        }
        Ok(())
    }

    /// About how long the call took, in milliseconds; 0 if that was not long.
    pub(super) fn slow_ms(&self) -> u64 {
        let Some((since, _)) = self.seen else { return 0 };
        let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        // It may have begun at any moment since the tick before.
        let ms = ms.saturating_add(TICK_MS / 2);
        if ms < SLOW_MS { 0 } else { ms }
    }
}

/// How long this thread has worked.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative.
    let part = |n: i64| u64::try_from(n).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds after its first look at which a call is ended, if its thread
    /// works for so many microseconds in each of them.
    fn ended_after(limit_ms: u64, us_per_ms: u64) -> u64 {
        let mut time = Time::start(limit_ms);
        let start = Instant::now();
        let mut at_ms = 0;
        while time
            .look_at(start + Duration::from_millis(at_ms), Duration::from_micros(at_ms * us_per_ms))
            .is_ok()
        {
            at_ms += TICK_MS;
        }
        at_ms
    }

    #[test]
    fn work_counts_and_waiting_hardly_does() {
        assert_eq!(ended_after(10, 1000), 10);
        assert_eq!(ended_after(1, 1000), TICK_MS);
        assert_eq!(ended_after(10, 500), 20);
        assert_eq!(ended_after(10, 0), 200);
    }
}
