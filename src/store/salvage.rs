//! Reading a store that may be damaged.
//!
//! SQLite stops at a page that it cannot make sense of. Here tables are walked
//! around such pages, so that one costs the rows in it and not those behind.
//! Every row has a checksum of its own: what is read is what was written.

use super::{
    OpenError, database,
    log::{self, LogEnd},
    log_of,
};
use rusqlite::{Connection, OpenFlags, Row, config::DbConfig, types::Value};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Row ids that are read at a time.
const IDS_AT_ONCE: usize = 1000;

/// A table whose rows have numbers.
pub(super) struct Numbered {
    pub name: &'static str,
    /// The column that is (or stands for) the number; from 1 up.
    pub id: &'static str,
    pub columns: &'static [&'static str],
}

/// A table that is ordered by what its rows say.
pub(super) struct Keyed {
    pub name: &'static str,
    /// Its primary key.
    pub key: &'static str,
    pub columns: &'static [&'static str],
}

/// A store that is open to be read, and by nobody else meanwhile. Nothing in it
/// changes, nor in its log.
pub(super) struct Salvage {
    connection: Connection,
    path: PathBuf,
    pub log: Option<LogEnd>,
}

/// What a store says of the process that had it last.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub next_id: i64,
    /// In milliseconds since 1970.
    pub seen: i64,
    /// By how much the store's calendar was ahead of the system's.
    pub ahead_ms: i64,
}

/// Rows that cannot be read, for that reason.
pub(super) struct Gap {
    first: i64,
    /// Where it goes on; none: nowhere.
    next: Option<i64>,
    error: rusqlite::Error,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { first, next, error } = self;
        match next {
            Some(next) => write!(f, "what lies from {first} to {} ", next - 1)?,
            None => write!(f, "what lies from {first} on ")?,
        }
        write!(f, "cannot be read: {error}")
    }
}

impl Salvage {
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::of(path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| {
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            })
            .and_then(|_| {
                connection.execute_batch(
                    "PRAGMA locking_mode = EXCLUSIVE;
                     PRAGMA query_only = ON;
                     PRAGMA cell_size_check = ON;",
                )
            })
            .map_err(failed)?;
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
        // The first that touches the file, and takes the lock.
        let id: i32 = pragma("application_id").map_err(failed)?;
        if id != database::APPLICATION_ID {
            return Err(OpenError::NotOurs { path: path.to_owned() });
        }
        let version: i32 = pragma("user_version").map_err(failed)?;
        if version != database::VERSION {
            return Err(OpenError::Version { path: path.to_owned(), version });
        }
        let log = log::examine(&log_of(path)).map_err(|error| OpenError::Failed {
            path: path.to_owned(),
            error: format!("its log: {error}"),
        })?;
        Ok(Self { connection, path: path.to_owned(), log })
    }

    /// Leaves it as it was found.
    ///
    /// # Errors
    /// If a log that SQLite has made, and in which is nothing, stays.
    pub fn leave(self) -> io::Result<()> {
        // While nobody else can have it open.
        let log = log_of(&self.path);
        match fs::metadata(&log) {
            Ok(found) if found.len() == 0 => fs::remove_file(&log),
            _ => Ok(()),
        }
    }

    /// What SQLite finds wrong, so many findings at most.
    pub fn page_problems(&self, most: usize) -> Vec<String> {
        let sql = format!("PRAGMA integrity_check({most})");
        let problems = self.connection.prepare(&sql).and_then(|mut statement| {
            statement.query_map((), |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()
        });
        match problems {
            // Several lines in one, below a headline.
            Ok(problems) => problems
                .iter()
                .flat_map(|problem| problem.lines())
                .filter(|line| *line != "ok" && !line.starts_with("***"))
                .map(str::to_owned)
                .collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    /// What all times in it go by.
    pub fn life(&self) -> rusqlite::Result<Life> {
        // Of older files, see `database::ADD_AHEAD`, nothing is changed here.
        let has_ahead = self.connection.column_exists(None, "life", "ahead")?;
        let ahead = if has_ahead { "ahead" } else { "0" };
        let sql = format!("SELECT next_id, seen, {ahead} FROM life");
        self.connection.query_row(&sql, (), |row| {
            Ok(Life { next_id: row.get(0)?, seen: row.get(1)?, ahead_ms: row.get(2)? })
        })
    }

    /// None: there is no such row.
    pub fn row(&self, table: &Numbered, id: i64) -> rusqlite::Result<Option<Vec<Value>>> {
        let Numbered { name, id: column, columns } = table;
        let sql = format!("SELECT {} FROM {name} WHERE {column} = ?", columns.join(", "));
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([id])?;
        rows.next()?.map(|row| values(row, columns.len())).transpose()
    }

    /// Hands over the ids of a table's rows as they rise, and returns what was
    /// left out. Where two unreadable places lie close together, what lies
    /// between them may be left out, too.
    pub fn each_id<E>(
        &self,
        table: &Numbered,
        mut take: impl FnMut(i64) -> Result<(), E>,
    ) -> Result<Vec<Gap>, E> {
        let mut gaps = Vec::new();
        let mut next = Some(0);
        while let Some(first) = next {
            let (ids, error) = self.ids_from(table, first, IDS_AT_ONCE);
            let behind = ids.last().map_or(Some(first), |last| last.checked_add(1));
            let is_all = ids.len() < IDS_AT_ONCE;
            ids.into_iter().try_for_each(&mut take)?;
            next = match (behind, error) {
                (Some(behind), Some(error)) => {
                    let next = self.beyond(table, behind);
                    gaps.push(Gap { first: behind, next, error });
                    next
                }
                (behind, _) => behind.filter(|_| !is_all),
            };
        }
        Ok(gaps)
    }

    fn ids_from(
        &self,
        table: &Numbered,
        first: i64,
        most: usize,
    ) -> (Vec<i64>, Option<rusqlite::Error>) {
        let Numbered { name, id, .. } = table;
        let sql = format!("SELECT {id} FROM {name} WHERE {id} >= ? ORDER BY {id} LIMIT {most}");
        let mut found: Vec<i64> = Vec::new();
        let read = self.connection.prepare_cached(&sql).and_then(|mut statement| {
            let mut rows = statement.query([first])?;
            while let Some(row) = rows.next()? {
                let id = row.get(0)?;
                // Of a page that is not where it belongs: it must not lead in circles.
                if id < first || found.last().is_some_and(|last| id <= *last) {
                    return Err(rusqlite::Error::IntegralValueOutOfRange(0, id));
                }
                found.push(id);
            }
            Ok(())
        });
        (found, read.err())
    }

    /// The first id behind a place that cannot be read: in steps that double,
    /// and then halving what lies between.
    fn beyond(&self, table: &Numbered, broken: i64) -> Option<i64> {
        let reads = |first: i64| self.ids_from(table, first, 1).1.is_none();
        let (mut bad, mut step) = (broken, 1i64);
        let mut good = loop {
            let first = bad.checked_add(step)?;
            if reads(first) {
                break first;
            }
            (bad, step) = (first, step.checked_mul(2)?);
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if reads(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(good)
    }

    /// Hands over a table's rows from its beginning to the first page that cannot
    /// be read, and if there is one, from its end back to the last. Returns why.
    pub fn each_row<E>(
        &self,
        table: &Keyed,
        mut take: impl FnMut(Vec<Value>) -> Result<(), E>,
    ) -> Result<Option<rusqlite::Error>, E> {
        let forward = self.rows_by(table, "ASC", &mut take)?;
        if forward.is_some() {
            self.rows_by(table, "DESC", &mut take)?;
        }
        Ok(forward)
    }

    fn rows_by<E>(
        &self,
        table: &Keyed,
        order: &str,
        take: &mut impl FnMut(Vec<Value>) -> Result<(), E>,
    ) -> Result<Option<rusqlite::Error>, E> {
        let Keyed { name, key, columns } = table;
        let by: Vec<String> = key.split(", ").map(|column| format!("{column} {order}")).collect();
        let sql = format!("SELECT {} FROM {name} ORDER BY {}", columns.join(", "), by.join(", "));
        let mut statement = match self.connection.prepare(&sql) {
            Ok(statement) => statement,
            Err(error) => return Ok(Some(error)),
        };
        let mut rows = match statement.query(()) {
            Ok(rows) => rows,
            Err(error) => return Ok(Some(error)),
        };
        loop {
            let read =
                rows.next().and_then(|row| row.map(|row| values(row, columns.len())).transpose());
            match read {
                Ok(Some(values)) => take(values)?,
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(error)),
            }
        }
    }
}

fn values(row: &Row<'_>, columns: usize) -> rusqlite::Result<Vec<Value>> {
    (0..columns).map(|column| row.get(column)).collect()
}
