//! Documents without what docs/CONTENT.md says a reading changes: two that are alike in this form tell the same.

use deskgate::lime::{MediaType, Members, canonical_id, text_of};
use serde_json::{Map, Value};

/// A document of such texts as a reading keeps: scalars are texts, what is empty is absent, names are in small letters,
/// ids are canonical, emoji are characters.
pub fn plain(value: &Value) -> Value {
    match value {
        Value::Null => "".into(),
        Value::Bool(value) => value.to_string().into(),
        Value::Number(number) => plain_text(&number.to_string()),
        Value::String(text) => plain_text(text),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(object) => plain_object(object),
    }
}

/// Members of names that differ in case alone stand side by side, so an object becomes a list of them.
fn plain_object(object: &Map<String, Value>) -> Value {
    let names_text = |name: &str| {
        let media_type = Members(object).text(name).ok().flatten();
        media_type.is_some_and(|text| MediaType::new(&text).essence() == "text/plain")
    };
    let (is_text, is_texts) = (names_text("type"), names_text("itemType"));
    let mut members = Vec::new();
    for (name, value) in object {
        let name = name.to_ascii_lowercase();
        let value = match (name.as_str(), value) {
            ("value", value) if is_text && !value.is_null() => plain(&text_of(value).into()),
            ("items", Value::Array(items)) if is_texts => {
                items.iter().map(|item| plain(&text_of(item).into())).collect()
            }
            ("emoji", Value::Object(emoji)) => plain(&emoji_of(emoji)),
            ("id", value) => plain(&canonical_id(&text_of(value)).into()),
            (_, value) => plain(value),
        };
        let empty = value == "" || value == Value::Array(Vec::new()) && !is_list(object, &name);
        let absent = empty || name == "size" && value == "0";
        if !absent {
            members.push((name, value));
        }
    }
    members.sort_by(|(one, value), (name, other)| {
        one.cmp(name).then_with(|| value.to_string().cmp(&other.to_string()))
    });
    members.into_iter().map(|(name, value)| Value::from(vec![name.into(), value])).collect()
}

/// Whether the member is a list as it came: an empty object looks like an empty list in this form, and is absent.
fn is_list(object: &Map<String, Value>, name: &str) -> bool {
    object.iter().any(|(other, value)| other.eq_ignore_ascii_case(name) && value.is_array())
}

/// A text; a number in one form, however it was written.
fn plain_text(text: &str) -> Value {
    match text.trim().parse::<f64>() {
        // Adding zero makes one of the two zeros.
        Ok(number) => (number + 0.0).to_string().into(),
        Err(_) if text.trim().is_empty() => "".into(),
        Err(_) => text.into(),
    }
}

/// UTF-16 units, or characters, as text; anything else as it is.
fn emoji_of(emoji: &Map<String, Value>) -> Value {
    let mut emoji = emoji.clone();
    let code = |value: &Value| -> Option<u32> { text_of(value).trim().parse().ok() };
    let values = Members(&emoji).get("values").and_then(Value::as_array);
    let codes = values.and_then(|values| values.iter().map(code).collect::<Option<Vec<_>>>());
    let Some(codes) = codes else { return Value::Object(emoji) };
    let mut utf16 = Vec::new();
    for code in codes {
        match (u16::try_from(code), char::from_u32(code)) {
            (Ok(unit), _) => utf16.push(unit),
            (_, Some(one)) => utf16.extend_from_slice(one.encode_utf16(&mut [0; 2])),
            _ => return Value::Object(emoji),
        }
    }
    emoji.retain(|name, value| !(name.eq_ignore_ascii_case("values") && value.is_array()));
    emoji.insert("values".to_owned(), String::from_utf16_lossy(&utf16).into());
    Value::Object(emoji)
}
