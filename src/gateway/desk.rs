//! Action → outcome, at most once per request id: recorded before anything is sent, one per ticket at a time,
//! looked for when in doubt, and settled together with the event that tells the log's readers.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::blip::BlipApi;
use crate::clock::{Clock, Ids};
use crate::domain::{ActionRequest, Fault, Outcome, Ticket, translate};
use crate::lime::ReplyStatus;
use crate::shutdown::Shutdown;
use crate::store::{AppendError, CommandKey, CommandRecord, EventLog, Ledger, ReadError};

use super::lanes::Lanes;

mod carry;
mod memo;
mod metrics;
mod recover;
mod run;
#[cfg(test)]
mod tests;

pub(super) use carry::unread;
pub use metrics::CommandMetrics;

/// How much of a caller's time is kept for telling it what is known.
const ANSWER_RESERVE: Duration = Duration::from_millis(250);

/// The way out.
#[derive(Debug, Clone)]
pub struct Desk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Arc<dyn EventLog>,
    ledger: Arc<dyn Ledger>,
    bots: BTreeMap<String, Arc<dyn BlipApi>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    shutdown: Shutdown,
    metrics: CommandMetrics,
    /// Callers of one request id, by principal and id.
    requests: Lanes<(String, String)>,
    /// Commands of one ticket, by bot and ticket.
    tickets: Lanes<(String, String)>,
}

/// An action that did what was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Its record: the outcome is `Done` or `AlreadyClosed`.
    pub record: CommandRecord,
    /// The answer is an earlier one, given again.
    pub replayed: bool,
    /// The ticket as the log knows it now.
    pub ticket: Option<Ticket>,
}

/// A ticket, and how we know.
#[derive(Debug, Clone, PartialEq)]
pub struct TicketView {
    /// The document.
    pub ticket: Ticket,
    /// Its newest event; 0 for a ticket we never saw.
    pub ticket_sequence: u64,
    /// Blip was asked.
    pub fresh: bool,
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
    /// The way out for `bots`, by short name.
    pub fn new(
        log: Arc<dyn EventLog>,
        ledger: Arc<dyn Ledger>,
        bots: BTreeMap<String, Arc<dyn BlipApi>>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        shutdown: Shutdown,
        metrics: CommandMetrics,
    ) -> Self {
        let (requests, tickets) = (Lanes::default(), Lanes::default());
        Self {
            inner: Arc::new(Inner { log, ledger, bots, clock, ids, shutdown, metrics, requests, tickets }),
        }
    }

    /// The short names of its bots.
    pub fn bots(&self) -> Vec<String> {
        self.inner.bots.keys().cloned().collect()
    }

    /// Carries out an action, or answers what became of it before. Ends by `deadline`; hanging up changes
    /// nothing, as the work is a task of its own.
    pub async fn execute(&self, request: ActionRequest, deadline: Instant) -> Result<Done, DeskError> {
        let inner = &self.inner;
        inner.api(&request.bot)?;
        if inner.shutdown.is_draining() {
            let fault = Fault::new("STREAM_DRAINING", "the gateway is stopping; ask again in a moment");
            return Err(DeskError::Fault(fault.passing()));
        }
        // Its own waits end a little earlier, so that the caller hears which of them ended.
        let left = deadline.saturating_duration_since(Instant::now());
        let inner_deadline = deadline.checked_sub(ANSWER_RESERVE.min(left / 10)).unwrap_or(deadline);
        let begun = Arc::new(OnceLock::new());
        let run = Arc::clone(inner).run(request, inner_deadline, Arc::clone(&begun));
        let told = match tokio::time::timeout_at(deadline, inner.shutdown.spawn(run)).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(join)) => unknown(format!("the command's task broke off: {join}")),
            Err(_) => unknown(
                "the time ran out before the command's end was known; GetCommand by request_id tells it later",
            ),
        };
        Err(DeskError::Fault(match begun.get() {
            Some(id) => told.with("command_id", id),
            None => told,
        }))
    }

    /// Says what [`execute`](Self::execute) would refuse without asking Blip; records and sends nothing.
    /// Answers the ticket as the log knows it.
    pub async fn validate(&self, request: &ActionRequest) -> Result<Option<Ticket>, DeskError> {
        self.inner.api(&request.bot)?;
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

    /// A ticket as the log knows it, or as Blip does if `fresh` or never seen. `None` if neither knows it.
    pub async fn ticket(
        &self,
        bot: &str,
        ticket_id: &str,
        fresh: bool,
        deadline: Instant,
    ) -> Result<Option<TicketView>, DeskError> {
        let api = self.inner.api(bot)?;
        let state = self.inner.log.ticket(bot, ticket_id).await?.unwrap_or_default();
        let ticket_sequence = state.last_sequence;
        match state.ticket {
            Some(ticket) if !fresh => Ok(Some(TicketView { ticket, ticket_sequence, fresh: false })),
            _ => {
                let id = self.inner.ids.next().to_string();
                let command = translate::get_ticket(&id, ticket_id);
                let asked = api.command(&command, deadline).await;
                let reply = asked.map_err(|error| DeskError::Fault(carry::unread(&error, &command.uri.0)))?;
                match reply.status {
                    ReplyStatus::Success(resource) => Ok(resource.as_object().map(|object| TicketView {
                        ticket: translate::ticket_of(object),
                        ticket_sequence,
                        fresh: true,
                    })),
                    ReplyStatus::Failure(reason) if reason.code == Some(67) => Ok(None),
                    ReplyStatus::Failure(reason) => {
                        Err(DeskError::Fault(translate::refusal("GetTicket", &command.uri.0, &reason)))
                    }
                    ReplyStatus::Pending => {
                        Err(DeskError::Fault(Fault::new("BLIP_UNAVAILABLE", "Blip did not answer").passing()))
                    }
                }
            }
        }
    }

    /// A recorded command.
    pub async fn command(&self, key: CommandKey) -> Result<Option<CommandRecord>, DeskError> {
        Ok(self.inner.ledger.command(key).await?)
    }

    /// Looks, in the background, for what became of commands that an earlier process began and did not
    /// settle. Nothing is sent again.
    pub fn recover(&self) {
        let inner = Arc::clone(&self.inner);
        drop(self.inner.shutdown.spawn(inner.recover()));
    }
}

impl Inner {
    fn api(&self, bot: &str) -> Result<Arc<dyn BlipApi>, DeskError> {
        self.bots.get(bot).cloned().ok_or_else(|| DeskError::BotUnknown {
            bot: bot.to_owned(),
            known: self.bots.keys().cloned().collect(),
        })
    }
}

/// The fault of an end that is not known.
fn unknown(message: impl Into<String>) -> Fault {
    Fault::new("OUTCOME_UNKNOWN", message)
}
