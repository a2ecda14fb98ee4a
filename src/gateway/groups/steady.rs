//! Dates that only go forwards: a clock that is set back or forth moves no deadline.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::clock::Clock;

/// A clock that was looked at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steady {
    date: Timestamp,
    at: Instant,
}

impl Steady {
    pub(super) fn new(clock: &dyn Clock) -> Self {
        Self { date: clock.now(), at: Instant::now() }
    }

    /// The date now, to the microsecond, as it is stored.
    pub(super) fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.at.elapsed()).unwrap_or(SignedDuration::MAX);
        let now = self.date.saturating_add(passed).unwrap_or(Timestamp::MAX);
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// When a date comes; now for one that has passed.
    pub(super) fn instant_of(&self, date: Timestamp) -> Instant {
        let left = Duration::try_from(date.duration_since(self.now())).unwrap_or_default();
        // A timer may go off a little early, by less than a date can tell.
        let left = left.saturating_add(Duration::from_micros(1));
        let now = Instant::now();
        now.checked_add(left).unwrap_or(now)
    }
}
