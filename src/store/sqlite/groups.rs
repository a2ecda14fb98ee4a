//! Consumer groups as rows: a step of a group inside the writer's transaction, and reading them beside it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::batch::Batch;
use super::failure::WriteError;
use super::{SqliteLog, corrupt, group_changes, int, seq, time};
use crate::domain::group::{GroupSettings, TicketKey};
use crate::domain::{Seq, StoredEvent};
use crate::store::groups::{
    Attempted, Created, GROUPS_MAX, Group, GroupChanges, GroupId, GroupState, GroupStore, Parked,
    ParkedEvent, ParkedPage, ParkedWanted, Updated,
};
use crate::store::{AppendError, ReadError, record};

/// Rows of deleted groups that one sweep removes from each table.
const ROWS_PER_SWEEP: u32 = 128;

/// A group's parked events, by its number; what a deleted one has left is nobody's.
const PARKED: &str = "FROM group_parked WHERE n = (SELECT n FROM consumer_groups WHERE n = ?1)";

/// What is wrong with a row.
type Checked<T> = Result<T, String>;

#[async_trait]
impl GroupStore for SqliteLog {
    async fn create_group(
        &self,
        name: String,
        settings: GroupSettings,
        floor: Seq,
    ) -> Result<Created, AppendError> {
        let ask = (name, settings, floor);
        self.submit(ask, (1, 0), |batch, (name, settings, floor)| {
            batch.create_group(name, settings, floor).map(Ok)
        })
        .await
    }

    async fn update_group(
        &self,
        id: GroupId,
        expected: Option<u64>,
        settings: GroupSettings,
    ) -> Result<Updated, AppendError> {
        let ask = (id, expected, settings);
        self.submit(ask, (1, 0), |batch, (id, expected, settings)| {
            batch.update_group(id, expected, &settings).map(Ok)
        })
        .await
    }

    async fn delete_group(&self, id: GroupId, expected: Option<u64>) -> Result<Updated, AppendError> {
        self.submit((id, expected), (1, 0), |batch, (id, expected)| batch.delete_group(id, expected).map(Ok))
            .await
    }

    async fn sweep_groups(&self) -> Result<bool, AppendError> {
        self.submit((), (1, 0), |batch, ()| batch.sweep_groups().map(Ok)).await
    }

    async fn groups(&self) -> Result<Vec<Group>, ReadError> {
        let find = |db: &Connection| {
            let mut rows = db.prepare_cached(
                "SELECT n, name, revision, floor, version, checksum, record FROM consumer_groups ORDER BY name",
            )?;
            let groups = rows.query_map([], group_of)?.collect::<rusqlite::Result<Vec<Checked<Group>>>>()?;
            Ok(groups.into_iter().collect::<Result<_, _>>().map_err(corrupt))
        };
        self.readers.read(Seq::default(), find).await
    }

    async fn load_group(&self, id: GroupId) -> Result<Option<GroupState>, ReadError> {
        self.readers.read(Seq::default(), move |db| state_of(db, int(id.0)).map(Ok)).await
    }

    async fn commit(&self, id: GroupId, changes: GroupChanges) -> Result<BTreeSet<Seq>, AppendError> {
        self.submit((id, changes), (1, 0), |batch, (id, changes)| {
            group_changes::apply(batch.db, int(id.0), &changes).map(Ok)
        })
        .await
    }

    async fn parked(&self, id: GroupId, wanted: ParkedWanted) -> Result<ParkedPage, ReadError> {
        let find = move |db: &Connection| Ok(page_of(db, int(id.0), &wanted)?.map_err(corrupt));
        self.readers.read(Seq::default(), find).await
    }

    async fn parked_seqs(&self, id: GroupId, event_ids: Vec<Uuid>) -> Result<BTreeSet<Seq>, ReadError> {
        let find = move |db: &Connection| {
            let mut one =
                db.prepare_cached(&format!("SELECT seq {PARKED} AND event_id = ?2 AND replaying = 0"))?;
            let mut found = BTreeSet::new();
            for event_id in &event_ids {
                let at = one.query_row(params![int(id.0), event_id.to_string()], |row| row.get(0)).optional();
                found.extend(at?.map(seq));
            }
            Ok(Ok(found))
        };
        self.readers.read(Seq::default(), find).await
    }

    async fn parked_event(&self, id: GroupId, at: Seq) -> Result<Option<Arc<StoredEvent>>, ReadError> {
        let find = move |db: &Connection| {
            let found = db
                .prepare_cached(&format!("SELECT seq, version, checksum, record, raw {PARKED} AND seq = ?2"))?
                .query_row((int(id.0), int(at.0)), event_of)
                .optional()?;
            Ok(found.transpose().map_err(corrupt))
        };
        self.readers.read(at, find).await
    }
}

impl Batch<'_> {
    fn create_group(
        &mut self,
        name: String,
        settings: GroupSettings,
        floor: Seq,
    ) -> Result<Created, WriteError> {
        let (groups, taken): (i64, bool) = self
            .db
            .prepare_cached("SELECT count(*), coalesce(max(name = ?1), 0) FROM consumer_groups")?
            .query_row([&name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if taken {
            return Ok(Created::Taken);
        }
        if usize::try_from(groups).unwrap_or_default() >= GROUPS_MAX {
            return Ok(Created::Full);
        }
        let settings_record = String::from_utf8(record::encode_group(&settings)?)?;
        self.db
            .prepare_cached(
                "INSERT INTO consumer_groups (name, revision, pin, floor, token, version, checksum, record)
                 VALUES (?1, 1, ?2, ?3, 0, ?4, ?5, ?6)",
            )?
            .execute(params![
                name,
                settings.pin_retention,
                int(floor.0),
                record::VERSION,
                checksum(record::VERSION, settings_record.as_bytes()),
                settings_record
            ])?;
        let id = GroupId(seq(self.db.last_insert_rowid()).0);
        Ok(Created::Fresh(Box::new(Group { id, name, revision: 1, settings, floor })))
    }

    /// The revision of a group, and whether it is the one expected.
    fn revision(&self, id: GroupId, expected: Option<u64>) -> Result<Result<u64, Updated>, WriteError> {
        let found: Option<i64> = self
            .db
            .prepare_cached("SELECT revision FROM consumer_groups WHERE n = ?1")?
            .query_row([int(id.0)], |row| row.get(0))
            .optional()?;
        let Some(revision) = found.map(|revision| seq(revision).0) else { return Ok(Err(Updated::Gone)) };
        Ok(if expected.is_none_or(|expected| expected == revision) {
            Ok(revision)
        } else {
            Err(Updated::Changed(revision))
        })
    }

    fn update_group(
        &mut self,
        id: GroupId,
        expected: Option<u64>,
        settings: &GroupSettings,
    ) -> Result<Updated, WriteError> {
        let revision = match self.revision(id, expected)? {
            Ok(revision) => revision.saturating_add(1),
            Err(not_so) => return Ok(not_so),
        };
        let settings_record = String::from_utf8(record::encode_group(settings)?)?;
        self.db
            .prepare_cached(
                "UPDATE consumer_groups SET revision = ?2, pin = ?3, version = ?4, checksum = ?5, record = ?6
                 WHERE n = ?1",
            )?
            .execute(params![
                int(id.0),
                int(revision),
                settings.pin_retention,
                record::VERSION,
                checksum(record::VERSION, settings_record.as_bytes()),
                settings_record
            ])?;
        Ok(Updated::Done(revision))
    }

    fn delete_group(&mut self, id: GroupId, expected: Option<u64>) -> Result<Updated, WriteError> {
        let revision = match self.revision(id, expected)? {
            Ok(revision) => revision,
            Err(not_so) => return Ok(not_so),
        };
        self.db.prepare_cached("DELETE FROM consumer_groups WHERE n = ?1")?.execute([int(id.0)])?;
        Ok(Updated::Done(revision))
    }

    fn sweep_groups(&mut self) -> Result<bool, WriteError> {
        let mut removed = 0;
        for (table, key) in [("group_parked", "id"), ("group_attempts", "seq"), ("group_settled", "first")] {
            let orphan = format!(
                "DELETE FROM {table} WHERE (n, {key}) IN (SELECT n, {key} FROM {table}
                 WHERE n NOT IN (SELECT n FROM consumer_groups) LIMIT ?1)"
            );
            removed += self.db.prepare_cached(&orphan)?.execute([ROWS_PER_SWEEP])?;
        }
        Ok(removed > 0)
    }
}

fn checksum(version: u8, settings: &[u8]) -> u32 {
    record::checksum(version, Seq(0), settings, &[])
}

fn group_of(row: &Row<'_>) -> rusqlite::Result<Checked<Group>> {
    let (version, check): (u8, u32) = (row.get(4)?, row.get(5)?);
    let settings = row.get_ref(6)?.as_bytes()?;
    let name: String = row.get(1)?;
    if check != checksum(version, settings) {
        return Ok(Err(format!("the settings of group {name}: they do not match their checksum")));
    }
    let settings = match record::decode_group(version, settings) {
        Ok(settings) => settings,
        Err(error) => return Ok(Err(format!("the settings of group {name}: {error}"))),
    };
    Ok(Ok(Group {
        id: GroupId(seq(row.get(0)?).0),
        name,
        revision: seq(row.get(2)?).0,
        settings,
        floor: seq(row.get(3)?),
    }))
}

fn ticket_of(key: Option<i64>) -> Option<TicketKey> {
    key.map(|key| TicketKey(key.cast_unsigned()))
}

fn state_of(db: &Connection, n: i64) -> rusqlite::Result<Option<GroupState>> {
    let place = db
        .prepare_cached("SELECT floor, token FROM consumer_groups WHERE n = ?1")?
        .query_row([n], |row| Ok((seq(row.get(0)?), seq(row.get(1)?).0)))
        .optional()?;
    let Some((floor, token)) = place else { return Ok(None) };
    let settled = db
        .prepare_cached("SELECT first, last FROM group_settled WHERE n = ?1")?
        .query_map([n], |row| Ok((seq(row.get(0)?), seq(row.get(1)?))))?
        .collect::<Result<_, _>>()?;
    let attempts = db
        .prepare_cached(
            "SELECT seq, ticket, attempts, token, lease_until, retry_at, failure FROM group_attempts WHERE n = ?1",
        )?
        .query_map([n], |row| {
            let attempted = Attempted {
                ticket: ticket_of(row.get(1)?),
                attempts: row.get(2)?,
                token: seq(row.get(3)?).0,
                lease_until: row.get::<_, Option<i64>>(4)?.map(time),
                retry_at: row.get::<_, Option<i64>>(5)?.map(time),
                failure: row.get(6)?,
            };
            Ok((seq(row.get(0)?), attempted))
        })?
        .collect::<Result<_, _>>()?;
    let parked = db
        .prepare_cached(
            "SELECT seq, ticket, attempts, reason, park_time, replaying FROM group_parked WHERE n = ?1",
        )?
        .query_map([n], |row| {
            let parked = Parked {
                ticket: ticket_of(row.get(1)?),
                attempts: row.get(2)?,
                reason: row.get(3)?,
                time: time(row.get(4)?),
                replaying: row.get(5)?,
            };
            Ok((seq(row.get(0)?), parked))
        })?
        .collect::<Result<_, _>>()?;
    Ok(Some(GroupState { floor, token, settled, attempts, parked }))
}

/// The event in columns `seq, version, checksum, record, raw`.
fn event_of(row: &Row<'_>) -> rusqlite::Result<Checked<Arc<StoredEvent>>> {
    let event = super::reader::event_of(row)?;
    Ok(event.map(Arc::new).map_err(|(at, what)| format!("the parked event {}: {what}", at.0)))
}

fn page_of(db: &Connection, n: i64, wanted: &ParkedWanted) -> rusqlite::Result<Checked<ParkedPage>> {
    let ParkedWanted { after, ticket_id, count_max, bytes_max } = wanted;
    let of_ticket = if ticket_id.is_empty() { "?3 = ''" } else { "ticket_id = ?3" };
    let mut rows = db.prepare_cached(&format!(
        "SELECT seq, version, checksum, record, raw, attempts, reason, park_time {PARKED}
         AND seq > ?2 AND replaying = 0 AND {of_ticket} ORDER BY seq"
    ))?;
    let mut rows = rows.query(params![n, int(after.0), ticket_id])?;
    let mut page = ParkedPage::default();
    let mut bytes = 0_usize;
    while let Some(row) = rows.next()? {
        let length = row.get_ref(3)?.as_bytes()?.len().saturating_add(row.get_ref(4)?.as_bytes()?.len());
        bytes = bytes.saturating_add(length);
        let fits = bytes <= *bytes_max || page.events.is_empty();
        if page.events.len() >= *count_max || !fits {
            page.more = true;
            break;
        }
        match event_of(row)? {
            Ok(event) => page.events.push(ParkedEvent {
                event,
                attempts: row.get(5)?,
                reason: row.get(6)?,
                time: time(row.get(7)?),
            }),
            Err(what) => return Ok(Err(what)),
        }
    }
    Ok(Ok(page))
}
