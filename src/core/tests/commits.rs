//! What a commit rests on, and what it may add.

use super::*;

#[test]
fn a_commit_whose_reads_no_longer_hold_does_nothing() {
    let put = |value: &str| Action::Put { key: "k".into(), value: value.to_owned().into() };
    let join = |mailbox: &str, group: &str| Action::Join {
        mailbox: name(mailbox),
        group: name(group),
        chosen: false,
    };
    // What was read, and what happens before the commit.
    type Look = fn(&World) -> Read;
    let value: Look =
        |w| Read::Value { key: "k".into(), version: w.core.value("k").map(|(_, v)| v) };
    let group: Look = |w| Read::Group { name: "g".into(), version: w.core.members("g").1 };
    let mailbox: Look = |w| Read::Mailbox { name: "ann".into(), attached: w.core.attached("ann") };
    let close =
        Action::Close { mailbox: name("ann"), cause: CloseCause::Plugin, reason: "".into() };
    let cases: Vec<(&str, Look, Action, bool)> = vec![
        ("absent value appears", value, put("1"), false),
        ("other key", value, Action::Delete { key: "other".into() }, true),
        ("group appears", group, join("ann", "g"), false),
        ("other group", group, join("ann", "h"), true),
        ("mailbox goes", mailbox, close, false),
    ];
    for (case, look, meanwhile, holds) in cases {
        let mut world = World::new(&["ann", "bob"]);
        let read = look(&world);
        world.act(vec![meanwhile]);
        let actions = vec![put("2"), join("bob", "new")];
        let result = world.commit(Commit { reads: vec![read], actions, ..Commit::default() });
        assert_eq!(result.is_ok(), holds, "{case}: {result:?}");
        assert_eq!(world.core.members("new").0.is_empty(), !holds, "{case}");
    }
}

#[test]
fn a_session_that_changed_or_went_stops_the_commit() {
    let mut world = World::new(&["ann"]);
    let plugin = PluginName("p".into());
    let set_state = || vec![Action::SetState { plugin: plugin.clone(), state: Some("s".into()) }];
    let session = world.core.session(world.now, "ann", KEY).ok();
    let commit = |session| Commit { session, actions: set_state(), ..Commit::default() };
    world.commit(commit(session.clone())).expect("nothing changed yet");
    let result = world.commit(commit(session)).map(drop);
    assert_eq!(result, Err(CommitError::Conflict));
    let session = world.core.session(world.now, "ann", KEY).ok();
    assert_eq!(session.as_ref().and_then(|s| s.state(&plugin)).map(|s| &s[..]), Some(&b"s"[..]));
    let mut fx = Effects::default();
    world.core.close(world.now, "ann", KEY, &mut fx).expect("it is there");
    world.open(opening("ann")).expect("free again");
    assert_eq!(world.commit(commit(session)).map(drop), Err(CommitError::Gone));
    assert_eq!(world.commit(commit(None)).map(drop), Err(CommitError::NoSession));
}

#[test]
fn limits_of_the_app_stop_a_commit_as_a_whole() {
    let values = |n: usize, len: usize| {
        (0..n)
            .map(|i| Action::Put { key: i.to_string().into(), value: vec![0; len].into() })
            .collect::<Vec<_>>()
    };
    let joins = |n: usize| {
        (0..n)
            .map(|i| Action::Join {
                mailbox: name("ann"),
                group: name(&format!("g{i}")),
                chosen: false,
            })
            .collect::<Vec<_>>()
    };
    for (what, fits, too_many) in [
        ("values", values(10, 1), values(11, 1)),
        ("bytes of values", values(1, 999), values(1, 1000)),
        ("groups per mailbox", joins(9), joins(10)),
    ] {
        let result = World::new(&["ann"]).commit(Commit { actions: too_many, ..Commit::default() });
        assert!(
            matches!(result, Err(CommitError::Limit { what: w, .. }) if w == what),
            "{what}: {result:?}"
        );
        World::new(&["ann"]).act(fits);
    }
}

#[test]
fn limits_count_only_what_is_new() {
    let join = |mailbox: &str, group: &str| Action::Join {
        mailbox: name(mailbox),
        group: name(group),
        chosen: false,
    };
    let timer = |name: &str| Action::SetTimer {
        plugin: PluginName("p".into()),
        mailbox: None,
        name: name.into(),
        delay_ms: 1,
    };
    let all = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let mut world = World::new(&all);
    // More mailboxes than one mailbox may have groups, each into one group.
    world.act(all.iter().map(|mailbox| join(mailbox, "room")).collect());
    world.act((0..10).map(|i| timer(&i.to_string())).collect());
    world.act((0..10).map(|i| timer(&i.to_string())).collect()); // moved, not added
    world.act(vec![join("a", "room"), join("a", "room"), join("ghost", "room")]);
    assert_eq!(world.core.members("room").0.len(), all.len());
}

#[test]
fn a_new_mailbox_has_to_fit() {
    let plugin = PluginName("p".into());
    let full = |full, first: Vec<Arc<Message>>, state: usize| {
        let mut open = opening("bob");
        open.limits.full = full;
        open.first = first;
        open.states.push((plugin.clone(), vec![0; state].into()));
        open
    };
    let four = || ["a", "b", "c", "d"].map(text).to_vec();
    for (case, open, refused) in [
        ("fits", full(FullPolicy::Reject, four()[..3].to_vec(), 1000), None),
        ("drops its oldest", full(FullPolicy::DropOldest, four(), 0), None),
        (
            "too many messages",
            full(FullPolicy::Reject, four(), 0),
            Some("messages in the new mailbox"),
        ),
        (
            "a message larger than the mailbox",
            full(FullPolicy::DropOldest, vec![text(&"x".repeat(101))], 0),
            Some("bytes in the new mailbox"),
        ),
        (
            "too much state",
            full(FullPolicy::DropOldest, vec![], 1001),
            Some("bytes of session states"),
        ),
    ] {
        let mut world = World::new(&[]);
        let result = world.open(open).map(drop);
        let what = match &result {
            Err(CommitError::Limit { what, .. }) => Some(*what),
            _ => None,
        };
        assert_eq!(what, refused, "{case}: {result:?}");
        assert_eq!(world.core.totals().mailboxes, usize::from(refused.is_none()), "{case}");
        if result.is_ok() {
            let mut fx = Effects::default();
            world.core.close(world.now, "bob", KEY, &mut fx).expect("it is there");
        }
        let totals = world.core.totals();
        assert_eq!((totals.state_bytes, totals.queued_bytes), (0, 0), "{case}: given back");
    }
}
