//! Following the log: which tickets arrive and end, so that their conversations are read at once.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::SignedDuration;

use super::driver::Bot;
use super::plan::{Errand, What};
use crate::domain::{Event, Origin, Payload, Seq, StoredEvent, Ticket};
use crate::store::ReadError;

/// Events that are read at a time.
const PAGE: usize = 512;

impl Bot {
    /// Follows the log until the process stops.
    pub(super) async fn follow(&self) {
        let (soft, mut tail) = (self.parts.shutdown.soft().clone(), self.parts.log.tail());
        let mut at = self.follow_from();
        while !soft.is_cancelled() {
            // Before the log is read, so that nothing appended meanwhile is slept over.
            tail.borrow_and_update();
            match self.parts.log.read(at, PAGE).await {
                Ok(events) if events.is_empty() => {
                    tokio::select! {
                        changed = tail.changed() => if changed.is_err() { return },
                        () = soft.cancelled() => return,
                    }
                }
                Ok(events) => {
                    for event in &events {
                        self.heard(event);
                    }
                    at = events.last().map_or(at, |last| last.seq);
                    *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = Some(at.0);
                    self.wake.notify_one();
                }
                Err(ReadError::Trimmed { earliest }) => at = earliest.max(Seq(at.0.saturating_add(1))),
                Err(error) => self.cannot_read(&error).await,
            }
        }
    }

    fn heard(&self, stored: &StoredEvent) {
        let StoredEvent { seq, event, raw: _ } = stored;
        if event.bot != self.name {
            return;
        }
        if event.origin == Origin::Webhook {
            self.watchdog().heard(event.receive_time);
        }
        self.follow_ticket(*seq, event);
        if !event.ticket_id.is_empty() {
            let at = event.event_time.unwrap_or(event.receive_time);
            self.planner().log_has_from(&event.ticket_id, at);
        }
    }

    fn follow_ticket(&self, seq: Seq, event: &Event) {
        let (ticket, what) = match &event.payload {
            Payload::TicketCreated(ticket) | Payload::TicketAssigned(ticket) => (ticket, Some(What::Arrived)),
            Payload::TicketClosed(ticket) | Payload::TicketTransferred(ticket) => (ticket, Some(What::Ended)),
            Payload::TicketUpdated { ticket, changed_fields: _ } => (ticket, None),
            Payload::CustomerMessage { .. }
            | Payload::AgentMessage { .. }
            | Payload::MessageStatusChanged { .. }
            | Payload::MessageDeleted { .. }
            | Payload::CustomerTyping { .. }
            | Payload::TicketContext(_)
            | Payload::CommandSettled { .. }
            | Payload::GatewayAlert { .. }
            | Payload::Unknown { .. } => return,
        };
        let lives = !ticket.status.is_terminal();
        // An older event must not bring back what ended since.
        if !lives || what == Some(What::Arrived) {
            self.planner().log_has(&event.ticket_id, lives, ticket.create_time);
        }
        if let Some(what) = what.filter(|_| self.rules.automatic && !is_ours(event)) {
            self.run_errand(seq, event, ticket, what);
        }
    }

    fn run_errand(&self, seq: Seq, event: &Event, ticket: &Ticket, what: What) {
        let now = self.now();
        let old = now.date.duration_since(event.receive_time) > self.rules.window;
        let arrived = matches!(event.payload, Payload::TicketCreated(_));
        if old || (arrived && self.rules.earlier == SignedDuration::ZERO) {
            return;
        }
        // What the customer said before the ticket was not to come by webhook; the rest may still be on its way.
        let wait =
            if arrived { Duration::ZERO } else { Duration::try_from(self.rules.grace).unwrap_or_default() };
        let errand = Errand {
            ticket_id: event.ticket_id.clone(),
            from: now.at.checked_add(wait).unwrap_or(now.at),
            created: ticket.create_time,
            what,
            position: Some(seq.0),
            tries: 0,
        };
        self.planner().run_errand(errand);
    }
}

/// Whether reading back found it: then its conversation was read with it.
fn is_ours(event: &Event) -> bool {
    event.origin == Origin::Reconciliation && event.blip_id.starts_with("Ticket:")
}
