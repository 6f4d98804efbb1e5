//! Who is sent what it does not read.

use super::{
    close,
    reader::{Got, Kind, Reader, Way, streams},
    start_both,
    wire::Wire,
};
use crate::{support::Client, tls::World};

const MESSAGE_BYTES: usize = 32 << 10;
const MESSAGES: usize = 100;

/// A reader of the mailbox `ann` that reads nothing, while so much comes that no
/// socket takes it; the mailbox's key.
fn stall(world: &World, backend: &mut Client, way: Way) -> (Reader, String) {
    let key = backend.open("ann");
    let reader = Reader::start(world, way, &key, 0);
    let data = format!("\"{}\"", "x".repeat(MESSAGE_BYTES));
    for _ in 0..MESSAGES {
        backend.publish_to("ann", &data);
    }
    (reader, key)
}

#[test]
fn who_does_not_read_is_bounded_and_ended() {
    let world = start_both("idle_timeout_s = 1", "");
    let handed_out =
        || world.gateway.metric("cometbox_messages_handed_out_total{app=\"lab\"}") as usize;
    for way in streams() {
        let before = handed_out();
        let (_reader, key) = stall(&world, &mut world.gateway.client(), way);
        // It is ended, as is the backend's silent connection.
        world.gateway.until("cometbox_connections", 0);
        // What it was sent and did not take: the sockets' buffers, and one answer.
        let in_flight_bytes = (handed_out() - before) * MESSAGE_BYTES;
        assert!(in_flight_bytes < 1 << 20, "{way:?}: {in_flight_bytes} bytes");
        close(&mut world.gateway.client(), &key);
    }
}

#[test]
fn nobody_waits_on_the_way_down_for_who_does_not_read() {
    for (what, http) in [
        ("the rest is in the mailbox", "shutdown_grace_s = 600"),
        // hyper keeps as much of an answer as a head may have.
        ("all of it is on its way", "shutdown_grace_s = 600, max_head_bytes = 20_000_000"),
    ] {
        for way in streams() {
            let mut world = start_both(http, "");
            let _stalled = stall(&world, &mut world.gateway.client(), way);
            world.gateway.signal("TERM");
            assert!(world.gateway.wait().success(), "{way:?}, {what}");
        }
    }
}

#[test]
fn what_a_slow_reader_missed_is_there_or_told() {
    let world = start_both("idle_timeout_s = 1", "mailbox_bytes = 1_000_000");
    for wire in [Wire::Plain, Wire::Tls, Wire::Http2] {
        let way = Way { kind: Kind::Events, wire };
        let (reader, key) = stall(&world, &mut world.gateway.client(), way);
        world.gateway.until("cometbox_connections", 0);
        let Reader::Events(mut stream) = reader else { unreachable!("it was asked for") };
        let mut last = 0;
        while let Some(event) = stream.event() {
            last = event.lines().next().and_then(|id| id[4..].parse().ok()).expect("an id");
        }
        let way = Way { kind: Kind::Lines, wire };
        let mut again = Reader::start_with_messages(&world, way, &key, last);
        let Got::Lost(lost) = again.next() else { panic!("more than a mailbox holds went by") };
        let Got::Message(first, _) = again.next() else { panic!("the others are there") };
        assert_eq!(first, last + lost + 1, "{wire:?}");
        close(&mut world.gateway.client(), &key);
    }
}
