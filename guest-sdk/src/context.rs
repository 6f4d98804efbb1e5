//! What a plugin can look up during a call.

use serde::de::DeserializeOwned;

use crate::{Result, codec, fail};

#[cfg(not(target_arch = "wasm32"))]
use crate::test::Host;
#[cfg(target_arch = "wasm32")]
use crate::wasm::Host;

/// What every event knows, and what a call can look up.
///
/// Lookups give the state before the event; each counts against the app's
/// limit of host calls. In a test it is an in-memory fake, see
/// [`Context::test`].
#[derive(Debug)]
pub struct Context {
    /// Wall-clock time of the event, in milliseconds since 1970 (UTC).
    pub now_ms: u64,
    /// 64 random bits, fresh for every event. Good for picking, not for
    /// secrets.
    pub seed: u64,
    pub(crate) host: Host,
}

impl Context {
    /// The members of a group, in no particular order; empty if it does not
    /// exist.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// let cx = Context::test().group("lobby", ["ann", "bob"]);
    /// assert_eq!(cx.members("lobby"), ["ann", "bob"]);
    /// ```
    pub fn members(&self, group: &str) -> Vec<String> {
        self.host.members(group)
    }

    /// How many members a group has.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// let cx = Context::test().group("lobby", ["ann", "bob"]);
    /// assert_eq!(cx.member_count("lobby"), 2);
    /// ```
    pub fn member_count(&self, group: &str) -> u32 {
        self.host.member_count(group)
    }

    /// None: there is no such mailbox. Otherwise whether a reader is attached
    /// to it (the short gap between two long-polls counts as attached).
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// let cx = Context::test().attached("ann").detached("bob");
    /// assert_eq!(cx.mailbox("ann"), Some(true));
    /// assert_eq!(cx.mailbox("bob"), Some(false));
    /// assert_eq!(cx.mailbox("cid"), None);
    /// ```
    pub fn mailbox(&self, name: &str) -> Option<bool> {
        self.host.mailbox(name)
    }

    /// A value of the app's key-value space, as [`put`](crate::put) there. One
    /// of another type is a failure.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// let cx = Context::test().value("chat/topic", "COMET");
    /// assert_eq!(cx.get("chat/topic"), Ok(Some("COMET".to_string())));
    /// assert_eq!(cx.get::<String>("chat/owner"), Ok(None));
    /// assert!(cx.get::<u64>("chat/topic").is_err());
    /// ```
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let Some(bytes) = self.host.get(key) else {
            return Ok(None);
        };
        match codec::decode(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                Err(fail(format!("the value of {key:?} is not what was expected: {error}")))
            }
        }
    }

    /// Writes a line to the gateway's log. It is written at once, whatever
    /// becomes of the call, and again if the call runs again.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// let cx = Context::test();
    /// cx.log(Level::Warn, format!("odd: {}", 5));
    /// assert_eq!(cx.logged(), [(Level::Warn, "odd: 5".to_string())]);
    /// ```
    pub fn log(&self, level: Level, text: impl AsRef<str>) {
        self.host.log(level, text.as_ref());
    }
}

/// How much a line in the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever writes the plugin.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Somebody must do something.
    Error,
}
