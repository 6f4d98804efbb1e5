//! One connection of the front: its socket, what it is at, and since when.
//!
//! Whoever finds it idle (or with part of a request) may work on its requests
//! and is the only one to do so until it lets go: [`Phase::Running`]. An answer
//! to a held read is written by whoever brings it.

use super::{
    super::{
        browsers::Counted,
        clock::COARSE_MS,
        cors::Origins,
        hosted::HostedApp,
        http1,
        reply::{Reply, Wish},
        terms::Terms,
    },
    Handed, Scratch,
    wire::{self, Sent},
};
use crate::{
    config::HttpConfig,
    core::{Answer, ConnId, MailboxId},
    transport::{Code, ErrorBody, Format},
};
use parking_lot::Mutex;
use std::{
    mem,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// How long the rest of what a client sends is read and thrown away after the
/// last answer, in milliseconds, and how many bytes of it. Closing at once
/// would reset the connection and destroy the answer on its way.
const LINGER_MS: u64 = 2000;
const LINGER_BYTES: usize = 2 << 20;

/// A connection.
pub(super) struct Conn {
    socket: OwnedFd,
    pub peer: IpAddr,
    /// Its place on its shard.
    pub place: Place,
    /// The request that it is at, by its number. Written only by who works on it.
    request: AtomicU32,
    state: Mutex<State>,
}

/// Where a connection is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub shard: u8,
    pub index: u32,
    /// Tells it from earlier ones in its place.
    pub serial: u32,
}

struct State {
    phase: Phase,
    /// When it got to what it is at.
    since_ms: u64,
    /// More came while somebody else worked on it, or while a read was held.
    more: bool,
    /// The client has closed its side.
    hung_up: bool,
}

enum Phase {
    /// Between two requests.
    Idle,
    /// Part of a request has come.
    Partial(Box<Unread>),
    /// Somebody works on its requests.
    Running,
    /// The same, and the read that is to be held has its answer already.
    Answered(Box<Answer>),
    Held(Held),
    /// The socket did not take all of an answer.
    Writing(Box<Unsent>),
    /// After its last answer: so many bytes may still come.
    Lingering(usize),
    Closed,
}

/// A held read.
pub(super) struct Held {
    pub app: Arc<HostedApp>,
    pub mailbox: MailboxId,
    pub wish: Wish,
    /// What came behind the request: at most a receive buffer, since nothing
    /// more is read while the read is held.
    pub rest: Box<[u8]>,
    /// It counts among its browser's.
    pub counted: Option<Counted>,
}

/// Input that is no whole request yet.
#[derive(Default)]
pub(super) struct Unread {
    pub bytes: Vec<u8>,
    /// As many bytes make the request; 0: its head has not ended.
    pub needs_bytes: usize,
    /// When its first byte came; if its head is there, when that ended.
    pub since_ms: u64,
}

impl Unread {
    /// What came behind a request.
    pub fn behind(bytes: Vec<u8>, now_ms: u64) -> Self {
        Self { bytes, needs_bytes: 0, since_ms: now_ms }
    }
}

/// What a socket has not taken yet.
struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
    /// Input behind the request that is being answered.
    rest: Vec<u8>,
    /// Nothing follows.
    close: bool,
}

/// What epoll says about a socket.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    pub readable: bool,
    pub writable: bool,
    /// The client closed its side.
    pub hung_up: bool,
}

/// What is to be done about a connection.
pub(super) enum Next {
    Nothing,
    /// Read on; the caller works on it now.
    Read(Unread),
    /// Its event is to come again: there is something left to read.
    Kick,
    /// It has ended; if a read was held, its mailbox is to be told.
    End(Option<(Arc<HostedApp>, MailboxId, ConnId)>),
}

/// What became of a read that was to be held.
pub(super) enum Parked {
    Held,
    /// It has its answer already; the caller still works on it.
    Answered(Answer, Held),
    /// Its client is gone; the caller still works on it.
    HungUp(Held),
}

impl Conn {
    /// `unread` was read of it already.
    pub fn new(socket: OwnedFd, peer: IpAddr, place: Place, unread: Vec<u8>, now_ms: u64) -> Self {
        let mut state = State { phase: Phase::Idle, since_ms: now_ms, more: false, hung_up: false };
        state.wait_for_more(Unread::behind(unread, now_ms), now_ms);
        let request = AtomicU32::new(place.serial);
        Self { socket, peer, place, request, state: Mutex::new(state) }
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Its next request, a read perhaps, has this number.
    pub fn start(&self, request: u32) -> ConnId {
        self.request.store(request, Relaxed);
        self.id()
    }

    pub fn id(&self) -> ConnId {
        super::conn_id(self.place, self.request.load(Relaxed))
    }

    /// Something happened to the socket. `buffer` is room to read into.
    pub fn on_event(&self, ready: Ready, now_ms: u64, buffer: &mut [u8]) -> Next {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.hung_up |= ready.hung_up;
        let came = ready.readable || ready.hung_up;
        match &mut state.phase {
            Phase::Closed => Next::Nothing,
            Phase::Running | Phase::Answered(_) => {
                state.more |= came;
                Next::Nothing
            }
            Phase::Held(held) if ready.hung_up => {
                let read = (held.app.clone(), held.mailbox, self.id());
                state.phase = Phase::Closed;
                Next::End(Some(read))
            }
            Phase::Held(_) => {
                state.more |= came;
                Next::Nothing
            }
            Phase::Writing(_) => {
                state.more |= came;
                if ready.writable { self.write_on(state, now_ms) } else { Next::Nothing }
            }
            Phase::Lingering(left) => {
                if wire::discard(self.socket(), buffer, left) {
                    return Next::Nothing;
                }
                state.phase = Phase::Closed;
                Next::End(None)
            }
            Phase::Idle if !came && !state.more => Next::Nothing,
            Phase::Idle | Phase::Partial(_) => Next::Read(state.take_up()),
        }
    }

    /// The caller, who works on it, has left input in the socket; no event tells
    /// of that again.
    pub fn leave_more(&self) {
        self.state.lock().more = true;
    }

    /// Lets go of the connection, which has `unread` input and waits for more.
    pub fn let_go(&self, unread: Unread, now_ms: u64) -> Next {
        let mut state = self.state.lock();
        state.wait_for_more(unread, now_ms);
        if state.more { Next::Kick } else { Next::Nothing }
    }

    /// Holds a read that the caller has started.
    pub fn park(&self, held: Held, now_ms: u64) -> Parked {
        let mut state = self.state.lock();
        match mem::replace(&mut state.phase, Phase::Running) {
            Phase::Answered(answer) => Parked::Answered(*answer, held),
            _ if state.hung_up => Parked::HungUp(held),
            _ => {
                state.phase = Phase::Held(held);
                state.since_ms = now_ms;
                Parked::Held
            }
        }
    }

    /// Brings the answer to the read with this number. One that is gone gets
    /// nothing; its messages stay unconfirmed.
    pub fn answer(
        &self,
        request: u32,
        answer: Answer,
        terms: &Terms,
        close: bool,
        now_ms: u64,
    ) -> Next {
        let mut state = self.state.lock();
        if self.request.load(Relaxed) != request {
            return Next::Nothing;
        }
        match mem::replace(&mut state.phase, Phase::Closed) {
            Phase::Running => {
                state.phase = Phase::Answered(Box::new(answer));
                Next::Nothing
            }
            Phase::Held(Held { app, wish, rest, counted, .. }) => {
                // Its client may come again as soon as it has the answer.
                drop(counted);
                app.requests().read(&answer);
                Scratch::with(|scratch| {
                    let Scratch { out, body } = scratch;
                    http1::answer(out, body, &answer, wish, terms, close);
                    self.write(&mut state, out, rest.into(), close, now_ms)
                })
            }
            other => {
                state.phase = other;
                Next::Nothing
            }
        }
    }

    /// Sends an answer on behalf of who works on it. What the socket does not
    /// take is kept, with the `rest` of the input behind the request. None: it
    /// is sent, and the caller goes on.
    pub fn reply(&self, bytes: &[u8], rest: &[u8], close: bool, now_ms: u64) -> Option<Next> {
        match wire::send(self.socket(), bytes) {
            Sent::All if !close => None,
            Sent::Part(sent) => {
                // Once more under the lock: if the socket could be written
                // before that, its event came and went.
                let mut state = self.state.lock();
                let next = self.write(&mut state, &bytes[sent..], rest.to_vec(), close, now_ms);
                Some(next)
            }
            sent => {
                let mut state = self.state.lock();
                Some(self.written(&mut state, sent, &[], Vec::new(), close, now_ms))
            }
        }
    }

    fn write(
        &self,
        state: &mut State,
        bytes: &[u8],
        rest: Vec<u8>,
        close: bool,
        now_ms: u64,
    ) -> Next {
        let sent = wire::send(self.socket(), bytes);
        self.written(state, sent, bytes, rest, close, now_ms)
    }

    /// What follows an answer of which so much was sent.
    fn written(
        &self,
        state: &mut State,
        sent: Sent,
        bytes: &[u8],
        rest: Vec<u8>,
        close: bool,
        now_ms: u64,
    ) -> Next {
        match sent {
            Sent::Broken => {
                state.phase = Phase::Closed;
                Next::End(None)
            }
            Sent::Part(sent) => {
                let unsent = Unsent { bytes: bytes[sent..].into(), sent: 0, rest, close };
                state.phase = Phase::Writing(Box::new(unsent));
                state.since_ms = now_ms;
                Next::Nothing
            }
            Sent::All if close => self.linger(state, now_ms),
            Sent::All => {
                let is_rest = !rest.is_empty();
                state.wait_for_more(Unread::behind(rest, now_ms), now_ms);
                if is_rest || state.more { Next::Kick } else { Next::Nothing }
            }
        }
    }

    /// The socket takes more.
    fn write_on(&self, state: &mut State, now_ms: u64) -> Next {
        let Phase::Writing(unsent) = &mut state.phase else { return Next::Nothing };
        match wire::send(self.socket(), &unsent.bytes[unsent.sent..]) {
            Sent::Part(0) => Next::Nothing,
            Sent::Part(sent) => {
                unsent.sent += sent;
                state.since_ms = now_ms;
                Next::Nothing
            }
            sent => {
                let (rest, close) = (mem::take(&mut unsent.rest), unsent.close);
                match self.written(state, sent, &[], rest, close, now_ms) {
                    // The caller is who reads.
                    Next::Kick if !close => Next::Read(state.take_up()),
                    next => next,
                }
            }
        }
    }

    /// Nothing more is sent; what still comes is read and thrown away.
    fn linger(&self, state: &mut State, now_ms: u64) -> Next {
        if !wire::finish(self.socket()) {
            state.phase = Phase::Closed;
            return Next::End(None);
        }
        state.phase = Phase::Lingering(LINGER_BYTES);
        state.since_ms = now_ms;
        // What has come already was announced already.
        Next::Kick
    }

    /// Ends it if it is between two requests, for a shutdown.
    pub fn finish(&self) -> Next {
        let mut state = self.state.lock();
        let Phase::Idle = state.phase else { return Next::Nothing };
        if state.more || wire::has_input(self.socket()) {
            return Next::Nothing; // a request has come and will be told
        }
        state.phase = Phase::Closed;
        Next::End(None)
    }

    /// Ends it here if it is between two requests, or little has come of the next:
    /// what was read of that. Its socket goes on.
    pub fn give_up(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        let unread = match &mut state.phase {
            Phase::Idle => Vec::new(),
            Phase::Partial(unread) if unread.bytes.len() <= Handed::MAX_UNREAD_BYTES => {
                mem::take(&mut unread.bytes)
            }
            _ => return None,
        };
        state.phase = Phase::Closed;
        Some(unread)
    }

    /// It has said its last, and only reads what still comes.
    pub fn is_lingering(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Lingering(_))
    }

    /// Ends it on behalf of who works on it.
    pub fn close(&self) {
        self.state.lock().phase = Phase::Closed;
    }

    /// Ends it if it is over its time.
    pub fn expire(&self, http: &HttpConfig, now_ms: u64) -> Next {
        let mut state = self.state.lock();
        let passed = |since_ms: u64, ms: u64| {
            now_ms.saturating_sub(since_ms) >= ms.saturating_add(COARSE_MS)
        };
        let over = |since_ms: u64, s: u64| passed(since_ms, s.saturating_mul(1000));
        let since_ms = state.since_ms;
        let late = match &state.phase {
            Phase::Idle | Phase::Writing(_) if over(since_ms, http.idle_timeout_s) => None,
            Phase::Lingering(_) if passed(since_ms, LINGER_MS) => None,
            Phase::Partial(unread) => match unread.needs_bytes {
                0 if over(unread.since_ms, http.head_timeout_s) => Some("head"),
                1.. if over(unread.since_ms, http.body_timeout_s) => Some("body"),
                _ => return Next::Nothing,
            },
            _ => return Next::Nothing,
        };
        let Some(late) = late else {
            state.phase = Phase::Closed;
            return Next::End(None);
        };
        let error =
            ErrorBody::new(Code::RequestTimeout, format!("the request's {late} took too long"));
        let reply = Reply::error(&error, Format::Json).closing();
        Scratch::with(|scratch| {
            http1::reply(&mut scratch.out, &reply, &Origins::default(), None);
            match wire::send(self.socket(), &scratch.out) {
                Sent::All => self.linger(&mut state, now_ms),
                // A client that does not read has no claim to an answer.
                Sent::Part(_) | Sent::Broken => {
                    state.phase = Phase::Closed;
                    Next::End(None)
                }
            }
        })
    }
}

impl State {
    /// The caller works on it from now on.
    fn take_up(&mut self) -> Unread {
        // The end of what a client sends lies behind its last bytes, and is
        // announced but once.
        self.more = self.hung_up;
        match mem::replace(&mut self.phase, Phase::Running) {
            Phase::Partial(unread) => *unread,
            _ => Unread::default(),
        }
    }

    fn wait_for_more(&mut self, unread: Unread, now_ms: u64) {
        self.since_ms = now_ms;
        self.phase = match unread.bytes.is_empty() {
            true => Phase::Idle,
            false => Phase::Partial(Box::new(unread)),
        };
    }
}
