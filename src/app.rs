//! The composition root: a configuration becomes a running gateway. The only file that knows every part.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::HeaderValue;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::blip::BlipApi;
use crate::blip::http::{Authorization, HttpBlip, client};
use crate::blip::metrics::BlipMetrics;
use crate::blip::policy::Rates;
use crate::clock::{Clock, Ids, SystemClock, SystemIds};
use crate::config::{self, Config, SecretStore, Source};
use crate::grpc::Grpc;
use crate::lime::{Command, LimeUri, Method, ReplyStatus};
use crate::shutdown::Shutdown;
use crate::store::sqlite::SqliteLog;
use crate::store::{EventLog, Ledger, Unsettled};
use crate::webhook::{Webhook, WebhookMetrics};
use crate::{admin, telemetry, webhook};

mod directory;
mod parts;
mod reconcile;

pub use directory::routers_of;
use parts::Ground;

// A stop ends within 30 s, whatever hangs: what each of its parts may take at most, one after the other, is 29.5 s.

/// How long accepted work may take to end once the process is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(24);
/// How long after that whoever still waits is told what is known, before connections are cut.
const PARTING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it may take then to find out what is abandoned, for the log.
const ABANDONED_TIMEOUT: Duration = Duration::from_millis(500);
/// How long connections may take to end after that.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the store may take to close in the end. What it has not moved into its file by then is in its log, from which
/// the next start goes on.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// Commands that are named in the log when they are abandoned; of more, the next start tells.
const ABANDONED_TOLD_MAX: usize = 100;
/// How often secret files are looked at.
const SECRETS_INTERVAL: Duration = Duration::from_secs(5);

/// A gateway that runs.
#[derive(Debug)]
pub struct App {
    addresses: Addresses,
    shutdown: Shutdown,
    /// The listeners that answer until the very end.
    edges: Shutdown,
    closing: CancellationToken,
    log: Arc<SqliteLog>,
}

/// Where everything listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Webhooks.
    pub webhook: Option<SocketAddr>,
    /// gRPC.
    pub grpc: Option<SocketAddr>,
    /// Probes and metrics.
    pub admin: Option<SocketAddr>,
    /// The sandbox's stand-in for Blip Desk.
    pub desk: Option<SocketAddr>,
    /// The stand-in's control side, where it listens on its own.
    pub control: Option<SocketAddr>,
}

impl Addresses {
    /// As an object of `host:port` texts.
    pub fn to_json(&self) -> String {
        let Self { webhook, grpc, admin, desk, control } = self;
        let all =
            [("webhook", webhook), ("grpc", grpc), ("admin", admin), ("desk", desk), ("control", control)];
        let named =
            all.into_iter().filter_map(|(name, address)| Some((name, json!(address.as_ref()?.to_string()))));
        serde_json::Value::Object(named.map(|(name, address)| (name.to_owned(), address)).collect())
            .to_string()
    }
}

impl App {
    /// Opens the store, binds every listener and begins to serve, on the runtime this is called in.
    pub fn start(
        config: &Config,
        secrets: Arc<SecretStore>,
        source: Arc<dyn Source>,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let log = parts::open(&config.store, &clock, &ids, &shutdown)?;
        let mut registry = telemetry::registry();
        let ground = Ground { config, secrets: &secrets, log: &log, clock, ids, shutdown: &shutdown };
        let (parts, ingest) = ground.build(&mut registry)?;
        let ids = Arc::clone(&parts.ids);
        let grpc = Grpc::new(parts, &mut registry);
        let webhooks = Arc::new(Webhook::new(
            ingest,
            secrets.webhook_keys(),
            config.webhook.body_bytes_max,
            WebhookMetrics::register(&mut registry),
            shutdown.clone(),
            ids.next(),
        ));
        let readiness = admin::Readiness::new(shutdown.clone(), log.health());

        let (addresses, [webhook_listener, grpc_listener, admin_listener]) = bind_all(config)?;
        let (edges, closing) = (shutdown.later(), CancellationToken::new());
        shutdown.spawn_service("grpc", grpc.serve(grpc_listener));
        edges.spawn_service("webhook", {
            let serving =
                webhook::serve(webhook_listener, Arc::clone(&webhooks), shutdown.clone(), closing.clone());
            async move {
                serving.await;
                Ok(())
            }
        });
        let router = admin::router(readiness, Arc::new(registry));
        let serving = admin::serve(admin_listener, router, shutdown.clone(), closing.clone());
        edges.spawn_service("admin", async move { Ok(serving.await?) });
        shutdown.spawn_service("secrets", follow_secrets(secrets, source, shutdown.clone()));
        drop(shutdown.spawn({
            let soft = shutdown.soft().clone();
            async move {
                soft.cancelled().await;
                webhooks.drained().await;
            }
        }));
        Ok(Self { addresses, shutdown, edges, closing, log })
    }

    /// Where everything listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Runs until the process is told to stop or a service fails; then finishes what was accepted. What does not
    /// end in time is told and is no error: it is in the ledger, and the next start looks for it.
    pub async fn finish(self) -> anyhow::Result<()> {
        let Self { addresses: _, shutdown, edges, closing, log } = self;
        shutdown.soft().cancelled().await;
        let give_up = Instant::now() + DRAIN_TIMEOUT + PARTING_TIMEOUT + ABANDONED_TIMEOUT;
        let drained = async {
            if timeout(DRAIN_TIMEOUT, shutdown.drained()).await.is_ok() {
                return true;
            }
            shutdown.parting().cancel();
            timeout(PARTING_TIMEOUT, shutdown.drained()).await.is_ok()
        };
        let drained = tokio::select! {
            drained = drained => drained,
            () = shutdown.hard().cancelled() => false,
        };
        let aborted = shutdown.hard().is_cancelled();
        closing.cancel();
        if !drained {
            tell_abandoned(log.as_ref()).await;
            shutdown.hard().cancel();
        }
        // What ends early leaves its time to what comes after it, but for an end that was forced.
        let cut = if drained { give_up } else { Instant::now() } + CLOSING_TIMEOUT;
        let exit = cut + STORE_TIMEOUT;
        if timeout_at(cut, edges.drained()).await.is_err() {
            tracing::warn!("connections were cut that did not end");
        }
        if let Ok(closed) = timeout_at(exit, tokio::task::spawn_blocking(move || log.close())).await {
            closed.context("closing the store")?;
        } else {
            tracing::warn!("the store was left as it is: something holds up its closing");
        }
        let failures = shutdown.failures();
        anyhow::ensure!(failures.is_empty(), "{}", failures.join("; "));
        anyhow::ensure!(!aborted, "aborted; the next start looks for the end of what was accepted");
        tracing::info!("stopped");
        Ok(())
    }
}

/// Logs what the drain leaves behind: whatever was accepted is durable, so these are commands.
async fn tell_abandoned(ledger: &dyn Ledger) {
    let what = "accepted work was abandoned after the drain's time; the next start looks for its end";
    // What is queued was not begun: it waits where it is.
    let begun = Unsettled { begun: true, count_max: ABANDONED_TOLD_MAX, bytes_max: usize::MAX, after: None };
    match timeout(ABANDONED_TIMEOUT, ledger.unsettled(begun)).await {
        Ok(Ok(commands)) => {
            let ids: Vec<_> = commands.items.iter().map(|record| record.command.id.to_string()).collect();
            tracing::warn!(commands = ids.len(), ids = ids.join(" "), "{what}");
        }
        Ok(Err(error)) => tracing::warn!(%error, "{what}"),
        Err(_) => tracing::warn!("{what}; the store does not tell in time which"),
    }
}

/// The listeners of webhooks, of gRPC and of probes, in this order, and where they are.
fn bind_all(config: &Config) -> anyhow::Result<(Addresses, [TcpListener; 3])> {
    let webhook = bind("webhook.listen", config.webhook.listen)?;
    let grpc = bind("grpc.listen", config.grpc.listen)?;
    let admin = bind("admin.listen", config.admin.listen)?;
    let addresses = Addresses {
        webhook: Some(webhook.local_addr()?),
        grpc: Some(grpc.local_addr()?),
        admin: Some(admin.local_addr()?),
        desk: None,
        control: None,
    };
    Ok((addresses, [webhook, grpc, admin]))
}

/// Connections that may wait to be accepted, within the system's own limit: everybody comes back at once after a
/// restart, and whoever finds no room waits a second before trying again.
const BACKLOG: u32 = 4096;

fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| {
        format!(
            "{key}: cannot listen on {address}; is another process there? Choose another address, or port 0"
        )
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Metrics nobody reads, for a command that ends before anyone could.
pub fn blip_metrics() -> BlipMetrics {
    BlipMetrics::register(&mut telemetry::registry())
}

/// Every bot's way to Blip, by short name.
pub fn blip_of(
    config: &Config,
    secrets: &SecretStore,
    metrics: &BlipMetrics,
) -> anyhow::Result<BTreeMap<String, Arc<dyn BlipApi>>> {
    let client = client().context("the HTTP client cannot be built")?;
    let mut bots: BTreeMap<String, Arc<dyn BlipApi>> = BTreeMap::new();
    for bot in &config.bots {
        let key = secrets.blip_key(&bot.name).with_context(|| format!("bot {} has no key", bot.name))?;
        bots.insert(bot.name.to_string(), api_of(bot, client.clone(), key, metrics));
    }
    Ok(bots)
}

/// A way to Blip with a key of a bot's: its own, or its router's.
fn api_of(bot: &config::Bot, client: Client, key: Key, metrics: &BlipMetrics) -> Arc<dyn BlipApi> {
    let config::Rates { messages, notifications, commands } = bot.rates;
    let rates = Rates { messages, notifications, commands };
    let authorization = authorization_of(key);
    Arc::new(HttpBlip::new(&bot.name, client, &bot.url, authorization, rates, metrics.clone()))
}

/// A key, as it is at the moment.
type Key = watch::Receiver<SecretString>;

/// The header that a key makes; asked for each time, so that a rotated key is used at once.
fn authorization_of(key: Key) -> Authorization {
    Arc::new(move || {
        let mut value = HeaderValue::from_str(&format!("Key {}", key.borrow().expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    })
}

/// Proves a bot's key: Blip takes it, and it is that of the bot that owns the desk, not of its router.
pub async fn try_key(api: &dyn BlipApi, patience: Duration) -> anyhow::Result<()> {
    let desk =
        ("postmaster@desk.msging.net", "/attendants?$skip=0&$take=1", "the bot of this key has no desk");
    try_questions(api, &[PING, desk], patience).await
}

/// Proves the key of a bot's router: Blip takes it.
pub async fn try_router_key(api: &dyn BlipApi, patience: Duration) -> anyhow::Result<()> {
    try_questions(api, &[PING], patience).await
}

/// Whom to ask what, and what it means if that fails.
type Question = (&'static str, &'static str, &'static str);

const PING: Question = ("postmaster@msging.net", "/ping", "Blip did not answer a ping");

async fn try_questions(api: &dyn BlipApi, questions: &[Question], patience: Duration) -> anyhow::Result<()> {
    for &(to, uri, meaning) in questions {
        let id = SystemIds.next().to_string();
        let (to, uri) = (to.to_owned(), LimeUri(uri.to_owned()));
        let command = Command { id, to, method: Method::Get, uri, resource: None };
        let reply = api.command(&command, Instant::now() + patience).await.context(meaning)?;
        if let ReplyStatus::Failure(reason) = reply.status {
            anyhow::bail!("{meaning}: {} (code {})", reason.description, reason.code.unwrap_or_default());
        }
    }
    Ok(())
}

/// Takes over rotated secrets on SIGHUP, and whenever a file changes. A fault leaves all as they were.
async fn follow_secrets(
    secrets: Arc<SecretStore>,
    source: Arc<dyn Source>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut looks = interval(SECRETS_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_fault = String::new();
    loop {
        let asked = tokio::select! {
            _ = looks.tick() => false,
            _ = hangup.recv() => true,
            () = shutdown.soft().cancelled() => return Ok(()),
        };
        match secrets.reload(source.as_ref()) {
            Ok(changed) => {
                last_fault.clear();
                if asked || !changed.is_empty() {
                    tracing::info!(bots = ?changed, "secrets read again; these bots' changed");
                }
            }
            Err(fault) => {
                let fault = fault.to_string();
                if asked || fault != last_fault {
                    tracing::error!(%fault, "secrets could not be read again; the earlier ones stay in force");
                }
                last_fault = fault;
            }
        }
    }
}
