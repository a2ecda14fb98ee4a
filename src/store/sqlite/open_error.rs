//! Why the store cannot be opened, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

use crate::domain::Seq;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is missing.
    #[error("the directory {} does not exist; make it, or change [store] path", .0.display())]
    NoDirectory(PathBuf),
    /// There is something else in its place.
    #[error("{} cannot be a store: name a file in [store] path, not a directory", .0.display())]
    NotAFile(PathBuf),
    /// Another process has it open.
    #[error(
        "{} is in use by another deskgate; stop that one, or give this one a [store] path of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// It cannot be written.
    #[error(
        "{} cannot be written; let this user write the file and its directory, and mount them writable",
        .0.display()
    )]
    ReadOnly(PathBuf),
    /// There is no room.
    #[error("there is no room for {}; free some space on its disk and start again", .0.display())]
    Full(PathBuf),
    /// It is no file of ours.
    #[error("{} is not a deskgate store and was left as it is; change [store] path", .0.display())]
    Foreign(PathBuf),
    /// A later build made it.
    #[error(
        "{} was written by a newer deskgate (schema {found}, this build knows up to {known}); start that \
         version again, or restore a backup from before the upgrade",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: usize,
        /// Ours.
        known: usize,
    },
    /// It is damaged.
    #[error(
        "{} is damaged ({what}); keep a copy of it and of its -wal file, then restore a backup, or recover \
         with sqlite3's .recover",
        .path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The system refuses.
    #[error("{} cannot be opened: {source}; see to that and start again", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// SQLite refuses.
    #[error("{} cannot be opened: {source}; see to that and start again", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(super) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        let is = |kinds: &[io::ErrorKind]| kinds.contains(&source.kind());
        if is(&[io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem]) {
            Self::ReadOnly(path)
        } else if is(&[io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded]) {
            Self::Full(path)
        } else {
            Self::Io { path, source }
        }
    }

    pub(super) fn corrupt_event(path: &Path, at: Seq, what: &str) -> Self {
        Self::Corrupt { path: path.to_owned(), what: format!("the event at position {}: {what}", at.0) }
    }

    pub(super) fn from_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let code = source.sqlite_error_code();
        // The index of the write-ahead log is a file too, and for want of room it cannot grow.
        if source.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE) {
            return Self::Full(path);
        }
        match code {
            Some(ErrorCode::NotADatabase) => Self::Foreign(path),
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, what: source.to_string() },
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Self::ReadOnly(path)
            }
            _ => Self::Sqlite { path, source },
        }
    }
}
