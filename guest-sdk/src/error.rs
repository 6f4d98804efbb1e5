//! How an event is refused.

/// What the methods of a plugin give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an event gave no actions.
///
/// `?` turns every other error into [`Error::Failed`]: something is wrong here,
/// and the one who sent the event cannot help it. What *is* the sender's
/// mistake is said so, with [`reject`]; [`Payload::json`](crate::Payload::json)
/// does it already.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// fn price(data: &Payload) -> Result<u32> {
///     let text: String = data.json()?;    // not a string: Rejected, 400
///     Ok(text.parse()?)                   // not a number: Failed
/// }
///
/// assert_eq!(price(&json!("5").into()), Ok(5));
/// assert_eq!(
///     price(&json!("five").into()),
///     Err(fail("invalid digit found in string")),
/// );
/// ```
// It does not implement `std::error::Error`: that is what lets it be made from
// everything that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The plugin says no to the client or backend. Not a failure of the
    /// plugin.
    Rejected {
        /// HTTP status, 400 to 599.
        status: u16,
        /// A sentence for the client.
        reason: String,
    },
    /// The plugin failed. The client gets a 500 with an id, the text goes to
    /// the log.
    Failed(String),
}

/// Says no to the client or backend, with an HTTP status from 400 to 599 and a
/// sentence.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// fn check(nick: &str) -> Result<()> {
///     if nick.is_empty() {
///         return Err(reject(400, "a nick has at least one character"));
///     }
///     Ok(())
/// }
/// # assert!(check("").is_err() && check("ann").is_ok());
/// ```
pub fn reject(status: u16, reason: impl Into<String>) -> Error {
    debug_assert!(
        (400..=599).contains(&status),
        "a rejection has a status from 400 to 599, not {status}"
    );
    Error::Rejected { status, reason: reason.into() }
}

/// The plugin failed; the text is for the operator.
pub fn fail(text: impl Into<String>) -> Error {
    Error::Failed(text.into())
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}
