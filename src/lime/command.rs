//! Commands: what we ask of Desk, and the replies. A reply may say failure over HTTP 200.

use serde_json::{Map, Value, json};

use super::document::{Members, text_of};
use super::json;

/// What the reader says of JSON that is nested too deep: there is no other sign of it.
const TOO_DEEP: &str = "recursion limit exceeded";

/// Which of LIME's verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Write.
    Set,
    /// Write the members that are given.
    Merge,
    /// Take away.
    Delete,
    /// Ask to be told of changes.
    Subscribe,
    /// Ask no longer.
    Unsubscribe,
}

impl Method {
    /// Every verb that is answered.
    pub const ALL: [Self; 6] =
        [Self::Get, Self::Set, Self::Merge, Self::Delete, Self::Subscribe, Self::Unsubscribe];

    /// The verb on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Merge => "merge",
            Self::Delete => "delete",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
        }
    }

    /// Reads a verb, whatever its case.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(word.trim()))
    }
}

/// A relative LIME URI, its parts already percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimeUri(pub String);

/// A command request.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Unique per command; the same on every attempt.
    pub id: String,
    /// The extension that carries it out, such as `postmaster@desk.msging.net`.
    pub to: String,
    /// The verb.
    pub method: Method,
    /// What it is about.
    pub uri: LimeUri,
    /// The resource and its type.
    pub resource: Option<(String, Value)>,
}

impl Command {
    /// The documented JSON, members in the order of Blip's own samples.
    pub fn to_json(&self) -> Vec<u8> {
        let text = |value: &str| Value::from(value).to_string();
        let mut json = format!(
            r#"{{"id":{},"to":{},"method":{},"uri":{}"#,
            text(&self.id),
            text(&self.to),
            text(self.method.as_str()),
            text(&self.uri.0)
        );
        if let Some((media_type, resource)) = &self.resource {
            json.push_str(r#","type":"#);
            json.push_str(&text(media_type));
            json.push_str(r#","resource":"#);
            json.push_str(&resource.to_string());
        }
        json.push('}');
        json.into_bytes()
    }
}

/// Why something failed, in Blip's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reason {
    /// A LIME reason code; often missing.
    pub code: Option<i64>,
    /// For people; not stable.
    pub description: String,
}

impl Reason {
    /// Reads a reason; what is not an object is its code, where it is a whole number, or else its description. `None`
    /// for null.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Object(object) => Some(Self {
                code: Members(object).integer("code").ok().flatten(),
                description: Members(object).get("description").map(text_of).unwrap_or_default(),
            }),
            Value::Number(number) if number.as_i64().is_some() => {
                Some(Self { code: number.as_i64(), description: String::new() })
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Some(Self { code: None, description: text_of(value) })
            }
        }
    }

    /// Whether a reason says no more than a code and a description.
    pub fn is_all_of(value: &Value) -> bool {
        value.as_object().is_none_or(|object| {
            let members = Members(object);
            members.integer("code").is_ok() && members.rest(&["code", "description"]).is_empty()
        })
    }
}

/// What Blip answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The id of the command answered, where the reply says it.
    pub id: Option<String>,
    /// The type of the resource; empty where the reply does not say it.
    pub media_type: String,
    /// How it went.
    pub status: ReplyStatus,
}

/// How a command went.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyStatus {
    /// Done; with the resource, where there is one.
    Success(Value),
    /// Refused.
    Failure(Reason),
    /// Taken, not done yet.
    Pending,
}

/// A reply that is none.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Not JSON.
    #[error("the reply is not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    /// JSON that is nested deeper than is read.
    #[error("nested more than 127 deep")]
    TooDeep,
    /// JSON without a known `status`.
    #[error("the reply has no known status")]
    NoStatus,
}

impl Unusable {
    fn of(error: serde_json::Error) -> Self {
        if error.to_string().starts_with(TOO_DEEP) { Self::TooDeep } else { Self::NotJson(error) }
    }
}

impl Reply {
    /// Reads the body of a `/commands` answer.
    pub fn from_json(body: &[u8]) -> Result<Self, Unusable> {
        let json::Object(object) = serde_json::from_slice(body).map_err(Unusable::of)?;
        let members = Members(&object);
        let status = members.get("status").map(text_of).unwrap_or_default();
        let status = match status.to_ascii_lowercase().as_str() {
            "success" => ReplyStatus::Success(members.get("resource").cloned().unwrap_or(Value::Null)),
            "failure" => {
                ReplyStatus::Failure(members.get("reason").and_then(Reason::from_value).unwrap_or_default())
            }
            "pending" => ReplyStatus::Pending,
            _ => return Err(Unusable::NoStatus),
        };
        let media_type = members.text("type").ok().flatten().unwrap_or_default();
        Ok(Self { id: members.text("id").ok().flatten(), media_type, status })
    }

    /// Reads the body of a `/messages` answer with a status of success: nothing, as a rule. Only a body that
    /// says failure, as a command's reply or as a notification would, is one.
    pub fn from_message_answer(body: &[u8]) -> Self {
        let object = serde_json::from_slice(body).map(|json::Object(object)| object).unwrap_or_default();
        let members = Members(&object);
        let says = |name: &str, word: &str| {
            members.get(name).is_some_and(|value| text_of(value).eq_ignore_ascii_case(word))
        };
        let status = if says("status", "failure") || says("event", "failed") {
            ReplyStatus::Failure(members.get("reason").and_then(Reason::from_value).unwrap_or_default())
        } else {
            ReplyStatus::Success(Value::Null)
        };
        Self { id: members.text("id").ok().flatten(), media_type: String::new(), status }
    }
}

/// A notification on its way out, as the documented JSON.
pub fn notification_json(id: &str, to: &str, event: &str) -> Vec<u8> {
    json!({"id": id, "to": to, "event": event}).to_string().into_bytes()
}

/// A message on its way out, as the documented JSON. Without an id nobody hears of it again.
pub fn message_json(
    id: Option<&str>,
    to: &str,
    media_type: &str,
    content: &Value,
    metadata: &Map<String, Value>,
) -> Vec<u8> {
    let mut message = json!({"to": to, "type": media_type, "content": content});
    if let Some(object) = message.as_object_mut() {
        if let Some(id) = id {
            object.insert("id".to_owned(), id.into());
        }
        if !metadata.is_empty() {
            object.insert("metadata".to_owned(), Value::Object(metadata.clone()));
        }
    }
    message.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_over_http_200_is_a_failure() {
        let reply =
            Reply::from_json(br#"{"method":"set","status":"Failure","id":"1","reason":{"code":"64"}}"#)
                .unwrap();
        assert_eq!(reply.status, ReplyStatus::Failure(Reason { code: Some(64), description: String::new() }));
        assert!(Reply::from_json(b"{}").is_err() && Reply::from_json(b"<html>").is_err());
        let deep = |levels: usize| {
            let lists = "[".repeat(levels) + &"]".repeat(levels);
            Reply::from_json(format!(r#"{{"status":"success","resource":{lists}}}"#).as_bytes())
        };
        assert!(matches!(deep(128), Err(Unusable::TooDeep)) && deep(126).is_ok());
    }

    #[test]
    fn a_message_that_is_taken_may_still_be_refused_by_its_body() {
        let status = |body: &str| Reply::from_message_answer(body.as_bytes()).status;
        let quota = || ReplyStatus::Failure(Reason { code: Some(34), description: "Muitas".to_owned() });
        for body in [
            r#"{"id":"1","status":"Failure","reason":{"code":34,"description":"Muitas"}}"#,
            r#"{"id":"1","event":"FAILED","reason":{"code":"34","description":"Muitas"}}"#,
        ] {
            assert_eq!(status(body), quota());
        }
        assert_eq!(status(r#"{"status":"failure"}"#), ReplyStatus::Failure(Reason::default()));
        for body in ["", "{}", "<html>", "[]", "null", r#"{"status":"success"}"#, r#"{"event":"accepted"}"#] {
            assert_eq!(status(body), ReplyStatus::Success(Value::Null), "{body}");
        }
    }

    #[test]
    fn the_wire_form_is_the_documented_one() {
        let command = Command {
            id: "1".to_owned(),
            to: "postmaster@desk.msging.net".to_owned(),
            method: Method::Set,
            uri: LimeUri("/tickets/change-status".to_owned()),
            resource: Some((
                "application/vnd.iris.ticket+json".to_owned(),
                json!({"id": "t", "status": "Open"}),
            )),
        };
        assert_eq!(
            String::from_utf8(command.to_json()).unwrap(),
            r#"{"id":"1","to":"postmaster@desk.msging.net","method":"set","uri":"/tickets/change-status","type":"application/vnd.iris.ticket+json","resource":{"id":"t","status":"Open"}}"#
        );
    }
}
