//! What became of commands whose end is not known is looked for on, for a while. What is found is recorded over the
//! unknown end, and told by `command.settled`.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::{Instant, timeout_at};

use crate::blip::Caller;
use crate::domain::{Action, ActionRequest, Outcome};
use crate::store::{CommandRecord, Progress};

use super::carry::Carrier;
use super::echo::settled;
use super::look::{LOOKS_MAX, Seen};
use super::run::{Carried, carried, lane_of};
use super::{DeskError, Inner, memo, unknown};

/// How long after its end a command is looked for.
pub(super) const FOLLOW_FOR: SignedDuration = SignedDuration::from_mins(15);
/// Commands that are followed at once; of more, nobody looks any further.
pub(super) const FOLLOWED_MAX: usize = 1_000;
/// Looks that run at once, over all bots: they cost quota.
pub(super) const LOOKS_AT_ONCE: usize = 4;
/// How long one look may take, with the wait for its turn.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause before the first look; doubles with each.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_mins(2);

impl Inner {
    /// Looks on for the end of a command, if it is not known and can be.
    pub(super) fn follow(self: &Arc<Self>, record: &CommandRecord) {
        if record.progress() != Progress::Unknown {
            return;
        }
        let Some(request) = memo::request_of(&record.command) else { return };
        if matches!(request.action, Action::Execute(_)) {
            return;
        }
        let Ok(room) = Arc::clone(&self.followed).try_acquire_owned() else { return };
        let (inner, record) = (Arc::clone(self), record.clone());
        drop(self.shutdown.spawn(async move {
            inner.look_on(record, request).await;
            drop(room);
        }));
    }

    async fn look_on(&self, record: CommandRecord, request: ActionRequest) {
        let id = record.command.id;
        let mut pause = PAUSE_MIN;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.soft().cancelled() => return,
            }
            let looked = tokio::select! {
                looked = self.look_once(&record, &request) => looked,
                () = self.shutdown.soft().cancelled() => return,
            };
            match looked {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!(command.id = %id, method = %record.command.method, "an unknown end is known now");
                    return;
                }
                Err(error) => {
                    tracing::warn!(command.id = %id, %error, "an unknown end could not be looked for");
                }
            }
            let ended = record.settle_time.unwrap_or(record.accept_time);
            if self.clock.now().duration_since(ended) > FOLLOW_FOR {
                return;
            }
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    /// Whether the end is known now. No other command of its ticket runs meanwhile: what that one did would look like
    /// this one's doing. Where one does, there is nothing to be seen yet.
    async fn look_once(&self, record: &CommandRecord, request: &ActionRequest) -> Result<bool, DeskError> {
        let deadline = Instant::now() + LOOK_TIMEOUT;
        let _lane = match lane_of(request) {
            None => None,
            Some(lane) => match timeout_at(deadline, self.tickets.turn(lane)).await {
                Ok(turn) => Some(turn),
                Err(_) => return Ok(false),
            },
        };
        let Ok(_turn) = timeout_at(deadline, self.looks.acquire()).await else { return Ok(false) };
        let api = self.api(&request.bot)?.for_caller(Caller::background());
        let id = record.command.id.to_string();
        let state = self.log.ticket(&request.bot, &request.ticket_id).await?.unwrap_or_default();
        let mut carrier = Carrier::new(self, api.as_ref(), &id, request, &state, record, deadline);
        carrier.late = true;
        carrier.attempts = record.end.as_ref().map_or(0, |end| end.attempts);
        let outcome = match carrier.seen(None, LOOKS_MAX).await {
            Seen::Effect => Some(Outcome::Done),
            Seen::Closed => Some(carrier.found_closed()),
            Seen::Nothing | Seen::Unasked(_) => None,
        };
        let Some(outcome) = outcome else {
            // Its end is as unknown as before, but it may have been done in part.
            let still = Outcome::Unknown(unknown("Blip does not show that it took effect"));
            let Carried { events, .. } = carried(record.command.id, request, &state, carrier, still);
            if !events.is_empty() {
                self.log.append(events).await?;
            }
            return Ok(false);
        };
        let Carried { end, mut events, made } = carried(record.command.id, request, &state, carrier, outcome);
        events.push(settled(record, &end, made.as_ref()));
        self.settle(record.command.id, end, events).await?;
        Ok(true)
    }
}
