//! A step of a group, inside the writer's transaction. Everything it writes is absolute, so that a step which was
//! perhaps committed can be committed again.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::failure::WriteError;
use super::{int, micros};
use crate::domain::Seq;
use crate::domain::group::TicketKey;
use crate::store::groups::{Attempted, GroupChanges, ParkChange};

/// Writes a step of group `n`; nothing if it is gone. Answers which events could not be parked, as nothing is left of them.
pub(super) fn apply(db: &Connection, n: i64, changes: &GroupChanges) -> Result<BTreeSet<Seq>, WriteError> {
    let GroupChanges { floor, token, cleared, settled, attempts, parked } = changes;
    let found = db
        .prepare_cached("UPDATE consumer_groups SET floor = ?2, token = ?3 WHERE n = ?1")?
        .execute((n, int(floor.0), int(*token)))?;
    if found == 0 {
        return Ok(BTreeSet::new());
    }
    if *cleared {
        db.prepare_cached("DELETE FROM group_settled WHERE n = ?1")?.execute([n])?;
        db.prepare_cached("DELETE FROM group_attempts WHERE n = ?1")?.execute([n])?;
    }
    let mut put = db.prepare_cached("INSERT OR REPLACE INTO group_settled VALUES (?1, ?2, ?3)")?;
    let mut remove = db.prepare_cached("DELETE FROM group_settled WHERE n = ?1 AND first = ?2")?;
    for (first, last) in settled {
        match last {
            Some(last) => put.execute((n, int(first.0), int(last.0)))?,
            None => remove.execute((n, int(first.0)))?,
        };
    }
    let mut put =
        db.prepare_cached("INSERT OR REPLACE INTO group_attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    let mut remove = db.prepare_cached("DELETE FROM group_attempts WHERE n = ?1 AND seq = ?2")?;
    for (seq, attempted) in attempts {
        match attempted {
            Some(Attempted { ticket, attempts, token, lease_until, retry_at, failure }) => {
                put.execute(params![
                    n,
                    int(seq.0),
                    key(*ticket),
                    attempts,
                    int(*token),
                    lease_until.map(micros),
                    retry_at.map(micros),
                    failure
                ])?
            }
            None => remove.execute((n, int(seq.0)))?,
        };
    }
    let mut missing = BTreeSet::new();
    for (seq, change) in parked {
        if !apply_parked(db, n, *seq, change)? {
            missing.insert(*seq);
        }
    }
    Ok(missing)
}

/// `false` if the event was to be parked, and is nowhere.
fn apply_parked(db: &Connection, n: i64, seq: Seq, change: &ParkChange) -> Result<bool, WriteError> {
    match change {
        ParkChange::Listed { ticket, attempts, reason, time, replaying } => {
            // A copy of the event, as it stands in the log, unless there is one already: its checksum is still its own.
            db.prepare_cached(
                "INSERT INTO group_parked (n, seq, event_id, ticket, ticket_id, attempts, reason, park_time,
                     replaying, version, checksum, record, raw)
                 SELECT ?1, seq, iif(json_valid(record), coalesce(record ->> '$.id', ''), ''), ?3, ticket_id, ?4, ?5, ?6,
                     0, version, checksum, record, raw FROM events WHERE seq = ?2
                 ON CONFLICT (n, seq) DO NOTHING",
            )?
            .execute(params![n, int(seq.0), key(*ticket), attempts, reason, micros(*time)])?;
            let found = db
                .prepare_cached(
                    "UPDATE group_parked SET attempts = ?3, reason = ?4, park_time = ?5, replaying = ?6
                     WHERE n = ?1 AND seq = ?2",
                )?
                .execute(params![n, int(seq.0), attempts, reason, micros(*time), replaying])?;
            return Ok(found > 0);
        }
        ParkChange::Replaying => {
            db.prepare_cached("UPDATE group_parked SET replaying = 1 WHERE n = ?1 AND seq = ?2")?
                .execute((n, int(seq.0)))?;
        }
        ParkChange::Gone => {
            db.prepare_cached("DELETE FROM group_parked WHERE n = ?1 AND seq = ?2")?
                .execute((n, int(seq.0)))?;
        }
    }
    Ok(true)
}

fn key(ticket: Option<TicketKey>) -> Option<i64> {
    ticket.map(|TicketKey(key)| key.cast_signed())
}
