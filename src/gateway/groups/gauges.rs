//! How groups stand, told when somebody asks for metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::{Arc, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::{GroupView, Groups, Handle};
use crate::clock::Clock;
use crate::store::EventLog;

/// What is read when somebody asks.
#[derive(Debug)]
struct AtScrape {
    known: Weak<Mutex<BTreeMap<String, Handle>>>,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
}

/// Adds the gauges of `groups` to `registry`.
pub(super) fn register(groups: &Groups, registry: &mut Registry) {
    let (log, clock) = (Arc::clone(&groups.parts.log), Arc::clone(&groups.parts.clock));
    registry.register_collector(Box::new(AtScrape { known: Arc::downgrade(&groups.known), log, clock }));
}

impl AtScrape {
    fn views(&self) -> Vec<GroupView> {
        let Some(known) = self.known.upgrade() else { return Vec::new() };
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().map(Handle::view).collect()
    }

    fn gauges(&self, view: &GroupView) -> [u64; 7] {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let behind = self.log.tail().borrow().0.saturating_sub(view.group.floor.0);
        let age = view.oldest.filter(|_| behind > 0).map(|(_, received)| {
            let age = self.clock.now().duration_since(received).as_secs();
            u64::try_from(age).unwrap_or_default()
        });
        [
            behind,
            age.unwrap_or_default(),
            count(view.counts.in_flight),
            count(view.counts.retrying),
            count(view.counts.parked),
            count(view.blocked_tickets),
            count(view.members.len()),
        ]
    }
}

/// The gauges, in the order of their values.
const GAUGES: [(&str, &str); 7] = [
    ("group_lag_events", "Events after what the group has settled, wanted by its filter or not"),
    ("group_lag_seconds", "Age of the oldest event that the group has not settled"),
    ("group_in_flight", "Deliveries that are out"),
    ("group_retrying", "Events that wait for their next attempt"),
    ("group_parked", "Events on the parked list"),
    ("group_blocked_tickets", "Tickets whose events wait for a parked one"),
    ("group_members", "Members that are connected"),
];

impl Collector for AtScrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let views: Vec<_> =
            self.views().into_iter().map(|view| (self.gauges(&view), view.group.name)).collect();
        for (index, (name, help)) in GAUGES.into_iter().enumerate() {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (values, group) in &views {
                let gauge = ConstGauge::new(values.get(index).copied().unwrap_or_default());
                gauge.encode(metric.encode_family(&[("group", group.as_str())])?)?;
            }
        }
        Ok(())
    }
}
