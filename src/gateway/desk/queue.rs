//! Commands whose callers do not wait. They are durable when accepted, wait while Blip cannot be reached, go out one after
//! the other on each ticket, and say by `command.settled` how they ended. None is marked as perhaps sent before it is
//! about to be: whatever it has to wait for, the bot's rate too, it waits for before that mark, and after a try that did
//! nothing the mark is taken off before it waits again. (Only where a turn is lost, it waits for
//! another one with it: the store held up the mark itself, or a whole window's calls went between a command's two turns.)

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::blip::{BlipApi, Caller, Kind};
use crate::domain::translate::{self, Step};
use crate::domain::{ActionRequest, Fault, Outcome, TicketState};
use crate::store::{Begun, CommandKey, CommandRecord};

use super::super::lanes::{Place, Turn};
use super::call::Call;
use super::carry::{Carrier, fault_of};
use super::echo::settled;
use super::room::Held;
use super::rota::Slot;
use super::run::{Carried, carried, lane_of, new_command, no_time};
use super::{Bot, DeskError, Done, Inner, memo};

/// How long one try may wait for the bot's rate, and then take: a little more than Blip's own limit.
const TRY_TIMEOUT: Duration = Duration::from_secs(70);
/// The pause after a try that failed without an effect; doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What a queued command holds until it has its end.
pub(super) struct Queued {
    pub(super) id: Uuid,
    /// Its place among its ticket's commands.
    pub(super) place: Option<Place>,
    /// Held for those who wait for its end.
    pub(super) ended: Turn,
    pub(super) room: Held,
}

/// What becomes of a queued command once it has waited.
enum Ready {
    /// It can be sent, by this way, which waits for nothing.
    Due(Arc<dyn BlipApi>, Slot),
    /// It has its end without being sent.
    Ended(Box<Carried>),
    /// There was no turn for it in time, or Blip did not tell of its ticket: try again so much later.
    Later(Duration),
}

/// What to do with a queued command next.
enum Next {
    /// It has its end, or the process stops.
    Leave,
    /// Nothing was sent: try again so much later.
    Again(Duration),
}

impl Inner {
    /// Records a command, and leaves it to be done.
    pub(super) async fn accept(
        self: Arc<Self>,
        (request, memo): (&ActionRequest, String),
        deadline: Instant,
        call: &Call,
    ) -> Result<Done, DeskError> {
        if let Some(earlier) = self.earlier(request).await? {
            self.metrics.replayed();
            return self.accepted(earlier, true).await;
        }
        let command = new_command(self.ids.next(), request, memo);
        let room = self.room.try_take(&command.bot, &command.principal, command.memo.len());
        let told = |why| format!("there is no room for the command, see commands.queue_max: {why}");
        let room = room.map_err(|why| DeskError::Fault(no_time(&told(why))))?;
        let lane = lane_of(request);
        let (_door, place) = match lane {
            None => (None, None),
            Some(lane) => {
                let Ok(door) = timeout_at(deadline, self.doors.turn(lane.clone())).await else {
                    return Err(DeskError::Fault(no_time(
                        "earlier commands of this ticket are still being recorded",
                    )));
                };
                (Some(door), Some(self.tickets.place(lane).await))
            }
        };
        // Before anybody can find the command, and wait for its end.
        let ended = self.ends.turn(command.id).await;
        let (record, state) = match self.begin(command, call).await? {
            Begun::Fresh(record, state) => (record, *state),
            Begun::Known(record) => return self.accepted(record, true).await,
            Begun::Conflict(record) => return Err(DeskError::Conflict(Box::new(record))),
        };
        let id = record.command.id;
        // What is sure to fail is told at once, by the answer.
        if let Some(outcome) = request.judge(&state) {
            let Carried { end, .. } = Carried::at_once(outcome);
            let record = self.settle(id, end, Vec::new()).await?;
            return self.answer(record, false).await;
        }
        let queued = Queued { id, place, ended, room };
        drop(self.shutdown.spawn(Arc::clone(&self).post(queued)));
        self.accepted(record, false).await
    }

    /// The answer to a caller that does not wait: whatever there is.
    pub(super) async fn accepted(&self, record: CommandRecord, replayed: bool) -> Result<Done, DeskError> {
        if record.end.is_some() {
            return self.answer(record, replayed).await;
        }
        Ok(Done { ticket: self.ticket_after(&record).await, record, replayed })
    }

    /// Carries a queued command out, however often that takes. Ends early when the process stops: the next one goes on.
    pub(super) async fn post(self: Arc<Self>, queued: Queued) {
        let Queued { id, place, ended, room } = queued;
        self.metrics.waits(1);
        let turn = match place {
            None => Some(None),
            Some(place) => tokio::select! {
                turn = place.turn() => Some(Some(turn)),
                () = self.shutdown.soft().cancelled() => None,
            },
        };
        if let Some(turn) = turn {
            self.post_in_turn(id).await;
            drop(turn);
        }
        drop((ended, room));
        self.metrics.waits(-1);
    }

    async fn post_in_turn(self: &Arc<Self>, id: Uuid) {
        let mut pause = PAUSE_MIN;
        while !self.shutdown.is_draining() {
            match self.try_post(id).await {
                Ok(Next::Leave) => return,
                Ok(Next::Again(at_least)) => self.wait(pause.max(at_least)).await,
                Err(error) => {
                    tracing::warn!(command.id = %id, %error, "a queued command could not be taken up; trying on");
                    self.wait(pause).await;
                }
            }
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    /// Waits, but not past a stop.
    async fn wait(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.shutdown.soft().cancelled() => {}
        }
    }

    /// One try of a queued command. What may last comes first, then its mark as perhaps sent, then the call.
    async fn try_post(self: &Arc<Self>, id: Uuid) -> Result<Next, DeskError> {
        let waits = |it: &CommandRecord| it.end.is_none() && it.start_time.is_none();
        let Some(record) = self.ledger.command(CommandKey::Id(id)).await?.filter(waits) else {
            return Ok(Next::Leave);
        };
        let Some(request) = memo::request_of(&record.command) else {
            let fault = Fault::new("INTERNAL", "its record is of another version, and was not sent");
            return self.end_queued(&record, Carried::at_once(Outcome::Failed(fault))).await;
        };
        let Ok(bot) = self.bot(&request.bot) else {
            let what = format!("the bot {} is not configured any more", request.bot);
            let fault = Fault::new("BOT_UNKNOWN", what).with("bot", &request.bot);
            return self.end_queued(&record, Carried::at_once(Outcome::Failed(fault))).await;
        };
        let left = self.left_of(&record);
        let ready = tokio::select! {
            ready = self.until_due(bot, &record, &request) => ready?,
            () = tokio::time::sleep(left) => return self.expire(&record).await,
            () = self.shutdown.soft().cancelled() => return Ok(Next::Leave),
        };
        let (api, slot) = match ready {
            Ready::Due(api, slot) => (api, slot),
            Ready::Ended(carried) => return self.end_queued(&record, *carried).await,
            Ready::Later(pause) => return Ok(Next::Again(pause)),
        };
        if self.left_of(&record).is_zero() {
            return self.expire(&record).await;
        }
        let Some((record, state)) = self.ledger.start(id).await? else { return Ok(Next::Leave) };
        let sent = self.send_queued(bot, api.as_ref(), &record, &request, &state).await;
        drop(slot);
        // From here on it was perhaps sent: only a look after the next start may say what became of it.
        sent.or_else(|error| {
            tracing::error!(command.id = %id, %error, "what became of a queued command could not be recorded");
            Ok(Next::Leave)
        })
    }

    /// Waits for everything that must be before a queued command can be sent: its client's turn among the bot's, a Blip
    /// that answers, and tells of the ticket where nothing else does, and the bot's rate. It sends nothing.
    async fn until_due(
        &self,
        bot: &Bot,
        record: &CommandRecord,
        request: &ActionRequest,
    ) -> Result<Ready, DeskError> {
        let (uuid, id) = (record.command.id, record.command.id.to_string());
        let steps = translate::steps_of(&id, &request.ticket_id, &request.action);
        let kind = match steps.first() {
            Some(Step::Message(_)) => Kind::Message,
            Some(Step::Command { .. }) | None => Kind::Command,
        };
        let slot = bot.rota(kind).slot(&request.principal).await;
        bot.gate.pass(&bot.api, || self.ids.next().to_string()).await;
        let state = self.log.ticket(&request.bot, &request.ticket_id).await?.unwrap_or_default();
        // What is sure to fail is to take nobody's turn.
        if let Some(outcome) = request.judge(&state) {
            return Ok(Ready::Ended(Box::new(Carried::at_once(outcome))));
        }
        let deadline = Instant::now() + TRY_TIMEOUT;
        let api = Arc::clone(&bot.api).for_caller(Caller::client(&request.principal));
        let mut carrier = Carrier::new(self, api.as_ref(), &id, request, &state, record, deadline);
        let fault = match carrier.vouch_patiently(&state).await {
            Ok(Ok(())) => match Arc::clone(&api).turns(kind, steps.len(), deadline).await {
                Ok(api) => return Ok(Ready::Due(api, slot)),
                Err(error) => fault_of(&error, ""),
            },
            Ok(Err(outcome)) => {
                return Ok(Ready::Ended(Box::new(carried(uuid, request, &state, carrier, outcome))));
            }
            Err(fault) => fault,
        };
        if is_silence(&fault) {
            bot.gate.silent();
        }
        Ok(Ready::Later(retry_after(&fault)))
    }

    /// Sends a command that is marked as perhaps sent, at once.
    async fn send_queued(
        self: &Arc<Self>,
        bot: &Bot,
        api: &dyn BlipApi,
        record: &CommandRecord,
        request: &ActionRequest,
        state: &TicketState,
    ) -> Result<Next, DeskError> {
        let carried = if let Some(outcome) = request.judge(state) {
            Carried::at_once(outcome)
        } else {
            let (uuid, id) = (record.command.id, record.command.id.to_string());
            let deadline = Instant::now() + TRY_TIMEOUT;
            let mut carrier = Carrier::new(self, api, &id, request, state, record, deadline);
            carrier.queued = true;
            let outcome = carrier.carry().await;
            carried(uuid, request, state, carrier, outcome)
        };
        match &carried.end.outcome {
            Outcome::Failed(fault) if fault.frees_request_id => {
                if is_silence(fault) {
                    bot.gate.silent();
                }
                let again = Next::Again(retry_after(fault));
                self.requeue(record.command.id).await?;
                // What it found, or did before it failed, is so whatever becomes of it.
                if !carried.events.is_empty() {
                    let write = || self.log.append(carried.events.clone());
                    self.until_stored("what a queued command found", write).await?;
                }
                Ok(again)
            }
            Outcome::Unknown(_) => {
                bot.gate.silent();
                self.end_queued(record, carried).await
            }
            Outcome::Done | Outcome::AlreadyClosed | Outcome::Failed(_) => {
                bot.gate.answered();
                self.end_queued(record, carried).await
            }
        }
    }

    /// Notes that nothing was sent, trying on while the store cannot: else a restart would not dare to send it.
    async fn requeue(&self, id: Uuid) -> Result<(), DeskError> {
        let what = format!("that nothing was sent of command {id}");
        Ok(self.until_stored(&what, || self.ledger.requeue(id)).await?)
    }

    /// How much of its time a queued command has left.
    fn left_of(&self, record: &CommandRecord) -> Duration {
        let age = self.clock.now().duration_since(record.accept_time).max(SignedDuration::ZERO);
        self.queue.expiry.saturating_sub(age.unsigned_abs())
    }

    async fn expire(self: &Arc<Self>, record: &CommandRecord) -> Result<Next, DeskError> {
        let after = self.queue.expiry.as_secs();
        let message = format!("Blip could not be asked within {after} s of its acceptance; nothing was sent");
        let fault = Fault::new("COMMAND_EXPIRED", message).passing();
        self.end_queued(record, Carried::at_once(Outcome::Failed(fault))).await
    }

    /// Records a queued command's end, and tells it.
    async fn end_queued(
        self: &Arc<Self>,
        record: &CommandRecord,
        carried: Carried,
    ) -> Result<Next, DeskError> {
        let Carried { end, mut events, made } = carried;
        events.push(settled(record, &end, made.as_ref()));
        let record = self.settle(record.command.id, end, events).await?;
        if let Some(end) = &record.end {
            let took = self.clock.now().duration_since(record.accept_time).max(SignedDuration::ZERO);
            self.metrics.settled(&record.command.method, &end.outcome, took.unsigned_abs());
        }
        self.follow(&record);
        Ok(Next::Leave)
    }
}

/// Whether a fault says that Blip does not answer.
fn is_silence(fault: &Fault) -> bool {
    matches!(fault.reason.as_str(), "BLIP_UNAVAILABLE" | "BLIP_CIRCUIT_OPEN")
}

/// How long a fault says to wait.
fn retry_after(fault: &Fault) -> Duration {
    let told = fault.metadata.iter().find(|(key, _)| key == "retry_after_ms");
    Duration::from_millis(told.and_then(|(_, millis)| millis.parse().ok()).unwrap_or_default())
}
