//! A bot's way to Blip that tells the operator when Blip refuses the bot's key: only he can mend it, and whoever
//! called hears only that his command failed.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::alerts::{Alerts, Mistake};
use crate::blip::{BlipApi, BlipError, Caller, Kind};
use crate::domain::translate::refusal;
use crate::lime::{Command, Reply, ReplyStatus};

/// A way to Blip, watched for refusals of the key.
#[derive(Debug)]
pub struct Watched {
    bot: Arc<str>,
    api: Arc<dyn BlipApi>,
    alerts: Alerts,
    /// With the key of the router before the bot.
    of_router: bool,
}

impl Watched {
    /// The way `api` of this bot; what it shows is told to `alerts`.
    pub fn new(bot: Arc<str>, api: Arc<dyn BlipApi>, alerts: Alerts) -> Self {
        Self { bot, api, alerts, of_router: false }
    }

    /// The same of the way `api` with the key of the router before this bot.
    pub fn router(bot: Arc<str>, api: Arc<dyn BlipApi>, alerts: Alerts) -> Self {
        Self { of_router: true, ..Self::new(bot, api, alerts) }
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
            let mistake = if self.of_router {
                Mistake::RouterKeyRefused { name, value }
            } else {
                Mistake::KeyRefused { name, value }
            };
            self.alerts.tell(&self.bot, &mistake);
        }
        result
    }
}

#[async_trait]
impl BlipApi for Watched {
    fn for_caller(self: Arc<Self>, caller: Caller) -> Arc<dyn BlipApi> {
        let Self { bot, api, alerts, of_router } = self.as_ref();
        let api = Arc::clone(api).for_caller(caller);
        Arc::new(Self { bot: Arc::clone(bot), api, alerts: alerts.clone(), of_router: *of_router })
    }

    async fn turns(
        self: Arc<Self>,
        kind: Kind,
        count: usize,
        deadline: Instant,
    ) -> Result<Arc<dyn BlipApi>, BlipError> {
        let Self { bot, api, alerts, of_router } = self.as_ref();
        let api = Arc::clone(api).turns(kind, count, deadline).await?;
        Ok(Arc::new(Self { bot: Arc::clone(bot), api, alerts: alerts.clone(), of_router: *of_router }))
    }

    async fn turn(&self, kind: Kind, deadline: Instant) -> Result<(), BlipError> {
        self.api.turn(kind, deadline).await
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
