//! Action → outcome, at most once per request id: recorded before anything is sent, one per ticket at a time,
//! looked for when in doubt, and settled together with the event that tells the log's readers. What nobody waits for is
//! queued, and outlives the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::blip::{BlipApi, Kind};
use crate::clock::{Clock, Ids};
use crate::domain::{ActionRequest, Fault, Outcome, Ticket};
use crate::shutdown::Shutdown;
use crate::store::{
    AppendError, CommandKey, CommandRecord, CommandsWanted, EventLog, Ledger, Page, ReadError,
};

use super::lanes::Lanes;

mod call;
mod carry;
mod credit;
mod echo;
mod follow;
mod gate;
mod look;
mod memo;
mod metrics;
mod missing;
mod queue;
mod reads;
mod recover;
mod room;
mod rota;
mod run;
#[cfg(test)]
mod tests;

pub(super) use carry::unread;
pub use metrics::CommandMetrics;
pub use reads::{AtBlip, Messages, TicketView};

use call::{Call, Caller};
use gate::Gate;
use room::{Limits, Room};
use rota::Rota;

/// How much of a caller's time is kept for telling it what is known.
const ANSWER_RESERVE: Duration = Duration::from_millis(250);

/// Queued commands of a bot that are carried out at once, of each kind that has a rate: what is more would only wait for its rate.
const QUEUED_AT_ONCE: usize = 16;

/// Calls whose commands have no end yet, over all bots: some times as many as may wait for a bot's rate.
const CALLS_MAX: usize = 4_096;

/// What these ask, in bytes.
const CALLS_BYTES_MAX: usize = 128 << 20;

/// What commands that wait may ask, in bytes: as much as one of the usual size from each of many thousand callers.
const QUEUED_BYTES_MAX: usize = 256 << 20;

/// What the way out stands on.
#[derive(Debug)]
pub struct DeskParts {
    /// What is known of tickets.
    pub log: Arc<dyn EventLog>,
    /// Where commands are recorded.
    pub ledger: Arc<dyn Ledger>,
    /// Each bot's way to Blip, by short name.
    pub bots: BTreeMap<String, Arc<dyn BlipApi>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Names commands.
    pub ids: Arc<dyn Ids>,
    /// When to stop.
    pub shutdown: Shutdown,
    /// What is counted.
    pub metrics: CommandMetrics,
    /// What callers may leave to be done.
    pub queue: QueueLimits,
}

/// What callers may leave to be done without waiting for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// How long a command is tried.
    pub expiry: Duration,
    /// Commands that may wait at once, over all bots; of one client and bot, where there are others, four fifths of them.
    pub commands_max: usize,
    /// What they ask, in bytes, as they are recorded.
    pub bytes_max: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { expiry: Duration::from_hours(24), commands_max: 10_000, bytes_max: QUEUED_BYTES_MAX }
    }
}

/// The way out.
#[derive(Debug, Clone)]
pub struct Desk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Arc<dyn EventLog>,
    ledger: Arc<dyn Ledger>,
    bots: BTreeMap<String, Bot>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    shutdown: Shutdown,
    metrics: CommandMetrics,
    queue: QueueLimits,
    /// Room for commands that wait.
    room: Arc<Room>,
    /// Room for calls, from their beginning to their command's end, whether or not their callers are still there.
    calls: Arc<Room>,
    /// Whether what an earlier process left has its places in the lanes.
    ready: watch::Sender<bool>,
    /// Callers of one request id, by principal and id.
    requests: Lanes<(String, String)>,
    /// Commands of one ticket, by bot and ticket.
    tickets: Lanes<(String, String)>,
    /// Callers that queue a command on one ticket: they are recorded in the order of their places.
    doors: Lanes<(String, String)>,
    /// Held by a command that runs without its caller, until its end is recorded.
    ends: Lanes<Uuid>,
    /// Room for commands whose end is looked for on.
    followed: Arc<Semaphore>,
    /// Looks for what became of commands, a few at once.
    looks: Semaphore,
}

/// One bot's way out.
#[derive(Debug)]
struct Bot {
    api: Arc<dyn BlipApi>,
    gate: Gate,
    /// Of what is sent on `/commands`, and on `/messages`: each has a rate of its own, and neither waits for the other's.
    commands: Arc<Rota>,
    messages: Arc<Rota>,
}

impl Bot {
    fn new(api: Arc<dyn BlipApi>) -> Self {
        let rota = || Rota::new(QUEUED_AT_ONCE);
        Self { api, gate: Gate::default(), commands: rota(), messages: rota() }
    }

    fn rota(&self, kind: Kind) -> &Arc<Rota> {
        match kind {
            Kind::Command => &self.commands,
            Kind::Message => &self.messages,
        }
    }
}

/// An action that did what was asked, or, where its caller does not wait, is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Its record: the outcome is `Done` or `AlreadyClosed`, or none yet.
    pub record: CommandRecord,
    /// The answer is an earlier one, given again.
    pub replayed: bool,
    /// The ticket as the log knows it now: of a transfer, and of a new ticket, the one that was opened.
    pub ticket: Option<Ticket>,
}

/// Why an action did not do what was asked, or a question has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DeskError {
    /// The caller named a bot that is not configured.
    #[error("no bot is called {bot}; configured: {}", known.join(", "))]
    BotUnknown {
        /// The name given.
        bot: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The caller named none, and neither the ticket nor the configuration tells which.
    #[error("which bot is meant? Name one of: {}", candidates.join(", "))]
    BotNeeded {
        /// The names there are.
        candidates: Vec<String>,
    },
    /// The request id was used for another request.
    #[error("request_id was used before, for another {} (command {})", .0.command.method, .0.command.id)]
    Conflict(Box<CommandRecord>),
    /// It was recorded, and it failed, or its end is not known: see the record's outcome.
    #[error("{}", ended(record))]
    Ended {
        /// The record.
        record: Box<CommandRecord>,
        /// The answer is an earlier one, given again.
        replayed: bool,
    },
    /// It failed, or would fail, without leaving a record.
    #[error("{}", .0.message)]
    Fault(Fault),
    /// The store could not record it.
    #[error(transparent)]
    Store(#[from] AppendError),
    /// The store could not read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

fn ended(record: &CommandRecord) -> String {
    match record.end.as_ref().map(|end| &end.outcome) {
        Some(Outcome::Failed(fault) | Outcome::Unknown(fault)) => fault.message.clone(),
        Some(Outcome::Done | Outcome::AlreadyClosed) | None => {
            "the command's end is not known yet".to_owned()
        }
    }
}

impl Desk {
    /// The way out over `parts`.
    pub fn new(parts: DeskParts) -> Self {
        let DeskParts { log, ledger, bots, clock, ids, shutdown, metrics, queue } = parts;
        let bots: BTreeMap<_, _> = bots.into_iter().map(|(name, api)| (name, Bot::new(api))).collect();
        let room = |count_max, bytes_max| Room::new(Limits { count_max, bytes_max }, bots.len());
        let (calls, room) = (room(CALLS_MAX, CALLS_BYTES_MAX), room(queue.commands_max, queue.bytes_max));
        let inner = Inner {
            log,
            ledger,
            bots,
            clock,
            ids,
            shutdown,
            metrics,
            queue,
            room,
            calls,
            ready: watch::Sender::new(true),
            requests: Lanes::default(),
            tickets: Lanes::default(),
            doors: Lanes::default(),
            ends: Lanes::default(),
            followed: Arc::new(Semaphore::new(follow::FOLLOWED_MAX)),
            looks: Semaphore::new(follow::LOOKS_AT_ONCE),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The short names of its bots.
    pub fn bots(&self) -> Vec<String> {
        self.inner.bots.keys().cloned().collect()
    }

    /// Carries out an action, or answers what became of it before; where its caller does not wait, only records it.
    /// Ends by `deadline`; hanging up changes nothing, as the work is a task of its own.
    pub async fn execute(&self, request: ActionRequest, deadline: Instant) -> Result<Done, DeskError> {
        let inner = &self.inner;
        inner.api(&request.bot)?;
        if inner.shutdown.is_draining() {
            return Err(DeskError::Fault(call::stopping()));
        }
        // Its own waits end a little earlier, so that the caller hears which of them ended.
        let left = deadline.saturating_duration_since(Instant::now());
        let inner_deadline = deadline.checked_sub(ANSWER_RESERVE.min(left / 10)).unwrap_or(deadline);
        // Before anything is waited for: who hangs up leaves it waiting.
        let memo = memo::write(&request);
        let room = match inner.calls.try_take(&request.bot, &request.principal, memo.len()) {
            Ok(room) => room,
            Err(why) => {
                let fault = run::no_time(&format!("there is no room for the call: {why}"));
                return inner.answer_at_once(&request, fault, deadline).await;
            }
        };
        let call = Arc::new(Call::default());
        let _caller = Caller(Arc::clone(&call));
        let request = Arc::new(request);
        let run = Arc::clone(inner).run((Arc::clone(&request), memo), inner_deadline, Arc::clone(&call));
        let run = async move {
            let answer = run.await;
            drop(room);
            answer
        };
        let ended = tokio::select! {
            // What is there to be told is told.
            biased;
            ended = timeout_at(deadline, inner.shutdown.spawn(run)) => ended,
            () = inner.shutdown.parting().cancelled() => return inner.last_word(&call, &request).await,
        };
        let told = match ended {
            Ok(Ok(answer)) => return answer,
            Ok(Err(join)) => unknown(format!("the command's task broke off: {join}")),
            Err(_) => unknown(
                "the time ran out before the command's end was known; GetCommand by request_id tells it later",
            ),
        };
        Err(DeskError::Fault(match call.begun() {
            Some(id) => told.with("command_id", &id),
            None => told,
        }))
    }

    /// Says what [`execute`](Self::execute) would refuse, or answer again, without asking Blip; records and sends nothing.
    /// Answers the ticket as the log knows it.
    pub async fn validate(&self, request: &ActionRequest) -> Result<Option<Ticket>, DeskError> {
        self.inner.api(&request.bot)?;
        if let Some(earlier) = self.inner.earlier(request).await? {
            return match earlier.end {
                None => Ok(self.inner.ticket_after(&earlier).await),
                Some(_) => self.inner.answer(earlier, true).await.map(|done| done.ticket),
            };
        }
        let state = self.inner.log.ticket(&request.bot, &request.ticket_id).await?.unwrap_or_default();
        match request.judge(&state) {
            Some(Outcome::Failed(fault) | Outcome::Unknown(fault)) => Err(DeskError::Fault(fault)),
            Some(Outcome::Done | Outcome::AlreadyClosed) | None => Ok(state.ticket),
        }
    }

    /// The bot a request is about: the one named, else the only one that has the ticket, else the only one.
    pub async fn bot_of(&self, bot: &str, ticket_id: &str) -> Result<String, DeskError> {
        let inner = &self.inner;
        if !bot.is_empty() {
            return inner.api(bot).map(|_| bot.to_owned());
        }
        let mut bots = inner.bots.keys();
        if let (Some(only), None) = (bots.next(), bots.next()) {
            return Ok(only.clone());
        }
        let mut having = inner.log.bots_of(ticket_id).await?;
        having.retain(|name| inner.bots.contains_key(name));
        match (having.pop(), having.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(DeskError::BotNeeded { candidates: inner.bots.keys().cloned().collect() }),
            (Some(last), false) => {
                having.push(last);
                Err(DeskError::BotNeeded { candidates: having })
            }
        }
    }

    /// A recorded command.
    pub async fn command(&self, key: CommandKey) -> Result<Option<CommandRecord>, DeskError> {
        Ok(self.inner.ledger.command(key).await?)
    }

    /// A page of recorded commands, without the documents that Blip answered to them.
    pub async fn commands(&self, wanted: CommandsWanted) -> Result<Page<CommandRecord>, DeskError> {
        Ok(self.inner.ledger.commands(wanted).await?)
    }

    /// Takes up, in the background, what an earlier process left: what it queued is sent, each ticket's in its order;
    /// what it began and did not settle is looked for, and never sent again.
    pub fn recover(&self) {
        let inner = Arc::clone(&self.inner);
        inner.ready.send_replace(false);
        drop(self.inner.shutdown.spawn(inner.recover()));
    }
}

impl Inner {
    fn bot(&self, bot: &str) -> Result<&Bot, DeskError> {
        self.bots.get(bot).ok_or_else(|| DeskError::BotUnknown {
            bot: bot.to_owned(),
            known: self.bots.keys().cloned().collect(),
        })
    }

    fn api(&self, bot: &str) -> Result<Arc<dyn BlipApi>, DeskError> {
        self.bot(bot).map(|bot| Arc::clone(&bot.api))
    }
}

/// The fault of an end that is not known.
fn unknown(message: impl Into<String>) -> Fault {
    Fault::new("OUTCOME_UNKNOWN", message)
}
