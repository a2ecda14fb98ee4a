//! What is counted of webhooks. The labels are the configured bots and a fixed set of outcomes, so nobody outside
//! can make new series.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::gateway::ingest::Accepted;

/// From one commit on a fast disk to a caller's patience, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 2.0, 10.0];

/// The metrics of webhooks.
#[derive(Debug, Clone)]
pub struct WebhookMetrics {
    webhooks: Family<Labels, Counter>,
    duration: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    bot: String,
    outcome: &'static str,
}

/// The counters of one bot, looked up once.
#[derive(Debug)]
pub(super) struct BotMetrics {
    accepted: Counter,
    duplicate: Counter,
    quarantined: Counter,
    pub(super) denied: Counter,
    pub(super) too_large: Counter,
    pub(super) unavailable: Counter,
}

impl WebhookMetrics {
    /// Adds `webhooks_total` and `webhook_duration_seconds` to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let (webhooks, duration) = (Family::default(), Histogram::new(SECONDS));
        registry.register("webhooks", "Webhooks answered, by bot and outcome", webhooks.clone());
        registry.register_with_unit(
            "webhook_duration",
            "Time from a webhook's headers until it was durable",
            Unit::Seconds,
            duration.clone(),
        );
        Self { webhooks, duration }
    }

    pub(super) fn of(&self, bot: &str) -> BotMetrics {
        BotMetrics {
            accepted: self.counter(bot, "accepted"),
            duplicate: self.counter(bot, "duplicate"),
            quarantined: self.counter(bot, "quarantined"),
            denied: self.counter(bot, "denied"),
            too_large: self.counter(bot, "too_large"),
            unavailable: self.counter(bot, "unavailable"),
        }
    }

    /// Of all names no bot has. No such webhook gets as far as the other outcomes: they make no series.
    pub(super) fn of_unknown(&self) -> BotMetrics {
        BotMetrics {
            accepted: Counter::default(),
            duplicate: Counter::default(),
            quarantined: Counter::default(),
            denied: self.counter("unknown", "denied"),
            too_large: Counter::default(),
            unavailable: self.counter("unknown", "unavailable"),
        }
    }

    fn counter(&self, bot: &str, outcome: &'static str) -> Counter {
        self.webhooks.get_or_create_owned(&Labels { bot: bot.to_owned(), outcome })
    }

    pub(super) fn observe(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }
}

impl BotMetrics {
    pub(super) fn durable(&self, accepted: Accepted) -> &Counter {
        match accepted {
            Accepted::Event(_) => &self.accepted,
            Accepted::Duplicate => &self.duplicate,
            Accepted::Quarantined => &self.quarantined,
        }
    }
}
