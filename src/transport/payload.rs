//! Payloads as they come in.

use super::{
    BodyKind, Code, ErrorBody, Format,
    msgpack::{self, MsgPayload},
};
use crate::core::{Kind, Payload};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The body of an open or send as a payload. An empty body without a type, or
/// with that of JSON, is `null`.
///
/// The payload has bytes of its own: a body can be a small part of a large
/// buffer, which would live as long as the message.
///
/// # Errors
/// `bad_payload` if the body is not what its type says.
pub fn decode_body(content_type: Option<&str>, body: &[u8]) -> Result<Payload, ErrorBody> {
    match BodyKind::of(content_type) {
        BodyKind::Format(Format::Json) if body.is_empty() => Ok(Payload::json("null")),
        BodyKind::Format(Format::Json) => match serde_json::from_slice::<&RawValue>(body) {
            Ok(json) => Ok(from_json(json)),
            Err(error) => Err(bad(format!("the body is not valid JSON: {error}"))),
        },
        BodyKind::Format(Format::MsgPack) => {
            let mut reader = msgpack::reader(body);
            let MsgPayload(payload) = MsgPayload::deserialize(&mut reader)
                .map_err(|error| bad(format!("the body is not valid MessagePack: {error}")))?;
            if !msgpack::is_at_end(&mut reader) {
                return Err(bad("something follows the MessagePack value in the body"));
            }
            payload.map_err(bad)
        }
        BodyKind::Text => match std::str::from_utf8(body) {
            Ok(text) => Ok(Payload { kind: Kind::Text, bytes: copy(text.as_bytes()) }),
            Err(error) => Err(bad(format!("the body is not valid UTF-8: {error}"))),
        },
        BodyKind::Other => Ok(Payload { kind: Kind::Binary, bytes: copy(body) }),
    }
}

fn bad(message: impl Into<Cow<'static, str>>) -> ErrorBody {
    ErrorBody::new(Code::BadPayload, message)
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// A JSON value as a payload: a string is text, an object whose only key is
/// `base64` is bytes, everything else is JSON, byte for byte as it was sent.
pub(super) fn from_json(json: &RawValue) -> Payload {
    let text = json.get();
    let special = match text.as_bytes().first() {
        // A string with half of a surrogate pair is valid JSON, but no text.
        Some(b'"') => serde_json::from_str::<Cow<'_, str>>(text)
            .ok()
            .map(|text| Payload { kind: Kind::Text, bytes: copy(text.as_bytes()) }),
        Some(b'{') => base64_object(text),
        _ => None,
    };
    special.unwrap_or_else(|| Payload::json(copy(text.as_bytes())))
}

fn base64_object(text: &str) -> Option<Payload> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Base64<'a> {
        #[serde(borrow)]
        base64: Cow<'a, str>,
    }
    // Most objects are none: look before parsing.
    if !text[1..].trim_start().starts_with("\"base64\"") {
        return None;
    }
    let object: Base64<'_> = serde_json::from_str(text).ok()?;
    let bytes = STANDARD.decode(&*object.base64).ok()?;
    Some(Payload { kind: Kind::Binary, bytes: bytes.into() })
}
