//! The statements around a transaction, and the one kind that is not synced.

use rusqlite::Connection;

use super::failure::WriteError;

/// A transaction of its own that need not be synced: what it does is done again if a crash takes it back.
/// The pragma takes effect when it is *prepared*, so a cached statement would do nothing.
pub(super) fn unsynced<T>(
    db: &Connection,
    work: impl FnOnce() -> Result<T, WriteError>,
) -> Result<T, WriteError> {
    db.execute_batch("PRAGMA synchronous = NORMAL")?;
    let worked = run_cached(db, "BEGIN IMMEDIATE")
        .and_then(|()| work())
        .and_then(|worked| run_cached(db, "COMMIT").map(|()| worked));
    let restored = || {
        if !db.is_autocommit() {
            run_cached(db, "ROLLBACK")?;
        }
        Ok::<_, WriteError>(db.execute_batch("PRAGMA synchronous = FULL")?)
    };
    restored().map_err(|error| WriteError::Unsafe(error.to_string()))?;
    worked
}

pub(super) fn run_cached(db: &Connection, sql: &str) -> Result<(), WriteError> {
    db.prepare_cached(sql)?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(db: &Connection) -> i64 {
        db.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap()
    }

    #[test]
    fn commits_are_synced_again_after_one_that_was_not() {
        let directory = tempfile::tempdir().unwrap();
        let db = Connection::open(directory.path().join("log.db")).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (x)").unwrap();
        for _ in 0..3 {
            let during = unsynced(&db, || Ok(level(&db))).unwrap();
            assert_eq!((during, level(&db)), (1, 2));
            let failed = unsynced(&db, || Ok(db.execute("INSERT INTO nowhere VALUES (1)", [])?));
            assert!(failed.is_err());
            assert_eq!((db.is_autocommit(), level(&db)), (true, 2));
        }
    }
}
