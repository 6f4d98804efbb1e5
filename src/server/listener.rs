//! Accepting connections.

use super::{
    full::{self, Site},
    gateway::Gateway,
};
use crate::{
    config::HttpConfig,
    transport::{Code, ErrorBody},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Descriptors that are not for connections: listeners, files, plugins.
const RESERVED_DESCRIPTORS: u64 = 128;

/// Connections to the admin address at a time; they come out of the reserve.
const MAX_ADMIN_CONNECTIONS: usize = 32;

/// Connections over the limit that are told so at a time; others are just
/// closed.
const MAX_TURNED_AWAY: usize = 64;

/// How long to wait when the system has no descriptor for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Allows the process as many descriptors as it may have, and returns how many
/// connections that makes at most.
#[must_use]
pub fn connection_limit(http: &HttpConfig) -> usize {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    };
    // None is no limit.
    let allowed = allowed.unwrap_or(u64::MAX);
    let usable = allowed.saturating_sub(RESERVED_DESCRIPTORS).max(1);
    usize::try_from(usable).unwrap_or(usize::MAX).min(http.max_connections)
}

/// Accepts clients and backends for ever; to be dropped.
pub(super) async fn accept(gateway: Arc<Gateway>, listener: TcpListener) {
    let max_connections = connection_limit(gateway.http());
    if max_connections < gateway.http().max_connections {
        tracing::info!(max_connections, "limited by the number of descriptors (ulimit -n)");
    }
    let turned_away = Arc::new(Semaphore::new(MAX_TURNED_AWAY));
    loop {
        let Some((tcp, peer)) = accepted_or_pause(listener.accept().await).await else { continue };
        if gateway.connections() < max_connections {
            if let Err(error) = admit(&gateway, tcp, peer) {
                tracing::debug!(%error, "a connection went away at once");
            }
            continue;
        }
        gateway.metrics.turned_away();
        if let Ok(permit) = turned_away.clone().try_acquire_owned() {
            tokio::spawn(async move {
                let message = "there are too many connections; try again later";
                full::turn_away(tcp, &ErrorBody::new(Code::Overloaded, message)).await;
                drop(permit);
            });
        }
    }
}

/// Accepts operators for ever; to be dropped.
pub(super) async fn accept_admin(gateway: Arc<Gateway>, listener: TcpListener) {
    loop {
        let Some((tcp, peer)) = accepted_or_pause(listener.accept().await).await else { continue };
        if gateway.conns.count(Site::Admin) < MAX_ADMIN_CONNECTIONS {
            full::serve_admin(&gateway, tcp, peer.ip());
        }
    }
}

async fn accepted_or_pause<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Gives a socket to the front, which watches it itself.
fn admit(gateway: &Gateway, tcp: TcpStream, peer: SocketAddr) -> io::Result<()> {
    // Answers go out as soon as they are written.
    tcp.set_nodelay(true)?;
    gateway.front().accept(tcp.into_std()?.into(), peer.ip())
}
