//! What goes into mailboxes, and which mailboxes.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Result, reject};

/// What a message carries.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// #[derive(Serialize, Deserialize)]
/// struct Line {
///     say: String,
/// }
///
/// let data = Payload::from(json!({"say": "hi"}));
/// assert_eq!(data.json::<Line>()?.say, "hi");
/// assert_eq!(Payload::of(&Line { say: "hi".into() }), data);
/// # Ok::<(), Error>(())
/// ```
///
/// JSON payloads are equal when their values are, whatever the spacing and
/// order of the text.
///
/// A payload can be kept as it is, in a session state or with
/// [`put`](crate::put).
#[derive(Clone, Serialize, Deserialize)]
pub enum Payload {
    /// A JSON text. It must be one: the gateway refuses the call's actions
    /// otherwise.
    Json(String),
    /// Plain text.
    Text(String),
    /// Bytes. JSON clients see them as `{"base64": "…"}`.
    Binary(Vec<u8>),
}

impl Payload {
    /// The JSON of a value.
    ///
    /// # Panics
    /// Like `json!`, if `value` has no JSON form (a map whose keys are not
    /// strings, say). Derived `Serialize` of plain structs and enums never
    /// gets there.
    #[track_caller]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => Self::Json(text),
            Err(error) => panic!("this value cannot be written as JSON: {error}"),
        }
    }

    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Bytes.
    pub fn binary(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Binary(bytes.into())
    }

    /// Reads a JSON payload that somebody sent. What does not fit is the
    /// sender's mistake: the error is a 400 with a sentence that says what is
    /// wrong.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// #[derive(Deserialize, Debug, PartialEq)]
    /// struct Line {
    ///     say: String,
    /// }
    ///
    /// let wrong = Payload::from(json!({"text": "hi"}));
    /// assert_eq!(
    ///     wrong.json::<Line>(),
    ///     Err(reject(400, "not understood: missing field `say` at line 1 column 13")),
    /// );
    /// ```
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        match self {
            Self::Json(text) => serde_json::from_str(text)
                .map_err(|error| reject(400, format!("not understood: {error}"))),
            Self::Text(_) => Err(reject(400, "not understood: expected JSON, got text")),
            Self::Binary(_) => Err(reject(400, "not understood: expected JSON, got bytes")),
        }
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        // Its `to_string` goes through a formatter, at twice the price.
        Self::of(&value)
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        let value = |text| serde_json::from_str::<Value>(text).ok();
        match (self, other) {
            (Self::Json(a), Self::Json(b)) => {
                a == b || matches!((value(a), value(b)), (Some(a), Some(b)) if a == b)
            }
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Binary(a), Self::Binary(b)) => a == b,
            _ => false,
        }
    }
}

/// The way it would be written in a plugin.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(text) => write!(f, "json!({text})"),
            Self::Text(text) => write!(f, "Payload::text({text:?})"),
            Self::Binary(bytes) => write!(f, "Payload::binary({bytes:?})"),
        }
    }
}

/// A message on its way into mailboxes. Like a payload, it can be kept.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// let price = Message::from(json!({"price": 101.5})).collapse("IBM").ttl_ms(60_000);
/// assert_eq!(price.collapse.as_deref(), Some("IBM"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// What it carries.
    pub data: Payload,
    /// How long it may wait in a mailbox, in milliseconds. None: as long as
    /// the mailbox lives.
    pub ttl_ms: Option<u64>,
    /// A newer message with the same key takes the place of an older one that
    /// still waits in a mailbox and was not yet handed out.
    pub collapse: Option<String>,
}

impl Message {
    /// Sets how long it may wait in a mailbox.
    pub fn ttl_ms(mut self, ttl_ms: u64) -> Self {
        self.ttl_ms = Some(ttl_ms);
        self
    }

    /// Sets its collapse key.
    pub fn collapse(mut self, key: impl Into<String>) -> Self {
        self.collapse = Some(key.into());
        self
    }
}

impl<P: Into<Payload>> From<P> for Message {
    fn from(data: P) -> Self {
        Self { data: data.into(), ttl_ms: None, collapse: None }
    }
}

/// Who gets a message: all these mailboxes and all members of these groups,
/// each once, but none of `except`.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// let to = Address::default().group("lobby").mailbox("bob").except("ann");
/// assert!(!to.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Address {
    /// Names of mailboxes.
    pub mailboxes: Vec<String>,
    /// Names of groups.
    pub groups: Vec<String>,
    /// Names of mailboxes that do not get it, however they are addressed.
    pub except: Vec<String>,
}

impl Address {
    /// Adds a mailbox.
    pub fn mailbox(mut self, name: impl Into<String>) -> Self {
        self.mailboxes.push(name.into());
        self
    }

    /// Adds the members of a group.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.groups.push(name.into());
        self
    }

    /// Leaves a mailbox out.
    pub fn except(mut self, mailbox: impl Into<String>) -> Self {
        self.except.push(mailbox.into());
        self
    }

    /// Whether it names no mailbox and no group, as in a publish that leaves
    /// routing to the plugin.
    pub fn is_empty(&self) -> bool {
        self.mailboxes.is_empty() && self.groups.is_empty()
    }
}

/// The mailbox of that name.
impl From<&str> for Address {
    fn from(mailbox: &str) -> Self {
        Self::default().mailbox(mailbox)
    }
}

/// The mailbox of that name.
impl From<&String> for Address {
    fn from(mailbox: &String) -> Self {
        Self::default().mailbox(mailbox)
    }
}

/// The mailbox of that name.
impl From<String> for Address {
    fn from(mailbox: String) -> Self {
        Self::default().mailbox(mailbox)
    }
}
