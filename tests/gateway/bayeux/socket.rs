//! Bayeux over a WebSocket.

use super::{publish, start, text};
use crate::{
    streams::Socket,
    support::{Gateway, PATIENCE},
};
use serde_json::{Value, json};
use std::time::Instant;
use tokio_tungstenite::tungstenite::Message;

const HELD: &str = "cometbox_held_reads{app=\"open\"}";

fn open(gateway: &Gateway) -> Socket {
    Socket::open(gateway, "/open/bayeux", None).expect("a handshake")
}

fn say(socket: &mut Socket, messages: &Value) -> Value {
    socket.send(messages);
    socket.json().expect("an answer")
}

fn shake(socket: &mut Socket) -> String {
    let replies = say(
        socket,
        &json!([{"channel": "/meta/handshake", "version": "1.0",
            "supportedConnectionTypes": ["websocket"]}]),
    );
    text(&replies[0]["clientId"])
}

fn connect(id: &str) -> Value {
    json!([{"channel": "/meta/connect", "clientId": id, "connectionType": "websocket", "id": "c"}])
}

#[test]
fn a_connect_waits_while_others_are_answered() {
    let gateway = start("", "");
    let mut socket = open(&gateway);
    let id = shake(&mut socket);
    let subscribed = json!([{"channel": "/meta/subscribe", "clientId": id, "subscription": "/a"}]);
    assert_eq!(say(&mut socket, &subscribed)[0]["successful"], true);
    socket.send(&connect(&id));
    gateway.until(HELD, 1);
    assert_eq!(say(&mut socket, &json!([])), json!([]), "who asks whether anybody is there");
    let published = json!([{"channel": "/b", "clientId": id, "data": 1, "id": "p"}]);
    let expected = json!([{"channel": "/b", "successful": true, "id": "p"}]);
    assert_eq!(say(&mut socket, &published), expected);
    publish(&gateway, "a", &json!("hi"));
    let heard = socket.json().expect("an answer");
    assert_eq!(heard[0], json!({"channel": "/a", "data": "hi"}));
    assert_eq!((&heard[1]["channel"], &heard[1]["id"]), (&json!("/meta/connect"), &json!("c")));
    // The newer displaces the older, on the same socket, too.
    socket.send(&connect(&id));
    gateway.until(HELD, 1);
    socket.send(&connect(&id));
    assert_eq!(socket.json().expect("an answer")[0]["advice"]["interval"], 1000);
    drop(socket);
    gateway.until(HELD, 0);
}

#[test]
fn more_connects_than_may_wait_are_answered_at_once() {
    let gateway = start("", "");
    let mut socket = open(&gateway);
    for held in 1..=4 {
        let id = shake(&mut socket);
        socket.send(&connect(&id));
        gateway.until(HELD, held);
    }
    let id = shake(&mut socket);
    let reply = &say(&mut socket, &connect(&id))[0];
    assert_eq!(reply["successful"], true);
    assert_eq!(reply["advice"]["interval"], 1000, "or it would come again at once, for ever");
    assert_eq!(gateway.metric(HELD), 4);
}

#[test]
fn what_is_no_bayeux_ends_it() {
    let gateway = start("max_body_bytes = 1000", "");
    for (case, message, code) in [
        ("no JSON", Message::text("x"), 1008),
        ("a number", Message::text("1"), 1008),
        ("bytes", Message::binary(vec![1]), 1003),
        ("too large", Message::text(" ".repeat(1001)), 1009),
    ] {
        let mut socket = open(&gateway);
        socket.0.send(message).expect("it is open");
        let close = socket.json().expect_err("it is closed");
        assert_eq!(u16::from(close.code), code, "{case}: {close:?}");
    }
    let headers = [("connection", "upgrade"), ("upgrade", "websocket")];
    let response = gateway.client().request("GET", "/open/bayeux", &headers, b"");
    assert_eq!(response.code(), "bad_request", "no handshake");
}

#[test]
fn who_offers_sub_protocols_gets_the_first() {
    let gateway = start("", "");
    for offered in ["bayeux", " a , b", ",a"] {
        // The client would not take another, nor none.
        let mut socket =
            Socket::open(&gateway, "/open/bayeux", Some(offered)).expect("a handshake");
        shake(&mut socket);
    }
}

#[test]
fn who_does_not_read_is_bounded_and_ended() {
    const MESSAGE_BYTES: usize = 32 << 10;
    let gateway = start("idle_timeout_s = 1", "");
    let mut socket = open(&gateway);
    let id = shake(&mut socket);
    say(
        &mut socket,
        &json!([{"channel": "/meta/subscribe", "clientId": id, "subscription": "/a"}]),
    );
    let data = json!("x".repeat(MESSAGE_BYTES));
    for _ in 0..100 {
        publish(&gateway, "a", &data);
        socket.send(&connect(&id));
    }
    gateway.until("cometbox_connections", 0);
    // What it was sent and did not take: the sockets' buffers, and one answer.
    let handed_out = gateway.metric("cometbox_messages_handed_out_total{app=\"open\"}") as usize;
    assert!(handed_out > 0, "it was sent some");
    assert!(handed_out * MESSAGE_BYTES < 1 << 20, "{handed_out} messages");
}

#[test]
fn who_answers_no_ping_is_gone() {
    let gateway = start("keep_alive_s = 1", "");
    let mut silent = open(&gateway);
    let id = shake(&mut silent);
    silent.send(&connect(&id));
    gateway.until(HELD, 1);
    gateway.until(HELD, 0);
    gateway.until("cometbox_connections", 0);
}

#[test]
fn a_gateway_that_goes_down_answers_and_says_so() {
    let mut gateway = start("", "");
    let mut socket = open(&gateway);
    let mut idle = open(&gateway);
    let id = shake(&mut socket);
    shake(&mut idle);
    socket.send(&connect(&id));
    gateway.until(HELD, 1);
    let started = Instant::now();
    gateway.signal("TERM");
    assert_eq!(socket.json().expect("an answer")[0]["successful"], true);
    for socket in [&mut socket, &mut idle] {
        let close = socket.json().expect_err("it is closed");
        assert_eq!(u16::from(close.code), 1012, "{close:?}");
    }
    assert!(gateway.wait().success());
    assert!(started.elapsed() < PATIENCE);
}
