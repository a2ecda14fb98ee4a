//! What is on its way to a member: the group puts in, the member's stream takes out, and whatever was not taken can be
//! called back, so that an attempt which nobody saw does not count. Bounded by what the group asks before it puts in.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::GroupError;
use super::input::SettleState;
use crate::domain::{Seq, StoredEvent};
use crate::store::groups::DeliveryId;

/// Deliveries that may wait to be taken.
const DELIVERIES_MAX: usize = 256;
/// About how much memory their events may take.
const BYTES_MAX: usize = 1 << 20;
/// Reports that may wait to be taken, before no more settlements are read.
const REPORTS_MAX: usize = 32;

/// An event for a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its name.
    pub id: DeliveryId,
    /// The event.
    pub event: Arc<StoredEvent>,
    /// Which attempt, the first being 1.
    pub attempt: u32,
    /// When its lease ends.
    pub until: Timestamp,
    /// Why the attempt before did not succeed.
    pub failure: String,
    /// An earlier event of its ticket is on the parked list.
    pub predecessor_parked: bool,
}

/// Events that the group should have had are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The last position before them.
    pub after: Seq,
    /// Where the group goes on.
    pub to: Seq,
}

/// Something for a member.
#[derive(Debug)]
pub enum ToMember {
    /// An event.
    Delivery(Box<Delivery>),
    /// What a batch of settlements did.
    Report {
        /// The member's number for the batch.
        batch_id: u64,
        /// Each delivery as it was named, and what became of it.
        results: Vec<(String, SettleState)>,
    },
    /// Everything up to here was given to somebody.
    CaughtUp(Seq),
    /// Events are lost to the group.
    Gap(Lost),
    /// The gateway stops; so long there is to settle.
    GoingAway(Duration),
    /// It is over; nothing follows.
    End(End),
}

/// How a membership ends.
#[derive(Debug)]
pub enum End {
    /// As the member asked; so many deliveries were given back.
    Stopped(usize),
    /// By the group.
    Failed(GroupError),
}

/// The queue.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    /// There is something.
    filled: Notify,
    /// There is room for a report.
    reported: Notify,
    /// Wakes the group.
    group: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<ToMember>,
    deliveries: usize,
    bytes: usize,
    reports: usize,
    /// The group found no room.
    wanted: bool,
}

impl Outbox {
    /// An empty one of a member whose group is woken by `group`.
    pub(super) fn new(group: Arc<Notify>) -> Self {
        Self { queue: Mutex::default(), filled: Notify::new(), reported: Notify::new(), group }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more deliveries it takes now. If none, the group is woken when that changes.
    pub(super) fn room(&self) -> usize {
        let mut queue = self.lock();
        let room = if queue.bytes < BYTES_MAX { DELIVERIES_MAX.saturating_sub(queue.deliveries) } else { 0 };
        queue.wanted = room == 0;
        room
    }

    pub(super) fn push(&self, item: ToMember) {
        let mut queue = self.lock();
        match &item {
            ToMember::Delivery(delivery) => {
                queue.deliveries = queue.deliveries.saturating_add(1);
                queue.bytes = queue.bytes.saturating_add(delivery.event.weight());
            }
            ToMember::Report { .. } => queue.reports = queue.reports.saturating_add(1),
            ToMember::CaughtUp(_) | ToMember::Gap(_) | ToMember::GoingAway(_) | ToMember::End(_) => {}
        }
        queue.items.push_back(item);
        drop(queue);
        self.filled.notify_one();
    }

    /// Takes what is next, if there is anything.
    pub fn take(&self) -> Option<ToMember> {
        let mut queue = self.lock();
        let item = queue.items.pop_front()?;
        match &item {
            ToMember::Delivery(delivery) => {
                queue.taken(delivery);
                let is_low = queue.deliveries <= DELIVERIES_MAX / 2 && queue.bytes <= BYTES_MAX / 2;
                if queue.wanted && is_low {
                    queue.wanted = false;
                    self.group.notify_one();
                }
            }
            ToMember::Report { .. } => {
                queue.reports = queue.reports.saturating_sub(1);
                self.reported.notify_one();
            }
            ToMember::CaughtUp(_) | ToMember::Gap(_) | ToMember::GoingAway(_) | ToMember::End(_) => {}
        }
        Some(item)
    }

    /// Waits for what is next. For one reader.
    pub async fn next(&self) -> ToMember {
        loop {
            if let Some(item) = self.take() {
                return item;
            }
            self.filled.notified().await;
        }
    }

    /// Waits until there is room for the report of another batch. For one reader of batches.
    pub async fn report_room(&self) {
        while self.lock().reports >= REPORTS_MAX {
            self.reported.notified().await;
        }
    }

    /// Calls a delivery back; `false` if it was taken.
    pub(super) fn call_back(&self, token: u64) -> bool {
        let mut queue = self.lock();
        let is_it =
            |item: &ToMember| matches!(item, ToMember::Delivery(delivery) if delivery.id.token == token);
        let at = queue.items.iter().position(is_it);
        let found = at.and_then(|at| queue.items.remove(at));
        if let Some(ToMember::Delivery(delivery)) = &found {
            queue.taken(delivery);
        }
        found.is_some()
    }

    /// Calls every delivery back that was not taken.
    pub(super) fn call_all_back(&self) -> Vec<DeliveryId> {
        let mut queue = self.lock();
        let mut back = Vec::new();
        for item in std::mem::take(&mut queue.items) {
            if let ToMember::Delivery(delivery) = item {
                queue.taken(&delivery);
                back.push(delivery.id);
            } else {
                queue.items.push_back(item);
            }
        }
        back
    }
}

impl Queue {
    fn taken(&mut self, delivery: &Delivery) {
        self.deliveries = self.deliveries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(delivery.event.weight());
    }
}
