//! A bot's way to Blip that tells the operator when Blip refuses the bot's key: only he can mend it, and whoever
//! called hears only that his command failed.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::alerts::{Alerts, Mistake};
use crate::blip::{BlipApi, BlipError, Caller};
use crate::domain::translate::refusal;
use crate::lime::{Command, Reply, ReplyStatus};

/// A way to Blip, watched for refusals of the key.
#[derive(Debug)]
pub struct Watched {
    bot: Arc<str>,
    api: Arc<dyn BlipApi>,
    alerts: Alerts,
}

impl Watched {
    /// The way `api` of this bot; what it shows is told to `alerts`.
    pub fn new(bot: Arc<str>, api: Arc<dyn BlipApi>, alerts: Alerts) -> Self {
        Self { bot, api, alerts }
    }

    fn watch(&self, result: Result<Reply, BlipError>) -> Result<Reply, BlipError> {
        let said = match &result {
            Err(BlipError::Credential { status }) => Some(("http_status", i64::from(*status))),
            Ok(Reply { status: ReplyStatus::Failure(reason), .. }) => {
                let of_key = refusal("", "", reason).reason == "BLIP_CREDENTIAL_REJECTED";
                reason.code.filter(|_| of_key).map(|code| ("blip_code", code))
            }
            Ok(_) | Err(_) => None,
        };
        if let Some((name, value)) = said {
            self.alerts.tell(&self.bot, &Mistake::KeyRefused { name, value });
        }
        result
    }
}

#[async_trait]
impl BlipApi for Watched {
    fn for_caller(self: Arc<Self>, caller: Caller) -> Arc<dyn BlipApi> {
        let Self { bot, api, alerts } = self.as_ref();
        let api = Arc::clone(api).for_caller(caller);
        Arc::new(Self { bot: Arc::clone(bot), api, alerts: alerts.clone() })
    }

    async fn command(&self, command: &Command, deadline: Instant) -> Result<Reply, BlipError> {
        self.watch(self.api.command(command, deadline).await)
    }

    async fn message(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError> {
        self.watch(self.api.message(json, deadline).await)
    }

    async fn notification(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError> {
        self.watch(self.api.notification(json, deadline).await)
    }
}
