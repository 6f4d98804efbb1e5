//! Upgrades under load, back and forth between two names of the binary: nobody is
//! refused, nothing is lost or doubled, and a client sees a reconnect at most.

use super::{
    app,
    service::{Service, VERSIONS, temporary},
};
use crate::{
    streams::Socket,
    support::{Client, PATIENCE, Stream, eventually},
    tls::{self, Pair},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Instant,
};

const UPGRADES: usize = 10;

/// Between two upgrades each publisher is answered so many times at least.
const ANSWERS_BETWEEN: u64 = 20;

/// A mailbox for each way of reading.
const LONG_POLL: usize = 0;
const EVENTS: usize = 1;
const WEBSOCKET: usize = 2;
const MAILBOXES: usize = 3;

/// What came by one line of cursors.
#[derive(Default)]
struct Line {
    key: String,
    cursor: u64,
    got: BTreeSet<(u64, u64)>,
    /// The last number of each publisher.
    last: BTreeMap<u64, u64>,
    /// Times that its reader had to come again.
    reconnects: usize,
}

/// A publisher, by how it is connected.
#[derive(Default)]
struct Publisher {
    answers: AtomicU64,
    /// Times that a connection ended with a word, and without one.
    closed: AtomicU64,
    broken: AtomicU64,
    slowest_us: AtomicU64,
}

struct World<'a> {
    service: &'a Service,
    lines: [Mutex<Line>; MAILBOXES],
    /// Publisher, number and mailbox of what was acknowledged.
    acked: Mutex<BTreeSet<(u64, u64, usize)>>,
    publishers: [Publisher; 4],
    over: AtomicBool,
}

impl World<'_> {
    /// One after the other, on a connection for as long as it lasts.
    fn publish<S: Read + Write>(&self, publisher: usize, lasts: bool, connect: impl Fn() -> S) {
        let me = &self.publishers[publisher];
        let (publisher, mut n) = (publisher as u64, 0);
        while !self.over.load(SeqCst) {
            let mut started = Instant::now();
            let mut client = Client::over(connect());
            loop {
                n += 1;
                let at = n as usize % MAILBOXES;
                let body = json!({
                    "to": { "mailboxes": [format!("m{at}")] },
                    "data": { "p": publisher, "n": n },
                })
                .to_string();
                let request = format!(
                    "POST /lab/publish HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n\
                     content-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let answer = client.send_raw(request.as_bytes()).then(|| client.receive());
                let Some(answer) = answer.flatten() else {
                    // It may be there or not.
                    me.broken.fetch_add(1, SeqCst);
                    break;
                };
                let result = &answer.json()["results"][0];
                assert_eq!((answer.status, &result["queued"]), (200, &1.into()), "{answer:?}");
                self.acked.lock().expect("ours").insert((publisher, n, at));
                me.answers.fetch_add(1, SeqCst);
                let us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                me.slowest_us.fetch_max(us, SeqCst);
                if answer.header("connection") == Some("close") {
                    me.closed.fetch_add(1, SeqCst);
                    break;
                }
                if !lasts || self.over.load(SeqCst) {
                    break;
                }
                started = Instant::now();
            }
        }
    }

    fn plain(&self) -> TcpStream {
        let stream = TcpStream::connect(self.service.addr).expect("nobody is refused");
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        stream.set_nodelay(true).expect("an open socket");
        stream
    }

    /// Takes an answer or a message; whether there was something in it.
    fn take(&self, at: usize, batch: &Value) -> bool {
        assert_eq!(batch["lost"], 0, "m{at}: {batch}");
        let messages = batch["messages"].as_array().expect("messages");
        for message in messages {
            self.take_one(at, message["seq"].as_u64().expect("a seq"), &message["data"]);
        }
        !messages.is_empty()
    }

    fn take_one(&self, at: usize, seq: u64, data: &Value) {
        let number = |field: &str| data[field].as_u64().expect("a number");
        let (publisher, n) = (number("p"), number("n"));
        let mut line = self.lines[at].lock().expect("ours");
        assert!(seq > line.cursor, "m{at}: seq {seq} behind {}", line.cursor);
        line.cursor = seq;
        assert!(line.got.insert((publisher, n)), "m{at}: {publisher}/{n} came twice");
        let before = line.last.insert(publisher, n);
        assert!(before < Some(n), "m{at}: {publisher}/{n} after {before:?}");
    }

    fn at(&self, at: usize) -> (String, u64) {
        let line = self.lines[at].lock().expect("ours");
        (line.key.clone(), line.cursor)
    }

    fn reconnects(&self, at: usize) {
        self.lines[at].lock().expect("ours").reconnects += 1;
    }

    /// By long-poll, on one connection that is never closed.
    fn poll(&self) {
        let mut client = Client::over(self.plain());
        while !self.over.load(SeqCst) {
            self.poll_once(&mut client, LONG_POLL, 1);
        }
    }

    fn poll_once(&self, client: &mut Client, at: usize, wait: u64) -> bool {
        let (key, cursor) = self.at(at);
        let path = format!("/lab/mailboxes/m{at}?key={key}&cursor={cursor}&wait={wait}");
        let answer = client.get(&path);
        assert_eq!(answer.header("connection"), None, "{answer:?}");
        match answer.status {
            204 => false,
            200 => self.take(at, &answer.json()),
            _ => panic!("{answer:?}"),
        }
    }

    /// As a browser's `EventSource`.
    fn follow(&self) {
        while !self.over.load(SeqCst) {
            let (key, cursor) = self.at(EVENTS);
            let path = format!("/lab/mailboxes/m{EVENTS}?key={key}&cursor={cursor}");
            let client = Client::over(self.plain());
            let mut events = Stream::open(client, &path, &[("accept", "text/event-stream")]);
            assert_eq!(events.head.status, 200, "{:?}", events.head);
            while let Some(event) = events.until("\n\n") {
                if self.over.load(SeqCst) {
                    return;
                }
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let (Some(seq), Some(data)) = (field("id: "), field("data: ")) else { continue };
                assert_eq!(field("event: "), None, "nothing is lost: {event}");
                let data = serde_json::from_str(data).expect("JSON");
                self.take_one(EVENTS, seq.parse().expect("a number"), &data);
            }
            self.reconnects(EVENTS);
        }
    }

    fn talk(&self) {
        while !self.over.load(SeqCst) {
            let (key, cursor) = self.at(WEBSOCKET);
            let path = format!("/lab/mailboxes/m{WEBSOCKET}?key={key}&cursor={cursor}");
            let socket = Socket::over(self.plain(), &path, Some("cometbox.v1.json"));
            let mut socket = socket.unwrap_or_else(|error| panic!("no handshake: {error}"));
            let close = loop {
                match socket.json() {
                    Ok(batch) => {
                        self.take(WEBSOCKET, &batch);
                    }
                    Err(close) => break close,
                }
                if self.over.load(SeqCst) {
                    return;
                }
            };
            assert_eq!(u16::from(close.code), 1012, "{close:?}");
            self.reconnects(WEBSOCKET);
        }
    }

    /// Until everybody was served since.
    fn go_on(&self) {
        let count = |publisher: &Publisher| publisher.answers.load(SeqCst) + ANSWERS_BETWEEN;
        let answers: Vec<_> = self.publishers.iter().map(count).collect();
        let cursors: Vec<_> = (0..MAILBOXES).map(|at| self.at(at).1).collect();
        eventually(
            || {
                let mut publishers = self.publishers.iter().zip(&answers);
                publishers.all(|(it, least)| it.answers.load(SeqCst) >= *least)
                    && cursors.iter().enumerate().all(|(at, before)| self.at(at).1 > *before)
            },
            "everybody is served",
        );
    }
}

#[test]
fn ten_upgrades_under_load_lose_and_double_nothing() {
    let folder = temporary();
    let pair = Pair::new();
    pair.write(folder.path());
    let config = format!("{}http = {{ keep_alive_s = 1 }}\n{}", tls::table(folder.path()), app(""));
    let service = Service::start_in(folder, &config, |place| place.serve());
    let mut client = Client::connect(service.addr);
    let lines = std::array::from_fn(|at| {
        let key = client.open(&format!("m{at}"));
        Mutex::new(Line { key, ..Line::default() })
    });
    let world = World {
        service: &service,
        lines,
        acked: Mutex::default(),
        publishers: Default::default(),
        over: AtomicBool::new(false),
    };
    let over_tls = || {
        let config = tls::trusting(&[&pair], &[]);
        tls::connect(service.tls.expect("it listens over TLS"), config)
    };
    let started = Instant::now();
    std::thread::scope(|scope| {
        // Also if this fails, so that all of them end.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, SeqCst);
            }
        }
        let _over = Over(&world.over);
        for publisher in [0, 1] {
            let world = &world;
            scope.spawn(move || world.publish(publisher, true, || world.plain()));
        }
        scope.spawn(|| world.publish(2, false, || world.plain()));
        scope.spawn(|| world.publish(3, true, over_tls));
        scope.spawn(|| world.poll());
        scope.spawn(|| world.follow());
        scope.spawn(|| world.talk());
        for upgrade in 1..=UPGRADES {
            world.go_on();
            let version = VERSIONS[upgrade % 2];
            service.point_to(version);
            if upgrade % 2 == 0 {
                service.upgrade_by_signal()
            } else {
                service.upgrade_well()
            }
            assert_eq!(service.version(), version, "upgrade {upgrade}");
        }
        world.go_on();
    });
    let took = started.elapsed();
    for at in 0..MAILBOXES {
        while world.poll_once(&mut client, at, 0) {}
    }
    let acked = world.acked.lock().expect("ours");
    let missing: Vec<_> = acked
        .iter()
        .filter(|(p, n, at)| !world.lines[*at].lock().expect("ours").got.contains(&(*p, *n)))
        .collect();
    assert!(missing.is_empty(), "{} acknowledged never came: {missing:?}", missing.len());
    let count = |counter: &AtomicU64| counter.load(SeqCst);
    for plain in &world.publishers[..3] {
        assert_eq!((count(&plain.closed), count(&plain.broken)), (0, 0), "it noticed nothing");
    }
    let reconnects: Vec<_> =
        world.lines.iter().map(|line| line.lock().expect("ours").reconnects).collect();
    assert!(reconnects.iter().all(|count| *count <= UPGRADES), "{reconnects:?}");
    let tls = &world.publishers[3];
    let reconnects_of_tls = count(&tls.closed) + count(&tls.broken);
    assert!(reconnects_of_tls <= UPGRADES as u64, "{reconnects_of_tls}");
    let ms = |publisher: &Publisher| count(&publisher.slowest_us) as f64 / 1000.0;
    // Not with println, which shows only what fails.
    let report = format!(
        "{UPGRADES} upgrades in {took:.1?} under {} publishes; reconnects of long-poll, events, \
         WebSocket: {reconnects:?}, of a publisher over TLS: {reconnects_of_tls} ({} without a \
         word); the longest publish took {:.0} ms on a connection that lasts, {:.0} ms on a new \
         one, {:.0} ms over TLS\n",
        acked.len(),
        count(&tls.broken),
        ms(&world.publishers[0]).max(ms(&world.publishers[1])),
        ms(&world.publishers[2]),
        ms(tls),
    );
    std::io::stderr().write_all(report.as_bytes()).expect("stderr is open");
}
