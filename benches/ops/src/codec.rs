//! Bytes ↔ requests and answers.

use crate::{Operation, Work, world};
use cometbox::{
    core::{Batch, Delivery, Message},
    transport::{self, Format, StreamFormat},
};
use std::{hint::black_box, sync::Arc};

pub const REPEAT: u64 = 100;

pub fn operations() -> Vec<Operation> {
    let guarded =
        |name, prepare| Operation { name, guarded: true, per_step: REPEAT, steps: 4, prepare };
    vec![
        guarded("codec/encode/json/1", || encode(Format::Json, 1, world::message)),
        guarded("codec/encode/json/10", || encode(Format::Json, 10, world::message)),
        guarded("codec/encode/json/10-texts", || encode(Format::Json, 10, world::text)),
        guarded("codec/encode/msgpack/1", || encode(Format::MsgPack, 1, world::message)),
        guarded("codec/encode/msgpack/10", || encode(Format::MsgPack, 10, world::message)),
        guarded("codec/encode/msgpack/first-reader", || Box::new(First::new())),
        guarded("codec/stream/events/1", || stream(StreamFormat::Events, 1)),
        guarded("codec/stream/events/10", || stream(StreamFormat::Events, 10)),
        guarded("codec/stream/lines/10", || stream(StreamFormat::Lines, 10)),
        guarded("codec/decode-publish/json", || decode("application/json", json())),
        guarded("codec/decode-publish/msgpack", || decode("application/msgpack", msgpack())),
        guarded("codec/decode-body/json", || {
            repeat(|| {
                let body = black_box(world::JSON.as_bytes());
                black_box(transport::decode_body(Some("application/json"), body)).is_ok()
            })
        }),
        guarded("codec/read-query-and-key", || {
            repeat(|| {
                let query = Some(black_box("cursor=123456&wait=25&key=AAECAwQFBgcICQoLDA0ODw"));
                let read = transport::read_query(query).expect("a valid query");
                black_box(read.key.and_then(transport::decode_key)).is_some()
            })
        }),
    ]
}

/// Does the same thing [`REPEAT`] times; it says whether it went well.
struct Repeat<F>(F);

impl<F: FnMut() -> bool> Work for Repeat<F> {
    fn step(&mut self) {
        for _ in 0..REPEAT {
            assert!((self.0)());
        }
    }
}

pub fn repeat(work: impl FnMut() -> bool + 'static) -> Box<dyn Work> {
    Box::new(Repeat(work))
}

pub fn batch(messages: &[Arc<Message>]) -> Batch {
    let deliveries = (1..).zip(messages);
    let deliver = |(seq, message): (u64, &Arc<Message>)| Delivery { seq, message: message.clone() };
    let messages = deliveries.map(deliver).collect();
    Batch { cursor: 123_456, lost: 0, messages }
}

/// The answer to one of a message's many readers: the same buffer again, the
/// payload's form made already.
fn encode(format: Format, messages: usize, message: fn() -> Arc<Message>) -> Box<dyn Work> {
    let batch = batch(&vec![message(); messages]);
    let mut out = Vec::new();
    repeat(move || {
        out.clear();
        transport::batch(format, black_box(&batch), &mut out);
        !black_box(&out).is_empty()
    })
}

fn stream(format: StreamFormat, messages: usize) -> Box<dyn Work> {
    let batch = batch(&vec![world::message(); messages]);
    let mut out = Vec::new();
    repeat(move || {
        out.clear();
        format.batch(black_box(&batch), &mut out);
        !black_box(&out).is_empty()
    })
}

/// The first reader of a JSON message who wants MessagePack.
struct First {
    batches: Vec<Batch>,
    out: Vec<u8>,
}

impl First {
    fn new() -> Self {
        let mut first = Self { batches: Vec::new(), out: Vec::new() };
        first.reset();
        first
    }
}

impl Work for First {
    fn step(&mut self) {
        for batch in &self.batches {
            self.out.clear();
            transport::batch(Format::MsgPack, black_box(batch), &mut self.out);
        }
    }

    fn reset(&mut self) {
        self.batches = (0..REPEAT).map(|_| batch(&[world::message()])).collect();
    }
}

fn decode(content_type: &'static str, body: Vec<u8>) -> Box<dyn Work> {
    repeat(move || {
        let decoded = transport::decode_publish(Some(content_type), black_box(&body), 100);
        black_box(decoded).is_ok_and(|items| items.len() == 1)
    })
}

fn json() -> Vec<u8> {
    format!(r#"{{"to":{{"groups":["lobby"],"except":["ann"]}},"data":{}}}"#, world::JSON).into()
}

/// The same; nothing of it has 16 entries or 256 bytes.
fn msgpack() -> Vec<u8> {
    let mut out = Vec::new();
    let mut to = transport::Encoder::new(Format::MsgPack, &mut out);
    to.map(2);
    to.key("to");
    to.map(2);
    for (field, name) in [("groups", "lobby"), ("except", "ann")] {
        to.key(field);
        to.array(1);
        to.str(name);
    }
    to.key("data");
    to.payload(&world::message().payload);
    out
}
