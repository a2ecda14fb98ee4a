//! The newest events, encoded once for all streams. Filled by whichever stream wakes first, so that nothing
//! stands between a commit and its readers; a stream that asks for older events reads the log itself.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use bytes::Bytes;

use super::convert::View;
use super::frame;
use crate::domain::{Seq, StoredEvent};
use crate::store::{EventLog, LogId};

/// The most events that are kept.
const EVENTS_MAX: usize = 8_192;
/// About how much memory they may take, with their encodings.
const BYTES_MAX: usize = 64 << 20;
/// What an entry takes beside its event and the encodings of that.
const ENTRY_BYTES: usize = 1_024;
/// How many events are taken from the log at once.
const REFILL: usize = 1_024;
/// How many of the last chunks are kept for streams that stand at the same place.
const CHUNKS_MAX: usize = 16;

/// The newest events.
#[derive(Debug)]
pub(super) struct Window {
    log: Arc<dyn EventLog>,
    id: LogId,
    ring: RwLock<Ring>,
}

#[derive(Debug)]
struct Ring {
    /// Every event after this and up to the last is here.
    floor: Seq,
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    chunks: [VecDeque<Chunk>; View::COUNT],
}

/// An event, and how it looks on the wire.
#[derive(Debug)]
pub(super) struct Entry {
    /// The event.
    pub(super) stored: Arc<StoredEvent>,
    framed: [OnceLock<Bytes>; View::COUNT],
}

impl Entry {
    fn new(stored: Arc<StoredEvent>) -> Self {
        Self { stored, framed: Default::default() }
    }

    /// The event as a message of a stream, framed; encoded when first asked for.
    pub(super) fn framed(&self, log: LogId, view: View) -> &Bytes {
        view.pick(&self.framed).get_or_init(|| frame::event(&self.stored, log, view))
    }

    /// About how much memory it takes once it is encoded.
    fn weight(&self) -> usize {
        self.stored
            .raw
            .len()
            .saturating_mul(3)
            .saturating_add(self.stored.weight())
            .saturating_add(ENTRY_BYTES)
    }
}

/// Events that follow each other, as one piece for the wire.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    after: Seq,
    /// The last of them.
    pub(super) upto: Seq,
    /// How many.
    pub(super) events: u32,
    /// Their messages, framed.
    pub(super) bytes: Bytes,
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.bytes.len() >= frame::CHUNK_BYTES
    }
}

impl Ring {
    fn last(&self) -> Seq {
        self.entries.back().map_or(self.floor, |entry| entry.stored.seq)
    }

    fn reset(&mut self, floor: Seq) {
        self.entries.clear();
        self.bytes = 0;
        self.floor = floor;
    }

    fn push(&mut self, stored: Arc<StoredEvent>) {
        let entry = Entry::new(stored);
        self.bytes = self.bytes.saturating_add(entry.weight());
        self.entries.push_back(Arc::new(entry));
        while self.entries.len() > EVENTS_MAX || (self.bytes > BYTES_MAX && self.entries.len() > 1) {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.weight());
            self.floor = oldest.stored.seq;
        }
    }

    /// The events after `after`; `None` if some of them are no longer here, or none is.
    fn since(&self, after: Seq) -> Option<impl Iterator<Item = &Arc<Entry>>> {
        let start = self.entries.partition_point(|entry| entry.stored.seq <= after);
        (after >= self.floor && start < self.entries.len()).then(|| self.entries.range(start..))
    }

    /// A chunk that was made for a stream at the same place, unless there is more to send by now.
    fn chunk(&self, view: View, after: Seq) -> Option<&Chunk> {
        let made = view.pick(&self.chunks).iter().find(|chunk| chunk.after == after);
        made.filter(|chunk| chunk.is_full() || chunk.upto == self.last())
    }
}

impl Window {
    /// A window on `log`, empty.
    pub(super) fn new(log: Arc<dyn EventLog>) -> Self {
        let (id, floor) = (log.id(), *log.tail().borrow());
        let ring = Ring { floor, entries: VecDeque::new(), bytes: 0, chunks: Default::default() };
        Self { log, id, ring: RwLock::new(ring) }
    }

    /// The next piece for a stream that takes every event and stands at `after`, where the log reaches to
    /// `tail`; `None` if the window does not reach back so far.
    pub(super) fn chunk(&self, view: View, after: Seq, tail: Seq) -> Option<Chunk> {
        {
            let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
            if ring.last() >= tail
                && let Some(chunk) = ring.chunk(view, after)
            {
                return Some(chunk.clone());
            }
        }
        let mut ring = self.filled(after, tail);
        if let Some(chunk) = ring.chunk(view, after) {
            return Some(chunk.clone());
        }
        let chunk = self.join(ring.since(after)?, view, after);
        let chunks = view.pick_mut(&mut ring.chunks);
        chunks.retain(|older| older.after != after);
        chunks.truncate(CHUNKS_MAX.saturating_sub(1));
        chunks.push_front(chunk.clone());
        Some(chunk)
    }

    fn join<'a>(&self, entries: impl Iterator<Item = &'a Arc<Entry>>, view: View, after: Seq) -> Chunk {
        let mut parts = Vec::new();
        let (mut upto, mut events, mut length) = (after, 0_u32, 0_usize);
        for entry in entries {
            let framed = entry.framed(self.id, view);
            length = length.saturating_add(framed.len());
            parts.push(framed.clone());
            upto = entry.stored.seq;
            events = events.saturating_add(1);
            if length >= frame::CHUNK_BYTES {
                break;
            }
        }
        Chunk { after, upto, events, bytes: frame::concat(parts) }
    }

    /// The events after `after`, at most `limit`; `None` if the window does not reach back so far.
    pub(super) fn entries(&self, after: Seq, tail: Seq, limit: usize) -> Option<Vec<Arc<Entry>>> {
        {
            let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
            if ring.last() >= tail {
                return Some(ring.since(after)?.take(limit).cloned().collect());
            }
        }
        let ring = self.filled(after, tail);
        Some(ring.since(after)?.take(limit).cloned().collect())
    }

    /// The ring, filled up to `tail` from what the log has in memory.
    fn filled(&self, after: Seq, tail: Seq) -> RwLockWriteGuard<'_, Ring> {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        while ring.last() < tail {
            match self.log.recent(ring.last(), REFILL) {
                Some(events) if events.is_empty() => break,
                Some(events) => events.into_iter().for_each(|stored| ring.push(stored)),
                // The log's memory has moved past ours: begin anew where this stream stands, or at the end.
                None if ring.last() < after && self.log.recent(after, 1).is_some() => ring.reset(after),
                None => {
                    ring.reset(tail);
                    break;
                }
            }
        }
        ring
    }
}
