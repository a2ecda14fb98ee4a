//! Who shares the work, and whose turn it is: least in hand first, then whoever had none for longest; and last whoever let
//! a lease expire and has settled nothing since. Holding nothing, it would be first, and use up the attempts of events
//! that others would settle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::later;
use crate::domain::Seq;

/// A member of a group, for as long as it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// The members.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) members: BTreeMap<MemberId, Member>,
    turns: u64,
}

#[derive(Debug)]
pub(super) struct Member {
    held: BTreeSet<Seq>,
    pub(super) bytes: usize,
    /// The most it holds.
    held_max: usize,
    bytes_max: usize,
    /// How many more it takes now.
    room: usize,
    /// When it last had one.
    turn: u64,
    /// Its leases do not end with it.
    pulls: bool,
    /// The last that was heard of a lease of its own is that its time was over.
    lapsed: bool,
    /// When it was last given an event, or settled one.
    moved: Timestamp,
}

/// On which terms an event is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) now: Timestamp,
    /// How long a member that has all it may hold is waited for, with nothing settled.
    pub(super) patience: Duration,
    /// Whether the event may be tried with one that let a lease expire, though others settle in time.
    pub(super) to_lapsed: bool,
    /// Whether this is the event's last attempt.
    pub(super) is_last: bool,
}

impl Member {
    /// Whether it has room for an event.
    fn has_room(&self) -> bool {
        self.room > 0 && self.held.len() < self.held_max
    }

    /// Whether it can take an event that weighs so much; one it may always have.
    fn can_take(&self, weight: usize) -> bool {
        self.has_room() && (self.bytes.saturating_add(weight) <= self.bytes_max || self.bytes == 0)
    }

    /// Whether it is to be preferred: it settles in time, and takes what it is given, now or soon.
    fn is_sound(&self, weight: usize, terms: Terms) -> bool {
        let soon = !self.held.is_empty() && later(self.moved, terms.patience) > terms.now;
        !self.lapsed && self.held_max > 0 && (self.can_take(weight) || soon)
    }
}

impl Members {
    pub(super) fn join(&mut self, id: MemberId, held_max: usize, bytes_max: usize, pulls: bool) {
        let member = Member {
            held: BTreeSet::new(),
            bytes: 0,
            held_max,
            bytes_max,
            room: 0,
            turn: self.turns,
            pulls,
            lapsed: false,
            moved: Timestamp::MIN,
        };
        self.members.insert(id, member);
    }

    /// A member gets nothing more.
    pub(super) fn give_nothing(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.held_max = 0;
        }
    }

    /// The time of a member's lease was over.
    pub(super) fn lapse(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.lapsed = true;
        }
    }

    /// A member said in time what became of an event, or that it takes longer.
    pub(super) fn prove(&mut self, id: MemberId, settled: Option<Timestamp>) {
        if let Some(member) = self.members.get_mut(&id) {
            member.lapsed = false;
            member.moved = settled.unwrap_or(member.moved);
        }
    }

    pub(super) fn set_room(&mut self, id: MemberId, room: usize) {
        if let Some(member) = self.members.get_mut(&id) {
            member.room = room;
        }
    }

    /// Forgets a member; answers what it holds.
    pub(super) fn leave(&mut self, id: MemberId) -> BTreeSet<Seq> {
        self.members.remove(&id).map(|member| member.held).unwrap_or_default()
    }

    /// What a member holds.
    pub(super) fn held(&self, id: MemberId) -> usize {
        self.members.get(&id).map_or(0, |member| member.held.len())
    }

    /// Which events a member holds.
    pub(super) fn hold(&self, id: MemberId) -> Vec<Seq> {
        self.members.get(&id).map(|member| member.held.iter().copied().collect()).unwrap_or_default()
    }

    /// Whether `member` may be given an event that weighs so much, beside the others there are.
    fn is_worth_it(&self, member: &Member, weight: usize, terms: Terms) -> bool {
        if !member.lapsed {
            return true;
        }
        if self.members.values().any(|other| other.is_sound(weight, terms)) {
            // One at a time, until it settles one.
            return terms.to_lapsed && member.held.is_empty();
        }
        // Others take long, and will be there again.
        let any_busy = self.members.values().any(|other| !other.lapsed && !other.held.is_empty());
        !any_busy || (member.held.is_empty() && !terms.is_last)
    }

    /// Gives an event to whoever is next and can take it; answers who, and whether the lease ends with them.
    pub(super) fn give(&mut self, seq: Seq, weight: usize, terms: Terms) -> Option<(MemberId, bool)> {
        let may_have = |member: &Member| member.can_take(weight) && self.is_worth_it(member, weight, terms);
        let next = self.members.iter().filter(|(_, member)| may_have(member));
        let (id, _) =
            next.min_by_key(|(id, member)| (member.lapsed, member.held.len(), member.turn, **id))?;
        let id = *id;
        let member = self.members.get_mut(&id)?;
        self.turns = self.turns.saturating_add(1);
        member.turn = self.turns;
        member.moved = terms.now;
        member.room = member.room.saturating_sub(1);
        member.bytes = member.bytes.saturating_add(weight);
        if !member.pulls {
            member.held.insert(seq);
        }
        Some((id, !member.pulls))
    }

    /// Whether one that let a lease expire has nothing to do.
    pub(super) fn any_lapsed_idle(&self) -> bool {
        self.members.values().any(|member| member.lapsed && member.has_room() && member.held.is_empty())
    }

    /// What a pull was given is not sent to it: it has room for something else.
    pub(super) fn take_from_pull(&mut self, id: MemberId, weight: usize) {
        if let Some(member) = self.members.get_mut(&id)
            && member.pulls
        {
            member.bytes = member.bytes.saturating_sub(weight);
            member.room = member.room.saturating_add(1);
        }
    }

    pub(super) fn give_back(&mut self, id: MemberId, seq: Seq, weight: usize) {
        if let Some(member) = self.members.get_mut(&id)
            && member.held.remove(&seq)
        {
            member.bytes = member.bytes.saturating_sub(weight);
        }
    }

    /// An event that a member was given weighs something else than was thought; `false` if that is more than it may hold, and
    /// not all that it holds.
    pub(super) fn weigh(&mut self, id: MemberId, before: usize, weight: usize) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return true };
        member.bytes = member.bytes.saturating_sub(before).saturating_add(weight);
        member.bytes <= member.bytes_max || member.bytes == weight
    }

    /// Nobody holds anything any more.
    pub(super) fn clear(&mut self) {
        for member in self.members.values_mut() {
            member.held.clear();
            member.bytes = 0;
        }
    }

    /// Whether anybody could take an event.
    pub(super) fn any_room(&self) -> bool {
        self.members.values().any(Member::has_room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYBODY: Terms = Terms {
        now: Timestamp::UNIX_EPOCH,
        patience: Duration::from_secs(30),
        to_lapsed: true,
        is_last: false,
    };

    #[test]
    fn who_has_least_is_next_and_equals_take_turns() {
        let mut members = Members::default();
        for id in 1..=3 {
            members.join(MemberId(id), 3, 1_000, false);
            members.set_room(MemberId(id), 9);
        }
        let given: Vec<_> =
            (1..=10).map(|seq| members.give(Seq(seq), 1, ANYBODY).map(|(id, _)| id.0)).collect();
        let in_turn = [1, 2, 3, 1, 2, 3, 1, 2, 3].map(Some);
        assert_eq!((&given[..9], given[9]), (&in_turn[..], None), "each holds three");
        members.give_back(MemberId(3), Seq(3), 1);
        members.give_back(MemberId(3), Seq(6), 1);
        members.give_back(MemberId(1), Seq(1), 1);
        let given: Vec<_> =
            (11..=14).map(|seq| members.give(Seq(seq), 1, ANYBODY).map(|(id, _)| id.0)).collect();
        assert_eq!(given, [Some(3), Some(1), Some(3), None]);
    }

    #[test]
    fn who_let_leases_expire_comes_last_and_burns_no_second_attempt() {
        let mut members = Members::default();
        for id in 1..=2 {
            members.join(MemberId(id), 2, 1_000, false);
            members.set_room(MemberId(id), 9);
        }
        let give = |members: &mut Members, seq, attempts| {
            members.give(Seq(seq), 1, Terms { to_lapsed: attempts == 0, ..ANYBODY }).map(|(id, _)| id.0)
        };
        members.lapse(MemberId(1));
        let given: Vec<_> = (1..=4).map(|seq| give(&mut members, seq, 0)).collect();
        assert_eq!(given, [Some(2), Some(2), Some(1), None], "one at a time, until it settles one");
        members.give_back(MemberId(1), Seq(3), 1);
        assert_eq!(give(&mut members, 3, 1), None, "somebody else has it again");
        assert_eq!(give(&mut members, 4, 0), Some(1));
        members.prove(MemberId(1), None);
        assert_eq!(give(&mut members, 3, 1), Some(1), "it settles again");
        // With nobody better, it gets everything as before.
        members.give_back(MemberId(1), Seq(4), 1);
        members.lapse(MemberId(1));
        members.give_nothing(MemberId(2));
        for seq in 1..=2 {
            members.give_back(MemberId(2), Seq(seq), 1);
        }
        assert_eq!(give(&mut members, 4, 9), Some(1));
        assert_eq!(give(&mut members, 5, 0), None, "it holds as much as it may");
    }

    #[test]
    fn who_is_full_is_waited_for_a_while_and_no_longer() {
        let terms =
            |seconds| Terms { now: Timestamp::from_second(seconds).unwrap(), to_lapsed: false, ..ANYBODY };
        // By the number of events, and by their bytes.
        for (held_max, bytes_max) in [(1, 1_000), (9, 100)] {
            let mut members = Members::default();
            members.join(MemberId(1), held_max, bytes_max, false);
            members.join(MemberId(2), 9, 1_000, false);
            for id in 1..=2 {
                members.set_room(MemberId(id), 9);
            }
            members.lapse(MemberId(2));
            assert!(members.give(Seq(1), 90, terms(0)).is_some_and(|(id, _)| id == MemberId(1)));
            members.prove(MemberId(1), None);
            assert_eq!(members.give(Seq(2), 90, terms(29)), None, "the other may settle in time");
            let given = members.give(Seq(2), 90, terms(31)).map(|(id, _)| id.0);
            assert_eq!(given, Some(2), "{held_max} {bytes_max}: it only says that it takes longer");
        }
    }

    #[test]
    fn bytes_count_but_one_event_always_fits() {
        let mut members = Members::default();
        members.join(MemberId(1), 9, 100, false);
        members.set_room(MemberId(1), 9);
        assert!(members.give(Seq(1), 500, ANYBODY).is_some());
        assert!(members.give(Seq(2), 1, ANYBODY).is_none());
        members.give_back(MemberId(1), Seq(1), 500);
        assert!(members.give(Seq(2), 60, ANYBODY).is_some());
        assert!(members.give(Seq(3), 60, ANYBODY).is_none());
        assert!(members.weigh(MemberId(1), 60, 30) && members.weigh(MemberId(1), 30, 500), "alone it may");
        assert!(members.weigh(MemberId(1), 500, 60));
        assert!(members.give(Seq(3), 40, ANYBODY).is_some());
        assert!(!members.weigh(MemberId(1), 40, 41));
    }
}
