//! One process takes over from another, and clients see a reconnect at most.
//!
//! The old process ([`old`]) starts the new one ([`new`]) when it is told to by
//! SIGUSR2 or by `cometbox upgrade` ([`control`]), and lends it the sockets that
//! it listens on. They talk over a [`channel`] that is the new one's standard
//! input:
//!
//! | old | new |
//! |---|---|
//! | `hello`: the listening sockets, and which store it is about | |
//! | serves on | reads its configuration, compiles its plugins, then `ready` |
//! | accepts nothing more, answers held reads, ends streams, closes the stores | |
//! | `connections`: those of the front, each between two requests | |
//! | `yours` | opens the stores, starts its plugins (and says how far it is), then `serving` |
//! | ends | |
//!
//! Whoever connects in between waits in the backlog of a socket that never
//! closes. If the new process fails before it is `ready`, nothing has happened;
//! if it fails later, the old one opens its stores again and goes on with the
//! configuration and the plugins that it had; a process that is silent for long
//! with the stores in its hands has failed, too. Before it starts another process,
//! and once more before it closes its stores, it has them written: where that
//! fails nobody takes over.

mod channel;
mod control;
mod new;
mod old;

pub(super) use control::upgrade;
pub(super) use new::Predecessor;
pub(super) use old::{Program, Upgrader};
