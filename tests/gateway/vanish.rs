//! Clients that vanish without a word: their link is cut, in a network namespace
//! of the test's own. (Those that close politely are in `http::abort`.)

use crate::support::{Gateway, lab};
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Another machine, as far as TCP can tell. Needs root.
struct Elsewhere {
    name: String,
    /// Addresses: of this side of the wire, and of the other.
    here: String,
    /// This end of the wire.
    link: String,
    clients: Vec<Child>,
}

impl Elsewhere {
    fn new() -> Self {
        let number = fastrand::u8(..);
        let name = format!("cometbox-{number}-{}", std::process::id());
        let (here, there) = (format!("10.231.{number}.1"), format!("10.231.{number}.2"));
        let (near, far) = (format!("cbx{number}n"), format!("cbx{number}f"));
        ip(&format!("netns add {name}"));
        // From here on it is taken down again.
        let this = Self { name, here, link: near, clients: Vec::new() };
        let (name, near) = (&this.name, &this.link);
        ip(&format!("link add {near} type veth peer name {far} netns {name}"));
        ip(&format!("addr add {}/30 dev {near}", this.here));
        ip(&format!("link set {near} up"));
        ip(&format!("-n {name} addr add {there}/30 dev {far}"));
        ip(&format!("-n {name} link set {far} up"));
        this
    }

    /// Sends a request from there, and stays to read what comes.
    fn send(&mut self, gateway: &Gateway, request: &str) {
        let address = format!("/dev/tcp/{}/{}", self.here, gateway.addr.port());
        let script = format!("exec 3<>{address}; printf '%s' \"$0\" >&3; exec cat <&3 >/dev/null");
        let client = Command::new("ip")
            .args(["netns", "exec", &self.name, "bash", "-c", &script, request])
            .stdin(Stdio::null())
            .spawn()
            .expect("there is ip");
        self.clients.push(client);
    }

    /// From now on nothing gets through, and nobody is told.
    fn cut(&self) {
        let links = Command::new("ip").args(["-n", &self.name, "-o", "link"]).output();
        let links = String::from_utf8(links.expect("there is ip").stdout).expect("text");
        let link = links.split([':', '@', ' ']).find(|word| word.starts_with("cbx"));
        ip(&format!("-n {} link set {} down", self.name, link.expect("its end of the wire")));
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        for client in &mut self.clients {
            let _ = client.kill();
            let _ = client.wait();
        }
        // The link by itself: the namespace lives on for as long as its system
        // tries to say goodbye.
        for what in [["link", "del", &self.link], ["netns", "del", &self.name]] {
            let _ = Command::new("ip").args(what).status();
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("there is ip");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
}

/// Whether network namespaces can be made here; with CI=true they must.
fn can_make_namespaces() -> bool {
    let id = Command::new("id").arg("-u").output().expect("there is id").stdout;
    let can = id == b"0\n" && Command::new("ip").arg("-V").output().is_ok();
    assert!(can || std::env::var("CI").as_deref() != Ok("true"), "root and iproute2 are needed");
    can
}

#[test]
fn a_client_whose_link_is_cut_is_found_and_detached() {
    if !can_make_namespaces() {
        println!("skipped: network namespaces need root and iproute2");
        return;
    }
    const TIMEOUT: Duration = Duration::from_secs(3);
    let mut elsewhere = Elsewhere::new();
    let app = lab("limits = { call_ms = 1000, detach_grace_ms = 1, linger_ms = 600_000 }");
    let gateway = Gateway::start_at(
        &elsewhere.here,
        &format!(
            "http = {{ peer_timeout_s = 3, keep_alive_s = 600, idle_timeout_s = 600 }}\n{app}"
        ),
    );
    let told = "cometbox_plugin_calls_total{app=\"lab\",event=\"detached\"}";
    let mut backend = gateway.client();
    let names = ["polls", "reads events", "has a websocket", "says nothing"];
    for name in names {
        let key = backend.open(name);
        let path = format!("/lab/mailboxes/{}?key={key}", name.replace(' ', "%20"));
        let request = match name {
            "polls" => format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"),
            "reads events" => {
                format!("GET {path} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n")
            }
            "has a websocket" => format!(
                "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ),
            _ => String::new(),
        };
        elsewhere.send(&gateway, &request);
    }
    gateway.until_held(3);
    gateway.until("cometbox_connections", names.len() as u64 + 1);
    assert_eq!(gateway.metric(told), 0);

    let cut = Instant::now();
    elsewhere.cut();
    gateway.until_held(0);
    // Not at once, by a reset that a cut link would not bring.
    assert!(cut.elapsed() > TIMEOUT / 4, "{:?}", cut.elapsed());
    gateway.until("cometbox_connections", 1);
    gateway.until(told, 3);
    // Who is there is left alone, however little it says.
    assert_eq!(backend.publish("{\"data\":1}").status, 200);
}
