//! Carrying an action to Blip: its steps in order, repeated where that is safe, looked for where it is not.

use std::time::Duration;

use tokio::time::Instant;

use crate::blip::policy::{Next, next_step};
use crate::blip::{BlipApi, BlipError};
use crate::domain::translate::{self, Judgement, Step};
use crate::domain::{Action, Fault, Outcome};
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

/// An action on its way.
pub(super) struct Carrier<'a> {
    pub(super) api: &'a dyn BlipApi,
    pub(super) id: &'a str,
    pub(super) ticket_id: &'a str,
    pub(super) action: &'a Action,
    pub(super) deadline: Instant,
    pub(super) attempts: u32,
}

impl Carrier<'_> {
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
            let (error, sets_state) = match step {
                Step::Command { command, sets_state } => {
                    match self.api.command(command, self.attempt_deadline()).await {
                        Ok(reply) => match translate::outcome_of(self.action, &command.uri.0, &reply) {
                            Judgement::Done => return Ok(()),
                            // An earlier attempt of ours may be what closed it.
                            Judgement::Ends(Outcome::AlreadyClosed) if in_doubt => return Ok(()),
                            Judgement::Ends(outcome) => return Err(outcome),
                            Judgement::PerhapsClosed(fault) => return Err(self.perhaps_closed(fault).await),
                            Judgement::InDoubt(why) => (BlipError::Unknown(why), *sets_state),
                        },
                        Err(error) => (error, *sets_state),
                    }
                }
                Step::Message(json) => match self.api.message(json.clone(), self.attempt_deadline()).await {
                    Ok(()) => return Ok(()),
                    Err(error) => (error, false),
                },
            };
            in_doubt |= matches!(error, BlipError::Unknown(_));
            let (id, method, why) = (self.id, self.action.method(), error.brief());
            tracing::warn!(command.id = id, method, attempt, why, "a call to Blip failed");
            tracing::debug!(command.id = id, %error, "what Blip said");
            match next_step(&error, attempt, sets_state, self.left()) {
                Next::Repeat(pause) => tokio::time::sleep(pause).await,
                Next::Look => return self.look(&error).await,
                Next::GiveUp if in_doubt => return self.look(&error).await,
                Next::GiveUp => return Err(Outcome::Failed(fault_of(&error, uri_of(step)))),
            }
        }
    }

    /// Looks what became of a step that was perhaps done: its effect, or an unknown end.
    async fn look(&self, error: &BlipError) -> Result<(), Outcome> {
        if self.confirmed().await {
            return Ok(());
        }
        let message = format!(
            "{error}; whether {} took effect could not be confirmed. Look at the ticket before asking again under \
             another request_id",
            self.action.method()
        );
        Err(Outcome::Unknown(unknown(message)))
    }

    /// Whether Blip shows that the action took effect.
    pub(super) async fn confirmed(&self) -> bool {
        let command = translate::read_back(self.id, self.ticket_id, self.action);
        for look in 0..LOOKS_MAX {
            if look > 0 {
                if self.left() <= LOOK_PAUSE {
                    return false;
                }
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            let Ok(reply) = self.api.command(&command, self.deadline).await else { continue };
            let ReplyStatus::Success(resource) = reply.status else { continue };
            let confirmed = match self.action {
                Action::Send(_) => translate::has_message(&resource, self.id),
                Action::Assign { .. } | Action::Close { .. } => {
                    translate::ticket_confirms(self.action, &resource).1
                }
            };
            if confirmed {
                return true;
            }
        }
        false
    }

    /// Blip refused in a way that a closed ticket may explain: only the ticket itself can say so.
    async fn perhaps_closed(&self, fault: Fault) -> Outcome {
        let command = translate::get_ticket(&format!("{}-look", self.id), self.ticket_id);
        let reply = self.api.command(&command, self.deadline).await;
        let Ok(ReplyStatus::Success(resource)) = reply.map(|reply| reply.status) else {
            return Outcome::Failed(fault);
        };
        let (ticket, _) = translate::ticket_confirms(self.action, &resource);
        let alive = ticket.as_ref().is_some_and(|ticket| !ticket.status.is_terminal());
        match (ticket.filter(|ticket| ticket.status.is_terminal()), self.action) {
            // The ticket is there, so what Blip did not find is the other thing named.
            (None, Action::Assign { agent_identity }) if alive && fault.reason == "TICKET_NOT_FOUND" => {
                let not_found = Fault { reason: "AGENT_NOT_FOUND".to_owned(), ..fault };
                Outcome::Failed(not_found.with("agent", agent_identity))
            }
            (None, _) => Outcome::Failed(fault),
            (Some(_), Action::Close { .. }) => Outcome::AlreadyClosed,
            (Some(ticket), Action::Assign { .. } | Action::Send(_)) => {
                let status = ticket.blip_status;
                let message =
                    format!("ticket {} is closed ({status}) and can no longer be updated", self.ticket_id);
                let closed = Fault { reason: "TICKET_CLOSED".to_owned(), message, ..fault };
                Outcome::Failed(closed.with("ticket_id", self.ticket_id).with("blip_status", &status))
            }
        }
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

fn uri_of(step: &Step) -> &str {
    match step {
        Step::Command { command, .. } => &command.uri.0,
        Step::Message(_) => "/messages",
    }
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
        BlipError::Refused { .. } => fault("BLIP_REJECTED"),
        BlipError::Unknown(_) => fault("OUTCOME_UNKNOWN"),
    }
}

/// The same for a read, which has no effect to be in doubt about.
pub(super) fn unread(error: &BlipError, uri: &str) -> Fault {
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
