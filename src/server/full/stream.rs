//! A mailbox as the body of an answer that does not end.

use super::{
    conn::Conn,
    follow::{Follower, Next},
};
use crate::transport::StreamFormat;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// The body of an answer.
pub(super) enum Answering {
    Whole(Full<Bytes>),
    Stream(Box<Stream>),
}

/// Messages as they come.
pub(super) struct Stream {
    follower: Follower,
    format: StreamFormat,
    conn: Arc<Conn>,
    phase: At,
}

/// Where a stream is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Beginning,
    Middle,
    End,
}

impl Stream {
    pub fn new(follower: Follower, format: StreamFormat, conn: Arc<Conn>) -> Self {
        Self { follower, format, conn, phase: At::Beginning }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let mut out = Vec::new();
        let position = self.follower.position();
        if self.phase == At::Beginning {
            self.phase = At::Middle;
            self.format.begin(position, self.follower.retry_ms(), &mut out);
            return Poll::Ready(Some(out));
        }
        if self.phase == At::End {
            return Poll::Ready(None);
        }
        match ready!(self.follower.poll_next(cx)) {
            Next::Batch(batch) => self.format.batch(&batch, &mut out),
            Next::Quiet => self.format.keep_alive(position, &mut out),
            Next::End(why) => {
                self.format.end(&why, &mut out);
                self.phase = At::End;
                self.conn.end_stream();
            }
        }
        Poll::Ready(Some(out))
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Stream(stream) => {
                stream.poll_bytes(cx).map(|bytes| Some(Ok(Frame::data(bytes?.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(stream) => stream.phase == At::End,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
