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
pub mod http1;
mod keeping;
mod late;
mod listener;
mod metrics;
mod proxies;
mod publish;
mod readers;
pub mod reply;
pub mod routes;
pub mod terms;
mod tls;

pub use clock::Clock;
pub use dev::DevSite;
pub use front::Handed;
pub use gateway::{Gateway, NotWritten, StartError};
pub use hosted::HostedApp;
pub use tls::{RenewedTls, Tls, TlsError};

use std::{panic::resume_unwind, sync::Arc, time::Duration};
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

/// Between two looks at what is left, at the end.
const LOOK: Duration = Duration::from_millis(10);

/// What ends a gateway's work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End<T> {
    /// Nobody goes on.
    Stop,
    /// Somebody goes on, who has the sockets that it listens on.
    HandOver(T),
}

/// How a gateway's work ended, and with it what `end` said about who goes on.
#[derive(Debug)]
pub enum Ended<T> {
    /// Nobody goes on. The stores are closed; what came last may not be in them.
    Stopped(Result<(), NotWritten>),
    /// The stores are closed, and have everything. The connections are between
    /// two requests.
    HandedOver { next: T, connections: Vec<Handed> },
    /// Not everything can be written: the stores are open, and the same gateway
    /// has to go on.
    Stays { next: T, connections: Vec<Handed>, why: NotWritten },
}

/// Serves until `shutdown` resolves, then goes down in peace: accepts nothing
/// more, answers what is held, and lets what runs finish for at most
/// `shutdown_grace_s`.
///
/// # Errors
/// If what came last could not be written to a store.
pub async fn run(
    gateway: Arc<Gateway>,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NotWritten> {
    let end = async {
        shutdown.await;
        End::<()>::Stop
    };
    match run_until(gateway, listeners, Vec::new(), end).await {
        Ended::Stopped(result) => result,
        Ended::HandedOver { .. } | Ended::Stays { .. } => Ok(()), // nobody asked for it
    }
}

/// The same with connections that another gateway gave up, or that this one
/// still has.
pub async fn run_until<T>(
    gateway: Arc<Gateway>,
    listeners: Listeners,
    handed: Vec<Handed>,
    end: impl Future<Output = End<T>>,
) -> Ended<T> {
    let mut tasks = JoinSet::new();
    for app in gateway.apps() {
        tasks.spawn(app.clone().tick());
        tasks.spawn(app.clone().deliver_late());
    }
    tasks.spawn(sweep(gateway.clone()));
    if let Some(admin) = listeners.admin {
        tasks.spawn(listener::accept_admin(gateway.clone(), admin));
    }
    let threads = match front::start(&gateway) {
        Ok(threads) => threads,
        Err(error) => {
            tracing::error!(%error, "cannot start the threads that serve");
            return Ended::Stopped(close_stores(gateway).await);
        }
    };
    for connection in handed {
        if let Err(error) = gateway.front().take_in(connection) {
            tracing::debug!(%error, "a connection went away at once");
        }
    }
    if let Some((_, tls)) = &listeners.tls {
        tasks.spawn(tls.clone().watch());
    }
    let end = tokio::select! {
        () = listener::accept(&gateway, listeners.public, listeners.tls) => End::Stop,
        end = end => end,
    };
    // The public listeners are closed by now, the other tasks still run.
    let connections = gateway.connections();
    let grace = Duration::from_secs(gateway.terms().http.shutdown_grace_s);
    let are_ended = match &end {
        End::Stop => {
            tracing::info!(connections, "shutting down");
            gateway.stop();
            tokio::time::timeout(grace, no_connections(&gateway)).await
        }
        End::HandOver(_) => {
            tracing::info!(connections, "handing over");
            gateway.hand_over();
            tokio::time::timeout(grace, handed_over(&gateway)).await
        }
    };
    if are_ended.is_err() {
        let connections = gateway.connections();
        tracing::warn!(connections, "some requests did not finish in time");
    }
    // Now nobody is left who could change anything.
    drop(threads);
    tasks.shutdown().await;
    let next = match end {
        End::Stop => return Ended::Stopped(close_stores(gateway).await),
        End::HandOver(next) => next,
    };
    let connections = gateway.front().take_given();
    // As long as all is in memory, too.
    if let Err(why) = gateway.try_disks().await {
        gateway.go_on();
        return Ended::Stays { next, connections, why };
    }
    // Nothing was left to write: what fails now is no loss.
    let _ = close_stores(gateway).await;
    Ended::HandedOver { next, connections }
}

async fn close_stores(gateway: Arc<Gateway>) -> Result<(), NotWritten> {
    let closed = tokio::task::spawn_blocking(move || gateway.end_stores()).await;
    // A task that blocks is not cancelled once it runs.
    closed.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

async fn sweep(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let terms = gateway.terms();
        gateway.conns.sweep(&terms.http, gateway.is_stopping());
        gateway.front().sweep(&terms.http);
    }
}

async fn no_connections(gateway: &Gateway) {
    while gateway.connections() > 0 {
        tokio::time::sleep(LOOK).await;
    }
}

async fn handed_over(gateway: &Gateway) {
    let since_ms = gateway.clock().coarse_ms();
    while !gateway.is_handed_over(since_ms) {
        tokio::time::sleep(LOOK).await;
    }
}
