//! The events behind positions: the ones that were just read are kept for a while, the rest is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::{Seq, StoredEvent};
use crate::store::groups::{GroupId, GroupStore};
use crate::store::{EventLog, ReadError};

/// About how much memory a group's events may take.
const BYTES_MAX: usize = 8 << 20;
/// Events that are read at once.
const PAGE: u64 = 256;

/// What was looked for.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What is there.
    pub(super) events: BTreeMap<Seq, Arc<StoredEvent>>,
    /// What was not looked at: the others take enough memory.
    pub(super) left: BTreeSet<Seq>,
}

/// A group's events, by position.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    events: BTreeMap<Seq, Arc<StoredEvent>>,
    bytes: usize,
}

impl Bodies {
    /// Keeps an event; the last in the log's order go first, as they are wanted last.
    pub(super) fn keep(&mut self, event: Arc<StoredEvent>) {
        self.bytes = self.bytes.saturating_add(event.weight());
        if let Some(known) = self.events.insert(event.seq, event) {
            self.bytes = self.bytes.saturating_sub(known.weight());
        }
        while self.bytes > BYTES_MAX
            && let Some((_, last)) = self.events.pop_last()
        {
            self.bytes = self.bytes.saturating_sub(last.weight());
        }
    }

    fn take(&mut self, seq: Seq) -> Option<Arc<StoredEvent>> {
        let event = self.events.remove(&seq)?;
        self.bytes = self.bytes.saturating_sub(event.weight());
        Some(event)
    }

    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.bytes = 0;
    }

    /// Finds the events at `wanted`, wherever they are, the first ones first; what is not in the answer is gone.
    pub(super) async fn find(
        &mut self,
        wanted: BTreeSet<Seq>,
        log: &dyn EventLog,
        (store, group): (&dyn GroupStore, GroupId),
    ) -> Result<Found, ReadError> {
        let (mut found, mut bytes) = (BTreeMap::new(), 0_usize);
        let mut missing = BTreeSet::new();
        for seq in wanted {
            match self.take(seq) {
                Some(event) => {
                    bytes = bytes.saturating_add(event.weight());
                    found.insert(seq, event);
                }
                None => _ = missing.insert(seq),
            }
        }
        while let Some(seq) = missing.first().copied() {
            if bytes > BYTES_MAX {
                break;
            }
            let reach = Seq(seq.0.saturating_add(PAGE.saturating_sub(1)));
            let last = missing.range(seq..=reach).next_back().copied().unwrap_or(seq);
            let count = usize::try_from(last.0.saturating_sub(seq.0).saturating_add(1)).unwrap_or(1);
            match log.read(Seq(seq.0.saturating_sub(1)), count).await {
                Ok(page) => {
                    for event in page {
                        if missing.remove(&event.seq) {
                            bytes = bytes.saturating_add(event.weight());
                            found.insert(event.seq, event);
                        }
                    }
                    missing.remove(&seq);
                }
                // What was parked has a copy.
                Err(ReadError::Trimmed { earliest }) => {
                    let gone: Vec<Seq> = missing.range(..=earliest).copied().collect();
                    for seq in gone {
                        if bytes > BYTES_MAX {
                            break;
                        }
                        missing.remove(&seq);
                        if let Some(event) = store.parked_event(group, seq).await? {
                            bytes = bytes.saturating_add(event.weight());
                            found.insert(seq, event);
                        }
                    }
                    missing.remove(&seq);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Found { events: found, left: missing })
    }
}
