//! From what the app says to what the client is told: the one map of errors.

use crate::{
    app::Refusal,
    core::{AccessError, MAX_SEATS},
    transport::{Code, ErrorBody},
};

/// Why a read, a send or a close does not get at its mailbox.
pub(super) fn access(mailbox: &str, error: AccessError) -> ErrorBody {
    match error {
        AccessError::NotFound => ErrorBody::new(
            Code::NotFound,
            format!("no mailbox {mailbox:?} here: it may have expired; open it again"),
        ),
        AccessError::WrongKey => wrong_key(mailbox),
        AccessError::Closed { cause, reason } => closed(cause.as_str(), reason),
        AccessError::BadCursor { last } => ErrorBody::new(
            Code::BadCursor,
            format!("the cursor is ahead of the mailbox, whose last seq is {last}; open it again"),
        ),
    }
}

pub(super) fn wrong_key(mailbox: &str) -> ErrorBody {
    ErrorBody::new(
        Code::Unauthorized,
        format!(
            "this key does not open mailbox {mailbox:?}; send the key that opening it gave, as \
             Authorization: Bearer KEY or ?key=KEY"
        ),
    )
}

pub(super) fn closed(cause: &str, reason: Box<str>) -> ErrorBody {
    let mut body = ErrorBody::new(Code::Closed, format!("the mailbox was closed ({cause})"));
    body.reason = Some(if reason.is_empty() { cause.into() } else { reason });
    body
}

pub(super) fn displaced() -> ErrorBody {
    ErrorBody::new(Code::Displaced, "another reader took over this mailbox")
}

/// Why an event had no effect. `mailbox` is the one it was about.
pub(super) fn refusal(mailbox: &str, refusal: Refusal) -> ErrorBody {
    match refusal {
        Refusal::Access(error) => access(mailbox, error),
        Refusal::Rejected { status, reason } => ErrorBody::new(Code::Rejected(status), reason),
        Refusal::NameTaken(name) => {
            ErrorBody::new(Code::NameTaken, format!("the name {:?} is taken", name.as_str()))
        }
        Refusal::NoSeat(name) => ErrorBody::new(
            Code::NoSeat,
            format!(
                "all {MAX_SEATS} seats of mailbox {:?} are taken; one that is not read is free \
                 again after a while",
                name.as_str()
            ),
        ),
        Refusal::Failed { id } => {
            let message = format!("a plugin failed; the gateway's log says why, under {id}");
            let mut body = ErrorBody::new(Code::PluginFailed, message);
            body.id = Some(id);
            body
        }
        Refusal::NotReady => ErrorBody::new(
            Code::Overloaded,
            "the plugins of this app are not loaded yet; if this lasts, the gateway's log says why",
        ),
        Refusal::Limit { what, limit } => ErrorBody::new(
            Code::Overloaded,
            format!("the app's limit of {limit} {what} is reached; try again later"),
        ),
    }
}

/// The store takes nothing; or what it was given is not kept yet, and may still
/// be.
pub(super) fn not_kept(why: &str) -> ErrorBody {
    ErrorBody::new(
        Code::NotKept,
        format!("the gateway cannot write its store ({why}); try again in a moment"),
    )
}

pub(super) fn shutting_down() -> ErrorBody {
    ErrorBody::new(Code::ShuttingDown, "the gateway is going down; try again in a moment")
}

pub(super) fn no_random() -> ErrorBody {
    ErrorBody::new(Code::Overloaded, "the system gives no random numbers")
}
