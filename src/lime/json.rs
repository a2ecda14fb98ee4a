//! JSON read as what it is, and within bounds. `serde_json`, told to keep numbers exact, hands a number out as an object
//! with one member of a secret name, and so reads an object that begins with a member of that name as a number, or not
//! at all. Here it stays the object it is.

use std::cell::Cell;
use std::{fmt, io};

use serde::Serialize;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

mod heavy;
#[cfg(test)]
mod tests;

/// Memory that a list or an object may take, with all it holds, where a body is read; see [`from_body`].
pub const TREE_BYTES_MAX: usize = 4 << 20;

/// What a value takes in the list or object it is in.
const VALUE_BYTES: usize = size_of::<Value>();
/// What a piece of memory of its own takes beside its content.
const PIECE_BYTES: usize = 16;
/// What an object takes for its members, and how many of them at least have room in that.
const NODE_BYTES: usize = 640;
const NODE_MEMBERS: usize = 6;

/// Any JSON value.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(pub Value);

/// The members of a JSON object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object(pub Map<String, Value>);

/// Reads one value and nothing behind it.
///
/// ```
/// let odd = br#"{"$serde_json::private::Number":"1"}"#;
/// assert!(deskgate::lime::json::from_slice(odd).unwrap().is_object());
/// ```
pub fn from_slice(json: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(json).map(|Json(value)| value)
}

/// [`from_slice`] of a text.
pub fn from_str(json: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(json).map(|Json(value)| value)
}

/// Reads what a stranger wrote. There is JSON that takes ninety times its length once it is read: `{"":0}` again and
/// again. So what would take more than [`TREE_BYTES_MAX`] is read as its text: a list; of an object, first the lists and
/// objects in it, then all of it. Not the two outermost objects themselves, an envelope and its content; and what an
/// envelope holds beside content and metadata gives way for both.
pub fn from_body(json: &[u8]) -> Result<Value, serde_json::Error> {
    let room = Room::new(TREE_BYTES_MAX);
    let mut from = serde_json::Deserializer::from_slice(json);
    match room.value().deserialize(&mut from) {
        Err(_) if room.is_used_up() => heavy::read(json, TREE_BYTES_MAX),
        read => from.end().and(read),
    }
}

/// How long a value is as JSON, which is not made for that.
pub fn bytes_of(value: &impl Serialize) -> usize {
    struct Counted(usize);
    impl io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut bytes = Counted(0);
    // Neither a count nor JSON in memory fails.
    let _ = serde_json::to_writer(&mut bytes, value);
    bytes.0
}

/// About how much memory a value takes.
pub fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => scalar_bytes(value),
        Value::Array(items) => items.iter().map(weight).fold(VALUE_BYTES, usize::saturating_add),
        Value::Object(members) => weight_of(members).saturating_add(VALUE_BYTES),
    }
}

/// About how much memory the members of an object take.
pub fn weight_of(members: &Map<String, Value>) -> usize {
    let member = |(name, value): (&String, &Value)| name_bytes(name).saturating_add(weight(value));
    members.iter().map(member).fold(members_bytes(members.len()), usize::saturating_add)
}

/// What a value without others inside takes.
fn scalar_bytes(value: &Value) -> usize {
    match value {
        Value::Number(number) => text_bytes(number.as_str().len()),
        Value::String(text) => text_bytes(text.len()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => VALUE_BYTES,
    }
}

fn text_bytes(length: usize) -> usize {
    VALUE_BYTES.saturating_add(PIECE_BYTES).saturating_add(length)
}

fn name_bytes(name: &str) -> usize {
    name.len().saturating_add(PIECE_BYTES)
}

/// What an object of so many members takes beside them.
fn members_bytes(count: usize) -> usize {
    count.div_ceil(NODE_MEMBERS).saturating_mul(NODE_BYTES)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Room::new(usize::MAX).value().deserialize(from).map(Self)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match from.deserialize_map(Room::new(usize::MAX).value())? {
            Value::Object(members) => Ok(Self(members)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(D::Error::custom("not an object"))
            }
        }
    }
}

/// The memory that is left for what is read.
#[derive(Debug)]
pub(super) struct Room(Cell<usize>);

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Cell::new(bytes))
    }

    /// Reads a value as it is, as long as there is room.
    pub(super) fn value(&self) -> Exact<'_> {
        Exact(self)
    }

    fn is_used_up(&self) -> bool {
        self.0.get() == 0
    }

    fn take<E: Error>(&self, bytes: usize) -> Result<(), E> {
        self.0.set(self.0.get().saturating_sub(bytes));
        if self.is_used_up() { Err(E::custom("it takes too much memory")) } else { Ok(()) }
    }

    fn scalar<E: Error>(&self, value: Value) -> Result<Value, E> {
        self.take(scalar_bytes(&value))?;
        Ok(value)
    }
}

/// Any value, as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exact<'a>(&'a Room);

impl<'de> DeserializeSeed<'de> for Exact<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Exact<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.0.scalar(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        self.0.scalar(flag.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        self.0.scalar(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        self.0.scalar(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        self.0.scalar(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.0.scalar(text.into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        self.0.scalar(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        self.0.take(VALUE_BYTES)?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        let mut next = match map.next_key_seed(FirstKey)? {
            None => None,
            Some(First::NumberFollows) => return self.0.scalar(number_in(&mut map)?),
            Some(First::Name(name)) => Some(name),
        };
        self.0.take(VALUE_BYTES)?;
        while let Some(name) = next {
            if members.len().is_multiple_of(NODE_MEMBERS) {
                self.0.take(NODE_BYTES)?;
            }
            self.0.take(name_bytes(&name))?;
            members.insert(name, map.next_value_seed(self)?);
            next = map.next_key()?;
        }
        Ok(Value::Object(members))
    }
}

/// The number that was announced.
fn number_in<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Value, A::Error> {
    let number: Number = map.next_value::<String>()?.parse().map_err(A::Error::custom)?;
    Ok(Value::Number(number))
}

/// What an object begins with.
enum First {
    /// A member.
    Name(String),
    /// Nothing: it is a number, whose text is the value.
    NumberFollows,
}

/// Asks for a key that may be absent. A name that stands in the JSON is one that is there; the one that announces a
/// number is handed over as the bare text it is.
struct FirstKey;

impl<'de> DeserializeSeed<'de> for FirstKey {
    type Value = First;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<First, D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for FirstKey {
    type Value = First;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a member's name")
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<First, D::Error> {
        String::deserialize(from).map(First::Name)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<First, E> {
        Ok(First::NumberFollows)
    }
}
