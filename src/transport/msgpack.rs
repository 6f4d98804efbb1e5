//! MessagePack: what we write of it, and payloads between it and JSON.

use crate::core::{Kind, Payload};
use serde::{Deserialize, Deserializer, de};
use std::fmt;

/// Deepest nesting that is read, in arrays and maps; the same as in JSON.
pub(super) const MAX_DEPTH: usize = 128;

/// Room for a payload while it is read, in bytes: few need more.
const USUAL_BYTES: usize = 128;

/// A `Vec` takes every byte there is.
const VEC: &str = "writing into a Vec does not fail";

/// Counts and lengths are bounded by the size of a request or an answer.
fn len(len: usize) -> u32 {
    u32::try_from(len).expect("nothing in one answer has four billion parts")
}

#[inline]
pub(super) fn map(out: &mut Vec<u8>, entries: usize) {
    rmp::encode::write_map_len(out, len(entries)).expect(VEC);
}

pub(super) fn array(out: &mut Vec<u8>, items: usize) {
    rmp::encode::write_array_len(out, len(items)).expect(VEC);
}

#[inline]
pub(super) fn str(out: &mut Vec<u8>, text: &str) {
    rmp::encode::write_str(out, text).expect(VEC);
}

pub(super) fn bin(out: &mut Vec<u8>, bytes: &[u8]) {
    rmp::encode::write_bin(out, bytes).expect(VEC);
}

#[inline]
pub(super) fn u64(out: &mut Vec<u8>, number: u64) {
    rmp::encode::write_uint(out, number).expect(VEC);
}

pub(super) fn bool(out: &mut Vec<u8>, is_so: bool) {
    rmp::encode::write_bool(out, is_so).expect(VEC);
}

/// Transcodes a JSON text. JSON that MessagePack cannot say (a number that is
/// out of range, half of a surrogate pair, or nested too deeply) goes out as
/// a string that holds the JSON text.
pub(super) fn from_json(json: &[u8], out: &mut Vec<u8>) {
    match serde_json::from_slice::<rmpv::Value>(json) {
        Ok(value) => rmpv::encode::write_value(out, &value).expect(VEC),
        Err(_) => str(out, &String::from_utf8_lossy(json)),
    }
}

/// A payload as a MessagePack value: `str` is text, `bin` is bytes, everything
/// else becomes JSON. The error inside says what of it JSON cannot say; it is
/// not serde's, so that it can be told from MessagePack that is none.
pub(super) struct MsgPayload(pub Result<Payload, &'static str>);

impl<'de> Deserialize<'de> for MsgPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut json = Vec::with_capacity(USUAL_BYTES);
        let whole = Transcode { out: &mut json, place: Place::Whole };
        let kind = match de::DeserializeSeed::deserialize(whole, deserializer)? {
            Found::Json => Kind::Json,
            Found::Text => Kind::Text,
            Found::Binary => Kind::Binary,
            Found::Wrong(why) => return Ok(Self(Err(why))),
        };
        // Without what is left over: a message can wait for long.
        Ok(Self(Ok(Payload { kind, bytes: json.into_boxed_slice().into() })))
    }
}

/// What a value turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Json,
    Text,
    Binary,
    /// Reading goes on, so that what follows is still found.
    Wrong(&'static str),
}

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the payload.
    Whole,
    /// It is a key in the payload.
    Key,
    Inside,
}

/// Writes one MessagePack value as JSON; a whole payload that is a string or
/// bytes as it is.
struct Transcode<'a> {
    out: &'a mut Vec<u8>,
    place: Place,
}

impl<'de> de::DeserializeSeed<'de> for Transcode<'_> {
    type Value = Found;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Transcode<'_> {
    fn write(self, value: &impl serde::Serialize) -> Found {
        serde_json::to_writer(self.out, value).expect(VEC);
        Found::Json
    }
}

impl<'de> de::Visitor<'de> for Transcode<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MessagePack value")
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(self.write(&()))
    }

    fn visit_none<E>(self) -> Result<Found, E> {
        Ok(self.write(&()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Found, E> {
        Ok(self.write(&value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Found, E> {
        Ok(self.write(&value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Found, E> {
        Ok(self.write(&value))
    }

    fn visit_f32<E>(self, value: f32) -> Result<Found, E> {
        if value.is_finite() { Ok(self.write(&value)) } else { Ok(Found::Wrong(NOT_FINITE)) }
    }

    fn visit_f64<E>(self, value: f64) -> Result<Found, E> {
        if value.is_finite() { Ok(self.write(&value)) } else { Ok(Found::Wrong(NOT_FINITE)) }
    }

    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        match self.place {
            Place::Whole => self.out.extend_from_slice(text.as_bytes()),
            Place::Inside => return Ok(self.write(&text)),
            Place::Key => {
                self.write(&text);
            }
        }
        Ok(Found::Text)
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Found, E> {
        if self.place == Place::Whole {
            self.out.extend_from_slice(bytes);
            return Ok(Found::Binary);
        }
        Ok(Found::Wrong("bin is only understood as a whole payload, not inside one"))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Found, D::Error> {
        de::IgnoredAny::deserialize(inner)?;
        Ok(Found::Wrong("extension types are not understood"))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        let mut found = Found::Json;
        self.out.push(b'[');
        let mut is_first = true;
        loop {
            let before = self.out.len();
            if !is_first {
                self.out.push(b',');
            }
            let next = seq.next_element_seed(Transcode { out: self.out, place: Place::Inside })?;
            match next {
                None => {
                    self.out.truncate(before);
                    break;
                }
                Some(Found::Wrong(why)) => found = Found::Wrong(why),
                Some(_) => {}
            }
            is_first = false;
        }
        self.out.push(b']');
        Ok(found)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::Json;
        self.out.push(b'{');
        let mut is_first = true;
        loop {
            let before = self.out.len();
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            match map.next_key_seed(Transcode { out: self.out, place: Place::Key })? {
                None => {
                    self.out.truncate(before);
                    break;
                }
                Some(Found::Text) => {}
                Some(_) => found = Found::Wrong("the keys of a map must be strings"),
            }
            self.out.push(b':');
            let value = map.next_value_seed(Transcode { out: self.out, place: Place::Inside })?;
            if let Found::Wrong(_) = value {
                found = value;
            }
        }
        self.out.push(b'}');
        Ok(found)
    }
}

const NOT_FINITE: &str = "a number must be finite";

/// A deserializer over one value, whose end the caller checks with
/// [`is_at_end`].
pub(super) type Reader<'a> = rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'a, [u8]>>;

pub(super) fn reader(bytes: &[u8]) -> Reader<'_> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(MAX_DEPTH);
    reader
}

/// Whether nothing lies behind the value that was read. A reader that borrows
/// does not tell where it is; but only at the end has it no first byte of
/// another value, and for `()` it does not look into a list or map.
pub(super) fn is_at_end(reader: &mut Reader<'_>) -> bool {
    matches!(<()>::deserialize(reader), Err(rmp_serde::decode::Error::InvalidMarkerRead(_)))
}
