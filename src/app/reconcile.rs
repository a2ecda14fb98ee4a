//! Reading Blip back, put together from the configuration.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::parts::{Ground, Ways};
use crate::config::{self, Config};
use crate::gateway::reconcile::{
    BotParts, Parts, ReconcileMetrics, Reconcilers, Settings, Silence, SilenceAfter,
};

impl Ground<'_> {
    /// Begins to read every bot back, by its way to Blip.
    pub(super) fn reconcilers(&self, ways: &Ways, registry: &mut Registry) -> Reconcilers {
        let parts = Parts {
            log: self.log.clone(),
            ledger: self.log.clone(),
            keys: self.log.clone(),
            notebook: self.log.clone(),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            shutdown: self.shutdown.clone(),
            metrics: ReconcileMetrics::register(registry),
            settings: settings_of(&self.config.reconcile),
        };
        Reconcilers::start(&parts, readers_of(self.config, ways))
    }
}

/// Who is read back, and at which rate.
fn readers_of(config: &Config, ways: &Ways) -> Vec<BotParts> {
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
