//! How a group stands.

use super::{Group, MemberId, State};
use crate::domain::Seq;

/// Counts that are kept up to date.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) leased: usize,
    /// Of these, the ones that end with no member.
    pub(super) pulled: usize,
    pub(super) waiting: usize,
}

/// How many there are of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries that are out.
    pub in_flight: usize,
    /// Of these, those that were pulled.
    pub pulled: usize,
    /// Events that wait for their next attempt.
    pub retrying: usize,
    /// Events on the parked list.
    pub parked: usize,
    /// Events that could be delivered now.
    pub ready: usize,
    /// Events that are remembered.
    pub remembered: usize,
}

impl Group {
    /// How it stands.
    pub fn counts(&self) -> Counts {
        Counts {
            in_flight: self.counts.leased,
            pulled: self.counts.pulled,
            retrying: self.counts.waiting,
            parked: self.parked.len(),
            ready: self.ready.len(),
            remembered: self.entries.len(),
        }
    }

    /// Tickets whose events wait for a parked one.
    pub fn blocked_tickets(&self) -> usize {
        if self.rules.blocks { self.lanes.blocked() } else { 0 }
    }

    /// What a member holds.
    pub fn held_by(&self, member: MemberId) -> usize {
        self.members.held(member)
    }

    /// Which events a member holds.
    pub fn members_hold(&self, member: MemberId) -> Vec<Seq> {
        self.members.hold(member)
    }

    /// Whether there is somebody who could take an event.
    pub fn any_room(&self) -> bool {
        self.members.any_room()
    }

    /// The oldest position that is not settled, known or not.
    pub fn oldest_unsettled(&self) -> Seq {
        Seq(self.floor.0.saturating_add(1))
    }

    /// Whether an event is one that was parked and is delivered again.
    pub fn is_replayed(&self, seq: Seq) -> bool {
        self.entries.get(&seq).is_some_and(|entry| entry.replayed)
    }

    /// Whether what `seq` and `token` name is out.
    pub fn is_leased(&self, seq: Seq, token: u64) -> bool {
        let entry = self.entries.get(&seq).filter(|entry| entry.token == token);
        entry.is_some_and(|entry| matches!(entry.state, State::Leased { .. }))
    }

    /// Ranges that are settled above the floor.
    pub fn settled_ranges(&self) -> usize {
        self.settled.len()
    }
}
