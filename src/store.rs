//! What is kept: the event log, the command ledger, the quarantine and consumer groups, as narrow traits over one file.
//! Nothing in here has heard of LIME, and no type generated from the API is stored.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::{
    Fingerprint, NewEvent, Outcome, Returned, Seq, StoredEvent, Ticket, TicketState, TicketStatus,
};

pub mod groups;
pub mod memory;
pub mod notebook;
pub mod page;
pub mod quarantine;
pub mod record;
pub mod rules;
pub mod sqlite;

/// The durable log of events.
#[async_trait]
pub trait EventLog: fmt::Debug + Send + Sync + 'static {
    /// Appends in order, at most once per dedup key; returns once every event is durable. One answer an event. The
    /// status of a message that a recorded command sent is placed in that command's ticket.
    async fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Appended>, AppendError>;

    /// Keeps a body that could not be read; returns once it is durable.
    async fn quarantine(&self, body: Quarantined) -> Result<(), AppendError>;

    /// Reads at most `limit` events strictly after `after`, in order; [`ReadError::Trimmed`] where retention
    /// has passed it. Empty at the tail.
    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Arc<StoredEvent>>, ReadError>;

    /// The same from memory, without waiting; `None` when the events after `after` are no longer all there.
    fn recent(&self, after: Seq, limit: usize) -> Option<Vec<Arc<StoredEvent>>>;

    /// The newest durable position; a change wakes readers that follow the tail.
    fn tail(&self) -> watch::Receiver<Seq>;

    /// The position just before the first event received at or after `at`; the tail if there is none.
    async fn seek(&self, at: Timestamp) -> Result<Seq, ReadError>;

    /// What the log holds now.
    async fn bounds(&self) -> Result<Bounds, ReadError>;

    /// Who this log is; part of every cursor.
    fn id(&self) -> LogId;

    /// What the log knows of a ticket.
    async fn ticket(&self, bot: &str, ticket_id: &str) -> Result<Option<TicketState>, ReadError>;

    /// A page of the tickets whose document the log has, newest first, each with its bot.
    async fn tickets(&self, wanted: TicketsWanted) -> Result<Page<(String, Ticket)>, ReadError>;

    /// The bots that have a ticket of this id.
    async fn bots_of(&self, ticket_id: &str) -> Result<Vec<String>, ReadError>;

    /// Whether the log can store, and why not.
    fn health(&self) -> watch::Receiver<Health>;
}

/// The durable record of commands.
#[async_trait]
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Records a command before anything is sent, unless its request id tells it is an old one. Returns once
    /// the record is durable: as begun, or, where its caller does not wait, as queued.
    async fn begin(&self, command: NewCommand) -> Result<Begun, AppendError>;

    /// Records that a queued command is about to be sent; with what the log knows of its ticket. `None` if it has an
    /// end, or there is no such command.
    async fn start(&self, id: Uuid) -> Result<Option<(CommandRecord, Box<TicketState>)>, AppendError>;

    /// Takes [`start`](Self::start) back: nothing was sent. Changes nothing for a command with an end.
    async fn requeue(&self, id: Uuid) -> Result<(), AppendError>;

    /// Records the end of a command and appends `events` in the same transaction. A command that has an end keeps it,
    /// unless that end was unknown and the new one is not: then nothing is changed, and its record answered.
    async fn settle(&self, id: Uuid, end: End, events: Vec<NewEvent>) -> Result<CommandRecord, AppendError>;

    /// Finds a command.
    async fn command(&self, key: CommandKey) -> Result<Option<CommandRecord>, ReadError>;

    /// A page of commands without an end, oldest first.
    async fn unsettled(&self, wanted: Unsettled) -> Result<Page<CommandRecord>, ReadError>;

    /// The newest commands, at most `count_max`, that ended at or after `since` in a way that is not known.
    async fn unknown_since(
        &self,
        since: Timestamp,
        count_max: usize,
    ) -> Result<Vec<CommandRecord>, ReadError>;

    /// A page of commands, newest first, without the documents that Blip answered to them.
    async fn commands(&self, wanted: CommandsWanted) -> Result<Page<CommandRecord>, ReadError>;
}

/// What happened to an appended event.
#[derive(Debug, Clone, PartialEq)]
pub enum Appended {
    /// It is at this position.
    At(Arc<StoredEvent>),
    /// It was there already, at this position (which retention may have passed).
    Duplicate(Seq),
}

/// A body nobody could read, kept for a person or a later version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The bot's short name.
    pub bot: Arc<str>,
    /// Why it could not be read; says nothing of its content.
    pub reason: String,
    /// The exact body.
    pub raw: Bytes,
}

/// What a log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Everything up to here is gone: the earliest readable position is the next one.
    pub trimmed: Seq,
    /// The newest position; equal to `trimmed` when the log is empty.
    pub last: Seq,
    /// When the earliest event was received.
    pub earliest_time: Option<Timestamp>,
    /// When the newest event was received.
    pub latest_time: Option<Timestamp>,
    /// How long events are kept at least, unless they are too many.
    pub retention: Duration,
    /// Bytes that the store needs for what it holds.
    pub live_bytes: u64,
    /// Past which the oldest events go, however new; `None` without a bound.
    pub live_bytes_max: Option<u64>,
    /// `sqlite`, `memory`.
    pub store: &'static str,
}

/// Whether the log can store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ready,
    /// The disk is full; it recovers by itself when there is room.
    Full,
    /// It cannot until the process is started again.
    Failed(String),
}

/// A command about to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCommand {
    /// Its id, new.
    pub id: Uuid,
    /// The rpc.
    pub method: String,
    /// The bot's short name.
    pub bot: String,
    /// The ticket.
    pub ticket_id: String,
    /// Who asks.
    pub principal: String,
    /// The caller's idempotency key; empty without one.
    pub request_id: String,
    /// Digest of what is asked.
    pub fingerprint: Fingerprint,
    /// Whatever the gateway needs to look for it after a restart; opaque to the store.
    pub memo: String,
    /// Its caller does not wait for the end: it is queued, and the log tells the end.
    pub accept_only: bool,
}

/// What [`Ledger::begin`] found.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// It is new and now durable; with what the log knows of its ticket.
    Fresh(CommandRecord, Box<TicketState>),
    /// The same request was recorded before; settled or not.
    Known(CommandRecord),
    /// The request id was used for something else.
    Conflict(CommandRecord),
}

/// A recorded command.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandRecord {
    /// What was asked.
    pub command: NewCommand,
    /// When it became durable.
    pub accept_time: Timestamp,
    /// From when on it may have been sent; `None` while it is queued.
    pub start_time: Option<Timestamp>,
    /// How it ended; `None` while it is queued, runs or is in doubt.
    pub end: Option<End>,
    /// When it ended.
    pub settle_time: Option<Timestamp>,
    /// Position of the first event it appended; 0 for none.
    pub event_seq: Seq,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// What became of it.
    pub outcome: Outcome,
    /// How many times Blip was asked.
    pub attempts: u32,
    /// What Blip answered, where that is worth keeping.
    pub returned: Option<Returned>,
}

/// How far a command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Durable; nothing has been sent.
    Queued,
    /// Perhaps sent.
    Running,
    /// Blip did it.
    Succeeded,
    /// It did not happen.
    Failed,
    /// It may or may not have happened.
    Unknown,
}

impl CommandRecord {
    /// How far it has come.
    pub fn progress(&self) -> Progress {
        match self.end.as_ref().map(|end| &end.outcome) {
            None if self.start_time.is_none() => Progress::Queued,
            None => Progress::Running,
            Some(Outcome::Done | Outcome::AlreadyClosed) => Progress::Succeeded,
            Some(Outcome::Failed(_)) => Progress::Failed,
            Some(Outcome::Unknown(_)) => Progress::Unknown,
        }
    }
}

/// Some of a list, and where it goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// In the list's order. May be fewer than asked for, and none, though the list goes on.
    pub items: Vec<T>,
    /// What to ask for next; `None` at the end.
    pub next: Option<u64>,
}

/// Which tickets to tell of; what is empty is no condition, identities ignore case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TicketsWanted {
    /// Of this bot.
    pub bot: String,
    /// In any of these states.
    pub statuses: Vec<TicketStatus>,
    /// Of this queue.
    pub team: String,
    /// Of this agent.
    pub agent_identity: String,
    /// Of this customer, whether or not behind a router.
    pub customer_identity: String,
    /// How many at most.
    pub count_max: usize,
    /// Where an earlier page ended.
    pub before: Option<u64>,
}

/// Which commands to tell of; what is empty is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandsWanted {
    /// On this ticket.
    pub ticket_id: String,
    /// That have come so far.
    pub progress: Vec<Progress>,
    /// How many at most.
    pub count_max: usize,
    /// Where an earlier page ended.
    pub before: Option<u64>,
}

/// Which commands without an end to tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// Those that were perhaps sent, or else those that are queued.
    pub begun: bool,
    /// How many at most.
    pub count_max: usize,
    /// How many bytes their memos have at most; one command is told whatever it has.
    pub bytes_max: usize,
    /// Where an earlier page ended.
    pub after: Option<u64>,
}

impl Unsettled {
    /// Whether a command is one of these.
    fn wants(&self, record: &CommandRecord) -> bool {
        record.end.is_none() && record.start_time.is_some() == self.begun
    }
}

/// How a command is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandKey {
    /// By its own id.
    Id(Uuid),
    /// By its caller's idempotency key.
    Request {
        /// The caller.
        principal: String,
        /// The key.
        request_id: String,
    },
}

/// Why nothing was stored, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Nothing was written: too much is waiting to be.
    #[error("the store is behind: its queue is full")]
    Busy,
    /// Nothing was written: no room.
    #[error("the disk that holds the store is full")]
    Full,
    /// Nothing was written.
    #[error("the store cannot write: {0}")]
    Unavailable(String),
    /// It may or may not have been written; append the same keys again.
    #[error("the store broke off while writing: {0}")]
    Unknown(String),
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Retention has passed the position: everything up to `earliest` is gone.
    #[error("retention has passed this position; the log begins after {}", earliest.0)]
    Trimmed {
        /// The position to read on from.
        earliest: Seq,
    },
    /// A record does not match its checksum, or cannot be decoded.
    #[error("the store is corrupt at position {}: {what}", at.0)]
    Corrupt {
        /// Which one.
        at: Seq,
        /// What is wrong.
        what: String,
    },
    /// It cannot be read now.
    #[error("the store cannot read: {0}")]
    Unavailable(String),
}

/// Who a log is: random, made with the store, and copied with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 8]);

impl fmt::Display for LogId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// A position as readers carry it: printable, URL-safe, with a check and the log's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Whose position.
    pub log: LogId,
    /// The last event already seen.
    pub seq: Seq,
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor, or it was changed on the way")]
pub struct MalformedCursor;

/// The form of cursors this build writes.
const CURSOR_VERSION: u8 = 1;

impl Cursor {
    /// Reads a cursor as [`Display`](fmt::Display) wrote it.
    pub fn parse(text: &str) -> Result<Self, MalformedCursor> {
        let (log, seq) = unseal(CURSOR_VERSION, text)?;
        Ok(Self { log, seq: Seq(seq) })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&seal(CURSOR_VERSION, self.log, self.seq.0))
    }
}

/// A number of `log` as printable text with a check.
fn seal(version: u8, log: LogId, number: u64) -> String {
    let mut bytes = [version; 21];
    let (body, check) = bytes.split_at_mut(17);
    body.iter_mut()
        .skip(1)
        .zip(log.0.into_iter().chain(number.to_be_bytes()))
        .for_each(|(to, from)| *to = from);
    check.copy_from_slice(&crc32fast::hash(body).to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads what [`seal`] wrote under the same version.
fn unseal(version: u8, text: &str) -> Result<(LogId, u64), MalformedCursor> {
    let (log, number) = unseal_bytes(version, text)?;
    let Ok(number) = <[u8; 8]>::try_from(number) else { return Err(MalformedCursor) };
    Ok((log, u64::from_be_bytes(number)))
}

/// The same of bytes that are no number.
fn unseal_bytes(version: u8, text: &str) -> Result<(LogId, Vec<u8>), MalformedCursor> {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else { return Err(MalformedCursor) };
    let (body, check) = bytes.split_last_chunk::<4>().ok_or(MalformedCursor)?;
    let (found, rest) = body.split_first().ok_or(MalformedCursor)?;
    let (log, rest) = rest.split_first_chunk::<8>().ok_or(MalformedCursor)?;
    if *found != version || crc32fast::hash(body).to_be_bytes() != *check {
        return Err(MalformedCursor);
    }
    Ok((LogId(*log), rest.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cursors_round_trip(log: [u8; 8], seq: u64) {
            let cursor = Cursor { log: LogId(log), seq: Seq(seq) };
            prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }

        #[test]
        fn a_changed_cursor_is_refused(log: [u8; 8], seq: u64, at in 0_usize..28, with in "[A-Za-z0-9_-]") {
            let text = Cursor { log: LogId(log), seq: Seq(seq) }.to_string();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &with);
            prop_assume!(changed != text);
            prop_assert_eq!(Cursor::parse(&changed), Err(MalformedCursor));
        }

        #[test]
        fn any_text_is_read_without_panic(text: String) {
            let _ = Cursor::parse(&text);
        }
    }
}
