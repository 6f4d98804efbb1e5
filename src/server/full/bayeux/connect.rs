//! A connect: a read of the client's mailbox.

use super::{
    super::{super::browsers, held::HeldRead},
    Caller, Waiting, access, closed,
};
use crate::{
    core::{AccessError, Answer, CloseCause, Polled, ReadFrom},
    transport::bayeux::{self, Ack, Advice, Fault, Replies, Reply, ReplyExt, Said, What},
};
use serde_json::value::RawValue;
use std::{
    collections::HashSet,
    task::{Context, Poll},
};

/// How long a client is asked to wait when others of its browser have their
/// connects held, in milliseconds; CometD's value as well.
const MULTIPLE_CLIENTS_MS: u64 = browsers::RETRY_AFTER_S * 1000;

/// The same when another connect took the place of this one: two that took it
/// from each other would do so without end. In milliseconds.
const DISPLACED_MS: u64 = 1000;

/// The same when so many connects of a WebSocket wait that this one cannot, in
/// milliseconds.
const CROWDED_MS: u64 = 1000;

/// A connect that waits. Dropping it takes it back from its mailbox.
pub(super) struct Connect {
    asked: Asked,
    read: HeldRead,
}

/// What its answer has to say.
struct Asked {
    id: Option<Box<RawValue>>,
    /// Where it reads from, if it acknowledges and reads.
    cursor: Option<u64>,
    advice: Advice,
}

impl Connect {
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        self.read.poll_answer(cx)
    }

    /// Tells the client.
    pub fn answer(self, answer: &Answer, replies: &mut Replies) {
        self.read.app().requests().read(answer);
        self.asked.answer(answer, replies);
    }
}

/// Which of these messages are connects that are not the last of their client.
/// That one reads for all of them: each could be answered with the same messages.
pub(super) fn displaced(said: &[Said<'_>]) -> HashSet<usize> {
    if said.len() < 2 {
        return HashSet::new();
    }
    let mut newer = HashSet::new();
    let mut is_displaced = |said: &Said<'_>| match &said.what {
        Ok(What::Connect(bayeux::Connect { client, .. })) => {
            !newer.insert((client.mailbox.clone(), client.key.0))
        }
        _ => false,
    };
    (0..said.len()).rev().filter(|index| is_displaced(&said[*index])).collect()
}

impl Caller<'_> {
    /// Answers a connect that is displaced before it has read.
    pub(super) fn displaced(&self, said: &Said<'_>, replies: &mut Replies) {
        self.asked(said).answer(&Answer::Displaced, replies);
    }

    fn asked(&self, said: &Said<'_>) -> Asked {
        Asked { id: said.id.map(ToOwned::to_owned), cursor: None, advice: self.advice() }
    }

    /// Answers a connect, or has it wait.
    pub(super) fn connect(
        &self,
        said: &Said<'_>,
        connect: &bayeux::Connect,
        waiting: &mut Waiting,
        replies: &mut Replies,
    ) -> Result<(), Fault> {
        let app = self.app;
        let mut asked = self.asked(said);
        if replies.delivered_bytes() >= self.max_answer_bytes() {
            // Those of other clients are before it. What waits for this one
            // goes on waiting.
            asked.answer(&Answer::Nothing, replies);
            return Ok(());
        }
        let mut wait_ms = connect.timeout_ms.unwrap_or(u64::MAX).min(app.max_wait_ms());
        if waiting.connects.len() >= waiting.max {
            wait_ms = 0;
            // Where none may wait, the next one comes alone.
            asked.advice.interval = if waiting.max > 0 { CROWDED_MS } else { 0 };
        }
        let (name, key) = (connect.client.mailbox.as_str(), connect.client.key);
        let mut counted = None;
        if let Some(browser) = self.browser.filter(|_| wait_ms > 0) {
            let max = self.gateway.terms().http.max_reads_per_browser;
            counted = self.gateway.browsers().count(browser, key, max).ok();
            if counted.is_none() {
                wait_ms = 0;
                asked.advice.interval = MULTIPLE_CLIENTS_MS;
                asked.advice.multiple_clients = true;
            }
        }
        let mut read = HeldRead::new(app.clone());
        read.counts(counted);
        let conn = read.conn();
        let polled = if connect.client.acknowledges {
            // With none yet it starts where its seat does: of a shared mailbox
            // that is not the beginning.
            let ack = connect.ack.filter(|cursor| *cursor > 0);
            app.follow(name, key, ack, wait_ms, conn).map(|(cursor, polled)| {
                asked.cursor = Some(cursor);
                polled
            })
        } else {
            app.poll(name, key, ReadFrom::Handed, wait_ms, conn)
        };
        let answer = match polled {
            Ok(Polled::Ready(batch)) => Answer::Batch(batch),
            Ok(Polled::Nothing) => Answer::Nothing,
            Ok(Polled::Displaced) => Answer::Displaced,
            Err(AccessError::Closed { cause, reason }) => Answer::Closed { cause, reason },
            Err(error) => return Err(access(error)),
            Ok(Polled::Held(mailbox)) => {
                read.held_by(mailbox);
                waiting.connects.push(Connect { asked, read });
                if self.gateway.is_stopping() {
                    // This read may have come after the others were let go.
                    self.gateway.release_held();
                }
                return Ok(());
            }
        };
        app.requests().read(&answer);
        asked.answer(&answer, replies);
        Ok(())
    }
}

impl Asked {
    fn answer(&self, answer: &Answer, replies: &mut Replies) {
        let mut reply = Reply {
            channel: "/meta/connect",
            successful: true,
            id: self.id.as_deref(),
            advice: Some(self.advice),
            ..Reply::default()
        };
        let fault;
        match answer {
            Answer::Batch(batch) => {
                replies.deliver(batch);
                reply.ext.ack = self.cursor.map(|_| Ack::UpTo(batch.cursor));
                reply.ext.lost = batch.lost;
            }
            Answer::Nothing => reply.ext.ack = self.cursor.map(Ack::UpTo),
            // Without a cursor: the other one has perhaps come further, and the
            // client takes the last that it is told.
            Answer::Displaced => {
                reply.advice = Some(Advice { interval: DISPLACED_MS, ..self.advice });
            }
            Answer::Closed { cause, reason } => {
                fault = closed(*cause, reason);
                if !matches!(cause, CloseCause::Client | CloseCause::Expired) {
                    // What CometD's clients take for the server's word.
                    replies.push(&Reply {
                        channel: "/meta/disconnect",
                        successful: true,
                        ext: ReplyExt { reason: Some(reason), ..ReplyExt::default() },
                        ..Reply::default()
                    });
                }
                reply.successful = false;
                reply.error = Some(&fault);
                reply.advice = fault.reconnect.map(Advice::new);
            }
        }
        replies.push(&reply);
    }
}
