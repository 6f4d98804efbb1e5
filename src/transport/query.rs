//! Keys, and the parameters of a URL.

use super::{Code, ErrorBody, bayeux};
use crate::core::{Key, Name};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// A key as text: 22 characters of base64url.
#[derive(Clone, Copy)]
pub struct KeyText([u8; KEY_TEXT_BYTES]);

const KEY_TEXT_BYTES: usize = 22;

impl KeyText {
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }
}

#[must_use]
pub fn encode_key(key: &Key) -> KeyText {
    let mut text = [0; KEY_TEXT_BYTES];
    URL_SAFE_NO_PAD.encode_slice(key.0, &mut text).expect("16 bytes are 22 characters of base64");
    KeyText(text)
}

/// A key from its text; none if it cannot be one.
#[must_use]
pub fn decode_key(text: &str) -> Option<Key> {
    if text.len() != KEY_TEXT_BYTES {
        return None;
    }
    let mut key = [0; 16];
    let written = URL_SAFE_NO_PAD.decode_slice(text, &mut key).ok()?;
    (written == key.len()).then_some(Key(key))
}

/// What follows `Bearer` in an `Authorization` header.
#[must_use]
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case("Bearer ").then(|| token.trim_ascii())
}

/// The parameters of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadQuery<'a> {
    pub cursor: Option<u64>,
    /// In seconds, not yet bounded by the app's `max_wait_s`.
    pub wait_s: Option<u64>,
    /// As the header of that name, for an `EventSource` that cannot set one
    /// when it comes for the first time.
    pub last_event_id: Option<u64>,
    /// Not decoded: an alphabet without escapes.
    pub key: Option<&'a str>,
}

/// Reads `cursor=N&wait=SECONDS&key=KEY`.
///
/// # Errors
/// `bad_request` for anything else in it: a misspelt `cursor` that went
/// unnoticed would lose messages.
pub fn read_query(query: Option<&str>) -> Result<ReadQuery<'_>, ErrorBody> {
    let mut read = ReadQuery::default();
    for (name, value) in parameters(query) {
        match name {
            "cursor" => set(&mut read.cursor, name, number(name, value)?)?,
            "last-event-id" => set(&mut read.last_event_id, name, number(name, value)?)?,
            "wait" => set(&mut read.wait_s, name, number(name, value)?)?,
            "key" => set(&mut read.key, name, value)?,
            _ => return Err(unknown(name, "a read takes cursor, wait, key and last-event-id")),
        }
    }
    Ok(read)
}

/// Reads a seq that a header gives.
///
/// # Errors
/// `bad_request` if it is none.
pub fn header_cursor(name: &str, text: &str) -> Result<u64, ErrorBody> {
    number(name, text.trim())
}

/// Reads `key=KEY`.
///
/// # Errors
/// `bad_request` for anything else in it.
pub fn key_query(query: Option<&str>) -> Result<Option<&str>, ErrorBody> {
    let mut key = None;
    for (name, value) in parameters(query) {
        match name {
            "key" => set(&mut key, name, value)?,
            _ => return Err(unknown(name, "this takes key alone")),
        }
    }
    Ok(key)
}

/// The parameters of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SendQuery<'a> {
    /// Not decoded, as in [`ReadQuery`].
    pub key: Option<&'a str>,
    /// Percent-encoded, as it came.
    pub channel: Option<&'a str>,
}

/// Reads `key=KEY&channel=GROUP`.
///
/// # Errors
/// `bad_request` for anything else in it.
pub fn send_query(query: Option<&str>) -> Result<SendQuery<'_>, ErrorBody> {
    let mut send = SendQuery::default();
    for (name, value) in parameters(query) {
        match name {
            "key" => set(&mut send.key, name, value)?,
            "channel" => set(&mut send.channel, name, value)?,
            _ => return Err(unknown(name, "a send takes key and channel")),
        }
    }
    Ok(send)
}

/// The group that a client says its message is meant for.
///
/// # Errors
/// `bad_name` if nobody can send to it.
pub fn channel(text: &str) -> Result<Name, ErrorBody> {
    let bad = |why: &str| ErrorBody::new(Code::BadName, format!("channel: {why}"));
    let name = Name::parse(text).map_err(|error| bad(&error.to_string()))?;
    if name.is_pattern() {
        return Err(bad("nothing can be sent to a pattern"));
    }
    if bayeux::is_meta(name.as_str()) {
        return Err(bad("meta is for the protocol of Bayeux itself"));
    }
    Ok(name)
}

/// Names and values.
fn parameters(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = query.unwrap_or_default();
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let part;
            (part, rest) = split_once(rest, b'&').unwrap_or((rest, ""));
            if !part.is_empty() {
                return Some(split_once(part, b'=').unwrap_or((part, "")));
            }
        }
        None
    })
}

/// What is before and after the first of an ASCII character, as
/// [`str::split_once`]. For texts of some ten bytes: to look at one after the
/// other is less work than to set up a search.
#[must_use]
pub fn split_once(text: &str, at: u8) -> Option<(&str, &str)> {
    debug_assert!(at.is_ascii());
    let index = text.bytes().position(|byte| byte == at)?;
    Some((&text[..index], &text[index + 1..]))
}

fn set<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), ErrorBody> {
    if slot.replace(value).is_some() {
        return Err(bad(format!("{name} is given twice")));
    }
    Ok(())
}

fn number(name: &str, text: &str) -> Result<u64, ErrorBody> {
    // `parse` would take a sign.
    let digit = |number: u64, byte: u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    let number = if text.is_empty() { None } else { text.bytes().try_fold(0, digit) };
    number.ok_or_else(|| bad(format!("{name} must be a whole number, not {text:?}")))
}

fn unknown(name: &str, takes: &str) -> ErrorBody {
    bad(format!("unknown parameter {name:?}; {takes}"))
}

fn bad(message: String) -> ErrorBody {
    ErrorBody::new(Code::BadRequest, message)
}
