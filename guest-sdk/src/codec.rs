//! How settings, session states and values are written. Nothing else in the
//! SDK names a format.

use std::any::TypeId;

use serde::{Serialize, de::DeserializeOwned};

/// Maps with field names, so that a later version may add fields.
#[track_caller]
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    match rmp_serde::to_vec_named(value) {
        Ok(bytes) => bytes,
        Err(error) => panic!("this value cannot be written as MessagePack: {error}"),
    }
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
}

/// Reads a session state that an older version of the plugin stored: for
/// [`migrate`](crate::Plugin::migrate).
pub fn read_state<S: DeserializeOwned>(bytes: &[u8]) -> Result<S, String> {
    decode(bytes).map_err(|error| format!("the stored state is not what was expected: {error}"))
}

/// The session state as a plugin with this state type sees it. A plugin whose
/// state is `()` reads everything: it has no use for what a version before it
/// stored.
pub(crate) fn state<S: DeserializeOwned + 'static>(
    bytes: &[u8],
) -> Result<S, rmp_serde::decode::Error> {
    const NIL: &[u8] = &[0xc0];
    decode(if is_unit::<S>() { NIL } else { bytes })
}

pub(crate) fn settings<T: DeserializeOwned + 'static>(text: &str) -> Result<T, String> {
    let text = match text.trim() {
        "" | "null" => "{}",
        given => given,
    };
    if is_unit::<T>() {
        return match text {
            "{}" => serde_json::from_str("null").map_err(|error| error.to_string()),
            _ => Err("this plugin takes no settings: remove `settings` from its app in the \
                      configuration, or give it settings of its own that are empty"
                .into()),
        };
    }
    serde_json::from_str(text).map_err(|error| format!("settings: {error}"))
}

fn is_unit<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<()>()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Old {
        room: String,
    }

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct New {
        room: String,
        #[serde(default)]
        muted: bool,
    }

    #[test]
    fn a_state_reads_what_an_older_one_wrote() {
        let room = || "lobby".to_string();
        let old = encode(&Old { room: room() });
        assert_eq!(state::<New>(&old).ok(), Some(New { room: room(), muted: false }));
        let new = encode(&New { room: room(), muted: true });
        assert_eq!(state::<Old>(&new).ok(), Some(Old { room: room() }));
        assert!(state::<()>(&new).is_ok());
        assert!(state::<u8>(&new).is_err());
    }

    #[test]
    fn settings_may_be_left_out() {
        #[derive(Deserialize, Debug, PartialEq)]
        #[serde(default, deny_unknown_fields)]
        struct Settings {
            history: u32,
        }
        impl Default for Settings {
            fn default() -> Self {
                Self { history: 20 }
            }
        }
        for text in ["", "null", "{}", " {\"history\":20}"] {
            assert_eq!(settings(text), Ok(Settings { history: 20 }), "{text}");
        }
        assert_eq!(settings::<()>("{}"), Ok(()));
        assert!(settings::<()>(r#"{"history":1}"#).is_err());
        let error = settings::<Settings>(r#"{"histroy":1}"#).unwrap_err();
        assert!(error.contains("unknown field `histroy`, expected `history`"), "{error}");
    }
}
