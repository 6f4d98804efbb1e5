//! The border between the SDK's types and the ones generated from the WIT.
//! Nothing here is for plugin authors. Strings and payloads are moved over,
//! never copied.

use std::cell::OnceCell;
use std::marker::PhantomData;
use std::panic;

use self::bindings as wit;
use self::bindings::cometbox::plugin::{host, types};
use crate::{
    Accept, Action, Address, CloseCause, Context, Error, Events, Full, Level, MailboxLimits,
    Message, Open, Outcome, Payload, Plugin, PublishOutcome, Session, codec,
};

// Generated code.
#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit/0.1",
        world: "plugin",
        pub_export_macro: true,
        export_macro_name: "export_plugin",
        default_bindings_module: "cometbox_guest::wasm::bindings",
    });
}

/// Where `export!` keeps the instance of a plugin.
pub trait Instance: Plugin {
    fn with<R>(f: impl FnOnce(&OnceCell<Self>) -> R) -> R;
}

/// What is exported to the gateway for the plugin `P`.
pub struct Exports<P>(PhantomData<P>);

impl<P: Instance> wit::Guest for Exports<P> {
    fn init(settings: String) -> Result<types::Events, String> {
        // A trap tells the gateway nothing but that there was one.
        panic::set_hook(Box::new(|info| {
            let message = info.payload_as_str().unwrap_or("no message");
            let text = match info.location() {
                Some(place) => format!("panicked at {place}: {message}"),
                None => format!("panicked: {message}"),
            };
            host::log(host::Level::Error, &text);
        }));
        let plugin = P::new(codec::settings(&settings)?)?;
        P::with(|cell| cell.set(plugin)).map_err(|_| "init was called twice".to_string())?;
        Ok(events(P::EVENTS))
    }

    fn on_load(
        context: types::Context,
        reload: bool,
    ) -> Result<Vec<types::Action>, types::Refusal> {
        actions(with::<P, _>(|p| p.on_load(&context.into(), reload)))
    }

    fn on_open(
        context: types::Context,
        request: types::OpenRequest,
    ) -> Result<types::Acceptance, types::Refusal> {
        Ok(with::<P, _>(|p| p.on_open(&context.into(), &request.into()))?.into())
    }

    fn on_message(
        context: types::Context,
        from: types::Session,
        channel: Option<String>,
        data: types::Payload,
    ) -> Result<types::Outcome, types::Refusal> {
        let (context, from, data) = (context.into(), session(from)?, data.into());
        let outcome = with::<P, _>(|p| match channel {
            None => p.on_message(&context, &from, data),
            Some(channel) => p.on_channel_message(&context, &from, &channel, data),
        });
        Ok(outcome?.into())
    }

    fn on_subscribe(
        context: types::Context,
        who: types::Session,
        groups: Vec<String>,
    ) -> Result<Vec<types::Action>, types::Refusal> {
        let who = session(who)?;
        actions(with::<P, _>(|p| p.on_subscribe(&context.into(), &who, &groups)))
    }

    fn on_publish(
        context: types::Context,
        to: types::Address,
        message: types::Message,
    ) -> Result<types::PublishOutcome, types::Refusal> {
        Ok(with::<P, _>(|p| p.on_publish(&context.into(), to.into(), message.into()))?.into())
    }

    fn on_attached(
        context: types::Context,
        who: types::Session,
    ) -> Result<Vec<types::Action>, types::Refusal> {
        let who = session(who)?;
        actions(with::<P, _>(|p| p.on_attached(&context.into(), &who)))
    }

    fn on_detached(
        context: types::Context,
        who: types::Session,
    ) -> Result<Vec<types::Action>, types::Refusal> {
        let who = session(who)?;
        actions(with::<P, _>(|p| p.on_detached(&context.into(), &who)))
    }

    fn on_closed(
        context: types::Context,
        who: types::Session,
        cause: types::CloseCause,
    ) -> Result<Vec<types::Action>, types::Refusal> {
        let who = session(who)?;
        actions(with::<P, _>(|p| p.on_closed(&context.into(), &who, cause.into())))
    }

    fn on_timer(
        context: types::Context,
        name: String,
        whose: Option<types::Session>,
    ) -> Result<Vec<types::Action>, types::Refusal> {
        let whose = whose.map(session).transpose()?;
        actions(with::<P, _>(|p| p.on_timer(&context.into(), &name, whose.as_ref())))
    }

    fn migrate(old: types::Session) -> Result<Option<Vec<u8>>, String> {
        let Some(state) = old.state else {
            return Ok(None);
        };
        let new = with::<P, _>(|p| p.migrate(&old.mailbox, &state))?;
        Ok(new.map(|state| codec::encode(&state)))
    }
}

fn with<P: Instance, R>(f: impl FnOnce(&P) -> R) -> R {
    // The contract: the gateway calls `init` first, and drops what it fails on.
    P::with(|cell| f(cell.get().expect("init was called and succeeded")))
}

fn actions(actions: crate::Result<Vec<Action>>) -> Result<Vec<types::Action>, types::Refusal> {
    Ok(list(actions?))
}

fn list<A: Into<B>, B>(from: Vec<A>) -> Vec<B> {
    from.into_iter().map(Into::into).collect()
}

fn session<S>(from: types::Session) -> Result<Session<S>, types::Refusal>
where
    S: serde::de::DeserializeOwned + 'static,
{
    let state = match from.state {
        Some(bytes) => match codec::state(&bytes) {
            Ok(state) => Some(state),
            Err(_) => return Err(types::Refusal::StateUnreadable),
        },
        None => None,
    };
    Ok(Session { mailbox: from.mailbox, identity: from.identity, state })
}

fn events(from: Events) -> types::Events {
    let pairs = [
        (Events::MESSAGE, types::Events::MESSAGE),
        (Events::PUBLISH, types::Events::PUBLISH),
        (Events::ATTACHED, types::Events::ATTACHED),
        (Events::DETACHED, types::Events::DETACHED),
        (Events::CLOSED, types::Events::CLOSED),
        (Events::TIMER, types::Events::TIMER),
        (Events::SUBSCRIBE, types::Events::SUBSCRIBE),
    ];
    let wanted = pairs.into_iter().filter(|(ours, _)| from.contains(*ours));
    wanted.fold(types::Events::empty(), |all, (_, theirs)| all | theirs)
}

/// The lookups of a [`Context`].
#[derive(Debug)]
pub(crate) struct Host;

impl Host {
    pub(crate) fn members(&self, group: &str) -> Vec<String> {
        host::members(group)
    }

    pub(crate) fn member_count(&self, group: &str) -> u32 {
        host::member_count(group)
    }

    pub(crate) fn mailbox(&self, name: &str) -> Option<bool> {
        host::mailbox(name)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        host::get(key)
    }

    pub(crate) fn log(&self, level: Level, text: &str) {
        let level = match level {
            Level::Debug => host::Level::Debug,
            Level::Info => host::Level::Info,
            Level::Warn => host::Level::Warn,
            Level::Error => host::Level::Error,
        };
        host::log(level, text);
    }
}

impl From<types::Context> for Context {
    fn from(from: types::Context) -> Self {
        Self { now_ms: from.now_ms, seed: from.seed, host: Host }
    }
}

impl From<types::OpenRequest> for Open {
    fn from(from: types::OpenRequest) -> Self {
        Self {
            body: from.body.into(),
            headers: from.headers.into_iter().map(|h| (h.name, h.value)).collect(),
            peer: from.peer,
            identity: from.identity,
            mailbox: from.mailbox,
            fresh_name: from.fresh_name,
        }
    }
}

impl From<types::CloseCause> for CloseCause {
    fn from(from: types::CloseCause) -> Self {
        match from {
            types::CloseCause::Client => Self::Client,
            types::CloseCause::Expired => Self::Expired,
            types::CloseCause::Plugin => Self::Plugin,
            types::CloseCause::Operator => Self::Operator,
            types::CloseCause::Replaced => Self::Replaced,
        }
    }
}

impl From<types::Payload> for Payload {
    fn from(from: types::Payload) -> Self {
        match from {
            types::Payload::Json(text) => Self::Json(text),
            types::Payload::Text(text) => Self::Text(text),
            types::Payload::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<Payload> for types::Payload {
    fn from(from: Payload) -> Self {
        match from {
            Payload::Json(text) => Self::Json(text),
            Payload::Text(text) => Self::Text(text),
            Payload::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<types::Address> for Address {
    fn from(from: types::Address) -> Self {
        Self { mailboxes: from.mailboxes, groups: from.groups, except: from.except }
    }
}

impl From<Address> for types::Address {
    fn from(from: Address) -> Self {
        Self { mailboxes: from.mailboxes, groups: from.groups, except: from.except }
    }
}

impl From<types::Message> for Message {
    fn from(from: types::Message) -> Self {
        Self { data: from.data.into(), ttl_ms: from.ttl_ms, collapse: from.collapse }
    }
}

impl From<Message> for types::Message {
    fn from(from: Message) -> Self {
        Self { data: from.data.into(), ttl_ms: from.ttl_ms, collapse: from.collapse }
    }
}

impl From<Action> for types::Action {
    fn from(from: Action) -> Self {
        match from {
            Action::Send { to, message } => {
                Self::Send(types::Send { to: to.into(), message: message.into() })
            }
            Action::Join { mailbox, group } => Self::Join(types::Membership { mailbox, group }),
            Action::Leave { mailbox, group } => Self::Leave(types::Membership { mailbox, group }),
            Action::Close { mailbox, reason } => Self::Close(types::Closing { mailbox, reason }),
            Action::SetState(state) => Self::SetState(state),
            Action::SetTimer { mailbox, name, delay_ms } => {
                Self::SetTimer(types::Timer { mailbox, name, delay_ms })
            }
            Action::CancelTimer { mailbox, name } => {
                Self::CancelTimer(types::TimerName { mailbox, name })
            }
            Action::Put { key, value } => Self::Put(types::Entry { key, value }),
            Action::Delete { key } => Self::Delete(key),
        }
    }
}

impl From<MailboxLimits> for types::MailboxLimits {
    fn from(from: MailboxLimits) -> Self {
        Self {
            messages: from.messages,
            bytes: from.bytes,
            full: from.full.map(|full| match full {
                Full::DropOldest => types::FullPolicy::DropOldest,
                Full::Reject => types::FullPolicy::Reject,
            }),
            per_second: from.per_second,
        }
    }
}

impl<S: serde::Serialize> From<Accept<S>> for types::Acceptance {
    fn from(from: Accept<S>) -> Self {
        Self {
            mailbox: from.mailbox,
            replace: from.replace,
            shared: from.shared,
            identity: from.identity,
            state: from.state.map(|state| codec::encode(&state)),
            groups: from.groups,
            linger_ms: from.linger_ms,
            limits: from.limits.into(),
            first: list(from.first),
            reply: from.reply.map(Into::into),
            actions: list(from.actions),
        }
    }
}

impl From<Outcome> for types::Outcome {
    fn from(from: Outcome) -> Self {
        Self { actions: list(from.actions), reply: from.reply.map(Into::into) }
    }
}

impl From<PublishOutcome> for types::PublishOutcome {
    fn from(from: PublishOutcome) -> Self {
        Self { deliver: from.deliver, actions: list(from.actions) }
    }
}

impl From<Error> for types::Refusal {
    fn from(from: Error) -> Self {
        match from {
            Error::Rejected { status, reason } => {
                Self::Rejected(types::Rejection { status, reason })
            }
            Error::Failed(text) => Self::Failed(text),
        }
    }
}
