//! Carrying an action to Blip: its steps in order, repeated where that is safe, looked for where it is not.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::blip::policy::{Next, next_step};
use crate::blip::{BlipApi, BlipError};
use crate::domain::translate::{self, Judgement, Step};
use crate::domain::{Action, Fault, Outcome, Ticket, TicketStatus};
use crate::lime::ReplyStatus;

use super::unknown;

/// The longest one attempt may wait: Blip itself gives up after 60 s and says so.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(62);
/// How much of the time a call has is kept for looking what became of it.
const LOOK_RESERVE: Duration = Duration::from_secs(5);
/// How often a message is looked for.
const LOOKS_MAX: u32 = 3;
/// The pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// What looking showed of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// It took effect.
    Effect,
    /// It is a close, and the ticket is closed in another way.
    Closed,
    /// Blip answered, and shows nothing of it.
    Nothing,
    /// Blip could not be asked; why.
    Unasked(String),
}

/// An action on its way.
pub(super) struct Carrier<'a> {
    pub(super) api: &'a dyn BlipApi,
    pub(super) id: &'a str,
    pub(super) ticket_id: &'a str,
    pub(super) action: &'a Action,
    pub(super) deadline: Instant,
    pub(super) attempts: u32,
    /// The ticket as Blip showed it on the way, where it is closed: the log may not know that.
    pub(super) learnt: Option<Ticket>,
}

impl Carrier<'_> {
    /// Looks whether the ticket is there, for an action that Blip would take for any address.
    pub(super) async fn vouch(&mut self) -> Result<(), Outcome> {
        let command = translate::get_ticket(&format!("{}-look", self.id), self.ticket_id);
        let deadline = self.deadline.min(Instant::now() + LOOK_RESERVE);
        let Ok(reply) = self.api.command(&command, deadline).await else { return Ok(()) };
        match reply.status {
            ReplyStatus::Success(resource) => {
                let Some(ticket) = resource.as_object().map(translate::ticket_of) else { return Ok(()) };
                self.learn(&ticket);
                let closed = ticket.status.is_terminal();
                if closed { Err(Outcome::Failed(self.closed(&ticket, Vec::new()))) } else { Ok(()) }
            }
            ReplyStatus::Failure(reason) => {
                let fault = translate::refusal(self.action.method(), &command.uri.0, &reason);
                let missing = fault.reason == "TICKET_NOT_FOUND";
                if missing { Err(Outcome::Failed(fault.with("ticket_id", self.ticket_id))) } else { Ok(()) }
            }
            ReplyStatus::Pending => Ok(()),
        }
    }

    /// Sends every step; ends with the action's outcome.
    pub(super) async fn carry(&mut self) -> Outcome {
        for step in translate::steps_of(self.id, self.ticket_id, self.action) {
            if let Err(outcome) = self.step(&step).await {
                return outcome;
            }
        }
        Outcome::Done
    }

    /// One step, to its end; `Err` is the end of the whole action.
    async fn step(&mut self, step: &Step) -> Result<(), Outcome> {
        let mut attempt = 0_u32;
        let mut in_doubt = false;
        loop {
            attempt = attempt.saturating_add(1);
            self.attempts = self.attempts.saturating_add(1);
            let (answer, sets_state) = match step {
                Step::Command { command, sets_state } => {
                    (self.api.command(command, self.attempt_deadline()).await, *sets_state)
                }
                Step::Message(json) => (self.api.message(json.clone(), self.attempt_deadline()).await, false),
            };
            let judged = answer.map(|reply| translate::outcome_of(self.action, step.uri(), &reply));
            let error = match judged {
                Ok(Judgement::Done) => return Ok(()),
                Ok(Judgement::InDoubt(why)) => BlipError::Unknown(why),
                // This attempt was refused; an earlier one may have been what was asked.
                Ok(judgement) if in_doubt => return self.look_despite(step, judgement).await,
                Ok(judgement) => return Err(self.refused(judgement).await),
                Err(error) => error,
            };
            in_doubt |= matches!(error, BlipError::Unknown(_));
            let (id, method, why) = (self.id, self.action.method(), error.brief());
            tracing::warn!(command.id = id, method, attempt, why, "a call to Blip failed");
            tracing::debug!(command.id = id, %error, "what Blip said");
            match next_step(&error, attempt, sets_state, self.left()) {
                Next::Repeat(pause) => tokio::time::sleep(pause).await,
                Next::Look => return self.look(step, &error.to_string()).await,
                Next::GiveUp if in_doubt => return self.look(step, &error.to_string()).await,
                Next::GiveUp => return Err(Outcome::Failed(fault_of(&error, step.uri()))),
            }
        }
    }

    /// Looks what became of a step that was perhaps done: its effect, or an unknown end.
    async fn look(&mut self, step: &Step, why: &str) -> Result<(), Outcome> {
        match self.seen(Some(step)).await {
            Seen::Effect => return Ok(()),
            Seen::Closed => return Err(Outcome::AlreadyClosed),
            Seen::Nothing | Seen::Unasked(_) => {}
        }
        let message = format!(
            "{why}; whether {} took effect could not be confirmed. Look at the ticket before asking again under \
             another request_id",
            self.action.method()
        );
        Err(Outcome::Unknown(unknown(message)))
    }

    /// The same after a refusal, which says nothing of the attempt before it.
    async fn look_despite(&mut self, step: &Step, judgement: Judgement) -> Result<(), Outcome> {
        let fault = match judgement {
            Judgement::Done => return Ok(()),
            Judgement::AlreadyClosed(fault) => {
                return match self.seen(Some(step)).await {
                    Seen::Effect => Ok(()),
                    // The refusal says as much.
                    Seen::Closed | Seen::Unasked(_) => Err(Outcome::AlreadyClosed),
                    Seen::Nothing => Err(Outcome::Unknown(unknown(fault.message))),
                };
            }
            Judgement::Refused(fault) | Judgement::PerhapsClosed(fault) => fault.message,
            Judgement::InDoubt(why) => why,
        };
        let message = format!("an attempt had no answer, and the next one was refused ({fault})");
        self.look(step, &message).await
    }

    /// What Blip shows of the step, or of the whole action where none is named.
    pub(super) async fn seen(&mut self, step: Option<&Step>) -> Seen {
        let command = translate::read_back(self.id, self.ticket_id, self.action);
        let mut seen = Seen::Unasked("there was no time left".to_owned());
        for look in 0..LOOKS_MAX {
            if look > 0 {
                if self.left() <= LOOK_PAUSE {
                    break;
                }
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            let reply = match self.api.command(&command, self.deadline).await {
                Ok(reply) => reply,
                Err(error) => {
                    unasked(&mut seen, error.to_string());
                    continue;
                }
            };
            match reply.status {
                ReplyStatus::Success(resource) => match self.shown(step, &resource) {
                    Seen::Nothing => seen = Seen::Nothing,
                    end @ (Seen::Effect | Seen::Closed | Seen::Unasked(_)) => return end,
                },
                ReplyStatus::Failure(reason) => {
                    let fault = translate::refusal("a look", &command.uri.0, &reason);
                    if fault.frees_request_id {
                        unasked(&mut seen, fault.message);
                    } else {
                        seen = Seen::Nothing;
                    }
                }
                ReplyStatus::Pending => unasked(&mut seen, "Blip answered pending".to_owned()),
            }
        }
        seen
    }

    /// What the answer to a look shows.
    fn shown(&mut self, step: Option<&Step>, resource: &Value) -> Seen {
        if matches!(self.action, Action::Send(_)) {
            let there = translate::has_message(resource, self.id);
            return if there { Seen::Effect } else { Seen::Nothing };
        }
        let (ticket, confirms) = translate::ticket_confirms(self.action, resource);
        let Some(ticket) = ticket else { return Seen::Nothing };
        self.learn(&ticket);
        let labels = step.is_some_and(Step::is_labels);
        let done = if labels { translate::has_labels(self.action, &ticket) } else { confirms };
        match self.action {
            // Its labels are set before it is closed, so this is not of our doing.
            Action::Close { .. } if ticket.status.is_terminal() && (labels || !done) => Seen::Closed,
            Action::Assign { .. } | Action::Send(_) | Action::Close { .. } => {
                if done {
                    Seen::Effect
                } else {
                    Seen::Nothing
                }
            }
        }
    }

    /// Keeps a ticket that Blip shows as closed.
    fn learn(&mut self, ticket: &Ticket) {
        if ticket.status.is_terminal() {
            self.learnt = Some(Ticket { id: self.ticket_id.to_owned(), ..ticket.clone() });
        }
    }

    /// The end of an action whose step was refused, where no attempt before it is in doubt.
    async fn refused(&mut self, judgement: Judgement) -> Outcome {
        match judgement {
            Judgement::Done => Outcome::Done,
            Judgement::InDoubt(why) => Outcome::Unknown(unknown(why)),
            Judgement::Refused(fault) => Outcome::Failed(fault),
            Judgement::PerhapsClosed(fault) => self.perhaps_closed(fault).await,
            Judgement::AlreadyClosed(fault) => match self.ticket().await {
                Some(ticket) if is_alive(&ticket) => Outcome::Failed(fault),
                Some(_) | None => Outcome::AlreadyClosed,
            },
        }
    }

    /// The ticket, read once; `None` if there was no time or no answer.
    async fn ticket(&mut self) -> Option<Ticket> {
        let command = translate::get_ticket(&format!("{}-look", self.id), self.ticket_id);
        let deadline = self.deadline.min(Instant::now() + LOOK_RESERVE);
        let reply = self.api.command(&command, deadline).await.ok()?;
        let ReplyStatus::Success(resource) = reply.status else { return None };
        let ticket = translate::ticket_of(resource.as_object()?);
        self.learn(&ticket);
        Some(ticket)
    }

    /// Blip refused in a way that a closed ticket may explain: only the ticket itself can say so.
    async fn perhaps_closed(&mut self, fault: Fault) -> Outcome {
        let Some(ticket) = self.ticket().await else { return Outcome::Failed(fault) };
        match (ticket.status.is_terminal(), self.action) {
            // The ticket is there, so what Blip did not find is the other thing named.
            (false, Action::Assign { agent_identity }) if fault.reason == "TICKET_NOT_FOUND" => {
                let not_found = Fault { reason: "AGENT_NOT_FOUND".to_owned(), ..fault };
                Outcome::Failed(not_found.with("agent", agent_identity))
            }
            (false, _) => Outcome::Failed(fault),
            (true, Action::Close { .. }) => Outcome::AlreadyClosed,
            (true, Action::Assign { .. } | Action::Send(_)) => {
                Outcome::Failed(self.closed(&ticket, fault.metadata))
            }
        }
    }

    /// The fault of an action on a ticket that Blip shows as closed, with what Blip said before.
    fn closed(&self, ticket: &Ticket, metadata: Vec<(String, String)>) -> Fault {
        let status = &ticket.blip_status;
        let message = format!("ticket {} is closed ({status}) and can no longer be updated", self.ticket_id);
        let fault = Fault { metadata, ..Fault::new("TICKET_CLOSED", message) };
        fault.with("ticket_id", self.ticket_id).with("blip_status", status)
    }

    /// Until when one attempt may wait: some of the time is kept for a look.
    fn attempt_deadline(&self) -> Instant {
        let left = self.left();
        let reserve = LOOK_RESERVE.min(left / 4);
        let now = Instant::now();
        (now + left.saturating_sub(reserve)).min(now + ATTEMPT_TIMEOUT)
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Notes that a look had no answer, unless an earlier one had.
fn unasked(seen: &mut Seen, why: String) {
    if matches!(seen, Seen::Unasked(_)) {
        *seen = Seen::Unasked(why);
    }
}

/// Whether a ticket is surely not closed.
fn is_alive(ticket: &Ticket) -> bool {
    matches!(ticket.status, TicketStatus::Waiting | TicketStatus::Assigned | TicketStatus::Open)
}

/// The fault a call's failure stands for, where it is sure that nothing was done.
pub(super) fn fault_of(error: &BlipError, uri: &str) -> Fault {
    let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let fault = |reason| Fault::new(reason, error.to_string()).with("blip_uri", uri);
    match error {
        BlipError::NotSent(_) => fault("BLIP_UNAVAILABLE").passing(),
        BlipError::OverQuota { retry_after } => {
            fault("QUOTA_EXCEEDED").with("retry_after_ms", &millis(*retry_after)).passing()
        }
        BlipError::Throttled { retry_after } => {
            let wait = retry_after.unwrap_or(Duration::from_mins(2));
            fault("BLIP_QUOTA_EXCEEDED").with("retry_after_ms", &millis(wait)).passing()
        }
        BlipError::Credential { .. } => fault("BLIP_CREDENTIAL_REJECTED").passing(),
        BlipError::Refused { status, text } => {
            let fault = fault("BLIP_REJECTED").with("http_status", status);
            if text.is_empty() { fault } else { fault.with("blip_description", text) }
        }
        BlipError::Unknown(_) => fault("OUTCOME_UNKNOWN"),
    }
}

/// The same for a read, which has no effect to be in doubt about.
pub(in crate::gateway) fn unread(error: &BlipError, uri: &str) -> Fault {
    match error {
        BlipError::Unknown(_) => {
            Fault::new("BLIP_UNAVAILABLE", error.to_string()).with("blip_uri", uri).passing()
        }
        BlipError::NotSent(_)
        | BlipError::OverQuota { .. }
        | BlipError::Throttled { .. }
        | BlipError::Credential { .. }
        | BlipError::Refused { .. } => fault_of(error, uri),
    }
}
