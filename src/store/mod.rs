//! Keeps what is in a core through the end of the process.
//!
//! A core that records leaves [`Change`]s; [`Store::push`] takes them in the
//! order of the commits. One thread per app writes all that has come meanwhile
//! as one transaction, so that however many publish, they share a sync; who has
//! to know that something is kept waits by [`Store::settled`]. Reads never wait.
//!
//! A write that fails is tried again, together with what came since, until there
//! is room: nothing is given up, and what is in memory and what is on disk never
//! part. Meanwhile [`Store::failing`] tells why, so that nothing new is taken.

mod batch;
mod database;
mod inspect;
mod load;
mod log;
mod rows;
mod salvage;
mod writer;

#[cfg(test)]
mod tests;

pub use database::LastLife;
pub use inspect::{Findings, Repaired, check, repair};
pub use log::LogEnd;
pub use rows::{Calendar, Moment};

use crate::core::{Change, Image, Millis};
use batch::size_bytes;
use database::Database;
use parking_lot::{Condvar, Mutex};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::watch;
use writer::Writer;

/// Changes that may wait to be written, in bytes, before nothing new is taken.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// How long a disk may take that is tried, see [`Store::try_disk`].
const TRY_WITHIN: Duration = Duration::from_secs(10);

/// What a publisher waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Nothing: the message is in its mailboxes.
    None,
    /// The message is with the operating system: it outlives the process.
    #[default]
    Os,
    /// The message is on disk: it outlives a power cut.
    Disk,
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{}: another process has it open; each gateway needs a [store] path of its own", path.display())]
    Locked { path: PathBuf },
    #[error("{}: it is not a store of Cometbox", path.display())]
    NotOurs { path: PathBuf },
    #[error(
        "{}: it was written by another version of Cometbox (format {version})", path.display()
    )]
    Version { path: PathBuf, version: i32 },
    #[error(
        "{}: damaged: {what}. `cometbox store check` says more, and `cometbox store repair` saves \
         what can be read", path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error("{}: {error}", path.display())]
    Failed { path: PathBuf, error: String },
}

impl OpenError {
    fn of(path: &Path, error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseCorrupt, DatabaseLocked, NotADatabase};
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked) => Self::Locked { path },
            Some(NotADatabase) => Self::NotOurs { path },
            Some(DatabaseCorrupt) => Self::Damaged { path, what: error.to_string() },
            _ => {
                let why = not_writable(&path).map_or_else(|| error.to_string(), |e| e.to_string());
                Self::Failed { path, error: why }
            }
        }
    }
}

/// Why a file cannot be opened and written, if the system says so: SQLite only
/// says that it cannot.
fn not_writable(path: &Path) -> Option<std::io::Error> {
    match std::fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => None,
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Some(error),
        Err(_) => {
            rustix::fs::access(path.parent()?, rustix::fs::Access::WRITE_OK).err().map(Into::into)
        }
    }
}

/// How far the writer is, in changes since the start.
#[derive(Clone, Default, Debug)]
pub struct Progress {
    with_the_os: u64,
    on_disk: u64,
    /// The newest messages there, by [`crate::core::Sent::id`].
    newest_with_the_os: u64,
    newest_on_disk: u64,
    /// Why the last write failed.
    failing: Option<Arc<str>>,
}

impl Progress {
    fn newest(&self, durability: Durability) -> u64 {
        match durability {
            Durability::None => u64::MAX,
            Durability::Os => self.newest_with_the_os,
            Durability::Disk => self.newest_on_disk,
        }
    }
}

#[derive(Default)]
struct Waiting {
    changes: Vec<Change>,
    bytes: usize,
    /// Changes since the start.
    pushed: u64,
    /// The newest message that came.
    newest: u64,
    /// Somebody waits until so many are with the operating system.
    write_up_to: u64,
    /// Somebody waits until so many are on disk.
    sync_up_to: u64,
    ends: bool,
}

struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    progress: watch::Sender<Progress>,
}

/// The writer's thread, which ends with why something is not written.
type Running = JoinHandle<Result<(), Arc<str>>>;

/// What an app's core leaves behind, on its way to disk.
pub struct Store {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    writer: Mutex<Option<Running>>,
}

/// What was there when a store was opened.
pub struct Opened {
    pub image: Image,
    pub last_life: LastLife,
    /// When the process before was last seen, on this one's monotonic clock.
    pub down_since: Millis,
    /// What it has left in the log; none, if it ended in order.
    pub log: Option<LogEnd>,
    /// Messages that were sent before have lower ids.
    next_id: u64,
    database: Database,
}

/// Opens the store of an app in a file, and reads what is in it. It is `now`;
/// `progress` is told how many rows of how many were read.
///
/// # Errors
/// If the file is somebody else's, is damaged, or cannot be read or written.
pub fn open(
    path: &Path,
    calendar: Calendar,
    now: Millis,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Opened, OpenError> {
    let mut database = Database::open(path, calendar)?;
    database.go_on_from_last_life(now).map_err(|error| OpenError::of(path, error))?;
    let image = database.load(progress)?;
    let last_life = database.begin_life().map_err(|error| OpenError::of(path, error))?;
    let down_since = database.mono(last_life.seen_unix_ms).min(now);
    let log = database.log;
    Ok(Opened { next_id: image.next_id, image, last_life, down_since, log, database })
}

/// Where an app's store is, in the folder of all.
#[must_use]
pub fn file_of(folder: &Path, app: &str) -> PathBuf {
    folder.join(format!("{app}.sqlite"))
}

/// The write-ahead log of a file.
fn log_of(path: &Path) -> PathBuf {
    with_suffix(path, "-wal")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Opened {
    /// Takes what was there out, to make a core of it.
    #[must_use]
    pub fn take_image(mut self) -> (Image, Self) {
        (std::mem::take(&mut self.image), self)
    }

    /// Starts to write. `now` tells the core's time, and the system's calendar.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        self,
        name: &str,
        now: impl Fn() -> Moment + Send + 'static,
    ) -> std::io::Result<Store> {
        // What is there is synced before anything is served.
        let newest = self.next_id.saturating_sub(1);
        let (sender, progress) = watch::channel(Progress {
            newest_with_the_os: newest,
            newest_on_disk: newest,
            ..Progress::default()
        });
        let waiting = Mutex::new(Waiting { newest, ..Waiting::default() });
        let shared = Arc::new(Shared { waiting, wake: Condvar::new(), progress: sender });
        let writer = Writer::new(name, self.database, shared.clone(), Box::new(now));
        let writer = std::thread::Builder::new()
            .name(format!("store {name}"))
            .spawn(move || writer.run())?;
        Ok(Store { shared, progress, writer: Mutex::new(Some(writer)) })
    }
}

impl Store {
    /// Takes changes, which are gone from `changes` then. Called in the order of
    /// the commits, hence under the core's lock; writes nothing itself.
    pub fn push(&self, changes: &mut Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut waiting = self.shared.waiting.lock();
        waiting.pushed += changes.len() as u64;
        for change in &*changes {
            waiting.bytes += size_bytes(change);
            if let Change::Sent(sent) = change {
                waiting.newest = sent.id;
            }
        }
        let was_empty = waiting.changes.is_empty();
        waiting.changes.append(changes);
        drop(waiting);
        if was_empty {
            self.shared.wake.notify_one();
        }
    }

    /// Why nothing new should be taken, if so.
    #[must_use]
    pub fn failing(&self) -> Option<Arc<str>> {
        if self.shared.waiting.lock().bytes > MAX_WAITING_BYTES {
            return Some("the disk is slower than what comes".into());
        }
        self.progress.borrow().failing.clone()
    }

    /// Waits until everything that was pushed so far is as durable as this.
    ///
    /// # Errors
    /// If writing fails; it is tried again all the same.
    pub async fn settled(&self, durability: Durability) -> Result<(), Arc<str>> {
        if durability == Durability::None {
            return Ok(());
        }
        let up_to = self.hurry(durability);
        let mut progress = self.progress.clone();
        let done = progress
            .wait_for(|progress| {
                let reached = match durability {
                    Durability::Disk => progress.on_disk,
                    _ => progress.with_the_os,
                };
                reached >= up_to || progress.failing.is_some()
            })
            .await;
        match done {
            Ok(progress) => progress.failing.clone().map_or(Ok(()), Err),
            Err(_) => Err("the store has ended".into()),
        }
    }

    /// Has something written and synced, also if nothing has changed: the last
    /// write that worked may be long ago.
    ///
    /// # Errors
    /// Why that fails; or it takes more than ten seconds.
    pub async fn try_disk(&self) -> Result<(), Arc<str>> {
        // Counts as a change, of which there is nothing to write.
        self.shared.waiting.lock().pushed += 1;
        let tried = tokio::time::timeout(TRY_WITHIN, self.settled(Durability::Disk)).await;
        tried.unwrap_or_else(|_| Err("the disk does not answer".into()))
    }

    /// Has what was pushed so far made as durable as this soon; returns how many
    /// changes that are.
    pub fn hurry(&self, durability: Durability) -> u64 {
        let mut waiting = self.shared.waiting.lock();
        let up_to = waiting.pushed;
        let waited_for = match durability {
            Durability::None => return up_to,
            Durability::Os => &mut waiting.write_up_to,
            Durability::Disk => &mut waiting.sync_up_to,
        };
        if *waited_for < up_to {
            *waited_for = up_to;
            self.shared.wake.notify_one();
        }
        up_to
    }

    /// The newest message that is as durable as this, and with it all before, by
    /// [`crate::core::Sent::id`].
    #[must_use]
    pub fn newest(&self, durability: Durability) -> u64 {
        self.progress.borrow().newest(durability)
    }

    /// Changes whenever something was written, or was not.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Writes what is left, and ends: what is pushed afterwards is not kept.
    /// Blocks. Called once more, it does nothing.
    ///
    /// # Errors
    /// Why what was left is not written. It is tried once.
    pub fn end(&self) -> Result<(), Arc<str>> {
        self.shared.waiting.lock().ends = true;
        self.shared.wake.notify_one();
        let Some(writer) = self.writer.lock().take() else { return Ok(()) };
        writer.join().unwrap_or_else(|_| {
            tracing::error!("the store's writer has failed");
            Err("its writer has failed".into())
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The log has it.
        let _ = self.end();
    }
}
