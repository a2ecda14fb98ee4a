//! The envelopes that come all day, read without a detour: a message whose members are spelled as documented, each
//! once, and of the documented type. Anything else is left to the lenient reading, which must agree on these.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::super::document::MediaType;
use super::super::json::{Room, TREE_BYTES_MAX};
use super::super::metadata::Within;
use super::super::node::Node;
use super::{Body, Envelope, Message};

/// Reads one; `None` for whatever takes more care, be it another envelope or no JSON at all.
pub(super) fn read(body: &[u8]) -> Option<Envelope> {
    let mut json = serde_json::Deserializer::from_str(std::str::from_utf8(body).ok()?);
    let envelope = json.deserialize_map(Members(body)).ok()?;
    json.end().ok()?;
    Some(envelope)
}

/// Of this body.
struct Members<'a>(&'a [u8]);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Envelope;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a message as documented")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let (mut id, mut from, mut to) = (None, None, None);
        let (mut metadata, mut media_type, mut content) = (None, None, None);
        while let Some(name) = map.next_key::<Name>()? {
            match name {
                Name::Id => once(&mut id, map.next_value::<String>()?)?,
                Name::From => once(&mut from, map.next_value::<Address>()?.0)?,
                Name::To => once(&mut to, map.next_value::<Address>()?.0)?,
                Name::Metadata => once(&mut metadata, map.next_value_seed(Within(self.0))?)?,
                Name::Type => once(&mut media_type, map.next_value::<Mime>()?.0)?,
                Name::Content => once(&mut content, map.next_value_seed(Room::new(TREE_BYTES_MAX).value())?)?,
            }
        }
        let (Some(media_type), Some(content)) = (media_type, content.filter(|content| !content.is_null()))
        else {
            return Err(A::Error::custom("no message"));
        };
        Ok(Envelope {
            id: id.filter(|id| !id.trim().is_empty()),
            from: from.flatten(),
            to: to.flatten(),
            metadata: metadata.unwrap_or_default(),
            body: Body::Message(Message { media_type, content }),
        })
    }
}

/// Which of two members of one name counts is not for here to say.
fn once<T, E: Error>(member: &mut Option<T>, value: T) -> Result<(), E> {
    match member.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom("a member stands there twice")),
    }
}

#[derive(Clone, Copy)]
enum Name {
    Id,
    From,
    To,
    Metadata,
    Type,
    Content,
}

/// Something made of a text, without keeping the text.
macro_rules! of_text {
    ($of:ident, $make:expr) => {
        impl<'de> Deserialize<'de> for $of {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $of;

                    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                        out.write_str("a text as documented")
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$of, E> {
                        let made: Option<$of> = $make(text);
                        made.ok_or_else(|| E::custom("not as documented"))
                    }
                }
                from.deserialize_str(Text)
            }
        }
    };
}

struct Address(Option<Node>);
struct Mime(MediaType);

of_text!(Name, |text| Some(match text {
    "id" => Name::Id,
    "from" => Name::From,
    "to" => Name::To,
    "metadata" => Name::Metadata,
    "type" => Name::Type,
    "content" => Name::Content,
    _ => return None,
}));
of_text!(Address, |text| Some(Address(Node::parse(text))));
of_text!(Mime, |text| Some(Mime(MediaType::new(text))));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::{Body, Envelope};
    use super::read;

    fn leniently(body: &[u8]) -> Option<Envelope> {
        match Envelope::read(body).ok()? {
            Value::Object(object) => Some(Envelope::from_object(object)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    #[test]
    fn the_usual_message_is_read_here() {
        let message = json!({"id": "fwd:1", "from": "t@desk.msging.net/Webhook", "to": "b@msging.net",
            "type": "text/plain", "content": "oi", "metadata": {"#a": "b"}});
        let read = read(message.to_string().as_bytes()).unwrap();
        assert!(matches!(read.body, Body::Message(_)));
        assert_eq!(read.metadata.len(), 1);
    }

    #[test]
    fn what_takes_care_is_left() {
        for body in [
            r#"{"Type":"text/plain","content":"a"}"#,
            r#"{"type":"text/plain","content":null}"#,
            r#"{"type":"text/plain","content":"a","content":"b"}"#,
            r#"{"type":"text/plain","content":"a","metadata":{"a":true}}"#,
            r#"{"type":"text/plain","content":"a","metadata":{"a":"1","a":null}}"#,
            r#"{"type":"text/plain","content":"a","metadata":{"a":"1","a":"2"}}"#,
            r#"{"type":"text/plain","content":"a","from":null}"#,
            r#"{"type":"text/plain","content":"a","event":"received"}"#,
            r#"{"type":"text/plain","content":"a"} x"#,
            r#"{"content":"a"}"#,
            "[]",
        ] {
            assert!(read(body.as_bytes()).is_none(), "{body}");
        }
        let heavy = vec![r#"{"":0}"#; 7_000].join(",");
        assert!(read(format!(r#"{{"type":"a/json","content":[{heavy}]}}"#).as_bytes()).is_none());
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ a-zé@/\"\\\\\u{0}]{0,6}".prop_map(Value::from),
            Just(json!({"a": "b"})),
            Just(json!({"$serde_json::private::Number": "1"})),
            Just(json!({"$serde_json::private::Number": "1", "a": "b"})),
            Just(json!({"a": {"$serde_json::private::Number": "x"}})),
            Just(json!({"a": null, "b": "c"})),
            Just(json!({"a": null, "b": [1]})),
        ]
    }

    proptest! {
        /// Two readings of one body never differ.
        #[test]
        fn both_readings_agree(members in proptest::collection::vec(
            ("id|from|to|type|content|metadata|Type|CONTENT|event|pp|x|[$]serde_json::private::Number", value()), 0..8)) {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let body = format!("{{{}}}", members.join(","));
            if let Some(read) = read(body.as_bytes()) {
                prop_assert_eq!(Some(read), leniently(body.as_bytes()), "{}", body);
            }
        }
    }
}
