//! A damaged store, as its operator meets it.

use crate::support::{BINARY, Client, Faults, Gateway, lab};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const MESSAGES: usize = 50;

/// Runs `cometbox` with a configuration file.
pub fn run(folder: &Path, command: &[&str]) -> Output {
    command_in(folder, command).output().expect("the binary is there")
}

fn command_in(folder: &Path, command: &[&str]) -> Command {
    let mut run = Command::new(BINARY);
    run.args(command).arg("--config").arg(folder.join("cometbox.toml"));
    run
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// The texts that wait in a mailbox.
fn waiting(client: &mut Client, name: &str, key: &str) -> Vec<String> {
    let path = format!("/lab/mailboxes/{name}?key={key}&cursor=0&wait=0");
    let batch = client.get(&path).json();
    let messages = batch["messages"].as_array().unwrap_or_else(|| panic!("messages: {batch}"));
    messages.iter().map(|message| message["data"].as_str().expect("a text").into()).collect()
}

#[test]
fn a_damaged_store_is_told_checked_and_repaired() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("store");
    let config = lab("") + &format!("[store]\npath = {:?}\n", store.display().to_string());
    let file = folder.path().join("cometbox.toml");
    fs::write(&file, format!("listen = \"127.0.0.1:0\"\n{config}")).expect("a new folder");
    let (check, repair) = (["store", "check"], ["store", "repair"]);
    let none = run(folder.path(), &check);
    assert!(!none.status.success() && said(&none).contains("no store yet"), "{}", said(&none));

    let mut gateway = Gateway::start(&config);
    let mut client = gateway.client();
    let keys = ["ann", "bob"].map(|name| client.open(name));
    let text = |n: usize| format!("message {n}.");
    for n in 0..MESSAGES {
        client.publish_to("ann", &format!("{:?}", text(n)));
    }
    client.publish_to("bob", "\"hello\"");
    let busy = run(folder.path(), &check);
    assert!(!busy.status.success() && said(&busy).contains("another process"), "{}", said(&busy));
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let sound = run(folder.path(), &check);
    assert!(sound.status.success(), "{}", said(&sound));
    let counts = format!("2 mailboxes, {} messages", MESSAGES + 1);
    assert!(said(&sound).contains(&counts), "{}", said(&sound));

    // One letter in one message.
    let path = store.join("lab.sqlite");
    let mut bytes = fs::read(&path).expect("it is there");
    let at = |bytes: &[u8]| bytes.windows(10).position(|found| found == b"message 7.");
    let place = at(&bytes).expect("it is there");
    bytes[place] = b'M';
    fs::write(&path, &bytes).expect("it can be written");

    let refused = run(folder.path(), &["serve"]);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("cometbox store repair"), "{}", said(&refused));
    let damaged = run(folder.path(), &check);
    assert!(!damaged.status.success() && said(&damaged).contains("damaged"), "{}", said(&damaged));
    let faults = Faults::new();
    faults.fail_syncs_of_files(true);
    let failed = command_in(folder.path(), &repair).envs(faults.environment()).output();
    let failed = failed.expect("the binary is there");
    assert!(!failed.status.success() && said(&failed).contains("I/O"), "{}", said(&failed));
    assert_eq!(fs::read(&path).expect("it is where it was"), bytes);
    let repaired = run(folder.path(), &repair);
    assert!(repaired.status.success(), "{}", said(&repaired));
    let kept = store.join("lab.sqlite.damaged-1");
    assert!(said(&repaired).contains(&kept.display().to_string()), "{}", said(&repaired));
    assert!(said(&repaired).contains("its checksum is wrong"), "{}", said(&repaired));
    assert_eq!(fs::read(kept).expect("it is there"), bytes);
    let again = run(folder.path(), &repair);
    assert!(again.status.success() && said(&again).contains("left alone"), "{}", said(&again));

    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    let rest: Vec<String> = (0..MESSAGES).filter(|n| *n != 7).map(text).collect();
    assert_eq!(waiting(&mut client, "ann", &keys[0]), rest);
    assert_eq!(waiting(&mut client, "bob", &keys[1]), ["hello"]);
    // And it goes on.
    client.publish_to("bob", "\"again\"");
    assert_eq!(waiting(&mut client, "bob", &keys[1]), ["hello", "again"]);
}

/// The log that a crash has left is one of the damaged file: what can be read of
/// it is saved with the rest, and it stays beside that file.
#[test]
fn a_repaired_store_has_nothing_to_do_with_the_log_of_the_damaged_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("store");
    let config = lab("") + &format!("[store]\npath = {:?}\n", store.display().to_string());
    let file = folder.path().join("cometbox.toml");
    fs::write(&file, format!("listen = \"127.0.0.1:0\"\n{config}")).expect("a new folder");
    // Long enough that the first and the last are not on one page.
    let text = |n: usize| format!("message {n}.{}", "x".repeat(500));
    let publish = |client: &mut Client, n| client.publish_to("ann", &format!("{:?}", text(n)));
    let mut gateway = Gateway::start(&config);
    let mut client = gateway.client();
    let key = client.open("ann");
    (0..MESSAGES).for_each(|n| publish(&mut client, n));
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let mut gateway = Gateway::start(&config);
    let mut client = gateway.client();
    (MESSAGES..2 * MESSAGES).for_each(|n| publish(&mut client, n));
    gateway.signal("KILL");
    gateway.wait();
    let path = store.join("lab.sqlite");
    let mut bytes = fs::read(&path).expect("it is there");
    let place = bytes.windows(10).position(|found| found == b"message 7.").expect("it is there");
    bytes[place] = b'M';
    fs::write(&path, &bytes).expect("it can be written");
    let repaired = run(folder.path(), &["store", "repair"]);
    assert!(repaired.status.success(), "{}", said(&repaired));
    assert!(store.join("lab.sqlite.damaged-1-wal").exists(), "{}", said(&repaired));
    let check = run(folder.path(), &["store", "check"]);
    assert!(check.status.success(), "{}", said(&check));
    let gateway = Gateway::start(&config);
    let rest: Vec<String> = (0..2 * MESSAGES).filter(|n| *n != 7).map(text).collect();
    assert_eq!(waiting(&mut gateway.client(), "ann", &key), rest);
}

/// What a crash leaves at the log's end is told when the gateway starts.
#[test]
fn what_is_cut_off_a_log_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = lab("") + &format!("[store]\npath = {:?}\n", folder.path().display().to_string());
    let mut gateway = Gateway::start(&config);
    let mut client = gateway.client();
    let key = client.open("ann");
    for n in 0..3 {
        client.publish_to("ann", &format!("\"{n}\""));
    }
    gateway.signal("KILL");
    gateway.wait();
    let log = folder.path().join("lab.sqlite-wal");
    let mut bytes = fs::read(&log).expect("there is a log");
    bytes.truncate(bytes.len() - 10);
    fs::write(&log, bytes).expect("it can be written");

    let gateway = Gateway::start(&config);
    let told = gateway.log();
    assert!(told.contains("of one that was being written are cut off"), "{told}");
    assert_eq!(waiting(&mut gateway.client(), "ann", &key), ["0", "1"]);
}
