//! Transfers. The ticket that a customer leaves and the one that goes on are two, and Blip tells of each by itself,
//! in either order: the new one names the old one by its number alone, the old one does not name the new one. Here
//! is decided what a store has to look up to join them, and what the other ticket is then told.

use super::event::{Fact, NewEvent};
use super::ticket::{Ticket, TicketState, TicketStatus};

/// The ticket that goes on after a transfer, and where the customer was moved to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Successor {
    /// Its id.
    pub ticket_id: String,
    /// The queue; empty when not told.
    pub team: String,
    /// The agent; empty when the customer was moved to a queue.
    pub agent_identity: String,
}

/// The numbers by which a document's ticket is joined to others of its bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kin {
    /// The `sequential_id` of the ticket it was transferred from.
    pub parent: Option<i64>,
    /// The `parent_sequential_id` of the ticket that goes on.
    pub child: Option<i64>,
}

impl Kin {
    /// What to look for before `new` is placed, given what is `known` of its ticket: of each kind the newest other
    /// ticket. `None` for everything but a document of a ticket that was transferred, or came from a transfer, and
    /// is not joined yet.
    pub fn of(new: &NewEvent, known: &TicketState) -> Option<Self> {
        let document = document_of(new)?;
        let known = known.ticket.as_ref();
        let has_parent =
            [Some(document), known].into_iter().flatten().any(|it| !it.parent_ticket_id.is_empty());
        let goes_on = [Some(document), known].into_iter().flatten().any(|it| it.successor.is_some());
        let number = document.sequential_id.or_else(|| known?.sequential_id);
        let parent = document.parent_sequential_id.filter(|_| !has_parent);
        let child = number.filter(|_| document.status == TicketStatus::Transferred && !goes_on);
        (parent.is_some() || child.is_some()).then_some(Self { parent, child })
    }

    /// Whether [`Kin::of`] may ask for anything at all, told by the event alone.
    pub fn concerns(new: &NewEvent) -> bool {
        document_of(new).is_some()
    }
}

fn document_of(new: &NewEvent) -> Option<&Ticket> {
    match &new.fact {
        Fact::Ticket(document) => {
            let moved =
                document.status == TicketStatus::Transferred || document.parent_sequential_id.is_some();
            moved.then_some(document)
        }
        Fact::Tags(_) | Fact::Told(_) => None,
    }
}

/// Joins `new` to the tickets that were found, and answers what they are told in turn, to be appended after it: a
/// transferred one where it goes on, a new one where it came from. Each pair is told once, whoever came first.
pub fn join(
    new: &mut NewEvent,
    known: &TicketState,
    parent: Option<&Ticket>,
    child: Option<&Ticket>,
) -> Vec<NewEvent> {
    let mut told = Vec::new();
    let (template, known) = (new.clone(), known.ticket.as_ref());
    let (Fact::Ticket(document), Some(id)) = (&mut new.fact, &new.ticket_id) else { return told };
    let mut tell = |to: &Ticket, news: Ticket| {
        let news =
            Ticket { id: to.id.clone(), status: to.status, blip_status: to.blip_status.clone(), ..news };
        told.push(NewEvent {
            ticket_id: Some(to.id.clone()),
            dedup: None,
            fact: Fact::Ticket(news),
            ..template.clone()
        });
    };
    if let Some(parent) = parent {
        document.parent_ticket_id.clone_from(&parent.id);
        if parent.status == TicketStatus::Transferred && parent.successor.is_none() {
            let successor = Some(successor(document, known));
            tell(parent, Ticket { successor, ..Ticket::default() });
        }
    }
    // A number may have been counted twice, by a bot that was made anew: then the other parent's child is not ours.
    if let Some(child) = child.filter(|it| it.parent_ticket_id.is_empty() || it.parent_ticket_id == *id) {
        document.successor = Some(successor(child, None));
        if child.parent_ticket_id.is_empty() {
            tell(child, Ticket { parent_ticket_id: id.clone(), ..Ticket::default() });
        }
    }
    told
}

/// Where a customer was moved to, told by the ticket that goes on. Once somebody attends, its agent may be another
/// than the one it was moved to.
fn successor(document: &Ticket, known: Option<&Ticket>) -> Successor {
    let team = if document.team.is_empty() { known.map(|known| &known.team) } else { Some(&document.team) };
    let waits = document.status == TicketStatus::Waiting;
    Successor {
        ticket_id: document.id.clone(),
        team: team.cloned().unwrap_or_default(),
        agent_identity: if waits { document.agent_identity.clone() } else { String::new() },
    }
}
