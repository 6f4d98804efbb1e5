//! What holds for every way to read, and for going from one to the other.

use super::{
    close,
    reader::{Got, Kind, Reader, streams, ways},
    start_both,
};

fn message(seq: u64, data: &str) -> Got {
    Got::Message(seq, data.into())
}

#[test]
fn messages_come_as_they_are_published_in_every_kind() {
    let world = start_both("", "");
    let mut backend = world.gateway.client();
    for way in ways() {
        let key = backend.open("ann");
        let mut reader = Reader::start(&world, way, &key, 0);
        for (seq, (sent, got)) in [
            ("{\"x\": 1}", "{\"x\":1}"),
            ("\"line\\nbreak\"", "\"line\\nbreak\""),
            ("{\"base64\":\"/w==\"}", "{\"base64\":\"/w==\"}"),
            ("null", "null"),
        ]
        .into_iter()
        .enumerate()
        {
            backend.publish_to("ann", sent);
            let Got::Message(at, data) = reader.next() else { panic!("{way:?}: a message") };
            assert_eq!((at, data.replace(' ', "").as_str()), (seq as u64 + 1, got), "{way:?}");
        }
        close(&mut backend, &key);
    }
}

#[test]
fn a_cursor_goes_on_over_any_transport() {
    let world = start_both("", "");
    let mut backend = world.gateway.client();
    let key = backend.open("ann");
    let mut seq = 0;
    for before in ways() {
        for after in ways() {
            for data in ["1", "2", "3"] {
                backend.publish_to("ann", data);
            }
            let mut reader = Reader::start_with_messages(&world, before, &key, seq);
            reader.expect(&[message(seq + 1, "1"), message(seq + 2, "2"), message(seq + 3, "3")]);
            // Only the first was processed when the connection broke.
            drop(reader);
            let mut reader = Reader::start_with_messages(&world, after, &key, seq + 1);
            reader.expect(&[message(seq + 2, "2"), message(seq + 3, "3")]);
            seq += 3;
        }
    }
}

#[test]
fn a_newer_reader_displaces_the_older_whatever_they_are() {
    let world = start_both("", "");
    let mut backend = world.gateway.client();
    for older in ways() {
        for newer in ways() {
            let key = backend.open("ann");
            let mut first = Reader::start(&world, older, &key, 0);
            // A stream that has been somewhere is displaced as well.
            backend.publish_to("ann", "1");
            first.expect(&[message(1, "1")]);
            first.wait();
            world.gateway.until_held(1);
            let mut second = Reader::start_with_messages(&world, newer, &key, 0);
            assert_eq!(first.next(), Got::End("displaced".into()), "{older:?} by {newer:?}");
            backend.publish_to("ann", "2");
            let last = match older.kind {
                // It has confirmed by reading on.
                Kind::Poll => vec![Got::Lost(1), message(2, "2")],
                _ => vec![message(1, "1"), message(2, "2")],
            };
            second.expect(&last);
            drop(second);
            close(&mut backend, &key);
            world.gateway.until_held(0);
        }
    }
}

#[test]
fn loss_is_told_exactly() {
    let world = start_both("", "mailbox_messages = 2");
    let mut backend = world.gateway.client();
    for way in ways() {
        let key = backend.open("ann");
        for data in ["1", "2", "3", "4", "5"] {
            backend.publish_to("ann", data);
        }
        let mut reader = Reader::start_with_messages(&world, way, &key, 0);
        reader.expect(&[Got::Lost(3), message(4, "4"), message(5, "5")]);
        close(&mut backend, &key);
    }
}

#[test]
fn the_end_says_why() {
    for way in ways() {
        let world = start_both("", "");
        let mut backend = world.gateway.client();
        for (how, code) in [("delete", "closed"), ("stop", "shutting_down")] {
            let key = backend.open("ann");
            let mut reader = Reader::start(&world, way, &key, 0);
            match how {
                "delete" => close(&mut backend, &key),
                _ => world.gateway.signal("TERM"),
            }
            if (way.kind, how) == (Kind::Poll, "stop") {
                // It gets its 204, with `connection: close`, and comes again.
                continue;
            }
            assert_eq!(reader.next(), Got::End(code.into()), "{way:?} {how}");
        }
    }
}

#[test]
fn confirming_frees_what_a_stream_has_processed() {
    let world = start_both("", "");
    let mut backend = world.gateway.client();
    for way in streams() {
        let key = backend.open("ann");
        let mut reader = Reader::start(&world, way, &key, 0);
        for data in ["1", "2", "3"] {
            backend.publish_to("ann", data);
        }
        reader.expect(&[message(1, "1"), message(2, "2"), message(3, "3")]);
        let waiting = "cometbox_queued_messages{app=\"lab\"}";
        world.gateway.until(waiting, 3);
        let confirm = format!("/lab/mailboxes/ann/confirm?key={key}");
        if let Reader::WebSocket(socket, _) = &mut reader {
            socket.send(&serde_json::json!({"cursor": 2}));
        } else {
            assert_eq!(backend.post(&format!("{confirm}&cursor=2"), "").status, 204);
        }
        world.gateway.until(waiting, 1);
        for (query, code) in
            [("&cursor=4", "bad_cursor"), ("", "bad_request"), ("&cursor=x", "bad_request")]
        {
            assert_eq!(backend.post(&format!("{confirm}{query}"), "").code(), code, "{query}");
        }
        // The stream is where it was.
        backend.publish_to("ann", "4");
        reader.expect(&[message(4, "4")]);
        close(&mut backend, &key);
    }
}

#[test]
fn a_reader_that_hangs_up_is_gone_at_once() {
    let world = start_both("", "");
    let key = world.gateway.client().open("ann");
    for way in ways() {
        let reader = Reader::start(&world, way, &key, 0);
        drop(reader);
        world.gateway.until_held(0);
    }
}
