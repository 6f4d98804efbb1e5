//! A gateway that is stopped and started again is the one it was.

use super::config;
use crate::support::{Client, Gateway, Response};
use serde_json::{Value, json};

const IN_ROOM: usize = 5;

fn read(client: &mut Client, name: &str, key: &str, query: &str) -> Response {
    let path = format!("/lab/mailboxes/{name}?wait=0&key={key}{query}");
    client.get(&path)
}

/// Cursor, lost, and the data of the messages with their seqs.
fn batch(response: &Response) -> (u64, u64, Vec<(u64, Value)>) {
    assert_eq!(response.status, 200, "{response:?}");
    let batch = response.json();
    let number = |value: &Value| value.as_u64().expect("a number");
    let messages = batch["messages"].as_array().expect("messages").iter();
    let messages = messages.map(|m| (number(&m["seq"]), m["data"].clone())).collect();
    (number(&batch["cursor"]), number(&batch["lost"]), messages)
}

fn send(client: &mut Client, name: &str, key: &str, json: &str) -> Response {
    client.post(&format!("/lab/mailboxes/{name}?key={key}"), json)
}

#[test]
fn a_restart_changes_nothing_that_readers_and_plugins_see() {
    for durability in ["none", "os", "disk"] {
        check_restart(durability);
    }
}

fn check_restart(durability: &str) {
    let store = tempfile::tempdir().expect("a temporary folder");
    let limits = format!("mailbox_messages = {IN_ROOM}");
    let config = config(store.path(), durability, &limits);
    let mut gateway = Gateway::start(&config);
    let mut client = gateway.client();

    // A group's member, which has read two of three and confirmed one.
    let ann = client.open_with(r#"{"name":"ann","groups":["all"]}"#);
    for n in 1..=3 {
        client.publish_to("ann", &n.to_string());
    }
    let (cursor, ..) = batch(&read(&mut client, "ann", &ann, "&cursor=0"));
    assert_eq!(cursor, 3);
    let confirmed = client.post(&format!("/lab/mailboxes/ann/confirm?cursor=1&key={ann}"), "");
    assert_eq!(confirmed.status, 204);
    // The plugin has counted two messages of hers.
    for _ in 0..2 {
        assert_eq!(send(&mut client, "ann", &ann, "1").status, 200);
    }
    // One that is too small for what came.
    let bob = client.open("bob");
    for n in 1..=IN_ROOM + 3 {
        client.publish_to("bob", &n.to_string());
    }
    // Two devices, of which one has read.
    let pool = r#"{"name":"pool","identity":"u","shared":true}"#;
    let (phone, laptop) = (client.open_with(pool), client.open_with(pool));
    client.publish_to("pool", "\"for both\"");
    let (cursor, ..) = batch(&read(&mut client, "pool", &phone, ""));
    assert_eq!(read(&mut client, "pool", &phone, &format!("&cursor={cursor}")).status, 204);
    // One whose client has closed it, and one with a timer that rings later.
    let gone = client.open("gone");
    let closed = client.request("DELETE", &format!("/lab/mailboxes/gone?key={gone}"), &[], b"");
    assert_eq!(closed.status, 204);
    let cid = client.open("cid");
    let timer = send(&mut client, "cid", &cid, r#"{"do":"timer","count":1000}"#);
    assert_eq!(timer.status, 204, "{timer:?}");

    gateway.signal("TERM");
    assert!(gateway.wait().success(), "{}", gateway.log());
    drop(client);
    let gateway = Gateway::start(&config);
    assert!(!gateway.log().contains("did not end in order"), "{}", gateway.log());
    let mut client = gateway.client();

    let (cursor, lost, messages) = batch(&read(&mut client, "ann", &ann, ""));
    assert_eq!((cursor, lost), (3, 0), "{durability}: behind what was confirmed");
    assert_eq!(messages, [(2, json!(2)), (3, json!(3))], "{durability}");
    let published = client.publish(r#"{"to":{"groups":["all"]},"data":4}"#).json();
    assert_eq!(published["results"][0]["queued"], 1, "{durability}: still in the group");
    let (_, lost, messages) = batch(&read(&mut client, "ann", &ann, "&cursor=3"));
    assert_eq!((lost, messages), (0, vec![(4, json!(4))]), "{durability}: no seq is left out");
    let state = send(&mut client, "ann", &ann, r#"{"do":"show_state"}"#).json();
    assert_eq!(state["reply"]["seen"], 2, "{durability}: {state}");

    let (cursor, lost, messages) = batch(&read(&mut client, "bob", &bob, "&cursor=0"));
    let seqs: Vec<u64> = messages.iter().map(|(seq, _)| *seq).collect();
    assert_eq!((cursor, lost, seqs), (8, 3, vec![4, 5, 6, 7, 8]), "{durability}");

    assert_eq!(read(&mut client, "pool", &phone, "").status, 204, "{durability}: has read");
    let (_, _, messages) = batch(&read(&mut client, "pool", &laptop, ""));
    assert_eq!(messages, [(1, json!("for both"))], "{durability}: the other seat");
    let third = client.open_with(pool);
    assert_ne!(third, phone, "{durability}: joined, not replaced");

    for (name, key, code) in [
        ("ann", bob.as_str(), "unauthorized"),
        ("gone", gone.as_str(), "closed"),
        ("nobody", ann.as_str(), "not_found"),
    ] {
        assert_eq!(read(&mut client, name, key, "").code(), code, "{durability}: {name}");
    }
    let taken = client.post("/lab/mailboxes", r#"{"name":"ann"}"#);
    assert_eq!(taken.code(), "name_taken", "{durability}");
    let rang = client.get(&format!("/lab/mailboxes/cid?wait=20&key={cid}"));
    assert_eq!(batch(&rang).2, [(1, json!({ "rang": "hostile" }))], "{durability}");
}
