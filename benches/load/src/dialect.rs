//! The protocols: how requests are written and what answers mean.
//!
//! Requests are rendered once, when a run is set up; while it runs only a
//! reader's position and a payload's marker change.

mod bayeux;

use crate::{
    http::{self, Answer},
    marker,
};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Mailboxes with a key and a cursor.
    Cometbox,
    /// Channels with Last-Modified and Etag: GET /sub/ID, POST /pub/ID.
    Nchan,
    /// Bayeux by long-polling: POST /APP/bayeux.
    Bayeux,
}

/// How requests are addressed.
pub struct Speaker {
    pub dialect: Dialect,
    /// The Host header.
    pub host: String,
    /// Cometbox and Bayeux: the app in the URL.
    pub app: String,
    /// Cometbox: for publish.
    pub publish_key: String,
    /// Cometbox: seconds that a read may be held.
    pub wait: u32,
}

/// Who somebody is to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Cometbox: the mailbox's key; Bayeux: the client id.
    pub key: String,
    /// Bayeux: the header that brings back the server's cookie, if it set one.
    pub cookie: String,
}

/// A poll: the position goes between the two parts.
pub struct Poll {
    pub before: Box<[u8]>,
    pub after: Box<[u8]>,
}

/// A request with a payload whose marker is written for each sending.
pub struct Parcel {
    pub request: Vec<u8>,
    marker: usize,
}

impl Parcel {
    /// Where the marker goes.
    pub fn marker(&mut self) -> &mut [u8] {
        &mut self.request[self.marker..][..marker::LEN]
    }
}

/// What a reader's answer was.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The body has messages; so many were lost on the way, says the server.
    Messages { lost: u64 },
    /// Nothing came in the time; poll again.
    Nothing,
    /// The mailbox or channel is gone.
    Gone,
    /// None of what a reader expects.
    Unexpected,
}

impl Speaker {
    /// Opens a mailbox; Bayeux: shakes hands. nchan has no such request; any
    /// other one serves to know that the connection was accepted.
    pub fn open(&self, body: &str) -> Vec<u8> {
        match self.dialect {
            Dialect::Cometbox => self.post(&format!("/{}/mailboxes", self.app), "", body),
            Dialect::Nchan => self.request("GET", "/ready", ""),
            Dialect::Bayeux => self.handshake(),
        }
    }

    /// What a client has to ask for before it reads the channel `name`.
    pub fn subscribe(&self, name: &str, who: &Identity) -> Option<Vec<u8>> {
        match self.dialect {
            Dialect::Cometbox | Dialect::Nchan => None,
            Dialect::Bayeux => Some(self.bayeux_subscribe(name, who)),
        }
    }

    /// The poll of a mailbox or channel, and the position that it starts from.
    pub fn poll(&self, name: &str, who: &Identity) -> (Poll, Vec<u8>) {
        let Identity { key, .. } = who;
        let (before, after, position) = match self.dialect {
            Dialect::Cometbox => (
                format!("GET /{}/mailboxes/{name}?wait={}&cursor=", self.app, self.wait).into(),
                format!(" HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\n\r\n", self.host),
                "0",
            ),
            Dialect::Nchan => (
                format!("GET /sub/{name} HTTP/1.1\r\nHost: {}\r\n", self.host).into(),
                "\r\n".to_owned(),
                "",
            ),
            // Where to read on is for the server to know.
            Dialect::Bayeux => (self.connect(who), String::new(), ""),
        };
        let (before, after) = (before.into(), after.into_bytes().into());
        (Poll { before, after }, position.into())
    }

    /// A message to a mailbox, of a backend; in Bayeux of the client `by`.
    pub fn publish(&self, by: &Identity, name: &str, payload: usize) -> Parcel {
        self.publish_to(by, name, "mailboxes", payload)
    }

    /// … to a group.
    pub fn publish_group(&self, by: &Identity, name: &str, payload: usize) -> Parcel {
        self.publish_to(by, name, "groups", payload)
    }

    fn publish_to(&self, by: &Identity, name: &str, kind: &str, payload: usize) -> Parcel {
        let payload = blank(payload);
        match self.dialect {
            Dialect::Cometbox => {
                let key = format!("Authorization: Bearer {}\r\n", self.publish_key);
                let body = format!(r#"{{"to":{{"{kind}":["{name}"]}},"data":"{payload}"}}"#);
                parcel(self.post(&format!("/{}/publish", self.app), &key, &body))
            }
            Dialect::Nchan => self.nchan_publish(name, &payload),
            Dialect::Bayeux => self.bayeux_publish(by, name, &payload),
        }
    }

    /// So many messages in one request (cometbox), to a group that has no
    /// members: each is an event and becomes no delivery.
    pub fn publish_batch(&self, name: &str, payload: usize, count: u32) -> Parcel {
        let payload = blank(payload);
        let item = format!(r#"{{"to":{{"groups":["{name}"]}},"data":"{payload}"}}"#);
        let items = vec![item; count as usize].join(",");
        let key = format!("Authorization: Bearer {}\r\n", self.publish_key);
        parcel(self.post(&format!("/{}/publish", self.app), &key, &format!("[{items}]")))
    }

    /// What a member says in a chat room: through its mailbox, or, where there
    /// is no such thing, straight to the room's channel.
    pub fn say(&self, room: &str, name: &str, who: &Identity, payload: usize) -> Parcel {
        let payload = blank(payload);
        match self.dialect {
            Dialect::Cometbox => {
                let key = format!("Authorization: Bearer {}\r\n", who.key);
                let body = format!(r#"{{"say":"{payload}"}}"#);
                parcel(self.post(&format!("/{}/mailboxes/{name}", self.app), &key, &body))
            }
            Dialect::Nchan => self.nchan_publish(room, &payload),
            Dialect::Bayeux => self.bayeux_publish(who, room, &payload),
        }
    }

    fn nchan_publish(&self, name: &str, payload: &str) -> Parcel {
        let length = payload.len();
        let headers = format!("Content-Type: text/plain\r\nContent-Length: {length}\r\n");
        let mut request = self.request("POST", &format!("/pub/{name}"), &headers);
        request.extend_from_slice(payload.as_bytes());
        parcel(request)
    }

    /// Ends a mailbox or channel; who reads it is told.
    pub fn close(&self, name: &str, who: &Identity) -> Vec<u8> {
        match self.dialect {
            Dialect::Cometbox => {
                let key = format!("Authorization: Bearer {}\r\n", who.key);
                self.request("DELETE", &format!("/{}/mailboxes/{name}", self.app), &key)
            }
            Dialect::Nchan => self.request("DELETE", &format!("/pub/{name}"), ""),
            Dialect::Bayeux => self.disconnect(who),
        }
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        let headers =
            format!("Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}");
        let mut request = self.request("POST", path, &headers);
        request.extend_from_slice(body.as_bytes());
        request
    }

    fn request(&self, method: &str, path: &str, headers: &str) -> Vec<u8> {
        let mut head = String::new();
        // Writing into a String does not fail.
        let _ = write!(head, "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.host);
        head.into_bytes()
    }
}

/// A payload of this many bytes, without its marker's digits.
fn blank(bytes: usize) -> String {
    let mut payload = ".".repeat(bytes.max(marker::LEN));
    payload.replace_range(..1, "@");
    payload
}

fn parcel(request: Vec<u8>) -> Parcel {
    // Hosts, names, keys and identities have no such sign: `Args::check` and
    // `Dialect::opened` see to it.
    let marker = memchr::memchr(b'@', &request).expect("every payload begins with one");
    Parcel { request, marker }
}

impl Dialect {
    /// Whether clients read channels, so that the sender of a chat message hears
    /// it, too.
    pub fn echoes(self) -> bool {
        self != Self::Cometbox
    }

    /// Whether only clients publish, not backends.
    pub fn has_publishers(self) -> bool {
        self == Self::Bayeux
    }

    /// Who somebody is by the answer to an open.
    ///
    /// # Errors
    /// If it did not succeed.
    pub fn opened(self, answer: &Answer<'_>) -> Result<Identity> {
        let (key, cookie) = match self {
            Self::Nchan => return Ok(Identity::default()),
            Self::Bayeux => bayeux::opened(answer)?,
            Self::Cometbox if answer.status == 201 => {
                let reply: serde_json::Value = serde_json::from_slice(&answer.body)?;
                let key = reply["key"].as_str().context("no key in the answer to an open")?;
                (key.to_owned(), String::new())
            }
            Self::Cometbox => bail!("an open got {}: {}", answer.status, answer.text()),
        };
        let odd = |text: &str| {
            !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=~".contains(&byte))
        };
        if odd(&key) || odd(&cookie) {
            bail!("a key or a cookie that no request can be made of: {key:?}, {cookie:?}");
        }
        let cookie = if cookie.is_empty() { cookie } else { format!("Cookie: {cookie}\r\n") };
        Ok(Identity { key, cookie })
    }

    /// Understands a reader's answer and notes where to read on.
    pub fn read(self, answer: &Answer<'_>, position: &mut Vec<u8>) -> Outcome {
        match (self, answer.status) {
            (Self::Cometbox, 200) => cometbox_batch(&answer.body, position),
            (Self::Nchan, 200) => nchan_message(answer, position),
            (Self::Bayeux, 200) => bayeux::messages(&answer.body),
            (Self::Cometbox, 204) | (Self::Nchan, 304 | 408) => Outcome::Nothing,
            (Self::Cometbox | Self::Nchan, 410) => Outcome::Gone,
            _ => Outcome::Unexpected,
        }
    }

    /// Whether a publish or message was taken.
    pub fn taken(self, answer: &Answer<'_>) -> bool {
        match self {
            Self::Cometbox => match answer.status {
                // An item that failed is in an answer that did not.
                200 => memchr::memmem::find(&answer.body, b"{\"error\":").is_none(),
                status => status == 204,
            },
            Self::Nchan => matches!(answer.status, 200..=202),
            Self::Bayeux => answer.status == 200 && bayeux::successful(&answer.body),
        }
    }
}

/// `{"cursor":17,"lost":0,…`: these two come first, so nothing else is parsed.
fn cometbox_batch(body: &[u8], position: &mut Vec<u8>) -> Outcome {
    let field = |body: &[u8], name: &[u8]| -> Option<usize> {
        let digits = body.strip_prefix(name)?;
        digits.iter().position(|byte| !byte.is_ascii_digit())
    };
    let Some(cursor) = field(body, b"{\"cursor\":") else { return Outcome::Unexpected };
    let (cursor, rest) = body[b"{\"cursor\":".len()..].split_at(cursor);
    let Some(lost) = field(rest, b",\"lost\":") else { return Outcome::Unexpected };
    let lost = &rest[b",\"lost\":".len()..][..lost];
    let (false, Some(lost)) = (cursor.is_empty(), http::number(lost)) else {
        return Outcome::Unexpected;
    };
    position.clear();
    position.extend_from_slice(cursor);
    Outcome::Messages { lost }
}

fn nchan_message(answer: &Answer<'_>, position: &mut Vec<u8>) -> Outcome {
    let (Some(modified), Some(etag)) = (answer.header(b"last-modified"), answer.header(b"etag"))
    else {
        return Outcome::Unexpected;
    };
    position.clear();
    for part in [b"If-Modified-Since: ", modified, b"\r\nIf-None-Match: ", etag, b"\r\n"] {
        position.extend_from_slice(part);
    }
    Outcome::Messages { lost: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Parsed, parse};

    fn read(dialect: Dialect, answer: &str, position: &mut Vec<u8>) -> Outcome {
        let Parsed::Answer(answer) = parse(answer.as_bytes()) else { panic!("it is whole") };
        dialect.read(&answer, position)
    }

    #[test]
    fn a_cometbox_answer_moves_the_cursor() {
        let mut position = b"3".to_vec();
        let body = r#"{"cursor":17,"lost":2,"messages":[]}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let outcome = read(Dialect::Cometbox, &answer, &mut position);
        assert_eq!((outcome, &position[..]), (Outcome::Messages { lost: 2 }, &b"17"[..]));

        let answer = "HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(read(Dialect::Cometbox, answer, &mut position), Outcome::Nothing);
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(read(Dialect::Cometbox, answer, &mut position), Outcome::Unexpected);
        assert_eq!(position, b"17");
    }

    #[test]
    fn an_nchan_answer_is_read_on_from_by_its_two_headers() {
        let mut position = Vec::new();
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nLast-Modified: Mon\r\nEtag: 4\r\n\r\nx";
        assert_eq!(read(Dialect::Nchan, answer, &mut position), Outcome::Messages { lost: 0 });
        assert_eq!(position, b"If-Modified-Since: Mon\r\nIf-None-Match: 4\r\n");
    }

    #[test]
    fn a_publish_that_failed_is_not_taken() {
        for (status, body, taken) in [
            (200, r#"{"results":[{"queued":1}]}"#, true),
            (200, r#"{"results":[{"queued":1},{"error":{"code":"plugin_failed"}}]}"#, false),
            (204, "", true),
            (503, "", false),
        ] {
            let answer =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let Parsed::Answer(answer) = parse(answer.as_bytes()) else { panic!("it is whole") };
            assert_eq!(Dialect::Cometbox.taken(&answer), taken, "{status} {body}");
        }
    }

    #[test]
    fn a_parcel_s_marker_is_inside_its_payload() {
        let speaker = Speaker {
            dialect: Dialect::Cometbox,
            host: "h".into(),
            app: "a".into(),
            publish_key: "k".into(),
            wait: 25,
        };
        let mut parcel = speaker.publish(&Identity::default(), "m", 100);
        parcel.marker().fill(b'#');
        let text = String::from_utf8(parcel.request).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let data = format!("{}{}", "#".repeat(marker::LEN), ".".repeat(100 - marker::LEN));
        assert_eq!(body, format!(r#"{{"to":{{"mailboxes":["m"]}},"data":"{data}"}}"#));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
