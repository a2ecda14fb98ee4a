//! What callers ask of tickets. The bot may still be empty: the desk knows whose ticket it is.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Faults, Invalid, InvalidField, content, unknown_number};
use crate::domain::action::agent_identity_of;
use crate::domain::{Action, ActionRequest, CloseBy, OutboundMessage, canonical_ticket_id};
use crate::grpc::pb;
use crate::store::CommandKey;

/// The longest name of a bot, or identity, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 512;
/// The longest id of a ticket, in bytes.
const TICKET_ID_BYTES_MAX: usize = 256;
/// The longest request id.
const REQUEST_ID_MAX: usize = 64;
/// The most tags to close with.
const TAGS_MAX: usize = 100;
/// The most members of a message's metadata.
const METADATA_MAX: usize = 100;
/// The longest metadata of a message, as JSON.
const METADATA_BYTES_MAX: usize = 256 << 10;

/// A command that makes sense.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::grpc) struct Asked {
    /// What is asked.
    pub(in crate::grpc) request: ActionRequest,
    /// Only check it.
    pub(in crate::grpc) validate_only: bool,
    /// Where it stands what Blip is to take.
    pub(in crate::grpc) said: Said,
}

/// What of a request Blip was to take, where neither its method nor its ticket tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::grpc) enum Said {
    /// They tell.
    #[default]
    AsUsual,
    /// What is in this field.
    In(&'static str),
    /// The caller's own command, which only reads.
    InCommand,
}

/// Reads an `Assign` of `principal`.
pub(in crate::grpc) fn assign(request: pb::AssignRequest, principal: String) -> Result<Asked, Invalid> {
    let pb::AssignRequest { ticket_id, agent, bot, options } = request;
    let mut faults = Faults::default();
    check_ticket_id(&ticket_id, &mut faults);
    check_name(&agent, "agent", true, &mut faults);
    let action = Action::Assign { agent_identity: agent_identity_of(&agent) };
    let asked = asked(&ticket_id, bot, action, options, principal, &mut faults);
    faults.done(asked)
}

/// Reads a `Send` of `principal`.
pub(in crate::grpc) fn send(request: pb::SendRequest, principal: String) -> Result<Asked, Invalid> {
    let pb::SendRequest { ticket_id, text, content, agent, metadata, bot, options } = request;
    let mut faults = Faults::default();
    check_ticket_id(&ticket_id, &mut faults);
    check_name(&agent, "agent", false, &mut faults);
    if metadata.len() > METADATA_MAX {
        faults.add("metadata", format!("must have at most {METADATA_MAX} members"));
    }
    if content::json_bytes(&metadata) > METADATA_BYTES_MAX {
        faults.add("metadata", format!("must have at most {METADATA_BYTES_MAX} bytes as JSON"));
    }
    if metadata.contains_key("") {
        faults.add("metadata", "has a member without a name");
    }
    let said = Said::In(if text.is_empty() { "content" } else { "text" });
    let (content, document) = match content::said(text, content) {
        Ok(said) => said,
        Err(Invalid::Fields(more)) => {
            for InvalidField { field, description } in more {
                faults.add(field, description);
            }
            Default::default()
        }
        Err(unsupported @ Invalid::Content { .. }) => return Err(unsupported),
    };
    let metadata = metadata.into_iter().map(|(name, text)| (name, Value::String(text)));
    let action = Action::Send(Box::new(OutboundMessage {
        content,
        document,
        metadata: metadata.collect::<Map<String, Value>>(),
        agent_identity: agent_identity_of(&agent),
    }));
    let asked = asked(&ticket_id, bot, action, options, principal, &mut faults);
    faults.done(Asked { said, ..asked })
}

/// Reads a `Close` of `principal`.
pub(in crate::grpc) fn close(request: pb::CloseRequest, principal: String) -> Result<Asked, Invalid> {
    let pb::CloseRequest { ticket_id, by, tags, closed_by, without_redirect, bot, options } = request;
    let mut faults = Faults::default();
    check_ticket_id(&ticket_id, &mut faults);
    check_name(&closed_by, "closed_by", false, &mut faults);
    check_tags(&tags, &mut faults);
    let by = match pb::CloseBy::try_from(by) {
        Ok(pb::CloseBy::Unspecified | pb::CloseBy::Agent) => CloseBy::Agent,
        Ok(pb::CloseBy::Customer) => CloseBy::Customer,
        Err(_) => {
            let fault = unknown_number("by", by);
            faults.add(fault.field, fault.description);
            CloseBy::Agent
        }
    };
    let action = Action::Close { by, tags, closed_by: agent_identity_of(&closed_by), without_redirect };
    let asked = asked(&ticket_id, bot, action, options, principal, &mut faults);
    faults.done(asked)
}

/// What is asked, on which ticket and under which conditions.
pub(super) fn asked(
    ticket_id: &str,
    bot: String,
    action: Action,
    options: Option<pb::CommandOptions>,
    principal: String,
    faults: &mut Faults,
) -> Asked {
    let pb::CommandOptions { request_id, accept_only, if_ticket_sequence, validate_only } =
        options.unwrap_or_default();
    check_name(&bot, "bot", false, faults);
    check_request_id(&request_id, "options.request_id", faults);
    let ticket_id = canonical_ticket_id(ticket_id);
    let request =
        ActionRequest { bot, ticket_id, action, principal, request_id, if_ticket_sequence, accept_only };
    Asked { request, validate_only, said: Said::AsUsual }
}

/// The ticket of a `GetTicket`: its id, its bot or nothing, and whether Blip is to be asked.
pub(in crate::grpc) fn get_ticket(request: pb::GetTicketRequest) -> Result<(String, String, bool), Invalid> {
    let pb::GetTicketRequest { ticket_id, bot, fresh } = request;
    let mut faults = Faults::default();
    check_ticket_id(&ticket_id, &mut faults);
    check_name(&bot, "bot", false, &mut faults);
    faults.done((canonical_ticket_id(&ticket_id), bot, fresh))
}

/// The key of a `GetCommand` of `principal`.
pub(in crate::grpc) fn get_command(
    request: pb::GetCommandRequest,
    principal: String,
) -> Result<CommandKey, Invalid> {
    use pb::get_command_request::Key;
    let mut faults = Faults::default();
    let key = match request.key {
        Some(Key::CommandId(text)) => CommandKey::Id(text.parse().unwrap_or_else(|_| {
            faults.add("command_id", "is not an id that the gateway gives: take it from a receipt");
            Uuid::nil()
        })),
        Some(Key::RequestId(request_id)) => {
            if request_id.is_empty() {
                faults.add("request_id", "must not be empty");
            }
            check_request_id(&request_id, "request_id", &mut faults);
            CommandKey::Request { principal, request_id }
        }
        None => {
            faults.add("key", "is required: give command_id or request_id");
            CommandKey::Id(Uuid::nil())
        }
    };
    faults.done(key)
}

/// Checks a name, an identity or whatever else is short.
pub(super) fn check_name(text: &str, field: &str, required: bool, faults: &mut Faults) {
    if required && text.trim().is_empty() {
        faults.add(field, "is required");
    } else if text.len() > NAME_BYTES_MAX {
        faults.add(field, format!("must have at most {NAME_BYTES_MAX} bytes"));
    } else if text.chars().any(char::is_control) {
        faults.add(field, "must not have control characters");
    }
}

/// A ticket's id is the name in an address, so it must not end that name early.
pub(super) fn check_ticket_id(text: &str, faults: &mut Faults) {
    if text.trim().is_empty() {
        faults.add("ticket_id", "is required");
    } else if text.len() > TICKET_ID_BYTES_MAX {
        faults.add("ticket_id", format!("must have at most {TICKET_ID_BYTES_MAX} bytes"));
    } else if text.chars().any(|one| matches!(one, '@' | '/') || one.is_whitespace() || one.is_control()) {
        faults.add("ticket_id", "must not have '@', '/', white space or control characters");
    }
}

/// Checks the labels of a ticket.
pub(super) fn check_tags(tags: &[String], faults: &mut Faults) {
    if tags.len() > TAGS_MAX {
        faults.add("tags", format!("must be at most {TAGS_MAX}"));
    }
    for (index, tag) in tags.iter().enumerate().take(TAGS_MAX) {
        if tag.trim().is_empty() || tag.len() > NAME_BYTES_MAX {
            faults.add(format!("tags[{index}]"), format!("must have 1 to {NAME_BYTES_MAX} bytes"));
        }
    }
}

fn check_request_id(text: &str, field: &str, faults: &mut Faults) {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.len() > REQUEST_ID_MAX || !printable {
        faults.add(field, format!("must be 1 to {REQUEST_ID_MAX} printable ASCII characters, or empty"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fields;
    use super::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let options = |request_id: &str| {
            Some(pb::CommandOptions { request_id: request_id.to_owned(), ..pb::CommandOptions::default() })
        };
        let request = pb::AssignRequest { options: options("é"), ..pb::AssignRequest::default() };
        assert_eq!(fields(assign(request, String::new())), ["ticket_id", "agent", "options.request_id"]);
        let request = pb::SendRequest { options: options(&"x".repeat(65)), ..pb::SendRequest::default() };
        assert_eq!(fields(send(request, String::new())), ["ticket_id", "text", "options.request_id"]);
        let tags = vec![String::new(), "a".to_owned(), "x".repeat(5_000)];
        let request = pb::CloseRequest { by: 7, tags, ..pb::CloseRequest::default() };
        assert_eq!(fields(close(request, String::new())), ["ticket_id", "tags[0]", "tags[2]", "by"]);
        assert_eq!(fields(get_command(pb::GetCommandRequest::default(), String::new())), ["key"]);
    }

    #[test]
    fn a_ticket_id_cannot_change_the_address_it_is_part_of() {
        let ticket = |ticket_id: &str| {
            let request =
                pb::GetTicketRequest { ticket_id: ticket_id.to_owned(), ..pb::GetTicketRequest::default() };
            get_ticket(request)
        };
        let long = "x".repeat(257);
        for id in ["t@evil.net", "t/x", "a b", "a\u{a0}b", "a\nb", " t", "", long.as_str()] {
            assert_eq!(fields(ticket(id)), ["ticket_id"], "{id:?}");
        }
        for id in ["76f5bc38-1c3d", "1654%40messenger.gw.msging.net", "ç", &long[1..]] {
            ticket(id).unwrap();
        }
    }

    #[test]
    fn metadata_is_bounded() {
        let of = |length: usize| pb::SendRequest {
            ticket_id: "t".to_owned(),
            text: "a".to_owned(),
            metadata: [("#a".to_owned(), "x".repeat(length))].into(),
            ..pb::SendRequest::default()
        };
        assert!(send(of(METADATA_BYTES_MAX - 100), String::new()).is_ok());
        assert_eq!(fields(send(of(METADATA_BYTES_MAX), String::new())), ["metadata"]);
    }

    #[test]
    fn agents_are_named_by_email() {
        let request = pb::AssignRequest {
            ticket_id: "t".to_owned(),
            agent: "ana@empresa.com".to_owned(),
            ..pb::AssignRequest::default()
        };
        let asked = assign(request, "crm".to_owned()).unwrap();
        assert_eq!(
            asked.request.action,
            Action::Assign { agent_identity: "ana%40empresa.com@blip.ai".to_owned() }
        );
        assert_eq!(asked.request.principal, "crm");
    }
}
