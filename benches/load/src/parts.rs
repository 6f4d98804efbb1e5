//! What the engine moves: readers, targets, lanes.

use crate::{
    check::Stream,
    dialect::{Parcel, Poll},
    histogram::Histogram,
    net::Conn,
};
use std::collections::VecDeque;

/// A long-poll client.
pub struct Reader {
    pub conn: Conn,
    pub poll: Poll,
    pub position: Vec<u8>,
    /// What its messages are addressed to, and the first target that does.
    pub address: u32,
    pub first_target: usize,
    /// One for each target of its address; none: it is not to get any message.
    pub streams: Vec<Stream>,
    /// The stream that it does not hear: its own.
    pub own: Option<usize>,
    pub lane: usize,
    /// Its poll has no answer yet.
    pub polling: bool,
    /// Its mailbox is closed.
    pub gone: bool,
}

/// Something to publish to.
pub struct Target {
    pub parcel: Parcel,
    pub lane: usize,
    pub to: u32,
    pub stream: u16,
    /// How many readers should get each message.
    pub audience: u64,
    /// The last sequence number.
    pub sent: u32,
}

pub struct Lane {
    pub conn: Conn,
    pub targets: Vec<usize>,
    pub next: usize,
    /// Its request has no answer yet.
    pub busy: bool,
    /// When that was sent, or with a pace was due.
    pub asked_ns: u64,
    /// The reader that polls once it is answered.
    pub wakes: Option<usize>,
    /// Deliveries that are due for what it sent.
    pub outstanding: u64,
    /// How many it may send without a pace.
    pub allowed: u64,
    /// With a pace: target, and when it was due.
    pub queue: VecDeque<(usize, u64)>,
}

impl Lane {
    pub fn new(conn: Conn) -> Self {
        Self {
            conn,
            targets: Vec::new(),
            next: 0,
            busy: false,
            asked_ns: 0,
            wakes: None,
            outstanding: 0,
            allowed: 0,
            queue: VecDeque::new(),
        }
    }
}

/// A fixed rate over all targets in turn.
pub struct Pace {
    pub interval_ns: u64,
    pub due_ns: u64,
    pub next: usize,
}

/// What is counted between two looks.
pub struct Counted {
    pub deliveries: u64,
    pub published: u64,
    pub latency: Histogram,
    /// From a lane's request to its answer.
    pub answers: Histogram,
    /// With a pace: how much later than due a publish went out.
    pub lateness: Histogram,
}

impl Counted {
    pub fn new() -> Self {
        let [latency, answers, lateness] = std::array::from_fn(|_| Histogram::new());
        Self { deliveries: 0, published: 0, latency, answers, lateness }
    }
}
