//! The rest of what callers ask of tickets, and of Blip itself. As everywhere, all faults of a request are named at once.

use super::request::{Asked, asked, check_name, check_tags, check_ticket_id};
use super::{Faults, Invalid, InvalidField, content, value};
use crate::domain::action::{RawCommand, agent_identity_of};
use crate::domain::translate::DESK_POSTMASTER;
use crate::domain::{Action, Method, NewTicket, canonical_ticket_id};
use crate::grpc::pb;

/// The longest URI of a LIME command, in bytes.
const URI_BYTES_MAX: usize = 4_096;
/// The longest document of a LIME command, as JSON.
const RESOURCE_BYTES_MAX: usize = 1 << 20;

/// Reads a `Finish` of `principal`.
pub(in crate::grpc) fn finish(request: pb::FinishRequest, principal: String) -> Result<Asked, Invalid> {
    let pb::FinishRequest { ticket_id, closed_by, tags, bot, options } = request;
    let mut faults = Faults::default();
    check_ticket_id(&ticket_id, &mut faults);
    check_name(&closed_by, "closed_by", false, &mut faults);
    check_tags(&tags, &mut faults);
    let action = Action::Finish { closed_by: agent_identity_of(&closed_by), tags };
    let asked = asked(&ticket_id, bot, action, options, principal, &mut faults);
    faults.done(asked)
}

/// Reads a `Transfer` of `principal`.
pub(in crate::grpc) fn transfer(request: pb::TransferRequest, principal: String) -> Result<Asked, Invalid> {
    let pb::TransferRequest { ticket_id, team, agent, bot, options } = request;
    let mut faults = Faults::default();
    check_ticket_id(&ticket_id, &mut faults);
    check_name(&team, "team", true, &mut faults);
    check_name(&agent, "agent", false, &mut faults);
    let action = Action::Transfer { team, agent_identity: agent_identity_of(&agent) };
    let asked = asked(&ticket_id, bot, action, options, principal, &mut faults);
    faults.done(asked)
}

/// Reads a `SetTags` of `principal`.
pub(in crate::grpc) fn set_tags(request: pb::SetTagsRequest, principal: String) -> Result<Asked, Invalid> {
    let pb::SetTagsRequest { ticket_id, tags, bot, options } = request;
    let mut faults = Faults::default();
    check_ticket_id(&ticket_id, &mut faults);
    check_tags(&tags, &mut faults);
    let action = Action::SetTags { tags };
    let asked = asked(&ticket_id, bot, action, options, principal, &mut faults);
    faults.done(asked)
}

/// Reads a `Create` of `principal`.
pub(in crate::grpc) fn create(request: pb::CreateRequest, principal: String) -> Result<Asked, Invalid> {
    let pb::CreateRequest { bot, customer_identity, team, agent, customer_input, options } = request;
    let mut faults = Faults::default();
    check_name(&customer_identity, "customer_identity", true, &mut faults);
    if !customer_identity.is_empty() && !is_address(&customer_identity) {
        faults.add("customer_identity", "must be an address of the form name@domain");
    }
    check_name(&team, "team", false, &mut faults);
    check_name(&agent, "agent", false, &mut faults);
    check_no_sequence(options.as_ref(), &mut faults);
    let input = match customer_input.map(content::of_pb).transpose() {
        Ok(said) => said.map(|(content, document)| (content.media_type, document)),
        Err(Invalid::Fields(more)) => {
            for InvalidField { field, description } in more {
                faults.add(field.replacen("content", "customer_input", 1), description);
            }
            None
        }
        Err(unsupported @ Invalid::Content { .. }) => return Err(unsupported),
    };
    let agent_identity = agent_identity_of(&agent);
    let action = Action::Create(Box::new(NewTicket { customer_identity, team, agent_identity, input }));
    let asked = asked("", bot, action, options, principal, &mut faults);
    faults.done(asked)
}

/// The ticket of a `SetTyping`, its bot or nothing, and whether the agent types.
pub(in crate::grpc) fn set_typing(request: pb::SetTypingRequest) -> Result<(String, String, bool), Invalid> {
    let pb::SetTypingRequest { ticket_id, composing, bot } = request;
    let mut faults = Faults::default();
    check_ticket_id(&ticket_id, &mut faults);
    check_name(&bot, "bot", false, &mut faults);
    faults.done((canonical_ticket_id(&ticket_id), bot, composing))
}

/// The ticket of a `MarkRead`, its bot or nothing, and the message.
pub(in crate::grpc) fn mark_read(request: pb::MarkReadRequest) -> Result<(String, String, String), Invalid> {
    let pb::MarkReadRequest { ticket_id, message_id, bot } = request;
    let mut faults = Faults::default();
    check_ticket_id(&ticket_id, &mut faults);
    check_name(&message_id, "message_id", true, &mut faults);
    check_name(&bot, "bot", false, &mut faults);
    faults.done((canonical_ticket_id(&ticket_id), bot, message_id))
}

/// What a caller's own LIME command is.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::grpc) enum Executed {
    /// It may change something, and is recorded.
    Acts(Box<Asked>),
    /// It only reads.
    Reads {
        /// The bot, or nothing.
        bot: String,
        /// The command.
        raw: RawCommand,
        /// Only check it.
        validate_only: bool,
    },
}

/// Reads an `ExecuteCommand` of `principal`.
pub(in crate::grpc) fn execute(
    request: pb::ExecuteCommandRequest,
    principal: String,
) -> Result<Executed, Invalid> {
    let pb::ExecuteCommandRequest { bot, method, to, uri, r#type: media_type, resource, options } = request;
    let mut faults = Faults::default();
    let verb = Method::parse(&method).unwrap_or_else(|| {
        let verbs = Method::ALL.map(Method::as_str).join(", ");
        faults.add("method", format!("must be one of {verbs}"));
        Method::Get
    });
    check_name(&to, "to", false, &mut faults);
    if !to.is_empty() && !is_address(&to) {
        faults.add("to", "must be an address of the form name@domain");
    }
    check_uri(&uri, &mut faults);
    check_name(&media_type, "type", resource.is_some(), &mut faults);
    if resource.is_none() && !media_type.is_empty() {
        faults.add("type", "goes only with a resource");
    }
    check_no_sequence(options.as_ref(), &mut faults);
    let document = resource.map(|resource| faults.take(value::of_pb(resource, "resource")));
    if document.as_ref().is_some_and(|document| content::json_bytes(document) > RESOURCE_BYTES_MAX) {
        faults.add("resource", format!("must have at most {RESOURCE_BYTES_MAX} bytes as JSON"));
    }
    let to = if to.is_empty() { DESK_POSTMASTER.to_owned() } else { to };
    let resource = document.map(|document| (media_type, document));
    let raw = RawCommand { method: verb, to, uri, resource };
    if verb == Method::Get {
        let pb::CommandOptions { request_id, accept_only, if_ticket_sequence: _, validate_only } =
            options.unwrap_or_default();
        check_name(&bot, "bot", false, &mut faults);
        if accept_only {
            faults.add("options.accept_only", "does not go with a get, which has only its answer");
        }
        if !request_id.is_empty() {
            faults.add("options.request_id", "does not go with a get, which changes nothing");
        }
        return faults.done(Executed::Reads { bot, raw, validate_only });
    }
    let asked = asked("", bot, Action::Execute(Box::new(raw)), options, principal, &mut faults);
    faults.done(Executed::Acts(Box::new(asked)))
}

/// What is about no ticket has no place in one.
fn check_no_sequence(options: Option<&pb::CommandOptions>, faults: &mut Faults) {
    if options.is_some_and(|options| options.if_ticket_sequence != 0) {
        faults.add("options.if_ticket_sequence", "goes only with commands on a ticket");
    }
}

fn check_uri(uri: &str, faults: &mut Faults) {
    if uri.is_empty() {
        faults.add("uri", "is required");
    } else if uri.len() > URI_BYTES_MAX {
        faults.add("uri", format!("must have at most {URI_BYTES_MAX} bytes"));
    } else if !(uri.starts_with('/') || uri.starts_with("lime://")) {
        faults.add("uri", "must begin with '/' or \"lime://\"");
    } else if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        faults.add("uri", "must be percent-encoded: it has white space, or a letter that is not ASCII");
    }
}

/// Whether a text can be somebody's address.
fn is_address(text: &str) -> bool {
    let parts = text.split_once('@');
    parts.is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty())
        && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::super::tests::fields;
    use super::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let nobody = String::new;
        assert_eq!(fields(transfer(pb::TransferRequest::default(), nobody())), ["ticket_id", "team"]);
        let tags = vec![String::new()];
        let request = pb::SetTagsRequest { tags: tags.clone(), ..pb::SetTagsRequest::default() };
        assert_eq!(fields(set_tags(request, nobody())), ["ticket_id", "tags[0]"]);
        let request = pb::FinishRequest { tags, ..pb::FinishRequest::default() };
        assert_eq!(fields(finish(request, nobody())), ["ticket_id", "tags[0]"]);
        let options = || Some(pb::CommandOptions { if_ticket_sequence: 1, ..pb::CommandOptions::default() });
        let request = pb::CreateRequest { options: options(), ..pb::CreateRequest::default() };
        assert_eq!(fields(create(request, nobody())), ["customer_identity", "options.if_ticket_sequence"]);
        assert_eq!(fields(mark_read(pb::MarkReadRequest::default())), ["ticket_id", "message_id"]);
        let request = pb::ExecuteCommandRequest {
            method: "observe".to_owned(),
            to: "desk".to_owned(),
            r#type: "a/b".to_owned(),
            ..pb::ExecuteCommandRequest::default()
        };
        assert_eq!(fields(execute(request, nobody())), ["method", "to", "uri", "type"]);
    }

    #[test]
    fn a_get_is_no_command_to_be_kept() {
        let request = |method: &str, request_id: &str| pb::ExecuteCommandRequest {
            method: method.to_owned(),
            uri: "/teams".to_owned(),
            options: Some(pb::CommandOptions { request_id: request_id.to_owned(), ..Default::default() }),
            ..pb::ExecuteCommandRequest::default()
        };
        let read = execute(request("GET", ""), String::new()).unwrap();
        assert!(matches!(read, Executed::Reads { raw, .. } if raw.to == DESK_POSTMASTER));
        assert_eq!(fields(execute(request("get", "r"), String::new())), ["options.request_id"]);
        assert!(matches!(execute(request("delete", "r"), String::new()).unwrap(), Executed::Acts(_)));
    }
}
