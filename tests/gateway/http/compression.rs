//! Large answers are smaller for who wants that, by every way they can go.

use crate::support::{Client, Gateway, Response, lab};
use flate2::read::GzDecoder;
use std::io::Read;

const LIMITS: &str = "limits = { call_ms = 1000, max_answer_bytes = 1000000 }";
const GZIP: (&str, &str) = ("accept-encoding", "br, gzip");

/// JSON whose answer is that large, at least.
fn data(bytes: usize) -> String {
    format!("\"{}\"", "some words ".repeat(bytes / 11 + 1))
}

/// Asserts that an answer is compressed, or not, and makes it plain.
fn unpacked(what: &str, mut answer: Response, is_packed: bool, varies: bool) -> Response {
    let encoding = answer.header("content-encoding");
    assert_eq!(encoding, is_packed.then_some("gzip"), "{what}: {answer:?}");
    let vary = answer.header("vary");
    assert_eq!(vary, varies.then_some("accept-encoding"), "{what}");
    if is_packed {
        let mut plain = Vec::new();
        GzDecoder::new(&*answer.body).read_to_end(&mut plain).expect("it is gzip");
        assert!(answer.body.len() < plain.len() / 2, "{what}");
        answer.body = plain;
    }
    answer
}

/// A read of what comes after `cursor`; `more` makes it hyper's.
fn read(client: &mut Client, key: &str, cursor: u64, more: &[(&str, &str)]) {
    client.send("GET", &format!("/lab/mailboxes/ann?cursor={cursor}&key={key}"), more, b"");
}

#[test]
fn large_answers_to_reads_are_compressed_and_small_ones_are_not() {
    let gateway = Gateway::start(&lab(LIMITS));
    let (mut client, mut publisher) = (gateway.client(), gateway.client());
    let key = client.open("ann");
    let (small, large) = (data(1000), data(16 << 10));
    let (plain, hyper) = (&[GZIP][..], &[GZIP, ("connection", "keep-alive, te")][..]);
    let mut cursor = 0;
    for (what, headers, data, is_held, is_packed, varies) in [
        ("at once", plain, &large, false, true, true),
        ("held", plain, &large, true, true, true),
        ("small", plain, &small, false, false, false),
        ("small, held", plain, &small, true, false, false),
        ("not asked for", &[], &large, false, false, true),
        ("not asked for, held", &[], &large, true, false, true),
        ("refused", &[("accept-encoding", "gzip;q=0")], &large, true, false, true),
        // From here on the connection is hyper's.
        ("by hyper, at once", hyper, &large, false, true, true),
        ("by hyper, held", hyper, &large, true, true, true),
        ("by hyper, small", hyper, &small, true, false, false),
        ("by hyper, not asked for", &[], &large, true, false, true),
    ] {
        if is_held {
            read(&mut client, &key, cursor, headers);
            gateway.until_held(1);
            publisher.publish_to("ann", data);
        } else {
            publisher.publish_to("ann", data);
            read(&mut client, &key, cursor, headers);
        }
        cursor += 1;
        let answer = client.receive().expect("an answer");
        let answer = unpacked(what, answer, is_packed, varies).json();
        assert_eq!(answer["cursor"], cursor, "{what}");
        let text = answer["messages"][0]["data"].to_string();
        assert_eq!(&text, data, "{what}");
    }
}

#[test]
fn a_group_is_answered_as_each_of_it_asked() {
    const READERS: usize = 100;
    let gateway = Gateway::start(&lab(LIMITS));
    let mut readers: Vec<Client> = (0..READERS)
        .map(|n| {
            let mut client = gateway.client();
            let key = client.open_with(&format!(r#"{{"name":"m{n}","groups":["all"]}}"#));
            let headers = if n % 2 == 0 { &[GZIP][..] } else { &[] };
            client.send("GET", &format!("/lab/mailboxes/m{n}?key={key}"), headers, b"");
            client
        })
        .collect();
    gateway.until_held(READERS as u64);
    let large = data(50_000);
    let body = format!(r#"{{"to":{{"groups":["all"]}},"data":{large}}}"#);
    assert_eq!(gateway.client().publish(&body).status, 200);
    for (n, client) in readers.iter_mut().enumerate() {
        let answer = client.receive().expect("an answer");
        let answer = unpacked(&n.to_string(), answer, n % 2 == 0, true).json();
        assert_eq!(answer["messages"][0]["data"].to_string(), large);
    }
}

#[test]
fn other_answers_and_other_bounds() {
    let start = |min: usize| {
        Gateway::start(&format!("http = {{ compress_min_bytes = {min} }}\n{}", lab(LIMITS)))
    };
    for (what, min, is_packed) in [("from one byte on", 1, true), ("never", 0, false)] {
        let gateway = start(min);
        let mut client = gateway.client();
        let key = client.open("ann");
        let path = format!("/lab/mailboxes/ann?key={key}");
        let large = data(20_000);
        let echo = client.request("POST", &path, &[GZIP], large.as_bytes());
        assert_eq!(unpacked(what, echo, is_packed, is_packed).json()["reply"].to_string(), large);
        let msgpack = [GZIP, ("accept", "application/msgpack")];
        client.publish_to("ann", &large);
        let batch = client.request("GET", &path, &msgpack, b"");
        let batch = unpacked(what, batch, is_packed, is_packed).msgpack();
        assert!(batch.to_string().contains("some words"), "{what}");
    }
}

#[test]
fn the_client_is_small_whatever_the_bound_and_comes_once() {
    let by_hyper = ("connection", "keep-alive, te");
    for (min, is_on) in [(1 << 20, true), (1, true), (0, false)] {
        let http = format!("http = {{ compress_min_bytes = {min} }}\n");
        let gateway = Gateway::start(&format!("{http}{}", lab(LIMITS)));
        let mut client = gateway.client();
        for headers in [&[][..], &[by_hyper]] {
            let what = format!("from {min} bytes on, {headers:?}");
            let mut get = |more: &[(&str, &str)]| {
                client.request("GET", "/cometbox.js", &[headers, more].concat(), b"")
            };
            let plain = unpacked(&what, get(&[]), false, is_on);
            let packed = unpacked(&what, get(&[GZIP]), is_on, is_on);
            assert!(plain.text().contains("export") && plain.body == packed.body, "{what}");
            let tag = plain.header("etag").expect("a tag").to_owned();
            assert_eq!(packed.header("etag"), Some(&*tag), "{what}");
            let opaque = tag.strip_prefix("W/").expect("of both forms").to_owned();
            for (tags, status) in [
                (tag.clone(), 304),
                (opaque.clone(), 304),
                (format!("\"x\", {tag}"), 304),
                ("*".into(), 304),
                ("\"x\"".into(), 200),
                (opaque.replace('"', ""), 200),
            ] {
                let answer = get(&[GZIP, ("if-none-match", &tags)]);
                assert_eq!(answer.status, status, "{what} {tags}");
                assert_eq!(answer.body.is_empty(), status == 304, "{what} {tags}");
                // A cache goes on with what it is told here.
                assert_eq!(answer.header("etag"), Some(&*tag), "{what}");
                assert_eq!(answer.header("cache-control"), Some("no-cache"), "{what}");
                assert_eq!(answer.header("vary"), is_on.then_some("accept-encoding"), "{what}");
            }
        }
    }
}
