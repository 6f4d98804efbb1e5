//! WebSockets (RFC 6455), and a mailbox over one: messages out, messages and
//! confirmations in.
//!
//! A browser does not tell a page which status refused its handshake. So what
//! is wrong with a mailbox (its key, its cursor, that it is gone) is said by a
//! close code after the handshake: 4000 plus the status.

use super::{
    super::{
        ask::Ask,
        errors,
        gateway::Gateway,
        hosted::HostedApp,
        reply::Reply,
        routes::{self, Endpoint, ReadAsk},
    },
    LINGER, bayeux,
    conn::{Conn, Phase, Socket},
    follow::{Follower, Next},
    linger,
};
use crate::{
    core::{Batch, Key, Name, Payload},
    transport::{self, Code, ErrorBody, Format, Frame},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, Version, header, request::Parts};
use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::{CapacityError, ProtocolError},
        handshake::server::create_response,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// A client that sends without end gives others their turn after so many
/// messages.
const MESSAGES_PER_TURN: usize = 32;

/// Of the protocol that there is (RFC 6455, 4.1).
const VERSION: &str = "13";

/// Kept per connection to read into, in bytes: what clients send is small.
const READ_BUFFER_BYTES: usize = 4096;

/// Longest reason of a close frame, in bytes (RFC 6455, 5.5: 125 with the code).
const MAX_REASON_BYTES: usize = 123;

/// It does not answer any more: 4000 and the status of a time-out.
const GONE: CloseCode = CloseCode::Library(4408);

/// What a connection is once it is no longer HTTP.
pub(super) enum Upgrade {
    Mailbox(Session),
    Bayeux(bayeux::Session),
    /// What comes goes back: shows whether all on the way passes WebSockets,
    /// and lets a conformance suite look at how they are served.
    Echo,
}

/// A mailbox, once the handshake is through.
pub(super) struct Session {
    gateway: Arc<Gateway>,
    app: Arc<HostedApp>,
    mailbox: Box<str>,
    format: Format,
    /// Or what is wrong with the request; the client is told by a close code.
    read: Result<ReadAsk, ErrorBody>,
}

/// Whether a request asks for a WebSocket.
pub(super) fn is_asked(parts: &Parts) -> bool {
    parts.version == Version::HTTP_11
        && parts
            .headers
            .get(header::UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The answer to a handshake, and what follows it.
///
/// # Errors
/// If it is no valid handshake of version 13.
pub(super) fn accept(
    gateway: &Arc<Gateway>,
    app: &Arc<HostedApp>,
    mailbox: &str,
    ask: &Ask<'_>,
    parts: &Parts,
) -> Result<(Response<()>, Session), Reply> {
    let is_offered = parts.headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    let offered = || {
        let lines = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        lines.filter_map(|names| names.to_str().ok())
    };
    let format = match is_offered {
        false => Some(Format::Json),
        true => offered().find_map(Format::of_sub_protocols),
    };
    let Some(format) = format else {
        let names = [Format::Json, Format::MsgPack].map(Format::sub_protocol).join(" and ");
        return Err(bad(format!("the sub-protocols here are {names}")));
    };
    let mut response = handshake(parts)?;
    if is_offered {
        let name = HeaderValue::from_static(format.sub_protocol());
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    // Of what was offered only the format is answered, so that the key stays in the request.
    let key = offered().find_map(transport::key_of_sub_protocols);
    let read = routes::read_ask(app, mailbox, ask, key);
    let (gateway, app) = (gateway.clone(), app.clone());
    Ok((response, Session { gateway, app, mailbox: mailbox.into(), format, read }))
}

/// The answer to a handshake without a sub-protocol.
///
/// # Errors
/// If it is no valid handshake of version 13.
pub(super) fn handshake(parts: &Parts) -> Result<Response<()>, Reply> {
    let version = parts.headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_some_and(|version| version != VERSION) {
        // RFC 6455, 4.4.
        let message = format!("the version of WebSocket here is {VERSION}");
        let reply = Reply::error(&ErrorBody::new(Code::UpgradeRequired, message), Format::Json);
        return Err(reply.with("upgrade", "websocket").with("sec-websocket-version", VERSION));
    }
    create_response(&Request::from_parts(parts.clone(), ()))
        .map_err(|error| bad(format!("this is no valid WebSocket handshake: {error}")))
}

fn bad(message: String) -> Reply {
    Reply::error(&ErrorBody::new(Code::BadRequest, message), Format::Json)
}

/// Serves a WebSocket to its end. `before` was read of it already.
pub(super) async fn serve(
    gateway: &Gateway,
    upgrade: Upgrade,
    socket: Socket,
    before: Bytes,
    conn: &Conn,
) {
    conn.enter(Phase::Streaming);
    let max_bytes = match &upgrade {
        Upgrade::Mailbox(_) => gateway.terms().http.max_frame_bytes,
        // Bayeux has no other way for what is larger.
        Upgrade::Bayeux(_) | Upgrade::Echo => gateway.terms().http.max_body_bytes,
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(max_bytes))
        .max_frame_size(Some(max_bytes));
    let mut socket = WebSocketStream::from_partially_read(
        socket.upgraded(),
        before.into(),
        Role::Server,
        Some(config),
    )
    .await;
    // The one order that is not for later: it does not read what it is sent.
    let timed_out = poll_fn(|cx| match conn.orders(cx).timed_out {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    let run = async {
        let close = match upgrade {
            Upgrade::Mailbox(session) => session.talk(&mut socket).await,
            Upgrade::Bayeux(session) => session.talk(&mut socket, conn).await,
            Upgrade::Echo => echo(&mut socket).await,
        };
        let Some(close) = close else { return };
        // The closing handshake; if it does not come about, so be it.
        let goodbye = async {
            socket.close(Some(close)).await?;
            while socket.next().await.transpose()?.is_some() {}
            Ok::<_, Error>(())
        };
        if tokio::time::timeout(LINGER, goodbye).await.is_ok_and(|done| done.is_err()) {
            // It broke the rules, so that nothing more is read; but its close
            // frame would be destroyed by what it still sends.
            linger(socket.into_inner().into_pipe(), usize::MAX).await;
        }
    };
    tokio::select! {
        () = run => {}
        () = timed_out => {}
    }
}

pub(super) type Stream = WebSocketStream<Socket>;

/// With what a WebSocket is closed.
pub(super) type Close = CloseFrame;

/// With what to close it; none if that has happened.
async fn echo(socket: &mut Stream) -> Option<CloseFrame> {
    loop {
        match socket.next().await? {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                socket.send(message).await.ok()?;
            }
            // Nothing is read before the answer to a ping has gone.
            Ok(_) => socket.flush().await.ok()?,
            Err(error) => return broken(&error),
        }
    }
}

impl Session {
    /// With what to close it; none if that has happened.
    async fn talk(&self, socket: &mut Stream) -> Option<CloseFrame> {
        let (key, mut follower) = match self.start().await {
            Ok(started) => started,
            Err(why) => {
                self.app.requests().stream("websocket", why.code.status());
                return Some(close_frame(&why));
            }
        };
        // At once, so that the client knows where it is and that it gets through.
        let mut out = Vec::new();
        let position = follower.position();
        transport::batch(self.format, &empty(position), &mut out);
        socket.send(self.message(out)).await.ok()?;
        let period = Duration::from_secs(self.gateway.terms().http.keep_alive_s);
        let mut pings = interval_at(Instant::now() + period, period);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Since the last ping.
        let mut was_heard = true;
        let mut messages = 0_usize;
        loop {
            tokio::select! {
                _ = pings.tick() => {
                    if !std::mem::take(&mut was_heard) {
                        return Some(gone());
                    }
                    socket.send(Message::Ping(Bytes::new())).await.ok()?;
                }
                message = socket.next() => {
                    was_heard = true;
                    messages += 1;
                    if messages.is_multiple_of(MESSAGES_PER_TURN) {
                        tokio::task::yield_now().await;
                    }
                    let answer = match message? {
                        Ok(Message::Text(text)) if self.format == Format::Json => {
                            self.hear(key, text.as_bytes()).await
                        }
                        Ok(Message::Binary(bytes)) if self.format == Format::MsgPack => {
                            self.hear(key, &bytes).await
                        }
                        Ok(Message::Text(_) | Message::Binary(_)) => {
                            let kind = if self.format == Format::Json { "text" } else { "binary" };
                            let reason = format!("this sub-protocol has {kind} messages");
                            return Some(close(CloseCode::Unsupported, &reason));
                        }
                        // Pings and a close are answered by the library, which
                        // keeps the answers: nothing is read before they have gone.
                        Ok(_) => {
                            socket.flush().await.ok()?;
                            None
                        }
                        Err(error) => return broken(&error),
                    };
                    if let Some(answer) = answer {
                        socket.send(self.message(answer)).await.ok()?;
                    }
                }
                next = poll_fn(|cx| follower.poll_next(cx)) => {
                    let message = match next {
                        Next::Batch(batch) => {
                            let mut out = Vec::new();
                            transport::batch(self.format, &batch, &mut out);
                            self.message(out)
                        }
                        // A page cannot see pings.
                        Next::Quiet => {
                            let mut out = Vec::new();
                            transport::batch(self.format, &empty(follower.position()), &mut out);
                            self.message(out)
                        }
                        Next::End(why) => return Some(close_frame(&why)),
                    };
                    socket.send(message).await.ok()?;
                }
            }
        }
    }

    async fn start(&self) -> Result<(Key, Follower), ErrorBody> {
        let ReadAsk { key, cursor, .. } = self.read.clone()?;
        let _turn = self.app.turn().await;
        // Browsers have other connections for these, so they do not count.
        let follower = Follower::start(&self.gateway, &self.app, &self.mailbox, key, cursor, None)?;
        Ok((key, follower))
    }

    fn message(&self, bytes: Vec<u8>) -> Message {
        match self.format {
            Format::Json => match String::from_utf8(bytes) {
                Ok(text) => Message::text(text),
                // JSON is UTF-8.
                Err(error) => Message::binary(error.into_bytes()),
            },
            Format::MsgPack => Message::binary(bytes),
        }
    }

    /// Does what a client says; the answer, if it is to have one.
    async fn hear(&self, key: Key, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let frame = match transport::decode_frame(self.format, bytes) {
            Ok(frame) => frame,
            Err(error) => {
                transport::refused(self.format, None, &error, &mut out);
                return Some(out);
            }
        };
        let id = frame.id;
        match self.act(key, frame).await {
            Ok(reply) => transport::replied(self.format, id?, reply.as_ref(), &mut out),
            Err(error) => transport::refused(self.format, id, &error, &mut out),
        }
        Some(out)
    }

    async fn act(&self, key: Key, frame: Frame) -> Result<Option<Payload>, ErrorBody> {
        let name = &self.mailbox;
        if let Some(cursor) = frame.cursor {
            self.app
                .call(|app, now, _| app.confirm(now, name, key, cursor))
                .map_err(|error| errors::access(name, error))?;
        }
        let Some(data) = frame.send else { return Ok(None) };
        let result = self.send(key, frame.channel.as_ref(), &data).await;
        let status = match &result {
            Ok(None) => 204,
            Ok(Some(_)) => 200,
            Err(error) => error.code.status(),
        };
        self.app.requests().reply(&Endpoint::Send(name.as_ref().into()), status);
        result
    }

    async fn send(
        &self,
        key: Key,
        channel: Option<&Name>,
        data: &Payload,
    ) -> Result<Option<Payload>, ErrorBody> {
        self.app.check_store()?;
        let reply = {
            let _turn = self.app.turn().await;
            self.app.call(|app, now, out| app.message(now, &self.mailbox, key, channel, data, out))
        };
        let reply = reply.map_err(|refusal| errors::refusal(&self.mailbox, refusal))?;
        self.app.settled().await?;
        Ok(reply)
    }
}

fn empty(cursor: u64) -> Batch {
    Batch { cursor, lost: 0, messages: smallvec::SmallVec::new() }
}

fn close_frame(why: &ErrorBody) -> CloseFrame {
    let code = match why.code {
        Code::ShuttingDown => CloseCode::Restart,
        Code::Overloaded => CloseCode::Again,
        code => CloseCode::from(4000 + code.status()),
    };
    let reason = why.reason.as_deref().unwrap_or(&why.message);
    close(code, &format!("{}: {reason}", why.code.as_str()))
}

/// The code, and as much of the reason as fits.
pub(super) fn close(code: CloseCode, reason: &str) -> CloseFrame {
    let end = reason.floor_char_boundary(MAX_REASON_BYTES);
    CloseFrame { code, reason: reason[..end].into() }
}

/// It did not answer a ping for as long as it takes to be asked again.
pub(super) fn gone() -> CloseFrame {
    close(GONE, "no answer to a ping")
}

/// What to tell a client that broke the rules; none if nobody is there.
pub(super) fn broken(error: &Error) -> Option<CloseFrame> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            Some(close(CloseCode::Size, &format!("a message has at most {max_size} bytes")))
        }
        Error::Utf8(_) => Some(close(CloseCode::Invalid, "a text that is not UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(error) => Some(close(CloseCode::Protocol, &error.to_string())),
        _ => None,
    }
}
