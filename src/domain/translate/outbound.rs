//! What is asked of Desk, as LIME; and what a reply, or a look back, says became of it.

use serde_json::{Value, json};

use super::inbound::ticket_of;
use super::{DESK, DESK_POSTMASTER};
use crate::domain::action::{Action, Fault, OutboundMessage};
use crate::domain::ticket::{Ticket, TicketStatus};
use crate::lime::command::message_json;
use crate::lime::document::{self, Members};
use crate::lime::node::encode_component;
use crate::lime::{Command, LimeUri, Method, Reason, Reply, ReplyStatus, canonical_id};

/// One thing to send; an action is one or more, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A command; `sets_state` where sending it twice is sending it once.
    Command {
        /// What to send.
        command: Command,
        /// Safe to repeat.
        sets_state: bool,
    },
    /// A message, as JSON; never repeated once perhaps sent.
    Message(Vec<u8>),
}

/// How the URI that labels a ticket ends.
const CHANGE_TAGS: &str = "/change-tags";

/// What to send for `action`, under ids derived from `id`: every attempt carries the same.
pub fn steps_of(id: &str, ticket_id: &str, action: &Action) -> Vec<Step> {
    let set = |id: String, uri: String, resource: Value| Step::Command {
        command: Command {
            id,
            to: DESK_POSTMASTER.to_owned(),
            method: Method::Set,
            uri: LimeUri(uri),
            resource: Some((document::TICKET.to_owned(), resource)),
        },
        sets_state: true,
    };
    match action {
        Action::Assign { agent_identity } => {
            let resource = json!({"id": ticket_id, "status": "Open", "agentIdentity": agent_identity});
            vec![set(id.to_owned(), "/tickets/change-status".to_owned(), resource)]
        }
        Action::Send(message) => {
            let OutboundMessage { content, document, metadata, agent_identity: _ } = message.as_ref();
            let to = format!("{ticket_id}@{DESK}/Webhook");
            vec![Step::Message(message_json(id, &to, &content.media_type, document, metadata))]
        }
        Action::Close { by, tags, closed_by, without_redirect } => {
            let mut steps = Vec::new();
            if !tags.is_empty() {
                let uri = format!("/tickets/{}{CHANGE_TAGS}", encode_component(ticket_id));
                steps.push(set(format!("{id}-tags"), uri, json!({"id": ticket_id, "tags": tags})));
            }
            let mut resource = json!({"id": ticket_id, "status": by.status().as_blip()});
            if !closed_by.is_empty()
                && let Some(object) = resource.as_object_mut()
            {
                object.insert("closedBy".to_owned(), closed_by.as_str().into());
            }
            let uri = if *without_redirect {
                "/tickets/change-status-without-redirect"
            } else {
                "/tickets/change-status"
            };
            steps.push(set(id.to_owned(), uri.to_owned(), resource));
            steps
        }
    }
}

impl Step {
    /// Where it goes.
    pub fn uri(&self) -> &str {
        match self {
            Self::Command { command, .. } => &command.uri.0,
            Self::Message(_) => "/messages",
        }
    }

    /// Whether it only labels the ticket.
    pub fn is_labels(&self) -> bool {
        self.uri().ends_with(CHANGE_TAGS)
    }
}

/// What a reply says of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// The step is done: go on.
    Done,
    /// The action ends here.
    Refused(Fault),
    /// Blip took it, and says why it cannot tell how it ended: look.
    InDoubt(String),
    /// Refused as an invalid argument, which a closed ticket may be: look at the ticket, then decide.
    PerhapsClosed(Fault),
    /// A close was refused as Blip refuses it for a closed ticket: closed, unless the ticket shows otherwise.
    AlreadyClosed(Fault),
}

/// Reads a reply to a step of `action`. A close that finds the ticket closed has what it wanted; of its steps only
/// the change of status is answered 64 for that alone.
pub fn outcome_of(action: &Action, uri: &str, reply: &Reply) -> Judgement {
    match &reply.status {
        ReplyStatus::Success(_) => Judgement::Done,
        ReplyStatus::Pending => Judgement::InDoubt("Blip answered pending".to_owned()),
        ReplyStatus::Failure(reason) => {
            let closing = matches!(action, Action::Close { .. }) && !uri.ends_with(CHANGE_TAGS);
            match reason.code {
                Some(64) if closing => Judgement::AlreadyClosed(refusal(action.method(), uri, reason)),
                Some(code @ (16 | 86)) => Judgement::InDoubt(format!("{} (code {code})", reason.description)),
                Some(61 | 64 | 66 | 67) => Judgement::PerhapsClosed(refusal(action.method(), uri, reason)),
                _ => Judgement::Refused(refusal(action.method(), uri, reason)),
            }
        }
    }
}

/// The fault a LIME reason stands for.
pub fn refusal(method: &str, uri: &str, reason: &Reason) -> Fault {
    let code = reason.code.unwrap_or_default();
    let (name, passing) = match code {
        13 | 31 | 32 | 35 => ("BLIP_CREDENTIAL_REJECTED", true),
        34 | 85 => ("BLIP_QUOTA_EXCEEDED", true),
        // What timed out (16, 86) is in doubt where it may have had an effect; a read has none.
        11 | 12 | 14 | 16 | 41 | 51 | 81 | 86 => ("BLIP_UNAVAILABLE", true),
        33 | 42..=44 | 67 | 83 => ("TICKET_NOT_FOUND", false),
        _ => ("BLIP_REJECTED", false),
    };
    let said = if reason.description.is_empty() { "no description" } else { &reason.description };
    let code_text = reason.code.map_or_else(|| "without a code".to_owned(), |code| format!("code {code}"));
    let message = format!("Blip refused {method}: {said} ({code_text})");
    let mut fault =
        Fault::new(name, message).with("blip_description", &reason.description).with("blip_uri", uri);
    if let Some(code) = reason.code {
        fault = fault.with("blip_code", &code);
    }
    if passing { fault.passing() } else { fault }
}

/// The command that tells what became of `action`.
pub fn read_back(id: &str, ticket_id: &str, action: &Action) -> Command {
    let id = format!("{id}-look");
    match action {
        Action::Assign { .. } | Action::Close { .. } => get_ticket(&id, ticket_id),
        Action::Send(_) => {
            let ticket = encode_component(ticket_id);
            let query = "$take=100&$ascending=false&getFromOwnerIfTunnel=true";
            get(id, format!("/tickets/{ticket}/messages?{query}"))
        }
    }
}

/// The command that reads one ticket: the singular form, as the plural answers 62 (R§4.1).
pub fn get_ticket(id: &str, ticket_id: &str) -> Command {
    get(id.to_owned(), format!("/ticket/{}", encode_component(ticket_id)))
}

fn get(id: String, uri: String) -> Command {
    Command { id, to: DESK_POSTMASTER.to_owned(), method: Method::Get, uri: LimeUri(uri), resource: None }
}

/// The ticket in a reply to `get /ticket/{id}`, and whether it shows that `action` took effect: a close is what was
/// asked for only as the status asked for.
pub fn ticket_confirms(action: &Action, resource: &Value) -> (Option<Ticket>, bool) {
    let Some(ticket) = resource.as_object().map(ticket_of) else { return (None, false) };
    let confirms = match action {
        Action::Assign { agent_identity } => {
            matches!(ticket.status, TicketStatus::Open | TicketStatus::Assigned)
                && ticket.agent_identity.eq_ignore_ascii_case(agent_identity)
        }
        Action::Close { by, .. } => ticket.status == by.status(),
        Action::Send(_) => false,
    };
    (Some(ticket), confirms)
}

/// Whether a ticket has every label that `action` was to set.
pub fn has_labels(action: &Action, ticket: &Ticket) -> bool {
    match action {
        Action::Close { tags, .. } => tags.iter().all(|tag| ticket.tags.contains(tag)),
        Action::Assign { .. } | Action::Send(_) => false,
    }
}

/// Whether the reply to `get /tickets/{id}/messages` holds a message of this id.
pub fn has_message(resource: &Value, id: &str) -> bool {
    let items =
        resource.as_object().and_then(|object| Members(object).get("items")).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .any(|item| Members(item).text("id").ok().flatten().is_some_and(|found| canonical_id(&found) == id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::action::CloseBy;

    fn close() -> Action {
        Action::Close {
            by: CloseBy::Agent,
            tags: vec!["a".to_owned()],
            closed_by: String::new(),
            without_redirect: false,
        }
    }

    #[test]
    fn only_the_change_of_status_tells_that_a_ticket_is_closed() {
        let refused = Reply {
            id: None,
            status: ReplyStatus::Failure(Reason { code: Some(64), description: String::new() }),
        };
        let judgements: Vec<_> = steps_of("1", "t", &close())
            .iter()
            .map(|step| match step {
                Step::Command { command, .. } => outcome_of(&close(), &command.uri.0, &refused),
                Step::Message(_) => panic!("a close sends commands"),
            })
            .collect();
        assert!(
            matches!(judgements.as_slice(), [Judgement::PerhapsClosed(_), Judgement::AlreadyClosed(_)]),
            "{judgements:?}"
        );
    }

    /// What each reason code says of an action: which are in doubt, which a closed ticket may explain, and which are
    /// sure; the reasons of those are tested with their statuses.
    #[test]
    fn every_code_is_sorted_by_what_it_leaves_open() {
        let assign = Action::Assign { agent_identity: "a".to_owned() };
        let change = "/tickets/change-status";
        for code in (0..=101).map(Some).chain([None]) {
            let reason = Reason { code, description: String::new() };
            let reply = Reply { id: None, status: ReplyStatus::Failure(reason) };
            for (action, uri) in [(&assign, change), (&close(), change), (&close(), "/tickets/t/change-tags")]
            {
                let judged = outcome_of(action, uri, &reply);
                let fits = match code {
                    Some(16 | 86) => matches!(judged, Judgement::InDoubt(_)),
                    Some(64) if *action == close() && uri == change => {
                        matches!(judged, Judgement::AlreadyClosed(_))
                    }
                    Some(61 | 64 | 66 | 67) => matches!(judged, Judgement::PerhapsClosed(_)),
                    _ => matches!(judged, Judgement::Refused(_)),
                };
                assert!(fits, "{code:?} on {uri}: {judged:?}");
            }
        }
    }

    #[test]
    fn a_close_is_confirmed_by_its_own_status_alone() {
        let confirms = |status: &str| ticket_confirms(&close(), &json!({"id": "t", "status": status})).1;
        assert!(confirms("ClosedAttendant"));
        assert!(!confirms("ClosedClient") && !confirms("Transferred") && !confirms("Open"));
    }
}
