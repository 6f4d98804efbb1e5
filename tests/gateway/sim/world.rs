//! One simulated world: an app with native plugins, clients, backends and a
//! clock, all driven by one seed.

use super::{
    keeping::{Keeping, Promise},
    model::{ModelBox, Seat, Sent, Taken},
    plugin::{Chat, Gatekeeper, Shared, name, number, payload, text},
};
use cometbox::{
    app::{Answers, App, AppLimits, Now, Refusal},
    core::{
        Address, Batch, ConnId, CoreLimits, Delivery, FullPolicy, Key, MAX_SEATS, MailboxLimits,
        Message, PluginName,
    },
    plugin::{OpenRequest, PluginLimits},
};
use std::{collections::BTreeMap, fmt::Write, sync::Arc};

pub(super) const NAMES: [&str; 6] = ["ann", "bob", "cy", "dee", "eve", "flo"];
pub(super) const GROUPS: [&str; 3] = ["red", "green", "blue"];
pub(super) const MAX_BATCH: usize = 5;
pub(super) const GRACE_MS: u64 = 500;

/// So many devices everybody has.
const DEVICES: u32 = 3;

/// Whose device, and which one.
pub(super) type Device = (&'static str, u32);

/// What a device has: it learns only from answers that reach it.
#[derive(Default, Clone)]
pub(super) struct Client {
    /// Of its newest open.
    pub(super) key: [u8; 16],
    pub(super) cursor: u64,
    /// A stream that can go on: its connection, and what it was handed so far.
    pub(super) stream: Option<(u64, u64)>,
    /// In the order of processing.
    pub(super) got: Vec<(u64, String)>,
}

pub struct World {
    pub(super) rng: fastrand::Rng,
    pub(super) app: Arc<App>,
    pub(super) shared: Arc<Shared>,
    pub(super) now: u64,
    pub(super) next_conn: u64,
    next_text: u64,
    pub(super) version: u64,
    pub(super) boxes: BTreeMap<String, ModelBox>,
    pub(super) clients: BTreeMap<Device, Client>,
    /// Reads of mailboxes that closed, and how they must end.
    pub(super) ending: Vec<(u64, &'static str)>,
    /// The `count` commands that succeeded.
    pub(super) counted: u64,
    /// The store, if it has one.
    pub(super) keeping: Option<Keeping>,
    /// Everything that happened, for the comparison of two runs.
    pub log: String,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut world = Self {
            rng: fastrand::Rng::with_seed(seed),
            app: App::new("sim", limits(), seed, Box::new(|| {})),
            shared: Arc::default(),
            now: 1_000,
            next_conn: 0,
            next_text: 0,
            version: 0,
            boxes: BTreeMap::new(),
            clients: BTreeMap::new(),
            ending: Vec::new(),
            counted: 0,
            keeping: None,
            log: String::new(),
        };
        world.swap(false);
        world
    }

    pub fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..12 => self.open(),
            12..35 => self.poll(),
            35..40 => self.confirm(),
            40..55 => self.command(),
            55..75 => self.publish(),
            75..80 => self.lose_connection(),
            80..83 => self.close(),
            83..86 => {
                let broken = self.rng.bool();
                self.swap(broken);
            }
            _ => {
                let ms = self.rng.u64(1..800);
                self.pass(ms);
            }
        }
        if self.keeping.is_some() {
            self.keep();
        }
        self.check();
    }

    /// Everybody reads what is left; then nothing may be missing.
    pub fn settle(&mut self) {
        self.keep_all();
        for who in NAMES {
            self.close_forgotten(who);
            for device in (0..DEVICES).map(|number| (who, number)) {
                while self.seat(device).is_some() && self.read(device, 0, false) {}
                self.check();
            }
        }
        let boxes: Vec<_> = self.boxes.iter().map(|(n, b)| (n.clone(), b.waiting())).collect();
        for device in NAMES.iter().flat_map(|who| (0..DEVICES).map(move |n| (*who, n))) {
            self.read(device, 0, false); // the last cursor confirms
        }
        assert_eq!(self.app.totals().queued_messages, 0, "all was confirmed: {boxes:?}");
        self.check_store_is_empty();
    }

    pub(super) fn now(&self) -> Now {
        Now { mono: self.now, unix_ms: 1_700_000_000_000 + self.now }
    }

    /// Mostly somebody's first.
    pub(super) fn device(&mut self) -> Device {
        let number = if self.rng.bool() { 0 } else { self.rng.u32(0..DEVICES) };
        (self.pick(&NAMES), number)
    }

    /// What the device has to show: nothing is opened by zeros.
    pub(super) fn key(&self, device: Device) -> [u8; 16] {
        self.clients.get(&device).map_or([0; 16], |client| client.key)
    }

    pub(super) fn seat(&mut self, device: Device) -> Option<&mut Seat> {
        let key = self.key(device);
        self.boxes.get_mut(device.0)?.seat(key)
    }

    pub(super) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.rng.usize(0..from.len())]
    }

    pub(super) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        writeln!(self.log, "{} {what}", self.now).expect("writing to a string cannot fail");
    }

    pub(super) fn swap(&mut self, broken: bool) {
        let chain: cometbox::app::Chain = vec![
            Arc::new(Gatekeeper(PluginName("gate".into()))),
            Arc::new(Chat { name: PluginName("chat".into()), shared: self.shared.clone(), broken }),
        ];
        let mut out = Answers::new();
        let result = self.app.swap(self.now(), chain, &mut out);
        self.note(format_args!("swap broken={broken} {result:?}"));
        assert_eq!(result.is_err(), broken);
        self.version += u64::from(!broken);
        assert_eq!(self.app.version(), self.version, "a broken version changes nothing");
        assert!(out.is_empty(), "a swap answers nobody");
    }

    fn open(&mut self) {
        if self.is_refused() {
            return;
        }
        let device = self.device();
        let who = device.0;
        let (group, messages) = (self.pick(&GROUPS), self.rng.usize(1..8));
        let policy = self.pick(&["drop", "reject"]);
        let linger_ms = self.rng.u64(0..3_000);
        let bad = self.rng.u32(0..10) == 0;
        let replace = self.rng.u32(0..3) == 0;
        let shared = self.rng.bool();
        let first: Vec<String> = (0..self.rng.usize(0..3)).map(|_| self.text()).collect();
        let trap = self.trap();
        let request = if bad {
            "bad".to_owned()
        } else {
            let first: String = first.iter().map(|text| format!(" {text}")).collect();
            format!("{who} {group} {messages} {policy} {linger_ms} {replace} {shared}{first}")
        };
        let mut key = [0; 16];
        self.rng.fill(&mut key);
        let request = OpenRequest { body: payload(&request), headers: vec![], peer: String::new() };
        let mut out = Answers::new();
        let result = self.app.open(self.now(), Key(key), &request, &mut out);
        self.note(format_args!("open {device:?} {group} {request:?} {result:?}"));
        let there = self.boxes.get(who);
        let joins = there.is_some_and(|mailbox| mailbox.shared && shared);
        let expected = match (bad, trap, there.is_some()) {
            (true, ..) => "Rejected",
            (_, true, _) => "Failed",
            _ if joins && there.is_some_and(|b| b.seats.len() == MAX_SEATS) => "NoSeat",
            _ if joins => "ok",
            (_, _, true) if !replace => "NameTaken",
            (_, _, false) if self.boxes.len() == 5 => "Limit",
            _ if policy == "reject" && first.len() > messages => "Limit",
            _ => "ok",
        };
        assert_eq!(kind(result.as_ref().map(drop)), expected, "open {who}");
        if bad {
            *self.shared.trap.lock() = false; // the gatekeeper was first
        }
        if expected == "ok" {
            if !joins {
                if self.boxes.contains_key(who) {
                    self.model_close(who, "replaced");
                }
                let reject = policy == "reject";
                let mut mailbox = ModelBox::new(messages, reject, linger_ms, shared);
                for text in first {
                    let sent = Sent { text, ttl_ms: None, collapse: None };
                    mailbox.push(self.now, &sent, None);
                    self.taken(Promise::Message(sent.text));
                }
                self.boxes.insert(who.to_owned(), mailbox);
            }
            let mailbox = self.boxes.get_mut(who).expect("it is there by now");
            mailbox.groups.insert(group.to_owned());
            let cursor = mailbox.join(key, device, self.now);
            assert_eq!(result.expect("checked above").cursor, cursor, "open {device:?}");
            self.taken(Promise::Open(device, Client { key, cursor, ..Client::default() }));
        }
        self.apply(out);
    }

    fn command(&mut self) {
        if self.is_refused() {
            return;
        }
        let device = self.device();
        let who = device.0;
        let (group, whom) = (self.pick(&GROUPS), self.pick(&NAMES));
        let said = self.text();
        let command = match self.rng.u32(0..13) {
            0..5 => format!("say {group} {said}"),
            5 => format!("join {group}"),
            6 => format!("leave {group}"),
            7 => format!("kick {whom}"),
            8 | 9 => "count".to_owned(),
            10 => "own".to_owned(),
            11 => format!("timer {}", self.rng.u64(0..2_000)),
            _ => "nonsense".to_owned(),
        };
        let counts = command == "count" || command == "own";
        let is_in = self.seat(device).is_some();
        let meddling = counts && is_in && self.rng.bool();
        if meddling {
            self.meddle(device, &command);
        }
        // A trap asked for here would hit the meddler instead.
        let trap = !meddling && self.trap();
        let key = Key(self.key(device));
        let mut out = Answers::new();
        let result = self.app.message(self.now(), who, key, None, &payload(&command), &mut out);
        self.note(format_args!("command {who} {command} trap={trap} {result:?}"));
        let expected = match (is_in, command.as_str()) {
            (false, _) => "Access",
            (_, "nonsense") => "Rejected",
            _ if trap => "Failed",
            _ => "ok",
        };
        assert_eq!(kind(result.as_ref().map(drop)), expected, "{who}: {command}");
        *self.shared.trap.lock() = false;
        if expected == "ok" {
            if meddling {
                self.model_command(who, &command);
            }
            let counter = self.model_command(who, &command);
            let reply = result.expect("checked above").map(|reply| number(&reply.bytes));
            assert_eq!(reply, counter, "{who}: {command}");
        }
        self.apply(out);
    }

    /// The counter that the command replies with, if it counts.
    fn model_command(&mut self, who: &str, command: &str) -> Option<u64> {
        let words: Vec<&str> = command.splitn(3, ' ').collect();
        if let ["kick", whom] = words[..]
            && self.boxes.contains_key(whom)
        {
            self.model_close(whom, "plugin");
            return None;
        }
        let mailbox = self.boxes.get_mut(who).expect("the command succeeded");
        match words[..] {
            ["say", group, said] => {
                let sent = Sent { text: said.to_owned(), ttl_ms: None, collapse: None };
                self.deliver(&[], &[group], &[who], &sent);
                self.taken(Promise::Message(sent.text));
            }
            ["join", group] => {
                mailbox.groups.insert(group.to_owned());
            }
            ["leave", group] => {
                mailbox.groups.remove(group);
            }
            ["count"] => {
                self.counted += 1;
                self.taken(Promise::Counted(self.counted));
                return Some(self.counted);
            }
            ["timer", ms] => {
                let ms: u64 = ms.parse().expect("it was a number");
                mailbox.timer = Some(self.now + ms.max(1));
            }
            ["own"] => {
                mailbox.state += 1;
                return Some(mailbox.state);
            }
            _ => {}
        }
        None
    }

    /// Lets the same thing happen in the middle of the next call.
    fn meddle(&mut self, device: Device, command: &str) {
        let (app, now) = (self.app.clone(), self.now());
        let key = Key(self.key(device));
        let (who, command) = (device.0, command.to_owned());
        *self.shared.meddle.lock() = Some(Box::new(move || {
            app.message(now, who, key, None, &payload(&command), &mut Answers::new())
                .expect("nothing stands against it");
        }));
    }

    fn publish(&mut self) {
        if self.is_refused() {
            return;
        }
        let mut some = |from: &[&'static str]| -> Vec<&'static str> {
            from.iter().copied().filter(|_| self.rng.u32(0..3) == 0).collect()
        };
        let (to, mut groups, except) = (some(&NAMES), some(&GROUPS), some(&NAMES));
        self.rng.shuffle(&mut groups);
        let sent = Sent {
            text: self.text(),
            ttl_ms: (self.rng.u32(0..4) == 0).then(|| self.rng.u64(0..1_000)),
            collapse: (self.rng.u32(0..4) == 0).then(|| self.pick(&["x", "y"]).to_owned()),
        };
        let trap = self.trap();
        let names = |texts: &[&str]| texts.iter().map(|text| name(text)).collect();
        let address =
            Address { mailboxes: names(&to), groups: names(&groups), except: names(&except) };
        let collapse = sent.collapse.as_deref().map(Into::into);
        let message = Message::new(payload(&sent.text), sent.ttl_ms, collapse);
        let mut out = Answers::new();
        let result = self.app.publish(self.now(), &address, &message, &mut out);
        self.note(format_args!("publish {address:?} {sent:?} trap={trap} {result:?}"));
        if trap {
            assert_eq!(kind(result.as_ref().map(drop)), "Failed");
        } else {
            let report = result.expect("nothing stands against it");
            let missing = to.iter().filter(|n| !self.boxes.contains_key(**n)).count();
            let (queued, full, dropped) = self.deliver(&to, &groups, &except, &sent);
            let got = (report.queued, report.full.len(), report.dropped, report.missing.len());
            assert_eq!(got, (queued, full, dropped, missing));
            self.taken(Promise::Message(sent.text));
        }
        self.apply(out);
    }

    /// The model's delivery: who took it, who was full, what was dropped.
    fn deliver(
        &mut self,
        to: &[&str],
        groups: &[&str],
        except: &[&str],
        sent: &Sent,
    ) -> (usize, usize, usize) {
        let (mut queued, mut full, mut dropped) = (0, 0, 0);
        for (who, mailbox) in &mut self.boxes {
            let channel = groups.iter().copied().find(|group| mailbox.groups.contains(*group));
            let addressed = channel.is_some() || to.contains(&who.as_str());
            if addressed && !except.contains(&who.as_str()) {
                let (took, went) = mailbox.push(self.now, sent, channel);
                queued += usize::from(took);
                full += usize::from(!took);
                dropped += went;
            }
        }
        (queued, full, dropped)
    }

    fn lose_connection(&mut self) {
        let (device, now) = (self.device(), self.now);
        if let Some(seat) = self.seat(device)
            && let Some(held) = seat.held.take()
        {
            seat.away_since = now;
            self.app.detach(self.now(), held.mailbox, ConnId(held.conn));
            self.note(format_args!("lost connection of {device:?}"));
        }
    }

    fn close(&mut self) {
        let device = self.device();
        let Some(key) = self.seat(device).map(|seat| seat.key) else { return };
        self.close_seat(device.0, key);
    }

    fn close_seat(&mut self, who: &str, key: [u8; 16]) {
        let mut out = Answers::new();
        let result = self.app.close(self.now(), who, Key(key), &mut out);
        self.note(format_args!("close {who} {key:?} {result:?}"));
        result.expect("it is open");
        let mailbox = self.boxes.get_mut(who).expect("it is open");
        if mailbox.seats.len() == 1 {
            self.model_close(who, "client");
        } else {
            mailbox.left_at = self.now;
            let left = mailbox.keep_seats(|seat| seat.key != key);
            self.end_reads(left, "Closed");
        }
        self.apply(out);
    }

    /// Closes the seats of devices that have opened again since.
    fn close_forgotten(&mut self, who: &'static str) {
        let seats = self.boxes.get(who).map_or_else(Vec::new, |mailbox| mailbox.seats.clone());
        for seat in seats {
            if self.key(seat.device) != seat.key {
                self.close_seat(who, seat.key);
            }
        }
    }

    /// The mailbox is gone; its reader hears of it, and so does the plugin.
    fn model_close(&mut self, who: &str, cause: &str) {
        self.expect_notice(who, cause);
        let mailbox = self.boxes.remove(who).expect("only open mailboxes close");
        self.end_reads(mailbox.seats, "Closed");
    }

    fn text(&mut self) -> String {
        self.next_text += 1;
        format!("t{}", self.next_text)
    }

    fn trap(&mut self) -> bool {
        let trap = self.rng.u32(0..10) == 0;
        *self.shared.trap.lock() = trap;
        trap
    }
}

pub(super) fn limits() -> AppLimits {
    AppLimits {
        core: CoreLimits {
            max_mailboxes: 5, // one less than there are names
            max_queued_bytes: 1 << 20,
            max_groups: 100,
            max_groups_per_mailbox: 10,
            max_timers: 100,
            max_values: 10,
            max_value_bytes: 1000,
            max_state_bytes: 1000,
            max_batch_messages: MAX_BATCH,
            max_batch_bytes: 1 << 20,
            detach_grace_ms: GRACE_MS,
            closed_memory_ms: 1_000,
            publish_id_window_ms: 120_000,
            max_publish_id_bytes: 1 << 20,
        },
        mailbox: max_mailbox(),
        max_mailbox: max_mailbox(),
        linger_ms: 1_000,
        max_linger_ms: 10_000,
        plugin: PluginLimits::default(),
    }
}

fn max_mailbox() -> MailboxLimits {
    MailboxLimits { messages: 8, bytes: 1 << 16, full: FullPolicy::DropOldest, per_second: 0 }
}

pub(super) fn show(batch: &Batch) -> Taken {
    let channel = |message: &Message| message.channel.get().map(ToString::to_string);
    let message = |d: &Delivery| (d.seq, text(&d.message.payload).to_owned(), channel(&d.message));
    (batch.cursor, batch.lost, batch.messages.iter().map(message).collect())
}

fn kind(result: Result<(), &Refusal>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(Refusal::Access(_)) => "Access",
        Err(Refusal::Rejected { .. }) => "Rejected",
        Err(Refusal::NameTaken(_)) => "NameTaken",
        Err(Refusal::NoSeat(_)) => "NoSeat",
        Err(Refusal::Failed { .. }) => "Failed",
        Err(Refusal::NotReady) => "NotReady",
        Err(Refusal::Limit { .. }) => "Limit",
    }
}
