//! The life of a command whose caller waits, from the request lane to its settled record; and what commands of every
//! kind share on that way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::blip::Caller;
use crate::domain::{ActionRequest, Fault, NewEvent, Outcome, Returned, Ticket, TicketState};
use crate::store::rules::is_held;
use crate::store::{AppendError, Begun, CommandKey, CommandRecord, End, Health, NewCommand};

use super::super::lanes::Turn;
use super::call::{Call, FIRST_RUNS, stopping};
use super::carry::Carrier;
use super::echo::{Deed, echo, labelled, read_back, settled};
use super::{DeskError, Done, Inner, unknown};

/// The pause before an end is recorded again after the store could not; doubles with each.
const SETTLE_PAUSE: Duration = Duration::from_millis(250);
/// The longest such pause.
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(4);

/// How an action ended, and what the log's readers are to be told of it.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) end: End,
    pub(super) events: Vec<NewEvent>,
    /// The ticket that it opened.
    pub(super) made: Option<Ticket>,
}

impl Carried {
    /// An end that needed no sending.
    pub(super) fn at_once(outcome: Outcome) -> Self {
        Self { end: End { outcome, attempts: 0, returned: None }, events: Vec::new(), made: None }
    }
}

impl Inner {
    /// Begins, carries out and settles a command, or answers what became of it before.
    pub(super) async fn run(
        self: Arc<Self>,
        (request, memo): (Arc<ActionRequest>, String),
        deadline: Instant,
        call: Arc<Call>,
    ) -> Result<Done, DeskError> {
        self.until_ready(deadline).await?;
        if request.accept_only {
            return self.accept((&request, memo), deadline, &call).await;
        }
        let _request_turn = self.request_turn(&request, deadline).await?;
        let ticket_turn = match lane_of(&request).map(|lane| self.tickets.try_turn(lane)) {
            None => None,
            // What is earlier is found as the command begins.
            Some(Some(turn)) => Some(turn),
            Some(None) => {
                if let Some(earlier) = self.earlier(&request).await? {
                    return self.answer_again(earlier, deadline).await;
                }
                self.ticket_turn(&request, deadline).await?
            }
        };
        let command = new_command(self.ids.next(), &request, memo);
        let (record, state) = match self.begin(command, &call).await? {
            Begun::Fresh(record, state) => (record, *state),
            Begun::Known(record) => {
                // It was left to be done meanwhile, and may wait for this very turn.
                drop(ticket_turn);
                return self.answer_again(record, deadline).await;
            }
            Begun::Conflict(record) => return Err(DeskError::Conflict(Box::new(record))),
        };
        let start = Instant::now();
        let carried = match request.judge(&state) {
            Some(outcome) => Carried::at_once(outcome),
            None => self.carry_out(&record, &request, &state, deadline).await?,
        };
        let Carried { end, events, made } = carried;
        let untold = settled(&record, &end, made.as_ref());
        let mut told = false;
        // Recording it may take long, and its caller's time may end meanwhile.
        let all_events = || {
            told = call.has_left();
            events.iter().chain(Some(&untold).filter(|_| told)).cloned().collect()
        };
        let record = self.settle_with(record.command.id, end, all_events).await?;
        if let Some(end) = &record.end {
            self.metrics.settled(&record.command.method, &end.outcome, start.elapsed());
        }
        self.follow(&record);
        drop(ticket_turn);
        let answer = self.answer(record, false).await;
        if !told && call.has_left() {
            self.tell(untold).await;
        }
        answer
    }

    /// Tells by an event of its own how a command ended whose caller left after that was recorded.
    async fn tell(&self, untold: NewEvent) {
        let write = || self.log.append(vec![untold.clone()]);
        if let Err(error) = self.until_stored("how a command ended whose caller had left", write).await {
            tracing::error!(%error, "how a command ended could not be told: its caller had left");
        }
    }

    /// Records a command, and tells its caller's call which one it is.
    pub(super) async fn begin(&self, command: NewCommand, call: &Call) -> Result<Begun, DeskError> {
        let (id, accept_only, is_named) = (command.id, command.accept_only, !command.request_id.is_empty());
        // Callers were told then what was begun and what was not.
        if self.shutdown.parting().is_cancelled() || !call.begins(id) {
            return Err(DeskError::Fault(stopping()));
        }
        match self.ledger.begin(command).await {
            Ok(begun) => {
                match &begun {
                    Begun::Fresh(..) => {}
                    Begun::Known(earlier) => {
                        call.begins(earlier.command.id);
                    }
                    Begun::Conflict(_) => call.begins_not(),
                }
                Ok(begun)
            }
            Err(error @ AppendError::Unknown(_)) => {
                tracing::error!(command.id = %id, %error, "a command was perhaps recorded");
                Err(DeskError::Fault(perhaps_recorded(id, accept_only, is_named)))
            }
            Err(error @ (AppendError::Busy | AppendError::Full | AppendError::Unavailable(_))) => {
                call.begins_not();
                Err(error.into())
            }
        }
    }

    /// Waits until what an earlier process left has its places before all that comes now.
    async fn until_ready(&self, deadline: Instant) -> Result<(), DeskError> {
        let mut ready = self.ready.subscribe();
        if let Ok(Ok(_)) = timeout_at(deadline, ready.wait_for(|ready| *ready)).await {
            return Ok(());
        }
        let what = "what was recorded before the start could not be read yet";
        Err(DeskError::Store(AppendError::Unavailable(what.to_owned())))
    }

    /// Waits while another call of the same request id runs, unless it is already known to ask something else.
    async fn request_turn(
        &self,
        request: &ActionRequest,
        deadline: Instant,
    ) -> Result<Option<Turn>, DeskError> {
        let Some(name) = name_of(request) else { return Ok(None) };
        if let Some(turn) = self.requests.try_turn(name.clone()) {
            return Ok(Some(turn));
        }
        self.earlier(request).await?;
        match timeout_at(deadline, self.requests.turn(name)).await {
            Ok(turn) => Ok(Some(turn)),
            Err(_) => Err(DeskError::Fault(unknown(FIRST_RUNS))),
        }
    }

    /// Waits while another command of the same ticket runs, or was queued before.
    async fn ticket_turn(
        &self,
        request: &ActionRequest,
        deadline: Instant,
    ) -> Result<Option<Turn>, DeskError> {
        let Some(key) = lane_of(request) else { return Ok(None) };
        match timeout_at(deadline, self.tickets.turn(key)).await {
            Ok(turn) => Ok(Some(turn)),
            Err(_) => {
                Err(DeskError::Fault(no_time("earlier commands of this ticket took all the time there was")))
            }
        }
    }

    /// Sends a recorded command, or finds out what became of it.
    async fn carry_out(
        &self,
        record: &CommandRecord,
        request: &ActionRequest,
        state: &TicketState,
        deadline: Instant,
    ) -> Result<Carried, DeskError> {
        let api = self.api(&request.bot)?.for_caller(Caller::client(&request.principal));
        let (uuid, id) = (record.command.id, record.command.id.to_string());
        let mut carrier = Carrier::new(self, api.as_ref(), &id, request, state, record, deadline);
        let outcome = match carrier.vouch(state).await {
            Ok(()) => carrier.carry().await,
            Err(outcome) => outcome,
        };
        Ok(carried(uuid, request, state, carrier, outcome))
    }

    /// The command an earlier request of this id began, so that its repetition need not wait for the ticket.
    pub(super) async fn earlier(&self, request: &ActionRequest) -> Result<Option<CommandRecord>, DeskError> {
        let Some((principal, request_id)) = name_of(request) else { return Ok(None) };
        let found = self.ledger.command(CommandKey::Request { principal, request_id }).await?;
        match found {
            Some(record) if !is_held(&record, self.clock.now()) => Ok(None),
            Some(record) if record.command.fingerprint != request.fingerprint() => {
                Err(DeskError::Conflict(Box::new(record)))
            }
            found => Ok(found),
        }
    }

    /// Answers what became of an earlier request, once that is known.
    async fn answer_again(&self, record: CommandRecord, deadline: Instant) -> Result<Done, DeskError> {
        let record = if record.end.is_none() { self.once_ended(record, deadline).await? } else { record };
        self.metrics.replayed();
        self.answer(record, true).await
    }

    /// A command that runs without its caller, once it has an end, or the time is over.
    async fn once_ended(&self, record: CommandRecord, deadline: Instant) -> Result<CommandRecord, DeskError> {
        let id = record.command.id;
        let Ok(turn) = timeout_at(deadline, self.ends.turn(id)).await else { return Ok(record) };
        drop(turn);
        Ok(self.ledger.command(CommandKey::Id(id)).await?.unwrap_or(record))
    }

    /// A record as its caller's answer. The ticket beside it is a courtesy: not to read it changes no outcome.
    pub(super) async fn answer(&self, record: CommandRecord, replayed: bool) -> Result<Done, DeskError> {
        match record.end.as_ref().map(|end| &end.outcome) {
            Some(Outcome::Done | Outcome::AlreadyClosed) => {
                Ok(Done { ticket: self.ticket_after(&record).await, record, replayed })
            }
            Some(Outcome::Failed(_) | Outcome::Unknown(_)) | None => {
                Err(DeskError::Ended { record: Box::new(record), replayed })
            }
        }
    }

    /// The ticket that an answer shows.
    pub(super) async fn ticket_after(&self, record: &CommandRecord) -> Option<Ticket> {
        let command = &record.command;
        let ticket_id = match record.end.as_ref().and_then(|end| end.returned.as_ref()) {
            Some(Returned::Ticket(opened)) => opened,
            Some(Returned::Document { .. }) => return None,
            None if matches!(command.method.as_str(), "Send" | "Transfer" | "Create") => return None,
            None => &command.ticket_id,
        };
        let state = self.log.ticket(&command.bot, ticket_id).await.unwrap_or_else(|error| {
            tracing::warn!(command.id = %command.id, %error, "a command's ticket could not be read");
            None
        });
        state.and_then(|state| state.ticket)
    }

    /// Whether the store may take later what it did not take now. One that failed for good says so.
    fn passes(&self, error: &AppendError) -> bool {
        match error {
            AppendError::Busy | AppendError::Full => true,
            AppendError::Unavailable(_) => !matches!(*self.log.health().borrow(), Health::Failed(_)),
            AppendError::Unknown(_) => false,
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
        self.settle_with(id, end, || events.clone()).await
    }

    /// The same with events that are looked at again at each try.
    async fn settle_with(
        &self,
        id: Uuid,
        end: End,
        mut events: impl FnMut() -> Vec<NewEvent> + Send,
    ) -> Result<CommandRecord, DeskError> {
        let write = || self.ledger.settle(id, end.clone(), events());
        self.until_stored(&format!("the end of command {id}"), write).await.map_err(|error| {
            let what = format!("what became of the command is known, but could not be recorded: {error}");
            DeskError::Fault(unknown(what).with("command_id", &id))
        })
    }

    /// Stores something, trying on while the store cannot and nobody says that it is enough.
    pub(super) async fn until_stored<T, F>(
        &self,
        what: &str,
        mut write: impl FnMut() -> F + Send,
    ) -> Result<T, AppendError>
    where
        F: Future<Output = Result<T, AppendError>> + Send,
    {
        let mut told = false;
        let mut pause = SETTLE_PAUSE;
        loop {
            let error = match write().await {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            if !std::mem::replace(&mut told, true) {
                tracing::error!(what, %error, "a command's progress could not be recorded; trying on");
            }
            if !self.passes(&error) || self.shutdown.hard().is_cancelled() {
                return Err(error);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.hard().cancelled() => {}
            }
            pause = pause.saturating_mul(2).min(SETTLE_PAUSE_MAX);
        }
    }
}

/// An action's end and its events, from what its carrier found.
pub(super) fn carried(
    id: Uuid,
    request: &ActionRequest,
    state: &TicketState,
    carrier: Carrier<'_>,
    outcome: Outcome,
) -> Carried {
    let end = carrier.end(outcome);
    let Carrier { learnt, made, labels, late, .. } = carrier;
    let (bot, ticket_id, action) = (request.bot.as_str(), request.ticket_id.as_str(), &request.action);
    let deed = Deed { id, bot, ticket_id, action, state, made: made.as_ref(), late };
    let events = match end.outcome {
        Outcome::Done => echo(deed),
        Outcome::AlreadyClosed | Outcome::Failed(_) | Outcome::Unknown(_) => {
            let labels = labels.and_then(|labels| labelled(deed, labels));
            labels.into_iter().chain(learnt.map(|ticket| read_back(id, bot, ticket))).collect()
        }
    };
    Carried { end, events, made }
}

/// What a request must not share with another: its bot, and the ticket or customer it is about.
pub(super) fn lane_of(request: &ActionRequest) -> Option<(String, String)> {
    request.action.lane(&request.ticket_id).map(|lane| (request.bot.clone(), lane))
}

/// The fault of a command that the store broke off while recording. What was to be queued is sent after the next start,
/// if it was recorded; what was to be sent at once is not sent any more, but its record may hold its request id.
fn perhaps_recorded(id: Uuid, accept_only: bool, is_named: bool) -> Fault {
    let fault = if accept_only {
        unknown(
            "the gateway's store broke off while recording the command; if it was recorded, it is carried out once the \
             gateway is started again, and GetCommand tells so",
        )
    } else {
        let fault = Fault::new(
            "STORE_UNAVAILABLE",
            "the gateway's store broke off while recording the command; nothing was sent and nothing will be, but the \
             request_id may be taken: use another one",
        );
        if is_named { fault } else { fault.passing() }
    };
    fault.with("command_id", &id)
}

/// The fault of a wait that would take longer than its caller.
pub(super) fn no_time(why: &str) -> Fault {
    Fault::new("QUOTA_EXCEEDED", why).with("retry_after_ms", &1000).passing()
}

/// What a request is known by that its caller named: the caller, and the name.
pub(super) fn name_of(request: &ActionRequest) -> Option<(String, String)> {
    let ActionRequest { principal, request_id, .. } = request;
    (!request_id.is_empty()).then(|| (principal.clone(), request_id.clone()))
}

/// A command to be recorded; `memo` is the request as [`memo::write`](super::memo::write) wrote it.
pub(super) fn new_command(id: Uuid, request: &ActionRequest, memo: String) -> NewCommand {
    NewCommand {
        id,
        method: request.action.method().to_owned(),
        bot: request.bot.clone(),
        ticket_id: request.ticket_id.clone(),
        principal: request.principal.clone(),
        request_id: request.request_id.clone(),
        fingerprint: request.fingerprint(),
        memo,
        accept_only: request.accept_only,
    }
}
