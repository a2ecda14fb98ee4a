//! What is counted of groups. The label is a group's name: groups are made by whoever may, and are a thousand at most.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::input::SettleState;
use crate::gateway::group::Fate;

/// The counters of groups; clones count together.
#[derive(Debug, Clone, Default)]
pub struct GroupMetrics {
    deliveries: Family<Of, Counter>,
    redeliveries: Family<Of, Counter>,
    settlements: Family<Settlement, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    group: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Settlement {
    group: Arc<str>,
    outcome: &'static str,
}

/// What is counted as a settlement's outcome.
const OUTCOMES: [&str; 8] =
    ["acked", "retried", "parked", "extended", "already_done", "stale", "unknown", "try_again"];

impl GroupMetrics {
    /// Counters that `registry` tells about.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { deliveries, redeliveries, settlements } = metrics.clone();
        registry.register("group_deliveries", "Deliveries made to members of a group", deliveries);
        registry.register("group_redeliveries", "Of these, those after the first attempt", redeliveries);
        registry.register("group_settlements", "Settlements by what they did", settlements);
        metrics
    }

    /// A group is there: it is told of before anything happens, as what is not told cannot be seen to grow.
    pub(super) fn appear(&self, group: &Arc<str>) {
        let of = Of { group: Arc::clone(group) };
        drop(self.deliveries.get_or_create(&of));
        drop(self.redeliveries.get_or_create(&of));
        for outcome in OUTCOMES {
            drop(self.settlements.get_or_create(&Settlement { group: Arc::clone(group), outcome }));
        }
    }

    pub(super) fn delivered(&self, group: &Arc<str>, attempt: u32) {
        self.deliveries.get_or_create(&Of { group: Arc::clone(group) }).inc();
        if attempt > 1 {
            self.redeliveries.get_or_create(&Of { group: Arc::clone(group) }).inc();
        }
    }

    pub(super) fn settled(&self, group: &Arc<str>, fate: Fate) {
        self.count(
            group,
            match fate {
                Fate::Acked => "acked",
                Fate::Retried => "retried",
                Fate::Parked => "parked",
                Fate::Extended => "extended",
            },
        );
    }

    pub(super) fn not_settled(&self, group: &Arc<str>, state: SettleState) {
        self.count(
            group,
            match state {
                SettleState::Done => return,
                SettleState::AlreadyDone => "already_done",
                SettleState::Stale => "stale",
                SettleState::Unknown => "unknown",
                SettleState::TryAgain => "try_again",
            },
        );
    }

    fn count(&self, group: &Arc<str>, outcome: &'static str) {
        self.settlements.get_or_create(&Settlement { group: Arc::clone(group), outcome }).inc();
    }

    /// A group is gone, and is told no more.
    pub(super) fn forget(&self, group: &Arc<str>) {
        self.deliveries.remove(&Of { group: Arc::clone(group) });
        self.redeliveries.remove(&Of { group: Arc::clone(group) });
        for outcome in OUTCOMES {
            self.settlements.remove(&Settlement { group: Arc::clone(group), outcome });
        }
    }
}
