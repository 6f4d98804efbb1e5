//! A disk that is slow, or does not answer for a while.

use crate::{
    late::is_quiet,
    support::{Client, Faults, Gateway, Response, eventually, lab},
};
use serde_json::{Value, json};
use std::{path::Path, thread, time::Duration};

/// Publishers at the same time.
const CROWD: usize = 16;

/// An app for each durability; `lab` waits for the disk.
const APPS: [(&str, &str); 3] = [("lab", "disk"), ("os", "os"), ("none", "none")];

fn config(store: &Path) -> String {
    let apps = APPS.map(|(name, durability)| {
        lab(&format!("durability = {durability:?}"))
            .replace("name = \"lab\"", &format!("name = {name:?}"))
    });
    format!("{}[store]\npath = {:?}\n", apps.concat(), store.display().to_string())
}

/// Opens ann in an app; the path by which she reads.
fn open(client: &mut Client, app: &str) -> String {
    let opened = client.post(&format!("/{app}/mailboxes"), r#"{"name":"ann"}"#);
    let key = opened.json()["key"].as_str().expect("a key").to_owned();
    format!("/{app}/mailboxes/ann?key={key}&cursor=0&wait=0")
}

fn send(client: &mut Client, app: &str, data: &str) {
    let body = format!("{{\"to\":{{\"mailboxes\":[\"ann\"]}},\"data\":{data:?}}}");
    let key = [("authorization", "Bearer secret")];
    client.send("POST", &format!("/{app}/publish"), &key, body.as_bytes());
}

fn is_queued(answer: &Response) -> bool {
    answer.status == 200 && answer.json()["results"][0]["queued"] == 1
}

/// What ann reads, from the beginning, sorted.
fn waiting(client: &mut Client, path: &str) -> Vec<String> {
    let read = client.get(path);
    assert_eq!(read.status, 200, "{read:?}");
    let batch = read.json();
    let messages = batch["messages"].as_array().expect("messages").iter();
    let text = |message: &Value| message["data"].as_str().expect("a text").to_owned();
    let mut texts: Vec<String> = messages.map(text).collect();
    texts.sort();
    texts
}

#[test]
fn a_disk_that_does_not_answer_holds_up_who_waits_for_it_and_nobody_else() {
    let (faults, store) = (Faults::new(), tempfile::tempdir().expect("a temporary folder"));
    let gateway = Gateway::start_with(&faults, &config(store.path()));
    let mut client = gateway.client();
    let paths = APPS.map(|(app, _)| open(&mut client, app));
    faults.stop_syncs(true);
    let mut publishers: Vec<Client> = (0..CROWD).map(|_| gateway.client()).collect();
    for publisher in &mut publishers {
        send(publisher, "lab", "waits");
    }
    eventually(|| faults.waiting_syncs() == 1, "the disk is asked");
    gateway.until("cometbox_queued_messages{app=\"lab\"}", CROWD as u64);
    assert_eq!(waiting(&mut client, &paths[0]), ["waits"; CROWD], "readers do not wait");
    for (at, (app, _)) in APPS.iter().enumerate().skip(1) {
        send(&mut client, app, "goes on");
        assert!(is_queued(&client.receive().expect("an answer")), "{app}");
        assert_eq!(waiting(&mut client, &paths[at]), ["goes on"], "{app}");
    }
    assert_eq!(Client::connect(gateway.admin).get("/healthz").status, 200);
    assert!(publishers.iter().all(is_quiet), "nobody is told what is not so");
    let before = faults.syncs();
    faults.stop_syncs(false);
    for publisher in &mut publishers {
        assert!(is_queued(&publisher.receive().expect("an answer")));
    }
    let syncs = faults.syncs() - before;
    assert!((1..=3).contains(&syncs), "one that was under way, and one for the rest: {syncs}");
}

#[test]
fn on_a_slow_disk_publishers_share_what_they_wait_for() {
    const EACH: usize = 3;
    let (faults, store) = (Faults::new(), tempfile::tempdir().expect("a temporary folder"));
    let mut gateway = Gateway::start_with(&faults, &config(store.path()));
    let path = open(&mut gateway.client(), "lab");
    faults.syncs_take(Duration::from_millis(200));
    let before = faults.syncs();
    thread::scope(|scope| {
        for publisher in 0..CROWD {
            let (gateway, faults) = (&gateway, &faults);
            scope.spawn(move || {
                let mut client = gateway.client();
                for n in 0..EACH {
                    let before = faults.syncs();
                    send(&mut client, "lab", &format!("{publisher:02} {n}"));
                    assert!(is_queued(&client.receive().expect("an answer")));
                    assert!(faults.syncs() > before, "answered by a sync");
                }
            });
        }
    });
    let syncs = faults.syncs() - before;
    assert!(syncs as usize <= CROWD * EACH / 3, "they share syncs: {syncs}");
    gateway.signal("KILL");
    gateway.wait();
    let gateway = Gateway::start(&config(store.path()));
    let all = (0..CROWD).flat_map(|it| (0..EACH).map(move |n| format!("{it:02} {n}")));
    assert_eq!(waiting(&mut gateway.client(), &path), all.collect::<Vec<_>>());
}

/// With one that is read slowly there is time to say so.
#[test]
fn a_start_that_takes_long_says_how_far_it_is() {
    const MESSAGES: usize = 12_000;
    let (faults, store) = (Faults::new(), tempfile::tempdir().expect("a temporary folder"));
    let room = "limits = { mailbox_messages = 20_000, max_mailbox_messages = 20_000 }";
    let path = store.path().display().to_string();
    let config = format!("{}[store]\npath = {path:?}\n", lab(room));
    let mut gateway = Gateway::start_with(&faults, &config);
    let mut client = gateway.client();
    client.open("ann");
    let item = json!({ "to": { "mailboxes": ["ann"] }, "data": "x".repeat(50) });
    let items = json!(vec![item; 1_000]).to_string();
    for _ in 0..MESSAGES / 1_000 {
        assert_eq!(client.publish(&items).status, 200);
    }
    gateway.signal("TERM");
    gateway.wait();
    faults.reads_take(Duration::from_millis(10));
    let gateway = Gateway::start_with(&faults, &config);
    let log = gateway.log();
    let told = log.split("reading the store: ").nth(1).unwrap_or_else(|| panic!("silent: {log}"));
    let all = MESSAGES + 1;
    assert!(told.contains(&format!(" % of {all} rows")), "{log}");
}
