//! Requests: bodies, forms, callbacks, cookies, origins.

use super::{Bayeux, publish, start, text};
use crate::{
    streams::reader::Socket,
    support::{Gateway, Response, component},
};
use serde_json::{Value, json};

const SHAKE: &str = r#"{"channel":"/meta/handshake","version":"1.0","id":"7","supportedConnectionTypes":["long-polling","callback-polling"]}"#;

fn post(gateway: &Gateway, path: &str, content_type: &str, body: &[u8]) -> Response {
    gateway.client().request("POST", path, &[("content-type", content_type)], body)
}

/// As a browser encodes it.
pub fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_handshake_comes_in_many_dresses() {
    let gateway = start("", "");
    let form = format!("message={}", encoded(SHAKE));
    for (case, path, content_type, body) in [
        ("an array", "/open/bayeux", "application/json", format!("[{SHAKE}]")),
        ("one object", "/open/bayeux", "application/json;charset=UTF-8", SHAKE.to_owned()),
        ("what CometD appends", "/open/bayeux/handshake", "application/json", SHAKE.to_owned()),
        ("a slash behind", "/open/bayeux/", "application/json", SHAKE.to_owned()),
        ("a form", "/open/bayeux", "application/x-www-form-urlencoded", form.clone()),
        ("a form that says it is text", "/open/bayeux", "text/plain", form),
        (
            "JSON that says it is a form",
            "/open/bayeux",
            "application/x-www-form-urlencoded",
            SHAKE.to_owned(),
        ),
    ] {
        let response = post(&gateway, path, content_type, body.as_bytes());
        assert_eq!(response.status, 200, "{case}: {response:?}");
        let mut reply = response.json();
        assert_eq!(reply.as_array().map(Vec::len), Some(1), "{case}");
        let id = text(&reply[0]["clientId"].take());
        assert!(
            id.len() > 22 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        let expected = json!([{"channel": "/meta/handshake", "successful": true, "id": "7",
            "version": "1.0", "supportedConnectionTypes": ["long-polling", "callback-polling"],
            "clientId": null, "advice": {"reconnect": "retry", "interval": 0, "timeout": 25000}}]);
        assert_eq!(reply, expected, "{case}");
    }
}

#[test]
fn what_has_no_messages_in_it_is_refused() {
    let gateway = start("max_batch_items = 3, max_body_bytes = 1000", "");
    for (case, body, status, code) in [
        ("nothing", &b""[..], 400, "bad_request"),
        ("no JSON", b"a", 400, "bad_request"),
        ("half of it", b"[{", 400, "bad_request"),
        ("a number", b"1", 400, "bad_request"),
        ("more behind it", b"[] []", 400, "bad_request"),
        ("no UTF-8", b"[\"\xff\"]", 400, "bad_request"),
        ("another field", b"x=1", 400, "bad_request"),
        ("a form with no JSON", b"message=x", 400, "bad_request"),
        ("a form with a number", b"message=5", 400, "bad_request"),
        ("too many", b"[{},{},{},{}]", 413, "too_large"),
        ("too many in a form", b"message=[{},{}]&message=[{},{}]", 413, "too_large"),
        ("too large", &[b' '; 1001], 413, "too_large"),
    ] {
        let response = post(&gateway, "/open/bayeux", "application/json", body);
        assert_eq!((response.status, response.code().as_str()), (status, code), "{case}");
    }
    let mut client = gateway.client();
    for (method, path, status, allow) in [
        ("PUT", "/open/bayeux", 405, Some("GET, POST")),
        ("DELETE", "/open/bayeux/connect", 405, Some("GET, POST")),
        ("POST", "/open/bayeux/a/b", 404, None),
        ("POST", "/nope/bayeux", 404, None),
        ("PUT", "/nope/bayeux", 404, None),
    ] {
        let response = client.request(method, path, &[], b"");
        let found = (response.status, response.header("allow"));
        assert_eq!(found, (status, allow), "{method} {path}");
    }
    let nothing = post(&gateway, "/open/bayeux", "application/json", b"[]");
    assert_eq!((nothing.status, nothing.text().as_str()), (200, "[]"));
}

#[test]
fn what_is_wrong_with_a_message_is_said_in_its_place() {
    let gateway = start("", "");
    let mut ann = Bayeux::join(&gateway);
    // Of a client that there is, with a key that was never given.
    let mut forged = ann.id.clone().into_bytes();
    forged[1] = if forged[1] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("ASCII");
    let messages = json!([
        ann.message("/meta/nope", &json!({})),
        {},
        {"channel": "/chat", "clientId": forged, "data": 1},
        5,
        ann.message("/meta/subscribe", &json!({"subscription": ["/a", "/meta/*"]})),
        ann.message("/chat/*", &json!({"data": 1})),
        ann.message("/chat", &json!({"data": 1, "id": 9})),
        ann.message("/chat", &json!({"data": 1, "clientId": 5})),
        ann.connect(&json!({"advice": 1, "ext": 1})),
    ]);
    let replies = ann.say(&messages);
    let unknown = json!({"reconnect": "handshake", "interval": 0});
    for (place, (id, error, advice)) in [
        (json!("i"), "400:/meta/nope:", Value::Null),
        (Value::Null, "402::unknown client", unknown.clone()),
        (Value::Null, "402::unknown client", unknown),
        (Value::Null, "400::no Bayeux message - ", Value::Null),
        (json!("i"), "403:/meta/*:", Value::Null),
        (json!("i"), "400:/chat/*:", Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = &replies[place];
        assert_eq!((&reply["successful"], &reply["id"]), (&json!(false), &id), "{reply}");
        assert!(text(&reply["error"]).starts_with(error), "{reply}");
        assert_eq!(reply["advice"], advice, "{reply}");
    }
    assert_eq!(replies[6], json!({"channel": "/chat", "successful": true, "id": 9}));
    let misunderstood = &replies[7];
    assert!(text(&misunderstood["error"]).starts_with("400::no Bayeux message - "));
    assert_eq!((&misunderstood["channel"], &misunderstood["id"]), (&json!("/chat"), &json!("i")));
    assert_eq!(replies[8]["successful"], true, "what nobody has to understand is passed over");
    assert_eq!(replies.as_array().map(Vec::len), Some(9));
}

#[test]
fn what_comes_along_with_a_handshake_is_ignored() {
    let gateway = start("", "");
    let mut ann = Bayeux::join(&gateway);
    let shake: Value = serde_json::from_str(SHAKE).expect("JSON");
    let disconnect = ann.message("/meta/disconnect", &json!({}));
    let replies = ann.say(&json!([disconnect, shake]));
    assert_eq!(replies.as_array().map(Vec::len), Some(1));
    assert_eq!(replies[0]["channel"], "/meta/handshake");
    let publish = ann.message("/x", &json!({"data": 1}));
    assert_eq!(ann.say(&json!([publish]))[0]["successful"], true, "it is still there");
}

#[test]
fn a_plugin_decides_about_a_handshake_and_may_reply() {
    let gateway = start("", "");
    let shake = |ext: Value| {
        let mut message: Value = serde_json::from_str(SHAKE).expect("JSON");
        message["ext"] = ext;
        let body = json!([message]).to_string();
        post(&gateway, "/lab/bayeux", "application/json", body.as_bytes()).json()[0].clone()
    };
    for (ext, error, reconnect) in [
        (json!({"do": "reject"}), "403::", "none"),
        (json!({"name": 5}), "400::not understood - ", "none"),
        (json!({"do": "panic"}), "500::a plugin failed", "handshake"),
    ] {
        let reply = shake(ext.clone());
        assert!(text(&reply["error"]).starts_with(error), "{ext}: {reply}");
        assert_eq!(reply["advice"]["reconnect"], reconnect, "{ext}");
        assert_eq!(reply["clientId"], Value::Null);
    }
    let reply = shake(json!({"do": "big_reply", "count": 3, "ack": true}));
    assert_eq!(reply["ext"]["ack"], true);
    assert_eq!(text(&reply["ext"]["reply"]).len(), 3, "{reply}");
    assert_eq!(shake(json!({"name": "ann"}))["successful"], true);
    let taken = shake(json!({"name": "ann"}));
    assert_eq!(taken["error"], "409::the name ann is taken");
    assert_eq!(taken["advice"]["reconnect"], "none");
}

#[test]
fn a_plugins_reply_comes_on_the_channel_with_the_id() {
    let gateway = start("", "");
    let shaken = post(&gateway, "/lab/bayeux", "application/json", SHAKE.as_bytes()).json();
    let id = &shaken[0]["clientId"];
    let call = json!([{"channel": "/service/echo", "clientId": id, "id": "5", "data": {"x": 1}}]);
    let response = post(&gateway, "/lab/bayeux", "application/json", call.to_string().as_bytes());
    assert_eq!(
        response.json(),
        json!([
            {"channel": "/service/echo", "data": {"x": 1}, "id": "5"},
            {"channel": "/service/echo", "successful": true, "id": "5"},
        ])
    );
}

#[test]
fn callback_polling_is_a_script() {
    let gateway = start("", "");
    let get = |query: &str| gateway.client().get(&format!("/open/bayeux?{query}"));
    let script = |response: &Response, callback: &str| -> Value {
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.header("content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        let text = response.text();
        let json = text.strip_prefix(&format!("/**/{callback}(")).expect("the callback");
        serde_json::from_str(json.strip_suffix(");").expect("its end")).expect("JSON")
    };
    let shaken = script(&get(&format!("message=%5B{}%5D&jsonp=a.b_1", encoded(SHAKE))), "a.b_1");
    let id = text(&shaken[0]["clientId"]);
    let message = |channel: &str, more: &str| {
        let text = format!("{{\"channel\":{channel:?},\"clientId\":{id:?}{more}}}");
        format!("message={}", encoded(&text))
    };
    let subscribed = get(&message("/meta/subscribe", ",\"subscription\":\"/a\""));
    assert_eq!(script(&subscribed, "jsonpcallback")[0]["successful"], true);
    let mut waiting = gateway.client();
    let connect = message("/meta/connect", ",\"connectionType\":\"callback-polling\"");
    waiting.send("GET", &format!("/open/bayeux?{connect}&jsonp=cb"), &[], b"");
    gateway.until("cometbox_held_reads{app=\"open\"}", 1);
    publish(&gateway, "a", &json!("\u{2028}"));
    let response = waiting.receive().expect("an answer");
    assert!(response.text().contains("\\u2028"), "{response:?}");
    assert_eq!(script(&response, "cb")[0], json!({"channel": "/a", "data": "\u{2028}"}));
    for name in ["", "a(", "a%28%29", "a%20b", "a;b", "1a", &"a".repeat(65)] {
        let refused = get(&format!("message=%5B%5D&jsonp={name}"));
        assert_eq!((refused.status, refused.code().as_str()), (400, "bad_request"), "{name}");
    }
    assert_eq!(get("jsonp=cb").code(), "bad_request", "no message");
}

#[test]
fn a_browser_has_so_many_clients_that_wait() {
    let gateway = start("max_reads_per_browser = 1", "");
    let shaken = post(&gateway, "/open/bayeux", "application/json", SHAKE.as_bytes());
    let cookie = shaken.header("set-cookie").expect("a cookie").to_owned();
    let (value, rest) = cookie.split_once(';').expect("attributes");
    assert_eq!(rest, " Path=/; HttpOnly; SameSite=Lax");
    assert!(value.starts_with("BAYEUX_BROWSER=") && value.len() == 15 + 22, "{value}");
    let cookie = format!("a=b; {value}");
    let of_browser = [("cookie", cookie.as_str())];
    let known = gateway.client().request("POST", "/open/bayeux", &of_browser, SHAKE.as_bytes());
    assert_eq!(known.header("set-cookie"), None, "it has one");

    let mut first = Bayeux::with(&gateway, &of_browser);
    let mut second = Bayeux::with(&gateway, &of_browser);
    let held = "cometbox_held_reads{app=\"open\"}";
    let connect = first.connect(&json!({}));
    first.send(&json!([connect.clone()]));
    gateway.until(held, 1);
    let advice = json!({"reconnect": "retry", "interval": 2000, "timeout": 25000,
        "multiple-clients": true});
    let connect_second = second.connect(&json!({}));
    let reply = second.say(&json!([connect_second.clone()]));
    assert_eq!((&reply[0]["successful"], &reply[0]["advice"]), (&json!(true), &advice));
    // Cookies may come in several lines.
    let mut third = Bayeux::with(&gateway, &[("cookie", "a=b"), ("cookie", value)]);
    let connect_third = third.connect(&json!({}));
    assert_eq!(third.say(&json!([connect_third]))[0]["advice"], advice);
    // Another browser, and one that says nothing of it, wait as well.
    let mut others =
        [Bayeux::with(&gateway, &[("cookie", "BAYEUX_BROWSER=other")]), Bayeux::join(&gateway)];
    for other in &mut others {
        let connect = other.connect(&json!({}));
        other.send(&json!([connect]));
    }
    gateway.until(held, 3);
    // The first comes again: it displaces itself, and is not one too many.
    let mut again = first.again(&gateway);
    again.send(&json!([connect]));
    assert_eq!(first.replies()[0]["advice"]["interval"], 1000);
    gateway.until(held, 3);
    drop(again);
    gateway.until(held, 2);
    second.send(&json!([connect_second]));
    gateway.until(held, 3);
}

#[test]
fn pages_of_named_origins_may_send_their_cookies() {
    let page = [("origin", "https://page.example")];
    let ask = [
        ("origin", "https://page.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let allowed = |response: &Response| {
        // Two of them, and a browser believes neither.
        let named = |(name, _): &&(String, String)| name == "access-control-allow-credentials";
        let values: Vec<&str> =
            response.headers.iter().filter(named).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    for (origins, path, expected) in [
        ("[\"https://page.example\"]", "/open/bayeux/handshake", Some("true")),
        ("[\"https://page.example\"]", "/open/mailboxes", Some("true")),
        ("[\"*\"]", "/open/bayeux", None),
        ("[\"https://other.example\"]", "/open/bayeux", None),
    ] {
        let plugin = component("plugins/bayeux-open").display().to_string();
        let gateway = Gateway::start(&format!(
            "cors = {{ origins = {origins} }}\n[[app]]\nname = \"open\"\nplugins = [{plugin:?}]\n"
        ));
        let mut client = gateway.client();
        let answer = client.request("POST", path, &page, SHAKE.as_bytes());
        assert_eq!(allowed(&answer).as_deref(), expected, "{origins} {path}");
        let preflight = client.request("OPTIONS", path, &ask, b"");
        assert_eq!(allowed(&preflight).as_deref(), expected, "{origins} {path}");
    }
}

#[test]
fn a_native_client_can_name_a_channel() {
    let gateway = start("", "");
    let mut client = gateway.client();
    let opened = client.post("/open/mailboxes", r#"{"subscribe":["a/*"]}"#).json();
    let path = format!("/open/mailboxes/{}?key={}", text(&opened["mailbox"]), text(&opened["key"]));
    for (query, status, code) in [
        ("", 400, "rejected"),
        ("&channel=", 400, "bad_name"),
        ("&channel=%FF", 400, "bad_name"),
        ("&channel=a&channel=b", 400, "bad_request"),
        ("&channel=a/*", 400, "bad_name"),
        ("&channel=a%2F**", 400, "bad_name"),
        ("&channel=*", 400, "bad_name"),
        ("&channel=meta/connect", 400, "bad_name"),
        ("&channel=meta", 400, "bad_name"),
        ("&chanel=a", 400, "bad_request"),
    ] {
        let response = client.post(&format!("{path}{query}"), "1");
        assert_eq!((response.status, response.code().as_str()), (status, code), "{query}");
    }
    assert_eq!(client.post(&format!("{path}&channel=service/b"), "0").status, 204);
    assert_eq!(client.post(&format!("{path}&channel=a%2Fb"), "1").status, 204);
    let mut socket = Socket::open(&gateway, &path, None).expect("a handshake");
    socket.send(&json!({"send": 2, "channel": "a/b"}));
    // It reads as well, so it hears both.
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let batch = socket.json().expect("a batch");
        let messages = batch["messages"].as_array().unwrap_or_else(|| panic!("{batch}"));
        heard.extend(messages.iter().map(|message| message["data"].clone()));
    }
    assert_eq!(heard, [json!(1), json!(2)]);
}

#[test]
fn a_client_leaves_what_it_chose_and_no_group_that_a_plugin_put_it_in() {
    let app = |name: &str, folder: &'static str| {
        let plugin = component(folder).display().to_string();
        format!("[[app]]\nname = {name:?}\nplugins = [{plugin:?}]\npublish_keys = [\"secret\"]\n")
    };
    let gateway = Gateway::start(&format!(
        "{}{}",
        app("chat", "plugins/chat"),
        app("bayeux-open", "plugins/bayeux-open")
    ));
    // Nobody chooses anything in the chat; the other one lets clients choose.
    for (app, hello, may_choose) in [
        ("chat", json!({"nick": "ann", "room": "hall"}), false),
        ("bayeux-open", json!({"subscribe": ["hall"]}), true),
    ] {
        let mut ann = Bayeux::shake(&gateway, app, &[], &hello);
        let mut say = |channel: &str, subscription: &str| {
            let message = ann.message(channel, &json!({"subscription": subscription}));
            ann.say(&json!([message]))[0].clone()
        };
        let queued = |group: &str| {
            let item = json!({"to": {"groups": [group]}, "data": 1}).to_string();
            let key = [("authorization", "Bearer secret")];
            let path = format!("/{app}/publish");
            let published = gateway.client().request("POST", &path, &key, item.as_bytes());
            published.json()["results"][0]["queued"].clone()
        };
        let chosen = say("/meta/subscribe", "/lobby");
        assert_eq!(chosen["successful"], may_choose, "{app}: {chosen}");
        assert_eq!(queued("lobby"), usize::from(may_choose), "{app}");
        // Choosing what it is in already changes nothing.
        say("/meta/subscribe", "/hall");
        let refused = say("/meta/unsubscribe", "/hall");
        assert_eq!(refused["error"], "403::a plugin has put this client into hall", "{app}");
        assert_eq!(refused["subscription"], "/hall", "{app}");
        assert_eq!(queued("hall"), 1, "{app}: it is still there");
        for left in ["/lobby", "/never", "/service/x"] {
            let reply = say("/meta/unsubscribe", left);
            assert_eq!(reply["successful"], true, "{app}: {left}");
        }
        assert_eq!(queued("lobby"), 0, "{app}: it has left");
    }
}

#[test]
fn several_channels_are_chosen_and_left_at_once() {
    let gateway = start("", "");
    let mut ann = Bayeux::join(&gateway);
    for (channel, expected) in [("/meta/subscribe", 2), ("/meta/unsubscribe", 0)] {
        let several = json!({"subscription": ["/a", "/b"]});
        let reply = &ann.say(&json!([ann.message(channel, &several)]))[0];
        assert_eq!(reply["successful"], true, "{reply}");
        assert_eq!(reply["subscription"], several["subscription"], "{reply}");
        for group in ["a", "b"] {
            publish(&gateway, group, &json!(1));
        }
        let replies = ann.say(&json!([ann.connect(&json!({"advice": {"timeout": 0}}))]));
        assert_eq!(replies.as_array().map(Vec::len), Some(expected + 1), "{channel}: {replies}");
    }
}

#[test]
fn a_message_to_several_groups_comes_on_a_channel_that_was_subscribed_to() {
    let gateway = start("", "");
    let mut clients = ["/a", "/b", "/c/*"].map(|channel| {
        let mut client = Bayeux::join(&gateway);
        client.subscribe(channel);
        client
    });
    let item = json!({"to": {"groups": ["a", "b", "c/d"]}, "data": 1}).to_string();
    let key = [("authorization", "Bearer secret")];
    gateway.client().request("POST", "/open/publish", &key, item.as_bytes());
    for (client, channel) in clients.iter_mut().zip(["/a", "/b", "/c/d"]) {
        let connect = client.connect(&json!({"advice": {"timeout": 0}}));
        let replies = client.say(&json!([connect]));
        assert_eq!(replies[0], json!({"channel": channel, "data": 1}));
        assert_eq!(replies.as_array().map(Vec::len), Some(2));
    }
}
