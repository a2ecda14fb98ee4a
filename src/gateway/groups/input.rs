//! What a group's task is told, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::GroupError;
use super::outbox::{Delivery, Inlet, Lost, Outbox};
use crate::domain::Seq;
use crate::domain::group::GroupSettings;
use crate::gateway::group::{MemberId, Outcome, Which};
use crate::store::groups::{DeliveryId, Group};

/// What a settlement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleState {
    /// It is done, and on disk.
    Done,
    /// It was done before.
    AlreadyDone,
    /// The delivery is not its member's any more.
    Stale,
    /// There was never such a delivery.
    Unknown,
    /// The store cannot write now.
    TryAgain,
}

/// What a member says of a delivery; `None` names none of this log.
pub type Settlement = (Option<DeliveryId>, Outcome);

/// What a pull took.
#[derive(Debug, Default)]
pub struct Pulled {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// Nothing else was to be had.
    pub caught_up: bool,
    /// Events before these were lost.
    pub gap: Option<Lost>,
}

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, GroupError>>;

/// Where the results of settlements go.
#[derive(Debug)]
pub(super) enum Results {
    /// To a call.
    Call(oneshot::Sender<Vec<SettleState>>),
    /// To a member, with the deliveries as they were named.
    Member { outbox: Arc<Outbox>, batch_id: u64, names: Vec<String> },
}

impl Results {
    pub(super) fn tell(self, states: Vec<SettleState>) {
        match self {
            // Whoever asked may have gone; what is settled stays.
            Self::Call(reply) => drop(reply.send(states)),
            Self::Member { outbox, batch_id, names } => {
                let results = names.into_iter().zip(states).collect();
                outbox.push(super::outbox::ToMember::Report { batch_id, results });
            }
        }
    }
}

/// Who comes.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) member: MemberId,
    pub(super) name: Arc<str>,
    pub(super) client_name: Arc<str>,
    pub(super) principal: Arc<str>,
    pub(super) held_max: usize,
    pub(super) outbox: Inlet,
}

/// Something for the group's task.
#[derive(Debug)]
pub(super) enum Input {
    /// Somebody comes.
    Join(Joining),
    /// A member leaves as planned: when it has settled what it has, or at once.
    Stop { member: MemberId, at_once: bool },
    /// A member is gone.
    Broke(MemberId),
    /// Deliveries are settled.
    Settle(Vec<Settlement>, Results),
    /// Somebody takes some.
    Pull { member: MemberId, count_max: usize, wait: Duration, client_name: Arc<str>, reply: Reply<Pulled> },
    /// The group moves.
    Seek { to: Seq, reply: Reply<u64> },
    /// Its settings change.
    Update { expected: Option<u64>, settings: Box<GroupSettings>, reply: Reply<Group> },
    /// It goes.
    Delete { expected: Option<u64>, reply: Reply<()> },
    /// Parked events are delivered again.
    Replay(Which, Reply<usize>),
    /// Parked events are given up.
    Discard(Which, Reply<usize>),
}
