//! What a WebSocket has beyond other readers: messages in, pings, close codes.

use super::{reader::Socket, start};
use crate::support::eventually;
use serde_json::json;
use std::{io::Write, time::Duration};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::CloseFrame};

fn code(close: &CloseFrame) -> (u16, String) {
    let code = close.reason.split(':').next().unwrap_or_default();
    (close.code.into(), code.to_owned())
}

#[test]
fn messages_go_in_and_replies_come_out() {
    let gateway = start("", "");
    let key = gateway.client().open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    let mut socket = Socket::open(&gateway, &path, Some("cometbox.v1.json")).expect("a handshake");
    socket.json().expect("where it is");
    for (said, answer) in [
        (json!({"id": 1, "send": {"x": 1}}), json!({"id": 1, "reply": {"x": 1}})),
        (json!({"id": 2, "send": "text"}), json!({"id": 2, "reply": "text"})),
        (json!({"id": 3, "send": null}), json!({"id": 3, "reply": null})),
        (json!({"id": 4, "cursor": 0}), json!({"id": 4})),
        (json!({"id": 5, "send": {"do": "nothing"}}), json!({"id": 5})),
    ] {
        socket.send(&said);
        assert_eq!(socket.json().expect("an answer"), answer, "{said}");
    }
    for (said, id, status, code) in [
        (json!({"id": 6, "send": {"do": "reject"}}), json!(6), 403, "rejected"),
        (json!({"send": {"do": "panic"}}), json!(null), 500, "plugin_failed"),
        (json!({"id": 8, "cursor": 1}), json!(8), 400, "bad_cursor"),
        (json!({"id": 9, "say": 1}), json!(null), 400, "bad_request"),
        (json!(["send"]), json!(null), 400, "bad_request"),
        (json!({"id": 10, "send": 1, "channel": "a/*"}), json!(null), 400, "bad_name"),
        (json!({"id": 11, "send": 1, "channel": 5}), json!(null), 400, "bad_request"),
    ] {
        socket.send(&said);
        let answer = socket.json().expect("an answer");
        assert_eq!((&answer["id"], &answer["status"]), (&id, &json!(status)), "{said}");
        assert_eq!(answer["error"]["code"], code, "{said}");
    }
    // Nothing is said about what went well and has no number.
    socket.send(&json!({"send": 1}));
    socket.send(&json!({"id": 10, "send": 2}));
    assert_eq!(socket.json().expect("an answer"), json!({"id": 10, "reply": 2}));
}

#[test]
fn message_pack_is_a_sub_protocol() {
    let gateway = start("", "");
    let mut backend = gateway.client();
    let key = backend.open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    let offered = "other, cometbox.v1.msgpack";
    let mut socket = Socket::open(&gateway, &path, Some(offered)).expect("a handshake");
    let next = |socket: &mut Socket| {
        let bytes = socket.next().expect("a message").into_data();
        let value = rmpv::decode::read_value(&mut &bytes[..]).expect("MessagePack");
        serde_json::to_value(value).expect("it has a JSON form")
    };
    assert_eq!(next(&mut socket), json!({"cursor": 0, "lost": 0, "messages": []}));
    backend.publish_to("ann", "[1]");
    let batch = json!({"cursor": 1, "lost": 0, "messages": [{"seq": 1, "data": [1]}]});
    assert_eq!(next(&mut socket), batch);
    let said = rmp_serde::to_vec_named(&json!({"id": 1, "send": {"x": 1}})).expect("a map");
    socket.0.send(Message::binary(said)).expect("it is open");
    assert_eq!(next(&mut socket), json!({"id": 1, "reply": {"x": 1}}));
}

#[test]
fn the_key_may_be_a_sub_protocol() {
    let gateway = start("", "");
    let mut backend = gateway.client();
    let ann = backend.open("ann");
    let bob = backend.open("bob");
    let format = "cometbox.v1.json".to_owned();
    for (what, query, offered, refused) in [
        ("behind the format", String::new(), vec![format!("{format}, key.{ann}")], None),
        ("before it", String::new(), vec![format!("key.{ann},{format}")], None),
        ("on a line of its own", String::new(), vec![format.clone(), format!("key.{ann}")], None),
        ("not the URL's", format!("?key={bob}"), vec![format!("{format}, key.{ann}")], None),
        ("wrong", String::new(), vec![format!("{format}, key.{bob}")], Some(4401)),
        (
            "wrong in spite of the URL",
            format!("?key={ann}"),
            vec![format!("{format}, key.{bob}")],
            Some(4401),
        ),
        ("none", String::new(), vec![format!("{format}, key.")], Some(4401)),
    ] {
        let mut headers = vec![
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        headers.extend(offered.iter().map(|line| ("sec-websocket-protocol", line.as_str())));
        let path = format!("/lab/mailboxes/ann{query}");
        let mut client = gateway.client();
        client.send("GET", &path, &headers, b"");
        let response = client.receive().expect("an answer");
        assert_eq!(response.status, 101, "{what}");
        // The key is not said back: an answer may be logged, too.
        assert_eq!(response.header("sec-websocket-protocol"), Some("cometbox.v1.json"), "{what}");
        drop(client);
        let mut socket =
            Socket::open(&gateway, &path, Some(&offered.join(", "))).expect("a handshake");
        let close = socket.json().err().map(|close| u16::from(close.code));
        assert_eq!(close, refused, "{what}");
    }
    // It is not the name of a format.
    let offered = format!("key.{ann}");
    assert!(Socket::open(&gateway, "/lab/mailboxes/ann", Some(&offered)).is_err());
}

#[test]
fn a_close_says_why() {
    let gateway = start("", "");
    let mut backend = gateway.client();
    let key = backend.open("ann");
    let other = backend.open("bob");
    let path = format!("/lab/mailboxes/ann?key={key}");
    for (path, expected) in [
        (format!("/lab/mailboxes/ann?key={other}"), (4401, "unauthorized")),
        ("/lab/mailboxes/ann".to_owned(), (4401, "unauthorized")),
        (format!("/lab/mailboxes/cy?key={key}"), (4404, "not_found")),
        (format!("{path}&cursor=9"), (4400, "bad_cursor")),
        (format!("{path}&curser=9"), (4400, "bad_request")),
    ] {
        let mut socket = Socket::open(&gateway, &path, None).expect("a handshake");
        let close = socket.json().expect_err("it is closed at once");
        assert_eq!(code(&close), (expected.0, expected.1.into()), "{path}");
    }
    for (message, code) in
        [(Message::binary(vec![1]), 1003), (Message::text("x".repeat(5 << 20)), 1009)]
    {
        let mut socket = Socket::open(&gateway, &path, None).expect("a handshake");
        socket.json().expect("where it is");
        // The gateway may have had enough before it is all there.
        let _ = socket.0.send(message);
        let close = socket.json().expect_err("it is closed");
        assert_eq!(u16::from(close.code), code, "{close:?}");
    }
}

#[test]
fn a_client_that_closes_leaves_its_mailbox() {
    let gateway = start("", "");
    let key = gateway.client().open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    let mut socket = Socket::open(&gateway, &path, None).expect("a handshake");
    gateway.until_held(1);
    socket.0.close(None).expect("it is open");
    gateway.until_held(0);
    gateway.until("cometbox_connections", 0);
}

#[test]
fn what_is_no_handshake_is_refused() {
    let gateway = start("", "");
    let key = gateway.client().open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    let good = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (name, value) in [
        ("connection", "keep-alive"),
        ("sec-websocket-key", "short"),
        ("sec-websocket-protocol", "chat"),
    ] {
        let mut headers: Vec<_> = good.into_iter().filter(|(other, _)| *other != name).collect();
        headers.push((name, value));
        let response = gateway.client().request("GET", &path, &headers, b"");
        assert_eq!((response.status, response.code().as_str()), (400, "bad_request"), "{name}");
    }
    let mut headers = good;
    headers[2].1 = "8";
    let response = gateway.client().request("GET", &path, &headers, b"");
    assert_eq!((response.status, response.code().as_str()), (426, "upgrade_required"));
    assert_eq!(response.header("sec-websocket-version"), Some("13"));
    let mut client = gateway.client();
    // Sub-protocols may come on several lines (RFC 6455, 11.3.4).
    let mut headers = good.to_vec();
    headers.push(("sec-websocket-protocol", "other"));
    headers.push(("sec-websocket-protocol", "cometbox.v1.json"));
    client.send("GET", &path, &headers, b"");
    let response = client.receive().expect("an answer");
    assert_eq!(response.status, 101);
    // The example of RFC 6455, 1.3.
    assert_eq!(response.header("sec-websocket-protocol"), Some("cometbox.v1.json"));
    let accept = response.header("sec-websocket-accept");
    assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

#[test]
fn pings_are_answered_and_parts_are_put_together() {
    let gateway = start("", "");
    let key = gateway.client().open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    let mut socket = Socket::open(&gateway, &path, None).expect("a handshake");
    socket.json().expect("where it is");
    // {"id":1,"send":1} in two frames with a ping between them, masked with 0.
    let wire = socket.0.get_mut();
    for frame in
        [&b"\x01\x87\0\0\0\0{\"id\":1"[..], b"\x89\x82\0\0\0\0hi", b"\x80\x8a\0\0\0\0,\"send\":1}"]
    {
        wire.write_all(frame).expect("it is open");
    }
    assert_eq!(socket.read().expect("it is open"), Message::Pong("hi".into()));
    assert_eq!(socket.json().expect("an answer"), json!({"id": 1, "reply": 1}));
}

#[test]
fn who_pings_without_reading_is_not_listened_to() {
    let gateway = start("", "");
    let key = gateway.client().open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    let mut socket = Socket::open(&gateway, &path, None).expect("a handshake");
    let wire = socket.0.get_mut();
    wire.set_write_timeout(Some(Duration::from_secs(2))).expect("a positive time");
    let ping = [&b"\x89\xfd\0\0\0\0"[..], &[b'x'; 125]].concat();
    let pings = ping.repeat(1000);
    // What the sockets' buffers take, both ways, and no more.
    let taken = (0..1000).take_while(|_| wire.write_all(&pings).is_ok()).count();
    assert!(taken < 200, "{taken} times {} bytes", pings.len());
}

#[test]
fn who_answers_no_ping_is_gone() {
    let gateway = start("keep_alive_s = 1", "");
    let key = gateway.client().open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    // One that reads answers pings by itself.
    let mut alive = Socket::open(&gateway, &path, None).expect("a handshake");
    alive.json().expect("where it is");
    // And for pages, which cannot see pings, an empty batch comes as well.
    let (mut pings, mut batches) = (0, 0);
    while pings < 3 || batches < 3 {
        match alive.read().expect("it is open") {
            Message::Ping(_) => pings += 1,
            Message::Text(text) if text.contains("\"messages\":[]") => batches += 1,
            other => panic!("{other:?}"),
        }
    }
    drop(alive);
    // Also if messages keep coming.
    let mut backend = gateway.client();
    let mut silent = Socket::open(&gateway, &path, None).expect("a handshake");
    gateway.until_held(1);
    eventually(
        || {
            backend.publish_to("ann", "1");
            gateway.metric("cometbox_connections") == 1
        },
        "it is ended",
    );
    // It is told, should it be there after all.
    let close = std::iter::repeat_with(|| silent.next()).find_map(Result::err);
    assert_eq!(close.map(|close| u16::from(close.code)), Some(4408));
}

#[test]
fn a_broken_frame_is_a_protocol_error() {
    let gateway = start("", "");
    let key = gateway.client().open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    let mut socket = Socket::open(&gateway, &path, None).expect("a handshake");
    socket.json().expect("where it is");
    // A frame of a client without a mask (RFC 6455, 5.1).
    socket.0.get_mut().write_all(&[0x81, 1, b'x']).expect("it is open");
    match socket.json() {
        Err(close) => assert_eq!(u16::from(close.code), 1002),
        Ok(value) => panic!("{value}"),
    }
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
}
