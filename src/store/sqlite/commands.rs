//! Commands as rows.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{int, micros, seq, time};
use crate::domain::{Fingerprint, Seq};
use crate::store::record::{self, checksum};
use crate::store::rules::SENDS;
use crate::store::{CommandKey, CommandRecord, End, NewCommand};

/// The columns [`command_of`] reads.
const COLUMNS: &str = "id, method, bot, ticket_id, principal, request_id, fingerprint, memo, accept_time,
    settle_time, event_seq, end_version, end_checksum, end_record";

/// A record, or what is wrong with it.
pub(super) type Checked = Result<CommandRecord, String>;

/// Finds a command; by its request, the newest of that name.
pub(super) fn find(db: &Connection, key: &CommandKey) -> rusqlite::Result<Option<Checked>> {
    match key {
        CommandKey::Id(id) => db
            .prepare_cached(&format!("SELECT {COLUMNS} FROM commands WHERE id = ?1"))?
            .query_row([id.into_bytes()], command_of)
            .optional(),
        CommandKey::Request { request_id, .. } if request_id.is_empty() => Ok(None),
        CommandKey::Request { principal, request_id } => db
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM commands
                 WHERE principal = ?1 AND request_id = ?2 AND request_id <> '' ORDER BY n DESC LIMIT 1"
            ))?
            .query_row([principal, request_id], command_of)
            .optional(),
    }
}

/// The ticket that a bot sent the message of this id in.
pub(super) fn ticket_of_message(db: &Connection, bot: &str, id: Uuid) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT ticket_id FROM commands WHERE id = ?1 AND bot = ?2 AND method = ?3")?
        .query_row(params![id.into_bytes(), bot, SENDS], |row| row.get(0))
        .optional()
}

/// Those without an end, oldest first.
pub(super) fn unsettled(db: &Connection) -> rusqlite::Result<Vec<Checked>> {
    let sql = format!("SELECT {COLUMNS} FROM commands WHERE settle_time IS NULL ORDER BY n");
    db.prepare_cached(&sql)?.query_map([], command_of)?.collect()
}

/// Writes a new one.
pub(super) fn insert(db: &Connection, record: &CommandRecord) -> rusqlite::Result<()> {
    let NewCommand { id, method, bot, ticket_id, principal, request_id, fingerprint, memo } = &record.command;
    db.prepare_cached(
        "INSERT INTO commands
         (id, method, bot, ticket_id, principal, request_id, fingerprint, memo, accept_time)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        id.into_bytes(),
        method,
        bot,
        ticket_id,
        principal,
        request_id,
        fingerprint.0,
        memo,
        micros(record.accept_time)
    ])?;
    Ok(())
}

/// Writes how one ended.
pub(super) fn settle(
    db: &Connection,
    id: Uuid,
    end_record: &str,
    settle_time: i64,
    event_seq: Seq,
) -> rusqlite::Result<()> {
    let check = checksum(record::VERSION, Seq(0), end_record.as_bytes(), id.as_bytes());
    db.prepare_cached(
        "UPDATE commands SET settle_time = ?2, event_seq = ?3, end_version = ?4, end_checksum = ?5,
         end_record = ?6 WHERE id = ?1",
    )?
    .execute(params![
        id.into_bytes(),
        settle_time,
        int(event_seq.0),
        record::VERSION,
        check,
        end_record
    ])?;
    Ok(())
}

fn command_of(row: &Row<'_>) -> rusqlite::Result<Checked> {
    let command = NewCommand {
        id: Uuid::from_bytes(row.get(0)?),
        method: row.get(1)?,
        bot: row.get(2)?,
        ticket_id: row.get(3)?,
        principal: row.get(4)?,
        request_id: row.get(5)?,
        fingerprint: Fingerprint(row.get(6)?),
        memo: row.get(7)?,
    };
    let end = match row.get::<_, Option<u8>>(11)? {
        None => None,
        Some(version) => match end_of(version, row.get(12)?, row.get_ref(13)?.as_bytes()?, command.id) {
            Ok(end) => Some(end),
            Err(what) => return Ok(Err(format!("the end of command {}: {what}", command.id))),
        },
    };
    Ok(Ok(CommandRecord {
        command,
        accept_time: time(row.get(8)?),
        end,
        settle_time: row.get::<_, Option<i64>>(9)?.map(time),
        event_seq: seq(row.get(10)?),
    }))
}

fn end_of(version: u8, check: u32, end_record: &[u8], id: Uuid) -> Result<End, String> {
    if check != checksum(version, Seq(0), end_record, id.as_bytes()) {
        return Err("it does not match its checksum".to_owned());
    }
    record::decode_end(version, end_record).map_err(|error| error.to_string())
}
