//! As much of HTTP and of the protocol as the generator writes.

use memchr::memmem;

/// What is asked for; names are as they came, payloads are JSON.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    Open { name: &'a [u8], group: Option<&'a [u8]> },
    Read { name: &'a [u8], cursor: u64 },
    Send { name: &'a [u8], data: &'a [u8] },
    Close { name: &'a [u8] },
    PublishMailbox { name: &'a [u8], data: &'a [u8] },
    PublishGroup { group: &'a [u8], data: &'a [u8] },
}

pub enum Parsed<'a> {
    /// And how many bytes it took.
    Request(Request<'a>, usize),
    Incomplete,
    Malformed,
}

/// Reads the first request in `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(head) = memmem::find(bytes, b"\r\n\r\n") else { return Parsed::Incomplete };
    let (head, body) = (&bytes[..head], &bytes[head + 4..]);
    let length = after(head, b"\r\nContent-Length: ").map_or(0, number) as usize;
    if body.len() < length {
        return Parsed::Incomplete;
    }
    match request(head, &body[..length]) {
        Some(request) => Parsed::Request(request, head.len() + 4 + length),
        None => Parsed::Malformed,
    }
}

fn request<'a>(head: &'a [u8], body: &'a [u8]) -> Option<Request<'a>> {
    let mut words = head.splitn(3, |byte| *byte == b' ');
    let (method, uri) = (words.next()?, words.next()?);
    // `/{app}/mailboxes…` or `/{app}/publish`
    let place = &uri[1 + memchr::memchr(b'/', uri.get(1..)?)?..];
    if place == b"/publish" {
        let data = after(body, b"\"data\":")?;
        let data = data.strip_suffix(b"}")?;
        return match text(body, b"{\"groups\":[\"") {
            Some(group) => Some(Request::PublishGroup { group, data }),
            None => {
                text(body, b"{\"mailboxes\":[\"").map(|name| Request::PublishMailbox { name, data })
            }
        };
    }
    let Some(rest) = place.strip_prefix(b"/mailboxes/") else {
        let name = text(body, b"\"name\":\"").or_else(|| text(body, b"\"nick\":\""))?;
        let group = text(body, b"\"groups\":[\"").or_else(|| text(body, b"\"room\":\""));
        return (place == b"/mailboxes").then_some(Request::Open { name, group });
    };
    let name = rest.split(|byte| *byte == b'?').next()?;
    match method {
        b"GET" => Some(Request::Read { name, cursor: after(rest, b"cursor=").map_or(0, number) }),
        b"POST" => Some(Request::Send { name, data: body }),
        b"DELETE" => Some(Request::Close { name }),
        _ => None,
    }
}

/// What follows the first `mark`.
fn after<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    memmem::find(bytes, mark).map(|at| &bytes[at + mark.len()..])
}

/// The same up to the next quotation mark.
fn text<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    after(bytes, mark)?.split(|byte| *byte == b'"').next()
}

/// The decimal number at the beginning.
fn number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |value: u64, digit| value.wrapping_mul(10) + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> (Request<'_>, usize) {
        let Parsed::Request(request, length) = parse(bytes) else { panic!("a whole request") };
        (request, length)
    }

    #[test]
    fn what_the_generator_writes_is_understood() {
        let (name, group, data) = (&b"m"[..], &b"g"[..], &b"\"x\""[..]);
        for (line, body, expected) in [
            ("GET /a/mailboxes/m?wait=25&cursor=17", "", Request::Read { name, cursor: 17 }),
            ("DELETE /a/mailboxes/m", "", Request::Close { name }),
            ("POST /a/mailboxes/m", "\"x\"", Request::Send { name, data }),
            ("POST /a/mailboxes", r#"{"name":"m"}"#, Request::Open { name, group: None }),
            (
                "POST /a/mailboxes",
                r#"{"name":"m","groups":["g"]}"#,
                Request::Open { name, group: Some(group) },
            ),
            (
                "POST /a/mailboxes",
                r#"{"nick":"m","room":"g"}"#,
                Request::Open { name, group: Some(group) },
            ),
            (
                "POST /a/publish",
                r#"{"to":{"mailboxes":["m"]},"data":"x"}"#,
                Request::PublishMailbox { name, data },
            ),
            (
                "POST /a/publish",
                r#"{"to":{"groups":["g"]},"data":"x"}"#,
                Request::PublishGroup { group, data },
            ),
        ] {
            let length = body.len();
            let text = format!("{line} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
            assert_eq!(whole(text.as_bytes()), (expected, text.len()));
            for end in 0..text.len() {
                assert!(matches!(parse(&text.as_bytes()[..end]), Parsed::Incomplete));
            }
        }
        assert!(matches!(parse(b"GET / HTTP/1.1\r\n\r\n"), Parsed::Malformed));
    }
}
