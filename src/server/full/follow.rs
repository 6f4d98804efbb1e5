//! Following a mailbox: what a stream and a WebSocket have in common.
//!
//! A stream is a long-poll that its connection repeats by itself, from where it
//! is instead of from what the client confirmed. It asks for more when what it
//! had is on its way into the socket, and not before: what a slow reader has
//! not taken waits in its mailbox, under the mailbox's limits.

use super::{
    super::{
        browsers::{Counted, RETRY_AFTER_S},
        errors,
        gateway::Gateway,
        hosted::HostedApp,
    },
    held::HeldRead,
};
use crate::{
    core::{Answer, Batch, Key, Polled, ReadFrom},
    transport::{ErrorBody, StreamFormat},
};
use std::{
    sync::Arc,
    task::{Context, Poll},
};

/// Least time before a client whose stream broke comes again, and how much more
/// it may be, in milliseconds.
const RETRY_MS: u64 = 1000;

/// Most batches of a stream that ends at once: others wait for the next time.
const MAX_BATCHES_AT_ONCE: usize = 8;

/// A reader that stays.
pub(super) struct Follower {
    gateway: Arc<Gateway>,
    read: HeldRead,
    name: Box<str>,
    key: Key,
    position: u64,
    /// A sign of life is due when nothing came for so long.
    keep_alive_ms: u64,
    state: State,
}

enum State {
    /// There is something already.
    Ready(Batch),
    /// It has to ask.
    Asking,
    /// The mailbox holds its read.
    Held,
    Ended,
}

/// What comes.
pub(super) enum Next {
    Batch(Batch),
    /// Nothing came for a while.
    Quiet,
    /// Nothing more comes.
    End(ErrorBody),
}

impl Follower {
    /// Takes the mailbox over from whoever reads it.
    ///
    /// # Errors
    /// If the mailbox does not open or the cursor is ahead of it.
    pub fn start(
        gateway: &Arc<Gateway>,
        app: &Arc<HostedApp>,
        name: &str,
        key: Key,
        cursor: Option<u64>,
        counted: Option<Counted>,
    ) -> Result<Self, ErrorBody> {
        let mut read = HeldRead::new(app.clone());
        read.counts(counted);
        let keep_alive_ms = gateway.terms().http.keep_alive_s.saturating_mul(1000);
        let (position, polled) = app
            .follow(name, key, cursor, keep_alive_ms, read.conn())
            .map_err(|error| errors::access(name, error))?;
        let state = match polled {
            Polled::Ready(batch) => State::Ready(batch),
            Polled::Held(mailbox) => {
                read.held_by(mailbox);
                if gateway.is_stopping() {
                    // It may have come after the others were let go.
                    gateway.release_held();
                }
                State::Held
            }
            Polled::Nothing | Polled::Displaced => State::Asking,
        };
        let gateway = gateway.clone();
        Ok(Self { gateway, read, name: name.into(), key, position, keep_alive_ms, state })
    }

    pub fn app(&self) -> &Arc<HostedApp> {
        self.read.app()
    }

    /// What it was handed so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How long its client should wait before it comes again: another time for
    /// each, so that after a restart they do not come all at once.
    pub fn retry_ms(&self) -> u64 {
        RETRY_MS + self.read.conn().0 % RETRY_MS
    }

    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ready(batch) => {
                    self.position = batch.cursor;
                    self.state = State::Asking;
                    return Poll::Ready(Next::Batch(batch));
                }
                _ if self.gateway.is_stopping() => return end(errors::shutting_down()),
                State::Asking => match self.ask() {
                    Ok(state) => self.state = state,
                    Err(why) => return end(why),
                },
                State::Held => match self.read.poll_answer(cx) {
                    Poll::Pending => {
                        self.state = State::Held;
                        return Poll::Pending;
                    }
                    Poll::Ready(Answer::Batch(batch)) => self.state = State::Ready(batch),
                    Poll::Ready(Answer::Nothing) => {
                        self.state = State::Asking;
                        return Poll::Ready(Next::Quiet);
                    }
                    Poll::Ready(Answer::Displaced) => return end(errors::displaced()),
                    Poll::Ready(Answer::Closed { cause, reason }) => {
                        return end(errors::closed(cause.as_str(), reason));
                    }
                },
                // Asked again after its end.
                State::Ended => return Poll::Pending,
            }
        }
    }

    /// Goes on behind what it was handed.
    fn ask(&mut self) -> Result<State, ErrorBody> {
        let from = ReadFrom::Position(self.position);
        let (conn, wait_ms) = (self.read.conn(), self.keep_alive_ms);
        let polled = self
            .app()
            .poll(&self.name, self.key, from, wait_ms, conn)
            .map_err(|error| errors::access(&self.name, error))?;
        Ok(match polled {
            Polled::Ready(batch) => State::Ready(batch),
            Polled::Held(mailbox) => {
                self.read.held_by(mailbox);
                if self.gateway.is_stopping() {
                    // As above.
                    self.gateway.release_held();
                }
                State::Held
            }
            Polled::Displaced => return Err(errors::displaced()),
            // It wants to wait.
            Polled::Nothing => State::Asking,
        })
    }
}

/// A stream with what waits, which then ends and asks its client to come again
/// after a while.
///
/// # Errors
/// If the mailbox does not open or the cursor is ahead of it.
pub(super) fn at_once(
    app: &Arc<HostedApp>,
    name: &str,
    key: Key,
    cursor: Option<u64>,
    format: StreamFormat,
) -> Result<Vec<u8>, ErrorBody> {
    let read = HeldRead::new(app.clone());
    let conn = read.conn();
    let (position, mut polled) =
        app.follow(name, key, cursor, 0, conn).map_err(|error| errors::access(name, error))?;
    let mut out = Vec::new();
    format.begin(position, RETRY_AFTER_S * 1000, &mut out);
    for _ in 0..MAX_BATCHES_AT_ONCE {
        let Polled::Ready(batch) = polled else { break };
        format.batch(&batch, &mut out);
        let from = ReadFrom::Position(batch.cursor);
        // It was there just now; if it is gone, the next time tells.
        let Ok(more) = app.poll(name, key, from, 0, conn) else { break };
        polled = more;
    }
    Ok(out)
}

fn end(why: ErrorBody) -> Poll<Next> {
    Poll::Ready(Next::End(why))
}
