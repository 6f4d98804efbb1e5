//! A plugin that loops for ever, next to a healthy one.

use crate::support::{Client, Gateway, component, eventually, lab};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Clients that make the hostile plugin loop, all the time.
const ATTACKERS: usize = 16;
const REQUESTS: usize = 300;

/// The median of the healthy app's round trips.
fn round_trip(client: &mut Client, path: &str) -> Duration {
    let mut times: Vec<Duration> = (0..REQUESTS)
        .map(|_| {
            let start = Instant::now();
            let answer = client.post(path, r#"{"who":true}"#);
            assert_eq!(answer.json()["reply"]["members"][0], "ann", "{answer:?}");
            start.elapsed()
        })
        .collect();
    times.sort();
    times[REQUESTS / 2]
}

#[test]
fn a_looping_plugin_does_not_slow_its_neighbour_down() {
    let chat = component("plugins/chat");
    let config = lab(&format!("[[app]]\nname = \"chat\"\nplugins = [{chat:?}]"));
    let gateway = Gateway::start(&config);
    let mut ann = gateway.client();
    let opened = ann.post("/chat/mailboxes", r#"{"nick":"ann"}"#);
    let key = opened.json()["key"].as_str().expect("a key").to_owned();
    let path = format!("/chat/mailboxes/ann?key={key}");
    let quiet = round_trip(&mut ann, &path);

    let stop = Arc::new(AtomicBool::new(false));
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|i| {
            let (mut client, stop) = (gateway.client(), stop.clone());
            let name = format!("a{i}");
            let key = client.open(&name);
            thread::spawn(move || {
                let path = format!("/lab/mailboxes/{name}?key={key}");
                while !stop.load(Relaxed) {
                    let answer = client.post(&path, r#"{"do":"loop"}"#);
                    assert_eq!((answer.status, answer.code().as_str()), (500, "plugin_failed"));
                }
            })
        })
        .collect();
    let failures = || gateway.metric(FAILURES) > ATTACKERS as u64;
    eventually(failures, "the attack is running");
    let attacked = round_trip(&mut ann, &path);
    stop.store(true, Relaxed);
    for attacker in attackers {
        attacker.join().expect("attackers get their errors");
    }
    println!("median round trip: {quiet:?} alone, {attacked:?} beside {ATTACKERS} loops");
    // A loop is ended after 10 ms. Were all threads looping, every round trip
    // would wait for some of them; so this bound tells isolation from none.
    assert!(attacked < Duration::from_millis(10), "{attacked:?}");
}

const FAILURES: &str = "cometbox_plugin_failures_total{app=\"lab\",kind=\"time limit\"}";
