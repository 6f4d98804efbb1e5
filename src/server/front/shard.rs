//! A share of the front's connections, the epoll instance that watches them,
//! and the loop that works on them.

use super::{
    super::gateway::Gateway,
    MAX_PER_SHARD,
    conn::{Conn, Next, Place, Ready},
    work,
};
use crate::core::{Answer, ConnId};
use parking_lot::Mutex;
use rustix::{
    event::{
        EventfdFlags,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
        eventfd,
    },
    io::Errno,
    time::Timespec,
};
use slab::Slab;
use std::{
    collections::VecDeque,
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread::{self, JoinHandle},
};
use tokio::runtime::Handle;

/// Most bytes that are read from a connection at a time: a body of 64 KiB comes
/// with its head in one.
const BUFFER_BYTES: usize = 80 << 10;

/// Most events that are asked for at a time.
const EVENTS_PER_TURN: usize = 128;

/// Most of the answers left to a shard that are written between two looks at
/// its connections.
const ANSWERS_PER_TURN: usize = 128;

/// Room for more answers than this is given back.
const KEPT_ANSWERS: usize = 4096;

/// Connections, and what watches them.
pub(super) struct Shard {
    epoll: OwnedFd,
    /// Readable: the thread is to look at what follows.
    bell: OwnedFd,
    stopping: AtomicBool,
    /// Answers that its thread is to write. A held read has one at most, so
    /// there are never more than connections.
    answers: Mutex<VecDeque<(ConnId, Answer)>>,
    conns: Mutex<Slab<Arc<Conn>>>,
    /// Source of the numbers of requests and connections.
    numbers: AtomicU32,
}

/// Edge-triggered, so that nothing has to be said again from request to
/// request. That a socket can be written is told after it could not.
fn interest() -> EventFlags {
    EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET
}

impl Shard {
    /// How many it has open beside its connections: `epoll` and `bell`.
    pub const DESCRIPTORS: usize = 2;

    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered: it rings without having to be read.
        let once = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), once)?;
        Ok(Self {
            epoll,
            bell,
            stopping: AtomicBool::new(false),
            answers: Mutex::default(),
            conns: Mutex::default(),
            numbers: AtomicU32::new(0),
        })
    }

    /// A number that no other request of this shard has (but for those before
    /// the last 2^32).
    pub fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Relaxed)
    }

    /// None: there is no room.
    pub fn add(&self, make: impl FnOnce(u32, u32) -> Conn) -> Option<Arc<Conn>> {
        let mut conns = self.conns.lock();
        let entry = conns.vacant_entry();
        let index = u32::try_from(entry.key()).ok().filter(|index| *index < MAX_PER_SHARD)?;
        let conn = Arc::new(make(index, self.number()));
        entry.insert(conn.clone());
        Some(conn)
    }

    /// From here on a connection can have events.
    pub fn watch(&self, conn: &Conn) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, conn.socket(), token(conn.place), interest())?)
    }

    /// Hands over the socket of a connection that is not watched any more.
    pub fn release(&self, conn: &Conn) -> io::Result<OwnedFd> {
        epoll::delete(&self.epoll, conn.socket())?;
        // The connection's own descriptor closes with the last who works with
        // it; this is another one.
        Ok(rustix::io::fcntl_dupfd_cloexec(conn.socket(), 0)?)
    }

    pub fn find(&self, index: u32) -> Option<Arc<Conn>> {
        self.conns.lock().get(index as usize).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Conn>> {
        self.conns.lock().iter().map(|(_, conn)| conn.clone()).collect()
    }

    /// Whether it was still there.
    pub fn remove(&self, place: Place) -> bool {
        let mut conns = self.conns.lock();
        let is_it = conns.get(place.index as usize).is_some_and(|conn| conn.place == place);
        let conn = is_it.then(|| conns.remove(place.index as usize));
        drop(conns);
        conn.is_some()
    }

    /// Has a connection's event come again.
    pub fn kick(&self, conn: &Conn) {
        // A socket that can be written is an event, too. If this fails, the
        // connection is on its way out.
        let _ = epoll::modify(&self.epoll, conn.socket(), token(conn.place), interest());
    }

    /// Has the thread look at what it is to do beside its connections.
    fn ring(&self) {
        // It has room for 2^64 of these.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Leaves answers to the shard's thread.
    pub fn leave(&self, answers: Vec<(ConnId, Answer)>) {
        let mut waiting = self.answers.lock();
        let was_empty = waiting.is_empty();
        waiting.extend(answers);
        let rings = was_empty && !waiting.is_empty();
        drop(waiting);
        if rings {
            self.ring();
        }
    }

    /// Takes so many of the answers that were left; whether there are more.
    fn take_answers(&self, count: usize, taken: &mut Vec<(ConnId, Answer)>) -> bool {
        let mut waiting = self.answers.lock();
        let count = count.min(waiting.len());
        taken.extend(waiting.drain(..count));
        if waiting.is_empty() && waiting.capacity() > KEPT_ANSWERS {
            *waiting = VecDeque::new();
        }
        !waiting.is_empty()
    }

    /// The connection of an event, unless it has gone.
    fn of_event(&self, data: EventData) -> Option<Arc<Conn>> {
        let token = data.u64();
        let conn = self.find(token as u32)?;
        (u64::from(conn.place.serial) == token >> 32).then_some(conn)
    }
}

fn token(place: Place) -> EventData {
    EventData::new_u64(u64::from(place.serial) << 32 | u64::from(place.index))
}

/// The threads that work on the connections of all shards. Dropped, they end.
pub(in super::super) struct Threads {
    gateway: Arc<Gateway>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a thread for each shard; what takes longer they leave to the runtime
/// of the caller.
///
/// # Errors
/// If the system gives no thread.
pub(in super::super) fn start(gateway: &Arc<Gateway>) -> io::Result<Threads> {
    let mut started = Threads { gateway: gateway.clone(), threads: Vec::new() };
    for shard in &gateway.front().shards {
        // There may have been others, which ended.
        shard.stopping.store(false, SeqCst);
    }
    for number in 0..gateway.front().shards.len() {
        let (gateway, runtime) = (gateway.clone(), Handle::current());
        let thread = thread::Builder::new().name(format!("front-{number}"));
        started.threads.push(thread.spawn(move || {
            let _runtime = runtime.enter();
            if let Err(error) = work_on(&gateway, &gateway.front().shards[number]) {
                tracing::error!(%error, "connections are not watched any more");
            }
        })?);
    }
    Ok(started)
}

impl Drop for Threads {
    fn drop(&mut self) {
        for shard in &self.gateway.front().shards {
            shard.stopping.store(true, SeqCst);
            shard.ring();
        }
        for thread in self.threads.drain(..) {
            // It has said why it panicked.
            let _ = thread.join();
        }
    }
}

/// The token of the bell: no connection has this index.
const BELL: u64 = u64::MAX;

fn work_on(gateway: &Arc<Gateway>, shard: &Shard) -> io::Result<()> {
    let front = gateway.front();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut room = [const { MaybeUninit::uninit() }; EVENTS_PER_TURN];
    let mut answers = Vec::with_capacity(ANSWERS_PER_TURN);
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    while !shard.stopping.load(SeqCst) {
        // In turns, so that neither a large group nor a crowd of clients holds
        // the other up.
        let is_more = shard.take_answers(ANSWERS_PER_TURN, &mut answers);
        front.bring(&mut answers);
        let timeout = is_more.then_some(&at_once);
        let events = match epoll::wait(&shard.epoll, &mut room, timeout) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for Event { flags, data } in events.iter().copied() {
            // Of the bell there is none.
            let Some(conn) = shard.of_event(data) else { continue };
            front.guard(&conn, || on_event(gateway, &conn, flags, &mut buffer));
        }
    }
    Ok(())
}

fn on_event(gateway: &Arc<Gateway>, conn: &Arc<Conn>, flags: EventFlags, buffer: &mut [u8]) {
    if gateway.front().give_one(conn) {
        return; // what came is another process's to read
    }
    let ended = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
    let ready = Ready {
        readable: flags.contains(EventFlags::IN),
        writable: flags.contains(EventFlags::OUT),
        hung_up: flags.intersects(ended),
    };
    match conn.on_event(ready, gateway.clock().coarse_ms(), buffer) {
        Next::Read(unread) => work::read(gateway, conn, unread, buffer),
        next => gateway.front().follow(conn, next),
    }
}
