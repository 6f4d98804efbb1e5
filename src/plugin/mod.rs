//! What a plugin is to the gateway.
//!
//! [`Plugin`] has two implementations: a wasm component ([`wasm`]), and native
//! Rust for the simulator. Both are functions from an event to an outcome;
//! neither sees a socket or the core, only the recorded [`Reads`].

pub mod limits;
pub mod reads;
pub mod wasm;

use crate::core::{Action, Address, CloseCause, FullPolicy, Message, Name, Payload, PluginName};
use bytes::Bytes;
use std::sync::Arc;

pub use limits::PluginLimits;
pub use reads::Reads;

/// The events that a plugin wants beside load and open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wants {
    pub message: bool,
    pub publish: bool,
    pub attached: bool,
    pub detached: bool,
    pub closed: bool,
    pub timer: bool,
    pub subscribe: bool,
}

/// What every event knows.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Milliseconds since 1970.
    pub now_ms: u64,
    pub seed: u64,
}

/// The mailbox an event is about, as one plugin sees it.
#[derive(Clone, Copy, Debug)]
pub struct SessionView<'a> {
    pub mailbox: &'a str,
    pub identity: Option<&'a str>,
    pub state: Option<&'a [u8]>,
}

/// A client asks for a mailbox.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    pub body: Payload,
    /// Names in lower case; only those whose values are text.
    pub headers: Vec<(String, String)>,
    pub peer: String,
}

/// One event, borrowed from whoever runs it.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    Load {
        reload: bool,
    },
    Open {
        request: &'a OpenRequest,
        /// Set by earlier plugins of the chain.
        identity: Option<&'a str>,
        mailbox: Option<&'a str>,
        fresh_name: &'a str,
    },
    Message {
        session: SessionView<'a>,
        /// Where it was published to, if anywhere.
        channel: Option<&'a str>,
        data: &'a Payload,
    },
    /// A client wants to be a member of these groups.
    Subscribe {
        session: SessionView<'a>,
        groups: &'a [Name],
    },
    Publish {
        to: &'a Address,
        message: &'a Message,
    },
    Attached {
        session: SessionView<'a>,
    },
    Detached {
        session: SessionView<'a>,
    },
    Closed {
        session: SessionView<'a>,
        cause: CloseCause,
    },
    Timer {
        name: &'a str,
        session: Option<SessionView<'a>>,
    },
}

impl Event<'_> {
    /// As it is called in logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Load { .. } => "load",
            Self::Open { .. } => "open",
            Self::Message { .. } => "message",
            Self::Subscribe { .. } => "subscribe",
            Self::Publish { .. } => "publish",
            Self::Attached { .. } => "attached",
            Self::Detached { .. } => "detached",
            Self::Closed { .. } => "closed",
            Self::Timer { .. } => "timer",
        }
    }
}

/// What a plugin wants done. Its actions carry its own name where they need
/// one (state and timers), and only checked names, payloads and sizes.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub actions: Vec<Action>,
    /// After open and message.
    pub reply: Option<Payload>,
    /// After open. Boxed, since it is large and the outcomes of all other events
    /// are moved about as well.
    pub accept: Option<Box<Accept>>,
    /// After publish: deliver as addressed.
    pub deliver: bool,
    /// A state that was migrated on the way to this outcome; stored unless the
    /// actions store another one. `Some(None)`: start without a state.
    pub migrated: Option<Option<Bytes>>,
    /// How long the call took, in milliseconds, if that was some milliseconds,
    /// where microseconds are usual; else 0.
    pub slow_ms: u64,
}

/// The part of an outcome that only open has.
#[derive(Clone, Debug, Default)]
pub struct Accept {
    pub mailbox: Option<Name>,
    pub replace: bool,
    pub shared: bool,
    pub identity: Option<Arc<str>>,
    pub state: Option<Bytes>,
    pub groups: Vec<Name>,
    pub linger_ms: Option<u64>,
    pub messages: Option<u32>,
    pub bytes: Option<u32>,
    pub full: Option<FullPolicy>,
    pub per_second: Option<u16>,
    pub first: Vec<Arc<Message>>,
}

/// Why a call gave no outcome.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The plugin says no; the client is told status and reason.
    #[error("rejected with {status}: {reason}")]
    Rejected { status: u16, reason: String },
    /// The plugin (or its author) is at fault; the log is told.
    #[error("{kind}: {text}")]
    Failed { kind: FailureKind, text: String },
}

/// The kinds of failures, as metrics count them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FailureKind {
    /// It ran longer than it may.
    Time,
    /// It wanted more memory than it may have.
    Memory,
    /// Too many or too large actions, reads or host calls.
    Limit,
    /// It trapped: a panic, an overflowed stack, an impossible instruction.
    Trap,
    /// It returned an error, or something that is none of its rights: a bad
    /// name, JSON that is none, a status out of range.
    Error,
}

impl FailureKind {
    /// All kinds, in the order of the counters.
    pub const ALL: [Self; 5] = [Self::Time, Self::Memory, Self::Limit, Self::Trap, Self::Error];
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Time => "time limit",
            Self::Memory => "memory limit",
            Self::Limit => "limit",
            Self::Trap => "trap",
            Self::Error => "error",
        })
    }
}

/// One loaded version of a plugin: a function from events to outcomes.
pub trait Plugin: Send + Sync {
    /// Its name within the chain.
    fn name(&self) -> &PluginName;
    fn wants(&self) -> Wants;
    /// Runs one event. What it looks up is in `reads` afterwards, however the
    /// call ends.
    ///
    /// # Errors
    /// A refusal, or a failure; the plugin is usable either way.
    fn call(
        &self,
        context: Context,
        event: Event<'_>,
        reads: &mut Reads,
    ) -> Result<Outcome, Failure>;
}
