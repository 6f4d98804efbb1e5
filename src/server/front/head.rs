//! Where a request begins and ends: a strict reader of HTTP/1.1.
//!
//! It takes only what leaves no room for a second opinion: a method of the
//! protocol, a plain path, HTTP/1.1, at most one `Content-Length` of digits,
//! and none of the headers that change how a connection is read. Everything
//! else is [`Framing::Other`] and hyper's to judge, so that the two readers
//! never disagree about where a request ends. Both stand on httparse.

use super::super::ask::{self, Ask};
use crate::{
    config::HttpConfig,
    transport::{self, Accepted},
};
use httparse::{Header, Status};
use std::{mem::MaybeUninit, net::IpAddr};

/// Requests with more headers than this are hyper's.
pub const MAX_HEADERS: usize = 100;

/// Room for the headers of a request, on the stack.
pub type Room<'b> = [MaybeUninit<Header<'b>>; MAX_HEADERS];

/// What the first bytes of a connection's input are.
#[allow(clippy::large_enum_variant)] // it lives on the stack, for one request
pub enum Framing<'h, 'b> {
    /// The beginning of something that may become a request.
    Partial,
    /// A request's head; its body may not have come yet.
    Request(Request<'h, 'b>),
    /// Nothing that is read here.
    Other,
}

/// A request's head.
pub struct Request<'h, 'b> {
    /// Of the head.
    pub head_bytes: usize,
    /// Of the body that follows it.
    pub body_bytes: usize,
    method: &'b str,
    target: &'b str,
    headers: &'h [Header<'b>],
    known: Known<'b>,
}

/// The headers that are looked at: of each the first, if it is text.
#[derive(Default)]
struct Known<'b> {
    accept: First<'b>,
    accept_encoding: First<'b>,
    authorization: First<'b>,
    content_type: First<'b>,
    if_none_match: First<'b>,
    origin: First<'b>,
    cookies: First<'b>,
    preflight_method: bool,
    preflight_headers: First<'b>,
    content_length: Option<usize>,
}

/// The first of the headers of a name: none; no text; its text.
type First<'b> = Option<Option<&'b str>>;

/// Looks at the first request in `bytes`.
pub fn frame<'h, 'b>(
    bytes: &'b [u8],
    config: &HttpConfig,
    room: &'h mut Room<'b>,
) -> Framing<'h, 'b> {
    let max_headers = config.max_headers.min(MAX_HEADERS);
    let mut request = httparse::Request::new(&mut []);
    let head_bytes = match request.parse_with_uninit_headers(bytes, &mut room[..max_headers]) {
        Ok(Status::Complete(head_bytes)) => head_bytes,
        Ok(Status::Partial) if bytes.len() < config.max_head_bytes => return Framing::Partial,
        Ok(Status::Partial) | Err(_) => return Framing::Other,
    };
    let (Some(method), Some(target), Some(1)) = (request.method, request.path, request.version)
    else {
        return Framing::Other;
    };
    let headers = &*request.headers;
    let is_plain = matches!(method, "GET" | "POST" | "DELETE" | "OPTIONS")
        && target.len() <= config.max_uri_bytes
        && head_bytes <= config.max_head_bytes
        && is_plain_target(target);
    let Some(known) = Known::of(headers).filter(|_| is_plain) else {
        return Framing::Other;
    };
    let body_bytes = known.content_length.unwrap_or(0);
    if body_bytes > config.max_body_bytes || (body_bytes > 0 && method != "POST") {
        return Framing::Other;
    }
    Framing::Request(Request { head_bytes, body_bytes, method, target, headers, known })
}

/// A path and perhaps a query, of characters that every reader of URLs takes as
/// they are.
fn is_plain_target(target: &str) -> bool {
    target.starts_with('/') && target.bytes().all(|byte| PLAIN[usize::from(byte)])
}

/// The characters of paths and queries (RFC 3986, 3.3 and 3.4). A table, since
/// every request has dozens of them.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'-' | b'.' | b'_' | b'~' | b'%' | b'/' | b'?' | b':' | b'@')
            || matches!(byte as u8, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',')
            || matches!(byte as u8, b';' | b'=');
        byte += 1;
    }
    plain
};

impl<'b> Known<'b> {
    /// None: one of them is not for this reader.
    fn of(headers: &[Header<'b>]) -> Option<Self> {
        let mut known = Self::default();
        for Header { name, value } in headers {
            // Mostly they are written as here.
            let is = |other: &str| *name == other || name.eq_ignore_ascii_case(other);
            let first = |slot: &mut First<'b>| {
                slot.get_or_insert_with(|| ask::text(value));
            };
            // By length first: most names differ in it.
            match name.len() {
                6 if is("Accept") => first(&mut known.accept),
                6 if is("Origin") => first(&mut known.origin),
                6 if is("Cookie") => first(&mut known.cookies),
                10 if is("Connection") && !value.eq_ignore_ascii_case(b"keep-alive") => {
                    return None;
                }
                12 if is("Content-Type") => first(&mut known.content_type),
                // Of a stream.
                13 if is("Last-Event-ID") => return None,
                13 if is("If-None-Match") => first(&mut known.if_none_match),
                13 if is("Authorization") => first(&mut known.authorization),
                14 if is("Content-Length") => {
                    let digits = Some(*value).filter(|_| known.content_length.is_none())?;
                    known.content_length = Some(number(digits)?);
                }
                15 if is("Accept-Encoding") => first(&mut known.accept_encoding),
                29 if is("Access-Control-Request-Method") => known.preflight_method = true,
                30 if is("Access-Control-Request-Headers") => first(&mut known.preflight_headers),
                6 if is("Expect") => return None,
                7 if is("Upgrade") || is("Trailer") => return None,
                14 if is("HTTP2-Settings") => return None,
                16 if is("Proxy-Connection") => return None,
                17 if is("Transfer-Encoding") => return None,
                _ => {}
            }
        }
        Some(known)
    }
}

/// RFC 9112, 6.3: digits and nothing else; here so few that they fit.
fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

impl Request<'_, '_> {
    /// Of head and body.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }

    /// What the request asks; `headers` is [`Request::all_headers`].
    #[must_use]
    pub fn ask<'a>(
        &'a self,
        headers: &'a (dyn Fn() -> Vec<(String, String)> + Send + Sync),
        peer: IpAddr,
    ) -> Ask<'a> {
        let (path, query) = match transport::split_once(self.target, b'?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target, None),
        };
        Ask {
            method: self.method,
            path,
            query,
            accepted: Accepted::of(self.known.accept.flatten()),
            accept_encoding: self.known.accept_encoding.flatten(),
            authorization: self.known.authorization.flatten(),
            content_type: self.known.content_type.flatten(),
            if_none_match: self.known.if_none_match.flatten(),
            last_event_id: None,
            origin: self.known.origin.flatten(),
            cookies: self.known.cookies.flatten(),
            is_preflight: self.known.preflight_method,
            preflight_headers: self.known.preflight_headers.flatten(),
            headers,
            peer,
            has_begun: false,
        }
    }

    /// All whose values are text, names in lower case.
    #[must_use]
    pub fn all_headers(&self) -> Vec<(String, String)> {
        let pair = |header: &Header<'_>| {
            let value = std::str::from_utf8(header.value).ok()?;
            Some((header.name.to_ascii_lowercase(), value.to_owned()))
        };
        self.headers.iter().filter_map(pair).collect()
    }
}
