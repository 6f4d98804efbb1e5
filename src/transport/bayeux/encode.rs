//! What clients are told.

use super::{Fault, Said, channel};
use crate::{
    core::{Batch, Payload},
    transport::{Encoder, Format},
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A `Vec` takes every byte there is, and these types are always JSON.
const VEC: &str = "writing into a Vec does not fail";

/// The array of messages that an answer is.
#[derive(Debug)]
pub struct Replies {
    json: Vec<u8>,
    delivered_bytes: usize,
    replied_bytes: usize,
}

impl Default for Replies {
    fn default() -> Self {
        Self { json: vec![b'['], delivered_bytes: 0, replied_bytes: 0 }
    }
}

/// The answer to a message.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Reply<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub channel: &'a str,
    pub successful: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub supported_connection_types: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "error")]
    pub error: Option<&'a Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
    #[serde(skip_serializing_if = "ReplyExt::is_empty")]
    pub ext: ReplyExt<'a>,
}

/// What goes beyond Bayeux itself.
#[derive(Serialize, Default)]
pub struct ReplyExt<'a> {
    /// In a handshake: true. In a connect: what the client has received now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<Ack>,
    /// Messages that were dropped, if any.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Of the plugins, to a handshake.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "payload")]
    pub reply: Option<&'a Payload>,
    /// Why a mailbox was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

#[derive(Serialize, Clone, Copy)]
#[serde(untagged)]
pub enum Ack {
    Enabled(bool),
    UpTo(u64),
}

/// What a client does next.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Reconnect {
    Retry,
    Handshake,
    None,
}

/// What a client is to do, and when.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advice {
    pub reconnect: Reconnect,
    /// How long it waits before, in milliseconds.
    pub interval: u64,
    /// How long its connect is held, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Others of its browser have their connects held.
    #[serde(rename = "multiple-clients", skip_serializing_if = "std::ops::Not::not")]
    pub multiple_clients: bool,
}

impl Advice {
    /// At once, and nothing else to say.
    #[must_use]
    pub fn new(reconnect: Reconnect) -> Self {
        Self { reconnect, interval: 0, timeout: None, multiple_clients: false }
    }
}

impl ReplyExt<'_> {
    fn is_empty(&self) -> bool {
        self.ack.is_none() && self.lost == 0 && self.reply.is_none() && self.reason.is_none()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's way of asking
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// `code:args:text`.
fn error<S: Serializer>(fault: &Option<&Fault>, to: S) -> Result<S::Ok, S::Error> {
    let Some(Fault { code, about, text, .. }) = fault else { return to.serialize_none() };
    to.collect_str(&format_args!("{code}:{}:{}", plain(about), plain(text)))
}

/// A text with the punctuation that Bayeux allows in errors. Some clients find
/// no code in an error with any other.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '`' => {}
            ',' | ':' | ';' => out.push_str(" -"),
            '-' | '_' | '!' | '~' | '(' | ')' | '$' | '@' | ' ' | '/' | '*' | '.' => out.push(c),
            c if c.is_control() || c.is_ascii_punctuation() => out.push('_'),
            c => out.push(c),
        }
    }
    out
}

fn payload<S: Serializer>(payload: &Option<&Payload>, to: S) -> Result<S::Ok, S::Error> {
    let Some(payload) = payload else { return to.serialize_none() };
    let mut json = Vec::new();
    Encoder::new(Format::Json, &mut json).payload(payload);
    let raw = String::from_utf8(json).ok().and_then(|json| RawValue::from_string(json).ok());
    raw.serialize(to)
}

impl<'a> Reply<'a> {
    /// Success.
    #[must_use]
    pub fn to(said: &'a Said<'_>) -> Self {
        Self {
            channel: &said.channel,
            successful: true,
            id: said.id,
            subscription: said.subscription,
            ..Self::default()
        }
    }

    /// Why not.
    #[must_use]
    pub fn refused(said: &'a Said<'_>, fault: &'a Fault) -> Self {
        let advice = fault.reconnect.map(Advice::new);
        Self { successful: false, error: Some(fault), advice, ..Self::to(said) }
    }
}

impl Replies {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.json.len() == 1
    }

    /// What the messages of mailboxes in it take, in bytes as they are written.
    #[must_use]
    pub fn delivered_bytes(&self) -> usize {
        self.delivered_bytes
    }

    /// The same of what plugins said to what was published.
    #[must_use]
    pub fn replied_bytes(&self) -> usize {
        self.replied_bytes
    }

    fn next(&mut self) {
        if !self.is_empty() {
            self.json.push(b',');
        }
    }

    pub fn push(&mut self, reply: &Reply<'_>) {
        self.next();
        serde_json::to_writer(&mut self.json, reply).expect(VEC);
    }

    /// Messages on their way out.
    pub fn deliver(&mut self, batch: &Batch) {
        let before = self.json.len();
        for delivery in &batch.messages {
            let group = delivery.message.channel.get().filter(|g| !channel::is_meta(g.as_str()));
            self.begin(group.map(|group| group.as_str()));
            Encoder::new(Format::Json, &mut self.json).message(&delivery.message);
            self.json.push(b'}');
        }
        self.delivered_bytes += self.json.len() - before;
    }

    /// The plugins' reply to what was published: a message on its channel, with
    /// its id.
    pub fn replied(&mut self, group: &str, id: Option<&RawValue>, reply: &Payload) {
        let before = self.json.len();
        self.begin(Some(group));
        Encoder::new(Format::Json, &mut self.json).payload(reply);
        if let Some(id) = id {
            self.json.extend_from_slice(b",\"id\":");
            self.json.extend_from_slice(id.get().as_bytes());
        }
        self.json.push(b'}');
        self.replied_bytes += self.json.len() - before;
    }

    /// `{"channel":…,"data":`
    fn begin(&mut self, group: Option<&str>) {
        self.next();
        self.json.extend_from_slice(b"{\"channel\":");
        let channel = group.map(|group| format!("/{group}"));
        let channel = channel.as_deref().unwrap_or(channel::DIRECT);
        serde_json::to_writer(&mut self.json, channel).expect(VEC);
        self.json.extend_from_slice(b",\"data\":");
    }

    /// The array.
    #[must_use]
    pub fn into_json(mut self) -> Vec<u8> {
        self.json.push(b']');
        self.json
    }
}

/// A script that calls `callback` with this JSON.
#[must_use]
pub fn jsonp(callback: &str, json: &[u8]) -> Vec<u8> {
    let mut script = Vec::with_capacity(callback.len() + json.len() + 8);
    // A comment in front: nobody makes a Flash file of it by the choice of a
    // name.
    script.extend_from_slice(b"/**/");
    script.extend_from_slice(callback.as_bytes());
    script.push(b'(');
    let mut rest = json;
    // JSON's strings may have these two, those of old scripts must not: U+2028
    // and U+2029.
    while let Some(at) = rest.windows(3).position(|w| matches!(w, [0xe2, 0x80, 0xa8 | 0xa9])) {
        script.extend_from_slice(&rest[..at]);
        script.extend_from_slice(if rest[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
        rest = &rest[at + 3..];
    }
    script.extend_from_slice(rest);
    script.extend_from_slice(b");");
    script
}
