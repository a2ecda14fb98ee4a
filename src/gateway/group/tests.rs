//! The machine against what it promises, under any interleaving: a driver that commits before it sends, members that
//! come, go and settle what they like, a gateway that dies between any two steps and goes on from what was committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::store::groups::GroupState;

/// Takes changes into what they are changes of.
pub(super) fn put<T>(into: &mut BTreeMap<Seq, T>, changes: BTreeMap<Seq, Option<T>>) {
    for (seq, change) in changes {
        match change {
            Some(value) => into.insert(seq, value),
            None => into.remove(&seq),
        };
    }
}

const MAX_ATTEMPTS: u32 = 3;
/// Of every event.
const WEIGHT: usize = 100;

fn rules(blocks: bool) -> Rules {
    Rules {
        ack_deadline: Duration::from_secs(30),
        max_attempts: MAX_ATTEMPTS,
        min_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_mins(1),
        blocks,
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// The log grows.
    Append(What),
    /// The driver reads on.
    Read(u8),
    Join {
        held_max: usize,
        pulls: bool,
    },
    Leave {
        member: usize,
        planned: bool,
    },
    Lease(usize),
    /// The changes are committed, and what depended on them is sent.
    Commit {
        twice: bool,
    },
    Settle {
        delivery: usize,
        outcome: Outcome,
    },
    Pass {
        seconds: i64,
        sent: bool,
    },
    Unsent {
        delivery: usize,
    },
    Seek(u64),
    Replay(Option<usize>),
    Discard(Option<usize>),
    Blocks(bool),
    Refilter,
    /// The process dies; what was not committed never happened.
    Crash,
}

/// An event of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    OfTicket(u8),
    Alone,
    Unwanted,
}

impl What {
    fn ticket(self) -> Option<TicketKey> {
        match self {
            Self::OfTicket(ticket) => Some(TicketKey(u64::from(ticket))),
            Self::Alone | Self::Unwanted => None,
        }
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        8 => Just(Outcome::Ack),
        3 => proptest::option::of(0_u64..90).prop_map(|delay| Outcome::Retry {
            delay: delay.map(Duration::from_secs),
            reason: "busy".to_owned()
        }),
        2 => Just(Outcome::Park { reason: "broken".to_owned() }),
        1 => (1_u64..90).prop_map(|by| Outcome::Extend(Duration::from_secs(by))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let ticket = prop_oneof![
        6 => (0_u8..4).prop_map(What::OfTicket),
        1 => Just(What::Alone),
        1 => Just(What::Unwanted)
    ];
    prop_oneof![
        10 => ticket.prop_map(Step::Append),
        8 => (1_u8..6).prop_map(Step::Read),
        3 => (1_usize..5, any::<bool>()).prop_map(|(held_max, pulls)| Step::Join { held_max, pulls }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(member, planned)| Step::Leave { member, planned }),
        10 => (1_usize..5).prop_map(Step::Lease),
        12 => any::<bool>().prop_map(|twice| Step::Commit { twice }),
        14 => (any::<usize>(), outcome()).prop_map(|(delivery, outcome)| Step::Settle { delivery, outcome }),
        4 => (0_i64..70, any::<bool>()).prop_map(|(seconds, sent)| Step::Pass { seconds, sent }),
        1 => any::<usize>().prop_map(|delivery| Step::Unsent { delivery }),
        1 => (0_u64..30).prop_map(Step::Seek),
        2 => proptest::option::of(any::<usize>()).prop_map(Step::Replay),
        1 => proptest::option::of(any::<usize>()).prop_map(Step::Discard),
        1 => any::<bool>().prop_map(Step::Blocks),
        1 => Just(Step::Refilter),
        2 => Just(Step::Crash),
    ]
}

/// What became of an event, as far as anybody outside has been told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    acked: bool,
    /// Deliveries since it was new, or was replayed.
    attempts: u32,
    /// It has been replayed.
    replayed: bool,
}

/// Everything around the machine.
struct World {
    group: Group,
    disk: GroupState,
    now: Timestamp,
    log: Vec<What>,
    members: Vec<MemberId>,
    /// Of these, those that pull.
    pulling: BTreeSet<MemberId>,
    next_member: u64,
    /// Leases and results that wait for the commit.
    leased: Vec<Lease>,
    answers: Vec<(Seq, Settled)>,
    /// What was sent.
    sent: Vec<Lease>,
    told: BTreeMap<Seq, Told>,
    /// The same, with what is not committed yet.
    to_tell: BTreeMap<Seq, Told>,
    /// Events of this generation begin after this.
    begun: Seq,
    floor: Seq,
    blocks: bool,
}

impl World {
    fn new(blocks: bool) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        Self {
            group: Group::restore(rules(blocks), GroupState::default(), now),
            disk: GroupState::default(),
            now,
            log: Vec::new(),
            members: Vec::new(),
            pulling: BTreeSet::new(),
            next_member: 0,
            leased: Vec::new(),
            answers: Vec::new(),
            sent: Vec::new(),
            told: BTreeMap::new(),
            to_tell: BTreeMap::new(),
            begun: Seq(0),
            floor: Seq(0),
            blocks,
        }
    }

    fn ticket(&self, seq: Seq) -> Option<TicketKey> {
        self.log[usize::try_from(seq.0).unwrap() - 1].ticket()
    }

    fn read(&mut self, count: u8) {
        for _ in 0..count {
            let at = self.group.position().0 + 1;
            match self.log.get(usize::try_from(at).unwrap() - 1) {
                None => return,
                Some(What::Unwanted) => self.group.skip(Seq(at)),
                Some(what) => self.group.offer(Seq(at), what.ticket(), WEIGHT),
            }
        }
    }

    fn lease(&mut self, count: usize) {
        for member in &self.members {
            self.group.set_room(*member, 2);
        }
        for lease in self.group.lease(self.now, count) {
            let told = self.to_tell.entry(lease.seq).or_default();
            assert!(!told.acked, "what was settled never comes again: {lease:?}");
            told.attempts += 1;
            assert_eq!(lease.attempt, told.attempts, "{lease:?}");
            assert!(lease.attempt <= MAX_ATTEMPTS);
            self.in_order(&lease);
            if !self.group.weigh(lease.seq, lease.member, WEIGHT) {
                self.group.unsent_by(&lease);
                self.given_back(lease.seq);
                continue;
            }
            self.leased.push(lease);
        }
    }

    fn parked(&self) -> BTreeSet<Seq> {
        self.group.parked.keys().copied().collect()
    }

    /// Nothing of a ticket is delivered before what came earlier is settled or parked.
    fn in_order(&self, lease: &Lease) {
        let Some(ticket) = self.ticket(lease.seq) else { return };
        let parked = self.parked();
        for at in (self.begun.0 + 1)..lease.seq.0 {
            let earlier = Seq(at);
            if self.ticket(earlier) != Some(ticket) {
                continue;
            }
            let told = self.to_tell.get(&earlier).copied().unwrap_or_default();
            let is_parked = parked.contains(&earlier);
            assert!(told.acked || told.replayed || is_parked, "{earlier:?} comes before {lease:?}");
            assert!(!(is_parked && self.blocks), "{earlier:?} is parked and holds up {lease:?}");
            if is_parked {
                assert!(lease.predecessor_parked, "{lease:?}");
            }
        }
    }

    fn commit(&mut self, twice: bool) {
        if self.group.has_changed() {
            let changes = self.group.changes();
            self.disk.apply(&changes);
            if twice {
                self.disk.apply(&changes);
            }
        }
        assert!(!self.group.has_changed());
        self.sent.append(&mut self.leased);
        self.told.clone_from(&self.to_tell);
        for (seq, settled) in self.answers.drain(..) {
            assert!(matches!(settled, Settled::Done(_)), "{seq:?}");
        }
    }

    fn settle(&mut self, delivery: usize, outcome: &Outcome) {
        let Some(lease) = pick(&self.sent, delivery).cloned() else { return };
        let was_out = self.group.is_leased(lease.seq, lease.token);
        let settled = self.group.settle((lease.seq, lease.token), outcome.clone(), self.now, 7);
        assert_eq!(was_out, matches!(settled, Settled::Done(_)), "{lease:?} {settled:?}");
        if let Settled::Done(fate) = settled {
            let told = self.to_tell.entry(lease.seq).or_default();
            if fate == Fate::Acked {
                assert!(!told.acked, "settled once: {lease:?}");
                told.acked = true;
            }
            if fate != Fate::Extended {
                let again = self.group.settle((lease.seq, lease.token), Outcome::Ack, self.now, 7);
                assert_eq!(again, Settled::AlreadyDone, "{lease:?}");
            }
            self.answers.push((lease.seq, settled));
        } else {
            assert_ne!(settled, Settled::Unknown, "{lease:?} was sent");
        }
    }

    fn given_back(&mut self, seq: Seq) {
        self.to_tell.entry(seq).and_modify(|told| told.attempts -= 1);
    }

    fn pass(&mut self, seconds: i64, sent: bool) {
        self.now += SignedDuration::from_secs(seconds);
        for Held { seq, token, member: _ } in self.group.overdue(self.now) {
            if sent {
                self.group.expire(seq, token, self.now);
            } else {
                self.group.unsent(seq, token);
                self.given_back(seq);
            }
        }
        self.group.tick(self.now);
    }

    fn leave(&mut self, member: usize, planned: bool) {
        if self.members.is_empty() {
            return;
        }
        let member = self.members.remove(member % self.members.len());
        if planned {
            let held: Vec<Seq> = self.group.members_hold(member);
            for seq in held {
                self.given_back(seq);
            }
        }
        self.group.leave(member, planned, self.now);
    }

    fn seek(&mut self, to: u64) {
        let to = Seq(to.min(u64::try_from(self.log.len()).unwrap()));
        self.group.seek(to);
        self.floor = to;
        self.begun = to;
        self.to_tell.retain(|seq, told| *seq <= to && (told.replayed || told.acked));
        for told in self.to_tell.values_mut() {
            told.attempts = 0;
        }
        // A position that was passed over is settled, whatever had become of it.
        for at in 1..=to.0 {
            let parked = self.group.parked.contains_key(&Seq(at)) || self.group.is_replayed(Seq(at));
            let told = self.to_tell.entry(Seq(at)).or_default();
            told.acked = !parked;
        }
    }

    fn replay(&mut self, which: Option<usize>) {
        let parked = self.parked();
        let which = match which {
            None => Which::All,
            Some(at) => Which::These(
                pick(&parked.iter().copied().collect::<Vec<_>>(), at).copied().into_iter().collect(),
            ),
        };
        let taken: Vec<Seq> = match &which {
            Which::All => parked.into_iter().collect(),
            Which::These(seqs) => seqs.iter().copied().collect(),
        };
        assert_eq!(self.group.replay(&which), taken.len());
        for seq in taken {
            self.to_tell.insert(seq, Told { acked: false, attempts: 0, replayed: true });
        }
    }

    fn discard(&mut self, which: Option<usize>) {
        let parked: Vec<Seq> = self.parked().into_iter().collect();
        let taken: BTreeSet<Seq> = match which {
            None => parked.into_iter().collect(),
            Some(at) => pick(&parked, at).copied().into_iter().collect(),
        };
        assert_eq!(self.group.discard(&Which::These(taken.clone())), taken.len());
        for seq in taken {
            self.to_tell.entry(seq).or_default().acked = true;
        }
    }

    fn crash(&mut self) {
        self.leased.clear();
        self.answers.clear();
        self.members.clear();
        self.to_tell.clone_from(&self.told);
        self.group = Group::restore(rules(self.blocks), self.disk.clone(), self.now);
        self.floor = self.group.floor();
        // A settlement that nobody was told of may be on disk only with what was committed: nothing is in between here.
        self.sent.truncate(200);
    }

    fn check(&mut self) {
        assert!(self.group.floor() >= self.floor, "the floor only grows, but by a seek");
        self.floor = self.group.floor();
        let mut out: BTreeMap<TicketKey, Seq> = BTreeMap::new();
        for lease in self.sent.iter().chain(&self.leased) {
            if self.group.is_leased(lease.seq, lease.token)
                && let Some(ticket) = self.ticket(lease.seq)
            {
                let other = out.insert(ticket, lease.seq);
                assert!(other.is_none_or(|other| other == lease.seq), "two of {ticket:?} are out");
            }
        }
        let counts = self.group.counts();
        let leased = self.group.entries.values().filter(|entry| matches!(entry.state, State::Leased { .. }));
        let waiting =
            self.group.entries.values().filter(|entry| matches!(entry.state, State::Waiting { .. }));
        let ready = self.group.entries.values().filter(|entry| entry.state == State::Ready);
        assert_eq!(
            (counts.in_flight, counts.retrying, counts.ready),
            (leased.count(), waiting.count(), ready.count())
        );
        assert_eq!(self.group.due.len(), counts.in_flight + counts.retrying);
        self.group.lanes.check();
        for (id, member) in self.group.members.members.iter().filter(|(id, _)| !self.pulling.contains(id)) {
            let held = self.group.members_hold(*id);
            assert_eq!(member.bytes, held.len() * WEIGHT, "{held:?}");
        }
        if self.group.position().0 == u64::try_from(self.log.len()).unwrap() {
            assert!(
                self.group.settled_ranges() <= counts.remembered + 1,
                "ranges lie between what is not settled"
            );
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(what) => {
                self.log.push(*what);
            }
            Step::Read(count) => self.read(*count),
            Step::Join { held_max, pulls } => {
                self.next_member += 1;
                let member = MemberId(self.next_member);
                self.group.join(member, *held_max, 1_000, *pulls);
                if *pulls {
                    self.pulling.insert(member);
                }
                self.members.push(member);
            }
            Step::Leave { member, planned } => self.leave(*member, *planned),
            Step::Lease(count) => self.lease(*count),
            Step::Commit { twice } => self.commit(*twice),
            Step::Settle { delivery, outcome } => self.settle(*delivery, outcome),
            Step::Pass { seconds, sent } => self.pass(*seconds, *sent),
            Step::Unsent { delivery } => {
                if let Some(Lease { seq, token, .. }) = pick(&self.leased, *delivery).cloned()
                    && self.group.is_leased(seq, token)
                {
                    self.group.unsent(seq, token);
                    self.given_back(seq);
                }
            }
            // Seen from outside, these are steps of their own.
            Step::Seek(to) => {
                self.commit(false);
                self.seek(*to);
                self.commit(false);
            }
            Step::Replay(which) => self.replay(*which),
            Step::Discard(which) => self.discard(*which),
            Step::Blocks(blocks) => {
                self.blocks = *blocks;
                self.group.set_rules(rules(*blocks));
            }
            Step::Refilter => self.group.refilter(),
            Step::Crash => self.crash(),
        }
    }

    /// With patient members, everything is settled in the end.
    fn settle_all(&mut self) {
        self.take(&Step::Discard(None));
        self.take(&Step::Join { held_max: 3, pulls: false });
        for _ in 0..2_000 {
            self.read(5);
            self.lease(4);
            self.commit(false);
            let out: Vec<usize> = (0..self.sent.len())
                .filter(|at| self.group.is_leased(self.sent[*at].seq, self.sent[*at].token))
                .collect();
            for at in out {
                self.settle(at, &Outcome::Ack);
            }
            self.commit(false);
            self.pass(61, true);
            self.take(&Step::Discard(None));
            self.check();
            if self.group.floor().0 == u64::try_from(self.log.len()).unwrap() && self.group.entries.is_empty()
            {
                break;
            }
        }
        self.commit(false);
        assert_eq!(self.group.floor().0, u64::try_from(self.log.len()).unwrap(), "everything is settled");
        assert!(self.group.entries.is_empty() && self.group.ready.is_empty() && self.group.due.is_empty());
        assert!(self.group.lanes.all().next().is_none());
        assert_eq!(self.disk.floor, self.group.floor());
        assert!(self.disk.settled.is_empty() && self.disk.attempts.is_empty() && self.disk.parked.is_empty());
    }
}

fn pick<T>(from: &[T], at: usize) -> Option<&T> {
    (!from.is_empty()).then(|| &from[at % from.len()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_keeps_what_is_promised(blocks: bool, steps in vec(step(), 1..120)) {
        let mut world = World::new(blocks);
        for step in &steps {
            world.take(step);
            world.check();
        }
        world.settle_all();
    }
}
