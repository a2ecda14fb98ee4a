//! Consumer groups as they are kept: settings, position, attempts, parked events. What a step of a group changes is one
//! [`GroupChanges`], committed whole. It is absolute (it says how things are, not what to add), so committing it twice
//! is committing it once. How a group works is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use uuid::Uuid;

use super::{AppendError, LogId, ReadError};
use crate::domain::group::{GroupSettings, TicketKey};
use crate::domain::{Seq, StoredEvent};

/// The groups there may be.
pub const GROUPS_MAX: usize = 1_000;

/// The durable state of consumer groups.
#[async_trait]
pub trait GroupStore: fmt::Debug + Send + Sync + 'static {
    /// Makes a group that has settled everything up to `floor`.
    async fn create_group(
        &self,
        name: String,
        settings: GroupSettings,
        floor: Seq,
    ) -> Result<Created, AppendError>;

    /// Replaces a group's settings, where `expected` says so only if they are of that revision.
    async fn update_group(
        &self,
        id: GroupId,
        expected: Option<u64>,
        settings: GroupSettings,
    ) -> Result<Updated, AppendError>;

    /// Deletes a group, where `expected` says so only if its settings are of that revision. What it leaves behind is
    /// nobody's, and goes with [`sweep_groups`](Self::sweep_groups).
    async fn delete_group(&self, id: GroupId, expected: Option<u64>) -> Result<Updated, AppendError>;

    /// Removes some of what deleted groups have left; answers whether more may be there.
    async fn sweep_groups(&self) -> Result<bool, AppendError>;

    /// All groups, by name.
    async fn groups(&self) -> Result<Vec<Group>, ReadError>;

    /// All that is kept of a group, but for its settings and the bodies of its parked events; `None` if it is gone.
    async fn load_group(&self, id: GroupId) -> Result<Option<GroupState>, ReadError>;

    /// Makes a step of a group durable, all of it or nothing. Changes nothing if the group is gone. Answers which events
    /// are not on the parked list though they were to be: the log does not have them any more, and there is no copy.
    async fn commit(&self, id: GroupId, changes: GroupChanges) -> Result<BTreeSet<Seq>, AppendError>;

    /// A page of a group's parked events.
    async fn parked(&self, id: GroupId, wanted: ParkedWanted) -> Result<ParkedPage, ReadError>;

    /// Which of these events are on a group's parked list.
    async fn parked_seqs(&self, id: GroupId, event_ids: Vec<Uuid>) -> Result<BTreeSet<Seq>, ReadError>;

    /// The event of a group that is parked, or parked and to be delivered again, wherever the log has come to.
    async fn parked_event(&self, id: GroupId, seq: Seq) -> Result<Option<Arc<StoredEvent>>, ReadError>;
}

/// A group's number: never used twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// Of the settings: 1 at first, one more with each change.
    pub revision: u64,
    /// How it works.
    pub settings: GroupSettings,
    /// Everything up to here is settled.
    pub floor: Seq,
}

/// What [`GroupStore::create_group`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It is new.
    Fresh(Box<Group>),
    /// There is one of this name.
    Taken,
    /// There are as many as may be.
    Full,
}

/// What [`GroupStore::update_group`] and [`GroupStore::delete_group`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// It is done; the revision now, or last.
    Done(u64),
    /// The settings are of this revision.
    Changed(u64),
    /// There is no such group.
    Gone,
}

/// What is kept of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupState {
    /// Everything up to here is settled.
    pub floor: Seq,
    /// The last fencing token that was given.
    pub token: u64,
    /// What is settled above the floor: from the first to the last.
    pub settled: BTreeMap<Seq, Seq>,
    /// Events that were delivered and are not settled.
    pub attempts: BTreeMap<Seq, Attempted>,
    /// Parked events.
    pub parked: BTreeMap<Seq, Parked>,
}

/// An event that was delivered and is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// Its ticket.
    pub ticket: Option<TicketKey>,
    /// How many deliveries count.
    pub attempts: u32,
    /// Of the newest delivery.
    pub token: u64,
    /// Until when the newest delivery is somebody's, where that outlives the process.
    pub lease_until: Option<Timestamp>,
    /// When it may be delivered again, where it waits.
    pub retry_at: Option<Timestamp>,
    /// Why the last delivery did not succeed.
    pub failure: String,
}

/// A parked event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Its ticket.
    pub ticket: Option<TicketKey>,
    /// How many times it was delivered.
    pub attempts: u32,
    /// Why it was parked.
    pub reason: String,
    /// When.
    pub time: Timestamp,
    /// It is to be delivered again, and not on the list.
    pub replaying: bool,
}

/// What a step of a group changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupChanges {
    /// Everything up to here is settled.
    pub floor: Seq,
    /// The last fencing token that was given.
    pub token: u64,
    /// All attempts and settled ranges go before the others are written.
    pub cleared: bool,
    /// Settled ranges, by their first: to their last, or gone.
    pub settled: BTreeMap<Seq, Option<Seq>>,
    /// Attempts: as they are, or gone.
    pub attempts: BTreeMap<Seq, Option<Attempted>>,
    /// Parked events.
    pub parked: BTreeMap<Seq, ParkChange>,
}

/// What becomes of a parked event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParkChange {
    /// It is on the list; its event is copied from the log where there is no copy yet. Without either it is not.
    Listed {
        /// Its ticket.
        ticket: Option<TicketKey>,
        /// How many times it was delivered.
        attempts: u32,
        /// Why it was parked.
        reason: String,
        /// When.
        time: Timestamp,
        /// It leaves the list at once, to be delivered again.
        replaying: bool,
    },
    /// It leaves the list to be delivered again; its copy stays.
    Replaying,
    /// It is gone.
    Gone,
}

impl GroupState {
    /// Takes a step in.
    pub fn apply(&mut self, changes: &GroupChanges) {
        let GroupChanges { floor, token, cleared, settled, attempts, parked } = changes.clone();
        self.floor = floor;
        self.token = token;
        if cleared {
            self.settled.clear();
            self.attempts.clear();
        }
        put_all(&mut self.settled, settled);
        put_all(&mut self.attempts, attempts);
        for (seq, change) in parked {
            match change {
                ParkChange::Listed { ticket, attempts, reason, time, replaying } => {
                    let parked = Parked { ticket, attempts, reason, time, replaying };
                    self.parked.insert(seq, parked);
                }
                ParkChange::Replaying => {
                    if let Some(parked) = self.parked.get_mut(&seq) {
                        parked.replaying = true;
                    }
                }
                ParkChange::Gone => {
                    self.parked.remove(&seq);
                }
            }
        }
    }
}

fn put_all<T>(into: &mut BTreeMap<Seq, T>, changes: BTreeMap<Seq, Option<T>>) {
    for (seq, change) in changes {
        match change {
            Some(value) => into.insert(seq, value),
            None => into.remove(&seq),
        };
    }
}

/// Which parked events to tell of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParkedWanted {
    /// Only those after this one.
    pub after: Seq,
    /// Only this ticket's; empty for all.
    pub ticket_id: String,
    /// How many at most.
    pub count_max: usize,
    /// As many as fit into so many bytes of record and body, but one at least.
    pub bytes_max: usize,
}

/// Some of the parked events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ParkedPage {
    /// In the log's order.
    pub events: Vec<ParkedEvent>,
    /// Whether more may follow that did not fit.
    pub more: bool,
}

/// An event on the parked list.
#[derive(Debug, Clone, PartialEq)]
pub struct ParkedEvent {
    /// The event.
    pub event: Arc<StoredEvent>,
    /// How many times it was delivered.
    pub attempts: u32,
    /// Why it was parked.
    pub reason: String,
    /// When.
    pub time: Timestamp,
}

/// A delivery's name: printable, with a check that is of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryId {
    /// Whose delivery.
    pub group: GroupId,
    /// Of which event.
    pub seq: Seq,
    /// Under which fencing token.
    pub token: u64,
}

/// The form of names this build writes; no cursor begins so.
const DELIVERY_VERSION: u8 = 0x71;

impl DeliveryId {
    /// The name in deliveries of `log`.
    pub fn to_text(self, log: LogId) -> String {
        let body = self.body();
        let mut text = Vec::with_capacity(29);
        text.extend_from_slice(&body);
        text.extend_from_slice(&check(&body, log).to_be_bytes());
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Reads a name; `None` if it is none of `log`.
    pub fn parse(text: &str, log: LogId) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, found) = bytes.split_last_chunk::<4>()?;
        let (version, rest) = body.split_first()?;
        let (group, rest) = rest.split_first_chunk::<8>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let token = <[u8; 8]>::try_from(rest).ok()?;
        let is_ours = *version == DELIVERY_VERSION && check(body, log).to_be_bytes() == *found;
        is_ours.then(|| Self {
            group: GroupId(u64::from_be_bytes(*group)),
            seq: Seq(u64::from_be_bytes(*seq)),
            token: u64::from_be_bytes(token),
        })
    }

    fn body(self) -> Vec<u8> {
        let mut body = vec![DELIVERY_VERSION];
        for number in [self.group.0, self.seq.0, self.token] {
            body.extend_from_slice(&number.to_be_bytes());
        }
        body
    }
}

fn check(body: &[u8], log: LogId) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&log.0);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_round_trip_in_their_log(group: u64, seq: u64, token: u64, log: [u8; 8], other: [u8; 8]) {
            let id = DeliveryId { group: GroupId(group), seq: Seq(seq), token };
            let text = id.to_text(LogId(log));
            prop_assert_eq!(DeliveryId::parse(&text, LogId(log)), Some(id));
            prop_assume!(log != other);
            prop_assert_eq!(DeliveryId::parse(&text, LogId(other)), None);
        }

        #[test]
        fn any_text_is_read_without_panic(text: String) {
            prop_assert_eq!(DeliveryId::parse(&text, LogId([0; 8])), None);
        }
    }
}
