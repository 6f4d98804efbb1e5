//! Full HTTP, by hyper: whatever the front does not read itself, TLS, HTTP/2,
//! and the admin address. A task per connection (and per stream of HTTP/2).

mod bayeux;
mod conn;
mod conns;
mod follow;
mod heads;
mod held;
mod http2;
mod pieces;
mod pipe;
mod secure;
mod service;
mod stream;
mod streams;
mod websocket;

pub(super) use conns::Conns;
pub(super) use held::HeldReads;
pub(super) use secure::serve_tls;

use self::{
    conn::{Conn, Phase, Socket, last_words},
    conns::Seat,
    pipe::Pipe,
    service::Place,
};
use super::gateway::Gateway;
use crate::transport::{Code, ErrorBody};
use bytes::BytesMut;
use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::{
    future::poll_fn,
    net::{IpAddr, TcpStream as StdTcpStream},
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What a listener serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Site {
    Public,
    Admin,
}

/// How long the rest of what a client sends is read and thrown away after an
/// answer that ended the connection, and how much of it on top of one body.
/// Closing at once would reset the connection and destroy the answer on its
/// way.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 10;

/// hyper's least buffer for a head, in bytes.
const MIN_BUFFER_BYTES: usize = 8192;

/// Goes on with a connection of the front, which has read `input` of it.
pub(super) fn take_over(gateway: &Arc<Gateway>, socket: OwnedFd, input: &[u8], peer: IpAddr) {
    let seat = Conns::seat(gateway, Site::Public);
    match TcpStream::from_std(StdTcpStream::from(socket)) {
        Ok(tcp) => {
            let input = BytesMut::from(input);
            tokio::spawn(serve(gateway.clone(), seat, Pipe::Tcp(tcp), input, peer, Site::Public));
        }
        Err(error) => tracing::debug!(%peer, %error, "a connection went away at once"),
    }
}

/// Serves the operator.
pub(super) fn serve_admin(gateway: &Arc<Gateway>, tcp: TcpStream, peer: IpAddr) {
    let seat = Conns::seat(gateway, Site::Admin);
    tokio::spawn(serve(gateway.clone(), seat, Pipe::Tcp(tcp), BytesMut::new(), peer, Site::Admin));
}

/// Answers with an error, and ends the connection.
pub(super) async fn turn_away(mut tcp: TcpStream, error: &ErrorBody) {
    if tcp.write_all(&last_words(error)).await.is_ok() {
        linger(Pipe::Tcp(tcp), LINGER_BYTES).await;
    }
}

/// How a connection ended.
enum End {
    /// By itself: hyper is done with it, well or not.
    Done,
    TimedOut,
}

async fn serve(
    gateway: Arc<Gateway>,
    seat: Seat,
    pipe: Pipe,
    input: BytesMut,
    peer: IpAddr,
    site: Site,
) {
    let terms = Arc::clone(&gateway.terms());
    let config = &terms.http;
    let conn = seat.conn.clone();
    let service = {
        let (gateway, conn) = (gateway.clone(), conn.clone());
        hyper::service::service_fn(move |request| {
            let place = Place { conn: conn.clone(), stream: None, peer, site };
            service::serve(gateway.clone(), place, request)
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
    let socket = TokioIo::new(Socket::new(pipe, input, conn.clone()));
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
    let parts = http.into_parts();
    let socket = parts.io.into_inner();
    if let Some(upgrade) = conn.take_upgrade() {
        websocket::serve(&gateway, *upgrade, socket, parts.read_buf, &conn).await;
        return drop(seat);
    }
    finish(socket, &end, &conn, config.max_body_bytes).await;
    drop(seat);
}

async fn finish(socket: Socket, end: &End, conn: &Conn, max_body_bytes: usize) {
    let is_at_eof = socket.is_at_eof();
    match end {
        End::Done if is_at_eof => {}
        End::Done => linger(socket.into_pipe(), max_body_bytes.saturating_add(LINGER_BYTES)).await,
        End::TimedOut => {
            if conn.phase() == Phase::Head {
                let error =
                    ErrorBody::new(Code::RequestTimeout, "the request's head took too long");
                let bytes = last_words(&error);
                let mut pipe = socket.into_pipe();
                let written = async {
                    pipe.write_all(&bytes).await?;
                    pipe.flush().await
                };
                // A client that does not read has no claim to an answer.
                if let Some(Ok(())) = written.now_or_never() {
                    linger(pipe, LINGER_BYTES).await;
                }
            }
        }
    }
}

/// Says that nothing more comes, and reads for a while what still does.
async fn linger(mut pipe: Pipe, max_bytes: usize) {
    let rest = async {
        pipe.shutdown().await?;
        // On the heap: every connection's task has room for this future.
        let mut buffer = vec![0; 4096];
        let mut left = max_bytes;
        loop {
            let read = pipe.read(&mut buffer).await?;
            if read == 0 || read > left {
                return std::io::Result::Ok(());
            }
            left -= read;
        }
    };
    // Whatever it comes to, the connection is over.
    let _ = tokio::time::timeout(LINGER, rest).await;
}
