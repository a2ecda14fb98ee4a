//! Looking at Blip for what became of an action that was perhaps done. It changes nothing there.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::domain::translate::{self, ITEMS_MAX, Listed, Step};
use crate::domain::{Action, Ticket, TicketStatus};
use crate::lime::{Command, ReplyStatus};

use super::carry::{Carrier, since};

/// How often something is looked for, one time after the other.
pub(super) const LOOKS_MAX: u32 = 3;
/// How long one look may take: some of the time is for what it shows.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// What looking showed of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// It took effect.
    Effect,
    /// The ticket is closed, and not by this action.
    Closed,
    /// Blip answered, and shows nothing of it; or nothing can show it.
    Nothing,
    /// Blip could not be asked; why.
    Unasked(String),
}

impl Carrier<'_> {
    /// What Blip shows of the step, or of the whole action where none is named; asked so many times at most.
    pub(super) async fn seen(&mut self, step: Option<&Step>, looks_max: u32) -> Seen {
        let Some(command) = translate::read_back(self.id, self.ticket_id, self.action) else {
            return Seen::Nothing;
        };
        let mut seen = Seen::Unasked("there was no time left".to_owned());
        for look in 0..looks_max {
            if look > 0 {
                if self.left() <= LOOK_PAUSE {
                    break;
                }
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            let shown = match self.ask(&command).await {
                Ok(Some(resource)) => self.shown(step, &resource).await,
                Ok(None) => Seen::Nothing,
                Err(why) => Seen::Unasked(why),
            };
            match shown {
                Seen::Effect | Seen::Closed => return shown,
                Seen::Nothing => seen = Seen::Nothing,
                // An answer, if there was one, says more.
                Seen::Unasked(_) if seen == Seen::Nothing => {}
                Seen::Unasked(_) => seen = shown,
            }
        }
        seen
    }

    /// The answer to a look; nothing where Blip refuses it for good. `Err` says why Blip could not be asked.
    async fn ask(&self, command: &Command) -> Result<Option<Value>, String> {
        let deadline = self.deadline.min(Instant::now() + LOOK_TIMEOUT);
        let reply = self.api.command(command, deadline).await.map_err(|error| error.to_string())?;
        match reply.status {
            ReplyStatus::Success(resource) => Ok(Some(resource)),
            ReplyStatus::Failure(reason) => {
                let fault = translate::refusal("a look", &command.uri.0, &reason);
                if fault.frees_request_id { Err(fault.message) } else { Ok(None) }
            }
            ReplyStatus::Pending => Err("Blip answered pending".to_owned()),
        }
    }

    /// What the answer to a look shows.
    async fn shown(&mut self, step: Option<&Step>, resource: &Value) -> Seen {
        match self.action {
            Action::Send(_) => found(translate::has_message(resource, self.id)),
            Action::Create(_) => {
                let tickets = translate::tickets_in(resource);
                let candidates = translate::created_among(tickets, since(self.record), self.action);
                match self.desk.opened_by(self.record, candidates).await {
                    Ok(made) => self.made = made,
                    Err(error) => return Seen::Unasked(error.to_string()),
                }
                found(self.made.is_some())
            }
            Action::Assign { .. }
            | Action::Close { .. }
            | Action::Finish { .. }
            | Action::Transfer { .. }
            | Action::SetTags { .. }
            | Action::Execute(_) => match translate::ticket_in_reply(resource) {
                Some(ticket) => self.shown_by(step, ticket).await,
                None => Seen::Nothing,
            },
        }
    }

    /// What the action's ticket shows.
    async fn shown_by(&mut self, step: Option<&Step>, ticket: Ticket) -> Seen {
        self.learn(&ticket);
        if let Action::Transfer { .. } = self.action {
            if ticket.status == TicketStatus::Transferred {
                return self.went_on(&ticket).await;
            }
            return if ticket.status.is_terminal() { Seen::Closed } else { Seen::Nothing };
        }
        let labels = step.is_some_and(Step::is_labels);
        let done = if labels {
            translate::has_labels(self.action, &ticket)
        } else {
            translate::ticket_confirms(self.action, &ticket, self.known)
        };
        let closing = matches!(self.action, Action::Close { .. });
        // Whatever becomes of the close, these are set, and whoever sent them may not have lived to hear it. One that sets none
        // has no part in those that are there.
        let sets_labels = matches!(self.action, Action::Close { tags, .. } if !tags.is_empty());
        if sets_labels && !ticket.status.is_terminal() && translate::has_labels(self.action, &ticket) {
            self.labels = Some(ticket.tags.clone());
        }
        // Its labels are set before it is closed, so this is not of our doing.
        if closing && ticket.status.is_terminal() && (labels || !done) { Seen::Closed } else { found(done) }
    }

    /// Whether the ticket that goes on after `old` is where this transfer was to lead.
    async fn went_on(&mut self, old: &Ticket) -> Seen {
        let customer = &old.customer_identity;
        for listed in [Listed::living_of(customer), Listed::closed_of(customer)] {
            let id = format!("{}-look", self.id);
            let tickets = match self.ask(&translate::list_tickets(&id, &listed, (0, ITEMS_MAX))).await {
                Ok(Some(resource)) => translate::tickets_in(&resource),
                Ok(None) => Vec::new(),
                Err(why) => return Seen::Unasked(why),
            };
            self.made = translate::successor_among(tickets, old, self.action);
            if self.made.is_some() {
                return Seen::Effect;
            }
        }
        Seen::Nothing
    }
}

fn found(it: bool) -> Seen {
    if it { Seen::Effect } else { Seen::Nothing }
}
