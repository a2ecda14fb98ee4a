//! Consumer groups at work: each has one task, which drives the machine ([`group`](super::group)) over the log. Nothing
//! is sent, and no settlement answered, before the step that it belongs to is on disk; while one step syncs, what comes
//! meanwhile gathers for the next. Events are read when they are wanted and kept for a moment; there is no queue but the
//! bounded one to each member.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use uuid::Uuid;

use super::group::{Counts, MemberId, Which};
use crate::clock::{Clock, Ids};
use crate::domain::Seq;
use crate::domain::group::{EventView, GroupSettings};
use crate::shutdown::Shutdown;
use crate::store::groups::{Created, GROUPS_MAX, Group, GroupStore, ParkedPage, ParkedWanted};
use crate::store::{EventLog, ReadError};

mod actor;
mod bodies;
mod commit;
mod deliver;
mod error;
mod gauges;
mod idle;
mod input;
mod members;
mod membership;
mod metrics;
mod operate;
mod outbox;
mod steady;
mod view;

pub use error::GroupError;
pub use input::{Pulled, SettleState, Settlement};
pub use membership::{Membership, Voice};
pub use metrics::GroupMetrics;
pub use outbox::{Delivery, End, Lost, Outbox, ToMember};
pub use view::{GroupView, MemberView};

use actor::Actor;
use input::{Input, Joining, Reply, Results};
use outbox::Inlet;

/// The name under which a status has what was pulled; no member's.
pub const PULLED: &str = "pull";
/// What may wait for a group's task; more waits with whoever brings it.
const INPUTS_MAX: usize = 1_024;
/// Members of a group, and pulls that wait.
const MEMBERS_MAX: usize = 1_000;
/// About how much memory the events may take that a member holds.
const HELD_BYTES_MAX: usize = 4 << 20;
/// The same for what one pull takes: its answer must be small enough to receive.
const PULL_BYTES_MAX: usize = 2 << 20;
/// How long a store that could not be read is left alone.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// What groups stand on.
#[derive(Debug, Clone)]
pub struct GroupParts {
    /// Read.
    pub log: Arc<dyn EventLog>,
    /// Where groups are kept.
    pub store: Arc<dyn GroupStore>,
    /// Dates.
    pub clock: Arc<dyn Clock>,
    /// Names members, and spreads retries.
    pub ids: Arc<dyn Ids>,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// All groups. Clones are the same.
#[derive(Debug, Clone)]
pub struct Groups {
    parts: GroupParts,
    metrics: GroupMetrics,
    known: Arc<Mutex<BTreeMap<String, Handle>>>,
    loaded: watch::Receiver<Option<Result<(), ReadError>>>,
    last_member: Arc<AtomicU64>,
    turn: Arc<Semaphore>,
}

/// The way to a group's task.
#[derive(Debug, Clone)]
struct Handle {
    name: String,
    shutdown: Shutdown,
    inbox: mpsc::Sender<Input>,
    wake: Arc<Notify>,
    state: Arc<Mutex<GroupView>>,
    /// Whose holder may read the log with nobody there.
    turn: Arc<Semaphore>,
    /// Why its task has ended, if by its own decision.
    over: Arc<OnceLock<GroupError>>,
}

/// Who wants to be a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// Its name; empty for any.
    pub name: String,
    /// Its program.
    pub client_name: String,
    /// Whose credentials it uses.
    pub principal: String,
    /// The most it holds.
    pub held_max: usize,
}

/// Which events of a parked list are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParkedEvents {
    /// All.
    All,
    /// Those of these.
    These(Vec<Uuid>),
}

impl Groups {
    /// All groups of `parts.store`; each has its task from now on.
    pub fn start(parts: GroupParts, registry: &mut Registry) -> Self {
        let metrics = GroupMetrics::register(registry);
        let (loading, loaded) = watch::channel(None);
        let known = Arc::default();
        let turn = Arc::new(Semaphore::new(1));
        let groups = Self { parts, metrics, known, loaded, last_member: Arc::default(), turn };
        gauges::register(&groups, registry);
        let all = groups.clone();
        drop(groups.parts.shutdown.spawn(async move {
            let found = all.parts.store.groups().await;
            if let Err(error) = &found {
                tracing::error!(%error, "consumer groups cannot be read");
            }
            loading.send_replace(Some(found.map(|found| {
                for group in found {
                    all.open(group);
                }
            })));
            all.sweep().await;
        }));
        groups
    }

    /// Removes what deleted groups have left, a little at a time.
    async fn sweep(&self) {
        while !self.parts.shutdown.is_draining() {
            match self.parts.store.sweep_groups().await {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => break,
                // The next start goes on.
                Err(error) => {
                    tracing::debug!(%error, "what deleted groups have left stays for now");
                    break;
                }
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Handle>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a group's task.
    fn open(&self, group: Group) -> Handle {
        let (inbox, inputs) = mpsc::channel(INPUTS_MAX);
        let wake = Arc::new(Notify::new());
        let name = group.name.clone();
        let view = GroupView {
            group,
            counts: Counts::default(),
            blocked_tickets: 0,
            members: Vec::new(),
            oldest: None,
        };
        let handle = Handle {
            name: name.clone(),
            shutdown: self.parts.shutdown.clone(),
            inbox,
            wake,
            state: Arc::new(Mutex::new(view.clone())),
            turn: Arc::clone(&self.turn),
            over: Arc::default(),
        };
        self.known().insert(name, handle.clone());
        let actor = Actor::new(&self.parts, self.metrics.clone(), view, inputs, &handle);
        let running = self.parts.shutdown.spawn(actor.run());
        let (groups, broken) = (self.clone(), handle.clone());
        drop(self.parts.shutdown.spawn(async move {
            if running.await.is_err() {
                groups.open_again(&broken).await;
            }
        }));
        handle
    }

    /// A group's task broke down: what was committed is where it goes on from.
    async fn open_again(&self, broken: &Handle) {
        tracing::error!(
            group = broken.name,
            "a consumer group's task broke down; it begins again from what is on disk"
        );
        loop {
            tokio::select! {
                () = tokio::time::sleep(READ_PAUSE) => {}
                () = self.parts.shutdown.soft().cancelled() => return,
            }
            if let Ok(found) = self.parts.store.groups().await {
                match found.into_iter().find(|group| group.name == broken.name) {
                    Some(group) => drop(self.open(group)),
                    None => self.forget(broken),
                }
                return;
            }
        }
    }

    async fn ready(&self) -> Result<(), GroupError> {
        let mut loaded = self.loaded.clone();
        let found = loaded.wait_for(Option::is_some).await;
        match found.as_deref() {
            Ok(Some(Err(error))) => Err(GroupError::Read(error.clone())),
            Ok(Some(Ok(()))) => Ok(()),
            Ok(None) | Err(_) => Err(GroupError::Draining),
        }
    }

    async fn handle(&self, name: &str) -> Result<Handle, GroupError> {
        self.ready().await?;
        self.known().get(name).cloned().ok_or_else(|| GroupError::NotFound(name.to_owned()))
    }

    /// Makes a group that has settled everything up to `floor`.
    pub async fn create(
        &self,
        name: String,
        settings: GroupSettings,
        floor: Seq,
    ) -> Result<GroupView, GroupError> {
        self.ready().await?;
        let groups = self.clone();
        // Whoever asked may hang up: what is made is opened all the same.
        let making = self.parts.shutdown.spawn(async move { groups.make(name, settings, floor).await });
        making.await.unwrap_or(Err(GroupError::Draining))
    }

    async fn make(&self, name: String, settings: GroupSettings, floor: Seq) -> Result<GroupView, GroupError> {
        match self.parts.store.create_group(name.clone(), settings, floor).await? {
            Created::Fresh(group) => Ok(self.open(*group).view()),
            Created::Taken => Err(GroupError::Exists(name)),
            Created::Full => {
                Err(GroupError::Busy { name, what: format!("there are {GROUPS_MAX} consumer groups") })
            }
        }
    }

    /// A group and how it stands.
    pub async fn group(&self, name: &str) -> Result<GroupView, GroupError> {
        let mut view = self.handle(name).await?.view();
        self.complete(&mut view).await?;
        Ok(view)
    }

    /// At most so many groups whose names come after `after`, and whether there are more.
    pub async fn groups(&self, after: &str, count_max: usize) -> Result<(Vec<GroupView>, bool), GroupError> {
        self.ready().await?;
        let mut views: Vec<GroupView> = {
            let known = self.known();
            let beyond = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
            let wanted = known.range::<str, _>(beyond).take(count_max.saturating_add(1));
            wanted.map(|(_, handle)| handle.view()).collect()
        };
        let more = views.len() > count_max;
        views.truncate(count_max);
        for view in &mut views {
            self.complete(view).await?;
        }
        Ok((views, more))
    }

    /// Finds out how old the oldest unsettled event is, if the group has not done so just now.
    async fn complete(&self, view: &mut GroupView) -> Result<(), GroupError> {
        let floor = view.group.floor;
        let oldest = Seq(floor.0.saturating_add(1));
        if view.oldest.is_none_or(|(seq, _)| seq != oldest) {
            view.oldest = match self.parts.log.read(floor, 1).await {
                Ok(page) => page.first().map(|event| (event.seq, event.event.receive_time)),
                // What is gone, or damaged, has no date.
                Err(ReadError::Trimmed { .. } | ReadError::Corrupt { .. }) => None,
                Err(error @ ReadError::Unavailable(_)) => return Err(error.into()),
            };
        }
        Ok(())
    }

    /// Replaces a group's settings, where `expected` says so only if they are of that revision.
    pub async fn update(
        &self,
        name: &str,
        expected: Option<u64>,
        settings: GroupSettings,
    ) -> Result<GroupView, GroupError> {
        let settings = Box::new(settings);
        let handle = self.handle(name).await?;
        let asked = handle.ask(|reply| Input::Update { expected, settings, reply }).await;
        if let Err(GroupError::NotFound(_)) = &asked {
            self.forget(&handle);
        }
        let mut view = GroupView { group: asked?, ..handle.view() };
        self.complete(&mut view).await?;
        Ok(view)
    }

    /// Deletes a group, where `expected` says so only if its settings are of that revision.
    pub async fn delete(&self, name: &str, expected: Option<u64>) -> Result<(), GroupError> {
        let handle = self.handle(name).await?;
        let groups = self.clone();
        let deleting = self.parts.shutdown.spawn(async move {
            let deleted = handle.ask(|reply| Input::Delete { expected, reply }).await;
            if matches!(deleted, Ok(()) | Err(GroupError::NotFound(_))) {
                groups.forget(&handle);
            }
            deleted?;
            let swept = groups.clone();
            drop(groups.parts.shutdown.spawn(async move { swept.sweep().await }));
            Ok(())
        });
        deleting.await.unwrap_or(Err(GroupError::Draining))
    }

    /// A group is gone, unless another of its name has come.
    fn forget(&self, handle: &Handle) {
        let mut known = self.known();
        if known.get(&handle.name).is_some_and(|known| known.inbox.same_channel(&handle.inbox)) {
            known.remove(&handle.name);
        }
    }

    /// Moves a group; answers how many positions lie between.
    pub async fn seek(&self, name: &str, to: Seq) -> Result<u64, GroupError> {
        self.handle(name).await?.ask(|reply| Input::Seek { to, reply }).await
    }

    /// A page of a group's parked events.
    pub async fn parked(&self, name: &str, wanted: ParkedWanted) -> Result<ParkedPage, GroupError> {
        let id = self.handle(name).await?.view().group.id;
        Ok(self.parts.store.parked(id, wanted).await?)
    }

    /// Delivers parked events again; answers how many.
    pub async fn replay(&self, name: &str, events: ParkedEvents) -> Result<usize, GroupError> {
        let handle = self.handle(name).await?;
        let which = self.which(&handle, events).await?;
        handle.ask(|reply| Input::Replay(which, reply)).await
    }

    /// Gives parked events up; answers how many.
    pub async fn discard(&self, name: &str, events: ParkedEvents) -> Result<usize, GroupError> {
        let handle = self.handle(name).await?;
        let which = self.which(&handle, events).await?;
        handle.ask(|reply| Input::Discard(which, reply)).await
    }

    async fn which(&self, handle: &Handle, events: ParkedEvents) -> Result<Which, GroupError> {
        Ok(match events {
            ParkedEvents::All => Which::All,
            ParkedEvents::These(ids) => {
                let id = handle.view().group.id;
                Which::These(self.parts.store.parked_seqs(id, ids).await?)
            }
        })
    }

    fn next_member(&self) -> MemberId {
        MemberId(self.last_member.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// Makes somebody a member, who hears of it by what comes: nothing is waited for but that groups are loaded.
    pub async fn join(&self, group: &str, join: Join) -> Result<Membership, GroupError> {
        let handle = self.handle(group).await?;
        let Join { name, client_name, principal, held_max } = join;
        let name = if name.is_empty() { self.parts.ids.next().to_string() } else { name };
        let (name, member) = (Arc::from(name), self.next_member());
        let outbox = Arc::new(Outbox::new(Arc::clone(&handle.wake)));
        let view = handle.view();
        let membership = Membership {
            member,
            name: Arc::clone(&name),
            view,
            outbox: Arc::clone(&outbox),
            group: handle.clone(),
            shutdown: self.parts.shutdown.clone(),
        };
        let joining = Joining {
            member,
            name,
            client_name: client_name.into(),
            principal: principal.into(),
            held_max,
            outbox: Inlet::new(outbox, &handle.name),
        };
        handle.tell(Input::Join(joining)).await?;
        Ok(membership)
    }

    /// How much of each event a group's members are sent.
    pub async fn event_view(&self, group: &str) -> Result<EventView, GroupError> {
        let handle = self.handle(group).await?;
        let state = handle.state.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(state.group.settings.view)
    }

    /// Takes at most so many deliveries, waiting so long if there are none.
    pub async fn pull(
        &self,
        group: &str,
        count_max: usize,
        wait: Duration,
        client_name: String,
    ) -> Result<Pulled, GroupError> {
        let handle = self.handle(group).await?;
        let (member, client_name) = (self.next_member(), client_name.into());
        handle.ask(|reply| Input::Pull { member, count_max, wait, client_name, reply }).await
    }

    /// Settles deliveries; one answer for each.
    pub async fn settle(
        &self,
        group: &str,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<SettleState>, GroupError> {
        let handle = self.handle(group).await?;
        let (reply, answer) = oneshot::channel();
        handle.tell(Input::Settle(settlements, Results::Call(reply))).await?;
        answer.await.map_err(|_closed| handle.gone())
    }
}

impl Handle {
    fn view(&self) -> GroupView {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the task has ended: its group is deleted, the gateway stops, or it broke down.
    fn gone(&self) -> GroupError {
        match self.over.get() {
            Some(error) => error.clone(),
            None if self.shutdown.is_draining() => GroupError::Draining,
            None => GroupError::Broken(self.name.clone()),
        }
    }

    async fn tell(&self, input: Input) -> Result<(), GroupError> {
        self.inbox.send(input).await.map_err(|_closed| self.gone())
    }

    async fn ask<T>(&self, input: impl FnOnce(Reply<T>) -> Input) -> Result<T, GroupError> {
        let (reply, answer) = oneshot::channel();
        self.tell(input(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }
}

#[cfg(test)]
mod tests;
