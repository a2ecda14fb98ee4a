//! Threads that load a server until they are told to stop, and count what they achieve. Each runs its own
//! single-threaded runtime: nothing is handed between threads, so the load generator stays light.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::Instant;

use crate::stats::real;

/// Two, on two cores: with one, the generator itself would be what a light yardstick waits for.
pub(crate) const THREADS: usize = 2;

/// How long a crew may take to get ready.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Shared between the threads and the one that measures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    stop: Arc<AtomicBool>,
    ready: Arc<AtomicUsize>,
    done: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl Board {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// One more connection or stream has begun.
    pub(crate) fn ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// What a crew achieved within a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Achieved {
    pub(crate) count: u64,
    pub(crate) elapsed: Duration,
    /// Answers other than 200, since the start.
    pub(crate) refused: u64,
}

impl Achieved {
    pub(crate) fn per_second(self) -> f64 {
        real(self.count) / self.elapsed.as_secs_f64()
    }
}

/// Threads at work.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) board: Board,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Crew {
    /// Starts [`THREADS`] threads, each with what `work` makes of its index.
    pub(crate) fn start<W, F>(work: W) -> Self
    where
        W: Fn(usize, Board) -> F + Clone + Send + 'static,
        F: Future<Output = Result<()>> + 'static,
    {
        let board = Board::default();
        let threads = (0..THREADS)
            .map(|index| {
                let (work, board) = (work.clone(), board.clone());
                thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    runtime.block_on(work(index, board))
                })
            })
            .collect();
        Self { board, threads }
    }

    /// Waits until `count` connections or streams have begun.
    pub(crate) fn wait_ready(&self, count: usize) -> Result<()> {
        let started = Instant::now();
        while self.board.ready.load(Ordering::Relaxed) < count {
            if self.threads.iter().any(JoinHandle::is_finished) {
                bail!("the load generator stopped before it was ready");
            }
            if started.elapsed() > READY_WITHIN {
                let ready = self.board.ready.load(Ordering::Relaxed);
                bail!("only {ready} of {count} were ready within {READY_WITHIN:?}");
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Counts for as long as `window`.
    pub(crate) fn measure(&self, window: Duration) -> Achieved {
        let (before, started) = (self.board.done(), Instant::now());
        thread::sleep(window);
        let (after, elapsed) = (self.board.done(), started.elapsed());
        Achieved { count: after - before, elapsed, refused: self.board.refused.load(Ordering::Relaxed) }
    }

    /// Stops the threads; tells the first error.
    pub(crate) fn finish(self) -> Result<()> {
        self.board.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result.context("the load generator failed"),
            Err(_panic) => bail!("the load generator panicked"),
        })
    }
}
