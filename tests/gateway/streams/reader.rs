//! One reader for each way to read, so that what holds for all of them is
//! tested with all of them.

use super::wire::{Asking, Duplex, OverH2, Wire, asking, connect};
use crate::{
    support::{Client, Gateway, PATIENCE, Source, Stream},
    tls::World,
};
use serde_json::{Value, json};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{
    self, Message, WebSocket, client::IntoClientRequest, protocol::CloseFrame,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Poll,
    Events,
    Lines,
    WebSocket,
}

/// How a mailbox is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    pub kind: Kind,
    pub wire: Wire,
}

/// All there are: over HTTP/2 there are no WebSockets.
pub fn ways() -> impl Iterator<Item = Way> {
    let kinds = [Kind::Poll, Kind::Events, Kind::Lines, Kind::WebSocket];
    let wires = [Wire::Plain, Wire::Tls, Wire::Http2];
    let all = wires.into_iter().flat_map(move |wire| kinds.map(|kind| Way { kind, wire }));
    all.filter(|way| (way.kind, way.wire) != (Kind::WebSocket, Wire::Http2))
}

/// Those that go on after a message.
pub fn streams() -> impl Iterator<Item = Way> {
    ways().filter(|way| way.kind != Kind::Poll)
}

/// What a reader gets.
#[derive(PartialEq, Eq, Debug)]
pub enum Got {
    Message(u64, String),
    Lost(u64),
    /// The code of the error.
    End(String),
}

/// Reads the mailbox `ann` of `lab`.
pub enum Reader {
    Poll(Box<LongPoll>),
    Events(Stream<Box<dyn Source>>),
    Lines(Stream<Box<dyn Source>>),
    WebSocket(Box<Socket<Box<dyn Duplex>>>, Vec<Got>),
}

/// Reads one answer after the other.
pub struct LongPoll {
    client: Box<dyn Asking>,
    path: String,
    cursor: u64,
    is_asked: bool,
    got: Vec<Got>,
}

impl LongPoll {
    fn ask(&mut self) {
        if !std::mem::replace(&mut self.is_asked, true) {
            let path = format!("{}&cursor={}", self.path, self.cursor);
            self.client.send(&path, &[]);
        }
    }

    fn next(&mut self) -> Got {
        while self.got.is_empty() {
            self.ask();
            let answer = self.client.receive();
            self.is_asked = false;
            match answer.status {
                200 => self.cursor = batch(&answer.json(), &mut self.got),
                204 => {}
                _ => return Got::End(answer.code()),
            }
        }
        self.got.remove(0)
    }
}

impl Reader {
    /// Returns when the mailbox holds its read.
    pub fn start(world: &World, way: Way, key: &str, cursor: u64) -> Self {
        let reader = Self::start_with_messages(world, way, key, cursor);
        world.gateway.until_held(1);
        reader
    }

    /// Something may be waiting for it.
    pub fn start_with_messages(world: &World, way: Way, key: &str, cursor: u64) -> Self {
        let path = format!("/lab/mailboxes/ann?key={key}&cursor={cursor}");
        match way.kind {
            Kind::Poll => {
                let path = format!("/lab/mailboxes/ann?key={key}");
                let (client, got) = (asking(world, way.wire), Vec::new());
                let mut poll = LongPoll { client, path, cursor, is_asked: false, got };
                poll.ask();
                Self::Poll(Box::new(poll))
            }
            Kind::Events => {
                let mut stream = open(world, way.wire, &path, "text/event-stream");
                assert!(stream.until("\n\n").is_some_and(|first| first.starts_with("retry: ")));
                Self::Events(stream)
            }
            Kind::Lines => {
                let mut stream = open(world, way.wire, &path, "application/x-ndjson");
                assert_eq!(stream.until("\n"), Some(format!("{{\"cursor\":{cursor}}}")));
                Self::Lines(stream)
            }
            Kind::WebSocket => {
                let socket = Socket::over(connect(world, way.wire), &path, None);
                let mut socket = socket.expect("a good handshake");
                let first = json!({"cursor": cursor, "lost": 0, "messages": []});
                assert_eq!(socket.json().ok(), Some(first));
                Self::WebSocket(Box::new(socket), Vec::new())
            }
        }
    }

    /// What comes next.
    pub fn next(&mut self) -> Got {
        match self {
            Self::Poll(poll) => poll.next(),
            Self::Events(stream) => event(&stream.event().expect("a stream says why it ends")),
            Self::Lines(stream) => {
                let line = stream.line().expect("a stream says why it ends");
                let line: Value = serde_json::from_str(&line).expect("a line is JSON");
                if let Some(code) = line["error"]["code"].as_str() {
                    Got::End(code.to_owned())
                } else if let Some(lost) = line["lost"].as_u64() {
                    Got::Lost(lost)
                } else {
                    Got::Message(line["seq"].as_u64().expect("a seq"), line["data"].to_string())
                }
            }
            Self::WebSocket(socket, got) => {
                while got.is_empty() {
                    match socket.json() {
                        Ok(value) => drop(batch(&value, got)),
                        Err(close) => {
                            let (code, _) = close.reason.split_once(':').expect("code: text");
                            let number = match code {
                                "displaced" => 4409,
                                "closed" => 4410,
                                "shutting_down" => 1012,
                                other => panic!("what is {other}?"),
                            };
                            assert_eq!(u16::from(close.code), number);
                            return Got::End(code.to_owned());
                        }
                    }
                }
                got.remove(0)
            }
        }
    }

    /// Waits for more: a long-poll has to ask, which confirms what it got.
    pub fn wait(&mut self) {
        if let Self::Poll(poll) = self {
            poll.ask();
        }
    }

    pub fn expect(&mut self, expected: &[Got]) {
        for expected in expected {
            assert_eq!(self.next(), *expected);
        }
    }
}

/// A stream over this wire.
fn open(world: &World, wire: Wire, path: &str, accept: &str) -> Stream<Box<dyn Source>> {
    let headers = [("accept", accept)];
    if wire == Wire::Http2 {
        let mut source = OverH2::connect(world);
        let head = source.open(path, &headers);
        return Stream::over(source, head).boxed();
    }
    Stream::open(Client::over(connect(world, wire)), path, &headers).boxed()
}

/// Takes a batch apart; its cursor.
fn batch(batch: &Value, got: &mut Vec<Got>) -> u64 {
    let lost = batch["lost"].as_u64().expect("a number");
    got.extend((lost > 0).then_some(Got::Lost(lost)));
    for message in batch["messages"].as_array().expect("a list") {
        let seq = message["seq"].as_u64().expect("a seq");
        got.push(Got::Message(seq, message["data"].to_string()));
    }
    batch["cursor"].as_u64().expect("a number")
}

fn event(text: &str) -> Got {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
    };
    let data = field("data").expect("an event has data");
    let json = || serde_json::from_str::<Value>(&data).expect("JSON");
    match field("event").as_deref() {
        None => Got::Message(field("id").expect("an id").parse().expect("a seq"), data),
        Some("lost") => Got::Lost(json()["lost"].as_u64().expect("a number")),
        Some("end") => Got::End(json()["error"]["code"].as_str().expect("a code").to_owned()),
        Some(other) => panic!("what is {other}?"),
    }
}

/// A WebSocket client.
pub struct Socket<S = TcpStream>(pub WebSocket<S>);

impl Socket {
    pub fn open(
        gateway: &Gateway,
        path: &str,
        sub_protocol: Option<&str>,
    ) -> Result<Self, Box<tungstenite::Error>> {
        let tcp = TcpStream::connect(gateway.addr).expect("the gateway listens");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        Self::over(tcp, path, sub_protocol)
    }
}

impl<S: Read + Write> Socket<S> {
    /// Shakes hands on a connection.
    pub fn over(
        stream: S,
        path: &str,
        sub_protocol: Option<&str>,
    ) -> Result<Self, Box<tungstenite::Error>> {
        let mut request = format!("ws://test{path}").into_client_request().expect("a good URL");
        if let Some(name) = sub_protocol {
            let name = name.parse().expect("a header's value");
            request.headers_mut().insert("sec-websocket-protocol", name);
        }
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(Box::new(error)),
            Err(tungstenite::HandshakeError::Interrupted(_)) => panic!("no answer to a handshake"),
        }
    }

    /// What comes next, whatever it is.
    pub fn read(&mut self) -> tungstenite::Result<Message> {
        loop {
            match self.0.read() {
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// The next message, or how it was closed.
    pub fn next(&mut self) -> Result<Message, CloseFrame> {
        loop {
            match self.read().expect("a socket ends with a close") {
                Message::Close(frame) => return Err(frame.expect("with a code")),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                message => return Ok(message),
            }
        }
    }

    pub fn json(&mut self) -> Result<Value, CloseFrame> {
        let text = self.next()?.into_text().expect("a text");
        Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    pub fn send(&mut self, json: &Value) {
        self.0.send(Message::text(json.to_string())).expect("the socket is open");
    }
}
