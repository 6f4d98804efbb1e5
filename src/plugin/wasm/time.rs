//! How long a call may take.

use super::host::Broken;
use crate::plugin::FailureKind;
use rustix::time::{ClockId, clock_gettime};

/// A call is ended after so many times its limit, even if it hardly got to
/// work.
const MAX_STRETCH: u64 = 20;

/// The time of one call, in ticks of a millisecond.
///
/// A thread that is not run, because the machine does something else, must not
/// fail the plugin's call. But asking for a thread's own time costs as much as
/// a short call. So the first half of the limit is by the wall clock, and only
/// a call that outlasts it is measured: it may work for the second half.
#[derive(Default)]
pub(super) struct Time {
    limit_ms: u64,
    /// By the wall clock.
    passed_ms: u64,
    /// What the thread had worked at the end of the first half.
    worked_at_half_us: Option<u64>,
}

impl Time {
    /// A call starts. Returns the ticks until [`Time::overtime`] is to be asked.
    pub(super) fn start(&mut self, limit_ms: u64) -> u64 {
        let half = limit_ms.div_ceil(2);
        *self = Self { limit_ms, passed_ms: half, worked_at_half_us: None };
        // The tick that runs is not a whole one.
        half.saturating_add(1)
    }

    /// The ticks are over. Returns how many more the call gets.
    ///
    /// # Errors
    /// If it gets none.
    pub(super) fn overtime(&mut self) -> wasmtime::Result<u64> {
        self.overtime_at(worked_us())
    }

    fn overtime_at(&mut self, now_us: u64) -> wasmtime::Result<u64> {
        let second_half_us = (self.limit_ms / 2).max(1).saturating_mul(1000);
        let since_us = now_us.saturating_sub(*self.worked_at_half_us.get_or_insert(now_us));
        let left_us = second_half_us.saturating_sub(since_us);
        // Less than half a tick is not worth another one.
        if left_us < 500 || self.passed_ms >= self.limit_ms.saturating_mul(MAX_STRETCH) {
            let text = format!("it ran longer than {} ms", self.limit_ms);
            return Err(Broken::trap(FailureKind::Time, text));
        }
        let ticks = left_us.div_ceil(1000);
        self.passed_ms = self.passed_ms.saturating_add(ticks);
        Ok(ticks)
    }
}

/// How long this thread has worked, in microseconds.
fn worked_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let us = |n: i64| u64::try_from(n).unwrap_or_default();
    us(time.tv_sec).saturating_mul(1_000_000).saturating_add(us(time.tv_nsec) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks until the call is ended, if its thread works for so many
    /// microseconds in each.
    fn ended_after(limit_ms: u64, us_per_tick: u64) -> u64 {
        let mut time = Time::default();
        let mut ticks = time.start(limit_ms);
        while let Ok(more) = time.overtime_at(ticks * us_per_tick) {
            ticks += more;
        }
        ticks
    }

    #[test]
    fn work_counts_and_waiting_hardly_does() {
        assert_eq!(ended_after(10, 1000), 11);
        assert_eq!(ended_after(1, 1000), 3);
        assert!((18..=22).contains(&ended_after(10, 333)), "{}", ended_after(10, 333));
        assert!((200..=206).contains(&ended_after(10, 0)), "{}", ended_after(10, 0));
    }
}
