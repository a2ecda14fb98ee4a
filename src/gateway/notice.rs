//! Log lines anybody outside can cause: one now and then, with the number of those left out.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// The least time between two lines of one kind.
const INTERVAL_MS: u64 = 5_000;

/// One kind of line.
#[derive(Debug)]
pub struct Notice {
    start: Instant,
    next_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl Default for Notice {
    fn default() -> Self {
        Self { start: Instant::now(), next_ms: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }
}

impl Notice {
    /// Whether a line may be written now, and how many were left out since the last.
    pub fn permit(&self) -> Option<u64> {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = self.next_ms.load(Ordering::Relaxed);
        let due = now >= next;
        let later = now.saturating_add(INTERVAL_MS);
        if due && self.next_ms.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_line_is_written_then_one_now_and_then() {
        let notice = Notice::default();
        assert_eq!(notice.permit(), Some(0));
        assert_eq!(notice.permit(), None);
        assert_eq!(notice.permit(), None);
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(notice.permit(), Some(2));
        assert_eq!(notice.permit(), None);
    }
}
