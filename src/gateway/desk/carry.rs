//! Carrying an action to Blip: its steps in order, repeated where that is safe, looked for where it is not.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use crate::blip::policy::{Next, chance, next_step};
use crate::blip::{BlipApi, BlipError, Kind};
use crate::domain::translate::{self, Judgement, Step};
use crate::domain::{Action, ActionRequest, Fault, Outcome, Returned, Ticket, TicketState, TicketStatus};
use crate::lime::{Reply, ReplyStatus};
use crate::store::{CommandRecord, End};

use super::look::{LOOKS_MAX, Seen};
use super::missing::named;
use super::{Inner, unknown};

/// The longest one attempt may wait: Blip itself gives up after 60 s and says so.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(62);
/// How much of the time a call has is kept for looking what became of it.
pub(super) const LOOK_RESERVE: Duration = Duration::from_secs(5);
/// How far Blip's clock may be behind ours, where its dates are compared with ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(2);
/// What it is called where Blip answers a read at more length than can be read.
pub(super) const TOO_LARGE: &str = "BLIP_ANSWER_TOO_LARGE";
/// The longest answer to a caller's own LIME command that is kept, as JSON.
const RETURNED_BYTES_MAX: usize = 1 << 20;

/// An action on its way.
pub(super) struct Carrier<'a> {
    pub(super) desk: &'a Inner,
    pub(super) api: &'a dyn BlipApi,
    pub(super) id: &'a str,
    pub(super) ticket_id: &'a str,
    pub(super) action: &'a Action,
    pub(super) deadline: Instant,
    pub(super) attempts: u32,
    /// The ticket as Blip showed it on the way, where it is closed: the log may not know that.
    pub(super) learnt: Option<Ticket>,
    /// What the log knows of the ticket.
    pub(super) known: Option<&'a Ticket>,
    pub(super) record: &'a CommandRecord,
    /// The ticket that it opened, as Blip showed it.
    pub(super) made: Option<Ticket>,
    /// It was sent long ago: others may have spoken since.
    pub(super) late: bool,
    /// It was queued, and only waits while its record does not say that it was perhaps sent.
    pub(super) queued: bool,
    /// The ticket's labels, once those are set that go before a close.
    pub(super) labels: Option<Vec<String>>,
    /// What Blip answered to a caller's own LIME command.
    pub(super) answer: Option<(String, Value)>,
}

impl<'a> Carrier<'a> {
    /// The carrier of what `record` says was asked.
    pub(super) fn new(
        desk: &'a Inner,
        api: &'a dyn BlipApi,
        id: &'a str,
        request: &'a ActionRequest,
        state: &'a TicketState,
        record: &'a CommandRecord,
        deadline: Instant,
    ) -> Self {
        Self {
            desk,
            api,
            id,
            ticket_id: &request.ticket_id,
            action: &request.action,
            deadline,
            attempts: 0,
            learnt: None,
            known: state.ticket.as_ref(),
            record,
            made: None,
            late: false,
            queued: false,
            labels: None,
            answer: None,
        }
    }

    /// Looks whether the ticket is there, for an action that Blip would take for any address, where the log has never
    /// seen the ticket. Where Blip does not tell in time, it is taken to be there.
    pub(super) async fn vouch(&mut self, state: &TicketState) -> Result<(), Outcome> {
        if !self.needs_vouching(state) {
            return Ok(());
        }
        // Some of the time is for the action itself.
        let deadline = Instant::now() + LOOK_RESERVE.min(self.left() / 2);
        self.whether_there(deadline).await.unwrap_or(Ok(()))
    }

    /// The same for an action that can wait until Blip tells: the fault is why it does not now.
    pub(super) async fn vouch_patiently(
        &mut self,
        state: &TicketState,
    ) -> Result<Result<(), Outcome>, Fault> {
        if !self.needs_vouching(state) {
            return Ok(Ok(()));
        }
        self.turn(Kind::Command, false).await.map_err(|error| fault_of(&error, ""))?;
        self.whether_there(self.attempt_deadline()).await
    }

    fn needs_vouching(&self, state: &TicketState) -> bool {
        matches!(self.action, Action::Send(_)) && state.last_sequence == 0
    }

    /// Whether the ticket is there, or how the action ends where it is not; a fault that passes where Blip does not tell.
    async fn whether_there(&mut self, deadline: Instant) -> Result<Result<(), Outcome>, Fault> {
        let command = translate::get_ticket(&format!("{}-look", self.id), self.ticket_id);
        let fault = match self.api.command(&command, deadline).await {
            Ok(Reply { status: ReplyStatus::Success(resource), .. }) => {
                let Some(ticket) = translate::ticket_in_reply(&resource) else { return Ok(Ok(())) };
                self.learn(&ticket);
                let closed = ticket.status.is_terminal();
                return Ok(if closed {
                    Err(Outcome::Failed(self.closed(&ticket, Vec::new())))
                } else {
                    Ok(())
                });
            }
            Ok(Reply { status: ReplyStatus::Failure(reason), .. }) => {
                translate::refusal(self.action.method(), &command.uri.0, &reason)
            }
            Ok(Reply { status: ReplyStatus::Pending, .. }) => {
                Fault::new("BLIP_UNAVAILABLE", "Blip did not answer").passing()
            }
            Err(error) => unread(&error, &command.uri.0),
        };
        if fault.reason == "TICKET_NOT_FOUND" {
            return Ok(Err(Outcome::Failed(fault.with("ticket_id", self.ticket_id))));
        }
        // What Blip refuses for good it will not tell later either.
        if fault.frees_request_id { Err(fault) } else { Ok(Ok(())) }
    }

    /// Sends every step; ends with the action's outcome.
    pub(super) async fn carry(&mut self) -> Outcome {
        for step in translate::steps_of(self.id, self.ticket_id, self.action) {
            if let Err(outcome) = self.step(&step).await {
                return outcome;
            }
            if let Action::Close { tags, .. } = self.action
                && step.is_labels()
            {
                self.labels = Some(tags.clone());
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
                    let answer = match self.turn(Kind::Command, in_doubt).await {
                        Ok(()) => self.api.command(command, self.attempt_deadline()).await,
                        Err(error) => Err(error),
                    };
                    (answer, *sets_state)
                }
                Step::Message(json) => {
                    let answer = match self.turn(Kind::Message, in_doubt).await {
                        Ok(()) => self.api.message(json.clone(), self.attempt_deadline()).await,
                        Err(error) => Err(error),
                    };
                    (answer, false)
                }
            };
            let judged = answer.map(|reply| (translate::outcome_of(self.action, step.uri(), &reply), reply));
            let error = match judged {
                Ok((Judgement::Done, reply)) => {
                    self.keep(reply);
                    return Ok(());
                }
                Ok((Judgement::InDoubt(why), _)) => BlipError::Unknown(why),
                // This attempt was refused; an earlier one may have been what was asked.
                Ok((judgement, _)) if in_doubt => return self.look_despite(step, judgement).await,
                Ok((judgement, _)) => return Err(self.refused(judgement).await),
                Err(error) => error,
            };
            in_doubt |= matches!(error, BlipError::Unknown(_) | BlipError::TooLarge(_));
            let (id, method, why) = (self.id, self.action.method(), error.brief());
            tracing::warn!(command.id = id, method, attempt, why, "a call to Blip failed");
            tracing::debug!(command.id = id, %error, "what Blip said");
            match next_step(&error, attempt, sets_state, self.left(), chance(self.id, attempt)) {
                Next::Repeat(_) if self.queued && !in_doubt => {
                    return Err(Outcome::Failed(fault_of(&error, step.uri())));
                }
                Next::Repeat(pause) => {
                    tokio::time::sleep(pause).await;
                    // What was perhaps done already need not be done again, harmless as that would be.
                    if matches!(error, BlipError::Unknown(_)) {
                        match self.seen(Some(step), 1).await {
                            Seen::Effect => return Ok(()),
                            Seen::Closed => return Err(self.found_closed()),
                            Seen::Nothing | Seen::Unasked(_) => {}
                        }
                    }
                }
                Next::Look => return self.look(step, &error.to_string()).await,
                Next::GiveUp if in_doubt => {
                    let why = format!("an attempt had no answer, and the next did nothing ({error})");
                    return self.look(step, &why).await;
                }
                Next::GiveUp => return Err(Outcome::Failed(fault_of(&error, step.uri()))),
            }
        }
    }

    /// Keeps what the answer to the last step brought.
    fn keep(&mut self, reply: Reply) {
        let ReplyStatus::Success(resource) = reply.status else { return };
        match self.action {
            Action::Transfer { .. } | Action::Create(_) => self.made = translate::ticket_in_reply(&resource),
            Action::Execute(_) if !resource.is_null() => self.answer = Some((reply.media_type, resource)),
            Action::Assign { .. }
            | Action::Send(_)
            | Action::Close { .. }
            | Action::Finish { .. }
            | Action::SetTags { .. }
            | Action::Execute(_) => {}
        }
    }

    /// Its end, with what Blip answered where that is worth keeping.
    pub(super) fn end(&self, outcome: Outcome) -> End {
        let document = self
            .answer
            .clone()
            .filter(|(_, json)| serde_json::to_vec(json).is_ok_and(|json| json.len() <= RETURNED_BYTES_MAX));
        let returned = match &self.made {
            Some(made) => Some(Returned::Ticket(made.id.clone())),
            None => document.map(|(media_type, json)| Returned::Document { media_type, json }),
        };
        let returned = returned.filter(|_| outcome == Outcome::Done);
        End { outcome, attempts: self.attempts, returned }
    }

    /// Looks what became of a step that was perhaps done: its effect, or an unknown end.
    async fn look(&mut self, step: &Step, why: &str) -> Result<(), Outcome> {
        match self.seen(Some(step), LOOKS_MAX).await {
            Seen::Effect => return Ok(()),
            Seen::Closed => return Err(self.found_closed()),
            Seen::Nothing | Seen::Unasked(_) => {}
        }
        let message = format!(
            "whether {} took effect is not known, and looking did not tell: {why}. Look at the ticket before asking \
             again under another request_id",
            self.action.method()
        );
        Err(Outcome::Unknown(unknown(message)))
    }

    /// The same after a refusal, which says nothing of the attempt before it.
    async fn look_despite(&mut self, step: &Step, judgement: Judgement) -> Result<(), Outcome> {
        let fault = match judgement {
            Judgement::Done => return Ok(()),
            Judgement::AlreadyClosed(fault) => {
                return match self.seen(Some(step), LOOKS_MAX).await {
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

    /// The end of an action that was perhaps done, whose ticket is closed in a way that is not of its doing.
    pub(super) fn found_closed(&self) -> Outcome {
        match (self.action, &self.learnt) {
            (Action::Transfer { .. }, Some(ticket)) => Outcome::Failed(self.closed(ticket, Vec::new())),
            _ => Outcome::AlreadyClosed,
        }
    }

    /// Keeps a ticket that Blip shows as closed, if the log does not know.
    pub(super) fn learn(&mut self, ticket: &Ticket) {
        let is_news = self.known.is_none_or(|known| !known.status.is_terminal());
        if ticket.status.is_terminal() && is_news {
            self.learnt = Some(Ticket { id: self.ticket_id.to_owned(), ..ticket.clone() });
        }
    }

    /// The end of an action whose step was refused, where no attempt before it is in doubt.
    async fn refused(&mut self, judgement: Judgement) -> Outcome {
        match judgement {
            Judgement::Done => Outcome::Done,
            Judgement::InDoubt(why) => Outcome::Unknown(unknown(why)),
            Judgement::Refused(fault) => Outcome::Failed(match self.action {
                Action::Create(_) => self.missing(fault).await,
                Action::Assign { .. }
                | Action::Send(_)
                | Action::Close { .. }
                | Action::Finish { .. }
                | Action::Transfer { .. }
                | Action::SetTags { .. }
                | Action::Execute(_) => fault,
            }),
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
        let ticket = translate::ticket_in_reply(&resource)?;
        self.learn(&ticket);
        Some(ticket)
    }

    /// Blip refused in a way that a closed ticket may explain: only the ticket itself can say so.
    async fn perhaps_closed(&mut self, fault: Fault) -> Outcome {
        let Some(ticket) = self.ticket().await else { return Outcome::Failed(fault) };
        match (ticket.status.is_terminal(), self.action) {
            // The ticket is there, so what Blip did not find is the other thing named.
            (false, Action::Assign { agent_identity }) if fault.reason == "TICKET_NOT_FOUND" => {
                Outcome::Failed(named(fault, "AGENT_NOT_FOUND", "agent", agent_identity))
            }
            (false, Action::Transfer { .. }) => Outcome::Failed(self.missing(fault).await),
            (false, _) => Outcome::Failed(fault),
            (true, Action::Close { .. }) => Outcome::AlreadyClosed,
            (
                true,
                Action::Assign { .. }
                | Action::Send(_)
                | Action::Finish { .. }
                | Action::Transfer { .. }
                | Action::SetTags { .. }
                | Action::Create(_)
                | Action::Execute(_),
            ) => Outcome::Failed(self.closed(&ticket, fault.metadata)),
        }
    }

    /// The fault of an action on a ticket that Blip shows as closed, with what Blip said before.
    fn closed(&self, ticket: &Ticket, metadata: Vec<(String, String)>) -> Fault {
        let status = &ticket.blip_status;
        let message = format!("ticket {} is closed ({status}) and can no longer be updated", self.ticket_id);
        let fault = Fault { metadata, ..Fault::new("TICKET_CLOSED", message) };
        fault.with("ticket_id", self.ticket_id).with("blip_status", status)
    }

    /// Waits for the bot's rate: as long as there is time, as nothing was sent yet; in doubt, some of it is for a look.
    async fn turn(&self, kind: Kind, in_doubt: bool) -> Result<(), BlipError> {
        let deadline = if in_doubt { self.attempt_deadline() } else { self.deadline };
        self.api.turn(kind, deadline).await
    }

    /// Until when one attempt may last, once its turn has come: some of the time is kept for a look.
    fn attempt_deadline(&self) -> Instant {
        let left = self.left();
        let reserve = LOOK_RESERVE.min(left / 4);
        let now = Instant::now();
        (now + left.saturating_sub(reserve)).min(now + ATTEMPT_TIMEOUT)
    }

    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// From when on a command may have taken effect, by Blip's clock.
pub(super) fn since(record: &CommandRecord) -> Timestamp {
    let begun = record.start_time.unwrap_or(record.accept_time);
    begun.saturating_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN)
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
        BlipError::CircuitOpen { retry_after } => {
            fault("BLIP_CIRCUIT_OPEN").with("retry_after_ms", &millis(*retry_after)).passing()
        }
        BlipError::Throttled { retry_after, reason } => {
            let fault = match reason {
                Some(reason) => translate::refusal("the call", uri, reason),
                None => fault("BLIP_QUOTA_EXCEEDED").with("http_status", &429).passing(),
            };
            fault.with("retry_after_ms", &millis(*retry_after))
        }
        BlipError::Credential { status } => {
            fault("BLIP_CREDENTIAL_REJECTED").with("http_status", status).passing()
        }
        BlipError::Refused { status, text } => {
            let fault = fault("BLIP_REJECTED").with("http_status", status);
            if text.is_empty() { fault } else { fault.with("blip_description", text) }
        }
        BlipError::Unknown(_) | BlipError::TooLarge(_) => fault("OUTCOME_UNKNOWN"),
    }
}

/// The same for a read, which has no effect to be in doubt about.
pub(in crate::gateway) fn unread(error: &BlipError, uri: &str) -> Fault {
    match error {
        BlipError::Unknown(_) => {
            Fault::new("BLIP_UNAVAILABLE", error.to_string()).with("blip_uri", uri).passing()
        }
        BlipError::TooLarge(_) => Fault::new(TOO_LARGE, error.to_string()).with("blip_uri", uri),
        BlipError::NotSent(_)
        | BlipError::OverQuota { .. }
        | BlipError::CircuitOpen { .. }
        | BlipError::Throttled { .. }
        | BlipError::Credential { .. }
        | BlipError::Refused { .. } => fault_of(error, uri),
    }
}
