//! Under a service manager: sockets that it passes (`LISTEN_FDS`), and what it is
//! told (`NOTIFY_SOCKET`).

use super::{
    app,
    service::{Place, Service, temporary},
};
use crate::support::{BINARY, Client, PATIENCE, uninterrupted};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::{Command, Stdio},
};

/// What systemd does: the sockets are descriptors from 3 on, and the environment
/// says so to this process alone.
fn serve_with(place: &Place<'_>, names: &str, sockets: [TcpListener; 2]) -> Command {
    let [public, admin] = sockets.map(OwnedFd::from);
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "exec 3<&0 4<&1 0</dev/null 1>/dev/null; export LISTEN_PID=$$ LISTEN_FDS=2; exec \"$@\"",
        "sh",
    ]);
    command.arg(place.program).args(["serve", "--config"]).arg(place.config);
    command.env("LISTEN_FDNAMES", names).stdin(public).stdout(Stdio::from(admin));
    command
}

fn sockets() -> ([TcpListener; 2], [SocketAddr; 2]) {
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let addresses = [0, 1].map(|at| sockets[at].local_addr().expect("it is bound"));
    (sockets, addresses)
}

/// Addresses at which this process cannot listen.
const ELSEWHERE: &str = "listen = \"192.0.2.1:80\"\nadmin = \"192.0.2.1:81\"\n";

#[test]
fn sockets_that_are_passed_are_used() {
    for (name, names, by_address) in [
        ("by name, whatever the configuration says", "http:admin", false),
        ("by address, without names", "", true),
        ("by address, by the name that systemd gives", "cometbox.socket:cometbox.socket", true),
        ("one by name, one by address", "http:x", true),
    ] {
        let (sockets, [public, admin]) = sockets();
        // Before anybody serves, clients wait.
        let mut early = Client::connect(public);
        let addresses = match by_address {
            true => format!("listen = \"{public}\"\nadmin = \"{admin}\"\n"),
            false => ELSEWHERE.to_owned(),
        };
        let config = format!("{addresses}{}", app(""));
        let service =
            Service::start_in(temporary(), &config, |place| serve_with(place, names, sockets));
        assert_eq!((service.addr, service.admin), (public, admin), "{name}");
        let key = early.open("ann");
        // They go on to the next process.
        service.upgrade_well();
        early.publish_to("ann", "1");
        let mut late = Client::connect(public);
        assert_eq!(late.get(&format!("/lab/mailboxes/ann?key={key}&wait=0")).status, 200, "{name}");
        assert_eq!(Client::connect(admin).get("/healthz").status, 200, "{name}");
    }
}

#[test]
fn a_socket_that_nobody_listens_on_is_an_error() {
    let (sockets, [_, admin]) = sockets();
    let folder = temporary();
    let file = folder.path().join("cometbox.toml");
    fs::write(&file, format!("listen = \"127.0.0.1:0\"\nadmin = \"\"\n{}", app(""))).expect("ours");
    let place = Place { program: Path::new(BINARY), config: &file, folder: folder.path() };
    let output = serve_with(&place, "http:web", sockets).output().expect("there is sh");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    for part in [&format!("a socket on {admin} is passed as \"web\""), "FileDescriptorName="] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn the_manager_is_told_which_process_serves() {
    let folder = temporary();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a folder of ours");
    manager.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    let told = || {
        let mut buffer = [0; 1000];
        let count = uninterrupted(|| manager.recv(&mut buffer)).expect("something is told");
        String::from_utf8_lossy(&buffer[..count]).trim().to_owned()
    };
    let service = Service::start_in(folder, &app(""), |place| {
        let mut command = place.serve();
        command.env("NOTIFY_SOCKET", place.folder.join("notify"));
        command
    });
    assert_eq!(told(), "READY=1");
    service.upgrade_well();
    // The new process says that it is there, the old one who that is.
    let mut both = [told(), told()];
    both.sort();
    assert_eq!(both, [format!("MAINPID={}", service.process()), "READY=1".to_owned()]);
    service.signal("TERM");
    assert_eq!(told(), "STOPPING=1");
}
