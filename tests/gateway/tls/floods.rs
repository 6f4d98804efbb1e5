//! HTTP/2 from those who mean no good: each of them loses its connection, and
//! neither memory nor anybody else is concerned.

use super::{
    World,
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE,
        PING, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, frame, get, head, header, setting, status,
    },
};
use std::time::{Duration, Instant};

/// Reasons of RFC 9113, 7.
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const ENHANCE_YOUR_CALM: u32 = 11;

/// What a flood of some hundred megabytes may leave behind.
const MAX_GROWTH_BYTES: u64 = 32 << 20;

/// Sends what `next` makes until the connection is gone; how many bytes that
/// took.
fn flood(raw: &mut Raw, mut next: impl FnMut(u32) -> Vec<u8>) -> usize {
    let mut sent = 0;
    for round in 0.. {
        assert!(sent < 300 << 20, "it goes on for ever");
        let bytes = next(round);
        sent += bytes.len();
        if !raw.send(&bytes) {
            break;
        }
    }
    sent
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    let world = World::start("", "");
    let mut other = world.client();
    let key = other.open("ann");
    let read = format!("/lab/mailboxes/ann?key={key}");
    let before = world.gateway.memory_bytes();
    for _ in 0..3 {
        let mut raw = Raw::connect(&world, &[]);
        // A hundred at a time, as an attacker would.
        let sent = flood(&mut raw, |round| {
            let pair = |n: u32| {
                let stream = (round * 100 + n) * 2 + 1;
                [get(stream, &read), frame(RST_STREAM, 0, stream, &CANCEL)].concat()
            };
            (0..100).flat_map(pair).collect()
        });
        assert!(sent < 10 << 20, "{sent} bytes");
        // What was on its way when it ended may have taken the reason with it.
        assert!(matches!(raw.end(), None | Some(ENHANCE_YOUR_CALM)));
    }
    world.gateway.until_held(0);
    world.gateway.until("cometbox_connections", 1);
    let after = world.gateway.memory_bytes();
    assert!(after < before + MAX_GROWTH_BYTES, "{before} {after}");
    assert_eq!(other.get(&format!("{read}&wait=0")).status, 204, "others are served");
}

#[test]
fn a_few_resets_are_a_matter_of_course() {
    let world = World::start("", "");
    let mut raw = Raw::connect(&world, &[]);
    let key = world.gateway.client().open("ann");
    for n in 0..200 {
        let stream = n * 2 + 1;
        raw.send(&get(stream, &format!("/lab/mailboxes/ann?key={key}")));
        world.gateway.until_held(1);
        raw.send(&frame(RST_STREAM, 0, stream, &CANCEL));
        world.gateway.until_held(0);
    }
    raw.send(&get(1001, "/cometbox.js"));
    assert_eq!(status(&raw.next(HEADERS).expect("it is there still")), 200);
}

#[test]
fn a_head_that_goes_on_for_ever_ends_the_connection() {
    let world = World::start("", "");
    let mut other = world.client();
    let before = world.gateway.memory_bytes();
    let part = header("x", &"v".repeat(10_000));
    type Next = Box<dyn Fn(u32) -> Vec<u8>>;
    let cases: [(&str, Next); 3] = [
        ("large parts", {
            let part = part.clone();
            Box::new(move |_| frame(CONTINUATION, 0, 1, &part))
        }),
        ("small parts", {
            let small = frame(CONTINUATION, 0, 1, &header("x", "v")).repeat(1000);
            Box::new(move |_| small.clone())
        }),
        ("empty parts", {
            let empty = frame(CONTINUATION, 0, 1, &[]).repeat(1000);
            Box::new(move |_| empty.clone())
        }),
    ];
    for (what, next) in cases {
        let mut raw = Raw::connect(&world, &[]);
        raw.send(&frame(HEADERS, END_STREAM, 1, &head("GET", "/cometbox.js")));
        let sent = flood(&mut raw, next);
        assert!(sent < 10 << 20, "{what}: {sent} bytes");
        let reason = raw.end();
        assert!(matches!(reason, None | Some(PROTOCOL_ERROR | ENHANCE_YOUR_CALM)), "{reason:?}");
    }
    world.gateway.until("cometbox_connections", 1);
    let after = world.gateway.memory_bytes();
    assert!(after < before + MAX_GROWTH_BYTES, "{before} {after}");
    assert_eq!(other.get("/cometbox.js").status, 200, "others are served");
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let world = World::start("http = { max_streams = 5 }\n", "");
    let mut raw = Raw::connect(&world, &[]);
    // The limit counts once it was acknowledged.
    raw.next(SETTINGS).expect("the gateway's settings");
    raw.send(&frame(SETTINGS, ACK, 0, &[]));
    let key = world.gateway.client().open("ann");
    for n in 0..5 {
        let name = format!("m{n}");
        let key = world.gateway.client().open(&name);
        raw.send(&get(n * 2 + 1, &format!("/lab/mailboxes/{name}?key={key}")));
    }
    world.gateway.until_held(5);
    raw.send(&get(11, &format!("/lab/mailboxes/ann?key={key}")));
    let reset = raw.next(RST_STREAM).expect("the connection stays");
    assert_eq!((reset.stream, &reset.payload[..]), (11, &[0, 0, 0, 7][..]), "refused");
    assert_eq!(world.gateway.metric("cometbox_held_reads{app=\"lab\"}"), 5);
}

#[test]
fn a_client_that_is_gone_without_a_word_is_found() {
    let world = World::start("http = { idle_timeout_s = 3, head_timeout_s = 1 }\n", "");
    let key = world.gateway.client().open("ann");
    let read = format!("/lab/mailboxes/ann?key={key}");
    for (answers_pings, is_held) in [(true, true), (false, false)] {
        let mut raw = Raw::connect(&world, &[]);
        raw.send(&get(1, &read));
        world.gateway.until_held(1);
        let mut pings = 0;
        let ended = loop {
            match raw.receive() {
                None => break true,
                Some(it) if it.kind == PING && it.flags & ACK == 0 => {
                    pings += 1;
                    if answers_pings {
                        raw.send(&frame(PING, ACK, 0, &it.payload));
                    }
                    // Longer than a connection may be idle, so being alive is
                    // what keeps it.
                    if pings == 5 {
                        break false;
                    }
                }
                Some(_) => {}
            }
        };
        assert_eq!(!ended, is_held, "pings are answered: {answers_pings}");
        world.gateway.until_held(u64::from(is_held));
    }
}

/// When a connection is told that it ends, and why, on which these bytes are all
/// that the client says but for answers to pings. And it does end.
fn ends(world: &World, bytes: &[u8], is_alive: bool) -> (Duration, u32) {
    let started = Instant::now();
    let mut raw = Raw::connect(world, &[]);
    raw.send(bytes);
    let mut told = None;
    while let Some(it) = raw.receive() {
        match it.kind {
            PING if it.flags & ACK == 0 && is_alive => {
                raw.send(&frame(PING, ACK, 0, &it.payload));
            }
            GOAWAY if told.is_none() => {
                let code = it.payload[4..8].try_into().expect("four bytes");
                told = Some((started.elapsed(), u32::from_be_bytes(code)));
            }
            _ => {}
        }
    }
    told.expect("it is told")
}

#[test]
fn nobody_may_take_for_ever() {
    // Pings come after 2 s, and take effect 1 s later: a head is late before.
    let world = World::start("http = { idle_timeout_s = 6, head_timeout_s = 1 }\n", "");
    let script = get(1, "/cometbox.js");
    let head = frame(HEADERS, END_STREAM, 1, &head("GET", "/cometbox.js"));
    let (idle, late) = (6000..9000, 1000..2900);
    std::thread::scope(|scope| {
        for (what, bytes, is_alive, expected_ms) in [
            ("silence", &[][..], true, idle.clone()),
            ("silence after an answer", &script, true, idle),
            ("part of a frame", &script[..7], false, late.clone()),
            ("part of a head", &script[..20], false, late.clone()),
            ("a head that stops", &head, false, late),
        ] {
            let world = &world;
            scope.spawn(move || {
                let (took, reason) = ends(world, bytes, is_alive);
                let range = expected_ms.start - 50..expected_ms.end;
                assert!(range.contains(&took.as_millis()), "{what}: {took:?}");
                assert_eq!(reason, NO_ERROR, "{what}");
            });
        }
    });
}

#[test]
fn an_answer_that_is_taken_slowly_is_taken_in_the_end() {
    const WINDOW_BYTES: u32 = 10_000;
    let world = World::start(
        "http = { idle_timeout_s = 2 }\n",
        "mailbox_bytes = 2000000, max_answer_bytes = 2000000",
    );
    let mut publisher = world.gateway.client();
    let key = publisher.open("ann");
    publisher.publish_to("ann", &format!("\"{}\"", "x".repeat(100_000)));
    let mut raw = Raw::connect(&world, &setting(INITIAL_WINDOW_SIZE, WINDOW_BYTES));
    raw.send(&get(1, &format!("/lab/mailboxes/ann?cursor=0&key={key}")));
    let (started, mut received, mut window) = (Instant::now(), 0, 0);
    loop {
        let it = raw.receive().expect("it is served to the end");
        if it.kind != DATA {
            continue;
        }
        received += it.payload.len();
        window += it.payload.len() as u32;
        if it.flags & END_STREAM != 0 {
            break;
        }
        if window == WINDOW_BYTES {
            // Over all it takes longer than a client may be silent.
            std::thread::sleep(Duration::from_millis(300));
            for stream in [0, 1] {
                raw.send(&frame(WINDOW_UPDATE, 0, stream, &window.to_be_bytes()));
            }
            window = 0;
        }
    }
    assert!(received > 100_000, "{received}");
    assert!(started.elapsed() > Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn the_bodies_of_one_connection_have_a_bound_together() {
    // 16 whole bodies, 17 of these.
    const FIT: u32 = 17;
    let world = World::start("http = { max_body_bytes = 1000 }\n", "");
    let mut raw = Raw::connect(&world, &[]);
    let part = format!("{{\"pad\":\"{}", "x".repeat(892));
    let begin = |stream| {
        let open = frame(HEADERS, END_HEADERS, stream, &head("POST", "/lab/mailboxes"));
        [open, frame(DATA, 0, stream, part.as_bytes())].concat()
    };
    for n in 0..FIT + 3 {
        raw.send(&begin(n * 2 + 1));
    }
    let mut refused = Vec::new();
    while refused.len() < 3 {
        let answer = raw.next(HEADERS).expect("an answer");
        assert_eq!(status(&answer), 503);
        refused.push(answer.stream);
    }
    // The others have their room, and give it back.
    for stream in (0..FIT + 3).map(|n| n * 2 + 1).filter(|stream| !refused.contains(stream)) {
        raw.send(&frame(DATA, END_STREAM, stream, b"\"}"));
        assert_eq!(status(&raw.next(HEADERS).expect("an answer")), 201);
    }
    for n in 100..100 + FIT {
        raw.send(&[begin(n * 2 + 1), frame(DATA, END_STREAM, n * 2 + 1, b"\"}")].concat());
        assert_eq!(status(&raw.next(HEADERS).expect("an answer")), 201);
    }
}
