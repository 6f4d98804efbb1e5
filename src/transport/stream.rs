//! A mailbox as a stream: server-sent events (HTML Living Standard, 9.2.6) and
//! lines of JSON.

use super::{Encoder, ErrorBody, Format, encode};
use crate::core::{Batch, Delivery};
use std::io::Write;

/// How a stream is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamFormat {
    /// `text/event-stream`.
    Events,
    /// `application/x-ndjson`: a JSON object a line.
    Lines,
}

/// The same after it was displaced: an `EventSource` that came back at once
/// would displace the reader that displaced it, and so on. A day.
const RETRY_DISPLACED_MS: u64 = 24 * 3600 * 1000;

impl StreamFormat {
    pub(super) const ALL: [Self; 2] = [Self::Events, Self::Lines];

    /// As metrics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Lines => "lines",
        }
    }

    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
        }
    }

    /// What comes first, at once: it tells the client that the stream is up,
    /// and that nothing on the way holds it back. An `EventSource` whose stream
    /// breaks waits `retry_ms` before it comes again.
    pub fn begin(self, position: u64, retry_ms: u64, out: &mut Vec<u8>) {
        if self == Self::Events {
            retry(out, retry_ms);
        }
        self.keep_alive(position, out);
    }

    /// What comes when nothing else does.
    pub fn keep_alive(self, position: u64, out: &mut Vec<u8>) {
        match self {
            Self::Events => out.extend_from_slice(b":\n\n"),
            Self::Lines => text(out, format_args!("{{\"cursor\":{position}}}\n")),
        }
    }

    /// Messages, and before them how many were lost.
    pub fn batch(self, batch: &Batch, out: &mut Vec<u8>) {
        if batch.lost > 0 {
            // Drops are always older than what is left.
            let up_to = batch.messages.first().map_or(batch.cursor, |first| first.seq - 1);
            self.lost(batch.lost, up_to, out);
        }
        batch.messages.iter().for_each(|delivery| self.delivery(delivery, out));
    }

    fn lost(self, count: u64, up_to: u64, out: &mut Vec<u8>) {
        if self == Self::Events {
            text(out, format_args!("id: {up_to}\nevent: lost\ndata: "));
        }
        text(out, format_args!("{{\"cursor\":{up_to},\"lost\":{count}}}"));
        self.end_of_one(out);
    }

    fn delivery(self, Delivery { seq, message }: &Delivery, out: &mut Vec<u8>) {
        if self == Self::Events {
            out.extend_from_slice(b"id: ");
            out.extend_from_slice(itoa::Buffer::new().format(*seq).as_bytes());
            out.extend_from_slice(b"\ndata: ");
        }
        let start = out.len();
        let mut to = Encoder::new(Format::Json, out);
        match self {
            Self::Events => to.message(message),
            Self::Lines => encode::delivery(&mut to, *seq, message),
        }
        // A line must not end within a message. In valid JSON these bytes are
        // white space between tokens; inside of strings they are escaped.
        let mut from = start;
        while let Some(at) = memchr::memchr2(b'\n', b'\r', &out[from..]) {
            out[from + at] = b' ';
            from += at + 1;
        }
        self.end_of_one(out);
    }

    /// Why nothing more comes.
    pub fn end(self, why: &ErrorBody, out: &mut Vec<u8>) {
        if self == Self::Events {
            if why.code == super::Code::Displaced {
                retry(out, RETRY_DISPLACED_MS);
            }
            out.extend_from_slice(b"event: end\ndata: ");
        }
        encode::error(Format::Json, why, out);
        self.end_of_one(out);
    }

    fn end_of_one(self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self {
            Self::Events => b"\n\n",
            Self::Lines => b"\n",
        });
    }
}

fn retry(out: &mut Vec<u8>, ms: u64) {
    text(out, format_args!("retry: {ms}\n"));
}

fn text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every byte there is");
}
