//! Whether a bot's Blip answers. What is queued is sent only while it does: where it does not, nothing must be marked as
//! perhaps sent for the mere trying.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::blip::{BlipApi, BlipError, Caller};
use crate::lime::{Command, LimeUri, Method};

/// As whom pings take turns with the commands that wait for the bot's rate: as nobody else, so that behind any number of
/// one client's commands they come second.
pub(super) const PINGER: &str = "\0gate";
/// How long an answer of Blip's vouches for the next.
const FRESH: Duration = Duration::from_secs(10);
/// How long an answer to a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a ping without an answer; doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One bot's gate. It opens by an answer, and closes by itself.
#[derive(Debug, Default)]
pub(super) struct Gate {
    answered: Mutex<Option<Instant>>,
    /// Held by the one that asks for all.
    asking: AsyncMutex<()>,
}

impl Gate {
    /// Notes that Blip answered.
    pub(super) fn answered(&self) {
        *self.lock() = Some(Instant::now());
    }

    /// Notes that it did not.
    pub(super) fn silent(&self) {
        *self.lock() = None;
    }

    /// Waits until Blip answers. Whoever is first asks, under ids that `name` gives; the others wait for it.
    pub(super) async fn pass(&self, api: &Arc<dyn BlipApi>, name: impl Fn() -> String) {
        let mut pause = PAUSE_MIN;
        while !self.is_open() {
            let _asking = self.asking.lock().await;
            if self.is_open() {
                return;
            }
            let api = Arc::clone(api).for_caller(Caller::client(PINGER));
            let (to, uri) = ("postmaster@msging.net".to_owned(), LimeUri("/ping".to_owned()));
            let ping = Command { id: name(), to, method: Method::Get, uri, resource: None };
            match api.command(&ping, Instant::now() + PING_TIMEOUT).await {
                Err(BlipError::NotSent(_) | BlipError::Unknown(_)) => {}
                Err(BlipError::OverQuota { retry_after } | BlipError::CircuitOpen { retry_after }) => {
                    pause = pause.max(retry_after.min(PAUSE_MAX));
                }
                // Whatever it says, it is there.
                Ok(_)
                | Err(
                    BlipError::Throttled { .. }
                    | BlipError::Credential { .. }
                    | BlipError::Refused { .. }
                    | BlipError::TooLarge(_),
                ) => return self.answered(),
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    fn is_open(&self) -> bool {
        self.lock().is_some_and(|at| at.elapsed() < FRESH)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
