//! The body of a publish.

use super::{
    BodyKind, Code, ErrorBody, Format,
    msgpack::{self, MsgPayload},
    payload,
};
use crate::core::{Address, BadName, MAX_NAME_BYTES, Message, Name, Payload, PublishId};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};
use std::{cell::Cell, fmt, marker::PhantomData, sync::Arc};

/// One item of a publish.
#[derive(Debug)]
pub struct Publication {
    pub id: Option<PublishId>,
    pub to: Address,
    pub message: Arc<Message>,
}

/// The items of a publish: mostly it is one.
pub type Publications = SmallVec<[Publication; 1]>;

/// Reads a publish: one item or an array of them.
///
/// # Errors
/// `bad_request`, `bad_name` or `bad_payload` with the index of the first bad
/// item; `too_large` for more than `max_items`. Nothing is returned of a batch
/// with an error.
pub fn decode_publish(
    content_type: Option<&str>,
    body: &[u8],
    max_items: usize,
) -> Result<Publications, ErrorBody> {
    match BodyKind::of(content_type) {
        BodyKind::Format(Format::Json) => match std::str::from_utf8(body) {
            // One look at all of it is less work than one at each string in it.
            Ok(text) => json(serde_json::Deserializer::from_str(text), max_items),
            // This one finds the place.
            Err(_) => json(serde_json::Deserializer::from_slice(body), max_items),
        },
        BodyKind::Format(Format::MsgPack) => {
            let mut reader = msgpack::reader(body);
            let decoded = items(&mut reader, max_items, "MessagePack", |MsgPayload(payload)| {
                payload.map_err(|why| ErrorBody::new(Code::BadPayload, format!("data: {why}")))
            })?;
            if !msgpack::is_at_end(&mut reader) {
                return Err(bad("something follows the MessagePack value in the body"));
            }
            decoded
        }
        BodyKind::Text | BodyKind::Other => {
            Err(bad("a publish is application/json or application/msgpack; set its Content-Type"))
        }
    }
}

fn json<'de, R: serde_json::de::Read<'de>>(
    mut reader: serde_json::Deserializer<R>,
    max_items: usize,
) -> Decoded {
    let from_json = |data: &RawValue| Ok(payload::from_json(data));
    let decoded = items(&mut reader, max_items, "JSON", from_json)?;
    reader.end().map_err(|_| bad("something follows the JSON value in the body"))?;
    decoded
}

/// All items, or what is wrong with the first bad one though the body is valid.
type Decoded = Result<Publications, ErrorBody>;

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> ErrorBody {
    ErrorBody::new(Code::BadRequest, message)
}

/// An item as it is written; `D` is the format's payload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<D> {
    id: Option<String>,
    to: Option<Map<To>>,
    data: D,
    ttl_ms: Option<u64>,
    collapse: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct To {
    mailboxes: Names,
    groups: Names,
    except: Names,
}

/// A list of names. The error inside is not serde's, so that it can be told
/// from a body that is none.
struct Names(Result<Vec<Name>, BadName>);

impl Default for Names {
    fn default() -> Self {
        Self(Ok(Vec::new()))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> de::Visitor<'de> for List {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Names, A::Error> {
                // It is mostly one.
                let mut names = Ok(Vec::with_capacity(1));
                while let Some(Parsed(name)) = seq.next_element()? {
                    match (&mut names, name) {
                        (Ok(names), Ok(name)) => names.push(name),
                        (Ok(_), Err(error)) => names = Err(error),
                        (Err(_), _) => {}
                    }
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// A text, read as a name without a copy of its own in between.
struct Parsed(Result<Name, BadName>);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Parsed;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<Parsed, E> {
                Ok(Parsed(Name::parse(text)))
            }
            // MessagePack's bin: a text for whoever wants one, as for `String`.
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Parsed, E> {
                match std::str::from_utf8(bytes) {
                    Ok(text) => self.visit_str(text),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Bytes(bytes), &self)),
                }
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A `T` that is written as a map. (What serde derives takes arrays, too.)
pub(super) struct Map<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for OnlyMap<T> {
            type Value = Map<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Map<T>, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Map)
            }
        }
        deserializer.deserialize_map(OnlyMap(PhantomData))
    }
}

/// One item or an array, and where in it reading is.
struct Items<'a, D, P> {
    at: &'a Cell<Option<usize>>,
    max: usize,
    /// What serde cannot check of a payload.
    payload: P,
    data: PhantomData<D>,
}

impl<'de, D, P> de::Visitor<'de> for Items<'_, D, P>
where
    D: Deserialize<'de>,
    P: FnMut(D) -> Result<Payload, ErrorBody>,
{
    /// None: there are more than `max`.
    type Value = Option<Decoded>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"data\", or an array of them")
    }

    fn visit_map<A: de::MapAccess<'de>>(mut self, map: A) -> Result<Self::Value, A::Error> {
        let item = Item::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let publication = item.check(&mut self.payload).map_err(|error| error.at(0));
        Ok(Some(publication.map(|publication| smallvec![publication])))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut decoded = Ok(Publications::new());
        for index in 0.. {
            self.at.set(Some(index));
            if index == self.max {
                // One too many does not have to be a valid one.
                if seq.next_element::<de::IgnoredAny>()?.is_some() {
                    return Ok(None);
                }
                break;
            }
            let Some(Map(item)) = seq.next_element::<Map<Item<D>>>()? else { break };
            // After a bad item, what follows is still read: what is no publish
            // at all comes first.
            if let Ok(publications) = &mut decoded {
                match item.check(&mut self.payload) {
                    Ok(publication) => publications.push(publication),
                    Err(error) => decoded = Err(error.at(index)),
                }
            }
        }
        self.at.set(None);
        Ok(Some(decoded))
    }
}

fn items<'de, R, D>(
    reader: R,
    max: usize,
    format: &str,
    payload: impl FnMut(D) -> Result<Payload, ErrorBody>,
) -> Result<Decoded, ErrorBody>
where
    R: Deserializer<'de>,
    R::Error: fmt::Display,
    D: Deserialize<'de>,
{
    let at = Cell::new(None);
    let visitor = Items { at: &at, max, payload, data: PhantomData };
    match reader.deserialize_any(visitor) {
        Ok(Some(decoded)) => Ok(decoded),
        // serde_json wants an array read to its end, so that there are too many
        // can also come as an error; `at` tells.
        Ok(None) => Err(too_many(max)),
        Err(_) if at.get() == Some(max) => Err(too_many(max)),
        Err(error) => {
            let mut body = bad(format!("no valid {format} publish: {error}"));
            body.index = at.get();
            Err(body)
        }
    }
}

fn too_many(max: usize) -> ErrorBody {
    ErrorBody::new(Code::TooLarge, format!("a batch has at most {max} items; send several"))
}

impl<D> Item<D> {
    /// Checks what serde cannot: names, and the payload.
    fn check(
        self,
        payload: impl FnOnce(D) -> Result<Payload, ErrorBody>,
    ) -> Result<Publication, ErrorBody> {
        let To { mailboxes, groups, except } = self.to.map(|Map(to)| to).unwrap_or_default();
        let to = Address {
            mailboxes: mailboxes.check("mailboxes")?,
            groups: groups.check("groups")?,
            except: except.check("except")?,
        };
        if to.groups.iter().any(Name::is_pattern) {
            let message = "to.groups: nothing can be sent to a pattern";
            return Err(ErrorBody::new(Code::BadName, message));
        }
        let collapse = self.collapse.map(collapse).transpose()?;
        let id = self.id.map(PublishId::try_from).transpose();
        let id = id.map_err(|error| bad(format!("id: {error}")))?;
        let message = Message::new(payload(self.data)?, self.ttl_ms, collapse);
        Ok(Publication { id, to, message })
    }
}

impl Names {
    fn check(self, field: &str) -> Result<Vec<Name>, ErrorBody> {
        let bad = |error| ErrorBody::new(Code::BadName, format!("to.{field}: {error}"));
        self.0.map_err(bad)
    }
}

/// A collapse key is bounded like a name: a mailbox's limit in bytes counts
/// payloads only.
fn collapse(key: String) -> Result<Box<str>, ErrorBody> {
    if key.is_empty() || key.len() > MAX_NAME_BYTES {
        return Err(bad(format!("collapse: has 1 to {MAX_NAME_BYTES} bytes")));
    }
    Ok(key.into())
}

/// Whether a publish has an array of items, in either format.
#[must_use]
pub fn is_batch(body: &[u8]) -> bool {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'[' | 0x90..=0x9f | 0xdc | 0xdd))
}
