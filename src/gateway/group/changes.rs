//! What a group has changed since its changes were last taken. Only *which* rows changed is noted; what they are is read
//! off when the changes are taken, so any number of steps come down to one write each.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Entry, Group, State};
use crate::domain::Seq;
use crate::domain::group::TicketKey;
use crate::store::groups::{Attempted, GroupChanges, ParkChange};

#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// The floor has moved.
    pub(super) floor: bool,
    /// Everything that was kept of attempts and ranges is void.
    pub(super) cleared: bool,
    pub(super) attempts: BTreeSet<Seq>,
    parked: BTreeMap<Seq, ParkChange>,
}

impl Dirty {
    pub(super) fn list(
        &mut self,
        seq: Seq,
        ticket: Option<TicketKey>,
        attempts: u32,
        reason: String,
        time: Timestamp,
    ) {
        let listed = ParkChange::Listed { ticket, attempts, reason, time, replaying: false };
        self.parked.insert(seq, listed);
    }

    pub(super) fn replaying(&mut self, seq: Seq) {
        // If it was only just parked, nothing is kept of it yet.
        match self.parked.get_mut(&seq) {
            Some(ParkChange::Listed { replaying, .. }) => *replaying = true,
            Some(ParkChange::Replaying | ParkChange::Gone) | None => {
                self.parked.insert(seq, ParkChange::Replaying);
            }
        }
    }

    pub(super) fn gone(&mut self, seq: Seq) {
        self.parked.insert(seq, ParkChange::Gone);
    }
}

impl Entry {
    /// What is to be kept of it, if anything: only what was delivered says more than the log.
    fn kept(&self) -> Option<Attempted> {
        let lease_until = match self.state {
            State::Leased { member: None, until } => Some(until),
            State::Leased { member: Some(_), .. } | State::Queued | State::Ready | State::Waiting { .. } => {
                None
            }
        };
        // Whoever reads this of a member's lease goes on after a crash: that is how it ended then.
        let failure = match self.state {
            State::Leased { member: Some(_), .. } => super::restore::DIED.to_owned(),
            State::Leased { member: None, .. } | State::Queued | State::Ready | State::Waiting { .. } => {
                self.failure.clone()
            }
        };
        let says_something = self.attempts > 0 || !self.failure.is_empty();
        says_something.then_some(Attempted {
            ticket: self.ticket,
            attempts: self.attempts,
            token: self.token,
            lease_until,
            retry_at: self.not_before,
            failure,
        })
    }
}

impl Group {
    /// Whether anything has changed that must be on disk before its effects are seen. A floor that was moved by events
    /// nobody wants need not be.
    pub fn must_commit(&self) -> bool {
        let Dirty { floor: _, cleared, attempts, parked } = &self.dirty;
        *cleared || !attempts.is_empty() || !parked.is_empty()
    }

    /// Whether anything has changed at all.
    pub fn has_changed(&self) -> bool {
        self.dirty.floor || self.must_commit()
    }

    /// Takes what has changed. It must be committed before what comes after it.
    pub fn changes(&mut self) -> GroupChanges {
        let Dirty { floor: _, cleared, attempts, parked } = std::mem::take(&mut self.dirty);
        let row = |seq: Seq| (seq, self.entries.get(&seq).and_then(Entry::kept));
        GroupChanges {
            floor: self.floor,
            token: self.token,
            cleared,
            attempts: attempts.into_iter().map(row).collect(),
            settled: self.settled.changes(),
            parked,
        }
    }
}
