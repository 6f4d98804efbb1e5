//! Misbehaves on request: for the gateway's tests.
//!
//! What comes with an event can ask for it: `{"do":"loop"}` as the body of an
//! open, a message or the data of a publish. For the other events the settings
//! do: `{"in":"attached","do":"panic"}`, and `"only":"ann"` to have one mailbox
//! hit. `{"init":…}` and `{"load":…}` are short for these two. `"count"` says
//! how many or how large, where that matters.
//!
//! Without a request it behaves: an open is accepted under `name` (with
//! `groups`, `replace`, `shared`, `identity` and `linger_ms` as the body says), a message is echoed
//! as the reply, a publish is delivered. A timer tells that it rang, to its
//! mailbox or the group `all`.

mod deed;

use cometbox_guest::prelude::*;
use deed::{Deed, Order};

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Event {
    Load,
    Open,
    Message,
    Publish,
    Attached,
    Detached,
    Closed,
    Timer,
    Migrate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    init: Option<Deed>,
    load: Option<Deed>,
    r#in: Option<Event>,
    r#do: Option<Deed>,
    count: Option<usize>,
    only: Option<String>,
}

#[derive(Deserialize)]
struct Hello {
    name: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    replace: bool,
    #[serde(default)]
    shared: bool,
    identity: Option<String>,
    linger_ms: Option<u64>,
}

/// The number of messages from a mailbox, and whether it went through migrate.
#[derive(Deserialize, Debug, PartialEq)]
pub struct State {
    seen: u64,
    migrated: bool,
    /// Written as something that does not read as a state.
    #[serde(skip)]
    unreadable: bool,
}

impl Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.unreadable {
            return "not a state".serialize(serializer);
        }
        json!({"seen": self.seen, "migrated": self.migrated}).serialize(serializer)
    }
}

pub struct Hostile {
    settings: Settings,
}

impl Hostile {
    /// Does what the settings order for this event, if they do.
    fn obey(&self, cx: &Context, event: Event, mailbox: Option<&str>) -> Result<Vec<Action>> {
        match self.order(event, mailbox) {
            Some(order) => order.carry_out(cx, mailbox),
            None => Ok(vec![]),
        }
    }

    fn order(&self, event: Event, mailbox: Option<&str>) -> Option<Order> {
        let Settings { load, r#in, r#do, count, only, .. } = &self.settings;
        if only.is_some() && only.as_deref() != mailbox {
            return None;
        }
        let deed = match event {
            Event::Load if load.is_some() => *load,
            _ if *r#in == Some(event) => *r#do,
            _ => None,
        };
        deed.map(|deed| Order { deed, count: *count })
    }
}

impl Plugin for Hostile {
    type Settings = Settings;
    type State = State;

    fn new(settings: Settings) -> Result<Self, String> {
        if let Some(deed) = settings.init {
            deed::in_init(deed)?;
        }
        Ok(Self { settings })
    }

    fn on_load(&self, cx: &Context, _reload: bool) -> Result<Vec<Action>> {
        self.obey(cx, Event::Load, None)
    }

    fn on_open(&self, cx: &Context, open: &Open) -> Result<Accept<State>> {
        let hello: Hello = open.json()?;
        let name = hello.name.unwrap_or_else(|| open.name().to_string());
        let mut accept =
            Accept::named(&name).state(State { seen: 0, migrated: false, unreadable: false });
        accept.replace = hello.replace;
        accept.shared = hello.shared;
        accept.identity = hello.identity;
        accept.linger_ms = hello.linger_ms;
        accept.groups = hello.groups;
        accept.actions = self.obey(cx, Event::Open, Some(&name))?;
        if let Some(order) = Order::within(&open.body)? {
            match order.deed {
                Deed::BigReply => accept = accept.reply(order.text()),
                Deed::BadReply => accept = accept.reply(deed::no_json()),
                Deed::ShowRequest => {
                    let (peer, headers) = (&open.peer, &open.headers);
                    accept = accept.reply(json!({"peer": peer, "headers": headers}));
                }
                Deed::BadLimits => accept = accept.per_second(0),
                Deed::First => {
                    accept.first = vec![json!("first").into(); order.count.unwrap_or(10_000)]
                }
                _ => accept.actions.extend(order.carry_out(cx, Some(&name))?),
            }
        }
        Ok(accept)
    }

    fn on_message(&self, cx: &Context, from: &Session<State>, data: Payload) -> Result<Outcome> {
        let mut actions = self.obey(cx, Event::Message, Some(&from.mailbox))?;
        let Some(order) = Order::within(&data)? else {
            // None after a migrate that gave none.
            let (seen, migrated) = from.state.as_ref().map_or((0, false), |s| (s.seen, s.migrated));
            actions.push(from.set_state(&State { seen: seen + 1, migrated, unreadable: false }));
            return Ok(Outcome { actions, reply: Some(data) });
        };
        Ok(match order.deed {
            Deed::BigReply => Outcome::reply(order.text()),
            Deed::BadReply => Outcome::reply(deed::no_json()),
            Deed::ShowState => Outcome::reply(Payload::of(&from.state)),
            Deed::CorruptState => {
                from.set_state(&State { seen: 0, migrated: false, unreadable: true }).into()
            }
            _ => {
                actions.extend(order.carry_out(cx, Some(&from.mailbox))?);
                actions.into()
            }
        })
    }

    fn on_publish(&self, cx: &Context, _to: Address, message: Message) -> Result<PublishOutcome> {
        let mut outcome = PublishOutcome::deliver();
        outcome.actions = self.obey(cx, Event::Publish, None)?;
        if let Some(order) = Order::within(&message.data)? {
            outcome.actions.extend(order.carry_out(cx, None)?);
        }
        Ok(outcome)
    }

    fn on_attached(&self, cx: &Context, session: &Session<State>) -> Result<Vec<Action>> {
        self.obey(cx, Event::Attached, Some(&session.mailbox))
    }

    fn on_detached(&self, cx: &Context, session: &Session<State>) -> Result<Vec<Action>> {
        self.obey(cx, Event::Detached, Some(&session.mailbox))
    }

    fn on_closed(
        &self,
        cx: &Context,
        session: &Session<State>,
        _: CloseCause,
    ) -> Result<Vec<Action>> {
        self.obey(cx, Event::Closed, Some(&session.mailbox))
    }

    fn on_timer(
        &self,
        cx: &Context,
        name: &str,
        session: Option<&Session<State>>,
    ) -> Result<Vec<Action>> {
        let mailbox = session.map(|session| session.mailbox.as_str());
        let mut actions = self.obey(cx, Event::Timer, mailbox)?;
        let rang = json!({"rang": name});
        actions.push(match mailbox {
            Some(mailbox) => send(mailbox, rang),
            None => send_group("all", rang),
        });
        Ok(actions)
    }

    fn migrate(&self, mailbox: &str, _old: &[u8]) -> Result<Option<State>, String> {
        let fresh = State { seen: 0, migrated: true, unreadable: false };
        match self.order(Event::Migrate, Some(mailbox)).map(|order| order.deed) {
            None => Ok(Some(fresh)),
            Some(Deed::CorruptState) => Ok(Some(State { unreadable: true, ..fresh })),
            Some(Deed::Nothing) => Ok(None),
            Some(deed) => deed::in_init(deed).map(|()| Some(fresh)),
        }
    }
}

cometbox_guest::export!(Hostile);

#[cfg(test)]
mod tests;
