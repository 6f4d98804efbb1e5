//! The test kit: what a plugin is called with in `cargo test`.
//!
//! ```
//! # use cometbox_guest::prelude::*;
//! # struct Greeter;
//! # impl Plugin for Greeter {
//! #     type Settings = ();
//! #     type State = ();
//! #     fn new(_: ()) -> Result<Self, String> { Ok(Greeter) }
//! #     fn on_open(&self, cx: &Context, open: &Open) -> Result<Accept<()>> {
//! #         let n = cx.member_count("lobby");
//! #         Ok(Accept::new().join("lobby").reply(json!({"here": n})))
//! #     }
//! # }
//! let plugin = cometbox_guest::test::plugin::<Greeter>(json!({})).expect("settings are good");
//! let cx = Context::test().now_ms(1_700_000_000_000).group("lobby", ["ann", "bob"]);
//! let open = Open::test(json!({"name": "cid"})).with_header("cookie", "a=b");
//!
//! assert_eq!(
//!     plugin.on_open(&cx, &open),
//!     Ok(Accept::new().join("lobby").reply(json!({"here": 2}))),
//! );
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::{Context, Level, Open, Payload, Plugin, Session, codec};

/// A plugin made from settings as they stand in the configuration, by way of
/// its `Deserialize`: so defaults and misspelt keys can be tested.
pub fn plugin<P: Plugin>(settings: Value) -> Result<P, String> {
    P::new(codec::settings(&settings.to_string())?)
}

/// What a plugin makes of a session state that another version stored: reads
/// it, or else has it migrated. This is what the gateway does at the first
/// event of a mailbox after a reload.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// # #[derive(Deserialize, Serialize, Debug, PartialEq)]
/// # struct Seat { rooms: Vec<String> }
/// # struct Chat;
/// # impl Plugin for Chat {
/// #     type Settings = ();
/// #     type State = Seat;
/// #     fn new(_: ()) -> Result<Self, String> { Ok(Chat) }
/// #     fn migrate(&self, _: &str, old: &[u8]) -> Result<Option<Seat>, String> {
/// #         #[derive(Deserialize)] struct Old { room: String }
/// #         let old: Old = read_state(old)?;
/// #         Ok(Some(Seat { rooms: vec![old.room] }))
/// #     }
/// # }
/// let seat = cometbox_guest::test::carry_over(&Chat, "ann", &json!({"room": "lobby"}));
/// assert_eq!(seat, Ok(Some(Seat { rooms: vec!["lobby".into()] })));
/// ```
pub fn carry_over<P: Plugin>(
    plugin: &P,
    mailbox: &str,
    old: &impl Serialize,
) -> Result<Option<P::State>, String> {
    let old = codec::encode(old);
    match codec::state(&old) {
        Ok(state) => Ok(Some(state)),
        Err(_) => plugin.migrate(mailbox, &old),
    }
}

/// The fake behind a test's [`Context`].
#[derive(Debug, Default)]
pub(crate) struct Host {
    groups: BTreeMap<String, Vec<String>>,
    mailboxes: BTreeMap<String, bool>,
    values: BTreeMap<String, Vec<u8>>,
    logged: RefCell<Vec<(Level, String)>>,
}

impl Host {
    pub(crate) fn members(&self, group: &str) -> Vec<String> {
        self.groups.get(group).cloned().unwrap_or_default()
    }

    pub(crate) fn member_count(&self, group: &str) -> u32 {
        // A test's group fits.
        self.groups.get(group).map_or(0, Vec::len) as u32
    }

    pub(crate) fn mailbox(&self, name: &str) -> Option<bool> {
        self.mailboxes.get(name).copied()
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.values.get(key).cloned()
    }

    pub(crate) fn log(&self, level: Level, text: &str) {
        self.logged.borrow_mut().push((level, text.into()));
    }
}

/// For tests; not there in wasm.
impl Context {
    /// No mailboxes, groups or values; the time and the seed are 0.
    pub fn test() -> Self {
        Self { now_ms: 0, seed: 0, host: Host::default() }
    }

    /// Sets the time of the event.
    pub fn now_ms(mut self, now_ms: u64) -> Self {
        self.now_ms = now_ms;
        self
    }

    /// Sets the random bits of the event.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// A group with these members. Members that were not mentioned before are
    /// attached mailboxes.
    pub fn group<M: Into<String>>(
        mut self,
        name: impl Into<String>,
        members: impl IntoIterator<Item = M>,
    ) -> Self {
        let members: Vec<String> = members.into_iter().map(Into::into).collect();
        for member in &members {
            self.host.mailboxes.entry(member.clone()).or_insert(true);
        }
        self.host.groups.insert(name.into(), members);
        self
    }

    /// A mailbox with a reader.
    pub fn attached(mut self, mailbox: impl Into<String>) -> Self {
        self.host.mailboxes.insert(mailbox.into(), true);
        self
    }

    /// A mailbox without a reader.
    pub fn detached(mut self, mailbox: impl Into<String>) -> Self {
        self.host.mailboxes.insert(mailbox.into(), false);
        self
    }

    /// A value in the key-value space.
    pub fn value<T: Serialize + ?Sized>(mut self, key: impl Into<String>, value: &T) -> Self {
        self.host.values.insert(key.into(), codec::encode(value));
        self
    }

    /// What was logged so far.
    pub fn logged(&self) -> Vec<(Level, String)> {
        self.host.logged.borrow().clone()
    }
}

/// For tests; not there in wasm.
impl Open {
    /// A request with this body and nothing else. The fresh name is `fresh`.
    pub fn test(body: impl Into<Payload>) -> Self {
        Self {
            body: body.into(),
            headers: Vec::new(),
            peer: "127.0.0.1".into(),
            identity: None,
            mailbox: None,
            fresh_name: "fresh".into(),
        }
    }

    /// Adds a header.
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// As if an earlier plugin of the chain had said who the client is.
    pub fn with_identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// As if an earlier plugin of the chain had chosen the name.
    pub fn with_mailbox(mut self, mailbox: impl Into<String>) -> Self {
        self.mailbox = Some(mailbox.into());
        self
    }
}

/// For tests; not there in wasm.
impl<S> Session<S> {
    /// A mailbox with a state, or with `None`.
    pub fn test(mailbox: impl Into<String>, state: impl Into<Option<S>>) -> Self {
        Self { mailbox: mailbox.into(), identity: None, state: state.into() }
    }

    /// As if a plugin had said who opened it.
    pub fn with_identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }
}
