//! How far each ticket's numbers have come. Every event moves those of its ticket on, and tickets lie scattered over
//! the table: writing them with each batch would dirty more pages than the events do. So a known ticket's numbers
//! stand in memory, and on disk in its events' records; from time to time they are written to the table, in the
//! order of its rows. What a crash leaves unwritten is read back from the events.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::{OpenError, int, reader, tickets};
use crate::domain::TicketState;

/// Tickets from which the numbers are written: a few milliseconds of the writer's time, every so many thousand events.
const TICKETS_MAX: usize = 2_048;

/// Events after which they are written, however few tickets they belong to: what a start may have to read back.
const EVENTS_MAX: usize = 32_768;

/// A ticket's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sequences {
    last: u64,
    activity: u64,
}

impl Sequences {
    pub(super) fn of(state: &TicketState) -> Self {
        Self { last: state.last_sequence, activity: state.activity_sequence }
    }

    /// Brings a state that was known at another time up to date.
    pub(super) fn add_to(self, state: &mut TicketState) {
        state.last_sequence = state.last_sequence.max(self.last);
        state.activity_sequence = state.activity_sequence.max(self.activity);
    }

    /// Sequences only grow, so of two that were known at different times the greater is the newer.
    fn raise(&mut self, to: Self) {
        self.last = self.last.max(to.last);
        self.activity = self.activity.max(to.activity);
    }
}

/// The numbers that the table lacks, by row of `tickets`.
#[derive(Debug, Default)]
pub(super) struct Counters {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    unwritten: HashMap<i64, Sequences>,
    /// Events since the table was last written.
    events: usize,
}

impl Counters {
    /// The statement that writes one ticket's numbers.
    pub(super) const UPDATE: &str = "UPDATE tickets SET last_sequence = max(last_sequence, ?2),
         activity_sequence = max(activity_sequence, ?3) WHERE n = ?1";

    /// Reads back what the table lacks; from records that match their checksums only, as a wrong number would stay.
    pub(super) fn load(db: &Connection, path: &Path) -> Result<Self, OpenError> {
        let told = |error| OpenError::from_sqlite(path, error);
        let mut unwritten: HashMap<i64, Sequences> = HashMap::new();
        let mut missing = db
            .prepare(
                "SELECT seq, version, checksum, record, raw FROM events
                 WHERE seq > (SELECT up_to FROM sequences_written) ORDER BY seq",
            )
            .map_err(told)?;
        let mut rows = missing.query([]).map_err(told)?;
        let mut events = 0_usize;
        while let Some(row) = rows.next().map_err(told)? {
            events = events.saturating_add(1);
            let event = reader::event_of(row).map_err(told)?;
            let event = event.map_err(|(at, what)| OpenError::corrupt_event(path, at, &what))?.event;
            let row = tickets::row_of(db, &event.bot, &event.ticket_id).map_err(told)?;
            let Some(n) = row else { continue };
            let last = event.ticket_sequence;
            let activity = if event.payload.is_activity() { last } else { 0 };
            unwritten.entry(n).or_default().raise(Sequences { last, activity });
        }
        Ok(Self { kept: Mutex::new(Kept { unwritten, events }) })
    }

    /// Adds what a durable transaction of so many `events` moved on.
    pub(super) fn publish(&self, moved: impl Iterator<Item = (i64, Sequences)>, events: usize) {
        let mut kept = self.lock();
        kept.events = kept.events.saturating_add(events);
        for (row, numbers) in moved {
            kept.unwritten.entry(row).or_default().raise(numbers);
        }
    }

    /// What the table may lack of the ticket in this row. Who reads the table through a view of its own must ask
    /// before it begins that view: what is written by then, the view shows.
    pub(super) fn of(&self, row: i64) -> Sequences {
        self.lock().unwritten.get(&row).copied().unwrap_or_default()
    }

    /// Whether nothing has come since the table was last written.
    pub(super) fn are_written(&self) -> bool {
        self.lock().events == 0
    }

    /// Whether it is time to write.
    pub(super) fn are_many(&self) -> bool {
        let kept = self.lock();
        kept.unwritten.len() >= TICKETS_MAX || kept.events >= EVENTS_MAX
    }

    /// Writes all numbers inside the caller's transaction, `up_to` being the newest position; answers how many.
    pub(super) fn write(&self, db: &Connection, up_to: u64) -> rusqlite::Result<usize> {
        let mut numbers: Vec<_> =
            self.lock().unwritten.iter().map(|(row, numbers)| (*row, *numbers)).collect();
        numbers.sort_unstable_by_key(|(row, _)| *row);
        let count = numbers.len();
        let mut update = db.prepare_cached(Self::UPDATE)?;
        for (row, numbers) in numbers {
            update.execute((row, int(numbers.last), int(numbers.activity)))?;
        }
        db.prepare_cached("UPDATE sequences_written SET up_to = ?1")?.execute([int(up_to)])?;
        Ok(count)
    }

    /// That transaction is committed. Only the writer adds numbers, so none were added since.
    pub(super) fn written(&self) {
        let mut kept = self.lock();
        kept.unwritten.clear();
        kept.events = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
