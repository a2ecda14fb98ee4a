//! Queues by key: work under one key runs one at a time, in the order it asked; other keys are not affected.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Queues by key. A key costs memory only while someone holds it or waits.
pub(super) struct Lanes<K> {
    lanes: Mutex<HashMap<K, Weak<AsyncMutex<()>>>>,
}

/// The right to run; given back when dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

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
}
