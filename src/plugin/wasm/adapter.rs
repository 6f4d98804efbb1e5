//! Events on their way into a plugin, in the types of WIT 0.1. The way back is
//! in [`super::check`].

use super::bindings::{self, cometbox::plugin::types};
use crate::{
    core::{CloseCause, Kind, Name, Payload},
    plugin::{Context, Event, PluginLimits, SessionView, Wants},
};

/// Bytes that wasmtime may copy out of a plugin in one go. It counts the
/// host's types, which are up to four times as large as the plugin's own; so
/// a call within its limits never runs out of it, while lists that all point
/// at one large text do before they fill the host's memory.
pub(super) fn lift_fuel(limits: &PluginLimits) -> usize {
    let actions = limits.actions.saturating_add(1).saturating_mul(size_of::<types::Action>());
    limits.output_bytes.saturating_mul(4).saturating_add(actions).saturating_add(4096)
}

/// What an export returned.
pub(super) enum Answer {
    Actions(Vec<types::Action>),
    Open(types::Acceptance),
    Message(types::Outcome),
    Publish(types::PublishOutcome),
}

/// Calls the export that the event is for.
///
/// # Errors
/// A trap or a broken limit, after which the store is of no use any more.
pub(super) fn invoke(
    exports: &bindings::Plugin,
    store: &mut wasmtime::Store<super::host::Host>,
    context: Context,
    event: Event<'_>,
) -> wasmtime::Result<Result<Answer, types::Refusal>> {
    let context = types::Context { now_ms: context.now_ms, seed: context.seed };
    Ok(match event {
        Event::Load { reload } => {
            exports.call_on_load(store, context, reload)?.map(Answer::Actions)
        }
        Event::Open { request, identity, mailbox, fresh_name } => {
            let headers: Vec<_> =
                request.headers.iter().map(|(name, value)| types::Header { name, value }).collect();
            let request = types::OpenRequest {
                body: payload_in(&request.body)?,
                headers: &headers,
                peer: &request.peer,
                identity,
                mailbox,
                fresh_name,
            };
            exports.call_on_open(store, context, request)?.map(Answer::Open)
        }
        Event::Message { session: view, channel, data } => exports
            .call_on_message(store, context, session(view), channel, payload_in(data)?)?
            .map(Answer::Message),
        Event::Subscribe { session: view, groups } => {
            let groups: Vec<_> = groups.iter().map(Name::as_str).collect();
            exports.call_on_subscribe(store, context, session(view), &groups)?.map(Answer::Actions)
        }
        Event::Publish { to, message } => {
            let [mailboxes, groups, except] = [&to.mailboxes, &to.groups, &to.except]
                .map(|names| names.iter().map(Name::as_str).collect::<Vec<_>>());
            let to =
                types::AddressParam { mailboxes: &mailboxes, groups: &groups, except: &except };
            let message = types::MessageParam {
                data: payload_in(&message.payload)?,
                ttl_ms: message.ttl_ms,
                collapse: message.collapse.as_deref(),
            };
            exports.call_on_publish(store, context, to, message)?.map(Answer::Publish)
        }
        Event::Attached { session: view } => {
            exports.call_on_attached(store, context, session(view))?.map(Answer::Actions)
        }
        Event::Detached { session: view } => {
            exports.call_on_detached(store, context, session(view))?.map(Answer::Actions)
        }
        Event::Closed { session: view, cause } => {
            let cause = match cause {
                CloseCause::Client => types::CloseCause::Client,
                CloseCause::Expired => types::CloseCause::Expired,
                CloseCause::Plugin => types::CloseCause::Plugin,
                CloseCause::Operator => types::CloseCause::Operator,
                CloseCause::Replaced => types::CloseCause::Replaced,
            };
            exports.call_on_closed(store, context, session(view), cause)?.map(Answer::Actions)
        }
        Event::Timer { name, session: view } => {
            exports.call_on_timer(store, context, name, view.map(session))?.map(Answer::Actions)
        }
    })
}

pub(super) fn session(view: SessionView<'_>) -> types::Session<'_> {
    types::Session { mailbox: view.mailbox, identity: view.identity, state: view.state }
}

/// The mailbox an event is about.
pub(super) fn session_of<'a>(event: &Event<'a>) -> Option<SessionView<'a>> {
    match *event {
        Event::Message { session, .. }
        | Event::Subscribe { session, .. }
        | Event::Attached { session }
        | Event::Detached { session }
        | Event::Closed { session, .. } => Some(session),
        Event::Timer { session, .. } => session,
        Event::Load { .. } | Event::Open { .. } | Event::Publish { .. } => None,
    }
}

/// The same event for a mailbox whose state is another one.
pub(super) fn with_state<'a>(mut event: Event<'a>, state: Option<&'a [u8]>) -> Event<'a> {
    match &mut event {
        Event::Message { session, .. }
        | Event::Subscribe { session, .. }
        | Event::Attached { session }
        | Event::Detached { session }
        | Event::Closed { session, .. }
        | Event::Timer { session: Some(session), .. } => session.state = state,
        Event::Timer { session: None, .. }
        | Event::Load { .. }
        | Event::Open { .. }
        | Event::Publish { .. } => {}
    }
    event
}

fn payload_in(payload: &Payload) -> wasmtime::Result<types::PayloadParam<'_>> {
    Ok(match payload.kind {
        // Whoever made the payload has checked it; to check again is cheaper
        // than to be wrong.
        Kind::Json => types::PayloadParam::Json(std::str::from_utf8(&payload.bytes)?),
        Kind::Text => types::PayloadParam::Text(std::str::from_utf8(&payload.bytes)?),
        Kind::Binary => types::PayloadParam::Binary(&payload.bytes),
    })
}

pub(super) fn wants(events: types::Events) -> Wants {
    let has = |event| events.contains(event);
    Wants {
        message: has(types::Events::MESSAGE),
        publish: has(types::Events::PUBLISH),
        attached: has(types::Events::ATTACHED),
        detached: has(types::Events::DETACHED),
        closed: has(types::Events::CLOSED),
        timer: has(types::Events::TIMER),
        subscribe: has(types::Events::SUBSCRIBE),
    }
}
