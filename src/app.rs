//! The composition root: a configuration becomes a running gateway. The only file that knows every part.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::HeaderValue;
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::blip::http::{Authorization, HttpBlip, client};
use crate::blip::policy::Rates;
use crate::blip::{BlipApi, BlipError};
use crate::clock::{Clock, Ids, SystemClock, SystemIds};
use crate::config::{self, Config, SecretStore, Source};
use crate::gateway::desk::Desk;
use crate::gateway::ingest::Ingest;
use crate::lime::{Command, LimeUri, Method, ReplyStatus};
use crate::shutdown::Shutdown;
use crate::store::sqlite::SqliteLog;
use crate::{admin, grpc, store, telemetry, webhook};

/// How long accepted work may take to end once the process is told to stop: exit is within 30 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
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
}

impl Addresses {
    /// As an object of `host:port` texts.
    pub fn to_json(&self) -> String {
        let Self { webhook, grpc, admin, desk } = self;
        let all = [("webhook", webhook), ("grpc", grpc), ("admin", admin), ("desk", desk)];
        let named = all.into_iter().filter_map(|(name, address)| Some((name, json!(address.as_ref()?.to_string()))));
        serde_json::Value::Object(named.map(|(name, address)| (name.to_owned(), address)).collect()).to_string()
    }
}
