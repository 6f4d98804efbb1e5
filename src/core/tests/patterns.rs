//! Groups that are patterns, and readers without a cursor.

use super::*;

fn join(mailbox: &str, group: &str) -> Action {
    Action::Join { mailbox: name(mailbox), group: name(group), chosen: false }
}

fn leave(mailbox: &str, group: &str) -> Action {
    Action::Leave { mailbox: name(mailbox), group: name(group) }
}

#[test]
fn what_is_sent_to_a_group_reaches_the_patterns_that_match_it_once() {
    for (group, except, expected) in [
        ("chat/lobby", &[][..], &["ann", "bob", "cy", "dan"][..]),
        ("chat/lobby", &["bob", "dan"], &["ann", "cy"]),
        ("chat/lobby/vip", &[], &["ann", "cy", "dan"]),
        ("chat", &[], &["ann", "dan"]),
        ("chatter/lobby", &[], &["ann", "dan"]),
        ("service/echo", &[], &[]),
    ] {
        let mut world = World::new(&["ann", "bob", "cy", "dan"]);
        world.act(vec![
            join("ann", "chat/lobby"),
            join("ann", "chat/*"),
            join("ann", "**"),
            join("bob", "chat/*"),
            join("cy", "chat/**"),
            join("dan", "**"),
        ]);
        world.send(to(&[], &[group], except), text("hi"));
        for mailbox in ["ann", "bob", "cy", "dan"] {
            let read = if expected.contains(&mailbox) { "1=1:hi" } else { "nothing" };
            assert_eq!(world.read(mailbox, 0), read, "{mailbox}: {group} without {except:?}");
        }
    }
}

#[test]
fn patterns_are_counted_while_they_have_members() {
    let mut world = World::new(&["ann", "bob"]);
    world.act(vec![join("ann", "a/*"), join("bob", "a/*"), join("ann", "**"), join("ann", "a*")]);
    assert_eq!(world.core.patterns, 2);
    world.act(vec![leave("ann", "a/*"), leave("ann", "**")]);
    assert_eq!(world.core.patterns, 1);
    let mut fx = Effects::default();
    world.core.close(world.now, "bob", KEY, &mut fx).expect("it is there");
    assert_eq!(world.core.patterns, 0);
    assert_eq!(world.send(to(&[], &["a/b"], &[]), text("1")).0.queued, 0);
}

#[test]
fn a_reader_is_told_a_group_that_it_is_in() {
    for (case, to, expected) in [
        ("one", to(&[], &["all"], &[]), [Some("all"); 4]),
        ("several", to(&[], &["a/x", "b", "all"], &[]), ["a/x", "b", "a/x", "all"].map(Some)),
        ("the other way", to(&[], &["b", "a/x"], &["ann"]), [None, Some("b"), Some("a/x"), None]),
        ("nobody there", to(&[], &["c", "b"], &[]), [None, Some("b"), None, None]),
        ("by name", to(&["ann", "dan"], &[], &[]), [Some("-"), None, None, Some("-")]),
        (
            "by name and group",
            to(&["ann", "bob", "nobody"], &["c/d", "a/x"], &[]),
            [Some("a/x"), Some("-"), Some("a/x"), None],
        ),
    ] {
        let mut world = World::new(&["ann", "bob", "cy", "dan"]);
        world.act(vec![join("ann", "a/x"), join("bob", "b"), join("cy", "a/*"), join("cy", "a/x")]);
        let (report, _) = world.send(to, text("hi"));
        assert_eq!(report.queued, expected.iter().flatten().count(), "{case}");
        for (mailbox, expected) in ["ann", "bob", "cy", "dan"].into_iter().zip(expected) {
            let polled = world.poll(mailbox, 0, 0).0.expect("the key is right");
            let channel = match &polled {
                Polled::Ready(Batch { messages, .. }) => {
                    assert_eq!(messages.len(), 1, "{case}: {mailbox}");
                    Some(messages[0].message.channel.get().map_or("-", Name::as_str))
                }
                _ => None,
            };
            assert_eq!(channel, expected, "{case}: {mailbox}");
        }
    }
}

#[test]
fn a_reader_without_a_cursor_confirms_what_it_was_handed() {
    let mut world = World::new(&["ann"]);
    let read = |world: &mut World| {
        let (now, mut fx) = (world.now, Effects::default());
        let polled = world.core.poll(now, "ann", KEY, ReadFrom::Handed, 0, ConnId(900), &mut fx);
        match polled.expect("the key is right") {
            Polled::Ready(batch) => show_batch(&batch),
            other => format!("{other:?}"),
        }
    };
    world.send(to(&["ann"], &[], &[]), text("1"));
    world.send(to(&["ann"], &[], &[]), text("2"));
    assert!(read(&mut world).contains("1") && world.core.totals().queued_messages == 2);
    assert_eq!(read(&mut world), "Nothing");
    assert_eq!(world.core.totals().queued_messages, 0);
    world.send(to(&["ann"], &[], &[]), text("3"));
    let third = read(&mut world);
    assert!(third.contains('3') && !third.contains('2'), "{third}");
    let (_, conn) = world.hold("ann", 3);
    let (now, mut fx) = (world.now, Effects::default());
    let held = world.core.poll(now, "ann", KEY, ReadFrom::Handed, 9, ConnId(901), &mut fx);
    assert!(matches!(held, Ok(Polled::Held(_))), "{held:?}");
    assert!(matches!(fx.answers[..], [(who, Answer::Displaced)] if who == conn), "{fx:?}");
}
