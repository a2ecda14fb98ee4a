//! JSON read as what it is. `serde_json`, told to keep numbers exact, hands a number out as an object with one member
//! of a secret name, and so reads an object that begins with a member of that name as a number, or not at all. Here
//! it stays the object it is.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most items a list gets room for before they are there: its length is the sender's word.
const ROOM_MAX: usize = 64;

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

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any).map(Self)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match from.deserialize_map(Any)? {
            Value::Object(members) => Ok(Self(members)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(D::Error::custom("not an object"))
            }
        }
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::with_capacity(list.size_hint().unwrap_or_default().min(ROOM_MAX));
        while let Some(Json(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        match map.next_key_seed(FirstKey)? {
            None => {}
            Some(First::NumberFollows) => {
                let number: Number = map.next_value::<String>()?.parse().map_err(A::Error::custom)?;
                return Ok(Value::Number(number));
            }
            Some(First::Name(name)) => _ = members.insert(name, map.next_value::<Json>()?.0),
        }
        while let Some((name, Json(value))) = map.next_entry::<String, Json>()? {
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SECRET: &str = "$serde_json::private::Number";

    #[test]
    fn an_object_with_the_secret_name_is_an_object() {
        for value in [
            json!({SECRET: "1"}),
            json!({SECRET: 1}),
            json!({SECRET: "x", "a": 1}),
            json!({SECRET: {SECRET: {SECRET: null}}}),
            json!([{SECRET: "1"}, {"a": {SECRET: "2"}}]),
            json!({"$serde_json::private::RawValue": "[1]"}),
        ] {
            assert_eq!(from_str(&value.to_string()).unwrap(), value);
            let escaped = value.to_string().replace('$', r"\u0024");
            assert_eq!(from_slice(escaped.as_bytes()).unwrap(), value, "{escaped}");
            assert_eq!(Json::deserialize(value.clone()).unwrap().0, value, "out of a value");
        }
        let Object(members) = serde_json::from_str(r#"{"$serde_json::private::Number":"1"}"#).unwrap();
        assert_eq!(members, Map::from_iter([(SECRET.to_owned(), json!("1"))]));
        assert!(
            serde_json::from_str::<Object>("1").is_err() && serde_json::from_str::<Object>("[]").is_err()
        );
    }

    #[test]
    fn numbers_are_kept_to_the_letter() {
        for number in ["0", "-0", "1.0", "1e5", "-1.50E+400", "123456789012345678901234567890", "0.1"] {
            let read = from_str(number).unwrap();
            assert_eq!(read, serde_json::from_str::<Value>(number).unwrap(), "{number}");
            assert!(read.is_number());
        }
        for bad in ["01", "1.", "-", "+1", "NaN", "1 2", "", "{\"a\"}", "{\"a\":1,}", "[1,]", "{1:2}"] {
            assert!(from_str(bad).is_err(), "{bad}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,4}".prop_map(Value::from),
            "-?[0-9]{1,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let name = prop_oneof![Just(SECRET.to_owned()), ".{0,4}"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(name, inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in any_json()) {
            prop_assert_eq!(&from_str(&value.to_string()).unwrap(), &value);
            prop_assert_eq!(Json::deserialize(value.clone()).unwrap().0, value);
        }
    }
}
