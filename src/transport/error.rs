//! What a client or backend is told when something is wrong.

use std::borrow::Cow;

/// The codes of the protocol. What a program acts on; the message beside it is
/// for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    BadRequest,
    BadCursor,
    BadName,
    BadPayload,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    UpgradeRequired,
    Displaced,
    NameTaken,
    Closed,
    TooLarge,
    UriTooLong,
    NoSeat,
    HeadersTooLarge,
    /// A plugin's refusal, with this status.
    Rejected(u16),
    PluginFailed,
    Overloaded,
    ShuttingDown,
    /// The store cannot be written.
    NotKept,
}

impl Code {
    /// As it goes over the wire, and the HTTP status that goes with it.
    const fn entry(self) -> (&'static str, u16) {
        match self {
            Self::BadRequest => ("bad_request", 400),
            Self::BadCursor => ("bad_cursor", 400),
            Self::BadName => ("bad_name", 400),
            Self::BadPayload => ("bad_payload", 400),
            Self::Unauthorized => ("unauthorized", 401),
            Self::Forbidden => ("forbidden", 403),
            Self::NotFound => ("not_found", 404),
            Self::MethodNotAllowed => ("method_not_allowed", 405),
            Self::RequestTimeout => ("request_timeout", 408),
            Self::UpgradeRequired => ("upgrade_required", 426),
            Self::Displaced => ("displaced", 409),
            Self::NameTaken => ("name_taken", 409),
            Self::Closed => ("closed", 410),
            Self::TooLarge => ("too_large", 413),
            Self::UriTooLong => ("uri_too_long", 414),
            Self::NoSeat => ("no_seat", 429),
            Self::HeadersTooLarge => ("headers_too_large", 431),
            Self::Rejected(status) => ("rejected", status),
            Self::PluginFailed => ("plugin_failed", 500),
            Self::Overloaded => ("overloaded", 503),
            Self::ShuttingDown => ("shutting_down", 503),
            Self::NotKept => ("not_kept", 507),
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.entry().0
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.entry().1
    }
}

/// `{"error":{…}}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorBody {
    pub code: Code,
    /// A sentence that helps.
    pub message: Cow<'static, str>,
    /// Which item of a batch, counted from 0.
    pub index: Option<usize>,
    /// What to look for in the log.
    pub id: Option<String>,
    /// Why a mailbox was closed.
    pub reason: Option<Box<str>>,
}

impl ErrorBody {
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), index: None, id: None, reason: None }
    }

    /// The same about one item of a batch.
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }
}
