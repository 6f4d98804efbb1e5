//! The ways to read a mailbox besides long-poll, and from one to the other; in
//! plain HTTP, over TLS and over HTTP/2.

mod browsers;
mod change;
pub mod reader;
mod shared;
mod stream;
mod unread;
mod websocket;
mod wire;

pub use reader::Socket;

use crate::{
    support::{Client, Gateway, lab},
    tls::World,
};

/// A gateway with the app `lab` and these `[http]` and app limits.
fn start(http: &str, limits: &str) -> Gateway {
    let comma = if limits.is_empty() { "" } else { ", " };
    let app = lab(&format!("limits = {{ call_ms = 1000{comma}{limits} }}"));
    Gateway::start(&format!("http = {{ {http} }}\n{app}"))
}

/// The same, which also listens over TLS.
fn start_both(http: &str, limits: &str) -> World {
    World::start(&format!("http = {{ {http} }}\n"), limits)
}

/// Closes the mailbox `ann`, so that the next scenario has a fresh one.
fn close(backend: &mut Client, key: &str) {
    let path = format!("/lab/mailboxes/ann?key={key}");
    assert_eq!(backend.request("DELETE", &path, &[], b"").status, 204);
}
