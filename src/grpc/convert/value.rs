//! JSON ↔ `google.protobuf.Value`. What that form cannot hold exactly, integers beyond 2^53 and deep nesting,
//! is given as JSON text inside a string; so is what would grow beyond what clients take in one message.

use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::{Map, Number, Value};

use super::InvalidField;
use crate::domain::{EXACT_MAX, whole};

/// Containers inside containers beyond this become text: readers limit how deep a message may nest.
const LEVELS_MAX: usize = 20;

/// Bytes of an encoded value from which it is given as text. A list of small numbers takes eleven bytes for
/// every two of its JSON, and clients refuse messages over 4 MiB: one such event would block its readers for good.
const BYTES_MAX: usize = 1 << 20;

/// JSON as the API carries it.
pub(in crate::grpc) fn to_pb(value: &Value) -> prost_types::Value {
    let whole = at_level(value, 1);
    if whole.encoded_len() <= BYTES_MAX { whole } else { as_text(value) }
}

/// A JSON object as the API carries it; `None` for an empty one.
pub(in crate::grpc) fn struct_to_pb(map: &Map<String, Value>) -> Option<Struct> {
    if map.is_empty() {
        return None;
    }
    let whole = members(map, 1);
    if whole.encoded_len() <= BYTES_MAX {
        return Some(whole);
    }
    let flat = |value: &Value| match value {
        Value::Array(_) | Value::Object(_) | Value::Number(_) => as_text(value),
        Value::Null | Value::Bool(_) | Value::String(_) => at_level(value, 2),
    };
    Some(Struct { fields: map.iter().map(|(name, value)| (name.clone(), flat(value))).collect() })
}

fn as_text(value: &Value) -> prost_types::Value {
    prost_types::Value { kind: Some(Kind::StringValue(value.to_string())) }
}

fn at_level(value: &Value, level: usize) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => number_to_pb(number),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(_) | Value::Object(_) if level > LEVELS_MAX => Kind::StringValue(value.to_string()),
        Value::Array(items) => {
            let values = items.iter().map(|item| at_level(item, level.saturating_add(1))).collect();
            Kind::ListValue(ListValue { values })
        }
        Value::Object(map) => Kind::StructValue(members(map, level)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn members(map: &Map<String, Value>, level: usize) -> Struct {
    let inner = level.saturating_add(1);
    Struct { fields: map.iter().map(|(name, value)| (name.clone(), at_level(value, inner))).collect() }
}

fn number_to_pb(number: &Number) -> Kind {
    let text = number.to_string();
    let is_integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let fits = !is_integer
        || text.parse::<i64>().is_ok_and(|integer| integer.unsigned_abs() <= EXACT_MAX.unsigned_abs());
    match text.parse::<f64>() {
        Ok(double) if fits && double.is_finite() => Kind::NumberValue(double),
        _ => Kind::StringValue(text),
    }
}

/// JSON as a caller gave it.
pub(in crate::grpc) fn of_pb(value: prost_types::Value, field: &str) -> Result<Value, InvalidField> {
    match value.kind {
        None => Err(InvalidField::new(field, "is a value without a kind; use null_value for null")),
        Some(Kind::NullValue(_)) => Ok(Value::Null),
        Some(Kind::BoolValue(flag)) => Ok(Value::Bool(flag)),
        Some(Kind::StringValue(text)) => Ok(Value::String(text)),
        Some(Kind::NumberValue(double)) => number_of_pb(double)
            .map(Value::Number)
            .ok_or_else(|| InvalidField::new(field, "must be a finite number")),
        Some(Kind::ListValue(list)) => {
            let items = list.values.into_iter().enumerate();
            items.map(|(index, item)| of_pb(item, &format!("{field}[{index}]"))).collect()
        }
        Some(Kind::StructValue(object)) => struct_of_pb(object, field).map(Value::Object),
    }
}

/// A JSON object as a caller gave it.
pub(in crate::grpc) fn struct_of_pb(object: Struct, field: &str) -> Result<Map<String, Value>, InvalidField> {
    let members = object.fields.into_iter();
    let member = |(name, value): (String, _)| {
        let field = format!("{field}.{name}");
        Ok((name, of_pb(value, &field)?))
    };
    members.map(member).collect()
}

/// A whole number is written as one: `12`, not `12.0`.
fn number_of_pb(double: f64) -> Option<Number> {
    whole(double).map(Number::from).or_else(|| Number::from_f64(double))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn text_in(value: &Value) -> String {
        match to_pb(value).kind {
            Some(Kind::StringValue(text)) => text,
            other => panic!("not a text: {other:?}"),
        }
    }

    #[test]
    fn what_would_grow_too_large_becomes_text() {
        let zeros = Value::Array(vec![Value::from(0); 500_000]);
        assert_eq!(text_in(&zeros).len(), 1_000_001);
        let object = json!({"zeros": zeros, "small": [1]});
        let members = struct_to_pb(object.as_object().unwrap()).unwrap();
        assert!(members.encoded_len() < 1_100_000, "{}", members.encoded_len());
    }

    #[test]
    fn integers_beyond_the_exact_become_text() {
        assert_eq!(to_pb(&json!(EXACT_MAX)).kind, Some(Kind::NumberValue(9_007_199_254_740_992.0)));
        assert_eq!(text_in(&json!(EXACT_MAX + 1)), "9007199254740993");
        assert_eq!(text_in(&json!(-EXACT_MAX - 1)), "-9007199254740993");
        let long: Value = serde_json::from_str("123456789012345678901234567890").unwrap();
        assert_eq!(text_in(&long), "123456789012345678901234567890");
        let huge: Value = serde_json::from_str("1.5e400").unwrap();
        assert!(matches!(to_pb(&huge).kind, Some(Kind::StringValue(_))));
        assert_eq!(to_pb(&json!(0.1)).kind, Some(Kind::NumberValue(0.1)));
    }

    #[test]
    fn what_nests_too_deep_becomes_text() {
        let nested = |levels: usize| (0..levels).fold(json!("x"), |inner, _| json!([inner]));
        let mut at = to_pb(&nested(LEVELS_MAX + 2));
        for _ in 0..LEVELS_MAX {
            let Some(Kind::ListValue(list)) = at.kind else { panic!("a list up to the limit") };
            at = list.values.into_iter().next().unwrap();
        }
        assert_eq!(at.kind, Some(Kind::StringValue(r#"[["x"]]"#.to_owned())));
    }

    #[test]
    fn what_is_no_json_is_named() {
        let bad = prost_types::Value { kind: Some(Kind::NumberValue(f64::NAN)) };
        let list = ListValue { values: vec![bad] };
        let value = prost_types::Value { kind: Some(Kind::ListValue(list)) };
        assert_eq!(of_pb(value, "content.json").unwrap_err().field, "content.json[0]");
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-EXACT_MAX..=EXACT_MAX).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(
                    prop_oneof![".{0,4}", "[$]serde_json::private::Number"],
                    inner,
                    0..5
                )
                .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_round_trips(value in json_value()) {
            prop_assert_eq!(of_pb(to_pb(&value), "json").unwrap(), value);
        }
    }
}
