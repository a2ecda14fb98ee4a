//! What is told of reading back. The labels are the configured bots and fixed sets.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::find::Kind;
use super::plan::Report;
use super::words::{self, REASONS};

/// The metrics of reading back.
#[derive(Debug, Clone)]
pub struct ReconcileMetrics {
    asked: Family<AskLabels, Counter>,
    found: Family<FoundLabels, Counter>,
    rounds: Family<RoundLabels, Counter>,
    round_duration: Family<BotLabels, Gauge>,
    living: Family<BotLabels, Gauge>,
    alerts: Family<AlertLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BotLabels {
    bot: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AskLabels {
    bot: String,
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FoundLabels {
    bot: String,
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoundLabels {
    bot: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabels {
    bot: String,
    reason: &'static str,
}

impl ReconcileMetrics {
    /// Adds `reconcile_questions_total`, `reconcile_found_total`, `reconcile_rounds_total`,
    /// `reconcile_round_duration_seconds`, `reconcile_tickets_living` and `reconcile_alert` to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            asked: Family::default(),
            found: Family::default(),
            rounds: Family::default(),
            round_duration: Family::default(),
            living: Family::default(),
            alerts: Family::default(),
        };
        registry.register(
            "reconcile_questions",
            "Questions asked of Blip to read it back, by bot and kind",
            metrics.asked.clone(),
        );
        registry.register(
            "reconcile_found",
            "Facts that webhooks had not told and reading Blip back found, by bot and kind",
            metrics.found.clone(),
        );
        registry.register(
            "reconcile_rounds",
            "Rounds of reading Blip back, by bot and whether they were carried to their end",
            metrics.rounds.clone(),
        );
        registry.register_with_unit(
            "reconcile_round_duration",
            "How long the bot's newest round took",
            Unit::Seconds,
            metrics.round_duration.clone(),
        );
        registry.register(
            "reconcile_tickets_living",
            "Tickets of the bot that are not closed, as far as the log knows",
            metrics.living.clone(),
        );
        registry.register(
            "reconcile_alert",
            "1 while an alert of this bot is raised, by reason",
            metrics.alerts.clone(),
        );
        metrics
    }

    /// Makes a bot's series, so that they are there from the start.
    pub(super) fn begin(&self, bot: &str) {
        let bot = || bot.to_owned();
        for what in ["living", "ended", "ticket", "conversation"] {
            drop(self.asked.get_or_create(&AskLabels { bot: bot(), what }));
        }
        for kind in Kind::ALL {
            drop(self.found.get_or_create(&FoundLabels { bot: bot(), what: kind.name() }));
        }
        for result in ["complete", "broken_off"] {
            drop(self.rounds.get_or_create(&RoundLabels { bot: bot(), result }));
        }
        drop(self.round_duration.get_or_create(&BotLabels { bot: bot() }));
        drop(self.living.get_or_create(&BotLabels { bot: bot() }));
        for reason in REASONS {
            drop(self.alerts.get_or_create(&AlertLabels { bot: bot(), reason }));
        }
    }

    pub(super) fn asked(&self, bot: &str, what: &'static str) {
        self.asked.get_or_create(&AskLabels { bot: bot.to_owned(), what }).inc();
    }

    pub(super) fn found(&self, bot: &str, what: &'static str) {
        self.found.get_or_create(&FoundLabels { bot: bot.to_owned(), what }).inc();
    }

    pub(super) fn round(&self, bot: &str, report: &Report) {
        let result = if report.complete { "complete" } else { "broken_off" };
        self.rounds.get_or_create(&RoundLabels { bot: bot.to_owned(), result }).inc();
        let seconds = i64::try_from(report.took.as_secs()).unwrap_or(i64::MAX);
        self.round_duration.get_or_create(&BotLabels { bot: bot.to_owned() }).set(seconds);
    }

    pub(super) fn living(&self, bot: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.living.get_or_create(&BotLabels { bot: bot.to_owned() }).set(count);
    }

    /// The alerts that were raised when an earlier process ended.
    pub(super) fn raised(&self, bot: &str, raised: &[String]) {
        REASONS
            .iter()
            .filter(|reason| words::noted(raised, reason).is_some())
            .for_each(|reason| self.alert(bot, reason, true));
    }

    pub(super) fn alert(&self, bot: &str, reason: &'static str, raised: bool) {
        self.alerts.get_or_create(&AlertLabels { bot: bot.to_owned(), reason }).set(i64::from(raised));
    }
}
