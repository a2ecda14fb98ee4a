//! Queues by key: work under one key runs one at a time, in the order it asked; other keys are not affected.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;

use futures_util::poll;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Queues by key. A key costs memory only while someone holds it or waits.
pub(super) struct Lanes<K> {
    lanes: Mutex<HashMap<K, Weak<AsyncMutex<()>>>>,
}

/// The right to run; given back when dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

/// A place in a queue: whoever comes later has a later turn.
pub(super) enum Place {
    /// It is the turn.
    Here(Turn),
    /// Others are before.
    Waiting(Pin<Box<dyn Future<Output = Turn> + Send>>),
}

impl Place {
    /// Waits for the turn. Dropping the future leaves the queue.
    pub(super) async fn turn(self) -> Turn {
        match self {
            Self::Here(turn) => turn,
            Self::Waiting(turn) => turn.await,
        }
    }
}

impl<K: Eq + Hash> Default for Lanes<K> {
    fn default() -> Self {
        Self { lanes: Mutex::new(HashMap::new()) }
    }
}

impl<K> fmt::Debug for Lanes<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Lanes")
    }
}

/// How many forgotten lanes are tolerated before they are swept away.
const SWEEP_AT_MIN: usize = 1024;

impl<K: Eq + Hash> Lanes<K> {
    /// Waits for the key's turn. Dropping the future leaves the queue.
    pub(super) async fn turn(&self, key: K) -> Turn {
        self.lane(key).lock_owned().await
    }

    /// Takes a place in the key's queue, without waiting for its turn.
    pub(super) async fn place(&self, key: K) -> Place {
        let mut turn: Pin<Box<dyn Future<Output = Turn> + Send>> = Box::pin(self.lane(key).lock_owned());
        match poll!(&mut turn) {
            Poll::Ready(turn) => Place::Here(turn),
            Poll::Pending => Place::Waiting(turn),
        }
    }

    /// The key's turn, if nobody has it.
    pub(super) fn try_turn(&self, key: K) -> Option<Turn> {
        self.lane(key).try_lock_owned().ok()
    }

    fn lane(&self, key: K) -> Arc<AsyncMutex<()>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= SWEEP_AT_MIN && lanes.len() == lanes.capacity() {
            lanes.retain(|_, lane| lane.strong_count() > 0);
        }
        lanes.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let lane = Arc::new(AsyncMutex::new(()));
            lanes.insert(key, Arc::downgrade(&lane));
            lane
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_only_under_one_key() {
        let lanes = Lanes::default();
        let first = lanes.turn("a").await;
        let _other = lanes.turn("b").await;
        let mut second = Box::pin(lanes.turn("a"));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(lanes.try_turn("a").is_none());
        drop(first);
        drop(second.await);
        assert!(lanes.try_turn("a").is_some());
    }

    #[tokio::test]
    async fn a_place_is_kept_before_its_turn_comes() {
        let lanes = Lanes::default();
        let first = lanes.turn("a").await;
        let (second, third) = (lanes.place("a").await, lanes.place("a").await);
        let mut third = Box::pin(third.turn());
        drop(first);
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(second.turn().await);
        drop(third.await);
    }
}
