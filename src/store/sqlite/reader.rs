//! Reading: pages through connections of their own, each page one short transaction, every record checked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row};
use tokio::sync::Semaphore;

use super::space::Used;
use super::{int, micros, schema, seq, time};
use crate::domain::{Seq, StoredEvent};
use crate::store::{ReadError, record};

/// Events of one page at most.
const PAGE_EVENTS_MAX: usize = 1_000;

/// Bytes from which a page takes no more in.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// A small pool of connections that can only read.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Option<Vec<Connection>>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, readers_max: usize) -> Self {
        let idle = Arc::new(Mutex::new(Some(Vec::new())));
        Self { path, idle, turns: Arc::new(Semaphore::new(readers_max.max(1))) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads one state of the file on a thread that may block; errors that name no position are told as of `at`.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        at: Seq,
        job: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, ReadError>> + Send + 'static,
    ) -> Result<T, ReadError> {
        self.look(at, |db| one_view(db, job)).await
    }

    /// The same, but each statement sees the file as it is then.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        at: Seq,
        job: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, ReadError>> + Send + 'static,
    ) -> Result<T, ReadError> {
        let unavailable = |what: &str| ReadError::Unavailable(what.to_owned());
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return Err(unavailable("the store is closed"));
        };
        let (idle, path) = (Arc::clone(&self.idle), self.path.clone());
        let run = move || {
            let _turn = turn;
            let taken = match &mut *idle.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(idle) => idle.pop(),
                None => return Err(ReadError::Unavailable("the store is closed".to_owned())),
            };
            let told = |error: rusqlite::Error| read_error(&error, at);
            let db = match taken {
                Some(db) => db,
                None => schema::open_reader(&path).map_err(told)?,
            };
            let answer = job(&db).map_err(told)?;
            if let Some(idle) = &mut *idle.lock().unwrap_or_else(PoisonError::into_inner) {
                idle.push(db);
            }
            answer
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(answer) => answer,
            Err(_) => Err(unavailable("the reader broke off")),
        }
    }

    /// Lets go of the file.
    pub(super) fn close(&self) {
        self.turns.close();
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// All of `job` sees one state of the file.
pub(super) fn one_view<T>(
    db: &Connection,
    job: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let view = db.unchecked_transaction()?;
    let answer = job(&view)?;
    view.commit()?;
    Ok(answer)
}

/// A page of events strictly after `after`, up to `tail`: what lies beyond is committed, and not yet published.
pub(super) fn page(
    db: &Connection,
    after: Seq,
    tail: Seq,
    limit: usize,
) -> rusqlite::Result<Result<Vec<Arc<StoredEvent>>, ReadError>> {
    let (trimmed, last) = ends(db, tail)?;
    if after < trimmed {
        return Ok(Err(ReadError::Trimmed { earliest: trimmed }));
    }
    let limit = limit.min(PAGE_EVENTS_MAX);
    // A bare LIMIT ?3 would be part of the plan, so that each page prepared it anew.
    let mut rows = db.prepare_cached(
        "SELECT seq, version, checksum, record, raw FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT (SELECT ?3)",
    )?;
    let mut rows = rows.query((int(after.0), int(last.0), i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut events = Vec::new();
    let (mut at, mut bytes) = (after, 0_usize);
    while bytes < PAGE_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        at = Seq(at.0.saturating_add(1));
        let event = match event_of(row)? {
            Ok(event) => event,
            Err((at, what)) => return Ok(Err(ReadError::Corrupt { at, what })),
        };
        if event.seq != at {
            return Ok(Err(ReadError::Corrupt { at, what: "it is missing".to_owned() }));
        }
        bytes = bytes.saturating_add(event.weight());
        events.push(Arc::new(event));
    }
    if events.is_empty() && limit > 0 && after < last {
        return Ok(Err(ReadError::Corrupt {
            at: Seq(after.0.saturating_add(1)),
            what: "it is missing".to_owned(),
        }));
    }
    Ok(Ok(events))
}

/// Up to where events are gone, and the newest position that is not beyond `tail`.
fn ends(db: &Connection, tail: Seq) -> rusqlite::Result<(Seq, Seq)> {
    let trimmed: i64 = db.prepare_cached("SELECT trimmed FROM log")?.query_row([], |row| row.get(0))?;
    let last: Option<i64> =
        db.prepare_cached("SELECT max(seq) FROM events")?.query_row([], |row| row.get(0))?;
    Ok((seq(trimmed), seq(last.unwrap_or(trimmed)).min(tail)))
}

/// An event from `seq, version, checksum, record, raw`; or where and what is wrong.
pub(super) fn event_of(row: &Row<'_>) -> rusqlite::Result<Result<StoredEvent, (Seq, String)>> {
    let at = seq(row.get(0)?);
    let version: u8 = row.get(1)?;
    let check: u32 = row.get(2)?;
    let (text, raw) = (row.get_ref(3)?.as_bytes()?, row.get_ref(4)?.as_bytes()?);
    if check != record::checksum(version, at, text, raw) {
        return Ok(Err((at, "it does not match its checksum".to_owned())));
    }
    Ok(match record::decode_event(version, text, raw) {
        Ok(event) => Ok(StoredEvent { seq: at, event, raw: Bytes::copy_from_slice(raw) }),
        Err(error) => Err((at, error.to_string())),
    })
}

/// What is here, and the dates of the first and the last event.
pub(super) struct Extent {
    pub(super) trimmed: Seq,
    pub(super) last: Seq,
    pub(super) earliest_time: Option<Timestamp>,
    pub(super) latest_time: Option<Timestamp>,
    pub(super) live_bytes: u64,
}

pub(super) fn extent(db: &Connection, tail: Seq) -> rusqlite::Result<Extent> {
    let (trimmed, last) = ends(db, tail)?;
    let date = |at: u64| received(db, Seq(at)).map(|date| date.map(time));
    Ok(Extent {
        trimmed,
        last,
        earliest_time: date(trimmed.0.saturating_add(1))?,
        latest_time: date(last.0)?,
        live_bytes: Used::of(db)?.live_bytes(),
    })
}

fn received(db: &Connection, at: Seq) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT receive_time FROM events WHERE seq = ?1")?
        .query_row([int(at.0)], |row| row.get(0))
        .optional()
}

/// The position just before the first event received at or after `date`.
pub(super) fn seek(db: &Connection, tail: Seq, date: Timestamp) -> rusqlite::Result<Seq> {
    let date = if time(micros(date)) < date { micros(date).saturating_add(1) } else { micros(date) };
    // Everything up to `before` is older, everything after `last` is not: dates never decrease.
    let (Seq(mut before), Seq(mut last)) = ends(db, tail)?;
    while before < last {
        let middle = before.midpoint(last).saturating_add(1).min(last);
        if received(db, Seq(middle))?.is_none_or(|at| at >= date) {
            last = middle.saturating_sub(1);
        } else {
            before = middle;
        }
    }
    Ok(Seq(before))
}

/// What an error says about the store.
pub(super) fn read_error(error: &rusqlite::Error, at: Seq) -> ReadError {
    match error.sqlite_error_code() {
        Some(code) if !matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            ReadError::Unavailable(error.to_string())
        }
        // Without a code it is a value that is not of its column's type.
        Some(_) | None => ReadError::Corrupt { at, what: error.to_string() },
    }
}
