use super::*;

fn chat() -> Chat {
    cometbox_guest::test::plugin(json!({"history": 2})).expect("good settings")
}

fn seat(nick: &str) -> Session<Seat> {
    Session::test(nick, Seat { room: "lobby".into() })
}

fn history<'a>(lines: impl IntoIterator<Item = (&'a str, &'a str)>) -> History {
    let mut history = History::default();
    lines.into_iter().for_each(|(from, say)| history.add(from, say, usize::MAX));
    history
}

fn say(chat: &Chat, cx: &Context, nick: &str, data: Value) -> Result<Outcome> {
    chat.on_message(cx, &seat(nick), data.into())
}

#[test]
fn a_newcomer_is_told_what_was_said_and_the_others_that_she_joined() {
    let cx = Context::test()
        .group("lobby", ["cid", "bob"])
        .value("chat/history/lobby", &history([("bob", "hi"), ("cid", "hello")]));
    let open = Open::test(json!({"nick": "ann"}));

    let expected = Accept::named("ann")
        .state(Seat { room: "lobby".into() })
        .join("lobby")
        .linger_ms(30_000)
        .first(json!({"from": "bob", "say": "hi", "room": "lobby", "history": true}))
        .first(json!({"from": "cid", "say": "hello", "room": "lobby", "history": true}))
        .reply(json!({"room": "lobby", "nick": "ann", "members": ["bob", "cid"]}))
        .then(send_group("lobby", json!({"joined": "ann"})).except("ann"));
    assert_eq!(chat().on_open(&cx, &open), Ok(expected));
}

#[test]
fn a_line_goes_to_the_others_and_into_the_history() {
    let cx = Context::test()
        .group("lobby", ["ann", "bob"])
        .value("chat/history/lobby", &history([("bob", "1"), ("bob", "2")]));
    let outcome = say(&chat(), &cx, "ann", json!({"say": "3"}));

    let expected = Outcome::from([
        send_group("lobby", json!({"from": "ann", "say": "3", "room": "lobby"})).except("ann"),
        put("chat/history/lobby", &history([("bob", "2"), ("ann", "3")])),
    ]);
    assert_eq!(outcome, Ok(expected));
}

#[test]
fn a_history_keeps_the_last_lines_whatever_they_say() {
    let mut kept = History::default();
    for say in ["1", "", "a\u{1e}b\u{1f}c", "é\n"] {
        kept.add("ann", say, 3);
    }
    let lines: Vec<_> = kept.lines().collect();
    assert_eq!(lines, [("ann", ""), ("ann", "abc"), ("ann", "é\n")]);
    kept.add("bob", "last", 1);
    assert_eq!(kept.lines().collect::<Vec<_>>(), [("bob", "last")]);
    kept.add("bob", "gone", 0);
    assert_eq!(kept, History::default());
}

#[test]
fn a_history_of_another_version_is_forgotten() {
    let old = Context::test().group("lobby", ["ann", "bob"]).value("chat/history/lobby", "old");
    let outcome = say(&chat(), &old, "ann", json!({"say": "hi"})).expect("she may speak");
    assert_eq!(outcome.actions[1], put("chat/history/lobby", &history([("ann", "hi")])));
}

#[test]
fn a_whisper_goes_to_one_and_into_no_history() {
    let cx = Context::test().group("lobby", ["ann", "bob"]);
    let whisper = |to| say(&chat(), &cx, "ann", json!({"to": to, "say": "psst"}));

    let sent = send("bob", json!({"from": "ann", "to": "bob", "say": "psst"}));
    assert_eq!(whisper("bob"), Ok(sent.into()));
    assert_eq!(whisper("cid"), Err(reject(404, "cid is not here")));
}

#[test]
fn who_is_answered() {
    let cx = Context::test().group("lobby", ["bob", "ann"]);
    let members = Outcome::reply(json!({"members": ["ann", "bob"]}));
    assert_eq!(say(&chat(), &cx, "ann", json!({"who": true})), Ok(members));
}

#[test]
fn what_is_no_request_is_refused_with_a_hint() {
    let none_to_bob = json!({"to": ["bob"], "say": "psst"}); // not for the room either
    for data in [json!({"sya": "hi"}), json!("hi"), json!({"say": 5}), json!(null), none_to_bob] {
        let Err(Error::Rejected { status: 400, reason }) =
            say(&chat(), &Context::test(), "ann", data.clone())
        else {
            panic!("{data} is a 400");
        };
        assert!(reason.contains(r#"{"say":…}"#), "{reason}");
    }
}

#[test]
fn whoever_leaves_is_missed() {
    let left = send_group("lobby", json!({"left": "ann"}));
    let closed = |cx| chat().on_closed(&cx, &seat("ann"), CloseCause::Expired);

    let others = Context::test().group("lobby", ["bob"]);
    assert_eq!(closed(others), Ok(vec![left.clone()]));
    assert_eq!(closed(Context::test()), Ok(vec![left, set_timer("lobby", 600_000)]));
}

#[test]
fn an_empty_room_is_forgotten_unless_somebody_came_back() {
    let rings = |cx| chat().on_timer(&cx, "lobby", None);
    assert_eq!(rings(Context::test()), Ok(vec![delete("chat/history/lobby")]));
    assert_eq!(rings(Context::test().group("lobby", ["ann"])), Ok(vec![]));
}

#[test]
fn names_are_checked() {
    let open = |nick: &str, room: &str| {
        chat().on_open(&Context::test(), &Open::test(json!({"nick": nick, "room": room})))
    };
    assert!(open("Zoë_7", "münchen").is_ok());
    let long = "x".repeat(33);
    for bad in ["", "a b", "a/b", "<b>", "a\n", &long] {
        assert_eq!(
            open(bad, "lobby"),
            Err(reject(400, "a nick is 1 to 32 letters, digits, or any of - _ ."))
        );
        assert_eq!(
            open("ann", bad),
            Err(reject(400, "a room is 1 to 32 letters, digits, or any of - _ ."))
        );
    }
    let nobody = chat().on_open(&Context::test(), &Open::test(json!({})));
    assert!(matches!(nobody, Err(Error::Rejected { status: 400, .. })));
}

#[test]
fn an_established_identity_is_the_nick() {
    let open = Open::test(json!({"nick": "boss"})).with_identity("ann");
    let accept = chat().on_open(&Context::test(), &open).expect("accepted");
    assert_eq!(accept.mailbox.as_deref(), Some("ann"));
}

#[test]
fn the_longest_history_fits_into_an_answer() {
    let chat: Chat = cometbox_guest::test::plugin(json!({"history": 40})).expect("good settings");
    assert!(cometbox_guest::test::plugin::<Chat>(json!({"history": 41})).is_err());
    // In JSON a control character takes six bytes.
    let longest = "\u{1}".repeat(4000);
    let cx = Context::test().group("lobby", ["ann", "bob"]);
    assert!(say(&chat, &cx, "ann", json!({"say": longest})).is_ok());
    for data in
        [json!({"say": longest.clone() + "x"}), json!({"to": "bob", "say": longest.clone() + "x"})]
    {
        assert_eq!(say(&chat, &cx, "ann", data), Err(reject(400, "a line is at most 4000 bytes")));
    }

    let lines = history((0..40).map(|_| ("ann", longest.as_str())));
    let cx = Context::test().value("chat/history/lobby", &lines);
    let accept = chat.on_open(&cx, &Open::test(json!({"nick": "bob"}))).expect("accepted");
    let bytes = |message: &Message| match &message.data {
        Payload::Json(text) => text.len(),
        other => panic!("{other:?} is not JSON"),
    };
    let total: usize = accept.first.iter().map(bytes).sum();
    assert!(total < 1_000_000, "{total} is below the gateway's default of 1 MiB");
}

#[test]
fn misspelt_settings_are_refused() {
    let made = cometbox_guest::test::plugin::<Chat>(json!({"histroy": 2}));
    assert!(made.is_err_and(|error| error.contains("unknown field `histroy`")));
}
