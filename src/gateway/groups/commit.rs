//! A group's step becomes durable. While the store cannot write, the same step is tried on, whoever asks meanwhile is
//! told so, and nothing that depends on it is sent.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::GroupError;
use super::actor::Actor;
use super::input::{Input, Reply, Results, SettleState};
use super::outbox::{End, Inlet, Lost, ToMember};
use crate::gateway::group::Lease;
use crate::store::AppendError;

/// The first pause before a step is tried again.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A store that is only busy has so long before anybody is told.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);
/// What cannot be refused and waits for the store.
const LATER_MAX: usize = 8_192;

/// What waits for the step to be durable.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) leases: Vec<(Lease, std::sync::Arc<crate::domain::StoredEvent>)>,
    pub(super) results: Vec<(Results, Vec<SettleState>)>,
    pub(super) counts: Vec<(Reply<usize>, usize)>,
    pub(super) moved: Vec<(Reply<u64>, u64)>,
    pub(super) gaps: Vec<Lost>,
    /// Of members that are gone: nothing follows an end, so it comes after what else there is to tell.
    pub(super) ends: Vec<(Inlet, End)>,
}

impl Pending {
    /// The step is not durable yet: whoever waits hears so. Deliveries wait on.
    fn refuse(&mut self, error: &AppendError) {
        for (results, states) in self.results.drain(..) {
            let again = |state| match state {
                SettleState::Done => SettleState::TryAgain,
                SettleState::AlreadyDone
                | SettleState::Stale
                | SettleState::Unknown
                | SettleState::TryAgain => state,
            };
            results.tell(states.into_iter().map(again).collect());
        }
        for (reply, _) in self.counts.drain(..) {
            drop(reply.send(Err(GroupError::Store(error.clone()))));
        }
        for (reply, _) in self.moved.drain(..) {
            drop(reply.send(Err(GroupError::Store(error.clone()))));
        }
        self.tell_ends();
    }

    /// Tells who is gone that it is over.
    pub(super) fn tell_ends(&mut self) {
        for (outbox, end) in self.ends.drain(..) {
            outbox.push(ToMember::End(end));
        }
    }
}

impl Actor {
    /// Makes the step durable; `false` if the process ends first.
    pub(super) async fn commit(&mut self) -> bool {
        let changes = self.machine.changes();
        let begun = Instant::now();
        let mut pause = PAUSE;
        let missing = loop {
            let error = match self.parts.store.commit(self.group.id, changes.clone()).await {
                Ok(missing) => break missing,
                Err(error) => error,
            };
            if !(error == AppendError::Busy && begun.elapsed() < BUSY_PATIENCE) {
                if pause == PAUSE || pause == PAUSE_MAX {
                    tracing::warn!(%error, group = &*self.name, "a consumer group's step is not on disk yet");
                }
                self.pending.refuse(&error);
            }
            if !self.hold_off(pause, &error).await {
                return false;
            }
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        };
        // Retention was quicker than whoever had them parked.
        for seq in missing {
            self.lose(seq);
        }
        if begun.elapsed() > Duration::from_secs(1) {
            self.prolong();
        }
        true
    }

    /// Leases that were long on their way begin now.
    fn prolong(&mut self) {
        let now = self.steady.now();
        for (lease, _) in &mut self.pending.leases {
            lease.until = self.machine.begin_anew(lease.seq, lease.token, now).unwrap_or(lease.until);
        }
    }

    /// Waits, refusing whoever asks; `false` if the process ends.
    async fn hold_off(&mut self, pause: Duration, error: &AppendError) -> bool {
        let hard = self.parts.shutdown.hard().clone();
        let soft = self.parts.shutdown.soft().clone();
        let until = Instant::now() + pause;
        // While the process stops, a store that cannot write has a last chance only.
        if soft.is_cancelled() && pause >= PAUSE_MAX {
            return false;
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                () = hard.cancelled() => return false,
                input = self.inbox.recv() => match input {
                    Some(input) => self.refuse(input, error),
                    None => sleep(pause).await,
                },
            }
        }
    }

    fn refuse(&mut self, input: Input, error: &AppendError) {
        let error = GroupError::Store(error.clone());
        match input {
            Input::Settle(settlements, results) => {
                for _ in &settlements {
                    self.metrics.not_settled(&self.name, SettleState::TryAgain);
                }
                results.tell(vec![SettleState::TryAgain; settlements.len()]);
            }
            Input::Pull { reply, .. } => drop(reply.send(Err(error))),
            Input::Seek { reply, .. } => drop(reply.send(Err(error))),
            Input::Update { reply, .. } => drop(reply.send(Err(error))),
            Input::Delete { reply, .. } => drop(reply.send(Err(error))),
            Input::Replay(_, reply) | Input::Discard(_, reply) => drop(reply.send(Err(error))),
            // Who comes and goes is known afterwards; one that goes does so but once.
            input @ (Input::Join(_) | Input::Stop { .. } | Input::Broke(_)) => {
                if self.later.len() < LATER_MAX {
                    self.later.push_back(input);
                } else if let Input::Join(joining) = input {
                    joining.outbox.push(ToMember::End(End::Failed(error)));
                }
            }
        }
    }
}
