//! The events that commands write: what they did, what Blip showed on the way, and how those ended that nobody waited
//! for.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::domain::{
    Action, Fact, NewEvent, Origin, OutboundMessage, Outcome, Payload, SettledAs, Successor, Ticket,
    TicketState, TicketStatus,
};
use crate::store::{CommandRecord, End};

/// A command that was done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deed<'a> {
    pub(super) id: Uuid,
    pub(super) bot: &'a str,
    pub(super) ticket_id: &'a str,
    pub(super) action: &'a Action,
    /// What the log knew of the ticket.
    pub(super) state: &'a TicketState,
    /// The ticket that it opened, as Blip showed it.
    pub(super) made: Option<&'a Ticket>,
    /// It was found out by a later look.
    pub(super) late: bool,
}

/// The events that tell the log's readers what a command did.
pub(super) fn echo(deed: Deed<'_>) -> Vec<NewEvent> {
    let Deed { id, bot, ticket_id, action, state, made, late } = deed;
    let document = |status: TicketStatus| Ticket {
        id: ticket_id.to_owned(),
        status,
        blip_status: status.as_blip().to_owned(),
        ..Ticket::default()
    };
    let told = |ticket_id: &str, fact: Fact| NewEvent {
        ticket_id: Some(ticket_id.to_owned()),
        origin: Origin::Command,
        ..event_of(id, bot, fact)
    };
    match action {
        Action::Assign { agent_identity } => {
            let ticket = Ticket { agent_identity: agent_identity.clone(), ..document(TicketStatus::Open) };
            vec![told(ticket_id, Fact::Ticket(ticket))]
        }
        Action::Close { by, tags, closed_by, without_redirect: _ } => {
            let ticket = Ticket { tags: tags.clone(), closed_by: closed_by.clone(), ..document(by.status()) };
            vec![told(ticket_id, Fact::Ticket(ticket))]
        }
        Action::Finish { closed_by, tags } => {
            let known = state.ticket.as_ref().map(|known| known.status);
            let status = known.filter(|status| status.is_terminal()).unwrap_or(TicketStatus::ClosedClient);
            let ticket = Ticket { tags: tags.clone(), closed_by: closed_by.clone(), ..document(status) };
            vec![told(ticket_id, Fact::Ticket(ticket))]
        }
        Action::SetTags { tags } => vec![told(ticket_id, Fact::Tags(tags.clone()))],
        Action::Send(message) => {
            // What came after it may be in the log already.
            let said = told(ticket_id, Fact::Told(said(id, message, state)));
            vec![NewEvent { order_uncertain: late, ..said }]
        }
        Action::Transfer { team, agent_identity } => {
            let successor = made.map(|new| Successor {
                ticket_id: new.id.clone(),
                team: if new.team.is_empty() { team.clone() } else { new.team.clone() },
                agent_identity: agent_identity.clone(),
            });
            let old = Ticket { successor, ..document(TicketStatus::Transferred) };
            let new = made.map(|new| {
                let new = Ticket { parent_ticket_id: ticket_id.to_owned(), ..new.clone() };
                told(&new.id.clone(), Fact::Ticket(new))
            });
            [told(ticket_id, Fact::Ticket(old))].into_iter().chain(new).collect()
        }
        Action::Create(_) => made.map(|new| told(&new.id, Fact::Ticket(new.clone()))).into_iter().collect(),
        Action::Execute(_) => Vec::new(),
    }
}

/// The event of the labels that a ticket has since a close set some, before it failed or nobody heard of its end; none
/// where the log knows them.
pub(super) fn labelled(deed: Deed<'_>, labels: Vec<String>) -> Option<NewEvent> {
    let Deed { id, bot, ticket_id, action: _, state, made: _, late: _ } = deed;
    let known = state.ticket.as_ref().map(|known| known.tags.as_slice()).unwrap_or_default();
    (known != labels).then(|| NewEvent {
        ticket_id: Some(ticket_id.to_owned()),
        origin: Origin::Command,
        ..event_of(id, bot, Fact::Tags(labels))
    })
}

fn said(id: Uuid, message: &OutboundMessage, state: &TicketState) -> Payload {
    let OutboundMessage { content, agent_identity, document: _, metadata: _ } = message;
    let attending = || state.ticket.as_ref().map(|ticket| ticket.agent_identity.clone()).unwrap_or_default();
    Payload::AgentMessage {
        message_id: id.to_string(),
        content: content.clone(),
        agent_identity: if agent_identity.is_empty() { attending() } else { agent_identity.clone() },
        command_id: id.to_string(),
    }
}

/// The event that tells the log's readers of a ticket which Blip showed while a command asked for it.
pub(super) fn read_back(id: Uuid, bot: &str, ticket: Ticket) -> NewEvent {
    NewEvent {
        ticket_id: Some(ticket.id.clone()),
        event_time: ticket.status_time.or(ticket.close_time),
        ..event_of(id, bot, Fact::Ticket(ticket))
    }
}

/// The event that tells how a command ended that no caller waited for. It follows what the command did, in the ticket
/// it was about, or that it opened.
pub(super) fn settled(record: &CommandRecord, end: &End, made: Option<&Ticket>) -> NewEvent {
    let command = &record.command;
    let (settled_as, reason) = match &end.outcome {
        Outcome::Done | Outcome::AlreadyClosed => (SettledAs::Succeeded, String::new()),
        Outcome::Failed(fault) => (SettledAs::Failed, fault.reason.clone()),
        Outcome::Unknown(fault) => (SettledAs::Unknown, fault.reason.clone()),
    };
    let payload = Payload::CommandSettled {
        command_id: command.id.to_string(),
        method: command.method.clone(),
        end: settled_as,
        error_reason: reason,
        request_id: command.request_id.clone(),
    };
    let about = Some(&command.ticket_id).filter(|id| !id.is_empty()).or(made.map(|made| &made.id));
    NewEvent {
        ticket_id: about.cloned(),
        origin: Origin::Gateway,
        blip_id: String::new(),
        ..event_of(command.id, &command.bot, Fact::Told(payload))
    }
}

fn event_of(id: Uuid, bot: &str, fact: Fact) -> NewEvent {
    NewEvent {
        bot: Arc::from(bot),
        ticket_id: None,
        dedup: None,
        origin: Origin::Reconciliation,
        event_time: None,
        blip_id: id.to_string(),
        traceparent: String::new(),
        resolved_customer_identity: String::new(),
        order_uncertain: false,
        fact,
        raw: Bytes::new(),
    }
}
