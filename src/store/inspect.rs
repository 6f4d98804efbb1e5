//! Looking through a store that may be damaged, and saving what can be read.

use super::{
    Calendar, LogEnd, OpenError,
    database::Database,
    log_of,
    rows::{self, Damage},
    salvage::{Keyed, Life, Numbered, Salvage},
    with_suffix,
};
use crate::core::Uid;
use rusqlite::types::Value;
use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Most problems that are listed; the others are counted.
const MAX_PROBLEMS: usize = 20;

/// Of these, most that are about pages and not about what is in them.
const MAX_PAGE_PROBLEMS: usize = 5;

/// Rows that are written at a time.
const ROWS_AT_ONCE: u64 = 1000;

/// Most files of earlier repairs beside a store.
const MAX_DAMAGED_FILES: u32 = 1000;

/// Ids left out where it is not known any more which were given.
const ID_GAP: i64 = 1 << 32;

/// Times are not looked at.
const CALENDAR: Calendar = Calendar { unix_ms_at_0: 0 };

/// What is in a store.
#[derive(Default, Debug)]
pub struct Findings {
    pub mailboxes: u64,
    pub messages: u64,
    /// Of the messages.
    pub payload_bytes: u64,
    pub values: u64,
    /// What the process before has left in the log; none, if it ended in order.
    pub log: Option<LogEnd>,
    /// What is damaged; a line each.
    pub problems: Vec<String>,
    /// Those that are not in the list.
    pub more_problems: u64,
}

impl Findings {
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn note(&mut self, problem: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mailboxes, messages, payload_bytes, values, .. } = self;
        write!(
            f,
            "{mailboxes} mailboxes, {messages} messages of {payload_bytes} bytes, {values} values"
        )?;
        if let Some(log) = &self.log {
            write!(f, "\n  {log}")?;
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        if self.more_problems > 0 {
            write!(f, "\n  … and {} more", self.more_problems)?;
        }
        Ok(())
    }
}

/// What a repair did.
#[derive(Debug)]
pub struct Repaired {
    /// What the store has now; its problems are what was lost.
    pub findings: Findings,
    /// Where the damaged file is.
    pub damaged: PathBuf,
}

const MAILBOX: Numbered = Numbered { name: "mailbox", id: "uid", columns: &["uid", "row"] };
const MARKS: Numbered = Numbered { name: "marks", id: "uid", columns: &["uid", "row"] };
const MESSAGE: Numbered =
    Numbered { name: "message", id: "id", columns: &["id", "expires", "row"] };
const EPITAPH: Numbered = Numbered { name: "epitaph", id: "rowid", columns: &["until", "row"] };
const PUBLISHED: Numbered =
    Numbered { name: "published", id: "n", columns: &["n", "until", "row"] };
const VALUE: Keyed = Keyed { name: "value", key: "key", columns: &["key", "value", "sum"] };
const SUPERSEDED: Keyed =
    Keyed { name: "superseded", key: "message, uid", columns: &["message", "uid"] };
const TIMER: Keyed =
    Keyed { name: "timer", key: "plugin, name", columns: &["plugin", "name", "at"] };

/// All tables that are looked through; `life` has one row and is read by itself.
#[cfg(test)]
pub(super) const LOOKED_THROUGH: [&str; 9] = [
    MAILBOX.name,
    MARKS.name,
    MESSAGE.name,
    EPITAPH.name,
    PUBLISHED.name,
    VALUE.name,
    SUPERSEDED.name,
    TIMER.name,
    "life",
];

/// Takes a sound row of a table.
type Take<'a> = dyn FnMut(&str, &[Value]) -> Result<(), OpenError> + 'a;

/// Looks through the store in a file, and changes nothing.
///
/// # Errors
/// If somebody has it open, it is no store, or its first page cannot be read.
pub fn check(path: &Path) -> Result<Findings, OpenError> {
    let store = Salvage::open(path)?;
    let mut findings = Findings { log: store.log, ..Findings::default() };
    store.page_problems(MAX_PAGE_PROBLEMS).into_iter().for_each(|line| findings.note(line));
    walk(&store, &mut findings, &mut |_, _| Ok(()))?;
    store.leave().map_err(|error| failed(path, &error))?;
    Ok(findings)
}

/// Moves a damaged file aside and puts what can be read of it into its place.
/// `progress` is told how many rows were saved so far.
///
/// # Errors
/// As [`check`]; or if the new file cannot be written: then the damaged one is
/// where it was.
pub fn repair(path: &Path, progress: &mut dyn FnMut(u64)) -> Result<Repaired, OpenError> {
    // Nobody gets in until the new file is in its place.
    let store = Salvage::open(path)?;
    let mut findings = Findings { log: store.log, ..Findings::default() };
    let saved = with_suffix(path, ".saved");
    // Of a repair that was cut short.
    for left in [log_of(&saved), saved.clone()] {
        remove_if_there(&left).map_err(|error| failed(path, &error))?;
    }
    save(&store, Database::open(&saved, CALENDAR)?, &mut findings, progress)?;
    let damaged = put_in_place(path, &saved).map_err(|error| failed(path, &error))?;
    drop(store);
    Ok(Repaired { findings, damaged })
}

/// Puts the new file where the damaged one is, which it returns the new name of.
/// At no moment there is none, or one with the other's log.
fn put_in_place(path: &Path, saved: &Path) -> io::Result<PathBuf> {
    let damaged = free_name(path)?;
    fs::hard_link(path, &damaged)?;
    let log = log_of(path);
    if log.try_exists()? {
        fs::hard_link(&log, log_of(&damaged))?;
        fs::remove_file(&log)?;
    }
    fs::rename(saved, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => fs::File::open(folder)?.sync_all()?,
        _ => fs::File::open(".")?.sync_all()?,
    }
    Ok(damaged)
}

/// Takes over what can be read.
fn save(
    store: &Salvage,
    into: Database,
    findings: &mut Findings,
    progress: &mut dyn FnMut(u64),
) -> Result<(), OpenError> {
    let (connection, path) = into.into_parts();
    let failed = |error| OpenError::of(&path, error);
    connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let mut saved = 0;
    let life = walk(store, findings, &mut |table, values| {
        let marks = vec!["?"; values.len()].join(", ");
        // What is there twice comes from a page that is not where it belongs.
        let sql = format!("INSERT OR IGNORE INTO {table} VALUES ({marks})");
        let values = rusqlite::params_from_iter(values);
        let insert = connection.prepare_cached(&sql);
        insert.and_then(|mut insert| insert.execute(values)).map_err(failed)?;
        saved += 1;
        if saved % ROWS_AT_ONCE == 0 {
            connection.execute_batch("COMMIT; BEGIN IMMEDIATE").map_err(failed)?;
            progress(saved);
        }
        Ok(())
    })?;
    let newest = "SELECT max((SELECT coalesce(max(uid), 0) FROM mailbox), \
                  (SELECT coalesce(max(id), 0) FROM message))";
    let newest: i64 = connection.query_row(newest, (), |row| row.get(0)).map_err(failed)?;
    let Life { next_id, seen, ahead_ms } = life.unwrap_or_else(|| Life {
        next_id: newest.saturating_add(ID_GAP),
        seen: now_unix_ms(),
        ahead_ms: 0,
    });
    // It did not end in order: what readers may have seen is not known for sure.
    let life = "UPDATE life SET next_id = ?, seen = ?, ended = 0, ahead = ?";
    connection
        // Of messages that are lost. Their ids must not fall on others.
        .execute("DELETE FROM superseded WHERE message NOT IN (SELECT id FROM message)", ())
        .and_then(|_| {
            connection.execute(life, (next_id.max(newest.saturating_add(1)), seen, ahead_ms))
        })
        .and_then(|_| connection.execute_batch("COMMIT"))
        // Carries its log into it, and syncs it. Closing would, too, but does not tell
        // if that fails; and the log does not come along.
        .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())))
        .map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))
}

/// Hands every sound row to `take`, table by table, and returns what there is of
/// `life`.
fn walk(
    store: &Salvage,
    findings: &mut Findings,
    take: &mut Take<'_>,
) -> Result<Option<Life>, OpenError> {
    let life = store.life();
    if let Err(error) = &life {
        findings.note(format!("life: {error}"));
    }
    walk_mailboxes(store, findings, take)?;
    let gaps = store.each_id(&MESSAGE, |id| {
        let Some(values) = sound(store, &MESSAGE, id, findings, |values| {
            rows::decode_sent(number(values, 0)?, number(values, 1)?, blob(values, 2)?)
                .map(|sent| sent.message.len_bytes() as u64)
        }) else {
            return Ok(());
        };
        findings.messages += 1;
        findings.payload_bytes += values.1;
        take(MESSAGE.name, &values.0)
    })?;
    gaps.iter().for_each(|gap| findings.note(format!("{}: {gap}", MESSAGE.name)));
    type Check = fn(&[Value]) -> Result<(), Damage>;
    let numbered: [(&Numbered, Check); 2] =
        [(&EPITAPH, check_epitaph), (&PUBLISHED, check_published)];
    for (table, check) in numbered {
        let gaps = store.each_id(table, |id| {
            let row = sound(store, table, id, findings, check);
            row.map_or(Ok(()), |(values, ())| take(table.name, &values))
        })?;
        gaps.iter().for_each(|gap| findings.note(format!("{}: {gap}", table.name)));
    }
    let keyed: [(&Keyed, Check); 3] =
        [(&VALUE, check_value), (&SUPERSEDED, check_superseded), (&TIMER, check_timer)];
    for (table, check) in keyed {
        let error = store.each_row(table, |values| {
            if let Err(damage) = check(&values) {
                findings.note(format!("{} {:?}: {damage}", table.name, values[0]));
                return Ok(());
            }
            findings.values += u64::from(table.name == VALUE.name);
            take(table.name, &values)
        })?;
        if let Some(error) = error {
            findings.note(format!("{}: a part cannot be read: {error}", table.name));
        }
    }
    Ok(life.ok())
}

/// A mailbox is nothing without its marks, which hold its keys.
fn walk_mailboxes(
    store: &Salvage,
    findings: &mut Findings,
    take: &mut Take<'_>,
) -> Result<(), OpenError> {
    let mut seen = BTreeSet::new();
    let gaps = store.each_id(&MAILBOX, |id| {
        seen.insert(id);
        let Some((mailbox, kept)) = sound(store, &MAILBOX, id, findings, |values| {
            rows::decode_mailbox(Uid(number(values, 0)?), blob(values, 1)?, CALENDAR)
        }) else {
            return Ok(());
        };
        let marks =
            sound(store, &MARKS, id, findings, |values| rows::decode_marks(blob(values, 1)?));
        if let Some((marks, _)) = marks {
            findings.mailboxes += 1;
            take(MAILBOX.name, &mailbox)?;
            return take(MARKS.name, &marks);
        }
        findings.note(format!("mailbox {:?} is lost with its keys", kept.name.as_str()));
        Ok(())
    })?;
    gaps.iter().for_each(|gap| findings.note(format!("{}: {gap}", MAILBOX.name)));
    let mut nameless = 0u64;
    let gaps = store.each_id(&MARKS, |id| {
        nameless += u64::from(!seen.contains(&id));
        Ok::<_, OpenError>(())
    })?;
    gaps.iter().for_each(|gap| findings.note(format!("{}: {gap}", MARKS.name)));
    if nameless > 0 {
        findings.note(format!("{nameless} mailboxes are lost with their names"));
    }
    Ok(())
}

/// A row, and what it says; none: it is damaged, which is noted.
fn sound<T>(
    store: &Salvage,
    table: &Numbered,
    id: i64,
    findings: &mut Findings,
    decode: impl FnOnce(&[Value]) -> Result<T, Damage>,
) -> Option<(Vec<Value>, T)> {
    let why = match store.row(table, id) {
        Ok(Some(values)) => match decode(&values) {
            Ok(decoded) => return Some((values, decoded)),
            Err(damage) => damage.to_string(),
        },
        Ok(None) => "it is not there".to_owned(),
        Err(error) => error.to_string(),
    };
    findings.note(format!("{} {id}: {why}", table.name));
    None
}

fn check_epitaph(values: &[Value]) -> Result<(), Damage> {
    rows::decode_epitaph(number(values, 0)?, blob(values, 1)?).map(drop)
}

fn check_published(values: &[Value]) -> Result<(), Damage> {
    rows::decode_published(number(values, 1)?, blob(values, 2)?).map(drop)
}

fn check_value(values: &[Value]) -> Result<(), Damage> {
    is_text(values, 0)?;
    let sum = u64::from(crc32fast::hash(blob(values, 1)?));
    if sum == number(values, 2)? { Ok(()) } else { Err(Damage::Checksum) }
}

fn check_superseded(values: &[Value]) -> Result<(), Damage> {
    number(values, 0)?;
    number(values, 1).map(drop)
}

fn check_timer(values: &[Value]) -> Result<(), Damage> {
    is_text(values, 0)?;
    is_text(values, 1)?;
    number(values, 2).map(drop)
}

fn blob(values: &[Value], column: usize) -> Result<&[u8], Damage> {
    match values.get(column) {
        Some(Value::Blob(blob)) => Ok(blob),
        _ => Err(Damage::Form("no blob where one should be".into())),
    }
}

fn number(values: &[Value], column: usize) -> Result<u64, Damage> {
    match values.get(column) {
        Some(Value::Integer(number)) => Ok(number.cast_unsigned()),
        _ => Err(Damage::Form("no number where one should be".into())),
    }
}

fn is_text(values: &[Value], column: usize) -> Result<(), Damage> {
    match values.get(column) {
        Some(Value::Text(_)) => Ok(()),
        _ => Err(Damage::Form("no text where one should be".into())),
    }
}

fn failed(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Failed { path: path.to_owned(), error: error.to_string() }
}

fn now_unix_ms() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Of a file that does not exist yet.
fn free_name(path: &Path) -> io::Result<PathBuf> {
    for n in 1..=MAX_DAMAGED_FILES {
        let name = with_suffix(path, &format!(".damaged-{n}"));
        if !name.try_exists()? {
            return Ok(name);
        }
    }
    Err(io::Error::other(format!("there are {MAX_DAMAGED_FILES} damaged ones already")))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
