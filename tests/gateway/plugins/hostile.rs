//! A plugin that misbehaves ends its own call and nothing else.

use super::{CONTEXT, hostile, reply_text, say, session};
use cometbox::{
    core::{Action, Address, CloseCause, Message, Payload},
    plugin::{
        Event, Failure, FailureKind, OpenRequest, Plugin, PluginLimits, Reads, SessionView,
        wasm::WasmPlugin,
    },
};
use std::time::{Duration, Instant};

/// Far more than a bounded call takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// The defaults, but with time for misdeeds that need some work, so that none
/// ends by another limit than its own on a busy machine.
fn limits() -> PluginLimits {
    PluginLimits { call_ms: 100, ..PluginLimits::default() }
}

fn kind(result: Result<impl Sized, Failure>) -> Option<(FailureKind, String)> {
    match result {
        Err(Failure::Failed { kind, text }) => Some((kind, text)),
        _ => None,
    }
}

#[test]
fn every_misdeed_in_a_message_ends_that_call_alone() {
    let plugin = hostile("{}", limits());
    for (order, want, says) in [
        (r#"{"do":"loop"}"#, FailureKind::Time, "longer than 100 ms"),
        (r#"{"do":"memory"}"#, FailureKind::Memory, "16777216 bytes of memory"),
        (r#"{"do":"recursion"}"#, FailureKind::Trap, ""),
        (r#"{"do":"panic"}"#, FailureKind::Trap, "unreachable"),
        (r#"{"do":"error"}"#, FailureKind::Error, "told to fail"),
        (r#"{"do":"bad_status"}"#, FailureKind::Error, "status 200"),
        (r#"{"do":"host_calls"}"#, FailureKind::Limit, "1000 host calls"),
        (r#"{"do":"log_flood"}"#, FailureKind::Limit, "1000 host calls"),
        (r#"{"do":"log_giant"}"#, FailureKind::Limit, "output"),
        (r#"{"do":"actions"}"#, FailureKind::Limit, "1000 actions"),
        (r#"{"do":"actions","count":3000}"#, FailureKind::Limit, ""),
        (r#"{"do":"output"}"#, FailureKind::Limit, "output"),
        (r#"{"do":"output","count":1048577}"#, FailureKind::Limit, "1048576 bytes of output"),
        (r#"{"do":"bad_json"}"#, FailureKind::Error, "actions[0] (send)"),
        (r#"{"do":"bad_name"}"#, FailureKind::Error, "actions[0] (join): group"),
        (r#"{"do":"big_reply"}"#, FailureKind::Limit, "output"),
        (r#"{"do":"bad_reply"}"#, FailureKind::Error, "reply"),
    ] {
        let started = Instant::now();
        let (found, text) =
            kind(say(&plugin, order)).unwrap_or_else(|| panic!("{order} did not fail"));
        assert_eq!(found, want, "{order}: {text}");
        assert!(text.contains(says), "{order}: {text}");
        assert!(started.elapsed() < PATIENCE, "{order}");

        let after = say(&plugin, r#"{"say":"hi"}"#).unwrap_or_else(|e| panic!("{order}: {e}"));
        assert_eq!(reply_text(&after), r#"{"say":"hi"}"#, "{order}");
    }
    assert_eq!(
        say(&plugin, r#"{"do":"reject"}"#).expect_err("a rejection"),
        Failure::Rejected { status: 403, reason: "hostile was told to reject".into() }
    );
}

#[test]
fn every_event_survives_a_panic() {
    let request = OpenRequest {
        body: Payload::json(r#"{"name":"ann"}"#),
        headers: vec![("host".into(), "example".into())],
        peer: "::1".into(),
    };
    let data = Payload::json("1");
    let message = Message::new(Payload::json("1"), Some(5), Some("k".into()));
    let to = Address::default();
    let session = session(None);
    for event in [
        Event::Load { reload: false },
        Event::Open { request: &request, identity: None, mailbox: None, fresh_name: "f" },
        Event::Message { session, channel: None, data: &data },
        Event::Publish { to: &to, message: &message },
        Event::Attached { session },
        Event::Detached { session },
        Event::Closed { session, cause: CloseCause::Expired },
        Event::Timer { name: "t", session: Some(session) },
    ] {
        let name = event.name();
        let settings = format!(r#"{{"in":"{name}","do":"panic"}}"#);
        let plugin = hostile(&settings, limits());
        let healthy = hostile("{}", limits());
        for round in 0..3 {
            let failed = kind(plugin.call(CONTEXT, event, &mut Reads::default()));
            assert_eq!(failed.map(|f| f.0), Some(FailureKind::Trap), "{name} {round}");
            let well = healthy.call(CONTEXT, event, &mut Reads::default());
            assert!(well.is_ok(), "{name} {round}: {well:?}");
        }
    }
}

#[test]
fn misdeeds_of_an_open_name_their_place() {
    let plugin = hostile("{}", limits());
    for (body, want, says) in [
        (r#"{"do":"bad_limits"}"#, FailureKind::Error, "acceptance: per-second"),
        (r#"{"do":"first"}"#, FailureKind::Limit, "first: more than 1000 actions"),
        (r#"{"do":"bad_reply"}"#, FailureKind::Error, "reply: its JSON"),
        (r#"{"name":""}"#, FailureKind::Error, "acceptance: mailbox"),
    ] {
        let request =
            OpenRequest { body: Payload::json(body), headers: Vec::new(), peer: String::new() };
        let event =
            Event::Open { request: &request, identity: None, mailbox: None, fresh_name: "f" };
        let (found, text) = kind(plugin.call(CONTEXT, event, &mut Reads::default()))
            .unwrap_or_else(|| panic!("{body} did not fail"));
        assert_eq!(found, want, "{body}: {text}");
        assert!(text.contains(says), "{body}: {text}");
    }
}

/// Traps take their instances along; calls that end by themselves do not.
#[test]
fn instances_are_used_again() {
    let plugin = hostile("{}", limits());
    for (order, idle) in [
        (r#"{"say":"hi"}"#, 1),
        (r#"{"do":"error"}"#, 1),
        (r#"{"do":"reject"}"#, 1),
        (r#"{"do":"bad_json"}"#, 1),
        (r#"{"do":"panic"}"#, 0),
        (r#"{"say":"hi"}"#, 1),
        (r#"{"do":"loop"}"#, 0),
    ] {
        let _ = say(&plugin, order);
        assert_eq!(plugin.idle_instances(), idle, "{order}");
    }
}

#[test]
fn calls_run_side_by_side_and_leave_few_instances() {
    let plugin = hostile("{}", limits());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..100 {
                    say(&plugin, r#"{"say":"hi"}"#).expect("a healthy call");
                }
            });
        }
    });
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
    assert!((1..=cores).contains(&plugin.idle_instances()));
}

fn state_of(outcome: &cometbox::plugin::Outcome) -> Option<Vec<u8>> {
    outcome.actions.iter().find_map(|action| match action {
        Action::SetState { state, .. } => state.as_ref().map(|state| state.to_vec()),
        _ => None,
    })
}

#[test]
fn an_unreadable_state_is_migrated_and_the_event_runs_again() {
    let data = Payload::json(r#"{"do":"show_state"}"#);
    let call = |plugin: &WasmPlugin, state: &[u8]| {
        let event = Event::Message {
            session: SessionView { state: Some(state), ..session(None) },
            channel: None,
            data: &data,
        };
        plugin.call(CONTEXT, event, &mut Reads::default())
    };
    let plugin = hostile("{}", limits());
    let corrupt = say(&plugin, r#"{"do":"corrupt_state"}"#).expect("stored");
    let corrupt = state_of(&corrupt).expect("a state");

    let outcome = call(&plugin, &corrupt).expect("migrated");
    assert_eq!(reply_text(&outcome), r#"{"migrated":true,"seen":0}"#);
    let migrated = outcome.migrated.expect("a new state").expect("not none");
    let outcome = call(&plugin, &migrated).expect("readable");
    assert_eq!(
        (reply_text(&outcome), outcome.migrated.is_none()),
        (r#"{"migrated":true,"seen":0}"#, true)
    );

    for (deed, want) in [
        ("nothing", None),
        ("corrupt_state", Some(FailureKind::Error)),
        ("error", Some(FailureKind::Error)),
        ("panic", Some(FailureKind::Trap)),
        ("loop", Some(FailureKind::Time)),
    ] {
        let settings = format!(r#"{{"in":"migrate","do":"{deed}"}}"#);
        let plugin = hostile(&settings, limits());
        match (call(&plugin, &corrupt), want) {
            (Ok(outcome), None) => {
                assert_eq!(outcome.migrated, Some(None), "{deed}");
                assert_eq!(reply_text(&outcome), "null", "{deed}");
            }
            (result, want) => assert_eq!(kind(result).map(|f| f.0), want, "{deed}"),
        }
    }
}

/// A healthy plugin next to one that loops on another thread.
#[test]
fn a_healthy_neighbour_goes_on() {
    let (bad, good) = (hostile("{}", limits()), hostile("{}", limits()));
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| {
            for _ in 0..20 {
                assert_eq!(
                    kind(say(&bad, r#"{"do":"loop"}"#)).map(|f| f.0),
                    Some(FailureKind::Time)
                );
            }
        });
        let mut calls = 0_u32;
        while !looping.is_finished() {
            say(&good, r#"{"say":"hi"}"#).expect("healthy");
            calls += 1;
        }
        assert!(calls > 20, "only {calls} calls beside the loop");
    });
}

/// The cost of one warm call, for people: `cargo test --release -- --nocapture
/// warm_call`.
#[test]
fn warm_call_of_an_echo_plugin() {
    const CALLS: u32 = 200_000;
    let plugin = hostile("{}", limits());
    let data = Payload::json(r#"{"say":"0123456789012345678901234567890123456789012345678"}"#);
    let mut reads = Reads::default();
    let started = Instant::now();
    for _ in 0..CALLS {
        let event = Event::Message { session: session(None), channel: None, data: &data };
        plugin.call(CONTEXT, event, &mut reads).expect("an echo");
    }
    println!("warm call of the hostile echo: {:?}", started.elapsed() / CALLS);
    let started = Instant::now();
    for _ in 0..CALLS {
        let event = Event::Attached { session: session(None) };
        plugin.call(CONTEXT, event, &mut reads).expect("nothing");
    }
    println!("warm call that does nothing: {:?}", started.elapsed() / CALLS);
}
