//! Bayeux over a WebSocket: arrays of messages in both directions. A connect
//! waits while others are answered.

use super::{
    super::{
        super::{ask::Ask, gateway::Gateway, hosted::HostedApp, reply::Reply},
        conn::Conn,
        websocket::{self, Close, Stream},
    },
    Caller, MESSAGES_PER_TURN, Waiting,
    page::Page,
};
use crate::transport::{
    ErrorBody, Format,
    bayeux::{Replies, decode_messages},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Response, header, request::Parts};
use std::{
    future::poll_fn,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

/// Most connects of one WebSocket that wait. A client has one, and a second one
/// until the first is told that it was displaced.
const MAX_WAITING: usize = 4;

/// What goes on once the handshake of the WebSocket is through.
pub(in super::super) struct Session {
    gateway: Arc<Gateway>,
    app: Arc<HostedApp>,
    headers: Vec<(String, String)>,
    peer: IpAddr,
}

/// The answer to a handshake, and what follows it.
///
/// # Errors
/// If its page may not use the gateway, or it is no valid handshake of version
/// 13.
pub(in super::super) fn accept(
    gateway: &Arc<Gateway>,
    app: &Arc<HostedApp>,
    ask: &Ask<'_>,
    parts: &Parts,
) -> Result<(Response<()>, Session), Reply> {
    Page::of(&gateway.terms().origins, parts)
        .check(ask)
        .map_err(|error| Reply::error(&error, Format::Json))?;
    let mut response = websocket::handshake(parts)?;
    // Bayeux names none. A client that offers some wants one: browsers end a connection that is
    // answered without.
    let offered = parts.headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(first_of);
    if let Some(name) = offered {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    let (gateway, app) = (gateway.clone(), app.clone());
    Ok((response, Session { gateway, app, headers: (ask.headers)(), peer: ask.peer }))
}

/// The first name of a list.
fn first_of(names: &HeaderValue) -> Option<HeaderValue> {
    let name = names.to_str().ok()?.split(',').map(str::trim).find(|name| !name.is_empty())?;
    // A part of a header's value is one.
    HeaderValue::from_str(name).ok()
}

impl Session {
    /// With what to close it; none if that has happened.
    pub async fn talk(&self, socket: &mut Stream, conn: &Conn) -> Option<Close> {
        let mut waiting = Waiting { connects: Vec::new(), max: MAX_WAITING };
        let keep_alive = Duration::from_secs(self.gateway.terms().http.keep_alive_s);
        let mut pings = interval_at(Instant::now() + keep_alive, keep_alive);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Since the last ping.
        let mut was_heard = true;
        // Since others had their turn.
        let mut messages = 0;
        loop {
            let is_idle = waiting.connects.is_empty();
            let going_down = poll_fn(|cx| match conn.orders(cx).finish {
                true => Poll::Ready(()),
                false => Poll::Pending,
            });
            let replies = tokio::select! {
                message = socket.next() => {
                    was_heard = true;
                    match message? {
                        Ok(Message::Text(text)) => match self
                            .hear(&text, &mut waiting, &mut messages)
                            .await
                        {
                            Ok(Some(replies)) => replies,
                            Ok(None) => continue,
                            Err(error) => {
                                return Some(websocket::close(CloseCode::Policy, &error.message));
                            }
                        },
                        Ok(Message::Binary(_)) => {
                            let reason = "Bayeux has text messages";
                            return Some(websocket::close(CloseCode::Unsupported, reason));
                        }
                        // Pings and a close are answered by the library, which
                        // keeps the answers: nothing is read before they have gone.
                        Ok(_) => {
                            socket.flush().await.ok()?;
                            continue;
                        }
                        Err(error) => return websocket::broken(&error),
                    }
                }
                replies = poll_fn(|cx| poll_connects(&mut waiting, cx)) => replies,
                _ = pings.tick() => {
                    if !std::mem::take(&mut was_heard) {
                        return Some(websocket::gone());
                    }
                    socket.send(Message::Ping(Bytes::new())).await.ok()?;
                    continue;
                }
                // Connects that wait are let go, and told so before.
                () = going_down, if is_idle => {
                    let reason = "shutting_down: come again in a moment";
                    return Some(websocket::close(CloseCode::Restart, reason));
                }
            };
            // JSON is UTF-8.
            let text = String::from_utf8(replies.into_json()).ok()?;
            socket.send(Message::text(text)).await.ok()?;
        }
    }

    /// The replies, if there are any. `messages` counts those since others had
    /// their turn.
    async fn hear(
        &self,
        text: &str,
        waiting: &mut Waiting,
        messages: &mut usize,
    ) -> Result<Option<Replies>, ErrorBody> {
        let Self { gateway, app, peer, .. } = self;
        let said = decode_messages(text, gateway.terms().http.max_batch_items)?;
        let headers = || self.headers.clone();
        let caller = Caller { gateway, app, headers: &headers, peer: *peer, browser: None };
        let mut replies = Replies::default();
        caller.hear(&said, waiting, &mut replies).await;
        // An empty one is work as well.
        *messages += said.len().max(1);
        if *messages >= MESSAGES_PER_TURN {
            *messages = 0;
            tokio::task::yield_now().await;
        }
        // An empty array is asked to see whether anybody is there.
        Ok((!replies.is_empty() || said.is_empty()).then_some(replies))
    }
}

/// The answer to the first of the connects that has one.
fn poll_connects(waiting: &mut Waiting, cx: &mut Context<'_>) -> Poll<Replies> {
    let connects = &mut waiting.connects;
    let found = connects.iter_mut().enumerate().find_map(|(place, connect)| {
        match connect.poll_answer(cx) {
            Poll::Ready(answer) => Some((place, answer)),
            Poll::Pending => None,
        }
    });
    let Some((place, answer)) = found else { return Poll::Pending };
    let mut replies = Replies::default();
    connects.remove(place).answer(&answer, &mut replies);
    Poll::Ready(replies)
}
