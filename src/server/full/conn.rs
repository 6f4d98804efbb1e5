//! One connection: its socket, what it is at, and since when.
//!
//! hyper has no timeout for a silent connection, and one for a slow head that
//! costs a timer per request. So a connection notes its phase, and one sweep
//! twice a second ends those that are over their time.

use super::{
    super::{
        clock::{COARSE_MS, Clock},
        cors::Origins,
        http1,
        reply::Reply,
    },
    pipe::Pipe,
    streams::Streams,
    websocket::Upgrade,
};
use crate::{
    config::HttpConfig,
    transport::{Code, ErrorBody, Format},
};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_send_buffer_size;
use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicU8, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a connection is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing has come of the next request.
    Idle,
    /// Part of a head has come.
    Head,
    /// A request runs; its own time limits apply.
    Busy,
    /// A read is held.
    Held,
    /// An answer goes out.
    Answering,
    /// A stream is up: what comes goes out, and all of it has.
    Streaming,
    /// The client of a stream does not read what it is sent.
    Stalled,
    /// A stream has said its last, which goes out.
    Ending,
    /// The client does not read that.
    StalledAtEnd,
}

/// What the system may keep of a stream that its client has not taken, in
/// bytes (it takes twice that for its own use). By itself it would go up to
/// some megabytes per connection.
const STREAM_SEND_BYTES: usize = 64 << 10;

/// Finish what runs, then end.
pub(super) const FINISH: u8 = 1;
/// End now.
pub(super) const TIMED_OUT: u8 = 2;

/// While the gateway hands over: how long a connection waits for one more
/// request, so that none is on its way while it ends, and how long for the rest
/// of a head or of a handshake, in milliseconds. New connections wait meanwhile.
const LAST_REQUEST_MS: u64 = 250;
const LAST_HEAD_MS: u64 = 1000;

/// What is kept of what a client sends behind a request that goes on, beyond
/// hyper's own buffer, in bytes. Behind more it is not seen that it hangs up.
const MAX_AHEAD_BYTES: usize = 16 << 10;

/// The shared part of a connection.
pub(super) struct Conn {
    clock: Clock,
    /// Milliseconds since the start of the clock, times sixteen, plus the phase.
    phase: AtomicU64,
    /// What follows HTTP on it.
    upgrade: Mutex<Option<Box<Upgrade>>>,
    /// Of HTTP/2, in place of a phase.
    streams: OnceLock<Arc<Streams>>,
    orders: AtomicU8,
    waker: AtomicWaker,
}

impl Conn {
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        let conn = Self {
            clock,
            phase: AtomicU64::new(0),
            upgrade: Mutex::default(),
            streams: OnceLock::new(),
            orders: AtomicU8::new(0),
            waker: AtomicWaker::new(),
        };
        conn.enter(Phase::Idle);
        Arc::new(conn)
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(self.clock.coarse_ms() << 4 | phase as u64, Relaxed);
    }

    /// A stream has said its last. Whether its client takes what was before that
    /// is the same question as ever.
    pub(super) fn end_stream(&self) {
        self.enter(match self.phase() {
            Phase::Stalled => Phase::StalledAtEnd,
            _ => Phase::Ending,
        });
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase_since().0
    }

    fn phase_since(&self) -> (Phase, u64) {
        let both = self.phase.load(Relaxed);
        let phase = match both & 15 {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            3 => Phase::Held,
            4 => Phase::Answering,
            5 => Phase::Streaming,
            6 => Phase::Stalled,
            7 => Phase::Ending,
            _ => Phase::StalledAtEnd,
        };
        (phase, both >> 4)
    }

    /// From HTTP to this, when the answer that says so is out.
    pub(super) fn upgrade(&self, upgrade: Upgrade) {
        *self.upgrade.lock() = Some(Box::new(upgrade));
    }

    pub(super) fn take_upgrade(&self) -> Option<Box<Upgrade>> {
        self.upgrade.lock().take()
    }

    /// It turned out to be of HTTP/2.
    pub(super) fn speaks_http2(&self) -> Arc<Streams> {
        self.streams.get_or_init(|| Arc::new(Streams::new(self.clock))).clone()
    }

    /// None: it is of HTTP/1.1.
    pub(super) fn streams(&self) -> Option<&Streams> {
        self.streams.get().map(Arc::as_ref)
    }

    /// Whether it is over its time. Single streams of HTTP/2 that are end by this.
    pub(super) fn is_late(&self, http: &HttpConfig, now_ms: u64, is_stopping: bool) -> bool {
        if let Some(streams) = self.streams() {
            return streams.sweep(http, now_ms, is_stopping);
        }
        let (phase, since_ms) = self.phase_since();
        let limit_s = match phase {
            Phase::Stalled | Phase::StalledAtEnd if is_stopping => return true,
            Phase::Head => http.head_timeout_s,
            Phase::Busy | Phase::Held | Phase::Streaming => return false,
            Phase::Idle
            | Phase::Answering
            | Phase::Stalled
            | Phase::Ending
            | Phase::StalledAtEnd => http.idle_timeout_s,
        };
        let limit_ms = limit_s.saturating_mul(1000).saturating_add(COARSE_MS);
        now_ms.saturating_sub(since_ms) >= limit_ms
    }

    /// Whether it is to finish while the gateway hands over, which began at
    /// `since_ms`. What waits for an answer ends with that.
    pub(super) fn is_to_finish(&self, since_ms: u64, now_ms: u64) -> bool {
        if self.streams.get().is_some() {
            // HTTP/2 says which requests were heard, so that none is lost.
            return true;
        }
        let (phase, entered_ms) = self.phase_since();
        let passed_ms = now_ms.saturating_sub(since_ms.max(entered_ms));
        match phase {
            Phase::Idle => passed_ms >= LAST_REQUEST_MS,
            Phase::Head => passed_ms >= LAST_HEAD_MS,
            Phase::Busy | Phase::Held | Phase::Answering => false,
            Phase::Streaming | Phase::Stalled | Phase::Ending | Phase::StalledAtEnd => true,
        }
    }

    pub(super) fn order(&self, order: u8) {
        self.orders.fetch_or(order, SeqCst);
        self.waker.wake();
    }

    /// What was ordered; the task of `cx` is woken for the next order.
    pub(super) fn orders(&self, cx: &Context<'_>) -> Orders {
        self.waker.register(cx.waker());
        let orders = self.orders.load(SeqCst);
        Orders { finish: orders & FINISH != 0, timed_out: orders & TIMED_OUT != 0 }
    }
}

/// What a connection is to do.
#[derive(Clone, Copy)]
pub(super) struct Orders {
    pub finish: bool,
    pub timed_out: bool,
}

/// The last answer on a connection, as bytes.
pub(super) fn last_words(error: &ErrorBody) -> Bytes {
    let mut bytes = Vec::new();
    let reply = Reply::error(error, Format::Json).closing();
    http1::reply(&mut bytes, &reply, &Origins::default(), None);
    bytes.into()
}

/// A socket that notes the phases of its connection, and says in JSON what
/// hyper would say without a body.
pub(super) struct Socket {
    pipe: Pipe,
    conn: Arc<Conn>,
    /// What was read of it and not given to hyper yet.
    ahead: BytesMut,
    /// hyper waits for what the client sends.
    is_read: bool,
    is_upgraded: bool,
    /// Goes out instead of hyper's own error.
    instead: Option<Bytes>,
    is_at_eof: bool,
    /// What the system keeps of what was sent is bounded.
    is_bounded: bool,
}

impl Socket {
    /// `ahead` was read of it already.
    pub(super) fn new(pipe: Pipe, ahead: BytesMut, conn: Arc<Conn>) -> Self {
        Self {
            pipe,
            conn,
            ahead,
            is_read: false,
            is_upgraded: false,
            instead: None,
            is_at_eof: false,
            is_bounded: false,
        }
    }

    /// It is no HTTP from here on.
    pub(super) fn upgraded(mut self) -> Self {
        self.is_upgraded = true;
        self
    }

    pub(super) fn into_pipe(self) -> Pipe {
        self.pipe
    }

    /// The peer has said all it will.
    pub(super) fn is_at_eof(&self) -> bool {
        self.is_at_eof
    }

    /// What hyper writes before our service was asked is an error of its own
    /// about the request's head. True if `bytes` are taken care of.
    fn replace(&mut self, bytes: &[u8]) -> bool {
        if self.instead.is_some() {
            return true;
        }
        if !matches!(self.conn.phase(), Phase::Idle | Phase::Head) {
            return false;
        }
        let Some(status) = bytes.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)) else {
            return false;
        };
        let error = match status {
            b"414" => ErrorBody::new(Code::UriTooLong, "the URL is too long"),
            b"431" => ErrorBody::new(
                Code::HeadersTooLarge,
                "the request's head has too many headers or is too large",
            ),
            _ => ErrorBody::new(Code::BadRequest, "this is no valid HTTP/1.1 request"),
        };
        self.instead = Some(last_words(&error));
        true
    }

    /// Looks at how a write went, for a stream.
    fn note(&mut self, is_blocked: bool) {
        match (self.conn.phase(), is_blocked) {
            (Phase::Streaming, true) => self.conn.enter(Phase::Stalled),
            (Phase::Stalled, false) => self.conn.enter(Phase::Streaming),
            (Phase::Ending, true) => self.conn.enter(Phase::StalledAtEnd),
            (Phase::StalledAtEnd, false) => self.conn.enter(Phase::Ending),
            (Phase::Streaming, false) if !self.is_bounded => {
                self.is_bounded = true;
                // Without it the stream is served as well.
                let _ = set_socket_send_buffer_size(self.pipe.tcp(), STREAM_SEND_BYTES);
            }
            _ => {}
        }
    }

    /// While a stream is up or a read is held, sees that the client hangs up, if
    /// hyper does not: it does not read behind the bytes of a next request.
    fn look_for_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let goes_on = matches!(self.conn.phase(), Phase::Held | Phase::Streaming | Phase::Stalled);
        if self.is_read || self.is_upgraded || !goes_on {
            return Ok(());
        }
        while self.ahead.len() < MAX_AHEAD_BYTES {
            let mut buffer = [MaybeUninit::uninit(); 1024];
            let mut buffer = ReadBuf::uninit(&mut buffer);
            if Pin::new(&mut self.pipe).poll_read(cx, &mut buffer)?.is_pending() {
                break;
            }
            if buffer.filled().is_empty() {
                self.is_at_eof = true;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            self.ahead.extend_from_slice(buffer.filled());
        }
        Ok(())
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(bytes) = &mut self.instead {
            if bytes.is_empty() {
                break; // stays as a mark that hyper's own is not to follow
            }
            let written = ready!(Pin::new(&mut self.pipe).poll_write(cx, bytes))?;
            bytes.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        if self.ahead.is_empty() {
            let read = Pin::new(&mut self.pipe).poll_read(cx, buf);
            self.is_read = read.is_pending();
            ready!(read)?;
        } else {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(count));
        }
        if buf.filled().len() == filled {
            self.is_at_eof = true;
        } else if self.conn.phase() == Phase::Idle {
            self.conn.enter(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replace(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        self.look_for_end(cx)?;
        let written = Pin::new(&mut self.pipe).poll_write(cx, buf);
        self.note(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.first().is_some_and(|first| self.replace(first)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        self.look_for_end(cx)?;
        let written = Pin::new(&mut self.pipe).poll_write_vectored(cx, bufs);
        self.note(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.pipe.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        self.look_for_end(cx)?;
        let flushed = Pin::new(&mut self.pipe).poll_flush(cx);
        // Under TLS writing only fills a buffer; it is here that a full socket
        // shows.
        self.note(flushed.is_pending());
        ready!(flushed)?;
        // hyper flushes once all it had to write is written.
        if matches!(self.conn.phase(), Phase::Answering | Phase::Ending) {
            self.conn.enter(Phase::Idle);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
