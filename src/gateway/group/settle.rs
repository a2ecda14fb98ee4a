//! Leases: how they are given, and the ways they end.

use std::time::Duration;

use jiff::Timestamp;

use super::members::{Members, Terms};
use super::{Group, Held, Lease, MemberId, PARKED_MAX, REASON_BYTES_MAX, State, later};
use crate::domain::Seq;

/// How many ready events are looked at for one that nobody failed at.
const LOOKED_AT_MAX: usize = 1_024;

/// What a member says of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Ack,
    /// It is to come again.
    Retry {
        /// How long to wait; `None` leaves it to the group.
        delay: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// It is to be set aside.
    Park {
        /// Why.
        reason: String,
    },
    /// It takes longer: so long from now.
    Extend(Duration),
}

/// What a settlement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is done, once the changes are committed.
    Done(Fate),
    /// It was done before.
    AlreadyDone,
    /// The delivery is not its member's any more.
    Stale,
    /// There was never such a delivery.
    Unknown,
}

/// What became of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is settled.
    Acked,
    /// It comes again.
    Retried,
    /// It is on the parked list.
    Parked,
    /// Its lease lasts longer.
    Extended,
}

impl Group {
    /// Gives what is ready to members that have room, the oldest first, at most `count_max`.
    pub fn lease(&mut self, now: Timestamp, count_max: usize) -> Vec<Lease> {
        let mut leases = Vec::new();
        while leases.len() < count_max
            && let Some(seq) = self.ready.first().copied()
        {
            let Some(entry) = self.entries.get_mut(&seq) else {
                self.ready.remove(&seq);
                continue;
            };
            // The rules may have changed since its last attempt.
            if entry.attempts >= self.rules.max_attempts && self.parked.len() < PARKED_MAX {
                let reason = std::mem::take(&mut entry.failure);
                self.park(seq, reason, now);
                continue;
            }
            let Some((seq, (member, ends_with_it))) = self.give(seq, now) else { break };
            let Some(entry) = self.entries.get_mut(&seq) else { break };
            let until = later(now, self.rules.ack_deadline);
            self.token = self.token.saturating_add(1);
            entry.token = self.token;
            entry.attempts = entry.attempts.saturating_add(1);
            entry.state = State::Leased { member: ends_with_it.then_some(member), until };
            let (ticket, attempt, failure) = (entry.ticket, entry.attempts, entry.failure.clone());
            let lane = ticket.and_then(|ticket| self.lanes.of(ticket));
            debug_assert!(
                lane.is_none_or(|lane| lane.active == Some(seq)),
                "of a ticket only the one that is next is leased"
            );
            leases.push(Lease {
                seq,
                token: self.token,
                member,
                attempt,
                until,
                failure,
                predecessor_parked: lane.is_some_and(|lane| lane.is_parked_before(seq)),
            });
            self.ready.remove(&seq);
            self.due.insert((until, seq));
            self.counts.leased = self.counts.leased.saturating_add(1);
            if !ends_with_it {
                self.counts.pulled = self.counts.pulled.saturating_add(1);
            }
            self.dirty.attempts.insert(seq);
        }
        leases
    }

    /// Gives `first`, which is the oldest that is ready, to a member; or, where only those have room that let leases
    /// expire, and others will have some soon, something that nobody failed at: so they can show that they settle.
    fn give(&mut self, first: Seq, now: Timestamp) -> Option<(Seq, (MemberId, bool))> {
        let Self { entries, members, ready, rules, .. } = self;
        let is_fresh = |seq: &Seq| entries.get(seq).is_some_and(|entry| entry.attempts == 0);
        let give = |members: &mut Members, seq: Seq, to_lapsed| {
            let (weight, attempts) = entries.get(&seq).map_or((0, 0), |entry| (entry.weight, entry.attempts));
            let is_last = attempts.saturating_add(1) >= rules.max_attempts;
            let terms = Terms { now, patience: rules.ack_deadline, to_lapsed, is_last };
            Some((seq, members.give(seq, weight, terms)?))
        };
        if let Some(given) = give(members, first, is_fresh(&first)) {
            return Some(given);
        }
        if !members.any_lapsed_idle() {
            return None;
        }
        let fresh = ready.iter().take(LOOKED_AT_MAX).find(|seq| is_fresh(seq)).copied()?;
        give(members, fresh, true)
    }

    /// A lease of a pull ends as [`unsent`](Self::unsent): the pull has room again.
    pub fn unsent_by(&mut self, lease: &Lease) {
        let weight = self.entries.get(&lease.seq).map_or(0, |entry| entry.weight);
        self.members.take_from_pull(lease.member, weight);
        self.unsent(lease.seq, lease.token);
    }

    /// Whether this lease is still out.
    fn is_out(&self, seq: Seq, token: u64) -> bool {
        let entry = self.entries.get(&seq);
        entry.is_some_and(|entry| entry.token == token && matches!(entry.state, State::Leased { .. }))
    }

    /// Who holds an event on a stream.
    fn holder(&self, seq: Seq) -> Option<MemberId> {
        match self.entries.get(&seq)?.state {
            State::Leased { member, .. } => member,
            State::Queued | State::Ready | State::Waiting { .. } => None,
        }
    }

    /// A member settles a delivery; `random`, of all values alike, spreads what failed together.
    pub fn settle(
        &mut self,
        (seq, token): (Seq, u64),
        outcome: Outcome,
        now: Timestamp,
        random: u32,
    ) -> Settled {
        if !self.is_out(seq, token) {
            return self.not_out(seq, token);
        }
        if let Some(member) = self.holder(seq) {
            let settled = !matches!(outcome, Outcome::Extend(_));
            self.members.prove(member, settled.then_some(now));
        }
        if let Outcome::Extend(by) = outcome {
            self.extend(seq, later(now, by));
            return Settled::Done(Fate::Extended);
        }
        self.recent.note(seq, token);
        Settled::Done(match outcome {
            Outcome::Ack | Outcome::Extend(_) => {
                self.finish(seq);
                Fate::Acked
            }
            Outcome::Park { reason } => self.park_or_wait(seq, reason, now),
            Outcome::Retry { delay, reason } => {
                let attempts = self.entries.get(&seq).map_or(0, |entry| entry.attempts);
                if attempts >= self.rules.max_attempts {
                    self.park_or_wait(seq, reason, now)
                } else {
                    let delay = delay.unwrap_or_else(|| self.backoff(attempts, random));
                    self.wait(seq, reason, later(now, delay));
                    Fate::Retried
                }
            }
        })
    }

    /// What to say of a delivery that is not out.
    fn not_out(&self, seq: Seq, token: u64) -> Settled {
        let recent = self.recent.of(seq);
        if token == 0 || token > self.token {
            Settled::Unknown
        } else if recent == Some(token) {
            Settled::AlreadyDone
        } else if recent.is_none()
            && token > self.fence
            && self.is_settled(seq)
            && !self.parked.contains_key(&seq)
            && !self.entries.contains_key(&seq)
        {
            // Long ago, or before a restart: whoever did it, there is nothing left to do.
            Settled::AlreadyDone
        } else {
            Settled::Stale
        }
    }

    /// The event is done.
    fn finish(&mut self, seq: Seq) {
        let Some(entry) = self.forget(seq) else { return };
        if entry.replayed {
            self.dirty.gone(seq);
        } else {
            assert!(!self.is_settled(seq), "an event is settled once");
            self.settle_range(seq, seq);
        }
    }

    fn extend(&mut self, seq: Seq, to: Timestamp) {
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        if let State::Leased { member, until } = entry.state
            && to > until
        {
            entry.state = State::Leased { member, until: to };
            self.due.remove(&(until, seq));
            self.due.insert((to, seq));
            if member.is_none() {
                self.dirty.attempts.insert(seq);
            }
        }
    }

    /// A lease that was long on its way begins at `now`; answers when it ends.
    pub fn begin_anew(&mut self, seq: Seq, token: u64, now: Timestamp) -> Option<Timestamp> {
        let until = later(now, self.rules.ack_deadline);
        self.is_out(seq, token).then(|| self.extend(seq, until))?;
        Some(until)
    }

    fn wait(&mut self, seq: Seq, reason: String, until: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.failure = cut(reason);
            entry.not_before = Some(until);
        }
        // Though it waits, it is the one of its ticket that is out.
        self.recall(seq);
        self.dirty.attempts.insert(seq);
        if let Some(ticket) = self.entries.get(&seq).and_then(|entry| entry.ticket) {
            self.lanes.activate(ticket, Some(seq));
        }
        self.make_ready(seq);
    }

    pub(super) fn park_or_wait(&mut self, seq: Seq, reason: String, now: Timestamp) -> Fate {
        if self.parked.len() < PARKED_MAX {
            self.park(seq, reason, now);
            Fate::Parked
        } else {
            self.wait(seq, "the parked list is full".to_owned(), later(now, self.rules.max_backoff));
            Fate::Retried
        }
    }

    /// Puts an event on the parked list.
    fn park(&mut self, seq: Seq, reason: String, now: Timestamp) {
        let Some(entry) = self.entries.get(&seq) else { return };
        let (ticket, attempts) = (entry.ticket, entry.attempts);
        self.parked.insert(seq, ticket);
        if let Some(ticket) = ticket {
            self.lanes.park(ticket, seq);
        }
        self.dirty.list(seq, ticket, attempts, cut(reason), now);
        self.forget(seq);
        self.settle_range(seq, seq);
    }

    fn backoff(&self, attempts: u32, random: u32) -> Duration {
        let doubled = 2_u32.checked_pow(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.rules.min_backoff.saturating_mul(doubled).min(self.rules.max_backoff);
        // Three quarters to five quarters of it.
        wait.mul_f64(0.75 + 0.5 * f64::from(random) / f64::from(u32::MAX))
    }

    /// The leases whose time is over. Of each, say whether it was sent: [`expire`](Self::expire), or
    /// [`unsent`](Self::unsent).
    pub fn overdue(&self, now: Timestamp) -> Vec<Held> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        due.filter_map(|(_, seq)| {
            let entry = self.entries.get(seq)?;
            match entry.state {
                State::Leased { member, .. } => Some(Held { seq: *seq, token: entry.token, member }),
                State::Queued | State::Ready | State::Waiting { .. } => None,
            }
        })
        .collect()
    }

    /// A lease's time is over, and the attempt counts.
    pub fn expire(&mut self, seq: Seq, token: u64, now: Timestamp) {
        if self.is_out(seq, token) {
            if let Some(member) = self.holder(seq) {
                self.members.lapse(member);
            }
            self.failed(seq, "the ack deadline passed", now);
        }
    }

    /// A lease was never sent, or given back as planned: the attempt does not count.
    pub fn unsent(&mut self, seq: Seq, token: u64) {
        if self.is_out(seq, token) {
            if let Some(entry) = self.entries.get_mut(&seq) {
                entry.attempts = entry.attempts.saturating_sub(1);
                entry.not_before = None;
            }
            self.requeue(seq);
        }
    }

    /// An attempt failed by no word of its member.
    fn failed(&mut self, seq: Seq, why: &str, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        why.clone_into(&mut entry.failure);
        entry.not_before = None;
        if entry.attempts >= self.rules.max_attempts {
            self.park_or_wait(seq, why.to_owned(), now);
        } else {
            self.requeue(seq);
        }
    }

    /// Time passes: what waited may be ready. Leases are [`overdue`](Self::overdue)'s.
    pub fn tick(&mut self, now: Timestamp) {
        let due: Vec<Seq> = self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, seq)| *seq).collect();
        for seq in due {
            let Some(entry) = self.entries.get_mut(&seq) else { continue };
            if matches!(entry.state, State::Waiting { .. }) {
                entry.not_before = None;
                let ticket = entry.ticket;
                self.recall(seq);
                // Something earlier of its ticket may have been replayed meanwhile, or hold it up.
                match ticket {
                    Some(ticket) => self.promote(ticket),
                    None => self.make_ready(seq),
                }
            }
        }
    }

    /// When [`tick`](Self::tick) or [`overdue`](Self::overdue) has something to do next.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Somebody shares the work from now on, holding at most so many events of so many bytes. If it `pulls`, its
    /// leases do not end with it.
    pub fn join(&mut self, member: MemberId, held_max: usize, bytes_max: usize, pulls: bool) {
        self.members.join(member, held_max, bytes_max, pulls);
    }

    /// A member gets nothing more, and may settle what it has.
    pub fn give_nothing(&mut self, member: MemberId) {
        self.members.give_nothing(member);
    }

    /// How many more events a member can take now.
    pub fn set_room(&mut self, member: MemberId, room: usize) {
        self.members.set_room(member, room);
    }

    /// Somebody leaves; if that was `planned`, the attempts do not count. Answers how many leases were given back.
    pub fn leave(&mut self, member: MemberId, planned: bool, now: Timestamp) -> usize {
        let held = self.members.leave(member);
        for seq in &held {
            let Some(token) = self.entries.get(seq).map(|entry| entry.token) else { continue };
            if planned {
                self.unsent(*seq, token);
            } else if self.is_out(*seq, token) {
                self.failed(*seq, "the consumer's stream broke off", now);
            }
        }
        held.len()
    }
}

/// No more of a text than is kept.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}
