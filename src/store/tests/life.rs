//! What a store says of the process that had it last, and how the next goes on.

use super::{disk::Disk, *};

const HOUR_MS: i64 = 3_600_000;

/// Opens at a time of the monotonic clock when the system's calendar is ahead of
/// [`CALENDAR`] by so much.
fn open_at(folder: &Folder, now: Millis, ahead_ms: i64) -> Opened {
    let unix_ms_at_0 = CALENDAR.unix_ms_at_0.saturating_add_signed(ahead_ms);
    open(&folder.file(), Calendar { unix_ms_at_0 }, now, &mut |_, _| ()).expect("it opens")
}

/// A process that is there from its second 1 to 2, in which the system's calendar
/// is set.
fn live(folder: &Folder, before_ms: i64, after_ms: i64, message: u64) -> Millis {
    let Opened { mut database, down_since, .. } = open_at(folder, 1_000, before_ms);
    let unix_ms = CALENDAR.unix(2_000).saturating_add_signed(after_ms);
    database.note_calendar(Moment { mono: 2_000, unix_ms });
    let mut batch = Batch::default();
    batch.add(sent(message, Kind::Text, b"hello", &[(1, message)]));
    database.write(&batch, false, 2_000).expect("it can be written");
    database.end(2_000).expect("it can be written");
    down_since
}

#[test]
fn only_time_between_two_processes_counts() {
    for (case, set_to, next, away_ms) in [
        ("the calendar is right", 0, 0, 0),
        ("set forward while it ran", HOUR_MS, HOUR_MS, 0),
        ("set back while it ran", -HOUR_MS, -HOUR_MS, 0),
        ("an hour away", 0, HOUR_MS, HOUR_MS),
        ("set forward while it ran, and an hour away", HOUR_MS, 2 * HOUR_MS, HOUR_MS),
        ("set back while it ran, and right again in between", -HOUR_MS, 0, 0),
        ("set back while it ran, and then two hours away", -HOUR_MS, HOUR_MS, HOUR_MS),
        ("set back in between", 0, -HOUR_MS, 0),
    ] {
        let folder = Folder::new();
        live(&folder, 0, set_to, 11); // expires 18 s after its process was seen last
        // The monotonic clock is where it was: no time has passed by it.
        let opened = open_at(&folder, 2_000, next);
        assert_eq!(opened.down_since, 2_000_u64.saturating_sub(away_ms.unsigned_abs()), "{case}");
        let left = opened.image.messages[&11].expires_at.saturating_sub(2_000);
        assert_eq!(left, 18_000_u64.saturating_sub(away_ms.unsigned_abs()), "{case}");
    }
}

/// What was noted is not forgotten by the second start.
#[test]
fn a_calendar_of_its_own_goes_on_through_several_lives() {
    let folder = Folder::new();
    live(&folder, 0, HOUR_MS, 11);
    for n in 1..4 {
        // Each process sees a second, and the next begins with its monotonic clock a
        // second back.
        assert_eq!(live(&folder, HOUR_MS + n * 1_000, HOUR_MS + n * 1_000, 11), 1_000, "{n}");
    }
}

#[test]
fn a_file_from_before_there_was_a_calendar_of_its_own_opens_and_is_repaired() {
    let folder = Folder::new();
    write(&folder, changes(), 100, true);
    let before = facts(&folder.image());
    let edit = |sql: &str| {
        let other = rusqlite::Connection::open(folder.file()).expect("it opens");
        other.execute_batch(sql).expect("a statement");
    };
    edit("ALTER TABLE life DROP COLUMN ahead");
    assert!(check(&folder.file()).expect("it can be read").is_sound());
    assert_eq!(facts(&folder.image()), before);
    edit("ALTER TABLE life DROP COLUMN ahead");
    repair(&folder.file(), &mut |_| ()).expect("it can be repaired");
    assert_eq!(facts(&folder.image()), before);
}

#[test]
fn a_repair_keeps_the_calendar() {
    let folder = Folder::new();
    live(&folder, 0, HOUR_MS, 11);
    repair(&folder.file(), &mut |_| ()).expect("it can be repaired");
    assert_eq!(open_at(&folder, 2_000, HOUR_MS).down_since, 2_000, "not an hour away");
}

/// What a process before has left with the system, the next one builds upon.
#[test]
fn what_a_start_has_read_survives_a_power_cut_also_after_a_crash() {
    for seed in 0..20 {
        let disk = Disk::new();
        let open = || open(&disk.path(), CALENDAR, LATER, &mut |_, _| ()).expect("it opens");
        let mut first = open().database;
        let mut batch = Batch::default();
        batch.add(sent(11, Kind::Text, b"hello", &[(1, 11)]));
        first.write(&batch, false, LATER).expect("there is power");
        // As if killed: closing would sync.
        std::mem::forget(first);
        let second = open();
        assert!(!second.last_life.ended && second.image.messages.contains_key(&11), "{seed}");
        std::mem::forget(second);
        let disk = disk.after_power_cut(&mut fastrand::Rng::with_seed(seed));
        let third = super::open(&disk.path(), CALENDAR, LATER, &mut |_, _| ());
        assert!(third.expect("it is whole").image.messages.contains_key(&11), "{seed}");
    }
}
