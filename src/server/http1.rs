//! Answers as HTTP/1.1, straight into a buffer, where no HTTP library is at
//! work.

use super::{
    clock, compress,
    cors::{self, Grant, Origins},
    reply::{Reply, Wish},
    terms::Terms,
};
use crate::{
    core::Answer,
    transport::{self, Format},
};
use std::{
    borrow::Cow,
    cell::RefCell,
    time::{Duration, UNIX_EPOCH},
};

/// Appends a reply.
pub(super) fn reply(out: &mut Vec<u8>, reply: &Reply, origins: &Origins, grant: Option<Grant>) {
    match (reply.status, reply.content_type, reply.cache_control) {
        (200, Some("application/json"), "no-store") => out.extend_from_slice(JSON_OK),
        (status, content_type, cache_control) => {
            status_line(out, status);
            if let Some(content_type) = content_type {
                header(out, "content-type", content_type);
            }
            header(out, "cache-control", cache_control);
        }
    }
    for (name, value) in &reply.headers {
        // A value that is none can only be an echo of a client's.
        if value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
            header(out, name, value);
        }
    }
    if let Some(grant) = grant {
        cors::headers(origins, grant).for_each(|(name, value)| header(out, name, value));
    }
    end_of_head(out, reply.close, has_body(reply.status).then_some(reply.body.len()));
    out.extend_from_slice(&reply.body);
}

/// Appends the answer to a read; `body` is room to write in. The same bytes as
/// by way of [`Reply::answer`], without its allocations.
pub fn answer(
    out: &mut Vec<u8>,
    body: &mut Vec<u8>,
    answer: &Answer,
    wish: Wish,
    terms: &Terms,
    close: bool,
) {
    let Wish { format, grant, gzip } = wish;
    let Answer::Batch(batch) = answer else {
        let mut it = Reply::answer(answer, format);
        it.close |= close;
        return reply(out, &it, &terms.origins, grant);
    };
    body.clear();
    transport::batch(format, batch, body);
    out.extend_from_slice(match format {
        Format::Json => JSON_OK,
        Format::MsgPack => MSGPACK_OK,
    });
    let mut body = Cow::Borrowed(&body[..]);
    if body.len() >= terms.compress_bytes {
        compress(out, &mut body, gzip);
    }
    if let Some(grant) = grant {
        cors::headers(&terms.origins, grant).for_each(|(name, value)| header(out, name, value));
    }
    end_of_head(out, close, Some(body.len()));
    out.extend_from_slice(&body);
}

/// Compresses a body that is large enough, with the headers that say so.
#[cold]
fn compress(out: &mut Vec<u8>, body: &mut Cow<'_, [u8]>, is_accepted: bool) {
    header(out, compress::VARY.0, compress::VARY.1);
    if is_accepted && let Some(smaller) = compress::gzip(body) {
        header(out, compress::ENCODING.0, compress::ENCODING.1);
        *body = Cow::Owned(smaller);
    }
}

/// The beginning of nearly every answer, in one piece.
const JSON_OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n";
const MSGPACK_OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/msgpack\r\ncache-control: no-store\r\n";

/// RFC 9110, 15.3.5 and 15.4.5: these end with their head.
fn has_body(status: u16) -> bool {
    !matches!(status, 204 | 304)
}

fn status_line(out: &mut Vec<u8>, status: u16) {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error");
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn end_of_head(out: &mut Vec<u8>, close: bool, body_bytes: Option<usize>) {
    if close {
        header(out, "connection", "close");
    }
    if let Some(bytes) = body_bytes {
        header(out, "content-length", itoa::Buffer::new().format(bytes));
    }
    date_and_end(out);
}

/// RFC 9110, 6.6.1: whoever has a clock says when. Rendered once a second.
fn date_and_end(out: &mut Vec<u8>) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let second = clock::unix_second();
    DATE.with_borrow_mut(|(of, text)| {
        if *of != second || text.is_empty() {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            *text = format!("date: {date}\r\n\r\n");
            *of = second;
        }
        out.extend_from_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{CorsConfig, HttpConfig},
        core::{Batch, Delivery, Message, Payload},
    };

    fn allowing(origin: &str) -> Origins {
        Origins::of(&CorsConfig { origins: vec![origin.into()] })
    }

    fn written(write: impl FnOnce(&mut Vec<u8>, &Origins)) -> String {
        let mut out = Vec::new();
        write(&mut out, &allowing("https://a.example"));
        let text = String::from_utf8(out).expect("the answers of this test are text");
        let (before, rest) = text.split_once("date: ").expect("every answer has a date");
        let (date, rest) = rest.split_once("\r\n").expect("a header ends");
        assert!(date.ends_with(" GMT"), "{date}");
        format!("{before}{rest}").replace("\r\n", "|")
    }

    #[test]
    fn replies_have_the_headers_they_need_and_no_others() {
        let grant = cors::grant(&allowing("https://a.example"), Some("https://a.example"));
        for (it, grant, expected) in [
            (Reply::empty(204), None, "HTTP/1.1 204 No Content|cache-control: no-store||"),
            (
                Reply::encoded(200, Format::Json, |_, out| out.extend_from_slice(b"{}")),
                None,
                "HTTP/1.1 200 OK|content-type: application/json|cache-control: no-store|\
                 content-length: 2||{}",
            ),
            (
                Reply::content("text/plain", &b"hi"[..]).closing(),
                None,
                "HTTP/1.1 200 OK|content-type: text/plain|cache-control: no-cache|\
                 connection: close|content-length: 2||hi",
            ),
            (
                Reply::empty(418).with("location", "/a\r\nx: y").with("allow", "GET"),
                grant,
                "HTTP/1.1 418 I'm a teapot|cache-control: no-store|allow: GET|vary: origin|\
                 access-control-allow-credentials: true|\
                 access-control-allow-origin: https://a.example|\
                 access-control-expose-headers: retry-after|content-length: 0||",
            ),
        ] {
            assert_eq!(written(|out, origins| reply(out, &it, origins, grant)), expected);
        }
    }

    #[test]
    fn an_answer_is_written_as_its_reply_is() {
        let batch = |payload: &str| {
            let message = Message::new(Payload::json(payload.to_owned()), None, None);
            let messages = [Delivery { seq: 7, message }].into_iter().collect();
            Answer::Batch(Batch { cursor: 7, lost: 1, messages })
        };
        let large = format!("\"{}\"", "x".repeat(1000));
        let http = HttpConfig { compress_min_bytes: 1000, ..HttpConfig::default() };
        let terms = Terms::of(http, allowing("*"));
        let grant = cors::grant(&terms.origins, Some("https://any.example"));
        for it in [batch("[1]"), batch(&large), Answer::Nothing, Answer::Displaced] {
            for (format, close, gzip) in [
                (Format::Json, false, true),
                (Format::MsgPack, true, true),
                (Format::Json, false, false),
            ] {
                let (mut direct, mut body, mut by_reply) = (Vec::new(), Vec::new(), Vec::new());
                let wish = Wish { format, grant, gzip };
                answer(&mut direct, &mut body, &it, wish, &terms, close);
                let mut long_way = Reply::answer(&it, format);
                long_way.close = close;
                compress::reply(&mut long_way, gzip, &terms.http);
                reply(&mut by_reply, &long_way, &terms.origins, grant);
                assert_eq!(direct.escape_ascii().to_string(), by_reply.escape_ascii().to_string());
            }
        }
    }
}
