//! Counts instructions and compares them with what was accepted.

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use cometbox_ops::{
    Operation,
    baseline::{Baseline, MAX_GROWTH_PERCENT, RENEW, RUSTC, percent},
    callgrind,
};
use std::process::ExitCode;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Subcommand)]
enum Cmd {
    /// The operations, those on the way of a message with a star.
    List,
    /// Runs one operation, for callgrind or a profiler.
    Run { operation: String },
    /// Counts all operations and fails if one on the way of a message has
    /// grown by more than 5 %.
    Check,
    /// Takes the counts of now as the baseline of this compiler.
    Renew,
    /// How far several runs lie apart.
    Spread {
        #[arg(default_value_t = 5)]
        runs: usize,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Cmd::List => list(),
        Cmd::Run { operation } => cometbox_ops::find(&operation).map(|it| callgrind::run(&it)),
        Cmd::Check => check(),
        Cmd::Renew => renew(),
        Cmd::Spread { runs } => spread(runs),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<()> {
    for Operation { name, guarded, .. } in cometbox_ops::all() {
        println!("{} {name}", if guarded { '*' } else { ' ' });
    }
    Ok(())
}

fn check() -> Result<()> {
    let Some(baseline) = Baseline::read()? else { return no_baseline() };
    let operations = cometbox_ops::all();
    let counts = callgrind::count_all(&operations)?;
    print_table(&operations, &counts, Some(&baseline));
    let objections = baseline.objections(&operations, &counts);
    if objections.is_empty() {
        println!("no operation on the way of a message grew by more than {MAX_GROWTH_PERCENT} %");
        return Ok(());
    }
    for objection in &objections {
        println!("{objection}");
    }
    for difference in baseline.differences(&Baseline::of(&[], &[])) {
        println!("note: {difference}");
    }
    bail!("if that is meant, run `{RENEW}`, and commit {} with the reason", Baseline::shown_path())
}

/// A developer's own compiler is none of our business, but a check in CI that
/// has nothing to compare with would never fail.
fn no_baseline() -> Result<()> {
    let path = Baseline::shown_path();
    let text = format!("there is no baseline for rustc {RUSTC} ({path}): `{RENEW}` makes it");
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        bail!("{text}; with CI=true that is a failure");
    }
    println!("not checked: {text}");
    Ok(())
}

fn renew() -> Result<()> {
    let operations = cometbox_ops::all();
    let before = Baseline::read()?;
    let counts = callgrind::count_all(&operations)?;
    print_table(&operations, &counts, before.as_ref());
    Baseline::of(&operations, &counts).write()?;
    println!("written: {}", Baseline::shown_path());
    Ok(())
}

fn spread(runs: usize) -> Result<()> {
    let operations = cometbox_ops::all();
    let counted: Vec<Vec<u64>> =
        (0..runs).map(|_| callgrind::count_all(&operations)).collect::<Result<_>>()?;
    for (at, operation) in operations.iter().enumerate() {
        let counts = counted.iter().map(|run| run[at]);
        let (min, max) = (counts.clone().min().unwrap_or(1), counts.max().unwrap_or(1));
        println!("{:<36} {min:>10} … {max:>10} {:>9}", operation.name, percent(min, max));
    }
    Ok(())
}

fn print_table(operations: &[Operation], counts: &[u64], baseline: Option<&Baseline>) {
    println!("{:<36} {:>12} {:>12}", "instructions per operation", "baseline", "now");
    for (operation, &count) in operations.iter().zip(counts) {
        let before = baseline.and_then(|baseline| baseline.instructions.get(operation.name));
        let (before, change) = match before {
            Some(&before) => (before.to_string(), percent(before, count)),
            None => ("-".into(), String::new()),
        };
        let star = if operation.guarded { '*' } else { ' ' };
        println!("{star} {:<34} {before:>12} {count:>12} {change:>9}", operation.name);
    }
}
