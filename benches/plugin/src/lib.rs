//! Sees every event and lets it pass: what a measurement runs, so that the
//! price of calling a plugin is in the figures.
//!
//! An open says who it is and which groups it wants:
//! `{"name":"m1","groups":["all"],"linger_ms":60000}`. A message from a client
//! is taken and goes nowhere, a publish is delivered as addressed.

mod hello;

use cometbox_guest::prelude::*;

pub struct Bench;

impl Plugin for Bench {
    type Settings = ();
    type State = ();
    // Spelled out, though it is the default: a plugin that slept through the
    // events would make the figures flatter.
    const EVENTS: Events = Events::ALL;

    fn new((): ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn on_open(&self, _: &Context, open: &Open) -> Result<Accept<()>> {
        hello::accept(open)
    }

    fn on_message(&self, _: &Context, _: &Session<()>, _: Payload) -> Result<Outcome> {
        Ok(Outcome::default())
    }

    fn on_publish(&self, _: &Context, _: Address, _: Message) -> Result<PublishOutcome> {
        Ok(PublishOutcome::deliver())
    }
}

cometbox_guest::export!(Bench);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_gets_what_it_asks_for() {
        let open = Open::test(json!({"name": "m1", "groups": ["a", "b"], "linger_ms": 7}));
        let expected = Accept::named("m1").join("a").join("b").linger_ms(7);
        assert_eq!(Bench.on_open(&Context::test(), &open), Ok(expected));
    }

    #[test]
    fn a_publish_passes_through() {
        let passed = Bench.on_publish(&Context::test(), Address::default(), json!(1).into());
        assert_eq!(passed, Ok(PublishOutcome::deliver()));
    }
}
