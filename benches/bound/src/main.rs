//! `cometbox-bound PORT`: a bound, not a server. It tells what a long-poll
//! delivery costs at least on a machine: one receive and one send in an epoll
//! loop of one thread, and next to nothing between them. The distance from a
//! real server to it is what that server's work costs; what is below it is the
//! kernel's.
//!
//! It speaks Cometbox's protocol just well enough for `cometbox-load`: open,
//! read with a cursor, publish to a mailbox or group, send (which goes to the
//! group, without the sender), close. Left out, on purpose: keys, plugins,
//! limits, timers (a read is held for ever, a mailbox lives until it is
//! closed, and its memory is not used again), more than one group of a mailbox,
//! bad requests (they end the connection), JSON that the generator does not
//! write, percent-encoding, logs, and more than one thread.
//!
//! | module | |
//! |---|---|
//! | `main` | sockets and the loop |
//! | `request` | bytes → what is asked for |
//! | `state` | mailboxes and groups; who gets which bytes |

mod request;
mod state;

use anyhow::{Context, Result, bail};
use request::Parsed;
use rustix::event::epoll::{self, EventData, EventFlags};
use state::State;
use std::{
    io::{ErrorKind, Read, Write},
    mem::MaybeUninit,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::OwnedFd,
};

/// Larger than a request of the generator: a shorter receive has emptied the
/// socket, so it is not asked again.
const RECEIVE_BYTES: usize = 256 * 1024;

/// The listener's token; a connection's is its index.
const LISTENER: u64 = u64::MAX;

struct Conn {
    stream: TcpStream,
    /// The beginning of a request that has not come whole; empty in general.
    received: Vec<u8>,
    /// What the socket did not take; empty in general.
    unsent: Vec<u8>,
}

struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    state: State,
}

fn main() -> Result<()> {
    let port = std::env::args().nth(1).context("usage: cometbox-bound PORT")?;
    Server::new(port.parse().context("a port")?)?.run()
}

impl Server {
    fn new(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let (conns, free, state) = (Vec::new(), Vec::new(), State::default());
        Ok(Self { epoll, listener, conns, free, state })
    }

    fn run(mut self) -> Result<()> {
        let mut events = vec![MaybeUninit::uninit(); 1024];
        let mut buffer = vec![0; RECEIVE_BYTES];
        loop {
            let (happened, _) = match epoll::wait(&self.epoll, &mut events[..], None) {
                Ok(happened) => happened,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in happened {
                let (token, flags) = (event.data.u64(), event.flags);
                if token == LISTENER {
                    self.accept()?;
                    continue;
                }
                let id = token as usize;
                if flags.contains(EventFlags::OUT) {
                    self.send(id, &[]);
                }
                // Errors and ends are told as readable, too.
                if flags.contains(EventFlags::IN) && self.receive(id, &mut buffer).is_err() {
                    self.hang_up(id);
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("accept: raise `ulimit -n`"),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let id = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &stream, EventData::new_u64(id as u64), flags)?;
        self.conns[id] = Some(Conn { stream, received: Vec::new(), unsent: Vec::new() });
        Ok(())
    }

    fn hang_up(&mut self, id: usize) {
        self.state.left(id);
        // Closing takes it out of the epoll.
        if self.conns[id].take().is_some() {
            self.free.push(id);
        }
    }

    /// Takes what came and does each whole request in it; an error if the
    /// connection is of no more use.
    fn receive(&mut self, id: usize, buffer: &mut [u8]) -> Result<()> {
        loop {
            let Some(conn) = &mut self.conns[id] else { return Ok(()) };
            let kept = std::mem::take(&mut conn.received);
            buffer[..kept.len()].copy_from_slice(&kept);
            let room = &mut buffer[kept.len()..];
            let (count, more) = match conn.stream.read(room) {
                Ok(0) => bail!("it ended"),
                Ok(count) => (count, count == room.len()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    conn.received = kept;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let mut rest = &buffer[..kept.len() + count];
            loop {
                match request::parse(rest) {
                    Parsed::Request(request, length) => {
                        rest = &rest[length..];
                        self.serve(id, &request);
                    }
                    Parsed::Incomplete if rest.len() < RECEIVE_BYTES => break,
                    Parsed::Incomplete | Parsed::Malformed => bail!("no request of ours"),
                }
            }
            if let (Some(conn), false) = (&mut self.conns[id], rest.is_empty()) {
                conn.received = rest.to_vec();
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn serve(&mut self, id: usize, request: &request::Request<'_>) {
        let Self { state, conns, .. } = self;
        state.serve(id, request, &mut |id, bytes| send(&mut conns[id], bytes));
    }

    fn send(&mut self, id: usize, bytes: &[u8]) {
        send(&mut self.conns[id], bytes);
    }
}

/// Sends what is left from before and then this, or keeps what the socket does
/// not take. A connection that broke is noticed by its next receive.
fn send(conn: &mut Option<Conn>, bytes: &[u8]) {
    let Some(conn) = conn else { return };
    let kept = std::mem::take(&mut conn.unsent);
    let whole = if kept.is_empty() { bytes } else { &[&kept[..], bytes].concat() };
    if whole.is_empty() {
        return;
    }
    let sent = conn.stream.write(whole).unwrap_or(0);
    conn.unsent.extend_from_slice(&whole[sent..]);
}
