//! `deskgate serve`: production.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, CommandFactory as _};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{Cli, Listeners, usage};
use crate::app::{Addresses, App};
use crate::config::{Config, Env, Overrides, SecretStore, Source};
use crate::shutdown::Shutdown;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate serve --config deskgate.toml
  SUPORTE_BLIP_KEY=… SUPORTE_WEBHOOK_TOKEN=… deskgate serve --config deskgate.toml --grpc-listen 127.0.0.1:50052

SIGTERM finishes what was accepted and exits within 30 s; a second one aborts. SIGHUP reads the secrets again.")]
pub(super) struct ServeArgs {
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    listeners: Listeners,
}

/// Which configuration, for every command that reads one.
#[derive(Debug, Args)]
pub(super) struct Configuration {
    /// The configuration file; docs/CONFIGURATION.md has every key.
    #[arg(long, value_name = "FILE", env = "DESKGATE_CONFIG", default_value = "deskgate.toml")]
    pub(super) config: PathBuf,
    /// The database file; made if it is not there.
    #[arg(long, value_name = "FILE", env = "DESKGATE_STORE_PATH")]
    pub(super) store_path: Option<String>,
}

impl Configuration {
    /// Reads the file and lays flags and environment over it.
    pub(super) fn load(&self, listeners: &Listeners) -> anyhow::Result<Config> {
        let path = &self.config;
        let text = Env.read(path).with_context(|| {
            format!(
                "{}: cannot be read; name the configuration with --config, or begin with `deskgate sandbox`",
                path.display()
            )
        })?;
        let overrides = Overrides { store_path: self.store_path.clone(), ..listeners.overrides() };
        let mut config = Config::load(&Env, Some((path, &text)), &overrides)?;
        config.warnings.extend(config.strangers(&Env, &usage::variables(&Cli::command())));
        Ok(config)
    }
}

impl Listeners {
    /// What was given on the command line or in the environment.
    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            webhook_listen: self.webhook_listen.clone(),
            grpc_listen: self.grpc_listen.clone(),
            admin_listen: self.admin_listen.clone(),
            store_path: None,
            log_level: self.log_level.clone(),
            log_format: self.log_format.clone(),
        }
    }
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = args.configuration.load(&args.listeners)?;
    crate::telemetry::init(&config.log)?;
    allow_open_files();
    let secrets = Arc::new(SecretStore::new(&config, &Env)?);
    let shutdown = Shutdown::new();
    stop_on_signals(&shutdown)?;
    let app = App::start(&config, secrets, Arc::new(Env), shutdown)?;
    announce(app.addresses(), args.listeners.addresses_file.as_deref())?;
    app.finish().await
}

/// As many files as the system lets this process have: each connection is one, and the limit that a process begins
/// with is low for the sake of old programs.
pub(super) fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, files = limit.current, "no more files may be open than the process began with");
    }
}

/// Says where everything listens, in the log and in the file asked for.
pub(super) fn announce(addresses: &Addresses, file: Option<&Path>) -> anyhow::Result<()> {
    if let Some(file) = file {
        let text = format!("{}\n", addresses.to_json());
        std::fs::write(file, text)
            .with_context(|| format!("--addresses-file {}: cannot be written", file.display()))?;
    }
    let Addresses { webhook, grpc, admin, desk, control } = addresses;
    let show = |address: &Option<std::net::SocketAddr>| address.map(|address| address.to_string());
    tracing::info!(
        webhook = show(webhook),
        grpc = show(grpc),
        admin = show(admin),
        desk = show(desk),
        control = show(control),
        "ready"
    );
    Ok(())
}

/// The first SIGTERM or SIGINT begins the stop, the second ends the process at once.
pub(super) fn stop_on_signals(shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (shutdown, later) = (shutdown.clone(), shutdown.later());
    drop(later.spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked {
                tracing::error!("second signal: aborting, unfinished work is left to the next start");
                shutdown.hard().cancel();
                return;
            }
            asked = true;
            tracing::info!("stopping: finishing what was accepted; a second signal aborts");
            shutdown.soft().cancel();
        }
    }));
    Ok(())
}
