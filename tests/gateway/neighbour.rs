//! Plugins that do their worst, next to a healthy one.

use crate::support::{Client, Gateway, component, eventually, lab};
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// Clients that make the hostile plugin misbehave, all the time.
const ATTACKERS: usize = 8;
const REQUESTS: usize = 200;

/// Round trips of the healthy app, the fastest first.
fn round_trips(client: &mut Client, path: &str) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..REQUESTS)
        .map(|_| {
            let start = Instant::now();
            let answer = client.post(path, r#"{"who":true}"#);
            assert_eq!(answer.json()["reply"]["members"][0], "ann", "{answer:?}");
            start.elapsed()
        })
        .collect();
    times.sort();
    times
}

/// Runs `during` while the hostile plugin does `deed` for everybody who asks.
fn attack<T>(gateway: &Gateway, deed: &str, during: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    let before = gateway.metric(FAILED);
    thread::scope(|scope| {
        for i in 0..ATTACKERS {
            let stop = &stop;
            scope.spawn(move || {
                let mut client = gateway.client();
                let name = format!("{deed}-{i}");
                let key = client.open(&name);
                let path = format!("/lab/mailboxes/{name}?key={key}");
                let body = format!("{{\"do\":{deed:?}}}");
                while !stop.load(Relaxed) {
                    let answer = client.post(&path, &body);
                    assert_eq!(
                        (answer.status, answer.code().as_str()),
                        (500, "plugin_failed"),
                        "{deed}"
                    );
                }
            });
        }
        let runs = || gateway.metric(FAILED) >= before + ATTACKERS as u64;
        eventually(runs, &format!("the attack by {deed} is running"));
        let result = during();
        stop.store(true, Relaxed);
        result
    })
}

const FAILED: &str = "cometbox_requests_total{app=\"lab\",route=\"send\",status=\"500\"}";

/// Calls are ended after 10 ms. Were hostile calls on all threads, the healthy
/// app would wait for several of them, nearly always; so this bound on nine of
/// ten round trips tells isolation from none, on a busy machine as well.
const BOUND: Duration = Duration::from_millis(10);

#[test]
fn no_misdeed_slows_a_neighbour_down() {
    let chat = component("plugins/chat");
    let config = lab(&format!("[[app]]\nname = \"chat\"\nplugins = [{chat:?}]"));
    let gateway = Gateway::start(&config);
    let mut ann = gateway.client();
    let opened = ann.post("/chat/mailboxes", r#"{"nick":"ann"}"#);
    let key = opened.json()["key"].as_str().expect("a key").to_owned();
    let path = format!("/chat/mailboxes/ann?key={key}");
    let mut report = String::new();
    let mut measure = |what: &str, times: &[Duration]| {
        let at = |share: usize| times[REQUESTS * share / 100].as_secs_f64() * 1000.0;
        report += &format!("{what:>11}: p50 {:.2} ms, p90 {:.2} ms\n", at(50), at(90));
        (what.to_owned(), times[REQUESTS * 90 / 100])
    };
    let mut slowest = vec![measure("alone", &round_trips(&mut ann, &path))];
    for deed in [
        "loop",
        "memory",
        "recursion",
        "host_calls",
        "log_flood",
        "actions",
        "output",
        "panic",
        "bad_json",
        "error",
    ] {
        let times = attack(&gateway, deed, || round_trips(&mut ann, &path));
        slowest.push(measure(deed, &times));
    }
    println!("{report}");
    for (what, p90) in slowest {
        assert!(p90 < BOUND, "{what} slows the neighbour down\n{report}");
    }
}

/// A plugin that takes its time with every notice, and a crowd that expires.
#[test]
fn answers_do_not_wait_for_slow_notices() {
    let settings = r#"settings = { in = "closed", do = "loop" }"#;
    let gateway = Gateway::start(&lab(&format!("{settings}\nlimits = {{ linger_ms = 300 }}")));
    let mut client = gateway.client();
    let key = client.open_with(r#"{"name":"ann","linger_ms":60000}"#);
    for i in 0..300 {
        client.open(&format!("crowd-{i}"));
    }
    let started = Instant::now();
    // Ends while the crowd's notices, 10 ms each, are being run.
    let answer = client.get(&format!("/lab/mailboxes/ann?wait=1&key={key}"));
    assert_eq!(answer.status, 204);
    let held = started.elapsed();
    assert!(held < Duration::from_millis(1800), "held for {held:?} instead of 1 s");
    let notices = "cometbox_plugin_failures_total{app=\"lab\",kind=\"time limit\"}";
    gateway.until(notices, 300);
}

/// A timer that sets itself again without delay does not stop its app.
#[test]
fn a_timer_that_never_rests_leaves_time_for_others() {
    let settings = r#"settings = { in = "timer", do = "timer", count = 0 }"#;
    let gateway = Gateway::start(&lab(settings));
    let mut client = gateway.client();
    let key = client.open("restless");
    let path = format!("/lab/mailboxes/restless?key={key}");
    client.post(&path, r#"{"do":"timer","count":0}"#);
    let rings = "cometbox_plugin_calls_total{app=\"lab\",event=\"timer\"}";
    eventually(|| gateway.metric(rings) > 20, "the timer rings again and again");
    let key = client.open("ann");
    let answer = client.get(&format!("/lab/mailboxes/ann?wait=1&key={key}"));
    assert_eq!(answer.status, 204, "a held read still ends");
}
