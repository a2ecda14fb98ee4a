//! The stored forms: our own versioned records, JSON inside so that an operator can query them, and their
//! checksum. No generated type and no domain type is ever stored as it happens to look today: a field that is
//! added there fails to compile here. A form that was once released is never changed, only followed by another.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::End;
use crate::domain::group::GroupSettings;
use crate::domain::json::{self, Json, Object};
use crate::domain::{Event, NewEvent, Seq, Ticket};

mod group;
mod v1;

/// The form this build writes: the first, but that a message's metadata may be left where they stand in its body.
pub const VERSION: u8 = 2;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A later build wrote it.
    #[error("the record has version {0}, and this build knows up to {VERSION}")]
    Version(u8),
    /// It is not the JSON it should be.
    #[error("the record is damaged: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The event's id is none.
    #[error("the record is damaged: {0}")]
    Id(#[from] uuid::Error),
    /// It names a part of the body that is not there.
    #[error("the record is damaged: it refers to what is not in its body")]
    Outside,
}

/// The check of a record and the raw body it came in, at its position.
pub fn checksum(version: u8, seq: Seq, record: &[u8], raw: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[version]);
    hasher.update(&seq.0.to_be_bytes());
    hasher.update(&record.len().to_be_bytes());
    hasher.update(record);
    hasher.update(raw);
    hasher.finalize()
}

/// Appends an event's record to `out`.
pub fn encode_event(event: &Event, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    serde_json::to_writer(out, &v1::V1Event::from(event))
}

/// The greater part of an event's record, written before the log has taken it: where there is one writer, what
/// others can do need not wait for it.
#[derive(Debug, Clone)]
pub struct Prepared(Vec<u8>);

/// Writes what does not depend on the event's place; `None` for what cannot be told before.
pub fn prepare(new: &NewEvent) -> Result<Option<Prepared>, serde_json::Error> {
    let Some(told) = v1::V1Told::of(new) else { return Ok(None) };
    let mut json = Vec::with_capacity(new.raw.len().saturating_add(256));
    serde_json::to_writer(&mut json, &told)?;
    Ok(Some(Prepared(json)))
}

/// Appends the record of `event`, which was `prepared` before it had its place, to `out`.
pub fn encode_prepared(
    event: &Event,
    prepared: &Prepared,
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    serde_json::to_writer(&mut *out, &v1::V1Placed::of(event))?;
    // Two objects, neither of them empty, become one.
    out.pop();
    out.push(b',');
    out.extend_from_slice(prepared.0.get(1..).unwrap_or_default());
    Ok(())
}

/// Reads an event back; `raw` is the body it came in.
pub fn decode_event(version: u8, record: &[u8], raw: &[u8]) -> Result<Event, DecodeError> {
    Ok(decode::<v1::V1Event<'_>>(version, record)?.completed(raw)?.try_into()?)
}

/// The record of a ticket's document.
pub fn encode_ticket(ticket: &Ticket) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&v1::V1Ticket::from(ticket))
}

/// Reads a ticket's document back.
pub fn decode_ticket(version: u8, record: &[u8]) -> Result<Ticket, DecodeError> {
    decode::<v1::V1Ticket<'_>>(version, record).map(Ticket::from)
}

/// The record of a command's end.
pub fn encode_end(end: &End) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&v1::V1End::from(end))
}

/// Reads a command's end back.
pub fn decode_end(version: u8, record: &[u8]) -> Result<End, DecodeError> {
    decode::<v1::V1End<'_>>(version, record).map(End::from)
}

/// The record of a group's settings.
pub fn encode_group(settings: &GroupSettings) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&group::V1Group::from(settings))
}

/// Reads a group's settings back.
pub fn decode_group(version: u8, record: &[u8]) -> Result<GroupSettings, DecodeError> {
    decode::<group::V1Group<'_>>(version, record).map(GroupSettings::from)
}

fn decode<T: DeserializeOwned>(version: u8, record: &[u8]) -> Result<T, DecodeError> {
    match version {
        1 | VERSION => Ok(serde_json::from_slice(record)?),
        other => Err(DecodeError::Version(other)),
    }
}

/// A date as RFC 3339 text, to the nanosecond.
#[derive(Clone, Copy)]
struct Time(Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(from)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// A number, or its name where JSON has none. Read through text, as the parser's own floats may be one off.
#[derive(Clone, Copy)]
struct Real(f64);

impl Serialize for Real {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() { to.serialize_f64(self.0) } else { to.collect_str(&self.0) }
    }
}

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(from)? {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text,
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
        };
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// The member that stands for JSON too deep to be nested in a record: the JSON parser has a limit of 128
/// levels, which a body may have used up before it gets here.
const AS_TEXT: &str = "deskgate.json_text";

/// Levels up to which foreign JSON is nested in a record as it is.
const LEVELS_MAX: usize = 64;

fn deeper_than(levels: usize, value: &Value) -> bool {
    let Some(left) = levels.checked_sub(1) else { return true };
    match value {
        Value::Array(items) => items.iter().any(|item| deeper_than(left, item)),
        Value::Object(members) => members.values().any(|member| deeper_than(left, member)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether members must be written as text: too deep, or they look as if they had been.
fn must_be_text(members: &Map<String, Value>) -> bool {
    (members.len() == 1 && members.contains_key(AS_TEXT))
        || members.values().any(|member| deeper_than(LEVELS_MAX, member))
}

fn write_as_text<S: Serializer>(value: &impl Serialize, to: S) -> Result<S::Ok, S::Error> {
    let text = serde_json::to_string(value).map_err(serde::ser::Error::custom)?;
    let mut map = to.serialize_map(Some(1))?;
    map.serialize_entry(AS_TEXT, &text)?;
    map.end()
}

fn text_of(members: &Map<String, Value>) -> Option<&str> {
    if members.len() == 1 { members.get(AS_TEXT).and_then(Value::as_str) } else { None }
}

/// Foreign JSON, never lossy.
#[derive(Clone)]
struct Foreign<'a>(Cow<'a, Value>);

impl Serialize for Foreign<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let as_text = self.0.as_object().map_or_else(|| deeper_than(LEVELS_MAX, &self.0), must_be_text);
        if as_text { write_as_text(&self.0, to) } else { self.0.serialize(to) }
    }
}

impl<'de> Deserialize<'de> for Foreign<'_> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Json(value) = Json::deserialize(from)?;
        let value = match value.as_object().and_then(text_of) {
            Some(text) => json::from_str(text).map_err(D::Error::custom)?,
            None => value,
        };
        Ok(Self(Cow::Owned(value)))
    }
}

/// Members of a foreign object, never lossy.
#[derive(Clone, Default)]
struct Members<'a>(Cow<'a, Map<String, Value>>);

impl Members<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if must_be_text(&self.0) { write_as_text(&self.0, to) } else { self.0.serialize(to) }
    }
}

impl<'de> Deserialize<'de> for Members<'_> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Object(members) = Object::deserialize(from)?;
        let members = match text_of(&members) {
            Some(text) => {
                serde_json::from_str(text).map(|Object(members)| members).map_err(D::Error::custom)?
            }
            None => members,
        };
        Ok(Self(Cow::Owned(members)))
    }
}

type Text<'a> = Cow<'a, str>;

#[cfg(test)]
mod tests;
