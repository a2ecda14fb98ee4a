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
    /// Only what is too much goes, nothing by age.
    by_size_only: bool,
    limits: Limits,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Events,
    Size,
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
    /// The last position that age may take.
    fn last_by_age(self, db: &Connection) -> rusqlite::Result<i64> {
        let Some(held_after) = self.holds else { return Ok(i64::MAX) };
        let held = Used::of(db)?.live_bytes() <= self.pinned_bytes_max;
        Ok(if held { int(held_after.0) } else { i64::MAX })
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
        Self {
            waiting,
            removed: 0,
            held: 0,
            gave_back: false,
            by_size_only: false,
            limits,
            stage: Stage::Events,
        }
    }

    /// Only the events that are too many.
    pub(super) fn by_size(limits: Limits) -> Self {
        Self { by_size_only: true, stage: Stage::Size, ..Self::new(Vec::new(), limits) }
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
        let events_before = now.saturating_sub(ages.events);
        match self.stage {
            Stage::Events => {
                let last = self.limits.last_by_age(db)?;
                return self.trim(db, dedup, (events_before, last), now, Stage::Size);
            }
            Stage::Size => {
                let next = if self.by_size_only { Stage::Space { begun: false } } else { Stage::Quarantine };
                if let Some(max) = self.limits.live_bytes_max
                    && Used::of(db)?.live_bytes() > max
                {
                    let trimmed = self.trim(db, dedup, (i64::MAX, i64::MAX), now, next)?;
                    if trimmed.is_some() {
                        let sql = "SELECT trimmed_time FROM log";
                        let reached = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
                        self.held = forget_held(db, reached)?; // what is oldest goes, whatever it is
                    }
                    return Ok(trimmed);
                }
                self.stage = next;
            }
            Stage::Quarantine => {
                self.held = forget_held(db, events_before)?;
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

    /// A step of removing events; when there is none left to remove, the next stage follows.
    fn trim(
        &mut self,
        db: &Connection,
        dedup: &Dedup,
        until: (i64, i64),
        now: i64,
        next: Stage,
    ) -> rusqlite::Result<Option<Seq>> {
        let (removed, trimmed) = trim(db, dedup, until, now)?;
        self.removed = self.removed.saturating_add(removed);
        if trimmed.is_none() {
            self.stage = next;
        }
        Ok(trimmed)
    }
}

/// Removes the oldest bodies in quarantine that are older than `before`; answers how many.
fn forget_held(db: &Connection, before: i64) -> rusqlite::Result<i64> {
    let removed = db
        .prepare_cached(
            "DELETE FROM quarantine WHERE n IN
             (SELECT n FROM quarantine ORDER BY n LIMIT ?2) AND receive_time < ?1",
        )?
        .execute((before, ROWS_PER_STEP))?;
    Ok(i64::try_from(removed).unwrap_or_default())
}

/// Removes the oldest events that are older than `before`, up to position `up_to`; answers how many, and up to
/// where. The numbers of their tickets stand elsewhere by then.
fn trim(
    db: &Connection,
    dedup: &Dedup,
    (before, up_to): (i64, i64),
    now: i64,
) -> rusqlite::Result<(u64, Option<Seq>)> {
    let last: Option<(i64, i64)> = db
        .prepare_cached(
            "SELECT seq, receive_time FROM (SELECT seq, receive_time FROM events
                 WHERE seq <= (SELECT up_to FROM sequences_written) ORDER BY seq LIMIT ?2)
             WHERE receive_time < ?1 AND seq <= ?3 ORDER BY seq DESC LIMIT 1",
        )?
        .query_row((before, ROWS_PER_STEP, up_to), |row| Ok((row.get(0)?, row.get(1)?)))
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
