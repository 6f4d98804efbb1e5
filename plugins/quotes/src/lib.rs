//! Prices for a large audience.
//!
//! A symbol is a group, and whoever watches it is a member. A price is sent
//! with its symbol as the collapse key: a reader who is slow, or away, finds
//! the newest price of each symbol waiting and none of the outdated ones.

use cometbox_guest::prelude::*;

/// Each symbol costs a lookup and up to two actions, and one call may only make
/// so many of them.
const MAX_SYMBOLS: usize = 100;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// At most so many messages a second for each watcher, 1 to 1000.
    pub updates_per_second: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { updates_per_second: 5 }
    }
}

/// What a client sends, and opens with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default)]
    watch: Vec<String>,
    #[serde(default)]
    unwatch: Vec<String>,
}

impl Request {
    fn read(data: &Payload) -> Result<Self> {
        let request: Self = data.json()?;
        if request.watch.len() + request.unwatch.len() > MAX_SYMBOLS {
            return Err(reject(400, format!("at most {MAX_SYMBOLS} symbols at once")));
        }
        request.watch.iter().chain(&request.unwatch).try_for_each(|symbol| check(symbol))?;
        Ok(request)
    }
}

/// What a feed publishes. It is checked, and passed on as it came.
#[derive(Deserialize)]
struct Quote {
    symbol: String,
    #[serde(rename = "price")]
    _price: f64,
    #[serde(rename = "time")]
    _time: f64,
}

pub struct Quotes {
    settings: Settings,
}

impl Plugin for Quotes {
    type Settings = Settings;
    type State = ();
    const EVENTS: Events = Events::MESSAGE.and(Events::PUBLISH);

    fn new(settings: Settings) -> Result<Self, String> {
        if !(1..=1000).contains(&settings.updates_per_second) {
            return Err("updates_per_second is 1 to 1000".into());
        }
        Ok(Self { settings })
    }

    fn on_open(&self, cx: &Context, open: &Open) -> Result<Accept<()>> {
        let request = Request::read(&open.body)?;
        let mut accept = Accept::new().per_second(self.settings.updates_per_second);
        for symbol in request.watch {
            if let Some(price) = last_price(cx, &symbol)? {
                accept = accept.first(price);
            }
            accept = accept.join(symbol);
        }
        Ok(accept)
    }

    fn on_message(&self, cx: &Context, from: &Session<()>, data: Payload) -> Result<Outcome> {
        let request = Request::read(&data)?;
        let mut outcome = Outcome::default();
        for symbol in request.unwatch {
            outcome = outcome.then(leave(&from.mailbox, symbol));
        }
        for symbol in request.watch {
            outcome = outcome.then(join(&from.mailbox, &symbol));
            if let Some(price) = last_price(cx, &symbol)? {
                outcome = outcome.then(send(&from.mailbox, price));
            }
        }
        Ok(outcome)
    }

    fn on_publish(&self, _: &Context, to: Address, message: Message) -> Result<PublishOutcome> {
        if !to.is_empty() {
            return Ok(PublishOutcome::deliver());
        }
        let Quote { symbol, .. } = message.data.json()?;
        check(&symbol)?;
        let price = message.collapse(&symbol);
        let last = put(last_key(&symbol), &price);
        Ok(PublishOutcome::keep().then(last).then(send_group(symbol, price)))
    }
}

fn last_price(cx: &Context, symbol: &str) -> Result<Option<Message>> {
    cx.get(&last_key(symbol))
}

fn last_key(symbol: &str) -> String {
    format!("quotes/last/{symbol}")
}

/// A symbol is the name of a group.
fn check(symbol: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.=^/:".contains(c);
    if (1..=32).contains(&symbol.len()) && symbol.chars().all(fine) {
        return Ok(());
    }
    Err(reject(400, "a symbol is 1 to 32 letters, digits, or any of - _ . = ^ / :"))
}

cometbox_guest::export!(Quotes);

#[cfg(test)]
mod tests;
