//! Names and ids.

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// Milliseconds on a monotonic clock that the caller chooses; only differences
/// mean something.
pub type Millis = u64;

/// A number that rises with every change of what it belongs to. Two equal
/// versions mean: nothing changed in between.
pub type Version = u64;

/// Longest name of a mailbox or group, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// The name of a mailbox or a group: 1 to [`MAX_NAME_BYTES`] bytes without
/// control characters, and neither `.` nor `..`, which no browser can have as a
/// part of a URL (WHATWG URL, double-dot path segments). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// A text is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("a name must not be empty")]
    Empty,
    #[error("a name has at most {MAX_NAME_BYTES} bytes")]
    TooLong,
    #[error("a name must not be . or .., which browsers take out of URLs")]
    Dots,
    #[error("a name must not contain control characters")]
    Control,
}

impl Name {
    /// # Errors
    /// If the text breaks one of the rules of [`Name`].
    pub fn parse(text: &str) -> Result<Self, BadName> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// # Errors
    /// If the text breaks one of the rules of [`Name`].
    pub fn check(text: &str) -> Result<(), BadName> {
        if text.is_empty() {
            Err(BadName::Empty)
        } else if text.len() > MAX_NAME_BYTES {
            Err(BadName::TooLong)
        } else if matches!(text, "." | "..") {
            Err(BadName::Dots)
        } else if !text.bytes().all(is_plain) && text.chars().any(char::is_control) {
            Err(BadName::Control)
        } else {
            Ok(())
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name of a group is a pattern: its last segment is `*` or
    /// `**`. Segments are separated by slashes.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.0.ends_with('*') && matches!(self.0.rsplit('/').next(), Some("*" | "**"))
    }
}

/// Visible ASCII, of which most names are made.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

impl TryFrom<String> for Name {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        Self::check(&text)?;
        Ok(Self(text.into()))
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Longest id of a publish, in bytes.
pub const MAX_PUBLISH_ID_BYTES: usize = 128;

/// What a publisher calls a publish, so that it is done once however often it is
/// asked for: 1 to [`MAX_PUBLISH_ID_BYTES`] bytes without control characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublishId(Box<str>);

/// A text is not a [`PublishId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPublishId {
    #[error("an id must not be empty")]
    Empty,
    #[error("an id has at most {MAX_PUBLISH_ID_BYTES} bytes")]
    TooLong,
    #[error("an id must not contain control characters")]
    Control,
}

impl PublishId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PublishId {
    type Error = BadPublishId;
    fn try_from(text: String) -> Result<Self, BadPublishId> {
        if text.is_empty() {
            Err(BadPublishId::Empty)
        } else if text.len() > MAX_PUBLISH_ID_BYTES {
            Err(BadPublishId::TooLong)
        } else if text.chars().any(char::is_control) {
            Err(BadPublishId::Control)
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl fmt::Debug for PublishId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What opens a mailbox: 128 random bits, known to its client alone.
#[derive(Clone, Copy, Eq)]
pub struct Key(pub [u8; 16]);

impl PartialEq for Key {
    /// In constant time: a key cannot be guessed byte by byte.
    fn eq(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl fmt::Debug for Key {
    /// Shows nothing of the key: it is a secret, and logs are not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A held read. The shell numbers its connections as it likes; a number is not
/// used again while the core may still answer it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// A mailbox in this core: a slot, and a serial that tells it from earlier
/// tenants of the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, PartialOrd, Ord)]
pub struct MailboxId {
    pub(super) slot: u32,
    pub(super) serial: u32,
}

/// The name of a plugin within its app's chain. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PluginName(pub Arc<str>);

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
