//! How much room the store takes: how much it may take, and giving back to the disk what it no longer needs, a few
//! pages at a time.

use std::path::PathBuf;

use rusqlite::Connection;

/// Kept of the bound for the write-ahead log, which the writer moves into the file past 12 MiB, and for what comes
/// between two looks.
const WAL_BYTES: u64 = 24 << 20;

/// Bytes written between two looks at the size: what it may be passed by until the oldest go.
const LOOK_BYTES: usize = 4 << 20;

/// Pages a step gives back: some milliseconds of the writer's time.
pub(super) const PAGES_PER_STEP: usize = 32;

/// Free pages that are not worth giving back: what comes next needs them again.
const FREE_PAGES_KEPT: u64 = 128;

/// What an operator decides about the store's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SizeLimits {
    /// Bytes on the disk, past which the oldest events go; without a bound where unset.
    pub bytes_max: Option<u64>,
    /// Bytes on the disk up to which groups that pin retention hold unread events back. Unset: `bytes_max`; without
    /// that, while as much of the disk is free as the file takes.
    pub pinned_bytes_max: Option<u64>,
}

/// What the file takes at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    page_bytes: u64,
    pages: u64,
    free_pages: u64,
}

impl Used {
    pub(super) fn of(db: &Connection) -> rusqlite::Result<Self> {
        let number = |sql| {
            let number: i64 = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            Ok::<_, rusqlite::Error>(u64::try_from(number).unwrap_or_default())
        };
        Ok(Self {
            page_bytes: number("PRAGMA page_size")?,
            pages: number("PRAGMA page_count")?,
            free_pages: number("PRAGMA freelist_count")?,
        })
    }

    /// What holds something.
    pub(super) fn live_bytes(self) -> u64 {
        self.pages.saturating_sub(self.free_pages).saturating_mul(self.page_bytes)
    }

    /// What holds something beyond `max`.
    pub(super) fn excess(self, max: u64) -> usize {
        usize::try_from(self.live_bytes().saturating_sub(max)).unwrap_or(usize::MAX)
    }

    /// Whether so much is free that it is worth giving back.
    pub(super) fn is_loose(self) -> bool {
        self.free_pages > FREE_PAGES_KEPT.max(self.pages / 16)
    }

    /// Whether enough is given back.
    pub(super) fn is_tight(self) -> bool {
        self.free_pages <= FREE_PAGES_KEPT.max(self.pages / 32)
    }
}

/// Minds the store's size for the writer.
#[derive(Debug)]
pub(super) struct Space {
    limits: SizeLimits,
    path: PathBuf,
    unlooked: usize,
}

impl Space {
    pub(super) fn new(limits: SizeLimits, path: PathBuf) -> Self {
        Self { limits, path, unlooked: LOOK_BYTES } // the first batch looks
    }

    /// Live bytes past which the oldest events go: the write-ahead log and a sixteenth of free pages have room beside.
    pub(super) fn live_bytes_max(&self) -> Option<u64> {
        self.limits.live_bytes_max()
    }

    /// Live bytes up to which pinned events are held back.
    pub(super) fn pinned_bytes_max(&self, db: &Connection) -> rusqlite::Result<u64> {
        if let Some(bytes) = self.limits.pinned_bytes_max.or(self.limits.bytes_max) {
            return Ok(live(bytes).min(self.live_bytes_max().unwrap_or(u64::MAX)));
        }
        let used = Used::of(db)?;
        let file = used.pages.saturating_mul(used.page_bytes);
        Ok(match rustix::fs::statvfs(&self.path) {
            Ok(disk) => file.saturating_add(disk.f_bavail.saturating_mul(disk.f_frsize)) / 2,
            Err(error) => {
                tracing::warn!(%error, "the disk does not tell how much is free: nothing is held back for groups");
                0
            }
        })
    }

    /// So much was written; whether it is time to look, and the store is too large.
    pub(super) fn written(&mut self, db: &Connection, bytes: usize) -> rusqlite::Result<bool> {
        let Some(max) = self.live_bytes_max() else { return Ok(false) };
        self.unlooked = self.unlooked.saturating_add(bytes);
        if self.unlooked < LOOK_BYTES {
            return Ok(false);
        }
        self.unlooked = 0;
        Ok(Used::of(db)?.live_bytes() > max)
    }
}

impl SizeLimits {
    /// Live bytes past which the oldest events go.
    pub(super) fn live_bytes_max(self) -> Option<u64> {
        self.bytes_max.map(live)
    }
}

/// What may be live where so much may be on the disk.
fn live(bytes: u64) -> u64 {
    bytes.saturating_sub(WAL_BYTES).saturating_sub(bytes / 16)
}

/// Gives a few free pages back, inside the caller's transaction; the file shrinks with the next checkpoint.
pub(super) fn give_back(db: &Connection) -> rusqlite::Result<()> {
    // A row for each page: it has to be stepped to its end.
    let mut pages = db.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES_PER_STEP})"))?;
    let mut rows = pages.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
