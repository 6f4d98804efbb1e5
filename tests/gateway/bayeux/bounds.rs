//! What one request can make the gateway answer.

use super::{Bayeux, publish, start, text};
use crate::support::{Client, Gateway};
use serde_json::{Value, json};

/// `max_answer_bytes`, and what each client has waiting, in bytes.
const MAX_ANSWER_BYTES: usize = 100_000;
const WAITING_BYTES: usize = 30_000;

/// Beside messages and plugins' replies: a line for each of what was said, in
/// bytes.
const LINE_BYTES: usize = 250;

const QUEUED: &str = "cometbox_queued_messages{app=\"open\"}";

fn bounded() -> Gateway {
    start("", &format!("max_answer_bytes = {MAX_ANSWER_BYTES}"))
}

/// The replies to these messages, and how long they are, in bytes.
fn say(client: &mut Client, app: &str, messages: &[Value]) -> (Vec<Value>, usize) {
    let path = format!("/{app}/bayeux");
    let body = json!(messages).to_string();
    let kind = [("content-type", "application/json")];
    let response = client.request("POST", &path, &kind, body.as_bytes());
    assert_eq!(response.status, 200);
    let replies = response.json().as_array().expect("an array").clone();
    (replies, response.body.len())
}

fn is_delivery(reply: &&Value) -> bool {
    reply["channel"] == "/a"
}

#[test]
fn a_client_reads_once_in_a_request_however_often_it_connects() {
    let gateway = bounded();
    for acknowledges in [true, false] {
        let mut ann = match acknowledges {
            true => Bayeux::acknowledging(&gateway),
            false => Bayeux::join(&gateway),
        };
        ann.subscribe("/a");
        publish(&gateway, "a", &json!("x".repeat(WAITING_BYTES)));
        let connects: Vec<_> = (0..500)
            .map(|n| ann.connect(&json!({"id": n, "ext": {"ack": 0}})))
            .chain([ann.message("/service/x", &json!({"data": 1}))])
            .collect();
        let (replies, bytes) = say(&mut ann.client, "open", &connects);
        assert!(bytes < WAITING_BYTES + 501 * LINE_BYTES, "{bytes}, acknowledges: {acknowledges}");
        assert_eq!(replies.iter().filter(is_delivery).count(), 1);
        // The last of them is the newest, which displaces the others.
        for n in 0..500 {
            let reply = replies.iter().find(|reply| reply["id"] == n).expect("an answer to each");
            assert_eq!(reply["successful"], true);
            let (interval, ack) = if n < 499 { (1000, Value::Null) } else { (0, json!(1)) };
            assert_eq!(reply["advice"]["interval"], interval, "{n}");
            assert_eq!(reply["ext"]["ack"], if acknowledges { ack } else { Value::Null }, "{n}");
        }
        let disconnect = ann.message("/meta/disconnect", &json!({}));
        ann.say(&json!([disconnect]));
    }
}

#[test]
fn what_is_too_much_for_one_answer_waits_for_the_next() {
    let gateway = bounded();
    for acknowledges in [true, false] {
        let mut clients: Vec<_> = (0..20)
            .map(|_| match acknowledges {
                true => Bayeux::acknowledging(&gateway),
                false => Bayeux::join(&gateway),
            })
            .collect();
        clients.iter_mut().for_each(|client| client.subscribe("/a"));
        // One that takes six times its bytes as JSON.
        publish(&gateway, "a", &json!("\u{1}".repeat(WAITING_BYTES / 6)));
        let connects: Vec<_> = clients.iter().map(|one| one.connect(&json!({}))).collect();
        let (replies, bytes) = say(&mut gateway.client(), "open", &connects);
        let max_bytes = MAX_ANSWER_BYTES + WAITING_BYTES + 40 * LINE_BYTES;
        assert!(bytes < max_bytes, "{bytes} bytes, acknowledges: {acknowledges}");
        assert!(replies.iter().all(|reply| is_delivery(&reply) || reply["successful"] == true));
        let mut delivered = replies.iter().filter(is_delivery).count();
        assert_eq!(delivered, 4);
        // Nothing is lost: whoever got nothing gets it now.
        for client in &mut clients[4..] {
            let connect = client.connect(&json!({"advice": {"timeout": 0}}));
            let replies = client.say(&json!([connect]));
            delivered += replies.as_array().expect("an array").iter().filter(is_delivery).count();
        }
        assert_eq!(delivered, 20);
        for client in &mut clients {
            let disconnect = client.message("/meta/disconnect", &json!({}));
            client.say(&json!([disconnect]));
        }
        gateway.until(QUEUED, 0);
    }
}

#[test]
fn replies_of_plugins_have_a_bound_and_what_is_over_it_was_not_published() {
    let gateway = bounded();
    let mut ann = Bayeux::shake(&gateway, "lab", &[], &json!({"name": "ann"}));
    let big = json!({"data": {"do": "big_reply", "count": WAITING_BYTES}});
    let calls: Vec<_> = (0..100).map(|_| ann.message("/service/x", &big)).collect();
    let (replies, bytes) = say(&mut ann.client, "lab", &calls);
    let max_bytes = MAX_ANSWER_BYTES + WAITING_BYTES + 200 * LINE_BYTES;
    assert!(bytes < max_bytes, "{bytes} bytes");
    let done = replies.iter().filter(|reply| reply["successful"] == true).count();
    assert_eq!(done, 4);
    let refused: Vec<_> = replies.iter().filter(|reply| reply["successful"] == false).collect();
    assert_eq!(refused.len(), 96);
    for reply in refused {
        assert!(text(&reply["error"]).starts_with("413:/service/x:the answer is full"), "{reply}");
    }
    assert_eq!(gateway.metric("cometbox_plugin_calls_total{app=\"lab\",event=\"message\"}"), 4);
    // What waits for it is not in the way of what it says.
    gateway.client().publish_to("ann", &json!("x".repeat(MAX_ANSWER_BYTES)).to_string());
    let connect = ann.connect(&json!({}));
    let publish = ann.message("/service/x", &json!({"data": 1}));
    let (replies, _) = say(&mut ann.client, "lab", &[connect, publish]);
    assert!(replies.iter().all(|reply| reply["successful"] != false), "{replies:?}");
}
