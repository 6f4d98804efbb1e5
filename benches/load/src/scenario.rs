//! The scenarios: who reads, who publishes.

mod measure;

use crate::{
    args::{Args, MEMBERS, Scenario},
    check::Stream,
    dialect::{Identity, Speaker},
    engine::Engine,
    net::Conn,
    parts::{Lane, Reader, Target},
    process::{Tree, now_ns},
    report::{Memory, Report},
};
use anyhow::{Context, Result, bail};
use std::{ops::Range, time::Duration};

/// Publishers of the park scenario: it is not about speed.
const PARK_LANES: u32 = 16;

/// After this the polls of a setup are parked.
const QUIET: Duration = Duration::from_millis(500);

/// Clients that stay give nothing back: a short rest will do.
const PARKED: Duration = Duration::from_secs(2);

/// A server that still gives memory back after so long is measured all the same.
const RESTLESS: Duration = Duration::from_secs(40);

/// In this time all polls are told that their mailboxes were closed.
const TOLD: Duration = Duration::from_secs(20);

/// How long a mailbox lives that nobody reads, in a body of the bench plugin.
const IDLE_LINGER_MS: u64 = 3_600_000;

/// A run while it is set up.
struct Setup<'a> {
    args: &'a Args,
    speaker: Speaker,
    engine: Engine,
    /// In all names, so that nothing is left of an earlier run.
    run: u32,
    /// Connected and opened; they poll when all are.
    readers: Vec<Reader>,
    /// Who publishes over each lane, where that has to be a client.
    publishers: Vec<Identity>,
    tree: Option<Tree>,
    /// Events in a request.
    batch: u32,
    /// Messages that wait for each poll; 0: polls wait for messages.
    waiting: u32,
}

/// Runs what the arguments say.
pub fn run(args: &Args) -> Result<Report> {
    let tree = args.server_pid.map(Tree::new).transpose()?;
    // Two runs at the same nanosecond modulo 2^32 do not follow each other.
    let run = now_ns() as u32;
    let speaker = Speaker {
        dialect: args.dialect,
        host: args.server.to_string(),
        app: args.app.clone(),
        publish_key: args.publish_key.clone(),
        wait: args.wait,
    };
    let engine = Engine::new(args.server, args.dialect, run)?;
    let (readers, publishers) = (Vec::new(), Vec::new());
    let setup =
        Setup { args, speaker, engine, run, readers, publishers, tree, batch: 1, waiting: 0 };
    match args.scenario {
        Scenario::Park { clients, settle } => setup.park(clients, settle),
        Scenario::Broadcast { members } => setup.broadcast(members),
        Scenario::Direct { mailboxes, window, rate, idle } => {
            setup.direct(mailboxes, window.min(mailboxes), rate, idle)
        }
        Scenario::Waiting { members, each } => setup.waiting(members, each),
        Scenario::Publish { publishers, mailboxes, behind, rate } => {
            setup.publish(publishers.min(mailboxes), mailboxes, behind, rate)
        }
        Scenario::Groups { groups, mailboxes } => setup.groups(groups, mailboxes),
        Scenario::Events { batch } => setup.events(batch),
        Scenario::Chat { rooms, members } => setup.chat(rooms, members),
    }
}

impl Setup<'_> {
    fn name(&self, what: &str, nth: u32) -> String {
        format!("{what}{nth}-{:08x}", self.run)
    }

    fn conn(&self, nth: u32) -> Result<Conn> {
        Conn::open(self.args.server, nth as usize)
    }

    /// Further lanes.
    fn lanes(&mut self, count: u32) -> Result<Range<usize>> {
        let first = self.engine.lanes();
        for nth in 0..count {
            let mut conn = self.conn(nth)?;
            if self.args.dialect.has_publishers() {
                let publisher = self.open(&mut conn, "")?;
                self.keep_alive(&publisher)?;
                self.publishers.push(publisher);
            } else {
                self.publishers.push(Identity::default());
            }
            self.engine.add_lane(Lane::new(conn))?;
        }
        Ok(first..self.engine.lanes())
    }

    /// A client that only publishes polls all the same, or it expires.
    fn keep_alive(&mut self, who: &Identity) -> Result<()> {
        let conn = self.conn(self.engine.lanes() as u32)?;
        let (poll, position) = self.speaker.poll("", who);
        self.engine.add_reader(Reader {
            conn,
            poll,
            position,
            address: 0,
            first_target: 0,
            streams: Vec::new(),
            own: None,
            lane: self.engine.lanes(),
            polling: false,
            gone: false,
        })
    }

    /// Opens a mailbox, or what a server has instead; who that is.
    fn open(&self, conn: &mut Conn, body: &str) -> Result<Identity> {
        let dialect = self.args.dialect;
        let opened = conn.ask(&self.speaker.open(body), |answer| dialect.opened(answer))?;
        opened.with_context(|| format!("app {:?}", self.args.app))
    }

    /// A reader of the mailbox (or channel) `name`; who it is.
    fn reader(&mut self, name: &str, body: &str, what: Place) -> Result<Identity> {
        let mut conn = self.conn(self.readers.len() as u32)?;
        let who = self.open(&mut conn, body)?;
        if let Some(request) = self.speaker.subscribe(name, &who) {
            let dialect = self.args.dialect;
            let (taken, said) =
                conn.ask(&request, |answer| (dialect.taken(answer), answer.text()))?;
            if !taken {
                bail!("a subscription to {name} got {said}");
            }
        }
        let (poll, position) = self.speaker.poll(name, &who);
        let Place { address, first_target, streams, own, lane } = what;
        let streams = (0..streams).map(|_| Stream::default()).collect();
        self.readers.push(Reader {
            conn,
            poll,
            position,
            address,
            first_target,
            streams,
            own,
            lane,
            polling: false,
            gone: false,
        });
        Ok(who)
    }

    /// All poll; over when they are parked.
    fn start(&mut self) -> Result<()> {
        for reader in std::mem::take(&mut self.readers) {
            self.engine.add_reader(reader)?;
        }
        self.engine.run_for(QUIET)
    }

    /// Readers of a mailbox each, which lanes publish to in turn; who they are.
    fn mailboxes(&mut self, count: u32, lanes: Range<usize>) -> Result<Vec<Identity>> {
        let payload = self.args.payload as usize;
        let mut all = Vec::new();
        let first = self.engine.targets() as u32;
        for nth in first..first + count {
            let (name, lane) = (self.name("m", nth), lanes.start + nth as usize % lanes.len());
            let place =
                Place { address: nth, first_target: nth as usize, streams: 1, own: None, lane };
            all.push(self.reader(&name, &format!(r#"{{"name":"{name}"}}"#), place)?);
            let parcel = self.speaker.publish(&self.publishers[lane], &name, payload);
            self.engine.add_target(Target {
                parcel,
                lane,
                to: nth,
                stream: 0,
                audience: 1,
                sent: 0,
            });
        }
        Ok(all)
    }

    fn park(mut self, clients: u32, settle: u32) -> Result<Report> {
        let Some(tree) = self.tree else { bail!("park is about memory: it needs --server-pid") };
        let settle = Duration::from_secs(settle.into());
        let lanes = self.lanes(PARK_LANES.min(clients))?;
        // What the first requests of all allocate is not the clients'.
        let mut control = self.conn(0)?;
        let name = self.name("first", 0);
        let first = self.open(&mut control, &format!(r#"{{"name":"{name}"}}"#))?;
        control.ask(&self.speaker.close(&name, &first), |_| ())?;
        let before = self.memory_at_rest(tree, settle)?;
        let each =
            |from: u64, to: u64, clients: u32| (to as f64 - from as f64) / f64::from(clients);

        // The first half fills what the server has left over from its start;
        // the second shows what a client takes.
        let half = clients / 2;
        let mut all = self.mailboxes(half, lanes.clone())?;
        self.start()?;
        let halfway = self.memory_at_rest(tree, PARKED)?;
        all.extend(self.mailboxes(clients - half, lanes)?);
        self.start()?;
        let full = self.memory_at_rest(tree, PARKED)?;
        let parked = each(halfway, full, clients - half);

        self.engine.allow_round()?;
        self.engine.finish()?;
        let now = self.memory_at_rest(tree, PARKED)?;
        let after_a_message = parked + each(full, now, clients);

        self.engine.leaving = true;
        for (nth, who) in all.iter().enumerate() {
            let close = self.speaker.close(&self.name("m", nth as u32), who);
            control.ask(&close, |_| ())?;
        }
        let end = now_ns() + TOLD.as_nanos() as u64;
        while self.engine.readers_left() > 0 && now_ns() < end {
            self.engine.run_for(QUIET)?;
        }
        self.engine.faults.errors += self.engine.readers_left() as u64;
        let report = self.report("park", None);
        self.engine.hang_up();
        let after_leaving = each(before, self.memory_at_rest(tree, settle)?, clients);
        let memory = Memory { parked, after_a_message, after_leaving, server_before: before };
        Ok(Report { memory: Some(memory), ..report })
    }

    /// The server's memory once it has not given any back for `settle`.
    fn memory_at_rest(&mut self, tree: Tree, settle: Duration) -> Result<u64> {
        let (mut least, mut since, end) =
            (u64::MAX, now_ns(), now_ns() + RESTLESS.as_nanos() as u64);
        while now_ns() - since < settle.as_nanos() as u64 && now_ns() < end {
            self.engine.run_for(QUIET)?;
            let now = tree.pss_bytes()?;
            if now < least - least / 200 {
                since = now_ns();
            }
            least = least.min(now);
        }
        tree.pss_bytes()
    }

    fn broadcast(mut self, members: u32) -> Result<Report> {
        self.group(members)?;
        self.start()?;
        self.measure("broadcast", None)
    }

    fn waiting(mut self, members: u32, each: u32) -> Result<Report> {
        self.waiting = each;
        self.engine.resting = true;
        self.group(members)?;
        self.start()?;
        self.measure("waiting", None)
    }

    /// Readers in one group, which a lane publishes to.
    fn group(&mut self, members: u32) -> Result<()> {
        self.lanes(1)?;
        let group = self.name("g", 0);
        for nth in 0..members {
            let name = self.name("m", nth);
            // With nchan and Bayeux the channel is the group.
            let read = if self.args.dialect.echoes() { &group } else { &name };
            let body = format!(r#"{{"name":"{name}","groups":["{group}"]}}"#);
            let place = Place { address: 0, first_target: 0, streams: 1, own: None, lane: 0 };
            self.reader(read, &body, place)?;
        }
        let (by, payload) = (&self.publishers[0], self.args.payload as usize);
        let parcel = self.speaker.publish_group(by, &group, payload);
        let audience = members.into();
        self.engine.add_target(Target { parcel, lane: 0, to: 0, stream: 0, audience, sent: 0 });
        Ok(())
    }

    /// Ten mailboxes each have the same groups, and these no other members: it
    /// is the number of groups and memberships that counts here.
    fn groups(mut self, groups: u32, mailboxes: u32) -> Result<Report> {
        let members = MEMBERS.min(mailboxes);
        let crowds = mailboxes / members;
        let (each, lanes) = (groups / crowds, crowds.min(64));
        self.lanes(lanes)?;
        for crowd in 0..crowds {
            let lane = (crowd % lanes) as usize;
            let names: Vec<_> = (0..each).map(|nth| self.name("g", crowd * each + nth)).collect();
            let list = names.join("\",\"");
            for nth in 0..members {
                let name = self.name("m", crowd * members + nth);
                let read = if self.args.dialect.echoes() { &names[0] } else { &name };
                let body = format!(r#"{{"name":"{name}","groups":["{list}"]}}"#);
                let place = Place {
                    address: crowd,
                    first_target: (crowd * each) as usize,
                    streams: each as usize,
                    own: None,
                    lane,
                };
                self.reader(read, &body, place)?;
            }
            for (stream, name) in names.iter().enumerate() {
                let (by, payload) = (&self.publishers[lane], self.args.payload as usize);
                let parcel = self.speaker.publish_group(by, name, payload);
                let (stream, audience) = (stream as u16, members.into());
                let target = Target { parcel, lane, to: crowd, stream, audience, sent: 0 };
                self.engine.add_target(target);
            }
        }
        self.start()?;
        self.measure("groups", None)
    }

    fn events(mut self, batch: u32) -> Result<Report> {
        self.batch = batch;
        let lanes = self.nobody()?;
        let Some(against) = &self.args.against else { return self.measure("events", None) };
        self.speaker.app.clone_from(against);
        let others = self.nobody()?;
        self.compare("events", [lanes, others])
    }

    /// A lane that publishes to a group without members.
    fn nobody(&mut self) -> Result<Range<usize>> {
        let lanes = self.lanes(1)?;
        let name = self.name("nobody", 0);
        let parcel = self.speaker.publish_batch(&name, self.args.payload as usize, self.batch);
        let lane = lanes.start;
        self.engine.add_target(Target { parcel, lane, to: 0, stream: 0, audience: 0, sent: 0 });
        Ok(lanes)
    }

    fn direct(
        mut self,
        mailboxes: u32,
        window: u32,
        rate: Option<u32>,
        idle: u32,
    ) -> Result<Report> {
        let mut control = self.conn(0)?;
        for nth in 0..idle {
            let name = self.name("idle", nth);
            let body = format!(r#"{{"name":"{name}","linger_ms":{IDLE_LINGER_MS}}}"#);
            self.open(&mut control, &body)?;
        }
        let lanes = self.lanes(window)?;
        self.mailboxes(mailboxes, lanes.clone())?;
        let Some(against) = &self.args.against else {
            self.start()?;
            return self.measure("direct", rate);
        };
        self.speaker.app.clone_from(against);
        let others = self.lanes(window)?;
        self.mailboxes(mailboxes, others.clone())?;
        self.start()?;
        self.compare("direct", [lanes, others])
    }

    fn publish(
        mut self,
        publishers: u32,
        mailboxes: u32,
        behind: u32,
        rate: Option<u32>,
    ) -> Result<Report> {
        self.engine.ahead = true;
        self.engine.resting = behind > 0;
        self.engine.behind = behind;
        let lanes = self.lanes(publishers)?;
        self.mailboxes(mailboxes, lanes)?;
        self.start()?;
        self.measure("publish", rate)
    }

    fn chat(mut self, rooms: u32, members: u32) -> Result<Report> {
        let echoes = self.args.dialect.echoes();
        self.lanes(rooms)?;
        let payload = self.args.payload as usize;
        for room in 0..rooms {
            let (group, lane) = (self.name("r", room), room as usize);
            for member in 0..members {
                let nick = self.name("u", room * members + member);
                let place = Place {
                    address: room,
                    first_target: (room * members) as usize,
                    streams: members as usize,
                    own: (!echoes).then_some(member as usize),
                    lane,
                };
                let read = if echoes { &group } else { &nick };
                let body = format!(r#"{{"nick":"{nick}","room":"{group}"}}"#);
                let who = self.reader(read, &body, place)?;
                let parcel = self.speaker.say(&group, &nick, &who, payload);
                let audience = u64::from(members) - u64::from(!echoes);
                let stream = member as u16;
                self.engine.add_target(Target {
                    parcel,
                    lane,
                    to: room,
                    stream,
                    audience,
                    sent: 0,
                });
            }
        }
        // Nobody has read yet that the others came: that is read now.
        self.start()?;
        self.measure("chat", None)
    }
}

/// Where a reader stands in the accounts; see [`Reader`].
struct Place {
    address: u32,
    first_target: usize,
    streams: usize,
    own: Option<usize>,
    lane: usize,
}
