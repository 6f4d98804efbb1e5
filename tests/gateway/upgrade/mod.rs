//! One process takes over from another: with what clients have open, by whatever
//! goes wrong, and under a service manager.

mod faults;
mod load;
mod manager;
mod service;

use crate::support::{Client, Response, eventually, lab};
use serde_json::json;
use service::Service;
use std::{
    fs,
    net::{SocketAddr, TcpListener},
};

/// The app `lab`, whose mailboxes take all that comes in a test.
fn app(more: &str) -> String {
    lab(&format!(
        "limits = {{ mailbox_messages = 1_000_000, max_mailbox_messages = 1_000_000, \
         mailbox_bytes = 268_435_456, max_mailbox_bytes = 268_435_456, linger_ms = 600_000, \
         load_ms = 60_000 }}\n{more}\n"
    ))
}

/// What waits for `ann` behind a cursor.
fn waiting(client: &mut Client, key: &str, cursor: u64) -> Response {
    client.get(&format!("/lab/mailboxes/ann?key={key}&cursor={cursor}&wait=0"))
}

/// A request that goes on until a body of so many bytes is sent, so that a process
/// which hands over waits for it.
fn begin_request(addr: SocketAddr, path: &str, body_bytes: usize) -> Client {
    let mut client = Client::connect(addr);
    let key = if path.ends_with("/publish") { "authorization: Bearer secret\r\n" } else { "" };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\n{key}expect: 100-continue\r\n\
         content-length: {body_bytes}\r\n\r\n"
    );
    assert!(client.send_raw(head.as_bytes()));
    assert_eq!(client.receive().expect("an interim answer").status, 100);
    client
}

#[test]
fn a_connection_goes_on_in_the_next_process() {
    let service = Service::start(&app(""));
    let mut client = Client::connect(service.addr);
    let key = client.open("ann");
    let body = json!({ "to": { "mailboxes": ["ann"] }, "data": "hello" }).to_string();
    let publish = format!(
        "POST /lab/publish HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let read = format!("GET /lab/mailboxes/ann?key={key}&wait=20 HTTP/1.1\r\nhost: x\r\n\r\n");
    let (held_and_part, held_and_more) = (read.clone() + &publish[..9], read.clone() + &publish);
    let all = publish.len();
    let mut cursor = 0;
    for (name, before, after, answers) in [
        ("between two requests", "", &publish[..], &[200][..]),
        ("in a head", &publish[..20], &publish[20..], &[200]),
        ("in a body", &publish[..all - 3], &publish[all - 3..], &[200]),
        ("with a held read", &read, &publish, &[204, 200]),
        ("with a part of a request behind it", &held_and_part, &publish[9..], &[204, 200]),
        ("with a whole request behind it", &held_and_more, "", &[204, 200]),
    ] {
        let mut other = Client::connect(service.addr);
        assert_eq!(other.get("/nope").status, 404, "{name}: it is in use");
        assert!(other.send_raw(before.as_bytes()), "{name}");
        if before.starts_with("GET") {
            service.until_held(1);
        }
        let first = service.process();
        service.upgrade_well();
        assert_ne!(service.process(), first, "{name}");
        assert!(other.send_raw(after.as_bytes()), "{name}");
        for status in answers {
            let answer = other.receive().unwrap_or_else(|| panic!("{name}: it was closed"));
            assert_eq!(answer.status, *status, "{name}: {answer:?}");
            assert_eq!(answer.header("connection"), None, "{name}");
        }
        // Once, and in the place that it has by its cursor.
        let read = waiting(&mut client, &key, cursor).json();
        cursor += 1;
        let hello = json!({ "seq": cursor, "data": "hello" });
        assert_eq!(read, json!({ "cursor": cursor, "lost": 0, "messages": [hello] }), "{name}");
        let confirm = format!("/lab/mailboxes/ann/confirm?key={key}&cursor={cursor}");
        assert_eq!(client.post(&confirm, "").status, 204, "{name}");
    }
}

/// One message to the other process has room for some of them.
#[test]
fn all_connections_go_on_in_the_next_process_however_many_they_are() {
    let service = Service::start(&app(""));
    let key = Client::connect(service.addr).open("ann");
    let mut cursor = 0;
    for (name, connections, bytes) in
        [("more descriptors", 200, 5), ("more bytes of requests", 50, 30_000)]
    {
        let data = "x".repeat(bytes);
        let body = json!({ "to": { "mailboxes": ["ann"] }, "data": data }).to_string();
        let head = "POST /lab/publish HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n";
        let publish = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let (before, after) = publish.split_at(publish.len() - 3);
        let mut clients: Vec<Client> = (0..connections)
            .map(|_| {
                let mut client = Client::connect(service.addr);
                assert_eq!(client.get("/nope").status, 404, "{name}: it is in use");
                assert!(client.send_raw(before.as_bytes()), "{name}");
                client
            })
            .collect();
        service.upgrade_well();
        for (at, client) in clients.iter_mut().enumerate() {
            assert!(client.send_raw(after.as_bytes()), "{name}: {at}");
            let answer = client.receive().unwrap_or_else(|| panic!("{name}: {at} was closed"));
            assert_eq!(answer.status, 200, "{name}: {at}: {answer:?}");
        }
        let mut client = Client::connect(service.addr);
        let mut came = 0;
        while let read @ Response { status: 200, .. } = waiting(&mut client, &key, cursor) {
            let batch = read.json();
            came += batch["messages"].as_array().expect("messages").len();
            cursor = batch["cursor"].as_u64().expect("a cursor");
        }
        assert_eq!(came, connections, "{name}");
    }
}

#[test]
fn whatever_fails_the_old_process_goes_on() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = format!("admin = {:?}", taken.local_addr().expect("it is bound").to_string());
    let script = |service: &Service, text: &str| {
        service.replace_program(|file| fs::write(file, format!("#!/bin/sh\n{text}\n")));
    };
    type Change<'a> = Box<dyn Fn(&Service) + 'a>;
    let configured = |more: String| -> Change<'_> {
        Box::new(move |service: &Service| service.configure(&more))
    };
    let broken = |settings: &str| configured(app(&format!("settings = {settings}")));
    let cases: Vec<(&str, Change<'_>, &str)> = vec![
        ("a program that ends", Box::new(|it: &Service| script(it, "exit 7")), "exit status: 7"),
        (
            "one that knows nothing of this",
            Box::new(|it: &Service| script(it, "exec true")),
            "status: 0",
        ),
        ("no program", Box::new(Service::remove_program), "cannot start"),
        ("a key that does not exist", configured("lisen = 1\n".into()), "unknown key \"lisen\""),
        ("an address that is taken", configured(format!("{taken}\n{}", app(""))), "cannot listen"),
        ("settings that a plugin refuses", broken("{ init = \"error\" }"), "refuses its settings"),
        ("a plugin that fails to load", broken("{ load = \"error\" }"), "load: "),
    ];
    let service = Service::start(&app(""));
    let mut client = Client::connect(service.addr);
    let key = client.open("ann");
    let mut cursor = 0;
    for (name, change, says) in &cases {
        let first = service.process();
        change(&service);
        let (said, is_upgraded) = service.upgrade();
        assert!(!is_upgraded && said.contains(says), "{name}: {said}");
        service.repair(&app(""));
        assert_eq!(service.process(), first, "{name}");
        // The connection is the same, too.
        client.publish_to("ann", "1");
        assert_eq!(waiting(&mut client, &key, cursor).json()["messages"][0]["data"], 1, "{name}");
        cursor += 1;
        let by_a_new_one = waiting(&mut Client::connect(service.addr), &key, cursor);
        assert_eq!(by_a_new_one.status, 204, "{name}");
    }
    service.upgrade_well();
    assert_eq!(waiting(&mut client, &key, cursor).status, 204);
}

#[test]
fn a_process_that_dies_while_it_takes_over_is_replaced_by_the_old_one() {
    let service = Service::start(&app(""));
    let mut client = Client::connect(service.addr);
    let key = client.open("ann");
    client.publish_to("ann", "1");
    // It does not come to serve: its plugin thinks for ever, with the store open.
    service.configure(&app("settings = { load = \"loop\" }"));
    let first = service.process();
    std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| service.upgrade());
        eventually(|| service.log().contains("the store is closed"), "it hands over");
        eventually(|| service.log().matches("the store is read").count() == 1, "it has the store");
        service.signal_started("KILL");
        let (said, is_upgraded) = upgrade.join().expect("the command ends");
        assert!(!is_upgraded && said.contains("signal: 9"), "{said}");
    });
    assert_eq!(service.process(), first);
    let read = waiting(&mut client, &key, 0).json();
    assert_eq!((&read["messages"][0]["data"], &read["lost"]), (&1.into(), &0.into()));
    client.publish_to("ann", "2");
    assert_eq!(waiting(&mut client, &key, 1).json()["messages"][0]["data"], 2);
}

#[test]
fn a_process_that_is_silent_while_it_takes_over_is_replaced_and_a_slow_one_is_not() {
    for (case, signal, says) in [
        ("it is stopped", Some("STOP"), "the new process has said nothing for 3 s"),
        ("it is slow, and fails in its own time", None, "load: "),
    ] {
        let service = Service::start_with_settings(&app(""), "takeover_timeout_s = 3");
        let mut client = Client::connect(service.addr);
        let key = client.open("ann");
        client.publish_to("ann", "1");
        // Its plugin thinks for longer than it may be silent, with the store open.
        let thinks = app("settings = { load = \"loop\" }");
        service.configure(&thinks.replace("load_ms = 60_000", "load_ms = 7_000"));
        let first = service.process();
        std::thread::scope(|scope| {
            let upgrade = scope.spawn(|| service.upgrade());
            eventually(|| service.log().contains("the store is read"), "it has the store");
            if let Some(signal) = signal {
                service.signal_started(signal);
            }
            let (said, is_upgraded) = upgrade.join().expect("the command ends");
            assert!(!is_upgraded && said.contains(says), "{case}: {said}");
            let is_heard = said.contains("its plugins load what they need");
            assert!(is_heard || signal.is_some(), "{case}: {said}");
        });
        assert_eq!(service.process(), first, "{case}");
        let read = waiting(&mut client, &key, 0).json();
        assert_eq!(read["messages"][0]["data"], 1, "{case}");
        client.publish_to("ann", "2");
        assert_eq!(waiting(&mut client, &key, 1).json()["messages"][0]["data"], 2, "{case}");
    }
}

#[test]
fn a_signal_to_end_is_for_whichever_process_comes_to_serve() {
    for (name, settings, is_killed) in
        [("the new one", "", false), ("the old one, again", "settings = { load = \"loop\" }", true)]
    {
        let service = Service::start(&app(""));
        let mut slow = begin_request(service.addr, "/lab/mailboxes", 2);
        service.configure(&app(settings));
        service.signal("USR2");
        eventually(|| service.log().contains("handing over"), "the new process is ready");
        service.signal_started("STOP");
        slow.send_raw(b"{}");
        let answer = slow.receive().expect("what runs is finished");
        assert_eq!((answer.status, answer.header("connection")), (201, Some("close")), "{name}");
        eventually(|| service.log().contains("the store is closed"), "it hands over");
        service.signal("TERM");
        if is_killed {
            service.signal_started("KILL");
        }
        service.signal_started("CONT");
        assert!(service.wait_for_first().success(), "{name}: {}", service.log());
        eventually(|| service.log().contains("shutting down"), "whoever serves ends");
        let serves = service.log().contains(" serves");
        assert_eq!(serves, !is_killed, "{name}: {}", service.log());
    }
}

#[test]
fn without_a_store_there_is_nothing_to_take_over() {
    let service = Service::start_without_store(&app(""));
    let mut client = Client::connect(service.addr);
    let key = client.open("ann");
    client.publish_to("ann", "1");
    let (said, is_upgraded) = service.upgrade();
    assert!(!is_upgraded && said.contains("there is no [store]"), "{said}");
    service.signal("USR2");
    eventually(|| service.log().contains("not upgraded"), "the log says why");
    assert!(service.log().contains("there is no [store]"), "{}", service.log());
    assert_eq!(waiting(&mut client, &key, 0).json()["messages"][0]["data"], 1);
}

#[test]
fn another_store_is_nothing_to_take_over() {
    let service = Service::start(&app(""));
    let other = service.folder().join("other");
    // The command finds the gateway by its store, so that this is for the signal.
    service.configure_without_store(&format!("{}\n[store]\npath = {other:?}\n", app("")));
    let first = service.process();
    service.signal("USR2");
    eventually(|| service.log().contains("would end; restart"), "the log says why");
    assert_eq!(service.process(), first);
    let (said, is_upgraded) = service.upgrade();
    assert!(!is_upgraded && said.contains("no gateway answers at"), "{said}");
}
