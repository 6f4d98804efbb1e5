//! A gateway that is started while its disk fails: it does not start, changes
//! nothing, and starts once the disk works. And one that is stopped then.

use crate::support::{BINARY, Faults, Gateway, eventually, lab};
use std::{
    fs,
    process::{Command, Stdio},
};

#[test]
fn a_disk_that_fails_stops_a_start_which_works_once_the_disk_does() {
    type Fault = fn(&Faults, bool);
    for (case, end, fault, says) in [
        (
            "writes fail after an orderly end",
            "TERM",
            Faults::fail_writes as Fault,
            "disk I/O error",
        ),
        ("writes fail after a crash", "KILL", Faults::fail_writes, "Input/output error"),
        ("syncs fail after an orderly end", "TERM", Faults::fail_syncs, "disk I/O error"),
        ("syncs fail after a crash", "KILL", Faults::fail_syncs, "disk I/O error"),
    ] {
        let (faults, folder) = (Faults::new(), tempfile::tempdir().expect("a temporary folder"));
        let store = folder.path().join("store").display().to_string();
        let config = format!("{}[store]\npath = {store:?}\n", lab(""));
        let mut gateway = Gateway::start_with(&faults, &config);
        let mut client = gateway.client();
        let key = client.open("ann");
        client.publish_to("ann", "1");
        gateway.signal(end);
        gateway.wait();

        fault(&faults, true);
        let file = folder.path().join("cometbox.toml");
        let text = format!("listen = \"127.0.0.1:0\"\nadmin = \"\"\n{config}");
        fs::write(&file, text).expect("a new folder");
        let output = Command::new(BINARY)
            .args(["serve", "--config"])
            .arg(&file)
            .envs(faults.environment())
            .stdin(Stdio::null())
            .output()
            .expect("the binary was built for this test");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{case}: {said}");
        let error = said.lines().find(|line| line.starts_with("error: [store]"));
        assert!(error.is_some_and(|error| error.contains(says)), "{case}: {said}");

        fault(&faults, false);
        let gateway = Gateway::start_with(&faults, &config);
        let mut client = gateway.client();
        let read = client.get(&format!("/lab/mailboxes/ann?key={key}&cursor=0&wait=0")).json();
        assert_eq!((&read["messages"][0]["data"], &read["lost"]), (&1.into(), &0.into()), "{case}");
        client.publish_to("ann", "2");
    }
}

/// What nobody waited for is nowhere but in memory: whoever ended it must know.
#[test]
fn a_stop_that_cannot_write_what_came_last_ends_with_an_error() {
    let (faults, store) = (Faults::new(), tempfile::tempdir().expect("a temporary folder"));
    let path = store.path().display().to_string();
    let config = format!("{}[store]\npath = {path:?}\n", lab("durability = \"none\""));
    let mut gateway = Gateway::start_with(&faults, &config);
    let mut client = gateway.client();
    client.open("ann");
    faults.fail_writes(true);
    client.publish_to("ann", "1");
    gateway.signal("TERM");
    assert!(!gateway.wait().success());
    let error = "error: [store] of lab cannot be written: disk I/O error";
    eventually(|| gateway.log().contains(error), error);
}
