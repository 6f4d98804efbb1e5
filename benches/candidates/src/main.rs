//! Embedded stores that could keep Cometbox's mailboxes, on the same work: small
//! rows by a counter come, and as many old ones go.
//!
//! Each run is a process of its own, for its peak memory; the stores take turns,
//! so that what else the machine does meets all alike. Prints a table as Markdown.

mod stores;
mod work;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use stores::{Kind, Mode};

/// Compares embedded stores on what Cometbox's store does.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where the stores are made: that file system and disk are measured.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// How often each run is done.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each run is measured.
    #[arg(long, default_value_t = 2, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rows in the store that is started after its process died.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rows: u64,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What one process does; the command starts itself for each.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Run { kind: Kind, mode: Mode, batch: u64 },
    #[command(hide = true)]
    Fill { kind: Kind },
    #[command(hide = true)]
    Start { kind: Kind },
}

const BATCHES: [u64; 3] = [1, 16, 256];

/// Figures of all rounds.
type Figures = BTreeMap<String, Vec<f64>>;

fn main() -> Result<()> {
    let args = Args::parse();
    let found = match args.part {
        Some(Part::Run { kind, mode, batch }) => {
            work::run(kind, mode, batch, Duration::from_secs(args.seconds), &args.folder)?
        }
        Some(Part::Fill { kind }) => return work::fill(kind, args.rows, &args.folder),
        Some(Part::Start { kind }) => work::start(kind, &args.folder)?,
        None => return compare(&args),
    };
    for (name, number) in found {
        println!("{name} {number}");
    }
    Ok(())
}

fn compare(args: &Args) -> Result<()> {
    let mut commits: BTreeMap<(Mode, u64, Kind), Figures> = BTreeMap::new();
    let mut starts: BTreeMap<Kind, Figures> = BTreeMap::new();
    for round in 1..=args.rounds {
        for (mode, batch) in
            [Mode::Os, Mode::Disk].into_iter().flat_map(|m| BATCHES.map(|b| (m, b)))
        {
            for kind in Kind::ALL {
                eprintln!("round {round}: {} {mode:?}, {batch} rows a commit", kind.name());
                let folder = tempfile::tempdir_in(&args.folder)?;
                let part = ["run", &word(kind), &word(mode), &batch.to_string()].map(str::to_owned);
                let figures = commits.entry((mode, batch, kind)).or_default();
                note(figures, &child(args, folder.path(), &part)?)?;
            }
        }
        for kind in Kind::ALL {
            eprintln!("round {round}: {} starts with {} rows", kind.name(), args.rows);
            let folder = tempfile::tempdir_in(&args.folder)?;
            child(args, folder.path(), &["fill".into(), word(kind)])?;
            let said = child(args, folder.path(), &["start".into(), word(kind)])?;
            note(starts.entry(kind).or_default(), &said)?;
        }
    }
    for (kind, figures) in &starts {
        if figures["rows"].iter().any(|rows| *rows != args.rows as f64) {
            bail!("{} has lost rows that were committed: {:?}", kind.name(), figures["rows"]);
        }
    }
    println!(
        "| a commit | figure |{}",
        Kind::ALL.map(|kind| format!(" {} |", kind.name())).concat()
    );
    println!("|---|---|{}", "---|".repeat(Kind::ALL.len()));
    for mode in [Mode::Os, Mode::Disk] {
        for batch in BATCHES {
            let of = |kind: Kind| &commits[&(mode, batch, kind)];
            let until = if mode == Mode::Os { "not synced" } else { "synced" };
            let work = format!("{batch} row{}, {until}", if batch == 1 { "" } else { "s" });
            row(&work, "commits/s", "commits_per_s", 0, of);
            row(&work, "p99, µs", "p99_us", 0, of);
            row(&work, "CPU per row, µs", "cpu_us_per_row", 1, of);
            row(&work, "bytes written per row", "written_per_row", 0, of);
            if batch == BATCHES[2] {
                row(&work, "peak memory, MiB", "peak_mib", 0, of);
                row(&work, "most on disk, MiB", "most_mib", 0, of);
            }
        }
    }
    let (work, of) = (format!("start with {} rows", args.rows), |kind: Kind| &starts[&kind]);
    row(&work, "open, s", "open_s", 2, of);
    row(&work, "open and read all, s", "read_s", 2, of);
    row(&work, "peak memory, MiB", "peak_mib", 0, of);
    row(&work, "on disk, MiB", "size_mib", 0, of);
    Ok(())
}

/// The word for it on the command line.
fn word(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Runs a part; what it says. One that fills has to die.
fn child(args: &Args, folder: &Path, part: &[String]) -> Result<String> {
    let program = std::env::current_exe().context("this program")?;
    let output = Command::new(program)
        .arg("--folder")
        .arg(folder)
        .args(["--seconds", &args.seconds.to_string(), "--rows", &args.rows.to_string()])
        .args(part)
        .stderr(Stdio::piped())
        .output()?;
    let dies = part[0] == "fill";
    let as_expected = if dies { output.status.code().is_none() } else { output.status.success() };
    if !as_expected {
        bail!("{part:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn note(figures: &mut Figures, said: &str) -> Result<()> {
    for line in said.lines() {
        let (name, number) = line.split_once(' ').context("a name and a number")?;
        figures.entry(name.to_owned()).or_default().push(number.parse()?);
    }
    Ok(())
}

/// Medians, with the least and the most.
fn row<'a>(work: &str, title: &str, name: &str, digits: usize, of: impl Fn(Kind) -> &'a Figures) {
    let cells = Kind::ALL.map(|kind| {
        let mut values = of(kind)[name].clone();
        values.sort_by(f64::total_cmp);
        let show = |value: f64| format!("{value:.digits$}");
        let median = show(values[values.len() / 2]);
        match values.len() {
            1 => format!(" {median} |"),
            all => format!(" **{median}** ({} – {}) |", show(values[0]), show(values[all - 1])),
        }
    });
    println!("| {work} | {title} |{}", cells.concat());
}
