//! What happens inside one transaction: events find their place (what becomes of commands is in `commands`). Nothing
//! in here commits, and nothing it changes outside the transaction outlives a rollback.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, params};

use super::dedup::Dedup;
use super::failure::WriteError;
use super::tickets::{Named, Tickets};
use super::{commands, int, micros};
use crate::clock::Ids;
use crate::domain::late::Place;
use crate::domain::transfer::join;
use crate::domain::{DedupKey, Kin, NewEvent, Seq, StoredEvent, TicketState, place};
use crate::store::record::{self, Prepared};
use crate::store::{Appended, Quarantined};

/// The statements every event needs, looked up once a transaction.
pub(super) struct Statements<'a> {
    insert: CachedStatement<'a>,
    pub(super) known: CachedStatement<'a>,
}

impl<'a> Statements<'a> {
    pub(super) fn of(db: &'a Connection) -> rusqlite::Result<Self> {
        let insert = "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        Ok(Self { insert: db.prepare_cached(insert)?, known: db.prepare_cached(Dedup::KNOWN)? })
    }
}

/// An event on its way in, and what of its record could be written before.
pub(super) struct Incoming {
    event: NewEvent,
    prepared: Option<Prepared>,
}

impl Incoming {
    /// Does what needs no place yet, on the caller's thread: there is only one that writes.
    pub(super) fn new(event: NewEvent) -> Self {
        // What cannot be written before cannot be written then, and fails there.
        let prepared = record::prepare(&event).unwrap_or_default();
        Self { event, prepared }
    }

    /// Leaves all of it to the one that writes.
    pub(super) fn unprepared(event: NewEvent) -> Self {
        Self { event, prepared: None }
    }
}

/// One transaction's work.
pub(super) struct Batch<'a> {
    pub(super) db: &'a Connection,
    pub(super) statements: Statements<'a>,
    pub(super) ids: &'a dyn Ids,
    pub(super) tickets: &'a mut Tickets,
    pub(super) dedup: &'a mut Dedup,
    /// Where a record is written before it is bound.
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) now: Timestamp,
    pub(super) next: Seq,
    /// What to publish after the commit, with sizes.
    pub(super) fresh: Vec<(Arc<StoredEvent>, usize)>,
    /// By how many the bodies in quarantine become more, or less.
    pub(super) held: i64,
}

impl Batch<'_> {
    pub(super) fn append(&mut self, events: Vec<Incoming>) -> Result<Vec<Appended>, WriteError> {
        let mut appended = Vec::with_capacity(events.len());
        for event in events {
            appended.push(self.append_one(event, place)?);
        }
        Ok(appended)
    }

    pub(super) fn append_one(&mut self, incoming: Incoming, place: Place) -> Result<Appended, WriteError> {
        let Incoming { event: mut new, mut prepared } = incoming;
        let seq = self.next;
        let key = new.dedup;
        if let Some(key) = key
            && let Some(known) = self.dedup.claim(&mut self.statements.known, key, seq, micros(self.now))?
        {
            return Ok(Appended::Duplicate(known));
        }
        if let Some(id) = new.speaks_of()
            && let Some(ticket_id) = commands::ticket_of_message(self.db, &new.bot, id)?
        {
            new.ticket_id = Some(ticket_id);
            prepared = None; // it told another
        }
        let told_in_turn = if Kin::concerns(&new) { self.join(&mut new)? } else { Vec::new() };
        let (event, raw) = match &new.ticket_id {
            None => place(new, &mut TicketState::default(), self.ids.next(), self.now),
            Some(ticket_id) => {
                let document = |known: &TicketState| new.changes_document() || new.teaches(known);
                let state = self.tickets.change(self.db, &new.bot, ticket_id, document)?;
                place(new, state, self.ids.next(), self.now)
            }
        };
        let stored = Arc::new(StoredEvent { seq, event, raw });
        let bytes = self.insert(&stored, key, prepared.as_ref())?;
        self.next = Seq(seq.0.saturating_add(1));
        self.fresh.push((Arc::clone(&stored), bytes));
        for event in told_in_turn {
            self.append_one(Incoming::unprepared(event), place)?;
        }
        Ok(Appended::At(stored))
    }

    /// Joins a ticket's document to the tickets it names by number; answers what these are told.
    fn join(&mut self, new: &mut NewEvent) -> Result<Vec<NewEvent>, WriteError> {
        let (db, bot) = (self.db, Arc::clone(&new.bot));
        let Some(ticket_id) = new.ticket_id.clone() else { return Ok(Vec::new()) };
        let known = self.tickets.look(db, &bot, &ticket_id)?;
        let Some(Kin { parent, child }) = Kin::of(new, known) else { return Ok(Vec::new()) };
        let known = known.clone();
        let parent = self.tickets.named(db, &bot, parent.map(Named::Number), &ticket_id)?;
        let child = self.tickets.named(db, &bot, child.map(Named::Parent), &ticket_id)?;
        Ok(join(new, &known, parent.as_ref(), child.as_ref()))
    }

    fn insert(
        &mut self,
        stored: &StoredEvent,
        key: Option<DedupKey>,
        prepared: Option<&Prepared>,
    ) -> Result<usize, WriteError> {
        let StoredEvent { seq, event, raw } = stored;
        self.buffer.clear();
        match prepared {
            Some(prepared) => record::encode_prepared(event, prepared, self.buffer)?,
            None => record::encode_event(event, self.buffer)?,
        }
        let check = record::checksum(record::VERSION, *seq, self.buffer, raw);
        self.statements.insert.execute(params![
            int(seq.0),
            micros(self.now),
            event.payload.type_name(),
            &*event.bot,
            event.ticket_id,
            key.map(|key| key.0),
            record::VERSION,
            check,
            // JSON, so UTF-8 as a column of text must be.
            ToSqlOutput::Borrowed(ValueRef::Text(self.buffer)),
            &**raw
        ])?;
        Ok(self.buffer.len().saturating_add(raw.len()))
    }

    pub(super) fn quarantine(&mut self, body: &Quarantined) -> Result<(), WriteError> {
        let Quarantined { bot, reason, raw } = body;
        self.db
            .prepare_cached(
                "INSERT INTO quarantine (receive_time, bot, reason, raw) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![micros(self.now), &**bot, reason, &**raw])?;
        self.held = self.held.saturating_add(1);
        Ok(())
    }
}
