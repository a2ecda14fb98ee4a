//! Blip's throughput limit: a token bucket for each kind of envelope, and a penalty once it is exceeded.
//!
//! Off until the settings say otherwise.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::faults::On;

/// What `PUT /settings` takes as `quota`: envelopes a second, by kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quota {
    /// Messages a second; the free plan has 3.
    #[serde(default = "messages_default")]
    pub(crate) messages: u32,
    /// Notifications a second; the free plan has 6.
    #[serde(default = "notifications_default")]
    pub(crate) notifications: u32,
    /// Commands a second; the free plan has 48.
    #[serde(default = "commands_default")]
    pub(crate) commands: u32,
    /// How long everything of the kind is refused after an excess; two minutes unless told.
    #[serde(default = "penalty_default")]
    pub(crate) penalty_ms: u64,
}

const fn messages_default() -> u32 {
    3
}

const fn notifications_default() -> u32 {
    6
}

const fn commands_default() -> u32 {
    48
}

const fn penalty_default() -> u64 {
    120_000
}

/// The buckets, one for each kind of envelope.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    commands: Bucket,
    messages: Bucket,
    notifications: Bucket,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    level: Option<(f64, Instant)>,
    blocked_until: Option<Instant>,
}

impl Buckets {
    /// Whether one more envelope of this kind may come now.
    pub(crate) fn admit(&mut self, quota: &Quota, on: On, now: Instant) -> bool {
        let (bucket, rate) = match on {
            On::Commands => (&mut self.commands, quota.commands),
            On::Messages => (&mut self.messages, quota.messages),
            On::Notifications => (&mut self.notifications, quota.notifications),
            On::Webhooks | On::Media => return true,
        };
        bucket.admit(f64::from(rate), Duration::from_millis(quota.penalty_ms), now)
    }
}

impl Bucket {
    fn admit(&mut self, rate: f64, penalty: Duration, now: Instant) -> bool {
        if self.blocked_until.is_some_and(|until| now < until) {
            return false;
        }
        let (level, since) = self.level.unwrap_or((rate, now));
        let level = (level + now.duration_since(since).as_secs_f64() * rate).min(rate);
        if level < 1.0 {
            self.level = None;
            self.blocked_until = now.checked_add(penalty);
            return false;
        }
        self.level = Some((level - 1.0, now));
        true
    }
}
