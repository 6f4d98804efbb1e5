//! Accepting connections.

use super::{
    full::{self, Site},
    gateway::Gateway,
    tls::Tls,
};
use crate::transport::{Code, ErrorBody};
use rustix::{
    net::sockopt,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Descriptors that are not for connections, beside the front's own: listeners,
/// files, plugins.
const RESERVED_DESCRIPTORS: usize = 128;

/// Connections to the admin address at a time; they come out of the reserve.
const MAX_ADMIN_CONNECTIONS: usize = 32;

/// Connections over the limit that are told so at a time; others are just
/// closed.
const MAX_TURNED_AWAY: usize = 64;

/// Longest `peer_timeout_s`: a day.
const MAX_PEER_TIMEOUT_S: u64 = 24 * 3600;

/// The system counts the times of its probes in seconds.
const MIN_PROBE: Duration = Duration::from_secs(1);

/// How long to wait when the system has no descriptor for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Allows the process as many descriptors as it may have, and returns how many
/// connections they are enough for.
fn raise_descriptors(gateway: &Gateway) -> usize {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    };
    // None is no limit.
    let allowed = usize::try_from(allowed.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let reserved = RESERVED_DESCRIPTORS + gateway.front().descriptors();
    allowed.saturating_sub(reserved).max(1)
}

/// Has the system end connections whose peer has gone without a trace: what it
/// is sent stays unacknowledged, and so do probes when nothing is sent. Linux
/// hands these options of a listener on to what it accepts (tcp(7)).
fn notice_lost_peers(listener: &TcpListener, timeout_s: u64) -> io::Result<()> {
    let timeout = Duration::from_secs(timeout_s.min(MAX_PEER_TIMEOUT_S));
    let timeout_ms = u32::try_from(timeout.as_millis()).expect("a day fits");
    sockopt::set_socket_keepalive(listener, timeout_s > 0)?;
    if timeout_s == 0 {
        // Nor is there a time for what is not acknowledged, but the system's.
        return Ok(sockopt::set_tcp_user_timeout(listener, 0)?);
    }
    sockopt::set_tcp_keepidle(listener, (timeout / 2).max(MIN_PROBE))?;
    sockopt::set_tcp_keepintvl(listener, (timeout / 8).max(MIN_PROBE))?;
    // Overrules the number of probes.
    sockopt::set_tcp_user_timeout(listener, timeout_ms)?;
    Ok(())
}

/// Accepts clients and backends for ever; to be dropped.
pub(super) async fn accept(
    gateway: &Arc<Gateway>,
    plain: Option<TcpListener>,
    tls: Option<(TcpListener, Arc<Tls>)>,
) {
    let max_descriptors = raise_descriptors(gateway);
    let go_by_terms = async {
        let mut told = None;
        loop {
            let terms = Arc::clone(&gateway.terms());
            let listeners = plain.iter().chain(tls.as_ref().map(|(listener, _)| listener));
            for listener in listeners {
                if let Err(error) = notice_lost_peers(listener, terms.http.peer_timeout_s) {
                    tracing::warn!(%error, "the system does not tell of clients that vanish");
                }
            }
            let wanted = Some(terms.http.max_connections);
            if wanted > Some(max_descriptors) && wanted != std::mem::replace(&mut told, wanted) {
                let max_connections = max_descriptors;
                tracing::info!(max_connections, "limited by the number of descriptors (ulimit -n)");
            }
            drop(terms);
            gateway.terms_renewed().await;
        }
    };
    let accept_plain = async {
        match &plain {
            Some(listener) => accept_plain(gateway, listener, max_descriptors).await,
            None => std::future::pending().await,
        }
    };
    let accept_tls = async {
        match &tls {
            Some((listener, tls)) => accept_tls(gateway, listener, tls, max_descriptors).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(go_by_terms, accept_plain, accept_tls);
}

/// Whether there is room for one more connection.
fn has_room(gateway: &Gateway, max_descriptors: usize) -> bool {
    gateway.connections() < gateway.terms().http.max_connections.min(max_descriptors)
}

async fn accept_plain(gateway: &Arc<Gateway>, listener: &TcpListener, max_descriptors: usize) {
    let turned_away = Arc::new(Semaphore::new(MAX_TURNED_AWAY));
    loop {
        let Some((tcp, peer)) = accepted_or_pause(listener.accept().await).await else { continue };
        if has_room(gateway, max_descriptors) {
            if let Err(error) = admit(gateway, tcp, peer) {
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

async fn accept_tls(
    gateway: &Arc<Gateway>,
    listener: &TcpListener,
    tls: &Tls,
    max_descriptors: usize,
) {
    loop {
        let Some((tcp, peer)) = accepted_or_pause(listener.accept().await).await else { continue };
        if !has_room(gateway, max_descriptors) {
            // Saying so would take a handshake, which is what is to be saved.
            gateway.metrics.turned_away();
        } else if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away at once");
        } else {
            full::serve_tls(gateway, tls, tcp, peer.ip());
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
