//! Codecs, by tables and by round trips.

use super::*;
use crate::core::{Batch, Delivery, Key, Kind, Message, Name, Payload, PublishId, SendReport};
use bytes::Bytes;
use rmpv::Value;
use smallvec::smallvec;

fn text(text: &'static str) -> Payload {
    Payload { kind: Kind::Text, bytes: text.into() }
}

fn binary(bytes: &'static [u8]) -> Payload {
    Payload { kind: Kind::Binary, bytes: bytes.into() }
}

fn json(text: &'static str) -> Payload {
    Payload::json(text)
}

fn packed(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).expect("writing into a Vec does not fail");
    out
}

fn unpacked(bytes: &[u8]) -> Value {
    let mut rest = bytes;
    let value = rmpv::decode::read_value(&mut rest).expect("our own MessagePack is valid");
    assert!(rest.is_empty(), "one value and nothing behind it");
    value
}

/// JSON → the value that MessagePack has for it.
fn value(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON of a test is valid")
}

#[test]
fn bodies_become_payloads() {
    let cases: &[(Option<&str>, &[u8], Payload)] = &[
        (None, b"", json("null")),
        (None, b" {\"a\": 1}\n", json("{\"a\": 1}")),
        (Some("application/json"), b"[1,2]", json("[1,2]")),
        (Some("Application/JSON; charset=utf-8"), b"1e2", json("1e2")),
        (Some("application/json"), b"\"hi \\u00e9\"", text("hi é")),
        (Some("application/json"), b"\"half \\ud83d\"", json("\"half \\ud83d\"")),
        (Some("application/json"), b"{\"base64\":\"aGk=\"}", binary(b"hi")),
        (Some("application/json"), b"{ \"base64\" : \"\" }", binary(b"")),
        (Some("application/json"), b"{\"base64\":\"?\"}", json("{\"base64\":\"?\"}")),
        (Some("application/json"), b"{\"base64\":\"aGk\"}", json("{\"base64\":\"aGk\"}")),
        (Some("application/json"), b"{\"base64\":1}", json("{\"base64\":1}")),
        (
            Some("application/json"),
            b"{\"base64\":\"aGk=\",\"x\":1}",
            json("{\"base64\":\"aGk=\",\"x\":1}"),
        ),
        (Some("text/plain"), "hé".as_bytes(), text("hé")),
        (Some("TEXT/html; charset=utf-8"), b"", text("")),
        (Some("image/png"), b"\xff\0", binary(b"\xff\0")),
        (Some("application/octet-stream"), b"", binary(b"")),
        (Some("application/msgpack"), b"\xa2hi", text("hi")),
        (Some("application/msgpack"), b"\xc4\x02\xff\0", binary(b"\xff\0")),
        (Some("application/msgpack"), b"\x81\xa1a\x92\x01\xc0", json("{\"a\":[1,null]}")),
        (Some("application/x-msgpack"), b"\xc0", json("null")),
    ];
    for (content_type, body, payload) in cases {
        let got = decode_body(*content_type, body);
        assert_eq!(got.as_ref(), Ok(payload), "{content_type:?} {}", body.escape_ascii());
    }
}

#[test]
fn bad_bodies_are_refused() {
    let nested = [vec![0x91; 200], vec![0xc0]].concat();
    let cases: &[(Option<&str>, &[u8])] = &[
        (None, b"{"),
        (None, b"1 2"),
        (None, b"\"\xff\""),
        (Some("application/json"), b"nul"),
        (Some("text/plain"), b"\xff"),
        (Some("application/msgpack"), b""),
        (Some("application/msgpack"), b"\xc1"),
        (Some("application/msgpack"), b"\xc0\xc0"),
        (Some("application/msgpack"), b"\xa5hi"),
        (Some("application/msgpack"), b"\x91\xc4\x01x"),
        (Some("application/msgpack"), b"\x81\x01\x01"),
        (Some("application/msgpack"), b"\x81\xc4\x01a\x01"),
        (Some("application/msgpack"), b"\xcb\x7f\xf0\0\0\0\0\0\0"),
        (Some("application/msgpack"), b"\xd4\x01\x00"),
        // Lengths that are not there, and nesting without end.
        (Some("application/msgpack"), b"\xdd\xff\xff\xff\xff"),
        (Some("application/msgpack"), b"\xc6\xff\xff\xff\xff"),
        (Some("application/msgpack"), &nested),
    ];
    for (content_type, body) in cases {
        let shown = body.escape_ascii();
        let error = decode_body(*content_type, body).expect_err(&shown.to_string());
        assert_eq!(error.code, Code::BadPayload, "{shown}");
    }
}

#[test]
fn payloads_survive_every_way_through() {
    let samples = [
        json("{\"a\":[1,-2,2.5,true,null,\"x\\n\"],\"b\":{}}"),
        json("[]"),
        json("18446744073709551615"),
        text("line\n\"quoted\" é \u{1f600}"),
        text(""),
        binary(b"\0\x01\xff"),
        binary(b""),
    ];
    for payload in &samples {
        for format in [Format::Json, Format::MsgPack] {
            let mut out = Vec::new();
            Encoder::new(format, &mut out).payload(payload);
            let back = decode_body(Some(format.content_type()), &out).expect("our own output");
            assert_eq!(&back, payload, "{format:?}");
        }
    }
}

#[test]
fn json_that_messagepack_cannot_say_goes_as_text() {
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    for odd in ["1e999", "\"\\ud83d\"", &deep] {
        let mut out = Vec::new();
        let payload = Payload::json(Bytes::copy_from_slice(odd.as_bytes()));
        Encoder::new(Format::MsgPack, &mut out).payload(&payload);
        assert_eq!(unpacked(&out), Value::from(odd));
    }
}

fn a_batch() -> Batch {
    let message = |payload| Message::new(payload, None, None);
    Batch {
        cursor: 9,
        lost: 2,
        messages: smallvec![
            Delivery { seq: 7, message: message(json("{\"a\": 1}")) },
            Delivery { seq: 8, message: message(text("hi\n")) },
            Delivery { seq: 9, message: message(binary(b"hi")) },
        ],
    }
}

#[test]
fn a_batch_is_written_as_the_protocol_says() {
    let expected = "{\"cursor\":9,\"lost\":2,\"messages\":[{\"seq\":7,\"data\":{\"a\": 1}},\
                    {\"seq\":8,\"data\":\"hi\\n\"},{\"seq\":9,\"data\":{\"base64\":\"aGk=\"}}]}";
    let the_batch = a_batch();
    for _ in 0..2 {
        let mut out = Vec::new();
        batch(Format::Json, &the_batch, &mut out);
        assert_eq!(String::from_utf8(out).as_deref(), Ok(expected), "and again from the cache");
    }
    assert!(the_batch.messages[0].message.encoded_json.get().is_none(), "goes out as it is");
    assert!(the_batch.messages[1].message.encoded_json.get().is_some());

    let mut out = Vec::new();
    batch(Format::MsgPack, &the_batch, &mut out);
    let got = unpacked(&out);
    assert_eq!(got["cursor"], 9.into());
    assert_eq!(got["messages"][0]["data"], value("{\"a\":1}"));
    assert_eq!(got["messages"][1]["data"], "hi\n".into());
    assert_eq!(got["messages"][2]["data"], Value::Binary(b"hi".to_vec()));
    assert!(the_batch.messages[0].message.encoded_msgpack.get().is_some());
}

#[test]
fn answers_are_the_same_maps_in_both_formats() {
    let name = |text| Name::parse(text).expect("a good name");
    let key = encode_key(&Key([0xff; 16]));
    let missing = vec![name("b\"ob")];
    let report = SendReport { queued: 3, missing, dropped: 1, ..SendReport::default() };
    let again = SendReport { queued: 3, duplicate: true, ..SendReport::default() };
    let mut failure = ErrorBody::new(Code::PluginFailed, "no").at(1);
    failure.id = Some("x1".into());
    let mut closed = ErrorBody::new(Code::Closed, "gone");
    closed.reason = Some("bye".into());
    type Write<'a> = &'a dyn Fn(Format, &mut Vec<u8>);
    let cases: &[(Write<'_>, &str)] = &[
        (
            &|format, out| opened(format, &name("ann"), &key, 0, Some(&json("[1]")), out),
            r#"{"mailbox":"ann","key":"_____________________w","cursor":0,"reply":[1]}"#,
        ),
        (
            &|format, out| opened(format, &name("ann"), &key, 5, None, out),
            r#"{"mailbox":"ann","key":"_____________________w","cursor":5}"#,
        ),
        (&|format, out| reply(format, &text("ok"), out), r#"{"reply":"ok"}"#),
        (
            &|format, out| results(format, &[Ok(report.clone()), Err(failure.clone())], out),
            r#"{"results":[{"queued":3,"missing":["b\"ob"],"full":[],"dropped":1},{"error":{"code":"plugin_failed","message":"no","index":1,"id":"x1"}}]}"#,
        ),
        (
            &|format, out| error(format, &closed, out),
            r#"{"error":{"code":"closed","message":"gone","reason":"bye"}}"#,
        ),
        (
            &|format, out| results(format, &[Ok(again.clone())], out),
            r#"{"results":[{"queued":3,"missing":[],"full":[],"dropped":0,"duplicate":true}]}"#,
        ),
        (&|format, out| results(format, &[], out), r#"{"results":[]}"#),
    ];
    for (write, expected) in cases {
        let mut out = Vec::new();
        write(Format::Json, &mut out);
        assert_eq!(std::str::from_utf8(&out), Ok(*expected));
        out.clear();
        write(Format::MsgPack, &mut out);
        assert_eq!(unpacked(&out), value(expected));
    }
}

#[test]
fn a_publish_is_the_same_in_both_formats() {
    let one = r#"{"id":"order-17","to":{"mailboxes":["bob"],"groups":["lobby"],"except":["ann"]},"data":{"x":1},"ttl_ms":60000,"collapse":"IBM"}"#;
    let many = format!("[{one},{{\"data\":null}},{{\"to\":null,\"data\":\"hi\",\"ttl_ms\":null}}]");
    for (body, count) in [(one, 1), (&many, 3), ("[]", 0)] {
        let as_json = decode_publish(None, body.as_bytes(), 3).expect(body);
        let body_packed = packed(&value(body));
        let as_msgpack = decode_publish(Some("application/msgpack"), &body_packed, 3).expect(body);
        assert_eq!(as_json.len(), count);
        for items in [&as_json, &as_msgpack] {
            if let Some(first) = items.first() {
                assert_eq!(first.id.as_ref().map(PublishId::as_str), Some("order-17"));
                assert_eq!(first.to.mailboxes[0].as_str(), "bob");
                assert_eq!(first.to.groups[0].as_str(), "lobby");
                assert_eq!(first.to.except[0].as_str(), "ann");
                assert_eq!(first.message.payload, json("{\"x\":1}"));
                assert_eq!(first.message.ttl_ms, Some(60_000));
                assert_eq!(first.message.collapse.as_deref(), Some("IBM"));
            }
            if let Some(last) = items.get(2) {
                assert_eq!(items[1].message.payload, json("null"));
                assert_eq!(last.message.payload, text("hi"));
                assert_eq!(last.to, crate::core::Address::default());
            }
        }
    }
}

#[test]
fn a_bad_publish_says_what_and_where() {
    let long = "x".repeat(129);
    let cases: &[(&str, Code, Option<usize>, &str)] = &[
        ("", Code::BadRequest, None, "no valid"),
        ("1", Code::BadRequest, None, "an object with \"data\""),
        ("{}", Code::BadRequest, None, "missing field `data`"),
        ("{\"data\":1} x", Code::BadRequest, None, "something follows"),
        ("{\"data\":1,\"data\":2}", Code::BadRequest, None, "duplicate field"),
        ("{\"data\":1,\"date\":2}", Code::BadRequest, None, "unknown field `date`"),
        ("{\"data\":1,\"ttl_ms\":-1}", Code::BadRequest, None, "invalid value"),
        ("[{\"data\":1},{}]", Code::BadRequest, Some(1), "missing field `data`"),
        ("[{\"data\":1},{\"data\":1},{\"data\":]", Code::BadRequest, Some(2), "no valid"),
        ("[{\"data\":1},[null,2,null,null]]", Code::BadRequest, Some(1), "expected an object"),
        ("[{\"data\":1,\"to\":[[],[],[]]}]", Code::BadRequest, Some(0), "expected an object"),
        ("[{\"data\":1,\"to\":{\"mailboxes\":\"a\"}}]", Code::BadRequest, Some(0), "sequence"),
        (
            "[{\"data\":1},{\"data\":1,\"to\":{\"groups\":[\"\"]}}]",
            Code::BadName,
            Some(1),
            "groups",
        ),
        ("{\"data\":1,\"to\":{\"except\":[\"\\n\"]}}", Code::BadName, Some(0), "control"),
        ("{\"data\":1,\"collapse\":\"\"}", Code::BadRequest, Some(0), "collapse"),
        (
            &format!("{{\"data\":1,\"collapse\":\"{long}\"}}"),
            Code::BadRequest,
            Some(0),
            "1 to 128 bytes",
        ),
        (
            "[{\"data\":1},{\"data\":1},{\"data\":1},{\"data\":1}]",
            Code::TooLarge,
            None,
            "at most 3",
        ),
        ("[{\"data\":1},{\"data\":1},{\"data\":1},1]", Code::TooLarge, None, "at most 3"),
    ];
    for (body, code, index, says) in cases {
        let error = decode_publish(None, body.as_bytes(), 3).expect_err(body);
        assert_eq!((error.code, error.index), (*code, *index), "{body}: {error:?}");
        assert!(error.message.contains(says), "{body}: {error:?}");
    }
    let error = decode_publish(Some("text/plain"), b"{\"data\":1}", 3).expect_err("text");
    assert_eq!(error.code, Code::BadRequest);
    // `bin` inside a payload, in the second item.
    let body = b"\x92\x81\xa4data\x01\x81\xa4data\x91\xc4\x01x";
    let error = decode_publish(Some("application/msgpack"), body, 3).expect_err("bin inside");
    assert_eq!((error.code, error.index), (Code::BadPayload, Some(1)));
}

#[test]
fn keys_survive_and_nothing_else_passes() {
    let key = Key([7; 16]);
    let text = encode_key(&key);
    assert_eq!(decode_key(text.as_str()), Some(key));
    for bad in ["", "x", &format!("{}A", text.as_str()), "BwcHBwcHBwcHBwcHBwcHB*"] {
        assert_eq!(decode_key(bad), None, "{bad}");
    }
    assert_eq!(bearer("Bearer abc"), Some("abc"));
    assert_eq!(bearer("bearer  abc "), Some("abc"));
    assert_eq!(bearer("Basic abc"), None);
    assert_eq!(bearer("Bearer"), None);
}

#[test]
fn queries_are_read_strictly() {
    let read = |cursor, wait_s, key| Ok(ReadQuery { cursor, wait_s, key, last_event_id: None });
    let cases = [
        (None, read(None, None, None)),
        (Some(""), read(None, None, None)),
        (Some("cursor=0&wait=25&key=abc"), read(Some(0), Some(25), Some("abc"))),
        (Some("wait=0"), read(None, Some(0), None)),
        (Some("cursor=18446744073709551615"), read(Some(u64::MAX), None, None)),
    ];
    for (query, expected) in cases {
        assert_eq!(read_query(query), expected, "{query:?}");
    }
    for query in [
        "cursor=",
        "cursor",
        "cursor=-1",
        "cursor=+1",
        "cursor=1.5",
        "cursor=18446744073709551616",
        "wait=soon",
        "wait=1&wait=2",
        "curser=1",
        "key=a&key=b",
    ] {
        let error = read_query(Some(query)).expect_err(query);
        assert_eq!(error.code, Code::BadRequest, "{query}");
    }
    assert_eq!(key_query(Some("key=a")), Ok(Some("a")));
    assert!(key_query(Some("cursor=1")).is_err());
}

#[test]
fn an_accept_header_chooses() {
    let (json, msgpack) = (Accepted::Answer(Format::Json), Accepted::Answer(Format::MsgPack));
    let stream = Accepted::Stream;
    for (accept, accepted) in [
        (None, json),
        (Some("*/*"), json),
        (Some("text/html, */*;q=0.8"), json),
        (Some("application/msgpack"), msgpack),
        (Some("text/html, Application/MsgPack;q=0.9"), msgpack),
        (Some("application/msgpack;q=0, application/json"), json),
        (Some("application/json, application/msgpack"), json),
        (Some("text/event-stream"), stream(StreamFormat::Events)),
        (Some("TEXT/Event-Stream;charset=utf-8"), stream(StreamFormat::Events)),
        (Some("text/event-stream, */*"), stream(StreamFormat::Events)),
        (Some("application/json;q=0.5, application/x-ndjson"), stream(StreamFormat::Lines)),
        (Some("application/json, text/event-stream"), json),
        (Some("text/event-stream;q=0.1, application/json"), json),
        (Some("text/event-stream;q=0"), json),
        (Some("text/event-stream;q=high"), stream(StreamFormat::Events)),
        (Some("text/event-streams"), json),
        (Some(";,;q=,"), json),
    ] {
        assert_eq!(Accepted::of(accept), accepted, "{accept:?}");
    }
}

#[test]
fn a_frame_is_the_same_in_both_formats() {
    for (written, cursor, id, send) in [
        ("{}", None, None, None),
        ("{\"cursor\":7}", Some(7), None, None),
        ("{\"id\":1,\"send\":null}", None, Some(1), Some(json("null"))),
        ("{\"send\":\"hi\",\"cursor\":2}", Some(2), None, Some(text("hi"))),
        ("{\"send\":{\"x\":[1]}}", None, None, Some(json("{\"x\":[1]}"))),
    ] {
        let binary = packed(&value(written));
        for (format, bytes) in [(Format::Json, written.as_bytes()), (Format::MsgPack, &binary)] {
            let frame = decode_frame(format, bytes).expect("it is one");
            assert_eq!((frame.cursor, frame.id), (cursor, id), "{written}");
            assert_eq!(frame.send, send, "{written}");
        }
    }
    for wrong in ["", "[]", "1", "{\"cursor\":-1}", "{\"say\":1}", "{} {}", "{\"id\":\"1\"}"] {
        let error = decode_frame(Format::Json, wrong.as_bytes()).expect_err(wrong);
        assert_eq!(error.code, Code::BadRequest, "{wrong}");
        if let Ok(value) = serde_json::from_str::<Value>(wrong) {
            assert!(decode_frame(Format::MsgPack, &packed(&value)).is_err(), "{wrong}");
        }
    }
}
