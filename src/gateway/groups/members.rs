//! Who comes and goes: members on streams, pulls, and the end of them all when the gateway stops.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::actor::Actor;
use super::input::{Joining, Pulled, Reply};
use super::outbox::{Delivery, End, Inlet, ToMember};
use super::{GroupError, HELD_BYTES_MAX, MEMBERS_MAX, MemberView, PULL_BYTES_MAX};
use crate::gateway::group::MemberId;

/// How long members may settle what they have, once the gateway stops.
const GRACE: Duration = Duration::from_secs(3);

/// A member on a stream.
#[derive(Debug)]
pub(super) struct Connected {
    name: Arc<str>,
    client_name: Arc<str>,
    principal: Arc<str>,
    since: Timestamp,
    pub(super) outbox: Inlet,
    /// It takes nothing more.
    pub(super) stopping: bool,
    pub(super) told_live: bool,
}

impl Connected {
    pub(super) fn view(&self, in_flight: usize) -> MemberView {
        MemberView {
            name: Arc::clone(&self.name),
            client_name: Arc::clone(&self.client_name),
            principal: Arc::clone(&self.principal),
            in_flight,
            since: self.since,
        }
    }
}

/// Somebody who waits for deliveries in one answer.
#[derive(Debug)]
pub(super) struct Pulling {
    pub(super) client_name: Arc<str>,
    /// Until when.
    pub(super) until: Instant,
    pub(super) taken: Vec<Delivery>,
    pub(super) reply: Reply<Pulled>,
}

impl Actor {
    /// Why nobody can come now.
    fn refusal(&self) -> Option<GroupError> {
        let name = self.group.name.clone();
        if self.draining.is_some() {
            Some(GroupError::Draining)
        } else if let Some(earliest) = self.expired {
            Some(GroupError::Expired { name, earliest })
        } else if self.members.len().saturating_add(self.pulls.len()) >= MEMBERS_MAX {
            let what = format!("consumer group {name} has {MEMBERS_MAX} members and waiting pulls");
            Some(GroupError::Busy { name, what })
        } else {
            None
        }
    }

    pub(super) fn join(&mut self, joining: Joining) {
        let Joining { member, name, client_name, principal, held_max, outbox } = joining;
        let before = self.members.iter().find(|(_, known)| known.name == name).map(|(id, _)| *id);
        if let Some(before) = before {
            let (name, member) = (self.group.name.clone(), name.to_string());
            self.end(before, false, End::Failed(GroupError::TakenOver { name, member }));
        }
        if let Some(error) = self.refusal() {
            outbox.push(ToMember::End(End::Failed(error)));
            return;
        }
        self.machine.join(member, held_max, HELD_BYTES_MAX, false);
        let since = self.steady.now();
        let connected =
            Connected { name, client_name, principal, since, outbox, stopping: false, told_live: false };
        self.members.insert(member, connected);
    }

    /// Ends a membership; what the member holds is free again. Answers how much of it had been sent.
    pub(super) fn end(&mut self, member: MemberId, planned: bool, end: End) -> usize {
        let Some(connected) = self.members.remove(&member) else { return 0 };
        self.call_back(&connected);
        let held = self.machine.leave(member, planned, self.steady.now());
        let end = match end {
            End::Stopped(_) => End::Stopped(held),
            End::Failed(error) => End::Failed(error),
        };
        self.pending.ends.push((connected.outbox, end));
        self.more = true;
        held
    }

    /// Gives back what a member's stream has not taken.
    fn call_back(&mut self, connected: &Connected) {
        for id in connected.outbox.call_all_back() {
            self.machine.unsent(id.seq, id.token);
        }
    }

    /// A member wants nothing more.
    pub(super) fn stop(&mut self, member: MemberId, at_once: bool) {
        if at_once {
            self.end(member, true, End::Stopped(0));
        } else if let Some(mut connected) = self.members.remove(&member) {
            connected.stopping = true;
            self.call_back(&connected);
            self.machine.give_nothing(member);
            self.members.insert(member, connected);
            self.more = true;
        }
    }

    /// A member is gone without a word.
    pub(super) fn broke(&mut self, member: MemberId) {
        // Nobody hears the end.
        self.end(member, false, End::Stopped(0));
    }

    pub(super) fn pull(
        &mut self,
        member: MemberId,
        (count_max, wait): (usize, Duration),
        client_name: Arc<str>,
        reply: Reply<Pulled>,
    ) {
        if let Some(error) = self.refusal() {
            drop(reply.send(Err(error)));
            return;
        }
        self.machine.join(member, count_max, PULL_BYTES_MAX, true);
        self.machine.set_room(member, count_max);
        let until = Instant::now() + wait;
        self.pulls.insert(member, Pulling { client_name, until, taken: Vec::new(), reply });
        self.more = true;
    }

    /// Answers pulls that have something, or have waited for long enough.
    pub(super) fn answer_pulls(&mut self) {
        if self.pulls.is_empty() {
            return;
        }
        let (now, date) = (Instant::now(), self.steady.now());
        let caught_up = self.is_caught_up();
        let reads_on = self.more;
        let is_due = |pull: &Pulling| !pull.taken.is_empty() || (now >= pull.until && !reads_on);
        let due: Vec<MemberId> =
            self.pulls.iter().filter(|(_, pull)| is_due(pull)).map(|(id, _)| *id).collect();
        for id in due {
            let Some(Pulling { taken, reply, .. }) = self.pulls.remove(&id) else { continue };
            self.machine.leave(id, true, date);
            let names: Vec<_> = taken.iter().map(|delivery| (delivery.id, delivery.attempt)).collect();
            let pulled = Pulled { deliveries: taken, caught_up, gap: self.gap.take() };
            if let Err(unheard) = reply.send(Ok(pulled)) {
                // Whoever asked has gone: nobody has seen this attempt.
                self.gap = unheard.ok().and_then(|pulled| pulled.gap);
                for (id, _) in names {
                    self.machine.unsent(id.seq, id.token);
                }
                self.more = true;
            } else {
                for (_, attempt) in names {
                    self.metrics.delivered(&self.name, attempt);
                }
            }
        }
    }

    /// Lets those go who wanted to, and have settled what they had.
    pub(super) fn see_off(&mut self) {
        let is_over = self.draining.is_some_and(|until| Instant::now() >= until);
        let is_done = |(id, member): (&MemberId, &Connected)| {
            (member.stopping || self.draining.is_some()) && (is_over || self.machine.held_by(*id) == 0)
        };
        let done: Vec<MemberId> =
            self.members.iter().filter(|member| is_done(*member)).map(|(id, _)| *id).collect();
        for id in done {
            let stopping = self.members.get(&id).is_some_and(|member| member.stopping);
            let end = if stopping { End::Stopped(0) } else { End::Failed(GroupError::Draining) };
            self.end(id, true, end);
        }
    }

    /// The gateway stops: nothing is delivered any more, and members may settle what they have for a moment.
    pub(super) fn drain(&mut self) {
        self.draining = Some(Instant::now() + GRACE);
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        for member in members {
            let Some(connected) = self.members.remove(&member) else { continue };
            self.call_back(&connected);
            connected.outbox.push(ToMember::GoingAway(GRACE));
            self.members.insert(member, connected);
        }
        let now = self.steady.now();
        for (id, pull) in std::mem::take(&mut self.pulls) {
            self.machine.leave(id, true, now);
            drop(pull.reply.send(Err(GroupError::Draining)));
        }
        self.more = true;
    }

    /// The process ends, and the store could not write: what is on disk stands, and everybody hears that it is over.
    pub(super) fn abandon(&mut self) {
        self.pending.leases.clear();
        self.end_all(&GroupError::Draining);
    }
}
