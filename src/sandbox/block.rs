//! A webhook URL that failed too often is not posted to for a while, as Blip has it. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// When, and for how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Blocking {
    /// So many failures in a row.
    pub(crate) after_failures: u32,
    /// Four hours, unless told.
    #[serde(default = "block_default")]
    pub(crate) ms: u64,
}

const fn block_default() -> u64 {
    4 * 60 * 60 * 1_000
}

/// Whether the URL is blocked, and what it did so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Block {
    failures: u32,
    until: Option<Instant>,
}

impl Block {
    /// Whether a webhook is kept from the URL now.
    pub(crate) fn is_on(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Takes what became of a webhook that was posted.
    pub(crate) fn heard(&mut self, blocking: Option<&Blocking>, delivered: bool, now: Instant) {
        self.failures = if delivered { 0 } else { self.failures.saturating_add(1) };
        if let Some(blocking) = blocking.filter(|blocking| self.failures >= blocking.after_failures) {
            self.failures = 0;
            self.hold(Duration::from_millis(blocking.ms), now);
        }
    }

    /// Blocks by hand, from now on.
    pub(crate) fn hold(&mut self, duration: Duration, now: Instant) {
        // So far away that there is no such time: never blocked. Nobody means that.
        self.until = now.checked_add(duration);
    }
}
