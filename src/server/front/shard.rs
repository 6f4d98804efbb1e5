//! A share of the front's connections, the epoll instance that watches them,
//! and the loop that works on them.

use super::{
    super::{
        ask::{self, Plan},
        cors, full,
        gateway::Gateway,
        http1, routes,
        routes::Outcome,
    },
    Front, MAX_PER_SHARD, Scratch,
    conn::{Conn, Held, Next, Parked, Place, Ready, Unread},
    head::{self, Framing},
    wire::{self, Received},
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
    panic::{AssertUnwindSafe, catch_unwind},
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

/// Most bytes that are read from a connection at a time.
const BUFFER_BYTES: usize = 64 << 10;

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
    fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Relaxed)
    }

    pub fn add(&self, make: impl FnOnce(u32, u32) -> Conn) -> io::Result<Arc<Conn>> {
        let mut conns = self.conns.lock();
        let entry = conns.vacant_entry();
        let index = u32::try_from(entry.key()).ok().filter(|index| *index < MAX_PER_SHARD);
        let index = index.ok_or_else(|| io::Error::other("too many connections"))?;
        let conn = Arc::new(make(index, self.number()));
        entry.insert(conn.clone());
        drop(conns);
        // From here on it can have events.
        if let Err(error) = epoll::add(&self.epoll, conn.socket(), token(conn.place), interest()) {
            self.conns.lock().remove(index as usize);
            return Err(error.into());
        }
        Ok(conn)
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
    pub fn leave(&self, answers: impl Iterator<Item = (ConnId, Answer)>) {
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
            // Nothing a client sends makes this panic; if something did, it
            // would be the end of one connection and not of all.
            let handled = AssertUnwindSafe(|| on_event(gateway, &conn, flags, &mut buffer));
            if catch_unwind(handled).is_err() {
                tracing::error!(peer = %conn.peer, "a connection made the gateway panic");
                conn.close();
                front.remove(&conn);
            }
        }
    }
    Ok(())
}

fn on_event(gateway: &Arc<Gateway>, conn: &Arc<Conn>, flags: EventFlags, buffer: &mut [u8]) {
    let ended = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
    let ready = Ready {
        readable: flags.contains(EventFlags::IN),
        writable: flags.contains(EventFlags::OUT),
        hung_up: flags.intersects(ended),
    };
    match conn.on_event(ready, gateway.clock().coarse_ms(), buffer) {
        Next::Read(unread) => read(gateway, conn, unread, buffer),
        next => gateway.front().follow(conn, next),
    }
}

/// Reads and works until nothing more is there.
fn read(gateway: &Arc<Gateway>, conn: &Arc<Conn>, mut unread: Unread, buffer: &mut [u8]) {
    loop {
        let received = match wire::receive(conn.socket(), buffer) {
            Received::Bytes(count) => &buffer[..count],
            Received::Nothing => &[],
            Received::Ended => {
                conn.close();
                return gateway.front().remove(conn);
            }
        };
        // A short receive has emptied the socket; asking again would be a
        // system call for nothing.
        let is_all = received.len() < buffer.len();
        let left = if unread.bytes.is_empty() {
            work(gateway, conn, received, None)
        } else {
            unread.bytes.extend_from_slice(received);
            if unread.bytes.len() < unread.needs_bytes {
                Some(unread)
            } else {
                work(gateway, conn, &unread.bytes, Some(&unread))
            }
        };
        let Some(left) = left else { return };
        unread = left;
        if is_all {
            match conn.settle(unread, gateway.clock().coarse_ms()) {
                Some(again) => unread = again,
                None => return,
            }
        }
    }
}

/// How a request was dealt with.
enum Served {
    /// The answer is in the scratch buffer, and perhaps the last one.
    Written { close: bool },
    /// A read is held, or is to be.
    Held(Held),
    /// It must not run here.
    Slow,
    /// It is hyper's.
    Other,
}

/// Works on the requests in `input`, which is new or (with what came since)
/// `unread`. Returns what is no whole request; none if somebody else goes on
/// with the connection.
fn work(
    gateway: &Arc<Gateway>,
    conn: &Arc<Conn>,
    mut input: &[u8],
    mut unread: Option<&Unread>,
) -> Option<Unread> {
    let front = gateway.front();
    let incomplete = |input: &[u8], needs_bytes: usize, unread: Option<&Unread>| {
        // A body's time starts when its head has come.
        let before = unread.filter(|_| needs_bytes == 0);
        let since_ms = before.map_or_else(|| gateway.clock().coarse_ms(), |unread| unread.since_ms);
        Some(Unread { bytes: input.to_vec(), needs_bytes, since_ms })
    };
    while !input.is_empty() {
        let mut room = [const { MaybeUninit::uninit() }; head::MAX_HEADERS];
        let request = match head::frame(input, gateway.http(), &mut room) {
            Framing::Partial => return incomplete(input, 0, unread),
            // On the way down there is no waiting for a body that would come
            // in vain.
            Framing::Request(request)
                if input.len() < request.total_bytes() && !gateway.is_stopping() =>
            {
                return incomplete(input, request.total_bytes(), unread);
            }
            Framing::Request(request) => request,
            Framing::Other => return hand_over(gateway, conn, input),
        };
        let (whole, rest) = input.split_at(request.total_bytes().min(input.len()));
        let body = &whole[request.head_bytes..];
        let has_begun = unread.is_some_and(|unread| unread.needs_bytes > 0);
        let next = Scratch::with(|scratch| {
            match serve(gateway, conn, &request, has_begun, body, &mut scratch.out) {
                Served::Written { close } => {
                    conn.reply(&scratch.out, rest, close, gateway.clock().coarse_ms())
                }
                Served::Held(held) => park(gateway, conn, held, rest, scratch),
                Served::Slow => {
                    let (whole, rest) = (whole.to_vec(), rest.to_vec());
                    tokio::spawn(run_slowly(gateway.clone(), conn.clone(), whole, rest));
                    Some(Next::Nothing)
                }
                Served::Other => {
                    hand_over(gateway, conn, input);
                    Some(Next::Nothing)
                }
            }
        });
        if let Some(next) = next {
            front.follow(conn, next);
            return None;
        }
        input = rest;
        unread = None;
    }
    Some(Unread::default())
}

fn serve(
    gateway: &Gateway,
    conn: &Conn,
    request: &head::Request<'_, '_>,
    has_begun: bool,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Served {
    let headers = || request.all_headers();
    let ask = ask::Ask { has_begun, ..request.ask(&headers, conn.peer) };
    let grant = cors::grant(gateway.cors(), ask.origin);
    let route = match ask::plan(gateway, &ask) {
        Plan::Route(route) => route,
        Plan::Page => return Served::Other,
        Plan::Reply(route, reply) => {
            gateway.metrics.request(route, reply.status);
            http1::reply(out, &reply, gateway.cors(), grant);
            return Served::Written { close: reply.close };
        }
    };
    if route.is_slow(body) {
        return Served::Slow;
    }
    let id = conn.start(gateway.front().shard(conn).number());
    let outcome = routes::run_now(gateway, &route, &ask, body, id);
    finish(gateway, &route, &ask, outcome, grant, out)
}

/// Writes the answer, if there is one yet.
fn finish(
    gateway: &Gateway,
    route: &routes::Route<'_>,
    ask: &ask::Ask<'_>,
    outcome: Outcome,
    grant: Option<cors::Grant>,
    out: &mut Vec<u8>,
) -> Served {
    let close = gateway.is_stopping();
    let requests = route.app.requests();
    match outcome {
        Outcome::Reply(mut reply) => {
            reply.close |= close;
            requests.reply(&route.endpoint, reply.status);
            http1::reply(out, &reply, gateway.cors(), grant);
        }
        Outcome::Answer(answer) => {
            requests.read(&answer);
            let mut body = Vec::new();
            http1::answer(out, &mut body, &answer, ask.format(), gateway.cors(), grant, close);
        }
        Outcome::Held(mailbox) => {
            let (app, format) = (route.app.clone(), ask.format());
            return Served::Held(Held { app, mailbox, format, grant, rest: Box::default() });
        }
    }
    Served::Written { close }
}

/// Holds a read. None: it has been answered meanwhile, and the caller goes on.
fn park(
    gateway: &Gateway,
    conn: &Conn,
    mut held: Held,
    rest: &[u8],
    scratch: &mut Scratch,
) -> Option<Next> {
    let now_ms = gateway.clock().coarse_ms();
    held.rest = rest.into();
    match conn.park(held, now_ms) {
        Parked::Held => Some(Next::Nothing),
        Parked::HungUp(held) => {
            conn.close();
            Some(Next::End(Some((held.app, held.mailbox, conn.id()))))
        }
        Parked::Answered(answer, held) => {
            held.app.requests().read(&answer);
            let Scratch { out, body } = scratch;
            let close = gateway.is_stopping();
            http1::answer(out, body, &answer, held.format, gateway.cors(), held.grant, close);
            conn.reply(out, rest, close, now_ms)
        }
    }
}

/// Runs a request that has to wait or can take long, in a task of its own.
async fn run_slowly(gateway: Arc<Gateway>, conn: Arc<Conn>, whole: Vec<u8>, rest: Vec<u8>) {
    let served = serve_slowly(&gateway, &conn, &whole).await;
    let now_ms = gateway.clock().coarse_ms();
    let next = Scratch::with(|scratch| match served {
        Some((Served::Written { close }, out)) => conn.reply(&out, &rest, close, now_ms),
        Some((Served::Held(held), _)) => park(&gateway, &conn, held, &rest, scratch),
        // It was understood before.
        Some((Served::Slow | Served::Other, _)) | None => {
            conn.close();
            Some(Next::End(None))
        }
    });
    let next = next.unwrap_or_else(|| {
        // The shard's loop goes on with what lies behind the request.
        let is_rest = !rest.is_empty();
        match conn.let_go(Unread::behind(rest, now_ms), now_ms) {
            Next::Nothing if is_rest => Next::Kick,
            next => next,
        }
    });
    gateway.front().follow(&conn, next);
}

async fn serve_slowly(gateway: &Gateway, conn: &Conn, whole: &[u8]) -> Option<(Served, Vec<u8>)> {
    let mut room = [const { MaybeUninit::uninit() }; head::MAX_HEADERS];
    let Framing::Request(request) = head::frame(whole, gateway.http(), &mut room) else {
        return None;
    };
    let headers = || request.all_headers();
    let ask = request.ask(&headers, conn.peer);
    let grant = cors::grant(gateway.cors(), ask.origin);
    let route = routes::find(gateway, ask.method, ask.path).ok()?;
    let id = conn.start(gateway.front().shard(conn).number());
    let body = &whole[request.head_bytes..];
    let outcome = routes::run(gateway, &route, &ask, body, id).await;
    let mut out = Vec::new();
    let served = finish(gateway, &route, &ask, outcome, grant, &mut out);
    Some((served, out))
}

/// Gives a connection to hyper, with the input that has come.
fn hand_over(gateway: &Arc<Gateway>, conn: &Arc<Conn>, input: &[u8]) -> Option<Unread> {
    let front: &Front = gateway.front();
    conn.close();
    // Its descriptor closes with the last who works with it; hyper's is another
    // one of the same connection.
    let shard = front.shard(conn);
    let socket = epoll::delete(&shard.epoll, conn.socket())
        .and_then(|()| rustix::io::fcntl_dupfd_cloexec(conn.socket(), 0));
    match socket {
        Ok(socket) => full::take_over(gateway, socket, input, conn.peer),
        Err(error) => tracing::debug!(%error, "a connection went away at once"),
    }
    front.remove(conn);
    None
}
