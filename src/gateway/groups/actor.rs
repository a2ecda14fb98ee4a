//! A group's task: what came is taken in, the log is read as far as anybody has room, the machine takes its step, the
//! step is committed, and only then is anything sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::bodies::Bodies;
use super::commit::Pending;
use super::input::Input;
use super::members::{Connected, Pulling};
use super::outbox::{End, Lost, ToMember};
use super::steady::Steady;
use super::{
    GroupError, GroupMetrics, GroupParts, GroupView, Handle, INPUTS_MAX, MemberView, PULLED, READ_PAUSE,
};
use crate::domain::Seq;
use crate::domain::filter::Filter;
use crate::gateway::group::{Group as Machine, MemberId, Rules};
use crate::store::ReadError;

/// How often a group looks after what need not be at once: a floor that was moved by events nobody wants, and how old
/// its oldest unsettled event is.
pub(super) const LOOK_AFTER: Duration = Duration::from_secs(5);
/// How often at most it finds out how old that is.
const AGE_INTERVAL: Duration = Duration::from_secs(1);
/// Work that a group does before it lets others run.
const ROUNDS_AT_ONCE: u32 = 64;

/// The task's state.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) parts: GroupParts,
    pub(super) metrics: GroupMetrics,
    pub(super) name: Arc<str>,
    pub(super) group: crate::store::groups::Group,
    pub(super) machine: Machine,
    pub(super) filter: Option<Box<Filter>>,
    pub(super) steady: Steady,
    pub(super) inbox: mpsc::Receiver<Input>,
    pub(super) wake: Arc<Notify>,
    state: Arc<Mutex<GroupView>>,
    pub(super) tail: watch::Receiver<Seq>,
    pub(super) members: BTreeMap<MemberId, Connected>,
    pub(super) pulls: BTreeMap<MemberId, Pulling>,
    pub(super) bodies: Bodies,
    pub(super) pending: Pending,
    /// Came while the store could not write, and cannot be refused.
    pub(super) later: VecDeque<Input>,
    /// Retention has passed the group, and it does not go on by itself.
    pub(super) expired: Option<Seq>,
    /// Everything was given to somebody, and not much has come since.
    pub(super) live: bool,
    /// Tells of lost events that no pull was told of.
    pub(super) gap: Option<Lost>,
    /// Until when members may settle while the gateway stops.
    pub(super) draining: Option<Instant>,
    /// The store could not be read.
    pub(super) paused: Option<Instant>,
    /// There is more to do at once.
    pub(super) more: bool,
    /// Why the task ends: the group was deleted.
    over: Arc<OnceLock<GroupError>>,
    look_after: Instant,
    oldest: Option<(Seq, Timestamp)>,
    oldest_due: Instant,
    /// When it may next look past what it does not want, with nobody there.
    pub(super) idle: Instant,
    /// Who may do so: one group at a time.
    pub(super) turn: Arc<Semaphore>,
}

impl Actor {
    pub(super) fn new(
        parts: &GroupParts,
        metrics: GroupMetrics,
        view: GroupView,
        inbox: mpsc::Receiver<Input>,
        handle: &Handle,
    ) -> Self {
        let steady = Steady::new(parts.clock.as_ref());
        let group = view.group;
        let kept = crate::store::groups::GroupState { floor: group.floor, ..Default::default() };
        let now = Instant::now();
        let name = Arc::from(group.name.as_str());
        metrics.appear(&name);
        Self {
            name,
            filter: Filter::of(&group.settings.filter),
            machine: Machine::restore(Rules::from(&group.settings), kept, steady.now()),
            tail: parts.log.tail(),
            parts: parts.clone(),
            metrics,
            group,
            steady,
            inbox,
            wake: Arc::clone(&handle.wake),
            state: Arc::clone(&handle.state),
            members: BTreeMap::new(),
            pulls: BTreeMap::new(),
            bodies: Bodies::default(),
            pending: Pending::default(),
            later: VecDeque::new(),
            expired: None,
            live: false,
            gap: None,
            draining: None,
            paused: None,
            more: false,
            over: Arc::clone(&handle.over),
            look_after: now,
            oldest: None,
            oldest_due: now,
            idle: now,
            turn: Arc::clone(&handle.turn),
        }
    }

    /// Runs until the group is deleted or the gateway stops.
    pub(super) async fn run(mut self) {
        if self.restore().await {
            self.work().await;
        }
        self.turn_away().await;
    }

    async fn work(&mut self) {
        let mut rounds = 0_u32;
        loop {
            let mut inputs = VecDeque::new();
            if self.more {
                self.more = false;
                rounds = rounds.wrapping_add(1);
                if rounds.is_multiple_of(ROUNDS_AT_ONCE) {
                    tokio::task::yield_now().await;
                }
            } else if let Some(input) = self.wait().await {
                inputs.push_back(input);
            }
            inputs.append(&mut self.later);
            while inputs.len() < INPUTS_MAX
                && let Ok(input) = self.inbox.try_recv()
            {
                inputs.push_back(input);
            }
            if self.parts.shutdown.hard().is_cancelled() || !self.round(inputs).await {
                break;
            }
        }
    }

    /// Whoever is still there, or came too late, hears why it is over.
    async fn turn_away(&mut self) {
        let error = self.over.get().cloned().unwrap_or(GroupError::Draining);
        self.end_all(&error);
        self.pending.tell_ends();
        self.inbox.close();
        let mut late = std::mem::take(&mut self.later);
        while let Some(input) = self.inbox.recv().await {
            late.push_back(input);
        }
        for input in late {
            // Whoever waits for an answer asks why none comes.
            if let Input::Join(joining) = input {
                joining.outbox.push(ToMember::End(End::Failed(error.clone())));
            }
        }
    }

    fn is_deleted(&self) -> bool {
        self.over.get().is_some()
    }

    /// The group is gone; nothing is taken in any more.
    pub(super) fn be_deleted(&self) -> GroupError {
        self.metrics.forget(&self.name);
        self.over.get_or_init(|| GroupError::NotFound(self.group.name.clone())).clone()
    }

    /// Goes on from what was committed; `false` if there is nothing to go on from.
    async fn restore(&mut self) -> bool {
        loop {
            match self.parts.store.load_group(self.group.id).await {
                Ok(Some(kept)) => {
                    let rules = Rules::from(&self.group.settings);
                    self.machine = Machine::restore(rules, kept, self.steady.now());
                    self.more = true;
                    return true;
                }
                Ok(None) => {
                    self.be_deleted();
                    return false;
                }
                Err(error) => {
                    tracing::warn!(%error, group = &*self.name, "a consumer group cannot be read; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(READ_PAUSE) => {}
                        () = self.parts.shutdown.soft().cancelled() => return false,
                    }
                }
            }
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) -> Option<Input> {
        let due = self.next_due();
        let (soft, hard) = (self.parts.shutdown.soft().clone(), self.parts.shutdown.hard().clone());
        let follows = self.follows();
        tokio::select! {
            input = self.inbox.recv() => input,
            () = self.wake.notified() => None,
            _ = self.tail.changed(), if follows => None,
            () = sleep_until(due) => None,
            () = soft.cancelled(), if self.draining.is_none() => None,
            () = hard.cancelled() => None,
        }
    }

    /// Whether what comes into the log concerns anybody.
    pub(super) fn follows(&self) -> bool {
        let somebody = !self.members.is_empty() || !self.pulls.is_empty();
        somebody && self.draining.is_none() && self.expired.is_none() && self.paused.is_none()
    }

    fn next_due(&self) -> Instant {
        let machine = self.machine.next_due().map(|at| self.steady.instant_of(at));
        let pulls = self.pulls.values().map(|pull| pull.until).min();
        let idle = self.looks_past().then_some(self.idle);
        [machine, pulls, idle, self.draining, self.paused]
            .into_iter()
            .flatten()
            .fold(self.look_after, std::cmp::Ord::min)
    }

    /// One step; `false` at the end of the group's time.
    async fn round(&mut self, inputs: VecDeque<Input>) -> bool {
        self.paused = self.paused.filter(|until| *until > Instant::now());
        if self.parts.shutdown.is_draining() && self.draining.is_none() {
            self.drain();
        }
        for input in inputs {
            if self.is_deleted() {
                self.later.push_back(input);
            } else {
                self.take(input).await;
            }
        }
        self.time_passes();
        if !self.is_deleted() {
            self.advance().await;
        }
        let now = Instant::now();
        let looks_after = now >= self.look_after || (self.draining.is_some() && self.members.is_empty());
        if looks_after {
            self.look_after = now + LOOK_AFTER;
        }
        if !self.is_deleted()
            && (self.machine.must_commit() || (looks_after && self.machine.has_changed()))
            && !self.commit().await
        {
            self.abandon();
            return false;
        }
        // Whoever is answered may look at once.
        self.publish();
        self.send();
        self.answer_pulls();
        self.see_off();
        self.pending.tell_ends();
        self.tell_live();
        self.look(looks_after).await;
        self.publish();
        let is_over = self.draining.is_some() && self.members.is_empty() && !self.more;
        !(self.is_deleted() || is_over)
    }

    /// Leases and waits end.
    fn time_passes(&mut self) {
        let now = self.steady.now();
        for held in self.machine.overdue(now) {
            let member = held.member.and_then(|member| self.members.get(&member));
            if member.is_some_and(|member| member.outbox.call_back(held.token)) {
                // Its stream never took it: nobody has seen this attempt.
                self.machine.unsent(held.seq, held.token);
            } else {
                self.machine.expire(held.seq, held.token, now);
            }
        }
        self.machine.tick(now);
    }

    /// Finds out how old the oldest unsettled event is, now and then.
    async fn look(&mut self, looks_after: bool) {
        let oldest = self.machine.oldest_unsettled();
        let now = Instant::now();
        let is_behind = oldest <= *self.tail.borrow();
        if !is_behind {
            self.oldest = None;
        } else if self.oldest.is_none_or(|(seq, _)| seq != oldest) && (looks_after || now >= self.oldest_due)
        {
            self.oldest_due = now + AGE_INTERVAL;
            let page = self.parts.log.read(self.machine.floor(), 1).await;
            self.oldest = match page {
                Ok(page) => page.first().map(|event| (event.seq, event.event.receive_time)),
                Err(ReadError::Trimmed { .. } | ReadError::Corrupt { .. } | ReadError::Unavailable(_)) => {
                    None
                }
            };
        }
    }

    /// Tells how the group stands.
    pub(super) fn publish(&mut self) {
        let counts = self.machine.counts();
        self.group.floor = self.machine.floor();
        let mut members: Vec<MemberView> =
            self.members.iter().map(|(id, member)| member.view(self.machine.held_by(*id))).collect();
        let pulled = self.pulls.values().next_back();
        if counts.pulled > 0 || pulled.is_some() {
            members.push(MemberView {
                name: PULLED.into(),
                client_name: pulled.map(|pull| Arc::clone(&pull.client_name)).unwrap_or_default(),
                principal: Arc::default(),
                in_flight: counts.pulled,
                since: self.steady.now(),
            });
        }
        let mut view = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if view.group.revision != self.group.revision {
            view.group.clone_from(&self.group);
        }
        view.group.floor = self.group.floor;
        view.counts = counts;
        view.blocked_tickets = self.machine.blocked_tickets();
        view.members = members;
        view.oldest = self.oldest;
    }
}
