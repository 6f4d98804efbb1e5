//! The log: on stderr, or in a file that is opened anew once it was renamed.

use crate::config::{LogConfig, LogFormat};
use anyhow::Context;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::layer,
    layer::{Layered, SubscriberExt},
    registry,
    reload::{self, Handle},
    util::SubscriberInitExt,
};

/// What lets lines through by their level.
type Filter = reload::Layer<EnvFilter, Registry>;
/// What writes lines in a format.
type Lines = Box<dyn Layer<Layered<Filter, Registry>> + Send + Sync>;

/// The log of the process.
#[derive(Clone)]
pub(super) struct Log {
    output: Arc<Output>,
    filter: Handle<EnvFilter, Registry>,
    lines: Handle<Lines, Layered<Filter, Registry>>,
}

/// How the log is to be from now on: a file that is open, a level that is one.
pub(super) struct Prepared {
    place: Place,
    filter: EnvFilter,
    format: LogFormat,
}

enum Place {
    /// Where the log is.
    Same,
    /// A file, or else stderr.
    Other(Option<Arc<LogFile>>),
}

impl Log {
    /// Sets up the log of the process. Once.
    ///
    /// # Errors
    /// If the level is none, or the file cannot be opened.
    pub fn start(config: &LogConfig) -> anyhow::Result<Self> {
        let output = Arc::new(Output::default());
        let Prepared { place, filter, format } = output.prepare(config)?;
        output.go_to(place);
        let (filter_layer, filter) = reload::Layer::new(filter);
        let (lines_layer, lines) = reload::Layer::new(write_as(format, &output));
        let started = registry().with(filter_layer).with(lines_layer).try_init();
        started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
        Ok(Self { output, filter, lines })
    }

    /// Looks whether the log can be like this, and opens its file. Blocks.
    ///
    /// # Errors
    /// As for [`Log::start`]; not if the file is the one that is open.
    pub fn prepare(&self, config: &LogConfig) -> anyhow::Result<Prepared> {
        self.output.prepare(config)
    }

    /// Lines from now on are like this.
    pub fn change(&self, to: Prepared) {
        self.output.go_to(to.place);
        let lines = self.lines.reload(write_as(to.format, &self.output));
        if let Err(error) = lines.and(self.filter.reload(to.filter)) {
            tracing::error!("log: format and level stay: {error}");
        }
    }

    /// Opens the file again by its name. If that fails, what was open until now
    /// goes on. Blocks.
    pub fn reopen(&self) {
        let _turn = self.output.turn.lock();
        let Some(open) = self.output.file.load_full() else { return };
        match LogFile::open(open.path.clone()) {
            Ok(file) => self.output.file.store(Some(file)),
            Err(error) => {
                let error = format!("{error:#}; the file that was open until now goes on");
                // It may be one that nobody can find any more.
                tell(&error);
                tracing::error!("{error}");
            }
        }
    }
}

fn write_as(format: LogFormat, output: &Arc<Output>) -> Lines {
    let is_terminal = output.file.load().is_none() && io::stderr().is_terminal();
    let lines = layer().with_writer(output.clone());
    match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(is_terminal).with_target(false).boxed(),
    }
}

/// Where lines go. One that cannot be written is lost: nothing that the gateway
/// does waits for its log.
#[derive(Default)]
struct Output {
    /// None: stderr.
    file: ArcSwapOption<LogFile>,
    /// Held by who changes that.
    turn: Mutex<()>,
    /// How many lines were lost since one was written.
    lost: AtomicU64,
}

struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    fn open(path: PathBuf) -> anyhow::Result<Arc<Self>> {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("log: cannot open {}", path.display()))?;
        Ok(Arc::new(Self { path, file }))
    }
}

impl Output {
    fn prepare(&self, config: &LogConfig) -> anyhow::Result<Prepared> {
        let filter = EnvFilter::try_new(&config.level)
            .with_context(|| format!("log: {:?} is no level", config.level))?;
        let is_same = self.file.load().as_ref().map(|open| &open.path) == config.file.as_ref();
        let place = if is_same {
            Place::Same
        } else {
            Place::Other(config.file.clone().map(LogFile::open).transpose()?)
        };
        Ok(Prepared { place, filter, format: config.format })
    }

    fn go_to(&self, place: Place) {
        let _turn = self.turn.lock();
        if let Place::Other(file) = place {
            self.file.store(file);
        }
    }
}

/// A line comes in one piece.
impl Write for &Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let open = self.file.load();
        let Some(LogFile { path, file }) = open.as_deref() else {
            // There is nobody else to tell.
            let _ = io::stderr().write_all(line);
            return Ok(line.len());
        };
        let mut file = file;
        let before = self.lost.load(Relaxed);
        // The line that was the first to be lost may be there in part.
        let ended = if before > 0 { file.write_all(b"\n") } else { Ok(()) };
        match ended.and_then(|()| file.write_all(line)) {
            Ok(()) if before == 0 => {}
            Ok(()) => {
                let lost = self.lost.swap(0, Relaxed);
                let path = path.display();
                tell(&format!("log: {path} can be written again; lines are missing: {lost}"));
            }
            Err(error) => {
                if self.lost.fetch_add(1, Relaxed) == 0 {
                    let path = path.display();
                    tell(&format!("log: cannot write {path}: {error}; lines are lost until I can"));
                }
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// On stderr, for whoever wonders where the log is.
fn tell(what: &str) {
    let _ = writeln!(io::stderr(), "{what}");
}
