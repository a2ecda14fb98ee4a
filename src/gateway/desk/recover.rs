//! After a restart: commands begun and not settled are in doubt. They are looked for and never sent again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::Outcome;
use crate::store::{CommandRecord, End};

use super::carry::Carrier;
use super::run::echo;
use super::{Inner, memo, unknown};

/// How long one command is looked for.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

impl Inner {
    /// Settles every command of an earlier process, one after the other.
    pub(super) async fn recover(self: Arc<Self>) {
        let in_doubt = match self.ledger.unsettled().await {
            Ok(in_doubt) => in_doubt,
            Err(error) => {
                tracing::error!(%error, "commands in doubt could not be read");
                return;
            }
        };
        if !in_doubt.is_empty() {
            tracing::warn!(count = in_doubt.len(), "looking for commands begun before the restart");
        }
        for record in in_doubt {
            if self.shutdown.is_draining() {
                return;
            }
            if let Err(error) = self.recover_one(record).await {
                tracing::error!(%error, "a command in doubt could not be settled");
            }
        }
    }

    async fn recover_one(&self, record: CommandRecord) -> Result<(), super::DeskError> {
        let command = &record.command;
        let key = (command.bot.clone(), command.ticket_id.clone());
        let _turn = self.tickets.turn(key).await;
        let id = command.id.to_string();
        let mut confirmed = None;
        if let (Some(action), Ok(api)) = (memo::read(&command.memo), self.api(&command.bot)) {
            let carrier = Carrier {
                api: api.as_ref(),
                id: &id,
                ticket_id: &command.ticket_id,
                action: &action,
                deadline: Instant::now() + LOOK_TIMEOUT,
                attempts: 0,
            };
            if carrier.confirmed().await {
                confirmed = Some(action);
            }
        }
        let (outcome, events) = if let Some(action) = confirmed {
            let state = self.log.ticket(&command.bot, &command.ticket_id).await?.unwrap_or_default();
            (Outcome::Done, vec![echo(command.id, &command.bot, &command.ticket_id, &action, &state)])
        } else {
            let message =
                "the gateway stopped while this command ran, and Blip does not show that it took effect";
            (Outcome::Unknown(unknown(message)), Vec::new())
        };
        let confirmed = outcome == Outcome::Done;
        self.settle(command.id, End { outcome, attempts: 1 }, events).await?;
        tracing::info!(command.id = %id, method = %command.method, confirmed, "settled a command in doubt");
        Ok(())
    }
}
