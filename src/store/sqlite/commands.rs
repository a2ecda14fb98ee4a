//! Commands as rows: what becomes of them inside a transaction, and how they are read.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::batch::{Batch, Incoming};
use super::failure::WriteError;
use super::{int, micros, seq, time};
use crate::domain::{Fingerprint, Seq, TicketState};
use crate::store::record::{self, checksum};
use crate::store::rules::{Gathered, SENDS, first_of, is_held, replaces};
use crate::store::{Begun, CommandKey, CommandRecord, End, NewCommand, Page, Unsettled};

/// The columns [`command_of`] reads.
pub(super) const COLUMNS: &str =
    "id, method, bot, ticket_id, principal, request_id, fingerprint, memo, accept_time,
    settle_time, event_seq, end_version, end_checksum, end_record, accept_only, start_time";

/// A queued command that is about to be sent, and what is known of its ticket.
pub(super) type Started = Option<(CommandRecord, Box<TicketState>)>;

impl Batch<'_> {
    pub(super) fn begin(&mut self, command: NewCommand) -> Result<Begun, WriteError> {
        if let Some(known) = self.command(&CommandKey::Id(command.id))? {
            return Ok(Begun::Known(known));
        }
        let principal = command.principal.clone();
        let key = CommandKey::Request { principal, request_id: command.request_id.clone() };
        if let Some(known) = self.command(&key)?.filter(|known| is_held(known, self.now)) {
            let same = known.command.fingerprint == command.fingerprint;
            return Ok(if same { Begun::Known(known) } else { Begun::Conflict(known) });
        }
        let state = self.tickets.look(self.db, &command.bot, &command.ticket_id)?.clone();
        let start_time = (!command.accept_only).then_some(self.now);
        let accepted = CommandRecord {
            command,
            accept_time: self.now,
            start_time,
            end: None,
            settle_time: None,
            event_seq: Seq::default(),
        };
        insert(self.db, &accepted)?;
        Ok(Begun::Fresh(accepted, Box::new(state)))
    }

    /// `None` if it has an end, or there is no such command.
    pub(super) fn start(&mut self, id: Uuid) -> Result<Started, WriteError> {
        let Some(known) = self.command(&CommandKey::Id(id))?.filter(|known| known.end.is_none()) else {
            return Ok(None);
        };
        let NewCommand { bot, ticket_id, .. } = &known.command;
        let state = self.tickets.look(self.db, bot, ticket_id)?.clone();
        set_start_time(self.db, id, Some(micros(self.now)))?;
        Ok(Some((CommandRecord { start_time: Some(self.now), ..known }, Box::new(state))))
    }

    pub(super) fn requeue(&mut self, id: Uuid) -> Result<(), WriteError> {
        Ok(set_start_time(self.db, id, None)?)
    }

    /// `None` if there is no such command.
    pub(super) fn settle(
        &mut self,
        id: Uuid,
        end: End,
        events: Vec<Incoming>,
    ) -> Result<Option<CommandRecord>, WriteError> {
        let Some(known) = self.command(&CommandKey::Id(id))? else { return Ok(None) };
        if !replaces(&end, known.end.as_ref()) {
            return Ok(Some(known));
        }
        let appended = self.append(events)?;
        let event_seq = first_of(&appended);
        let end_record = String::from_utf8(record::encode_end(&end)?)?;
        settle(self.db, id, &end_record, micros(self.now), event_seq)?;
        Ok(Some(CommandRecord { end: Some(end), settle_time: Some(self.now), event_seq, ..known }))
    }

    fn command(&self, key: &CommandKey) -> Result<Option<CommandRecord>, WriteError> {
        find(self.db, key)?.transpose().map_err(WriteError::Corrupt)
    }
}

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
            // Without the inner SELECT the value decides which index will do, so that each call prepares anew.
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM commands WHERE principal = (SELECT ?1) AND request_id = (SELECT ?2)
                 AND request_id <> '' ORDER BY n DESC LIMIT 1"
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

/// A page of those without an end, oldest first; `Err` where one is damaged.
pub(super) fn unsettled(
    db: &Connection,
    wanted: Unsettled,
) -> rusqlite::Result<Result<Page<CommandRecord>, String>> {
    let begun = if wanted.begun { "NOT NULL" } else { "NULL" };
    let mut rows = db.prepare_cached(&format!(
        "SELECT {COLUMNS}, n FROM commands WHERE settle_time IS NULL AND n > ?1 AND start_time IS {begun} ORDER BY n"
    ))?;
    let mut rows = rows.query([int(wanted.after.unwrap_or_default())])?;
    let mut page = Gathered::new(wanted);
    while let Some(row) = rows.next()? {
        match command_of(row)? {
            Ok(record) => {
                if !page.take(seq(row.get(16)?).0, record) {
                    break;
                }
            }
            Err(what) => return Ok(Err(what)),
        }
    }
    Ok(Ok(page.end()))
}

/// Those that ended in a way that is not known, the newest first.
pub(super) fn unknown_since(db: &Connection, since: i64, count_max: usize) -> rusqlite::Result<Vec<Checked>> {
    // A damaged end is told when its command is asked for.
    let sql = format!(
        "SELECT {COLUMNS} FROM commands WHERE settle_time >= ?1 AND json_valid(end_record)
         AND end_record ->> '$.outcome.unknown' IS NOT NULL ORDER BY settle_time DESC, n DESC LIMIT ?2"
    );
    let limit = i64::try_from(count_max).unwrap_or(i64::MAX);
    db.prepare_cached(&sql)?.query_map((since, limit), command_of)?.collect()
}

fn set_start_time(db: &Connection, id: Uuid, start_time: Option<i64>) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE commands SET start_time = ?2 WHERE id = ?1 AND settle_time IS NULL")?
        .execute(params![id.into_bytes(), start_time])?;
    Ok(())
}

/// Writes a new one.
fn insert(db: &Connection, record: &CommandRecord) -> rusqlite::Result<()> {
    let NewCommand { id, method, bot, ticket_id, principal, request_id, fingerprint, memo, accept_only } =
        &record.command;
    db.prepare_cached(
        "INSERT INTO commands
         (id, method, bot, ticket_id, principal, request_id, fingerprint, memo, accept_time, accept_only, start_time)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
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
        micros(record.accept_time),
        accept_only,
        record.start_time.map(micros)
    ])?;
    Ok(())
}

/// Writes how one ended.
fn settle(
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

pub(super) fn command_of(row: &Row<'_>) -> rusqlite::Result<Checked> {
    let command = NewCommand {
        id: Uuid::from_bytes(row.get(0)?),
        method: row.get(1)?,
        bot: row.get(2)?,
        ticket_id: row.get(3)?,
        principal: row.get(4)?,
        request_id: row.get(5)?,
        fingerprint: Fingerprint(row.get(6)?),
        memo: row.get(7)?,
        accept_only: row.get(14)?,
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
        start_time: row.get::<_, Option<i64>>(15)?.map(time),
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
