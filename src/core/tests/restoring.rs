//! What a core records is what it is.

use super::*;
use std::fmt::Write;

const STEPS: usize = 400;
const SEEDS: u64 = 200;

/// Everything that is to last, as text.
fn facts(core: &Core) -> String {
    let mut facts: Vec<String> = Vec::new();
    for (_, mailbox) in core.mailboxes.iter() {
        let group = |of: &super::super::mailbox::Membership| {
            format!("{} {}", core.groups[of.group].name, of.is_chosen())
        };
        let mut groups: Vec<String> = mailbox.groups.iter().map(group).collect();
        groups.sort();
        let mut kept = mailbox.kept(Vec::new());
        kept.states.sort();
        kept.timers.sort_by(|a, b| (&a.plugin, &a.name).cmp(&(&b.plugin, &b.name)));
        let mut marks = mailbox.marks();
        // Which one is in front is nobody's business.
        marks.seats.sort_by_key(|seat| seat.key.0);
        facts.push(format!("{kept:?} {groups:?} {marks:?} {:?}", mailbox.waiting()));
    }
    facts.sort();
    let mut timers: Vec<String> = core.app_timers.iter().map(|t| format!("{t:?}")).collect();
    timers.sort();
    let mut out = facts.join("\n");
    let totals = core.totals();
    for published in core.published.iter() {
        let _ = write!(out, "\n{published:?}");
    }
    let _ = write!(
        out,
        "\n{timers:?} {} timers, {} messages of {} bytes, {} bytes of states, {} values of {}",
        core.timers,
        totals.queued_messages,
        totals.queued_bytes,
        totals.state_bytes,
        totals.values,
        totals.value_bytes,
    );
    out
}

/// A core that records, the image of what it recorded, and a die.
pub(crate) struct Walk {
    core: Core,
    pub(crate) image: Image,
    pub(crate) now: Millis,
    random: fastrand::Rng,
    conns: u64,
    keys: u8,
}

const NAMES: [&str; 4] = ["ann", "bob", "cid", "dan"];
const GROUPS: [&str; 3] = ["all", "chat/1", "chat/*"];

impl Walk {
    pub(crate) fn new(seed: u64) -> Self {
        let mut core = Core::new(limits());
        core.record();
        let random = fastrand::Rng::with_seed(seed);
        Self { core, image: Image::default(), now: 1_000_000, random, conns: 0, keys: 0 }
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.random.usize(..of.len())]
    }

    fn key_of(&mut self, mailbox: &str) -> Option<Key> {
        let slot = self.core.mailboxes.find(mailbox)?;
        let seats = self.core.mailboxes[slot].marks().seats;
        Some(seats[self.random.usize(..seats.len())].key)
    }

    /// Does something; what has changed.
    pub(crate) fn step(&mut self) -> Vec<Change> {
        let mut fx = Effects::default();
        let mailbox = self.pick(&NAMES);
        match self.random.u8(..12) {
            0 => self.open(mailbox, &mut fx),
            1..=3 => self.send(&mut fx),
            4 => self.publish(&mut fx),
            5..=7 => self.read(mailbox, &mut fx),
            8 => self.act(mailbox, &mut fx),
            9 if self.random.u8(..4) == 0 => {
                if let Some(key) = self.key_of(mailbox) {
                    self.core.close(self.now, mailbox, key, &mut fx).expect("it is its key");
                }
            }
            10 => {
                if let Some(key) = self.key_of(mailbox) {
                    let confirmed = self.core.confirmed(self.now, mailbox, key).expect("its key");
                    let more = self.random.u64(..3);
                    // Ahead of what there is: nothing happens.
                    let _ = self.core.confirm(self.now, mailbox, key, confirmed + more);
                }
            }
            _ => {
                self.now += self.random.u64(..3_000);
                self.core.tick(self.now, &mut fx);
            }
        }
        self.take()
    }

    fn open(&mut self, mailbox: &str, fx: &mut Effects) {
        self.keys = self.keys.wrapping_add(1);
        let mut open = opening(mailbox);
        open.key = Key([self.keys; 16]);
        open.identity = Some("user".into());
        open.shared = self.random.bool();
        open.replace = self.random.u8(..3) == 0;
        open.limits.per_second = if self.random.bool() { 0 } else { 5 };
        open.groups = vec![name(self.pick(&GROUPS))];
        open.linger_ms = 20_000;
        open.first = (0..self.random.usize(..3)).map(|_| text("first")).collect();
        // Refused where the name is taken.
        let commit = Commit { open: Some(open.into()), ..Commit::default() };
        let _ = self.core.commit(self.now, commit, fx);
    }

    fn send(&mut self, fx: &mut Effects) {
        let ttl_ms = (self.random.u8(..3) == 0).then(|| self.random.u64(1..5_000));
        let collapse = (self.random.bool()).then(|| self.pick(&["x", "y"]));
        let data = "m".repeat(self.random.usize(1..60));
        let sent = message(&data, ttl_ms, collapse);
        let (mailbox, group) = (self.pick(&NAMES), self.pick(&GROUPS));
        let address = match self.random.u8(..3) {
            0 => to(&[mailbox], &[], &[]),
            1 => to(&[], &[group], &[mailbox]),
            _ => to(&[mailbox], &[group], &[]),
        };
        let mut actions = vec![Action::Send { to: address.clone(), message: sent.clone() }];
        if self.random.u8(..10) == 0 {
            // The same message a second time.
            actions.push(Action::Send { to: address, message: sent });
        }
        let commit = Commit { actions, ..Commit::default() };
        self.core.commit(self.now, commit, fx).expect("nothing stands against it");
    }

    fn publish(&mut self, fx: &mut Effects) {
        let id = self.pick(&["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        let id = PublishId::try_from(id.to_owned()).expect("a valid id");
        let (mailbox, group) = (self.pick(&NAMES), self.pick(&GROUPS));
        let (address, sent) = (to(&[mailbox], &[group], &[]), text("published"));
        let publish = Some((&address, &sent));
        let commit = Commit { publish, id: Some(&id), ..Commit::default() };
        // Where there is no room for another id, nothing happens.
        let _ = self.core.commit(self.now, commit, fx);
    }

    fn read(&mut self, mailbox: &str, fx: &mut Effects) {
        let Some(key) = self.key_of(mailbox) else { return };
        self.conns += 1;
        let (conn, wait_ms) = (ConnId(self.conns), self.random.u64(..2) * 5_000);
        let handed = self.core.mailboxes.find(mailbox).map(|slot| {
            let seats = self.core.mailboxes[slot].marks().seats;
            seats.iter().find(|seat| seat.key == key).map_or(0, |seat| seat.handed)
        });
        let from = match self.random.u8(..4) {
            0 => ReadFrom::Handed,
            1 => ReadFrom::Cursor(None),
            _ => ReadFrom::Cursor(handed),
        };
        self.core.poll(self.now, mailbox, key, from, wait_ms, conn, fx).expect("its key");
    }

    fn act(&mut self, mailbox: &str, fx: &mut Effects) {
        let (plugin, key) = (PluginName("p".into()), self.pick(&["1", "2"]));
        let of = self.random.bool().then(|| name(mailbox));
        let group = name(self.pick(&GROUPS));
        let value = self.random.u8(..3).to_string();
        let mailbox = name(mailbox);
        let mut session = None;
        let action = match self.random.u8(..8) {
            0 => Action::Join { mailbox, group, chosen: self.random.bool() },
            1 => Action::Leave { mailbox, group },
            2 => Action::Put { key: key.into(), value: value.into() },
            3 => Action::Delete { key: key.into() },
            4 => Action::SetTimer { plugin, mailbox: of, name: key.into(), delay_ms: 4_000 },
            5 => Action::CancelTimer { plugin, mailbox: of, name: key.into() },
            6 => Action::Close { mailbox, cause: CloseCause::Plugin, reason: "kicked".into() },
            _ => {
                let Some(key) = self.key_of(mailbox.as_str()) else { return };
                session = self.core.session(self.now, mailbox.as_str(), key).ok();
                let state = self.random.bool().then(|| value.into());
                Action::SetState { plugin, state }
            }
        };
        let commit = Commit { session, actions: vec![action], ..Commit::default() };
        // Over a limit, nothing happens.
        let _ = self.core.commit(self.now, commit, fx);
    }

    /// What is over and was not looked at yet is not restored either.
    fn look_for_expired(&mut self) {
        let slots: Vec<u32> = self.core.mailboxes.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.core.mailboxes[slot].ring(self.now, &mut self.core.books);
            self.core.list(slot);
        }
        self.core.published.forget(self.now);
        self.take();
    }

    fn take(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.core.take_changes(&mut changes);
        changes.iter().for_each(|change| self.image.apply(change.clone()));
        changes
    }

    /// Goes on from what was kept; what the restart has changed.
    pub(crate) fn go_on(&mut self, image: Image, cut_off: bool) -> Vec<Change> {
        let (now, down_since) = (self.now, self.now);
        let restart = Restart { now, down_since, grace_ms: 0, cut_off };
        self.core = Core::restore(limits(), image.clone(), &restart);
        self.image = image;
        self.take()
    }

    fn restored(&self, cut_off: bool) -> Core {
        let (now, down_since) = (self.now, self.now);
        let restart = Restart { now, down_since, grace_ms: 0, cut_off };
        let mut image = self.image.clone();
        for sent in image.messages.values_mut() {
            // As if it were read from a disk: the core has its own.
            sent.message = sent.message.by(sent.message.channel.get());
        }
        Core::restore(limits(), image, &restart)
    }
}

#[test]
fn what_is_restored_is_what_was() {
    for seed in 0..SEEDS {
        let mut walk = Walk::new(seed);
        for step in 0..STEPS {
            walk.step();
            if step % 20 == 0 {
                walk.look_for_expired();
                let again = walk.restored(false);
                assert_eq!(facts(&walk.core), facts(&again), "seed {seed}, step {step}");
            }
        }
    }
}

/// A reader has the first message, which is not known after the crash, nor after
/// the orderly restart that follows it.
#[test]
fn what_may_have_been_read_keeps_its_place() {
    let mut walk = Walk::new(0);
    let mut fx = Effects::default();
    let open = Commit { open: Some(opening("ann").into()), ..Commit::default() };
    walk.core.commit(walk.now, open, &mut fx).expect("it opens");
    let send = |walk: &mut Walk, data: &str| {
        let message = message(data, None, Some("x"));
        let send = Action::Send { to: to(&["ann"], &[], &[]), message };
        let commit = Commit { actions: vec![send], ..Commit::default() };
        walk.core.commit(walk.now, commit, &mut Effects::default()).expect("it is sent");
    };
    send(&mut walk, "old");
    walk.take();
    for cut_off in [true, false] {
        walk.go_on(walk.image.clone(), cut_off);
    }
    send(&mut walk, "new");
    let from = ReadFrom::Cursor(Some(1));
    let polled = walk.core.poll(walk.now, "ann", KEY, from, 0, ConnId(1), &mut fx);
    let Ok(Polled::Ready(batch)) = polled else { panic!("{polled:?}") };
    assert_eq!(&batch.messages[0].message.payload.bytes[..], b"new");
}

#[test]
fn who_lingers_for_less_than_the_grace_has_the_grace() {
    let mut walk = Walk::new(0);
    let open = OpenMailbox { linger_ms: 1_000, ..opening("ann") };
    let commit = Commit { open: Some(open.into()), ..Commit::default() };
    walk.core.commit(walk.now, commit, &mut Effects::default()).expect("it opens");
    walk.take();
    let now = walk.now + 60_000;
    let restart = Restart { now, down_since: walk.now, grace_ms: 5_000, cut_off: false };
    let mut core = Core::restore(limits(), walk.image.clone(), &restart);
    for (after_ms, is_there) in [(0, true), (4_999, true), (5_000, false)] {
        core.tick(now + after_ms, &mut Effects::default());
        assert_eq!(core.attached("ann").is_some(), is_there, "after {after_ms} ms");
    }
}
