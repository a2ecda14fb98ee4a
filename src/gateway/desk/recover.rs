//! After a restart: commands begun and not settled are in doubt. They are looked for and never sent again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{Action, Outcome, Ticket};
use crate::store::{CommandRecord, End};

use super::carry::{Carrier, Seen};
use super::run::{echo, read_back};
use super::{DeskError, Inner, memo, unknown};

/// How long one command is looked for.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long Blip is asked again after a start, where it could not be.
const ASK_AGAIN_FOR: Duration = Duration::from_mins(2);
/// The pause before Blip is asked again; doubles with each.
const ASK_AGAIN_PAUSE: Duration = Duration::from_millis(500);
/// The longest such pause.
const ASK_AGAIN_PAUSE_MAX: Duration = Duration::from_secs(15);

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
        let give_up = Instant::now() + ASK_AGAIN_FOR;
        for record in in_doubt {
            if self.shutdown.is_draining() {
                return;
            }
            if let Err(error) = self.recover_one(record, give_up).await {
                tracing::error!(%error, "a command in doubt could not be settled");
            }
        }
    }

    async fn recover_one(&self, record: CommandRecord, give_up: Instant) -> Result<(), DeskError> {
        let command = &record.command;
        let (bot, ticket_id) = (&command.bot, &command.ticket_id);
        let _turn = self.tickets.turn((bot.clone(), ticket_id.clone())).await;
        let action = memo::read(&command.memo);
        let (seen, learnt) = match &action {
            Some(action) => self.seen(&record, action, give_up).await,
            None => (Seen::Unasked("its record is of another version".to_owned()), None),
        };
        let unsettled = |what: String| {
            Outcome::Unknown(unknown(format!("the gateway stopped while this command ran, and {what}")))
        };
        let (outcome, events) = match (seen, &action) {
            (Seen::Effect, Some(action)) => {
                let state = self.log.ticket(bot, ticket_id).await?.unwrap_or_default();
                (Outcome::Done, vec![echo(command.id, bot, ticket_id, action, &state)])
            }
            (Seen::Unasked(_), _) if self.shutdown.is_draining() => return Ok(()), // the next start looks
            (seen, _) => {
                let outcome = match seen {
                    Seen::Closed => Outcome::AlreadyClosed,
                    Seen::Effect | Seen::Nothing => {
                        unsettled("Blip does not show that it took effect".to_owned())
                    }
                    Seen::Unasked(why) => {
                        unsettled(format!("Blip could not be asked whether it took effect: {why}"))
                    }
                };
                let events = learnt.into_iter().map(|ticket| read_back(command.id, bot, ticket));
                (outcome, events.collect())
            }
        };
        let confirmed = outcome == Outcome::Done;
        self.settle(command.id, End { outcome, attempts: 1 }, events).await?;
        tracing::info!(command.id = %command.id, method = %command.method, confirmed, "settled a command in doubt");
        Ok(())
    }

    /// Looks for an action, again and again while Blip cannot be asked, until `give_up` or a stop.
    async fn seen(
        &self,
        record: &CommandRecord,
        action: &Action,
        give_up: Instant,
    ) -> (Seen, Option<Ticket>) {
        let command = &record.command;
        let id = command.id.to_string();
        let api = match self.api(&command.bot) {
            Ok(api) => api,
            Err(error) => return (Seen::Unasked(error.to_string()), None),
        };
        let mut pause = ASK_AGAIN_PAUSE;
        loop {
            let mut carrier = Carrier {
                api: api.as_ref(),
                id: &id,
                ticket_id: &command.ticket_id,
                action,
                deadline: Instant::now() + LOOK_TIMEOUT,
                attempts: 0,
                learnt: None,
            };
            let seen = carrier.seen(None).await;
            let again = matches!(seen, Seen::Unasked(_)) && Instant::now() + pause < give_up;
            if !again || self.shutdown.is_draining() {
                return (seen, carrier.learnt);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.soft().cancelled() => return (seen, carrier.learnt),
            }
            pause = pause.saturating_mul(2).min(ASK_AGAIN_PAUSE_MAX);
        }
    }
}
