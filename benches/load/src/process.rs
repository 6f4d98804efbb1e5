//! What the server costs: CPU time, memory and written bytes of its process
//! tree, from /proc.

use anyhow::{Context, Result, anyhow};
use rustix::time::{ClockId, clock_gettime};
use std::fs;

/// The unit of times in /proc/PID/stat. The kernel has told user space this
/// number, whatever its own tick, on every architecture that Rust builds for.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process and everything that it started.
#[derive(Clone, Copy)]
pub struct Tree {
    root: u32,
}

/// The fields of /proc/PID/stat that count here.
struct Stat {
    parent: u32,
    /// User and system time, that of children which ended included, in ticks.
    ticks: u64,
}

/// CPU time by two clocks. The fine one forgets threads that ended and is not
/// in every kernel, so it counts only while it agrees with the coarse one.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    ticks: u64,
    nanos: u64,
    processes: u64,
}

impl Cpu {
    /// Seconds between two looks.
    pub fn since(&self, earlier: &Self) -> f64 {
        let coarse = self.ticks.saturating_sub(earlier.ticks) as f64 / TICKS_PER_SECOND;
        let fine = self.nanos.saturating_sub(earlier.nanos) as f64 / 1e9;
        // User and system time are each cut to whole ticks.
        let cut = 2.0 * self.processes as f64 / TICKS_PER_SECOND;
        if (fine - coarse).abs() <= cut { fine } else { coarse }
    }
}

impl Tree {
    /// Fails if there is no such process.
    pub fn new(root: u32) -> Result<Self> {
        stat(root).with_context(|| format!("there is no process {root}: --server-pid"))?;
        Ok(Self { root })
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Result<Cpu> {
        let (mut ticks, mut nanos, mut processes) = (0, 0, 0);
        for pid in self.members()? {
            // One that ended meanwhile is in its parent's account.
            ticks += stat(pid).map_or(0, |stat| stat.ticks);
            nanos += threads_ns(pid);
            processes += 1;
        }
        Ok(Cpu { ticks, nanos, processes })
    }

    /// Proportional set size in bytes: memory that is shared within the tree
    /// counts once.
    pub fn pss_bytes(&self) -> Result<u64> {
        let mut kib = 0;
        for pid in self.members()? {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
                .with_context(|| format!("the memory of process {pid} is not to be read"))?;
            let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
            let value = pss.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
            kib += value.ok_or_else(|| anyhow!("/proc/{pid}/smaps_rollup has no Pss"))?;
        }
        Ok(kib * 1024)
    }

    /// Bytes that it has caused to be written to disk so far: a page that is
    /// written to again before it went there counts once. None if the system
    /// does not tell.
    pub fn written_bytes(&self) -> Option<u64> {
        let of = |pid: &u32| -> Option<u64> {
            let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
            io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
        };
        self.members().ok()?.iter().map(of).sum()
    }

    fn members(&self) -> Result<Vec<u32>> {
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc").context("/proc")? {
            let name = entry.context("/proc")?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Ok(stat) = stat(pid) {
                all.push((pid, stat.parent));
            }
        }
        let mut members = vec![self.root];
        let mut at = 0;
        while let Some(&parent) = members.get(at) {
            members.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        Ok(members)
    }
}

fn stat(pid: u32) -> Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before it is in brackets and may contain anything.
    let fields = text.rsplit_once(") ").context("no name in it")?.1;
    let fields: Vec<&str> = fields.split(' ').collect();
    let number = |index: usize| -> Result<u64> {
        Ok(fields.get(index).context("too few fields")?.parse::<u64>()?)
    };
    // proc(5) counts pid and name as 1 and 2: these are 4, and 14 to 17.
    let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
    Ok(Stat { parent: number(1)? as u32, ticks })
}

/// The CPU time of a process's threads so far, in nanoseconds.
fn threads_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let nanos = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    nanos.sum()
}

/// The CPU time of this process, in seconds.
pub fn own_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The monotonic clock, in nanoseconds.
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_tree_has_children_memory_and_time() {
        let tree = Tree::new(std::process::id()).expect("this process");
        let mut child = Command::new("sleep").arg("10").spawn().expect("sleep");
        assert!(tree.members().expect("/proc").contains(&child.id()));
        assert!(tree.pss_bytes().expect("a size") > 100_000);
        let cpu = tree.cpu().expect("a time");
        assert_eq!(cpu.since(&cpu), 0.0);
        assert!(tree.written_bytes().is_some());
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }

    #[test]
    fn the_fine_clock_counts_while_it_agrees_with_the_coarse_one() {
        let cpu = |ticks, nanos| Cpu { ticks, nanos, processes: 1 };
        for (ticks, nanos, expected) in [
            (101, 1_004_000_000, 1.004),
            (100, 1_019_000_000, 1.019),
            // A thread ended, or there is no such clock.
            (100, 700_000_000, 1.0),
            (100, 0, 1.0),
        ] {
            assert_eq!(cpu(ticks, nanos).since(&cpu(0, 0)), expected);
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(Tree::new(u32::MAX).is_err());
    }
}
