//! Counting instructions with valgrind's callgrind.
//!
//! Each operation runs in a process of its own, so that what one leaves behind
//! in the allocator is not counted for another. Callgrind collects inside
//! [`measured_step`] only: neither setting up nor starting is in the counts,
//! nor what other threads do.

use crate::{Operation, Work};
use anyhow::{Context, Result, ensure};
use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
};

/// Steps before the first that counts: buffers find their size, pools fill,
/// the history of a chat room reaches its length.
const WARM_UP: u64 = 3;

/// What callgrind is told to look for, in the names of functions.
const MEASURED: &str = "*measured_step*";

#[inline(never)]
fn measured_step(work: &mut dyn Work) {
    work.step();
}

/// Runs one operation as callgrind is to see it.
pub fn run(operation: &Operation) {
    let mut work = (operation.prepare)();
    for _ in 0..WARM_UP {
        work.step();
        work.reset();
    }
    for _ in 0..operation.steps {
        measured_step(&mut *work);
        work.reset();
    }
}

/// How many instructions one operation is; the caller's program runs it as
/// `run NAME`.
///
/// # Errors
/// If valgrind is missing, or the operation fails under it.
pub fn count(operation: &Operation) -> Result<u64> {
    let name = operation.name;
    let out = std::env::temp_dir().join(format!(
        "cometbox-ops.{}.{}",
        std::process::id(),
        name.replace('/', "-")
    ));
    let counted = count_into(operation, &out).with_context(|| format!("cannot count {name}"));
    let _ = std::fs::remove_file(&out); // it is not there if that failed
    counted
}

fn count_into(operation: &Operation, out: &Path) -> Result<u64> {
    let program = std::env::current_exe().context("where is this program?")?;
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--dump-line=no"])
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["run", operation.name])
        .stdin(Stdio::null())
        .output()
        .context("cannot start valgrind; it is in Debian's package of that name")?;
    let errors = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{}:\n{errors}", done.status);
    let profile = std::fs::read_to_string(out).context("callgrind leaves a profile")?;
    let total = total(&profile).context("the profile has no total")?;
    ensure!(total > 0, "callgrind saw no call of {MEASURED}");
    let operations = operation.steps * operation.per_step;
    Ok((total + operations / 2) / operations)
}

fn total(profile: &str) -> Option<u64> {
    let totals = profile.lines().find_map(|line| line.strip_prefix("totals:"))?;
    totals.trim().parse().ok()
}

/// Counts several operations, side by side on all cores; in their order.
///
/// # Errors
/// That of the first that fails.
pub fn count_all(operations: &[Operation]) -> Result<Vec<u64>> {
    let waiting = Mutex::new(operations.iter().enumerate());
    let counted = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("nobody panics with it").next();
                    let Some((at, operation)) = next else { break };
                    let count = count(operation);
                    counted.lock().expect("nobody panics with it").push((at, count));
                }
            });
        }
    });
    let mut counted = counted.into_inner().expect("nobody panicked with it");
    counted.sort_by_key(|(at, _)| *at);
    counted.into_iter().map(|(_, count)| count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_total_of_a_profile() {
        let profile = "version: 1\nevents: Ir\nsummary: 12\n\nfn=(1)\n1 7\n\ntotals: 345\n";
        assert_eq!(total(profile), Some(345));
        assert_eq!(total("version: 1\n"), None);
    }
}
