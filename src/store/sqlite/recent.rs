//! The newest events in memory: what every subscriber at the tail reads, bounded by count and by the
//! memory they take.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::{Seq, StoredEvent};

/// A ring of the newest events, without holes.
#[derive(Debug)]
pub(super) struct Recent {
    ring: RwLock<Ring>,
    events_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<(Arc<StoredEvent>, usize)>,
    bytes: usize,
    /// The newest position there is, whether or not its event is still here.
    last: Seq,
}

impl Recent {
    pub(super) fn new(last: Seq, events_max: usize, bytes_max: usize) -> Self {
        let ring = Ring { events: VecDeque::new(), bytes: 0, last };
        Self { ring: RwLock::new(ring), events_max, bytes_max }
    }

    /// Adds events just made durable; answers those that made room for them.
    pub(super) fn publish(&self, events: Vec<Arc<StoredEvent>>) -> Vec<Arc<StoredEvent>> {
        let weighed: Vec<_> = events.into_iter().map(|event| (event.weight(), event)).collect();
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        for (bytes, event) in weighed {
            ring.last = event.seq;
            ring.bytes = ring.bytes.saturating_add(bytes);
            ring.events.push_back((event, bytes));
        }
        let mut gone = Vec::with_capacity(ring.events.len().saturating_sub(self.events_max));
        while ring.events.len() > self.events_max || ring.bytes > self.bytes_max {
            gone.extend(ring.drop_oldest());
        }
        gone
    }

    /// Forgets what retention has passed.
    pub(super) fn trim(&self, trimmed: Seq) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        while ring.events.front().is_some_and(|(event, _)| event.seq <= trimmed) {
            ring.drop_oldest();
        }
    }

    /// At most `limit` events after `after`, if all after it are here.
    pub(super) fn after(&self, after: Seq, limit: usize) -> Option<Vec<Arc<StoredEvent>>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        if after >= ring.last {
            return Some(Vec::new());
        }
        let first = ring.events.front()?.0.seq.0;
        let skipped = usize::try_from(after.0.saturating_add(1).checked_sub(first)?).ok()?;
        Some(ring.events.iter().skip(skipped).take(limit).map(|(event, _)| Arc::clone(event)).collect())
    }
}

impl Ring {
    fn drop_oldest(&mut self) -> Option<Arc<StoredEvent>> {
        let (gone, bytes) = self.events.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(gone)
    }
}
