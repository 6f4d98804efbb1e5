//! The counts that were accepted, a file per compiler, and what has grown.

use crate::Operation;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// How much an operation on the way of a message may grow, in percent.
pub const MAX_GROWTH_PERCENT: u64 = 5;

/// What takes the counts of today as the new baseline.
pub const RENEW: &str = "benches/steady renew";

/// The compiler that made this program.
pub const RUSTC: &str = env!("OPS_RUSTC");
const TARGET: &str = env!("OPS_TARGET");

/// The accepted counts of one compiler, and where they were taken.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    pub rustc: String,
    pub target: String,
    /// Not part of the key: they hardly change the counts. But where a count
    /// did change, they are to be looked at.
    pub valgrind: String,
    pub libc: String,
    /// By name of the operation.
    pub instructions: BTreeMap<String, u64>,
}

impl Baseline {
    /// Where the baseline of this program's compiler is.
    #[must_use]
    pub fn path() -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline");
        folder.join(format!("rustc-{RUSTC}-{TARGET}.toml"))
    }

    /// Without the folders that lie above the project.
    #[must_use]
    pub fn shown_path() -> String {
        format!("benches/ops/baseline/rustc-{RUSTC}-{TARGET}.toml")
    }

    /// None: there is none for this compiler.
    ///
    /// # Errors
    /// If the file cannot be read, or is none.
    pub fn read() -> Result<Option<Self>> {
        match std::fs::read_to_string(Self::path()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(Self::shown_path()),
            Ok(text) => toml::from_str(&text).map(Some).context(Self::shown_path()),
        }
    }

    /// What was counted here and now.
    #[must_use]
    pub fn of(operations: &[Operation], counts: &[u64]) -> Self {
        let names = operations.iter().map(|operation| operation.name.to_owned());
        Self {
            rustc: RUSTC.into(),
            target: TARGET.into(),
            valgrind: said("valgrind", &["--version"]),
            libc: said("getconf", &["GNU_LIBC_VERSION"]),
            instructions: names.zip(counts.iter().copied()).collect(),
        }
    }

    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self) -> Result<()> {
        let Self { rustc, target, valgrind, libc, instructions } = self;
        let mut text = format!(
            "# Instructions per operation, counted by callgrind. Written by `{RENEW}`.\n\
             rustc = {rustc:?}\ntarget = {target:?}\nvalgrind = {valgrind:?}\nlibc = {libc:?}\n\n\
             [instructions]\n"
        );
        for (name, count) in instructions {
            writeln!(text, "{name:?} = {count}").expect("a String takes everything");
        }
        std::fs::create_dir_all(Self::path().parent().expect("it is in a folder"))?;
        std::fs::write(Self::path(), text).context(Self::shown_path())
    }

    /// What else differs between there and here, for who wonders about counts.
    #[must_use]
    pub fn differences(&self, here: &Self) -> Vec<String> {
        let pairs =
            [("valgrind", &self.valgrind, &here.valgrind), ("libc", &self.libc, &here.libc)];
        let differ = pairs.into_iter().filter(|(_, there, here)| there != here);
        differ
            .map(|(what, there, here)| {
                format!("the baseline was counted with {what} {there}, this with {here}")
            })
            .collect()
    }

    /// What is to be said against these counts. Empty: all is well.
    #[must_use]
    pub fn objections(&self, operations: &[Operation], counts: &[u64]) -> Vec<Objection> {
        let mut objections = Vec::new();
        for (operation, &count) in operations.iter().zip(counts) {
            let name = operation.name.to_owned();
            match self.instructions.get(&name) {
                None => objections.push(Objection::New { name }),
                Some(&baseline) if operation.guarded && has_grown(baseline, count) => {
                    objections.push(Objection::Grown { name, baseline, count });
                }
                Some(_) => {}
            }
        }
        let is_known = |name: &str| operations.iter().any(|operation| operation.name == name);
        let gone = self.instructions.keys().filter(|name| !is_known(name));
        objections.extend(gone.map(|name| Objection::Gone { name: name.clone() }));
        objections
    }
}

fn has_grown(baseline: u64, count: u64) -> bool {
    count * 100 > baseline * (100 + MAX_GROWTH_PERCENT)
}

/// The change from one count to another, as people write it.
#[must_use]
#[allow(clippy::cast_precision_loss)] // it is printed with one digit
pub fn percent(baseline: u64, count: u64) -> String {
    format!("{:+.1} %", (count as f64 / baseline as f64 - 1.0) * 100.0)
}

/// Something that fails the check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Objection {
    Grown { name: String, baseline: u64, count: u64 },
    New { name: String },
    Gone { name: String },
}

impl std::fmt::Display for Objection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Grown { name, baseline, count } => {
                let change = percent(*baseline, *count);
                write!(f, "{name} has grown by {change}: {baseline} → {count} instructions")
            }
            Self::New { name } => write!(f, "{name} is not in the baseline"),
            Self::Gone { name } => write!(f, "{name} is in the baseline, but no longer measured"),
        }
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or("unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Work;

    fn operation(name: &'static str, guarded: bool) -> Operation {
        let prepare = || -> Box<dyn Work> { unreachable!("nothing is run here") };
        Operation { name, guarded, per_step: 1, steps: 1, prepare }
    }

    fn objections(baseline: &[(&str, u64)], counts: &[(Operation, u64)]) -> Vec<String> {
        let instructions = baseline.iter().map(|(name, count)| ((*name).to_owned(), *count));
        let baseline = Baseline { instructions: instructions.collect(), ..Baseline::of(&[], &[]) };
        let (names, counts): (Vec<_>, Vec<_>) =
            counts.iter().map(|(op, count)| (operation(op.name, op.guarded), *count)).unzip();
        baseline.objections(&names, &counts).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn five_percent_more_is_too_much_on_the_way_of_a_message_only() {
        let counts = |count| [(operation("a", true), count), (operation("b", false), count)];
        let baseline = [("a", 1000), ("b", 1000)];
        assert_eq!(objections(&baseline, &counts(1050)), [""; 0]);
        let grown = "a has grown by +5.1 %: 1000 → 1051 instructions";
        assert_eq!(objections(&baseline, &counts(1051)), [grown]);
        assert_eq!(objections(&baseline, &counts(10)), [""; 0]);
    }

    #[test]
    fn what_has_no_baseline_is_not_let_through() {
        assert_eq!(
            objections(&[("old", 1)], &[(operation("new", true), 1)]),
            ["new is not in the baseline", "old is in the baseline, but no longer measured"]
        );
    }

    #[test]
    fn what_is_written_can_be_read() {
        let baseline = Baseline::read().expect("valid");
        if let Some(baseline) = baseline {
            assert_eq!((baseline.rustc.as_str(), baseline.target.as_str()), (RUSTC, TARGET));
        }
    }
}
