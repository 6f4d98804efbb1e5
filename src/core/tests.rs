//! What the core promises, as inputs and outputs.

mod commits;
mod patterns;
mod publishing;
pub(crate) mod restoring;
mod seats;

use super::*;
use std::sync::Arc;

const KEY: Key = Key([7; 16]);
const GRACE_MS: Millis = 5_000;
const LINGER_MS: Millis = 60_000;

fn limits() -> CoreLimits {
    CoreLimits {
        max_mailboxes: 100,
        max_queued_bytes: 1 << 20,
        max_groups: 100,
        max_groups_per_mailbox: 10,
        max_timers: 10,
        max_values: 10,
        max_value_bytes: 1000,
        max_state_bytes: 1000,
        max_batch_messages: 100,
        max_batch_bytes: 1 << 20,
        detach_grace_ms: GRACE_MS,
        closed_memory_ms: 30_000,
        publish_id_window_ms: 10_000,
        max_publish_id_bytes: 1000,
    }
}

fn mailbox_limits() -> MailboxLimits {
    MailboxLimits { messages: 3, bytes: 100, full: FullPolicy::DropOldest, per_second: 0 }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("tests use valid names")
}

fn opening(mailbox: &str) -> OpenMailbox {
    OpenMailbox {
        name: name(mailbox),
        key: KEY,
        replace: false,
        shared: false,
        identity: None,
        states: States::new(),
        groups: vec![name("all")],
        linger_ms: LINGER_MS,
        limits: mailbox_limits(),
        first: Vec::new(),
    }
}

fn text(data: &str) -> Arc<Message> {
    message(data, None, None)
}

fn message(data: &str, ttl_ms: Option<u64>, collapse: Option<&str>) -> Arc<Message> {
    let payload = Payload { kind: Kind::Text, bytes: data.to_owned().into() };
    Message::new(payload, ttl_ms, collapse.map(Into::into))
}

fn to(mailboxes: &[&str], groups: &[&str], except: &[&str]) -> Address {
    let names = |texts: &[&str]| texts.iter().map(|text| name(text)).collect();
    Address { mailboxes: names(mailboxes), groups: names(groups), except: names(except) }
}

/// A core, a clock, and short words for what clients do.
struct World {
    core: Core,
    now: Millis,
    conns: u64,
}

impl World {
    fn new(mailboxes: &[&str]) -> Self {
        let mut world = Self { core: Core::new(limits()), now: 1_000, conns: 0 };
        for mailbox in mailboxes {
            world.open(opening(mailbox)).expect("the name is free");
        }
        world
    }

    fn open(&mut self, open: OpenMailbox) -> Result<Effects, CommitError> {
        self.commit(Commit { open: Some(open.into()), ..Commit::default() }).map(|(_, fx)| fx)
    }

    fn commit(&mut self, commit: Commit) -> Result<(Committed, Effects), CommitError> {
        let mut fx = Effects::default();
        let committed = self.core.commit(self.now, commit, &mut fx)?;
        Ok((committed, fx))
    }

    fn act(&mut self, actions: Vec<Action>) -> (Committed, Effects) {
        self.commit(Commit { actions, ..Commit::default() }).expect("nothing stands against it")
    }

    fn send(&mut self, to: Address, message: Arc<Message>) -> (SendReport, Vec<String>) {
        let (mut committed, fx) = self.act(vec![Action::Send { to, message }]);
        (committed.sends.remove(0), show(&fx))
    }

    /// Reads without waiting.
    fn read(&mut self, mailbox: &str, cursor: u64) -> String {
        match self.poll(mailbox, cursor, 0).0 {
            Ok(Polled::Ready(batch)) => show_batch(&batch),
            Ok(Polled::Nothing) => "nothing".into(),
            Ok(Polled::Displaced) => "displaced".into(),
            Ok(Polled::Held(_)) => "held".into(),
            Err(error) => format!("{error:?}"),
        }
    }

    fn poll(
        &mut self,
        mailbox: &str,
        cursor: u64,
        wait_ms: Millis,
    ) -> (Result<Polled, AccessError>, Vec<String>) {
        self.conns += 1;
        let (conn, from) = (ConnId(self.conns), ReadFrom::Cursor(Some(cursor)));
        let mut fx = Effects::default();
        let polled = self.core.poll(self.now, mailbox, KEY, from, wait_ms, conn, &mut fx);
        (polled, show(&fx))
    }

    fn hold(&mut self, mailbox: &str, cursor: u64) -> (MailboxId, ConnId) {
        let (polled, _) = self.poll(mailbox, cursor, 25_000);
        let Ok(Polled::Held(mailbox)) = polled else { panic!("{polled:?}") };
        (mailbox, ConnId(self.conns))
    }

    /// Lets time pass, a deadline at a time, and tells what happened when.
    fn pass(&mut self, ms: Millis) -> Vec<String> {
        let (start, end) = (self.now, self.now + ms);
        let mut told = Vec::new();
        while self.core.next_deadline() <= end {
            self.now = self.core.next_deadline();
            let mut fx = Effects::default();
            self.core.tick(self.now, &mut fx);
            let at = self.now - start;
            told.extend(show(&fx).into_iter().map(|what| format!("{at}: {what}")));
        }
        self.now = end;
        told
    }
}

fn show(fx: &Effects) -> Vec<String> {
    let answers = fx.answers.iter().map(|(conn, answer)| match answer {
        Answer::Batch(batch) => format!("{}: {}", conn.0, show_batch(batch)),
        Answer::Nothing => format!("{}: nothing", conn.0),
        Answer::Displaced => format!("{}: displaced", conn.0),
        Answer::Closed { cause, .. } => format!("{}: closed by {}", conn.0, cause.as_str()),
    });
    let notices = fx.notices.iter().map(|notice| match notice {
        Notice::Attached(session) => format!("attached {}", session.name),
        Notice::Detached(session) => format!("detached {}", session.name),
        Notice::Closed(session, cause) => format!("closed {} {}", session.name, cause.as_str()),
        Notice::Timer { name, session, .. } => {
            format!("timer {name} {}", session.as_ref().map_or("app", |s| s.name.as_str()))
        }
    });
    answers.chain(notices).collect()
}

/// `cursor[+lost]=seq:data,…`
fn show_batch(batch: &Batch) -> String {
    let messages: Vec<_> = batch
        .messages
        .iter()
        .map(|d| format!("{}:{}", d.seq, String::from_utf8_lossy(&d.message.payload.bytes)))
        .collect();
    let lost = if batch.lost > 0 { format!("+{}", batch.lost) } else { String::new() };
    format!("{}{lost}={}", batch.cursor, messages.join(","))
}

#[test]
fn messages_wait_and_come_again_until_a_cursor_confirms_them() {
    let mut world = World::new(&["ann"]);
    world.send(to(&["ann"], &[], &[]), text("a"));
    world.send(to(&["ann"], &[], &[]), text("b"));
    assert_eq!(world.read("ann", 0), "2=1:a,2:b");
    assert_eq!(world.read("ann", 0), "2=1:a,2:b");
    assert_eq!(world.read("ann", 1), "2=2:b");
    assert_eq!(world.core.totals().queued_messages, 1);
    assert_eq!(world.read("ann", 2), "nothing");
    assert_eq!(world.core.totals().queued_bytes, 0);
    // An older cursor is told what it can no longer get.
    assert_eq!(world.read("ann", 1), "2+1=");
    assert_eq!(world.read("ann", 3), "BadCursor { last: 2 }");
}

#[test]
fn a_held_read_gets_all_messages_of_a_commit_at_once() {
    let mut world = World::new(&["ann"]);
    let conn = world.hold("ann", 0).1.0;
    let send = |data| Action::Send { to: to(&["ann"], &[], &[]), message: text(data) };
    let (_, fx) = world.act(vec![send("a"), send("b")]);
    assert_eq!(show(&fx), [format!("{conn}: 2=1:a,2:b")]);
    assert_eq!(world.core.totals().held, 0);
}

#[test]
fn a_group_gets_it_once_each_but_not_the_excluded() {
    let mut world = World::new(&["ann", "bob", "cy"]);
    let address = to(&["bob", "ghost"], &["all", "all", "nobody"], &["ann"]);
    let (report, _) = world.send(address, text("x"));
    assert_eq!((report.queued, report.dropped), (2, 0));
    assert_eq!(report.missing, [name("ghost")]);
    for (mailbox, gets) in [("ann", "nothing"), ("bob", "1=1:x"), ("cy", "1=1:x")] {
        assert_eq!(world.read(mailbox, 0), gets, "{mailbox}");
    }
}

#[test]
fn full_mailboxes_drop_or_reject_and_say_so() {
    let mut world = World::new(&["drop"]);
    let mut reject = opening("reject");
    reject.limits.full = FullPolicy::Reject;
    world.open(reject).expect("free");
    for data in ["a", "b", "c", "d", "e"] {
        let (report, _) = world.send(to(&[], &["all"], &[]), text(data));
        let over = data >= "d";
        assert_eq!(report.dropped, usize::from(over), "{data}");
        assert_eq!(report.full, if over { vec![name("reject")] } else { vec![] }, "{data}");
    }
    assert_eq!(world.read("drop", 0), "5+2=3:c,4:d,5:e");
    assert_eq!(world.read("drop", 0), "5+2=3:c,4:d,5:e", "told until confirmed");
    assert_eq!(world.read("drop", 4), "5=5:e");
    assert_eq!(world.read("reject", 0), "3=1:a,2:b,3:c");
    let (report, _) = world.send(to(&["drop"], &[], &[]), text(&"x".repeat(101)));
    assert_eq!(report.full, [name("drop")], "larger than the mailbox");
    world.send(to(&["drop"], &[], &[]), text(&"x".repeat(100)));
    assert!(world.read("drop", 5).starts_with("6=6:xxx"));
}

#[test]
fn lost_counts_only_what_the_batch_covers() {
    let mut core_limits = limits();
    core_limits.max_batch_messages = 1;
    let mut world = World::new(&[]);
    world.core = Core::new(core_limits);
    world.open(opening("ann")).expect("free");
    for data in ["a", "b", "c", "d"] {
        world.send(to(&["ann"], &[], &[]), text(data));
    }
    assert_eq!(world.read("ann", 0), "2+1=2:b");
    assert_eq!(world.read("ann", 2), "3=3:c");
    assert_eq!(world.read("ann", 3), "4=4:d");
}

#[test]
fn a_newer_message_takes_the_place_of_one_still_waiting() {
    let mut world = World::new(&["ann"]);
    let quote = |data| message(data, None, Some("IBM"));
    world.send(to(&["ann"], &[], &[]), quote("1"));
    world.send(to(&["ann"], &[], &[]), text("x"));
    world.send(to(&["ann"], &[], &[]), quote("2"));
    assert_eq!(world.read("ann", 0), "2=1:2,2:x");
    // Handed out: it stays, and the newer one queues up.
    world.send(to(&["ann"], &[], &[]), quote("3"));
    world.send(to(&["ann"], &[], &[]), quote("4"));
    assert_eq!(world.read("ann", 0), "3=1:2,2:x,3:4");
    assert_eq!(world.core.totals().collapsed, 2);
}

#[test]
fn a_newer_message_that_does_not_fit_in_place_goes_to_the_end() {
    let mut world = World::new(&["ann"]);
    world.send(to(&["ann"], &[], &[]), message("1", None, Some("k")));
    world.send(to(&["ann"], &[], &[]), text(&"y".repeat(60)));
    let (report, _) = world.send(to(&["ann"], &[], &[]), message(&"z".repeat(50), None, Some("k")));
    assert_eq!((report.queued, report.dropped), (1, 1));
    assert_eq!(world.read("ann", 0), format!("3+1=3:{}", "z".repeat(50)));
}

#[test]
fn a_short_ttl_is_not_blocked_by_a_long_one_before_it() {
    let mut world = World::new(&["ann"]);
    world.send(to(&["ann"], &[], &[]), message("long", Some(50_000), None));
    world.send(to(&["ann"], &[], &[]), message("short", Some(10), None));
    world.pass(10);
    assert_eq!(world.core.totals().queued_messages, 1, "freed without a reader");
    assert_eq!(world.read("ann", 0), "2=1:long");
    world.send(to(&["ann"], &[], &[]), message("gone", Some(0), None));
    assert_eq!(world.read("ann", 2), "nothing", "expired is not lost");
}

#[test]
fn a_newer_reader_displaces_the_older() {
    let mut world = World::new(&["ann"]);
    let (ann, first) = world.hold("ann", 0);
    let (polled, told) = world.poll("ann", 0, 25_000);
    assert!(matches!(polled, Ok(Polled::Held(_))));
    assert_eq!(told, [format!("{}: displaced", first.0)]);
    // The displaced connection going away changes nothing for the new one.
    world.core.detach(world.now, ann, first);
    assert_eq!(world.core.totals().held, 1);
}

#[test]
fn presence_is_about_mailboxes_not_requests() {
    let mut world = World::new(&["ann"]);
    let (_, told) = world.poll("ann", 0, 1_000);
    assert_eq!(told, ["attached ann"]);
    assert_eq!(world.pass(1_000), ["1000: 1: nothing"]);
    world.pass(GRACE_MS - 1);
    let (polled, told) = world.poll("ann", 0, 1_000);
    assert_eq!(told, [""; 0], "the gap between two reads is no absence");
    let Ok(Polled::Held(ann)) = polled else { panic!("{polled:?}") };
    world.core.detach(world.now, ann, ConnId(2));
    let told = world.pass(LINGER_MS);
    assert_eq!(
        told,
        [format!("{GRACE_MS}: detached ann"), format!("{LINGER_MS}: closed ann expired")]
    );
    assert_eq!(world.core.totals().mailboxes, 0);
    assert_eq!(world.core.totals().groups, 0, "the last member takes the group along");
    assert_eq!(world.read("ann", 0), "NotFound");
    assert_eq!(world.core.next_deadline(), Millis::MAX, "no alarm is left behind");
}

#[test]
fn never_read_mailboxes_expire_without_a_detach() {
    let mut world = World::new(&["ann"]);
    assert_eq!(world.pass(LINGER_MS), [format!("{LINGER_MS}: closed ann expired")]);
}

#[test]
fn closing_answers_the_reader_and_is_remembered_for_the_key() {
    let mut world = World::new(&["ann", "bob"]);
    let conn = world.hold("ann", 0).1.0;
    let close =
        Action::Close { mailbox: name("ann"), cause: CloseCause::Plugin, reason: "kicked".into() };
    let last = Action::Send { to: to(&["ann"], &[], &[]), message: text("bye") };
    let (_, fx) = world.act(vec![last, close.clone(), close]);
    assert_eq!(show(&fx), [format!("{conn}: 1=1:bye"), "closed ann plugin".into()]);
    assert!(world.read("ann", 0).starts_with("Closed"), "and not: open again");
    world.now += 30_000;
    assert_eq!(world.read("ann", 0), "NotFound");
    assert_eq!(world.core.members("all").0, [name("bob")]);
}

#[test]
fn opening_again_with_replace_closes_the_old_one() {
    let mut world = World::new(&["ann"]);
    assert_eq!(world.open(opening("ann")).err(), Some(CommitError::NameTaken(name("ann"))));
    let mut again = opening("ann");
    again.replace = true;
    again.key = Key([8; 16]);
    again.first = vec![text("hello")];
    let fx = world.open(again).expect("it replaces");
    assert_eq!(show(&fx), ["closed ann replaced"]);
    assert!(world.read("ann", 0).starts_with("Closed"), "the old key hears of it");
    assert_eq!(world.core.totals().queued_messages, 1);
}

#[test]
fn paced_mailboxes_get_no_more_than_they_asked_for() {
    let mut world = World::new(&[]);
    let mut open = opening("ann");
    open.limits.per_second = 2;
    open.first = ["a", "b", "c"].map(text).to_vec();
    world.open(open).expect("free");
    assert_eq!(world.read("ann", 0), "3=1:a,2:b,3:c", "first messages are not paced");
    for data in ["d", "e", "f"] {
        world.send(to(&["ann"], &[], &[]), text(data));
    }
    assert_eq!(world.read("ann", 3), "5=4:d,5:e");
    let conn = world.hold("ann", 5).1.0;
    assert_eq!(world.pass(1_000), [format!("1000: {conn}: 6=6:f")]);
}

#[test]
fn timers_ring_for_mailbox_and_app_and_die_with_the_mailbox() {
    let mut world = World::new(&["ann", "bob"]);
    let plugin = PluginName("p".into());
    let set = |mailbox: Option<&str>, timer: &str, delay_ms| Action::SetTimer {
        plugin: plugin.clone(),
        mailbox: mailbox.map(name),
        name: timer.into(),
        delay_ms,
    };
    world.act(vec![
        set(None, "tick", 30),
        set(Some("ann"), "nag", 10),
        set(Some("bob"), "nag", 20),
        set(Some("ghost"), "nag", 5),
        set(None, "tick", 40),
        set(None, "never", 15),
        Action::CancelTimer { plugin: plugin.clone(), mailbox: None, name: "never".into() },
        Action::Close { mailbox: name("bob"), cause: CloseCause::Plugin, reason: "".into() },
    ]);
    assert_eq!(world.pass(100), ["10: timer nag ann", "40: timer tick app"]);
    world.act(vec![set(None, "now", 0)]);
    assert_eq!(world.pass(100), ["1: timer now app"], "no timer rings in its own time");
    let eleven = (0..11).map(|i| set(None, &i.to_string(), 1)).collect();
    let result = world.commit(Commit { actions: eleven, ..Commit::default() });
    assert!(matches!(result, Err(CommitError::Limit { what: "timers", .. })), "{result:?}");
}
