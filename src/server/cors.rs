//! Which pages of other origins may use the gateway.

use super::reply::Reply;
use crate::config::CorsConfig;
use http::{HeaderMap, Method, header, request::Parts};
use std::borrow::Cow;

/// How long a browser remembers what it was allowed, in seconds; Chrome's most.
const MAX_AGE_S: &str = "7200";

/// What a page of the request's origin is told; none if the request comes from
/// no other origin or that one is not allowed.
pub(super) fn origin(config: &CorsConfig, headers: &HeaderMap) -> Option<Cow<'static, str>> {
    if config.origins.is_empty() {
        return None;
    }
    let origin = headers.get(header::ORIGIN)?.to_str().ok()?;
    if config.origins.iter().any(|allowed| allowed == "*") {
        return Some("*".into());
    }
    config.origins.iter().any(|allowed| allowed == origin).then(|| origin.to_owned().into())
}

/// Lets a page of the origin see the answer.
pub(super) fn mark(reply: &mut Reply, origin: Cow<'static, str>) {
    if origin != "*" {
        // A cache must not give one origin's answer to another.
        reply.headers.push(("vary", Cow::Borrowed("origin")));
    }
    reply.headers.push(("access-control-allow-origin", origin));
    reply.headers.push(("access-control-expose-headers", Cow::Borrowed("retry-after")));
}

/// The answer to a browser that asks before it sends the request itself; none
/// if this is no such question, or there is no origin that may ask.
pub(super) fn preflight(config: &CorsConfig, parts: &Parts) -> Option<Reply> {
    if parts.method != Method::OPTIONS
        || config.origins.is_empty()
        || !parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return None;
    }
    let reply = Reply::empty(204)
        .with("access-control-allow-methods", "GET, POST, DELETE")
        .with("access-control-max-age", MAX_AGE_S);
    // An open hands all headers to the plugins, so which ones make sense is
    // theirs to say.
    let asked = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    Some(match asked.and_then(|asked| asked.to_str().ok()) {
        Some(asked) => reply.with("access-control-allow-headers", asked.to_owned()),
        None => reply,
    })
}
