//! Bytes ↔ payloads, requests and answers, as `docs/protocol.md` says. Pure: no
//! sockets, no clock, no HTTP library.
//!
//! There are two formats, JSON and MessagePack, with the same maps; [`Encoder`]
//! writes both from one description, so that they cannot drift apart.

pub mod bayeux;
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
pub use frame::{Frame, decode_frame, key_of_sub_protocols, refused, replied};
pub use payload::decode_body;
pub use publish::{Publication, Publications, decode_publish, is_batch};
pub use query::{
    KeyText, ReadQuery, SendQuery, bearer, channel, decode_key, encode_key, header_cursor,
    key_query, read_query, send_query, split_once,
};
pub use stream::StreamFormat;

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    #[default]
    Json,
    MsgPack,
}

/// What a request's `Accept` header asks for, of what there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// An answer that ends.
    Answer(Format),
    /// Of a read: one that goes on.
    Stream(StreamFormat),
}

impl Accepted {
    /// The best by quality (RFC 9110, 12.5.1), of several the first. Who does
    /// not choose gets an answer in JSON.
    #[must_use]
    pub fn of(accept: Option<&str>) -> Self {
        let mut best = (Self::Answer(Format::Json), 0.0);
        // What those say who do not choose.
        let Some(accept) = accept.filter(|text| *text != "*/*") else { return best.0 };
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let Some(found) = Self::of_type(parts.next().unwrap_or_default()) else { continue };
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            let quality = quality.unwrap_or(1.0);
            if quality > best.1 {
                best = (found, quality);
            }
        }
        best.0
    }

    fn of_type(media_type: &str) -> Option<Self> {
        if is_msgpack(media_type) {
            return Some(Self::Answer(Format::MsgPack));
        }
        if media_type.eq_ignore_ascii_case(Format::Json.content_type()) {
            return Some(Self::Answer(Format::Json));
        }
        StreamFormat::ALL
            .into_iter()
            .find(|format| media_type.eq_ignore_ascii_case(format.content_type()))
            .map(Self::Stream)
    }

    /// The format of an answer that ends, also of an error instead of a stream.
    #[must_use]
    pub fn format(self) -> Format {
        match self {
            Self::Answer(format) => format,
            Self::Stream(_) => Format::Json,
        }
    }

    #[must_use]
    pub fn stream(self) -> Option<StreamFormat> {
        match self {
            Self::Answer(_) => None,
            Self::Stream(format) => Some(format),
        }
    }
}

impl Format {
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
