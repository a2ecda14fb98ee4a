//! What the ledger keeps of an action, so that it can be sent, or its end looked for, after a restart: our own form,
//! read by this file alone. The store takes it as an opaque text.

use serde_json::{Map, Value, json};

use crate::domain::translate::content_of;
use crate::domain::{Action, ActionRequest, CloseBy, NewTicket, OutboundMessage, RawCommand};
use crate::lime::{self, MediaType, Method};
use crate::store::NewCommand;

/// The member that holds the condition, beside the one that holds the action.
const CONDITION: &str = "if_ticket_sequence";

/// Writes what is asked.
pub(super) fn write(request: &ActionRequest) -> String {
    let mut memo = action(&request.action);
    if request.if_ticket_sequence != 0
        && let Some(object) = memo.as_object_mut()
    {
        object.insert(CONDITION.to_owned(), request.if_ticket_sequence.into());
    }
    memo.to_string()
}

fn action(action: &Action) -> Value {
    match action {
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
        Action::Finish { closed_by, tags } => json!({"finish": {"closed_by": closed_by, "tags": tags}}),
        Action::Transfer { team, agent_identity } => {
            json!({"transfer": {"team": team, "agent": agent_identity}})
        }
        Action::SetTags { tags } => json!({"set_tags": {"tags": tags}}),
        Action::Create(new) => {
            let NewTicket { customer_identity, team, agent_identity, input } = new.as_ref();
            json!({"create": {
                "customer": customer_identity, "team": team, "agent": agent_identity, "input": input,
            }})
        }
        Action::Execute(raw) => {
            let RawCommand { method, to, uri, resource } = raw.as_ref();
            json!({"execute": {"method": method.as_str(), "to": to, "uri": uri, "resource": resource}})
        }
    }
}

/// Reads back what a recorded command asks; `None` for a memo of another version.
pub(super) fn request_of(command: &NewCommand) -> Option<ActionRequest> {
    let NewCommand {
        id: _,
        method: _,
        bot,
        ticket_id,
        principal,
        request_id,
        fingerprint: _,
        memo,
        accept_only,
    } = command;
    let memo = lime::json::from_str(memo).ok()?;
    let if_ticket_sequence = memo.get(CONDITION).and_then(Value::as_u64).unwrap_or_default();
    let (kind, body) = memo.as_object()?.iter().find(|(name, _)| *name != CONDITION)?;
    Some(ActionRequest {
        bot: bot.clone(),
        ticket_id: ticket_id.clone(),
        action: read(kind, body)?,
        principal: principal.clone(),
        request_id: request_id.clone(),
        if_ticket_sequence,
        accept_only: *accept_only,
    })
}

fn read(kind: &str, body: &Value) -> Option<Action> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let texts = |name: &str| {
        let texts = body.get(name)?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned);
        Some(texts.collect::<Vec<_>>())
    };
    match kind {
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
            let without_redirect = body.get("without_redirect")?.as_bool()?;
            let closed_by = text("closed_by");
            Some(Action::Close { by, tags: texts("tags")?, closed_by, without_redirect })
        }
        "finish" => Some(Action::Finish { closed_by: text("closed_by"), tags: texts("tags")? }),
        "transfer" => Some(Action::Transfer { team: text("team"), agent_identity: text("agent") }),
        "set_tags" => Some(Action::SetTags { tags: texts("tags")? }),
        "create" => Some(Action::Create(Box::new(NewTicket {
            customer_identity: text("customer"),
            team: text("team"),
            agent_identity: text("agent"),
            input: typed(body.get("input")),
        }))),
        "execute" => Some(Action::Execute(Box::new(RawCommand {
            method: Method::parse(&text("method"))?,
            to: text("to"),
            uri: text("uri"),
            resource: typed(body.get("resource")),
        }))),
        _ => None,
    }
}

/// A document with its type, where there is one.
fn typed(value: Option<&Value>) -> Option<(String, Value)> {
    let [media_type, document] = value?.as_array()?.as_slice() else { return None };
    Some((media_type.as_str()?.to_owned(), document.clone()))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::translate::content_document;

    fn actions() -> Vec<Action> {
        let content = content_of(
            &MediaType::new("application/vnd.lime.location+json"),
            json!({"latitude": -19.9, "longitude": -43.9, "text": "aqui",
                "more": {"$serde_json::private::Number": "1"}}),
        );
        let document = content_document(&content);
        let metadata = Map::from_iter([("#k".to_owned(), json!("v"))]);
        let tags = vec!["a".to_owned()];
        let input = Some(("text/plain".to_owned(), json!("oi")));
        vec![
            Action::Assign { agent_identity: "ana".to_owned() },
            Action::Send(Box::new(OutboundMessage {
                content,
                document,
                metadata,
                agent_identity: "ana".to_owned(),
            })),
            Action::Close {
                by: CloseBy::Customer,
                tags: tags.clone(),
                closed_by: "x".to_owned(),
                without_redirect: true,
            },
            Action::Finish { closed_by: "x".to_owned(), tags: tags.clone() },
            Action::Transfer { team: "Vendas".to_owned(), agent_identity: "ana".to_owned() },
            Action::SetTags { tags },
            Action::Create(Box::new(NewTicket {
                customer_identity: "c@0mn.io".to_owned(),
                team: "Vendas".to_owned(),
                agent_identity: String::new(),
                input: input.clone(),
            })),
            Action::Create(Box::default()),
            Action::Execute(Box::new(RawCommand {
                method: Method::Merge,
                to: "postmaster@crm.msging.net".to_owned(),
                uri: "/contacts".to_owned(),
                resource: input,
            })),
        ]
    }

    #[test]
    fn what_is_written_is_read_back() {
        for action in actions() {
            for if_ticket_sequence in [0, 7] {
                let request = ActionRequest {
                    bot: "suporte".to_owned(),
                    ticket_id: "t".to_owned(),
                    action: action.clone(),
                    principal: "crm".to_owned(),
                    request_id: "r".to_owned(),
                    if_ticket_sequence,
                    accept_only: true,
                };
                let command = super::super::run::new_command(Uuid::nil(), &request, write(&request));
                assert_eq!(request_of(&command), Some(request));
                assert_eq!(request_of(&NewCommand { memo: "{}".to_owned(), ..command }), None);
            }
        }
    }
}
