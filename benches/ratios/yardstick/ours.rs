//! Our own parts with one thing changed: a commit for every event, or a log in memory.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use deskgate::clock::{SystemClock, SystemIds};
use deskgate::gateway::ingest::{Ingest, Received};
use deskgate::store::EventLog;
use deskgate::store::sqlite::{Config, SqliteLog};

use super::http::PATH;
use crate::webhooks::{BOT, TOKEN};

/// Durable ingest as it is, but that no two events share a commit.
pub(super) fn one_commit(folder: &Path, n: usize) -> Result<Router> {
    let config = Config { batch_max: n, ..Config::new(folder.join("deskgate.db")) };
    Ok(ingest_into(Arc::new(SqliteLog::open(config, Arc::new(SystemClock), Arc::new(SystemIds))?)))
}

fn ingest_into(log: Arc<dyn EventLog>) -> Router {
    Router::new().route(PATH, post(accept)).with_state(Ingest::new(log))
}

async fn accept(State(ingest): State<Ingest>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let key = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if key.strip_prefix("Key ") != Some(TOKEN) {
        return StatusCode::UNAUTHORIZED;
    }
    let received = Received { bot: BOT.into(), body, traceparent: String::new() };
    match ingest.accept(received).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
