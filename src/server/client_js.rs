//! `/cometbox.js`, the JavaScript client: compressed once, and with a tag, so that
//! a browser that has it is told so instead of getting it again.

use super::{ask::Ask, compress, reply::Reply};
use crate::config::HttpConfig;
use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hasher},
    sync::LazyLock,
};

const SOURCE: &str = include_str!("../../clients/js/cometbox.js");

struct Client {
    /// None: it would not get smaller.
    gzip: Option<Vec<u8>>,
    /// Weak, since it stands for both forms (RFC 9110, 8.8.1); the same in every
    /// gateway of this build.
    tag: String,
}

static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    hasher.write(SOURCE.as_bytes());
    let tag = format!("W/\"{:016x}\"", hasher.finish());
    Client { gzip: compress::gzip_once(SOURCE.as_bytes()), tag }
});

/// The answer to a `GET` of it.
pub(super) fn reply(ask: &Ask<'_>, http: &HttpConfig) -> Reply {
    let client = &*CLIENT;
    let gzip = client.gzip.as_deref().filter(|_| compress::is_on(http));
    let mut reply = Reply::content("text/javascript; charset=utf-8", SOURCE.as_bytes());
    reply = reply.with("etag", &*client.tag);
    if gzip.is_some() {
        reply = reply.with(compress::VARY.0, compress::VARY.1);
    }
    if ask.if_none_match.is_some_and(|tags| is_among(&client.tag, tags)) {
        return Reply { status: 304, content_type: None, body: Cow::Borrowed(&[]), ..reply };
    }
    match gzip.filter(|_| compress::is_accepted(ask.accept_encoding)) {
        Some(gzip) => {
            Reply { body: gzip.into(), ..reply }.with(compress::ENCODING.0, compress::ENCODING.1)
        }
        None => reply,
    }
}

/// Whether a tag is one of an `If-None-Match`, which compares them without
/// regard to weakness (RFC 9110, 13.1.2).
fn is_among(tag: &str, tags: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|other| opaque(other) == opaque(tag))
}
