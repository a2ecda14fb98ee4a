//! What is counted of calls to Blip. The labels are the configured bots and fixed sets.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::BlipError;

/// From a nearby answer to Blip's own 60 s, in seconds.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 70.0];

/// The metrics of calls to Blip.
#[derive(Debug, Clone)]
pub struct BlipMetrics {
    calls: Family<Labels, Counter>,
    duration: Histogram,
    quota_wait: Histogram,
    waiting: Family<KindLabels, Gauge>,
    circuit: Family<BotLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    bot: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BotLabels {
    bot: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    bot: String,
    kind: &'static str,
    result: &'static str,
}

impl BlipMetrics {
    /// Adds `blip_calls_total`, `blip_call_duration_seconds`, `blip_quota_wait_seconds`, `blip_waiting` and
    /// `blip_circuit_state` to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let (calls, duration, quota_wait) =
            (Family::default(), Histogram::new(SECONDS), Histogram::new(SECONDS));
        registry.register("blip_calls", "Calls to Blip, by bot, envelope kind and result", calls.clone());
        registry.register_with_unit(
            "blip_call_duration",
            "Time from a request to Blip until its answer or failure, quota waits left out",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register_with_unit(
            "blip_quota_wait",
            "Time calls waited for the bot's quota",
            Unit::Seconds,
            quota_wait.clone(),
        );
        let (waiting, circuit) = (Family::default(), Family::default());
        let help = "Calls that wait for the bot's quota, by bot and envelope kind";
        registry.register("blip_waiting", help, waiting.clone());
        let help = "Whether the bot's calls go out: 0 they do, 1 one tries, 2 they are refused";
        registry.register("blip_circuit_state", help, circuit.clone());
        Self { calls, duration, quota_wait, waiting, circuit }
    }

    pub(super) fn waiting(&self, bot: &str, kind: &'static str) -> Gauge {
        self.waiting.get_or_create_owned(&KindLabels { bot: bot.to_owned(), kind })
    }

    pub(super) fn circuit(&self, bot: &str) -> Gauge {
        self.circuit.get_or_create_owned(&BotLabels { bot: bot.to_owned() })
    }

    pub(super) fn waited(&self, wait: Duration) {
        self.quota_wait.observe(wait.as_secs_f64());
    }

    pub(super) fn ended(&self, bot: &str, kind: &'static str, error: Option<&BlipError>, took: Duration) {
        let result = match error {
            None => "answered",
            Some(BlipError::NotSent(_)) => "not_sent",
            Some(BlipError::OverQuota { .. }) => "over_quota",
            Some(BlipError::CircuitOpen { .. }) => "circuit_open",
            Some(BlipError::Throttled { .. }) => "throttled",
            Some(BlipError::Credential { .. }) => "credential_rejected",
            Some(BlipError::Refused { .. }) => "refused",
            Some(BlipError::TooLarge(_)) => "too_large",
            Some(BlipError::Unknown(_)) => "unknown",
        };
        self.calls.get_or_create(&Labels { bot: bot.to_owned(), kind, result }).inc();
        if !matches!(error, Some(BlipError::OverQuota { .. } | BlipError::CircuitOpen { .. })) {
            self.duration.observe(took.as_secs_f64());
        }
    }
}
