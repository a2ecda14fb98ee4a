//! What envelopes carry: media types, and lenient access to the members of a JSON document.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::{Map, Value};

/// `text/plain`.
pub const TEXT: &str = "text/plain";
/// A desk ticket.
pub const TICKET: &str = "application/vnd.iris.ticket+json";
/// A file reachable by link.
pub const MEDIA_LINK: &str = "application/vnd.lime.media-link+json";
/// A place on Earth.
pub const LOCATION: &str = "application/vnd.lime.location+json";
/// Somebody's card.
pub const CONTACT: &str = "application/vnd.lime.contact+json";
/// A link to a page.
pub const WEB_LINK: &str = "application/vnd.lime.web-link+json";
/// A question with answers to choose from.
pub const SELECT: &str = "application/vnd.lime.select+json";
/// A card with buttons.
pub const DOCUMENT_SELECT: &str = "application/vnd.lime.document-select+json";
/// A list of documents.
pub const LIST: &str = "application/vnd.lime.list+json";
/// A question to which the answer is typed.
pub const INPUT: &str = "application/vnd.lime.input+json";
/// Several documents of one type.
pub const COLLECTION: &str = "application/vnd.lime.collection+json";
/// A document with its type.
pub const CONTAINER: &str = "application/vnd.lime.container+json";
/// An answer to an earlier message.
pub const REPLY: &str = "application/vnd.lime.reply+json";
/// An emoji on an earlier message.
pub const REACTION: &str = "application/vnd.lime.reaction+json";
/// A document that Blip does not store.
pub const SENSITIVE: &str = "application/vnd.lime.sensitive+json";
/// Someone is typing.
pub const CHAT_STATE: &str = "application/vnd.lime.chatstate+json";
/// The author took a message back.
pub const DELETED: &str = "application/vnd.lime.deleted-content+json";
/// The conversation is handed to another bot.
pub const REDIRECT: &str = "application/vnd.lime.redirect+json";

/// A MIME type as it came; compared by its essence: no parameters, no case.
#[derive(Debug, Clone, Default)]
pub struct MediaType {
    text: String,
    essence: String,
}

impl MediaType {
    /// Reads any text; nothing is refused.
    pub fn new(text: &str) -> Self {
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Self { text: text.to_owned(), essence }
    }

    /// The text as it came.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Type and subtype in lower case, without parameters.
    pub fn essence(&self) -> &str {
        &self.essence
    }

    /// Whether content of this type is JSON: by its suffix or its subtype.
    pub fn is_json(&self) -> bool {
        let subtype = self.essence.split('/').nth(1).unwrap_or_default();
        subtype == "json" || subtype.rsplit_once('+').is_some_and(|(_, suffix)| suffix == "json")
    }
}

impl PartialEq for MediaType {
    fn eq(&self, other: &Self) -> bool {
        self.essence == other.essence
    }
}

impl Eq for MediaType {}

impl fmt::Display for MediaType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// The members of a JSON object, found whatever their case, read whatever their type where that is harmless.
///
/// A getter answers `Ok(None)` where the member is absent or null, and [`Misfit`] where it cannot be read as
/// what is asked for: the caller then keeps the document as plain JSON instead of guessing.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a>(pub &'a Map<String, Value>);

/// A member is there and is not what its place in the document asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the member has another type than the document's")]
pub struct Misfit;

impl<'a> Members<'a> {
    /// The member called `name`, its exact spelling first; null counts as absent.
    pub fn get(self, name: &str) -> Option<&'a Value> {
        self.entry(name).map(|(_, value)| value)
    }

    /// The member that stands for `name`, with its own spelling.
    fn entry(self, name: &str) -> Option<(&'a str, &'a Value)> {
        let exact = self.0.get_key_value(name).filter(|(_, value)| !value.is_null());
        let found = exact.or_else(|| {
            self.0.iter().find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null())
        });
        found.map(|(key, value)| (key.as_str(), value))
    }

    /// A text; numbers and booleans are taken as theirs.
    pub fn text(self, name: &str) -> Result<Option<String>, Misfit> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
            Some(Value::Array(_) | Value::Object(_)) => Err(Misfit),
        }
    }

    /// A whole number; also as text.
    pub fn integer(self, name: &str) -> Result<Option<i64>, Misfit> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => {
                number.as_i64().or_else(|| whole(number.as_f64()?)).map(Some).ok_or(Misfit)
            }
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => match text.trim().parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(Misfit),
            },
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Err(Misfit),
        }
    }

    /// A finite number; also as text.
    pub fn number(self, name: &str) -> Result<Option<f64>, Misfit> {
        let number = match self.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
        };
        number.filter(|number| number.is_finite()).map(Some).ok_or(Misfit)
    }

    /// A date in ISO 8601 with any fraction and any offset; none means UTC.
    pub fn date(self, name: &str) -> Result<Option<Timestamp>, Misfit> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => parse_date(text).map(Some).ok_or(Misfit),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Err(Misfit),
        }
    }

    /// Every member that does not stand for one of `known`, as it came. Nulls that would are left out: they are
    /// absent.
    pub fn rest(self, known: &[&str]) -> Map<String, Value> {
        let taken = |key: &str, value: &Value| {
            known
                .iter()
                .filter(|name| key.eq_ignore_ascii_case(name))
                .any(|name| value.is_null() || self.entry(name).is_some_and(|(entry, _)| entry == key))
        };
        let others = self.0.iter().filter(|(key, value)| !taken(key, value));
        others.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// The greatest integer up to which every integer is exact in a double: 2^53.
pub const EXACT_MAX: i64 = 9_007_199_254_740_992;

/// A double as the integer it is, if it is one.
pub fn whole(number: f64) -> Option<i64> {
    let integer: i64 = format!("{number:.0}").parse().ok()?;
    (number.fract() == 0.0 && integer.unsigned_abs() <= EXACT_MAX.unsigned_abs()).then_some(integer)
}

/// Reads an ISO 8601 date from the year 1 on; without an offset it is UTC.
pub fn parse_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let date = text.parse().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        Offset::UTC.to_timestamp(local).ok()
    });
    date.filter(is_of_our_era)
}

/// Its first instant.
const YEAR_1: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// Whether a date is in the year 1 or later: Protocol Buffers, and with them every client of ours, know no other.
pub fn is_of_our_era(date: &Timestamp) -> bool {
    *date >= YEAR_1
}

/// About how many bytes of JSON a value takes.
pub fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(number) => number.to_string().len().saturating_add(1),
        Value::String(text) => text.len().saturating_add(3),
        Value::Array(items) => items.iter().fold(3, |sum, item| sum.saturating_add(weight(item))),
        Value::Object(members) => members.iter().fold(3, |sum, (name, member)| {
            sum.saturating_add(name.len()).saturating_add(3).saturating_add(weight(member))
        }),
    }
}

/// Any JSON value as a text: a string as it is, anything else as its JSON.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_tolerate_case_and_type() {
        let document = json!({"SequentialId": "138", "size": 12, "bad": "x1", "when": "2019-11-08T20:15:59.415Z", "nil": null});
        let members = Members(document.as_object().unwrap());
        assert_eq!(members.integer("sequentialId"), Ok(Some(138)));
        assert_eq!(members.text("size"), Ok(Some("12".to_owned())));
        assert_eq!(members.integer("bad"), Err(Misfit));
        assert_eq!(members.integer("nil"), Ok(None));
        assert!(members.date("when").unwrap().is_some());
        assert_eq!(members.rest(&["size", "when", "sequentialid"]).len(), 2);
    }

    #[test]
    fn a_second_spelling_is_another_member() {
        let document = json!({"uri": null, "URI": "a", "Uri": "b", "size": 5540.0, "Size": 1e3});
        let members = Members(document.as_object().unwrap());
        assert_eq!(members.text("uri"), Ok(Some("a".to_owned())));
        assert_eq!(members.integer("size"), Ok(Some(5540)));
        assert_eq!(Value::Object(members.rest(&["uri", "size"])), json!({"Uri": "b", "Size": 1e3}));
    }

    #[test]
    fn dates_with_and_without_offset() {
        let expected = parse_date("2019-11-08T20:15:59.4150000Z");
        assert!(expected.is_some());
        assert_eq!(parse_date("2019-11-08T20:15:59.415"), expected);
        assert_eq!(parse_date("2019-11-08T17:15:59.415-03:00"), expected);
        assert_eq!(parse_date("soon"), None);
    }

    #[test]
    fn media_types_by_essence() {
        assert_eq!(MediaType::new("Text/Plain; charset=utf-8"), MediaType::new(TEXT));
        assert!(MediaType::new(TICKET).is_json() && MediaType::new("application/json").is_json());
        assert!(!MediaType::new("application/vnd.lime.identity").is_json());
    }
}
