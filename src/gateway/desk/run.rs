//! The life of one command, from the request lane to its settled record.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::blip::Caller;
use crate::domain::{
    Action, ActionRequest, Fact, Fault, NewEvent, Origin, OutboundMessage, Outcome, Payload, Ticket,
    TicketState, TicketStatus,
};
use crate::store::rules::is_held;
use crate::store::{AppendError, Begun, CommandKey, CommandRecord, End, NewCommand};

use super::super::lanes::Turn;
use super::carry::Carrier;
use super::{DeskError, Done, Inner, memo, unknown};

/// The pause before an end is recorded again after the store could not; doubles with each.
const SETTLE_PAUSE: Duration = Duration::from_millis(250);
/// The longest such pause.
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(4);

impl Inner {
    /// Begins, carries out and settles a command, or answers what became of it before.
    pub(super) async fn run(
        self: Arc<Self>,
        request: ActionRequest,
        deadline: Instant,
        begun: Arc<OnceLock<Uuid>>,
    ) -> Result<Done, DeskError> {
        let _request_turn = self.request_turn(&request, deadline).await?;
        if let Some(earlier) = self.earlier(&request).await? {
            return self.answer_again(earlier).await;
        }
        let key = (request.bot.clone(), request.ticket_id.clone());
        let Ok(_ticket_turn) = timeout_at(deadline, self.tickets.turn(key)).await else {
            let fault =
                Fault::new("QUOTA_EXCEEDED", "earlier commands of this ticket took all the time there was");
            return Err(DeskError::Fault(fault.with("retry_after_ms", &1000).passing()));
        };
        let command = new_command(self.ids.next(), &request);
        let (record, state) = match self.ledger.begin(command).await? {
            Begun::Fresh(record, state) => (record, *state),
            Begun::Known(record) => return self.answer_again(record).await,
            Begun::Conflict(record) => return Err(DeskError::Conflict(Box::new(record))),
        };
        let start = Instant::now();
        let id = record.command.id;
        let _ = begun.set(id); // it is set once, here
        let (end, learnt) = match request.judge(&state) {
            Some(outcome) => (End { outcome, attempts: 0 }, None),
            None => self.carry_out(id, &request, &state, deadline).await?,
        };
        let events = match end.outcome {
            Outcome::Done => vec![echo(id, &request.bot, &request.ticket_id, &request.action, &state)],
            Outcome::AlreadyClosed | Outcome::Failed(_) | Outcome::Unknown(_) => {
                learnt.into_iter().map(|ticket| read_back(id, &request.bot, ticket)).collect()
            }
        };
        let record = self.settle(id, end, events).await?;
        if let Some(end) = &record.end {
            self.metrics.settled(&record.command.method, &end.outcome, start.elapsed());
        }
        self.answer(record, false).await
    }

    /// Waits while another call of the same request id runs, unless it is already known to ask something else.
    async fn request_turn(
        &self,
        request: &ActionRequest,
        deadline: Instant,
    ) -> Result<Option<Turn>, DeskError> {
        if request.request_id.is_empty() {
            return Ok(None);
        }
        let key = (request.principal.clone(), request.request_id.clone());
        if let Some(turn) = self.requests.try_turn(key.clone()) {
            return Ok(Some(turn));
        }
        self.earlier(request).await?;
        match timeout_at(deadline, self.requests.turn(key)).await {
            Ok(turn) => Ok(Some(turn)),
            Err(_) => Err(DeskError::Fault(unknown("the first request with this id still runs"))),
        }
    }

    async fn carry_out(
        &self,
        id: Uuid,
        request: &ActionRequest,
        state: &TicketState,
        deadline: Instant,
    ) -> Result<(End, Option<Ticket>), DeskError> {
        let api = self.api(&request.bot)?.for_caller(Caller::client(&request.principal));
        let id = id.to_string();
        let mut carrier = Carrier {
            api: api.as_ref(),
            id: &id,
            ticket_id: &request.ticket_id,
            action: &request.action,
            deadline,
            attempts: 0,
            learnt: None,
        };
        // Blip takes a message for any address: a ticket that the log has never seen is read first.
        let stranger = matches!(request.action, Action::Send(_)) && state.last_sequence == 0;
        let vouched = if stranger { carrier.vouch().await } else { Ok(()) };
        let outcome = match vouched {
            Ok(()) => carrier.carry().await,
            Err(outcome) => outcome,
        };
        Ok((End { outcome, attempts: carrier.attempts }, carrier.learnt))
    }

    /// The command an earlier request of this id began, so that its repetition need not wait for the ticket.
    async fn earlier(&self, request: &ActionRequest) -> Result<Option<CommandRecord>, DeskError> {
        if request.request_id.is_empty() {
            return Ok(None);
        }
        let key = CommandKey::Request {
            principal: request.principal.clone(),
            request_id: request.request_id.clone(),
        };
        let found = self.ledger.command(key).await?;
        match found {
            Some(record) if !is_held(&record, self.clock.now()) => Ok(None),
            Some(record) if record.command.fingerprint != request.fingerprint() => {
                Err(DeskError::Conflict(Box::new(record)))
            }
            found => Ok(found),
        }
    }

    async fn answer_again(&self, record: CommandRecord) -> Result<Done, DeskError> {
        self.metrics.replayed();
        self.answer(record, true).await
    }

    /// A record as its caller's answer. The ticket beside it is a courtesy: not to read it changes no outcome.
    async fn answer(&self, record: CommandRecord, replayed: bool) -> Result<Done, DeskError> {
        match record.end.as_ref().map(|end| &end.outcome) {
            Some(Outcome::Done | Outcome::AlreadyClosed) => {
                let command = &record.command;
                let state = match command.method.as_str() {
                    "Send" => None,
                    _ => self.log.ticket(&command.bot, &command.ticket_id).await.unwrap_or_else(|error| {
                        tracing::warn!(command.id = %command.id, %error, "a command's ticket could not be read");
                        None
                    }),
                };
                Ok(Done { ticket: state.and_then(|state| state.ticket), record, replayed })
            }
            Some(Outcome::Failed(_) | Outcome::Unknown(_)) | None => {
                Err(DeskError::Ended { record: Box::new(record), replayed })
            }
        }
    }

    /// Records an end, trying on while the store cannot: what Blip did must not be forgotten. Its caller may have
    /// been told by then that the end is not known.
    pub(super) async fn settle(
        &self,
        id: Uuid,
        end: End,
        events: Vec<NewEvent>,
    ) -> Result<CommandRecord, DeskError> {
        let mut told = false;
        let mut pause = SETTLE_PAUSE;
        loop {
            let error = match self.ledger.settle(id, end.clone(), events.clone()).await {
                Ok(record) => return Ok(record),
                Err(error) => error,
            };
            if !std::mem::replace(&mut told, true) {
                tracing::error!(command.id = %id, %error, "a command's end could not be recorded; trying on");
            }
            let passing = matches!(error, AppendError::Busy | AppendError::Full);
            if !passing || self.shutdown.hard().is_cancelled() {
                let fault = unknown(format!(
                    "the command was carried out, but its end could not be recorded: {error}"
                ));
                return Err(DeskError::Fault(fault.with("command_id", &id)));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.hard().cancelled() => {}
            }
            pause = pause.saturating_mul(2).min(SETTLE_PAUSE_MAX);
        }
    }
}

fn new_command(id: Uuid, request: &ActionRequest) -> NewCommand {
    NewCommand {
        id,
        method: request.action.method().to_owned(),
        bot: request.bot.clone(),
        ticket_id: request.ticket_id.clone(),
        principal: request.principal.clone(),
        request_id: request.request_id.clone(),
        fingerprint: request.fingerprint(),
        memo: memo::write(&request.action),
    }
}

/// The event that tells the log's readers what a command did.
pub(super) fn echo(id: Uuid, bot: &str, ticket_id: &str, action: &Action, state: &TicketState) -> NewEvent {
    let document = |status: TicketStatus| Ticket {
        id: ticket_id.to_owned(),
        status,
        blip_status: status.as_blip().to_owned(),
        ..Ticket::default()
    };
    let fact = match action {
        Action::Assign { agent_identity } => {
            Fact::Ticket(Ticket { agent_identity: agent_identity.clone(), ..document(TicketStatus::Open) })
        }
        Action::Close { by, tags, closed_by, without_redirect: _ } => {
            Fact::Ticket(Ticket { tags: tags.clone(), closed_by: closed_by.clone(), ..document(by.status()) })
        }
        Action::Send(message) => {
            let OutboundMessage { content, agent_identity, document: _, metadata: _ } = message.as_ref();
            let attending =
                || state.ticket.as_ref().map(|ticket| ticket.agent_identity.clone()).unwrap_or_default();
            Fact::Told(Payload::AgentMessage {
                message_id: id.to_string(),
                content: content.clone(),
                agent_identity: if agent_identity.is_empty() { attending() } else { agent_identity.clone() },
                command_id: id.to_string(),
            })
        }
    };
    NewEvent { ticket_id: Some(ticket_id.to_owned()), origin: Origin::Command, ..event_of(id, bot, fact) }
}

/// The event that tells the log's readers of a ticket which Blip showed while a command asked for it.
pub(super) fn read_back(id: Uuid, bot: &str, ticket: Ticket) -> NewEvent {
    NewEvent {
        ticket_id: Some(ticket.id.clone()),
        event_time: ticket.status_time.or(ticket.close_time),
        ..event_of(id, bot, Fact::Ticket(ticket))
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
        fact,
        raw: Bytes::new(),
    }
}
