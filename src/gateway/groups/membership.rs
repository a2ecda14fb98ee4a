//! A membership as its stream holds it.

use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc;

use super::input::{Input, Results};
use super::{GroupError, GroupView, Handle, Outbox, Settlement};
use crate::domain::Seq;
use crate::gateway::group::MemberId;
use crate::shutdown::Shutdown;

/// A member, for as long as this lives: when it is dropped, what it holds is free again.
#[derive(Debug)]
pub struct Membership {
    pub(super) member: MemberId,
    /// Its name.
    pub name: Arc<str>,
    /// The group as it was when it came.
    pub view: GroupView,
    /// What comes for it.
    pub outbox: Arc<Outbox>,
    pub(super) group: Handle,
    pub(super) shutdown: Shutdown,
}

impl Membership {
    /// Everything up to here is settled.
    pub fn floor(&self) -> Seq {
        self.group.state.lock().unwrap_or_else(PoisonError::into_inner).group.floor
    }

    /// How the member speaks.
    pub fn voice(&self) -> Voice {
        let (member, outbox) = (self.member, Arc::clone(&self.outbox));
        Voice { member, outbox, group: self.group.clone() }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let (group, member) = (self.group.clone(), self.member);
        if let Err(mpsc::error::TrySendError::Full(input)) = group.inbox.try_send(Input::Broke(member)) {
            drop(self.shutdown.spawn(async move { group.tell(input).await }));
        }
    }
}

/// A member's way to speak.
#[derive(Debug)]
pub struct Voice {
    member: MemberId,
    outbox: Arc<Outbox>,
    group: Handle,
}

impl Voice {
    /// Settles deliveries, each with the name that it was given; the report comes through the outbox.
    pub async fn settle(
        &self,
        batch_id: u64,
        settlements: Vec<(String, Settlement)>,
    ) -> Result<(), GroupError> {
        self.outbox.report_room().await;
        let (names, settlements) = settlements.into_iter().unzip();
        let results = Results::Member { outbox: Arc::clone(&self.outbox), batch_id, names };
        self.group.tell(Input::Settle(settlements, results)).await
    }

    /// Leaves: when it has settled what it has, or at once.
    pub async fn stop(&self, at_once: bool) -> Result<(), GroupError> {
        self.group.tell(Input::Stop { member: self.member, at_once }).await
    }

    /// Breaks off.
    pub async fn broke(&self) -> Result<(), GroupError> {
        self.group.tell(Input::Broke(self.member)).await
    }
}
