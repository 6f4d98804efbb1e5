//! Which pages of other origins may use the gateway.

use super::{ask::Ask, reply::Reply};
use crate::config::CorsConfig;

/// How long a browser remembers what it was allowed, in seconds; Chrome's most.
const MAX_AGE_S: &str = "7200";

/// Most origins that one run of the gateway knows.
const MAX_ORIGINS: usize = 1 << 16;

/// The origins whose pages may use the gateway.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// Those of earlier configurations keep their places, since there may be
    /// grants of them.
    known: Vec<Origin>,
    /// Whether any is allowed.
    is_open: bool,
}

#[derive(Clone, Debug)]
struct Origin {
    name: String,
    is_allowed: bool,
}

impl Origins {
    pub fn of(config: &CorsConfig) -> Self {
        Self::default().renewed(config)
    }

    /// Those of another configuration, where grants of this one are good still.
    pub fn renewed(&self, config: &CorsConfig) -> Self {
        let mut known = self.known.clone();
        known.iter_mut().for_each(|origin| origin.is_allowed = false);
        for name in &config.origins {
            match known.iter().position(|origin| origin.name == *name) {
                Some(place) => known[place].is_allowed = true,
                None if known.len() < MAX_ORIGINS => {
                    known.push(Origin { name: name.clone(), is_allowed: true });
                }
                None => tracing::error!("cors: no room for {name} before a restart"),
            }
        }
        Self { is_open: !config.origins.is_empty(), known }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.known.iter().position(|origin| origin.is_allowed && origin.name == name)
    }
}

/// That a page of another origin may see the answer: the place of that origin
/// among the known ones. Small, since every held read has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant(u16);

/// None if the request comes from no other origin or that one is not allowed.
pub(super) fn grant(origins: &Origins, origin: Option<&str>) -> Option<Grant> {
    if !origins.is_open {
        return None;
    }
    let origin = origin?;
    let place = origins.find("*").or_else(|| origins.find(origin))?;
    u16::try_from(place).ok().map(Grant)
}

/// The headers that let the page see the answer.
pub(super) fn headers(
    origins: &Origins,
    grant: Grant,
) -> impl Iterator<Item = (&'static str, &str)> {
    let origin = origins.known.get(usize::from(grant.0)).map_or("", |origin| &origin.name);
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
pub(super) fn allows_credentials(origins: &Origins, origin: Option<&str>) -> bool {
    origins.find("*").is_none() && grant(origins, origin).is_some()
}

/// The header that says so.
const CREDENTIALS: (&str, &str) = ("access-control-allow-credentials", "true");

/// The answer to a browser that asks before it sends the request itself; none
/// if this is no such question, or there is no origin that may ask.
pub(super) fn preflight(origins: &Origins, ask: &Ask<'_>) -> Option<Reply> {
    if ask.method != "OPTIONS" || !origins.is_open || !ask.is_preflight {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(names: &[&str]) -> CorsConfig {
        CorsConfig { origins: names.iter().map(|&name| name.into()).collect() }
    }

    #[test]
    fn a_grant_outlives_the_configuration_that_gave_it() {
        let (a, b, c) = ("https://a", "https://b", "https://c");
        let mut known = Origins::of(&origins(&[a, b]));
        let of_b = grant(&known, Some(b)).expect("it is allowed");
        for (case, allowed, granted) in [
            ("another order", &[b, a][..], &[a, b][..]),
            ("another one", &[c], &[c]),
            ("none", &[], &[]),
            ("an old one again", &[a, c], &[a, c]),
            ("any", &["*", b], &[a, b, c]),
            ("any no more", &[b], &[b]),
        ] {
            known = known.renewed(&origins(allowed));
            for origin in [a, b, c] {
                let is_granted = grant(&known, Some(origin)).is_some();
                assert_eq!(is_granted, granted.contains(&origin), "{case}: {origin}");
            }
            let mut headers = headers(&known, of_b);
            assert!(headers.any(|(_, value)| value == b), "{case}: the grant is for b");
        }
        assert_eq!(known.known.len(), 4, "each is known once");
    }
}
