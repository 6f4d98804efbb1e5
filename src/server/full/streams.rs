//! What the streams of an HTTP/2 connection are at, and since when: the sweep's
//! side of a connection that is at many requests at once.

use super::super::clock::{COARSE_MS, Clock};
use super::conn::Conn;
use crate::config::HttpConfig;
use futures_util::FutureExt;
use parking_lot::Mutex;
use slab::Slab;
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Poll, Waker},
};

/// So many whole request bodies (of `max_body_bytes`) the streams of one
/// connection may have in memory together.
const MAX_WHOLE_BODIES: usize = 16;

/// While so much of the answers of a connection is in memory, no other is made
/// for it. What is made at that moment comes on top: an answer per thread.
const MAX_UNSENT_BYTES: usize = 4 << 20;

/// On the way down, so long is waited for a client that takes nothing of an
/// answer without an end, or does not say that it has understood.
const STALLED_MS: u64 = 500 + COARSE_MS;

/// The streams of a connection.
pub(super) struct Streams {
    clock: Clock,
    inner: Mutex<Inner>,
    /// Since when part of a head has been there; 0: none is.
    head_since_ms: AtomicU64,
    /// Since when the socket has taken nothing; 0: it takes what comes.
    blocked_since_ms: AtomicU64,
    /// Of request bodies.
    body_bytes: AtomicUsize,
}

struct Inner {
    /// As many as are allowed at a time, and those that were reset or answered
    /// but still have something in memory.
    all: Slab<Slot>,
    /// When the last of them ended.
    idle_since_ms: u64,
    /// Of answers, from when they are made until the socket has them.
    unsent_bytes: usize,
}

/// What a stream is at.
#[derive(Default)]
struct Slot {
    /// Since when its client has taken nothing of what waits for it. None: a
    /// request runs or is held, or an answer waits for more from its source.
    clients_since_ms: Option<u64>,
    /// So many pieces wait for the client.
    pieces: usize,
    /// Its answer goes on until one side ends it.
    is_endless: bool,
    /// Of the task that runs it, while it does.
    task: Option<Waker>,
    /// Its task waits for its pieces to be taken, or for room.
    is_waiting: bool,
    /// Its task is to end, and by that the stream.
    is_over: bool,
}

impl Streams {
    pub(super) fn new(clock: Clock) -> Self {
        let idle_since_ms = clock.coarse_ms();
        Self {
            clock,
            inner: Mutex::new(Inner { all: Slab::new(), idle_since_ms, unsent_bytes: 0 }),
            head_since_ms: AtomicU64::new(0),
            blocked_since_ms: AtomicU64::new(0),
            body_bytes: AtomicUsize::new(0),
        }
    }

    /// Resets the streams whose answers are not taken. True: the connection is
    /// over its time, for nobody asks, a head does not end, or nothing at all is
    /// taken.
    pub(super) fn sweep(&self, http: &HttpConfig, now_ms: u64, is_stopping: bool) -> bool {
        let over = |since_ms: u64, limit_s: u64| {
            let limit_ms = limit_s.saturating_mul(1000).saturating_add(COARSE_MS);
            now_ms.saturating_sub(since_ms) >= limit_ms
        };
        let head_since_ms = self.head_since_ms.load(Relaxed);
        if head_since_ms != 0 && over(head_since_ms, http.head_timeout_s) {
            return true;
        }
        let blocked_since_ms = self.blocked_since_ms.load(Relaxed);
        if blocked_since_ms != 0 && over(blocked_since_ms, http.idle_timeout_s) {
            return true;
        }
        let mut inner = self.inner.lock();
        if inner.all.is_empty() {
            let since_ms = inner.idle_since_ms;
            let is_given_up = is_stopping && now_ms.saturating_sub(since_ms) >= STALLED_MS;
            return is_given_up || over(since_ms, http.idle_timeout_s);
        }
        let mut is_late = false;
        for (_, slot) in &mut inner.all {
            let Some(since_ms) = slot.clients_since_ms else { continue };
            let is_given_up =
                is_stopping && slot.is_endless && now_ms.saturating_sub(since_ms) >= STALLED_MS;
            if !is_given_up && !over(since_ms, http.idle_timeout_s) {
                continue;
            }
            slot.is_over = true;
            match &slot.task {
                Some(task) => task.wake_by_ref(),
                // Its end has been said, and only the connection can be ended.
                None => is_late = true,
            }
        }
        is_late
    }

    /// Part of a head is there, or none is (any more).
    pub(super) fn note_head(&self, is_there: bool) {
        let since_ms = if is_there { self.clock.coarse_ms() } else { 0 };
        self.head_since_ms.store(since_ms, Relaxed);
    }

    /// The socket takes nothing, or does (again).
    pub(super) fn note_socket(&self, is_blocked: bool) {
        let was_blocked = self.blocked_since_ms.load(Relaxed) != 0;
        if is_blocked != was_blocked {
            let since_ms = if is_blocked { self.clock.coarse_ms() } else { 0 };
            self.blocked_since_ms.store(since_ms, Relaxed);
        }
    }
}

/// One stream of a connection, from its request until the socket has its answer.
pub(super) struct Stream {
    streams: Arc<Streams>,
    index: usize,
}

impl Stream {
    /// A request has come.
    pub(super) fn begin(streams: &Arc<Streams>) -> Arc<Self> {
        let index = streams.inner.lock().all.insert(Slot::default());
        Arc::new(Self { streams: streams.clone(), index })
    }

    /// Runs it to its end, or until the sweep says that it is over: a task that
    /// goes away early resets its stream (`CANCEL`).
    pub(super) async fn run(self: Arc<Self>, mut task: impl Future + Unpin) {
        /// Afterwards there is nobody to be woken.
        struct Running(Arc<Stream>);
        impl Drop for Running {
            fn drop(&mut self) {
                self.0.with(|_, slot| slot.task = None);
            }
        }
        let running = Running(self);
        poll_fn(|cx| {
            let is_over = running.0.with(|_, slot| {
                // A task has one waker for all its life.
                slot.task.get_or_insert_with(|| cx.waker().clone());
                slot.is_over
            });
            if is_over { Poll::Ready(()) } else { task.poll_unpin(cx).map(drop) }
        })
        .await;
    }

    /// Waits until the connection may have one more answer in memory.
    pub(super) async fn room(&self) {
        poll_fn(|_| self.poll_room()).await;
    }

    /// Ready: all of its answer so far was taken, and there is room for more. It
    /// is the task in [`Stream::run`] that is woken.
    pub(super) fn poll_room(&self) -> Poll<()> {
        self.poll_until(|unsent_bytes, pieces| pieces == 0 && unsent_bytes < MAX_UNSENT_BYTES)
    }

    /// Ready: all of its answer so far was taken. As above.
    pub(super) fn poll_taken(&self) -> Poll<()> {
        self.poll_until(|_, pieces| pieces == 0)
    }

    fn poll_until(&self, is_so: impl FnOnce(usize, usize) -> bool) -> Poll<()> {
        self.with(|unsent_bytes, slot| {
            slot.is_waiting = !is_so(unsent_bytes, slot.pieces);
            if slot.is_waiting { Poll::Pending } else { Poll::Ready(()) }
        })
    }

    /// So much more of its answer is in memory.
    pub(super) fn made(&self, bytes: usize, is_endless: bool) {
        let mut inner = self.streams.inner.lock();
        inner.unsent_bytes += bytes;
        inner.all[self.index].is_endless = is_endless;
    }

    /// So much less of its answer is in memory.
    pub(super) fn free(&self, bytes: usize) {
        let mut inner = self.streams.inner.lock();
        let was_full = inner.unsent_bytes >= MAX_UNSENT_BYTES;
        inner.unsent_bytes -= bytes;
        if was_full && inner.unsent_bytes < MAX_UNSENT_BYTES {
            inner.all.iter_mut().for_each(|(_, slot)| slot.wake());
        }
    }

    /// It is the client's turn to take a piece.
    pub(super) fn hand_over(&self) {
        let now_ms = self.streams.clock.coarse_ms();
        self.with(|_, slot| {
            slot.pieces += 1;
            slot.clients_since_ms.get_or_insert(now_ms);
        });
    }

    /// A piece is in the socket, or was given up with its stream.
    pub(super) fn taken(&self, bytes: usize) {
        let now_ms = self.streams.clock.coarse_ms();
        self.with(|_, slot| {
            slot.pieces -= 1;
            slot.clients_since_ms = (slot.pieces > 0).then_some(now_ms);
            slot.wake();
        });
        self.free(bytes);
    }

    /// With how much of all answers is in memory, in bytes.
    fn with<T>(&self, act: impl FnOnce(usize, &mut Slot) -> T) -> T {
        let mut inner = self.streams.inner.lock();
        act(inner.unsent_bytes, &mut inner.all[self.index])
    }
}

impl Slot {
    /// Whoever waits looks for himself whether it was that what he waited for.
    fn wake(&mut self) {
        if self.pieces == 0 && std::mem::take(&mut self.is_waiting) {
            self.task.iter().for_each(Waker::wake_by_ref);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let now_ms = self.streams.clock.coarse_ms();
        let mut inner = self.streams.inner.lock();
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
