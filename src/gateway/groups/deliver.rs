//! From the log to members: reading as far as anybody has room, leasing, and sending what is durable.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::actor::Actor;
use super::bodies::Found;
use super::outbox::{Delivery, End, Lost, ToMember};
use super::{GroupError, READ_PAUSE};
use crate::domain::Seq;
use crate::domain::group::{ExpiredPolicy, TicketKey};
use crate::gateway::group::{Lease, MemberId};
use crate::store::ReadError;
use crate::store::groups::DeliveryId;

/// Events that are read at once.
const PAGE: usize = 256;
/// Events that are ready, from which no more are read.
pub(super) const READY_ENOUGH: usize = 512;
/// Leases of one step.
const LEASES_MAX: usize = 512;
/// So many events behind, a group is not live any more.
const LIVE_BEHIND_MAX: u64 = 1_000;

impl Actor {
    /// Reads on and leases, as far as members have room.
    pub(super) async fn advance(&mut self) {
        for (id, member) in &self.members {
            let room = if member.stopping || self.draining.is_some() { 0 } else { member.outbox.room() };
            self.machine.set_room(*id, room);
        }
        self.pulls.retain(|id, pull| {
            let is_gone = pull.reply.is_closed();
            if is_gone {
                self.machine.leave(*id, true, self.steady.now());
            }
            !is_gone
        });
        if self.draining.is_some() || self.expired.is_some() || self.paused.is_some() {
            return;
        }
        self.look_past().await;
        self.read_on().await;
        if self.expired.is_none() && self.paused.is_none() {
            self.lease().await;
        }
    }

    /// Whether the log has something that may be wanted, and somebody wants it.
    fn wants_more(&self) -> bool {
        self.machine.any_room()
            && self.machine.counts().ready < READY_ENOUGH
            && self.machine.room() > 0
            && self.machine.position() < *self.tail.borrow()
    }

    async fn read_on(&mut self) {
        let _ = self.tail.borrow_and_update();
        if !self.wants_more() {
            return;
        }
        let from = self.machine.position();
        match self.read_page(true).await {
            Ok(()) => self.more |= self.wants_more() && self.machine.position() > from,
            Err(ReadError::Trimmed { earliest }) => self.trimmed(earliest),
            Err(error) => self.unreadable(error),
        }
    }

    /// Takes in what the log has next; `keeps` the events, as somebody is about to have them.
    pub(super) async fn read_page(&mut self, keeps: bool) -> Result<(), ReadError> {
        let page = self.parts.log.read(self.machine.position(), PAGE.min(self.machine.room())).await?;
        for stored in page {
            if self.filter.as_ref().is_none_or(|filter| filter.lets(&stored.event)) {
                let ticket = TicketKey::of(&stored.event);
                self.machine.offer(stored.seq, ticket, stored.weight());
                if keeps {
                    self.bodies.keep(stored);
                }
            } else {
                self.machine.skip(stored.seq);
            }
        }
        Ok(())
    }

    /// Retention has passed the group.
    pub(super) fn trimmed(&mut self, earliest: Seq) {
        let to = match self.group.settings.expired {
            ExpiredPolicy::Fail => {
                tracing::warn!(group = &*self.name, "events that a consumer group has not settled are gone");
                self.expired = Some(earliest);
                let name = self.group.name.clone();
                self.end_all(&GroupError::Expired { name, earliest });
                return;
            }
            ExpiredPolicy::Earliest => earliest,
            ExpiredPolicy::Latest => (*self.tail.borrow()).max(earliest),
        };
        let (floor, position) = (self.machine.floor(), self.machine.position());
        let lost = self.machine.lose_to(to);
        let lost = Lost { after: if lost > 0 { floor } else { position.min(to) }, to };
        tracing::warn!(
            group = &*self.name,
            after = lost.after.0,
            to = lost.to.0,
            "a consumer group goes on without events that are gone"
        );
        self.pending.gaps.push(lost);
        self.more = true;
    }

    /// An event that was to be delivered again, or to be parked, is nowhere: the group goes on without it, and says so.
    pub(super) fn lose(&mut self, seq: Seq) {
        tracing::warn!(group = &*self.name, position = seq.0, "an event of a consumer group is gone");
        self.machine.lose(seq);
        self.pending.gaps.push(Lost { after: Seq(seq.0.saturating_sub(1)), to: seq });
        self.more = true;
    }

    /// The store could not be read.
    fn unreadable(&mut self, error: ReadError) {
        tracing::warn!(%error, group = &*self.name, "a consumer group cannot read the log");
        self.paused = Some(Instant::now() + READ_PAUSE);
        if let ReadError::Corrupt { .. } = error {
            // It will be as damaged the next time.
            self.end_all(&GroupError::Read(error));
        }
    }

    async fn lease(&mut self) {
        let leases = self.machine.lease(self.steady.now(), LEASES_MAX);
        if leases.is_empty() {
            return;
        }
        self.more |= leases.len() >= LEASES_MAX;
        let wanted: BTreeSet<Seq> = leases.iter().map(|lease| lease.seq).collect();
        let place = (self.parts.store.as_ref(), self.group.id);
        match self.bodies.find(wanted, self.parts.log.as_ref(), place).await {
            Ok(Found { mut events, left }) => {
                let mut gone = Vec::new();
                for lease in leases {
                    match events.remove(&lease.seq) {
                        Some(event) if self.machine.weigh(lease.seq, lease.member, event.weight()) => {
                            self.pending.leases.push((lease, event));
                        }
                        None if !left.contains(&lease.seq) => gone.push(lease),
                        // More than its member may hold, or than is read at once: it is its turn again.
                        Some(_) | None => {
                            self.machine.unsent_by(&lease);
                            self.more = true;
                        }
                    }
                }
                self.without_event(gone).await;
            }
            Err(error) => {
                for lease in leases {
                    self.machine.unsent_by(&lease);
                }
                self.unreadable(error);
            }
        }
    }

    /// What was to be delivered is nowhere.
    async fn without_event(&mut self, gone: Vec<Lease>) {
        if gone.is_empty() {
            return;
        }
        let mut from_log = Vec::new();
        for lease in gone {
            self.machine.unsent_by(&lease);
            if self.machine.is_replayed(lease.seq) {
                self.lose(lease.seq);
            } else {
                from_log.push(lease.seq);
            }
        }
        let Some(last) = from_log.last().copied() else { return };
        match self.parts.log.bounds().await {
            Ok(bounds) => {
                if from_log.first().is_some_and(|first| *first <= bounds.trimmed) {
                    self.trimmed(bounds.trimmed);
                }
                // Retention has not come so far: there is nothing to wait for.
                if last > bounds.trimmed {
                    from_log.into_iter().filter(|seq| *seq > bounds.trimmed).for_each(|seq| self.lose(seq));
                }
            }
            Err(error) => self.unreadable(error),
        }
    }

    /// Sends what is durable now.
    pub(super) fn send(&mut self) {
        for lost in std::mem::take(&mut self.pending.gaps) {
            self.members.values().for_each(|member| member.outbox.push(ToMember::Gap(lost)));
            self.gap = Some(self.gap.map_or(lost, |before| before.and(lost)));
        }
        let group = self.group.id;
        for (lease, event) in std::mem::take(&mut self.pending.leases) {
            let Lease { seq, token, member, attempt, until, failure, predecessor_parked } = lease;
            // It may have been given back, where the group came to its end meanwhile.
            if !self.machine.is_leased(seq, token) {
                continue;
            }
            let id = DeliveryId { group, seq, token };
            let delivery = Delivery { id, event, attempt, until, failure, predecessor_parked };
            if let Some(member) = self.members.get(&member) {
                member.outbox.push(ToMember::Delivery(Box::new(delivery)));
                self.metrics.delivered(&self.name, attempt);
            } else if let Some(pull) = self.pulls.get_mut(&member) {
                pull.taken.push(delivery);
            } else {
                self.machine.unsent(seq, token);
                self.more = true;
            }
        }
        for (results, states) in self.pending.results.drain(..) {
            results.tell(states);
        }
        self.pending.tell_ends();
        for (reply, count) in self.pending.counts.drain(..) {
            drop(reply.send(Ok(count)));
        }
        for (reply, count) in self.pending.moved.drain(..) {
            drop(reply.send(Ok(count)));
        }
    }

    /// Whether everything there is was given to somebody.
    pub(super) fn is_caught_up(&self) -> bool {
        self.machine.position() >= *self.tail.borrow() && self.machine.counts().ready == 0
    }

    /// Tells members when the group has caught up, once for each time it was behind.
    pub(super) fn tell_live(&mut self) {
        let behind = self.tail.borrow().0.saturating_sub(self.machine.position().0);
        let ready = u64::try_from(self.machine.counts().ready).unwrap_or(u64::MAX);
        if self.is_caught_up() {
            self.live = true;
        } else if behind.saturating_add(ready) > LIVE_BEHIND_MAX {
            self.live = false;
        }
        if self.members.is_empty() {
            self.live = false;
        }
        let (live, at) = (self.live, self.machine.position());
        for member in self.members.values_mut() {
            if live && !member.told_live {
                member.outbox.push(ToMember::CaughtUp(at));
            }
            member.told_live = live;
        }
    }

    /// Ends everybody's membership, and every pull.
    pub(super) fn end_all(&mut self, error: &GroupError) {
        let everybody: Vec<MemberId> = self.members.keys().copied().collect();
        for member in everybody {
            self.end(member, true, End::Failed(error.clone()));
        }
        let now = self.steady.now();
        for (id, pull) in std::mem::take(&mut self.pulls) {
            self.machine.leave(id, true, now);
            for delivery in pull.taken {
                self.machine.unsent(delivery.id.seq, delivery.id.token);
            }
            drop(pull.reply.send(Err(error.clone())));
        }
    }
}
