//! What a file gives back, and what happens where it cannot.

mod company;
mod damage;
mod disk;
mod golden;
mod life;
mod power;
mod space;

use super::{batch::Batch, *};
use crate::core::{
    CloseCause, FullPolicy, KeptEpitaph, KeptGroup, KeptMailbox, KeptPublish, KeptSeat, Key, Kind,
    MailboxLimits, Marks, Message, Name, Payload, PluginName, PluginTimer, PublishId, Run,
    SendReport, Sent, Uid,
};
use std::{fs, io::Write as _, time::Instant};

const CALENDAR: Calendar = Calendar { unix_ms_at_0: 1_700_000_000_000 };

/// When a store is opened anew: whatever is in it, and whatever today is, was
/// before that.
const LATER: Millis = 1 << 42;

/// When whatever is written is.
const NOW: Moment = Moment { mono: 1_000, unix_ms: CALENDAR.unix_ms_at_0 + 1_000 };

fn name(text: &str) -> Name {
    Name::parse(text).expect("tests use valid names")
}

fn mailbox(uid: u64, called: &str) -> Change {
    let plugin = PluginName("chat".into());
    let kept = KeptMailbox {
        uid: Uid(uid),
        name: name(called),
        identity: Some("user 1".into()),
        shared: uid.is_multiple_of(2),
        limits: MailboxLimits {
            messages: 10,
            bytes: 1000,
            full: if uid.is_multiple_of(2) { FullPolicy::Reject } else { FullPolicy::DropOldest },
            per_second: 7,
        },
        linger_ms: 60_000,
        attached: true,
        groups: vec![group("lobby", true), group("chat/**", false)],
        states: vec![(plugin.clone(), vec![0, 159, 146, 150].into())],
        timers: vec![PluginTimer { plugin, name: "away".into(), at: 5_000 }],
    };
    Change::Mailbox(kept.into())
}

fn group(text: &str, chosen: bool) -> KeptGroup {
    KeptGroup { name: name(text), chosen }
}

fn marks(uid: u64, last: u64) -> Change {
    let seat = |n: u8| KeptSeat { key: Key([n; 16]), confirmed: 3, handed: 5 };
    let lost = vec![Run { first: 1, last: 2, count: 2 }];
    let marks = Marks { seats: vec![seat(1), seat(2)].into(), last, lost };
    Change::Marks { mailbox: Uid(uid), marks }
}

fn sent(id: u64, kind: Kind, data: &[u8], to: &[(u64, u64)]) -> Change {
    let payload = Payload { kind, bytes: data.to_vec().into() };
    let message = Message::new(payload, Some(9_000), Some("IBM".into()));
    message.channel.get_or_init(|| name("lobby"));
    let to = to.iter().map(|(uid, seq)| (Uid(*uid), *seq)).collect();
    let expires_at = if id.is_multiple_of(2) { Millis::MAX } else { 20_000 };
    Change::Sent(Sent { id, message, expires_at, to }.into())
}

fn epitaph(called: &str, until: Millis) -> Change {
    let cause = CloseCause::Plugin;
    let (key, reason) = (Key([9; 16]), "kicked".into());
    Change::Epitaph(KeptEpitaph { name: name(called), key, cause, reason, until }.into())
}

fn published(id: &str, queued: usize, until: Millis) -> Change {
    let id = PublishId::try_from(id.to_owned()).expect("tests use valid ids");
    let (missing, full) = (vec![name("eve")], vec![name("bob"), name("dan")]);
    let report = SendReport { queued, missing, full, dropped: 2, duplicate: false };
    Change::Published(KeptPublish { id, report, until }.into())
}

/// Everything that a store can be told.
fn changes() -> Vec<Change> {
    let timer =
        |name: &str, at| Change::Timer { plugin: PluginName("chat".into()), name: name.into(), at };
    let value = |key: &str, value: Option<&'static str>| Change::Value {
        key: key.into(),
        value: value.map(Into::into),
    };
    vec![
        mailbox(1, "ann"),
        marks(1, 7),
        mailbox(2, "bob"),
        marks(2, 8),
        sent(3, Kind::Json, b"{\"a\":1}", &[(1, 8), (2, 9)]),
        sent(4, Kind::Text, "grüß".as_bytes(), &[(1, 9)]),
        sent(5, Kind::Binary, &[0, 255], &[(2, 10)]),
        Change::Superseded { message: 4, mailbox: Uid(1) },
        Change::Superseded { message: 3, mailbox: Uid(2) },
        timer("a", Some(4_000)),
        timer("b", Some(5_000)),
        value("x", Some("1")),
        value("y", Some("2")),
        epitaph("eve", 90_000),
        published("order 1", 3, 70_000),
        published("grüß", 0, 80_000),
        // And all of it again, differently.
        marks(1, 9),
        mailbox(2, "bob"),
        Change::Done { message: 4 },
        timer("a", None),
        timer("b", Some(6_000)),
        value("x", None),
        value("y", Some("3")),
        mailbox(6, "dan"),
        marks(6, 0),
        Change::Closed { mailbox: Uid(2) },
        sent(7, Kind::Json, b"null", &[(6, 1)]),
        published("order 1", 1, 90_000),
    ]
}

/// Without order where there is none.
fn facts(image: &Image) -> String {
    format!("{image:#?}")
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("chat.sqlite")
    }

    fn open(&self) -> Result<Opened, OpenError> {
        open(&self.file(), CALENDAR, LATER, &mut |_, _| ())
    }

    fn image(&self) -> Image {
        self.open().expect("it opens").image
    }
}

/// Writes changes, so many at a time, and ends as told.
fn write(folder: &Folder, all: Vec<Change>, at_once: usize, in_order: bool) {
    let mut database = Database::open(&folder.file(), CALENDAR).expect("it opens");
    database.begin_life().expect("it can be written");
    let mut all = all.into_iter().peekable();
    while all.peek().is_some() {
        let mut batch = Batch::default();
        all.by_ref().take(at_once).for_each(|change| batch.add(change));
        database.write(&batch, false, 1_000).expect("it can be written");
    }
    if in_order {
        database.end(2_000).expect("it can be written");
    }
}

#[test]
fn what_was_written_is_read_however_it_was_split() {
    let mut expected = Image::default();
    changes().into_iter().for_each(|change| expected.apply(change));
    for at_once in 1..=changes().len() {
        let folder = Folder::new();
        write(&folder, changes(), at_once, true);
        let opened = folder.open().expect("it opens");
        assert_eq!(facts(&opened.image), facts(&expected), "{at_once} at once");
        let seen_unix_ms = CALENDAR.unix(2_000);
        assert_eq!(opened.last_life, LastLife { seen_unix_ms, ended: true });
        drop(opened);
        let second = folder.open().expect("it opens again");
        assert!(!second.last_life.ended, "the process in between did not end in order");
    }
}

#[test]
fn progress_rises_to_all() {
    let folder = Folder::new();
    let messages = 2 * load::ROWS_PER_PROGRESS - 1;
    let sent = (2..).take(messages as usize).map(|id| sent(id, Kind::Text, b"", &[(1, id)]));
    let changes = [mailbox(1, "ann")].into_iter().chain(sent).collect();
    write(&folder, changes, usize::MAX, true);
    let mut told = Vec::new();
    open(&folder.file(), CALENDAR, LATER, &mut |done, all| told.push((done, all)))
        .expect("it opens");
    let all = messages + 1;
    assert_eq!(told, [(load::ROWS_PER_PROGRESS, all), (all, all)]);
}

#[test]
fn times_are_those_of_the_calendar() {
    let folder = Folder::new();
    write(&folder, changes(), 100, true);
    // A process later, whose clock began 3 s later.
    let later = Calendar { unix_ms_at_0: CALENDAR.unix_ms_at_0 + 3_000 };
    let image = open(&folder.file(), later, LATER, &mut |_, _| ()).expect("it opens").image;
    let timer = image.timers.values().next();
    assert_eq!(timer, Some(&3_000));
    let expiries: Vec<Millis> = image.messages.values().map(|sent| sent.expires_at).collect();
    assert_eq!(expiries, [17_000, 17_000, 17_000]);
    let until: Vec<Millis> = image.published.iter().map(|kept| kept.until).collect();
    assert_eq!(until, [67_000, 77_000, 87_000]);
    let before = Calendar { unix_ms_at_0: CALENDAR.unix_ms_at_0 + 30_000 };
    assert_eq!(before.mono(CALENDAR.unix(20_000)), 0, "long ago");
}

#[test]
fn publishes_whose_time_is_over_leave_the_file() {
    let folder = Folder::new();
    let mut database = Database::open(&folder.file(), CALENDAR).expect("it opens");
    // More than one batch deletes.
    let crowd = 3 * database::MIN_FORGOTTEN;
    let mut write = |changes: Vec<Change>, now| {
        let mut batch = Batch::default();
        changes.into_iter().for_each(|change| batch.add(change));
        database.write(&batch, false, now).expect("it can be written");
        database.load(&mut |_, _| ()).expect("it can be read").published.len()
    };
    let all = (0..crowd).map(|n| published(&n.to_string(), 1, 5_000)).collect();
    assert_eq!(write(all, 1_000), crowd);
    assert_eq!(write(vec![], 4_999), crowd, "none is over");
    let late = write(vec![published("late", 1, 9_000)], 5_000);
    assert_eq!(late, crowd + 1 - database::MIN_FORGOTTEN - 2, "a part of them");
    assert_eq!((write(vec![], 5_001), write(vec![], 5_002)), (late - database::MIN_FORGOTTEN, 1));
    assert_eq!(write(vec![], 8_999), 1, "this one is not over");
    assert_eq!(write(vec![], 9_000), 0);
}

#[tokio::test]
async fn who_waits_is_told_when_it_is_kept_or_why_not() {
    let folder = Folder::new();
    let opened = folder.open().expect("it opens");
    // So that it is full soon.
    let pages: u32 = opened.database.set_max_pages(40);
    let store = opened.start("chat", || NOW).expect("a thread");
    for durability in [Durability::None, Durability::Os, Durability::Disk] {
        store.push(&mut changes().drain(..1).collect());
        store.settled(durability).await.expect("there is room");
    }
    let big = vec![7; 4096 * pages as usize];
    let small = sent(11, Kind::Text, b"small", &[(1, 2)]);
    store.push(&mut vec![sent(10, Kind::Binary, &big, &[(1, 1)]), small]);
    let why = store.settled(Durability::Os).await.expect_err("it is full");
    assert!(why.contains("full"), "{why}");
    assert!(store.failing().is_some());
    assert!(store.settled(Durability::Disk).await.is_err());
    store.settled(Durability::None).await.expect("it waits for nothing");
    // What makes room comes while it is full.
    store.push(&mut vec![Change::Done { message: 10 }]);
    let mut progress = store.progress.clone();
    progress.wait_for(|progress| progress.failing.is_none()).await.expect("it goes on");
    assert!(store.failing().is_none());
    store.settled(Durability::Disk).await.expect("there is room again");
    store.end().expect("there is room");
    let image = folder.image();
    assert_eq!(image.mailboxes.len(), 1);
    // What came together with what did not fit was not given up.
    assert_eq!(image.messages.keys().copied().collect::<Vec<_>>(), [11]);
}

#[test]
fn a_file_that_is_no_good_says_so() {
    let refusal = |folder: &Folder| folder.open().err().expect("it does not open").to_string();
    let folder = Folder::new();
    write(&folder, changes(), 100, true);

    let locked = folder.open().expect("the first");
    assert!(refusal(&folder).contains("another process"), "{}", refusal(&folder));
    drop(locked);

    let edit = |sql: &str| {
        let other = rusqlite::Connection::open(folder.file()).expect("it opens");
        other.execute_batch(sql).expect("a statement");
    };
    edit("UPDATE message SET row = CAST(x'00' || substr(row, 2) AS BLOB) WHERE id = 7");
    let why = refusal(&folder);
    assert!(why.contains("message Integer(7)") && why.contains("store repair"), "{why}");
    edit("UPDATE message SET row = x'' WHERE id = 7; PRAGMA user_version = 99");
    assert!(refusal(&folder).contains("format 99"));
    edit("PRAGMA application_id = 1");
    assert!(refusal(&folder).contains("not a store"));

    let other = Folder::new();
    fs::write(other.file(), "something else, and long enough for a header".repeat(10))
        .expect("a file");
    assert!(refusal(&other).contains("not a store"));
}

/// A crash leaves a log whose end may be torn, or full of what never was.
#[test]
fn a_torn_tail_is_cut_off() {
    type Tear = fn(&mut Vec<u8>);
    let torn: [(&str, Tear); 3] = [
        ("cut", |log| log.truncate(log.len() - 1000)),
        ("zeros", |log| {
            let end = log.len();
            log[end - 3000..].fill(0);
        }),
        ("garbage behind", |log| log.extend(std::iter::repeat_n(0xa5, 5000))),
    ];
    for (case, tear) in torn {
        let folder = Folder::new();
        write(&folder, changes(), 100, true);
        // The log of a process that was killed: a copy, made while it runs.
        let crashed = Folder::new();
        let mut database = Database::open(&folder.file(), CALENDAR).expect("it opens");
        database.begin_life().expect("it can be written");
        for id in [20, 21] {
            let mut batch = Batch::default();
            batch.add(sent(id, Kind::Text, b"late", &[(6, id)]));
            database.write(&batch, true, 1_000).expect("it can be written");
        }
        let log = |folder: &Folder| folder.0.path().join("chat.sqlite-wal");
        fs::copy(folder.file(), crashed.file()).expect("a copy");
        let mut bytes = fs::read(log(&folder)).expect("there is a log");
        tear(&mut bytes);
        fs::File::create(log(&crashed)).and_then(|mut f| f.write_all(&bytes)).expect("a copy");
        drop(database);

        let opened = crashed.open().unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(!opened.last_life.ended, "{case}");
        let late: Vec<u64> = opened.image.messages.range(20..).map(|(id, _)| *id).collect();
        let expected: &[u64] = if case == "garbage behind" { &[20, 21] } else { &[20] };
        assert_eq!(late, expected, "{case}");
        assert!(opened.image.messages.contains_key(&7), "{case}: what was there before");
    }
}
