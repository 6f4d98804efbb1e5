//! What the streams of an HTTP/2 connection are at, and since when: the sweep's
//! side of a connection that is at many requests at once.

use super::super::clock::{COARSE_MS, Clock};
use super::conn::Conn;
use crate::config::HttpConfig;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use slab::Slab;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, ready},
};

/// An answer goes out in pieces of so many bytes, each once there is room for
/// it: what a slow client has not taken is seen, and little of it is buffered.
const PIECE_BYTES: usize = 16 << 10;

/// So many whole request bodies (of `max_body_bytes`) the streams of one
/// connection may have in memory together.
const MAX_WHOLE_BODIES: usize = 16;

/// The streams of a connection.
pub(super) struct Streams {
    clock: Clock,
    inner: Mutex<Inner>,
    /// Since when part of a head has been there; 0: none is.
    head_since_ms: AtomicU64,
    /// Of request bodies.
    body_bytes: AtomicUsize,
}

struct Inner {
    /// As many as are allowed at a time, and those whose tasks still have to
    /// notice that they were reset.
    all: Slab<State>,
    /// When the last of them ended.
    idle_since_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// A request runs or is held, or an answer waits for more from its source.
    Ours,
    /// A piece of an answer waits for the client since then.
    Clients(u64),
}

impl Streams {
    pub(super) fn new(clock: Clock) -> Self {
        let inner = Inner { all: Slab::new(), idle_since_ms: clock.coarse_ms() };
        Self {
            clock,
            inner: Mutex::new(inner),
            head_since_ms: AtomicU64::new(0),
            body_bytes: AtomicUsize::new(0),
        }
    }

    /// Whether a time limit is over: nobody asks, a head does not end, or an
    /// answer is not taken.
    pub(super) fn are_late(&self, http: &HttpConfig, now_ms: u64) -> bool {
        let over = |since_ms: u64, limit_s: u64| {
            let limit_ms = limit_s.saturating_mul(1000).saturating_add(COARSE_MS);
            now_ms.saturating_sub(since_ms) >= limit_ms
        };
        let head_since_ms = self.head_since_ms.load(Relaxed);
        if head_since_ms != 0 && over(head_since_ms, http.head_timeout_s) {
            return true;
        }
        let inner = self.inner.lock();
        if inner.all.is_empty() {
            return over(inner.idle_since_ms, http.idle_timeout_s);
        }
        inner.all.iter().any(|(_, state)| match state {
            State::Ours => false,
            State::Clients(since_ms) => over(*since_ms, http.idle_timeout_s),
        })
    }

    /// Part of a head is there, or none is (any more).
    pub(super) fn note_head(&self, is_there: bool) {
        let since_ms = if is_there { self.clock.coarse_ms() } else { 0 };
        self.head_since_ms.store(since_ms, Relaxed);
    }
}

/// One stream of a connection, from its request to the end of its answer.
pub(super) struct Stream {
    conn: Arc<Conn>,
    index: usize,
}

impl Stream {
    /// A request has come. None: the connection is not of HTTP/2.
    pub(super) fn begin(conn: &Arc<Conn>) -> Option<Self> {
        let index = conn.streams()?.inner.lock().all.insert(State::Ours);
        Some(Self { conn: conn.clone(), index })
    }

    fn note(&self, state: impl FnOnce(u64) -> State) {
        let Some(streams) = self.conn.streams() else { return };
        let state = state(streams.clock.coarse_ms());
        if let Some(slot) = streams.inner.lock().all.get_mut(self.index) {
            *slot = state;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(streams) = self.conn.streams() else { return };
        let now_ms = streams.clock.coarse_ms();
        let mut inner = streams.inner.lock();
        inner.all.remove(self.index);
        inner.idle_since_ms = now_ms;
    }
}

/// Room for a request body, given back when dropped. One connection of HTTP/1.1
/// has one body at a time, and as much room as it may be large.
pub(super) struct BodyRoom<'a> {
    streams: Option<&'a Streams>,
    bytes: usize,
}

impl<'a> BodyRoom<'a> {
    pub(super) fn none(conn: &'a Conn) -> Self {
        Self { streams: conn.streams(), bytes: 0 }
    }

    /// Takes room for more bytes; false: the connection's bodies have all they
    /// may have together.
    pub(super) fn grow(&mut self, bytes: usize, max_body_bytes: usize) -> bool {
        let Some(streams) = self.streams else { return true };
        let before = streams.body_bytes.fetch_add(bytes, SeqCst);
        self.bytes += bytes;
        before + bytes <= max_body_bytes.saturating_mul(MAX_WHOLE_BODIES)
    }
}

impl Drop for BodyRoom<'_> {
    fn drop(&mut self) {
        if let Some(streams) = self.streams {
            streams.body_bytes.fetch_sub(self.bytes, SeqCst);
        }
    }
}

/// An answer's body on a stream.
pub(super) struct Pieces<B> {
    body: B,
    /// What is left of a frame of it.
    rest: Bytes,
    stream: Option<Stream>,
}

impl<B> Pieces<B> {
    pub(super) fn new(body: B, stream: Option<Stream>) -> Self {
        Self { body, rest: Bytes::new(), stream }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let me = &mut *self;
        // Who asks has got rid of the piece before.
        let note = |state: fn(u64) -> State| {
            if let Some(stream) = &me.stream {
                stream.note(state);
            }
        };
        if me.rest.is_empty() {
            note(|_| State::Ours);
            let frame = match ready!(Pin::new(&mut me.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => me.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        note(State::Clients);
        let piece = me.rest.split_to(me.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
