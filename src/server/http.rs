//! From hyper's requests to ours, and back.

use super::{
    admin,
    conn::{Conn, Phase},
    cors, errors,
    gateway::Gateway,
    reply::Reply,
    routes::{self, Hold, Outcome},
};
use crate::{
    config::HttpConfig,
    transport::{Code, ErrorBody, Format},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
};
use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

/// The JavaScript client.
const CLIENT_JS: &str = include_str!("../../clients/js/cometbox.js");

/// What a listener serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Site {
    Public,
    Admin,
}

/// One request.
pub(super) async fn serve(
    gateway: Arc<Gateway>,
    conn: Arc<Conn>,
    peer: IpAddr,
    site: Site,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    conn.enter(Phase::Busy);
    let (parts, body) = request.into_parts();
    let origin = cors::origin(gateway.cors(), &parts.headers);
    let first = match site {
        Site::Admin => {
            First::done("admin", admin::reply(&gateway, &parts.method, parts.uri.path()))
        }
        Site::Public => answer(&gateway, peer, &parts, body).await,
    };
    // A held read keeps nothing of its request: hyper would have to keep the
    // buffer that it came in.
    drop(parts);
    let First { app, route, outcome } = first;
    let mut reply = match outcome {
        Outcome::Reply(reply) => reply,
        Outcome::Hold(hold) => wait(hold, &gateway).await,
    };
    gateway.metrics.request(app, route, reply.status);
    if let Some(origin) = origin {
        cors::mark(&mut reply, origin);
    }
    conn.enter(Phase::Answering);
    Ok(response(reply))
}

async fn wait(hold: Hold, gateway: &Gateway) -> Reply {
    let reply = hold.reply().await;
    if gateway.is_stopping() { reply.closing() } else { reply }
}

/// How far a request gets without waiting for messages.
struct First {
    /// None: it is about no app.
    app: Option<String>,
    /// As metrics call it.
    route: &'static str,
    outcome: Outcome,
}

impl First {
    fn done(route: &'static str, reply: Reply) -> Self {
        Self { app: None, route, outcome: Outcome::Reply(reply) }
    }
}

async fn answer(gateway: &Gateway, peer: IpAddr, parts: &Parts, body: Incoming) -> First {
    let format = Format::accepted(text(&parts.headers, header::ACCEPT));
    let config = gateway.http();
    if let Err(error) = check_head(config, parts) {
        return First::done("none", Reply::error(&error, format).closing());
    }
    if gateway.is_stopping() {
        return First::done("none", Reply::error(&errors::shutting_down(), format).closing());
    }
    if let Some(reply) = cors::preflight(gateway.cors(), parts) {
        return First::done("preflight", reply);
    }
    let path = parts.uri.path();
    if path == "/cometbox.js" && parts.method == Method::GET {
        let reply = Reply::content("text/javascript; charset=utf-8", CLIENT_JS);
        return First::done("client", reply);
    }
    if let Some(dev) = gateway.dev()
        && !routes::is_ours(path)
    {
        return First::done("page", dev.reply(&parts.method, path, format).await);
    }
    let route = match routes::find(gateway, &parts.method, path) {
        Ok(route) => route,
        Err(none) => {
            let reply = Reply::error(&none.error, format);
            return First::done(
                "none",
                match none.allow {
                    Some(allow) => reply.with("allow", allow),
                    None => reply,
                },
            );
        }
    };
    let body = if route.takes_body() {
        match collect(config, body).await {
            Ok(body) => body,
            Err(error) => {
                return First {
                    app: Some(route.app.app().name().to_owned()),
                    route: route.endpoint.name(),
                    outcome: Outcome::Reply(Reply::error(&error, format).closing()),
                };
            }
        }
    } else {
        Bytes::new()
    };
    let headers = || all_headers(&parts.headers);
    let request = routes::Request {
        query: parts.uri.query(),
        authorization: text(&parts.headers, header::AUTHORIZATION),
        content_type: text(&parts.headers, header::CONTENT_TYPE),
        format,
        headers: &headers,
        body: &body,
        peer,
    };
    let outcome = routes::run(gateway, &route, request).await;
    First { app: Some(route.app.app().name().to_owned()), route: route.endpoint.name(), outcome }
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
    if request_line + headers + "\r\n".len() > config.max_head_bytes {
        let max = config.max_head_bytes;
        return Err(ErrorBody::new(
            Code::HeadersTooLarge,
            format!("the request's head is larger than {max} bytes"),
        ));
    }
    Ok(())
}

async fn collect(config: &HttpConfig, body: Incoming) -> Result<Bytes, ErrorBody> {
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

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn all_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&header::HeaderName, &HeaderValue)| {
        let value = std::str::from_utf8(value.as_bytes()).ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    headers.iter().filter_map(pair).collect()
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(content_type) = reply.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in reply.headers {
        // A value that is none can only be an echo of a client's.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.append(header::HeaderName::from_static(name), value);
        }
    }
    if reply.close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
