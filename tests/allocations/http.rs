//! Allocations on the whole way of a message, from socket to socket.

use super::{
    counting::{alone, on_all_threads},
    world::pass,
};
use cometbox::{
    config::Config,
    server::{self, Gateway, Listeners},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot};

const WARM_UP: usize = 20;
const ROUNDS: usize = 100;

/// What a publish may allocate: decoding it, the message, the answer. Written
/// down in docs/performance.md.
const PER_PUBLISH: u64 = 5;

const CONFIG: &str = r#"
listen = "127.0.0.1:0"
admin = ""
[[app]]
name = "lab"
plugins = ["."]
publish_keys = ["secret"]
"#;

/// Runs a gateway in this process while `work` talks to it. It can also ask how
/// many reads are held.
fn with_gateway(work: impl FnOnce(SocketAddr, &dyn Fn() -> usize)) {
    let config = Config::parse(CONFIG, Path::new("test.toml")).expect("it is valid");
    let gateway = Gateway::new(&config, None).expect("the system gives what it needs");
    let app = gateway.app("lab").expect("it is configured").clone();
    app.call(|app, now, out| app.swap(now, pass(), out)).expect("it loads");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let public = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let addr = public.local_addr().expect("it is bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let listeners = Listeners { public: Some(public), tls: None, admin: None };
    let running = runtime.spawn(server::run(gateway, listeners, async {
        let _ = stopped.await;
    }));
    work(addr, &|| app.call(|app, _, _| app.totals().held));
    stop.send(()).expect("it runs");
    runtime.block_on(running).expect("it ends well").expect("it has no store");
}

/// A client that allocates nothing once it is there.
struct Client {
    stream: TcpStream,
    buffer: [u8; 4096],
}

impl Client {
    fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the gateway listens");
        stream.set_nodelay(true).expect("it is open");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a positive time");
        Self { stream, buffer: [0; 4096] }
    }

    /// The body of the next answer, which has one.
    fn receive(&mut self) -> &str {
        let mut filled = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[filled..]).expect("an answer comes");
            assert!(count > 0, "the gateway ended the connection");
            filled += count;
            let text = std::str::from_utf8(&self.buffer[..filled]).expect("text");
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let (_, length) = head.split_once("content-length: ").expect("there is a body");
            let length = length.split("\r\n").next().unwrap_or_default();
            if body.len() == length.parse::<usize>().expect("a number") {
                let start = filled - body.len();
                return std::str::from_utf8(&self.buffer[start..filled]).expect("text");
            }
        }
    }

    fn send(&mut self, request: std::fmt::Arguments<'_>) {
        let mut bytes = [0; 512];
        let mut rest = &mut bytes[..];
        rest.write_fmt(request).expect("requests are short");
        let length = 512 - rest.len();
        self.stream.write_all(&bytes[..length]).expect("it is open");
    }
}

/// One that reads its mailbox.
struct Reader {
    client: Client,
    mailbox: String,
    key: String,
}

impl Reader {
    fn open(addr: SocketAddr) -> Self {
        let mut client = Client::connect(addr);
        client.send(format_args!("POST /lab/mailboxes HTTP/1.1\r\nhost: x\r\n\r\n"));
        let opened: serde_json::Value = serde_json::from_str(client.receive()).expect("JSON");
        let text = |key: &str| opened[key].as_str().expect("a text").to_owned();
        let mut reader = Self { mailbox: text("mailbox"), key: text("key"), client };
        reader.poll(0);
        reader
    }

    fn poll(&mut self, cursor: usize) {
        let Self { client, mailbox, key } = self;
        client.send(format_args!(
            "GET /lab/mailboxes/{mailbox}?cursor={cursor} HTTP/1.1\r\nhost: x\r\n\
             authorization: Bearer {key}\r\n\r\n"
        ));
    }
}

/// Allocations in `ROUNDS` publishes to so many readers, who poll again.
fn allocations(readers: usize) -> u64 {
    let mut counted = 0;
    with_gateway(|addr, held| {
        let mut publisher = Client::connect(addr);
        let mut readers: Vec<Reader> = (0..readers).map(|_| Reader::open(addr)).collect();
        let body = r#"{"to":{"groups":["all"]},"data":1}"#;
        let mut cursor = 0;
        let count = readers.len();
        let mut round = || {
            // One whose poll is still on its way would have a message more in
            // its mailbox than there is room for without an allocation.
            while held() < count {
                std::thread::yield_now();
            }
            publisher.send(format_args!(
                "POST /lab/publish HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            ));
            assert!(publisher.receive().contains("\"queued\":"));
            cursor += 1;
            for reader in &mut readers {
                assert!(reader.client.receive().contains("\"data\":1"));
                reader.poll(cursor);
            }
        };
        (0..WARM_UP).for_each(|_| round());
        counted = on_all_threads(|| (0..ROUNDS).for_each(|_| round()));
    });
    counted
}

#[test]
fn a_delivery_from_socket_to_socket_allocates_nothing() {
    let _alone = alone();
    let publishes = ROUNDS as u64;
    // The tickers and the test runner have a few of their own.
    let slack = publishes / 4;
    // More than the publisher's thread writes are left to the threads of their
    // connections: a list for each of those, and the list of these.
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    for (readers, lists) in [(1, 0), (64, 0), (65, threads + 1), (400, threads + 1)] {
        let (counted, most) = (allocations(readers), (PER_PUBLISH + lists) * publishes + slack);
        assert!(counted <= most, "{counted} in {publishes} publishes to {readers} readers: {most}");
    }
}
