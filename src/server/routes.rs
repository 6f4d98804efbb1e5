//! The protocol's requests, whatever HTTP they came by.
//!
//! [`find`] says what a method and a path mean; [`Route::takes_body`] whether
//! its body is wanted; [`run`] does it. A read that is held comes back as a
//! [`Hold`], to be awaited when everything else of the request is gone.

use super::{
    errors,
    gateway::Gateway,
    held::HeldRead,
    hosted::{HostedApp, random_key},
    reply::Reply,
};
use crate::{
    app::Refusal,
    core::{Answer, Batch, Key, Name, Polled},
    plugin::OpenRequest,
    transport::{self, Code, ErrorBody, Format, PublishResult},
};
use http::Method;
use percent_encoding::percent_decode_str;
use std::{net::IpAddr, sync::Arc};

/// What a route looks at of a request.
pub struct Request<'a> {
    /// Without the question mark.
    pub query: Option<&'a str>,
    pub authorization: Option<&'a str>,
    pub content_type: Option<&'a str>,
    /// From the `Accept` header.
    pub format: Format,
    /// All headers whose values are text, names in lower case; asked for by an
    /// open alone.
    pub headers: &'a (dyn Fn() -> Vec<(String, String)> + Send + Sync),
    /// Empty unless the route takes one.
    pub body: &'a [u8],
    pub peer: IpAddr,
}

/// What a request asks for.
pub struct Route {
    pub app: Arc<HostedApp>,
    pub endpoint: Endpoint,
}

/// The requests of the protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    Open,
    Read(Name),
    Send(Name),
    Close(Name),
    Publish,
}

impl Endpoint {
    /// As metrics call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read(_) => "read",
            Self::Send(_) => "send",
            Self::Close(_) => "close",
            Self::Publish => "publish",
        }
    }
}

impl Route {
    #[must_use]
    pub fn takes_body(&self) -> bool {
        matches!(self.endpoint, Endpoint::Open | Endpoint::Send(_) | Endpoint::Publish)
    }
}

/// How a request ends.
pub enum Outcome {
    Reply(Reply),
    Hold(Hold),
}

/// A held read.
pub struct Hold {
    read: HeldRead,
    format: Format,
}

impl Hold {
    /// Waits for the answer. Dropping it means that the client went away.
    pub async fn reply(self) -> Reply {
        match self.read.await {
            Answer::Batch(batch) => batch_reply(&batch, self.format),
            Answer::Nothing => Reply::empty(204),
            Answer::Displaced => Reply::error(&errors::displaced(), self.format),
            Answer::Closed { cause, reason } => {
                Reply::error(&errors::closed(cause.as_str(), reason), self.format)
            }
        }
    }
}

fn batch_reply(batch: &Batch, format: Format) -> Reply {
    Reply::encoded(200, format, |format, out| transport::batch(format, batch, out))
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
    matches!(second, Some("mailboxes" | "publish"))
}

/// What a method and a path (percent-encoded, as it came) ask for.
///
/// # Errors
/// If there is no such app, path or method, or the mailbox's name is none.
pub fn find(gateway: &Gateway, method: &Method, path: &str) -> Result<Route, NoRoute> {
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    let app = parts.next().unwrap_or_default();
    let place = match (parts.next(), parts.next(), parts.next()) {
        (Some("mailboxes"), None, None) => Place::Mailboxes,
        (Some("mailboxes"), Some(name), None) => Place::Mailbox(name),
        (Some("publish"), None, None) => Place::Publish,
        _ => {
            let message = "there is nothing at this path; the gateway has /{app}/mailboxes, \
                           /{app}/mailboxes/{name} and /{app}/publish";
            return Err(NoRoute::new(Code::NotFound, message));
        }
    };
    let Some(app) = gateway.app(app) else {
        return Err(NoRoute::new(Code::NotFound, format!("no app {app:?} here")));
    };
    let endpoint = match (&place, method.as_str()) {
        (Place::Mailboxes, "POST") => Endpoint::Open,
        (Place::Publish, "POST") => Endpoint::Publish,
        (Place::Mailbox(name), "GET") => Endpoint::Read(mailbox_name(name)?),
        (Place::Mailbox(name), "POST") => Endpoint::Send(mailbox_name(name)?),
        (Place::Mailbox(name), "DELETE") => Endpoint::Close(mailbox_name(name)?),
        _ => {
            let allow = match place {
                Place::Mailbox(_) => "GET, POST, DELETE",
                Place::Mailboxes | Place::Publish => "POST",
            };
            let message = format!("{method} does not work here; {allow} would");
            return Err(NoRoute {
                allow: Some(allow),
                ..NoRoute::new(Code::MethodNotAllowed, message)
            });
        }
    };
    Ok(Route { app: app.clone(), endpoint })
}

/// The kinds of paths.
enum Place<'a> {
    Mailboxes,
    /// Its name, percent-encoded.
    Mailbox(&'a str),
    Publish,
}

impl NoRoute {
    fn new(code: Code, message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self { error: ErrorBody::new(code, message), allow: None }
    }
}

fn mailbox_name(encoded: &str) -> Result<Name, NoRoute> {
    let text = percent_decode_str(encoded).decode_utf8().map_err(|_| {
        NoRoute::new(Code::BadName, "the mailbox's name is not UTF-8 once percent-decoded")
    })?;
    Name::parse(&text).map_err(|error| NoRoute::new(Code::BadName, error.to_string()))
}

/// Does what the request asks for.
pub async fn run(gateway: &Gateway, route: &Route, request: Request<'_>) -> Outcome {
    let app = &route.app;
    let format = request.format;
    let result = match &route.endpoint {
        Endpoint::Read(name) => match read(gateway, app, name, &request).await {
            Ok(outcome) => return outcome,
            Err(error) => Err(error),
        },
        Endpoint::Open => open(app, &request).await,
        Endpoint::Send(name) => send(app, name, &request).await,
        Endpoint::Close(name) => close(app, name, &request).await,
        Endpoint::Publish => publish(gateway, app, &request).await,
    };
    Outcome::Reply(result.unwrap_or_else(|error| Reply::error(&error, format)))
}

async fn open(app: &HostedApp, request: &Request<'_>) -> Result<Reply, ErrorBody> {
    let open = OpenRequest {
        body: transport::decode_body(request.content_type, request.body)?,
        headers: (request.headers)(),
        peer: request.peer.to_string(),
    };
    let key = random_key().map_err(|_| errors::no_random())?;
    let _turn = app.turn().await;
    let opened = app
        .call(|app, now, out| app.open(now, key, &open, out))
        .map_err(|refusal| errors::refusal("", refusal))?;
    let key = transport::encode_key(&key);
    Ok(Reply::encoded(201, request.format, |format, out| {
        let reply = opened.reply.as_ref();
        transport::opened(format, &opened.mailbox, &key, opened.cursor, reply, out);
    }))
}

async fn read(
    gateway: &Gateway,
    app: &Arc<HostedApp>,
    name: &Name,
    request: &Request<'_>,
) -> Result<Outcome, ErrorBody> {
    let query = transport::read_query(request.query)?;
    let key = mailbox_key(name, request, query.key)?;
    let wait_ms = query.wait_s.map_or(app.max_wait_ms, |wait_s| {
        // More than allowed is taken as what is allowed: a read that ends early
        // with 204 is nothing special.
        wait_s.saturating_mul(1000).min(app.max_wait_ms)
    });
    let _turn = app.turn().await;
    let held = HeldRead::new(app.clone(), name.as_str());
    let conn = held.conn();
    let polled = app
        .call(|app, now, out| app.poll(now, name.as_str(), key, query.cursor, wait_ms, conn, out));
    let polled = match polled {
        Ok(Polled::Held) => {
            if gateway.is_stopping() {
                // This read may have come after the others were let go.
                gateway.release_held();
            }
            return Ok(Outcome::Hold(Hold { read: held, format: request.format }));
        }
        other => other,
    };
    held.forget();
    match polled.map_err(|error| errors::access(name.as_str(), error))? {
        Polled::Ready(batch) => Ok(Outcome::Reply(batch_reply(&batch, request.format))),
        Polled::Nothing | Polled::Held => Ok(Outcome::Reply(Reply::empty(204))),
    }
}

async fn send(app: &HostedApp, name: &Name, request: &Request<'_>) -> Result<Reply, ErrorBody> {
    let key = mailbox_key(name, request, transport::key_query(request.query)?)?;
    let data = transport::decode_body(request.content_type, request.body)?;
    let _turn = app.turn().await;
    let reply = app
        .call(|app, now, out| app.message(now, name.as_str(), key, &data, out))
        .map_err(|refusal| errors::refusal(name.as_str(), refusal))?;
    Ok(match reply {
        None => Reply::empty(204),
        Some(reply) => Reply::encoded(200, request.format, |format, out| {
            transport::reply(format, &reply, out);
        }),
    })
}

async fn close(app: &HostedApp, name: &Name, request: &Request<'_>) -> Result<Reply, ErrorBody> {
    let key = mailbox_key(name, request, transport::key_query(request.query)?)?;
    let _turn = app.turn().await;
    app.call(|app, now, out| app.close(now, name.as_str(), key, out))
        .map_err(|error| errors::access(name.as_str(), error))?;
    Ok(Reply::empty(204))
}

async fn publish(
    gateway: &Gateway,
    app: &HostedApp,
    request: &Request<'_>,
) -> Result<Reply, ErrorBody> {
    let key = request.authorization.and_then(transport::bearer).unwrap_or_default();
    match app.may_publish(key) {
        Some(true) => {}
        Some(false) => {
            return Err(ErrorBody::new(
                Code::Unauthorized,
                "publishing wants Authorization: Bearer KEY with one of the app's publish_keys",
            ));
        }
        None => {
            return Err(ErrorBody::new(
                Code::Forbidden,
                "nobody may publish to this app: it has no publish_keys in the configuration",
            ));
        }
    }
    let max_items = gateway.http().max_batch_items;
    let items = transport::decode_publish(request.content_type, request.body, max_items)?;
    let mut results: Vec<PublishResult> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        // Anew for each: a batch must not hold a thread while its plugin runs
        // over its time again and again.
        let turn = app.turn().await;
        let result = app.call(|app, now, out| app.publish(now, &item.to, &item.message, out));
        if turn.is_some() {
            drop(turn);
            tokio::task::yield_now().await;
        }
        match result {
            Err(refusal @ Refusal::NotReady) if index == 0 => {
                return Err(errors::refusal("", refusal));
            }
            result => results.push(result.map_err(|refusal| errors::refusal("", refusal))),
        }
    }
    Ok(Reply::encoded(200, request.format, |format, out| {
        transport::results(format, &results, out);
    }))
}

/// The key that a request brings, in its header or in its URL.
fn mailbox_key(
    name: &Name,
    request: &Request<'_>,
    in_query: Option<&str>,
) -> Result<Key, ErrorBody> {
    request
        .authorization
        .and_then(transport::bearer)
        .or(in_query)
        .and_then(transport::decode_key)
        .ok_or_else(|| errors::wrong_key(name.as_str()))
}
