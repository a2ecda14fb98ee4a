//! Forgetting by age, a few rows at a time between batches, so that ingest hardly notices.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::oneshot;

use super::dedup::Dedup;
use super::{int, seq};
use crate::domain::Seq;
use crate::store::AppendError;
use crate::store::rules::REQUEST_IDS_KEPT;

/// Rows a step removes: 2,000 would stall ingest for 40 to 90 ms.
const ROWS_PER_STEP: u32 = 128;

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
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Events,
    Quarantine,
    Commands,
    Keys { steps_left: u16 },
    Done,
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
    pub(super) fn new(waiting: Vec<oneshot::Sender<Result<u64, AppendError>>>) -> Self {
        Self { waiting, removed: 0, held: 0, stage: Stage::Events }
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
                let (removed, trimmed) = trim(db, dedup, events_before, now)?;
                self.removed = self.removed.saturating_add(removed);
                if trimmed.is_none() {
                    self.stage = Stage::Quarantine;
                }
                return Ok(trimmed);
            }
            Stage::Quarantine => {
                let removed = db
                    .prepare_cached(
                        "DELETE FROM quarantine WHERE n IN
                         (SELECT n FROM quarantine ORDER BY n LIMIT ?2) AND receive_time < ?1",
                    )?
                    .execute((events_before, ROWS_PER_STEP))?;
                self.held = i64::try_from(removed).unwrap_or_default();
                if removed == 0 {
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
                    None => Stage::Done,
                };
            }
            Stage::Done => {}
        }
        Ok(None)
    }
}

/// Removes the oldest events that are older than `before`; answers how many, and up to where. The numbers of their
/// tickets stand elsewhere by then.
fn trim(db: &Connection, dedup: &Dedup, before: i64, now: i64) -> rusqlite::Result<(u64, Option<Seq>)> {
    let last: Option<(i64, i64)> = db
        .prepare_cached(
            "SELECT seq, receive_time FROM (SELECT seq, receive_time FROM events
                 WHERE seq <= (SELECT up_to FROM sequences_written) ORDER BY seq LIMIT ?2)
             WHERE receive_time < ?1 ORDER BY seq DESC LIMIT 1",
        )?
        .query_row((before, ROWS_PER_STEP), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((last, last_time)) = last else { return Ok((0, None)) };
    dedup.keep(db, last, now)?;
    let removed = db.prepare_cached("DELETE FROM events WHERE seq <= ?1")?.execute([last])?;
    db.prepare_cached("UPDATE log SET trimmed = ?1, trimmed_time = ?2")?.execute((last, last_time))?;
    let removed = u64::try_from(removed).unwrap_or(u64::MAX);
    debug_assert_eq!(int(seq(last).0), last, "positions are positive");
    Ok((removed, Some(seq(last))))
}
