//! Bytes ↔ payloads, requests and answers, as `docs/protocol.md` says. Pure: no
//! sockets, no clock, no HTTP library.
//!
//! There are two formats, JSON and MessagePack, with the same maps; [`Encoder`]
//! writes both from one description, so that they cannot drift apart.

mod encode;
mod error;
mod frame;
mod msgpack;
mod payload;
mod publish;
mod query;
mod stream;

#[cfg(test)]
mod tests;

pub use encode::{Encoder, PublishResult, batch, error, opened, reply, results};
pub use error::{Code, ErrorBody};
pub use frame::{Frame, decode_frame, refused, replied};
pub use payload::decode_body;
pub use publish::{Publication, decode_publish};
pub use query::{
    KeyText, ReadQuery, bearer, decode_key, encode_key, header_cursor, key_query, read_query,
};
pub use stream::StreamFormat;

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    #[default]
    Json,
    MsgPack,
}

impl Format {
    /// The format of an answer to a request with this `Accept` header.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        // What those say who do not choose.
        let Some(accept) = accept.filter(|text| *text != "*/*") else { return Self::Json };
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            if is_msgpack(name) && quality != Some(0.0) {
                return Self::MsgPack;
            }
        }
        Self::Json
    }

    /// The `Content-Type` of an answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MsgPack => "application/msgpack",
        }
    }
}

/// What a request's `Content-Type` says about its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BodyKind {
    Format(Format),
    Text,
    Other,
}

impl BodyKind {
    fn of(content_type: Option<&str>) -> Self {
        // How it is almost always written.
        let Some(content_type) = content_type.filter(|text| *text != "application/json") else {
            return Self::Format(Format::Json);
        };
        let name = content_type.split(';').next().unwrap_or_default().trim();
        let starts = |prefix: &str| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        // The second is what curl says of `-d '{…}'`; nothing here is a form.
        let json = ["application/json", "application/x-www-form-urlencoded"];
        if json.iter().any(|json| name.eq_ignore_ascii_case(json)) {
            Self::Format(Format::Json)
        } else if is_msgpack(name) {
            Self::Format(Format::MsgPack)
        } else if starts("text/") {
            Self::Text
        } else {
            Self::Other
        }
    }
}

fn is_msgpack(media_type: &str) -> bool {
    ["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"]
        .iter()
        .any(|name| media_type.eq_ignore_ascii_case(name))
}
