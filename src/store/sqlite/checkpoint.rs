//! Moving what the write-ahead log holds into the file, in the background: in the commit's path it would
//! cost every thousandth caller several milliseconds.
//!
//! A background pass never quite catches up with a busy writer, and only a log moved *wholly* can be begun
//! anew. So past [`WAL_BYTES_MAX`] the writer itself moves the little that is left, between two batches.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::schema;

/// How much is written between two background passes.
const PASS_BYTES: usize = 4 << 20;

/// The write-ahead log's size from which the writer ends what the background began.
const WAL_BYTES_MAX: i64 = 12 << 20;

/// What a row costs beside its own bytes: its share of pages that others share, many of them written again and again.
const ROW_OVERHEAD_BYTES: usize = 512;

/// The writer's end: says how much was written, hears when to help.
#[derive(Debug)]
pub(super) struct Checkpoints {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    help: Arc<AtomicBool>,
    written: usize,
    /// The file is to be shortened, which only a pass does that moves everything: commits until the next try, and how many
    /// until the one after it.
    shrinking: Option<(u32, u32)>,
}

/// Commits between two tries to shorten the file, at most.
const TRY_AGAIN_MAX: u32 = 256;

impl Checkpoints {
    /// Starts the background thread.
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let help = Arc::new(AtomicBool::new(false));
        let (path, asked) = (path.to_owned(), Arc::clone(&help));
        let run = move || match schema::beside(&path) {
            Ok(db) => background(&db, &woken, &asked),
            Err(error) => tracing::error!(%error, "the store's background checkpoints do not run"),
        };
        let thread = thread::Builder::new().name("store-checkpoint".to_owned()).spawn(run)?;
        Ok(Self { wake: Some(wake), thread: Some(thread), help, written: 0, shrinking: None })
    }

    /// After each commit.
    pub(super) fn written(&mut self, db: &Connection, rows: usize, bytes: usize) {
        self.written =
            self.written.saturating_add(bytes).saturating_add(rows.saturating_mul(ROW_OVERHEAD_BYTES));
        if self.written >= PASS_BYTES {
            self.written = 0;
            self.wake();
        }
        if self.help.swap(false, Ordering::AcqRel) {
            pass(db, "PASSIVE");
        }
        if let Some((wait, next)) = self.shrinking {
            self.shrinking = Some((wait.saturating_sub(1), next));
            if wait <= 1 {
                self.try_to_shrink(db, next);
            }
        }
    }

    /// The file is to become as small as it can be: now, or, where the background is about it or somebody reads, soon
    /// after, by one more pass of the background or after one of the next commits.
    pub(super) fn shrink(&mut self, db: &Connection) {
        self.try_to_shrink(db, 1);
        if self.shrinking.is_some() {
            self.wake();
        }
    }

    fn try_to_shrink(&mut self, db: &Connection, wait: u32) {
        let next = wait.saturating_mul(2).min(TRY_AGAIN_MAX);
        self.shrinking = if move_all(db) { None } else { Some((wait, next)) };
    }

    fn wake(&self) {
        if let Some(wake) = &self.wake {
            let _ = wake.try_send(()); // it is awake already, or gone
        }
    }

    /// Ends the background thread.
    pub(super) fn stop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has logged why
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.stop();
    }
}

/// At a good end: everything in the file, the log empty.
pub(super) fn finish(db: &Connection) {
    pass(db, "TRUNCATE");
}

fn background(db: &Connection, woken: &Receiver<()>, help: &AtomicBool) {
    let page: i64 = db.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap_or(4096);
    while woken.recv().is_ok() {
        let frames = pass(db, "PASSIVE");
        if frames.saturating_mul(page) >= WAL_BYTES_MAX {
            help.store(true, Ordering::Release);
        }
    }
}

/// Whether everything is moved now, which also shortens the file.
fn move_all(db: &Connection) -> bool {
    let moved = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    moved.is_ok_and(|(busy, held, moved)| busy == 0 && held == moved)
}

/// Answers how many pages the log holds. A failure loses nothing, the next pass tries again.
fn pass(db: &Connection, mode: &str) -> i64 {
    match db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1)) {
        Ok(frames) => frames,
        Err(error) => {
            tracing::warn!(%error, "a checkpoint of the store failed; the next one tries again");
            0
        }
    }
}
