//! Connections under TLS: the handshake, and who goes on.

use super::{
    super::{
        gateway::Gateway,
        tls::{H2, Tls},
    },
    Site,
    conn::Phase,
    conns::{Conns, Seat},
    http2,
    pipe::Pipe,
};
use bytes::BytesMut;
use std::{future::poll_fn, io, net::IpAddr, pin::pin, sync::Arc, task::Poll};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Serves a client or a backend. It counts as a connection from now on, and its
/// handshake may take as long as a head.
pub(in super::super) fn serve_tls(gateway: &Arc<Gateway>, tls: &Tls, tcp: TcpStream, peer: IpAddr) {
    let seat = Conns::seat(gateway, Site::Public);
    let (gateway, handshake) = (gateway.clone(), tls.acceptor().accept(tcp));
    tokio::spawn(async move {
        let tls = match in_time(&seat, handshake).await {
            Ok(tls) => tls,
            Err(error) => return tracing::debug!(%peer, %error, "no TLS handshake"),
        };
        let speaks_h2 = tls.get_ref().1.alpn_protocol() == Some(H2);
        let pipe = Pipe::Tls(Box::new(tls));
        // Tasks of their own: they need not the room that the handshake took.
        if speaks_h2 {
            tokio::spawn(http2::serve(gateway, seat, pipe, peer));
        } else {
            tokio::spawn(super::serve(gateway, seat, pipe, BytesMut::new(), peer, Site::Public));
        }
    });
}

async fn in_time(
    seat: &Seat,
    handshake: impl Future<Output = io::Result<TlsStream<TcpStream>>>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut handshake = pin!(handshake);
    seat.conn.enter(Phase::Head);
    let tls = poll_fn(|cx| {
        let orders = seat.conn.orders(cx);
        if orders.timed_out || orders.finish {
            let message = if orders.finish { "going down" } else { "it took too long" };
            return Poll::Ready(Err(io::Error::other(message)));
        }
        handshake.as_mut().poll(cx)
    })
    .await?;
    seat.conn.enter(Phase::Idle);
    Ok(tls)
}
