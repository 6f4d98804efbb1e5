//! Conversations with `plugins/quotes`.

use super::Talk;
use crate::support::{Client, Response, component};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

fn talk(updates_per_second: u32) -> Talk {
    let quotes = component("plugins/quotes");
    let settings = format!("updates_per_second = {updates_per_second}");
    Talk::with("quotes", &format!("plugins = [{quotes:?}]\nsettings = {{ {settings} }}"))
}

#[test]
fn watchers_get_the_prices_of_what_they_watch() {
    talk(1000).goes(
        r#"
        ann opens {"watch":["IBM"]} → 201
        bob opens {"watch":["IBM","MSFT"]} → 201
        cid opens {} → 201
        ann listens
        backend publishes {"data":{"symbol":"IBM","price":101.5,"time":1262304000000}} → 200 [{"queued":2}]
        ann hears → [{"symbol":"IBM","price":101.5,"time":1262304000000}]
        bob waits → [{"symbol":"IBM","price":101.5,"time":1262304000000}]

        backend publishes [{"data":{"symbol":"MSFT","price":30,"time":1}}, {"data":{"symbol":"IBM","price":102,"time":2}}] → 200 [{"queued":1}, {"queued":2}]
        ann waits → [{"symbol":"IBM","price":102,"time":2}]
        bob waits → [{"symbol":"MSFT","price":30,"time":1}, {"symbol":"IBM","price":102,"time":2}]
        cid reads → nothing
        "#,
    );
}

#[test]
fn watching_and_not_watching_any_more() {
    talk(1000).goes(
        r#"
        ann opens {} → 201
        backend publishes {"data":{"symbol":"IBM","price":1,"time":1}} → 200 [{"queued":0}]

        # The last price comes with watching, and then each new one.
        ann sends {"watch":["IBM","NEW"]} → 204
        ann waits → [{"symbol":"IBM","price":1,"time":1}]
        backend publishes {"data":{"symbol":"IBM","price":2,"time":2}} → 200 [{"queued":1}]
        ann waits → [{"symbol":"IBM","price":2,"time":2}]

        ann sends {"unwatch":["IBM"]} → 204
        backend publishes [{"data":{"symbol":"IBM","price":3,"time":3}}, {"data":{"symbol":"NEW","price":9,"time":3}}] → 200 [{"queued":0}, {"queued":1}]
        ann waits → [{"symbol":"NEW","price":9,"time":3}]

        # One for another, in one message.
        ann sends {"unwatch":["NEW"],"watch":["IBM"]} → 204
        ann waits → [{"symbol":"IBM","price":3,"time":3}]
        backend publishes [{"data":{"symbol":"NEW","price":10,"time":4}}, {"data":{"symbol":"IBM","price":4,"time":4}}] → 200 [{"queued":0}, {"queued":1}]
        ann waits → [{"symbol":"IBM","price":4,"time":4}]

        ann sends {"wacth":["IBM"]} → 400 rejected "wacth"
        ann sends {"watch":["I B M"]} → 400 rejected "a symbol is"
        bob opens {"watch":[""]} → 400 rejected "a symbol is"
        "#,
    );
}

#[test]
fn newcomers_get_the_last_prices() {
    talk(1000).goes(
        r#"
        backend publishes [{"data":{"symbol":"IBM","price":1,"time":1}}, {"data":{"symbol":"MSFT","price":2,"time":1}}, {"data":{"symbol":"IBM","price":3,"time":2}}] → 200 [{"queued":0}, {"queued":0}, {"queued":0}]
        ann opens {"watch":["IBM","NEW","MSFT"]} → 201
        ann waits → [{"symbol":"IBM","price":3,"time":2}, {"symbol":"MSFT","price":2,"time":1}] seqs [1,2]

        # One that is outdated before it is read is not read any more.
        bob opens {"watch":["IBM"]} → 201
        backend publishes {"data":{"symbol":"IBM","price":4,"time":3}} → 200 [{"queued":2}]
        bob waits → [{"symbol":"IBM","price":4,"time":3}] seqs [1]
        "#,
    );
}

#[test]
fn a_newer_price_replaces_the_one_that_waits() {
    talk(1000).goes(
        r#"
        ann opens {"watch":["IBM","MSFT"]} → 201
        backend publishes {"data":{"symbol":"IBM","price":1,"time":1}} → 200 [{"queued":1}]
        backend publishes {"data":{"symbol":"MSFT","price":2,"time":1}} → 200 [{"queued":1}]
        backend publishes {"data":{"symbol":"IBM","price":3,"time":2}} → 200 [{"queued":1}]
        backend publishes {"data":{"symbol":"IBM","price":4,"time":3}} → 200 [{"queued":1}]
        backend publishes {"data":{"symbol":"MSFT","price":5,"time":3}} → 200 [{"queued":1}]

        # Each in the place and with the seq of the one before: nothing is lost.
        ann waits → [{"symbol":"IBM","price":4,"time":3}, {"symbol":"MSFT","price":5,"time":3}] seqs [1,2]

        # What she has got is replaced no more.
        backend publishes {"data":{"symbol":"MSFT","price":6,"time":4}} → 200 [{"queued":1}]
        backend publishes {"data":{"symbol":"MSFT","price":7,"time":5}} → 200 [{"queued":1}]
        ann waits → [{"symbol":"MSFT","price":7,"time":5}] seqs [3]
        ann reads → nothing
        "#,
    );
}

#[test]
fn only_a_feed_publishes_and_only_quotes() {
    talk(1000).goes(
        r#"
        ann opens {"watch":["IBM"]} → 201
        ann publishes {"data":{"symbol":"IBM","price":1,"time":1}} → 401 unauthorized

        backend publishes {"data":{"symbol":"IBM","price":"1","time":1}} → 200 [{"error":"rejected"}]
        backend publishes {"data":{"symbol":"IBM","price":1}} → 200 [{"error":"rejected"}]
        backend publishes {"data":{"symbol":"I B M","price":1,"time":1}} → 200 [{"error":"rejected"}]
        backend publishes {"data":"IBM"} → 200 [{"error":"rejected"}]
        backend publishes {"symbol":"IBM","price":1,"time":1} → 400 bad_request
        ann reads → nothing

        # A bad one does not take the good ones with it.
        backend publishes [{"data":{"symbol":"IBM"}}, {"data":{"symbol":"IBM","price":2,"time":2}}] → 200 [{"error":"rejected"}, {"queued":1}]
        ann waits → [{"symbol":"IBM","price":2,"time":2}]
        bob opens {"watch":["IBM"]} → 201
        bob waits → [{"symbol":"IBM","price":2,"time":2}] seqs [1]

        # What is addressed is no quote but a message to those it names.
        backend publishes {"to":{"groups":["IBM"]},"data":"suspended"} → 200 [{"queued":2}]
        ann waits → ["suspended"]
        "#,
    );
}

const PER_SECOND: u32 = 10;
const SYMBOLS: usize = 40;

/// What one read brought. The gateway handed it out between the two moments.
struct Handed {
    asked: Instant,
    came: Instant,
    count: usize,
}

/// While prices pour in, a reader gets ten a second, each newer than the one of
/// its symbol before. It does not depend on how fast this machine is: what was
/// asked for and came within less than a second was surely handed out within
/// it, and what took longer is no evidence.
#[test]
fn nobody_gets_more_than_so_many_a_second() {
    let talk = talk(PER_SECOND);
    let symbols: Vec<String> = (0..SYMBOLS).map(|i| format!("S{i}")).collect();
    let mut ann = talk.gateway.client();
    let opened = ann.post("/quotes/mailboxes", &format!("{{\"watch\":{symbols:?}}}")).json();
    let text = |name: &str| opened[name].as_str().expect("an opened mailbox has it").to_owned();
    let (mailbox, key) = (text("mailbox"), text("key"));

    let over = Arc::new(AtomicBool::new(false));
    let feed = {
        let (client, over) = (talk.gateway.client(), over.clone());
        thread::spawn(move || pour(client, &symbols, &over))
    };
    let reads = read_all(ann, &format!("/quotes/mailboxes/{mailbox}?key={key}&wait=10"));
    over.store(true, Relaxed);
    assert!(feed.join().expect("every batch is taken") > 1, "there was no flood");

    // No more than ten in any second: so many take at least this long.
    let (first, last) = (&reads[0], reads.last().expect("there were reads"));
    let total: usize = reads.iter().map(|read| read.count).sum();
    let least = Duration::from_secs(((total - 1) / PER_SECOND as usize) as u64);
    let took = last.came - first.asked;
    assert!(took >= least, "{total} messages in {took:?}");

    // The gateway's clock counts whole milliseconds.
    let second = Duration::from_millis(999);
    for (i, from) in reads.iter().enumerate() {
        let within = reads[i..].iter().take_while(|read| read.came - from.asked < second);
        let count: usize = within.map(|read| read.count).sum();
        assert!(count <= PER_SECOND as usize, "{count} within a second, from read {i} on");
    }
}

/// Publishes a new price of every symbol, again and again; how many times.
fn pour(mut feed: Client, symbols: &[String], over: &AtomicBool) -> u32 {
    let mut round = 0;
    while !over.load(Relaxed) {
        round += 1;
        let quote = |symbol| {
            format!("{{\"data\":{{\"symbol\":{symbol:?},\"price\":{round},\"time\":{round}}}}}")
        };
        let batch: Vec<String> = symbols.iter().map(quote).collect();
        let headers = [("authorization", "Bearer backend-key")];
        let body = format!("[{}]", batch.join(","));
        let answer = feed.request("POST", "/quotes/publish", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    round
}

/// Reads what comes until it is enough to see how fast it comes.
fn read_all(mut client: Client, path: &str) -> Vec<Handed> {
    let mut prices = BTreeMap::new();
    let (mut reads, mut total, mut cursor) = (Vec::new(), 0, 0);
    while total < SYMBOLS {
        let asked = Instant::now();
        let answer: Response = client.get(&format!("{path}&cursor={cursor}"));
        let came = Instant::now();
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        assert_eq!(answer["lost"], 0, "replaced is not lost");
        cursor = answer["cursor"].as_u64().expect("a number");
        let messages = answer["messages"].as_array().expect("a list");
        for quote in messages.iter().map(|message| &message["data"]) {
            let price = quote["price"].as_u64().expect("the feed's prices are whole");
            let before = prices.insert(quote["symbol"].to_string(), price);
            assert!(before.is_none_or(|before| before < price), "{quote} after {before:?}");
        }
        total += messages.len();
        reads.push(Handed { asked, came, count: messages.len() });
    }
    reads
}
