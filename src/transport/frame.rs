//! What goes over a WebSocket besides batches: what a client says, and what it
//! is told about that.

use super::{
    Code, Encoder, ErrorBody, Format,
    encode::error_entry,
    msgpack::{self, MsgPayload},
    payload::from_json,
    publish::Map,
    query,
};
use crate::core::{Name, Payload};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a client said.
#[derive(Debug)]
pub struct Frame {
    /// It has processed everything up to this seq.
    pub cursor: Option<u64>,
    /// It wants to hear what became of it, under this number.
    pub id: Option<u64>,
    /// A message for the plugins.
    pub send: Option<Payload>,
    /// The group that the message is meant for.
    pub channel: Option<Name>,
}

/// As it is written; `D` is the format's payload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "D: Deserialize<'de>"))]
struct Written<D> {
    cursor: Option<u64>,
    id: Option<u64>,
    // Not just `Option`, for which a null is nothing.
    #[serde(default = "none", deserialize_with = "some")]
    send: Option<D>,
    channel: Option<String>,
}

fn none<D>() -> Option<D> {
    None
}

fn some<'de, D: Deserialize<'de>, T: serde::Deserializer<'de>>(
    deserializer: T,
) -> Result<Option<D>, T::Error> {
    D::deserialize(deserializer).map(Some)
}

/// The WebSocket sub-protocol that carries a format.
impl Format {
    #[must_use]
    pub fn sub_protocol(self) -> &'static str {
        match self {
            Self::Json => "cometbox.v1.json",
            Self::MsgPack => "cometbox.v1.msgpack",
        }
    }

    /// The first of the sub-protocols that a client offers (as in
    /// `Sec-WebSocket-Protocol`) which there is.
    #[must_use]
    pub fn of_sub_protocols(offered: &str) -> Option<Self> {
        let of_one = |name: &str| {
            [Self::Json, Self::MsgPack].into_iter().find(|format| format.sub_protocol() == name)
        };
        offered.split(',').map(str::trim).find_map(of_one)
    }
}

/// The key that a client offers among its sub-protocols, as `key.KEY`: a page
/// can set no header of its handshake, and proxies log URLs.
#[must_use]
pub fn key_of_sub_protocols(offered: &str) -> Option<&str> {
    offered.split(',').find_map(|name| name.trim().strip_prefix("key."))
}

/// Reads a message of a client.
///
/// # Errors
/// `bad_request` if it is none, `bad_payload` if its payload is none.
pub fn decode_frame(format: Format, bytes: &[u8]) -> Result<Frame, ErrorBody> {
    let bad = |error: &dyn std::fmt::Display| {
        let name = if format == Format::Json { "JSON" } else { "MessagePack" };
        let message = format!(
            "no valid {name} message: {error}; there is {{\"cursor\":N}}, to confirm, and \
             {{\"id\":N,\"send\":DATA}}, perhaps with \"channel\":GROUP"
        );
        ErrorBody::new(Code::BadRequest, message)
    };
    match format {
        Format::Json => {
            let Map(Written { cursor, id, send, channel }) =
                serde_json::from_slice::<Map<Written<&RawValue>>>(bytes)
                    .map_err(|error| bad(&error))?;
            let channel = channel.as_deref().map(query::channel).transpose()?;
            Ok(Frame { cursor, id, send: send.map(from_json), channel })
        }
        Format::MsgPack => {
            let mut reader = msgpack::reader(bytes);
            let Map(Written { cursor, id, send, channel }) =
                Map::<Written<MsgPayload>>::deserialize(&mut reader)
                    .map_err(|error| bad(&error))?;
            if !msgpack::is_at_end(&mut reader) {
                return Err(bad(&"something follows the value"));
            }
            let send = send.map(|MsgPayload(payload)| payload).transpose();
            let send = send.map_err(|why| ErrorBody::new(Code::BadPayload, why))?;
            let channel = channel.as_deref().map(query::channel).transpose()?;
            Ok(Frame { cursor, id, send, channel })
        }
    }
}

/// `{"id":…,"reply":…}`: what became of a message; without a reply if the
/// plugins gave none.
pub fn replied(format: Format, id: u64, reply: Option<&Payload>, out: &mut Vec<u8>) {
    let mut to = Encoder::new(format, out);
    to.map(1 + usize::from(reply.is_some()));
    to.key("id");
    to.u64(id);
    if let Some(reply) = reply {
        to.key("reply");
        to.payload(reply);
    }
    to.end_map();
}

/// `{"id":…,"status":…,"error":{…}}`: what is wrong with a message of the
/// client, with its id if it had one.
pub fn refused(format: Format, id: Option<u64>, error: &ErrorBody, out: &mut Vec<u8>) {
    let mut to = Encoder::new(format, out);
    to.map(2 + usize::from(id.is_some()));
    if let Some(id) = id {
        to.key("id");
        to.u64(id);
    }
    to.key("status");
    to.u64(u64::from(error.code.status()));
    error_entry(&mut to, error);
    to.end_map();
}
