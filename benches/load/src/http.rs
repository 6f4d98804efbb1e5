//! As much of HTTP/1.1 as a client of these servers needs: answers with a
//! length, in chunks, or without a body.

use std::borrow::Cow;

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    pub status: u16,
    head: &'a [u8],
    /// Copied only if it came in several chunks.
    pub body: Cow<'a, [u8]>,
    /// Bytes of head and body together, as they came.
    pub length: usize,
}

/// What the bytes at hand are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    Answer(Answer<'a>),
    /// The beginning of one.
    Incomplete,
    /// No answer that this reader understands.
    Malformed,
}

/// Reads the first answer in `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(head_end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Parsed::Incomplete;
    };
    let (head, body) = (&bytes[..head_end + 2], &bytes[head_end + 4..]);
    let Some(status) = status(head) else { return Parsed::Malformed };
    let bodiless = status == 204 || status == 304;
    let length = match header(head, b"content-length") {
        Some(text) => number(text),
        None if bodiless => Some(0),
        None => return chunked(head, status, body, head_end + 4),
    };
    let Some(length) = length else { return Parsed::Malformed };
    let length = if bodiless { 0 } else { length as usize };
    if body.len() < length {
        return Parsed::Incomplete;
    }
    let whole = head_end + 4 + length;
    Parsed::Answer(Answer { status, head, body: body[..length].into(), length: whole })
}

/// An answer whose body comes in chunks, without extensions and trailers, which
/// none of the servers sends.
fn chunked<'a>(head: &'a [u8], status: u16, bytes: &'a [u8], head_bytes: usize) -> Parsed<'a> {
    let coding = header(head, b"transfer-encoding");
    if !coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
        return Parsed::Malformed;
    }
    let mut body = Cow::Borrowed(&bytes[..0]);
    let mut rest = bytes;
    loop {
        let Some(line_end) = memchr::memmem::find(rest, b"\r\n") else {
            let digits = rest.strip_suffix(b"\r").unwrap_or(rest);
            let fits = digits.is_empty() || chunk_bytes(digits).is_some();
            return if fits { Parsed::Incomplete } else { Parsed::Malformed };
        };
        let Some(size) = chunk_bytes(&rest[..line_end]) else { return Parsed::Malformed };
        let chunk = &rest[line_end + 2..];
        let Some((end, after)) = chunk.get(size..).and_then(|rest| rest.split_at_checked(2)) else {
            return Parsed::Incomplete;
        };
        if end != b"\r\n" {
            return Parsed::Malformed;
        }
        rest = after;
        if size == 0 {
            let length = head_bytes + bytes.len() - rest.len();
            return Parsed::Answer(Answer { status, head, body, length });
        }
        if body.is_empty() {
            body = chunk[..size].into();
        } else {
            body.to_mut().extend_from_slice(&chunk[..size]);
        }
    }
}

/// The size of a chunk: up to seven hexadecimal digits and nothing else.
fn chunk_bytes(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 7 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

impl<'a> Answer<'a> {
    /// The value of a header; the name in lower case.
    pub fn header(&self, name: &[u8]) -> Option<&'a [u8]> {
        header(self.head, name)
    }

    /// For messages about it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(300)]).into_owned()
    }
}

/// `HTTP/1.1 200 …`
fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    number(digits).map(|status| status as u16)
}

fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    // The line ends are found by memchr: an answer has few of them.
    let mut rest = head;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let matches = line.len() > name.len()
            && line[name.len()] == b':'
            && line[..name.len()].eq_ignore_ascii_case(name);
        if matches {
            return Some(line[name.len() + 1..].trim_ascii());
        }
    }
    None
}

/// A decimal number and nothing else.
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nEtag: 7\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        for end in 0..ANSWER.len() {
            assert_eq!(parse(&ANSWER[..end]), Parsed::Incomplete);
        }
        let two = [ANSWER, ANSWER].concat();
        let Parsed::Answer(answer) = parse(&two) else { panic!("it is whole") };
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]));
        assert_eq!(answer.length, ANSWER.len());
        assert_eq!(answer.header(b"etag"), Some(&b"7"[..]));
        assert_eq!(answer.header(b"last-modified"), None);
    }

    #[test]
    fn an_answer_without_a_body_needs_no_length() {
        let Parsed::Answer(answer) = parse(b"HTTP/1.1 204 No Content\r\n\r\n") else {
            panic!("it is whole")
        };
        assert_eq!((answer.status, &answer.body[..]), (204, &b""[..]));
    }

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn chunks_are_one_body_once_the_last_one_is_there() {
        for (chunks, body) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("b\r\nhello world\r\n0\r\n\r\n", "hello world"),
            ("5\r\nhello\r\n1\r\n \r\n005\r\nworld\r\n0\r\n\r\n", "hello world"),
            ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ] {
            let whole = [HEAD, chunks.as_bytes()].concat();
            for end in 0..whole.len() {
                assert_eq!(parse(&whole[..end]), Parsed::Incomplete, "{chunks:?} up to {end}");
            }
            let two = [&whole[..], b"HTTP"].concat();
            let Parsed::Answer(answer) = parse(&two) else { panic!("{chunks:?} is whole") };
            assert_eq!(&answer.body[..], body.as_bytes());
            assert_eq!(answer.length, whole.len(), "{chunks:?}");
        }
    }

    #[test]
    fn what_cannot_be_framed_is_malformed() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Parsed::Malformed);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n\r\n"), Parsed::Malformed);
        assert_eq!(parse(b"FTP\r\n\r\n"), Parsed::Malformed);
        let gzip = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(parse(gzip), Parsed::Malformed);
        for chunks in [
            "x\r\n",
            "\r\n",
            "5;a=b\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "12345678",
            "5\r\nhello\r\n0\r\nA: b\r\n\r\n",
        ] {
            let answer = [HEAD, chunks.as_bytes()].concat();
            assert_eq!(parse(&answer), Parsed::Malformed, "{chunks:?}");
        }
    }
}
