//! The edge as its callers see it: streams by themselves where time matters, the server over a real port where
//! the wire does.

mod server;
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::registry::Registry;

use super::sample::TestLog;
use super::{Grpc, Limits, Parts, pb};
use crate::clock::{Clock, Ids, ManualClock, SequentialIds};
use crate::domain::Seq;
use crate::gateway::desk::{CommandMetrics, Desk, DeskParts, QueueLimits};
use crate::gateway::directory::Directory;
use crate::gateway::groups::{GroupParts, Groups};
use crate::gateway::media::{self, Media};
use crate::gateway::quarantine::Quarantine;
use crate::gateway::reconcile::Reconcilers;
use crate::shutdown::Shutdown;
use crate::store::memory::MemoryLog;
use crate::store::{Cursor, EventLog, Ledger, LogId};

/// An edge over `log`, and how to stop it.
fn edge(log: &Arc<TestLog>, limits: Limits) -> (Grpc, Shutdown) {
    let shutdown = Shutdown::new();
    let ids: Arc<dyn Ids> = Arc::new(SequentialIds::default());
    let (events, ledger): (Arc<dyn EventLog>, Arc<dyn Ledger>) =
        (Arc::<TestLog>::clone(log), Arc::<TestLog>::clone(log));
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_second(1_000).unwrap()));
    let metrics = CommandMetrics::register(&mut Registry::default());
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
    let week = Duration::from_hours(168);
    let held = Arc::new(MemoryLog::new(week, week, Arc::clone(&clock), Arc::clone(&ids)));
    let groups = GroupParts {
        log: Arc::clone(&events),
        store: held.clone(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        shutdown: shutdown.clone(),
    };
    let groups = Groups::start(groups, &mut Registry::default());
    let quarantine = Quarantine::new(held, shutdown.clone());
    let directory = Directory::new(Arc::clone(&events), BTreeMap::new(), Arc::clone(&ids), shutdown.clone());
    let allowed = media::Limits { time_max: Duration::from_secs(1), fetches_max: 1 };
    let media = Media::new(BTreeMap::new(), allowed, shutdown.clone());
    let parts = Parts {
        reconcilers: Reconcilers::default(),
        log: events,
        desk,
        directory,
        media,
        quarantine,
        groups,
        clock,
        ids,
        shutdown: shutdown.clone(),
        limits,
    };
    (Grpc::new(parts, &mut Registry::default()), shutdown)
}

/// Limits that let tests go fast.
fn limits() -> Limits {
    Limits { heartbeat_min: Duration::from_millis(10), ..Limits::default() }
}

fn cursor(seq: u64) -> String {
    Cursor { log: LogId([7; 8]), seq: Seq(seq) }.to_string()
}

fn start(position: pb::start_position::Position) -> pb::StartPosition {
    pb::StartPosition { position: Some(position) }
}

fn earliest() -> pb::StartPosition {
    start(pb::start_position::Position::Earliest(true))
}

fn after(seq: u64) -> pb::StartPosition {
    start(pb::start_position::Position::AfterCursor(cursor(seq)))
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = String> {
    range.map(|number| number.to_string())
}
