//! The real file on a disk that dies: the power fails in the middle of a write,
//! a sync, a checkpoint; the process is killed; reads fail; there is no room.
//! What is there afterwards is what was written up to some transaction, and all
//! that was synced.

use super::{disk::Disk, *};
use crate::core::tests::restoring::Walk;
use fastrand::Rng;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Of the test command; `COMETBOX_SEEDS` says another number.
const SEEDS: u64 = 150;

/// A planted bug has to be noticed by one of so many.
const BUG_SEEDS: u64 = 50;

/// Processes, one after the other, on one disk.
const LIVES: usize = 8;

const MAX_WRITES: usize = 40;

/// What of an image can be told apart, but for what is over.
fn facts_of(image: &Image, now: Millis) -> String {
    let Image { mailboxes, messages, superseded, timers, values, epitaphs, published, next_id } =
        image;
    let messages: Vec<String> = messages
        .values()
        .map(|Sent { id, message, expires_at, to }| {
            let Message { payload, ttl_ms, collapse, channel, .. } = &**message;
            format!("{id} {payload:?} {ttl_ms:?} {collapse:?} {channel:?} {expires_at} {to:?}")
        })
        .collect();
    let epitaphs: Vec<_> = epitaphs.iter().filter(|epitaph| epitaph.until > now).collect();
    let published: Vec<_> = published.iter().filter(|publish| publish.until > now).collect();
    format!(
        "{mailboxes:?}\n{messages:#?}\n{superseded:?}\n{timers:?}\n{values:?}\n{epitaphs:?}\n\
         {published:?}\nnext {next_id}"
    )
}

/// A core that lives several times, and what may be on its disk.
struct Lives {
    random: Rng,
    walk: Walk,
    disk: Disk,
    /// Images of which the next process finds one, oldest first.
    possible: Vec<Image>,
    /// The first of them that a process finds which comes after a kill.
    written: usize,
    /// A planted bug: nothing is synced that should be.
    skips_syncs: bool,
    power_cuts: u64,
}

impl Lives {
    fn new(seed: u64, skips_syncs: bool) -> Self {
        Self {
            random: Rng::with_seed(seed),
            walk: Walk::new(seed),
            disk: Disk::new(),
            possible: vec![Image { next_id: 1, ..Image::default() }],
            written: 0,
            skips_syncs,
            power_cuts: 0,
        }
    }

    /// What was wrong, if something was.
    fn run(mut self) -> Result<u64, String> {
        for life in 0..LIVES {
            let wrong = |what: String| format!("life {life}: {what}");
            self.disk.cut_power_after(None);
            self.start_in_vain();
            let database = self.start(life).map_err(wrong)?;
            self = self.live(database);
        }
        Ok(self.power_cuts)
    }

    fn open(&self) -> Result<Database, OpenError> {
        Database::open(&self.disk.path(), CALENDAR)
    }

    /// Something cannot be read. Nothing changes by that.
    fn start_in_vain(&mut self) {
        if self.random.bool() {
            self.disk.fail_reads_after(Some(self.random.u64(0..20)));
            let _ = self.open().map(|database| database.load(&mut |_, _| ()).map(drop));
            self.disk.fail_reads_after(None);
        }
    }

    fn start(&mut self, life: usize) -> Result<Database, String> {
        let mut database = self.open().map_err(|error| error.to_string())?;
        let image = database.load(&mut |_, _| ()).map_err(|error| error.to_string())?;
        let now = self.walk.now;
        let found = facts_of(&image, now);
        if !self.possible.iter().any(|image| facts_of(image, now) == found) {
            let last = self.possible.last().map(|image| facts_of(image, now)).unwrap_or_default();
            return Err(format!("found\n{found}\nand not what was kept, such as\n{last}"));
        }
        database.checkpoint_after(self.random.u32(5..60)).expect("a hook");
        let last = database.begin_life().map_err(|error| error.to_string())?;
        self.possible = vec![image.clone()];
        self.written = 0;
        let mut batch = Batch::default();
        let cut_off = life > 0 && !last.ended;
        self.walk.go_on(image, cut_off).into_iter().for_each(|change| batch.add(change));
        self.write(&mut database, &mut batch, true);
        Ok(database)
    }

    /// Whether it was written.
    fn write(&mut self, database: &mut Database, batch: &mut Batch, sync: bool) -> bool {
        // It may be there even if there is an error: what was wrong can have come
        // after the last byte.
        self.possible.push(self.walk.image.clone());
        let is_written = database.write(batch, sync && !self.skips_syncs, self.walk.now).is_ok();
        if is_written {
            *batch = Batch { next_id: batch.next_id, ..Batch::default() };
            self.written = self.possible.len() - 1;
            if sync {
                self.possible.drain(..self.written);
                self.written = 0;
            }
        }
        is_written
    }

    /// One process, until it ends in some way.
    fn live(mut self, mut database: Database) -> Self {
        self.disk.cut_power_after(Some(self.random.u64(0..2_000)));
        let mut batch = Batch::default();
        for _ in 0..self.random.usize(0..MAX_WRITES) {
            for _ in 0..self.random.usize(1..12) {
                self.walk.step().into_iter().for_each(|change| batch.add(change));
            }
            let room = (self.random.u8(0..8) == 0).then(|| self.random.usize(0..20_000));
            self.disk.leave_room(room);
            let sync = self.random.bool();
            if self.write(&mut database, &mut batch, sync) {
                let _ = database.give_back(); // as the writer: some other time, then
            }
            if self.disk.is_off() {
                return self.die();
            }
        }
        self.disk.leave_room(None);
        let is_orderly = self.random.u8(0..3) == 0;
        let is_written = is_orderly && self.write(&mut database, &mut batch, true);
        let has_ended = is_written && database.end(self.walk.now).is_ok();
        if has_ended && !self.disk.is_off() { self } else { self.die() }
    }

    /// The power was cut, or the process killed: before the next thing was done.
    fn die(mut self) -> Self {
        if self.random.bool() {
            self.disk = self.disk.after_power_cut(&mut self.random);
            self.power_cuts += 1;
        } else {
            self.possible.drain(..self.written);
            self.disk = self.disk.after_kill();
        }
        self
    }
}

#[test]
fn what_is_left_is_whole_and_all_that_was_synced() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
    };
    let seeds = number("COMETBOX_SEEDS").unwrap_or(SEEDS);
    let seeds = number("COMETBOX_SEED").map_or(0..seeds, |seed| seed..seed + 1);
    let (started, mut power_cuts) = (Instant::now(), 0);
    for seed in seeds.clone() {
        let cuts = Lives::new(seed, false).run();
        power_cuts += cuts.unwrap_or_else(|wrong| panic!("COMETBOX_SEED={seed}: {wrong}"));
    }
    println!("seeds {seeds:?}: {power_cuts} power cuts in {:?}", started.elapsed());
    assert!(power_cuts > 0);
}

#[test]
fn a_sync_that_is_skipped_is_noticed() {
    let found = (0..BUG_SEEDS).find(|seed| Lives::new(*seed, true).run().is_err());
    println!("by seed {found:?}");
    assert!(found.is_some());
}

/// Publishers that wait for a store on a disk whose power fails: how many were
/// told that theirs is kept, and how many of those are not.
async fn publish_until_the_power_fails(seed: u64, durability: Durability) -> (usize, Vec<u64>) {
    const PUBLISHERS: usize = 8;
    let mut random = Rng::with_seed(seed);
    let disk = Disk::new();
    let opened = open(&disk.path(), CALENDAR, LATER, &mut |_, _| ()).expect("a new file");
    let store = Arc::new(opened.start("chat", || NOW).expect("a thread"));
    store.push(&mut vec![mailbox(1, "ann"), marks(1, 0)]);
    store.settled(Durability::Disk).await.expect("there is power");
    disk.cut_power_after(Some(random.u64(50..1_500)));
    let next = Arc::new(AtomicU64::new(10));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|_| {
            let (store, next) = (store.clone(), next.clone());
            tokio::spawn(async move {
                let mut told = Vec::new();
                loop {
                    let id = next.fetch_add(1, SeqCst);
                    store.push(&mut vec![sent(id, Kind::Text, b"hello", &[(1, id)])]);
                    if store.settled(durability).await.is_err() {
                        return told;
                    }
                    told.push(id);
                }
            })
        })
        .collect();
    let mut told = Vec::new();
    for publisher in publishers {
        told.extend(publisher.await.expect("it has ended"));
    }
    let _ = store.end(); // without power
    let disk = disk.after_power_cut(&mut random);
    let image = open(&disk.path(), CALENDAR, LATER, &mut |_, _| ()).expect("it is whole").image;
    let lost = told.iter().copied().filter(|id| !image.messages.contains_key(id)).collect();
    (told.len(), lost)
}

#[tokio::test]
async fn what_is_said_to_be_on_disk_is_there_after_a_power_cut() {
    let mut all = 0;
    for seed in 0..40 {
        let (told, lost) = publish_until_the_power_fails(seed, Durability::Disk).await;
        assert!(lost.is_empty(), "seed {seed}: of {told}, these are lost: {lost:?}");
        all += told;
    }
    assert!(all > 1_000, "at load: {all}");
}

/// The same question, asked of a gateway that answers too early.
#[tokio::test]
async fn an_answer_before_the_sync_is_noticed() {
    for seed in 0..40 {
        let (_, lost) = publish_until_the_power_fails(seed, Durability::Os).await;
        if !lost.is_empty() {
            return;
        }
    }
    panic!("40 power cuts, and nothing was lost that was not on disk");
}
