//! What one process does with one store, and what that took it.

use crate::stores::{Kind, Mode, ROW_BYTES};
use anyhow::{Context, Result};
use std::{
    fs,
    ops::Range,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

/// Rows that are there while others come and go.
const KEPT_ROWS: u64 = 10_000;

/// Rows of one transaction where nothing is measured.
const FILL_ROWS: u64 = 1_000;

/// Between two looks at the size on disk.
const LOOK: Duration = Duration::from_millis(100);

/// What was found: names and numbers.
pub type Found = Vec<(&'static str, f64)>;

/// Commits for so long: each puts `batch` rows and takes away as many old ones.
pub fn run(kind: Kind, mode: Mode, batch: u64, time: Duration, folder: &Path) -> Result<Found> {
    let mut rows = Rows::default();
    let mut store = kind.open(folder, mode)?;
    while rows.next < KEPT_ROWS {
        store.commit(&rows.put(FILL_ROWS), 0..0)?;
    }
    let (started, cpu, written) = (Instant::now(), cpu_s()?, written_bytes()?);
    let (mut took, mut looked, mut most_bytes) = (Vec::new(), Instant::now(), 0);
    while started.elapsed() < time {
        let (put, gone) = (rows.put(batch), rows.gone(batch));
        let begun = Instant::now();
        store.commit(&put, gone)?;
        took.push(begun.elapsed());
        if looked.elapsed() > LOOK {
            looked = Instant::now();
            most_bytes = most_bytes.max(size_bytes(folder));
        }
    }
    let (wall, count) = (started.elapsed().as_secs_f64(), took.len() as f64 * batch as f64);
    took.sort();
    let micros = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)].as_micros();
    Ok(vec![
        ("commits_per_s", took.len() as f64 / wall),
        ("p50_us", micros(50) as f64),
        ("p99_us", micros(99) as f64),
        ("cpu_us_per_row", (cpu_s()? - cpu) * 1e6 / count),
        ("written_per_row", (written_bytes()? - written) as f64 / count),
        ("peak_mib", mib(peak_bytes()?)),
        ("rows", count),
        ("most_mib", mib(most_bytes.max(size_bytes(folder)))),
    ])
}

/// Puts so many rows, and dies.
pub fn fill(kind: Kind, count: u64, folder: &Path) -> Result<()> {
    let mut rows = Rows::default();
    let mut store = kind.open(folder, Mode::Os)?;
    while rows.next < count {
        if rows.next + FILL_ROWS >= count && !kind.outlives_the_process() {
            // Else there would be nothing to recover.
            drop(store);
            store = kind.open(folder, Mode::Disk)?;
        }
        store.commit(&rows.put(FILL_ROWS), 0..0)?;
    }
    std::process::abort()
}

/// Opens what was left, and reads all of it.
pub fn start(kind: Kind, folder: &Path) -> Result<Found> {
    let size = size_bytes(folder);
    let started = Instant::now();
    let mut store = kind.open(folder, Mode::Os)?;
    let open = started.elapsed();
    let count = store.scan()?;
    Ok(vec![
        ("open_s", open.as_secs_f64()),
        ("read_s", started.elapsed().as_secs_f64()),
        ("rows", count as f64),
        ("peak_mib", mib(peak_bytes()?)),
        ("size_mib", mib(size)),
    ])
}

/// Rows that nobody has put before, by a counter.
#[derive(Default)]
struct Rows {
    next: u64,
    first: u64,
    noise: u64,
}

impl Rows {
    fn put(&mut self, count: u64) -> Vec<(u64, Vec<u8>)> {
        let first = self.next;
        self.next += count;
        (first..self.next).map(|id| (id, self.row())).collect()
    }

    fn gone(&mut self, count: u64) -> Range<u64> {
        let first = self.first;
        self.first += count;
        first..self.first
    }

    /// Half of it always the same, as in messages: who compresses may.
    fn row(&mut self) -> Vec<u8> {
        let mut row = vec![b'.'; ROW_BYTES];
        for byte in &mut row[..ROW_BYTES / 2] {
            // Knuth's; its upper bits are the good ones.
            self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.noise >> 56) as u8;
        }
        row
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A number of a file below /proc/self.
fn own(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/{file}")).context("/proc")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()).context("a line of it")?;
    Ok(number.parse()?)
}

/// Caused to be written to disk so far; a page that is written to again before
/// it went there counts once.
fn written_bytes() -> Result<u64> {
    own("io", "write_bytes:")
}

/// The most that was resident so far.
fn peak_bytes() -> Result<u64> {
    Ok(own("status", "VmHWM:")? * 1024)
}

/// Of all threads, user and system.
fn cpu_s() -> Result<f64> {
    let mut ns = 0;
    for thread in fs::read_dir("/proc/self/task").context("/proc")? {
        let stat = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        ns += stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(ns as f64 / 1e9)
}

/// What the files below take on disk.
fn size_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size_bytes(&entry.path()),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0, // gone meanwhile
    };
    entries.flatten().map(of).sum()
}
