//! The shell: sockets, HTTP, held reads, health and metrics, shutdown.
//!
//! A request's way: [`listener`] → [`front`] (or [`full`], where it is no plain
//! one, or comes by TLS) → [`ask`] (what its head comes to) → [`routes`] (the
//! protocol) → [`hosted`] (one app; every call into it delivers the answers that
//! came out) → [`readers`] (whoever waits for one) → [`http1`] and the socket.

mod admin;
pub mod ask;
mod browsers;
mod client_js;
mod clock;
mod compress;
mod cors;
pub mod dev;
mod errors;
pub mod front;
mod full;
mod gateway;
mod hosted;
mod http1;
mod keeping;
mod late;
mod listener;
mod metrics;
mod proxies;
mod readers;
pub mod reply;
pub mod routes;
mod tls;

pub use clock::Clock;
pub use dev::DevSite;
pub use gateway::{Gateway, StartError};
pub use hosted::HostedApp;
pub use tls::{Tls, TlsError};

use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinSet};

/// What the gateway listens on.
pub struct Listeners {
    /// For clients and backends.
    pub public: Option<TcpListener>,
    /// For the same, over TLS.
    pub tls: Option<(TcpListener, Arc<Tls>)>,
    /// For health and metrics.
    pub admin: Option<TcpListener>,
}

/// Between two looks at the time limits of connections; at most so much later
/// does a connection end.
const SWEEP: Duration = Duration::from_millis(500);

/// Serves until `shutdown` resolves, then goes down in peace: accepts nothing
/// more, answers what is held, and lets what runs finish for at most
/// `shutdown_grace_s`.
pub async fn run(gateway: Arc<Gateway>, listeners: Listeners, shutdown: impl Future<Output = ()>) {
    let mut tasks = JoinSet::new();
    for app in gateway.apps() {
        tasks.spawn(app.clone().tick());
        tasks.spawn(app.clone().deliver_late());
    }
    tasks.spawn(sweep(gateway.clone()));
    if let Some(admin) = listeners.admin {
        tasks.spawn(listener::accept_admin(gateway.clone(), admin));
    }
    let _threads = match front::start(&gateway) {
        Ok(threads) => threads,
        Err(error) => return tracing::error!(%error, "cannot start the threads that serve"),
    };
    if let Some((_, tls)) = &listeners.tls {
        tasks.spawn(tls.clone().watch());
    }
    tokio::select! {
        () = listener::accept(&gateway, listeners.public, listeners.tls) => {}
        () = shutdown => {}
    }
    // The public listeners are closed by now, the other tasks still run.
    tracing::info!(connections = gateway.connections(), "shutting down");
    gateway.stop();
    let grace = Duration::from_secs(gateway.http().shutdown_grace_s);
    if tokio::time::timeout(grace, no_connections(&gateway)).await.is_err() {
        let connections = gateway.connections();
        tracing::warn!(connections, "some requests did not finish in time");
    }
    // Now nobody is left who could change anything.
    tasks.shutdown().await;
    let ended = tokio::task::spawn_blocking(move || gateway.end_stores()).await;
    if ended.is_err() {
        tracing::error!("the stores did not end in order");
    }
}

async fn sweep(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        gateway.conns.sweep(gateway.http(), gateway.is_stopping());
        gateway.front().sweep(gateway.http());
    }
}

async fn no_connections(gateway: &Gateway) {
    while gateway.connections() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
