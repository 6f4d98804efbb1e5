//! A tiny HTTP/1.1 client that hides nothing: one connection, requests as they
//! are written, answers as they come.

use super::{PATIENCE, uninterrupted};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// One connection, by TCP unless it says otherwise.
pub struct Client<S: Read = TcpStream> {
    reader: BufReader<S>,
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a text was expected")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    pub fn msgpack(&self) -> rmpv::Value {
        rmpv::decode::read_value(&mut &self.body[..]).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// The code of an error, whose form is checked.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let error = &self.json()["error"];
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{self:?}");
        error["code"].as_str().unwrap_or_else(|| panic!("no code in {self:?}")).to_owned()
    }
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        stream.set_nodelay(true).expect("an open socket");
        Self { reader: BufReader::new(stream) }
    }

    /// The same connection once more, to send on while this one reads.
    pub fn try_clone(&self) -> Self {
        let stream = self.reader.get_ref().try_clone().expect("an open socket");
        Self { reader: BufReader::new(stream) }
    }

    /// Closes one side of the connection, or both.
    pub fn shutdown(&self, how: Shutdown) {
        self.reader.get_ref().shutdown(how).expect("an open socket");
    }

    /// True if the gateway has ended the connection, or does so before `limit`.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        let started = Instant::now();
        let stream = self.reader.get_ref();
        stream.set_read_timeout(Some(limit)).expect("a positive time");
        let result = uninterrupted(|| self.reader.read(&mut [0; 1]));
        self.reader.get_ref().set_read_timeout(Some(PATIENCE)).expect("a positive time");
        match result {
            Ok(read) => read == 0,
            // A reset is an end, too.
            Err(_) => started.elapsed() < limit,
        }
    }
}

impl<S: Read + Write> Client<S> {
    pub fn over(stream: S) -> Self {
        Self { reader: BufReader::new(stream) }
    }

    pub fn stream(&self) -> &S {
        self.reader.get_ref()
    }

    /// Sends bytes as they are. False: the connection is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.reader.get_mut().write_all(bytes).is_ok()
    }

    /// Sends a request and does not wait for its answer.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            request += &format!("content-length: {}\r\n", body.len());
        }
        request += "\r\n";
        let sent = self.send_raw(&[request.as_bytes(), body].concat());
        assert!(sent, "the gateway closed the connection");
    }

    /// The next answer; none if the connection ended instead.
    pub fn receive(&mut self) -> Option<Response> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.reader.read_line(&mut line).expect("a head ends with an empty line");
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        let length = response.header("content-length").map_or(0, |l| l.parse().expect("a number"));
        response.body.resize(length, 0);
        self.reader.read_exact(&mut response.body).expect("a body as long as it says");
        Some(response)
    }

    /// The next chunk of an answer whose head was received; none: that was all,
    /// or the connection was cut.
    pub fn chunk(&mut self) -> Option<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        let length = usize::from_str_radix(line.trim_end(), 16);
        let length = length.unwrap_or_else(|_| panic!("no chunk: {line:?}"));
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes).ok()?;
        assert_eq!(bytes.split_off(length), b"\r\n");
        (length > 0).then(|| String::from_utf8(bytes).expect("a stream is text"))
    }

    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.send(method, path, headers, body);
        self.receive().unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&mut self, path: &str, json: &str) -> Response {
        self.request("POST", path, &[], json.as_bytes())
    }

    /// Opens a mailbox of this name in the app `lab`; its key.
    pub fn open(&mut self, name: &str) -> String {
        self.open_with(&format!("{{\"name\":{name:?}}}"))
    }

    /// Opens a mailbox in the app `lab`; its key.
    pub fn open_with(&mut self, body: &str) -> String {
        let opened = self.post("/lab/mailboxes", body);
        assert_eq!(opened.status, 201, "{opened:?}");
        opened.json()["key"].as_str().expect("a key").to_owned()
    }

    /// Publishes in the app `lab`.
    pub fn publish(&mut self, json: &str) -> Response {
        let key = [("authorization", "Bearer secret")];
        self.request("POST", "/lab/publish", &key, json.as_bytes())
    }

    /// Publishes data to one mailbox, which takes it.
    pub fn publish_to(&mut self, mailbox: &str, data: &str) {
        let body = format!("{{\"to\":{{\"mailboxes\":[{mailbox:?}]}},\"data\":{data}}}");
        let published = self.publish(&body);
        assert_eq!(published.json()["results"][0]["queued"], 1, "{published:?}");
    }
}
