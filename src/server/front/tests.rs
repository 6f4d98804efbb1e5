//! What a connection does when two things happen at once, one after the other
//! in the order that is hard to hit from outside.

use super::{
    super::{
        cors::Origins,
        gateway::Gateway,
        reply::{Reply, Wish},
        terms::Terms,
    },
    conn::{Held, Parked, Ready},
    *,
};
use crate::{
    config::{Config, HttpConfig},
    core::{Answer, MailboxId},
    transport::Format,
};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

const READABLE: Ready = Ready { readable: true, writable: true, hung_up: false };
const WRITABLE: Ready = Ready { readable: false, writable: true, hung_up: false };
const HUNG_UP: Ready = Ready { readable: true, writable: true, hung_up: true };

/// Of any mailbox: nothing here looks at it.
fn held(gateway: &Gateway) -> Held {
    let app = gateway.app("lab").expect("it is configured").clone();
    let wish = Wish { format: Format::Json, grant: None, gzip: false };
    Held { app, mailbox: MailboxId::default(), wish, rest: Box::default(), counted: None }
}

fn gateway() -> Arc<Gateway> {
    let text = "[[app]]\nname = \"lab\"\nplugins = [\".\"]";
    let config = Config::parse(text, Path::new("test.toml")).expect("it is valid");
    Gateway::new(&config, None).expect("the system gives what it needs")
}

/// A connection that somebody works on, and its client.
fn running() -> (Conn, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("an open socket");
    let place = Place { shard: 0, index: 0, serial: 0 };
    let conn = Conn::new(ours.into(), IpAddr::from([127, 0, 0, 1]), place, Vec::new(), 1);
    assert!(matches!(conn.on_event(READABLE, 1, &mut []), Next::Read(_)));
    (conn, theirs)
}

fn answer(conn: &Conn, request: u32) -> Next {
    let terms = Terms::of(HttpConfig::default(), Origins::default());
    conn.answer(request, Answer::Nothing, &terms, false, 1)
}

fn received(client: &mut UnixStream) -> String {
    let mut buffer = [0; 1000];
    client.set_nonblocking(true).expect("an open socket");
    let count = client.read(&mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

#[test]
fn an_id_says_whose_it_is() {
    for (shard, index, request) in [(0, 0, 0), (127, (1 << 24) - 1, u32::MAX), (3, 77, 5)] {
        let id = conn_id(Place { shard, index, serial: 9 }, request);
        assert!(is_ours(id));
        assert_eq!(parts(id), (usize::from(shard), index, request));
    }
}

#[test]
fn an_answer_that_comes_before_its_read_is_parked_is_kept_for_it() {
    let (gateway, (conn, mut client)) = (gateway(), running());
    conn.start(5);
    assert!(matches!(answer(&conn, 4), Next::Nothing), "another read's");
    assert!(matches!(answer(&conn, 5), Next::Nothing));
    let parked = conn.park(held(&gateway), 1);
    assert!(matches!(parked, Parked::Answered(Answer::Nothing, _)));
    assert_eq!(received(&mut client), "", "who parked it writes it");
}

#[test]
fn a_held_read_takes_its_own_answer_once() {
    let (gateway, (conn, mut client)) = (gateway(), running());
    conn.start(5);
    assert!(matches!(conn.park(held(&gateway), 1), Parked::Held));
    assert!(matches!(answer(&conn, 4), Next::Nothing));
    assert_eq!(received(&mut client), "", "not another read's");
    assert!(matches!(answer(&conn, 5), Next::Nothing));
    assert!(received(&mut client).starts_with("HTTP/1.1 204 "));
    answer(&conn, 5);
    assert_eq!(received(&mut client), "");
}

#[test]
fn a_client_that_left_while_its_read_began_is_not_waited_for() {
    let (gateway, (conn, _client)) = (gateway(), running());
    conn.start(5);
    assert!(matches!(conn.on_event(HUNG_UP, 1, &mut []), Next::Nothing));
    assert!(matches!(conn.park(held(&gateway), 1), Parked::HungUp(_)));
}

#[test]
fn what_comes_while_a_read_is_held_is_looked_at_afterwards() {
    let (gateway, (conn, mut client)) = (gateway(), running());
    conn.start(5);
    assert!(matches!(conn.park(held(&gateway), 1), Parked::Held));
    client.write_all(b"GET ").expect("there is room");
    assert!(matches!(conn.on_event(READABLE, 1, &mut []), Next::Nothing));
    assert!(matches!(answer(&conn, 5), Next::Kick));
    assert!(matches!(conn.on_event(WRITABLE, 1, &mut []), Next::Read(_)));
}

#[test]
fn nothing_is_served_behind_a_last_answer_that_goes_out_in_parts() {
    let (conn, mut client) = running();
    let body = vec![b'x'; 4 << 20];
    let mut bytes = Vec::new();
    super::super::http1::reply(
        &mut bytes,
        &Reply::content("text/plain", body),
        &Origins::default(),
        None,
    );
    let behind = b"GET / HTTP/1.1\r\n\r\n";
    assert!(matches!(conn.reply(&bytes, behind, true, 1), Some(Next::Nothing)), "it does not fit");
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).map(|_| all.len())
    });
    let mut buffer = [0; 100];
    loop {
        match conn.on_event(WRITABLE, 1, &mut buffer) {
            Next::Nothing => std::thread::yield_now(),
            Next::Kick => break,
            _ => panic!("its last answer is out"),
        }
    }
    let length = reader.join().expect("it reads").expect("until the end");
    assert_eq!(length, bytes.len());
}

#[test]
fn what_panics_ends_one_connection() {
    let gateway = gateway();
    let front = gateway.front();
    let accepted = || {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        front.accept(ours.into(), IpAddr::from([127, 0, 0, 1])).expect("there is room");
        theirs.set_nonblocking(true).expect("an open socket");
        theirs
    };
    let mut client = accepted();
    let conn = front.shards.iter().flat_map(Shard::all).next().expect("it was accepted");
    let mut other = accepted();
    front.guard(&conn, || panic!("as this test wants it"));
    drop(conn);
    assert_eq!(front.count(), 1);
    assert_eq!(client.read(&mut [0; 1]).ok(), Some(0), "its socket is closed");
    let open = other.read(&mut [0; 1]).expect_err("nothing came");
    assert_eq!(open.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_parked_connection_is_small() {
    // Behind its Arc, and with its place in the shard's table.
    assert!(size_of::<Conn>() <= 112, "{}", size_of::<Conn>());
}
