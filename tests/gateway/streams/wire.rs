//! What a reader's bytes go by.

use crate::{
    support::{Client, PATIENCE, Response, Source},
    tls::{H2, World, runtime},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::{
    io::{Read, Write},
    net::TcpStream,
};
use tokio::{runtime::Runtime, task::JoinHandle, time::timeout};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    Plain,
    /// HTTP/1.1 over it.
    Tls,
    Http2,
}

/// A connection, whatever it goes by.
pub trait Duplex: Read + Write {}

impl<S: Read + Write> Duplex for S {}

/// A connection for HTTP/1.1, or what follows it.
pub fn connect(world: &World, wire: Wire) -> Box<dyn Duplex> {
    match wire {
        Wire::Plain => {
            let socket = TcpStream::connect(world.gateway.addr).expect("the gateway listens");
            socket.set_read_timeout(Some(PATIENCE)).expect("a positive time");
            socket.set_nodelay(true).expect("an open socket");
            Box::new(socket)
        }
        Wire::Tls => Box::new(world.connect()),
        Wire::Http2 => unreachable!("it has no connection to oneself"),
    }
}

/// Who asks, and is answered, one time after the other.
pub trait Asking {
    fn send(&mut self, path: &str, headers: &[(&str, &str)]);
    fn receive(&mut self) -> Response;
}

/// A client of this wire.
pub fn asking(world: &World, wire: Wire) -> Box<dyn Asking> {
    match wire {
        Wire::Http2 => Box::new(OverH2::connect(world)),
        _ => Box::new(Client::over(connect(world, wire))),
    }
}

impl<S: Read + Write> Asking for Client<S> {
    fn send(&mut self, path: &str, headers: &[(&str, &str)]) {
        Client::send(self, "GET", path, headers, b"");
    }

    fn receive(&mut self) -> Response {
        Client::receive(self).expect("a read is answered")
    }
}

/// As much as nobody reads, HTTP/2's own default: less than some messages.
const WINDOW_BYTES: u32 = 65_535;

/// A connection of HTTP/2 with one request at a time.
pub struct OverH2 {
    client: H2,
    answer: Option<JoinHandle<hyper::Result<Response>>>,
    body: Option<Incoming>,
    /// What all of it runs on; dropped last, and the connection with it.
    runtime: Runtime,
}

impl OverH2 {
    pub fn connect(world: &World) -> Self {
        let runtime = runtime();
        let (client, _) = runtime.block_on(H2::connect_with(world, WINDOW_BYTES));
        Self { client, answer: None, body: None, runtime }
    }

    /// Asks for a stream; the head of the answer.
    pub fn open(&mut self, path: &str, headers: &[(&str, &str)]) -> Response {
        let begun = self.client.begin("GET", path, headers, "");
        let (head, body) = self.runtime.block_on(begun).expect("a stream has a head");
        self.body = Some(body);
        head
    }
}

impl Asking for OverH2 {
    fn send(&mut self, path: &str, headers: &[(&str, &str)]) {
        let request = self.client.request("GET", path, headers, "");
        self.answer = Some(self.runtime.spawn(request));
    }

    fn receive(&mut self) -> Response {
        let answer = self.answer.take().expect("it was asked");
        self.runtime.block_on(answer).expect("no panic").expect("a read is answered")
    }
}

impl Source for OverH2 {
    fn piece(&mut self) -> Option<String> {
        let body = self.body.as_mut().expect("it was opened");
        let frame = self.runtime.block_on(async { timeout(PATIENCE, body.frame()).await });
        let frame = frame.expect("a piece in time")?.ok()?;
        let data = frame.into_data().expect("there are no trailers");
        Some(String::from_utf8(data.into()).expect("a stream is text"))
    }
}
