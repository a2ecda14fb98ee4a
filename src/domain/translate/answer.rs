//! What a reply to an action's step says became of it.

use serde_json::Value;

use super::inbound::ticket_of;
use super::outbound::CHANGE_TAGS;
use crate::domain::action::{Action, Fault};
use crate::domain::ticket::{Ticket, canonical_ticket_id};
use crate::lime::{Reason, Reply, ReplyStatus};

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
            let fault = refusal(action.method(), uri, reason);
            match (reason.code, action) {
                (Some(64), _) if closing => Judgement::AlreadyClosed(fault),
                (Some(code @ (16 | 86)), _) => {
                    Judgement::InDoubt(format!("{} (code {code})", reason.description))
                }
                // These are about no ticket that is there.
                (_, Action::Create(_) | Action::Execute(_)) => Judgement::Refused(elsewhere(fault)),
                (Some(61 | 64 | 66 | 67), _) => Judgement::PerhapsClosed(fault),
                _ => Judgement::Refused(fault),
            }
        }
    }
}

/// The fault of something that Blip did not find, where it is not the ticket.
pub fn elsewhere(fault: Fault) -> Fault {
    if fault.reason == "TICKET_NOT_FOUND" {
        Fault { reason: "BLIP_NOT_FOUND".to_owned(), ..fault }
    } else {
        fault
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

/// The ticket that a reply brought, if it brought one.
pub fn ticket_in_reply(resource: &Value) -> Option<Ticket> {
    let ticket = ticket_of(resource.as_object()?);
    let id = canonical_ticket_id(&ticket.id);
    (!id.is_empty()).then_some(Ticket { id, ..ticket })
}

#[cfg(test)]
mod tests {
    use super::super::outbound::{Step, steps_of};
    use super::*;
    use crate::domain::action::CloseBy;

    fn refused(code: i64) -> Reply {
        let reason = Reason { code: Some(code), description: String::new() };
        Reply { id: None, media_type: String::new(), status: ReplyStatus::Failure(reason) }
    }

    #[test]
    fn only_the_change_of_status_tells_that_a_ticket_is_closed() {
        let close = Action::Close {
            by: CloseBy::Agent,
            tags: vec!["a".to_owned()],
            closed_by: String::new(),
            without_redirect: false,
        };
        let judgements: Vec<_> = steps_of("1", "t", &close)
            .iter()
            .map(|step| match step {
                Step::Command { command, .. } => outcome_of(&close, &command.uri.0, &refused(64)),
                Step::Message(_) => panic!("a close sends commands"),
            })
            .collect();
        assert!(
            matches!(judgements.as_slice(), [Judgement::PerhapsClosed(_), Judgement::AlreadyClosed(_)]),
            "{judgements:?}"
        );
    }

    #[test]
    fn what_is_not_found_of_a_new_ticket_is_no_ticket() {
        let create = Action::Create(Box::default());
        let judgement = outcome_of(&create, "/tickets", &refused(67));
        assert!(matches!(judgement, Judgement::Refused(fault) if fault.reason == "BLIP_NOT_FOUND"));
    }
}
