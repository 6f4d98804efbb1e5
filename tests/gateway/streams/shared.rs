//! Shared mailboxes: devices of one user, each by its own way to read.

use super::{
    reader::{Got, Kind, Reader, Way},
    start_both,
    wire::Wire,
};
use crate::{
    support::{Client, eventually},
    tls::World,
};

const ANN: &str = r#"{"name":"ann","identity":"ann@example.org","shared":true}"#;
const POLL: Way = Way { kind: Kind::Poll, wire: Wire::Plain };
const EVENTS: Way = Way { kind: Kind::Events, wire: Wire::Plain };
const EVENTS_BY_H2: Way = Way { kind: Kind::Events, wire: Wire::Http2 };
const LINES: Way = Way { kind: Kind::Lines, wire: Wire::Tls };
const WEBSOCKET: Way = Way { kind: Kind::WebSocket, wire: Wire::Plain };

const WAITING: &str = "cometbox_queued_messages{app=\"lab\"}";

fn message(seq: u64) -> Got {
    Got::Message(seq, seq.to_string())
}

/// Publishes messages whose data are their seqs.
fn publish(backend: &mut Client, seqs: std::ops::RangeInclusive<u64>) {
    seqs.for_each(|seq| backend.publish_to("ann", &seq.to_string()));
}

fn confirm(backend: &mut Client, key: &str, cursor: u64) {
    let path = format!("/lab/mailboxes/ann/confirm?key={key}&cursor={cursor}");
    assert_eq!(backend.post(&path, "").status, 204);
}

/// A reader that waits, though others may do so too.
fn wait(world: &World, way: Way, key: &str, cursor: u64, held: u64) -> Reader {
    let reader = Reader::start_with_messages(world, way, key, cursor);
    world.gateway.until_held(held);
    reader
}

#[test]
fn two_devices_get_the_same_and_one_that_starts_again_misses_nothing() {
    for (on_phone, on_laptop) in [(POLL, EVENTS_BY_H2), (EVENTS, WEBSOCKET), (LINES, POLL)] {
        let world = start_both("", "");
        let mut backend = world.gateway.client();
        let [phone, laptop] = [(); 2].map(|()| backend.open_with(ANN));
        let mut by_phone = wait(&world, on_phone, &phone, 0, 1);
        let mut by_laptop = wait(&world, on_laptop, &laptop, 0, 2);
        publish(&mut backend, 1..=2);
        by_phone.expect(&[message(1), message(2)]);
        by_laptop.expect(&[message(1), message(2)]);
        // The phone has processed the first when it starts again; the laptop
        // reads on.
        drop(by_phone);
        confirm(&mut backend, &laptop, 2);
        publish(&mut backend, 3..=3);
        by_laptop.expect(&[message(3)]);
        let mut by_phone = Reader::start_with_messages(&world, on_phone, &phone, 1);
        by_phone.expect(&[message(2), message(3)]);
        confirm(&mut backend, &phone, 3);
        confirm(&mut backend, &laptop, 3);
        world.gateway.until(WAITING, 0);
    }
}

#[test]
fn one_that_is_away_is_waited_for_up_to_the_limits_and_told_what_it_lost() {
    for (on_phone, on_laptop) in [(EVENTS, POLL), (POLL, EVENTS)] {
        let world = start_both("", "mailbox_messages = 3");
        let mut backend = world.gateway.client();
        let [phone, laptop] = [(); 2].map(|()| backend.open_with(ANN));
        let mut by_phone = wait(&world, on_phone, &phone, 0, 1);
        for seq in 1..=5 {
            publish(&mut backend, seq..=seq);
            by_phone.expect(&[message(seq)]);
            confirm(&mut backend, &phone, seq);
            assert_eq!(world.gateway.metric(WAITING), seq.min(3), "{on_phone:?}");
        }
        let mut by_laptop = Reader::start_with_messages(&world, on_laptop, &laptop, 0);
        by_laptop.expect(&[Got::Lost(2), message(3), message(4), message(5)]);
        // Whoever kept up is told of no loss.
        publish(&mut backend, 6..=6);
        by_phone.expect(&[message(6)]);
        by_laptop.expect(&[message(6)]);
    }
}

#[test]
fn one_that_stays_away_is_no_longer_waited_for() {
    let world = start_both("", "linger_ms = 300");
    let mut backend = world.gateway.client();
    let [phone, laptop] = [(); 2].map(|()| backend.open_with(ANN));
    let mut by_phone = wait(&world, EVENTS, &phone, 0, 1);
    publish(&mut backend, 1..=1);
    by_phone.expect(&[message(1)]);
    confirm(&mut backend, &phone, 1);
    world.gateway.until(WAITING, 0);
    let gone = backend.get(&format!("/lab/mailboxes/ann?key={laptop}"));
    assert_eq!((gone.status, gone.code().as_str()), (401, "unauthorized"), "open again");
    // It joins where the phone is.
    let opened = backend.post("/lab/mailboxes", ANN);
    assert_eq!((opened.status, &opened.json()["cursor"]), (201, &1.into()));
    publish(&mut backend, 2..=2);
    by_phone.expect(&[message(2)]);
}

#[test]
fn a_device_closes_for_itself() {
    let world = start_both("", "");
    let mut backend = world.gateway.client();
    let [phone, laptop] = [(); 2].map(|()| backend.open_with(ANN));
    let mut by_phone = wait(&world, POLL, &phone, 0, 1);
    let mut by_laptop = wait(&world, WEBSOCKET, &laptop, 0, 2);
    let path = |key: &str| format!("/lab/mailboxes/ann?key={key}");
    assert_eq!(backend.request("DELETE", &path(&phone), &[], b"").status, 204);
    assert_eq!(by_phone.next(), Got::End("closed".into()));
    let later = backend.get(&path(&phone));
    assert_eq!(later.json()["error"]["reason"], "closed by its client");
    publish(&mut backend, 1..=1);
    by_laptop.expect(&[message(1)]);
    assert_eq!(backend.request("DELETE", &path(&laptop), &[], b"").status, 204);
    assert_eq!(by_laptop.next(), Got::End("closed".into()));
    world.gateway.until("cometbox_mailboxes{app=\"lab\"}", 0);
}

#[test]
fn nobody_joins_who_is_somebody_else_or_too_many() {
    let world = start_both("", "");
    let mut backend = world.gateway.client();
    backend.open_with(ANN);
    for (case, body, status, code) in [
        ("another identity", r#"{"name":"ann","identity":"eve","shared":true}"#, 409, "name_taken"),
        ("not shared", r#"{"name":"ann","identity":"ann@example.org"}"#, 409, "name_taken"),
        ("no identity", r#"{"name":"ann","shared":true}"#, 500, "plugin_failed"),
    ] {
        let refused = backend.post("/lab/mailboxes", body);
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{case}");
    }
    let why = "shared is for mailboxes with an identity";
    eventually(|| world.gateway.log().contains(why), "the log says why");
    for _ in 1..16 {
        backend.open_with(ANN);
    }
    let refused = backend.post("/lab/mailboxes", ANN);
    assert_eq!((refused.status, refused.code().as_str()), (429, "no_seat"));
    assert!(refused.header("retry-after").is_some());
}
