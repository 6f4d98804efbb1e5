//! Publishes with an id: once, for as long as it is remembered.

use super::*;

const WINDOW_MS: Millis = 10_000;

fn id(text: &str) -> PublishId {
    PublishId::try_from(text.to_owned()).expect("tests use valid ids")
}

impl World {
    fn publish(&mut self, with: &str, to: &Address) -> Result<SendReport, CommitError> {
        let (id, message) = (id(with), text("hi"));
        let commit = Commit { publish: Some((to, &message)), id: Some(&id), ..Commit::default() };
        self.commit(commit).map(|(mut committed, _)| committed.sends.remove(0))
    }

    fn tick(&mut self) {
        while self.core.next_deadline() <= self.now {
            self.core.tick(self.now, &mut Effects::default());
        }
    }
}

#[test]
fn what_was_published_is_not_published_again_within_the_window() {
    let mut world = World::new(&["ann", "bob"]);
    let (all, nobody) = (to(&[], &["all"], &[]), to(&["eve"], &[], &[]));
    let first = world.publish("1", &all).expect("it is done");
    assert_eq!((first.queued, first.duplicate), (2, false));
    let missing = world.publish("2", &nobody).expect("it is done, though for nobody");
    // Whatever a duplicate says, it is answered with what the first one did.
    for (case, with, address, report) in [
        ("the same", "1", &all, &first),
        ("another address", "1", &nobody, &first),
        ("who reached nobody", "2", &all, &missing),
    ] {
        world.now += WINDOW_MS / 4;
        let again = world.publish(with, address).expect(case);
        assert_eq!(again, SendReport { duplicate: true, ..report.clone() }, "{case}");
    }
    assert_eq!(world.core.totals().repeated, 3);
    assert_eq!(world.core.totals().queued_messages, 2);
    // The window is that of the first: who asks again does not move it.
    world.now += WINDOW_MS / 4;
    let anew = world.publish("1", &all).expect("its time is over");
    assert_eq!((anew.queued, anew.duplicate), (2, false));
    assert_eq!(world.core.totals().queued_messages, 4);
    assert!(world.publish("1", &all).expect("it is known again").duplicate);
}

#[test]
fn a_commit_that_did_nothing_is_not_remembered() {
    let mut world = World::new(&["ann"]);
    let read = Read::Value { key: "k".into(), version: None };
    let put = |key: &str| Action::Put { key: key.into(), value: "v".into() };
    world.act(vec![put("k")]);
    let (one, all, message) = (id("1"), to(&[], &["all"], &[]), text("hi"));
    for (case, reads, actions) in [
        ("a conflict", vec![read], vec![]),
        ("a limit", vec![], (0..20).map(|n| put(&n.to_string())).collect()),
    ] {
        let publish = Some((&all, &message));
        let commit = Commit { publish, id: Some(&one), reads, actions, ..Commit::default() };
        assert!(world.commit(commit).is_err(), "{case}");
        assert_eq!(world.core.totals().publish_ids, 0, "{case}");
    }
    assert!(!world.publish("1", &all).expect("nothing is against it").duplicate);
}

#[test]
fn one_that_sends_nothing_itself_is_remembered_with_what_its_actions_did() {
    let mut world = World::new(&["ann", "bob"]);
    let one = id("1");
    let send = |to| Action::Send { to, message: text("by a plugin") };
    // A plugin that does not deliver, and tells two mailboxes and one that is not
    // there.
    let actions = vec![send(to(&["ann"], &[], &[])), send(to(&["bob", "eve"], &[], &[]))];
    let commit = Commit { actions, id: Some(&one), ..Commit::default() };
    world.commit(commit).expect("nothing is against it");
    let (committed, _) =
        world.commit(Commit { id: Some(&one), ..Commit::default() }).expect("a duplicate");
    let [report] = &committed.sends[..] else { panic!("one report, not {:?}", committed.sends) };
    assert_eq!((report.queued, report.duplicate), (2, true));
    assert_eq!(report.missing, [name("eve")]);
}

#[test]
fn what_is_remembered_is_bounded_and_goes_by_itself() {
    let mut world = World::new(&["ann"]);
    let all = to(&[], &["all"], &[]);
    let done = (0..).take_while(|n| world.publish(&n.to_string(), &all).is_ok()).count();
    // Each counts 128 bytes and its own.
    assert_eq!(done, limits().max_publish_id_bytes / 129);
    let full = world.publish("one more", &all).expect_err("there is no room");
    assert_eq!(full, CommitError::Limit { what: "bytes of publish ids", limit: 1000 });
    assert!(world.publish("0", &all).expect("it is known").duplicate);
    world.act(vec![Action::Send { to: all.clone(), message: text("without an id") }]);
    world.now += WINDOW_MS - 1;
    world.tick();
    assert_eq!(world.core.totals().publish_ids, done, "not yet");
    world.now += 1;
    // Nobody publishes any more: the alarm has to do it.
    world.tick();
    assert_eq!(world.core.totals().publish_ids, 0);
    assert!(!world.publish("0", &all).expect("there is room").duplicate);
}

#[test]
fn a_crowd_is_forgotten_while_new_ones_come() {
    let mut core = Core::new(CoreLimits { max_publish_id_bytes: 1 << 20, ..limits() });
    let (all, message) = (to(&[], &["all"], &[]), text("hi"));
    let mut publish = |now, n: u64| {
        let id = id(&n.to_string());
        let commit = Commit { publish: Some((&all, &message)), id: Some(&id), ..Commit::default() };
        let committed = core.commit(now, commit, &mut Effects::default()).expect("there is room");
        (committed.sends[0].duplicate, core.totals().publish_ids)
    };
    for n in 0..2_000 {
        publish(n, n);
    }
    // Each comes again when its time is over, and finds the others where they are.
    for n in 0..2_000 {
        let (duplicate, remembered) = publish(n + WINDOW_MS, n);
        assert!(!duplicate, "{n}");
        assert!(remembered <= 2_000, "{remembered}");
        let (duplicate, _) = publish(n + WINDOW_MS, (n + 1) % 2_000);
        assert!(duplicate, "{n}");
    }
}
