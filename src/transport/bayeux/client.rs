//! Client ids.

use crate::core::{Key, MAX_NAME_BYTES, Name};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

const KEY_BYTES: usize = 16;

/// Longest client id, in characters.
const MAX_TEXT_BYTES: usize = (KEY_BYTES + MAX_NAME_BYTES).div_ceil(3) * 4;

/// A client: its mailbox, and the key to that. As secret as the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientId {
    pub key: Key,
    pub mailbox: Name,
}

/// The client id of a mailbox: base64url of its key and its name.
#[must_use]
pub fn encode_client(key: &Key, mailbox: &Name) -> String {
    URL_SAFE_NO_PAD.encode([&key.0, mailbox.as_str().as_bytes()].concat())
}

/// A client id from its text; none if it cannot be one.
#[must_use]
pub fn decode_client(text: &str) -> Option<ClientId> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (key, name) = bytes.split_first_chunk::<KEY_BYTES>()?;
    let mailbox = Name::parse(std::str::from_utf8(name).ok()?).ok()?;
    Some(ClientId { key: Key(*key), mailbox })
}
