//! Connects: how long they wait, what they bring, and what they confirm.

use super::{Bayeux, publish, start, text};
use crate::support::Gateway;
use serde_json::{Value, json};
use std::time::Instant;

const HELD: &str = "cometbox_held_reads{app=\"open\"}";
const MAILBOXES: &str = "cometbox_mailboxes{app=\"open\"}";
const QUEUED: &str = "cometbox_queued_messages{app=\"open\"}";

/// The data of the messages in an answer, and the reply to the connect behind
/// them.
fn messages(replies: &Value) -> (Vec<Value>, Value) {
    let mut replies = replies.as_array().expect("an array").clone();
    let connect = replies.pop().expect("a reply");
    assert_eq!(connect["channel"], "/meta/connect");
    (replies.into_iter().map(|message| message["data"].clone()).collect(), connect)
}

fn at_once(client: &Bayeux, ext: &Value) -> Value {
    json!([client.connect(&json!({"advice": {"timeout": 0}, "ext": ext}))])
}

#[test]
fn with_acknowledgements_nothing_goes_before_it_is_acknowledged() {
    let gateway = start("", "");
    let mut ann = Bayeux::acknowledging(&gateway);
    ann.subscribe("/a");
    for n in 1..=3 {
        publish(&gateway, "a", &json!(n));
    }
    for (ack, expected, up_to, queued) in [
        (json!(0), vec![json!(1), json!(2), json!(3)], 3, 3),
        (json!(0), vec![json!(1), json!(2), json!(3)], 3, 3),
        (json!(-1), vec![json!(1), json!(2), json!(3)], 3, 3),
        (json!(1), vec![json!(2), json!(3)], 3, 2),
        // None: nothing new was received, by whatever it connects now.
        (json!(null), vec![json!(2), json!(3)], 3, 2),
        (json!({"batch": 3}), vec![], 3, 0),
    ] {
        let (data, connect) = messages(&ann.say(&at_once(&ann, &json!({"ack": ack}))));
        assert_eq!((data, &connect["ext"]), (expected, &json!({"ack": up_to})), "after {ack}");
        assert_eq!(gateway.metric(QUEUED), queued, "after {ack}");
    }
}

#[test]
fn what_cannot_be_acknowledged_is_said_and_confirms_nothing() {
    let gateway = start("", "");
    let mut ann = Bayeux::acknowledging(&gateway);
    ann.subscribe("/a");
    publish(&gateway, "a", &json!(1));
    for (ack, error, reconnect) in [
        (json!("1"), "400::ext.ack is the number", json!(null)),
        (json!(true), "400::ext.ack is the number", json!(null)),
        (json!({"batch": []}), "400::ext.ack is the number", json!(null)),
        // As a new client it begins with none, so that this comes to an end.
        (json!(9), "400::ext.ack is ahead of the last message - which is 1", json!("handshake")),
        (json!(1e30), "400::ext.ack is ahead", json!("handshake")),
    ] {
        let (_, connect) = messages(&ann.say(&at_once(&ann, &json!({"ack": ack}))));
        assert_eq!(connect["successful"], false, "{ack}");
        assert!(text(&connect["error"]).starts_with(error), "{ack}: {connect}");
        assert_eq!(connect["advice"]["reconnect"], reconnect, "{ack}");
        assert_eq!(connect["ext"], Value::Null, "{ack}");
        assert_eq!(gateway.metric(QUEUED), 1, "{ack}");
    }
    let (data, _) = messages(&ann.say(&at_once(&ann, &json!({"ack": 0}))));
    assert_eq!(data, [json!(1)]);
}

#[test]
fn a_device_that_joins_a_shared_mailbox_starts_where_that_is() {
    let gateway = start("", "");
    let mut client = gateway.client();
    let ann = json!({"name": "ann", "identity": "ann@example.org", "shared": true, "ack": true});
    let key = client.open_with(&ann.to_string());
    client.publish_to("ann", "1");
    assert_eq!(client.get(&format!("/lab/mailboxes/ann?wait=0&key={key}&cursor=1")).status, 204);
    client.publish_to("ann", "2");
    let mut say = |message: Value| client.post("/lab/bayeux", &json!([message]).to_string()).json();
    let shaken = say(json!({"channel": "/meta/handshake", "version": "1.0",
        "supportedConnectionTypes": ["long-polling"], "ext": ann}));
    let replies = say(json!({"channel": "/meta/connect", "clientId": shaken[0]["clientId"],
        "connectionType": "long-polling", "advice": {"timeout": 0}, "ext": {"ack": -1}}));
    let (data, connect) = messages(&replies);
    assert_eq!((data, &connect["ext"]), (vec![json!(2)], &json!({"ack": 2})), "nothing is lost");
}

#[test]
fn without_acknowledgements_a_connect_confirms_what_was_handed_out() {
    let gateway = start("", "");
    let mut ann = Bayeux::join(&gateway);
    ann.subscribe("/a");
    // What it said in its handshake holds, whatever a connect says.
    for ext in [json!({}), json!({"ack": 0}), json!({"ack": "x"})] {
        publish(&gateway, "a", &json!(1));
        let (data, connect) = messages(&ann.say(&at_once(&ann, &ext)));
        assert_eq!((data, &connect["ext"]), (vec![json!(1)], &Value::Null), "{ext}");
        assert_eq!(gateway.metric(QUEUED), 1, "{ext}: the answer may not have arrived");
        assert_eq!(messages(&ann.say(&at_once(&ann, &ext))).0, Vec::<Value>::new(), "{ext}");
        assert_eq!(gateway.metric(QUEUED), 0, "{ext}");
    }
}

#[test]
fn what_was_lost_is_told() {
    let gateway = start("", "mailbox_messages = 2");
    let mut ann = Bayeux::acknowledging(&gateway);
    ann.subscribe("/a");
    for n in 1..=5 {
        publish(&gateway, "a", &json!(n));
    }
    let (data, connect) = messages(&ann.say(&at_once(&ann, &json!({"ack": 0}))));
    assert_eq!(data, [json!(4), json!(5)]);
    assert_eq!(connect["ext"], json!({"ack": 5, "lost": 3}));
}

#[test]
fn a_connect_waits_as_long_as_its_client_wants_and_the_app_allows() {
    // Where it would wait for the default of 25 s, the test would not.
    for (case, limits, advice, least_ms) in [
        ("the app's", "max_wait_s = 1", json!({}), 900),
        ("more than the app's", "max_wait_s = 1", json!({"timeout": 60_000}), 900),
        ("its own", "", json!({"timeout": 200.5}), 150),
        ("none", "", json!({"timeout": 0}), 0),
    ] {
        let gateway = start("", limits);
        let mut ann = Bayeux::join(&gateway);
        let started = Instant::now();
        let replies = ann.say(&json!([ann.connect(&json!({"advice": advice}))]));
        let took_ms = started.elapsed().as_millis();
        assert!(took_ms >= least_ms, "{case}: {took_ms} ms");
        let timeout_ms = if limits.is_empty() { 25_000 } else { 1000 };
        let advice = json!({"reconnect": "retry", "interval": 0, "timeout": timeout_ms});
        let expected = json!([{"channel": "/meta/connect", "successful": true, "id": "i",
            "advice": advice}]);
        assert_eq!(replies, expected, "{case}");
    }
}

#[test]
fn a_connect_in_company_does_not_wait() {
    let gateway = start("", "");
    let mut ann = Bayeux::join(&gateway);
    let connect = ann.connect(&json!({}));
    let publish = ann.message("/a", &json!({"data": 1}));
    let replies = ann.say(&json!([connect, publish]));
    assert_eq!(replies[0]["channel"], "/meta/connect");
    assert_eq!(replies[1]["channel"], "/a");
}

#[test]
fn a_newer_connect_displaces_the_older_which_is_told_to_take_its_time() {
    let gateway = start("", "");
    let mut ann = Bayeux::acknowledging(&gateway);
    let connect = json!([ann.connect(&json!({"ext": {"ack": 0}}))]);
    ann.send(&connect);
    gateway.until(HELD, 1);
    let mut again = ann.again(&gateway);
    again.send(&connect);
    let displaced = ann.replies();
    // Without a number: the newer one may have been told a higher one by now.
    assert_eq!((&displaced[0]["successful"], &displaced[0]["ext"]), (&json!(true), &Value::Null));
    assert_eq!(displaced[0]["advice"]["interval"], 1000);
    gateway.until(HELD, 1);
    drop(again);
    gateway.until(HELD, 0);
    gateway.until(MAILBOXES, 1);
}

#[test]
fn who_disconnects_is_gone_and_its_connect_is_answered() {
    let gateway = start("", "");
    let mut ann = Bayeux::join(&gateway);
    let connect = json!([ann.connect(&json!({}))]);
    ann.send(&connect);
    gateway.until(HELD, 1);
    let mut other = ann.again(&gateway);
    let disconnect = json!([ann.message("/meta/disconnect", &json!({}))]);
    assert_eq!(other.say(&disconnect)[0]["successful"], true);
    let last = ann.replies();
    assert_eq!(
        (&last[0]["successful"], &last[0]["advice"]["reconnect"]),
        (&json!(false), &json!("none"))
    );
    gateway.until(MAILBOXES, 0);
    assert_eq!(other.say(&disconnect)[0]["error"], "402::the client disconnected");
}

#[test]
fn who_is_silent_for_too_long_is_unknown() {
    let gateway = start("", "linger_ms = 1");
    let mut ann = Bayeux::join(&gateway);
    gateway.until(MAILBOXES, 0);
    for channel in
        ["/meta/connect", "/meta/subscribe", "/meta/unsubscribe", "/meta/disconnect", "/x"]
    {
        let message = ann.message(channel, &json!({"subscription": "/service/x", "data": 1}));
        let reply = &ann.say(&json!([message]))[0];
        assert_eq!(reply["error"], "402::unknown client", "{channel}");
        assert_eq!(reply["advice"], json!({"reconnect": "handshake", "interval": 0}), "{channel}");
    }
}

#[test]
fn a_closed_client_is_told_now_or_when_it_comes() {
    let gateway = start("", "");
    let say = |messages: &Value| {
        let body = messages.to_string();
        gateway.client().request("POST", "/lab/bayeux", &[], body.as_bytes()).json()
    };
    let shake = json!([{"channel": "/meta/handshake", "version": "1.0",
        "supportedConnectionTypes": ["long-polling"], "ext": {"name": "ann", "replace": true}}]);
    let connect = |id: &str| json!([{"channel": "/meta/connect", "clientId": id}]);
    let expected = json!([
        {"channel": "/meta/disconnect", "successful": true,
         "ext": {"reason": "opened again elsewhere"}},
        {"channel": "/meta/connect", "successful": false,
         "error": "410::closed - opened again elsewhere",
         "advice": {"reconnect": "none", "interval": 0}},
    ]);
    let first = text(&say(&shake)[0]["clientId"]);
    let mut waiting = gateway.client();
    waiting.send("POST", "/lab/bayeux", &[], connect(&first).to_string().as_bytes());
    gateway.until_held(1);
    say(&shake);
    assert_eq!(waiting.receive().expect("an answer").json(), expected, "while it waits");
    assert_eq!(say(&connect(&first)), expected, "when it comes");
    let publish = json!([{"channel": "/x", "clientId": first, "data": 1}]);
    assert_eq!(say(&publish)[0]["error"], expected[1]["error"]);
}

#[test]
fn who_hangs_up_waits_no_longer() {
    let gateway = start("", "");
    let ann = Bayeux::join(&gateway);
    let mut again = ann.again(&gateway);
    again.send(&json!([ann.connect(&json!({}))]));
    gateway.until(HELD, 1);
    drop(again);
    gateway.until(HELD, 0);
}

#[test]
fn a_gateway_that_goes_down_answers_first() {
    let mut gateway: Gateway = start("", "");
    let mut ann = Bayeux::join(&gateway);
    ann.send(&json!([ann.connect(&json!({}))]));
    gateway.until(HELD, 1);
    gateway.signal("TERM");
    let response = ann.client.receive().expect("an answer");
    assert_eq!(response.json()[0]["successful"], true);
    assert_eq!(response.header("connection"), Some("close"));
    assert!(gateway.wait().success());
}
