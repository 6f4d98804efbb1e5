//! HTTP/2, whose limits are all said here: what hyper would choose may change
//! with its version.

use super::{
    super::gateway::Gateway,
    LINGER, Site,
    conns::Seat,
    heads::Heads,
    pieces::Pieces,
    pipe::Pipe,
    service::{self, Place},
    streams::{Stream, Streams},
};
use crate::config::HttpConfig;
use hyper::{rt::Executor, server::conn::http2::Builder};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Streams at a time that were reset before anybody looked at them; one more and
/// the connection ends (CVE-2023-44487, rapid reset).
const MAX_PENDING_RESETS: usize = 20;

/// Streams that were reset because of what their client did; one more in the
/// life of a connection and it ends.
const MAX_ERROR_RESETS: usize = 1000;

/// What a stream, and a connection, may send of bodies before it is asked for
/// more. Bodies are taken at once, so this only bounds what is on its way.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Largest frame, in bytes: the least that the standard allows to say.
const FRAME_BYTES: u32 = 16 << 10;

/// What of a stream's answer is cut into frames before its turn comes. How much
/// the streams of a connection have together is bounded in [`Streams`].
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// Remembered headers of a connection (HPACK), in bytes: the standard's default.
const HEADER_TABLE_BYTES: u32 = 4096;

/// What each header counts beyond its text (RFC 9113, 6.5.2), in bytes.
const HEADER_OVERHEAD_BYTES: usize = 32;

/// So often within its idle time a client is asked whether it is still there:
/// it may hold reads, which nothing else would end.
const PINGS_PER_IDLE_TIME: u32 = 3;

tokio::task_local! {
    /// What a task of [`Tasks`] runs.
    static STREAM: Arc<Stream>;
}

/// Runs each stream in a task of its own, which is how a single one of them can
/// be ended: hyper, which waits for its client, has no other way.
#[derive(Clone)]
struct Tasks(Arc<Streams>);

impl<F: Future + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        // Before its task runs: it counts from now on.
        let stream = Stream::begin(&self.0);
        // In a box: a future that takes another has room for it twice.
        let task = Box::pin(STREAM.scope(stream.clone(), task));
        tokio::spawn(stream.run(task));
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve(gateway: Arc<Gateway>, seat: Seat, pipe: Pipe, peer: IpAddr) {
    let terms = Arc::clone(&gateway.terms());
    let conn = seat.conn.clone();
    let streams = conn.speaks_http2();
    let service = {
        let (gateway, conn) = (gateway.clone(), conn.clone());
        hyper::service::service_fn(move |request| {
            let (gateway, conn) = (gateway.clone(), conn.clone());
            async move {
                // It is a task of ours that polls this.
                let stream = STREAM.with(Arc::clone);
                let place = Place { conn, stream: Some(stream.clone()), peer, site: Site::Public };
                let answer = service::serve(gateway, place, request).await;
                answer.map(|answer| answer.map(|body| Pieces::new(body, stream)))
            }
        })
    };
    let socket = Socket { pipe, streams: streams.clone(), heads: Heads::new() };
    let mut http =
        pin!(builder(&terms.http, streams).serve_connection(TokioIo::new(socket), service));
    let mut is_finishing = false;
    let ended = poll_fn(|cx| {
        let orders = conn.orders(cx);
        if orders.timed_out {
            return Poll::Ready(None);
        }
        if orders.finish && !is_finishing {
            is_finishing = true;
            http.as_mut().graceful_shutdown();
        }
        http.as_mut().poll(cx).map(Some)
    })
    .await;
    let ended = match ended {
        Some(ended) => Some(ended),
        None => {
            // Politely, if the client is there to be told.
            http.as_mut().graceful_shutdown();
            tokio::time::timeout(LINGER, http).await.ok()
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

fn builder(config: &HttpConfig, streams: Arc<Streams>) -> Builder<Tasks> {
    let mut builder = Builder::new(Tasks(streams));
    // A head that is too large for the gateway, but not much, gets its error
    // in JSON. hyper bounds the frames of one by this, too (CVE-2024-27316).
    let overhead = config.max_headers.saturating_mul(HEADER_OVERHEAD_BYTES);
    let max_head = u32::try_from(config.max_head_bytes.saturating_add(overhead));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .max_header_list_size(max_head.unwrap_or(u32::MAX))
        .header_table_size(HEADER_TABLE_BYTES)
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(Duration::from_secs(config.idle_timeout_s) / PINGS_PER_IDLE_TIME)
        .keep_alive_timeout(Duration::from_secs(config.head_timeout_s));
    builder
}

/// The bytes of a connection: whether part of a head is among them, and whether
/// its client takes any.
struct Socket {
    pipe: Pipe,
    streams: Arc<Streams>,
    heads: Heads,
}

impl Socket {
    /// Looks at how a write went.
    fn noted<T>(&self, written: Poll<T>) -> Poll<T> {
        self.streams.note_socket(written.is_pending());
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut me.pipe).poll_read(cx, buf))?;
        let was_within = me.heads.is_within();
        let has_ended = me.heads.see(&buf.filled()[before..]);
        let is_within = me.heads.is_within();
        if is_within != was_within || has_ended {
            me.streams.note_head(is_within);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.pipe).poll_write(cx, buf);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.pipe).poll_write_vectored(cx, bufs);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.pipe.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Under TLS writing only fills a buffer; it is here that a full socket
        // shows.
        let flushed = Pin::new(&mut self.pipe).poll_flush(cx);
        self.noted(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
