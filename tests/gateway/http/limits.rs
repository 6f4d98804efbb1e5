//! Every limit of a request and a connection: at the bound, and one over it.

use crate::support::{Client, Gateway, lab};
use std::time::{Duration, Instant};

fn start(http: &str) -> Gateway {
    Gateway::start(&format!("http = {{ {http} }}\n{}", lab("limits = { call_ms = 1000 }")))
}

/// JSON of exactly so many bytes.
fn json_of(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[test]
fn bodies() {
    let gateway = start("max_body_bytes = 10000");
    let mut client = gateway.client();
    let key = client.open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    assert_eq!(client.post(&path, &json_of(10_000)).status, 200);
    let over = client.post(&path, &json_of(10_001));
    assert_eq!((over.status, over.code().as_str()), (413, "too_large"));
    assert_eq!(over.header("connection"), Some("close"));
    assert!(client.is_closed_within(Duration::from_secs(5)));

    // Chunked, where nobody says before how much it will be.
    for (bytes, status) in [(10_000, 200), (10_001, 413)] {
        let mut client = gateway.client();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        client.send_raw(head.as_bytes());
        for part in json_of(bytes).as_bytes().chunks(999) {
            client.send_raw(format!("{:x}\r\n", part.len()).as_bytes());
            client.send_raw(part);
            client.send_raw(b"\r\n");
        }
        client.send_raw(b"0\r\n\r\n");
        assert_eq!(client.receive().expect("an answer").status, status, "{bytes} bytes");
    }
}

#[test]
fn a_large_body_is_refused_before_it_is_sent() {
    let gateway = start("max_body_bytes = 10");
    let mut client = gateway.client();
    client.send_raw(
        b"POST /lab/mailboxes HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
          content-length: 11\r\n\r\n",
    );
    assert_eq!(client.receive().expect("an answer").status, 413);
    let mut client = gateway.client();
    client.send_raw(
        b"POST /lab/mailboxes HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
          content-length: 2\r\n\r\n",
    );
    assert_eq!(client.receive().expect("an interim answer").status, 100);
    client.send_raw(b"{}");
    assert_eq!(client.receive().expect("an answer").status, 201);
}

#[test]
fn urls_and_heads() {
    let gateway = start("max_uri_bytes = 100, max_head_bytes = 1000");
    let path_of = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    assert_eq!(gateway.client().get(&path_of(100)).status, 404);
    let over = gateway.client().get(&path_of(101));
    assert_eq!((over.status, over.code().as_str()), (414, "uri_too_long"));

    // `GET /nope HTTP/1.1`, `host: test`, the header, an empty line.
    let fixed = 20 + 12 + "x: \r\n".len() + 2;
    let get = |bytes: usize| {
        let value = "v".repeat(bytes - fixed);
        gateway.client().request("GET", "/nope", &[("x", &value)], b"")
    };
    assert_eq!(get(1000).status, 404);
    for bytes in [1001, 5000, 50_000] {
        let over = get(bytes);
        assert_eq!((over.status, over.code().as_str()), (431, "headers_too_large"), "{bytes}");
        assert_eq!(over.header("connection"), Some("close"));
    }
}

#[test]
fn headers() {
    let gateway = start("max_headers = 10");
    let get = |count: usize| {
        // `host` is one, too.
        let headers = vec![("x", "v"); count - 1];
        gateway.client().request("GET", "/nope", &headers, b"")
    };
    assert_eq!(get(10).status, 404);
    let over = get(11);
    assert_eq!((over.status, over.code().as_str()), (431, "headers_too_large"));
}

#[test]
fn batches() {
    let gateway = start("max_batch_items = 3");
    let mut client = gateway.client();
    let batch = |count: usize| format!("[{}]", vec!["{\"data\":1}"; count].join(","));
    let response = client.publish(&batch(3));
    assert_eq!(response.json()["results"].as_array().map(Vec::len), Some(3));
    let over = client.publish(&batch(4));
    assert_eq!((over.status, over.code().as_str()), (413, "too_large"));
}

#[test]
fn connections() {
    let gateway = start("max_connections = 3");
    let mut kept: Vec<Client> = (0..3).map(|_| gateway.client()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/nope").status, 404);
    }
    // The admin address has room of its own.
    assert_eq!(gateway.metric("cometbox_connections"), 3);
    let mut over = gateway.client();
    let response = over.receive().expect("it is told before it asks");
    assert_eq!((response.status, response.code().as_str()), (503, "overloaded"));
    assert!(response.header("retry-after").is_some());
    assert!(over.is_closed_within(Duration::from_secs(5)));
    // There is room again once one goes.
    kept.pop();
    crate::support::eventually(
        || {
            let mut client = gateway.client();
            client.send_raw(b"GET /nope HTTP/1.1\r\nhost: x\r\n\r\n");
            client.receive().is_some_and(|response| response.status == 404)
        },
        "a place becomes free",
    );
}

#[test]
fn slow_heads() {
    let gateway = start("head_timeout_s = 1");
    let mut client = gateway.client();
    let started = Instant::now();
    client.send_raw(b"GET /nope HTTP/1.1\r\nhost: ");
    // Going on slowly does not help.
    let mut is_open = true;
    while is_open && started.elapsed() < Duration::from_millis(900) {
        is_open = client.send_raw(b"x");
        std::thread::sleep(Duration::from_millis(100));
    }
    let response = client.receive().expect("an answer before the end");
    assert_eq!((response.status, response.code().as_str()), (408, "request_timeout"));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(client.is_closed_within(Duration::from_secs(5)));
}

#[test]
fn slow_bodies() {
    let gateway = start("body_timeout_s = 1");
    let mut client = gateway.client();
    let started = Instant::now();
    client.send_raw(b"POST /lab/mailboxes HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{");
    let response = client.receive().expect("an answer before the end");
    assert_eq!((response.status, response.code().as_str()), (408, "request_timeout"));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(response.header("connection"), Some("close"));
}

#[test]
fn silent_connections() {
    let gateway = start("idle_timeout_s = 1");
    // One that never says anything, and one that stops.
    let mut mute = gateway.client();
    let mut idle = gateway.client();
    let key = idle.open("ann");
    let started = Instant::now();
    // A held read is not silence.
    let mut held = gateway.client();
    held.send("GET", &format!("/lab/mailboxes/ann?wait=3&key={key}"), &[], b"");
    for client in [&mut mute, &mut idle] {
        assert!(client.is_closed_within(Duration::from_secs(10)));
    }
    assert!(started.elapsed() < Duration::from_millis(2900));
    assert_eq!(held.receive().expect("the read goes on").status, 204);
}

#[test]
fn what_is_no_http_is_told_so() {
    let gateway = start("");
    for nonsense in [
        "nonsense\r\n\r\n",
        "GET /x HTTP/9.9\r\n\r\n",
        "GET /x\u{1} HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nbad header\r\n\r\n",
        "POST /lab/mailboxes HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST /lab/mailboxes HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ] {
        let mut client = gateway.client();
        client.send_raw(nonsense.as_bytes());
        let response = client.receive().unwrap_or_else(|| panic!("no answer to {nonsense:?}"));
        assert_eq!((response.status, response.code().as_str()), (400, "bad_request"));
        assert!(client.is_closed_within(Duration::from_secs(5)));
    }
}
