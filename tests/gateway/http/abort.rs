//! Clients whose connections break at the worst moments.

use crate::support::{Client, Gateway, lab};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

const READERS: usize = 8;
const MESSAGES: u64 = 3000;

/// Reads until it has everything; every third read or so its connection ends
/// before the answer is looked at, and the cursor stays where it was.
fn read_all(gateway: &Gateway, name: &str, key: &str, seed: u64) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut client, mut cursor, mut broken) = (gateway.client(), 0, 0);
    while cursor < MESSAGES {
        let path = format!("/lab/mailboxes/{name}?cursor={cursor}&wait=20&key={key}");
        client.send("GET", &path, &[], b"");
        if rng.u32(0..3) == 0 {
            // Perhaps before it is read, while it is held, or when it is
            // answered: whoever is faster.
            (0..rng.u32(0..2000)).for_each(|_| std::hint::spin_loop());
            client = Client::connect(gateway.addr);
            broken += 1;
            continue;
        }
        let answer = client.receive().expect("the gateway keeps the connection");
        if answer.status == 409 {
            continue; // a request of a broken connection was looked at only now
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        let batch = answer.json();
        assert_eq!(batch["lost"], 0);
        for message in batch["messages"].as_array().expect("a batch has messages") {
            cursor += 1;
            assert_eq!(message["seq"], cursor, "{name}");
            assert_eq!(message["data"], cursor, "{name}: in the order of publishing");
        }
        assert_eq!(batch["cursor"], cursor);
    }
    broken
}

#[test]
fn connections_that_break_during_delivery_lose_and_double_nothing() {
    let gateway =
        Gateway::start(&lab("limits = { mailbox_messages = 5000, max_answer_messages = 7 }"));
    let mut publisher = gateway.client();
    let keys: Vec<String> = (0..READERS).map(|i| publisher.open(&format!("r{i}"))).collect();
    let names: Vec<String> = (0..READERS).map(|i| format!("\"r{i}\"")).collect();
    let broken = AtomicU64::new(0);
    thread::scope(|scope| {
        for (i, key) in keys.iter().enumerate() {
            let (gateway, broken) = (&gateway, &broken);
            scope.spawn(move || {
                let count = read_all(gateway, &format!("r{i}"), key, i as u64);
                broken.fetch_add(count, Relaxed);
            });
        }
        let to = names.join(",");
        for data in 1..=MESSAGES {
            let body = format!("{{\"to\":{{\"mailboxes\":[{to}]}},\"data\":{data}}}");
            let result = &publisher.publish(&body).json()["results"][0];
            assert_eq!((&result["queued"], &result["dropped"]), (&READERS.into(), &0.into()));
        }
    });
    let broken = broken.load(Relaxed);
    assert!(broken > 100, "connections did break: {broken}");
    gateway.until_held(0);
}
