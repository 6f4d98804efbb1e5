//! The loop: readers that poll again and again, lanes that publish, and the
//! accounts of what passed between them.
//!
//! A *lane* is one connection that publishes, one request at a time, to its
//! *targets* in turn. Without a pace it goes on when everybody has what it sent
//! last; with one, when it is time, and what is due while the lane waits for
//! an answer waits in its queue (its latency counts from when it was due).

mod accounts;

use crate::{
    check::Faults,
    dialect::{Dialect, Outcome},
    http::{Answer, Parsed, parse},
    marker::Marker,
    net::{Conn, Event, Poller, RECEIVE_BYTES, Received},
    parts::{Counted, Lane, Pace, Reader, Target},
    process::now_ns,
};
use anyhow::{Result, bail};
use std::{mem, net::SocketAddrV4, ops::Range, time::Duration};

/// Nothing arrived for so long, though something should: it is lost.
const STALLED: Duration = Duration::from_secs(5);

/// A server that drops connections at this rate is not worth measuring.
const MAX_RECONNECTS: u64 = 1000;

/// The token of a lane's connection: its number beyond all readers.
const LANE: u64 = 1 << 32;

pub struct Engine {
    poller: Poller,
    server: SocketAddrV4,
    dialect: Dialect,
    run: u32,
    readers: Vec<Reader>,
    lanes: Vec<Lane>,
    targets: Vec<Target>,
    pace: Option<Pace>,
    pub counted: Counted,
    pub faults: Faults,
    /// The first wrong answer, to be shown.
    pub first_error: Option<String>,
    /// Mailboxes are being closed: that a reader is told so is no error.
    pub leaving: bool,
    /// Readers poll in [`Engine::round`] alone, or as `behind` says.
    pub resting: bool,
    /// Readers that rest poll when so many messages wait for them; 0: they do not.
    pub behind: u32,
    /// A lane goes on when it has its answer, whoever has got what it sent.
    pub ahead: bool,
    progress_ns: u64,
    buffer: Box<[u8]>,
    request: Vec<u8>,
    events: Vec<Event>,
}

impl Engine {
    pub fn new(server: SocketAddrV4, dialect: Dialect, run: u32) -> Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            server,
            dialect,
            run,
            readers: Vec::new(),
            lanes: Vec::new(),
            targets: Vec::new(),
            pace: None,
            counted: Counted::new(),
            faults: Faults::default(),
            first_error: None,
            leaving: false,
            resting: false,
            behind: 0,
            ahead: false,
            progress_ns: now_ns(),
            buffer: vec![0; RECEIVE_BYTES].into(),
            request: Vec::new(),
            events: Vec::new(),
        })
    }

    pub fn add_lane(&mut self, lane: Lane) -> Result<()> {
        self.poller.add(&lane.conn, LANE + self.lanes.len() as u64)?;
        self.lanes.push(lane);
        Ok(())
    }

    pub fn add_target(&mut self, target: Target) {
        self.lanes[target.lane].targets.push(self.targets.len());
        self.targets.push(target);
    }

    /// The reader polls at once, unless all rest.
    pub fn add_reader(&mut self, reader: Reader) -> Result<()> {
        self.poller.add(&reader.conn, self.readers.len() as u64)?;
        self.readers.push(reader);
        if self.resting { Ok(()) } else { self.poll(self.readers.len() - 1) }
    }

    /// These lanes send from now on, each so many.
    pub fn allow(&mut self, lanes: Range<usize>, each: u64) -> Result<()> {
        self.progress_ns = now_ns();
        for lane in lanes {
            self.lanes[lane].allowed = each;
            self.step(lane)?;
        }
        Ok(())
    }

    /// Each target once.
    pub fn allow_round(&mut self) -> Result<()> {
        self.progress_ns = now_ns();
        for lane in 0..self.lanes.len() {
            self.lanes[lane].allowed = self.lanes[lane].targets.len() as u64;
            self.step(lane)?;
        }
        Ok(())
    }

    /// Each target so often while nobody reads; then all poll until they have
    /// everything. Whether they have got it.
    pub fn round(&mut self, each: u32) -> Result<bool> {
        self.progress_ns = now_ns();
        for lane in 0..self.lanes.len() {
            let it = &mut self.lanes[lane];
            for target in &it.targets {
                it.queue.extend((0..each).map(|_| (*target, self.progress_ns)));
            }
            self.step(lane)?;
        }
        self.wait_while(|lane| lane.busy)?;
        for reader in 0..self.readers.len() {
            self.poll(reader)?;
        }
        self.finish()?;
        Ok(!self.stalled(now_ns()))
    }

    /// From now on so many a second.
    pub fn set_pace(&mut self, per_second: u32) {
        self.progress_ns = now_ns();
        let interval_ns = 1_000_000_000 / u64::from(per_second.max(1));
        self.pace = Some(Pace { interval_ns, due_ns: self.progress_ns, next: 0 });
    }

    /// Counts anew.
    pub fn clear(&mut self) {
        self.counted = Counted::new();
    }

    /// Runs for this long, or until what should arrive does not.
    pub fn run_for(&mut self, time: Duration) -> Result<()> {
        let end = now_ns() + time.as_nanos() as u64;
        loop {
            let now = now_ns();
            if now >= end || self.stalled(now) {
                return Ok(());
            }
            self.turn(end)?;
        }
    }

    /// Sends nothing more and waits for what is on its way.
    pub fn drain(&mut self) -> Result<()> {
        self.pace = None;
        for lane in &mut self.lanes {
            lane.allowed = 0;
            lane.queue.clear();
        }
        // Who rests gets what is left; however slow it was, it has its time anew.
        self.behind = 0;
        self.progress_ns = now_ns();
        for reader in 0..self.readers.len() {
            if !self.readers[reader].polling && !self.has_all(reader) {
                self.poll(reader)?;
            }
        }
        self.finish()
    }

    /// Waits until everything that was allowed is sent and has arrived.
    pub fn finish(&mut self) -> Result<()> {
        self.wait_while(|lane| lane.busy || lane.outstanding > 0)
    }

    fn wait_while(&mut self, open: impl Fn(&Lane) -> bool) -> Result<()> {
        while self.lanes.iter().any(&open) && !self.stalled(now_ns()) {
            self.turn(now_ns() + 100_000_000)?;
        }
        Ok(())
    }

    fn stalled(&self, now: u64) -> bool {
        now.saturating_sub(self.progress_ns) > STALLED.as_nanos() as u64
            && self.lanes.iter().any(|lane| lane.busy || lane.outstanding > 0)
    }

    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Those who are to get messages.
    pub fn readers(&self) -> usize {
        self.readers.iter().filter(|reader| !reader.streams.is_empty()).count()
    }

    /// Those of them whose mailbox is still there.
    pub fn readers_left(&self) -> usize {
        let waits = |reader: &&Reader| !reader.gone && !reader.streams.is_empty();
        self.readers.iter().filter(waits).count()
    }

    /// Closes all readers' connections.
    pub fn hang_up(&mut self) {
        self.readers.clear();
    }

    /// Waits for something to happen, until `end` at most, and handles it.
    fn turn(&mut self, end: u64) -> Result<()> {
        self.publish_due()?;
        let until = self.pace.as_ref().map_or(end, |pace| pace.due_ns.min(end));
        // Never longer than this, so that a stall is noticed.
        let timeout = Duration::from_nanos(until.saturating_sub(now_ns()).min(500_000_000));
        let mut events = mem::take(&mut self.events);
        self.poller.wait(timeout, &mut events)?;
        for event in events.drain(..) {
            if event.token >= LANE {
                self.lane_event((event.token - LANE) as usize, event)?;
            } else {
                self.reader_event(event.token as usize, event)?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn publish_due(&mut self) -> Result<()> {
        let now = now_ns();
        while let Some(pace) = &mut self.pace {
            if pace.due_ns > now {
                break;
            }
            let (target, due) = (pace.next, pace.due_ns);
            pace.next = (pace.next + 1) % self.targets.len();
            pace.due_ns += pace.interval_ns;
            let lane = self.targets[target].lane;
            self.lanes[lane].queue.push_back((target, due));
            self.step(lane)?;
        }
        Ok(())
    }

    /// Lets a lane send its next request, if there is one and it may.
    fn step(&mut self, lane: usize) -> Result<()> {
        let it = &mut self.lanes[lane];
        if it.busy {
            return Ok(());
        }
        let (now, may_go_on) = (now_ns(), self.ahead || it.outstanding == 0);
        let (target, due) = if let Some(next) = it.queue.pop_front() {
            self.counted.lateness.add(now.saturating_sub(next.1));
            next
        } else if it.allowed > 0 && may_go_on && !it.targets.is_empty() {
            it.allowed -= 1;
            let target = it.targets[it.next];
            it.next = (it.next + 1) % it.targets.len();
            (target, now)
        } else {
            return Ok(());
        };
        let target = &mut self.targets[target];
        target.sent += 1;
        let Target { to, stream, sent: seq, .. } = *target;
        Marker { run: self.run, to, stream, seq, sent_ns: due }.write(target.parcel.marker());
        it.busy = true;
        it.asked_ns = due;
        it.outstanding += target.audience;
        // Not all of them in the same round.
        let is_behind = self.behind > 0 && (seq + to).is_multiple_of(self.behind);
        it.wakes = is_behind.then_some(to as usize);
        self.counted.published += 1;
        if let Err(error) = it.conn.send(&target.parcel.request) {
            bail!("a publisher's connection broke: {error}");
        }
        Ok(())
    }

    fn poll(&mut self, reader: usize) -> Result<()> {
        let it = &mut self.readers[reader];
        let request = &mut self.request;
        request.clear();
        for part in [&it.poll.before[..], &it.position, &it.poll.after] {
            request.extend_from_slice(part);
        }
        it.polling = true;
        if it.conn.send(request).is_err() {
            self.reconnect(reader)?;
        }
        Ok(())
    }

    /// Counts a connection that the server closed and goes on with another.
    fn reconnect(&mut self, reader: usize) -> Result<()> {
        self.faults.reconnects += 1;
        if self.faults.reconnects > MAX_RECONNECTS {
            bail!("the server closed more than {MAX_RECONNECTS} connections");
        }
        let it = &mut self.readers[reader];
        it.conn = Conn::open(self.server, reader)?;
        self.poller.add(&it.conn, reader as u64)?;
        self.poll(reader)
    }

    fn lane_event(&mut self, lane: usize, event: Event) -> Result<()> {
        if event.writable && self.lanes[lane].conn.flush().is_err() {
            bail!("a publisher's connection broke");
        }
        if event.readable && !self.receive(Side::Lane(lane), event.hung_up)? {
            bail!("the server closed a publisher's connection");
        }
        Ok(())
    }

    fn reader_event(&mut self, reader: usize, event: Event) -> Result<()> {
        let flushed = !event.writable || self.readers[reader].conn.flush().is_ok();
        let open =
            flushed && (!event.readable || self.receive(Side::Reader(reader), event.hung_up)?);
        if open || self.readers[reader].gone {
            return Ok(());
        }
        self.reconnect(reader)
    }

    /// Takes what came and handles each whole answer in it, in place. `false`
    /// if the connection has ended.
    fn receive(&mut self, side: Side, hung_up: bool) -> Result<bool> {
        let mut buffer = mem::take(&mut self.buffer);
        let open = self.receive_into(side, hung_up, &mut buffer);
        self.buffer = buffer;
        open
    }

    fn receive_into(&mut self, side: Side, hung_up: bool, buffer: &mut [u8]) -> Result<bool> {
        loop {
            let conn = self.conn(side);
            let kept = conn.take_received();
            buffer[..kept.len()].copy_from_slice(&kept);
            let (count, more) = match conn.receive(&mut buffer[kept.len()..]) {
                Received::Bytes { count, more } => (count, more),
                Received::Nothing => {
                    conn.keep_received(kept);
                    return Ok(true);
                }
                Received::Closed => return Ok(false),
            };
            let mut rest = &buffer[..kept.len() + count];
            loop {
                match parse(rest) {
                    Parsed::Answer(answer) => {
                        rest = &rest[answer.length..];
                        match side {
                            Side::Lane(lane) => self.lane_answer(lane, &answer)?,
                            Side::Reader(reader) => self.reader_answer(reader, &answer)?,
                        }
                    }
                    Parsed::Incomplete if rest.len() < RECEIVE_BYTES => break,
                    Parsed::Incomplete | Parsed::Malformed => {
                        bail!(
                            "no answer that is understood: {}",
                            String::from_utf8_lossy(&rest[..rest.len().min(300)])
                        )
                    }
                }
            }
            if !rest.is_empty() {
                let rest = rest.to_vec();
                self.conn(side).keep_received(rest);
            }
            // A short receive has emptied the socket: asking again would be a
            // system call for nothing. The end of a connection is not told by
            // another event, though.
            if !more && !hung_up {
                return Ok(true);
            }
        }
    }

    fn conn(&mut self, side: Side) -> &mut Conn {
        match side {
            Side::Lane(lane) => &mut self.lanes[lane].conn,
            Side::Reader(reader) => &mut self.readers[reader].conn,
        }
    }

    fn lane_answer(&mut self, lane: usize, answer: &Answer<'_>) -> Result<()> {
        if !self.dialect.taken(answer) {
            self.error("a publish", answer);
        }
        let it = &mut self.lanes[lane];
        it.busy = false;
        self.progress_ns = now_ns();
        self.counted.answers.add(self.progress_ns.saturating_sub(it.asked_ns));
        if let Some(reader) = it.wakes.take()
            && !self.readers[reader].polling
        {
            self.poll(reader)?;
        }
        self.step(lane)
    }

    fn reader_answer(&mut self, reader: usize, answer: &Answer<'_>) -> Result<()> {
        let it = &mut self.readers[reader];
        it.polling = false;
        match self.dialect.read(answer, &mut it.position) {
            // Which ones is found by their numbers; this is the server's word.
            Outcome::Messages { lost: 1.. } => {
                self.note("the server says that it lost messages", answer)
            }
            Outcome::Messages { lost: 0 } => {}
            Outcome::Nothing => return self.poll(reader),
            Outcome::Gone if self.leaving => {
                it.gone = true;
                return Ok(());
            }
            Outcome::Gone | Outcome::Unexpected => {
                self.error("a poll", answer);
                // It would get the same answer again, at full speed.
                self.readers[reader].gone = true;
                return Ok(());
            }
        }
        let arrived = self.account(reader, &answer.body);
        if !self.resting || (self.behind == 0 && !self.has_all(reader)) {
            self.poll(reader)?;
        }
        if arrived == 0 {
            return Ok(());
        }
        let lane = self.readers[reader].lane;
        self.lanes[lane].outstanding = self.lanes[lane].outstanding.saturating_sub(arrived);
        self.step(lane)
    }
}

/// Whose connection.
#[derive(Clone, Copy)]
enum Side {
    Lane(usize),
    Reader(usize),
}

#[cfg(test)]
mod tests;
