//! The front: connections that wait without a task, a buffer or an HTTP
//! library.
//!
//! Every public connection starts here. [`head`] recognises the plain requests
//! of the protocol; they run at once, where they are read ([`shard`], [`work`]), and a
//! held read is a record of some hundred bytes in its connection ([`conn`])
//! until whoever brings its answer writes it into the socket. A connection that
//! brings anything else goes to hyper ([`super::full`]) with what it has sent,
//! and stays there.

mod conn;
mod give;
pub mod head;
mod shard;
mod wire;
mod work;

pub use give::Handed;
pub(super) use shard::start;

use self::{
    conn::{Conn, Next, Place},
    shard::Shard,
};
use super::{clock::Clock, terms::SharedTerms};
use crate::{
    app::Answers,
    config::HttpConfig,
    core::{Answer, ConnId},
};
use parking_lot::Mutex;
use std::{
    cell::Cell,
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
};

/// Most shards, and most connections on each: what a [`ConnId`] has room for.
const MAX_SHARDS: usize = 1 << 7;
const MAX_PER_SHARD: u32 = 1 << 24;

/// More answers than this to one call are left to others, each to the thread of
/// its connection.
const ANSWERS_AT_ONCE: usize = 64;

/// Buffers larger than this are not kept for the next answer, in bytes.
const KEPT_BYTES: usize = 256 << 10;

/// The connections that hyper has no part in.
pub(super) struct Front {
    shards: Box<[Shard]>,
    /// Connections accepted so far; in turns they go to the shards.
    accepted: AtomicUsize,
    count: AtomicUsize,
    clock: Clock,
    terms: SharedTerms,
    stopping: AtomicBool,
    /// Connections are given up between two requests, and are here then.
    giving: AtomicBool,
    given: Mutex<Vec<Handed>>,
}

impl Front {
    /// # Errors
    /// If the system gives no epoll instance.
    pub fn new(clock: Clock, terms: SharedTerms) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_SHARDS);
        let shards = (0..threads).map(|_| Shard::new()).collect::<io::Result<_>>()?;
        Ok(Self {
            shards,
            accepted: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            clock,
            terms,
            stopping: AtomicBool::new(false),
            giving: AtomicBool::new(false),
            given: Mutex::default(),
        })
    }

    /// How many descriptors it has open beside its connections.
    pub fn descriptors(&self) -> usize {
        self.shards.len() * Shard::DESCRIPTORS
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Takes in a socket that does not block.
    ///
    /// # Errors
    /// If the system cannot watch it.
    pub fn accept(&self, socket: OwnedFd, peer: IpAddr) -> io::Result<()> {
        self.add(socket, peer, Vec::new())
    }

    /// Takes in a socket, of which `unread` was read already.
    fn add(&self, socket: OwnedFd, peer: IpAddr, unread: Vec<u8>) -> io::Result<()> {
        let turn = self.accepted.fetch_add(1, Relaxed) % self.shards.len();
        let shard = u8::try_from(turn).expect("there are at most 128 shards");
        self.count.fetch_add(1, Relaxed);
        let now_ms = self.clock.coarse_ms();
        let added = self.shards[turn].add(|index, serial| {
            Conn::new(socket, peer, Place { shard, index, serial }, unread, now_ms)
        });
        let Some(conn) = added else {
            self.count.fetch_sub(1, Relaxed);
            return Err(io::Error::other("too many connections"));
        };
        let watched = self.shards[turn].watch(&conn);
        if watched.is_err() {
            conn.close();
            self.remove(&conn);
        } else if self.stopping.load(SeqCst) {
            self.follow(&conn, conn.finish());
        }
        watched
    }

    /// Brings answers to held reads, or leaves them to the threads of their
    /// connections if they are many: a message to a large group neither holds
    /// its publisher up nor keeps one thread busy while others wait for it.
    pub fn answer(&self, answers: &mut Answers) {
        if answers.len() > ANSWERS_AT_ONCE {
            self.leave(answers.drain(ANSWERS_AT_ONCE..));
        }
        self.bring(answers);
    }

    /// Leaves answers to the threads of their connections.
    fn leave(&self, answers: impl ExactSizeIterator<Item = (ConnId, Answer)>) {
        // Sorted before a shard is told, so that each is locked and rung once.
        let share = answers.len().div_ceil(self.shards.len());
        let mut left: Vec<_> = self.shards.iter().map(|_| Vec::with_capacity(share)).collect();
        for (id, answer) in answers {
            if let Some(left) = left.get_mut(parts(id).0) {
                left.push((id, answer));
            }
        }
        for (shard, left) in self.shards.iter().zip(left) {
            shard.leave(left);
        }
    }

    /// Writes answers to held reads, and leaves the list empty.
    fn bring(&self, answers: &mut Answers) {
        if answers.is_empty() {
            return;
        }
        let now_ms = self.clock.coarse_ms();
        let close = self.stopping.load(Relaxed);
        let terms = self.terms.get();
        for (id, answer) in answers.drain(..) {
            let (shard, index, request) = parts(id);
            let conn = self.shards.get(shard).and_then(|shard| shard.find(index));
            let Some(conn) = conn else { continue };
            self.guard(&conn, || {
                let next = conn.answer(request, answer, &terms, close, now_ms);
                self.follow(&conn, next);
            });
        }
    }

    /// Does something for a connection. Nothing a client or a plugin says makes
    /// it panic; if something did, it would be the end of this connection, and
    /// of neither its thread nor whatever else that is at.
    fn guard(&self, conn: &Conn, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.panicked(conn);
        }
    }

    /// Ends a connection for which something panicked.
    fn panicked(&self, conn: &Conn) {
        tracing::error!(peer = %conn.peer, "a connection made the gateway panic");
        conn.close();
        self.remove(conn);
    }

    /// From now on connections end with the request that they are at.
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.each(Conn::finish);
    }

    /// Ends the connections that are over their time.
    pub fn sweep(&self, http: &HttpConfig) {
        let now_ms = self.clock.coarse_ms();
        if self.stopping.load(SeqCst) {
            // Those whose last answer was on its way when the others ended.
            self.each(Conn::finish);
        }
        self.each(|conn| conn.expire(http, now_ms));
    }

    fn each(&self, mut what: impl FnMut(&Conn) -> Next) {
        for shard in &self.shards {
            for conn in shard.all() {
                self.guard(&conn, || {
                    let next = what(&conn);
                    self.follow(&conn, next);
                });
            }
        }
    }

    /// Does what is to be done about a connection, but for reading from it.
    fn follow(&self, conn: &Arc<Conn>, next: Next) {
        match next {
            Next::Nothing | Next::Read(_) => {}
            Next::Kick => self.shard(conn).kick(conn),
            Next::End(held) => {
                if let Some((app, mailbox, id)) = held {
                    app.detach(mailbox, id);
                }
                self.remove(conn);
            }
        }
    }

    /// The socket closes as soon as nobody works with it any more.
    fn remove(&self, conn: &Conn) {
        if self.shard(conn).remove(conn.place) {
            self.count.fetch_sub(1, Relaxed);
        }
    }

    fn shard(&self, conn: &Conn) -> &Shard {
        &self.shards[usize::from(conn.place.shard)]
    }
}

/// Marks the ids of the front's connections.
const OF_FRONT: u64 = 1 << 63;

/// Whether an id is one of the front's; others have their highest bit clear.
pub(super) fn is_ours(id: ConnId) -> bool {
    id.0 & OF_FRONT != 0
}

fn conn_id(place: Place, request: u32) -> ConnId {
    ConnId(
        OF_FRONT | u64::from(place.shard) << 56 | u64::from(place.index) << 32 | u64::from(request),
    )
}

fn parts(id: ConnId) -> (usize, u32, u32) {
    let bits = |from: u32, count: u32| (id.0 >> from) as u32 & (u32::MAX >> (32 - count));
    (bits(56, 7) as usize, bits(32, 24), bits(0, 32))
}

/// Room to write an answer in, reused by all answers of a thread.
#[derive(Default)]
struct Scratch {
    out: Vec<u8>,
    body: Vec<u8>,
}

impl Scratch {
    /// Calls `work` with empty buffers.
    fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        thread_local! {
            static SCRATCH: Cell<Scratch> = const {
                Cell::new(Scratch { out: Vec::new(), body: Vec::new() })
            };
        }
        let mut scratch = SCRATCH.take();
        let result = work(&mut scratch);
        let Self { out, body } = &mut scratch;
        for buffer in [out, body] {
            buffer.clear();
            if buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
        // `LocalKey::set` is for values that are not there yet, and dearer.
        SCRATCH.with(|kept| kept.set(scratch));
        result
    }
}

#[cfg(test)]
mod tests;
