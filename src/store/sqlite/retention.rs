//! Forgetting by age and by size, a few rows at a time between batches, so that ingest hardly notices; and giving
//! the room back to the disk.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::oneshot;

use super::dedup::Dedup;
use super::space::{self, Used};
use super::{int, seq};
use crate::domain::Seq;
use crate::store::AppendError;
use crate::store::rules::REQUEST_IDS_KEPT;

/// Rows a step removes: 2,000 would stall ingest for 40 to 90 ms.
pub(super) const ROWS_PER_STEP: u32 = 128;

/// Bytes of bodies and records from which a step removes no more: rows may be large.
pub(super) const BYTES_PER_STEP: usize = 8 << 20;

/// Two-byte prefixes of keys a step sweeps, and those of one run: a run a minute goes round in an hour.
const PREFIXES_PER_STEP: u16 = 16;
const STEPS_OF_KEYS: u16 = 69;

/// One run of retention, in steps.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) waiting: Vec<oneshot::Sender<Result<u64, AppendError>>>,
    /// Events removed so far.
    pub(super) removed: u64,
    /// Bodies in quarantine that the last step removed.
    pub(super) held: i64,
    /// Whether the last step gave pages back.
    pub(super) gave_back: bool,
    /// The store may be larger than it should: what is too much goes before anything else does.
    is_large: bool,
    limits: Limits,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Events,
    Quarantine,
    Commands,
    Keys { steps_left: u16 },
    Space { begun: bool },
    Done,
}

/// What a run keeps to beside ages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Live bytes past which the oldest events go, whoever has not read them.
    pub(super) live_bytes_max: Option<u64>,
    /// The lowest position up to which a group that pins retention has settled: age takes nothing after it …
    pub(super) holds: Option<Seq>,
    /// … while no more than this is live.
    pub(super) pinned_bytes_max: u64,
}

impl Limits {
    /// What age may take of the events received before `before`: nothing that a group holds back, as far as that is not
    /// too much itself.
    fn due_by_age(self, db: &Connection, before: i64) -> rusqlite::Result<Due> {
        let all = Due { before, up_to: i64::MAX, bytes: BYTES_PER_STEP };
        let Some(held_after) = self.holds else { return Ok(all) };
        Ok(match Used::of(db)?.excess(self.pinned_bytes_max) {
            0 => Due { up_to: int(held_after.0), ..all },
            excess => Due { bytes: excess.min(BYTES_PER_STEP), ..all },
        })
    }
}

/// How long things are kept, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    pub(super) events: i64,
    pub(super) commands: i64,
}

impl Ages {
    pub(super) fn new(retention: Duration) -> Self {
        Self { events: micros_of(retention), commands: micros_of(retention.max(REQUEST_IDS_KEPT)) }
    }
}

pub(super) fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Run {
    /// Everything that is due.
    pub(super) fn new(waiting: Vec<oneshot::Sender<Result<u64, AppendError>>>, limits: Limits) -> Self {
        Self { waiting, removed: 0, held: 0, gave_back: false, is_large: true, limits, stage: Stage::Events }
    }

    /// Only the events that are too many.
    pub(super) fn by_size(limits: Limits) -> Self {
        Self { stage: Stage::Space { begun: false }, ..Self::new(Vec::new(), limits) }
    }

    /// The store has grown too large while this run was at other things.
    pub(super) fn too_large(&mut self) {
        self.is_large = true;
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Takes one step inside the caller's transaction; answers how far events are gone, if any went.
    pub(super) fn step(
        &mut self,
        db: &Connection,
        dedup: &mut Dedup,
        prefix: &mut u16,
        ages: Ages,
        now: i64,
    ) -> rusqlite::Result<Option<Seq>> {
        if self.is_large {
            return self.shrink(db, dedup, now);
        }
        let events_before = now.saturating_sub(ages.events);
        match self.stage {
            Stage::Events => {
                let due = self.limits.due_by_age(db, events_before)?;
                let trimmed = self.trim(db, dedup, due, now)?;
                if trimmed.is_none() {
                    self.stage = Stage::Quarantine;
                }
                return Ok(trimmed);
            }
            Stage::Quarantine => {
                self.held = forget_held(db, events_before, BYTES_PER_STEP)?;
                if self.held == 0 {
                    self.stage = Stage::Commands;
                }
            }
            Stage::Commands => {
                let removed = db
                    .prepare_cached(
                        "DELETE FROM commands WHERE n IN (SELECT n FROM commands
                         WHERE settle_time IS NOT NULL AND settle_time < ?1 ORDER BY settle_time LIMIT ?2)",
                    )?
                    .execute((now.saturating_sub(ages.commands), ROWS_PER_STEP))?;
                if removed == 0 {
                    self.stage = Stage::Keys { steps_left: STEPS_OF_KEYS };
                }
            }
            Stage::Keys { steps_left } => {
                let to = prefix.saturating_add(PREFIXES_PER_STEP.saturating_sub(1));
                dedup.sweep(db, *prefix, to, now)?;
                *prefix = to.wrapping_add(1);
                self.stage = match steps_left.checked_sub(1) {
                    Some(steps_left) => Stage::Keys { steps_left },
                    None => Stage::Space { begun: false },
                };
            }
            Stage::Space { begun } => {
                let used = Used::of(db)?;
                self.gave_back = if begun { !used.is_tight() } else { used.is_loose() };
                if self.gave_back {
                    space::give_back(db)?;
                    self.stage = Stage::Space { begun: true };
                } else {
                    self.stage = Stage::Done;
                }
            }
            Stage::Done => {}
        }
        Ok(None)
    }

    /// A step of removing what is oldest, an event or a body in quarantine, only until that covers what is too much; once
    /// nothing is, the run goes on with the rest.
    fn shrink(&mut self, db: &Connection, dedup: &Dedup, now: i64) -> rusqlite::Result<Option<Seq>> {
        let used = Used::of(db)?;
        let bytes = self.limits.live_bytes_max.map_or(0, |max| used.excess(max)).min(BYTES_PER_STEP);
        if bytes > 0 {
            self.held = forget_held(db, oldest_event(db)?.unwrap_or(i64::MAX), bytes)?;
            if self.held > 0 {
                return Ok(None);
            }
            let trimmed = self.trim(db, dedup, Due { before: i64::MAX, up_to: i64::MAX, bytes }, now)?;
            if trimmed.is_some() {
                return Ok(trimmed);
            }
        }
        self.is_large = false;
        Ok(None)
    }

    /// A step of removing events; answers up to where, or `None` when there is none left to remove.
    fn trim(&mut self, db: &Connection, dedup: &Dedup, due: Due, now: i64) -> rusqlite::Result<Option<Seq>> {
        let (removed, trimmed) = trim(db, dedup, due, now)?;
        self.removed = self.removed.saturating_add(removed);
        Ok(trimmed)
    }
}

/// Which of the oldest events a step removes.
#[derive(Debug, Clone, Copy)]
struct Due {
    /// Those received before.
    before: i64,
    /// The last position that may go.
    up_to: i64,
    /// No more once so many bytes went; the first goes whatever it takes.
    bytes: usize,
}

/// When the oldest event was received.
fn oldest_event(db: &Connection) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT receive_time FROM events ORDER BY seq LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()
}

/// Removes the oldest bodies in quarantine that are older than `before`, until so many bytes went; answers how many.
fn forget_held(db: &Connection, before: i64, bytes: usize) -> rusqlite::Result<i64> {
    let removed = db
        .prepare_cached(
            "DELETE FROM quarantine WHERE n IN (SELECT n FROM
                 (SELECT n, receive_time, sum(size) OVER (ORDER BY n) - size AS so_far FROM
                     (SELECT n, receive_time, octet_length(raw) AS size FROM quarantine ORDER BY n LIMIT ?2))
             WHERE receive_time < ?1 AND so_far < ?3)",
        )?
        .execute((before, ROWS_PER_STEP, sql_int(bytes)))?;
    Ok(i64::try_from(removed).unwrap_or_default())
}

fn sql_int(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Removes the oldest events that are due; answers how many, and up to where. The numbers of their tickets stand
/// elsewhere by then.
fn trim(db: &Connection, dedup: &Dedup, due: Due, now: i64) -> rusqlite::Result<(u64, Option<Seq>)> {
    let last: Option<(i64, i64)> = db
        .prepare_cached(
            "SELECT seq, receive_time FROM
                 (SELECT seq, receive_time, sum(size) OVER (ORDER BY seq) - size AS so_far FROM
                     (SELECT seq, receive_time, octet_length(record) + octet_length(raw) AS size FROM events
                      WHERE seq <= (SELECT up_to FROM sequences_written) ORDER BY seq LIMIT ?2))
             WHERE receive_time < ?1 AND seq <= ?3 AND so_far < ?4 ORDER BY seq DESC LIMIT 1",
        )?
        .query_row((due.before, ROWS_PER_STEP, due.up_to, sql_int(due.bytes)), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((last, last_time)) = last else { return Ok((0, None)) };
    dedup.keep(db, last, now)?;
    let removed = db.prepare_cached("DELETE FROM events WHERE seq <= ?1")?.execute([last])?;
    db.prepare_cached("UPDATE log SET trimmed = ?1, trimmed_time = ?2")?.execute((last, last_time))?;
    let removed = u64::try_from(removed).unwrap_or(u64::MAX);
    debug_assert_eq!(int(seq(last).0), last, "positions are positive");
    Ok((removed, Some(seq(last))))
}

/// The lowest position that a group which pins retention has settled through; `None` where none pins.
pub(super) fn holds(db: &Connection) -> rusqlite::Result<Option<Seq>> {
    let lowest: Option<i64> = db
        .prepare_cached("SELECT min(floor) FROM consumer_groups WHERE pin = 1")?
        .query_row([], |row| row.get(0))?;
    Ok(lowest.map(seq))
}

#[cfg(test)]
mod tests;
