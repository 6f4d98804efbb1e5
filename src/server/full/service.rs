//! From hyper's requests to ours, and back.

use super::{
    super::{
        admin,
        ask::{self, Ask, Plan},
        browsers, compress,
        cors::{self, Grant, Origins},
        gateway::Gateway,
        hosted::HostedApp,
        reply::{Reply, Wish},
        routes::{self, Endpoint, Outcome, ReadAsk, Route},
        terms::Terms,
    },
    Site,
    bayeux::{self, Http},
    conn::{Conn, Phase},
    follow::{self, Follower},
    held::HeldRead,
    stream::{Answering, Stream},
    streams::{self, BodyRoom},
    websocket::{self, Upgrade},
};
use crate::{
    config::HttpConfig,
    transport::{Accepted, Code, ErrorBody, Format, StreamFormat},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, Version,
    body::{Body, Incoming},
};
use std::{borrow::Cow, convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

/// A WebSocket that sends back what it gets, in `cometbox dev` alone.
const ECHO: &str = "/-/dev/echo";

/// Where a request came in.
pub(super) struct Place {
    pub conn: Arc<Conn>,
    /// Of HTTP/2.
    pub stream: Option<Arc<streams::Stream>>,
    pub peer: IpAddr,
    pub site: Site,
}

impl Place {
    /// Waits until an answer may be made: one connection of HTTP/2 can ask for
    /// any number of them before it takes the first.
    async fn room(&self) {
        if let Some(stream) = &self.stream {
            stream.room().await;
        }
    }
}

/// One request.
pub(super) async fn serve(
    gateway: Arc<Gateway>,
    place: Place,
    request: Request<Incoming>,
) -> Result<Response<Answering>, Infallible> {
    let Place { conn, peer, site, .. } = &place;
    conn.enter(Phase::Busy);
    place.room().await;
    let (parts, body) = request.into_parts();
    let has_streams = parts.version == Version::HTTP_2;
    let headers = || all_headers(&parts);
    let terms = Arc::clone(&gateway.terms());
    let ask = ask(&parts, &headers, *peer);
    let grant = match site {
        Site::Admin => None,
        Site::Public => cors::grant(&terms.origins, ask.origin),
    };
    let wish = Wish {
        format: ask.accepted.format(),
        grant,
        gzip: compress::is_accepted(ask.accept_encoding),
    };
    let first = match site {
        Site::Admin => First::Reply("admin", admin::reply(&gateway, &parts.method, ask.path)),
        Site::Public => answer(&gateway, &terms, conn, &parts, &ask, body).await,
    };
    // A held read keeps nothing of its request: hyper would have to keep the
    // buffer that it came in.
    drop(parts);
    let mut reply = match first {
        First::Reply(route, reply) => {
            gateway.metrics.request(route, reply.status);
            reply
        }
        First::Done(reply) => reply,
        First::Held(read) => {
            let app = read.app().clone();
            conn.enter(Phase::Held);
            let answer = read.await;
            place.room().await;
            app.requests().read(&answer);
            Reply::answer(&answer, wish.format)
        }
        First::Connect(held) => {
            conn.enter(Phase::Held);
            held.answer(place.room()).await
        }
        First::Stream(follower, format) => {
            conn.enter(Phase::Streaming);
            let head = response(stream_head(format), &terms.origins, grant);
            let stream = Stream::new(follower, format, place.conn);
            return Ok(head.map(|_| Answering::Stream(Box::new(stream))));
        }
        First::Upgrade(response) => {
            return Ok(response.map(|()| Answering::Whole(Full::default())));
        }
    };
    compress::reply(&mut reply, wish.gzip, &terms.http);
    // A connection of HTTP/2 does not end with one answer.
    reply.close = !has_streams && (reply.close || gateway.is_stopping());
    conn.enter(Phase::Answering);
    Ok(response(reply, &terms.origins, grant))
}

/// How far a request gets without waiting for messages.
enum First {
    /// It is about no app; with its route as metrics call it.
    Reply(&'static str, Reply),
    Done(Reply),
    Held(HeldRead),
    /// The same for Bayeux.
    Connect(Box<bayeux::Held>),
    Stream(Follower, StreamFormat),
    /// The connection is something else from here on.
    Upgrade(Response<()>),
}

fn ask<'a>(
    parts: &'a Parts,
    headers: &'a (dyn Fn() -> Vec<(String, String)> + Send + Sync),
    peer: IpAddr,
) -> Ask<'a> {
    let text = |name| ask::text(parts.headers.get(name)?.as_bytes());
    Ask {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        accepted: Accepted::of(text(header::ACCEPT)),
        accept_encoding: text(header::ACCEPT_ENCODING),
        authorization: text(header::AUTHORIZATION),
        content_type: text(header::CONTENT_TYPE),
        if_none_match: text(header::IF_NONE_MATCH),
        last_event_id: parts.headers.get("last-event-id").and_then(|id| ask::text(id.as_bytes())),
        origin: text(header::ORIGIN),
        cookies: text(header::COOKIE).filter(|_| parts.version != Version::HTTP_2),
        is_preflight: parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD),
        preflight_headers: text(header::ACCESS_CONTROL_REQUEST_HEADERS),
        headers,
        peer,
        has_begun: false,
    }
}

async fn answer(
    gateway: &Arc<Gateway>,
    terms: &Terms,
    conn: &Conn,
    parts: &Parts,
    ask: &Ask<'_>,
    body: Incoming,
) -> First {
    if let Err(error) = check_head(&terms.http, parts) {
        return First::Reply("none", Reply::error(&error, ask.accepted.format()).closing());
    }
    let route = match ask::plan(gateway, terms, ask) {
        Plan::Route(route) => route,
        Plan::Bayeux(app) => return bayeux(gateway, terms, conn, &app, ask, parts, body).await,
        Plan::Reply(route, reply) => return First::Reply(route, reply),
        Plan::Page if ask.path == ECHO && websocket::is_asked(parts) => {
            return match websocket::handshake(parts) {
                Ok(response) => {
                    conn.upgrade(Upgrade::Echo);
                    First::Upgrade(response)
                }
                Err(reply) => First::Reply("page", reply),
            };
        }
        Plan::Page => {
            let reply = match gateway.dev() {
                Some(dev) => dev.reply(&parts.method, ask.path, ask.accepted.format()).await,
                None => Reply::empty(404),
            };
            return First::Reply("page", reply);
        }
    };
    if let Endpoint::Read(name) = &route.endpoint {
        let app = &route.app;
        let stays = match route.stream(ask) {
            _ if websocket::is_asked(parts) => {
                Some(websocket(gateway, conn, app, name, ask, parts))
            }
            Some(format) => Some(stream(gateway, app, name, ask, &body, format).await),
            None => None,
        };
        if let Some(first) = stays {
            return first.unwrap_or_else(|reply| {
                app.requests().reply(&route.endpoint, reply.status);
                First::Done(reply)
            });
        }
    }
    let mut room = BodyRoom::none(conn);
    let body = if route.takes_body() {
        match collect(&terms.http, body, &mut room).await {
            Ok(body) => body,
            Err(error) => {
                let reply = Reply::error(&error, ask.accepted.format()).closing();
                route.app.requests().reply(&route.endpoint, reply.status);
                return First::Done(reply);
            }
        }
    } else {
        Bytes::new()
    };
    run(gateway, &route, ask, &body).await
}

async fn bayeux(
    gateway: &Arc<Gateway>,
    terms: &Terms,
    conn: &Conn,
    app: &Arc<HostedApp>,
    ask: &Ask<'_>,
    parts: &Parts,
    body: Incoming,
) -> First {
    if websocket::is_asked(parts) {
        return match bayeux::accept(gateway, app, ask, parts) {
            Ok((response, session)) => {
                app.requests().stream("bayeux-websocket", 101);
                conn.upgrade(Upgrade::Bayeux(session));
                First::Upgrade(response)
            }
            Err(reply) => {
                app.requests().stream("bayeux-websocket", reply.status);
                First::Done(reply)
            }
        };
    }
    let mut room = BodyRoom::none(conn);
    let (done, is_read) = match collect(&terms.http, body, &mut room).await {
        Ok(body) => (bayeux::answer(gateway, app, ask, parts, &body).await, true),
        Err(error) => (Err(error), false),
    };
    let mut reply = match done {
        Ok(Http::Held(held)) => {
            app.requests().stream("bayeux", 200);
            return First::Connect(held);
        }
        Ok(Http::Reply(reply)) => reply,
        Err(error) => Reply::error(&error, ask.accepted.format()),
    };
    reply.close |= !is_read;
    app.requests().stream("bayeux", reply.status);
    First::Done(reply)
}

async fn stream(
    gateway: &Arc<Gateway>,
    app: &Arc<HostedApp>,
    name: &str,
    ask: &Ask<'_>,
    body: &Incoming,
    format: StreamFormat,
) -> Result<First, Reply> {
    let refuse = |error: &ErrorBody| Reply::error(error, Format::Json);
    if !body.is_end_stream() {
        // Behind bytes that nobody reads a hang-up would not be noticed.
        let error = ErrorBody::new(Code::BadRequest, "a read has no body");
        return Err(refuse(&error).closing());
    }
    let ReadAsk { key, cursor, .. } =
        routes::read_ask(app, name, ask, None).map_err(|error| refuse(&error))?;
    let _turn = app.turn().await;
    let Ok(counted) = browsers::count(gateway, ask, key) else {
        let stream = follow::at_once(app, name, key, cursor, format).map_err(|e| refuse(&e))?;
        app.requests().stream(format.name(), 200);
        let retry_after = browsers::RETRY_AFTER_S.to_string();
        let reply = Reply { body: stream.into(), ..stream_head(format) };
        return Ok(First::Done(reply.with("retry-after", retry_after)));
    };
    let follower = Follower::start(gateway, app, name, key, cursor, counted)
        .map_err(|error| refuse(&error))?;
    app.requests().stream(format.name(), 200);
    Ok(First::Stream(follower, format))
}

fn websocket(
    gateway: &Arc<Gateway>,
    conn: &Conn,
    app: &Arc<HostedApp>,
    name: &str,
    ask: &Ask<'_>,
    parts: &Parts,
) -> Result<First, Reply> {
    let (response, session) = websocket::accept(gateway, app, name, ask, parts)?;
    app.requests().stream("websocket", 101);
    conn.upgrade(Upgrade::Mailbox(session));
    Ok(First::Upgrade(response))
}

/// The answer that a stream begins with. What is on the way is to pass on what
/// comes as it comes.
fn stream_head(format: StreamFormat) -> Reply {
    Reply {
        content_type: Some(format.content_type()),
        cache_control: "no-store, no-transform",
        ..Reply::empty(200).with("x-accel-buffering", "no")
    }
}

async fn run(gateway: &Gateway, route: &Route<'_>, ask: &Ask<'_>, body: &[u8]) -> First {
    let mut read = HeldRead::new(route.app.clone());
    let reply = match routes::run(gateway, route, ask, body, read.conn()).await {
        Outcome::Held(mailbox, counted) => {
            read.held_by(mailbox);
            read.counts(counted);
            return First::Held(read);
        }
        Outcome::Answer(answer) => {
            route.app.requests().read(&answer);
            Reply::answer(&answer, ask.accepted.format())
        }
        Outcome::Reply(reply) => {
            route.app.requests().reply(&route.endpoint, reply.status);
            reply
        }
    };
    First::Done(reply)
}

/// hyper's own bounds are its buffer's, which is larger; these are exact.
fn check_head(config: &HttpConfig, parts: &Parts) -> Result<(), ErrorBody> {
    let uri_bytes = parts.uri.path_and_query().map_or(1, |path| path.as_str().len());
    if uri_bytes > config.max_uri_bytes {
        let max = config.max_uri_bytes;
        return Err(ErrorBody::new(
            Code::UriTooLong,
            format!("the URL is longer than {max} bytes"),
        ));
    }
    // `GET /path HTTP/1.1`, a line per header, and an empty one.
    let request_line = parts.method.as_str().len() + 1 + uri_bytes + " HTTP/1.1\r\n".len();
    let header_line = |(name, value): (&header::HeaderName, &HeaderValue)| {
        name.as_str().len() + ": ".len() + value.len() + "\r\n".len()
    };
    let headers: usize = parts.headers.iter().map(header_line).sum();
    // Of HTTP/1.1, hyper counts them itself.
    if parts.headers.len() > config.max_headers {
        let max = config.max_headers;
        return Err(ErrorBody::new(
            Code::HeadersTooLarge,
            format!("the request has more than {max} headers"),
        ));
    }
    if request_line + headers + "\r\n".len() > config.max_head_bytes {
        let max = config.max_head_bytes;
        return Err(ErrorBody::new(
            Code::HeadersTooLarge,
            format!("the request's head is larger than {max} bytes"),
        ));
    }
    Ok(())
}

async fn collect(
    config: &HttpConfig,
    body: Incoming,
    room: &mut BodyRoom<'_>,
) -> Result<Bytes, ErrorBody> {
    let too_large = || {
        let max = config.max_body_bytes;
        ErrorBody::new(Code::TooLarge, format!("the body is larger than {max} bytes"))
    };
    // What is announced as too large is not waited for.
    if body.size_hint().lower() > config.max_body_bytes as u64 {
        return Err(too_large());
    }
    let frames = async {
        let mut body = body;
        let mut whole = Bytes::new();
        let mut more = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                ErrorBody::new(Code::BadRequest, format!("the body broke off: {error}"))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + more.len() + data.len() > config.max_body_bytes {
                return Err(too_large());
            }
            if !room.grow(data.len(), config.max_body_bytes) {
                return Err(ErrorBody::new(
                    Code::Overloaded,
                    "this connection sends too many large bodies at a time",
                ));
            }
            // Nearly every body comes in one piece.
            if whole.is_empty() && more.is_empty() {
                whole = data;
            } else {
                more.extend_from_slice(&std::mem::take(&mut whole));
                more.extend_from_slice(&data);
            }
        }
        Ok(if more.is_empty() { whole } else { more.freeze() })
    };
    match tokio::time::timeout(Duration::from_secs(config.body_timeout_s), frames).await {
        Ok(result) => result,
        Err(_) => Err(ErrorBody::new(Code::RequestTimeout, "the request's body took too long")),
    }
}

/// As plugins see them, by whatever HTTP they came: with the authority of HTTP/2
/// as `host`, and cookies in one line (RFC 9113, 8.2.3 and 8.3.1).
fn all_headers(parts: &Parts) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::with_capacity(parts.headers.len() + 1);
    let is_h2 = parts.version == Version::HTTP_2;
    if let Some(authority) = parts.uri.authority()
        && is_h2
        && !parts.headers.contains_key(header::HOST)
    {
        all.push(("host".into(), authority.as_str().into()));
    }
    for (name, value) in &parts.headers {
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else { continue };
        let is_cookie = is_h2 && *name == header::COOKIE;
        match all.iter_mut().find(|(known, _)| is_cookie && known == "cookie") {
            Some((_, cookies)) => cookies.extend(["; ", value]),
            None => all.push((name.as_str().to_owned(), value.to_owned())),
        }
    }
    all
}

fn response(reply: Reply, origins: &Origins, grant: Option<Grant>) -> Response<Answering> {
    let body = match reply.body {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let mut response = Response::new(Answering::Whole(Full::new(body)));
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(content_type) = reply.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(reply.cache_control));
    let mut append = |name: &'static str, value: &str| {
        // A value that is none can only be an echo of a client's.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(header::HeaderName::from_static(name), value);
        }
    };
    reply.headers.iter().for_each(|(name, value)| append(name, value));
    if let Some(grant) = grant {
        cors::headers(origins, grant).for_each(|(name, value)| append(name, value));
    }
    if reply.close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
