use super::*;
use cometbox_guest::test::plugin;

fn open(settings: Value) -> BayeuxOpen {
    plugin(settings).expect("settings are good")
}

#[test]
fn anybody_gets_a_mailbox_and_is_where_it_asks_to_be() {
    let (cx, plugin) = (Context::test(), open(json!({})));
    for (body, groups) in [
        (json!(null), &[][..]),
        (json!({}), &[]),
        (json!({"authentication": {"user": "ann"}}), &[]),
        (json!({"subscribe": ["chat/lobby", "news/**"]}), &["chat/lobby", "news/**"]),
    ] {
        let expected = groups.iter().fold(Accept::new(), |accept, group| accept.join(*group));
        assert_eq!(plugin.on_open(&cx, &Open::test(body.clone())), Ok(expected), "{body}");
    }
    assert!(plugin.on_open(&cx, &Open::test(json!({"subscribe": 5}))).is_err());
}

#[test]
fn a_channel_hears_what_is_published_to_it() {
    let (cx, ann) = (Context::test(), Session::test("ann", ()));
    let data = || Payload::from(json!({"say": "hi"}));
    let lobby = || send_group("chat/lobby", data());
    for (settings, channel, expected) in [
        (json!({}), "chat/lobby", vec![lobby()]),
        (json!({"echo": false}), "chat/lobby", vec![lobby().except("ann")]),
        (json!({}), "service/echo", vec![]),
        (json!({}), "services", vec![send_group("services", data())]),
    ] {
        let outcome = open(settings.clone()).on_channel_message(&cx, &ann, channel, data());
        assert_eq!(outcome, Ok(Outcome::from(expected)), "{channel} with {settings}");
    }
    let sent = open(json!({})).on_message(&cx, &ann, data());
    assert!(matches!(sent, Err(Error::Rejected { status: 400, .. })), "to nowhere: {sent:?}");
}

#[test]
fn any_subscription_is_fine() {
    let (cx, ann) = (Context::test(), Session::test("ann", ()));
    for group in ["chat/lobby", "**"] {
        assert_eq!(open(json!({})).on_subscribe(&cx, &ann, &[group.into()]), Ok(vec![]));
    }
}

#[test]
fn a_misspelt_setting_is_told() {
    assert!(plugin::<BayeuxOpen>(json!({"ecko": false})).is_err());
}
