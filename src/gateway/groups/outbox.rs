//! What is on its way to a member: the group puts in, the member's stream takes out, and whatever was not taken can be
//! called back, so that an attempt which nobody saw does not count. Bounded by what the group asks before it puts in.

use std::collections::VecDeque;
use std::ops::Deref;
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

impl Lost {
    /// Both, and whatever lies between.
    pub(super) fn and(self, other: Self) -> Self {
        Self { after: self.after.min(other.after), to: self.to.max(other.to) }
    }
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
    /// Events are lost to the group; the next one joins it, as long as it is not taken.
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

/// The group's side of an outbox, and its promise that an end comes: dropped without one, it says that the group broke down.
#[derive(Debug)]
pub(super) struct Inlet {
    outbox: Arc<Outbox>,
    group: Arc<str>,
}

impl Inlet {
    pub(super) fn new(outbox: Arc<Outbox>, group: &str) -> Self {
        Self { outbox, group: group.into() }
    }
}

impl Deref for Inlet {
    type Target = Outbox;

    fn deref(&self) -> &Outbox {
        &self.outbox
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.outbox.push(ToMember::End(End::Failed(GroupError::Broken(self.group.to_string()))));
    }
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
    /// What it had was not taken in all the time there was: it gets no more before it takes something.
    stalled: bool,
    /// Its end was put in: nothing follows.
    ended: bool,
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
        let takes = !queue.stalled && queue.bytes < BYTES_MAX;
        let room = if takes { DELIVERIES_MAX.saturating_sub(queue.deliveries) } else { 0 };
        queue.wanted = room == 0;
        room
    }

    pub(super) fn push(&self, item: ToMember) {
        let mut queue = self.lock();
        if queue.ended {
            return;
        }
        match &item {
            ToMember::Delivery(delivery) => {
                queue.deliveries = queue.deliveries.saturating_add(1);
                queue.bytes = queue.bytes.saturating_add(delivery.event.weight());
            }
            ToMember::Report { .. } => queue.reports = queue.reports.saturating_add(1),
            // The newest will do for whoever does not read.
            ToMember::CaughtUp(_) => queue.items.retain(|known| !matches!(known, ToMember::CaughtUp(_))),
            ToMember::End(_) => queue.ended = true,
            ToMember::Gap(lost) => {
                let known = queue
                    .items
                    .iter_mut()
                    .find_map(|known| if let ToMember::Gap(known) = known { Some(known) } else { None });
                if let Some(known) = known {
                    *known = known.and(*lost);
                    return;
                }
            }
            ToMember::GoingAway(_) => {}
        }
        queue.items.push_back(item);
        drop(queue);
        self.filled.notify_one();
    }

    /// Takes what is next, if there is anything.
    pub fn take(&self) -> Option<ToMember> {
        let mut queue = self.lock();
        if std::mem::take(&mut queue.stalled) {
            self.group.notify_one();
        }
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

    /// Calls a delivery back whose time is over; `false` if it was taken.
    pub(super) fn call_back(&self, token: u64) -> bool {
        let mut queue = self.lock();
        let is_it =
            |item: &ToMember| matches!(item, ToMember::Delivery(delivery) if delivery.id.token == token);
        let at = queue.items.iter().position(is_it);
        let found = at.and_then(|at| queue.items.remove(at));
        if let Some(ToMember::Delivery(delivery)) = &found {
            queue.taken(delivery);
            queue.stalled = true;
            // Whoever reads again comes by, also if nothing is left to take.
            self.filled.notify_one();
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::store::groups::GroupId;

    fn delivery(token: u64) -> ToMember {
        let id = DeliveryId { group: GroupId(1), seq: Seq(token), token };
        let event = Arc::new(super::super::tests::event(token));
        let until = Timestamp::UNIX_EPOCH;
        let (attempt, failure, predecessor_parked) = (1, String::new(), false);
        ToMember::Delivery(Box::new(Delivery { id, event, attempt, until, failure, predecessor_parked }))
    }

    #[test]
    fn it_holds_so_much_and_then_is_called_when_there_is_room() {
        let outbox = Outbox::new(Arc::default());
        let mut token = 0;
        while outbox.room() > 0 {
            token += 1;
            outbox.push(delivery(token));
        }
        assert_eq!(token, 256);
        for taken in 1..=127 {
            outbox.take();
            assert!(outbox.lock().wanted, "{taken}: not for every one");
        }
        outbox.take();
        assert!(!outbox.lock().wanted);
        assert_eq!(outbox.room(), 128);
    }

    #[test]
    fn who_takes_nothing_gets_nothing_more() {
        let outbox = Outbox::new(Arc::default());
        outbox.push(delivery(1));
        assert!(outbox.call_back(1) && !outbox.call_back(1));
        assert_eq!(outbox.room(), 0);
        assert!(outbox.take().is_none());
        assert_eq!(outbox.room(), 256, "its stream came by");
        outbox.push(delivery(2));
        outbox.take();
        assert!(!outbox.call_back(2), "it was taken");
        for at in 0..9 {
            outbox.push(ToMember::CaughtUp(Seq(at)));
        }
        outbox.push(delivery(3));
        assert_eq!(outbox.lock().items.len(), 2, "the newest word of it will do");
        for at in 4..99 {
            outbox.push(ToMember::Gap(Lost { after: Seq(at), to: Seq(at + 1) }));
        }
        outbox.push(ToMember::Gap(Lost { after: Seq(3), to: Seq(9) }));
        assert_eq!(outbox.lock().items.len(), 3, "one gap tells them all");
        assert_eq!(outbox.call_all_back().len(), 1);
        assert!(matches!(outbox.take(), Some(ToMember::CaughtUp(Seq(8)))));
        let whole = Lost { after: Seq(3), to: Seq(99) };
        assert!(matches!(outbox.take(), Some(ToMember::Gap(lost)) if lost == whole));
    }
}
