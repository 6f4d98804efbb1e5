//! A calendar that is set while the gateway runs, which changes nothing, then or
//! at the next start; and while it does not: what was to happen soon happens soon,
//! and who was away is given time.

use crate::support::{Client, Faults, Gateway, Response, eventually, lab};
use serde_json::{Value, json};
use std::{path::Path, time::Instant};

const DAY_S: i64 = 86_400;
const HOUR_S: i64 = 3_600;

const PUBLISH_IDS: &str = "cometbox_publish_ids{app=\"lab\"}";

fn config(store: &Path, grace_ms: u64) -> String {
    let app = lab("limits = { linger_ms = 600_000, publish_id_window_ms = 600_000 }");
    let path = store.display().to_string();
    format!("{app}[store]\npath = {path:?}\nrestart_grace_ms = {grace_ms}\n")
}

fn path(name: &str, key: &str, wait: u64) -> String {
    format!("/lab/mailboxes/{name}?key={key}&cursor=0&wait={wait}")
}

fn data(read: &Response) -> Vec<Value> {
    if read.status == 204 {
        return vec![];
    }
    assert_eq!(read.status, 200, "{read:?}");
    let batch = read.json();
    let messages = batch["messages"].as_array().expect("messages");
    messages.iter().map(|message| message["data"].clone()).collect()
}

/// Publishes to ann; whether it had been done before.
fn publish(client: &mut Client, id: &str, ttl_ms: u64) -> bool {
    let item = json!({"to": {"mailboxes": ["ann"]}, "data": id, "id": id, "ttl_ms": ttl_ms});
    let published = client.publish(&item.to_string()).json();
    assert_eq!(published["results"][0]["queued"], 1, "{published}");
    published["results"][0]["duplicate"] == true
}

/// The day that its log is at.
fn day(gateway: &Gateway, config: &str) -> String {
    let said = gateway.reload(config);
    let date = said.lines().next().and_then(|line| line.split_once('T')).expect("a time");
    date.0.to_owned()
}

/// Has a mailbox sent something, by its plugin, after a moment.
fn ring_in_a_moment(client: &mut Client, name: &str, key: &str) {
    let order = r#"{"do":"timer","count":1000}"#;
    let set = client.post(&format!("/lab/mailboxes/{name}?key={key}"), order);
    assert_eq!(set.status, 204, "{set:?}");
}

#[test]
fn a_calendar_that_is_set_while_it_runs_moves_nothing() {
    let (faults, store) = (Faults::new(), tempfile::tempdir().expect("a temporary folder"));
    // By so much that it is another day, also if it is midnight.
    for ahead_s in [2 * DAY_S, -2 * DAY_S] {
        faults.set_calendar(0);
        let config = config(&store.path().join(ahead_s.to_string()), 0);
        let gateway = Gateway::start_with(&faults, &config);
        let today = day(&gateway, &config);
        let mut client = gateway.client();
        let (ann, bob) = (client.open("ann"), client.open("bob"));
        assert!(!publish(&mut client, "stays", 3_600_000), "{ahead_s}");
        let started = Instant::now();
        ring_in_a_moment(&mut client, "bob", &bob);
        let mut holds = gateway.client();
        holds.send("GET", &path("bob", &bob, 20), &[], b"");
        gateway.until_held(1);
        faults.set_calendar(ahead_s);
        assert_ne!(day(&gateway, &config), today, "{ahead_s}: it has been set");
        let rang = data(&holds.receive().expect("an answer"));
        assert_eq!(rang, [json!({ "rang": "hostile" })], "{ahead_s}: no sooner and no later");
        assert!(started.elapsed().as_millis() >= 1_000, "{ahead_s}");
        assert_eq!(data(&client.get(&path("ann", &ann, 0))), ["stays"], "{ahead_s}");
        assert!(publish(&mut client, "stays", 3_600_000), "{ahead_s}: the id is known");
        assert!(!publish(&mut client, "goes", 100), "{ahead_s}");
        eventually(
            || data(&client.get(&path("ann", &ann, 0))) == ["stays"],
            "what is to go in a moment goes",
        );
        assert_eq!(client.get(&path("ann", &ann, 1)).status, 200, "{ahead_s}");
    }
}

/// Ends, in order or not, and starts again when the calendar says something else.
fn restart(
    faults: &Faults,
    config: &str,
    mut gateway: Gateway,
    end: &str,
    ahead_s: i64,
) -> Gateway {
    gateway.signal(end);
    gateway.wait();
    faults.set_calendar(ahead_s);
    Gateway::start_with(faults, config)
}

/// Neither the way there nor the way back is time that has passed.
#[test]
fn a_calendar_that_was_set_while_it_ran_moves_nothing_at_the_next_start() {
    for (case, from_s, to_s) in [("forward", 0, DAY_S), ("back", 0, -DAY_S), ("right", DAY_S, 0)] {
        for end in ["TERM", "KILL"] {
            let (faults, store) = (Faults::new(), tempfile::tempdir().expect("a temporary folder"));
            let config = config(store.path(), 0);
            faults.set_calendar(from_s);
            let gateway = Gateway::start_with(&faults, &config);
            let mut client = gateway.client();
            let ann = client.open("ann");
            publish(&mut client, "some minutes", 600_000);
            publish(&mut client, "a week", 7 * 86_400_000);
            faults.set_calendar(to_s);
            publish(&mut client, "written since", 600_000);

            let gateway = restart(&faults, &config, gateway, end, to_s);
            let mut client = gateway.client();
            let there = data(&client.get(&path("ann", &ann, 0)));
            assert_eq!(there, ["some minutes", "a week", "written since"], "{case}, {end}");
            assert!(publish(&mut client, "some minutes", 1), "{case}, {end}: the id is known");

            // An hour without a gateway is one, unless the calendar is still behind
            // what it said before: then it may have been set right.
            let gateway = restart(&faults, &config, gateway, end, to_s + HOUR_S);
            if to_s < from_s {
                let there = data(&gateway.client().get(&path("ann", &ann, 0)));
                assert_eq!(there.len(), 3, "{case}, {end}: {there:?}");
                continue;
            }
            gateway.until(PUBLISH_IDS, 0);
            gateway.until("cometbox_queued_messages{app=\"lab\"}", 0);
            let read = gateway.client().get(&path("ann", &ann, 0));
            assert_eq!(read.code(), "not_found", "{case}, {end}: she lingered for ten minutes");
        }
    }
}

#[test]
fn a_calendar_that_was_set_back_between_two_gateways_delays_nothing() {
    for end in ["TERM", "KILL"] {
        let (faults, store) = (Faults::new(), tempfile::tempdir().expect("a temporary folder"));
        let config = config(store.path(), 0);
        let gateway = Gateway::start_with(&faults, &config);
        let mut client = gateway.client();
        let (ann, bob) = (client.open("ann"), client.open("bob"));
        let short = client.open_with(r#"{"name":"short","linger_ms":3000}"#);
        publish(&mut client, "stays", 3_600_000);
        publish(&mut client, "goes", 4_000);
        ring_in_a_moment(&mut client, "bob", &bob);

        let mut gateway = restart(&faults, &config, gateway, end, -DAY_S);
        let mut client = gateway.client();
        let first = data(&client.get(&path("ann", &ann, 0)));
        assert!(first.contains(&json!("stays")), "{end}: nothing is over by it: {first:?}");
        assert!(publish(&mut client, "stays", 1), "{end}: the id is known");
        let rang = data(&client.get(&path("bob", &bob, 20)));
        assert_eq!(rang, [json!({ "rang": "hostile" })], "{end}: not a day later");
        eventually(
            || data(&client.get(&path("ann", &ann, 0))) == ["stays"],
            "what was to go in a moment does not stay for a day",
        );
        let is_there = || client.get(&path("short", &short, 0)).status != 404;
        // A read would let it linger on.
        assert!(gateway.metric("cometbox_mailboxes{app=\"lab\"}") <= 3, "{end}");
        gateway.until("cometbox_mailboxes{app=\"lab\"}", 2);
        assert!(!{ is_there }(), "{end}: who lingers for a moment does not stay for a day");

        // It is set right again: for this store no time has passed twice.
        gateway = restart(&faults, &config, gateway, end, 0);
        let mut client = gateway.client();
        assert_eq!(data(&client.get(&path("ann", &ann, 0))), ["stays"], "{end}");
        assert!(publish(&mut client, "stays", 1), "{end}: the id is still known");
    }
}

#[test]
fn a_day_of_the_calendar_between_two_gateways_counts_once() {
    for (case, grace_ms, is_there) in [("with a grace", 60_000, true), ("without", 0, false)] {
        let (faults, store) = (Faults::new(), tempfile::tempdir().expect("a temporary folder"));
        let config = config(store.path(), grace_ms);
        let gateway = Gateway::start_with(&faults, &config);
        let mut client = gateway.client();
        let (ann, bob) = (client.open("ann"), client.open("bob"));
        publish(&mut client, "an hour", 3_600_000);
        publish(&mut client, "a week", 7 * 86_400_000);
        let order = r#"{"do":"timer","count":3600000}"#;
        let set = client.post(&format!("/lab/mailboxes/bob?key={bob}"), order);
        assert_eq!(set.status, 204, "{case}: {set:?}");

        let gateway = restart(&faults, &config, gateway, "TERM", DAY_S);
        let mut client = gateway.client();
        // Of all ids, none.
        gateway.until(PUBLISH_IDS, 0);
        if !is_there {
            gateway.until("cometbox_mailboxes{app=\"lab\"}", 0);
            assert_eq!(client.get(&path("ann", &ann, 0)).code(), "not_found", "{case}");
            continue;
        }
        assert_eq!(data(&client.get(&path("ann", &ann, 0))), ["a week"], "{case}");
        let rang = data(&client.get(&path("bob", &bob, 20)));
        assert_eq!(rang, [json!({ "rang": "hostile" })], "{case}: it was due");

        // The same day does not count again, and what was there stays.
        let gateway = restart(&faults, &config, gateway, "TERM", DAY_S);
        let mut client = gateway.client();
        assert_eq!(data(&client.get(&path("ann", &ann, 0))), ["a week"], "{case}");
        assert_eq!(data(&client.get(&path("bob", &bob, 0))).len(), 1, "{case}: it rang once");
    }
}
