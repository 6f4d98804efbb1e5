//! The plugin of benches/plugin, asleep: it opens the same mailboxes and wants
//! no other event. What an app with the other one costs more is a plugin's
//! share; an app without any plugin would open nothing.

#[path = "../../plugin/src/hello.rs"]
mod hello;

use cometbox_guest::prelude::*;

pub struct Asleep;

impl Plugin for Asleep {
    type Settings = ();
    type State = ();
    const EVENTS: Events = Events::NONE;

    fn new((): ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn on_open(&self, _: &Context, open: &Open) -> Result<Accept<()>> {
        hello::accept(open)
    }
}

cometbox_guest::export!(Asleep);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_gets_what_it_asks_for_and_nothing_else_is_seen() {
        let open = Open::test(json!({"name": "m1", "groups": ["a"], "linger_ms": 7}));
        let expected = Accept::named("m1").join("a").linger_ms(7);
        assert_eq!(Asleep.on_open(&Context::test(), &open), Ok(expected));
        assert_eq!(Asleep::EVENTS, Events::NONE);
    }
}
