//! A request's head, whatever HTTP it came by, and what it comes to before its
//! body is wanted. The two readers of HTTP/1.1 ([`super::front`] and
//! [`super::full`]) meet here.

use super::{
    client_js, cors, errors,
    gateway::Gateway,
    hosted::HostedApp,
    reply::Reply,
    routes::{self, Route},
    terms::Terms,
};
use crate::transport::Accepted;
use std::{net::IpAddr, sync::Arc};

/// What the gateway looks at of a head. Texts are visible ASCII; of a header
/// that is given twice, the first counts.
pub struct Ask<'a> {
    pub method: &'a str,
    /// Percent-encoded, as it came.
    pub path: &'a str,
    /// Without the question mark.
    pub query: Option<&'a str>,
    /// What its `Accept` says.
    pub accepted: Accepted,
    pub accept_encoding: Option<&'a str>,
    pub authorization: Option<&'a str>,
    pub content_type: Option<&'a str>,
    pub if_none_match: Option<&'a str>,
    /// Of a stream that comes again.
    pub last_event_id: Option<&'a str>,
    pub origin: Option<&'a str>,
    /// Its cookies, if it came by HTTP/1.1. Over HTTP/2 a browser has as many
    /// requests as it likes on one connection, so nobody asks which it is.
    pub cookies: Option<&'a str>,
    /// It has an `Access-Control-Request-Method`.
    pub is_preflight: bool,
    /// Its `Access-Control-Request-Headers`.
    pub preflight_headers: Option<&'a str>,
    /// All headers whose values are text, names in lower case; asked for by an
    /// open alone.
    pub headers: &'a (dyn Fn() -> Vec<(String, String)> + Send + Sync),
    /// The other end of the connection: the client, or a proxy.
    pub peer: IpAddr,
    /// Its head came before what else it takes; so it may still run when the
    /// gateway is going down.
    pub has_begun: bool,
}

/// What a head comes to.
pub(super) enum Plan<'a> {
    /// There is nothing to do but to answer. With the route as metrics call it.
    Reply(&'static str, Reply),
    /// A page of `cometbox dev`.
    Page,
    Route(Route<'a>),
    /// Bayeux, for the clients of this app.
    Bayeux(Arc<HostedApp>),
}

pub(super) fn plan<'a>(gateway: &Gateway, terms: &Terms, ask: &Ask<'a>) -> Plan<'a> {
    if gateway.is_closing() && !ask.has_begun {
        return Plan::Reply(
            "none",
            Reply::error(&errors::shutting_down(), ask.accepted.format()).closing(),
        );
    }
    if let Some(reply) = cors::preflight(&terms.origins, ask) {
        return Plan::Reply("preflight", reply);
    }
    if ask.path == "/cometbox.js" && ask.method == "GET" {
        return Plan::Reply("client", client_js::reply(ask, &terms.http));
    }
    if gateway.dev().is_some() && !routes::is_ours(ask.path) {
        return Plan::Page;
    }
    match routes::find(gateway, ask.method, ask.path) {
        Ok(route) => Plan::Route(route),
        Err(none) => {
            if let Some(app) = routes::find_bayeux(gateway, ask.method, ask.path) {
                return Plan::Bayeux(app.clone());
            }
            let reply = Reply::error(&none.error, ask.accepted.format());
            let reply = match none.allow {
                Some(allow) => reply.with("allow", allow),
                None => reply,
            };
            Plan::Reply("none", reply)
        }
    }
}

/// A header's value, if it is visible ASCII, spaces and tabs.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    // Without a branch per byte, so that many are looked at at once.
    let odd = |byte: &u8| !matches!(byte, b' '..=b'~' | b'\t');
    let is_odd = value.iter().fold(false, |any, byte| any | odd(byte));
    std::str::from_utf8(value).ok().filter(|_| !is_odd)
}
