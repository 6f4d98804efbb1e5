//! Which page sends a request, and whether it may.
//!
//! The URL of a script, a form and the handshake of a WebSocket go wherever a
//! page of any origin wants, with the cookies that the user has there, and no
//! browser asks before. So those requests are looked at here.

use super::super::super::{
    ask::{self, Ask},
    cors::{self, Origins},
};
use crate::transport::{Code, ErrorBody};
use http::{
    header::{self, HeaderName},
    request::Parts,
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where a request comes from, as its browser says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Page<'a> {
    /// The gateway's own origin, or no page at all.
    Own,
    /// Another origin that may use the gateway.
    Guest(&'a str),
    /// One that may not.
    Stranger,
}

impl<'a> Page<'a> {
    pub fn of(origins: &Origins, parts: &'a Parts) -> Self {
        let text = |name| parts.headers.get(name).map(|value| ask::text(value.as_bytes()));
        // The URL of a script has no `Origin`.
        let origin = match text(header::ORIGIN) {
            Some(origin) => Some(origin.unwrap_or_default()),
            None => text(header::REFERER).map(|url| url.and_then(origin_of).unwrap_or_default()),
        };
        let is_own = match text(SEC_FETCH_SITE) {
            // What no page can write, and a proxy that changes the host does
            // not touch. `none` is the user.
            Some(site) => matches!(site, Some("same-origin" | "none")),
            None => origin.is_none_or(|origin| is_host(origin, parts)),
        };
        match origin {
            _ if is_own => Self::Own,
            Some(origin) if cors::grant(origins, Some(origin)).is_some() => Self::Guest(origin),
            // Allowed is then any.
            None if cors::grant(origins, Some("")).is_some() => Self::Guest(""),
            _ => Self::Stranger,
        }
    }

    /// # Errors
    /// If it is a stranger's, and no browser has asked whether it may come.
    pub fn check(self, ask: &Ask<'_>) -> Result<(), ErrorBody> {
        let was_asked = ask.method == "POST" && ask.content_type.is_some_and(is_json);
        if self != Self::Stranger || was_asked {
            return Ok(());
        }
        Err(ErrorBody::new(
            Code::Forbidden,
            "pages of this origin may not use the gateway: cors.origins in its configuration \
             names those that may",
        ))
    }
}

/// For what is not JSON a browser would not have to ask.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// `https://page.example` of `https://page.example/path`.
fn origin_of(url: &str) -> Option<&str> {
    let host = url.find("://")? + "://".len();
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |end| host + end);
    Some(&url[..end])
}

/// Whether this origin is what the request calls the gateway.
fn is_host(origin: &str, parts: &Parts) -> bool {
    let host = parts.headers.get(header::HOST).and_then(|host| ask::text(host.as_bytes()));
    let host = host.or(parts.uri.authority().map(http::uri::Authority::as_str));
    let named = origin.split_once("://").map(|(_, host)| host);
    named.zip(host).is_some_and(|(named, host)| named.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CorsConfig;

    fn page(origins: &[&str], headers: &[(&str, &str)]) -> String {
        let mut request = http::Request::builder().uri("/open/bayeux");
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        let (parts, ()) = request.body(()).expect("a good request").into_parts();
        let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
        let origins = Origins::of(&CorsConfig { origins });
        format!("{:?}", Page::of(&origins, &parts))
    }

    #[test]
    fn a_page_is_own_a_guest_or_a_stranger() {
        let host = ("host", "here.example");
        let (own, other) = (("origin", "https://here.example"), ("origin", "https://a.example"));
        let referer = ("referer", "https://a.example/page?x");
        let site = |site| ("sec-fetch-site", site);
        let guest = r#"Guest("https://a.example")"#;
        for (case, origins, headers, expected) in [
            ("no browser", &[][..], &[host][..], "Own"),
            ("own", &[], &[host, own], "Own"),
            ("own by referer", &[], &[host, ("referer", "https://here.example/x")], "Own"),
            ("a host in capitals", &[], &[("host", "HERE.example"), own], "Own"),
            ("another host", &[], &[("host", "there.example"), own], "Stranger"),
            ("behind a proxy", &[], &[("host", "inside:80"), own, site("same-origin")], "Own"),
            ("by hand", &[], &[host, site("none")], "Own"),
            ("another", &[], &[host, other], "Stranger"),
            ("another port", &[], &[host, ("origin", "https://here.example:1")], "Stranger"),
            ("allowed", &["https://a.example"], &[host, other], guest),
            ("allowed by referer", &["https://a.example"], &[host, referer], guest),
            ("allowed are others", &["https://b.example"], &[host, other], "Stranger"),
            ("any", &["*"], &[host, other], guest),
            ("a script", &[], &[host, referer], "Stranger"),
            ("a script without referer", &[], &[host, site("cross-site")], "Stranger"),
            ("… from a sister", &[], &[host, site("same-site")], "Stranger"),
            ("… where any may", &["*"], &[host, site("cross-site")], "Guest(\"\")"),
            ("a forged host", &[], &[host, own, site("cross-site")], "Stranger"),
            ("no origin", &["https://a.example"], &[host, ("origin", "null")], "Stranger"),
            ("garbage", &["https://a.example"], &[host, ("referer", "x")], "Stranger"),
            ("no text", &["https://a.example"], &[host, ("origin", "ö")], "Stranger"),
        ] {
            assert_eq!(page(origins, headers), expected, "{case}");
        }
    }
}
