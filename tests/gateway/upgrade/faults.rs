//! An upgrade while the disk fails, or when it begins to in the middle of one:
//! what is in memory stays, and the service does. And one after the calendar was
//! set.

use super::{app, begin_request, service::Service, service::temporary, waiting};
use crate::support::{Client, Faults, Response, eventually};
use serde_json::json;

/// As the log and the one who asked are told.
const REASON: &str = "[store] of lab cannot be written: disk I/O error";

fn start(faults: &Faults, more: &str) -> Service {
    Service::start_in(temporary(), &app(more), |place| {
        let mut command = place.serve();
        command.envs(faults.environment());
        command
    })
}

fn publish(client: &mut Client, data: u32) -> Response {
    let item = json!({ "to": { "mailboxes": ["ann"] }, "data": data });
    client.publish(&item.to_string())
}

/// What ann has, from the beginning.
fn data(client: &mut Client, key: &str) -> Vec<u64> {
    let read = waiting(client, key, 0);
    assert_eq!(read.status, 200, "reads go on: {read:?}");
    let batch = read.json();
    let messages = batch["messages"].as_array().expect("messages").iter();
    messages.map(|message| message["data"].as_u64().expect("a number")).collect()
}

#[test]
fn an_upgrade_is_refused_while_the_disk_fails() {
    let faults = Faults::new();
    let service = start(&faults, "");
    let mut client = Client::connect(service.addr);
    let key = client.open("ann");
    assert_eq!(publish(&mut client, 1).status, 200);
    let first = service.process();
    let bob = client.open("bob");
    let mut holds = Client::connect(service.addr);
    holds.send("GET", &format!("/lab/mailboxes/bob?key={bob}&wait=60"), &[], b"");
    service.until_held(1);
    for (case, is_known) in [("nobody has noticed it", false), ("it is known", true)] {
        faults.fail_writes(true);
        if is_known {
            assert_eq!(publish(&mut client, 0).code(), "not_kept", "{case}");
        }
        let (said, is_upgraded) = service.upgrade();
        assert!(!is_upgraded && said.contains("not upgraded"), "{case}: {said}");
        assert!(said.contains(REASON), "{case}: {said}");
        assert_eq!(service.process(), first, "{case}");
        assert!(!service.log().contains("started process"), "{case}: nothing has begun");
        service.until_held(1);
        assert_eq!(data(&mut client, &key)[0], 1, "{case}");
        faults.fail_writes(false);
        eventually(|| publish(&mut client, 2).status == 200, "it recovers by itself");
    }
    service.upgrade_well();
    assert_eq!(data(&mut client, &key)[0], 1);
}

/// What nobody waited for is nowhere but in memory.
#[test]
fn where_the_disk_fails_before_the_store_is_closed_nothing_in_memory_is_lost() {
    let faults = Faults::new();
    let service = start(&faults, "durability = \"none\"");
    let mut client = Client::connect(service.addr);
    let key = client.open("ann");
    assert_eq!(publish(&mut client, 1).status, 200);
    let first = service.process();
    let item = json!({ "to": { "mailboxes": ["ann"] }, "data": 2 }).to_string();
    let mut slow = begin_request(service.addr, "/lab/publish", item.len());
    service.signal("USR2");
    eventually(|| service.log().contains("handing over"), "the new process is ready");
    faults.fail_writes(true);
    assert!(slow.send_raw(item.as_bytes()));
    let answer = slow.receive().expect("what runs is finished");
    assert_eq!(answer.status, 200, "it waits for nothing: {answer:?}");
    eventually(|| service.log().contains("not upgraded"), "it is not handed over");
    assert!(service.log().contains(REASON), "{}", service.log());
    assert!(!service.log().contains("the store is closed"), "{}", service.log());
    assert_eq!(service.process(), first);
    assert_eq!(data(&mut client, &key), [1, 2], "on the same connection");
    let mut new = Client::connect(service.addr);
    assert_eq!(data(&mut new, &key), [1, 2], "and on a new one");
    faults.fail_writes(false);
    eventually(|| publish(&mut new, 3).status == 200, "it recovers by itself");
    service.upgrade_well();
    assert_eq!(data(&mut client, &key)[..2], [1, 2]);
}

#[test]
fn where_the_disk_fails_once_the_store_is_closed_somebody_serves_as_soon_as_it_works() {
    for (case, ends) in [("it works again", false), ("it is asked to end meanwhile", true)] {
        let faults = Faults::new();
        let service = start(&faults, "");
        let mut client = Client::connect(service.addr);
        let key = client.open("ann");
        assert_eq!(publish(&mut client, 1).status, 200, "{case}");
        let mut slow = begin_request(service.addr, "/lab/mailboxes", 2);
        service.signal("USR2");
        eventually(|| service.log().contains("handing over"), "the new process is ready");
        service.signal_started("STOP");
        assert!(slow.send_raw(b"{}"), "{case}");
        assert_eq!(slow.receive().expect("what runs is finished").status, 201, "{case}");
        eventually(|| service.log().contains("the store is closed"), "it hands over");
        faults.fail_writes(true);
        service.signal_started("CONT");
        let tries = || service.log().matches("nobody is served until").count();
        eventually(|| tries() >= 2, "the store is tried again and again");
        assert!(service.log().contains("not upgraded"), "{case}: {}", service.log());
        if ends {
            service.signal("TERM");
            assert!(service.wait_for_first().success(), "{case}: {}", service.log());
            continue;
        }
        faults.fail_writes(false);
        assert_eq!(data(&mut client, &key), [1], "{case}: on the same connection");
        assert_eq!(publish(&mut client, 2).status, 200, "{case}");
        service.upgrade_well();
        assert_eq!(data(&mut client, &key), [1, 2], "{case}");
    }
}

#[test]
fn a_calendar_that_was_set_before_an_upgrade_moves_nothing() {
    const DAY_S: i64 = 86_400;
    for ahead_s in [DAY_S, -DAY_S] {
        let faults = Faults::new();
        let service = start(&faults, "");
        let mut client = Client::connect(service.addr);
        let key = client.open("ann");
        for (data, ttl_ms) in [(1, 600_000), (2, 8_000)] {
            let item = json!({ "to": { "mailboxes": ["ann"] }, "data": data, "ttl_ms": ttl_ms });
            assert_eq!(client.publish(&item.to_string()).status, 200, "{ahead_s}");
        }
        faults.set_calendar(ahead_s);
        service.upgrade_well();
        assert_eq!(data(&mut client, &key)[0], 1, "{ahead_s}: a second has passed, not a day");
        eventually(|| data(&mut client, &key) == [1], "what is to go in a moment goes");
    }
}
