//! Payloads of every kind, in both formats.

use super::start;
use crate::support::{Client, Response};
use rmpv::Value;

const MSGPACK: &str = "application/msgpack";

fn packed(json: &str) -> Vec<u8> {
    let value: Value = serde_json::from_str(json).expect("JSON of a test is valid");
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, &value).expect("writing into a Vec does not fail");
    out
}

fn read(client: &mut Client, key: &str, accept: &str) -> Response {
    let path = format!("/lab/mailboxes/ann?wait=0&key={key}");
    client.request("GET", &path, &[("accept", accept)], b"")
}

#[test]
fn a_payload_keeps_its_kind_from_end_to_end() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    // Sent as; the reply in JSON; the reply in MessagePack.
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON of a test is valid");
    let cases: &[(Option<&str>, &[u8], &str, Value)] = &[
        (None, b"[1, 2]", "[1, 2]", json("[1,2]")),
        (Some("application/json"), b"\"a\\u0062\"", "\"ab\"", "ab".into()),
        (
            Some("application/json"),
            b"{\"base64\":\"AP8=\"}",
            "{\"base64\":\"AP8=\"}",
            Value::Binary(vec![0, 255]),
        ),
        (Some("text/plain"), b"line\n2", "\"line\\n2\"", "line\n2".into()),
        (
            Some("application/octet-stream"),
            b"\x00\xff",
            "{\"base64\":\"AP8=\"}",
            Value::Binary(vec![0, 255]),
        ),
        (Some(MSGPACK), b"\x81\xa1a\xcb\x3f\xf8\0\0\0\0\0\0", "{\"a\":1.5}", json("{\"a\":1.5}")),
        (Some(MSGPACK), b"\xa2hi", "\"hi\"", "hi".into()),
        (Some(MSGPACK), b"\xc4\x02\x00\xff", "{\"base64\":\"AP8=\"}", Value::Binary(vec![0, 255])),
    ];
    for (content_type, body, in_json, in_msgpack) in cases {
        let mut headers = Vec::new();
        headers.extend(content_type.map(|kind| ("content-type", kind)));
        let reply = client.request("POST", &path, &headers, body);
        let shown = body.escape_ascii();
        assert_eq!(reply.status, 200, "{shown}: {reply:?}");
        assert_eq!(reply.text(), format!("{{\"reply\":{in_json}}}"), "{shown}");
        headers.push(("accept", MSGPACK));
        let reply = client.request("POST", &path, &headers, body);
        assert_eq!(reply.header("content-type"), Some(MSGPACK));
        assert_eq!(reply.msgpack()["reply"], *in_msgpack, "{shown}");
    }
}

#[test]
fn messages_are_read_in_either_format() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    for data in ["{\"deep\": [null, -1]}", "\"text\"", "{\"base64\":\"AP8=\"}"] {
        client.publish_to("ann", data);
    }
    for _ in 0..2 {
        assert_eq!(
            read(&mut client, &key, "application/json").text(),
            "{\"cursor\":3,\"lost\":0,\"messages\":[{\"seq\":1,\"data\":{\"deep\": [null, -1]}},\
             {\"seq\":2,\"data\":\"text\"},{\"seq\":3,\"data\":{\"base64\":\"AP8=\"}}]}"
        );
        let response = read(&mut client, &key, MSGPACK);
        assert_eq!(response.header("content-type"), Some(MSGPACK));
        let body = response.msgpack();
        assert_eq!((&body["cursor"], &body["lost"]), (&3.into(), &0.into()));
        let data = |n: usize| &body["messages"][n]["data"];
        assert_eq!(data(0)["deep"][1], (-1).into());
        assert_eq!((data(1), data(2)), (&"text".into(), &Value::Binary(vec![0, 255])));
    }
}

#[test]
fn a_conversation_in_messagepack_alone() {
    let gateway = start("");
    let mut client = gateway.client();
    let both = [("content-type", MSGPACK), ("accept", MSGPACK)];
    let opened = client.request("POST", "/lab/mailboxes", &both, &packed("{\"name\":\"ann\"}"));
    assert_eq!(opened.status, 201);
    let opened = opened.msgpack();
    assert_eq!((&opened["mailbox"], &opened["cursor"]), (&"ann".into(), &0.into()));
    let key = opened["key"].as_str().expect("a key").to_owned();

    let publish = packed("[{\"to\":{\"mailboxes\":[\"ann\",\"bob\"]},\"data\":{\"x\":1}}]");
    let bearer = [both[0], both[1], ("authorization", "Bearer secret")];
    let published = client.request("POST", "/lab/publish", &bearer, &publish).msgpack();
    assert_eq!(published["results"][0]["queued"], 1.into());
    assert_eq!(published["results"][0]["missing"][0], "bob".into());

    let response = read(&mut client, &key, MSGPACK).msgpack();
    assert_eq!(response["messages"][0]["data"]["x"], 1.into());
    let error = client.request("GET", "/lab/mailboxes/bob?wait=0", &both, b"");
    assert_eq!(error.status, 401);
    assert_eq!(error.msgpack()["error"]["code"], "unauthorized".into());
}

#[test]
fn bad_messagepack_is_refused() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    let path = format!("/lab/mailboxes/ann?key={key}");
    for body in [&b"\xc1"[..], b"\x92\x01", b"\x91\xc4\x01x", b"\x81\x01\x01", b"\xc0\xc0"] {
        let response = client.request("POST", &path, &[("content-type", MSGPACK)], body);
        assert_eq!((response.status, response.code().as_str()), (400, "bad_payload"));
    }
}
