//! The ways to read a mailbox besides long-poll, and from one to the other.

mod browsers;
mod change;
mod reader;
mod shared;
mod stream;
mod websocket;

pub use reader::Socket;

use crate::support::{Gateway, lab};

/// A gateway with the app `lab` and these `[http]` and app limits.
fn start(http: &str, limits: &str) -> Gateway {
    let comma = if limits.is_empty() { "" } else { ", " };
    let app = lab(&format!("limits = {{ call_ms = 1000{comma}{limits} }}"));
    Gateway::start(&format!("http = {{ {http} }}\n{app}"))
}
