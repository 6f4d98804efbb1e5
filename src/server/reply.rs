//! An answer, before it is HTTP of some version.

use crate::transport::{self, Code, ErrorBody, Format};
use bytes::Bytes;
use std::borrow::Cow;

/// How long a client that got 503 is asked to wait, in seconds.
const RETRY_AFTER_S: &str = "1";

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub status: u16,
    /// None if there is no body.
    pub content_type: Option<&'static str>,
    pub body: Bytes,
    /// Beside what HTTP itself wants.
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
            body: Bytes::new(),
            headers: vec![NO_STORE],
            close: false,
        }
    }

    /// An answer of the protocol, whose body `write` writes.
    pub fn encoded(status: u16, format: Format, write: impl FnOnce(Format, &mut Vec<u8>)) -> Self {
        let mut body = Vec::with_capacity(256);
        write(format, &mut body);
        Self { content_type: Some(format.content_type()), body: body.into(), ..Self::empty(status) }
    }

    /// An error of the protocol.
    #[must_use]
    pub fn error(body: &ErrorBody, format: Format) -> Self {
        let reply = Self::encoded(body.code.status(), format, |format, out| {
            transport::error(format, body, out);
        });
        match body.code {
            Code::Unauthorized => reply.with("www-authenticate", "Bearer"),
            Code::Overloaded | Code::ShuttingDown => reply.with("retry-after", RETRY_AFTER_S),
            _ => reply,
        }
    }

    /// Something that is not of the protocol, such as a page.
    #[must_use]
    pub fn content(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            content_type: Some(content_type),
            body: body.into(),
            headers: vec![("cache-control", Cow::Borrowed("no-cache"))],
            close: false,
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

    /// As HTTP/1.1, for the places where no HTTP library is at work (any more).
    /// The connection ends with it.
    #[must_use]
    pub fn to_http1(&self) -> Bytes {
        use std::fmt::Write;
        let reason = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Error");
        let mut head = format!("HTTP/1.1 {} {reason}\r\nconnection: close\r\n", self.status);
        if let Some(content_type) = self.content_type {
            head.push_str("content-type: ");
            head.push_str(content_type);
            head.push_str("\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        }
        // Writing into a String does not fail.
        let _ = write!(head, "content-length: {}\r\n\r\n", self.body.len());
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }
}

const NO_STORE: (&str, Cow<'static, str>) = ("cache-control", Cow::Borrowed("no-store"));
