//! Disks that cannot be used, or not any more, and calendars that jump.

mod calendar;
mod failing;
mod slow;
mod starting;

use crate::{
    mend::{run, said},
    support::{Gateway, SmallDisk, eventually, lab},
};
use serde_json::json;
use std::{fs, path::Path};

fn config(store: &Path) -> String {
    lab("durability = \"disk\"") + &format!("[store]\npath = {:?}\n", store.display().to_string())
}

#[test]
fn a_store_that_cannot_be_used_stops_the_start_and_says_why() {
    let Some(disk) = SmallDisk::mount() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refusal = |store: &Path| {
        let file = folder.path().join("cometbox.toml");
        let text = format!("listen = \"127.0.0.1:0\"\nadmin = \"\"\n{}", config(store));
        fs::write(file, text).expect("a new folder");
        let output = run(folder.path(), &["serve"]);
        assert!(!output.status.success());
        let said = said(&output);
        let error = said.lines().find(|line| line.starts_with("error: ")).map(str::to_owned);
        error.unwrap_or_else(|| panic!("no error in {said}"))
    };
    let (store, database) = (disk.path().join("store"), disk.path().join("store/lab.sqlite"));
    let read_only = "Read-only file system";
    let check = |case: &str, why: &str| {
        let error = refusal(&store);
        let says = error.starts_with("error: [store]: ") && error.contains(why);
        let once = error.matches(&*store.display().to_string()).count() == 1;
        assert!(says && once, "{case}: {error}");
    };
    fs::write(&store, "").expect("an empty disk");
    check("a file in the folder's place", "the folder cannot be made");
    fs::remove_file(&store).and_then(|()| fs::create_dir(&store)).expect("a folder");
    disk.set_read_only(true);
    check("an empty read-only disk", read_only);
    disk.set_read_only(false);
    fs::create_dir(&database).expect("a folder");
    check("a folder in the file's place", "directory");
    fs::remove_dir(&database).expect("an empty folder");
    let first = Gateway::start(&config(&store));
    check("another gateway has it", "another process has it open");
    drop(first);
    disk.set_read_only(true);
    check("a read-only disk with a store", read_only);
    disk.set_read_only(false);
    drop(Gateway::start(&config(&store)));
}

#[test]
fn what_was_acknowledged_before_and_after_the_disk_was_full_is_there_after_a_kill() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut gateway = Gateway::start(&config(disk.path()));
    let mut client = gateway.client();
    let key = client.open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}&cursor=0&wait=0");
    let mut acknowledged = Vec::new();
    let mut publish = |n: usize| {
        let data = format!("{n}{}", "x".repeat(2000));
        let item = json!({"to": {"mailboxes": ["ann"]}, "data": data}).to_string();
        let status = client.publish(&item).status;
        assert!(matches!(status, 200 | 507), "{status}");
        if status == 200 {
            acknowledged.push(data);
        }
        status
    };
    let mut numbers = 0..;
    let mut next = || publish(numbers.next().expect("there are more numbers"));
    assert_eq!(next(), 200);
    disk.fill();
    // What was written is written over once more, for a while.
    while next() == 200 {}
    let mut reader = gateway.client();
    assert_eq!(reader.get(&path).status, 200, "reads go on");
    disk.free();
    eventually(|| next() == 200, "there is room again");
    gateway.signal("KILL");
    gateway.wait();
    let gateway = Gateway::start(&config(disk.path()));
    let batch = gateway.client().get(&path).json();
    let messages = batch["messages"].as_array().expect("messages");
    let came: Vec<_> = messages.iter().filter_map(|message| message["data"].as_str()).collect();
    assert!(acknowledged.len() >= 2, "before and after");
    for one in &acknowledged {
        assert_eq!(came.iter().filter(|data| **data == one.as_str()).count(), 1, "{}", &one[..8]);
    }
}
