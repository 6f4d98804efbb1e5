//! Disks that cannot be used, or not any more, and calendars that jump.

mod calendar;
mod failing;
mod refusing;
mod slow;
mod starting;

use crate::{
    mend::{run, said},
    support::{Disk, Gateway, SmallDisk, eventually, lab},
};
use serde_json::json;
use std::{fs, path::Path};

fn config(store: &Path) -> String {
    lab("durability = \"disk\"") + &format!("[store]\npath = {:?}\n", store.display().to_string())
}

#[test]
fn a_store_that_cannot_be_used_stops_the_start_and_says_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Without root there is none, and nothing is read-only.
    let disk = SmallDisk::mount();
    let store = disk.as_ref().map_or(folder.path(), SmallDisk::path).join("store");
    let refusal = || {
        let file = folder.path().join("cometbox.toml");
        let text = format!("listen = \"127.0.0.1:0\"\nadmin = \"\"\n{}", config(&store));
        fs::write(file, text).expect("a new folder");
        let output = run(folder.path(), &["serve"]);
        assert!(!output.status.success());
        let said = said(&output);
        let error = said.lines().find(|line| line.starts_with("error: ")).map(str::to_owned);
        error.unwrap_or_else(|| panic!("no error in {said}"))
    };
    let database = store.join("lab.sqlite");
    let check = |case: &str, why: &str| {
        let error = refusal();
        let says = error.starts_with("error: [store]: ") && error.contains(why);
        let once = error.matches(&*store.display().to_string()).count() == 1;
        assert!(says && once, "{case}: {error}");
    };
    let check_read_only = |case: &str| {
        if let Some(disk) = &disk {
            disk.set_read_only(true);
            check(case, "Read-only file system");
            disk.set_read_only(false);
        }
    };
    fs::write(&store, "").expect("there is room");
    check("a file in the folder's place", "the folder cannot be made");
    fs::remove_file(&store).and_then(|()| fs::create_dir(&store)).expect("a folder");
    check_read_only("an empty read-only disk");
    fs::create_dir(&database).expect("a folder");
    check("a folder in the file's place", "directory");
    fs::remove_dir(&database).expect("an empty folder");
    let first = Gateway::start(&config(&store));
    check("another gateway has it", "another process has it open");
    drop(first);
    check_read_only("a read-only disk with a store");
    drop(Gateway::start(&config(&store)));
}

#[test]
fn what_was_acknowledged_before_and_after_the_disk_was_full_is_there_after_a_kill() {
    for (case, disk) in Disk::all() {
        check_full(case, &disk);
    }
}

fn check_full(case: &str, disk: &Disk) {
    let mut gateway = disk.start(&config(disk.path()));
    let mut client = gateway.client();
    let key = client.open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}&cursor=0&wait=0");
    let mut acknowledged = Vec::new();
    let mut publish = |n: usize| {
        let data = format!("{n}{}", "x".repeat(2000));
        let item = json!({"to": {"mailboxes": ["ann"]}, "data": data}).to_string();
        let answer = client.publish(&item);
        if answer.status == 200 {
            acknowledged.push(data);
            return true;
        }
        assert_eq!((answer.status, &*answer.code()), (507, "not_kept"), "{case}");
        assert!(answer.text().contains("disk is full"), "{case}: {answer:?}");
        false
    };
    let mut numbers = 0..;
    let mut next = || publish(numbers.next().expect("there are more numbers"));
    assert!(next(), "{case}");
    disk.fill();
    // What was written is written over once more, for a while.
    while next() {}
    let mut reader = gateway.client();
    assert_eq!(reader.get(&path).status, 200, "{case}: reads go on");
    disk.free();
    eventually(next, "there is room again");
    gateway.signal("KILL");
    gateway.wait();
    let gateway = disk.start(&config(disk.path()));
    let batch = gateway.client().get(&path).json();
    let messages = batch["messages"].as_array().expect("messages");
    let came: Vec<_> = messages.iter().filter_map(|message| message["data"].as_str()).collect();
    assert!(acknowledged.len() >= 2, "{case}: before and after");
    for one in &acknowledged {
        let count = came.iter().filter(|data| **data == one.as_str()).count();
        assert_eq!(count, 1, "{case}: {}", &one[..8]);
    }
}
