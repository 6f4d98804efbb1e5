//! Server-sent events and lines, byte by byte.

use super::start;
use crate::support::Stream;

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
    for expected in [
        "retry: 1000\n:",
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
    for (headers, end, first, later) in
        [(EVENTS, "\n\n", "retry: 1000\n:", ":"), (LINES, "\n", "{\"cursor\":0}", "{\"cursor\":0}")]
    {
        let path = format!("/lab/mailboxes/ann?key={key}");
        let mut stream = Stream::open(gateway.client(), &path, &headers);
        for expected in [first, later, later] {
            assert_eq!(stream.until(end).as_deref(), Some(expected));
        }
    }
}

#[test]
fn a_reader_that_does_not_drain_its_socket_is_bounded_and_ended() {
    const MESSAGE_BYTES: usize = 32 << 10;
    const MESSAGES: u64 = 400;
    let gateway = start("idle_timeout_s = 1, keep_alive_s = 1", "mailbox_bytes = 1_000_000");
    let mut backend = gateway.client();
    let key = backend.open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    let mut stream = Stream::open(gateway.client(), &path, &EVENTS);
    let data = format!("\"{}\"", "x".repeat(MESSAGE_BYTES));
    for _ in 0..MESSAGES {
        backend.publish_to("ann", &data);
    }
    // It is ended, as is the backend's silent connection.
    gateway.until("cometbox_connections", 0);
    let handed_out = gateway.metric("cometbox_messages_handed_out_total{app=\"lab\"}");
    assert!(handed_out > 0);
    // What it was sent without taking it: the sockets' buffers, and ours.
    let in_flight_bytes = handed_out as usize * MESSAGE_BYTES;
    assert!(in_flight_bytes < 1 << 20, "{handed_out} messages");
    // What came through is in order; what did not is there for who comes next,
    // or told as lost.
    stream.until("\n\n");
    let mut last = 0;
    while let Some(event) = stream.event() {
        last = event.lines().next().and_then(|id| id[4..].parse().ok()).expect("an id");
    }
    let path = format!("{path}&cursor={last}");
    let mut again = Stream::open(gateway.client(), &path, &EVENTS);
    again.until("\n\n");
    let lost = again.event().expect("some were lost");
    let lost = lost.split("\"lost\":").nth(1).expect("how many").trim_end_matches('}');
    let lost: u64 = lost.parse().expect("a number");
    let first = again.event().expect("the others are there");
    assert!(first.starts_with(&format!("id: {}\n", last + lost + 1)), "{last} + {lost}");
}
