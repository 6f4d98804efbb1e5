//! Accepting connections, and the life of each.

use super::{
    conn::{Conns, Seat, Socket},
    gateway::Gateway,
    http::{self, Site},
    reply::Reply,
};
use crate::{
    config::HttpConfig,
    transport::{Code, ErrorBody, Format},
};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{future::poll_fn, net::SocketAddr, pin::Pin, sync::Arc, task::Poll, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Descriptors that are not for connections: listeners, files, plugins.
const RESERVED_DESCRIPTORS: u64 = 128;

/// Connections to the admin address at a time; they come out of the reserve.
const MAX_ADMIN_CONNECTIONS: usize = 32;

/// How long the rest of what a client sends is read and thrown away after an
/// answer that ended the connection, and how much of it on top of one body.
/// Closing at once would reset the connection and destroy the answer on its
/// way.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 10;

/// Connections over the limit that are told so at a time; others are just
/// closed.
const MAX_TURNED_AWAY: usize = 64;

/// How long to wait when the system has no descriptor for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// hyper's least buffer for a head, in bytes.
const MIN_BUFFER_BYTES: usize = 8192;

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

/// Accepts for ever; to be dropped.
pub(super) async fn accept(gateway: Arc<Gateway>, listener: TcpListener, site: Site) {
    let max_connections = match site {
        Site::Admin => MAX_ADMIN_CONNECTIONS,
        Site::Public => connection_limit(gateway.http()),
    };
    if site == Site::Public && max_connections < gateway.http().max_connections {
        tracing::info!(max_connections, "limited by the number of descriptors (ulimit -n)");
    }
    let turned_away = Arc::new(Semaphore::new(MAX_TURNED_AWAY));
    loop {
        let (tcp, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers go out as soon as they are written.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away at once");
            continue;
        }
        if gateway.conns.count(site) >= max_connections {
            gateway.metrics.turned_away();
            if let Ok(permit) = turned_away.clone().try_acquire_owned() {
                tokio::spawn(async move {
                    turn_away(tcp).await;
                    drop(permit);
                });
            }
            continue;
        }
        let seat = Conns::seat(&gateway, site);
        tokio::spawn(serve(gateway.clone(), seat, tcp, peer, site));
    }
}

async fn turn_away(mut tcp: TcpStream) {
    let error = ErrorBody::new(Code::Overloaded, "there are too many connections; try again later");
    let bytes = Reply::error(&error, Format::Json).to_http1();
    if tcp.write_all(&bytes).await.is_ok() {
        linger(tcp, LINGER_BYTES).await;
    }
}

/// How a connection ended.
enum End {
    /// By itself: hyper is done with it, well or not.
    Done,
    TimedOut,
}

async fn serve(gateway: Arc<Gateway>, seat: Seat, tcp: TcpStream, peer: SocketAddr, site: Site) {
    let config = gateway.http();
    let conn = seat.conn.clone();
    let service = {
        let (gateway, conn) = (gateway.clone(), conn.clone());
        hyper::service::service_fn(move |request| {
            http::serve(gateway.clone(), conn.clone(), peer.ip(), site, request)
        })
    };
    let mut builder = http1::Builder::new();
    // One write of a copied answer costs less than one of two parts.
    builder.writev(false);
    builder.max_buf_size(config.max_head_bytes.max(MIN_BUFFER_BYTES));
    if config.max_headers != 100 {
        // hyper's default needs no allocation.
        builder.max_headers(config.max_headers);
    }
    let socket = TokioIo::new(Socket::new(tcp, conn.clone()));
    let mut http = builder.serve_connection(socket, service);
    let mut is_finishing = false;
    let end = poll_fn(|cx| {
        let orders = conn.orders(cx);
        if orders.timed_out {
            return Poll::Ready(End::TimedOut);
        }
        if orders.finish && !is_finishing {
            is_finishing = true;
            Pin::new(&mut http).graceful_shutdown();
        }
        Pin::new(&mut http).poll(cx).map(|result| {
            if let Err(error) = result {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
            End::Done
        })
    })
    .await;
    let socket = http.into_parts().io.into_inner();
    finish(socket, &end, &conn, config.max_body_bytes).await;
    drop(seat);
}

async fn finish(socket: Socket, end: &End, conn: &super::conn::Conn, max_body_bytes: usize) {
    let is_at_eof = socket.is_at_eof();
    match end {
        End::Done if is_at_eof => {}
        End::Done => linger(socket.into_tcp(), max_body_bytes.saturating_add(LINGER_BYTES)).await,
        End::TimedOut => {
            if conn.phase() == super::conn::Phase::Head {
                let error =
                    ErrorBody::new(Code::RequestTimeout, "the request's head took too long");
                let bytes = Reply::error(&error, Format::Json).to_http1();
                let tcp = socket.into_tcp();
                // A client that does not read has no claim to an answer.
                if tcp.try_write(&bytes).is_ok() {
                    linger(tcp, LINGER_BYTES).await;
                }
            }
        }
    }
}

/// Says that nothing more comes, and reads for a while what still does.
async fn linger(mut tcp: TcpStream, max_bytes: usize) {
    let rest = async {
        tcp.shutdown().await?;
        // On the heap: every connection's task has room for this future.
        let mut buffer = vec![0; 4096];
        let mut left = max_bytes;
        loop {
            let read = tcp.read(&mut buffer).await?;
            if read == 0 || read > left {
                return std::io::Result::Ok(());
            }
            left -= read;
        }
    };
    // Whatever it comes to, the connection is over.
    let _ = tokio::time::timeout(LINGER, rest).await;
}
