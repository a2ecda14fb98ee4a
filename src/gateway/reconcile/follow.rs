//! Following the log: which tickets arrive and end, so that their conversations are read at once.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;

use super::driver::Bot;
use super::plan::{Errand, What};
use crate::domain::{Event, Origin, Payload, Seq, StoredEvent, Ticket};
use crate::store::ReadError;

/// Events that are read at a time.
const PAGE: usize = 512;
/// How often it is seen whether there is room again for what is to be read.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

impl Bot {
    /// Follows the log until the process stops. What it tells is heard at once; what is to be read because of it
    /// may have to wait for room, and is taken from the log then.
    pub(super) async fn follow(&self) {
        let (soft, mut tail) = (self.parts.shutdown.soft().clone(), self.parts.log.tail());
        let mut heard = self.follow_from();
        let mut done = heard;
        while !soft.is_cancelled() {
            let late = done < heard;
            let from = if late && self.planner().has_room() { done } else { heard };
            // Before the log is read, so that nothing appended meanwhile is slept over.
            tail.borrow_and_update();
            match self.parts.log.read(from, PAGE).await {
                Ok(events) if events.is_empty() => {
                    tokio::select! {
                        changed = tail.changed() => if changed.is_err() { return },
                        () = tokio::time::sleep(ROOM_PAUSE), if late => {}
                        () = soft.cancelled() => return,
                    }
                }
                Ok(events) => {
                    (heard, done) = self.take_in_page(&events, from, (heard, done));
                    *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = Some(done.0);
                    self.wake.notify_one();
                }
                Err(ReadError::Trimmed { earliest }) => {
                    let next = earliest.max(Seq(from.0.saturating_add(1)));
                    (heard, done) = (heard.max(next), if done == from { next } else { done });
                }
                Err(error) => self.cannot_read(&error).await,
            }
        }
    }

    /// Takes in a page read from `from`: up to where the log was heard after it, and up to where its errands are taken.
    fn take_in_page(&self, events: &[Arc<StoredEvent>], from: Seq, (heard, done): (Seq, Seq)) -> (Seq, Seq) {
        let (mut heard, mut done, mut room) = (heard, done, done == from);
        for event in events {
            if event.seq > heard {
                self.heard(event);
                heard = event.seq;
            }
            room = room && self.errand_of(event);
            if room {
                done = event.seq;
            }
        }
        (heard, done)
    }

    fn heard(&self, stored: &StoredEvent) {
        let event = &stored.event;
        if event.bot != self.name {
            return;
        }
        if event.origin == Origin::Webhook {
            self.watchdog().heard(event.receive_time);
        }
        if let Some((ticket, what)) = ticket_of(event) {
            self.customers().add(&ticket.customer_identity, &event.ticket_id);
            let lives = !ticket.status.is_terminal();
            // An older event must not bring back what ended since.
            if !lives || what == Some(What::Arrived) {
                self.planner().log_has(&event.ticket_id, lives, ticket.create_time);
            }
        }
        if !event.ticket_id.is_empty() {
            let at = event.event_time.unwrap_or(event.receive_time);
            let mut planner = self.planner();
            planner.log_has_from(&event.ticket_id, at);
            if matches!(event.payload, Payload::TicketContext(_) | Payload::MessageDeleted { .. }) {
                planner.log_has_aside(&event.ticket_id, at);
            }
        }
    }

    /// What is to be read because of an event; whether there was room for it.
    fn errand_of(&self, stored: &StoredEvent) -> bool {
        let StoredEvent { seq, event, raw: _ } = stored;
        // What the process before found is read once more: it may have ended before it had noted what was left to read.
        let is_read = is_ours(event) && seq.0 > self.began_at.load(Ordering::Relaxed);
        if event.bot != self.name || !self.rules.automatic || is_read {
            return true;
        }
        let Some((ticket, Some(what))) = ticket_of(event) else { return true };
        let now = self.now();
        let old = now.date.duration_since(event.receive_time) > self.rules.window;
        let arrived = matches!(event.payload, Payload::TicketCreated(_));
        if old || (arrived && self.rules.earlier == SignedDuration::ZERO) {
            return true;
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
        let mut planner = self.planner();
        let room = planner.has_room();
        if room {
            planner.run_errand(errand);
        }
        room
    }
}

/// The ticket that an event tells of, and what it has to be read for.
fn ticket_of(event: &Event) -> Option<(&Ticket, Option<What>)> {
    match &event.payload {
        Payload::TicketCreated(ticket) | Payload::TicketAssigned(ticket) => {
            Some((ticket, Some(What::Arrived)))
        }
        Payload::TicketClosed(ticket) | Payload::TicketTransferred(ticket) => {
            Some((ticket, Some(What::Ended)))
        }
        Payload::TicketUpdated { ticket, changed_fields: _ } => Some((ticket, None)),
        Payload::CustomerMessage { .. }
        | Payload::AgentMessage { .. }
        | Payload::MessageStatusChanged { .. }
        | Payload::MessageDeleted { .. }
        | Payload::CustomerTyping { .. }
        | Payload::TicketContext(_)
        | Payload::CommandSettled { .. }
        | Payload::GatewayAlert { .. }
        | Payload::Unknown { .. } => None,
    }
}

/// Whether reading back found it: then its conversation was read with it.
fn is_ours(event: &Event) -> bool {
    event.origin == Origin::Reconciliation && event.blip_id.starts_with("Ticket:")
}
