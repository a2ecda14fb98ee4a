//! Reading Blip back: what webhooks did not tell is found and appended, with origin *reconciliation*, each fact once.
//!
//! What to ask is the planner's to say ([`plan`], pure), what of the answers the log does not have is `find`'s
//! (pure). The driver, one task for each bot, asks, always after human commands and never more than a share of the
//! bot's rate, and appends. `follow` reads the log for tickets that arrive and end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::blip::{BlipApi, Caller};
use crate::clock::{Clock, Ids};
use crate::shutdown::Shutdown;
use crate::store::notebook::Notebook;
use crate::store::quarantine::Quarantine;
use crate::store::{EventLog, Ledger};

mod alerting;
mod ask;
mod customers;
mod driver;
mod find;
mod follow;
pub mod hours;
mod metrics;
mod note;
pub mod plan;
mod settle;

mod watchdog;
mod words;

pub use driver::Progress;
pub use metrics::ReconcileMetrics;
pub use watchdog::{Silence, SilenceAfter};

use driver::Bot;
use plan::Rules;

/// How long a key is recognised, less a margin: what is older cannot be told from what is new.
const WINDOW: SignedDuration = SignedDuration::from_hours(71);

/// Errands that may wait at a time: what is more is taken from the log when there is room.
const ERRANDS_MAX: usize = 50_000;

/// How reading back is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// By itself; otherwise only on demand.
    pub enabled: bool,
    /// Its share of each bot's rate of commands.
    pub share_percent: u32,
    /// The time between two rounds.
    pub interval: Duration,
    /// How young something may be and its webhook still be on its way.
    pub grace: Duration,
    /// How far before a ticket its conversation is told.
    pub earlier: Option<Duration>,
    /// How far back the first round of all looks for tickets that ended.
    pub lookback: Duration,
    /// When a bot's silence is looked into.
    pub silence: Silence,
}

/// A bot to be read back.
#[derive(Debug, Clone)]
pub struct BotParts {
    /// Its short name.
    pub name: Arc<str>,
    /// Its way to Blip.
    pub api: Arc<dyn BlipApi>,
    /// Commands a second that Blip grants it.
    pub commands_per_second: u32,
}

/// What reading back stands on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What is known, and where what was found goes.
    pub log: Arc<dyn EventLog>,
    /// Which messages are our own.
    pub ledger: Arc<dyn Ledger>,
    /// Which keys are taken.
    pub keys: Arc<dyn Quarantine>,
    /// Notes for the next process.
    pub notebook: Arc<dyn Notebook>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Names questions.
    pub ids: Arc<dyn Ids>,
    /// When to stop.
    pub shutdown: Shutdown,
    /// What is counted.
    pub metrics: ReconcileMetrics,
    /// How it is done.
    pub settings: Settings,
}

/// Everybody's reader. Clones are the same ones; by default there is none.
#[derive(Debug, Clone, Default)]
pub struct Reconcilers {
    bots: Arc<BTreeMap<String, Arc<Bot>>>,
}

impl Reconcilers {
    /// Begins to read these bots back, each in a task of its own.
    pub fn start(parts: &Parts, bots: Vec<BotParts>) -> Self {
        let mut started = BTreeMap::new();
        for BotParts { name, api, commands_per_second } in bots {
            let rules = rules_of(&parts.settings, commands_per_second);
            let api = api.for_caller(Caller::background());
            let bot = Arc::new(Bot::new(Arc::clone(&name), api, parts.clone(), rules));
            drop(parts.shutdown.spawn(Arc::clone(&bot).run()));
            started.insert(name.to_string(), bot);
        }
        Self { bots: Arc::new(started) }
    }

    /// The bots there are.
    pub fn bots(&self) -> Vec<String> {
        self.bots.keys().cloned().collect()
    }

    /// Has a bot read back now, also for tickets that ended since a moment. Answers the round's number, and what tells
    /// of its progress; `None` for a bot that is not served.
    pub fn demand(&self, bot: &str, since: Option<Timestamp>) -> Option<(u64, watch::Receiver<Progress>)> {
        self.bots.get(bot).map(|bot| bot.demand(since))
    }

    /// Webhooks of a bot could not be stored, so that Blip was refused: they are to be found.
    pub fn troubled(&self, bot: &str) {
        if let Some(bot) = self.bots.get(bot) {
            bot.troubled();
        }
    }
}

fn rules_of(settings: &Settings, commands_per_second: u32) -> Rules {
    let Settings { enabled, share_percent, interval, grace, earlier, lookback, silence: _ } = *settings;
    let signed = |time: Duration| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    let hundredths = commands_per_second.saturating_mul(share_percent).max(1);
    Rules {
        pace: Duration::from_secs(100).checked_div(hundredths).unwrap_or(Duration::from_secs(1)),
        interval,
        grace: signed(grace),
        earlier: earlier.map(signed).unwrap_or_default(),
        lookback: signed(lookback),
        window: WINDOW,
        errands_max: ERRANDS_MAX,
        automatic: enabled,
    }
}

#[cfg(test)]
mod tests;
