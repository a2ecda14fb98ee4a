//! Facts that come late: they could not be read when they came, and the ticket went on without them.

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use super::event::{Event, Fact, NewEvent, place, updated};
use super::ticket::TicketState;

/// How an event finds its place: [`place`] or [`place_late`].
pub type Place = fn(NewEvent, &mut TicketState, Uuid, Timestamp) -> (Event, Bytes);

/// Like [`place`], for a fact that waited until it could be read: what came after it may be in the log already, and is
/// not undone.
pub fn place_late(
    mut new: NewEvent,
    state: &mut TicketState,
    id: Uuid,
    receive_time: Timestamp,
) -> (Event, Bytes) {
    if let Fact::Ticket(document) = &new.fact
        && let Some(filled) = state.fill_late(document)
    {
        let after = state.told(document);
        new.fact = Fact::Told(updated(after, filled));
    }
    let (mut event, raw) = place(new, state, id, receive_time);
    event.flags.order_uncertain = true;
    (event, raw)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::event::Origin;
    use crate::domain::ticket::{Ticket, TicketStatus};

    fn document(status: TicketStatus, agent: &str, status_time: &str) -> NewEvent {
        let ticket = Ticket {
            id: "t".to_owned(),
            status,
            agent_identity: agent.to_owned(),
            team: agent.to_owned(),
            status_time: status_time.parse().ok(),
            ..Ticket::default()
        };
        NewEvent {
            bot: Arc::from("suporte"),
            ticket_id: Some("t".to_owned()),
            dedup: None,
            origin: Origin::Webhook,
            event_time: None,
            blip_id: "1".to_owned(),
            traceparent: String::new(),
            resolved_customer_identity: String::new(),
            order_uncertain: false,
            fact: Fact::Ticket(ticket),
            raw: Bytes::new(),
        }
    }

    #[test]
    fn a_late_document_undoes_nothing() {
        use TicketStatus::{ClosedClient, Open, Waiting};
        let noon = "2024-05-02T12:00:00Z";
        for (late, expected) in [
            (document(Open, "ana", ""), ("ticket.updated", "bia")),
            (document(Open, "ana", "2024-05-02T11:59:00Z"), ("ticket.updated", "bia")),
            (document(Open, "ana", noon), ("ticket.updated", "bia")),
            (document(Open, "ana", "2024-05-02T12:01:00Z"), ("ticket.assigned", "ana")),
            (document(ClosedClient, "bia", ""), ("ticket.closed", "bia")),
            (document(Waiting, "", ""), ("ticket.updated", "bia")),
        ] {
            let mut state = TicketState::default();
            let told = format!("{late:?}");
            let place = |new, state: &mut _| place(new, state, Uuid::nil(), Timestamp::UNIX_EPOCH).0;
            let place_late =
                |new, state: &mut _| place_late(new, state, Uuid::nil(), Timestamp::UNIX_EPOCH).0;
            place(document(Open, "bia", noon), &mut state);
            let event = place_late(late, &mut state);
            assert_eq!((event.payload.type_name(), &*event.agent_identity), expected, "{told}");
            assert!(event.flags.order_uncertain && event.ticket_sequence == 2, "{event:?}");
        }
        let mut state = TicketState::default();
        let first = place_late(document(Open, "ana", ""), &mut state, Uuid::nil(), Timestamp::UNIX_EPOCH).0;
        assert_eq!(first.payload.type_name(), "ticket.created", "nothing went on without it");
    }
}
