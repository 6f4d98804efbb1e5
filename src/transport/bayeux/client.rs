//! Client ids.

use crate::core::{Key, MAX_NAME_BYTES, Name};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

const KEY_BYTES: usize = 16;

/// What the id of a client that acknowledges begins with, and that of any other.
const ACKNOWLEDGES: char = 'a';
const DOES_NOT: char = 'n';

/// Longest client id, in characters.
const MAX_TEXT_BYTES: usize = 1 + (KEY_BYTES + MAX_NAME_BYTES).div_ceil(3) * 4;

/// A client: its mailbox, and the key to that. As secret as the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientId {
    pub key: Key,
    pub mailbox: Name,
    /// It said in its handshake that it would acknowledge what it gets.
    pub acknowledges: bool,
}

/// The client id of a mailbox: a letter for how it is read, and base64url of its
/// key and its name.
#[must_use]
pub fn encode_client(key: &Key, mailbox: &Name, acknowledges: bool) -> String {
    let mut text = String::with_capacity(MAX_TEXT_BYTES);
    text.push(if acknowledges { ACKNOWLEDGES } else { DOES_NOT });
    URL_SAFE_NO_PAD.encode_string([&key.0, mailbox.as_str().as_bytes()].concat(), &mut text);
    text
}

/// A client id from its text; none if it cannot be one.
#[must_use]
pub fn decode_client(text: &str) -> Option<ClientId> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let (acknowledges, rest) = match text.strip_prefix(ACKNOWLEDGES) {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix(DOES_NOT)?),
    };
    let bytes = URL_SAFE_NO_PAD.decode(rest).ok()?;
    let (key, name) = bytes.split_first_chunk::<KEY_BYTES>()?;
    let mailbox = Name::parse(std::str::from_utf8(name).ok()?).ok()?;
    Some(ClientId { key: Key(*key), mailbox, acknowledges })
}
