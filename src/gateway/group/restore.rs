//! A group from what was committed of it: what was out and was not to outlive the process is free again, and its
//! attempt counts.

use jiff::Timestamp;

use super::{Entry, Group, Lanes, Members, Ranges, Recent, Rules, State, WEIGHT_UNKNOWN};
use crate::domain::Seq;
use crate::store::groups::{Attempted, GroupState};

/// How a delivery ended whose member was connected when the process died.
pub(super) const DIED: &str = "the gateway stopped while it was out";

impl Group {
    /// Goes on from what was committed.
    pub fn restore(rules: Rules, kept: GroupState, now: Timestamp) -> Self {
        let GroupState { floor, token, settled, attempts, parked } = kept;
        let mut group = Self {
            rules,
            floor,
            position: floor,
            settled: Ranges::of(settled),
            entries: std::collections::BTreeMap::new(),
            lanes: Lanes::default(),
            ready: std::collections::BTreeSet::new(),
            due: std::collections::BTreeSet::new(),
            members: Members::default(),
            parked: std::collections::BTreeMap::new(),
            token,
            fence: 0,
            recent: Recent::default(),
            dirty: super::Dirty::default(),
            counts: super::view::Running::default(),
        };
        for (seq, parked) in parked {
            if parked.replaying {
                let entry = Entry { replayed: true, ..Entry::new(parked.ticket, WEIGHT_UNKNOWN) };
                group.entries.insert(seq, entry);
            } else {
                if let Some(ticket) = parked.ticket {
                    group.lanes.park(ticket, seq);
                }
                group.parked.insert(seq, parked.ticket);
            }
        }
        group.restore_attempts(attempts, now);
        group
    }

    fn restore_attempts(&mut self, attempts: std::collections::BTreeMap<Seq, Attempted>, now: Timestamp) {
        let mut exhausted = Vec::new();
        for (seq, attempted) in attempts {
            let Attempted { ticket, attempts, token, lease_until, retry_at, failure } = attempted;
            let entry = self.entries.entry(seq).or_insert_with(|| Entry::new(ticket, WEIGHT_UNKNOWN));
            entry.attempts = attempts;
            entry.token = token;
            entry.failure = failure;
            entry.not_before = retry_at.filter(|at| *at > now);
            if let Some(until) = lease_until {
                entry.state = State::Leased { member: None, until };
                self.due.insert((until, seq));
                self.counts.leased = self.counts.leased.saturating_add(1);
                self.counts.pulled = self.counts.pulled.saturating_add(1);
                if let Some(ticket) = ticket {
                    self.lanes.insert(ticket, seq);
                    self.lanes.activate(ticket, Some(seq));
                }
            } else if attempts >= self.rules.max_attempts && retry_at.is_none() {
                exhausted.push(seq);
            }
        }
        let waiting: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state == State::Queued)
            .map(|(seq, entry)| (*seq, entry.ticket))
            .collect();
        // All are in their lanes before any is made ready.
        for (seq, ticket) in &waiting {
            if let Some(ticket) = ticket {
                self.lanes.insert(*ticket, *seq);
            }
        }
        for (seq, ticket) in waiting {
            self.restore_one(seq, ticket);
        }
        for seq in exhausted {
            self.expire_restored(seq, now);
        }
    }

    /// What waited for its next attempt was the one of its ticket that was out.
    fn restore_one(&mut self, seq: Seq, ticket: Option<crate::domain::group::TicketKey>) {
        let waits = self.entries.get(&seq).is_some_and(|entry| entry.not_before.is_some());
        match ticket {
            None => self.make_ready(seq),
            Some(ticket) => {
                let active = self.lanes.of(ticket).and_then(|lane| lane.active);
                let is_out = active.is_some_and(|active| {
                    let state = self.entries.get(&active).map(|entry| entry.state);
                    matches!(state, Some(State::Leased { .. } | State::Waiting { .. }))
                });
                if waits && !is_out {
                    if let Some(active) = active {
                        self.recall(active);
                    }
                    self.lanes.activate(ticket, Some(seq));
                    self.make_ready(seq);
                } else {
                    self.promote(ticket);
                }
            }
        }
    }

    fn expire_restored(&mut self, seq: Seq, now: Timestamp) {
        let failure = self.entries.get(&seq).map(|entry| entry.failure.clone()).unwrap_or_default();
        let why = if failure.is_empty() { DIED.to_owned() } else { failure };
        self.park_or_wait(seq, why, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::group::GroupSettings;
    use crate::gateway::group::{MemberId, Outcome};

    #[test]
    fn the_attempt_after_a_crash_says_that_the_gateway_stopped_and_no_other_does() {
        let (rules, now) = (Rules::from(&GroupSettings::default()), Timestamp::UNIX_EPOCH);
        let mut disk = GroupState::default();
        let mut told = Vec::new();
        for is_killed in [true, false, true] {
            let mut group = Group::restore(rules.clone(), disk.clone(), now);
            group.offer(Seq(1), None, 1);
            group.join(MemberId(1), 1, 1_000, false);
            group.set_room(MemberId(1), 1);
            let lease = group.lease(now, 1).remove(0);
            disk.apply(&group.changes());
            told.push((lease.attempt, lease.failure));
            if !is_killed {
                let retry = Outcome::Retry { delay: None, reason: "busy".to_owned() };
                group.settle((lease.seq, lease.token), retry, now, 0);
                group.tick(Timestamp::MAX);
                disk.apply(&group.changes());
                disk.attempts.values_mut().for_each(|attempted| attempted.retry_at = None);
            }
        }
        let told: Vec<_> = told.iter().map(|(attempt, failure)| (*attempt, failure.as_str())).collect();
        assert_eq!(told, [(1, ""), (2, DIED), (3, "busy")]);
        // One that was given back as planned was not out.
        let mut group = Group::restore(rules, disk.clone(), now);
        group.offer(Seq(1), None, 1);
        group.join(MemberId(1), 1, 1_000, false);
        group.set_room(MemberId(1), 1);
        let lease = group.lease(now, 1).remove(0);
        assert_eq!((lease.attempt, lease.failure.as_str()), (4, DIED));
        disk.apply(&group.changes());
        group.leave(MemberId(1), true, now);
        disk.apply(&group.changes());
        assert_eq!(disk.attempts[&Seq(1)].attempts, 3);
    }
}
