//! Compression of large answers (gzip), for clients that accept it.

use super::reply::Reply;
use crate::config::HttpConfig;
use flate2::{Compress, Compression, FlushCompress, Status};
use std::borrow::Cow;

/// A quarter of the size for 40 µs per 16 KiB of JSON. The default level takes
/// twice to four times as long for another 3 % of the original size, and who
/// compresses keeps a thread of the front from everybody else.
const LEVEL: u32 = 2;

/// Of deflate: 32 KiB, all there are.
const WINDOW_BITS: u8 = 15;

/// The same for what is compressed once and sent often: as small as it gets.
const LEVEL_ONCE: u32 = 9;

/// Caches keep one answer for those who accept it, and one for the others.
pub(super) const VARY: (&str, &str) = ("vary", "accept-encoding");
pub(super) const ENCODING: (&str, &str) = ("content-encoding", "gzip");

/// Whether an `Accept-Encoding` allows gzip (RFC 9110, 12.5.3).
#[must_use]
pub(super) fn is_accepted(accept_encoding: Option<&str>) -> bool {
    let mut others = false;
    for coding in accept_encoding.unwrap_or_default().split(',') {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| {
            let (name, weight) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then_some(weight.trim())
        });
        let is_wanted = weight.is_none_or(|q| q.parse::<f32>().is_ok_and(|q| q > 0.0));
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return is_wanted;
        }
        others |= name == "*" && is_wanted;
    }
    others
}

/// Compresses a reply that is large enough, not compressed by its nature, and
/// not there in both forms anyway.
pub(super) fn reply(reply: &mut Reply, is_accepted: bool, http: &HttpConfig) {
    if reply.body.len() < least_bytes(http)
        || !reply.content_type.is_some_and(is_text)
        || reply.headers.contains(&(VARY.0, Cow::Borrowed(VARY.1)))
    {
        return;
    }
    reply.headers.push((VARY.0, VARY.1.into()));
    if is_accepted && let Some(smaller) = gzip(&reply.body) {
        reply.headers.push((ENCODING.0, ENCODING.1.into()));
        reply.body = Cow::Owned(smaller);
    }
}

/// Bodies from so many bytes on are compressed.
#[must_use]
pub(super) fn least_bytes(http: &HttpConfig) -> usize {
    if is_on(http) { http.compress_min_bytes } else { usize::MAX }
}

/// Whether anything is compressed.
#[must_use]
pub(super) fn is_on(http: &HttpConfig) -> bool {
    http.compress_min_bytes > 0
}

/// Text, as opposed to images and fonts, which are compressed by their nature.
fn is_text(content_type: &str) -> bool {
    let (kind, name) = content_type.split_once('/').unwrap_or((content_type, ""));
    matches!(kind, "text" | "application") || name == "svg+xml"
}

/// None: it would not get smaller.
#[must_use]
pub(super) fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    gzip_at(LEVEL, body)
}

/// The same for what is sent often.
#[must_use]
pub(super) fn gzip_once(body: &[u8]) -> Option<Vec<u8>> {
    gzip_at(LEVEL_ONCE, body)
}

fn gzip_at(level: u32, body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len());
    let mut deflate = Compress::new_gzip(Compression::new(level), WINDOW_BITS);
    match deflate.compress_vec(body, &mut out, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => Some(out),
        Ok(Status::Ok | Status::BufError) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn only_who_accepts_gzip_gets_it() {
        for (accept_encoding, expected) in [
            (None, false),
            (Some(""), false),
            (Some("gzip"), true),
            (Some("GZip"), true),
            (Some("x-gzip"), true),
            (Some("gzip, deflate, br, zstd"), true),
            (Some("br;q=1.0, gzip;q=0.8, *;q=0.1"), true),
            (Some("deflate , gzip ; q = 0.5"), true),
            (Some("br, identity"), false),
            (Some("*"), true),
            (Some("*;q=0"), false),
            (Some("*, gzip;q=0"), false),
            (Some("gzip;q=0"), false),
            (Some("gzip;Q=0.000"), false),
            (Some("gzip;q=nonsense"), false),
            (Some("gzipped, notgzip"), false),
            (Some(",;,;q=1"), false),
        ] {
            assert_eq!(is_accepted(accept_encoding), expected, "{accept_encoding:?}");
        }
    }

    #[test]
    fn replies_are_compressed_if_it_is_worth_it() {
        let http = HttpConfig { compress_min_bytes: 1000, ..HttpConfig::default() };
        let never = HttpConfig { compress_min_bytes: 0, ..HttpConfig::default() };
        let text = "some text ".repeat(200);
        let mut noise = vec![0; 2000];
        fastrand::Rng::with_seed(7).fill(&mut noise);
        for (what, kind, body, accepted, http, headers) in [
            ("large", "application/json", text.as_bytes(), true, &http, 2),
            ("not accepted", "application/json", text.as_bytes(), false, &http, 1),
            ("an image of text", "image/svg+xml", text.as_bytes(), true, &http, 2),
            ("an image", "image/png", text.as_bytes(), true, &http, 0),
            ("at the bound", "text/plain", &text.as_bytes()[..1000], true, &http, 2),
            ("small", "text/plain", &text.as_bytes()[..999], true, &http, 0),
            ("turned off", "text/plain", text.as_bytes(), true, &never, 0),
            ("noise", "application/octet-stream", &noise[..], true, &http, 1),
        ] {
            let mut it = Reply::content(kind, body.to_vec());
            reply(&mut it, accepted, http);
            let names: Vec<_> = it.headers.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, ["vary", "content-encoding"][..headers], "{what}");
            if headers == 2 {
                assert!(it.body.len() < body.len() / 2, "{what}");
                let mut back = Vec::new();
                GzDecoder::new(&*it.body).read_to_end(&mut back).expect("it is gzip");
                assert_eq!(back, body, "{what}");
            } else {
                assert_eq!(it.body, body, "{what}");
            }
        }
    }
}
