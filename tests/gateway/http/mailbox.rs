//! Open, read, send, close.

use super::start;
use crate::support::{Client, Gateway, Response};
use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Reads a mailbox on a connection of its own, and waits until the read is
/// held.
fn hold(gateway: &Gateway, name: &str, query: &str) -> JoinHandle<Option<Response>> {
    let mut client = gateway.client();
    client.send("GET", &format!("/lab/mailboxes/{name}?{query}"), &[], b"");
    gateway.until_held(1);
    thread::spawn(move || client.receive())
}

fn answer(held: JoinHandle<Option<Response>>) -> Response {
    held.join().expect("it only receives").expect("a held read is answered")
}

#[test]
fn what_cannot_be_served_says_so() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    let bearer = format!("Bearer {key}");
    let long = "x".repeat(129);
    let cases: &[(&str, &str, &str, u16, &str)] = &[
        ("GET", "/", "", 404, "not_found"),
        ("GET", "/lab", "", 404, "not_found"),
        ("GET", "/lab/mailboxes/ann/more", "", 404, "not_found"),
        ("POST", "/nope/mailboxes", "{}", 404, "not_found"),
        ("GET", "/lab/mailboxes", "", 405, "method_not_allowed"),
        ("PUT", "/lab/mailboxes/ann", "{}", 405, "method_not_allowed"),
        ("GET", "/lab/publish", "", 405, "method_not_allowed"),
        ("OPTIONS", "/lab/publish", "", 405, "method_not_allowed"),
        ("GET", "/lab/mailboxes/", "", 400, "bad_name"),
        ("GET", "/lab/mailboxes/a%00", "", 400, "bad_name"),
        ("GET", "/lab/mailboxes/%ff", "", 400, "bad_name"),
        ("GET", "/lab/mailboxes/%2e%2e", "", 400, "bad_name"),
        ("GET", &format!("/lab/mailboxes/{long}"), "", 400, "bad_name"),
        ("GET", "/lab/mailboxes/bob", "", 404, "not_found"),
        ("POST", "/lab/mailboxes/bob", "1", 404, "not_found"),
        ("DELETE", "/lab/mailboxes/bob", "", 404, "not_found"),
        ("GET", "/lab/mailboxes/ann?cursor=x", "", 400, "bad_request"),
        ("GET", "/lab/mailboxes/ann?cursor=-1", "", 400, "bad_request"),
        ("GET", "/lab/mailboxes/ann?wait=1.5", "", 400, "bad_request"),
        ("GET", "/lab/mailboxes/ann?wait=1&wait=1", "", 400, "bad_request"),
        ("GET", "/lab/mailboxes/ann?curser=1", "", 400, "bad_request"),
        ("DELETE", "/lab/mailboxes/ann?cursor=1", "", 400, "bad_request"),
        ("GET", "/lab/mailboxes/ann?cursor=1", "", 400, "bad_cursor"),
        ("POST", "/lab/mailboxes", "{", 400, "bad_payload"),
        ("POST", "/lab/mailboxes/ann", "nul", 400, "bad_payload"),
        ("POST", "/lab/mailboxes", "{\"name\":\"ann\"}", 409, "name_taken"),
        ("POST", "/lab/mailboxes", "{\"name\":\"\"}", 500, "plugin_failed"),
        ("POST", "/lab/mailboxes", "{\"do\":\"reject\"}", 403, "rejected"),
        ("POST", "/lab/mailboxes/ann", "{\"do\":\"reject\"}", 403, "rejected"),
        ("POST", "/lab/mailboxes/ann", "{\"do\":\"panic\"}", 500, "plugin_failed"),
    ];
    for (method, path, body, status, code) in cases {
        let headers = [("authorization", bearer.as_str())];
        let response = client.request(method, path, &headers, body.as_bytes());
        assert_eq!(response.status, *status, "{method} {path}: {response:?}");
        assert_eq!(response.code(), *code, "{method} {path}: {response:?}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(response.header("allow").is_some(), *status == 405, "{method} {path}");
    }
}

#[test]
fn a_failure_has_an_id_that_is_in_the_log() {
    let gateway = start("");
    let response = gateway.client().post("/lab/mailboxes", "{\"do\":\"panic\"}");
    assert_eq!((response.status, response.code().as_str()), (500, "plugin_failed"));
    let id = response.json()["error"]["id"].as_str().expect("an id").to_owned();
    crate::support::eventually(|| gateway.log().contains(&id), "the id is in the log");
}

#[test]
fn only_the_key_opens_a_mailbox() {
    let gateway = start("");
    let mut client = gateway.client();
    let (ann, bob) = (client.open("ann"), client.open("bob"));
    let path = "/lab/mailboxes/ann";
    for wrong in ["", "x", &bob, &format!("{ann}A"), &ann[1..]] {
        for method in ["GET", "POST", "DELETE"] {
            let with_header = [("authorization", format!("Bearer {wrong}"))];
            let headers: Vec<_> = with_header.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let response = client.request(method, path, &headers, b"");
            assert_eq!((response.status, response.code().as_str()), (401, "unauthorized"));
            assert_eq!(response.header("www-authenticate"), Some("Bearer"));
            let response = client.request(method, &format!("{path}?key={wrong}"), &[], b"");
            assert_eq!(response.status, 401, "{method} ?key={wrong}");
        }
    }
    let basic = [("authorization", format!("Basic {ann}"))];
    assert_eq!(client.request("GET", path, &[(basic[0].0, &basic[0].1)], b"").status, 401);
    assert_eq!(client.get(&format!("{path}?wait=0&key={ann}")).status, 204);
    let bearer = format!("bearer {ann}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(client.request("GET", &format!("{path}?wait=0"), &headers, b"").status, 204);
}

#[test]
fn a_held_read_is_woken_by_a_message() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    let started = Instant::now();
    let held = hold(&gateway, "ann", &format!("wait=20&key={key}"));
    client.publish_to("ann", "{\"x\":1}");
    let response = answer(held);
    assert!(started.elapsed() < Duration::from_secs(10), "it did not wait to its end");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.text(), r#"{"cursor":1,"lost":0,"messages":[{"seq":1,"data":{"x":1}}]}"#);
}

#[test]
fn a_read_waits_as_long_as_it_says_and_no_longer() {
    let gateway = start("max_wait_s = 1");
    let mut client = gateway.client();
    let key = client.open("ann");
    // How long it is to wait, and at least so many milliseconds.
    for (wait, at_least_ms) in [("wait=0", 0), ("wait=1", 1000), ("", 1000), ("wait=99", 1000)] {
        let started = Instant::now();
        let response = client.get(&format!("/lab/mailboxes/ann?key={key}&{wait}"));
        let waited = started.elapsed();
        assert_eq!((response.status, response.body.len()), (204, 0), "{wait}");
        assert!(waited >= Duration::from_millis(at_least_ms), "{wait}: {waited:?}");
        assert!(waited < Duration::from_millis(at_least_ms + 5000), "{wait}: {waited:?}");
    }
}

#[test]
fn messages_come_again_until_a_cursor_confirms_them() {
    let gateway = start("mailbox_messages = 3");
    let mut client = gateway.client();
    let key = client.open("ann");
    for n in 1..=3 {
        client.publish_to("ann", &n.to_string());
    }
    // The query, and what it brings: cursor, lost, messages.
    let mut read = |query: &str| {
        let response = client.get(&format!("/lab/mailboxes/ann?wait=0&key={key}{query}"));
        if response.status != 200 {
            return (u64::from(response.status), 0, vec![]);
        }
        let body = response.json();
        let seqs: Vec<u64> = body["messages"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|message| message["seq"].as_u64().expect("a number"))
            .collect();
        let number = |field: &str| body[field].as_u64().expect("a number");
        (number("cursor"), number("lost"), seqs)
    };
    assert_eq!(read(""), (3, 0, vec![1, 2, 3]));
    assert_eq!(read(""), (3, 0, vec![1, 2, 3]), "nothing was confirmed");
    assert_eq!(read("&cursor=0"), (3, 0, vec![1, 2, 3]));
    assert_eq!(read("&cursor=2"), (3, 0, vec![3]), "confirms two");
    assert_eq!(read(""), (3, 0, vec![3]), "goes on behind what was confirmed");
    assert_eq!(read("&cursor=3"), (204, 0, vec![]));
    assert_eq!(read("&cursor=4"), (400, 0, vec![]), "ahead of the mailbox");
    let mut other = gateway.client();
    for n in 4..=8 {
        other.publish_to("ann", &n.to_string());
    }
    assert_eq!(read("&cursor=3"), (8, 2, vec![6, 7, 8]), "two were dropped, and it is told");
}

#[test]
fn a_newer_reader_displaces_the_older() {
    let gateway = start("");
    let key = gateway.client().open("ann");
    let first = hold(&gateway, "ann", &format!("key={key}"));
    let mut second = gateway.client();
    second.send("GET", &format!("/lab/mailboxes/ann?key={key}"), &[], b"");
    let displaced = answer(first);
    assert_eq!((displaced.status, displaced.code().as_str()), (409, "displaced"));
    gateway.client().publish_to("ann", "1");
    let response = second.receive().expect("the newer one reads");
    assert_eq!(response.status, 200);
}

#[test]
fn closing_answers_the_held_read_and_says_why_for_a_while() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    let held = hold(&gateway, "ann", &format!("key={key}"));
    let closed = client.request("DELETE", &format!("/lab/mailboxes/ann?key={key}"), &[], b"");
    assert_eq!((closed.status, closed.body.len()), (204, 0));
    let later = client.get(&format!("/lab/mailboxes/ann?key={key}"));
    for response in [answer(held), later] {
        assert_eq!((response.status, response.code().as_str()), (410, "closed"));
        assert_eq!(response.json()["error"]["reason"], "closed by its client");
    }
    // By a plugin, with its reason.
    let key = client.open("bob");
    let held = hold(&gateway, "bob", &format!("key={key}"));
    let sent = client.post(&format!("/lab/mailboxes/bob?key={key}"), "{\"do\":\"close\"}");
    assert_eq!(sent.status, 204);
    let response = answer(held);
    assert_eq!((response.status, response.code().as_str()), (410, "closed"));
    assert!(response.json()["error"]["reason"].is_string());
}

#[test]
fn a_client_that_goes_away_gives_its_read_back() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    let mut gone = gateway.client();
    gone.send("GET", &format!("/lab/mailboxes/ann?key={key}"), &[], b"");
    gateway.until_held(1);
    drop(gone);
    gateway.until_held(0);
    // What comes now waits for the next reader.
    client.publish_to("ann", "1");
    let response = client.get(&format!("/lab/mailboxes/ann?key={key}"));
    assert_eq!(response.json()["messages"][0]["seq"], 1);
}

#[test]
fn an_abandoned_mailbox_expires() {
    let gateway = start("linger_ms = 100, detach_grace_ms = 100");
    let mut client = gateway.client();
    let key = client.open("ann");
    let path = format!("/lab/mailboxes/ann?wait=0&key={key}");
    gateway.until("cometbox_mailboxes{app=\"lab\"}", 0);
    let status = client.get(&path).status;
    assert!(status == 404 || status == 410, "{status}");
}

#[test]
fn names_are_percent_encoded() {
    let gateway = start("");
    let mut client = gateway.client();
    for (name, encoded) in [("a b", "a%20b"), ("a/b", "a%2Fb"), ("é?", "%C3%A9%3f"), ("x+y", "x+y")]
    {
        let key = client.open(name);
        client.publish_to(name, "1");
        let response = client.get(&format!("/lab/mailboxes/{encoded}?key={key}"));
        assert_eq!(response.status, 200, "{name}");
    }
    let longest = "é".repeat(64);
    let key = client.open(&longest);
    let encoded = "%C3%A9".repeat(64);
    assert_eq!(client.get(&format!("/lab/mailboxes/{encoded}?wait=0&key={key}")).status, 204);
}

#[test]
fn connections_are_kept() {
    let gateway = start("");
    let mut client: Client = gateway.client();
    let key = client.open("ann");
    for _ in 0..20 {
        let path = format!("/lab/mailboxes/ann?wait=0&key={key}");
        assert_eq!(client.get(&path).status, 204);
        assert_eq!(client.get("/nope").status, 404, "an error does not end it either");
    }
    // Two requests at once are answered one after the other.
    client.send("POST", &format!("/lab/mailboxes/ann?key={key}"), &[], b"1");
    client.send("POST", &format!("/lab/mailboxes/ann?key={key}"), &[], b"2");
    for expected in ["{\"reply\":1}", "{\"reply\":2}"] {
        assert_eq!(client.receive().expect("an answer").text(), expected);
    }
}
