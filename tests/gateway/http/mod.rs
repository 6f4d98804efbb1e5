//! What the gateway says over a real socket. Every test has a gateway of its
//! own, so that it may count what is held and open.

mod abort;
mod compression;
mod formats;
mod framing;
mod front;
mod limits;
mod mailbox;
mod operation;
mod proxies;
mod publish;

use crate::support::{Gateway, lab};

/// A gateway with the app `lab`, limits as given, with time enough for a busy
/// machine.
fn start(limits: &str) -> Gateway {
    let comma = if limits.is_empty() { "" } else { ", " };
    Gateway::start(&lab(&format!("limits = {{ call_ms = 1000{comma}{limits} }}")))
}
