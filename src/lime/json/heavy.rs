//! JSON that is too heavy as it stands: a list or an object that would take too much memory is its text, as exact as the
//! rest. Of an object the lists and objects in it give way first, then all of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{First, FirstKey, VALUE_BYTES, members_bytes, name_bytes, number_in, scalar_bytes, text_bytes};

/// Levels whose objects stay objects: an envelope and its content.
const KEPT_LEVELS: usize = 2;

/// Reads a body of which no list or object is to take more than `bytes_max`.
pub(super) fn read(json: &[u8], bytes_max: usize) -> Result<Value, serde_json::Error> {
    let mut from = serde_json::Deserializer::from_slice(json);
    let (node, _) = Place { level: 1, bytes_max }.deserialize(&mut from)?;
    from.end()?;
    Ok(node.into_value())
}

/// A value in the making.
enum Node {
    Scalar(Value),
    List(Vec<Node>),
    Object(BTreeMap<String, Node>),
    /// A list's or an object's JSON. Stands as it is in the text of what holds it.
    Text(String),
}

impl Node {
    fn into_value(self) -> Value {
        match self {
            Self::Scalar(value) => value,
            Self::List(items) => items.into_iter().map(Self::into_value).collect(),
            Self::Object(members) => {
                Value::Object(members.into_iter().map(|(name, node)| (name, node.into_value())).collect())
            }
            Self::Text(text) => Value::String(text),
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Scalar(value) => out.push_str(&value.to_string()),
            Self::Text(text) => out.push_str(text),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, node)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_member(name, node, out);
                }
                out.push('}');
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Scalar(value) => scalar_bytes(value),
            Self::Text(text) => text_bytes(text.len()),
            Self::List(items) => items.iter().map(Self::bytes).fold(VALUE_BYTES, usize::saturating_add),
            Self::Object(members) => {
                let member = |(name, node): (&String, &Self)| name_bytes(name).saturating_add(node.bytes());
                let own = members_bytes(members.len()).saturating_add(VALUE_BYTES);
                members.iter().map(member).fold(own, usize::saturating_add)
            }
        }
    }

    fn into_text(self) -> Self {
        match self {
            Self::Scalar(_) | Self::Text(_) => self,
            Self::List(_) | Self::Object(_) => {
                let mut text = String::new();
                self.write(&mut text);
                Self::Text(text)
            }
        }
    }
}

fn write_member(name: &str, node: &Node, out: &mut String) {
    out.push_str(&Value::from(name).to_string());
    out.push(':');
    node.write(out);
}

/// The text of `node` without what closes it.
fn unclosed(node: &Node) -> String {
    let mut text = String::new();
    node.write(&mut text);
    text.pop();
    text
}

/// Where a value stands. Answers it, and about how much memory it takes.
#[derive(Clone, Copy)]
struct Place {
    /// 1 for the outermost.
    level: usize,
    bytes_max: usize,
}

impl Place {
    fn inner(self) -> Self {
        Self { level: self.level.saturating_add(1), ..self }
    }

    /// Whether a member counts, and is text where the object is too heavy: all but what an envelope is for.
    fn gives_way(self, name: &str) -> bool {
        self.level > 1 || !["content", "metadata"].iter().any(|kept| name.eq_ignore_ascii_case(kept))
    }
}

/// The members of an object, up to where it is text.
struct Members {
    place: Place,
    map: BTreeMap<String, Node>,
    bytes: usize,
    /// Lists and objects in it are texts: as they are they would be too heavy.
    coarse: bool,
    /// The object so far, where it is too heavy even so.
    text: Option<String>,
}

impl Members {
    fn new(place: Place) -> Self {
        Self { place, map: BTreeMap::new(), bytes: VALUE_BYTES, coarse: false, text: None }
    }

    fn add(&mut self, name: String, node: Node, bytes: usize) {
        if let Some(text) = &mut self.text {
            text.push(',');
            write_member(&name, &node, text);
            return;
        }
        let (node, bytes) = if self.coarse { self.flat(&name, node) } else { (node, bytes) };
        self.count(&name, bytes);
        self.map.insert(name, node);
        if self.bytes > self.place.bytes_max && !self.coarse {
            self.coarse = true;
            self.bytes = VALUE_BYTES;
            for (name, node) in std::mem::take(&mut self.map) {
                let (node, bytes) = self.flat(&name, node);
                self.count(&name, bytes);
                self.map.insert(name, node);
            }
        }
        if self.bytes > self.place.bytes_max && self.place.level > KEPT_LEVELS {
            self.text = Some(unclosed(&Node::Object(std::mem::take(&mut self.map))));
        }
    }

    /// A member as text, if it gives way.
    fn flat(&self, name: &str, node: Node) -> (Node, usize) {
        let node = if self.place.gives_way(name) { node.into_text() } else { node };
        let bytes = node.bytes();
        (node, bytes)
    }

    fn count(&mut self, name: &str, bytes: usize) {
        if self.place.gives_way(name) {
            let more = members_bytes(self.map.len().saturating_add(1));
            let more = more.saturating_sub(members_bytes(self.map.len()));
            self.bytes =
                self.bytes.saturating_add(more).saturating_add(name_bytes(name)).saturating_add(bytes);
        }
    }

    fn done(self) -> (Node, usize) {
        match self.text {
            None => (Node::Object(self.map), self.bytes),
            Some(text) => closed(text, '}'),
        }
    }
}

fn closed(mut text: String, end: char) -> (Node, usize) {
    text.push(end);
    let bytes = text_bytes(text.len());
    (Node::Text(text), bytes)
}

fn scalar(value: Value) -> (Node, usize) {
    let bytes = scalar_bytes(&value);
    (Node::Scalar(value), bytes)
}

impl<'de> DeserializeSeed<'de> for Place {
    type Value = (Node, usize);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place {
    type Value = (Node, usize);

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(scalar(Value::Null))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(scalar(flag.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(scalar(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(scalar(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(scalar(number.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(scalar(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut items, mut sum, mut text) = (Vec::new(), VALUE_BYTES, None::<String>);
        while let Some((item, bytes)) = list.next_element_seed(self.inner())? {
            if let Some(text) = &mut text {
                text.push(',');
                item.write(text);
                continue;
            }
            items.push(item);
            sum = sum.saturating_add(bytes);
            if sum > self.bytes_max {
                text = Some(unclosed(&Node::List(std::mem::take(&mut items))));
            }
        }
        Ok(text.map_or_else(|| (Node::List(items), sum), |text| closed(text, ']')))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::new(self);
        match map.next_key_seed(FirstKey)? {
            None => {}
            Some(First::NumberFollows) => return Ok(scalar(number_in(&mut map)?)),
            Some(First::Name(name)) => {
                let (node, bytes) = map.next_value_seed(self.inner())?;
                members.add(name, node, bytes);
            }
        }
        while let Some(name) = map.next_key::<String>()? {
            let (node, bytes) = map.next_value_seed(self.inner())?;
            members.add(name, node, bytes);
        }
        Ok(members.done())
    }
}
