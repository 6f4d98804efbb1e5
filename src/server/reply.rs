//! An answer, before it is HTTP of some version.

use crate::{
    core::{Answer, Batch},
    transport::{self, Code, ErrorBody, Format},
};
use std::borrow::Cow;

use super::{cors::Grant, errors};

/// How long a client that got 503 is asked to wait, in seconds.
const RETRY_AFTER_S: &str = "1";

/// How a client wants its answer. Small, since every held read has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wish {
    pub format: Format,
    pub grant: Option<Grant>,
    /// It accepts gzip.
    pub gzip: bool,
}

/// An answer. Headers that every answer has (its length, its type, whether it
/// may be stored) are fields, so that most answers have no list of headers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub status: u16,
    /// None if there is no body.
    pub content_type: Option<&'static str>,
    pub body: Cow<'static, [u8]>,
    pub cache_control: &'static str,
    /// Others.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The connection ends with this answer.
    pub close: bool,
}

impl Reply {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            body: Cow::Borrowed(&[]),
            cache_control: "no-store",
            headers: Vec::new(),
            close: false,
        }
    }

    /// An answer of the protocol, whose body `write` writes.
    pub fn encoded(status: u16, format: Format, write: impl FnOnce(Format, &mut Vec<u8>)) -> Self {
        let mut body = Vec::with_capacity(256);
        write(format, &mut body);
        Self { content_type: Some(format.content_type()), body: body.into(), ..Self::empty(status) }
    }

    /// The answer to a read.
    #[must_use]
    pub fn answer(answer: &Answer, format: Format) -> Self {
        match answer {
            Answer::Batch(batch) => Self::batch(batch, format),
            Answer::Nothing => Self::empty(204),
            Answer::Displaced => Self::error(&errors::displaced(), format),
            Answer::Closed { cause, reason } => {
                Self::error(&errors::closed(cause.as_str(), reason.clone()), format)
            }
        }
    }

    fn batch(batch: &Batch, format: Format) -> Self {
        Self::encoded(200, format, |format, out| transport::batch(format, batch, out))
    }

    /// An error of the protocol.
    #[must_use]
    pub fn error(body: &ErrorBody, format: Format) -> Self {
        let reply = Self::encoded(body.code.status(), format, |format, out| {
            transport::error(format, body, out);
        });
        match body.code {
            Code::Unauthorized => reply.with("www-authenticate", "Bearer"),
            Code::Overloaded | Code::ShuttingDown | Code::NoSeat | Code::NotKept => {
                reply.with("retry-after", RETRY_AFTER_S)
            }
            _ => reply,
        }
    }

    /// Something that is not of the protocol, such as a page.
    #[must_use]
    pub fn content(content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self {
            content_type: Some(content_type),
            body: body.into(),
            cache_control: "no-cache",
            ..Self::empty(200)
        }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}
