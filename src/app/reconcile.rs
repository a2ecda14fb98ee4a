//! Reading Blip back, put together from the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::blip::BlipApi;
use crate::clock::{Clock, Ids};
use crate::config::{self, Config};
use crate::gateway::reconcile::{
    BotParts, Parts, ReconcileMetrics, Reconcilers, Settings, Silence, SilenceAfter,
};
use crate::shutdown::Shutdown;
use crate::store::sqlite::SqliteLog;

/// Begins to read every bot back, by its way to Blip.
pub(super) fn start(
    config: &Config,
    ways: &BTreeMap<String, Arc<dyn BlipApi>>,
    log: &Arc<SqliteLog>,
    (clock, ids, shutdown): (&Arc<dyn Clock>, &Arc<dyn Ids>, &Shutdown),
    registry: &mut Registry,
) -> Reconcilers {
    let parts = Parts {
        log: log.clone(),
        ledger: log.clone(),
        keys: log.clone(),
        notebook: log.clone(),
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
        shutdown: shutdown.clone(),
        metrics: ReconcileMetrics::register(registry),
        settings: settings_of(&config.reconcile),
    };
    Reconcilers::start(&parts, readers_of(config, ways))
}

/// Who is read back, and at which rate.
fn readers_of(config: &Config, ways: &BTreeMap<String, Arc<dyn BlipApi>>) -> Vec<BotParts> {
    let reader = |bot: &config::Bot| {
        let api = Arc::clone(ways.get(&*bot.name)?);
        Some(BotParts { name: Arc::clone(&bot.name), api, commands_per_second: bot.rates.commands })
    };
    config.bots.iter().filter_map(reader).collect()
}

fn settings_of(config: &config::Reconcile) -> Settings {
    let config::Reconcile {
        enabled,
        share_percent,
        interval,
        grace,
        earlier,
        lookback,
        silence,
        business_hours,
    } = *config;
    let after = match silence {
        config::Silence::Off => None,
        config::Silence::Learnt => Some(SilenceAfter::Learnt),
        config::Silence::After(time) => Some(SilenceAfter::Time(time)),
    };
    let silence = Silence { after, hours: business_hours };
    Settings { enabled, share_percent, interval, grace, earlier, lookback, silence }
}
