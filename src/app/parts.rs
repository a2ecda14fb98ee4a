//! The use cases, each with what it stands on.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::{blip_of, directory};
use crate::blip::BlipApi;
use crate::blip::metrics::BlipMetrics;
use crate::clock::{Clock, Ids};
use crate::config::{self, Config, SecretStore};
use crate::gateway::alerts::Alerts;
use crate::gateway::credential::Watched;
use crate::gateway::desk::{CommandMetrics, Desk, DeskParts, QueueLimits};
use crate::gateway::directory::Directory;
use crate::gateway::groups::{GroupParts, Groups};
use crate::gateway::ingest::Ingest;
use crate::gateway::quarantine::Quarantine;
use crate::gateway::unread::Unread;
use crate::grpc::{Limits, Parts};
use crate::shutdown::Shutdown;
use crate::store::EventLog;
use crate::store::sqlite::{self, SizeLimits, SqliteLog};

/// A way to Blip for each bot, by short name.
pub(super) type Ways = BTreeMap<String, Arc<dyn BlipApi>>;

/// What the use cases stand on.
pub(super) struct Ground<'a> {
    pub(super) config: &'a Config,
    pub(super) secrets: &'a SecretStore,
    pub(super) log: &'a Arc<SqliteLog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) shutdown: &'a Shutdown,
}

impl Ground<'_> {
    /// Starts all that gRPC serves, and what takes webhooks; `registry` is told what they count.
    pub(super) fn build(self, registry: &mut Registry) -> anyhow::Result<(Parts, Ingest)> {
        let Self { config, secrets, log, .. } = self;
        let events: Arc<dyn EventLog> = log.clone();
        let identities = config.bots.iter().map(|bot| (Arc::clone(&bot.name), bot.identity.clone()));
        let alerts = Alerts::new(Arc::clone(&events), identities, self.shutdown.clone(), registry);
        let blip_metrics = BlipMetrics::register(registry);
        let bots = watched(blip_of(config, secrets, &blip_metrics)?, &alerts);
        let lines = directory::lines_of(config, secrets, &bots, &blip_metrics, &alerts)?;
        let reconcilers = self.reconcilers(&bots, registry);
        let desk = self.desk(bots, registry);
        log.register_metrics(registry);
        let ids = Arc::clone(&self.ids);
        let parts = Parts {
            log: events,
            desk,
            directory: Directory::new(log.clone(), lines, ids, self.shutdown.clone()),
            media: directory::media_of(config, secrets, self.shutdown)?,
            quarantine: Quarantine::new(log.clone(), self.shutdown.clone()),
            reconcilers: reconcilers.clone(),
            groups: self.groups(registry),
            clock: self.clock,
            ids: self.ids,
            shutdown: self.shutdown.clone(),
            limits: Limits { streams_max: config.grpc.streams_max, ..Limits::default() },
        };
        let ingest = Ingest::new(Arc::clone(&parts.log), alerts).with_reconcilers(reconcilers);
        Ok((parts, ingest))
    }

    fn desk(&self, bots: Ways, registry: &mut Registry) -> Desk {
        let desk = Desk::new(DeskParts {
            log: self.log.clone(),
            ledger: self.log.clone(),
            bots,
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            shutdown: self.shutdown.clone(),
            metrics: CommandMetrics::register(registry),
            queue: queue_of(self.config.commands),
        });
        desk.recover();
        desk
    }

    fn groups(&self, registry: &mut Registry) -> Groups {
        let parts = GroupParts {
            log: self.log.clone(),
            store: self.log.clone(),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            shutdown: self.shutdown.clone(),
        };
        Groups::start(parts, registry)
    }
}

/// The store, and who watches that groups lose nothing from it unwarned.
pub(super) fn open(
    store: &config::Store,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn Ids>,
    shutdown: &Shutdown,
) -> anyhow::Result<Arc<SqliteLog>> {
    let config::Store { path, retention, size_bytes_max, pinned_bytes_max, queue_max } = store;
    let config = sqlite::Config {
        retention: *retention,
        size: SizeLimits { bytes_max: *size_bytes_max, pinned_bytes_max: *pinned_bytes_max },
        queue_max: *queue_max,
        ..sqlite::Config::new(path)
    };
    let log = Arc::new(SqliteLog::open(config, Arc::clone(clock), Arc::clone(ids))?);
    Unread::new(log.clone(), log.clone(), Arc::clone(clock)).watch(shutdown);
    Ok(log)
}

fn queue_of(commands: config::Commands) -> QueueLimits {
    let config::Commands { accept_only_expiry, queue_max } = commands;
    QueueLimits { expiry: accept_only_expiry, commands_max: queue_max, ..QueueLimits::default() }
}

/// The same ways, telling of keys that Blip refuses.
fn watched(bots: Ways, alerts: &Alerts) -> Ways {
    let watch = |(bot, api): (String, Arc<dyn BlipApi>)| {
        let api: Arc<dyn BlipApi> = Arc::new(Watched::new(bot.as_str().into(), api, alerts.clone()));
        (bot, api)
    };
    bots.into_iter().map(watch).collect()
}
