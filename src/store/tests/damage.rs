//! What is told of a store that is damaged, and what of it is saved.

use super::*;
use std::{collections::BTreeMap, fmt::Debug};

const HEADER_BYTES: usize = 32;
const PAGE_BYTES: usize = 4096;
const FRAME_BYTES: usize = 24 + PAGE_BYTES;

/// Of the transactions that a crash may take.
const FIRST_LATE: u64 = 100;

/// What a process that was killed leaves: a copy, made while it runs.
struct Crashed {
    file: Vec<u8>,
    log: Vec<u8>,
    /// Of each of the log's frames, whether a transaction ends with it.
    ends: Vec<bool>,
}

impl Crashed {
    /// Its first transaction is its start, and each of the others a message.
    fn after(messages: u64) -> Self {
        let folder = Folder::new();
        write(&folder, changes(), 100, true);
        let mut database = Database::open(&folder.file(), CALENDAR).expect("it opens");
        database.begin_life().expect("it can be written");
        for id in FIRST_LATE..FIRST_LATE + messages {
            let mut batch = Batch::default();
            // Of one page, and of several.
            let payload = vec![7; 3_000 * (id as usize % 3)];
            batch.add(sent(id, Kind::Binary, &payload, &[(6, id)]));
            database.write(&batch, true, 1_000).expect("it can be written");
        }
        let read = |path: &Path| fs::read(path).expect("it is there");
        let (file, log) = (read(&folder.file()), read(&log_of(&folder.file())));
        let frames = log[HEADER_BYTES..].chunks_exact(FRAME_BYTES);
        let ends: Vec<bool> = frames.map(|frame| frame[4..8] != [0; 4]).collect();
        assert_eq!(ends.iter().filter(|ends| **ends).count() as u64, messages + 1);
        Self { file, log, ends }
    }

    /// Transactions that end in the first frames, and where the last does.
    fn whole(&self, frames: usize) -> (usize, usize) {
        let frames = &self.ends[..frames];
        let last = frames.iter().rposition(|ends| *ends).map_or(0, |at| at + 1);
        (frames.iter().filter(|ends| **ends).count(), last)
    }

    /// What opening it with this log makes of it.
    fn open(&self, log: &[u8]) -> Opened {
        let folder = Folder::new();
        fs::write(folder.file(), &self.file).expect("a new file");
        fs::write(log_of(&folder.file()), log).expect("a new file");
        folder.open().expect("it opens")
    }
}

fn examine(log: &[u8]) -> Option<LogEnd> {
    log::examine_bytes(log).expect("bytes can be read")
}

#[test]
fn wherever_a_log_is_cut_it_is_told() {
    let crashed = Crashed::after(4);
    let near = |len: usize| (len + 20).saturating_sub(HEADER_BYTES) % FRAME_BYTES < 40;
    for len in (0..=crashed.log.len()).filter(|len| near(*len) || len % 61 == 0) {
        let told = examine(&crashed.log[..len]);
        let Some(frames) = len.checked_sub(HEADER_BYTES) else {
            assert_eq!(told, None, "{len}");
            continue;
        };
        let (transactions, last) = crashed.whole(frames / FRAME_BYTES);
        let mut cut_off = frames - last * FRAME_BYTES;
        if frames % FRAME_BYTES < 16 {
            cut_off -= frames % FRAME_BYTES; // whose frame it is cannot be said
        }
        let expected = LogEnd {
            transactions: transactions as u64,
            cut_off_bytes: cut_off as u64,
            ..LogEnd::default()
        };
        assert_eq!(told, Some(expected), "{len}");
    }
}

#[test]
fn wherever_a_log_is_damaged_it_is_told_and_what_lies_before_is_taken() {
    let crashed = Crashed::after(4);
    let all = crashed.whole(crashed.ends.len()).0;
    for frame in 0..crashed.ends.len() {
        for (part, at) in [("page number", 0), ("salt", 9), ("checksum", 17), ("page", 1_000)] {
            let mut log = crashed.log.clone();
            log[HEADER_BYTES + frame * FRAME_BYTES + at] ^= 1;
            let (transactions, last) = crashed.whole(frame);
            let (mut frames, mut lost) = (crashed.ends.len() - last, all - transactions);
            if part == "salt" {
                // It looks like one of an earlier life.
                (frames, lost) = (frames - 1, lost - usize::from(crashed.ends[frame]));
            }
            let expected = LogEnd {
                transactions: transactions as u64,
                cut_off_bytes: (frames * FRAME_BYTES) as u64,
                cut_off_transactions: lost as u64,
                is_headless: false,
            };
            let case = format!("frame {frame}, {part}");
            assert_eq!(examine(&log), Some(expected), "{case}");
            let opened = crashed.open(&log);
            let late = opened.image.messages.range(FIRST_LATE..).count();
            assert_eq!(late, transactions.saturating_sub(1), "{case}: SQLite says the same");
            assert_eq!(opened.log, Some(expected), "{case}");
            assert!(!opened.last_life.ended, "{case}: it was killed");
        }
    }
}

#[test]
fn a_log_without_its_header_is_told_and_is_no_orderly_end() {
    let crashed = Crashed::after(2);
    for at in [0, 9, 17, 25] {
        let mut log = crashed.log.clone();
        log[at] ^= 1;
        let opened = crashed.open(&log);
        let told = opened.log.expect("there is a log");
        assert!(told.is_headless && !told.is_whole(), "{at}");
        assert_eq!(told.cut_off_bytes as usize, log.len() - HEADER_BYTES, "{at}");
        assert_eq!(opened.image.messages.range(FIRST_LATE..).count(), 0, "{at}");
        assert!(!opened.last_life.ended, "{at}: the file itself says that it ended in order");
    }
}

#[test]
fn what_is_left_of_an_earlier_life_of_a_log_is_no_loss() {
    let folder = Folder::new();
    let mut database = Database::open(&folder.file(), CALENDAR).expect("it opens");
    let mut batch = Batch::default();
    batch.add(sent(20, Kind::Binary, &[7; 50_000], &[(6, 20)]));
    database.write(&batch, true, 1_000).expect("it can be written");
    let (connection, path) = database.into_parts();
    connection
        .execute_batch("PRAGMA wal_checkpoint(RESTART); UPDATE life SET seen = 77")
        .expect("it can be written");
    let told = log::examine(&log_of(&path)).expect("it can be read").expect("there is a log");
    assert_eq!(told, LogEnd { transactions: 1, ..LogEnd::default() });
    let size = fs::metadata(log_of(&path)).expect("there is a log").len();
    assert!(size > 10 * FRAME_BYTES as u64, "{size}: the earlier one is behind it");
}

/// A store with some of everything on many pages, left in order.
fn large() -> (Folder, Image) {
    let mut all = Vec::new();
    for uid in 1..=400 {
        all.extend([mailbox(uid, &format!("m{uid}")), marks(uid, uid)]);
    }
    for id in 1_000..2_000 {
        let payload = format!("payload {id} {}", "x".repeat(id as usize % 700));
        all.push(sent(id, Kind::Text, payload.as_bytes(), &[(id % 400 + 1, id)]));
        if id % 2 == 0 {
            all.push(Change::Superseded { message: id, mailbox: Uid(id % 400 + 1) });
        }
        let value = Some(format!("value {id}").repeat(10).into());
        all.push(Change::Value { key: format!("key {id}").into(), value });
        all.push(epitaph(&format!("gone {id}"), 90_000 + id));
    }
    let mut image = Image::default();
    all.iter().cloned().for_each(|change| image.apply(change));
    let folder = Folder::new();
    write(&folder, all, 5_000, true);
    (folder, image)
}

/// How many of what was there are gone; the others are what they were.
fn gone<K: Ord + Debug, V: Debug>(before: &BTreeMap<K, V>, after: &BTreeMap<K, V>) -> usize {
    for (key, value) in after {
        assert_eq!(format!("{value:?}"), format!("{:?}", before.get(key).expect("it was there")));
    }
    before.len() - after.len()
}

/// Leaves of a table: page and rows.
fn leaves(folder: &Folder, table: &str) -> Vec<(usize, usize)> {
    let connection = rusqlite::Connection::open(folder.file()).expect("it opens");
    let sql = "SELECT pageno, ncell FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path";
    let mut statement = connection.prepare(sql).expect("SQLite is built with dbstat");
    let leaf = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, u32>(0)? as usize, row.get::<_, u32>(1)? as usize))
    };
    statement.query_map([table], leaf).expect("a query").map(|leaf| leaf.expect("a row")).collect()
}

fn page(file: &mut [u8], number: usize) -> &mut [u8] {
    &mut file[(number - 1) * PAGE_BYTES..number * PAGE_BYTES]
}

#[test]
fn a_damaged_page_costs_what_is_in_it() {
    type Harm = fn(&mut [u8]);
    // The last byte of a page is that of a row.
    let harms: [(&str, Harm, bool); 3] = [
        ("zeros", |page| page.fill(0), false),
        ("garbage", |page| fastrand::Rng::with_seed(1).fill(page), false),
        ("one byte", |page| page[PAGE_BYTES - 1] ^= 1, true),
    ];
    for table in ["mailbox", "marks", "message", "value", "epitaph"] {
        for (harm, damage, costs_a_row) in harms {
            let case = format!("{table}, {harm}");
            let (folder, before) = large();
            let leaves = leaves(&folder, table);
            assert!(leaves.len() > 4, "{case}: {leaves:?}");
            let (number, rows) = leaves[leaves.len() / 2];
            let mut file = fs::read(folder.file()).expect("it is there");
            damage(page(&mut file, number));
            fs::write(folder.file(), &file).expect("it can be written");

            let refused = folder.open().err().expect("it does not open").to_string();
            assert!(refused.contains("cometbox store repair"), "{case}: {refused}");
            let found = check(&folder.file()).expect("it can be looked through");
            assert!(!found.is_sound(), "{case}");
            assert_eq!(fs::read(folder.file()).expect("it is there"), file, "{case}: unchanged");
            assert_eq!(fs::read_dir(folder.0.path()).expect("a folder").count(), 1, "{case}");

            let repaired = repair(&folder.file(), &mut |_| ()).expect("it can be repaired");
            assert!(!repaired.findings.is_sound(), "{case}: what is lost is told");
            assert_eq!(fs::read(&repaired.damaged).expect("it is there"), file, "{case}: kept");
            let found = check(&folder.file()).expect("it can be looked through");
            assert!(found.is_sound(), "{case}: {found}");
            let opened = folder.open().unwrap_or_else(|error| panic!("{case}: {error}"));
            let after = opened.image;
            let lost = [
                ("mailbox", gone(&before.mailboxes, &after.mailboxes)),
                ("message", gone(&before.messages, &after.messages)),
                ("value", gone(&before.values, &after.values)),
                ("epitaph", before.epitaphs.len() - after.epitaphs.len()),
            ];
            let of = if table == "marks" { "mailbox" } else { table };
            let expected = if costs_a_row { 1 } else { rows };
            for (kind, lost) in lost {
                assert_eq!(lost, if kind == of { expected } else { 0 }, "{case}: {kind}");
            }
            assert!(after.superseded.iter().all(|(id, _)| after.messages.contains_key(id)));
            assert_eq!(after.next_id, before.next_id, "{case}");
            assert!(!opened.last_life.ended, "{case}: readers may have seen what is lost");
            let named = found_names(&repaired.findings);
            assert_eq!(named, table == "marks", "{case}: {}", repaired.findings);
        }
    }
}

/// Whether a lost mailbox is called by its name.
fn found_names(findings: &Findings) -> bool {
    findings.problems.iter().any(|line| line.starts_with("mailbox \"m"))
}

#[test]
fn whatever_is_damaged_something_is_saved_and_nothing_is_made_up() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (folder, before) = large();
        let mut file = fs::read(folder.file()).expect("it is there");
        let pages = file.len() / PAGE_BYTES;
        for _ in 0..random.usize(1..6) {
            // Roots and inner pages among them, but not the first.
            let most = if random.bool() { 12 } else { pages };
            let (number, other) = (random.usize(2..=most), random.usize(2..=pages));
            let copy = page(&mut file, other).to_vec();
            match random.u8(..3) {
                0 => page(&mut file, number).fill(0),
                1 => random.fill(page(&mut file, number)),
                _ => page(&mut file, number).copy_from_slice(&copy),
            }
        }
        fs::write(folder.file(), &file).expect("it can be written");
        let opens = folder.open().is_ok();
        let found = check(&folder.file()).expect("it can be looked through");
        assert!(opens || !found.is_sound(), "seed {seed}: {found}");
        repair(&folder.file(), &mut |_| ()).expect("it can be repaired");
        let found = check(&folder.file()).expect("it can be looked through");
        assert!(found.is_sound(), "seed {seed}: {found}");
        let opened = folder.open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let after = opened.image;
        gone(&before.mailboxes, &after.mailboxes);
        gone(&before.messages, &after.messages);
        gone(&before.values, &after.values);
        assert!(after.next_id >= before.next_id, "seed {seed}: ids are given once");
        assert!(opened.last_life.seen_unix_ms > 0, "seed {seed}: this store is not new");
    }
}

#[test]
fn a_check_says_what_it_cannot_look_through() {
    let folder = Folder::new();
    let missing = check(&folder.file()).expect_err("there is none");
    assert!(matches!(missing, OpenError::Failed { .. }), "{missing}");
    write(&folder, changes(), 100, true);
    let opened = folder.open().expect("it opens");
    let tries = [check(&folder.file()).err(), repair(&folder.file(), &mut |_| ()).err()];
    for locked in tries {
        assert!(matches!(locked, Some(OpenError::Locked { .. })), "{locked:?}");
    }
    drop(opened);
    let found = check(&folder.file()).expect("it can be looked through");
    assert!(found.is_sound(), "{found}");
    assert_eq!((found.mailboxes, found.messages, found.values), (2, 3, 1));
    fs::write(folder.file(), "no store, but long enough for a header".repeat(10)).expect("a file");
    let other = check(&folder.file()).expect_err("it is none");
    assert!(matches!(other, OpenError::NotOurs { .. }), "{other}");
}

#[test]
fn a_check_leaves_a_log_as_it_is() {
    let crashed = Crashed::after(2);
    let mut log = crashed.log.clone();
    log.truncate(log.len() - 100);
    let folder = Folder::new();
    fs::write(folder.file(), &crashed.file).expect("a new file");
    fs::write(log_of(&folder.file()), &log).expect("a new file");
    let found = check(&folder.file()).expect("it can be looked through");
    assert_eq!(found.log, examine(&log));
    assert_eq!(found.messages, 3 + 1, "the last one is cut off");
    assert_eq!(fs::read(folder.file()).expect("it is there"), crashed.file);
    assert_eq!(fs::read(log_of(&folder.file())).expect("it is there"), log);
}

#[test]
fn every_table_is_looked_through() {
    let folder = Folder::new();
    let (connection, _) = Database::open(&folder.file(), CALENDAR).expect("it opens").into_parts();
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let mut statement = connection.prepare(sql).expect("a statement");
    let names = statement.query_map((), |row| row.get::<_, String>(0)).expect("a query");
    let names: Vec<String> = names.map(|name| name.expect("a row")).collect();
    let mut looked_through = inspect::LOOKED_THROUGH;
    looked_through.sort_unstable();
    assert_eq!(names, looked_through);
}
