//! Where a reader starts: positions as the API gives them → positions in the log.

use crate::clock::Clock;
use crate::domain::Seq;
use crate::grpc::convert::start::Start;
use crate::grpc::status;
use crate::store::{Bounds, Cursor, EventLog, LogId, ReadError};

/// A cursor that is no position of this log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CursorError {
    /// There is none.
    #[error("is empty: leave `start` out on the first run")]
    Empty,
    /// It is not one of ours, or was changed.
    #[error("this is not a cursor of the gateway, or it was changed on its way; store cursors as they are")]
    Malformed,
    /// It goes on in another list.
    #[error(
        "this page token is of another list: use it with the request that it came from, otherwise unchanged"
    )]
    OtherList,
    /// It belongs to another log.
    #[error("the cursor belongs to another log; this one is {log}")]
    Foreign {
        /// This log.
        log: LogId,
    },
    /// Retention has passed it.
    #[error(
        "events after the cursor are no longer kept, by age or size; the earliest that can be read are after {earliest}"
    )]
    Expired {
        /// The earliest that works.
        earliest: Cursor,
    },
    /// It is beyond the end.
    #[error("the cursor is beyond the end of the log, which is {latest}; was an older backup restored?")]
    InFuture {
        /// The newest that works.
        latest: Cursor,
    },
}

/// Where a reader begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begin {
    /// Events after this are wanted.
    pub(super) at: Seq,
    /// Retention has passed it: the events between are gone.
    pub(super) expired: bool,
    /// It is the oldest event, wherever that is by the time it is read.
    pub(super) at_oldest: bool,
    /// What the log held.
    pub(super) bounds: Bounds,
}

impl Begin {
    /// Fails where retention has passed the cursor that `start` gave.
    pub(super) fn not_expired(&self, log: LogId, start: &Start) -> Result<(), tonic::Status> {
        match start {
            Start::After { cursor: _, field } if self.expired => {
                let earliest = Cursor { log, seq: self.bounds.trimmed };
                Err(status::of_cursor(&CursorError::Expired { earliest }, field))
            }
            Start::After { .. } | Start::Latest | Start::Earliest | Start::At(_) | Start::Ago(_) => Ok(()),
        }
    }
}

/// Finds the position that `start` means now.
pub(super) async fn find(
    log: &dyn EventLog,
    clock: &dyn Clock,
    start: &Start,
) -> Result<Begin, tonic::Status> {
    let read = |error: ReadError| status::of_read(&error, log.id());
    let bounds = log.bounds().await.map_err(read)?;
    let latest = *log.tail().borrow();
    let at = match start {
        Start::Latest => latest,
        Start::Earliest => bounds.trimmed,
        Start::After { cursor, field } => {
            let found = after(cursor, log.id(), latest, bounds);
            return found.map_err(|error| status::of_cursor(&error, field));
        }
        Start::At(time) => log.seek(*time).await.map_err(read)?.max(bounds.trimmed),
        Start::Ago(ago) => {
            let now = clock.now();
            let time = now.checked_sub(*ago).unwrap_or(jiff::Timestamp::MIN);
            log.seek(time).await.map_err(read)?.max(bounds.trimmed)
        }
    };
    let at_oldest = at == bounds.trimmed && *start != Start::Latest;
    Ok(Begin { at, expired: false, at_oldest, bounds })
}

fn after(text: &str, log: LogId, latest: Seq, bounds: Bounds) -> Result<Begin, CursorError> {
    if text.is_empty() {
        return Err(CursorError::Empty);
    }
    let Ok(cursor) = Cursor::parse(text) else { return Err(CursorError::Malformed) };
    if cursor.log != log {
        return Err(CursorError::Foreign { log });
    }
    if cursor.seq > latest {
        return Err(CursorError::InFuture { latest: Cursor { log, seq: latest } });
    }
    Ok(Begin { at: cursor.seq, expired: cursor.seq < bounds.trimmed, at_oldest: false, bounds })
}
