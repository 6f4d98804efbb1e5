//! The protocol's requests, whatever HTTP they came by.
//!
//! [`find`] says what a method and a path mean; [`Route::takes_body`] whether
//! its body is wanted; [`run_now`] or [`run`] does it. Of a read that is held
//! nothing is kept but its mailbox's id: the answer comes for its connection.

use super::{
    ask::Ask,
    browsers::{self, Counted},
    errors,
    gateway::Gateway,
    hosted::{HostedApp, random_key},
    proxies, publish,
    reply::Reply,
};
use crate::{
    core::{Answer, ConnId, Key, MailboxId, Name, Polled, ReadFrom},
    plugin::OpenRequest,
    transport::{self, Code, ErrorBody, StreamFormat},
};
use percent_encoding::percent_decode_str;
use std::{borrow::Cow, sync::Arc};

/// What a request asks for.
pub struct Route<'a> {
    pub app: Arc<HostedApp>,
    pub endpoint: Endpoint<'a>,
}

/// The requests of the protocol; those about a mailbox with its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint<'a> {
    Open,
    Read(Cow<'a, str>),
    Send(Cow<'a, str>),
    Confirm(Cow<'a, str>),
    Close(Cow<'a, str>),
    Publish,
}

impl Endpoint<'_> {
    /// As metrics call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read(_) => "read",
            Self::Send(_) => "send",
            Self::Confirm(_) => "confirm",
            Self::Close(_) => "close",
            Self::Publish => "publish",
        }
    }
}

impl Route<'_> {
    #[must_use]
    pub fn takes_body(&self) -> bool {
        matches!(self.endpoint, Endpoint::Open | Endpoint::Send(_) | Endpoint::Publish)
    }

    /// Whether its answer is a stream, and of what kind.
    #[must_use]
    pub fn stream(&self, ask: &Ask<'_>) -> Option<StreamFormat> {
        match self.endpoint {
            Endpoint::Read(_) => ask.accepted.stream(),
            _ => None,
        }
    }

    /// Whether it should not run in a place where others wait for it: it has to
    /// wait itself, or it can take long.
    #[must_use]
    pub fn is_slow(&self, body: &[u8]) -> bool {
        self.app.takes_turns()
            || self.app.waits_for_store() && self.takes_body()
            || self.endpoint == Endpoint::Publish && transport::is_batch(body)
    }
}

/// How a request ends.
pub enum Outcome {
    Reply(Reply),
    /// Of a read.
    Answer(Answer),
    /// A read is held by this mailbox; the answer comes for its connection. It
    /// may count among those of a browser for as long.
    Held(MailboxId, Option<Counted>),
}

impl Outcome {
    fn of(result: Result<Reply, ErrorBody>, ask: &Ask<'_>) -> Self {
        Self::Reply(result.unwrap_or_else(|error| Reply::error(&error, ask.accepted.format())))
    }
}

/// Why there is no route.
#[derive(Debug)]
pub struct NoRoute {
    pub error: ErrorBody,
    /// The methods that there are instead.
    pub allow: Option<&'static str>,
}

/// Whether a path is one of the protocol, right or wrong; in dev the others are
/// pages.
#[must_use]
pub fn is_ours(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    let second = parts.nth(1);
    matches!(second, Some("mailboxes" | "publish" | "bayeux"))
}

/// Whether clients of some app speak Bayeux at this path.
#[must_use]
pub fn is_bayeux(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    // CometD's clients say behind it what they do.
    parts.nth(1) == Some("bayeux") && parts.nth(1).is_none()
}

/// The app whose clients speak Bayeux at this path, if there is one: what is not
/// about a mailbox is not in [`Route`].
#[must_use]
pub fn find_bayeux<'g>(
    gateway: &'g Gateway,
    method: &str,
    path: &str,
) -> Option<&'g Arc<HostedApp>> {
    if !is_bayeux(path) || !matches!(method, "GET" | "POST") {
        return None;
    }
    gateway.app(path.strip_prefix('/')?.split('/').next()?)
}

/// What a method and a path (percent-encoded, as it came) ask for.
///
/// # Errors
/// If there is no such app, path or method, or the mailbox's name is none.
pub fn find<'a>(gateway: &Gateway, method: &str, path: &'a str) -> Result<Route<'a>, NoRoute> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (app, rest) = transport::split_once(path, b'/').unwrap_or((path, ""));
    let Some(place) = Place::of(rest) else {
        if is_bayeux(path) && gateway.app(app).is_some() {
            return Err(NoRoute::method(method, "GET, POST"));
        }
        let message = "there is nothing at this path; the gateway has /{app}/mailboxes, \
                       /{app}/mailboxes/{name}, /{app}/mailboxes/{name}/confirm, \
                       /{app}/publish and (by GET and POST) /{app}/bayeux";
        return Err(NoRoute::new(Code::NotFound, message));
    };
    let Some(app) = gateway.app(app) else {
        return Err(NoRoute::new(Code::NotFound, format!("no app {app:?} here")));
    };
    let endpoint = match (&place, method) {
        (Place::Mailboxes, "POST") => Endpoint::Open,
        (Place::Publish, "POST") => Endpoint::Publish,
        (Place::Mailbox(name), "GET") => Endpoint::Read(mailbox_name(name)?),
        (Place::Mailbox(name), "POST") => Endpoint::Send(mailbox_name(name)?),
        (Place::Confirm(name), "POST") => Endpoint::Confirm(mailbox_name(name)?),
        (Place::Mailbox(name), "DELETE") => Endpoint::Close(mailbox_name(name)?),
        _ => {
            let allow = match place {
                Place::Mailbox(_) => "GET, POST, DELETE",
                Place::Mailboxes | Place::Confirm(_) | Place::Publish => "POST",
            };
            return Err(NoRoute::method(method, allow));
        }
    };
    Ok(Route { app: app.clone(), endpoint })
}

/// The kinds of paths.
enum Place<'a> {
    Mailboxes,
    /// Its name, percent-encoded.
    Mailbox(&'a str),
    /// The same.
    Confirm(&'a str),
    Publish,
}

impl<'a> Place<'a> {
    /// Of what follows the app's name in a path.
    fn of(path: &'a str) -> Option<Self> {
        match transport::split_once(path, b'/') {
            None if path == "mailboxes" => Some(Self::Mailboxes),
            None if path == "publish" => Some(Self::Publish),
            Some(("mailboxes", rest)) => match transport::split_once(rest, b'/') {
                None => Some(Self::Mailbox(rest)),
                Some((name, "confirm")) => Some(Self::Confirm(name)),
                Some(_) => None,
            },
            _ => None,
        }
    }
}

impl NoRoute {
    fn new(code: Code, message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self { error: ErrorBody::new(code, message), allow: None }
    }

    fn method(method: &str, allow: &'static str) -> Self {
        let message = format!("{method} does not work here; {allow} would");
        Self { allow: Some(allow), ..Self::new(Code::MethodNotAllowed, message) }
    }
}

fn mailbox_name(encoded: &str) -> Result<Cow<'_, str>, NoRoute> {
    let name = decode("the mailbox's name", encoded).and_then(|text| {
        Name::check(&text).map_err(|error| ErrorBody::new(Code::BadName, error.to_string()))?;
        Ok(text)
    });
    name.map_err(|error| NoRoute { error, allow: None })
}

/// As clients of Bayeux may publish to, but for the slash in front.
fn channel_name(encoded: &str) -> Result<Name, ErrorBody> {
    transport::channel(&decode("channel", encoded)?)
}

fn decode<'a>(what: &str, encoded: &'a str) -> Result<Cow<'a, str>, ErrorBody> {
    if !encoded.contains('%') {
        return Ok(Cow::Borrowed(encoded));
    }
    percent_decode_str(encoded).decode_utf8().map_err(|_| {
        ErrorBody::new(Code::BadName, format!("{what} is not UTF-8 once percent-decoded"))
    })
}

/// Does what the request asks for, at once. `conn` is who gets the answer to a
/// read that comes to be held.
pub fn run_now(
    gateway: &Gateway,
    route: &Route<'_>,
    ask: &Ask<'_>,
    body: &[u8],
    conn: ConnId,
) -> Outcome {
    let app = &route.app;
    match &route.endpoint {
        Endpoint::Read(name) => read(gateway, app, name, ask, conn)
            .unwrap_or_else(|error| Outcome::Reply(Reply::error(&error, ask.accepted.format()))),
        Endpoint::Open => Outcome::of(open(gateway, app, ask, body), ask),
        Endpoint::Send(name) => Outcome::of(send(app, name, ask, body), ask),
        Endpoint::Confirm(name) => Outcome::of(confirm(app, name, ask), ask),
        Endpoint::Close(name) => Outcome::of(close(app, name, ask), ask),
        Endpoint::Publish => Outcome::of(publish::publish_now(gateway, app, ask, body), ask),
    }
}

/// The same for a [`Route::is_slow`] request: waits for the app's turn, and
/// gives others theirs between the items of a batch.
pub async fn run(
    gateway: &Gateway,
    route: &Route<'_>,
    ask: &Ask<'_>,
    body: &[u8],
    conn: ConnId,
) -> Outcome {
    let outcome = if route.endpoint == Endpoint::Publish {
        Outcome::of(publish::publish(gateway, &route.app, ask, body).await, ask)
    } else {
        let _turn = route.app.turn().await;
        run_now(gateway, route, ask, body, conn)
    };
    if !route.takes_body() {
        return outcome; // what it says has not to be kept
    }
    let settled = route.app.settled().await;
    settled.map_or_else(|error| Outcome::of(Err(error), ask), |()| outcome)
}

fn open(
    gateway: &Gateway,
    app: &HostedApp,
    ask: &Ask<'_>,
    body: &[u8],
) -> Result<Reply, ErrorBody> {
    app.check_store()?;
    let body = transport::decode_body(ask.content_type, body)?;
    let headers = (ask.headers)();
    let terms = gateway.terms();
    let client = proxies::client(&terms.http, ask.peer, &headers);
    let cookie = browsers::welcome(&headers, &terms.origins, ask.origin);
    let open = OpenRequest { body, headers, peer: client.to_string() };
    let key = random_key().map_err(|_| errors::no_random())?;
    let opened = app
        .call(|app, now, out| app.open(now, key, &open, out))
        .map_err(|refusal| errors::refusal("", refusal))?;
    let key = transport::encode_key(&key);
    let reply = Reply::encoded(201, ask.accepted.format(), |format, out| {
        let reply = opened.reply.as_ref();
        transport::opened(format, &opened.mailbox, &key, opened.cursor, reply, out);
    });
    Ok(match cookie {
        Some(cookie) => reply.with("set-cookie", cookie),
        None => reply,
    })
}

fn read(
    gateway: &Gateway,
    app: &HostedApp,
    name: &str,
    ask: &Ask<'_>,
    conn: ConnId,
) -> Result<Outcome, ErrorBody> {
    let ReadAsk { key, cursor, mut wait_ms } = read_ask(app, name, ask, None)?;
    let counted = match wait_ms {
        0 => Ok(None),
        _ => browsers::count(gateway, ask, key),
    };
    if counted.is_err() {
        wait_ms = 0;
    }
    let from = ReadFrom::Cursor(cursor);
    let polled =
        app.poll(name, key, from, wait_ms, conn).map_err(|error| errors::access(name, error))?;
    Ok(match polled {
        Polled::Ready(batch) => Outcome::Answer(Answer::Batch(batch)),
        Polled::Nothing if counted.is_err() => {
            let seconds = browsers::RETRY_AFTER_S.to_string();
            Outcome::Reply(Reply::empty(204).with("retry-after", seconds))
        }
        Polled::Nothing => Outcome::Answer(Answer::Nothing),
        Polled::Displaced => Outcome::Answer(Answer::Displaced),
        Polled::Held(mailbox) => {
            if gateway.is_stopping() {
                // This read may have come after the others were let go.
                gateway.release_held();
            }
            Outcome::Held(mailbox, counted.ok().flatten())
        }
    })
}

/// What a read asks for.
#[derive(Clone, Debug)]
pub struct ReadAsk {
    pub key: Key,
    pub cursor: Option<u64>,
    /// Of a long-poll; within what the app allows.
    pub wait_ms: u64,
}

/// `offered` is the key that a WebSocket brings as a sub-protocol.
///
/// # Errors
/// If the key cannot be one, or something in the query is wrong.
pub fn read_ask(
    app: &HostedApp,
    name: &str,
    ask: &Ask<'_>,
    offered: Option<&str>,
) -> Result<ReadAsk, ErrorBody> {
    let query = transport::read_query(ask.query)?;
    let key = mailbox_key(name, ask, offered.or(query.key))?;
    // More than allowed is taken as what is allowed: a read that ends early with
    // 204 is nothing special.
    let max_wait_ms = app.max_wait_ms();
    let wait_ms = query.wait_s.map_or(u64::MAX, |s| s.saturating_mul(1000)).min(max_wait_ms);
    // What an `EventSource` got last is newer than the URL that it was made for.
    let cursor = match ask.last_event_id {
        Some(id) if !id.is_empty() => Some(transport::header_cursor("last-event-id", id)?),
        // An empty one says that there is none.
        _ => query.last_event_id.or(query.cursor),
    };
    Ok(ReadAsk { key, cursor, wait_ms })
}

fn confirm(app: &HostedApp, name: &str, ask: &Ask<'_>) -> Result<Reply, ErrorBody> {
    let query = transport::read_query(ask.query)?;
    let key = mailbox_key(name, ask, query.key)?;
    let Some(cursor) = query.cursor else {
        let message = "cursor is missing: the last seq that was processed, as in ?cursor=7";
        return Err(ErrorBody::new(Code::BadRequest, message));
    };
    app.call(|app, now, _| app.confirm(now, name, key, cursor))
        .map_err(|error| errors::access(name, error))?;
    Ok(Reply::empty(204))
}

fn send(app: &HostedApp, name: &str, ask: &Ask<'_>, body: &[u8]) -> Result<Reply, ErrorBody> {
    let query = transport::send_query(ask.query)?;
    let key = mailbox_key(name, ask, query.key)?;
    let channel = query.channel.map(channel_name).transpose()?;
    app.check_store()?;
    let data = transport::decode_body(ask.content_type, body)?;
    let reply = app
        .call(|app, now, out| app.message(now, name, key, channel.as_ref(), &data, out))
        .map_err(|refusal| errors::refusal(name, refusal))?;
    Ok(match reply {
        None => Reply::empty(204),
        Some(reply) => Reply::encoded(200, ask.accepted.format(), |format, out| {
            transport::reply(format, &reply, out);
        }),
    })
}

fn close(app: &HostedApp, name: &str, ask: &Ask<'_>) -> Result<Reply, ErrorBody> {
    let key = mailbox_key(name, ask, transport::key_query(ask.query)?)?;
    app.call(|app, now, out| app.close(now, name, key, out))
        .map_err(|error| errors::access(name, error))?;
    Ok(Reply::empty(204))
}

/// The key that a request brings, in its `Authorization` or elsewhere.
fn mailbox_key(name: &str, ask: &Ask<'_>, elsewhere: Option<&str>) -> Result<Key, ErrorBody> {
    ask.authorization
        .and_then(transport::bearer)
        .or(elsewhere)
        .and_then(transport::decode_key)
        .ok_or_else(|| errors::wrong_key(name))
}
