//! A mailbox as a stream, read by hand: pieces of an answer that does not end.

use super::{Client, Response};
use std::io::{Read, Write};

/// Where the pieces come from.
pub trait Source {
    /// The next; none: that was all, or the connection was cut.
    fn piece(&mut self) -> Option<String>;
}

impl<S: Read + Write> Source for Client<S> {
    fn piece(&mut self) -> Option<String> {
        self.chunk()
    }
}

impl Source for Box<dyn Source> {
    fn piece(&mut self) -> Option<String> {
        (**self).piece()
    }
}

/// An answer that goes on.
pub struct Stream<C = Client> {
    source: C,
    pub head: Response,
    /// What came and was not looked at yet.
    came: String,
}

impl<S: Read + Write> Stream<Client<S>> {
    /// Sends the request and reads the head of its answer.
    pub fn open(mut client: Client<S>, path: &str, headers: &[(&str, &str)]) -> Self {
        client.send("GET", path, headers, b"");
        let head = client.receive().expect("a stream has a head");
        Self::over(client, head)
    }

    /// The connection, to go on with after the stream has ended.
    pub fn into_client(self) -> Client<S> {
        self.source
    }
}

impl<C: Source> Stream<C> {
    pub fn source(&self) -> &C {
        &self.source
    }

    /// An answer whose head was received.
    pub fn over(source: C, head: Response) -> Self {
        Self { source, head, came: String::new() }
    }

    /// The same, whatever it comes by.
    pub fn boxed(self) -> Stream<Box<dyn Source>>
    where
        C: 'static,
    {
        let Self { source, head, came } = self;
        Stream { source: Box::new(source), head, came }
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
            self.came += &self.source.piece()?;
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
}
