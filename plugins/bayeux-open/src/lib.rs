//! The rules that a Bayeux server has out of the box: any client may subscribe
//! to any channel and publish to any, and hears what it publishes itself.
//!
//! What is published to `/service/**` goes to nobody: such channels are between
//! a client and the server, and this one has no services. A plugin of your own
//! behind it in the chain can have some.
//!
//! Other clients than Bayeux ones take part: they open a mailbox with
//! `{"subscribe":["chat/lobby"]}`, and send with `?channel=chat/lobby`.

use cometbox_guest::prelude::*;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether who publishes to a channel and is subscribed to it hears itself.
    pub echo: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { echo: true }
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

impl Plugin for BayeuxOpen {
    type Settings = Settings;
    type State = ();
    const EVENTS: Events = Events::MESSAGE.and(Events::SUBSCRIBE);

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { settings })
    }

    fn on_open(&self, _: &Context, open: &Open) -> Result<Accept<()>> {
        let hello: Option<Hello> = open.json()?;
        Ok(hello.unwrap_or_default().subscribe.into_iter().fold(Accept::new(), Accept::join))
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
        if channel.split('/').next() == Some("service") {
            return Ok(Outcome::default());
        }
        let sent = send_group(channel, data);
        Ok(if self.settings.echo { sent } else { sent.except(&from.mailbox) }.into())
    }

    fn on_subscribe(&self, _: &Context, _: &Session<()>, _: &[String]) -> Result<Vec<Action>> {
        Ok(Vec::new())
    }
}

cometbox_guest::export!(BayeuxOpen);

#[cfg(test)]
mod tests;
