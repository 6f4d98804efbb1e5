//! A mailbox as a stream, read by hand: chunks of an answer that does not end.

use super::{Client, Response};

/// An answer that goes on.
pub struct Stream {
    client: Client,
    path: String,
    pub head: Response,
    /// What came and was not looked at yet.
    came: String,
}

impl Stream {
    /// Sends the request and reads the head of its answer.
    pub fn open(mut client: Client, path: &str, headers: &[(&str, &str)]) -> Self {
        client.send("GET", path, headers, b"");
        let head = client.receive().expect("a stream has a head");
        Self { client, path: path.to_owned(), head, came: String::new() }
    }

    /// What was asked for.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What came up to the first `end`, and without it; none if the stream has
    /// ended.
    pub fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some((piece, rest)) = self.came.split_once(end) {
                let piece = piece.to_owned();
                self.came = rest.to_owned();
                return Some(piece);
            }
            self.came += &self.client.chunk()?;
        }
    }

    /// The next that is no sign of life.
    pub fn next(&mut self, end: &str, quiet: impl Fn(&str) -> bool) -> Option<String> {
        loop {
            let piece = self.until(end)?;
            if !quiet(&piece) {
                return Some(piece);
            }
        }
    }

    /// The next event.
    pub fn event(&mut self) -> Option<String> {
        self.next("\n\n", |piece| piece == ":")
    }

    /// The next line with a message, a loss or an error.
    pub fn line(&mut self) -> Option<String> {
        self.next("\n", |piece| piece.starts_with("{\"cursor\":") && !piece.contains("lost"))
    }

    /// The connection, to go on with after the stream has ended.
    pub fn into_client(self) -> Client {
        self.client
    }
}
