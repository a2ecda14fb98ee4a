//! What the ledger keeps of an action, so that its end can be looked for after a restart: our own form, read
//! by this file alone. The store takes it as an opaque text.

use serde_json::{Map, Value, json};

use crate::domain::translate::content_of;
use crate::domain::{Action, CloseBy, OutboundMessage};
use crate::lime::{self, MediaType};

/// Writes an action.
pub(super) fn write(action: &Action) -> String {
    let value = match action {
        Action::Assign { agent_identity } => json!({"assign": agent_identity}),
        Action::Send(message) => {
            let OutboundMessage { content, document, metadata, agent_identity } = message.as_ref();
            json!({"send": {
                "type": content.media_type, "document": document, "metadata": metadata, "agent": agent_identity,
            }})
        }
        Action::Close { by, tags, closed_by, without_redirect } => json!({"close": {
            "by": match by { CloseBy::Agent => "agent", CloseBy::Customer => "customer" },
            "tags": tags, "closed_by": closed_by, "without_redirect": without_redirect,
        }}),
    };
    value.to_string()
}

/// Reads an action back; `None` for a memo of another version.
pub(super) fn read(memo: &str) -> Option<Action> {
    let value = lime::json::from_str(memo).ok()?;
    let (kind, body) = value.as_object()?.iter().next()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match kind.as_str() {
        "assign" => Some(Action::Assign { agent_identity: body.as_str()?.to_owned() }),
        "send" => {
            let document = body.get("document")?.clone();
            let content = content_of(&MediaType::new(&text("type")), document.clone());
            let metadata = body.get("metadata").and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
            let agent_identity = text("agent");
            Some(Action::Send(Box::new(OutboundMessage { content, document, metadata, agent_identity })))
        }
        "close" => {
            let by = if text("by") == "customer" { CloseBy::Customer } else { CloseBy::Agent };
            let tags =
                body.get("tags")?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let without_redirect = body.get("without_redirect")?.as_bool()?;
            Some(Action::Close { by, tags, closed_by: text("closed_by"), without_redirect })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::translate::content_document;

    #[test]
    fn what_is_written_is_read_back() {
        let content = content_of(
            &MediaType::new("application/vnd.lime.location+json"),
            json!({"latitude": -19.9, "longitude": -43.9, "text": "aqui",
                "more": {"$serde_json::private::Number": "1"}}),
        );
        let document = content_document(&content);
        let metadata = Map::from_iter([("#k".to_owned(), json!("v"))]);
        let message = OutboundMessage { content, document, metadata, agent_identity: "ana".to_owned() };
        for action in [
            Action::Assign { agent_identity: "ana".to_owned() },
            Action::Send(Box::new(message)),
            Action::Close {
                by: CloseBy::Customer,
                tags: vec!["a".to_owned()],
                closed_by: "x".to_owned(),
                without_redirect: true,
            },
        ] {
            assert_eq!(read(&write(&action)), Some(action));
        }
        assert_eq!(read("{}"), None);
    }
}
