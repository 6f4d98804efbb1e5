//! Shared mailboxes: what each device gets, and what they have in common.

use super::*;

const PHONE: Key = KEY;
const LAPTOP: Key = Key([8; 16]);

fn shared(key: Key) -> OpenMailbox {
    OpenMailbox { key, shared: true, identity: Some("ann@example".into()), ..opening("ann") }
}

fn to_ann() -> Address {
    to(&["ann"], &[], &[])
}

impl World {
    /// Ann's mailbox with a seat for her phone and one for her laptop.
    fn of_two() -> Self {
        let mut world = Self::new(&[]);
        assert_eq!(world.join(PHONE), 0);
        assert_eq!(world.join(LAPTOP), 0);
        world
    }

    /// A device opens ann's mailbox; behind which seq it starts.
    fn join(&mut self, key: Key) -> u64 {
        let open = Some(shared(key).into());
        self.commit(Commit { open, ..Commit::default() }).expect("it may").0.cursor
    }

    fn say(&mut self, data: &str) -> Vec<String> {
        self.send(to_ann(), text(data)).1
    }

    fn poll_from(&mut self, key: Key, from: ReadFrom, wait_ms: Millis) -> (String, Vec<String>) {
        self.conns += 1;
        let (conn, mut fx) = (ConnId(self.conns), Effects::default());
        let polled = self.core.poll(self.now, "ann", key, from, wait_ms, conn, &mut fx);
        let what = match polled {
            Ok(Polled::Ready(batch)) => show_batch(&batch),
            Ok(Polled::Held(_)) => format!("held as {}", conn.0),
            other => format!("{other:?}"),
        };
        (what, show(&fx))
    }

    /// Reads without waiting; what others are told is no matter.
    fn read_by(&mut self, key: Key, cursor: u64) -> String {
        self.poll_from(key, ReadFrom::Cursor(Some(cursor)), 0).0
    }

    fn hold_by(&mut self, key: Key, cursor: u64) -> Vec<String> {
        let (what, told) = self.poll_from(key, ReadFrom::Cursor(Some(cursor)), 25_000);
        assert!(what.starts_with("held"), "{what}");
        told
    }
}

#[test]
fn each_device_has_its_own_cursor_and_what_one_confirms_waits_for_the_other() {
    let mut world = World::of_two();
    world.say("a");
    world.say("b");
    assert_eq!(world.read_by(PHONE, 0), "2=1:a,2:b");
    assert_eq!(world.read_by(PHONE, 2), "Ok(Nothing)");
    assert_eq!(world.core.totals().queued_messages, 2, "the laptop has them to come");
    assert_eq!(world.read_by(LAPTOP, 0), "2=1:a,2:b");
    assert_eq!(world.read_by(PHONE, 0), "2=1:a,2:b", "nothing is lost that is still there");
    assert_eq!(world.read_by(LAPTOP, 1), "2=2:b");
    assert_eq!(world.core.totals().queued_messages, 1);
    let from_there = ReadFrom::Cursor(None);
    assert_eq!(world.poll_from(PHONE, from_there, 0).0, "Ok(Nothing)");
    assert_eq!(world.poll_from(LAPTOP, from_there, 0).0, "2=2:b");
    let confirmed = [PHONE, LAPTOP].map(|key| world.core.confirmed(world.now, "ann", key));
    assert_eq!(confirmed, [Ok(2), Ok(1)]);
    world.core.confirm(world.now, "ann", LAPTOP, 2).expect("it is there");
    assert_eq!(world.core.totals().queued_messages, 0);
    assert_eq!(world.read_by(PHONE, 1), "2+1=", "and now it is gone");
    // A reader without a cursor confirms what its own seat was handed.
    world.say("c");
    assert_eq!(world.read_by(LAPTOP, 2), "3=3:c");
    assert_eq!(world.poll_from(PHONE, ReadFrom::Handed, 0).0, "3=3:c");
    assert_eq!(world.poll_from(PHONE, ReadFrom::Handed, 0).0, "Ok(Nothing)");
    assert_eq!(world.core.totals().queued_messages, 1);
}

#[test]
fn a_device_that_joins_starts_where_the_slowest_is() {
    let mut world = World::of_two();
    for data in ["a", "b", "c"] {
        world.say(data);
    }
    world.read_by(PHONE, 3);
    world.read_by(LAPTOP, 1);
    assert_eq!(world.join(Key([9; 16])), 1);
    assert_eq!(world.poll_from(Key([9; 16]), ReadFrom::Cursor(None), 0).0, "3=2:b,3:c");
}

#[test]
fn what_is_dropped_is_told_to_each_device_as_far_as_it_missed_it() {
    let mut world = World::of_two(); // room for three
    world.say("a");
    world.say("b");
    world.read_by(PHONE, 2);
    let mut dropped = 0;
    for data in ["c", "d", "e", "f"] {
        dropped += world.send(to_ann(), text(data)).0.dropped;
    }
    assert_eq!(dropped, 1, "the phone was handed the two before it");
    assert_eq!(world.read_by(LAPTOP, 0), "6+3=4:d,5:e,6:f");
    assert_eq!(world.read_by(PHONE, 2), "6+1=4:d,5:e,6:f");
    assert_eq!(world.read_by(PHONE, 6), "Ok(Nothing)");
    assert_eq!(world.read_by(LAPTOP, 0), "6+3=4:d,5:e,6:f", "told until it is confirmed");
    assert_eq!(world.read_by(LAPTOP, 6), "Ok(Nothing)");
    assert_eq!(world.core.totals().queued_messages, 0);
}

#[test]
fn a_mailbox_that_rejects_is_full_until_all_have_confirmed() {
    let mut world = World::new(&[]);
    let mut open = shared(PHONE);
    open.limits.full = FullPolicy::Reject;
    world.open(open).expect("the name is free");
    world.join(LAPTOP);
    for data in ["a", "b", "c"] {
        world.say(data);
    }
    world.read_by(PHONE, 3);
    let (report, _) = world.send(to_ann(), text("d"));
    assert_eq!((report.queued, report.full), (0, vec![name("ann")]));
    world.read_by(LAPTOP, 1);
    assert_eq!(world.send(to_ann(), text("d")).0.queued, 1);
}

#[test]
fn held_reads_of_all_devices_are_answered_and_only_its_own_displaces_one() {
    let mut world = World::of_two();
    assert_eq!(world.hold_by(PHONE, 0), ["attached ann"]);
    assert_eq!(world.hold_by(LAPTOP, 0), [""; 0]);
    assert_eq!(world.core.totals().held, 2);
    let mut told = world.say("a");
    told.sort();
    assert_eq!(told, ["1: 1=1:a", "2: 1=1:a"]);
    world.hold_by(PHONE, 1);
    world.hold_by(LAPTOP, 1);
    assert_eq!(world.hold_by(PHONE, 1), ["3: displaced"]);
    // A stream goes on while no other read comes by its own key.
    world.say("b");
    assert_eq!(world.core.totals().held, 0);
    for (key, conn, what) in [
        (PHONE, 5, "Ok(Nothing)"),
        (LAPTOP, 4, "Ok(Nothing)"),
        (PHONE, 3, "Ok(Displaced)"),
        (PHONE, 4, "Ok(Displaced)"),
    ] {
        let from = ReadFrom::Position(2);
        let mut fx = Effects::default();
        let polled = world.core.poll(world.now, "ann", key, from, 0, ConnId(conn), &mut fx);
        assert_eq!(format!("{polled:?}"), what, "{conn}");
    }
}

#[test]
fn a_connection_that_ends_takes_back_the_read_of_its_own_seat() {
    let mut world = World::of_two();
    let (ann, phone) = world.hold("ann", 0);
    world.hold_by(LAPTOP, 0);
    world.core.detach(world.now, ann, phone);
    assert_eq!(world.core.totals().held, 1);
    assert_eq!(world.say("a"), ["2: 1=1:a"]);
    let mut fx = Effects::default();
    world.hold_by(LAPTOP, 1);
    world.hold_by(PHONE, 1);
    world.core.release_held(world.now, &mut fx);
    let mut told = show(&fx);
    told.sort();
    assert_eq!(told, ["3: nothing", "4: nothing"]);
}

#[test]
fn each_held_read_ends_in_its_own_time() {
    let mut world = World::of_two();
    world.poll_from(PHONE, ReadFrom::Cursor(None), 1_000);
    world.poll_from(LAPTOP, ReadFrom::Cursor(None), 2_000);
    assert_eq!(world.pass(3_000), ["1000: 1: nothing", "2000: 2: nothing"]);
}

#[test]
fn only_who_is_the_same_shares() {
    let shared_as = |identity: Option<&str>| OpenMailbox {
        identity: identity.map(Into::into),
        ..shared(LAPTOP)
    };
    let private = || OpenMailbox { shared: false, ..shared(LAPTOP) };
    let replacing = |open| OpenMailbox { replace: true, ..open };
    for (case, there, open, outcome) in [
        ("same identity", shared(PHONE), shared(LAPTOP), "joined"),
        ("a seat comes before replacing", shared(PHONE), replacing(shared(LAPTOP)), "joined"),
        ("another identity", shared(PHONE), shared_as(Some("bob@example")), "taken"),
        ("another identity replaces", shared(PHONE), replacing(shared_as(None)), "replaced"),
        ("no identity", shared_as(None), shared_as(None), "taken"),
        ("not to be shared", shared(PHONE), private(), "taken"),
        ("was not shared", private(), shared(LAPTOP), "taken"),
        ("was not shared, replaces", private(), replacing(shared(LAPTOP)), "replaced"),
    ] {
        let mut world = World::new(&[]);
        world.open(there).expect("the name is free");
        let came = match world.open(open) {
            Ok(fx) if fx.notices.is_empty() => "joined",
            Ok(_) => "replaced",
            Err(CommitError::NameTaken(_)) => "taken",
            Err(other) => panic!("{case}: {other}"),
        };
        assert_eq!(came, outcome, "{case}");
        assert_eq!(world.core.totals().mailboxes, 1, "{case}");
    }
}

#[test]
fn who_joins_brings_groups_and_nothing_else() {
    let mut world = World::new(&[]);
    let plugin = PluginName("p".into());
    let with = |key, state: &str, groups: &[&str]| OpenMailbox {
        states: [(plugin.clone(), state.to_owned().into())].into_iter().collect(),
        groups: groups.iter().map(|group| name(group)).collect(),
        first: vec![text("welcome")],
        ..shared(key)
    };
    world.open(with(PHONE, "first", &["red"])).expect("the name is free");
    let mut open = with(LAPTOP, "second", &["red", "blue"]);
    open.linger_ms = 1;
    open.limits = MailboxLimits { messages: 1, bytes: 1, ..open.limits };
    world.open(open).expect("it may");
    let session = world.core.session(world.now, "ann", LAPTOP).expect("it is there");
    assert_eq!(session.state(&plugin).map(|state| &state[..]), Some(&b"first"[..]));
    assert_eq!(world.core.totals().state_bytes, 5);
    assert_eq!(world.core.members("red").0, [name("ann")]);
    assert_eq!(world.core.members("blue").0, [name("ann")]);
    assert_eq!(world.read_by(LAPTOP, 0), "1=1:welcome", "once");
    assert_eq!(world.pass(LINGER_MS - 1), [format!("{GRACE_MS}: detached ann")]);
    // Groups that are too many are too many here, too.
    let many: Vec<_> = (0..9).map(|n| format!("g{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let refused = world.open(with(Key([9; 16]), "", &many)).err();
    assert!(matches!(refused, Some(CommitError::Limit { what: "groups per mailbox", .. })));
}

#[test]
fn there_are_so_many_seats() {
    let mut world = World::new(&[]);
    let key = |n: usize| Key([u8::try_from(n).expect("few"); 16]);
    for n in 0..MAX_SEATS {
        world.join(key(n));
    }
    let one_more = || shared(key(MAX_SEATS));
    assert_eq!(world.open(one_more()).err(), Some(CommitError::NoSeat(name("ann"))));
    world.core.close(world.now, "ann", key(5), &mut Effects::default()).expect("it is there");
    world.open(one_more()).expect("there is one again");
    world.say("a");
    for n in (0..=MAX_SEATS).filter(|n| *n != 5) {
        assert_eq!(world.read_by(key(n), 0), "1=1:a", "{n}");
        assert_eq!(world.core.totals().queued_messages, 1, "{n}");
        world.read_by(key(n), 1);
    }
    assert_eq!(world.core.totals().queued_messages, 0);
}

#[test]
fn a_device_that_stays_away_leaves_and_nobody_waits_for_it_any_more() {
    let mut world = World::of_two();
    world.say("a");
    assert_eq!(world.read_by(PHONE, 0), "1=1:a");
    world.read_by(LAPTOP, 0);
    world.pass(GRACE_MS - 1);
    assert_eq!(world.hold_by(LAPTOP, 1), [""; 0], "somebody was there all the time");
    assert_eq!(world.core.totals().queued_messages, 1);
    let told = world.pass(LINGER_MS - GRACE_MS);
    assert_eq!(told, ["25000: 3: nothing", "30000: detached ann"]);
    world.hold_by(LAPTOP, 1);
    world.pass(1);
    assert_eq!(world.core.totals().queued_messages, 0, "the phone has left");
    assert_eq!(world.read_by(PHONE, 1), "Err(WrongKey)");
    // The last takes the mailbox along.
    let told = world.pass(25_000 + LINGER_MS);
    assert_eq!(told.last().map(String::as_str), Some("84999: closed ann expired"));
    assert_eq!(world.core.totals().mailboxes, 0);
    assert_eq!(world.core.next_deadline(), Millis::MAX, "no alarm is left behind");
}

#[test]
fn devices_that_leave_together_leave_no_mailbox() {
    let mut world = World::of_two();
    world.say("a");
    assert_eq!(world.pass(LINGER_MS), [format!("{LINGER_MS}: closed ann expired")]);
    assert_eq!(world.core.totals().queued_bytes, 0);
}

#[test]
fn a_client_closes_its_seat_and_the_last_one_the_mailbox() {
    let mut world = World::of_two();
    world.say("a");
    world.hold_by(LAPTOP, 1);
    world.read_by(PHONE, 0);
    let mut fx = Effects::default();
    world.core.close(world.now, "ann", LAPTOP, &mut fx).expect("it is there");
    assert_eq!(show(&fx), ["1: closed by client"], "of the mailbox nothing is told");
    assert!(world.read_by(LAPTOP, 1).contains("Closed"), "and not: open again");
    assert_eq!(world.read_by(PHONE, 0), "1=1:a");
    let mut fx = Effects::default();
    world.core.close(world.now, "ann", PHONE, &mut fx).expect("it is there");
    assert_eq!(show(&fx), ["closed ann client"]);
    assert!(world.read_by(PHONE, 1).contains("Closed"));
    assert!(world.read_by(LAPTOP, 1).contains("Closed"), "is not forgotten for the other");
}

#[test]
fn what_waits_for_a_closed_seat_alone_goes_with_it() {
    let mut world = World::of_two();
    world.say("a");
    world.read_by(PHONE, 1);
    world.core.close(world.now, "ann", LAPTOP, &mut Effects::default()).expect("it is there");
    assert_eq!(world.core.totals().queued_messages, 0);
}

#[test]
fn a_plugin_closes_all_seats() {
    let mut world = World::of_two();
    world.hold_by(PHONE, 0);
    world.hold_by(LAPTOP, 0);
    let close =
        Action::Close { mailbox: name("ann"), cause: CloseCause::Plugin, reason: "kicked".into() };
    let bye = Action::Send { to: to_ann(), message: text("bye") };
    let mut told = show(&world.act(vec![bye, close]).1);
    told.sort();
    assert_eq!(told, ["1: 1=1:bye", "2: 1=1:bye", "closed ann plugin"]);
    for key in [PHONE, LAPTOP] {
        assert!(world.read_by(key, 0).contains("Closed"));
    }
}

#[test]
fn nothing_that_some_device_was_handed_is_overwritten() {
    let mut world = World::of_two();
    let quote = |data| message(data, None, Some("IBM"));
    world.send(to_ann(), quote("1"));
    world.send(to_ann(), quote("2"));
    assert_eq!(world.read_by(LAPTOP, 0), "1=1:2", "in the place of the first");
    // Whichever of them was there last.
    assert_eq!(world.core.confirmed(world.now, "ann", PHONE), Ok(0));
    world.send(to_ann(), quote("3"));
    world.send(to_ann(), quote("4"));
    assert_eq!(world.read_by(PHONE, 0), "2=1:2,2:4");
    assert_eq!(world.read_by(LAPTOP, 1), "2=2:4");
}

#[test]
fn a_message_counts_once_for_the_pace() {
    let mut world = World::new(&[]);
    let mut open = shared(PHONE);
    open.limits.per_second = 2;
    world.open(open).expect("the name is free");
    world.join(LAPTOP);
    for data in ["a", "b", "c"] {
        world.say(data);
    }
    assert_eq!(world.read_by(PHONE, 0), "2=1:a,2:b");
    assert_eq!(world.read_by(LAPTOP, 0), "2=1:a,2:b", "was handed out already");
    world.hold_by(PHONE, 2);
    world.hold_by(LAPTOP, 2);
    let mut told = world.pass(1_000);
    told.sort();
    assert_eq!(told, ["1000: 3: 3=3:c", "1000: 4: 3=3:c"]);
}
