//! A consumer group as a machine: no I/O, no `async`, no clock. It knows positions and tickets, never an event. Whoever
//! drives it offers positions in the log's order ([`Group::offer`], [`Group::skip`]), tells what members do and how time
//! passes, takes [`leases`](Group::lease), and commits [`changes`](Group::changes) **before** it sends those leases or
//! answers a settlement. Rebuilt from what was committed ([`Group::restore`]), it goes on where it was.
//!
//! What it holds at any time: of a ticket at most one event is out (leased, or waiting to be delivered again); an
//! event is settled or parked once; the floor only grows, but by [`seek`](Group::seek).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::Seq;
use crate::domain::group::{GroupSettings, ParkPolicy, TicketKey};

mod changes;
mod lanes;
mod members;
mod moves;
mod ranges;
mod recent;
mod restore;
mod settle;
mod view;

pub use members::MemberId;
pub use moves::Which;
pub use settle::{Fate, Outcome, Settled};
pub use view::Counts;

use changes::Dirty;
use lanes::Lanes;
use members::Members;
use ranges::Ranges;
use recent::Recent;

/// Events that are remembered without being settled: so far a group looks past tickets that stand still.
pub const REMEMBERED_MAX: usize = 65_536;
/// Events on the parked list. When it is full, events are tried on instead.
pub const PARKED_MAX: usize = 65_536;
/// What an event of unknown size counts for.
const WEIGHT_UNKNOWN: usize = 4 << 10;
/// The longest text that is kept of a failure, in bytes.
pub const REASON_BYTES_MAX: usize = 500;

/// How a group works, as far as it concerns the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long a lease lasts.
    pub ack_deadline: Duration,
    /// Deliveries of an event before it is parked.
    pub max_attempts: u32,
    /// The wait after the first retry.
    pub min_backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
    /// Whether a parked event holds up its ticket.
    pub blocks: bool,
}

impl From<&GroupSettings> for Rules {
    fn from(settings: &GroupSettings) -> Self {
        Self {
            ack_deadline: settings.ack_deadline,
            max_attempts: settings.max_attempts,
            min_backoff: settings.min_backoff,
            max_backoff: settings.max_backoff,
            blocks: settings.park_policy == ParkPolicy::Block,
        }
    }
}

/// The machine.
#[derive(Debug)]
pub struct Group {
    rules: Rules,
    /// Everything up to here is settled.
    floor: Seq,
    /// Everything up to here was offered or skipped.
    position: Seq,
    /// What is settled above the floor.
    settled: Ranges,
    /// What is known and not settled, and parked events that are to be delivered again.
    entries: BTreeMap<Seq, Entry>,
    lanes: Lanes,
    /// What may be leased now.
    ready: BTreeSet<Seq>,
    /// When leases and waits end.
    due: BTreeSet<(Timestamp, Seq)>,
    members: Members,
    /// The parked list.
    parked: BTreeMap<Seq, Option<TicketKey>>,
    /// The last fencing token that was given.
    token: u64,
    /// The last that was given before the group was moved: what is not known to be settled by one of these is void.
    fence: u64,
    recent: Recent,
    dirty: Dirty,
    counts: view::Running,
}

/// An event that is not settled.
#[derive(Debug, Clone)]
struct Entry {
    ticket: Option<TicketKey>,
    weight: usize,
    /// Deliveries that count.
    attempts: u32,
    /// Of the newest lease; 0 before the first.
    token: u64,
    failure: String,
    state: State,
    /// When it may be delivered again, if that is not yet.
    not_before: Option<Timestamp>,
    /// It was parked, and settled as far as the floor is concerned.
    replayed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its ticket is not so far.
    Queued,
    /// Next of its ticket.
    Ready,
    /// Out until then; `None` for a member's lease that does not end with the member.
    Leased { member: Option<MemberId>, until: Timestamp },
    /// Next of its ticket, not before then.
    Waiting { until: Timestamp },
}

/// A delivery that is to be made once the changes are committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The event.
    pub seq: Seq,
    /// The fencing token.
    pub token: u64,
    /// To whom.
    pub member: MemberId,
    /// Which attempt, the first being 1.
    pub attempt: u32,
    /// When it ends.
    pub until: Timestamp,
    /// Why the attempt before did not succeed.
    pub failure: String,
    /// An earlier event of the ticket is on the parked list.
    pub predecessor_parked: bool,
}

/// A lease that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The event.
    pub seq: Seq,
    /// The fencing token.
    pub token: u64,
    /// Whose it is; `None` where it does not end with its member.
    pub member: Option<MemberId>,
}

impl Entry {
    fn new(ticket: Option<TicketKey>, weight: usize) -> Self {
        Self {
            ticket,
            weight,
            attempts: 0,
            token: 0,
            failure: String::new(),
            state: State::Queued,
            not_before: None,
            replayed: false,
        }
    }
}

impl Group {
    /// Everything up to here is settled.
    pub fn floor(&self) -> Seq {
        self.floor
    }

    /// Everything up to here was offered or skipped.
    pub fn position(&self) -> Seq {
        self.position
    }

    /// How many more events it will remember.
    pub fn room(&self) -> usize {
        REMEMBERED_MAX.saturating_sub(self.entries.len())
    }

    /// The next position of the log, with an event that is wanted and weighs so much. One that it passed over counts
    /// as settled: there is nothing there.
    pub fn offer(&mut self, seq: Seq, ticket: Option<TicketKey>, weight: usize) {
        if seq <= self.position {
            return;
        }
        self.pass_to(Seq(seq.0.saturating_sub(1)));
        self.position = seq;
        if let Some(entry) = self.entries.get(&seq) {
            if let State::Leased { member: Some(member), .. } = entry.state {
                self.weigh(seq, member, weight);
            } else {
                self.set_weight(seq, weight);
            }
            return;
        }
        if self.is_settled(seq) {
            return;
        }
        self.entries.insert(seq, Entry::new(ticket, weight));
        self.enlist(seq, ticket);
    }

    /// An event that was given to `member` turns out to weigh so much; `false` if the member may not hold that much beside
    /// what it has: then it is [`unsent_by`](Self::unsent_by) it.
    pub fn weigh(&mut self, seq: Seq, member: MemberId, weight: usize) -> bool {
        let before = self.set_weight(seq, weight);
        before.is_none_or(|before| before == weight || self.members.weigh(member, before, weight))
    }

    /// Answers what it was thought to weigh.
    fn set_weight(&mut self, seq: Seq, weight: usize) -> Option<usize> {
        let entry = self.entries.get_mut(&seq)?;
        Some(std::mem::replace(&mut entry.weight, weight))
    }

    /// The next position of the log, with an event that is not wanted.
    pub fn skip(&mut self, seq: Seq) {
        self.pass_to(seq);
    }

    /// Whatever is not known yet, up to `seq`, is nobody's concern.
    fn pass_to(&mut self, seq: Seq) {
        let Seq(mut from) = self.position;
        if seq.0 <= from {
            return;
        }
        self.position = seq;
        // What was delivered before a restart is known before it is offered.
        let known: Vec<u64> =
            self.entries.range(Seq(from.saturating_add(1))..=seq).map(|(at, _)| at.0).collect();
        for at in known.into_iter().chain([seq.0.saturating_add(1)]) {
            let (first, last) = (from.saturating_add(1), at.saturating_sub(1));
            if first <= last {
                self.settle_range(Seq(first), Seq(last));
            }
            from = at;
        }
    }

    fn is_settled(&self, seq: Seq) -> bool {
        seq <= self.floor || self.settled.contains(seq)
    }

    /// Marks as settled from `first` to `last`, and moves the floor as far as that allows.
    fn settle_range(&mut self, first: Seq, last: Seq) {
        if last <= self.floor {
            return;
        }
        let first = first.max(Seq(self.floor.0.saturating_add(1)));
        self.settled.insert(first, last);
        if let Some(to) = self.settled.take_adjoining(self.floor) {
            assert!(to > self.floor, "the floor only grows");
            self.floor = to;
            self.dirty.floor = true;
        }
    }

    /// Puts a known event into its ticket's lane, and out of it again if it may be next.
    fn enlist(&mut self, seq: Seq, ticket: Option<TicketKey>) {
        match ticket {
            None => self.make_ready(seq),
            Some(ticket) => {
                self.lanes.insert(ticket, seq);
                self.promote(ticket);
            }
        }
    }

    /// Sees to it that the first of a ticket is out, or ready, if it may be.
    fn promote(&mut self, ticket: TicketKey) {
        let Some(lane) = self.lanes.of(ticket) else { return };
        let next = lane.first().filter(|seq| !(self.rules.blocks && lane.is_parked_before(*seq)));
        match lane.active {
            Some(active) if next == Some(active) => {}
            Some(active) => match self.entries.get(&active).map(|entry| entry.state) {
                // It is out, and comes first whatever else.
                Some(State::Leased { .. } | State::Waiting { .. }) => {}
                Some(State::Ready | State::Queued) | None => {
                    self.ready.remove(&active);
                    if let Some(entry) = self.entries.get_mut(&active) {
                        entry.state = State::Queued;
                    }
                    self.lanes.activate(ticket, None);
                    self.promote_first(ticket, next);
                }
            },
            None => self.promote_first(ticket, next),
        }
    }

    fn promote_first(&mut self, ticket: TicketKey, next: Option<Seq>) {
        if let Some(next) = next {
            self.lanes.activate(ticket, Some(next));
            self.make_ready(next);
        }
    }

    /// It is next; when it may be delivered is known.
    fn make_ready(&mut self, seq: Seq) {
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        if let Some(until) = entry.not_before {
            entry.state = State::Waiting { until };
            self.counts.waiting = self.counts.waiting.saturating_add(1);
            self.due.insert((until, seq));
        } else {
            entry.state = State::Ready;
            self.ready.insert(seq);
        }
    }

    /// Takes an event out of whatever it is in, but for `entries`: it may be made ready anew, or go.
    fn recall(&mut self, seq: Seq) {
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        let state = std::mem::replace(&mut entry.state, State::Queued);
        match state {
            State::Queued => {}
            State::Ready => {
                self.ready.remove(&seq);
            }
            State::Waiting { until } => {
                self.due.remove(&(until, seq));
                self.counts.waiting = self.counts.waiting.saturating_sub(1);
            }
            State::Leased { member, until } => {
                self.due.remove(&(until, seq));
                self.counts.leased = self.counts.leased.saturating_sub(1);
                match member {
                    Some(member) => self.members.give_back(member, seq, entry.weight),
                    None => self.counts.pulled = self.counts.pulled.saturating_sub(1),
                }
            }
        }
        let ticket = entry.ticket;
        if let Some(ticket) = ticket
            && self.lanes.of(ticket).is_some_and(|lane| lane.active == Some(seq))
        {
            self.lanes.activate(ticket, None);
        }
    }

    /// Forgets an event that is settled, parked or lost; the next of its ticket may come.
    fn forget(&mut self, seq: Seq) -> Option<Entry> {
        self.recall(seq);
        let entry = self.entries.remove(&seq)?;
        if entry.token > 0 {
            self.dirty.attempts.insert(seq);
        }
        if let Some(ticket) = entry.ticket {
            self.lanes.remove(ticket, seq);
            self.promote(ticket);
        }
        Some(entry)
    }

    /// It comes again as soon as its ticket allows.
    fn requeue(&mut self, seq: Seq) {
        self.recall(seq);
        self.dirty.attempts.insert(seq);
        match self.entries.get(&seq).map(|entry| entry.ticket) {
            Some(Some(ticket)) => self.promote(ticket),
            Some(None) => self.make_ready(seq),
            None => {}
        }
    }
}

/// `by` later than `from`, as far as dates go.
fn later(from: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    from.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod fair_tests;
#[cfg(test)]
mod tests;
