//! Answers that HTTP/2's clients do not take: only their own streams end, and what
//! waits for them is bounded.

use super::{
    H2, World,
    frames::{
        ACK, DATA, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, PING, RST_STREAM, Raw, WINDOW_UPDATE,
        frame, get, get_with, setting, status,
    },
    runtime,
};
use std::{
    ops::Range,
    time::{Duration, Instant},
};

/// A reason of RFC 9113, 7.
const CANCEL: [u8; 4] = [0, 0, 0, 8];

const LARGE: &str = "mailbox_bytes = 2000000, max_answer_bytes = 2000000";

/// A JSON text.
fn text(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes))
}

/// The next frame but pings, which are answered.
fn receive(raw: &mut Raw) -> super::frames::Frame {
    loop {
        let it = raw.receive().expect("the connection stays");
        if it.kind != PING {
            return it;
        }
        if it.flags & ACK == 0 {
            raw.send(&frame(PING, ACK, 0, &it.payload));
        }
    }
}

#[test]
fn an_answer_that_is_not_taken_ends_its_stream_and_no_other() {
    let world = World::start("http = { idle_timeout_s = 2 }\n", LARGE);
    // A new one each time: it may be as silent as others.
    let backend = || world.gateway.client();
    let (no_window, some) = (setting(INITIAL_WINDOW_SIZE, 0), setting(INITIAL_WINDOW_SIZE, 20_000));
    const LATE_MS: Range<u128> = 1950..5000;
    for (what, settings, accept, bytes) in [
        ("none of an answer", &no_window, "application/json", 900_000),
        ("none of a short one", &no_window, "application/json", 10),
        ("part of an answer", &some, "application/json", 900_000),
        ("none of a stream", &no_window, "text/event-stream", 10),
        ("part of a stream", &some, "application/x-ndjson", 900_000),
    ] {
        let keys = ["ann", "bob"].map(|name| backend().open(name));
        backend().publish_to("ann", &text(bytes));
        let [ann, bob] = ["ann", "bob"].map(|name| format!("/lab/mailboxes/{name}?cursor=0&key="));
        let mut raw = Raw::connect(&world, settings);
        let started = Instant::now();
        raw.send(&get_with(1, &format!("{ann}{}", keys[0]), &[("accept", accept)]));
        raw.send(&get(3, &format!("{bob}{}", keys[1])));
        let reset = loop {
            let it = receive(&mut raw);
            match it.kind {
                RST_STREAM => break it,
                HEADERS => assert_eq!((it.stream, status(&it)), (1, 200), "{what}"),
                _ => {}
            }
        };
        let took_ms = started.elapsed().as_millis();
        assert_eq!((reset.stream, &reset.payload[..]), (1, &CANCEL[..]), "{what}");
        assert!(LATE_MS.contains(&took_ms), "{what}: {took_ms} ms");
        // The other read is still held, and answered.
        world.gateway.until_held(1);
        raw.send(&frame(WINDOW_UPDATE, 0, 3, &10_000u32.to_be_bytes()));
        backend().publish_to("bob", "7");
        let mut data = Vec::new();
        loop {
            let it = receive(&mut raw);
            if it.kind == DATA {
                assert_eq!(it.stream, 3, "{what}");
                data.extend_from_slice(&it.payload);
                if it.flags & END_STREAM != 0 {
                    break;
                }
            }
        }
        assert!(String::from_utf8_lossy(&data).contains("\"data\":7"), "{what}");
        for (name, key) in ["ann", "bob"].iter().zip(keys) {
            let path = format!("/lab/mailboxes/{name}?key={key}");
            assert_eq!(backend().request("DELETE", &path, &[], b"").status, 204, "{what}");
        }
    }
}

/// As many reads of a mailbox with one large message as a connection may have.
const READS: usize = 250;
const ANSWER_BYTES: usize = 900_000;

#[test]
fn answers_that_nobody_takes_are_not_even_made() {
    /// Of 225 MB: what a connection may have, what the system keeps, and what
    /// goes wrong elsewhere.
    const MAX_GROWTH_BYTES: u64 = 32 << 20;
    const MAX_WINDOW: u32 = (1 << 31) - 1;
    let world = World::start("http = { idle_timeout_s = 2 }\n", LARGE);
    let mut backend = world.gateway.client();
    let key = backend.open("ann");
    backend.publish_to("ann", &text(ANSWER_BYTES));
    let read = format!("/lab/mailboxes/ann?cursor=0&key={key}");
    let before = world.gateway.peak_memory_bytes();
    let mut raw = Raw::connect(&world, &setting(INITIAL_WINDOW_SIZE, MAX_WINDOW));
    let more = MAX_WINDOW - 65_535;
    raw.send(&frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes()));
    for n in 0..READS as u32 {
        raw.send(&get(n * 2 + 1, &read));
    }
    // Nothing at all is taken, so the connection ends, as does the backend's,
    // which is silent.
    world.gateway.until("cometbox_connections", 0);
    let after = world.gateway.peak_memory_bytes();
    assert!(after < before + MAX_GROWTH_BYTES, "{before} {after}");
}

#[test]
fn who_takes_its_answers_gets_all_of_them() {
    let world = World::start("", LARGE);
    let mut backend = world.gateway.client();
    let key = backend.open("ann");
    backend.publish_to("ann", &text(ANSWER_BYTES));
    let read = format!("/lab/mailboxes/ann?cursor=0&key={key}");
    runtime().block_on(async {
        let (client, connection) = H2::connect_with(&world, 65_535).await;
        // Ten times as much as there is room for.
        let reads: Vec<_> =
            (0..50).map(|_| tokio::spawn(client.request("GET", &read, &[], ""))).collect();
        for read in reads {
            let answer = read.await.expect("no panic").expect("an answer");
            assert!(answer.status == 200 && answer.body.len() > ANSWER_BYTES);
        }
        assert!(!connection.is_finished());
    });
}

#[test]
fn a_late_answer_does_not_hold_up_a_shutdown() {
    // A stream that its client does not take, beside one that is quiet.
    let mut world = World::start("http = { shutdown_grace_s = 600 }\n", LARGE);
    let mut backend = world.gateway.client();
    let mut raw = Raw::connect(&world, &setting(INITIAL_WINDOW_SIZE, 1000));
    for (stream, name) in [(1, "ann"), (3, "bob")] {
        let path = format!("/lab/mailboxes/{name}?key={}", backend.open(name));
        raw.send(&get_with(stream, &path, &[("accept", "text/event-stream")]));
    }
    world.gateway.until_held(2);
    backend.publish_to("ann", &text(100_000));
    world.gateway.until_held(1);
    let stopped = Instant::now();
    world.gateway.signal("TERM");
    assert!(world.gateway.wait().success());
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
    // The quiet one was told.
    let mut told = String::new();
    while let Some(it) = raw.receive() {
        if (it.kind, it.stream) == (DATA, 3) {
            told += &String::from_utf8_lossy(&it.payload);
        }
    }
    assert!(told.contains("event: end") && told.contains("shutting_down"), "{told}");
}
