//! How much a stream holds of the log while it sends. A client that does not read stops its stream in the middle of
//! a page, and the page stays in memory until it reads again: so pages are small, counted in bytes, and one is read
//! ahead only for a stream that keeps up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::convert::View;
use super::frame;
use super::window::Entry;
use crate::domain::StoredEvent;
use crate::store::LogId;

/// The first page, and every one after a wait, unless its events are large.
const PAGE_MIN: usize = 32;
/// The most events of a page.
const PAGE_MAX: usize = 256;
/// About how much memory a page may take.
const PAGE_BYTES: usize = 256 << 10;
/// A client that takes longer than this for a chunk does not keep up.
const WAIT: Duration = Duration::from_millis(50);
/// A stream that sent this much without such a wait keeps up. It is more than what most clients' buffers take in
/// while nobody reads.
const QUICK_BYTES: usize = 512 << 10;

/// An event that can be sent.
pub(super) trait Sendable {
    /// The event.
    fn stored(&self) -> &StoredEvent;

    /// The same as a message of a stream, framed.
    fn framed(&self, log: LogId, view: View) -> Bytes;

    /// About how much memory it takes.
    fn weight(&self) -> usize {
        self.stored().raw.len().saturating_mul(2).saturating_add(self.stored().weight())
    }
}

impl Sendable for Arc<StoredEvent> {
    fn stored(&self) -> &StoredEvent {
        self
    }

    fn framed(&self, log: LogId, view: View) -> Bytes {
        frame::event(self, log, view)
    }
}

impl Sendable for Arc<Entry> {
    fn stored(&self) -> &StoredEvent {
        &self.stored
    }

    fn framed(&self, log: LogId, view: View) -> Bytes {
        Entry::framed(self, log, view).clone()
    }
}

/// How fast a client reads, and what follows for its stream.
#[derive(Debug)]
pub(super) struct Pace {
    page: usize,
    /// Bytes sent since the client last let the stream wait.
    quick: usize,
}

impl Pace {
    /// Of a stream of which nothing is known.
    pub(super) fn new() -> Self {
        Self { page: PAGE_MIN, quick: 0 }
    }

    /// How many events to read at once.
    pub(super) fn page(&self) -> usize {
        self.page
    }

    /// Whether to read the next page while this one is sent, where so many events are left.
    pub(super) fn reads_ahead(&self, left: u64) -> bool {
        self.keeps_up() && left > u64::try_from(PAGE_MAX).unwrap_or(u64::MAX)
    }

    /// Takes note of a page with events of these weights: the next is larger if the client keeps up, and of as many
    /// such events as its memory allows.
    pub(super) fn read(&mut self, weights: impl ExactSizeIterator<Item = usize>) {
        let events = weights.len().max(1);
        let bytes = weights.fold(0_usize, usize::saturating_add);
        let most = PAGE_BYTES / (bytes / events).max(1);
        let wanted = if self.keeps_up() { PAGE_MAX } else { PAGE_MIN };
        self.page = wanted.min(most).max(1);
    }

    /// Takes note of bytes sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.quick = self.quick.saturating_add(bytes);
    }

    fn keeps_up(&self) -> bool {
        self.quick >= QUICK_BYTES
    }

    /// Takes note of how long the client took for a chunk.
    pub(super) fn waited(&mut self, time: Duration) {
        if time > WAIT {
            self.quick = 0;
            self.page = self.page.min(PAGE_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the page that follows one of `count` events that weigh `weight`.
    fn next(pace: &mut Pace, count: usize, weight: usize) -> usize {
        pace.read(std::iter::repeat_n(weight, count));
        pace.page()
    }

    #[test]
    fn a_stream_holds_more_only_while_it_keeps_up() {
        let mut pace = Pace::new();
        assert_eq!(pace.page(), PAGE_MIN);
        pace.sent(QUICK_BYTES - 1);
        assert_eq!(next(&mut pace, PAGE_MIN, 1_000), PAGE_MIN);
        assert!(!pace.reads_ahead(1_000_000));
        pace.sent(1);
        assert_eq!(next(&mut pace, PAGE_MIN, 1_000), PAGE_MAX);
        assert!(pace.reads_ahead(1_000_000) && !pace.reads_ahead(10));
        pace.waited(WAIT);
        assert_eq!(pace.page(), PAGE_MAX, "a short wait is no wait");
        pace.waited(WAIT * 2);
        assert_eq!(pace.page(), PAGE_MIN);
        assert!(!pace.reads_ahead(1_000_000));
    }

    #[test]
    fn pages_are_counted_in_bytes() {
        let mut pace = Pace::new();
        pace.sent(QUICK_BYTES);
        assert_eq!(next(&mut pace, PAGE_MIN, 4 << 10), PAGE_BYTES / (4 << 10));
        assert_eq!(next(&mut pace, 64, 3 << 20), 1);
        pace.waited(WAIT * 2);
        assert_eq!(pace.page(), 1, "a wait never makes a page larger");
    }
}
