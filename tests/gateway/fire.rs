//! Reload under fire: clients chat at full speed over long-poll while the
//! plugin is swapped again and again, every fifth time for a broken one. No
//! connection may close, no message be lost, doubled or reordered.

use crate::support::{Gateway, component, crates, eventually, project};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CLIENTS: usize = 200;
const ROOMS: usize = 20;
const SWAPS: usize = 50;
/// Every so many-th swap is for a component that is none.
const BROKEN: usize = 5;

/// One keep-alive connection. It is never opened again: if the gateway closes
/// it, the test fails.
struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(gateway: &Gateway) -> Self {
        let socket = TcpStream::connect(gateway.addr).await.expect("the gateway listens");
        socket.set_nodelay(true).expect("a TCP socket takes it");
        Self { socket, buffer: Vec::new() }
    }

    /// Sends a request and reads its whole answer.
    async fn ask(&mut self, head: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let request =
            format!("{head} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
        self.socket.write_all(request.as_bytes()).await.expect("the connection is open");
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut response = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(head_bytes) =
                response.parse(&self.buffer).expect("the gateway speaks HTTP")
            {
                let status = response.code.expect("a complete head has a status");
                let length =
                    response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
                let length = length.map_or(0, |h| {
                    std::str::from_utf8(h.value).expect("digits").parse().expect("a length")
                });
                let end = head_bytes + length;
                if self.buffer.len() >= end {
                    let body = self.buffer[head_bytes..end].to_vec();
                    self.buffer.drain(..end);
                    let value = if body.is_empty() { Value::Null } else { parse(&body) };
                    return (status, value);
                }
            }
            let read =
                self.socket.read_buf(&mut self.buffer).await.expect("the connection is open");
            assert!(read > 0, "the gateway closed a connection");
        }
    }
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(body)))
}

/// How many messages of each sender a reader got; they count up from 0.
type Heard = BTreeMap<String, u64>;

struct Fire {
    stop: AtomicBool,
    /// Senders that have stopped.
    silent: AtomicU64,
    sent: AtomicU64,
    slowest_us: AtomicU64,
    /// The longest time in which a reader got nothing.
    longest_gap_us: AtomicU64,
    /// Messages that carry the mark of the changed plugin.
    from_changed: AtomicU64,
}

async fn speak(mut connection: Connection, nick: String, key: String, fire: Arc<Fire>) -> u64 {
    let head = format!("POST /chat/mailboxes/{nick}?key={key}");
    let mut said = 0;
    while !fire.stop.load(Relaxed) {
        let start = Instant::now();
        let body = json!({"say": said.to_string()}).to_string();
        let (status, answer) = connection.ask(&head, &body).await;
        assert_eq!(status, 204, "{nick}: {answer}");
        fire.slowest_us.fetch_max(micros(start), Relaxed);
        fire.sent.fetch_add(1, Relaxed);
        said += 1;
    }
    fire.silent.fetch_add(1, Relaxed);
    said
}

async fn listen(mut connection: Connection, nick: String, key: String, fire: Arc<Fire>) -> Heard {
    let mut heard = Heard::new();
    let mut cursor = 0;
    let mut last = None;
    loop {
        let over = fire.silent.load(Relaxed) == CLIENTS as u64;
        let wait = if over { 0 } else { 1 };
        let head = format!("GET /chat/mailboxes/{nick}?key={key}&cursor={cursor}&wait={wait}");
        let (status, batch) = connection.ask(&head, "").await;
        match status {
            204 if over => return heard,
            204 => continue,
            status => assert_eq!(status, 200, "{nick}: {batch}"),
        }
        let gap = last.replace(Instant::now()).map_or(0, micros);
        if !fire.stop.load(Relaxed) {
            fire.longest_gap_us.fetch_max(gap, Relaxed);
        }
        assert_eq!(batch["lost"], 0, "{nick} lost messages");
        for message in batch["messages"].as_array().expect("a batch has messages") {
            cursor += 1;
            assert_eq!(message["seq"], cursor, "{nick}: a seq is missing, doubled or reordered");
            let data = &message["data"];
            let Some(say) = data["say"].as_str() else { continue };
            let from = data["from"].as_str().expect("a line has a sender");
            let count = heard.entry(from.to_owned()).or_default();
            assert_eq!(say, count.to_string(), "{nick} hears {from} in order, each once");
            *count += 1;
            fire.from_changed.fetch_add(u64::from(data["changed"] == true), Relaxed);
        }
        assert_eq!(batch["cursor"], cursor);
    }
}

/// The chat plugin with one line of its source changed.
fn changed_chat(folder: &Path) -> PathBuf {
    let source = fs::read_to_string(project("plugins/chat/src/lib.rs")).expect("it is there");
    let line = r#"json!({"from": nick, "say": say, "room": room})"#;
    assert!(source.contains(line), "the line to change is still there");
    let changed = source
        .replace(line, r#"json!({"from": nick, "say": say, "room": room, "changed": true})"#)
        .replace("#[cfg(test)]\nmod tests;\n", "");
    crates::build(folder, "changed_chat", &changed)
}

/// As a careful deployment does it: nobody sees half a file.
fn replace_file(path: &Path, content: &[u8]) {
    let aside = path.with_extension("new");
    fs::write(&aside, content).expect("the folder is ours");
    fs::rename(&aside, path).expect("the folder is ours");
}

/// Waits for a log line with all of these texts in it.
fn wait_for_log(gateway: &Gateway, texts: &[&str]) {
    let found = || gateway.log().lines().any(|line| texts.iter().all(|text| line.contains(text)));
    tokio::task::block_in_place(|| eventually(found, &format!("a log line with {texts:?}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_while_plugins_are_swapped() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let served = folder.path().join("chat.wasm");
    let versions = [component("plugins/chat"), changed_chat(folder.path())]
        .map(|path| fs::read(path).expect("it was just built"));
    replace_file(&served, &versions[1]);
    let gateway = Gateway::start(&format!(
        "[[app]]\nname = \"chat\"\nplugins = [{served:?}]\n\
         settings = {{ history = 5, linger_s = 60 }}\n\
         limits = {{ mailbox_messages = 10000, max_mailbox_messages = 10000 }}\n"
    ));

    let fire = Arc::new(Fire {
        stop: AtomicBool::new(false),
        silent: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        slowest_us: AtomicU64::new(0),
        longest_gap_us: AtomicU64::new(0),
        from_changed: AtomicU64::new(0),
    });
    let mut seats = Vec::new();
    for i in 0..CLIENTS {
        let (nick, room) = (format!("c{i}"), format!("r{}", i % ROOMS));
        let mut connection = Connection::open(&gateway).await;
        let open = json!({"nick": nick, "room": room}).to_string();
        let (status, opened) = connection.ask("POST /chat/mailboxes", &open).await;
        assert_eq!(status, 201, "{opened}");
        seats.push((nick, opened["key"].as_str().expect("a key").to_owned(), connection));
    }
    let (mut speakers, mut listeners) = (Vec::new(), Vec::new());
    for (nick, key, connection) in seats {
        let listener = listen(connection, nick.clone(), key.clone(), fire.clone());
        listeners.push(tokio::spawn(listener));
        let connection = Connection::open(&gateway).await;
        speakers.push(tokio::spawn(speak(connection, nick, key, fire.clone())));
    }

    let start = Instant::now();
    let mut version = 1;
    let mut failures = 0;
    for swap in 1..=SWAPS {
        if swap % BROKEN == 0 {
            failures += 1;
            replace_file(&served, &versions[0][..versions[0].len() / 2]);
            let failed = || gateway.log().matches("not reloaded").count() >= failures;
            tokio::task::block_in_place(|| eventually(failed, "the broken version is refused"));
        } else {
            version += 1;
            replace_file(&served, &versions[version % 2]);
            wait_for_log(&gateway, &["reloaded", &format!("version={version}")]);
        }
    }
    let took = start.elapsed();
    fire.stop.store(true, Relaxed);

    let mut said = BTreeMap::new();
    for (i, speaker) in speakers.into_iter().enumerate() {
        said.insert(format!("c{i}"), speaker.await.expect("a speaker does not fail"));
    }
    for (i, listener) in listeners.into_iter().enumerate() {
        let heard = listener.await.expect("a listener does not fail");
        for j in (0..CLIENTS).filter(|j| j % ROOMS == i % ROOMS && *j != i) {
            let from = format!("c{j}");
            assert_eq!(heard.get(&from), Some(&said[&from]), "what c{i} heard of {from}");
        }
        assert!(!heard.contains_key(&format!("c{i}")), "c{i} hears no echo");
    }
    assert!(fire.from_changed.load(Relaxed) > 0, "the changed plugin has served");
    let ms = |us: &AtomicU64| us.load(Relaxed) as f64 / 1000.0;
    // Not with println, which shows only what fails.
    let report = format!(
        "{SWAPS} swaps in {took:.1?} under {} messages to {} readers each; the gate was closed for \
         at most {:.1} ms, a sender waited at most {:.1} ms, a reader {:.1} ms\n",
        fire.sent.load(Relaxed),
        CLIENTS / ROOMS - 1,
        longest_swap_us(&gateway) as f64 / 1000.0,
        ms(&fire.slowest_us),
        ms(&fire.longest_gap_us),
    );
    std::io::stderr().write_all(report.as_bytes()).expect("stderr is open");
}

/// As the gateway says in its log.
fn longest_swap_us(gateway: &Gateway) -> u64 {
    let log = gateway.log();
    let swaps = log.lines().filter(|line| line.contains("reloaded"));
    let us = swaps.filter_map(|line| line.split("swap_us=").nth(1)?.trim().parse().ok());
    us.max().expect("there were swaps")
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
