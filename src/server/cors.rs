//! Which pages of other origins may use the gateway.

use super::{ask::Ask, reply::Reply};
use crate::config::CorsConfig;

/// How long a browser remembers what it was allowed, in seconds; Chrome's most.
const MAX_AGE_S: &str = "7200";

/// That a page of another origin may see the answer: the place of that origin
/// among the configured ones. Small, since every held read has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Grant(u16);

/// None if the request comes from no other origin or that one is not allowed.
pub(super) fn grant(config: &CorsConfig, origin: Option<&str>) -> Option<Grant> {
    if config.origins.is_empty() {
        return None;
    }
    let origin = origin?;
    let any = config.origins.iter().position(|allowed| allowed == "*");
    let place = any.or_else(|| config.origins.iter().position(|allowed| allowed == origin))?;
    u16::try_from(place).ok().map(Grant)
}

/// The headers that let the page see the answer.
pub(super) fn headers(
    config: &CorsConfig,
    grant: Grant,
) -> impl Iterator<Item = (&'static str, &str)> {
    let origin = config.origins.get(usize::from(grant.0)).map_or("", String::as_str);
    // A cache must not give one origin's answer to another; and only an origin
    // that is named sends its cookies, by which browsers are told apart.
    let is_named = origin != "*";
    let named = is_named.then_some([("vary", "origin"), CREDENTIALS]).into_iter().flatten();
    let always =
        [("access-control-allow-origin", origin), ("access-control-expose-headers", "retry-after")];
    named.chain(always)
}

/// Whether a page of this origin may have its cookies sent along, as the clients
/// of Bayeux ask their browsers to, and native ones may; it would not see the
/// answer otherwise. Not if just any origin may use the gateway.
pub(super) fn allows_credentials(config: &CorsConfig, origin: Option<&str>) -> bool {
    let any = config.origins.iter().any(|allowed| allowed == "*");
    !any && grant(config, origin).is_some()
}

/// The header that says so.
const CREDENTIALS: (&str, &str) = ("access-control-allow-credentials", "true");

/// The answer to a browser that asks before it sends the request itself; none
/// if this is no such question, or there is no origin that may ask.
pub(super) fn preflight(config: &CorsConfig, ask: &Ask<'_>) -> Option<Reply> {
    if ask.method != "OPTIONS" || config.origins.is_empty() || !ask.is_preflight {
        return None;
    }
    let reply = Reply::empty(204)
        .with("access-control-allow-methods", "GET, POST, DELETE")
        .with("access-control-max-age", MAX_AGE_S);
    // An open hands all headers to the plugins, so which ones make sense is
    // theirs to say.
    Some(match ask.preflight_headers {
        Some(asked) => reply.with("access-control-allow-headers", asked.to_owned()),
        None => reply,
    })
}
