//! A group that nobody is there for. It reads on all the same, past what its filter hides and what waits for parked
//! events, up to the first event that it could deliver: so its floor, and with it alerts, expiry and what it pins, speak
//! of what it wants alone. In the background: a page at a time, and one group at a time.

use std::time::Duration;

use tokio::time::Instant;

use super::actor::{Actor, LOOK_AFTER};
use super::deliver::READY_ENOUGH;
use crate::domain::group::ParkPolicy;
use crate::store::ReadError;

/// Between two pages.
const PAUSE: Duration = Duration::from_millis(20);

impl Actor {
    /// Whether the log may have something that the group can look past, with nobody there.
    pub(super) fn looks_past(&self) -> bool {
        let nobody = self.members.is_empty() && self.pulls.is_empty();
        let can = nobody && self.draining.is_none() && self.expired.is_none() && self.paused.is_none();
        let counts = self.machine.counts();
        let has_cause = if self.group.settings.park_policy == ParkPolicy::Block && counts.parked > 0 {
            // Which tickets stand still is for the log to say.
            counts.ready < READY_ENOUGH
        } else {
            // Nothing that is wanted lies before the position, or the floor would.
            self.filter.is_some() && self.machine.position() <= self.machine.floor()
        };
        can && has_cause && self.machine.room() > 0
    }

    /// Reads a page, if it is time.
    pub(super) async fn look_past(&mut self) {
        let now = Instant::now();
        if now < self.idle || !self.looks_past() {
            return;
        }
        self.idle = now + LOOK_AFTER;
        let tail = *self.tail.borrow();
        if self.machine.position() >= tail {
            return;
        }
        let Ok(turn) = std::sync::Arc::clone(&self.turn).try_acquire_owned() else {
            self.idle = now + PAUSE;
            return;
        };
        match self.read_page(false).await {
            Ok(()) if self.machine.position() < tail => self.idle = Instant::now() + PAUSE,
            // What is gone is told to whoever comes.
            Ok(()) | Err(ReadError::Trimmed { .. }) => {}
            Err(error) => {
                tracing::debug!(%error, group = &*self.name, "a consumer group cannot look past what it does not want");
            }
        }
        drop(turn);
    }
}
