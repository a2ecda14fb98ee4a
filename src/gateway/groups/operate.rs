//! What a group's task is told to do.

use super::GroupError;
use super::actor::Actor;
use super::input::{Input, Reply, Results, SettleState, Settlement};
use crate::domain::Seq;
use crate::domain::filter::Filter;
use crate::domain::group::GroupSettings;
use crate::gateway::group::{Rules, Settled};
use crate::store::groups::{Group, Updated};

impl Actor {
    pub(super) async fn take(&mut self, input: Input) {
        match input {
            Input::Join(joining) => self.join(joining),
            Input::Stop { member, at_once } => self.stop(member, at_once),
            Input::Broke(member) => self.broke(member),
            Input::Settle(settlements, results) => self.settle(settlements, results),
            Input::Pull { member, count_max, wait, client_name, reply } => {
                self.pull(member, (count_max, wait), client_name, reply);
            }
            Input::Seek { to, reply } => self.seek(to, reply),
            Input::Update { expected, settings, reply } => {
                let updated = self.update(expected, *settings).await;
                drop(reply.send(updated));
            }
            Input::Delete { expected, reply } => {
                let deleted = self.delete(expected).await;
                drop(reply.send(deleted));
            }
            Input::Replay(which, reply) => {
                let count = self.machine.replay(&which);
                self.pending.counts.push((reply, count));
            }
            Input::Discard(which, reply) => {
                let count = self.machine.discard(&which);
                self.pending.counts.push((reply, count));
            }
        }
    }

    fn settle(&mut self, settlements: Vec<Settlement>, results: Results) {
        let now = self.steady.now();
        let mut states = Vec::with_capacity(settlements.len());
        for (id, outcome) in settlements {
            let id = id.filter(|id| id.group == self.group.id);
            let settled = id.map_or(Settled::Unknown, |id| {
                let (_, random) = self.parts.ids.next().as_u64_pair();
                let random = u32::try_from(random & u64::from(u32::MAX)).unwrap_or_default();
                self.machine.settle((id.seq, id.token), outcome, now, random)
            });
            let state = match settled {
                Settled::Done(fate) => {
                    self.metrics.settled(&self.name, fate);
                    SettleState::Done
                }
                Settled::AlreadyDone => SettleState::AlreadyDone,
                Settled::Stale => SettleState::Stale,
                Settled::Unknown => SettleState::Unknown,
            };
            self.metrics.not_settled(&self.name, state);
            states.push(state);
        }
        self.pending.results.push((results, states));
    }

    fn seek(&mut self, to: Seq, reply: Reply<u64>) {
        let from = self.machine.floor();
        // What is on its way is not theirs any more.
        for member in self.members.values() {
            drop(member.outbox.call_all_back());
        }
        self.machine.seek(to);
        self.bodies.clear();
        self.expired = None;
        self.live = false;
        self.more = true;
        tracing::info!(group = &*self.name, from = from.0, to = to.0, "a consumer group was moved");
        self.pending.moved.push((reply, from.0.abs_diff(to.0)));
    }

    async fn update(&mut self, expected: Option<u64>, settings: GroupSettings) -> Result<Group, GroupError> {
        let name = self.group.name.clone();
        match self.parts.store.update_group(self.group.id, expected, settings.clone()).await? {
            Updated::Done(revision) => {
                self.adopt(revision, settings);
                Ok(self.group.clone())
            }
            Updated::Changed(revision) => {
                if revision != self.group.revision {
                    self.look_again().await?;
                }
                Err(GroupError::Changed { name, id: self.group.id, revision })
            }
            Updated::Gone => Err(self.gone()),
        }
    }

    /// A change was made by a call that was not told so: who goes by the old revision would never change anything again.
    async fn look_again(&mut self) -> Result<(), GroupError> {
        let found = self.parts.store.groups().await?;
        match found.into_iter().find(|group| group.id == self.group.id) {
            Some(Group { revision, settings, .. }) => {
                self.adopt(revision, settings);
                Ok(())
            }
            None => Err(self.gone()),
        }
    }

    /// Works by other settings from now on.
    fn adopt(&mut self, revision: u64, settings: GroupSettings) {
        let before = std::mem::replace(&mut self.group.settings, settings);
        self.group.revision = revision;
        self.machine.set_rules(Rules::from(&self.group.settings));
        if before.filter != self.group.settings.filter {
            self.filter = Filter::of(&self.group.settings.filter);
            self.machine.refilter();
            self.bodies.clear();
        }
        self.expired = None;
        self.more = true;
        tracing::info!(group = &*self.name, revision, "the settings of a consumer group were changed");
        self.publish();
    }

    async fn delete(&mut self, expected: Option<u64>) -> Result<(), GroupError> {
        let name = self.group.name.clone();
        match self.parts.store.delete_group(self.group.id, expected).await? {
            Updated::Done(_) => {}
            Updated::Changed(revision) => {
                return Err(GroupError::Changed { name, id: self.group.id, revision });
            }
            // It was deleted by a call that was not told so.
            Updated::Gone => return Err(self.gone()),
        }
        self.gone();
        for (results, states) in std::mem::take(&mut self.pending.results) {
            results.tell(states);
        }
        Ok(())
    }

    /// The group is gone: everybody hears so.
    fn gone(&mut self) -> GroupError {
        tracing::info!(group = &*self.name, "a consumer group was deleted");
        let error = self.be_deleted();
        self.end_all(&error);
        error
    }
}
