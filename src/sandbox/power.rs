//! The whole Desk off, and on again: an outage that lasts until somebody ends it. The control side stays up.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What those who call Blip's paths meet while the Desk is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outage {
    /// Nobody listens: connections are refused, and those there were are reset. Needs a control listener.
    Refuse,
    /// The connection is reset without an answer, and without an effect.
    Reset,
    /// No answer, until the Desk is on again; then the connection is reset.
    Hang,
    /// HTTP 503.
    Unavailable,
}

/// Whether there is an outage, and whether the listener has heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    outage: Option<Outage>,
    is_listening: bool,
}

impl Level {
    fn is_settled(self) -> bool {
        self.is_listening == (self.outage != Some(Outage::Refuse))
    }
}

/// The switch.
#[derive(Debug)]
pub(crate) struct Power {
    level: watch::Sender<Level>,
    /// Ends the connections of now; replaced when it was used.
    connections: Mutex<CancellationToken>,
}

impl Default for Power {
    fn default() -> Self {
        Self {
            level: watch::Sender::new(Level { outage: None, is_listening: true }),
            connections: Mutex::new(CancellationToken::new()),
        }
    }
}

impl Power {
    /// Turns the Desk off, or on with `None`, and waits until nobody can get past it any more.
    pub(crate) async fn turn(&self, outage: Option<Outage>) {
        self.level.send_modify(|level| level.outage = outage);
        // The sender is ours, so this cannot fail.
        let _ = self.level.subscribe().wait_for(|level| level.is_settled()).await;
        if outage == Some(Outage::Refuse) {
            let mut token = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *token).cancel();
        }
    }

    pub(crate) fn outage(&self) -> Option<Outage> {
        self.level.borrow().outage
    }

    /// Waits until nobody is to listen, or until somebody is.
    pub(crate) async fn until_refusing(&self, refusing: bool) {
        let wanted = |level: &Level| (level.outage == Some(Outage::Refuse)) == refusing;
        let _ = self.level.subscribe().wait_for(wanted).await;
    }

    /// Waits for the end of a hang.
    pub(crate) async fn until_awake(&self) {
        let _ = self.level.subscribe().wait_for(|level| level.outage != Some(Outage::Hang)).await;
    }

    /// The listener tells whether it listens.
    pub(crate) fn listening(&self, is_listening: bool) {
        self.level.send_modify(|level| level.is_listening = is_listening);
    }

    /// Ends with the next outage that refuses connections.
    pub(crate) fn connection(&self) -> CancellationToken {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
