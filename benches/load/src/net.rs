//! Sockets: blocking while a run is set up, then driven by one epoll.

use crate::http::{self, Answer, Parsed};
use anyhow::{Context, Result, bail};
use rustix::{
    event::{Timespec, epoll},
    fs::{OFlags, fcntl_setfl},
    io::Errno,
    net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};
use std::{
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    time::Duration,
};

/// The most that one receive takes; an answer is far smaller, so that a short
/// one says that nothing is left without asking again.
pub const RECEIVE_BYTES: usize = 1024 * 1024;

/// How many addresses the clients come from: each has some 28 000 ports.
const SOURCES: usize = 8;

/// How long an answer may take while a run is set up.
const SETUP_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to the server.
pub struct Conn {
    fd: OwnedFd,
    /// The beginning of an answer that has not come whole; empty in general.
    received: Vec<u8>,
    /// What the socket did not take; empty in general.
    unsent: Vec<u8>,
}

/// What came of a receive.
pub enum Received {
    /// Bytes; `more` if the socket may have further ones.
    Bytes {
        count: usize,
        more: bool,
    },
    Nothing,
    Closed,
}

impl Conn {
    /// Connects from one of several loopback addresses: the port of a client
    /// is one of 28 000, and closed connections keep theirs for a minute.
    pub fn open(server: SocketAddrV4, nth: usize) -> Result<Self> {
        let fd =
            net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .context("no socket: raise `ulimit -n`")?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(SETUP_TIMEOUT))?;
        let source = Ipv4Addr::new(127, 0, 0, 2 + (nth % SOURCES) as u8);
        net::bind(&fd, &SocketAddrV4::new(source, 0))
            .with_context(|| format!("no free port at {source}"))?;
        net::connect(&fd, &server).with_context(|| format!("nobody listens at {server}"))?;
        Ok(Self { fd, received: Vec::new(), unsent: Vec::new() })
    }

    /// Sends a request and waits for its answer. Only while the run is set up
    /// or torn down, before [`Poller::add`].
    pub fn ask<T>(&mut self, request: &[u8], read: impl FnOnce(&Answer<'_>) -> T) -> Result<T> {
        let mut rest = request;
        while !rest.is_empty() {
            let sent = net::send(&self.fd, rest, SendFlags::NOSIGNAL).context("send")?;
            rest = &rest[sent..];
        }
        let mut bytes = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let (count, _) = net::recv(&self.fd, &mut buffer[..], RecvFlags::empty())
                .context("no answer while the run was set up")?;
            if count == 0 {
                bail!("the server closed the connection instead of answering");
            }
            bytes.extend_from_slice(&buffer[..count]);
            match http::parse(&bytes) {
                Parsed::Answer(answer) => return Ok(read(&answer)),
                Parsed::Incomplete => {}
                Parsed::Malformed => {
                    bail!("no answer that is understood: {}", String::from_utf8_lossy(&bytes))
                }
            }
        }
    }

    /// Sends what the socket takes and keeps the rest.
    pub fn send(&mut self, request: &[u8]) -> std::result::Result<(), Errno> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(request);
            return Ok(());
        }
        let sent = match net::send(&self.fd, request, SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(error) => return Err(error),
        };
        self.unsent.extend_from_slice(&request[sent..]);
        Ok(())
    }

    /// Goes on with what is left of a request.
    pub fn flush(&mut self) -> std::result::Result<(), Errno> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.send(&unsent)
    }

    pub fn receive(&self, buffer: &mut [u8]) -> Received {
        match net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => Received::Closed,
            Ok((count, _)) => Received::Bytes { count, more: count == buffer.len() },
            Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
            Err(_) => Received::Closed,
        }
    }

    /// What was kept of an unfinished answer; the caller gives back the rest.
    pub fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    pub fn keep_received(&mut self, bytes: Vec<u8>) {
        self.received = bytes;
    }
}

/// One epoll for all connections.
pub struct Poller {
    fd: OwnedFd,
    /// Ends waits that are too short for epoll, which counts in whole
    /// milliseconds and rounds up.
    timer: OwnedFd,
    events: Vec<MaybeUninit<epoll::Event>>,
}

/// The timer's token.
const TIMER: u64 = u64::MAX;

/// Waits from here on may be late by a millisecond.
const COARSE: Duration = Duration::from_millis(50);

/// Something happened on the connection of this token.
#[derive(Clone, Copy)]
pub struct Event {
    pub token: u64,
    /// There is something to receive, be it the end.
    pub readable: bool,
    /// The other side sends nothing more.
    pub hung_up: bool,
    pub writable: bool,
}

impl Poller {
    pub fn new() -> Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("timerfd")?;
        // Edge-triggered: nobody reads how often it rang.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&fd, &timer, epoll::EventData::new_u64(TIMER), flags).context("epoll")?;
        Ok(Self { fd, timer, events: vec![MaybeUninit::uninit(); 1024] })
    }

    /// From here on the connection does not block. Edge-triggered: a socket
    /// costs a system call when something came, and none to be asked again.
    pub fn add(&self, conn: &Conn, token: u64) -> Result<()> {
        fcntl_setfl(&conn.fd, OFlags::NONBLOCK).context("fcntl")?;
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(&self.fd, &conn.fd, epoll::EventData::new_u64(token), flags).context("epoll")
    }

    /// Waits at most so long and appends what happened.
    pub fn wait(&mut self, timeout: Duration, happened: &mut Vec<Event>) -> Result<()> {
        let time = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let is_fine = !timeout.is_zero() && timeout < COARSE;
        if is_fine {
            let once = Itimerspec { it_interval: Timespec::default(), it_value: time };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).context("timerfd")?;
        }
        let coarse = (!is_fine).then_some(&time);
        let events = match epoll::wait(&self.fd, &mut self.events[..], coarse) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("epoll"),
        };
        let of_connections = events.iter().filter(|event| event.data.u64() != TIMER);
        happened.extend(of_connections.map(|event| {
            let flags = event.flags;
            let ended = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            Event {
                token: event.data.u64(),
                readable: flags.intersects(epoll::EventFlags::IN | ended),
                hung_up: flags.intersects(ended),
                writable: flags.contains(epoll::EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_short_wait_is_not_rounded_to_a_millisecond() {
        let mut poller = Poller::new().expect("epoll");
        let mut happened = Vec::new();
        let times = (0..50).map(|_| {
            let started = Instant::now();
            poller.wait(Duration::from_micros(100), &mut happened).expect("a wait");
            started.elapsed()
        });
        // Others may have the core meanwhile, but not each time.
        let least = times.min().expect("some");
        assert!(least >= Duration::from_micros(90), "{least:?}");
        assert!(least < Duration::from_micros(900), "{least:?}");
        assert!(happened.is_empty());
    }
}
