//! What an app's plugins did, for the operator.

use crate::plugin::{Event, FailureKind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The kinds of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    Load,
    Open,
    Message,
    Publish,
    Attached,
    Detached,
    Closed,
    Timer,
    Subscribe,
}

impl EventKind {
    /// All kinds, in the order of the counters.
    pub const ALL: [Self; 9] = [
        Self::Load,
        Self::Open,
        Self::Message,
        Self::Publish,
        Self::Attached,
        Self::Detached,
        Self::Closed,
        Self::Timer,
        Self::Subscribe,
    ];

    /// As it is called in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Open => "open",
            Self::Message => "message",
            Self::Publish => "publish",
            Self::Attached => "attached",
            Self::Detached => "detached",
            Self::Closed => "closed",
            Self::Timer => "timer",
            Self::Subscribe => "subscribe",
        }
    }
}

impl From<&Event<'_>> for EventKind {
    fn from(event: &Event<'_>) -> Self {
        match event {
            Event::Load { .. } => Self::Load,
            Event::Open { .. } => Self::Open,
            Event::Message { .. } => Self::Message,
            Event::Publish { .. } => Self::Publish,
            Event::Attached { .. } => Self::Attached,
            Event::Detached { .. } => Self::Detached,
            Event::Closed { .. } => Self::Closed,
            Event::Timer { .. } => Self::Timer,
            Event::Subscribe { .. } => Self::Subscribe,
        }
    }
}

/// Counts since the start. All of them only rise.
#[derive(Default, Debug)]
pub struct Counters {
    calls: [AtomicU64; EventKind::ALL.len()],
    failures: [AtomicU64; FailureKind::ALL.len()],
    rejections: AtomicU64,
    collisions: AtomicU64,
}

impl Counters {
    /// Plugin calls for events of this kind, one per plugin of the chain, those
    /// that were repeated included.
    #[must_use]
    pub fn calls(&self, kind: EventKind) -> u64 {
        self.calls[kind as usize].load(Relaxed)
    }

    /// Calls that failed in this way.
    #[must_use]
    pub fn failures(&self, kind: FailureKind) -> u64 {
        self.failures[kind as usize].load(Relaxed)
    }

    /// Calls in which a plugin said no.
    #[must_use]
    pub fn rejections(&self) -> u64 {
        self.rejections.load(Relaxed)
    }

    /// Events that ran again because something they had read was changed by
    /// another event meanwhile.
    #[must_use]
    pub fn collisions(&self) -> u64 {
        self.collisions.load(Relaxed)
    }

    pub(super) fn called(&self, event: &Event<'_>) {
        self.calls[EventKind::from(event) as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self, kind: FailureKind) {
        self.failures[kind as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn rejected(&self) {
        self.rejections.fetch_add(1, Relaxed);
    }

    pub(super) fn collided(&self) {
        self.collisions.fetch_add(1, Relaxed);
    }
}
