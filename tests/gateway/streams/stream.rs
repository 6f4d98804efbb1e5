//! Server-sent events and lines, byte by byte.

use super::{
    close, start, start_both,
    wire::{Wire, connect},
};
use crate::support::{Client, Gateway, Stream, eventually, lab};

const EVENTS: [(&str, &str); 1] = [("accept", "text/event-stream")];
const LINES: [(&str, &str); 1] = [("accept", "application/x-ndjson")];

#[test]
fn events_are_what_an_event_source_reads() {
    let gateway = start("", "mailbox_messages = 2");
    let mut backend = gateway.client();
    let key = backend.open("ann");
    for data in ["1", "\"two\"", "{\n\"three\":\r\n3\n}"] {
        backend.publish_to("ann", data);
    }
    let path = format!("/lab/mailboxes/ann?key={key}");
    let mut stream = Stream::open(gateway.client(), &path, &EVENTS);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store, no-transform"),
        ("x-accel-buffering", "no"),
        ("transfer-encoding", "chunked"),
    ] {
        assert_eq!(stream.head.header(name), Some(value));
    }
    let first = stream.until("\n\n").expect("it begins at once");
    let retry_ms = first.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix("\n:"));
    let retry_ms: u64 = retry_ms.expect("when to come again").parse().expect("a number");
    assert!((1000..2000).contains(&retry_ms));
    for expected in [
        "id: 1\nevent: lost\ndata: {\"cursor\":1,\"lost\":1}",
        "id: 2\ndata: \"two\"",
        "id: 3\ndata: { \"three\":  3 }",
    ] {
        assert_eq!(stream.until("\n\n").as_deref(), Some(expected));
    }
    // One that was displaced stays away: it would displace who displaced it.
    let _newer = Stream::open(gateway.client(), &path, &EVENTS);
    let end = stream.until("\n\n").expect("it is told");
    assert!(
        end.starts_with("retry: 86400000\nevent: end\ndata: {\"error\":{\"code\":\"displaced\"")
    );
    assert_eq!(stream.until("\n\n"), None);
    // The connection is an ordinary one again.
    assert_eq!(stream.into_client().publish("{\"data\":1}").status, 200);
}

#[test]
fn lines_are_objects() {
    let gateway = start("", "mailbox_messages = 2");
    let mut backend = gateway.client();
    let key = backend.open("ann");
    for data in ["1", "\"two\"", "{\n\"three\":\r\n3\n}"] {
        backend.publish_to("ann", data);
    }
    let path = format!("/lab/mailboxes/ann?key={key}");
    let mut stream = Stream::open(gateway.client(), &path, &LINES);
    assert_eq!(stream.head.header("content-type"), Some("application/x-ndjson"));
    for expected in [
        "{\"cursor\":0}",
        "{\"cursor\":1,\"lost\":1}",
        "{\"seq\":2,\"data\":\"two\"}",
        "{\"seq\":3,\"data\":{ \"three\":  3 }}",
    ] {
        assert_eq!(stream.until("\n").as_deref(), Some(expected));
    }
}

#[test]
fn where_an_event_source_goes_on() {
    let gateway = start("", "");
    let mut backend = gateway.client();
    let key = backend.open("ann");
    for data in ["1", "2", "3", "4"] {
        backend.publish_to("ann", data);
    }
    // Never less than before, for what is confirmed is gone.
    for (query, header, first) in [
        ("", None, "id: 1"),
        ("&cursor=1", None, "id: 2"),
        ("&last-event-id=2", None, "id: 3"),
        ("&cursor=2", Some("3"), "id: 4"),
        ("&last-event-id=2", Some("3"), "id: 4"),
    ] {
        let path = format!("/lab/mailboxes/ann?key={key}{query}");
        let mut headers = EVENTS.to_vec();
        headers.extend(header.map(|id| ("last-event-id", id)));
        let mut stream = Stream::open(gateway.client(), &path, &headers);
        stream.until("\n\n");
        let event = stream.event().expect("it is there");
        assert_eq!(event.lines().next(), Some(first), "{query} {header:?}");
    }
}

#[test]
fn what_is_wrong_is_said_by_a_status() {
    let gateway = start("", "");
    let key = gateway.client().open("ann");
    for (path, header, status, code) in [
        ("/lab/mailboxes/bob?key=x".to_owned(), None, 401, "unauthorized"),
        (format!("/lab/mailboxes/bob?key={key}"), None, 404, "not_found"),
        (format!("/lab/mailboxes/ann?key={key}&cursor=1"), None, 400, "bad_cursor"),
        (format!("/lab/mailboxes/ann?key={key}"), Some("1"), 400, "bad_cursor"),
        (format!("/lab/mailboxes/ann?key={key}"), Some("x"), 400, "bad_request"),
        (format!("/lab/mailboxes/ann?key={key}&since=1"), None, 400, "bad_request"),
    ] {
        for accept in [EVENTS, LINES] {
            let mut headers = accept.to_vec();
            headers.extend(header.map(|id| ("last-event-id", id)));
            let response = gateway.client().request("GET", &path, &headers, b"");
            assert_eq!((response.status, response.code().as_str()), (status, code), "{path}");
        }
    }
}

#[test]
fn a_quiet_stream_shows_that_it_lives() {
    let gateway = start("keep_alive_s = 1", "detach_grace_ms = 1");
    let mut backend = gateway.client();
    let key = backend.open("ann");
    for (headers, end, sign) in [(EVENTS, "\n\n", ":"), (LINES, "\n", "{\"cursor\":0}")] {
        let path = format!("/lab/mailboxes/ann?key={key}");
        let mut stream = Stream::open(gateway.client(), &path, &headers);
        stream.until(end);
        for _ in 0..2 {
            assert_eq!(stream.until(end).as_deref(), Some(sign));
        }
    }
}

#[test]
fn a_stream_is_answered_like_other_requests() {
    let cors = "cors = { origins = [\"https://a.example\"] }";
    let gateway = Gateway::start(&format!("{cors}\n{}", lab("")));
    let mut backend = gateway.client();
    let key = backend.open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    let headers = [("accept", "text/event-stream"), ("origin", "https://a.example")];
    let stream = Stream::open(gateway.client(), &path, &headers);
    let granted = stream.head.header("access-control-allow-origin");
    assert_eq!(granted, Some("https://a.example"));
    // Nobody would read what comes with it.
    let with_body = gateway.client().request("GET", &path, &EVENTS, b"x");
    assert_eq!((with_body.status, with_body.code().as_str()), (400, "bad_request"));
    // An empty id is none.
    let again = Stream::open(gateway.client(), &path, &[EVENTS[0], ("last-event-id", "")]);
    assert_eq!(again.head.status, 200);
}

/// A request for this, on a connection that stays.
fn request(path: &str, accept: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\n\r\n")
}

#[test]
fn what_is_sent_behind_a_stream_is_served_after_it() {
    let world = start_both("", "");
    let mut backend = world.gateway.client();
    let (next, padded) = (&*request("/nowhere", "*/*"), request("/nowhere", &"x".repeat(3000)));
    for wire in [Wire::Plain, Wire::Tls] {
        for (what, with_it, later) in [
            ("with it", vec![next], vec![]),
            ("later", vec![], vec![next]),
            ("both", vec![next], vec![next]),
            ("in parts", vec![next], vec![&padded[..1000], &padded[1000..], next]),
        ] {
            let key = backend.open("ann");
            let path = format!("/lab/mailboxes/ann?key={key}");
            let mut client = Client::over(connect(&world, wire));
            let sent = [request(&path, "text/event-stream"), with_it.concat()].concat();
            assert!(client.send_raw(sent.as_bytes()));
            assert_eq!(client.receive().expect("a head").status, 200);
            world.gateway.until_held(1);
            for part in &later {
                assert!(client.send_raw(part.as_bytes()));
            }
            // All of it is there when the stream ends.
            backend.publish_to("ann", "1");
            while !client.chunk().expect("it goes on").starts_with("id: 1") {}
            close(&mut backend, &key);
            while client.chunk().is_some() {}
            let requests = [with_it.concat(), later.concat()].concat().matches("GET").count();
            for _ in 0..requests {
                let next = client.receive().expect("the next answer");
                assert_eq!(next.status, 404, "{wire:?} {what}");
            }
        }
    }
}

#[test]
fn who_hangs_up_is_gone_whatever_it_has_sent_behind() {
    // Nothing is sent to it that would bring an error back.
    let world = start_both("keep_alive_s = 600", "max_wait_s = 600");
    let key = world.gateway.client().open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    let next = request("/nowhere", "*/*");
    for wire in [Wire::Plain, Wire::Tls] {
        for accept in ["text/event-stream", "application/x-ndjson", "application/json"] {
            for (what, with_it, later) in
                [("with it", next.repeat(3), None), ("both", next.clone(), Some(next.repeat(100)))]
            {
                let mut client = Client::over(connect(&world, wire));
                let sent = [request(&path, accept), with_it].concat();
                assert!(client.send_raw(sent.as_bytes()));
                world.gateway.until_held(1);
                if let Some(later) = later {
                    assert!(client.send_raw(later.as_bytes()));
                }
                drop(client);
                eventually(
                    || world.gateway.metric("cometbox_held_reads{app=\"lab\"}") == 0,
                    &format!("{wire:?} {accept}, {what}"),
                );
            }
        }
    }
}
