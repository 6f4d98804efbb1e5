//! Who a request is from, when it came through proxies.
//!
//! `X-Forwarded-For` and `Forwarded` (RFC 7239) are lists to which each proxy
//! appends whom it got the request from; whatever stands before that, the client
//! may have made up. So the list is read from the end, for as long as it is
//! trusted proxies that speak. What is not understood is nobody's address. Only
//! the header that the configuration names is read: the other one would be
//! whatever the client wrote.

use crate::config::{ForwardedHeader, HttpConfig};
use std::{
    iter::Peekable,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::Chars,
};

/// The address of the client, as far as it is known: `peer` if that is no
/// trusted proxy, or if the proxies do not say.
#[must_use]
pub(super) fn client(http: &HttpConfig, peer: IpAddr, headers: &[(String, String)]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted =
        |address: IpAddr| http.trusted_proxies.iter().any(|network| network.contains(&address));
    if !is_trusted(peer) {
        return peer;
    }
    // Several lines are one list (RFC 9110, 5.2).
    let list = |name: &str| {
        let values = headers.iter().filter(|(known, _)| known == name);
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(",")
    };
    let client = match http.forwarded_header {
        ForwardedHeader::XForwardedFor => {
            let list = list("x-forwarded-for");
            first_untrusted(list.rsplit(',').map(|hop| node(hop.trim())), is_trusted)
        }
        ForwardedHeader::Forwarded => elements(&list("forwarded"))
            .and_then(|hops| first_untrusted(hops.into_iter().rev(), is_trusted)),
    };
    client.unwrap_or(peer)
}

/// The first address that is not trusted, coming from our side; if all are, the
/// last. None: one on the way there is not known.
fn first_untrusted(
    hops: impl Iterator<Item = Option<IpAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let mut client = None;
    for hop in hops {
        client = Some(hop?);
        if !client.is_some_and(&is_trusted) {
            break;
        }
    }
    client
}

/// An address, with a port or without (RFC 7239, 6).
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok()?.into(),
        None => {
            text.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip())).ok()?
        }
    };
    Some(address.to_canonical())
}

/// Of each element of a `Forwarded` the `for`, if it is an address. None: it is
/// no such header (RFC 7239, 4).
fn elements(text: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut chars = text.chars().peekable();
    let mut elements = Vec::new();
    loop {
        let mut hop = None;
        loop {
            let name = token(&mut chars)?;
            (chars.next()? == '=').then_some(())?;
            let value = match chars.next_if_eq(&'"') {
                Some(_) => quoted(&mut chars)?,
                None => token(&mut chars)?,
            };
            if name.eq_ignore_ascii_case("for") {
                // Given twice, it says nothing.
                hop = hop.is_none().then(|| node(&value));
            }
            spaces(&mut chars);
            if chars.next_if_eq(&';').is_none() {
                break;
            }
            spaces(&mut chars);
        }
        elements.push(hop.flatten());
        match chars.next() {
            None => return Some(elements),
            Some(',') => spaces(&mut chars),
            Some(_) => return None,
        }
    }
}

/// RFC 9110, 5.6.2; not empty. More than the standard has in it, for many write
/// addresses with their colons and brackets as they are.
fn token(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let is_part = |c: &char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:[]".contains(*c);
    let token: String = std::iter::from_fn(|| chars.next_if(is_part)).collect();
    (!token.is_empty()).then_some(token)
}

/// What is left of a quoted string (RFC 9110, 5.6.4).
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
}

fn spaces(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    use ForwardedHeader::{Forwarded, XForwardedFor};

    fn client_of(header: ForwardedHeader, peer: &str, headers: &[(&str, &str)]) -> String {
        let networks = ["10.0.0.0/8", "2001:db8::/32"];
        let http = HttpConfig {
            trusted_proxies: networks.map(|text| text.parse().expect("a network")).into(),
            forwarded_header: header,
            ..HttpConfig::default()
        };
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        client(&http, peer.parse().expect("an address"), &headers).to_string()
    }

    const PEER: &str = "10.0.0.1";
    const XFF: &str = "x-forwarded-for";

    #[test]
    fn x_forwarded_for() {
        for (value, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1, 10.0.0.2", "192.0.2.1"),
            ("192.0.2.1,10.0.0.2,\t10.0.0.3", "192.0.2.1"),
            ("1.1.1.1, 192.0.2.1", "192.0.2.1"),
            ("1.1.1.1, 192.0.2.1, 10.9.9.9", "192.0.2.1"),
            ("garbage, 192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:1234", "192.0.2.1"),
            ("3fff::1", "3fff::1"),
            ("[3fff::1]", "3fff::1"),
            ("[3fff::1]:80", "3fff::1"),
            ("3fff::1, 2001:db8::7", "3fff::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("192.0.2.1, ::ffff:10.0.0.2", "192.0.2.1"),
            // All of them proxies: the first is who asked.
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("", PEER),
            (",", PEER),
            ("192.0.2.1,", PEER),
            ("192.0.2.1, unknown", PEER),
            ("192.0.2.1, _hidden, 10.0.0.2", PEER),
            ("unknown", PEER),
            ("192.0.2.1 10.0.0.2", PEER),
            ("192.0.2.1:123456", PEER),
            ("192.0.2.256", PEER),
            ("192.0.2.01", PEER),
            ("192.0.2.0/24", PEER),
            ("[192.0.2.1]", PEER),
            ("[3fff::1", PEER),
            ("3fff::1]", PEER),
            ("\"192.0.2.1\"", PEER),
            ("example.org", PEER),
            ("\u{663}", PEER),
        ] {
            let client = client_of(XForwardedFor, PEER, &[(XFF, value)]);
            assert_eq!(client, expected, "{value:?}");
        }
    }

    #[test]
    fn forwarded() {
        for (value, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"),
            ("proto=https; for=192.0.2.1", "192.0.2.1"),
            ("for=\"192.0.2.1\"", "192.0.2.1"),
            ("for=\"192.0.2.1:80\"", "192.0.2.1"),
            ("for=192.0.2.1:80", "192.0.2.1"),
            ("for=\"[3fff::1]\"", "3fff::1"),
            ("for=\"[3fff::1]:4711\"", "3fff::1"),
            ("for=[3fff::1]", "3fff::1"),
            ("for=\"192\\.0.2.1\"", "192.0.2.1"),
            ("for=1.1.1.1, for=192.0.2.1", "192.0.2.1"),
            ("for=192.0.2.1 , for=10.0.0.2", "192.0.2.1"),
            ("for=unknown, for=192.0.2.1", "192.0.2.1"),
            ("host=\"a,b;for=1.1.1.1\";for=192.0.2.1", "192.0.2.1"),
            ("for=192.0.2.1, for=unknown", PEER),
            ("for=192.0.2.1, for=_hidden", PEER),
            ("for=192.0.2.1, for=\"_hidden:_port\"", PEER),
            ("for=192.0.2.1, proto=https", PEER),
            ("for=1.1.1.1;for=192.0.2.1", PEER),
            ("for=", PEER),
            ("for", PEER),
            ("=192.0.2.1", PEER),
            ("for =192.0.2.1", PEER),
            ("for=\"192.0.2.1", PEER),
            ("for=\"192.0.2.1\\", PEER),
            // A client cannot swallow what the proxy appends.
            ("for=\"1.1.1.1, for=192.0.2.1", PEER),
            ("for=192.0.2.1,", PEER),
            ("for=192.0.2.1;", PEER),
            ("for=192.0.2.1 x", PEER),
            (";", PEER),
            ("\u{e4}=1", PEER),
        ] {
            let client = client_of(Forwarded, PEER, &[("forwarded", value)]);
            assert_eq!(client, expected, "{value:?}");
        }
    }

    #[test]
    fn several_lines_and_both_headers() {
        const FORWARDED: &str = "forwarded";
        let both = &[(XFF, "192.0.2.1"), (FORWARDED, "for=192.0.2.2")][..];
        for (what, header, headers, expected) in [
            ("no header", XForwardedFor, &[][..], PEER),
            ("no header of the other", Forwarded, &[], PEER),
            ("lines", XForwardedFor, &[(XFF, "1.1.1.1"), (XFF, "192.0.2.1")], "192.0.2.1"),
            ("last proxies", XForwardedFor, &[(XFF, "192.0.2.1"), (XFF, "10.0.0.2")], "192.0.2.1"),
            ("an empty line", XForwardedFor, &[(XFF, "192.0.2.1"), (XFF, "")], PEER),
            (
                "lines of the other",
                Forwarded,
                &[(FORWARDED, "for=1.1.1.1"), (FORWARDED, "for=192.0.2.1")],
                "192.0.2.1",
            ),
            ("both", XForwardedFor, both, "192.0.2.1"),
            ("both, and the other counts", Forwarded, both, "192.0.2.2"),
            ("a client's own", XForwardedFor, &[(FORWARDED, "for=1.1.1.1")], PEER),
            ("a client's own of the other", Forwarded, &[(XFF, "1.1.1.1")], PEER),
            ("garbage beside it", XForwardedFor, &[both[0], (FORWARDED, "?")], "192.0.2.1"),
            ("another header", XForwardedFor, &[("x-real-ip", "192.0.2.1")], PEER),
        ] {
            assert_eq!(client_of(header, PEER, headers), expected, "{what}");
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let headers = [(XFF, "192.0.2.1")];
        for (peer, expected) in [
            ("10.200.0.1", "192.0.2.1"),
            ("::ffff:10.0.0.1", "192.0.2.1"),
            ("2001:db8::1", "192.0.2.1"),
            ("11.0.0.1", "11.0.0.1"),
            ("::ffff:11.0.0.1", "11.0.0.1"),
            ("2001:db9::1", "2001:db9::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(client_of(XForwardedFor, peer, &headers), expected, "{peer}");
        }
    }

    #[test]
    fn nothing_a_client_sends_makes_it_panic() {
        let mut rng = fastrand::Rng::with_seed(1);
        let parts =
            ["for=", "\"", "\\", ",", ";", "[", "]", ":", "1.2.3.4", "::", "_x", " ", "\u{e4}"];
        for _ in 0..20_000 {
            let value: String =
                (0..rng.usize(..12)).map(|_| parts[rng.usize(..parts.len())]).collect();
            for (header, name) in [(XForwardedFor, XFF), (Forwarded, "forwarded")] {
                let client = client_of(header, PEER, &[(name, &value)]);
                assert!(client.parse::<IpAddr>().is_ok(), "{value:?}");
            }
        }
    }
}
