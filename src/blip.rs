//! Blip's HTTP side, seen from the gateway. Has never heard of tickets: it carries LIME commands and messages
//! and sorts what came of them by what the caller may conclude.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::lime::{Command, Reason, Reply};

mod departure;
mod gate;
pub mod http;
mod line;
pub mod media;
pub mod metrics;
pub mod policy;

use policy::Next;
pub use policy::{Caller, Urgency};

/// One bot's way to Blip, on behalf of one caller. What Blip refuses for its own quota is an error, however it says
/// so.
#[async_trait]
pub trait BlipApi: fmt::Debug + Send + Sync + 'static {
    /// The same way for another caller: callers of a bot take turns. Until it is named, it is the gateway itself,
    /// for work that somebody waits for.
    fn for_caller(self: Arc<Self>, caller: Caller) -> Arc<dyn BlipApi>;

    /// Waits, until `deadline` at most, for the turns of the next `count` calls of this kind. The way that is answered
    /// makes them without waiting for the bot's rate; whoever must note something between the wait and the call can do
    /// so. A turn that is not used is lost; so is one that is used late, together with more than the rate allows: then the call
    /// waits after all.
    async fn turns(
        self: Arc<Self>,
        kind: Kind,
        count: usize,
        deadline: Instant,
    ) -> Result<Arc<dyn BlipApi>, BlipError>;

    /// Waits, until `deadline` at most, for the turn of the next call of this kind, unless this way has one already: the
    /// call's own deadline then counts from its turn. A way that keeps to no rate has nothing to wait for.
    async fn turn(&self, _kind: Kind, _deadline: Instant) -> Result<(), BlipError> {
        Ok(())
    }

    /// Sends a command and waits for the reply, until `deadline` at most. A reply that says failure is `Ok`.
    async fn command(&self, command: &Command, deadline: Instant) -> Result<Reply, BlipError>;

    /// Hands over a message, as JSON; Blip only promises to try. An answer whose body says failure is `Ok`, as a
    /// command's is; any other body of a 2xx, or none, is success.
    async fn message(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError>;

    /// Hands over a notification, as JSON: a receipt of a message. What an answer means is as with a message.
    async fn notification(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError>;
}

/// What is sent as a caller's doing: each kind has a rate of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To `/commands`.
    Command,
    /// To `/messages`.
    Message,
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
    /// Blip answered, and it is more than can be read. The next answer would be as large; what it was asked, it may have
    /// done.
    #[error("Blip answered more than can be read: {0}")]
    TooLarge(String),
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
            Self::TooLarge(_) => "too large an answer",
            Self::Unknown(_) => "no answer",
        }
    }
}

fn throttled(reason: Option<&Reason>) -> String {
    match reason {
        None => "HTTP 429".to_owned(),
        Some(Reason { code, description }) => {
            let code = code.map(|code| format!("code {code}")).unwrap_or_default();
            if description.is_empty() { code } else { format!("{description}, {code}") }
        }
    }
}

/// Asks for what may be asked twice: a read, or what only sets a state. After a failure it is asked again, where that
/// is safe and there is time.
pub async fn ask(api: &dyn BlipApi, command: &Command, deadline: Instant) -> Result<Reply, BlipError> {
    let mut attempt = 0_u32;
    loop {
        attempt = attempt.saturating_add(1);
        let error = match api.command(command, deadline).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match policy::next_step(&error, attempt, true, left, policy::chance(&command.id, attempt)) {
            Next::Repeat(pause) => tokio::time::sleep(pause).await,
            Next::Look | Next::GiveUp => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Mutex, PoisonError};

    use serde_json::Value;

    use super::*;
    use crate::lime::{LimeUri, Method, ReplyStatus};

    /// A Blip that fails in these ways, then answers.
    #[derive(Debug)]
    struct Failing(Mutex<VecDeque<BlipError>>);

    #[async_trait]
    impl BlipApi for Failing {
        fn for_caller(self: Arc<Self>, _: Caller) -> Arc<dyn BlipApi> {
            self
        }
        async fn turns(
            self: Arc<Self>,
            _: Kind,
            _: usize,
            _: Instant,
        ) -> Result<Arc<dyn BlipApi>, BlipError> {
            Ok(self)
        }
        async fn command(&self, _: &Command, _: Instant) -> Result<Reply, BlipError> {
            let failure = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            failure.map_or(
                Ok(Reply { id: None, media_type: String::new(), status: ReplyStatus::Success(Value::Null) }),
                Err,
            )
        }
        async fn message(&self, _: Vec<u8>, _: Instant) -> Result<Reply, BlipError> {
            unreachable!()
        }
        async fn notification(&self, _: Vec<u8>, _: Instant) -> Result<Reply, BlipError> {
            unreachable!()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_asked_twice_is_asked_again_while_there_is_time() {
        let lost = || BlipError::Unknown("reset".to_owned());
        let refused = || BlipError::Refused { status: 400, text: String::new() };
        let uri = LimeUri("/tickets".to_owned());
        let command =
            Command { id: "1".to_owned(), to: String::new(), method: Method::Get, uri, resource: None };
        let cases: [(&[BlipError], u64, bool); 5] = [
            (&[], 60, true),
            (&[lost(), BlipError::NotSent(String::new())], 60, true),
            (&[lost(), lost(), lost()], 60, false),
            (&[refused()], 60, false),
            (&[lost()], 0, false),
        ];
        for (failures, patience, answered) in cases {
            let api = Failing(Mutex::new(failures.to_vec().into()));
            let deadline = Instant::now() + Duration::from_secs(patience);
            assert_eq!(ask(&api, &command, deadline).await.is_ok(), answered, "{failures:?}");
        }
    }
}
