//! What a plugin is told.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Action, Payload, Result, fail, set_state};

/// The mailbox an event is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Session<S> {
    /// The name of the mailbox.
    pub mailbox: String,
    /// Who opened it, as said by a plugin of the chain when it was opened.
    pub identity: Option<String>,
    /// What this plugin stored for it, or none.
    pub state: Option<S>,
}

impl<S> Session<S> {
    /// What this plugin stored, where an event makes no sense without it. A
    /// plugin that gives a state to every mailbox it accepts finds one in
    /// every mailbox that was opened while it was part of the app.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # #[derive(Serialize, Deserialize)] struct Seat { room: String }
    /// fn room(from: &Session<Seat>) -> Result<&str> {
    ///     Ok(&from.state()?.room)
    /// }
    /// assert!(room(&Session::test("ann", Seat { room: "lobby".into() })).is_ok());
    /// assert!(room(&Session::test("ann", None)).is_err());
    /// ```
    pub fn state(&self) -> Result<&S> {
        self.state.as_ref().ok_or_else(|| {
            fail(format!(
                "mailbox {:?} has no state of this plugin: it was opened without it",
                self.mailbox
            ))
        })
    }

    /// Replaces the state.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # #[derive(Serialize, Deserialize)] struct Seat { room: String }
    /// # let from = Session::test("ann", Seat { room: "lobby".into() });
    /// let actions = [from.set_state(&Seat { room: "hall".into() })];
    /// # assert_eq!(actions, [set_state(&Seat { room: "hall".into() })]);
    /// ```
    #[track_caller]
    pub fn set_state(&self, state: &S) -> Action
    where
        S: Serialize,
    {
        set_state(state)
    }
}

/// A client asks for a mailbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// The body of its request.
    pub body: Payload,
    /// Names (in lower case) and values of the request's headers, as far as
    /// they are text. See [`Open::header`].
    pub headers: Vec<(String, String)>,
    /// The client's address, without its port.
    pub peer: String,
    /// Identity set by an earlier plugin of the chain.
    pub identity: Option<String>,
    /// Name chosen by an earlier plugin of the chain.
    pub mailbox: Option<String>,
    /// The name that the mailbox gets if no plugin chooses one. It is free and
    /// cannot be guessed.
    pub fresh_name: String,
}

impl Open {
    /// Reads the body, see [`Payload::json`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        self.body.json()
    }

    /// The first header of that name, in whatever case.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// let open = Open::test(json!({})).with_header("Accept-Language", "de");
    /// assert_eq!(open.header("accept-language"), Some("de"));
    /// ```
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// The name that the mailbox gets if this plugin does not choose one.
    pub fn name(&self) -> &str {
        self.mailbox.as_deref().unwrap_or(&self.fresh_name)
    }
}

/// Why a mailbox closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// The client closed it.
    Client,
    /// No connection for its linger time.
    Expired,
    /// A plugin closed it.
    Plugin,
    /// The operator closed it.
    Operator,
    /// Another one was opened under its name.
    Replaced,
}

/// Which events a plugin wants beside load and open. An event that no plugin of
/// the chain wants costs nothing.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// const EVENTS: Events = Events::MESSAGE.and(Events::CLOSED);
/// assert!(EVENTS.contains(Events::CLOSED));
/// assert!(!EVENTS.contains(Events::TIMER));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events(u8);

impl Events {
    /// Only load and open.
    pub const NONE: Self = Self(0);
    /// Messages from clients.
    pub const MESSAGE: Self = Self(1);
    /// Messages from backends.
    pub const PUBLISH: Self = Self(2);
    /// Mailboxes that get a reader.
    pub const ATTACHED: Self = Self(4);
    /// Mailboxes that lose their reader.
    pub const DETACHED: Self = Self(8);
    /// Mailboxes that are gone.
    pub const CLOSED: Self = Self(16);
    /// Timers.
    pub const TIMER: Self = Self(32);
    /// Clients that want to be members of groups.
    pub const SUBSCRIBE: Self = Self(64);
    /// All of them.
    pub const ALL: Self = Self(127);

    /// These and those.
    pub const fn and(self, those: Self) -> Self {
        Self(self.0 | those.0)
    }

    /// Whether all of those are among these.
    pub const fn contains(self, those: Self) -> bool {
        self.0 & those.0 == those.0
    }
}
