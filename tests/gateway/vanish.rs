//! Clients that vanish without a word: their link is cut, in a network namespace
//! of the test's own. (Those that close politely are in `http::abort`.)

use crate::{
    streams::Socket,
    support::{Client, Gateway, PATIENCE, Stream, eventually, lab, skip},
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use std::{
    fs::File,
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsFd,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Another machine, as far as TCP can tell.
struct Elsewhere {
    name: String,
    /// The address of this side of the wire.
    here: String,
    /// This end of the wire, and the other.
    near: String,
    far: String,
}

impl Elsewhere {
    /// One for each case.
    ///
    /// # Errors
    /// If they cannot be made, as without root or its rights.
    fn all() -> Result<Vec<(&'static Case, Self)>, String> {
        // Others may do the same on this machine.
        let (third, first) = (fastrand::u8(..), fastrand::u8(..32));
        let cases = (first..).zip(&CASES);
        cases.map(|(number, case)| Ok((case, Self::new(third, 4 * number)?))).collect()
    }

    fn new(third: u8, fourth: u8) -> Result<Self, String> {
        let name = format!("cometbox-{third}-{fourth}-{}", std::process::id());
        let [here, there] = [1, 2].map(|end| format!("10.231.{third}.{}", fourth + end));
        let [near, far] = ["n", "f"].map(|end| format!("cbx{third}-{fourth}{end}"));
        ip(&format!("netns add {name}"))?;
        // From here on it is taken down again.
        let this = Self { name, here, near, far };
        let Self { name, here, near, far } = &this;
        ip(&format!("link add {near} type veth peer name {far} netns {name}"))?;
        ip(&format!("addr add {here}/30 dev {near}"))?;
        ip(&format!("link set {near} up"))?;
        ip(&format!("-n {name} addr add {there}/30 dev {far}"))?;
        ip(&format!("-n {name} link set {far} up"))?;
        Ok(this)
    }

    /// A connection from there.
    fn connect(&self, to: SocketAddr) -> TcpStream {
        let there = File::open(format!("/run/netns/{}", self.name)).expect("ip has made it");
        // A socket belongs to where it was made, and a thread alone can go there.
        let connect = || {
            move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("it could be made");
            TcpStream::connect(to).expect("the gateway listens")
        };
        let stream = thread::scope(|scope| scope.spawn(connect).join()).expect("it is connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        stream
    }

    /// From now on nothing gets through, and nobody is told.
    fn cut(&self) {
        ip(&format!("-n {} link set {} down", self.name, self.far)).expect("it was up");
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // The link by itself: the namespace lives on for as long as its system
        // tries to say goodbye. It may not have been made.
        for what in [["link", "del", &self.near], ["netns", "del", &self.name]] {
            let _ = Command::new("ip").args(what).output();
        }
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("ip {arguments}: {error}")) }
}

/// What a client does until its link is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Polls,
    ReadsEvents,
    HasAWebSocket,
    /// It connects, and never asks for anything.
    SaysNothing,
}
use Kind::{HasAWebSocket, Polls, ReadsEvents, SaysNothing};

/// A client elsewhere. Gone when dropped.
struct Vanisher {
    stream: TcpStream,
    /// Reads what comes, and answers pings.
    reader: Option<JoinHandle<()>>,
}

impl Vanisher {
    fn start(kind: Kind, stream: TcpStream, path: &str, pings: &Arc<AtomicU64>) -> Self {
        let same = stream.try_clone().expect("an open socket");
        let reader = match kind {
            SaysNothing => None,
            Polls => {
                Client::over(same).send("GET", path, &[], b"");
                None
            }
            ReadsEvents => {
                let accept = [("accept", "text/event-stream")];
                let mut events = Stream::open(Client::over(same), path, &accept);
                assert_eq!(events.head.status, 200, "{:?}", events.head);
                Some(thread::spawn(move || while events.until("\n\n").is_some() {}))
            }
            HasAWebSocket => {
                let mut socket = Socket::over(same, path, None).expect("a handshake");
                let pings = Arc::clone(pings);
                Some(thread::spawn(move || {
                    while let Ok(message) = socket.read() {
                        pings.fetch_add(u64::from(message.is_ping()), SeqCst);
                    }
                }))
            }
        };
        Self { stream, reader }
    }
}

impl Drop for Vanisher {
    fn drop(&mut self) {
        // It may have noticed.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

struct Case {
    name: &'static str,
    /// Of `[http]`.
    terms: &'static str,
    clients: &'static [Kind],
    /// That are answered before the cut. With a second one the first was.
    pings: u64,
    /// Each mailbox gets a message right after the cut.
    is_sent: bool,
}

const CASES: [Case; 4] = [
    Case {
        name: "nothing is sent: the system's questions are not answered",
        terms: "peer_timeout_s = 3, keep_alive_s = 600",
        clients: &[Polls, ReadsEvents, HasAWebSocket, SaysNothing],
        pings: 0,
        is_sent: false,
    },
    Case {
        name: "messages are sent, and not acknowledged by the client's system",
        terms: "peer_timeout_s = 3, keep_alive_s = 600",
        clients: &[Polls, ReadsEvents, HasAWebSocket],
        pings: 0,
        is_sent: true,
    },
    Case {
        name: "signs of life are sent, and not acknowledged",
        terms: "peer_timeout_s = 3, keep_alive_s = 1",
        clients: &[ReadsEvents],
        pings: 0,
        is_sent: false,
    },
    Case {
        name: "pings are not answered, and the system is not asked",
        terms: "peer_timeout_s = 0, keep_alive_s = 1",
        clients: &[HasAWebSocket],
        pings: 2,
        is_sent: false,
    },
];

/// Within which a client is to be found: not at once, by a reset that a cut link
/// would not bring, nor by what the system does without these settings.
const SOONEST: Duration = Duration::from_millis(750);
const LATEST: Duration = Duration::from_secs(9);

#[test]
fn a_client_whose_link_is_cut_is_found_and_detached() {
    let all = match Elsewhere::all() {
        Ok(all) => all,
        Err(why) => return skip("clients whose links are cut", why.trim()),
    };
    // At the same time: it is waiting that takes long.
    thread::scope(|scope| {
        for (case, elsewhere) in &all {
            scope.spawn(|| check(case, elsewhere));
        }
    });
}

fn check(case: &Case, elsewhere: &Elsewhere) {
    // A stream is not detached between a message and what it reads next, be the
    // machine as busy as it may.
    let app = lab("limits = { call_ms = 1000, detach_grace_ms = 2000, linger_ms = 600_000 }");
    let http = format!("http = {{ {}, idle_timeout_s = 600 }}", case.terms);
    let gateway = Gateway::start_at(&elsewhere.here, &format!("{http}\n{app}"));
    let told = "cometbox_plugin_calls_total{app=\"lab\",event=\"detached\"}";
    let mut backend = gateway.client();
    let (mut clients, mut names, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    let pings = Arc::new(AtomicU64::new(0));
    for (n, kind) in case.clients.iter().enumerate() {
        let name = format!("client-{n}");
        let path = format!("/lab/mailboxes/{name}?key={}&cursor=0", backend.open(&name));
        clients.push(Vanisher::start(*kind, elsewhere.connect(gateway.addr), &path, &pings));
        if *kind != SaysNothing {
            names.push(name);
            paths.push(path);
        }
    }
    let readers = names.len() as u64;
    gateway.until_held(readers);
    gateway.until("cometbox_connections", clients.len() as u64 + 1);
    eventually(|| pings.load(SeqCst) >= case.pings, "pings are answered");
    assert_eq!(gateway.metric(told), 0, "{}", case.name);

    let cut = Instant::now();
    elsewhere.cut();
    if case.is_sent {
        let item = json!({"to": {"mailboxes": names}, "data": "sent"}).to_string();
        let sent = backend.publish(&item).json();
        assert_eq!(sent["results"][0]["queued"], readers, "{}: {sent}", case.name);
    }
    gateway.until("cometbox_connections", 1);
    let took = cut.elapsed();
    assert!((SOONEST..LATEST).contains(&took), "{}: {took:?}", case.name);
    gateway.until_held(0);
    gateway.until(told, readers);
    // Who is there is left alone, however little it says; and who comes in the
    // place of one that has vanished gets what that was sent.
    for path in &paths {
        let read = backend.get(&format!("{path}&wait=0"));
        if case.is_sent {
            assert_eq!(read.json()["messages"][0]["data"], "sent", "{}: {read:?}", case.name);
        } else {
            assert_eq!(read.status, 204, "{}: {read:?}", case.name);
        }
    }
}
