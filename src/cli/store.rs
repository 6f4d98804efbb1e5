//! `store check` and `store repair`.

use crate::{
    config::Config,
    store::{self, OpenError},
};
use anyhow::{Context, bail, ensure};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Between two lines about the same store.
const PROGRESS: Duration = Duration::from_secs(1);

/// What to do with stores.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Look through stores, and say what is in them and what is damaged
    ///
    /// Reads every row and every page, and changes nothing. The gateway must not
    /// run meanwhile; of one that runs, check a snapshot: each file together with
    /// its `-wal`. Ends with status 1 if anything is damaged or cannot be looked
    /// through.
    Check(Which),
    /// Save what can be read of stores that are damaged
    ///
    /// What can be read goes into a new file in the same place; what cannot is
    /// listed. The damaged file stays beside it as NAME.sqlite.damaged-1 (-2, …),
    /// with its log. Stores that are sound are left alone. The gateway must not
    /// run, and the disk needs room for a second file.
    Repair(Which),
}

/// Which stores.
#[derive(clap::Args)]
pub(super) struct Which {
    #[command(flatten)]
    config: super::ConfigFile,
    /// These files, and not those of the configuration's apps
    #[arg(value_name = "FILE", conflicts_with = "path")]
    files: Vec<PathBuf>,
}

pub(super) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Check(which) => check(which),
        Command::Repair(which) => repair(which),
    }
}

fn check(which: &Which) -> anyhow::Result<()> {
    let mut wrong = 0;
    for path in which.files()? {
        match store::check(&path) {
            Ok(found) if found.is_sound() => println!("{}: sound\n  {found}", path.display()),
            Ok(found) => {
                println!("{}: damaged\n  {found}", path.display());
                wrong += 1;
            }
            Err(error) => {
                println!("{error}");
                wrong += 1;
            }
        }
    }
    ensure!(
        wrong == 0,
        "{wrong} of the stores are not sound; `cometbox store repair` saves what can be read of \
         damaged ones"
    );
    Ok(())
}

fn repair(which: &Which) -> anyhow::Result<()> {
    for path in which.files()? {
        match store::check(&path) {
            Ok(found) if found.is_sound() => {
                println!("{}: sound, and left alone\n  {found}", path.display());
                continue;
            }
            // Nothing can be read where the first page is gone.
            Err(error @ OpenError::Damaged { .. }) => {
                return Err(error).context("nothing can be saved");
            }
            Err(error) => bail!(error),
            Ok(_) => {}
        }
        let mut told = Instant::now();
        let repaired = store::repair(&path, &mut |rows| {
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                eprintln!("{}: {rows} rows are saved", path.display());
            }
        })?;
        println!(
            "{}: repaired; the damaged file is {}\n  {}",
            path.display(),
            repaired.damaged.display(),
            repaired.findings
        );
    }
    Ok(())
}

impl Which {
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        if !self.files.is_empty() {
            return Ok(self.files.clone());
        }
        let config = Config::load(&self.config.path)?;
        let Some(store) = &config.store else {
            bail!("{}: there is no [store]", self.config.path.display());
        };
        // Apps that have not been served yet have none.
        let all = config.apps.iter().map(|app| store::file_of(&store.path, &app.name));
        let files: Vec<_> = all.filter(|path| path.exists()).collect();
        ensure!(!files.is_empty(), "{}: there is no store yet", store.path.display());
        Ok(files)
    }
}
