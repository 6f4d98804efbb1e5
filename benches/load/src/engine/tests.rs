//! A server that misbehaves, and whether the accounts show it.

use super::*;
use crate::{
    check::Stream,
    dialect::{Identity, Speaker},
};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

const PUBLISHED: usize = 4;

/// That a message was taken, as each dialect says it.
const TAKEN: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
const SUCCESSFUL: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n[{\"channel\":\"/a\",\"successful\":true}]";

/// Takes so many messages over the lane, then handles the reader's poll.
fn server(
    taken: &'static [u8],
    misbehave: impl FnOnce(&mut TcpStream, Vec<Vec<u8>>) + Send + 'static,
) -> SocketAddrV4 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let Ok(SocketAddr::V4(address)) = listener.local_addr() else { panic!("an IPv4 address") };
    thread::spawn(move || {
        // The engine is set up in this order.
        let (mut lane, _) = listener.accept().expect("the lane");
        let (mut reader, _) = listener.accept().expect("the reader");
        let mut request = [0; 4096];
        let mut payloads = Vec::new();
        while payloads.len() < PUBLISHED {
            let count = lane.read(&mut request).expect("a publish");
            let at = memchr::memchr(b'@', &request[..count]).expect("a whole request");
            let end = memchr::memchr(b'"', &request[at..count]).map_or(count, |length| at + length);
            payloads.push(request[at..end].to_vec());
            lane.write_all(taken).expect("sent");
        }
        let _poll = reader.read(&mut request).expect("a poll");
        misbehave(&mut reader, payloads);
        // All stay open while the engine looks; what comes instead of a closed
        // one waits to be accepted.
        thread::sleep(Duration::from_secs(1));
        drop((lane, reader, listener));
    });
    address
}

fn answer(reader: &mut TcpStream, bodies: &[&Vec<u8>]) {
    let body: Vec<u8> = bodies.iter().flat_map(|body| body.iter().copied()).collect();
    let length = body.len();
    write!(
        reader,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nLast-Modified: x\r\nEtag: 1\r\n\r\n"
    )
    .expect("sent");
    reader.write_all(&body).expect("sent");
}

/// A lane with one target of this audience, and a reader of what it sends.
fn engine(dialect: Dialect, address: SocketAddrV4, audience: u64, resting: bool) -> Engine {
    let speaker = Speaker {
        dialect,
        host: "test".into(),
        app: String::new(),
        publish_key: String::new(),
        wait: 1,
    };
    let mut engine = Engine::new(address, dialect, 7).expect("an engine");
    engine.resting = resting;
    engine.add_lane(Lane::new(Conn::open(address, 0).expect("a connection"))).expect("a lane");
    let parcel = speaker.publish(&Identity::default(), "a", 100);
    engine.add_target(Target { parcel, lane: 0, to: 0, stream: 0, audience, sent: 0 });
    let (poll, position) = speaker.poll("a", &Identity::default());
    let reader = Reader {
        conn: Conn::open(address, 1).expect("a connection"),
        poll,
        position,
        address: 0,
        first_target: 0,
        streams: vec![Stream::default()],
        own: None,
        lane: 0,
        polling: false,
        gone: false,
    };
    engine.add_reader(reader).expect("a reader");
    engine
}

/// The accounts of one reader after this server has done its worst.
fn faults(misbehave: impl FnOnce(&mut TcpStream, Vec<Vec<u8>>) + Send + 'static) -> Faults {
    faults_over(Dialect::Nchan, server(TAKEN, misbehave))
}

fn faults_over(dialect: Dialect, server: SocketAddrV4) -> Faults {
    // An audience of none: the lane does not wait for what will never come.
    let mut engine = engine(dialect, server, 0, false);
    engine.allow(0..1, PUBLISHED as u64).expect("sent");
    engine.finish().expect("answered");
    engine.run_for(Duration::from_millis(300)).expect("it goes on");
    engine.faults()
}

#[test]
fn a_round_piles_up_messages_and_ends_when_a_poll_has_got_them() {
    let (sent, polled) = mpsc::channel();
    let server = server(TAKEN, move |reader, payloads| {
        answer(reader, &payloads.iter().collect::<Vec<_>>());
        reader.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        sent.send(reader.read(&mut [0]).is_ok()).expect("somebody waits");
    });
    let mut engine = engine(Dialect::Nchan, server, 1, true);
    assert!(engine.round(PUBLISHED as u32).expect("answered"), "everything came");
    assert_eq!(engine.faults(), Faults::default());
    assert!(!polled.recv().expect("the server ends"), "who has everything polls no more");
}

#[test]
fn a_lane_that_goes_ahead_leaves_its_reader_behind() {
    for (case, behind, polls) in [("enough came", 4, true), ("too little came", 50, false)] {
        let (polled, poll) = mpsc::channel();
        let server = server(TAKEN, move |reader, payloads| {
            polled.send(()).expect("somebody waits");
            answer(reader, &payloads.iter().collect::<Vec<_>>());
        });
        let mut engine = engine(Dialect::Nchan, server, 1, true);
        (engine.ahead, engine.behind) = (true, behind);
        engine.allow(0..1, PUBLISHED as u64).expect("sent");
        engine.wait_while(|lane| lane.busy || lane.allowed > 0).expect("answered");
        assert_eq!(engine.counted.published, PUBLISHED as u64, "{case}");
        assert!(engine.counted.answers.percentiles().max > 0.0, "{case}");
        assert_eq!(engine.readers[0].polling, polls, "{case}");
        engine.drain().expect("answered");
        poll.try_recv().expect("a poll");
        assert_eq!(engine.faults(), Faults::default(), "{case}: what is left is read at the end");
        assert!(!engine.readers[0].polling, "{case}: who has everything polls no more");
    }
}

#[test]
fn a_good_server_has_no_faults() {
    let found = faults(|reader, sent| answer(reader, &sent.iter().collect::<Vec<_>>()));
    assert_eq!(found, Faults::default());
}

#[test]
fn lost_doubled_and_reordered_messages_are_found() {
    let found = faults(|reader, sent| {
        answer(reader, &[&sent[0], &sent[2], &sent[1], &sent[1]]);
    });
    assert_eq!(found, Faults { lost: 1, doubled: 1, reordered: 1, ..Faults::default() });
}

#[test]
fn over_bayeux_they_are_found_wherever_an_answer_is_cut_into_chunks() {
    let server = server(SUCCESSFUL, |reader, sent| {
        let data = [0, 2, 1, 1].map(|nth: usize| String::from_utf8_lossy(&sent[nth]).into_owned());
        let messages = data.map(|data| format!(r#"{{"channel":"/a","data":"{data}"}},"#)).concat();
        let body = format!(r#"[{messages}{{"channel":"/meta/connect","successful":true}}]"#);
        reader.set_nodelay(true).expect("open");
        reader.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").expect("sent");
        for chunk in body.as_bytes().chunks(50) {
            let size = format!("{:x}\r\n", chunk.len());
            reader.write_all(&[size.as_bytes(), chunk, b"\r\n"].concat()).expect("sent");
        }
        reader.write_all(b"0\r\n\r\n").expect("sent");
    });
    let found = faults_over(Dialect::Bayeux, server);
    assert_eq!(found, Faults { lost: 1, doubled: 1, reordered: 1, ..Faults::default() });
}

#[test]
fn a_refused_connect_is_an_error_and_no_client_tries_for_ever() {
    let server = server(SUCCESSFUL, |reader, _| {
        let body = r#"[{"channel":"/meta/connect","successful":false,"error":"402::unknown"}]"#;
        let length = body.len();
        write!(reader, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").expect("sent");
    });
    let found = faults_over(Dialect::Bayeux, server);
    assert_eq!(found, Faults { lost: 4, errors: 1, ..Faults::default() });
}

#[test]
fn a_pace_after_a_slow_setup_is_no_stall() {
    let server = server(TAKEN, |reader, sent| answer(reader, &sent.iter().collect::<Vec<_>>()));
    let mut engine = engine(Dialect::Nchan, server, 1, false);
    engine.progress_ns = 0;
    engine.set_pace(1000);
    engine.run_for(Duration::from_millis(300)).expect("it goes on");
    assert_eq!(engine.counted.deliveries, PUBLISHED as u64);
}

#[test]
fn a_cut_message_is_stray_and_lost() {
    let found = faults(|reader, mut sent| {
        sent[3].truncate(20);
        answer(reader, &sent.iter().collect::<Vec<_>>());
    });
    assert_eq!(found, Faults { lost: 1, stray: 1, ..Faults::default() });
}

#[test]
fn a_closed_connection_is_a_reconnect() {
    let found = faults(|reader, _| reader.shutdown(Shutdown::Both).expect("open"));
    assert_eq!(found, Faults { lost: 4, reconnects: 1, ..Faults::default() });
}

#[test]
fn a_wrong_answer_is_an_error() {
    let found = faults(|reader, _| {
        let wrong = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
        reader.write_all(wrong).expect("sent");
    });
    assert_eq!(found, Faults { lost: 4, errors: 1, ..Faults::default() });
}
