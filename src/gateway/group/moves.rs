//! What an operator does to a group: other rules, another position, and the parked list.

use std::collections::BTreeSet;

use super::{Entry, Group, Rules, State, WEIGHT_UNKNOWN};
use crate::domain::Seq;

/// Which parked events are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All on the list.
    All,
    /// Those of these that are on the list.
    These(BTreeSet<Seq>),
}

impl Group {
    /// Goes by other rules from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        let others_block = self.rules.blocks != rules.blocks;
        self.rules = rules;
        if others_block {
            let tickets: Vec<_> = self.lanes.all().map(|(ticket, _)| ticket).collect();
            for ticket in tickets {
                self.promote(ticket);
            }
        }
    }

    /// What is wanted has changed: whatever was not delivered yet is to be offered again, from the floor on.
    pub fn refilter(&mut self) {
        let fresh: Vec<Seq> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.token == 0 && !entry.replayed)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in fresh {
            self.forget(seq);
        }
        self.position = self.floor;
    }

    /// Moves everything to another position. What was out is not any more; what was parked stays, unless it is to be
    /// delivered again.
    pub fn seek(&mut self, to: Seq) {
        let replayed: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.replayed)
            .map(|(seq, entry)| (*seq, entry.ticket))
            .collect();
        self.entries.clear();
        self.lanes = super::Lanes::default();
        self.ready.clear();
        self.due.clear();
        self.members.clear();
        self.settled.clear();
        self.recent.forget_after(to);
        self.fence = self.token;
        self.counts = super::view::Running::default();
        self.dirty.attempts.clear();
        self.dirty.cleared = true;
        self.floor = to;
        self.position = to;
        for seq in self.parked.split_off(&Seq(to.0.saturating_add(1))).into_keys() {
            self.dirty.gone(seq);
        }
        let parked: Vec<_> = self.parked.iter().map(|(seq, ticket)| (*seq, *ticket)).collect();
        for (seq, ticket) in parked {
            if let Some(ticket) = ticket {
                self.lanes.park(ticket, seq);
            }
        }
        for (seq, ticket) in replayed {
            if seq > to {
                self.dirty.gone(seq);
            } else {
                self.entries.insert(seq, Entry { replayed: true, ..Entry::new(ticket, WEIGHT_UNKNOWN) });
                self.enlist(seq, ticket);
            }
        }
    }

    /// Delivers parked events again, as if for the first time; answers how many.
    pub fn replay(&mut self, which: &Which) -> usize {
        let taken = self.take_parked(which);
        for (seq, ticket) in &taken {
            self.entries.insert(*seq, Entry { replayed: true, ..Entry::new(*ticket, WEIGHT_UNKNOWN) });
            self.dirty.replaying(*seq);
        }
        for (seq, ticket) in &taken {
            self.enlist(*seq, *ticket);
        }
        taken.len()
    }

    /// Gives parked events up; answers how many.
    pub fn discard(&mut self, which: &Which) -> usize {
        let taken = self.take_parked(which);
        for (seq, ticket) in &taken {
            self.dirty.gone(*seq);
            if let Some(ticket) = ticket {
                self.promote(*ticket);
            }
        }
        taken.len()
    }

    /// Takes events off the parked list.
    fn take_parked(&mut self, which: &Which) -> Vec<(Seq, Option<crate::domain::group::TicketKey>)> {
        let seqs: Vec<Seq> = match which {
            Which::All => self.parked.keys().copied().collect(),
            Which::These(seqs) => seqs.iter().copied().collect(),
        };
        let mut taken = Vec::new();
        for seq in seqs {
            if let Some(ticket) = self.parked.remove(&seq) {
                if let Some(ticket) = ticket {
                    self.lanes.unpark(ticket, seq);
                }
                taken.push((seq, ticket));
            }
        }
        taken
    }

    /// The log no longer has what is up to `to`: whatever of it is not out is lost to the group. Answers how many
    /// events that are known were.
    pub fn lose_to(&mut self, to: Seq) -> usize {
        let lost: Vec<Seq> = self
            .entries
            .range(..=to)
            .filter(|(_, entry)| !entry.replayed && !matches!(entry.state, State::Leased { .. }))
            .map(|(seq, _)| *seq)
            .collect();
        for seq in &lost {
            self.forget(*seq);
            self.settle_range(*seq, *seq);
        }
        self.pass_to(to);
        lost.len()
    }

    /// An event that was to be delivered again, or to be parked, is nowhere to be found.
    pub fn lose(&mut self, seq: Seq) {
        if self.discard(&Which::These([seq].into())) > 0 {
            return;
        }
        let Some(entry) = self.forget(seq) else { return };
        if entry.replayed {
            self.dirty.gone(seq);
        } else {
            self.settle_range(seq, seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::group::GroupSettings;
    use crate::gateway::group::{Lease, MemberId, Outcome, Settled};
    use crate::store::groups::GroupState;

    /// Four events of their own, of which somebody has the last three and has settled the first.
    fn group() -> (Group, Vec<Lease>) {
        let now = Timestamp::UNIX_EPOCH;
        let mut group = Group::restore(Rules::from(&GroupSettings::default()), GroupState::default(), now);
        group.join(MemberId(1), 10, 1_000, false);
        group.set_room(MemberId(1), 10);
        for seq in 1..=4 {
            group.offer(Seq(seq), None, 1);
        }
        let leases = group.lease(now, 10);
        assert_eq!(leases.len(), 4);
        assert!(matches!(settle(&mut group, &leases[0]), Settled::Done(_)));
        (group, leases)
    }

    fn settle(group: &mut Group, lease: &Lease) -> Settled {
        group.settle((lease.seq, lease.token), Outcome::Ack, Timestamp::UNIX_EPOCH, 0)
    }

    #[test]
    fn what_was_out_when_the_group_was_moved_is_stale_in_either_direction() {
        for (to, first) in [(0, Settled::Stale), (2, Settled::AlreadyDone), (4, Settled::AlreadyDone)] {
            let (mut group, leases) = group();
            group.seek(Seq(to));
            assert_eq!(
                settle(&mut group, &leases[0]),
                first,
                "to {to}: what was settled before and still is"
            );
            for lease in &leases[1..] {
                assert_eq!(settle(&mut group, lease), Settled::Stale, "to {to}: {lease:?}");
            }
        }
    }
}
