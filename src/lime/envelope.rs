//! Envelopes as they arrive. The kind is told by the members present; whatever a member holds, an object that
//! parses as JSON becomes an envelope.

use serde_json::{Map, Value};

use super::document::{MediaType, Members, text_of};
use super::json;
use super::metadata::Metadata;
use super::node::Node;

mod plain;
mod surrogate;

/// Some senders begin their UTF-8 with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A body that is not a JSON object, or that nests deeper than the parser follows.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON at all, or nested more than 128 deep.
    #[error("the body is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// JSON, but a list, a text, a number …
    #[error("the body is JSON but not an object")]
    NotAnObject,
}

/// What all kinds share, and the kind's own part.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// As it came, `fwd:` prefixes included; `None` when absent, null or blank.
    pub id: Option<String>,
    /// The sender.
    pub from: Option<Node>,
    /// The destination.
    pub to: Option<Node>,
    /// Nulls left out, other non-texts as their JSON.
    pub metadata: Metadata,
    /// The kind's own part.
    pub body: Body,
}

/// The kinds of envelope a webhook can bring.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Content for someone.
    Message(Message),
    /// What became of a message.
    Notification(Notification),
    /// A command, a session, or nothing LIME knows: the whole object.
    Other(Map<String, Value>),
}

/// A message's own part.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The type of `content`.
    pub media_type: MediaType,
    /// Null where absent, as in deleted content.
    pub content: Value,
}

/// A notification's own part.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// `accepted`, `dispatched`, `received`, `consumed`, `failed`, … as it came.
    pub event: String,
    /// Why, where it failed, as it came; null where absent.
    pub reason: Value,
}

impl Envelope {
    /// Reads one envelope. What JSON's grammar allows and a text of ours cannot hold, half a surrogate pair, is
    /// read as U+FFFD; a byte order mark in front is passed over.
    pub fn from_json(body: &[u8]) -> Result<Self, Unreadable> {
        if let Some(envelope) = plain::read(body) {
            return Ok(envelope);
        }
        match Self::read(body)? {
            Value::Object(object) => Ok(Self::from_object(object)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(Unreadable::NotAnObject)
            }
        }
    }

    /// Reads a body as JSON, mending what only a parser refuses. What would take too much memory is text: see
    /// [`json::from_body`].
    pub fn read(body: &[u8]) -> Result<Value, serde_json::Error> {
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        json::from_body(body).or_else(|error| match surrogate::mended(body) {
            Some(mended) => json::from_body(&mended),
            None => Err(error),
        })
    }

    /// Reads an object; the kind is decided in the reference library's order.
    pub fn from_object(object: Map<String, Value>) -> Self {
        let members = Members(&object);
        let text = |name| members.text(name).ok().flatten();
        let id = text("id").filter(|id| !id.trim().is_empty());
        let from = text("from").and_then(|node| Node::parse(&node));
        let to = text("to").and_then(|node| Node::parse(&node));
        let metadata = metadata_of(members.get("metadata"));
        let body = if members.get("content").is_some() {
            Self::message(members)
        } else if members.get("event").is_some() {
            Body::Notification(Notification {
                event: members.get("event").map(text_of).unwrap_or_default(),
                reason: members.get("reason").cloned().unwrap_or_default(),
            })
        } else if ["method", "state", "resource"].iter().any(|name| members.get(name).is_some())
            || members.get("type").is_none()
        {
            Body::Other(object)
        } else {
            Self::message(members)
        };
        Self { id, from, to, metadata, body }
    }

    fn message(members: Members<'_>) -> Body {
        Body::Message(Message {
            media_type: MediaType::new(&members.get("type").map(text_of).unwrap_or_default()),
            content: members.get("content").cloned().unwrap_or_default(),
        })
    }
}

/// Strips every leading `fwd:` (one per hop), ignoring case and blanks: the id under which a message is one.
///
/// ```
/// assert_eq!(deskgate::lime::canonical_id("FWD: fwd:  wamid.A= "), "wamid.A=");
/// ```
pub fn canonical_id(id: &str) -> &str {
    let mut rest = id.trim();
    while let Some((prefix, tail)) = rest.split_at_checked(4)
        && prefix.eq_ignore_ascii_case("fwd:")
    {
        rest = tail.trim_start();
    }
    rest
}

/// Reads an envelope's metadata, or that of an item that was one: nulls left out, the rest as texts.
pub fn metadata_of(value: Option<&Value>) -> Metadata {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    let texts =
        entries.filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), text_of(value)));
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_members() {
        let kind = |json: &str| Envelope::from_json(json.as_bytes()).unwrap().body;
        assert!(matches!(kind(r#"{"type":"text/plain","content":"oi"}"#), Body::Message(_)));
        assert!(matches!(kind(r#"{"type":"application/vnd.lime.deleted-content+json"}"#), Body::Message(_)));
        assert!(matches!(kind(r#"{"event":"received","type":"x/y"}"#), Body::Notification(_)));
        assert!(matches!(kind(r#"{"method":"get","uri":"/x","type":"x/y"}"#), Body::Other(_)));
        assert!(matches!(kind("{}"), Body::Other(_)));
        assert!(Envelope::from_json(b"[]").is_err());
    }

    #[test]
    fn half_a_surrogate_pair_and_a_byte_order_mark_do_no_harm() {
        let content = |json: &str| match Envelope::from_json(json.as_bytes()).unwrap().body {
            Body::Message(message) => message.content,
            other @ (Body::Notification(_) | Body::Other(_)) => panic!("no message: {other:?}"),
        };
        assert_eq!(content(r#"{"content":"oi \ud83d"}"#), "oi \u{fffd}");
        assert_eq!(content(r#"{"content":"\ud83d\ude00 \uDE00"}"#), "😀 \u{fffd}");
        assert_eq!(content("\u{feff}{\"content\":\"oi\"}"), "oi");
        assert!(Envelope::from_json(b"\xef\xbb\xbf").is_err());
        assert!(Envelope::from_json(br#"{"content":"\ud83d" "#).is_err());
    }

    #[test]
    fn metadata_keeps_what_is_not_text() {
        let envelope =
            Envelope::from_json(br##"{"metadata":{"#a":null,"#b":true,"#c":"x"},"from":null}"##).unwrap();
        assert_eq!(envelope.metadata.len(), 2);
        assert_eq!(envelope.metadata.get("#b"), Some("true"));
        assert_eq!(envelope.from, None);
    }

    #[test]
    fn forwarding_prefixes_fall_off() {
        for (raw, canonical) in [
            ("fwd:fwd:a", "a"),
            ("a", "a"),
            ("fwd:", ""),
            ("FWD: fwd:  x ", "x"),
            ("çfwd:a", "çfwd:a"),
            ("fw", "fw"),
        ] {
            assert_eq!(canonical_id(raw), canonical, "{raw}");
        }
    }
}
