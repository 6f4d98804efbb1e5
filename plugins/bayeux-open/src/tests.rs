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
        (json!({"subscribe": ["service/**", "services"]}), &["services"]),
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
fn clients_may_have_the_channels_that_the_settings_name() {
    let (cx, ann) = (Context::test(), Session::test("ann", ()));
    let plugin = open(json!({"channels": ["news", "chat/*", "shop/**"]}));
    for (channel, may) in [
        ("news", true),
        ("news/x", false),
        ("newsreel", false),
        ("chat", false),
        ("chat/lobby", true),
        ("chat/*", true),
        ("chat/**", false),
        ("chat/lobby/vip", false),
        ("chat/lobby/*", false),
        ("chatter/lobby", false),
        ("shop", false),
        ("shop/a", true),
        ("shop/*", true),
        ("shop/**", true),
        ("shop/a/b", true),
        ("shop/a/**", true),
        ("shopping/a", false),
        ("*", false),
        ("**", false),
        ("hall", false),
    ] {
        let refused = reject(403, format!("/{channel} is not for clients here"));
        let subscribed = plugin.on_subscribe(&cx, &ann, &["news".into(), channel.into()]);
        let expected = if may { Ok(vec![]) } else { Err(refused.clone()) };
        assert_eq!(subscribed, expected, "{channel}");
        let opened = plugin.on_open(&cx, &Open::test(json!({"subscribe": [channel]})));
        assert_eq!(opened.is_ok(), may, "{channel}");
        if !channel.ends_with('*') {
            let sent = plugin.on_channel_message(&cx, &ann, channel, json!(1).into());
            let expected = Outcome::from(send_group(channel, json!(1)));
            assert_eq!(sent, if may { Ok(expected) } else { Err(refused) }, "{channel}");
        }
    }
    let served = plugin.on_channel_message(&cx, &ann, "service/echo", json!(1).into());
    assert_eq!(served, Ok(Outcome::default()), "is for others of the chain");
}

#[test]
fn a_setting_that_is_wrong_is_told() {
    for settings in [json!({"ecko": false}), json!({"channels": ["chat/*", "/chat"]})] {
        assert!(plugin::<BayeuxOpen>(settings.clone()).is_err(), "{settings}");
    }
}
