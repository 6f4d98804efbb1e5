//! Publishes with an id: whoever does not know whether the first one arrived asks
//! again, and nothing is doubled.

use crate::support::{Client, Gateway, Response, lab, number};
use serde_json::{Value, json};
use std::{net::TcpStream, path::Path, sync::Barrier, time::Duration};

/// Gateways that are killed, for each durability.
const ROUNDS: usize = 5;

/// Publishers at the same time.
const CROWD: usize = 8;

const REMEMBERED: &str = "cometbox_publish_ids{app=\"lab\"}";
const REPEATED: &str = "cometbox_publishes_repeated_total{app=\"lab\"}";
const QUEUED: &str = "cometbox_queued_messages{app=\"lab\"}";
const CALLS: &str = "cometbox_plugin_calls_total{app=\"lab\",event=\"publish\"}";

/// The app `lab`, with a store where there is a durability.
fn config(limits: &str, store: &Path, durability: Option<&str>) -> String {
    let limits = format!("limits = {{ call_ms = 1000, linger_ms = 600_000{limits} }}");
    match durability {
        None => lab(&limits),
        Some(durability) => {
            let app = lab(&format!("durability = {durability:?}\n{limits}"));
            format!("{app}\n[store]\npath = {:?}\n", store.display().to_string())
        }
    }
}

fn start(limits: &str) -> Gateway {
    Gateway::start(&config(limits, Path::new(""), None))
}

/// An item for ann.
fn item(id: &str, data: &Value) -> Value {
    json!({ "id": id, "to": { "mailboxes": ["ann"] }, "data": data })
}

/// The result of a publish of one item.
fn result(published: &Response) -> Value {
    assert_eq!(published.status, 200, "{published:?}");
    published.json()["results"][0].clone()
}

fn publish(client: &mut Client, id: &str, data: &Value) -> Value {
    result(&client.publish(&item(id, data).to_string()))
}

/// All that waits for ann.
fn read(client: &mut Client, key: &str) -> Vec<Value> {
    let (mut cursor, mut all) = (0, Vec::new());
    loop {
        let path = format!("/lab/mailboxes/ann?cursor={cursor}&wait=0&key={key}");
        let read = client.get(&path);
        if read.status == 204 {
            return all;
        }
        let read = read.json();
        assert_eq!(read["lost"], 0, "{read}");
        cursor = read["cursor"].as_u64().expect("a cursor");
        let messages = read["messages"].as_array().expect("messages");
        all.extend(messages.iter().map(|message| message["data"].clone()));
    }
}

#[test]
fn an_answer_that_was_lost_can_be_asked_for_again() {
    for (case, durability, is_killed) in [
        ("a connection is cut", None, false),
        ("a connection is cut, with a store", Some("os"), false),
        ("the gateway is killed, os", Some("os"), true),
        ("the gateway is killed, disk", Some("disk"), true),
    ] {
        let store = tempfile::tempdir().expect("a temporary folder");
        let config = config("", store.path(), durability);
        let mut gateway = Gateway::start(&config);
        let mut other = gateway.client();
        let key = other.open("ann");
        let mut cut = gateway.client();
        let body = item("order-17", &json!("once")).to_string();
        let bearer = [("authorization", "Bearer secret")];
        cut.send("POST", "/lab/publish", &bearer, body.as_bytes());
        // It has arrived; its answer is never read.
        gateway.until(QUEUED, 1);
        drop(cut);
        // Answered, so what came before is kept as well.
        assert_eq!(publish(&mut other, "order-18", &json!("later"))["queued"], 1, "{case}");
        if is_killed {
            gateway.signal("KILL");
            gateway.wait();
            gateway = Gateway::start(&config);
        }
        let mut client = gateway.client();
        let expected =
            json!({"queued": 1, "missing": [], "full": [], "dropped": 0, "duplicate": true});
        assert_eq!(publish(&mut client, "order-17", &json!("once")), expected, "{case}");
        assert_eq!(read(&mut client, &key), ["once", "later"], "{case}");
        assert_eq!((gateway.metric(REPEATED), gateway.metric(REMEMBERED)), (1, 2), "{case}");
    }
}

/// One after the other, each until it is answered, while gateways are killed at
/// random moments.
#[test]
fn a_publisher_that_tries_again_is_heard_once_whenever_gateways_die() {
    let seed = number("COMETBOX_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    // As many as can come in all rounds.
    let limits = ", mailbox_messages = 1_000_000, max_mailbox_messages = 1_000_000, \
                  mailbox_bytes = 268_435_456, max_mailbox_bytes = 268_435_456";
    for durability in ["os", "disk"] {
        let store = tempfile::tempdir().expect("a temporary folder");
        let config = config(limits, store.path(), Some(durability));
        let (mut key, mut next, mut repeated) = (String::new(), 0_u64, 0);
        for round in 0..=ROUNDS {
            let mut gateway = Gateway::start(&config);
            if round == 0 {
                key = gateway.client().open("ann");
            }
            let until = Duration::from_millis(random.u64(20..300));
            let mut link = Link::open(&gateway);
            if round == ROUNDS {
                link.publish(next).expect("nobody kills the last one");
                let numbers: Vec<_> = (0..=next).map(Value::from).collect();
                let came = read(&mut gateway.client(), &key);
                let wrong = (0..).zip(&came).find(|(n, number)| *number != n);
                assert!(
                    came == numbers,
                    "{durability}, COMETBOX_SEED={seed}: of {next} came {}, wrong is {wrong:?}",
                    came.len()
                );
                break;
            }
            std::thread::scope(|scope| {
                let killed = &gateway;
                scope.spawn(move || {
                    std::thread::sleep(until);
                    killed.signal("KILL");
                });
                while let Some(result) = link.publish(next) {
                    assert_eq!(result["queued"], 1, "{result}");
                    repeated += usize::from(result["duplicate"] == true);
                    next += 1;
                }
            });
            gateway.wait();
        }
        println!("{durability}: {next} in {ROUNDS} rounds, {repeated} repeated, seed {seed}");
        assert!(next > 10 * ROUNDS as u64, "at load: {next}");
    }
}

/// A connection that may break at any moment.
struct Link(Client);

impl Link {
    fn open(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.addr).expect("it listens");
        stream.set_nodelay(true).expect("an open socket");
        Self(Client::over(stream))
    }

    /// Its result; none: the gateway is gone, and whether it did it is not known.
    fn publish(&mut self, number: u64) -> Option<Value> {
        let body = item(&format!("n-{number}"), &number.into()).to_string();
        let length = body.len();
        let head = format!(
            "POST /lab/publish HTTP/1.1\r\nhost: test\r\nauthorization: Bearer secret\r\n\
             content-length: {length}\r\n\r\n"
        );
        self.0.send_raw(&[head, body].concat().into_bytes()).then_some(())?;
        self.0.receive().map(|published| result(&published))
    }
}

#[test]
fn of_many_at_the_same_time_one_is_done() {
    let gateway = start("");
    let key = gateway.client().open("ann");
    let together = Barrier::new(CROWD);
    for round in 0..50 {
        let id = round.to_string();
        let first = std::thread::scope(|scope| {
            let publishers: Vec<_> = (0..CROWD)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = gateway.client();
                        together.wait();
                        publish(&mut client, &id, &json!(round))
                    })
                })
                .collect();
            let results = publishers.into_iter().map(|it| it.join().expect("it is answered"));
            results.filter(|result| result.get("duplicate").is_none()).count()
        });
        assert_eq!(first, 1, "round {round}");
    }
    let rounds: Vec<_> = (0..50).map(Value::from).collect();
    assert_eq!(read(&mut gateway.client(), &key), rounds);
    assert_eq!(gateway.metric(REPEATED), 50 * (CROWD as u64 - 1));
}

#[test]
fn a_batch_can_have_an_id_twice_and_plugins_see_it_once() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    let (one, two) = (item("1", &json!("one")), item("2", &json!("two")));
    let results = client.publish(&json!([one, two, one]).to_string()).json();
    let duplicates: Vec<_> = results["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|r| r["duplicate"] == true)
        .collect();
    assert_eq!(duplicates, [false, false, true]);
    // The batch once more, as a whole.
    let again = client.publish(&json!([one, two, one]).to_string()).json();
    assert!(again["results"].as_array().expect("results").iter().all(|r| r["duplicate"] == true));
    assert_eq!(read(&mut client, &key), ["one", "two"]);
    assert_eq!(gateway.metric(CALLS), 2);
}

#[test]
fn what_a_plugin_refused_was_not_done() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    for (case, code) in [("reject", "rejected"), ("panic", "plugin_failed")] {
        let refused = publish(&mut client, case, &json!({ "do": case }));
        assert_eq!(refused["error"]["code"], code, "{refused}");
        let done = publish(&mut client, case, &json!(case));
        assert_eq!((&done["queued"], done.get("duplicate")), (&json!(1), None), "{case}");
    }
    assert_eq!(read(&mut client, &key), ["reject", "panic"]);
}

#[test]
fn an_id_is_forgotten_after_the_window() {
    let gateway = start(", publish_id_window_ms = 1");
    let mut client = gateway.client();
    let key = client.open("ann");
    for _ in 0..2 {
        let done = publish(&mut client, "1", &json!("anew"));
        assert_eq!((&done["queued"], done.get("duplicate")), (&json!(1), None));
        // Though nobody publishes.
        gateway.until(REMEMBERED, 0);
    }
    assert_eq!(read(&mut client, &key), ["anew", "anew"]);
}

#[test]
fn where_no_more_ids_can_be_remembered_new_ones_are_refused() {
    let gateway = start(", max_publish_id_bytes = 300");
    let mut client = gateway.client();
    let key = client.open("ann");
    for (id, is_new, is_done) in
        [("1", true, true), ("2", true, true), ("3", true, false), ("1", false, true)]
    {
        let said = publish(&mut client, id, &json!(id));
        if is_done {
            assert_eq!((&said["queued"], said["duplicate"] == true), (&json!(1), !is_new), "{id}");
        } else {
            assert_eq!(said["error"]["code"], "overloaded", "{id}");
            let message = said["error"]["message"].as_str().expect("a message");
            assert!(message.contains("300 bytes of publish ids"), "{message}");
        }
    }
    client.publish_to("ann", "\"without an id\"");
    assert_eq!(read(&mut client, &key), ["1", "2", "without an id"]);
}

#[test]
fn what_can_be_an_id() {
    let gateway = start("");
    let mut client = gateway.client();
    for (case, id, wrong) in [
        ("a letter", json!("x"), None),
        ("text of any kind", json!("Auftrag 17 / grün"), None),
        ("none", Value::Null, None),
        ("as long as can be", json!("x".repeat(128)), None),
        ("too long", json!("x".repeat(129)), Some("id: an id has at most 128 bytes")),
        ("too long, in bytes", json!("ü".repeat(65)), Some("id: an id has at most 128 bytes")),
        ("empty", json!(""), Some("id: an id must not be empty")),
        ("a line", json!("1\n"), Some("id: an id must not contain control characters")),
        ("a number", json!(17), Some("invalid type: integer `17`, expected a string")),
    ] {
        let body = json!([{ "data": 1 }, { "data": 2, "id": id }]).to_string();
        let published = client.publish(&body);
        let Some(wrong) = wrong else {
            assert_eq!(published.status, 200, "{case}: {published:?}");
            continue;
        };
        assert_eq!((published.status, published.code().as_str()), (400, "bad_request"), "{case}");
        let error = &published.json()["error"];
        assert_eq!(error["index"], 1, "{case}");
        assert!(error["message"].as_str().is_some_and(|it| it.contains(wrong)), "{case}: {error}");
    }
}
