//! Consumer groups in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::{MemoryLog, State};
use crate::domain::group::GroupSettings;
use crate::domain::{Seq, StoredEvent};
use crate::store::groups::{
    Created, GROUPS_MAX, Group, GroupChanges, GroupId, GroupState, GroupStore, ParkChange, ParkedEvent,
    ParkedPage, ParkedWanted, Updated,
};
use crate::store::{AppendError, ReadError};

/// A group, all that is kept of it, and copies of its parked events.
#[derive(Debug)]
pub(super) struct Kept {
    group: Group,
    state: GroupState,
    copies: BTreeMap<Seq, Arc<StoredEvent>>,
}

impl State {
    /// The lowest position that a group which pins retention has settled through.
    pub(super) fn pinned(&self) -> Option<Seq> {
        let pinning = self.groups.values().filter(|kept| kept.group.settings.pin_retention);
        pinning.map(|kept| kept.state.floor).min()
    }

    fn group(&mut self, id: GroupId, expected: Option<u64>) -> Result<&mut Kept, Updated> {
        let kept = self.groups.get_mut(&id).ok_or(Updated::Gone)?;
        let revision = kept.group.revision;
        if expected.is_none_or(|expected| expected == revision) {
            Ok(kept)
        } else {
            Err(Updated::Changed(revision))
        }
    }
}

#[async_trait]
impl GroupStore for MemoryLog {
    async fn create_group(
        &self,
        name: String,
        settings: GroupSettings,
        floor: Seq,
    ) -> Result<Created, AppendError> {
        let mut state = self.lock();
        if state.groups.values().any(|kept| kept.group.name == name) {
            return Ok(Created::Taken);
        }
        if state.groups.len() >= GROUPS_MAX {
            return Ok(Created::Full);
        }
        state.last_group = GroupId(state.last_group.0.saturating_add(1));
        let group = Group { id: state.last_group, name, revision: 1, settings, floor };
        let kept = Kept {
            group: group.clone(),
            state: GroupState { floor, ..GroupState::default() },
            copies: BTreeMap::new(),
        };
        state.groups.insert(group.id, kept);
        Ok(Created::Fresh(Box::new(group)))
    }

    async fn update_group(
        &self,
        id: GroupId,
        expected: Option<u64>,
        settings: GroupSettings,
    ) -> Result<Updated, AppendError> {
        Ok(match self.lock().group(id, expected) {
            Ok(kept) => {
                kept.group.revision = kept.group.revision.saturating_add(1);
                kept.group.settings = settings;
                Updated::Done(kept.group.revision)
            }
            Err(not_so) => not_so,
        })
    }

    async fn delete_group(&self, id: GroupId, expected: Option<u64>) -> Result<Updated, AppendError> {
        let mut state = self.lock();
        Ok(match state.group(id, expected).map(|kept| kept.group.revision) {
            Ok(revision) => {
                state.groups.remove(&id);
                Updated::Done(revision)
            }
            Err(not_so) => not_so,
        })
    }

    async fn sweep_groups(&self) -> Result<bool, AppendError> {
        Ok(false)
    }

    async fn groups(&self) -> Result<Vec<Group>, ReadError> {
        let state = self.lock();
        let group = |kept: &Kept| Group { floor: kept.state.floor, ..kept.group.clone() };
        let mut groups: Vec<Group> = state.groups.values().map(group).collect();
        groups.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(groups)
    }

    async fn load_group(&self, id: GroupId) -> Result<Option<GroupState>, ReadError> {
        Ok(self.lock().groups.get(&id).map(|kept| kept.state.clone()))
    }

    async fn commit(&self, id: GroupId, mut changes: GroupChanges) -> Result<BTreeSet<Seq>, AppendError> {
        let mut state = self.lock();
        let State { groups, events, .. } = &mut *state;
        let Some(kept) = groups.get_mut(&id) else { return Ok(BTreeSet::new()) };
        let mut missing = BTreeSet::new();
        changes.parked.retain(|seq, change| match change {
            ParkChange::Listed { .. } => match events.get(seq) {
                Some(event) => {
                    kept.copies.entry(*seq).or_insert_with(|| Arc::clone(event));
                    true
                }
                None if kept.copies.contains_key(seq) => true,
                None => {
                    missing.insert(*seq);
                    false
                }
            },
            ParkChange::Replaying => true,
            ParkChange::Gone => {
                kept.copies.remove(seq);
                true
            }
        });
        kept.state.apply(&changes);
        Ok(missing)
    }

    async fn parked(&self, id: GroupId, wanted: ParkedWanted) -> Result<ParkedPage, ReadError> {
        let ParkedWanted { after, ticket_id, count_max, bytes_max: _ } = wanted;
        let state = self.lock();
        let mut page = ParkedPage::default();
        let Some(kept) = state.groups.get(&id) else { return Ok(page) };
        for (seq, parked) in &kept.state.parked {
            let Some(event) = kept.copies.get(seq).filter(|_| !parked.replaying && *seq > after) else {
                continue;
            };
            if !ticket_id.is_empty() && event.event.ticket_id != ticket_id {
                continue;
            }
            if page.events.len() >= count_max {
                page.more = true;
                break;
            }
            page.events.push(ParkedEvent {
                event: Arc::clone(event),
                attempts: parked.attempts,
                reason: parked.reason.clone(),
                time: parked.time,
            });
        }
        Ok(page)
    }

    async fn parked_seqs(&self, id: GroupId, event_ids: Vec<Uuid>) -> Result<BTreeSet<Seq>, ReadError> {
        let state = self.lock();
        let Some(kept) = state.groups.get(&id) else { return Ok(BTreeSet::new()) };
        let is_listed = |seq: &Seq| kept.state.parked.get(seq).is_some_and(|parked| !parked.replaying);
        let found = kept.copies.iter().filter(|(_, event)| event_ids.contains(&event.event.id));
        Ok(found.map(|(seq, _)| *seq).filter(is_listed).collect())
    }

    async fn parked_event(&self, id: GroupId, seq: Seq) -> Result<Option<Arc<StoredEvent>>, ReadError> {
        Ok(self.lock().groups.get(&id).and_then(|kept| kept.copies.get(&seq).cloned()))
    }
}
