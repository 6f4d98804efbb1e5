use super::*;

fn hostile(settings: Value) -> Hostile {
    cometbox_guest::test::plugin(settings).expect("good settings")
}

fn ann() -> Session<State> {
    Session::test("ann", State { seen: 1, migrated: false, unreadable: false })
}

#[test]
fn it_can_behave() {
    let (plugin, cx) = (hostile(json!({})), Context::test());
    let opened = plugin.on_open(&cx, &Open::test(json!({"name": "ann", "groups": ["all"]})));
    let accept = opened.expect("accepted");
    assert_eq!(accept.mailbox.as_deref(), Some("ann"));
    assert_eq!(accept.groups, ["all"]);

    let hi = Payload::from(json!({"say": "hi"}));
    let outcome = plugin.on_message(&cx, &ann(), hi.clone()).expect("answered");
    assert_eq!(outcome.reply, Some(hi.clone()));
    assert_eq!(outcome.actions, [set_state(&json!({"seen": 2, "migrated": false}))]);

    let to = Address::from("ann");
    assert_eq!(plugin.on_publish(&cx, to, hi.into()), Ok(PublishOutcome::deliver()));
}

#[test]
fn orders_come_with_the_event_or_the_settings() {
    let cx = Context::test();
    let told = hostile(json!({})).on_message(&cx, &ann(), json!({"do": "error"}).into());
    assert_eq!(told, Err(fail("hostile was told to fail")));

    let told = hostile(json!({})).on_message(&cx, &ann(), json!({"do": "erorr"}).into());
    assert!(matches!(told, Err(Error::Rejected { status: 400, .. })));

    let plugin = hostile(json!({"in": "attached", "do": "error", "only": "ann"}));
    assert!(plugin.on_attached(&cx, &ann()).is_err());
    assert!(plugin.on_detached(&cx, &ann()).is_ok());
    assert!(plugin.on_attached(&cx, &Session::test("bob", None)).is_ok());

    assert!(cometbox_guest::test::plugin::<Hostile>(json!({"init": "fail"})).is_err());
    assert!(hostile(json!({"load": "fail"})).on_load(&cx, false).is_err());
}

#[test]
fn a_corrupt_state_has_to_be_migrated() {
    let corrupt = State { seen: 0, migrated: false, unreadable: true };
    let carried = cometbox_guest::test::carry_over(&hostile(json!({})), "ann", &corrupt);
    assert_eq!(carried, Ok(Some(State { seen: 0, migrated: true, unreadable: false })));
}
