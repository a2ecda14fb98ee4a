//! What the store tells of itself: how long commits take, how much they carry, how large the file is.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use super::Shared;
use crate::store::Health;

/// From a fast disk's sync to a stalled one, in seconds.
const SECONDS: [f64; 11] = [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 5.0];
/// Pieces of work in one commit.
const WORK: [f64; 8] = [1.0, 2.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0];

/// What the writer observes.
#[derive(Debug, Clone)]
pub(super) struct Commits {
    duration: Histogram,
    work: Histogram,
}

impl Default for Commits {
    fn default() -> Self {
        Self { duration: Histogram::new(SECONDS), work: Histogram::new(WORK) }
    }
}

impl Commits {
    /// A transaction of `jobs` pieces of work, begun at `begun`, is durable.
    pub(super) fn committed(&self, begun: Instant, jobs: usize) {
        self.duration.observe(begun.elapsed().as_secs_f64());
        self.work.observe(f64::from(u32::try_from(jobs).unwrap_or(u32::MAX)));
    }
}

/// What is read when somebody asks.
#[derive(Debug)]
struct AtScrape {
    shared: Arc<Shared>,
    path: PathBuf,
}

/// Adds the store's metrics to `registry`.
pub(super) fn register(shared: &Arc<Shared>, path: &Path, registry: &mut Registry) {
    let Commits { duration, work } = shared.commits.clone();
    registry.register_with_unit(
        "store_commit_duration",
        "Time of a transaction, its sync included",
        Unit::Seconds,
        duration,
    );
    registry.register("store_commit_work", "Webhooks and commands in a transaction", work);
    registry.register_collector(Box::new(AtScrape { shared: Arc::clone(shared), path: path.to_owned() }));
}

impl AtScrape {
    fn gauges(&self) -> [(&'static str, &'static str, u64); 6] {
        let size = |suffix: &str| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(suffix);
            std::fs::metadata(PathBuf::from(name)).map_or(0, |file| file.len())
        };
        let last = self.shared.tail.borrow().0;
        let trimmed = self.shared.trimmed.read().unwrap_or_else(PoisonError::into_inner).0;
        let held = self.shared.held.load(Ordering::Acquire);
        let ready = u64::from(*self.shared.health.borrow() == Health::Ready);
        [
            ("store_ready", "1 while the store takes events", ready),
            ("store_bytes", "Size of the database and its log", size("").saturating_add(size("-wal"))),
            ("store_events", "Events kept", last.saturating_sub(trimmed)),
            ("store_quarantined", "Bodies in quarantine", u64::try_from(held).unwrap_or_default()),
            ("store_last_position", "Position of the newest event", last),
            ("store_trimmed_position", "Position up to which retention has removed events", trimmed),
        ]
    }
}

impl Collector for AtScrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, value) in self.gauges() {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
