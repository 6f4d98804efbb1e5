//! What holds for every way to read, and for going from one to the other.

use super::{
    reader::{Got, Reader, WAYS, Way},
    start,
};

fn message(seq: u64, data: &str) -> Got {
    Got::Message(seq, data.into())
}

#[test]
fn messages_come_as_they_are_published_in_every_kind() {
    for way in WAYS {
        let gateway = start("", "");
        let mut backend = gateway.client();
        let key = backend.open("ann");
        let mut reader = Reader::start(&gateway, way, &key, 0);
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
    }
}

#[test]
fn a_cursor_goes_on_over_any_transport() {
    let gateway = start("", "");
    let mut backend = gateway.client();
    let key = backend.open("ann");
    let mut seq = 0;
    for before in WAYS {
        for after in WAYS {
            for data in ["1", "2", "3"] {
                backend.publish_to("ann", data);
            }
            let mut reader = Reader::start_with_messages(&gateway, before, &key, seq);
            reader.expect(&[message(seq + 1, "1"), message(seq + 2, "2"), message(seq + 3, "3")]);
            // Only the first was processed when the connection broke.
            drop(reader);
            let mut reader = Reader::start_with_messages(&gateway, after, &key, seq + 1);
            reader.expect(&[message(seq + 2, "2"), message(seq + 3, "3")]);
            seq += 3;
        }
    }
}

#[test]
fn a_newer_reader_displaces_the_older_whatever_they_are() {
    for older in WAYS {
        for newer in WAYS {
            let gateway = start("", "");
            let mut backend = gateway.client();
            let key = backend.open("ann");
            let mut first = Reader::start(&gateway, older, &key, 0);
            // A stream that has been somewhere is displaced as well.
            backend.publish_to("ann", "1");
            first.expect(&[message(1, "1")]);
            first.wait();
            gateway.until_held(1);
            let mut second = Reader::start_with_messages(&gateway, newer, &key, 0);
            assert_eq!(first.next(), Got::End("displaced".into()), "{older:?} by {newer:?}");
            backend.publish_to("ann", "2");
            let last = match older {
                // It has confirmed by reading on.
                Way::Poll => vec![Got::Lost(1), message(2, "2")],
                _ => vec![message(1, "1"), message(2, "2")],
            };
            second.expect(&last);
        }
    }
}

#[test]
fn loss_is_told_exactly() {
    for way in WAYS {
        let gateway = start("", "mailbox_messages = 2");
        let mut backend = gateway.client();
        let key = backend.open("ann");
        for data in ["1", "2", "3", "4", "5"] {
            backend.publish_to("ann", data);
        }
        let mut reader = Reader::start_with_messages(&gateway, way, &key, 0);
        reader.expect(&[Got::Lost(3), message(4, "4"), message(5, "5")]);
    }
}

#[test]
fn the_end_says_why() {
    for way in WAYS {
        for (how, code) in [("delete", "closed"), ("stop", "shutting_down")] {
            let gateway = start("", "");
            let mut backend = gateway.client();
            let key = backend.open("ann");
            let mut reader = Reader::start(&gateway, way, &key, 0);
            match how {
                "delete" => {
                    let path = format!("/lab/mailboxes/ann?key={key}");
                    assert_eq!(backend.request("DELETE", &path, &[], b"").status, 204);
                }
                _ => gateway.signal("TERM"),
            }
            if (way, how) == (Way::Poll, "stop") {
                // It gets its 204, with `connection: close`, and comes again.
                continue;
            }
            assert_eq!(reader.next(), Got::End(code.into()), "{way:?} {how}");
        }
    }
}

#[test]
fn confirming_frees_what_a_stream_has_processed() {
    for way in [Way::Events, Way::Lines, Way::WebSocket] {
        let gateway = start("", "");
        let mut backend = gateway.client();
        let key = backend.open("ann");
        let mut reader = Reader::start(&gateway, way, &key, 0);
        for data in ["1", "2", "3"] {
            backend.publish_to("ann", data);
        }
        reader.expect(&[message(1, "1"), message(2, "2"), message(3, "3")]);
        let waiting = "cometbox_queued_messages{app=\"lab\"}";
        gateway.until(waiting, 3);
        let confirm = format!("/lab/mailboxes/ann/confirm?key={key}");
        if let Reader::WebSocket(socket, _) = &mut reader {
            socket.send(&serde_json::json!({"cursor": 2}));
        } else {
            assert_eq!(backend.post(&format!("{confirm}&cursor=2"), "").status, 204);
        }
        gateway.until(waiting, 1);
        for (query, code) in
            [("&cursor=4", "bad_cursor"), ("", "bad_request"), ("&cursor=x", "bad_request")]
        {
            assert_eq!(backend.post(&format!("{confirm}{query}"), "").code(), code, "{query}");
        }
        // The stream is where it was.
        backend.publish_to("ann", "4");
        reader.expect(&[message(4, "4")]);
    }
}

#[test]
fn a_reader_that_hangs_up_is_gone_at_once() {
    for way in WAYS {
        let gateway = start("", "");
        let key = gateway.client().open("ann");
        let reader = Reader::start(&gateway, way, &key, 0);
        drop(reader);
        gateway.until_held(0);
    }
}
