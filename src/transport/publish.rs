//! The body of a publish.

use super::{
    BodyKind, Code, ErrorBody, Format,
    msgpack::{self, MsgPayload},
    payload,
};
use crate::core::{Address, MAX_NAME_BYTES, Message, Name, Payload};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use std::{cell::Cell, fmt, marker::PhantomData, sync::Arc};

/// One item of a publish.
#[derive(Debug)]
pub struct Publication {
    pub to: Address,
    pub message: Arc<Message>,
}

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
) -> Result<Vec<Publication>, ErrorBody> {
    match BodyKind::of(content_type) {
        BodyKind::Format(Format::Json) => {
            let mut reader = serde_json::Deserializer::from_slice(body);
            let items = items::<_, &RawValue>(&mut reader, max_items, "JSON")?;
            reader.end().map_err(|_| bad("something follows the JSON value in the body"))?;
            check(items, |data| Ok(payload::from_json(data)))
        }
        BodyKind::Format(Format::MsgPack) => {
            let mut reader = msgpack::reader(body);
            let items = items::<_, MsgPayload>(&mut reader, max_items, "MessagePack")?;
            if !msgpack::is_at_end(&reader) {
                return Err(bad("something follows the MessagePack value in the body"));
            }
            check(items, |MsgPayload(payload)| {
                payload.map_err(|why| ErrorBody::new(Code::BadPayload, format!("data: {why}")))
            })
        }
        BodyKind::Text | BodyKind::Other => {
            Err(bad("a publish is application/json or application/msgpack; set its Content-Type"))
        }
    }
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> ErrorBody {
    ErrorBody::new(Code::BadRequest, message)
}

/// An item as it is written; `D` is the format's payload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<D> {
    to: Option<Map<To>>,
    data: D,
    ttl_ms: Option<u64>,
    collapse: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct To {
    mailboxes: Vec<String>,
    groups: Vec<String>,
    except: Vec<String>,
}

/// A `T` that is written as a map. (What serde derives takes arrays, too.)
struct Map<T>(T);

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
struct Items<'a, D> {
    at: &'a Cell<Option<usize>>,
    max: usize,
    data: PhantomData<D>,
}

impl<'de, D: Deserialize<'de>> de::Visitor<'de> for Items<'_, D> {
    /// None: there are more than `max`.
    type Value = Option<Vec<Item<D>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"data\", or an array of them")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let item = Item::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Some(vec![item]))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        loop {
            self.at.set(Some(items.len()));
            if items.len() == self.max {
                // One too many does not have to be a valid one.
                if seq.next_element::<de::IgnoredAny>()?.is_some() {
                    return Ok(None);
                }
                break;
            }
            match seq.next_element::<Map<Item<D>>>()? {
                Some(Map(item)) => items.push(item),
                None => break,
            }
        }
        self.at.set(None);
        Ok(Some(items))
    }
}

fn items<'de, R, D>(reader: R, max: usize, format: &str) -> Result<Vec<Item<D>>, ErrorBody>
where
    R: Deserializer<'de>,
    R::Error: fmt::Display,
    D: Deserialize<'de>,
{
    let at = Cell::new(None);
    let visitor = Items { at: &at, max, data: PhantomData };
    match reader.deserialize_any(visitor) {
        Ok(Some(items)) => Ok(items),
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

/// Checks what serde cannot: names, and the payload.
fn check<D>(
    items: Vec<Item<D>>,
    mut payload: impl FnMut(D) -> Result<Payload, ErrorBody>,
) -> Result<Vec<Publication>, ErrorBody> {
    let publication = |item: Item<D>| {
        let to = item.to.map(|Map(to)| to).unwrap_or_default();
        let to = Address {
            mailboxes: names("mailboxes", to.mailboxes)?,
            groups: names("groups", to.groups)?,
            except: names("except", to.except)?,
        };
        let collapse = item.collapse.map(collapse).transpose()?;
        Ok(Publication { to, message: Message::new(payload(item.data)?, item.ttl_ms, collapse) })
    };
    items
        .into_iter()
        .map(publication)
        .enumerate()
        .map(|(index, result)| result.map_err(|error: ErrorBody| error.at(index)))
        .collect()
}

fn names(field: &str, names: Vec<String>) -> Result<Vec<Name>, ErrorBody> {
    names
        .into_iter()
        .map(|name| {
            Name::try_from(name)
                .map_err(|error| ErrorBody::new(Code::BadName, format!("to.{field}: {error}")))
        })
        .collect()
}

/// A collapse key is bounded like a name: a mailbox's limit in bytes counts
/// payloads only.
fn collapse(key: String) -> Result<Box<str>, ErrorBody> {
    if key.is_empty() || key.len() > MAX_NAME_BYTES {
        return Err(bad(format!("collapse: has 1 to {MAX_NAME_BYTES} bytes")));
    }
    Ok(key.into())
}
