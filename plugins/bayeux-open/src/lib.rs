//! The rules that a Bayeux server has out of the box: any client may subscribe
//! to any channel and publish to any, and hears what it publishes itself.
//!
//! What is published to `/service/**` goes to nobody: such channels are between
//! a client and the server, and this one has no services. A plugin of your own
//! behind it in the chain can have some.
//!
//! **In a chain with other plugins it opens their groups to everybody**, for a
//! channel is a group: say in `channels` which ones clients may have.
//!
//! Other clients than Bayeux ones take part: they open a mailbox with
//! `{"subscribe":["chat/lobby"]}`, and send with `?channel=chat/lobby`.

use cometbox_guest::prelude::*;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether who publishes to a channel and is subscribed to it hears itself.
    pub echo: bool,
    /// What clients may subscribe and publish to: channels without the slash in
    /// front, and patterns such as `chat/*` and `chat/**`. All of them by default.
    pub channels: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { echo: true, channels: vec!["**".into()] }
    }
}

/// What a client opens with. Bayeux clients mostly say nothing of it, and may
/// say other things.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Hello {
    subscribe: Vec<String>,
}

pub struct BayeuxOpen {
    settings: Settings,
}

impl BayeuxOpen {
    fn check(&self, channel: &str) -> Result<()> {
        match self.settings.channels.iter().any(|allowed| covers(allowed, channel)) {
            true => Ok(()),
            false => Err(reject(403, format!("/{channel} is not for clients here"))),
        }
    }
}

/// Whether everything that `asked` matches (itself, if it is no pattern) is
/// matched by `allowed`.
fn covers(allowed: &str, asked: &str) -> bool {
    let (parent, last) = split_last(allowed);
    match last {
        "**" => asked.starts_with(parent),
        "*" => split_last(asked).0 == parent && split_last(asked).1 != "**",
        _ => allowed == asked,
    }
}

/// The last segment, and what is before it with its slash.
fn split_last(channel: &str) -> (&str, &str) {
    channel.split_at(channel.rfind('/').map_or(0, |slash| slash + 1))
}

/// Whether this is between a client and the plugins, where there is nothing to
/// subscribe to.
fn is_service(channel: &str) -> bool {
    channel.split('/').next() == Some("service")
}

impl Plugin for BayeuxOpen {
    type Settings = Settings;
    type State = ();
    const EVENTS: Events = Events::MESSAGE.and(Events::SUBSCRIBE);

    fn new(settings: Settings) -> Result<Self, String> {
        match settings.channels.iter().find(|channel| channel.starts_with('/')) {
            Some(channel) => Err(format!("channels: {channel:?} without the slash in front")),
            None => Ok(Self { settings }),
        }
    }

    fn on_open(&self, _: &Context, open: &Open) -> Result<Accept<()>> {
        let Hello { subscribe } = open.json::<Option<Hello>>()?.unwrap_or_default();
        let mut channels = subscribe.into_iter().filter(|channel| !is_service(channel));
        channels.try_fold(Accept::new(), |accept, channel| {
            self.check(&channel)?;
            Ok(accept.join(channel))
        })
    }

    fn on_message(&self, _: &Context, _: &Session<()>, _: Payload) -> Result<Outcome> {
        Err(reject(400, "a message goes to a channel: ?channel=chat/lobby"))
    }

    fn on_channel_message(
        &self,
        _: &Context,
        from: &Session<()>,
        channel: &str,
        data: Payload,
    ) -> Result<Outcome> {
        if is_service(channel) {
            return Ok(Outcome::default());
        }
        self.check(channel)?;
        let sent = send_group(channel, data);
        Ok(if self.settings.echo { sent } else { sent.except(&from.mailbox) }.into())
    }

    fn on_subscribe(
        &self,
        _: &Context,
        _: &Session<()>,
        channels: &[String],
    ) -> Result<Vec<Action>> {
        channels.iter().try_for_each(|channel| self.check(channel))?;
        Ok(Vec::new())
    }
}

cometbox_guest::export!(BayeuxOpen);

#[cfg(test)]
mod tests;
