//! The file of one app: an SQLite database with a write-ahead log.
//!
//! A batch of changes is one transaction. SQLite writes it behind the others in
//! the log (`-wal`), with checksums, and carries it into the file later; a crash
//! leaves whole transactions only. `synchronous` says whether a commit waits
//! until the log is on disk (`FULL`) or in the hands of the system (`NORMAL`,
//! with which the file itself still cannot be torn).
//! See <https://www.sqlite.org/wal.html>.

use super::{
    Calendar, OpenError,
    batch::Batch,
    load::Load,
    log::{self, LogEnd},
    log_of,
    rows::{self, Moment},
};
use crate::core::{Image, Millis};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, ffi, hooks::Wal};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// Of the tables below; raised when they change.
pub(super) const VERSION: i32 = 2;

/// What says that a file is ours (`PRAGMA application_id`): "CBox".
pub(super) const APPLICATION_ID: i32 = 0x4342_6f78;

const TABLES: &str = "
    CREATE TABLE mailbox (uid INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT;
    CREATE TABLE marks (uid INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT;
    CREATE TABLE message (id INTEGER PRIMARY KEY, expires INTEGER NOT NULL, row BLOB NOT NULL) STRICT;
    CREATE TABLE superseded (message INTEGER, uid INTEGER, PRIMARY KEY (message, uid)) STRICT, WITHOUT ROWID;
    CREATE TABLE timer (plugin TEXT, name TEXT, at INTEGER NOT NULL, PRIMARY KEY (plugin, name)) STRICT, WITHOUT ROWID;
    CREATE TABLE value (key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE epitaph (until INTEGER NOT NULL, row BLOB NOT NULL) STRICT;
    CREATE INDEX epitaph_until ON epitaph (until);
    CREATE TABLE published (n INTEGER PRIMARY KEY, until INTEGER NOT NULL, row BLOB NOT NULL) STRICT;
    -- One row: ids below next_id were given; when the process was last seen; whether
    -- it ended in order; and by how much the calendar of all times here was ahead of
    -- the system's then, in ms.
    CREATE TABLE life (next_id INTEGER NOT NULL, seen INTEGER NOT NULL, ended INTEGER NOT NULL, ahead INTEGER NOT NULL DEFAULT 0) STRICT;
    INSERT INTO life VALUES (1, 0, 1, 0);
";

/// For files that were made before there was this: their calendar was the system's.
const ADD_AHEAD: &str = "ALTER TABLE life ADD COLUMN ahead INTEGER NOT NULL DEFAULT 0";

/// Pages given back to the file system after a batch, at most. A page has 4 KiB.
const MAX_PAGES_FREED: u32 = 256;

/// Publishes whose time is over that a batch deletes at the most, beside twice as
/// many as it brings: after a long time away they must not hold it up.
pub(super) const MIN_FORGOTTEN: usize = 256;

/// Pages in the log from which on it is carried into the file; SQLite's own
/// default, which does not tell if that fails.
const CHECKPOINT_PAGES: u32 = 1000;

/// Size to which the log is cut once it was carried into the file, in bytes.
const LOG_BYTES: u64 = 16 << 20;

/// How the process before ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastLife {
    /// Milliseconds since 1970; 0 if there was none.
    pub seen_unix_ms: u64,
    /// In order: everything was written.
    pub ended: bool,
}

#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
    calendar: Calendar,
    /// By how much that is ahead of the system's, in milliseconds.
    ahead_ms: i64,
    /// `synchronous` is `FULL`.
    syncs: bool,
    row: Vec<u8>,
    /// A sync has failed: of what was written before it, something may never
    /// reach the disk.
    in_doubt: Arc<AtomicBool>,
    /// What the process before has left in the log; none, if it ended in order.
    pub log: Option<LogEnd>,
}

impl Database {
    /// Opens the file of an app, or makes it. Nobody else can have it open
    /// meanwhile.
    pub fn open(path: &Path, calendar: Calendar) -> Result<Self, OpenError> {
        let failed = |error| OpenError::of(path, error);
        let connection = Connection::open(path).map_err(failed)?;
        let mut database = Self {
            connection,
            path: path.to_owned(),
            calendar,
            ahead_ms: 0,
            syncs: false,
            row: Vec::new(),
            in_doubt: Arc::default(),
            log: None,
        };
        database.prepare()?;
        database.checkpoint_after(CHECKPOINT_PAGES).map_err(failed)?;
        Ok(database)
    }

    /// Has the log carried into the file whenever it has so many pages.
    pub fn checkpoint_after(&mut self, pages: u32) -> rusqlite::Result<()> {
        let in_doubt = self.in_doubt.clone();
        let mut is_told = false;
        self.connection.wal_hook(Some(move |log: &mut Wal, in_log| {
            if u32::try_from(in_log).is_ok_and(|in_log| in_log < pages) {
                return Ok(());
            }
            // What was committed stays so, and the next commit tries again.
            let result = log.checkpoint();
            if let Err(error) = &result {
                in_doubt.fetch_or(is_failed_sync(error), Relaxed);
                if !is_told {
                    tracing::warn!(
                        %error,
                        "the log of the store grows: it cannot be carried into the file"
                    );
                }
            }
            is_told = result.is_err();
            Ok(())
        }))
    }

    /// Times go on from when the process before was last seen, by as much as the
    /// system's calendar says has passed since: it does not matter how that was set
    /// while the process ran. Never by more than up to the system's time of now,
    /// since one that was wrong and is set right between two processes would have
    /// everything expire; and where it was set back, nothing has passed, so that what
    /// was to happen soon does not wait for longer.
    pub fn go_on_from_last_life(&mut self, now: Millis) -> rusqlite::Result<()> {
        let sql = "SELECT seen, ahead FROM life";
        let (seen, ahead) = self
            .connection
            .query_row(sql, (), |row| Ok((unsigned(row, 0)?, row.get::<_, i64>(1)?)))?;
        let system = Moment { mono: now, unix_ms: self.calendar.unix(now) };
        let today = seen.max(system.unix_ms.saturating_add_signed(ahead.min(0)));
        self.calendar.unix_ms_at_0 = today.saturating_sub(now);
        self.note_calendar(system);
        Ok(())
    }

    /// What the system's calendar says; kept with the next thing that is written.
    pub fn note_calendar(&mut self, system: Moment) {
        let ours = signed(self.calendar.unix(system.mono));
        self.ahead_ms = ours.saturating_sub(signed(system.unix_ms));
    }

    /// A time of the calendar on the monotonic clock.
    pub fn mono(&self, unix_ms: u64) -> Millis {
        self.calendar.mono(unix_ms)
    }

    /// To write without a batch.
    pub fn into_parts(self) -> (Connection, PathBuf) {
        (self.connection, self.path)
    }

    fn prepare(&mut self) -> Result<(), OpenError> {
        let failed = |error| OpenError::of(&self.path, error);
        let pragma =
            |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let count_tables = || {
            let sql = "SELECT count(*) FROM sqlite_schema";
            self.connection.query_row(sql, (), |row| row.get::<_, u32>(0)).map_err(failed)
        };
        // The first statement that touches the file takes the lock, for good.
        self.connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE").map_err(failed)?;
        if count_tables()? == 0 {
            self.connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL").map_err(failed)?;
        }
        // Nobody writes to the log any more, and it is not written over yet.
        self.log = log::examine(&log_of(&self.path)).map_err(|error| OpenError::Failed {
            path: self.path.clone(),
            error: format!("its log: {error}"),
        })?;
        // Perhaps that process has ended because its syncs failed.
        self.in_doubt.store(self.log.is_some(), Relaxed);
        self.connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = NORMAL;
                 PRAGMA journal_size_limit = {LOG_BYTES};
                 BEGIN IMMEDIATE;"
            ))
            .map_err(failed)?;
        if count_tables()? == 0 {
            self.connection.execute_batch(TABLES).map_err(failed)?;
            self.connection
                .pragma_update(None, "application_id", APPLICATION_ID)
                .map_err(failed)?;
            self.connection.pragma_update(None, "user_version", VERSION).map_err(failed)?;
        } else {
            let (id, version) = (
                pragma("application_id").map_err(failed)?,
                pragma("user_version").map_err(failed)?,
            );
            if id != APPLICATION_ID {
                return Err(OpenError::NotOurs { path: self.path.clone() });
            }
            if version != VERSION {
                return Err(OpenError::Version { path: self.path.clone(), version });
            }
            if !self.connection.column_exists(None, "life", "ahead").map_err(failed)? {
                self.connection.execute_batch(ADD_AHEAD).map_err(failed)?;
            }
        }
        self.connection.execute_batch("COMMIT").map_err(failed)
    }

    /// How the process before ended; from now on, and until
    /// [`Database::end`], this one counts as one that did not.
    pub fn begin_life(&mut self) -> rusqlite::Result<LastLife> {
        let last = self.connection.query_row("SELECT seen, ended FROM life", (), |row| {
            // That it did not may have been in what is cut off.
            let is_whole = self.log.is_none_or(|log| log.is_whole());
            Ok(LastLife { seen_unix_ms: unsigned(row, 0)?, ended: row.get(1)? && is_whole })
        })?;
        self.write_again()?;
        self.sync(true)?;
        // Something has to change, as after each batch: after a crash `ended` does not,
        // and what was read would not be synced.
        let sql = "UPDATE life SET ended = 0, seen = seen + (seen > 0)";
        self.connection.execute(sql, ())?;
        Ok(last)
    }

    /// Writes a batch as a whole, or (on an error) nothing of it.
    pub fn write(&mut self, batch: &Batch, sync: bool, now: Millis) -> rusqlite::Result<()> {
        self.write_again()?;
        self.sync(sync)?;
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let result = self.put(batch, now).and_then(|()| self.connection.execute_batch("COMMIT"));
        if result.is_err() && !self.connection.is_autocommit() {
            // SQLite rolls back by itself after some errors and not after others.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.look_at(result)
    }

    /// Notes a sync that has failed.
    fn look_at<T>(&self, result: rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.in_doubt.fetch_or(result.as_ref().is_err_and(is_failed_sync), Relaxed);
        result
    }

    /// Where a sync has failed, the next must be for all that the log has: a page
    /// that is missing on disk ends the log there, whatever is synced behind it.
    fn write_again(&self) -> rusqlite::Result<()> {
        if self.in_doubt.load(Relaxed) {
            log::write_again(&log_of(&self.path)).map_err(|error| {
                let code = ffi::Error::new(ffi::SQLITE_IOERR_WRITE);
                rusqlite::Error::SqliteFailure(code, Some(format!("its log: {error}")))
            })?;
            self.in_doubt.store(false, Relaxed);
        }
        Ok(())
    }

    fn put(&mut self, batch: &Batch, now: Millis) -> rusqlite::Result<()> {
        let Self { connection, row, calendar, ahead_ms, .. } = self;
        let calendar = *calendar;
        let run = |sql: &str, values: &[&dyn ToSql]| {
            connection.prepare_cached(sql)?.execute(values).map(drop)
        };
        for mailbox in &batch.closed {
            let uid = signed(mailbox.0);
            run("DELETE FROM mailbox WHERE uid = ?", &[&uid])?;
            run("DELETE FROM marks WHERE uid = ?", &[&uid])?;
        }
        for kept in batch.mailboxes.values() {
            rows::encode_mailbox(kept, calendar, row);
            let uid = signed(kept.uid.0);
            run("INSERT OR REPLACE INTO mailbox VALUES (?, ?)", &[&uid, &*row])?;
        }
        for (uid, marks) in &batch.marks {
            rows::encode_marks(marks, row);
            run("INSERT OR REPLACE INTO marks VALUES (?, ?)", &[&signed(uid.0), &*row])?;
        }
        for sent in batch.sent.values() {
            rows::encode_sent(sent, row);
            let expires = signed(calendar.unix(sent.expires_at));
            let values: [&dyn ToSql; 3] = [&signed(sent.id), &expires, &*row];
            run("INSERT OR REPLACE INTO message VALUES (?, ?, ?)", &values)?;
        }
        for message in &batch.done {
            run("DELETE FROM message WHERE id = ?", &[&signed(*message)])?;
            run("DELETE FROM superseded WHERE message = ?", &[&signed(*message)])?;
        }
        for (message, uid) in &batch.superseded {
            run("INSERT INTO superseded VALUES (?, ?)", &[&signed(*message), &signed(uid.0)])?;
        }
        for ((plugin, name), at) in &batch.timers {
            match at {
                Some(at) => run(
                    "INSERT OR REPLACE INTO timer VALUES (?, ?, ?)",
                    &[&plugin.0, name, &signed(calendar.unix(*at))],
                )?,
                None => run("DELETE FROM timer WHERE plugin = ? AND name = ?", &[&plugin.0, name])?,
            }
        }
        for (key, value) in &batch.values {
            match value {
                Some(value) => {
                    let (bytes, sum) = (&value[..], crc32fast::hash(value));
                    let values: [&dyn ToSql; 3] = [key, &bytes, &sum];
                    run("INSERT OR REPLACE INTO value VALUES (?, ?, ?)", &values)?;
                }
                None => run("DELETE FROM value WHERE key = ?", &[key])?,
            }
        }
        let now = signed(calendar.unix(now));
        if !batch.epitaphs.is_empty() {
            run("DELETE FROM epitaph WHERE until <= ?", &[&now])?;
        }
        for epitaph in &batch.epitaphs {
            rows::encode_epitaph(epitaph, row);
            let until = signed(calendar.unix(epitaph.until));
            run("INSERT INTO epitaph VALUES (?, ?)", &[&until, &*row])?;
        }
        for kept in &batch.published {
            rows::encode_published(kept, row);
            let until = signed(calendar.unix(kept.until));
            run("INSERT INTO published (until, row) VALUES (?, ?)", &[&until, &*row])?;
        }
        // In the order of their times, but for what a restart with another window
        // has left.
        let oldest = connection
            .prepare_cached("SELECT until FROM published ORDER BY n LIMIT 1")?
            .query_row((), |row| row.get::<_, i64>(0))
            .optional()?;
        if oldest.is_some_and(|until| until <= now) {
            let some = (MIN_FORGOTTEN + 2 * batch.published.len()) as u64;
            run(
                "DELETE FROM published WHERE until <= ? \
                 AND n IN (SELECT n FROM published ORDER BY n LIMIT ?)",
                &[&now, &signed(some)],
            )?;
        }
        let next_id = signed(batch.next_id);
        // Never what is there already: SQLite writes nothing for a row that stays
        // as it is, and syncs nothing where nothing was written.
        let sql = "UPDATE life SET next_id = max(next_id, ?1), \
                   seen = iif(seen = ?2, ?2 + 1, ?2), ahead = ?3";
        run(sql, &[&next_id, &now, &*ahead_ms])
    }

    /// Gives pages that nothing uses back to the file system; some at a time.
    /// Returns whether there are more.
    pub fn give_back(&self) -> rusqlite::Result<bool> {
        self.look_at(self.vacuum())
    }

    fn vacuum(&self) -> rusqlite::Result<bool> {
        if !self.is_roomy()? {
            return Ok(false);
        }
        let sql = format!("PRAGMA incremental_vacuum({MAX_PAGES_FREED})");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(())?;
        // Each step gives back a page.
        while rows.next()?.is_some() {}
        drop(rows);
        if self.is_roomy()? {
            return Ok(true);
        }
        // The file itself is cut when the log is carried into it, which may be long in
        // coming where nothing is written.
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?;
        Ok(false)
    }

    /// Whether so much is free that some is to be given back.
    fn is_roomy(&self) -> rusqlite::Result<bool> {
        let pages = |which: &str| {
            self.connection.pragma_query_value(None, which, |row| row.get::<_, u32>(0))
        };
        let (free, all) = (pages("freelist_count")?, pages("page_count")?);
        // A quarter stays: a file that breathes would grow again at once.
        Ok(free > all / 4 && free > MAX_PAGES_FREED)
    }

    /// Everything is written: the process ends in order.
    pub fn end(mut self, now: Millis) -> rusqlite::Result<()> {
        self.write_again()?;
        self.sync(true)?;
        let now = signed(self.calendar.unix(now));
        let sql = "UPDATE life SET ended = 1, seen = ?, ahead = ?";
        self.connection.execute(sql, [now, self.ahead_ms])?;
        self.connection.close().map_err(|(_, error)| error)
    }

    fn sync(&mut self, sync: bool) -> rusqlite::Result<()> {
        if self.syncs != sync {
            let synchronous = if sync { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", synchronous)?;
            self.syncs = sync;
        }
        Ok(())
    }

    /// All that lasts. `progress` is told how many rows of how many were read.
    pub fn load(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Image, OpenError> {
        let Self { connection, path, calendar, .. } = self;
        let all = self.count()?;
        Load { connection, path, calendar: *calendar, done: 0, all, progress }.run()
    }

    fn count(&self) -> Result<u64, OpenError> {
        let sql = "SELECT (SELECT count(*) FROM mailbox) + (SELECT count(*) FROM message)";
        let count = self.connection.query_row(sql, (), |row| unsigned(row, 0));
        count.map_err(|error| OpenError::of(&self.path, error))
    }

    /// So that a test need not fill a disk.
    #[cfg(test)]
    pub fn set_max_pages(&self, pages: u32) -> u32 {
        let set = format!("max_page_count = {pages}");
        self.connection.query_row(&format!("PRAGMA {set}"), (), |row| row.get(0)).expect("a pragma")
    }
}

fn is_failed_sync(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_FSYNC)
}

/// SQLite's integers have a sign; the bits stay what they are.
fn signed(number: u64) -> i64 {
    number.cast_signed()
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}
