//! Why a batch fails, and what that means for the next one.

use rusqlite::{ErrorCode, ffi};

/// Why a transaction cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("an event cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("a record is no text: {0}")]
    Text(#[from] std::string::FromUtf8Error),
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    Broken(String),
    #[error("commits can no longer be synced: {0}")]
    Unsafe(String),
}

/// What an error means for the batch and for all that come after it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No room now.
    Full,
    /// This batch failed.
    Passing,
    /// Nothing this thread says can be trusted any more.
    Fatal,
}

/// After these nothing can be trusted: a sync that failed once may lie when tried again.
const FATAL: [ErrorCode; 5] = [
    ErrorCode::SystemIoFailure,
    ErrorCode::DatabaseCorrupt,
    ErrorCode::NotADatabase,
    ErrorCode::ReadOnly,
    ErrorCode::CannotOpen,
];

impl WriteError {
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Verdict::Full,
                Some(code) if FATAL.contains(&code) => Verdict::Fatal,
                Some(_) | None => Verdict::Passing,
            },
            Self::Corrupt(_) | Self::Unsafe(_) => Verdict::Fatal,
            Self::Encode(_) | Self::Text(_) | Self::Broken(_) => Verdict::Passing,
        }
    }

    /// Whether the failed commit may yet turn out to be on disk.
    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Sqlite(rusqlite::Error::SqliteFailure(error, _))
            if error.code == ErrorCode::SystemIoFailure && error.extended_code != ffi::SQLITE_IOERR_READ)
    }
}
