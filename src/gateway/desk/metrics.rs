//! What is counted of commands. The labels are the rpcs there are and a fixed set of outcomes.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::Outcome;

/// From a commit and a quick answer to Blip's own 60 s, in seconds.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 70.0];

/// The metrics of commands.
#[derive(Debug, Clone)]
pub struct CommandMetrics {
    commands: Family<Labels, Counter>,
    replayed: Counter,
    waiting: Gauge,
    duration: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: String,
    outcome: &'static str,
}

impl CommandMetrics {
    /// Adds `commands_total`, `commands_replayed_total`, `commands_waiting` and `command_duration_seconds` to
    /// `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let (commands, replayed) = (Family::default(), Counter::default());
        let waiting = Gauge::default();
        let duration = Histogram::new(SECONDS);
        registry.register("commands", "Commands settled, by method and outcome", commands.clone());
        registry.register(
            "commands_replayed",
            "Answers given again because the request id was known",
            replayed.clone(),
        );
        registry.register(
            "commands_waiting",
            "Commands accepted whose callers do not wait, and that have no end yet",
            waiting.clone(),
        );
        registry.register_with_unit(
            "command_duration",
            "Time from a command's record until its end was recorded",
            Unit::Seconds,
            duration.clone(),
        );
        Self { commands, replayed, waiting, duration }
    }

    pub(super) fn settled(&self, method: &str, outcome: &Outcome, took: Duration) {
        let outcome = match outcome {
            Outcome::Done => "succeeded",
            Outcome::AlreadyClosed => "already_closed",
            Outcome::Failed(_) => "failed",
            Outcome::Unknown(_) => "unknown",
        };
        self.commands.get_or_create(&Labels { method: method.to_owned(), outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts commands that wait without their caller: more, or less.
    pub(super) fn waits(&self, by: i64) {
        self.waiting.inc_by(by);
    }

    pub(super) fn replayed(&self) {
        self.replayed.inc();
    }
}
