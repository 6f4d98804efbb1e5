//! Bayeux by long-polling, as the servers of Cometbox, CometD and Faye speak it.
//!
//! Their answers differ: deliveries come before or after the reply to a
//! connect, fields in any order, and with each reply as much advice as the
//! server likes. What counts is found in them without reading all of it, which
//! no text of ours can feign: names and payloads have no quotes.

use super::{Identity, Outcome, Parcel, Speaker, parcel};
use crate::http::Answer;
use anyhow::{Context, Result, bail};
use memchr::{memchr, memmem};

impl Speaker {
    pub(super) fn handshake(&self) -> Vec<u8> {
        let body = r#"[{"id":"1","channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]"#;
        self.bayeux("", body)
    }

    pub(super) fn bayeux_subscribe(&self, channel: &str, who: &Identity) -> Vec<u8> {
        self.tell(who, "/meta/subscribe", &format!(r#","subscription":"/{channel}""#))
    }

    pub(super) fn connect(&self, who: &Identity) -> Vec<u8> {
        self.tell(who, "/meta/connect", r#","connectionType":"long-polling""#)
    }

    pub(super) fn bayeux_publish(&self, by: &Identity, channel: &str, payload: &str) -> Parcel {
        parcel(self.tell(by, &format!("/{channel}"), &format!(r#","data":"{payload}""#)))
    }

    pub(super) fn disconnect(&self, who: &Identity) -> Vec<u8> {
        self.tell(who, "/meta/disconnect", "")
    }

    /// A message of a client that has shaken hands, with `more` fields after a
    /// comma each. All have the same id: no connection waits for two replies.
    fn tell(&self, who: &Identity, channel: &str, more: &str) -> Vec<u8> {
        let Identity { key, cookie } = who;
        let body = format!(r#"[{{"id":"2","channel":"{channel}","clientId":"{key}"{more}}}]"#);
        self.bayeux(cookie, &body)
    }

    fn bayeux(&self, cookie: &str, body: &str) -> Vec<u8> {
        self.post(&format!("/{}/bayeux", self.app), cookie, body)
    }
}

/// Client id and cookie in the answer to a handshake.
pub(super) fn opened(answer: &Answer<'_>) -> Result<(String, String)> {
    if answer.status != 200 || !successful(&answer.body) {
        bail!("a handshake got {}: {}", answer.status, answer.text());
    }
    let replies: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let client = replies[0]["clientId"].as_str().context("no client id after a handshake")?;
    let cookie = answer.header(b"set-cookie").unwrap_or_default();
    // What follows is for browsers.
    let cookie = cookie.split(|byte| *byte == b';').next().unwrap_or_default();
    Ok((client.to_owned(), String::from_utf8_lossy(cookie).into_owned()))
}

/// What the answer to a connect was.
pub(super) fn messages(body: &[u8]) -> Outcome {
    if !has(body, r#""/meta/connect""#) {
        return Outcome::Unexpected;
    }
    if !successful(body) {
        // So Faye says that there is no such client, and so all others.
        let unknown = has(body, r#""error":"401:"#) || has(body, r#""error":"402:"#);
        return if unknown { Outcome::Gone } else { Outcome::Unexpected };
    }
    if memchr(b'@', body).is_some() {
        // Most do not say what they lost: it is found by what is missing.
        return Outcome::Messages { lost: 0 };
    }
    // Who is advised to poll only now and then would come again at once here.
    if has(body, r#""multiple-clients":true"#) { Outcome::Unexpected } else { Outcome::Nothing }
}

/// Whether the replies in an answer say so, all of them.
pub(super) fn successful(body: &[u8]) -> bool {
    has(body, r#""successful":true"#) && !has(body, r#""successful":false"#)
}

fn has(body: &[u8], text: &str) -> bool {
    memmem::find(body, text.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dialect::Dialect,
        http::{Parsed, parse},
        marker,
    };

    fn speaker() -> Speaker {
        Speaker {
            dialect: Dialect::Bayeux,
            host: "h".into(),
            app: "a".into(),
            publish_key: String::new(),
            wait: 25,
        }
    }

    fn opened(head: &str, body: &str) -> Result<Identity> {
        let length = body.len();
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}");
        let Parsed::Answer(answer) = parse(answer.as_bytes()) else { panic!("it is whole") };
        Dialect::Bayeux.opened(&answer)
    }

    #[test]
    fn a_handshake_tells_client_id_and_cookie() {
        let identity =
            |key: &str, cookie: &str| Identity { key: key.into(), cookie: cookie.into() };
        let body = r#"[{"channel":"/meta/handshake","successful":true,"clientId":"x-7"}]"#;
        for (server, head, body, expected) in [
            ("Faye", "200 OK", body, Some(identity("x-7", ""))),
            (
                "CometD",
                "200 OK\r\nSet-Cookie: BAYEUX_BROWSER=b1; HttpOnly",
                body,
                Some(identity("x-7", "Cookie: BAYEUX_BROWSER=b1\r\n")),
            ),
            ("one that is down", "503 No", body, None),
            ("one that refuses", "200 OK", r#"[{"successful":false,"error":"403::no"}]"#, None),
            ("one without ids", "200 OK", r#"[{"successful":true}]"#, None),
            ("one with odd ids", "200 OK", r#"[{"successful":true,"clientId":"a@b"}]"#, None),
            ("one with odd cookies", "200 OK\r\nSet-Cookie: a=\"b\"", body, None),
        ] {
            assert_eq!(opened(head, body).ok(), expected, "{server}");
        }
    }

    #[test]
    fn the_answer_to_a_connect_is_understood_however_it_is_put() {
        use Outcome::{Gone, Messages, Nothing, Unexpected};
        for (body, expected) in [
            // Faye.
            (
                r#"[{"id":"2","clientId":"c","channel":"/meta/connect","successful":true,"advice":{"reconnect":"retry","interval":0,"timeout":60000}},{"id":"2","channel":"/g","data":"@0"}]"#,
                Messages { lost: 0 },
            ),
            (
                r#"[{"id":"2","clientId":"c","channel":"/meta/connect","successful":true,"advice":{}}]"#,
                Nothing,
            ),
            (
                r#"[{"id":"2","channel":"/meta/connect","error":"401:c:Unknown client","successful":false,"advice":{"reconnect":"handshake"}}]"#,
                Gone,
            ),
            // CometD.
            (
                r#"[{"channel":"/g","data":"@0"},{"id":"2","channel":"/meta/connect","successful":true}]"#,
                Messages { lost: 0 },
            ),
            (r#"[{"id":"2","channel":"/meta/connect","successful":true}]"#, Nothing),
            (
                r#"[{"id":"2","channel":"/meta/connect","successful":false,"error":"402::session_unknown","advice":{"reconnect":"handshake","interval":0}}]"#,
                Gone,
            ),
            (
                r#"[{"id":"2","channel":"/meta/connect","successful":true,"advice":{"multiple-clients":true,"interval":2000}}]"#,
                Unexpected,
            ),
            // None of them.
            (r#"[{"channel":"/meta/connect","successful":false,"error":"400::what"}]"#, Unexpected),
            (r#"[{"channel":"/g","data":"@0"}]"#, Unexpected),
            (r#"[{"channel":"/meta/connect"}]"#, Unexpected),
            ("[]", Unexpected),
        ] {
            assert_eq!(messages(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn requests_are_json_and_say_who_they_are_of() {
        let speaker = speaker();
        let who = Identity { key: "k".into(), cookie: "Cookie: b=1\r\n".into() };
        let mut parcel = speaker.bayeux_publish(&who, "m", &super::super::blank(100));
        parcel.marker().fill(b'#');
        let data = format!("{}{}", "#".repeat(marker::LEN), ".".repeat(100 - marker::LEN));
        for (request, channel, field, value) in [
            (speaker.bayeux_subscribe("m", &who), "/meta/subscribe", "subscription", "/m"),
            (speaker.connect(&who), "/meta/connect", "connectionType", "long-polling"),
            (speaker.disconnect(&who), "/meta/disconnect", "id", "2"),
            (parcel.request, "/m", "data", data.as_str()),
        ] {
            let text = String::from_utf8(request).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with("POST /a/bayeux HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("\r\nCookie: b=1"), "{head}");
            assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
            let said: serde_json::Value = serde_json::from_str(body).expect("JSON");
            let said = &said[0];
            assert_eq!(said["channel"], channel);
            assert_eq!(said["clientId"], "k", "{channel}");
            assert_eq!(said[field], value, "{channel}");
        }
    }
}
