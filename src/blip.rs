//! Blip's HTTP side, seen from the gateway. Has never heard of tickets: it carries LIME commands and messages
//! and sorts what came of them by what the caller may conclude.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::lime::{Command, Reason, Reply};

mod gate;
pub mod http;
mod line;
pub mod media;
pub mod metrics;
pub mod policy;

pub use policy::{Caller, Urgency};

/// One bot's way to Blip, on behalf of one caller. What Blip refuses for its own quota is an error, however it says
/// so.
#[async_trait]
pub trait BlipApi: fmt::Debug + Send + Sync + 'static {
    /// The same way for another caller: callers of a bot take turns. Until it is named, it is the gateway itself,
    /// for work that somebody waits for.
    fn for_caller(self: Arc<Self>, caller: Caller) -> Arc<dyn BlipApi>;

    /// Sends a command and waits for the reply, until `deadline` at most. A reply that says failure is `Ok`.
    async fn command(&self, command: &Command, deadline: Instant) -> Result<Reply, BlipError>;

    /// Hands over a message, as JSON; Blip only promises to try. An answer whose body says failure is `Ok`, as a
    /// command's is; any other body of a 2xx, or none, is success.
    async fn message(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError>;

    /// Hands over a notification, as JSON: a receipt of a message. What an answer means is as with a message.
    async fn notification(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError>;
}

/// What can be concluded from a call that brought no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlipError {
    /// Nothing was sent: no connection stood. Safe to repeat.
    #[error("Blip was not reached: {0}")]
    NotSent(String),
    /// Its turn would come too late, by our own rate for this bot, or too many wait. Nothing was sent.
    #[error("the bot's quota would be exceeded; room in {} ms", .retry_after.as_millis())]
    OverQuota {
        /// When there is room again.
        retry_after: Duration,
    },
    /// Blip has not answered for some time, and is not asked for now. Nothing was sent.
    #[error("Blip has not answered for some time and is tried again in {} ms", .retry_after.as_millis())]
    CircuitOpen {
        /// When it is tried again.
        retry_after: Duration,
    },
    /// Blip refused because of its own quota. Nothing was done.
    #[error("Blip refused: too many requests ({})", throttled(reason.as_ref()))]
    Throttled {
        /// When to come again.
        retry_after: Duration,
        /// What it said by LIME; `None` where it answered HTTP 429.
        reason: Option<Reason>,
    },
    /// Blip does not take the bot's key. Nothing was done.
    #[error("Blip refused the bot's key (HTTP {status})")]
    Credential {
        /// The HTTP status.
        status: u16,
    },
    /// Blip refused the request itself. Nothing was done.
    #[error("Blip refused the request (HTTP {status}): {text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of what it said.
        text: String,
    },
    /// It was, or may have been, sent, and no answer told what became of it.
    #[error("no answer from Blip: {0}")]
    Unknown(String),
}

impl BlipError {
    /// What failed, without a word of what Blip said: that may repeat what a customer wrote.
    pub fn brief(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "not reached",
            Self::OverQuota { .. } => "over our quota",
            Self::CircuitOpen { .. } => "not asked for now",
            Self::Throttled { .. } => "throttled by Blip",
            Self::Credential { .. } => "the bot's key was refused",
            Self::Refused { .. } => "refused",
            Self::Unknown(_) => "no answer",
        }
    }
}

fn throttled(reason: Option<&Reason>) -> String {
    match reason.and_then(|reason| reason.code) {
        Some(code) => format!("code {code}"),
        None => "HTTP 429".to_owned(),
    }
}
