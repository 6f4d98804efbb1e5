//! Which changes share a transaction.

use super::{writer::COMPANY, *};
use std::thread;

fn start(folder: &Folder) -> Store {
    folder.open().expect("it opens").start("chat", || NOW).expect("a thread")
}

fn transactions(folder: &Folder) -> u128 {
    let log = log::examine(&log_of(&folder.file())).expect("it can be read");
    log.map_or(0, |log| log.transactions.into())
}

#[tokio::test]
async fn what_nobody_waits_for_waits_a_moment_for_company() {
    let folder = Folder::new();
    let store = start(&folder);
    store.push(&mut vec![mailbox(1, "ann")]);
    store.settled(Durability::Os).await.expect("there is room");
    let (before, started) = (transactions(&folder), Instant::now());
    for last in 0..500 {
        store.push(&mut vec![marks(1, last)]);
        thread::sleep(Duration::from_micros(200));
    }
    let most = started.elapsed().as_millis() / COMPANY.as_millis() + 1;
    let written = transactions(&folder) - before;
    assert!((1..=most).contains(&written), "{written} transactions, {most} at the most");
    store.end().expect("there is room");
    let all = folder.image();
    assert_eq!(all.mailboxes[&Uid(1)].1.last, 499, "and at the end nothing is kept back");
}

#[tokio::test]
async fn who_waits_is_not_kept_waiting_for_company() {
    for durability in [Durability::Os, Durability::Disk] {
        let folder = Folder::new();
        let store = start(&folder);
        let mut fastest = Duration::MAX;
        for id in 10..200 {
            store.push(&mut vec![sent(id, Kind::Text, b"hello", &[(1, id)])]);
            let started = Instant::now();
            store.settled(durability).await.expect("there is room");
            fastest = fastest.min(started.elapsed());
        }
        assert!(fastest < COMPANY, "{durability:?}: {fastest:?}");
    }
}
