//! Tickets as the writer sees them: a bounded cache over the table, written back once a batch, but for the numbers
//! of known tickets, which [`Counters`] keeps. After a rollback it is emptied, so that memory never runs ahead of
//! the disk.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::counters::{Counters, Sequences};
use super::failure::WriteError;
use super::{int, seq};
use crate::domain::{Seq, Ticket, TicketState};
use crate::store::record;

/// What the writer knows of a ticket.
#[derive(Debug)]
pub(super) struct Cached {
    bot: Arc<str>,
    ticket_id: String,
    /// Its row; none before its first event is written.
    row: Option<i64>,
    pub(super) state: TicketState,
    dirty: bool,
    document_dirty: bool,
    /// As they are in `ticket_numbers`.
    numbers: Numbers,
}

/// A ticket's number, and that of the ticket it was transferred from.
type Numbers = (Option<i64>, Option<i64>);

/// How a ticket is named by another one's document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    /// By its own number.
    Number(i64),
    /// As the one that was transferred from this number.
    Parent(i64),
}

/// Memory from which a generation is full, however few tickets it has.
const GENERATION_BYTES_MAX: usize = 32 << 20;

/// Two generations: what was used since the last turn, and what was used before. Dropping the older one
/// bounds the cache without a list of uses.
#[derive(Debug)]
pub(super) struct Tickets {
    young: HashMap<String, Cached>,
    old: HashMap<String, Cached>,
    /// About what the young take; one that changed is counted again.
    young_bytes: usize,
    dirty: Vec<String>,
    /// Numbers the running transaction moved on, by row.
    moved: Vec<(i64, Sequences)>,
    counters: Arc<Counters>,
    key: String,
    generation_max: usize,
}

impl Tickets {
    pub(super) fn new(cached_max: usize, counters: Arc<Counters>) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            dirty: Vec::new(),
            moved: Vec::new(),
            counters,
            key: String::new(),
            generation_max: (cached_max / 2).max(1),
        }
    }

    /// The transaction is durable.
    pub(super) fn committed(&mut self, events: usize) {
        self.counters.publish(self.moved.drain(..), events);
    }

    /// Forgets everything: the transaction it belonged to is gone.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_bytes = 0;
        self.dirty.clear();
        self.moved.clear();
    }

    /// The state of a ticket, to look at.
    pub(super) fn look(
        &mut self,
        db: &Connection,
        bot: &str,
        ticket_id: &str,
    ) -> Result<&TicketState, WriteError> {
        self.fetch(db, bot, ticket_id)?;
        self.young.get(&self.key).map(|cached| &cached.state).ok_or_else(missing)
    }

    /// The state of a ticket, for an event to be placed in; `document` says whether that changes more than numbers.
    pub(super) fn change(
        &mut self,
        db: &Connection,
        bot: &str,
        ticket_id: &str,
        document: impl FnOnce(&TicketState) -> bool,
    ) -> Result<&mut TicketState, WriteError> {
        self.fetch(db, bot, ticket_id)?;
        let Self { young, dirty, key, .. } = self;
        let cached = young.get_mut(key).ok_or_else(missing)?;
        cached.document_dirty |= document(&cached.state);
        if !mem::replace(&mut cached.dirty, true) {
            dirty.push(key.clone());
        }
        Ok(&mut cached.state)
    }

    /// The document of a bot's newest ticket of this name, other than `but`.
    pub(super) fn named(
        &mut self,
        db: &Connection,
        bot: &str,
        name: Option<Named>,
        but: &str,
    ) -> Result<Option<Ticket>, WriteError> {
        let (by, number) = match name {
            None => return Ok(None),
            Some(Named::Number(number)) => (
                "SELECT ticket_id FROM ticket_numbers AS number JOIN tickets USING (n)
                 WHERE number.bot = ?1 AND sequential_id = ?2 AND ticket_id <> ?3 ORDER BY n DESC LIMIT 1",
                number,
            ),
            Some(Named::Parent(number)) => (
                "SELECT ticket_id FROM ticket_numbers AS number JOIN tickets USING (n)
                 WHERE number.bot = ?1 AND parent_sequential_id = ?2 AND ticket_id <> ?3 ORDER BY n DESC LIMIT 1",
                number,
            ),
        };
        // What this batch has changed is found only once it is written.
        self.write_back(db)?;
        let found: Option<String> =
            db.prepare_cached(by)?.query_row(params![bot, number, but], |row| row.get(0)).optional()?;
        let Some(ticket_id) = found else { return Ok(None) };
        Ok(self.look(db, bot, &ticket_id)?.ticket.clone())
    }

    /// Sees to it that a ticket is among the young, under `key`.
    fn fetch(&mut self, db: &Connection, bot: &str, ticket_id: &str) -> Result<(), WriteError> {
        self.key.clear();
        self.key.push_str(bot);
        self.key.push('\n');
        self.key.push_str(ticket_id);
        if !self.young.contains_key(&self.key) {
            let cached = match self.old.remove(&self.key) {
                Some(cached) => cached,
                None => read(db, &self.counters, bot, ticket_id)?,
            };
            self.young_bytes = self.young_bytes.saturating_add(cached.weight());
            self.young.insert(self.key.clone(), cached);
        }
        Ok(())
    }

    /// Writes what the batch changed.
    pub(super) fn write_back(&mut self, db: &Connection) -> Result<(), WriteError> {
        let mut dirty = mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            if let Some(cached) = self.young.get_mut(&key) {
                if let Some(row) = cached.row.filter(|_| !cached.document_dirty) {
                    cached.dirty = false;
                    self.moved.push((row, Sequences::of(&cached.state)));
                } else {
                    cached.write(db)?;
                    self.young_bytes = self.young_bytes.saturating_add(cached.weight());
                }
            }
        }
        self.dirty = dirty;
        Ok(())
    }

    /// Makes room, once nothing is dirty.
    pub(super) fn turn(&mut self) {
        let full = self.young.len() > self.generation_max || self.young_bytes > GENERATION_BYTES_MAX;
        if self.dirty.is_empty() && full {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

impl Cached {
    /// About how much memory it takes.
    fn weight(&self) -> usize {
        let ticket = self.state.ticket.as_ref().map_or(0, Ticket::weight);
        size_of::<Self>().saturating_add(self.ticket_id.len().saturating_mul(2)).saturating_add(ticket)
    }

    fn write(&mut self, db: &Connection) -> Result<(), WriteError> {
        let TicketState { ticket, last_sequence, activity_sequence } = &self.state;
        let row = if let Some(row) = self.row {
            db.prepare_cached(Counters::UPDATE)?.execute((
                row,
                int(*last_sequence),
                int(*activity_sequence),
            ))?;
            row
        } else {
            db.prepare_cached(
                "INSERT INTO tickets (bot, ticket_id, last_sequence, activity_sequence) VALUES (?1, ?2, ?3, ?4)",
            )?
            .insert(params![&*self.bot, self.ticket_id, int(*last_sequence), int(*activity_sequence)])?
        };
        self.row = Some(row);
        self.dirty = false;
        if let (true, Some(ticket)) = (mem::take(&mut self.document_dirty), ticket) {
            let document = String::from_utf8(record::encode_ticket(ticket)?)?;
            let check = record::checksum(record::VERSION, seq(row), document.as_bytes(), &[]);
            db.prepare_cached(
                "INSERT INTO ticket_documents VALUES (?1, ?2, ?3, ?4) ON CONFLICT (n) DO UPDATE
                 SET version = excluded.version, checksum = excluded.checksum, record = excluded.record",
            )?
            .execute(params![row, record::VERSION, check, document])?;
            let numbers = numbers_of(ticket);
            if self.numbers != numbers {
                db.prepare_cached("INSERT OR REPLACE INTO ticket_numbers VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![row, &*self.bot, numbers.0, numbers.1])?;
                self.numbers = numbers;
            }
        }
        Ok(())
    }
}

fn missing() -> WriteError {
    WriteError::Broken("a ticket left the cache".to_owned())
}

fn read(db: &Connection, counters: &Counters, bot: &str, ticket_id: &str) -> Result<Cached, WriteError> {
    let (row, state) = match find(db, bot, ticket_id)? {
        None => (None, TicketState::default()),
        Some(Ok((row, mut state))) => {
            // The writer's own, so nothing is written between the two.
            counters.of(row).add_to(&mut state);
            (Some(row), state)
        }
        Some(Err(what)) => return Err(WriteError::Corrupt(format!("the document of a ticket: {what}"))),
    };
    let numbers = state.ticket.as_ref().map(numbers_of).unwrap_or_default();
    let (bot, ticket_id) = (Arc::from(bot), ticket_id.to_owned());
    Ok(Cached { bot, ticket_id, row, state, dirty: false, document_dirty: false, numbers })
}

fn numbers_of(ticket: &Ticket) -> Numbers {
    (ticket.sequential_id, ticket.parent_sequential_id)
}

/// A ticket's row.
pub(super) fn row_of(db: &Connection, bot: &str, ticket_id: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT n FROM tickets WHERE ticket_id = ?1 AND bot = ?2")?
        .query_row([ticket_id, bot], |row| row.get(0))
        .optional()
}

/// A ticket's row and state as the tables have them; `Err` when its document is damaged.
pub(super) fn find(
    db: &Connection,
    bot: &str,
    ticket_id: &str,
) -> rusqlite::Result<Option<Result<(i64, TicketState), String>>> {
    db.prepare_cached(
        "SELECT n, last_sequence, activity_sequence, version, checksum, record
         FROM tickets LEFT JOIN ticket_documents USING (n) WHERE ticket_id = ?1 AND bot = ?2",
    )?
    .query_row([ticket_id, bot], |row| {
        let n: i64 = row.get(0)?;
        let mut state = TicketState {
            ticket: None,
            last_sequence: seq(row.get(1)?).0,
            activity_sequence: seq(row.get(2)?).0,
        };
        if let Some(version) = row.get::<_, Option<u8>>(3)? {
            let check: u32 = row.get(4)?;
            let document = row.get_ref(5)?.as_bytes()?;
            if check != record::checksum(version, Seq(seq(n).0), document, &[]) {
                return Ok(Err("it does not match its checksum".to_owned()));
            }
            match record::decode_ticket(version, document) {
                Ok(ticket) => state.ticket = Some(ticket),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Ok(Ok((n, state)))
    })
    .optional()
}

/// The bots that have a ticket of this id.
pub(super) fn bots_of(db: &Connection, ticket_id: &str) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached("SELECT bot FROM tickets WHERE ticket_id = ?1 ORDER BY bot")?
        .query_map([ticket_id], |row| row.get(0))?
        .collect()
}
