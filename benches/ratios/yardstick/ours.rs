//! Our own parts with one thing changed: a commit for every event, a log that is one file, or a log in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use deskgate::auth::{BotKeys, Keys};
use deskgate::clock::{Clock, Ids, SystemClock, SystemIds};
use deskgate::gateway::alerts::Alerts;
use deskgate::gateway::desk::{CommandMetrics, Desk, DeskParts, QueueLimits};
use deskgate::gateway::directory::Directory;
use deskgate::gateway::groups::{GroupParts, Groups};
use deskgate::gateway::ingest::Ingest;
use deskgate::gateway::media::{self, Media};
use deskgate::gateway::quarantine::Quarantine;
use deskgate::gateway::reconcile::Reconcilers;
use deskgate::grpc::{self, Limits, Parts};
use deskgate::shutdown::Shutdown;
use deskgate::store::memory::MemoryLog;
use deskgate::store::sqlite::{Config, SqliteLog};
use deskgate::store::{EventLog, Ledger};
use deskgate::webhook::{self, Webhook, WebhookMetrics};
use http::header::AUTHORIZATION;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::file_log::FileLog;
use crate::webhooks::{BOT, TOKEN};

const BODY_BYTES_MAX: usize = 1 << 20;
const WEEK: Duration = Duration::from_hours(7 * 24);

/// Serves webhooks as ours does, but that no two events share a commit.
pub(super) async fn one_commit(listener: TcpListener, folder: &Path) -> Result<()> {
    let config = Config { batch_max: 1, ..Config::new(folder.join("deskgate.db")) };
    let log = SqliteLog::open(config, Arc::new(SystemClock), Arc::new(SystemIds))?;
    accept(listener, Arc::new(log), &mut Registry::default()).await;
    Ok(())
}

/// Serves webhooks as ours does, over a log that is appended to a file.
pub(super) async fn file(listener: TcpListener, path: &Path) -> Result<()> {
    accept(listener, Arc::new(FileLog::create(path)?), &mut Registry::default()).await;
    Ok(())
}

/// Serves webhooks and streams as ours does, but that nothing reaches a disk.
pub(super) async fn in_memory(webhooks: TcpListener, streams: TcpListener) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    let log = Arc::new(MemoryLog::new(WEEK, WEEK, Arc::clone(&clock), Arc::clone(&ids)));
    let (events, ledger): (Arc<dyn EventLog>, Arc<dyn Ledger>) = (log.clone(), log.clone());
    let shutdown = Shutdown::new();
    let mut registry = Registry::default();
    let groups = GroupParts {
        log: log.clone(),
        store: log.clone(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        shutdown: shutdown.clone(),
    };
    let groups = Groups::start(groups, &mut registry);
    let quarantine = Quarantine::new(log, shutdown.clone());
    let metrics = CommandMetrics::register(&mut registry);
    let desk = Desk::new(DeskParts {
        log: Arc::clone(&events),
        ledger,
        bots: BTreeMap::new(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        shutdown: shutdown.clone(),
        metrics,
        queue: QueueLimits::default(),
    });
    let directory = Directory::new(Arc::clone(&events), BTreeMap::new(), Arc::clone(&ids), shutdown.clone());
    let allowed = media::Limits { time_max: Duration::from_secs(1), fetches_max: 1 };
    let media = Media::new(BTreeMap::new(), allowed, shutdown.clone());
    let (log, limits) = (Arc::clone(&events), Limits::default());
    let reconcilers = Reconcilers::default();
    let parts =
        Parts { log, desk, directory, media, quarantine, reconcilers, groups, clock, ids, shutdown, limits };
    let serving = grpc::serve(streams, parts, &mut registry);
    tokio::spawn(async move { accept(webhooks, events, &mut Registry::default()).await });
    serving.await
}

async fn accept(listener: TcpListener, log: Arc<dyn EventLog>, registry: &mut Registry) {
    let keys = Keys::new(vec![BotKeys {
        bot: BOT.into(),
        headers: vec![AUTHORIZATION],
        tokens: vec![TOKEN.into()],
    }]);
    let metrics = WebhookMetrics::register(registry);
    let shutdown = Shutdown::new();
    let alerts = Alerts::new(Arc::clone(&log), [], shutdown.clone(), registry);
    let webhook = Webhook::new(
        Ingest::new(log, alerts),
        Arc::new(keys),
        BODY_BYTES_MAX,
        metrics,
        shutdown.clone(),
        SystemIds.next(),
    );
    webhook::serve(listener, Arc::new(webhook), shutdown, CancellationToken::new()).await;
}
