//! An answer's body on a stream of HTTP/2: in pieces, each of which is known
//! until the socket has it.

use super::streams::Stream;
use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use std::{
    io::IoSlice,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// An answer goes out in pieces of so many bytes: as they go, it is seen that
/// its client takes it.
const PIECE_BYTES: usize = 16 << 10;

/// An answer's body.
pub(super) struct Pieces<B> {
    body: B,
    /// What is left of a frame of it.
    rest: Bytes,
    stream: Arc<Stream>,
    /// It goes on until one side ends it.
    is_endless: bool,
    /// More than one piece of it was handed over.
    is_long: bool,
    has_begun: bool,
}

/// Part of an answer, in hyper's hands until it is in the socket.
pub(super) struct Piece {
    left: Bytes,
    /// With what was taken of it.
    bytes: usize,
    stream: Arc<Stream>,
}

impl<B: Body> Pieces<B> {
    pub(super) fn new(body: B, stream: Arc<Stream>) -> Self {
        let is_endless = body.size_hint().exact().is_none();
        Self { body, rest: Bytes::new(), stream, is_endless, is_long: false, has_begun: false }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Pieces<B> {
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        let me = &mut *self;
        if me.rest.is_empty() {
            if me.is_endless {
                // What its client has not taken waits in its mailbox, not here.
                ready!(me.stream.poll_room());
            }
            match ready!(Pin::new(&mut me.body).poll_frame(cx)) {
                // The protocol's answers have no trailers.
                Some(Ok(frame)) => me.rest = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    // Until it is said that this was all, the stream can be reset.
                    ready!(me.stream.poll_taken());
                    return Poll::Ready(None);
                }
            }
            me.stream.made(me.rest.len(), me.is_endless);
        }
        let left = me.rest.split_to(me.rest.len().min(PIECE_BYTES));
        me.is_long = std::mem::replace(&mut me.has_begun, true);
        me.stream.hand_over();
        let piece = Piece { bytes: left.len(), left, stream: me.stream.clone() };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    /// The end of a short answer goes with it: another frame for each would cost
    /// more than what a client can do with a window smaller than a piece.
    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream() && !self.is_long
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

impl<B> Drop for Pieces<B> {
    fn drop(&mut self) {
        self.stream.free(self.rest.len());
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.left.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.left.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.left.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.left.advance(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.stream.taken(self.bytes);
    }
}
