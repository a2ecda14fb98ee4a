//! What an operator decides, parsed once: a TOML file, environment twins of its keys, and the command line's
//! overrides. Every fault is collected, so one run of `deskgate check` tells them all. Secrets never stand in the
//! file, and are never printed: [`SecretStore`] holds them and takes new ones while the process runs.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::blip::media::HostPattern;
use crate::gateway::reconcile::hours::Hours;
use crate::lime::Identity;

mod bots;
mod describe;
mod level;
mod media;
mod reading;
mod reconcile;
mod rules;
mod secrets;
mod sections;
mod source;
mod strangers;
mod units;

pub use level::check_level;
pub use secrets::{BotSecrets, ResolvedSecrets, SecretRef, SecretStore};
pub use source::{Env, MapSource, Source};

/// Everything an operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where Blip posts.
    pub webhook: Webhook,
    /// Where our callers are served.
    pub grpc: Grpc,
    /// Probes and metrics.
    pub admin: Admin,
    /// Where events are kept.
    pub store: Store,
    /// How commands are carried out.
    pub commands: Commands,
    /// Which files may be fetched.
    pub media: Media,
    /// How Blip is read back.
    pub reconcile: Reconcile,
    /// The bots served, at least one.
    pub bots: Vec<Bot>,
    /// What is logged.
    pub log: Log,
    /// What is allowed and still worth a look, a sentence each.
    pub warnings: Vec<String>,
}

/// `[webhook]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Largest body taken.
    pub body_bytes_max: usize,
    /// Whether other machines may reach it without TLS.
    pub insecure: bool,
}

/// `[grpc]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grpc {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Most `Subscribe` streams at a time.
    pub streams_max: usize,
    /// Whether other machines may reach it without TLS and tokens.
    pub insecure: bool,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Whether other machines may reach it.
    pub insecure: bool,
}

/// `[store]`; the kind is SQLite, the only one there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The database file.
    pub path: PathBuf,
    /// How long events are kept, unless they are too many.
    pub retention: Duration,
    /// Bytes on the disk past which the oldest events go.
    pub size_bytes_max: Option<u64>,
    /// Bytes on the disk up to which groups that pin retention hold unread events back.
    pub pinned_bytes_max: Option<u64>,
    /// Most appends that wait for the writer.
    pub queue_max: usize,
}

/// `[commands]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commands {
    /// How long a command whose caller does not wait is tried.
    pub accept_only_expiry: Duration,
    /// Most commands that wait so at a time.
    pub queue_max: usize,
}

/// `[media]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The hosts that may be asked.
    pub hosts: Vec<HostPattern>,
    /// Those of them that may have a bot's key, if they ask for it.
    pub key_hosts: Vec<HostPattern>,
    /// Largest file.
    pub size_bytes_max: u64,
    /// How long a file may take.
    pub time_max: Duration,
    /// Most files on their way at a time.
    pub fetches_max: usize,
}

/// `[reconcile]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconcile {
    /// Whether it runs by itself.
    pub enabled: bool,
    /// Its share of each bot's rate of commands.
    pub share_percent: u32,
    /// The time between two rounds.
    pub interval: Duration,
    /// How long a webhook is waited for before what it tells counts as missing.
    pub grace: Duration,
    /// How far before a ticket its conversation is told.
    pub earlier: Option<Duration>,
    /// How far back the first round looks for tickets that ended.
    pub lookback: Duration,
    /// When a bot's silence is looked into.
    pub silence: Silence,
    /// When silence counts.
    pub business_hours: Option<Hours>,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self {
            enabled: true,
            share_percent: 10,
            interval: Duration::from_mins(15),
            grace: Duration::from_secs(30),
            earlier: Some(Duration::from_hours(1)),
            lookback: Duration::from_hours(24),
            silence: Silence::Learnt,
            business_hours: None,
        }
    }
}

/// When a bot's silence is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Never.
    Off,
    /// When it is longer than is usual for the hour.
    Learnt,
    /// When it is longer than this.
    After(Duration),
}

/// `[[bots]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bot {
    /// Our short name, unique.
    pub name: Arc<str>,
    /// The bot at Blip.
    pub identity: Identity,
    /// Base of Blip's HTTP API, without a slash at the end.
    pub url: String,
    /// Its key for that API.
    pub key: SecretRef,
    /// The router before it, which knows who its customers are.
    pub router: Option<Router>,
    /// Who keeps its contacts at Blip.
    pub crm: Identity,
    /// What its webhooks must bring; all are valid. Empty: any webhook is taken.
    pub webhook_tokens: Vec<SecretRef>,
    /// The headers a webhook's token may stand in.
    pub webhook_headers: Vec<HeaderName>,
    /// What Blip lets it send.
    pub rates: Rates,
}

/// A router: the bot that customers write to, which hands them on to others through its tunnels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Its key for Blip's API.
    pub key: SecretRef,
    /// The router at Blip; only to find a wrong key.
    pub identity: Option<Identity>,
}

/// Envelopes a bot may send per second, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Messages.
    pub messages: u32,
    /// Notifications.
    pub notifications: u32,
    /// Commands.
    pub commands: u32,
}

impl Rates {
    /// What Blip grants without a contract.
    pub const FREE: Self = Self { messages: 3, notifications: 6, commands: 48 };
    /// What Blip grants with one.
    pub const PAID: Self = Self { messages: 50, notifications: 100, commands: 200 };
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives as in `info,deskgate::blip=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the command line says, over the file and the environment. Texts as typed: they are read here, so that
/// their faults are told together with all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--webhook-listen`
    pub webhook_listen: Option<String>,
    /// `--grpc-listen`
    pub grpc_listen: Option<String>,
    /// `--admin-listen`
    pub admin_listen: Option<String>,
    /// `--store-path`
    pub store_path: Option<String>,
    /// `--log-level`
    pub log_level: Option<String>,
    /// `--log-format`
    pub log_format: Option<String>,
}

impl Overrides {
    fn of(&self, path: &str) -> Option<&str> {
        let field = match path {
            "webhook.listen" => &self.webhook_listen,
            "grpc.listen" => &self.grpc_listen,
            "admin.listen" => &self.admin_listen,
            "store.path" => &self.store_path,
            "log.level" => &self.log_level,
            "log.format" => &self.log_format,
            _ => return None,
        };
        field.as_deref()
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The full key, or where else it was said.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}; {}", self.key, self.what, self.fix)
    }
}

/// Everything that is wrong, at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.as_slice() {
            [fault] => write!(out, "the configuration has a fault:\n  {fault}"),
            faults => {
                write!(out, "the configuration has {} faults:", faults.len())?;
                faults.iter().try_for_each(|fault| write!(out, "\n  {fault}"))
            }
        }
    }
}

impl Config {
    /// Reads the configuration: `overrides` before `source`'s variables, before the `file`, before the defaults.
    /// Also looks whether the secrets are there.
    pub fn load(
        source: &dyn Source,
        file: Option<(&Path, &str)>,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        sections::load(source, file, overrides).0
    }

    /// A warning for each variable of `source` that looks like one of ours and means nothing; `flags` are the command
    /// line's own.
    pub fn strangers(&self, source: &dyn Source, flags: &BTreeSet<String>) -> Vec<String> {
        strangers::strangers(self, source, flags)
    }

    /// What was understood, in the file's own form; of secrets only where they come from.
    pub fn describe(&self) -> String {
        describe::describe(self)
    }

    /// Fetches the secrets, which may have changed since the last time.
    pub fn resolve(&self, source: &dyn Source) -> Result<ResolvedSecrets, ConfigError> {
        secrets::resolve(&self.bots, source)
    }
}

#[cfg(test)]
mod tests;
