//! Connections that do what plain clients do not: pieces, pipelines, changes
//! between the two readers of HTTP, clients that do not read or half leave.

use crate::support::{Client, Gateway, lab};
use std::{
    net::Shutdown,
    time::{Duration, Instant},
};

fn start() -> Gateway {
    Gateway::start(&lab(
        "limits = { call_ms = 1000, mailbox_bytes = 8000000, max_answer_bytes = 8000000 }",
    ))
}

fn read(name: &str, key: &str, cursor: u64) -> String {
    let path = format!("/lab/mailboxes/{name}?key={key}&cursor={cursor}");
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

fn publish(to: &str, data: &str) -> String {
    let body = format!(r#"{{"to":{{"mailboxes":["{to}"]}},"data":{data}}}"#);
    let length = body.len();
    format!(
        "POST /lab/publish HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// Takes longer, by what it is.
fn batch() -> String {
    let request = "POST /lab/publish HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n";
    format!("{request}content-length: 2\r\n\r\n[]")
}

fn data(client: &mut Client) -> serde_json::Value {
    let answer = client.receive().expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["messages"][0]["data"].clone()
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let gateway = start();
    let mut client = gateway.client();
    let key = client.open("ann");
    let whole = publish("ann", "1") + &read("ann", &key, 0);
    for cut in 1..whole.len() {
        client.send_raw(&whole.as_bytes()[..cut]);
        // So that it goes out by itself; where it is cut in the end does not
        // matter.
        std::thread::yield_now();
        client.send_raw(&whole.as_bytes()[cut..]);
        assert_eq!(client.receive().expect("an answer").status, 200, "cut at {cut}");
        assert_eq!(data(&mut client), 1, "cut at {cut}");
    }
    for byte in whole.as_bytes() {
        client.send_raw(&[*byte]);
    }
    assert_eq!(client.receive().expect("an answer").status, 200);
    assert_eq!(data(&mut client), 1);
}

#[test]
fn what_is_pipelined_behind_a_held_read_waits_for_it() {
    let gateway = start();
    let (mut client, mut other) = (gateway.client(), gateway.client());
    let key = client.open("ann");
    // Twice: with the second request in the same segment as the read, and with
    // one that comes while it is held.
    for (round, first) in [(1, publish("ann", "\"own\"")), (2, String::new())] {
        let cursor = (round - 1) * 2;
        client.send_raw((read("ann", &key, cursor) + &first).as_bytes());
        gateway.until_held(1);
        if first.is_empty() {
            client.send_raw(publish("ann", "\"own\"").as_bytes());
            client.send_raw(read("ann", &key, cursor + 1).as_bytes());
        }
        other.publish_to("ann", &format!("\"other {round}\""));
        assert_eq!(data(&mut client), format!("other {round}"));
        assert_eq!(client.receive().expect("an answer").json()["results"][0]["queued"], 1);
        if first.is_empty() {
            assert_eq!(data(&mut client), "own");
        }
    }
}

#[test]
fn a_long_pipeline_is_answered_in_order() {
    let gateway = start();
    let mut client = gateway.client();
    let key = client.open("ann");
    const COUNT: usize = 3000;
    let mut writer = client.try_clone();
    let requests: String =
        (0..COUNT).map(|n| publish("ann", &n.to_string()) + &read("ann", &key, n as u64)).collect();
    let sending = std::thread::spawn(move || writer.send_raw(requests.as_bytes()));
    for n in 0..COUNT {
        assert_eq!(client.receive().expect("an answer").status, 200);
        assert_eq!(data(&mut client), n);
    }
    assert!(sending.join().expect("it was sent"));
}

#[test]
fn what_is_pipelined_behind_a_batch_is_answered_after_it() {
    let gateway = start();
    let mut client = gateway.client();
    let key = client.open("ann");
    for round in 0..20 {
        client.send_raw((batch() + &publish("ann", "1") + &read("ann", &key, round)).as_bytes());
        assert_eq!(client.receive().expect("the batch's").json()["results"], serde_json::json!([]));
        assert_eq!(client.receive().expect("an answer").json()["results"][0]["queued"], 1);
        assert_eq!(data(&mut client), 1);
    }
}

#[test]
fn a_large_group_is_answered_though_nothing_else_happens() {
    const READERS: usize = 600;
    let gateway = start();
    let mut publisher = gateway.client();
    let mut readers: Vec<(Client, String)> = (0..READERS)
        .map(|n| {
            let mut client = gateway.client();
            let key = client.open_with(&format!(r#"{{"name":"m{n}","groups":["all"]}}"#));
            (client, key)
        })
        .collect();
    for round in 0..3 {
        for (n, (client, key)) in readers.iter_mut().enumerate() {
            client.send_raw(read(&format!("m{n}"), key, round).as_bytes());
        }
        gateway.until_held(READERS as u64);
        let published = publisher.publish(r#"{"to":{"groups":["all"]},"data":7}"#);
        assert_eq!(published.json()["results"][0]["queued"], READERS);
        for (client, _) in &mut readers {
            assert_eq!(data(client), 7);
        }
    }
}

#[test]
fn a_connection_changes_readers_and_loses_nothing() {
    let gateway = start();
    let mut client = gateway.client();
    let key = client.open("ann");
    let chunked = "POST /lab/publish HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n\
                   transfer-encoding: chunked\r\n\r\n29\r\n{\"to\":{\"mailboxes\":[\"ann\"]},\"data\":\"odd\"}\r\n0\r\n\r\n";
    // All at once: plain, chunked, plain.
    let all = publish("ann", "1") + chunked + &read("ann", &key, 1);
    client.send_raw(all.as_bytes());
    for _ in 0..2 {
        assert_eq!(client.receive().expect("an answer").json()["results"][0]["queued"], 1);
    }
    assert_eq!(data(&mut client), "odd");
    // And a read that hyper's part holds is answered, too.
    client.send_raw(read("ann", &key, 2).as_bytes());
    gateway.until_held(1);
    gateway.client().publish_to("ann", "3");
    assert_eq!(data(&mut client), 3);
}

#[test]
fn a_client_that_does_not_read_gets_its_answer_when_it_does() {
    let gateway = start();
    let (mut slow, mut other) = (gateway.client(), gateway.client());
    let key = slow.open("slow");
    let other_key = other.open("other");
    slow.send_raw(read("slow", &key, 0).as_bytes());
    gateway.until_held(1);
    // More than the socket's buffers take.
    let large = format!("\"{}\"", "x".repeat(900_000));
    for _ in 0..8 {
        other.publish_to("slow", &large);
    }
    // Held: the first. Then the rest, at once; and one more request behind.
    slow.send_raw((read("slow", &key, 1) + &read("slow", &key, 8)).as_bytes());
    let started = Instant::now();
    for n in 0..100 {
        other.publish_to("other", "1");
        let path = format!("/lab/mailboxes/other?key={other_key}&cursor={n}");
        assert_eq!(other.get(&path).status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "others are not held up");
    for (count, cursor) in [(1, 1), (7, 8)] {
        let batch = slow.receive().expect("an answer").json();
        assert_eq!(batch["messages"].as_array().map(Vec::len), Some(count));
        assert_eq!(batch["cursor"], cursor);
    }
    gateway.until_held(1);
    other.publish_to("slow", "9");
    assert_eq!(data(&mut slow), 9);
}

#[test]
fn a_client_that_leaves_is_noticed_at_once() {
    let gateway = start();
    let key = gateway.client().open("ann");
    for behind in ["", "GET /nope HTTP/1.1\r\nhost: x\r\n\r\n", "GET /half"] {
        for is_half in [false, true] {
            let mut client = gateway.client();
            client.send_raw((read("ann", &key, 0) + behind).as_bytes());
            gateway.until_held(1);
            let before = gateway.metric("cometbox_connections");
            if is_half {
                client.shutdown(Shutdown::Write);
            } else {
                drop(client);
            }
            gateway.until_held(0);
            gateway.until("cometbox_connections", before - 1);
        }
    }
}

/// As many bytes as the gateway receives at a time.
const RECEIVED_AT_ONCE: usize = 80 << 10;

#[test]
fn what_lies_behind_a_full_receive_buffer_is_not_forgotten() {
    let gateway = Gateway::start(&format!(
        "http = {{ max_body_bytes = 4000000 }}\n{}",
        lab("limits = { call_ms = 1000, mailbox_bytes = 9000000 }")
    ));
    let (mut client, mut other) = (gateway.client(), gateway.client());
    let (ann, _bob) = (client.open("ann"), client.open("bob"));
    // By now the client may send more than one buffer without being read.
    for _ in 0..4 {
        client.publish_to("bob", &format!("\"{}\"", "x".repeat(1_000_000)));
    }
    // The last request that is received: a plain one, a slow one, one that
    // comes to be held.
    for (cursor, (last, is_held)) in [
        ("GET /nope HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), false),
        (batch(), false),
        (read("ann", &ann, 3), true),
    ]
    .into_iter()
    .enumerate()
    {
        // Held, so that the rest is received in one.
        client.send_raw(read("ann", &ann, cursor as u64).as_bytes());
        gateway.until_held(1);
        let filler = |bytes: usize| publish("bob", &format!("\"{}\"", "x".repeat(bytes)));
        let missing = RECEIVED_AT_ONCE - last.len() - filler(60_000).len();
        let filler = filler(60_000 + missing);
        assert_eq!(filler.len() + last.len(), RECEIVED_AT_ONCE);
        let all = filler + &last + "DELETE /behind HTTP/1.1\r\nhost: x\r\n\r\n";
        assert!(client.send_raw(all.as_bytes()));
        other.publish_to("ann", "1");
        assert_eq!(data(&mut client), 1);
        assert_eq!(client.receive().expect("an answer").status, 200, "the filler");
        if is_held {
            gateway.until_held(1);
            other.publish_to("ann", "2");
            assert_eq!(data(&mut client), 2);
        } else {
            client.receive().expect("an answer to the last");
        }
        assert_eq!(client.receive().expect("an answer to what is behind").status, 404);
    }
}

#[test]
fn a_client_that_closes_its_side_is_let_go_after_its_answers() {
    let gateway = start();
    let nope = "GET /nope HTTP/1.1\r\nhost: x\r\n\r\n".to_owned();
    for (requests, answers) in
        [(nope.clone(), 1), (nope.repeat(3), 3), (batch(), 1), ("GET /h".into(), 0)]
    {
        // Whether its end is told with its requests or after them is up to the
        // system.
        for _ in 0..50 {
            let mut client = gateway.client();
            client.send_raw(requests.as_bytes());
            client.shutdown(Shutdown::Write);
            for _ in 0..answers {
                client.receive().expect("an answer");
            }
            assert!(client.is_closed_within(Duration::from_secs(5)), "{requests:?}");
        }
    }
    gateway.until("cometbox_connections", 0);
}

#[test]
fn going_down_waits_for_an_answer_and_not_for_its_client() {
    let mut gateway = Gateway::start(&format!(
        "http = {{ shutdown_grace_s = 60 }}\n{}",
        lab("limits = { mailbox_bytes = 8000000, max_answer_bytes = 8000000 }")
    ));
    let (mut slow, mut idle) = (gateway.client(), gateway.client());
    let key = slow.open("slow");
    // More than the socket's buffers take.
    let large = format!("\"{}\"", "x".repeat(900_000));
    for _ in 0..8 {
        idle.publish_to("slow", &large);
    }
    slow.send_raw(read("slow", &key, 0).as_bytes());
    gateway.until("cometbox_requests_total{app=\"lab\",route=\"read\",status=\"200\"}", 1);
    gateway.signal("TERM");
    assert!(idle.is_closed_within(Duration::from_secs(5)), "an idle connection just ends");
    let batch = slow.receive().expect("the answer that was on its way").json();
    assert_eq!(batch["messages"].as_array().map(Vec::len), Some(8));
    assert!(slow.is_closed_within(Duration::from_secs(5)));
    assert!(gateway.wait().success());
}
