//! What is read is what was written, and takes little memory.

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
    assert!(serde_json::from_str::<Object>("1").is_err() && serde_json::from_str::<Object>("[]").is_err());
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

/// `count` times the same, in a list.
fn many(unit: &str, count: usize) -> String {
    format!("[{}]", vec![unit; count].join(","))
}

fn body(json: &str) -> Value {
    let read = from_body(json.as_bytes()).unwrap();
    assert!(weight(&read) <= 2 * TREE_BYTES_MAX + 16 * json.len(), "{}", weight(&read));
    read
}

#[test]
fn what_is_heavy_becomes_text_where_it_is() {
    let heavy = many(r#"{"":0}"#, 20_000);
    let envelope = |inside: &str| format!(r#"{{"id":"m","content":{inside},"a":{{"b":[1]}}}}"#);
    let read = body(&envelope(&heavy));
    assert_eq!(read, json!({"id": "m", "content": heavy, "a": {"b": [1]}}), "a list is its text");
    let extras = format!(r#"{{"id":"t","extras":{{"list":{heavy},"x":1}}}}"#);
    let read = body(&envelope(&extras));
    assert_eq!(read["content"], json!({"id": "t", "extras": {"list": heavy, "x": 1}}));
    let nested = format!(r#"{{"id":"t","small":{{}},"deep":{{"a":{{"b":{heavy}}}}}}}"#);
    assert_eq!(body(&envelope(&nested))["content"]["deep"]["a"]["b"], heavy);
}

#[test]
fn many_that_are_not_heavy_alone_give_way_to_content() {
    let part = many(r#"{"":0}"#, 5_000);
    let names: Vec<_> = (0..30).map(|number| format!(r#""x{number}":{part}"#)).collect();
    let json = format!(r#"{{{},"content":{part},"Metadata":{{"a":{part}}},"id":"m"}}"#, names.join(","));
    let read = body(&json);
    assert!(read["x0"].is_string() && read["x29"].is_string() && read["id"] == "m");
    assert!(read["content"].is_array() && read["Metadata"]["a"].is_array());
    let content = format!(r#"{{"content":{{{},"id":"t"}}}}"#, names.join(","));
    let read = body(&content);
    assert_eq!((&read["content"]["x0"], &read["content"]["id"]), (&json!(part), &json!("t")));
}

#[test]
fn what_is_wide_is_text_but_for_an_envelope_and_its_content() {
    let names: Vec<_> = (0..60_000).map(|number| format!(r#""{number:x}":0"#)).collect();
    let wide = format!("{{{}}}", names.join(","));
    let read = body(&format!(r#"{{"content":{{"a":{wide}}}}}"#));
    assert_eq!(read["content"]["a"].as_str().map(str::len), Some(wide.len()));
    assert_eq!(body(&format!(r#"{{"content":{wide}}}"#))["content"].as_object().map(Map::len), Some(60_000));
    assert_eq!(body(&wide).as_object().map(Map::len), Some(60_000));
    assert_eq!(from_str(&wide).unwrap().as_object().map(Map::len), Some(60_000));
}

/// Texts where lists and objects were, and nothing else changed.
fn tells(read: &Value, written: &Value) -> bool {
    match (read, written) {
        (Value::String(text), Value::Array(_) | Value::Object(_)) => {
            from_str(text).is_ok_and(|value| value == *written)
        }
        (Value::Array(items), Value::Array(others)) => {
            items.len() == others.len() && items.iter().zip(others).all(|(item, other)| tells(item, other))
        }
        (Value::Object(members), Value::Object(others)) => {
            members.len() == others.len()
                && others.iter().all(|(name, other)| members.get(name).is_some_and(|one| tells(one, other)))
        }
        (one, other) => one == other,
    }
}

/// Text in text in text would double its escapes each time.
#[test]
fn what_is_heavy_again_and_again_is_one_text() {
    let heavy = vec![r#"{"":0}"#; 7_000].join(",");
    let mut json = "[]".to_owned();
    for _ in 0..10 {
        json = format!(r#"[{heavy},{{"a":{json},"b":"\""}}]"#);
    }
    let envelope = format!(r#"{{"content":{{"a":{json}}}}}"#);
    let read = body(&envelope);
    assert_eq!(read["content"]["a"], json, "exact, and no longer than it was");
}

proptest! {
    #[test]
    fn what_is_heavy_tells_the_same(value in any_json(), bytes_max in 0_usize..6_000) {
        let read = heavy::read(value.to_string().as_bytes(), bytes_max).unwrap();
        prop_assert!(tells(&read, &value), "{} was {}", read, value);
    }

    #[test]
    fn what_is_light_is_read_the_same(value in any_json()) {
        prop_assert_eq!(from_body(value.to_string().as_bytes()).unwrap(), value);
    }

    #[test]
    fn what_is_written_is_read(value in any_json()) {
        prop_assert_eq!(&from_str(&value.to_string()).unwrap(), &value);
        prop_assert_eq!(Json::deserialize(value.clone()).unwrap().0, value);
    }
}
