//! Answers, straight into a buffer.

use super::{ErrorBody, Format, KeyText, msgpack};
use crate::core::{Batch, Kind, Message, Name, Payload, SendReport};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

/// Writes maps, arrays and values in one of the formats. Inlined, so that what
/// is known of a key (all of it, mostly) is known to what writes it; what each
/// delivery goes through always, or it depends on changes elsewhere in the crate.
///
/// The caller announces how many entries a map or array has (MessagePack wants
/// to know) and ends it (JSON wants to know).
pub struct Encoder<'a> {
    format: Format,
    out: &'a mut Vec<u8>,
}

/// A `Vec` takes every byte there is.
const VEC: &str = "writing into a Vec does not fail";

impl<'a> Encoder<'a> {
    /// Appends to `out`.
    #[inline]
    pub fn new(format: Format, out: &'a mut Vec<u8>) -> Self {
        Self { format, out }
    }

    /// Starts a map of so many entries.
    #[inline(always)]
    pub fn map(&mut self, entries: usize) {
        match self.format {
            Format::Json => self.out.push(b'{'),
            Format::MsgPack => msgpack::map(self.out, entries),
        }
    }

    #[inline]
    pub fn end_map(&mut self) {
        if self.format == Format::Json {
            self.out.push(b'}');
        }
    }

    /// Starts an array of so many items, each announced by [`Encoder::item`].
    #[inline]
    pub fn array(&mut self, items: usize) {
        match self.format {
            Format::Json => self.out.push(b'['),
            Format::MsgPack => msgpack::array(self.out, items),
        }
    }

    #[inline]
    pub fn end_array(&mut self) {
        if self.format == Format::Json {
            self.out.push(b']');
        }
    }

    /// The value of an array's next item follows.
    #[inline(always)]
    pub fn item(&mut self) {
        // No JSON value ends with an opening bracket, so this one is ours.
        if self.format == Format::Json && self.out.last() != Some(&b'[') {
            self.out.push(b',');
        }
    }

    /// The value of this key follows. Keys are our own and need no escapes.
    #[inline(always)]
    pub fn key(&mut self, key: &str) {
        debug_assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        match self.format {
            Format::Json => {
                if self.out.last() != Some(&b'{') {
                    self.out.push(b',');
                }
                self.out.push(b'"');
                self.out.extend_from_slice(key.as_bytes());
                self.out.extend_from_slice(b"\":");
            }
            Format::MsgPack => msgpack::str(self.out, key),
        }
    }

    pub fn str(&mut self, text: &str) {
        match self.format {
            Format::Json if is_plain(text.as_bytes()) => self.plain(text.as_bytes()),
            Format::Json => serde_json::to_writer(&mut *self.out, text).expect(VEC),
            Format::MsgPack => msgpack::str(self.out, text),
        }
    }

    /// A JSON string without anything to escape.
    fn plain(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
    }

    #[inline(always)]
    pub fn u64(&mut self, number: u64) {
        match self.format {
            Format::Json => {
                self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            }
            Format::MsgPack => msgpack::u64(self.out, number),
        }
    }

    pub fn bool(&mut self, is_so: bool) {
        match self.format {
            Format::Json if is_so => self.out.extend_from_slice(b"true"),
            Format::Json => self.out.extend_from_slice(b"false"),
            Format::MsgPack => msgpack::bool(self.out, is_so),
        }
    }

    /// A payload in the form of its kind.
    #[inline]
    pub fn payload(&mut self, payload: &Payload) {
        let bytes = &payload.bytes;
        match (self.format, payload.kind) {
            (Format::Json, Kind::Json) => self.out.extend_from_slice(bytes),
            (Format::Json, Kind::Text) => self.str(text_of(bytes).as_ref()),
            (Format::Json, Kind::Binary) => {
                self.out.extend_from_slice(b"{\"base64\":\"");
                let start = self.out.len();
                self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
                STANDARD
                    .encode_slice(bytes, &mut self.out[start..])
                    .expect("base64 takes four bytes for every three begun");
                self.out.extend_from_slice(b"\"}");
            }
            (Format::MsgPack, Kind::Json) => msgpack::from_json(bytes, self.out),
            (Format::MsgPack, Kind::Text) => msgpack::str(self.out, text_of(bytes).as_ref()),
            (Format::MsgPack, Kind::Binary) => msgpack::bin(self.out, bytes),
        }
    }

    /// A message's payload; what takes work is done once per message and
    /// shared by its readers.
    #[inline(always)]
    pub(super) fn message(&mut self, message: &Message) {
        let payload = &message.payload;
        let cache = match (self.format, payload.kind) {
            // Copying it is all there is to do.
            (Format::Json, Kind::Text) if is_plain(&payload.bytes) => {
                return self.plain(&payload.bytes);
            }
            (Format::Json, Kind::Text | Kind::Binary) => &message.encoded_json,
            (Format::MsgPack, Kind::Json) => &message.encoded_msgpack,
            _ => return self.payload(payload),
        };
        let encoded = cache.get_or_init(|| {
            let mut buffer = Vec::with_capacity(payload.bytes.len() + 16);
            Encoder::new(self.format, &mut buffer).payload(payload);
            Bytes::from(buffer)
        });
        self.out.extend_from_slice(encoded);
    }

    fn names(&mut self, names: &[Name]) {
        self.array(names.len());
        for name in names {
            self.item();
            self.str(name.as_str());
        }
        self.end_array();
    }
}

/// Whether a text's bytes go into a JSON string as they are (RFC 8259, 7).
fn is_plain(text: &[u8]) -> bool {
    // Without a branch per byte, so that many are looked at at once.
    let escaped = |byte: &u8| u8::from(*byte < b' ' || matches!(*byte, b'"' | b'\\'));
    text.iter().fold(0, |any, byte| any | escaped(byte)) == 0
}

/// The bytes of a payload of text, which its maker has checked.
fn text_of(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// `{"cursor":…,"lost":…,"messages":[…]}`: the answer to a read.
pub fn batch(format: Format, batch: &Batch, out: &mut Vec<u8>) {
    let mut to = Encoder::new(format, out);
    to.map(3);
    to.key("cursor");
    to.u64(batch.cursor);
    to.key("lost");
    to.u64(batch.lost);
    to.key("messages");
    to.array(batch.messages.len());
    for delivery in &batch.messages {
        to.item();
        self::delivery(&mut to, delivery.seq, &delivery.message);
    }
    to.end_array();
    to.end_map();
}

#[inline(always)]
pub(super) fn delivery(to: &mut Encoder<'_>, seq: u64, message: &Message) {
    to.map(2);
    to.key("seq");
    to.u64(seq);
    to.key("data");
    to.message(message);
    to.end_map();
}

/// The answer to an open.
pub fn opened(
    format: Format,
    mailbox: &Name,
    key: &KeyText,
    cursor: u64,
    reply: Option<&Payload>,
    out: &mut Vec<u8>,
) {
    let mut to = Encoder::new(format, out);
    to.map(3 + usize::from(reply.is_some()));
    to.key("mailbox");
    to.str(mailbox.as_str());
    to.key("key");
    to.str(key.as_str());
    to.key("cursor");
    to.u64(cursor);
    if let Some(reply) = reply {
        to.key("reply");
        to.payload(reply);
    }
    to.end_map();
}

/// The answer to a send that a plugin replied to.
pub fn reply(format: Format, reply: &Payload, out: &mut Vec<u8>) {
    let mut to = Encoder::new(format, out);
    to.map(1);
    to.key("reply");
    to.payload(reply);
    to.end_map();
}

/// What became of one item of a publish.
pub type PublishResult = Result<SendReport, ErrorBody>;

/// The answer to a publish.
pub fn results(format: Format, results: &[PublishResult], out: &mut Vec<u8>) {
    let mut to = Encoder::new(format, out);
    to.map(1);
    to.key("results");
    to.array(results.len());
    for result in results {
        to.item();
        match result {
            Ok(report) => {
                to.map(4 + usize::from(report.duplicate));
                to.key("queued");
                to.u64(report.queued as u64);
                to.key("missing");
                to.names(&report.missing);
                to.key("full");
                to.names(&report.full);
                to.key("dropped");
                to.u64(report.dropped as u64);
                if report.duplicate {
                    to.key("duplicate");
                    to.bool(true);
                }
                to.end_map();
            }
            Err(body) => error_map(&mut to, body),
        }
    }
    to.end_array();
    to.end_map();
}

/// `{"error":{…}}`.
pub fn error(format: Format, body: &ErrorBody, out: &mut Vec<u8>) {
    error_map(&mut Encoder::new(format, out), body);
}

fn error_map(to: &mut Encoder<'_>, body: &ErrorBody) {
    to.map(1);
    error_entry(to, body);
    to.end_map();
}

/// `"error":{…}`, of a map that the caller has started.
pub(super) fn error_entry(to: &mut Encoder<'_>, body: &ErrorBody) {
    let ErrorBody { code, message, index, id, reason } = body;
    let more = [index.is_some(), id.is_some(), reason.is_some()];
    to.key("error");
    to.map(2 + more.into_iter().filter(|given| *given).count());
    to.key("code");
    to.str(code.as_str());
    to.key("message");
    to.str(message);
    if let Some(index) = index {
        to.key("index");
        to.u64(*index as u64);
    }
    if let Some(id) = id {
        to.key("id");
        to.str(id);
    }
    if let Some(reason) = reason {
        to.key("reason");
        to.str(reason);
    }
    to.end_map();
}
