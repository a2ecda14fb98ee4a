//! Action → outcome, at most once per request id: recorded before anything is sent, one per ticket at a time,
//! looked for when in doubt, and settled together with the event that tells the log's readers.

use std::sync::Arc;

use tokio::time::Instant;

use crate::domain::{ActionRequest, Fault, Ticket, TicketState};
use crate::store::{AppendError, CommandKey, CommandRecord, ReadError};

/// The way out.
#[derive(Debug, Clone)]
pub struct Desk {
    inner: Arc<()>,
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
    #[error("which bot's ticket is it? Name one of: {}", candidates.join(", "))]
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
    use crate::domain::Outcome;
    match record.end.as_ref().map(|end| &end.outcome) {
        Some(Outcome::Failed(fault) | Outcome::Unknown(fault)) => fault.message.clone(),
        Some(Outcome::Done | Outcome::AlreadyClosed) | None => {
            "the command's end is not known yet".to_owned()
        }
    }
}

impl Desk {
    /// Carries out an action, or answers what became of it before. Ends a little before `deadline`; hanging up
    /// changes nothing.
    pub async fn execute(&self, request: ActionRequest, deadline: Instant) -> Result<Done, DeskError> {
        let _ = (request, deadline, &self.inner);
        Err(DeskError::BotNeeded { candidates: Vec::new() })
    }

    /// Says what [`execute`](Self::execute) would refuse without asking Blip; records and sends nothing.
    pub async fn validate(&self, request: &ActionRequest) -> Result<Option<Ticket>, DeskError> {
        let _ = request;
        Ok(None)
    }

    /// The bot a request is about: the one named, else the only one that has the ticket, else the only one.
    pub async fn bot_of(&self, bot: &str, ticket_id: &str) -> Result<String, DeskError> {
        let _ = ticket_id;
        Ok(bot.to_owned())
    }

    /// A ticket as the log knows it, or as Blip does if `fresh` or never seen. `None` if neither knows it.
    pub async fn ticket(
        &self,
        bot: &str,
        ticket_id: &str,
        fresh: bool,
        deadline: Instant,
    ) -> Result<Option<TicketView>, DeskError> {
        let _ = (bot, ticket_id, fresh, deadline, TicketState::default());
        Ok(None)
    }

    /// A recorded command.
    pub async fn command(&self, key: CommandKey) -> Result<Option<CommandRecord>, DeskError> {
        let _ = key;
        Ok(None)
    }
}
