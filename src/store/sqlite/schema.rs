//! The file: its tables, their migrations, and the checks before it is trusted. Migrations are numbered,
//! each runs once in its own transaction, and a released one is never changed.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{OpenError, int};
use crate::clock::Ids;
use crate::domain::Seq;
use crate::store::LogId;

/// "DskG": tells our files from others, to us and to `file`.
const APPLICATION_ID: i32 = 0x4473_6b47;

/// Bytes; two or three events of the usual size to a page.
const PAGE_BYTES: u32 = 8192;

/// Files up to this size are checked wholly at every start.
const FULL_CHECK_BYTES_MAX: u64 = 16 << 20;

/// The newest records, whose checksums are verified at every start.
const RECORDS_CHECKED_MAX: u32 = 256;

/// What is written at every start, to find out whether anything can be.
const PROBE_BYTES: u32 = 64 << 10;

/// How long a statement waits for somebody else's lock, such as an operator's shell.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Each brings the file from the version before to its own: index + 1.
const MIGRATIONS: [&str; 7] = [
    "
    CREATE TABLE log (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        id BLOB NOT NULL,                   -- who this log is; part of every cursor
        trimmed INTEGER NOT NULL,           -- everything up to this position is gone
        trimmed_time INTEGER NOT NULL,      -- microseconds since 1970, as all times here
        keys_moved INTEGER NOT NULL         -- up to this position, keys are in dedup
    ) STRICT;
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        receive_time INTEGER NOT NULL,
        type TEXT NOT NULL,
        bot TEXT NOT NULL,
        ticket_id TEXT NOT NULL,            -- empty without one
        key BLOB,                           -- what it is recognised by when it comes again
        version INTEGER NOT NULL,           -- of the record
        checksum INTEGER NOT NULL,          -- CRC-32 of version, seq, record and raw
        record TEXT NOT NULL,               -- JSON
        raw BLOB NOT NULL                   -- the exact body it came in
    ) STRICT;
    CREATE TABLE dedup (                    -- keys of events up to keys_moved, outliving them
        key BLOB PRIMARY KEY,
        seq INTEGER NOT NULL,
        receive_time INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE tickets (                  -- small rows, as every event changes one
        n INTEGER PRIMARY KEY,
        bot TEXT NOT NULL,
        ticket_id TEXT NOT NULL,
        last_sequence INTEGER NOT NULL,
        activity_sequence INTEGER NOT NULL,
        UNIQUE (ticket_id, bot)
    ) STRICT;
    CREATE TABLE ticket_documents (
        n INTEGER PRIMARY KEY,              -- of its ticket
        version INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        record TEXT NOT NULL                -- JSON
    ) STRICT;
    CREATE TABLE quarantine (
        n INTEGER PRIMARY KEY,
        receive_time INTEGER NOT NULL,
        bot TEXT NOT NULL,
        reason TEXT NOT NULL,
        raw BLOB NOT NULL
    ) STRICT;
    CREATE TABLE commands (
        n INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        method TEXT NOT NULL,
        bot TEXT NOT NULL,
        ticket_id TEXT NOT NULL,
        principal TEXT NOT NULL,
        request_id TEXT NOT NULL,           -- empty without one
        fingerprint BLOB NOT NULL,
        memo TEXT NOT NULL,
        accept_time INTEGER NOT NULL,
        settle_time INTEGER,                -- NULL while it runs or is in doubt
        event_seq INTEGER NOT NULL DEFAULT 0,
        end_version INTEGER,
        end_checksum INTEGER,
        end_record TEXT                     -- JSON
    ) STRICT;
    CREATE INDEX commands_by_request ON commands (principal, request_id) WHERE request_id <> '';
    CREATE INDEX commands_unsettled ON commands (n) WHERE settle_time IS NULL;
    CREATE INDEX commands_by_settle_time ON commands (settle_time) WHERE settle_time IS NOT NULL;
",
    "
    CREATE TABLE quarantine_kept (          -- a number is never used twice: callers name bodies by theirs
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        receive_time INTEGER NOT NULL,
        bot TEXT NOT NULL,
        reason TEXT NOT NULL,
        raw BLOB NOT NULL
    ) STRICT;
    INSERT INTO quarantine_kept SELECT * FROM quarantine WHERE n > 0 ORDER BY n;
    DROP TABLE quarantine;
    ALTER TABLE quarantine_kept RENAME TO quarantine;
    CREATE INDEX quarantine_by_bot ON quarantine (bot);
",
    "
    CREATE TABLE ticket_numbers (           -- by which documents name other tickets; written when one is told
        n INTEGER PRIMARY KEY,              -- of its ticket
        bot TEXT NOT NULL,
        sequential_id INTEGER,
        parent_sequential_id INTEGER
    ) STRICT;
    CREATE INDEX tickets_by_number ON ticket_numbers (bot, sequential_id) WHERE sequential_id IS NOT NULL;
    CREATE INDEX tickets_by_parent ON ticket_numbers (bot, parent_sequential_id)
        WHERE parent_sequential_id IS NOT NULL;
    INSERT INTO ticket_numbers
        SELECT n, bot, record ->> '$.sequential_id', record ->> '$.parent_sequential_id'
        FROM tickets JOIN ticket_documents USING (n)
        WHERE json_valid(record)            -- a damaged one is told when it is read
        AND coalesce(record ->> '$.sequential_id', record ->> '$.parent_sequential_id') IS NOT NULL;
",
    "
    CREATE TABLE sequences_written (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        up_to INTEGER NOT NULL              -- tickets' sequences are those of the events up to here, at least
    ) STRICT;
    INSERT INTO sequences_written SELECT 1, coalesce(max(seq), 0) FROM events;
",
    "
    ALTER TABLE commands ADD COLUMN accept_only INTEGER NOT NULL DEFAULT 0; -- whether its caller does not wait
    ALTER TABLE commands ADD COLUMN start_time INTEGER;                     -- NULL while it is queued
    UPDATE commands SET start_time = accept_time;
    CREATE INDEX commands_by_ticket ON commands (ticket_id);
",
    "
    CREATE TABLE reconcile_state (          -- how far reading Blip back has come
        bot TEXT PRIMARY KEY,
        record TEXT NOT NULL                -- JSON
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE consumer_groups (
        n INTEGER PRIMARY KEY AUTOINCREMENT, -- part of the names of deliveries, so never used twice
        name TEXT NOT NULL UNIQUE,
        revision INTEGER NOT NULL,          -- of the settings
        pin INTEGER NOT NULL,               -- 1: the log keeps what the group has not settled
        floor INTEGER NOT NULL,             -- everything up to here is settled
        token INTEGER NOT NULL,             -- the last fencing token that was given
        version INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        record TEXT NOT NULL                -- the settings, as JSON
    ) STRICT;
    CREATE TABLE group_settled (            -- what is settled above the floor: from first to last
        n INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        PRIMARY KEY (n, first)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE group_attempts (           -- what was delivered and is not settled
        n INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        ticket INTEGER,                     -- digest of bot and ticket
        attempts INTEGER NOT NULL,
        token INTEGER NOT NULL,             -- of the newest lease
        lease_until INTEGER,                -- of a lease that outlives the process
        retry_at INTEGER,                   -- not before
        failure TEXT NOT NULL,
        PRIMARY KEY (n, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE group_parked (             -- with copies of the events, which outlive those in the log
        id INTEGER PRIMARY KEY,
        n INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        event_id TEXT NOT NULL,
        ticket INTEGER,                     -- digest of bot and ticket
        ticket_id TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        reason TEXT NOT NULL,
        park_time INTEGER NOT NULL,
        replaying INTEGER NOT NULL,         -- 1: to be delivered again, and not on the list
        version INTEGER NOT NULL,           -- as in events, and so on
        checksum INTEGER NOT NULL,
        record TEXT NOT NULL,
        raw BLOB NOT NULL,
        UNIQUE (n, seq)
    ) STRICT;
    CREATE INDEX group_parked_by_event ON group_parked (n, event_id);
    CREATE INDEX group_parked_by_ticket ON group_parked (n, ticket_id, seq);
",
];

/// What an opened file holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: LogId,
    pub(super) last: Seq,
    pub(super) trimmed: Seq,
    /// Receive time of the newest event there ever was.
    pub(super) last_time: i64,
    /// Bodies in quarantine.
    pub(super) held: i64,
}

/// The one spelling of `path`, so that two names of one file meet at one lock.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    if let Ok(resolved) = path.canonicalize() {
        return Ok(resolved);
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| OpenError::NotAFile(path.to_owned()))?;
    match parent.canonicalize() {
        Ok(resolved) => Ok(resolved.join(name)),
        Err(_) => Err(OpenError::NoDirectory(parent.to_owned())),
    }
}

/// Options that open a file for writing, and make it for its owner only.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes an empty file if there is none: SQLite would make one that others may read, and gives the files beside it
/// the same mode.
fn make(path: &Path) -> Result<(), OpenError> {
    match private().create_new(true).open(path) {
        Ok(_empty) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(OpenError::from_io(path, error)),
    }
}

/// Keeps a second process out for as long as the answer lives.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let opened = private().create(true).truncate(false).open(&name);
    let file = opened.map_err(|source| OpenError::from_io(&name, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(OpenError::Io { path: name, source }),
    }
}

/// Opens, checks and migrates the file for its one writer.
pub(super) fn open(
    path: &Path,
    ids: &dyn Ids,
    size_bytes_max: Option<u64>,
) -> Result<(Connection, Found), OpenError> {
    if path.is_dir() {
        return Err(OpenError::NotAFile(path.to_owned()));
    }
    make(path)?;
    let told = |error| OpenError::from_sqlite(path, error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(told)?;
    db.busy_timeout(BUSY_WAIT).map_err(told)?;
    if db.is_readonly("main").map_err(told)? {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
    let version = identify(&db, path)?;
    prepare(&db, version, size_bytes_max.map(|bytes| bytes / u64::from(PAGE_BYTES))).map_err(told)?;
    migrate(&db, version, ids).map_err(told)?;
    verify(&db, path)?;
    probe(&db).map_err(told)?;
    let found = found(&db).map_err(told)?;
    Ok((db, found))
}

/// A connection that can only read.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = beside(path)?;
    db.pragma_update(None, "query_only", true)?;
    db.pragma_update(None, "cache_size", -4096)?;
    Ok(db)
}

/// A connection beside the writer's.
pub(super) fn beside(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(BUSY_WAIT)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// The version of the schema, 0 for an empty file; nothing is changed in a file that is not ours.
fn identify(db: &Connection, path: &Path) -> Result<usize, OpenError> {
    let told = |error| OpenError::from_sqlite(path, error);
    let number = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(told);
    let version = usize::try_from(number("user_version")?).unwrap_or(usize::MAX);
    let ours = number("application_id")? == i64::from(APPLICATION_ID);
    let tables: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(told)?;
    if !ours && (tables > 0 || version > 0) {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    if version > MIGRATIONS.len() {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known: MIGRATIONS.len() });
    }
    Ok(version)
}

fn prepare(db: &Connection, version: usize, pages_max: Option<u64>) -> rusqlite::Result<()> {
    if version == 0 {
        db.pragma_update(None, "page_size", PAGE_BYTES)?;
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", false)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "cache_size", -32_768)?;
    db.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    db.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))?;
    if let Some(pages) = pages_max {
        db.pragma_update_and_check(None, "max_page_count", int(pages), |_| Ok(()))?;
    }
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn migrate(db: &Connection, version: usize, ids: &dyn Ids) -> rusqlite::Result<()> {
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = db.unchecked_transaction()?;
        transaction.execute_batch(migration)?;
        if index == 0 {
            let [_, _, _, _, _, _, _, _, id @ ..] = ids.next().into_bytes();
            transaction.execute("INSERT INTO log VALUES (1, ?1, 0, 0, 0)", [id])?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        transaction.pragma_update(
            None,
            "user_version",
            i64::try_from(index).unwrap_or_default().saturating_add(1),
        )?;
        transaction.commit()?;
    }
    Ok(())
}

/// Finds damage that a start can find at little cost: a small file wholly, in any file the newest records.
fn verify(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let told = |error| OpenError::from_sqlite(path, error);
    let corrupt = |what| OpenError::Corrupt { path: path.to_owned(), what };
    if path.metadata().is_ok_and(|data| data.len() <= FULL_CHECK_BYTES_MAX) {
        let answer: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(told)?;
        if answer != "ok" {
            return Err(corrupt(answer));
        }
    }
    let mut newest = db
        .prepare("SELECT seq, version, checksum, record, raw FROM events ORDER BY seq DESC LIMIT ?1")
        .map_err(told)?;
    let mut rows = newest.query([RECORDS_CHECKED_MAX]).map_err(told)?;
    while let Some(row) = rows.next().map_err(told)? {
        if let Err((at, what)) = super::reader::event_of(row).map_err(told)? {
            return Err(OpenError::corrupt_event(path, at, &what));
        }
    }
    Ok(())
}

/// Writes something and takes it away again: a store on a full disk must not say that it is ready.
fn probe(db: &Connection) -> rusqlite::Result<()> {
    let insert = "INSERT OR REPLACE INTO quarantine VALUES (-1, 0, '', 'probe', zeroblob(?1))";
    db.execute(insert, [PROBE_BYTES])?;
    db.execute("DELETE FROM quarantine WHERE n = -1", [])?;
    Ok(())
}

fn found(db: &Connection) -> rusqlite::Result<Found> {
    let (id, trimmed, trimmed_time): ([u8; 8], i64, i64) =
        db.query_row("SELECT id, trimmed, trimmed_time FROM log", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let newest: Option<(i64, i64)> = db
        .query_row("SELECT seq, receive_time FROM events ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let (last, last_time) = newest.unwrap_or((trimmed, trimmed_time));
    // The index is small, whatever the bodies are.
    let held =
        db.query_row("SELECT count(*) FROM quarantine INDEXED BY quarantine_by_bot", [], |row| row.get(0))?;
    Ok(Found {
        held,
        id: LogId(id),
        last: super::seq(last.max(trimmed)),
        trimmed: super::seq(trimmed),
        last_time: last_time.max(trimmed_time),
    })
}
