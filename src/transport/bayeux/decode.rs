//! What clients say.

use super::{CONNECTION_TYPES, ClientId, Fault, Reconnect, channel::Channel, decode_client};
use crate::{
    core::{Name, Payload},
    transport::{Code, ErrorBody, payload::from_json},
};
use serde::{Deserialize, de};
use serde_json::{Number, value::RawValue};
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// Longest id of a message, in bytes as it is written; a longer one is not
/// echoed.
const MAX_ID_BYTES: usize = 128;

/// Most channels in one subscription.
const MAX_CHANNELS: usize = 1000;

/// Longest name of a JSONP callback, in bytes.
const MAX_CALLBACK_BYTES: usize = 64;

/// The callback if none is named.
const CALLBACK: &str = "jsonpcallback";

/// The channel of a handshake.
pub(super) const HANDSHAKE: &str = "/meta/handshake";

/// A message of a client.
#[derive(Debug)]
pub struct Said<'a> {
    /// As it was written, to be echoed.
    pub id: Option<&'a RawValue>,
    /// As it was written; may be anything, or empty.
    pub channel: String,
    /// The same; echoed as well.
    pub subscription: Option<&'a RawValue>,
    pub what: Result<What, Fault>,
}

impl Said<'_> {
    /// Whether it is a handshake, right or wrong.
    #[must_use]
    pub fn is_handshake(&self) -> bool {
        self.channel == HANDSHAKE
    }
}

/// What a message says.
#[derive(Debug)]
pub enum What {
    Handshake(Handshake),
    Connect(Connect),
    /// Without those of channels that have no groups.
    Subscribe(ClientId, Vec<Name>),
    Unsubscribe(ClientId, Vec<Name>),
    Disconnect(ClientId),
    Publish(ClientId, Name, Payload),
}

#[derive(Debug)]
pub struct Handshake {
    /// How the client may connect, as far as there is that here.
    pub connection_types: Vec<&'static str>,
    /// It wants to acknowledge messages.
    pub ack: bool,
    /// What the client says beyond Bayeux: its `ext` without `ack`.
    pub body: Payload,
}

#[derive(Debug)]
pub struct Connect {
    pub client: ClientId,
    /// What it has received, if it acknowledges and has said so; none: what it
    /// said before.
    pub ack: Option<u64>,
    /// How long it wants to wait at the most, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// As it is written. What does not matter here is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    channel: Option<String>,
    client_id: Option<String>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    version: Option<String>,
    supported_connection_types: Option<Vec<String>>,
    connection_type: Option<String>,
    #[serde(borrow)]
    subscription: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    ext: Option<&'a RawValue>,
    #[serde(borrow)]
    advice: Option<&'a RawValue>,
}

/// The messages in a text: an array of them, or a single one.
///
/// # Errors
/// `bad_request` if it is neither, `too_large` for more than `max_messages`.
/// What is wrong with one of them is said in its place.
pub fn decode_messages(text: &str, max_messages: usize) -> Result<Vec<Said<'_>>, ErrorBody> {
    let bad = |error: &dyn fmt::Display| {
        ErrorBody::new(Code::BadRequest, format!("no Bayeux messages: {error}"))
    };
    if !text.trim_start().starts_with('[') {
        let one = serde_json::from_str::<&RawValue>(text).map_err(|error| bad(&error))?;
        return match one.get().starts_with('{') {
            true => Ok(vec![decode(one)]),
            false => Err(bad(&"there is an array of objects, or one object")),
        };
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut is_too_many = false;
    let visitor = Messages { max: max_messages, is_too_many: &mut is_too_many };
    let found = de::Deserializer::deserialize_seq(&mut reader, visitor)
        .and_then(|found| reader.end().map(|()| found));
    match found {
        Ok(found) => Ok(found.into_iter().map(decode).collect()),
        Err(_) if is_too_many => Err(ErrorBody::new(
            Code::TooLarge,
            format!("at most {max_messages} messages at once; send several times"),
        )),
        Err(error) => Err(bad(&error)),
    }
}

struct Messages<'m> {
    max: usize,
    is_too_many: &'m mut bool,
}

impl<'de> de::Visitor<'de> for Messages<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(one) = seq.next_element()? {
            if found.len() == self.max {
                *self.is_too_many = true;
                return Err(de::Error::custom("too many"));
            }
            found.push(one);
        }
        Ok(found)
    }
}

fn decode(raw: &RawValue) -> Said<'_> {
    let written = match serde_json::from_str::<Written<'_>>(raw.get()) {
        Ok(written) => written,
        Err(error) => return misunderstood(raw, &error),
    };
    Said {
        id: written.id.filter(|id| is_id(id.get())),
        channel: written.channel.clone().unwrap_or_default(),
        subscription: written.subscription,
        what: what(written),
    }
}

/// A message with something wrong in it, as far as its client wants to know
/// which one it is.
fn misunderstood<'a>(raw: &'a RawValue, error: &serde_json::Error) -> Said<'a> {
    #[derive(Deserialize, Default)]
    struct Named<'a> {
        #[serde(borrow)]
        channel: Option<&'a RawValue>,
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        subscription: Option<&'a RawValue>,
    }
    let Named { channel, id, subscription } = serde_json::from_str(raw.get()).unwrap_or_default();
    let channel: Option<String> = channel.and_then(|text| serde_json::from_str(text.get()).ok());
    let channel = channel.unwrap_or_default();
    let fault = Fault::new(400, format!("no Bayeux message: {error}"));
    let fault = match &*channel {
        // It would say the same again.
        HANDSHAKE => fault.then(Reconnect::None),
        _ => fault,
    };
    Said { id: id.filter(|id| is_id(id.get())), channel, subscription, what: Err(fault) }
}

/// A string, as the specification has it, or a number.
fn is_id(written: &str) -> bool {
    written.len() <= MAX_ID_BYTES && !written.starts_with(['{', '[', 't', 'f', 'n'])
}

fn what(written: Written<'_>) -> Result<What, Fault> {
    let channel = written.channel.as_deref();
    if channel == Some(HANDSHAKE) {
        return handshake(written).map(What::Handshake);
    }
    // First of all: who does not know that its session is gone has to be told,
    // whatever it wants.
    let client = written.client_id.as_deref().and_then(decode_client);
    let client = client.ok_or_else(Fault::unknown_client)?;
    let Some(channel) = channel else { return Err(Fault::new(400, "a message has a channel")) };
    match channel {
        "/meta/connect" => {
            if let Some(kind) = written.connection_type
                && !CONNECTION_TYPES.contains(&&*kind)
            {
                return Err(Fault::new(400, "there is no such connection type").about(&kind));
            }
            // Who did not say in its handshake that it would is not held to it.
            let ext = written.ext.filter(|_| client.acknowledges);
            let ack = ext.map_or(Ok(None), acknowledged)?;
            let timeout_ms = written.advice.and_then(timeout_ms);
            Ok(What::Connect(Connect { client, ack, timeout_ms }))
        }
        "/meta/subscribe" => Ok(What::Subscribe(client, groups(written.subscription)?)),
        "/meta/unsubscribe" => Ok(What::Unsubscribe(client, groups(written.subscription)?)),
        "/meta/disconnect" => Ok(What::Disconnect(client)),
        _ => match Channel::parse(channel, false)? {
            Channel::Meta => Err(Fault::new(400, "there is no such channel").about(channel)),
            Channel::Service(name) | Channel::Group(name) => {
                let data = written.data.map_or_else(|| Payload::json("null"), from_json);
                Ok(What::Publish(client, name, data))
            }
        },
    }
}

fn handshake(written: Written<'_>) -> Result<Handshake, Fault> {
    let none = |code, text| Err(Fault::new(code, text).then(Reconnect::None));
    let version = written.version.unwrap_or_default();
    if version != "1" && !version.starts_with("1.") {
        return none(400, "a handshake has a version, and it is 1.0");
    }
    let offered = written.supported_connection_types.unwrap_or_default();
    let has = |kind: &&str| offered.iter().any(|other| other == kind);
    let connection_types: Vec<_> = CONNECTION_TYPES.into_iter().filter(has).collect();
    if connection_types.is_empty() {
        return none(
            406,
            "no common connection type: there are long-polling, callback-polling and websocket",
        );
    }
    let ack = written.ext.is_some_and(wants_ack);
    Ok(Handshake { connection_types, ack, body: body(written.ext) })
}

fn body(ext: Option<&RawValue>) -> Payload {
    let mut fields: BTreeMap<String, &RawValue> =
        ext.and_then(|ext| serde_json::from_str(ext.get()).ok()).unwrap_or_default();
    fields.remove("ack");
    Payload::json(serde_json::to_vec(&fields).expect("a map of texts that are JSON"))
}

#[derive(Deserialize)]
struct Ext<'a> {
    #[serde(borrow)]
    ack: Option<&'a RawValue>,
}

fn ack(ext: &RawValue) -> Option<&RawValue> {
    serde_json::from_str::<Ext<'_>>(ext.get()).ok()?.ack
}

/// `true`, or the object that some clients send.
fn wants_ack(ext: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Object {
        enabled: bool,
    }
    ack(ext).is_some_and(|ack| match ack.get() {
        "true" => true,
        other => serde_json::from_str(other).is_ok_and(|Object { enabled }| enabled),
    })
}

/// The number of the last batch; clients that have none yet may say -1.
fn acknowledged(ext: &RawValue) -> Result<Option<u64>, Fault> {
    #[derive(Deserialize)]
    struct Object {
        batch: Number,
    }
    let Some(ack) = ack(ext).map(RawValue::get) else { return Ok(None) };
    let number: Option<Number> = serde_json::from_str(ack)
        .or_else(|_| serde_json::from_str(ack).map(|Object { batch }| batch))
        .ok();
    match number.as_ref().and_then(whole) {
        Some(ack) => Ok(Some(ack)),
        // To take it for none would be to send again what was received.
        None => Err(Fault::new(400, "ext.ack is the number that came with the last messages")),
    }
}

fn timeout_ms(advice: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    struct Object {
        timeout: Number,
    }
    let Object { timeout } = serde_json::from_str(advice.get()).ok()?;
    whole(&timeout)
}

/// JavaScript has no whole numbers: `5e3` is one.
fn whole(number: &Number) -> Option<u64> {
    // Saturates, and what is negative is 0.
    number.as_u64().or_else(|| number.as_f64().map(|number| number as u64))
}

/// The groups of a subscription: one channel, or an array of them.
fn groups(subscription: Option<&RawValue>) -> Result<Vec<Name>, Fault> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Channels {
        One(String),
        Many(Vec<String>),
    }
    let missing = || Fault::new(400, "the subscription is missing: a channel, or an array of them");
    let written = subscription.ok_or_else(missing)?;
    let channels = match serde_json::from_str(written.get()) {
        Ok(Channels::One(channel)) => vec![channel],
        Ok(Channels::Many(channels)) if channels.len() > MAX_CHANNELS => {
            let text = format!("at most {MAX_CHANNELS} channels at once");
            return Err(Fault::new(413, text));
        }
        Ok(Channels::Many(channels)) if !channels.is_empty() => channels,
        Ok(Channels::Many(_)) | Err(_) => return Err(missing()),
    };
    let mut groups = Vec::with_capacity(channels.len());
    for channel in &channels {
        match Channel::parse(channel, true)? {
            Channel::Meta => {
                let text = "nobody subscribes to channels of the protocol";
                return Err(Fault::new(403, text).about(channel));
            }
            // A client gets answers there without it.
            Channel::Service(_) => {}
            Channel::Group(name) => groups.push(name),
        }
    }
    Ok(groups)
}

/// The fields of a form, or of a URL, that matter here.
#[derive(Debug, PartialEq, Eq)]
pub struct Form<'a> {
    /// Each a text of messages.
    pub messages: Vec<Cow<'a, str>>,
    /// The name of the callback.
    pub jsonp: Cow<'a, str>,
}

/// Reads `message=…&jsonp=…`; there may be several messages.
#[must_use]
pub fn decode_form(encoded: &[u8]) -> Form<'_> {
    let mut form = Form { messages: Vec::new(), jsonp: CALLBACK.into() };
    for (name, value) in form_urlencoded::parse(encoded) {
        match &*name {
            "message" => form.messages.push(value),
            "jsonp" => form.jsonp = value,
            _ => {}
        }
    }
    form
}

/// Whether a script may call this: names and dots, nothing that could be code.
#[must_use]
pub fn is_callback(name: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$');
    let is_other = |byte: u8| is_first(byte) || byte.is_ascii_digit() || byte == b'.';
    name.len() <= MAX_CALLBACK_BYTES
        && name.bytes().next().is_some_and(is_first)
        && name.bytes().all(is_other)
}
