//! Bayeux: the clients of CometD, Dojo and Faye, by HTTP ([`http`]) and over a
//! WebSocket ([`socket`]).
//!
//! A client id is a mailbox's name and key, a connect is a read of it, a channel
//! is a group. So nothing is kept of a client but its mailbox, and a native
//! client hears it and is heard.

mod connect;
mod http;
mod page;
mod socket;

pub(super) use http::{Held, Http, answer};
pub(super) use socket::{Session, accept};

use self::connect::Connect;
use super::super::{
    errors,
    gateway::Gateway,
    hosted::{HostedApp, random_key},
    proxies,
};
use crate::{
    app::Refusal,
    core::{AccessError, CloseCause},
    plugin::OpenRequest,
    transport::{
        ErrorBody,
        bayeux::{
            Ack, Advice, ClientId, Fault, Handshake, Reconnect, Replies, Reply, ReplyExt, Said,
            What, encode_client,
        },
    },
};
use std::{net::IpAddr, sync::Arc};

/// After so many messages of a request others get a turn.
const MESSAGES_PER_TURN: usize = 32;

/// Who says something.
struct Caller<'a> {
    gateway: &'a Arc<Gateway>,
    app: &'a Arc<HostedApp>,
    /// Of the request, for a handshake.
    headers: &'a (dyn Fn() -> Vec<(String, String)> + Send + Sync),
    peer: IpAddr,
    /// Its browser, if the connects of that are counted.
    browser: Option<&'a str>,
}

/// Connects that wait for messages, and how many there may be.
struct Waiting {
    connects: Vec<Connect>,
    max: usize,
}

impl Caller<'_> {
    /// Does what the messages say, in order. What becomes of a connect that has
    /// to wait is told later.
    async fn hear(&self, said: &[Said<'_>], waiting: &mut Waiting, replies: &mut Replies) {
        // There is no client yet whose messages the others could be.
        let handshake = said.iter().find(|said| said.is_handshake());
        let said = handshake.map_or(said, std::slice::from_ref);
        let displaced = connect::displaced(said);
        for (index, said) in said.iter().enumerate() {
            if index > 0 && index % MESSAGES_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
            let done = match &said.what {
                Ok(_) if displaced.contains(&index) => {
                    self.displaced(said, replies);
                    Ok(())
                }
                Ok(what) => self.act(said, what, waiting, replies).await,
                Err(fault) => Err(fault.clone()),
            };
            if let Err(mut fault) = done {
                if said.is_handshake() {
                    // Without a word it would go by what it was told last.
                    fault.reconnect.get_or_insert(Reconnect::Handshake);
                }
                replies.push(&Reply::refused(said, &fault));
            }
        }
    }

    async fn act(
        &self,
        said: &Said<'_>,
        what: &What,
        waiting: &mut Waiting,
        replies: &mut Replies,
    ) -> Result<(), Fault> {
        let app = self.app;
        let is_taken = !matches!(what, What::Connect(_) | What::Disconnect(_));
        if is_taken {
            app.check_store().map_err(not_kept)?;
        }
        let _turn = app.turn().await;
        match what {
            What::Handshake(handshake) => return self.open(said, handshake, replies).await,
            What::Connect(connect) => return self.connect(said, connect, waiting, replies),
            What::Subscribe(ClientId { key, mailbox, .. }, groups) => app
                .call(|app, now, out| match &groups[..] {
                    // Only whether there is such a client.
                    [] => app.unsubscribe(now, mailbox.as_str(), *key, groups, out),
                    _ => app.subscribe(now, mailbox.as_str(), *key, groups, out),
                })
                .map_err(|refusal| fault(refusal, Some(mailbox.as_str())))?,
            What::Unsubscribe(ClientId { key, mailbox, .. }, groups) => app
                .call(|app, now, out| app.unsubscribe(now, mailbox.as_str(), *key, groups, out))
                .map_err(|refusal| fault(refusal, Some(mailbox.as_str())))?,
            What::Disconnect(ClientId { key, mailbox, .. }) => app
                .call(|app, now, out| app.close(now, mailbox.as_str(), *key, out))
                .map_err(access)?,
            What::Publish(ClientId { key, mailbox, .. }, group, data) => {
                if replies.replied_bytes() >= self.max_answer_bytes() {
                    let text = "the answer is full of replies: publish it in another request";
                    return Err(Fault::new(413, text).about(&said.channel));
                }
                let reply = app
                    .call(|app, now, out| {
                        app.message(now, mailbox.as_str(), *key, Some(group), data, out)
                    })
                    .map_err(|refusal| fault(refusal, Some(mailbox.as_str())))?;
                app.settled().await.map_err(not_kept)?;
                if let Some(reply) = reply {
                    replies.replied(group.as_str(), said.id, &reply);
                }
            }
        }
        if is_taken {
            app.settled().await.map_err(not_kept)?;
        }
        replies.push(&Reply::to(said));
        Ok(())
    }

    async fn open(
        &self,
        said: &Said<'_>,
        handshake: &Handshake,
        replies: &mut Replies,
    ) -> Result<(), Fault> {
        let headers = (self.headers)();
        let client = proxies::client(&self.gateway.terms().http, self.peer, &headers);
        let body = handshake.body.clone();
        let request = OpenRequest { body, headers, peer: client.to_string() };
        let key = random_key().map_err(|_| Fault::new(503, errors::no_random().message))?;
        let opened = self
            .app
            .call(|app, now, out| app.open(now, key, &request, out))
            .map_err(|refusal| fault(refusal, None))?;
        self.app.settled().await.map_err(not_kept)?;
        replies.push(&Reply {
            version: Some("1.0"),
            supported_connection_types: &handshake.connection_types,
            client_id: Some(&encode_client(&key, &opened.mailbox, handshake.ack)),
            advice: Some(self.advice()),
            ext: ReplyExt {
                ack: handshake.ack.then_some(Ack::Enabled(true)),
                reply: opened.reply.as_ref(),
                ..ReplyExt::default()
            },
            ..Reply::to(said)
        });
        Ok(())
    }

    /// What the answer to a request may hold of messages, and of replies to what
    /// is published: nothing is added to what has reached it.
    fn max_answer_bytes(&self) -> usize {
        self.app.app().limits().core.max_batch_bytes
    }

    /// What a client does if there is nothing special.
    fn advice(&self) -> Advice {
        Advice { timeout: Some(self.app.max_wait_ms()), ..Advice::new(Reconnect::Retry) }
    }
}

/// Why a mailbox does not open.
fn access(error: AccessError) -> Fault {
    match error {
        AccessError::NotFound | AccessError::WrongKey => Fault::unknown_client(),
        // As a new client it counts anew.
        AccessError::BadCursor { last } => {
            Fault::new(400, format!("ext.ack is ahead of the last message, which is {last}"))
                .then(Reconnect::Handshake)
        }
        AccessError::Closed { cause, reason } => closed(cause, &reason),
    }
}

/// As for native clients, a mailbox that was closed on purpose is not to be
/// opened again at once.
fn closed(cause: CloseCause, reason: &str) -> Fault {
    match cause {
        CloseCause::Expired => Fault::unknown_client(),
        CloseCause::Client => Fault::new(402, "the client disconnected").then(Reconnect::None),
        CloseCause::Plugin | CloseCause::Operator | CloseCause::Replaced => {
            Fault::new(410, format!("closed: {reason}")).then(Reconnect::None)
        }
    }
}

/// The store cannot be written.
fn not_kept(error: ErrorBody) -> Fault {
    Fault::new(error.code.status(), error.message)
}

/// Why an event had no effect. `mailbox`: the one it is about; none for a
/// handshake.
fn fault(refusal: Refusal, mailbox: Option<&str>) -> Fault {
    // Whoever is refused a mailbox is so again; what is full or broken now may
    // be better later.
    let is_final = matches!(refusal, Refusal::Rejected { .. } | Refusal::NameTaken(_));
    let refused = match refusal {
        Refusal::Access(error) => return access(error),
        refusal => errors::refusal(mailbox.unwrap_or_default(), refusal),
    };
    let fault = Fault::new(refused.code.status(), refused.message);
    match mailbox {
        Some(_) => fault,
        None if is_final => fault.then(Reconnect::None),
        None => fault.then(Reconnect::Handshake),
    }
}
