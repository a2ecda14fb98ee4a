//! What waits in quarantine, and the way out of it. The store knows nothing of reading a body: whoever does hands
//! back the event that it has become, and the body leaves in the transaction that appends it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::{AppendError, LogId, MalformedCursor, ReadError, seal, unseal};
use crate::domain::{DedupKey, NewEvent, Seq, StoredEvent};

/// The bodies that could not be read, in the order they came.
#[async_trait]
pub trait Quarantine: fmt::Debug + Send + Sync + 'static {
    /// A page of what waits.
    async fn held(&self, wanted: Wanted) -> Result<HeldPage, ReadError>;

    /// By which event each key is taken now: what [`release`](Self::release) would find a duplicate. Writes
    /// nothing.
    async fn taken(&self, keys: Vec<DedupKey>) -> Result<Vec<Option<Seq>>, AppendError>;

    /// Appends events that bodies have become, in the order given and marked as late, and lets go of the bodies:
    /// all in one transaction. What is not in quarantine any more is passed over, so that a body is never two
    /// events, whoever else asks for it. One answer for each.
    async fn release(&self, readable: Vec<Readable>) -> Result<Vec<Released>, AppendError>;
}

/// A body's number in its quarantine: 1 for the first, never used twice; 0 is before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeldId(pub u64);

/// Which bodies to tell of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only those after this one.
    pub after: HeldId,
    /// Only this bot's; `None` for all.
    pub bot: Option<String>,
    /// Only these, in ascending order; `None` for all.
    pub ids: Option<Vec<HeldId>>,
    /// How many at most.
    pub count_max: usize,
    /// With their bodies, as many as fit into so many bytes, but one at least; `None` leaves bodies out.
    pub body_bytes_max: Option<usize>,
}

/// Some of what waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldPage {
    /// In the order they came.
    pub bodies: Vec<Held>,
    /// Whether more may follow that did not fit.
    pub more: bool,
}

/// A body in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub id: HeldId,
    /// The bot's short name.
    pub bot: Arc<str>,
    /// When it came.
    pub receive_time: Timestamp,
    /// Why it could not be read then.
    pub reason: String,
    /// How long it is.
    pub size_bytes: usize,
    /// The exact body; empty unless it was asked for.
    pub raw: Bytes,
}

/// A body that can be read now.
#[derive(Debug, Clone, PartialEq)]
pub struct Readable {
    /// Its number.
    pub id: HeldId,
    /// What it has become.
    pub event: NewEvent,
}

/// What became of a body that was to leave.
#[derive(Debug, Clone, PartialEq)]
pub enum Released {
    /// It is an event, at this position.
    At(Arc<StoredEvent>),
    /// It was one already, at this position; the body is gone from quarantine.
    Duplicate(Seq),
    /// It was not there.
    Gone,
}

/// The form of marks this build writes; no cursor begins so.
const MARK_VERSION: u8 = 0x51;

/// Where a page ends, as callers carry it: printable, with a check and the log's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldMark {
    /// Whose quarantine.
    pub log: LogId,
    /// The last body already seen.
    pub id: HeldId,
}

impl HeldMark {
    /// Reads a mark as [`Display`](fmt::Display) wrote it.
    pub fn parse(text: &str) -> Result<Self, MalformedCursor> {
        let (log, id) = unseal(MARK_VERSION, text)?;
        Ok(Self { log, id: HeldId(id) })
    }
}

impl fmt::Display for HeldMark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&seal(MARK_VERSION, self.log, self.id.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Cursor;

    #[test]
    fn a_mark_is_no_cursor() {
        let log = LogId([7; 8]);
        let mark = HeldMark { log, id: HeldId(9) };
        assert_eq!(HeldMark::parse(&mark.to_string()), Ok(mark));
        assert_eq!(Cursor::parse(&mark.to_string()), Err(MalformedCursor));
        assert_eq!(HeldMark::parse(&Cursor { log, seq: Seq(9) }.to_string()), Err(MalformedCursor));
    }
}
