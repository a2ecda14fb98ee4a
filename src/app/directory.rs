//! What the directory stands on: each bot's ways to Blip, and to files.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;

use super::{api_of, authorization_of};
use crate::blip::BlipApi;
use crate::blip::http::client;
use crate::blip::media::{self, HttpMedia, MediaApi, Rules};
use crate::blip::metrics::BlipMetrics;
use crate::config::{self, Config, SecretStore};
use crate::gateway::alerts::Alerts;
use crate::gateway::credential::Watched;
use crate::gateway::directory::Lines;
use crate::gateway::media::{Limits, Media};
use crate::shutdown::Shutdown;

/// The way to Blip of each bot's router, by the bot's short name; of those that have one.
pub fn routers_of(
    config: &Config,
    secrets: &SecretStore,
    metrics: &BlipMetrics,
) -> anyhow::Result<BTreeMap<String, Arc<dyn BlipApi>>> {
    let client = client().context("the HTTP client cannot be built")?;
    let router = |bot: &config::Bot| {
        let key = secrets.router_key(&bot.name)?;
        Some((bot.name.to_string(), api_of(bot, client.clone(), key, metrics)))
    };
    Ok(config.bots.iter().filter_map(router).collect())
}

/// Every bot's ways to Blip, by short name: its own, which there are, and its router's.
pub(super) fn lines_of(
    config: &Config,
    secrets: &SecretStore,
    bots: &BTreeMap<String, Arc<dyn BlipApi>>,
    metrics: &BlipMetrics,
    alerts: &Alerts,
) -> anyhow::Result<BTreeMap<String, Lines>> {
    let mut routers = routers_of(config, secrets, metrics)?;
    let lines_of = |bot: &config::Bot| {
        let own = Arc::clone(bots.get(&*bot.name)?);
        let router = routers.remove(&*bot.name).map(|api| -> Arc<dyn BlipApi> {
            Arc::new(Watched::router(Arc::clone(&bot.name), api, alerts.clone()))
        });
        let crm = bot.crm.to_string();
        Some((bot.name.to_string(), Lines { own, router, crm }))
    };
    Ok(config.bots.iter().filter_map(lines_of).collect())
}

/// The way to files, for all bots.
pub(super) fn media_of(config: &Config, secrets: &SecretStore, shutdown: &Shutdown) -> anyhow::Result<Media> {
    let config::Media { hosts, key_hosts, size_bytes_max, time_max, fetches_max } = &config.media;
    let client = media::client().context("the HTTP client for files cannot be built")?;
    let rules = Arc::new(Rules { hosts: hosts.clone(), key_hosts: key_hosts.clone() });
    let mut bots: BTreeMap<String, Arc<dyn MediaApi>> = BTreeMap::new();
    for bot in &config.bots {
        let key = secrets.blip_key(&bot.name).with_context(|| format!("bot {} has no key", bot.name))?;
        let (authorization, rules) = (authorization_of(key), Arc::clone(&rules));
        let api = HttpMedia::new(client.clone(), rules, &bot.url, authorization, *size_bytes_max);
        bots.insert(bot.name.to_string(), Arc::new(api));
    }
    let limits = Limits { time_max: *time_max, fetches_max: *fetches_max };
    Ok(Media::new(bots, limits, shutdown.clone()))
}
