//! Bayeux on the wire.

use super::*;
use crate::{
    core::{Batch, Delivery, Key, Kind, Message, Name, Payload},
    transport::Code,
};
use serde_json::{Value, json};

/// One that acknowledges.
fn client() -> String {
    encode_client(&Key([7; 16]), &Name::parse("ann").expect("a name"), true)
}

/// One that does not.
fn plain_client() -> String {
    encode_client(&Key([7; 16]), &Name::parse("ann").expect("a name"), false)
}

/// What a message comes to, in short.
fn understood(message: &Value) -> String {
    let text = message.to_string();
    let mut said = decode_messages(&text, 10).expect("one object");
    assert_eq!(said.len(), 1);
    match said.remove(0).what {
        Ok(What::Handshake(Handshake { connection_types, ack, .. })) => {
            format!("handshake {} {ack}", connection_types.join(","))
        }
        Ok(What::Connect(Connect { ack, timeout_ms, .. })) => {
            format!("connect {ack:?} {timeout_ms:?}")
        }
        Ok(What::Subscribe(_, groups)) => format!("subscribe {groups:?}"),
        Ok(What::Unsubscribe(_, groups)) => format!("unsubscribe {groups:?}"),
        Ok(What::Disconnect(client)) => format!("disconnect {}", client.mailbox),
        Ok(What::Publish(_, group, data)) => {
            format!("publish {group} {:?} {}", data.kind, String::from_utf8_lossy(&data.bytes))
        }
        Err(fault) => format!("{}:{} {:?}", fault.code, fault.about, fault.reconnect),
    }
}

#[test]
fn messages_are_understood_or_refused() {
    let shake = |more: Value| {
        let mut message = json!({"channel": "/meta/handshake", "version": "1.0",
            "supportedConnectionTypes": ["long-polling"]});
        for (key, value) in more.as_object().expect("a map") {
            message[key] = value.clone();
        }
        message
    };
    let said = |channel: &str, more: Value| {
        let mut message = json!({"channel": channel, "clientId": client()});
        for (key, value) in more.as_object().expect("a map") {
            message[key] = value.clone();
        }
        message
    };
    let subscribe =
        |subscription: Value| said("/meta/subscribe", json!({"subscription": subscription}));
    let longest = format!("/{}", "x".repeat(128));
    for (case, message, expected) in [
        ("handshake", shake(json!({})), "handshake long-polling false"),
        ("beta version", shake(json!({"version": "1.0beta"})), "handshake long-polling false"),
        ("no version", shake(json!({"version": null})), "400: Some(None)"),
        ("version 2", shake(json!({"version": "2.0"})), "400: Some(None)"),
        (
            "its types in our order",
            shake(json!({"supportedConnectionTypes": ["x", "callback-polling", "websocket"]})),
            "handshake websocket,callback-polling false",
        ),
        ("no types", shake(json!({"supportedConnectionTypes": []})), "406: Some(None)"),
        ("other types", shake(json!({"supportedConnectionTypes": ["x"]})), "406: Some(None)"),
        ("ack", shake(json!({"ext": {"ack": true}})), "handshake long-polling true"),
        ("no ack", shake(json!({"ext": {"ack": false}})), "handshake long-polling false"),
        (
            "ack object",
            shake(json!({"ext": {"ack": {"enabled": true}}})),
            "handshake long-polling true",
        ),
        ("odd ext", shake(json!({"ext": [1]})), "handshake long-polling false"),
        ("connect", said("/meta/connect", json!({})), "connect None None"),
        (
            "connect with all",
            said(
                "/meta/connect",
                json!({"connectionType": "websocket", "ext": {"ack": 7},
                "advice": {"timeout": 0}}),
            ),
            "connect Some(7) Some(0)",
        ),
        (
            "ack of nothing",
            said("/meta/connect", json!({"ext": {"ack": -1}})),
            "connect Some(0) None",
        ),
        (
            "ack batch",
            said("/meta/connect", json!({"ext": {"ack": {"batch": 3}}})),
            "connect Some(3) None",
        ),
        ("ack of no number", said("/meta/connect", json!({"ext": {"ack": "3"}})), "400: None"),
        ("ack of null", said("/meta/connect", json!({"ext": {"ack": null}})), "connect None None"),
        (
            "ack of who does not",
            said("/meta/connect", json!({"clientId": plain_client(), "ext": {"ack": "3"}})),
            "connect None None",
        ),
        (
            "fraction",
            said("/meta/connect", json!({"advice": {"timeout": 1.5}})),
            "connect None Some(1)",
        ),
        ("odd type", said("/meta/connect", json!({"connectionType": "x"})), "400:x None"),
        ("no client", json!({"channel": "/meta/connect"}), "402: Some(Handshake)"),
        ("nothing", json!({}), "402: Some(Handshake)"),
        ("odd client", json!({"channel": "/a", "clientId": "!"}), "402: Some(Handshake)"),
        ("short client", json!({"channel": "/a", "clientId": "aaGk"}), "402: Some(Handshake)"),
        (
            "a client of another kind",
            json!({"channel": "/a", "clientId": client().replacen('a', "b", 1)}),
            "402: Some(Handshake)",
        ),
        ("no channel", json!({"clientId": client()}), "400: None"),
        ("one channel", subscribe(json!("/a/b")), "subscribe [\"a/b\"]"),
        (
            "channels",
            subscribe(json!(["/a/*", "/**", "/service/x"])),
            "subscribe [\"a/*\", \"**\"]",
        ),
        ("service alone", subscribe(json!("/service/**")), "subscribe []"),
        ("meta", subscribe(json!("/meta/connect")), "403:/meta/connect None"),
        ("all of meta", subscribe(json!(["/a", "/meta/*"])), "403:/meta/* None"),
        ("no subscription", said("/meta/subscribe", json!({})), "400: None"),
        ("too many channels", subscribe(json!(vec!["/a"; 1001])), "413: None"),
        ("empty subscription", subscribe(json!([])), "400: None"),
        ("odd subscription", subscribe(json!([1])), "400: None"),
        ("star inside", subscribe(json!("/a/*/b")), "400:/a/*/b None"),
        ("star in a segment", subscribe(json!("/a/b*")), "400:/a/b* None"),
        ("three stars", subscribe(json!("/***")), "400:/*** None"),
        ("no slash", subscribe(json!("a")), "400:a None"),
        ("empty segment", subscribe(json!("/a//b")), "400:/a//b None"),
        ("slash alone", subscribe(json!("/")), "400:/ None"),
        ("slash behind", subscribe(json!("/a/")), "400:/a/ None"),
        ("control character", subscribe(json!("/a\n")), "400:/a\n None"),
        (
            "unsubscribe",
            said("/meta/unsubscribe", json!({"subscription": "/a"})),
            "unsubscribe [\"a\"]",
        ),
        ("disconnect", said("/meta/disconnect", json!({})), "disconnect ann"),
        ("publish", said("/a/b", json!({"data": {"x": 1}})), "publish a/b Json {\"x\":1}"),
        ("text", said("/a", json!({"data": "hi"})), "publish a Text hi"),
        ("no data", said("/a", json!({})), "publish a Json null"),
        ("to a service", said("/service/x", json!({"data": 1})), "publish service/x Json 1"),
        ("to a pattern", said("/a/*", json!({"data": 1})), "400:/a/* None"),
        ("to the protocol", said("/meta/x", json!({"data": 1})), "400:/meta/x None"),
        (
            "longest",
            said(&longest, json!({"data": 1})),
            &format!("publish {} Json 1", &longest[1..]),
        ),
        ("too long", said(&format!("{longest}x"), json!({})), &format!("400:{longest}x None")),
        ("odd data type of a field", json!({"channel": 5}), "400: None"),
        ("odd handshake", json!({"channel": "/meta/handshake", "version": 1}), "400: Some(None)"),
    ] {
        assert_eq!(understood(&message), expected, "{case}");
    }
}

#[test]
fn a_text_is_an_array_or_one_object() {
    let count = |text: &str| decode_messages(text, 3).map(|said| said.len());
    for (text, expected) in [("[]", 0), (" {} ", 1), ("[{},{}]\n", 2), ("[{}, 1, \"x\"]", 3)] {
        assert_eq!(count(text), Ok(expected), "{text}");
    }
    for text in ["", "1", "null", "\"x\"", "{", "[", "[{}", "[{}]]", "{}{}", "[{}] x", "[{},]"] {
        assert_eq!(count(text).map_err(|error| error.code), Err(Code::BadRequest), "{text}");
    }
    assert_eq!(count("[1,1,1,1]").map_err(|error| error.code), Err(Code::TooLarge));
    let deep = "[".repeat(100_000);
    assert!(count(&deep).is_err());
}

#[test]
fn client_ids_say_mailbox_and_key() {
    for name in ["a", "m-0123456789abcdef", "ä/ö", &"x".repeat(128)] {
        for acknowledges in [true, false] {
            let (key, mailbox) = (Key([9; 16]), Name::parse(name).expect("a name"));
            let text = encode_client(&key, &mailbox, acknowledges);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            let expected = ClientId { key, mailbox, acknowledges };
            assert_eq!(decode_client(&text), Some(expected), "{name}");
        }
    }
    let (key, too_long) = ([9; 16].to_vec(), "x".repeat(129).into_bytes());
    let encode = |bytes: Vec<u8>| {
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        format!("n{}", base64::Engine::encode(&engine, bytes))
    };
    for (case, text) in [
        ("no name", encode(key.clone())),
        ("less than a key", encode(vec![1; 15])),
        ("a name that is too long", encode([key.clone(), too_long].concat())),
        ("no UTF-8", encode([key.clone(), vec![0xff]].concat())),
        ("no letter in front", encode([key.clone(), b"x".to_vec()].concat()).split_off(1)),
        ("a control character", encode([key, vec![b'\n']].concat())),
        ("much", "n".repeat(1 << 20)),
        ("nothing", String::new()),
    ] {
        assert_eq!(decode_client(&text), None, "{case}");
    }
}

#[test]
fn replies_say_what_they_have_to() {
    let text = json!([
        {"channel": "/meta/subscribe", "id": "1", "subscription": ["/a"], "clientId": client()},
        {"channel": "/meta/connect", "id": 2},
        {"channel": "/x", "id": {"no": "id"}, "clientId": client()},
        {"channel": 5, "id": "3"},
        {"channel": "/meta/subscribe", "id": 4, "clientId": 5, "subscription": "/a"},
    ])
    .to_string();
    let said = decode_messages(&text, 10).expect("an array");
    let mut replies = Replies::default();
    assert!(replies.is_empty());
    replies.push(&Reply::to(&said[0]));
    for said in &said[1..] {
        match &said.what {
            Ok(_) => replies.push(&Reply::to(said)),
            Err(fault) => replies.push(&Reply::refused(said, fault)),
        }
    }
    let reply = Payload { kind: Kind::Binary, bytes: vec![1, 2].into() };
    let ext = ReplyExt { ack: Some(Ack::UpTo(5)), lost: 2, reply: Some(&reply), reason: Some("x") };
    let advice =
        Advice { timeout: Some(9), multiple_clients: true, ..Advice::new(Reconnect::Retry) };
    replies.push(&Reply { ext, advice: Some(advice), ..Reply::default() });
    replies.replied("service/x", said[0].id, &reply);
    let written: Value = serde_json::from_slice(&replies.into_json()).expect("JSON");
    let malformed = [3, 4].map(|place| written[place]["error"].as_str().expect("a text"));
    for error in malformed {
        assert!(error.starts_with("400::no Bayeux message - invalid type"), "{error}");
    }
    assert_eq!(
        written,
        json!([
            {"channel": "/meta/subscribe", "successful": true, "id": "1", "subscription": ["/a"]},
            {"channel": "/meta/connect", "successful": false, "id": 2,
             "error": "402::unknown client", "advice": {"reconnect": "handshake", "interval": 0}},
            {"channel": "/x", "successful": true},
            {"successful": false, "error": malformed[0], "id": "3"},
            {"channel": "/meta/subscribe", "successful": false, "error": malformed[1], "id": 4,
             "subscription": "/a"},
            {"successful": false, "advice": {"reconnect": "retry", "interval": 0, "timeout": 9,
             "multiple-clients": true}, "ext": {"ack": 5, "lost": 2, "reason": "x",
             "reply": {"base64": "AQI="}}},
            {"channel": "/service/x", "data": {"base64": "AQI="}, "id": "1"},
        ])
    );
}

#[test]
fn errors_have_no_other_punctuation_than_bayeux_allows() {
    for (about, text, expected) in [
        ("", "unknown client", "402::unknown client"),
        ("/a/*", "it's \"here\"; or: there, [x]\n", "402:/a/*:its here - or - there - _x__"),
        ("/a:b,c", "größer", "402:/a -b -c:größer"),
    ] {
        let fault = Fault::new(402, text).about(about);
        let mut replies = Replies::default();
        replies.push(&Reply { error: Some(&fault), ..Reply::default() });
        let written: Value = serde_json::from_slice(&replies.into_json()).expect("JSON");
        assert_eq!(written[0]["error"], expected);
    }
}

#[test]
fn messages_go_out_on_the_channel_they_were_sent_to() {
    let message = |data: &str, group: Option<&str>| {
        let payload = Payload { kind: Kind::Text, bytes: data.to_owned().into() };
        let message = Message::new(payload, None, None);
        if let Some(group) = group {
            message.channel.set(Name::parse(group).expect("a name")).expect("it is new");
        }
        Delivery { seq: 1, message }
    };
    let messages = [
        message("a", Some("chat/lobby")),
        message("b", None),
        message("c", Some("meta/connect")),
        message("d", Some("a \"b\"")),
        message("e", Some("metadata")),
    ];
    let mut replies = Replies::default();
    replies.deliver(&Batch { cursor: 1, lost: 0, messages: messages.into_iter().collect() });
    let written: Value = serde_json::from_slice(&replies.into_json()).expect("JSON");
    assert_eq!(
        written,
        json!([
            {"channel": "/chat/lobby", "data": "a"},
            {"channel": "/service/mailbox", "data": "b"},
            {"channel": "/service/mailbox", "data": "c"},
            {"channel": "/a \"b\"", "data": "d"},
            {"channel": "/metadata", "data": "e"},
        ])
    );
}

#[test]
fn a_callback_is_a_name_and_nothing_else() {
    for name in ["jsonpcallback", "_a.$b9", "$", "a.b.c", &"a".repeat(64)] {
        assert!(is_callback(name), "{name}");
    }
    for name in
        ["", "9a", ".a", "a(", "a b", "a;b", "alert(1)//", "ä", "a\n", "a[0]", &"a".repeat(65)]
    {
        assert!(!is_callback(name), "{name}");
    }
    let script = jsonp("a.b", "[\"\u{2028}x\u{2029}\u{2030}\"]".as_bytes());
    assert_eq!(
        String::from_utf8(script).expect("UTF-8"),
        "/**/a.b([\"\\u2028x\\u2029\u{2030}\"]);"
    );
}

#[test]
fn forms_have_messages() {
    let form = decode_form(b"message=%5B%7B%7D%5D&x=1&message=a+b&jsonp=cb");
    assert_eq!(form.messages, ["[{}]", "a b"]);
    assert_eq!(form.jsonp, "cb");
    assert_eq!(decode_form(b"").jsonp, "jsonpcallback");
}

#[test]
fn nothing_that_comes_in_panics() {
    let whole = json!([{"channel": "/meta/subscribe", "clientId": client(), "id": "1",
        "version": "1.0", "supportedConnectionTypes": ["websocket"], "subscription": ["/a/*"],
        "data": {"x": "\u{2028}"}, "ext": {"ack": 7}, "advice": {"timeout": 1e3}}])
    .to_string();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let place = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[place] = random.u8(..),
                1 => bytes.truncate(place.max(1)),
                _ => bytes.insert(place, *random.choice(b"[]{},:\"*/-9e\\").expect("some")),
            }
        }
        let _ = decode_form(&bytes);
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        let _ = (decode_client(text), is_callback(text));
        let Ok(said) = decode_messages(text, 3) else { continue };
        let mut replies = Replies::default();
        for said in &said {
            match &said.what {
                Ok(_) => replies.push(&Reply::to(said)),
                Err(fault) => replies.push(&Reply::refused(said, fault)),
            }
        }
        let json = replies.into_json();
        serde_json::from_slice::<Value>(&json).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
}
