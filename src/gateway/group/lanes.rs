//! Tickets: of each, which events wait in which order, and which is the one that is out or next.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::domain::Seq;
use crate::domain::group::TicketKey;

/// Every ticket of which something waits or is parked.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<TicketKey, Lane>,
    /// Of these, the ones that are blocked.
    blocked: usize,
}

/// A ticket.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// What is not settled, in order.
    waiting: VecDeque<Seq>,
    /// What is on the parked list.
    parked: BTreeSet<Seq>,
    /// The one that is out, or ready.
    pub(super) active: Option<Seq>,
}

impl Lane {
    /// The first that is not settled.
    pub(super) fn first(&self) -> Option<Seq> {
        self.waiting.front().copied()
    }

    /// Whether an earlier one is on the parked list.
    pub(super) fn is_parked_before(&self, seq: Seq) -> bool {
        self.parked.first().is_some_and(|parked| *parked < seq)
    }

    /// Whether it has something that waits for a parked one.
    fn is_blocked(&self) -> bool {
        self.active.is_none() && self.first().is_some_and(|first| self.is_parked_before(first))
    }
}

impl Lanes {
    pub(super) fn of(&self, ticket: TicketKey) -> Option<&Lane> {
        self.lanes.get(&ticket)
    }

    /// Tickets that have something which waits for a parked one, where that holds up its ticket.
    pub(super) fn blocked(&self) -> usize {
        self.blocked
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (TicketKey, &Lane)> {
        self.lanes.iter().map(|(ticket, lane)| (*ticket, lane))
    }

    pub(super) fn insert(&mut self, ticket: TicketKey, seq: Seq) {
        self.lanes.entry(ticket).or_default();
        self.change(ticket, |lane| {
            let at = lane.waiting.partition_point(|known| *known < seq);
            if lane.waiting.get(at) != Some(&seq) {
                lane.waiting.insert(at, seq);
            }
        });
    }

    pub(super) fn remove(&mut self, ticket: TicketKey, seq: Seq) {
        self.change(ticket, |lane| {
            if let Ok(at) = lane.waiting.binary_search(&seq) {
                lane.waiting.remove(at);
            }
            lane.active = lane.active.filter(|active| *active != seq);
        });
    }

    pub(super) fn activate(&mut self, ticket: TicketKey, seq: Option<Seq>) {
        self.change(ticket, |lane| lane.active = seq);
    }

    pub(super) fn park(&mut self, ticket: TicketKey, seq: Seq) {
        self.lanes.entry(ticket).or_default();
        self.change(ticket, |lane| {
            lane.parked.insert(seq);
        });
    }

    pub(super) fn unpark(&mut self, ticket: TicketKey, seq: Seq) {
        self.change(ticket, |lane| {
            lane.parked.remove(&seq);
        });
    }

    fn change(&mut self, ticket: TicketKey, change: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.lanes.get_mut(&ticket) {
            let was = usize::from(lane.is_blocked());
            change(lane);
            let is = usize::from(lane.is_blocked());
            self.blocked = self.blocked.saturating_add(is).saturating_sub(was);
            if lane.waiting.is_empty() && lane.parked.is_empty() {
                self.lanes.remove(&ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Lanes {
        /// The count is right, by counting.
        pub(in super::super) fn check(&self) {
            assert_eq!(self.blocked, self.lanes.values().filter(|lane| lane.is_blocked()).count());
        }
    }
}
