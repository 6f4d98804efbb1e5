//! What a gateway with a store keeps: through a restart, through its death at
//! full load, and what it says while it cannot.

use crate::support::{Gateway, lab};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

const MAILBOXES: usize = 4;
const PUBLISHERS: usize = 4;

/// Of the short form; `COMETBOX_ROUNDS` says another number.
const ROUNDS: usize = 6;

fn config(store: &Path, durability: &str) -> String {
    // As many messages as can come in a round wait, and mailboxes stay.
    let limits = "limits = { mailbox_messages = 1_000_000, max_mailbox_messages = 1_000_000, \
                  mailbox_bytes = 268_435_456, max_mailbox_bytes = 268_435_456, \
                  linger_ms = 600_000 }";
    let app = lab(&format!("durability = {durability:?}\n{limits}"));
    format!("{app}\n[store]\npath = {:?}\n", store.display().to_string())
}

/// A connection that may break at any moment.
struct Link(BufReader<TcpStream>);

impl Link {
    fn open(addr: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(addr).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    /// Status and body; none: the gateway is gone.
    fn ask(&mut self, method: &str, path: &str, token: &str, body: &str) -> Option<(u16, Value)> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(request.as_bytes()).ok()?;
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().ok()?;
                }
                None if line.trim_end().is_empty() => break,
                None => status = line.split(' ').nth(1)?.parse().ok()?,
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}

/// One reader's cursor line: what came, and what must not be.
#[derive(Default)]
struct Line {
    key: String,
    cursor: u64,
    /// The last number of each publisher.
    last: BTreeMap<u64, u64>,
    got: BTreeSet<(u64, u64)>,
    wrong: Vec<String>,
}

impl Line {
    fn take(&mut self, batch: &Value) {
        if batch["lost"] != 0 {
            self.wrong.push(format!("told of a loss: {batch}"));
        }
        for message in batch["messages"].as_array().expect("messages") {
            let number = |value: &Value| value.as_u64().expect("a number");
            let seq = number(&message["seq"]);
            let (publisher, n) = (number(&message["data"]["p"]), number(&message["data"]["n"]));
            if seq <= self.cursor {
                self.wrong.push(format!("seq {seq} after cursor {}", self.cursor));
            }
            self.cursor = seq;
            if !self.got.insert((publisher, n)) {
                self.wrong.push(format!("{publisher}/{n} twice"));
            }
            if self.last.insert(publisher, n).is_some_and(|before| before >= n) {
                self.wrong.push(format!("{publisher}/{n} out of order"));
            }
        }
        self.cursor = batch["cursor"].as_u64().expect("a cursor");
    }
}

/// What publishers and readers remember while gateways come and go.
struct World {
    lines: Vec<Mutex<Line>>,
    /// Acknowledged, per mailbox.
    acked: Vec<Mutex<BTreeSet<(u64, u64)>>>,
    next: AtomicU64,
    over: AtomicBool,
}

impl World {
    fn new() -> Self {
        Self {
            lines: (0..MAILBOXES).map(|_| Mutex::default()).collect(),
            acked: (0..MAILBOXES).map(|_| Mutex::default()).collect(),
            next: AtomicU64::new(1),
            over: AtomicBool::new(false),
        }
    }

    fn open_all(&self, addr: SocketAddr) {
        let mut link = Link::open(addr).expect("it listens");
        for (at, line) in self.lines.iter().enumerate() {
            let body = json!({ "name": format!("m{at}") }).to_string();
            let (status, opened) =
                link.ask("POST", "/lab/mailboxes", "", &body).expect("an answer");
            assert_eq!(status, 201, "{opened}");
            line.lock().expect("ours").key = opened["key"].as_str().expect("a key").into();
        }
    }

    /// Publishes one after the other until the gateway is gone. What was not
    /// acknowledged may or may not be there, and is not said again.
    fn publish(&self, addr: SocketAddr, publisher: u64) {
        let Some(mut link) = Link::open(addr) else { return };
        while !self.over.load(SeqCst) {
            let n = self.next.fetch_add(1, SeqCst);
            let at = (n as usize) % MAILBOXES;
            let data = json!({ "p": publisher, "n": n });
            let body = json!({ "to": { "mailboxes": [format!("m{at}")] }, "data": data });
            let asked = link.ask("POST", "/lab/publish", "secret", &body.to_string());
            let Some((status, answer)) = asked else { return };
            if status == 200 && answer["results"][0]["queued"] == 1 {
                self.acked[at].lock().expect("ours").insert((publisher, n));
            }
        }
    }

    /// Reads until the gateway is gone, or (with `wait` 0) nothing waits.
    fn read(&self, addr: SocketAddr, at: usize, wait: u64) {
        let Some(mut link) = Link::open(addr) else { return };
        loop {
            let (key, cursor) = {
                let line = self.lines[at].lock().expect("ours");
                (line.key.clone(), line.cursor)
            };
            let path = format!("/lab/mailboxes/m{at}?cursor={cursor}&wait={wait}");
            let asked = link.ask("GET", &path, &key, "");
            let mut line = self.lines[at].lock().expect("ours");
            match asked {
                None => return,
                Some((200, batch)) => line.take(&batch),
                Some((204, _)) if wait == 0 => return,
                Some((204 | 503, _)) => {}
                Some(other) => return line.wrong.push(format!("{other:?}")),
            }
        }
    }

    /// What is wrong, by what was acknowledged and what came.
    fn verdict(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            let line = line.lock().expect("ours");
            wrong.extend(line.wrong.iter().map(|what| format!("m{at}: {what}")));
            let acked = self.acked[at].lock().expect("ours");
            let missing: Vec<_> = acked.difference(&line.got).collect();
            if !missing.is_empty() {
                wrong
                    .push(format!("m{at}: {} acknowledged never came: {missing:?}", missing.len()));
            }
        }
        wrong
    }

    fn counts(&self) -> (usize, usize) {
        let acked = self.acked.iter().map(|acked| acked.lock().expect("ours").len()).sum();
        let got = self.lines.iter().map(|line| line.lock().expect("ours").got.len()).sum();
        (acked, got)
    }
}

/// Kills gateways at random moments under full load, and starts the next.
fn crash(durability: &str, rounds: usize, seed: u64) -> (World, usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let store = tempfile::tempdir().expect("a temporary folder");
    let world = Arc::new(World::new());
    for round in 0..rounds {
        let mut gateway = Gateway::start(&config(store.path(), durability));
        let addr = gateway.addr;
        if round == 0 {
            world.open_all(addr);
        }
        let mut threads = Vec::new();
        for publisher in 0..PUBLISHERS {
            let world = world.clone();
            threads.push(std::thread::spawn(move || world.publish(addr, publisher as u64)));
        }
        // Some mailboxes are read, others fill up; not the same in each round.
        for at in (0..MAILBOXES).filter(|_| random.bool()) {
            let world = world.clone();
            threads.push(std::thread::spawn(move || world.read(addr, at, 20)));
        }
        std::thread::sleep(Duration::from_millis(random.u64(20..400)));
        gateway.signal("KILL");
        gateway.wait();
        for thread in threads {
            thread.join().expect("what is wrong is in the lines");
        }
    }
    let gateway = Gateway::start(&config(store.path(), durability));
    for at in 0..MAILBOXES {
        world.read(gateway.addr, at, 0);
    }
    drop(gateway);
    let (acked, _) = world.counts();
    (Arc::into_inner(world).expect("all threads have ended"), acked)
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds = number("COMETBOX_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);
    let seed = number("COMETBOX_SEED").unwrap_or_else(|| fastrand::u64(..));
    for durability in ["os", "disk"] {
        let (world, acked) = crash(durability, rounds, seed);
        let (_, got) = world.counts();
        println!("{durability}: {rounds} kills, {acked} acknowledged, {got} came, seed {seed}");
        let wrong = world.verdict();
        assert!(wrong.is_empty(), "{durability}, COMETBOX_SEED={seed}: {wrong:#?}");
        assert!(acked > 20 * rounds, "at load: {acked}");
    }
}
