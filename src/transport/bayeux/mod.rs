//! Bayeux 1.0 (CometD's specification, with its ack extension): what clients
//! say and are told. Pure, as all of [`super`].
//!
//! A channel is a group with a slash in front; a client id is a mailbox's key
//! and name, so no table of clients is needed.

mod channel;
mod client;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use channel::is_meta;
pub use client::{ClientId, decode_client, encode_client};
pub use decode::{Connect, Form, Handshake, Said, What, decode_form, decode_messages, is_callback};
pub use encode::{Ack, Advice, Reconnect, Replies, Reply, ReplyExt, jsonp};

use std::borrow::Cow;

/// How a client may connect, as Bayeux calls it. The third is what Faye calls
/// long-polling from a page of another origin.
pub const CONNECTION_TYPES: [&str; 4] =
    ["websocket", "long-polling", "cross-origin-long-polling", "callback-polling"];

/// What is wrong with a message, and what its client is to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// As an HTTP status.
    pub code: u16,
    /// What it is about, such as a channel; may be empty.
    pub about: Cow<'static, str>,
    pub text: Cow<'static, str>,
    /// None: what it would do anyway.
    pub reconnect: Option<Reconnect>,
}

impl Fault {
    pub fn new(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, about: "".into(), text: text.into(), reconnect: None }
    }

    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        self.about = what.to_owned().into();
        self
    }

    #[must_use]
    pub fn then(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = Some(reconnect);
        self
    }

    /// There is no such client (any more): it has to begin anew.
    #[must_use]
    pub fn unknown_client() -> Self {
        Self::new(402, "unknown client").then(Reconnect::Handshake)
    }
}
