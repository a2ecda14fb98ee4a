//! Which of the tickets that Blip shows a `Create` may have opened it did open: not one that the log knew before it began,
//! nor one that another command opened, or may have. Where that is not sure, none.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::domain::translate::created_among;
use crate::domain::{Origin, Returned, StoredEvent, Ticket};
use crate::store::{CommandKey, CommandRecord, ReadError};

use super::carry::since;
use super::follow::FOLLOWED_MAX;
use super::{Inner, memo};

/// Events looked through for where a ticket came from; beyond that nobody knows.
const EVENTS_LOOKED_AT_MAX: usize = 65_536;
/// Events read at once.
const EVENTS_AT_ONCE: usize = 1_000;
/// How long after its end a command may still take effect: Blip itself gives up after one minute.
const LATE_MAX: SignedDuration = SignedDuration::from_mins(2);

/// What the log tells of where a ticket came from.
#[derive(Debug, Default)]
struct Trace {
    /// When its first event came.
    first: Option<Timestamp>,
    /// The commands that wrote events of it.
    commands: Vec<Uuid>,
}

impl Inner {
    /// The one of these tickets that the command opened; `None` where none is, or more than one may be.
    pub(super) async fn opened_by(
        &self,
        record: &CommandRecord,
        candidates: Vec<Ticket>,
    ) -> Result<Option<Ticket>, ReadError> {
        if candidates.is_empty() {
            return Ok(None);
        }
        // Before the events are read: what comes meanwhile is among them then.
        let mut known = HashSet::new();
        for ticket in &candidates {
            let state = self.log.ticket(&record.command.bot, &ticket.id).await?;
            if state.is_some_and(|state| state.last_sequence > 0) {
                known.insert(ticket.id.clone());
            }
        }
        let traces = self.traces(record, &candidates).await?;
        let rivals = self.rivals(record).await?;
        let mut left = Vec::new();
        for ticket in candidates {
            let trace = traces.get(&ticket.id);
            let is_new = match trace.and_then(|trace| trace.first) {
                Some(first) => first >= record.start_time.unwrap_or(record.accept_time),
                // What came before those that were looked through is not known.
                None => !known.contains(&ticket.id),
            };
            let may_be_theirs = rivals.iter().any(|rival| rival.may_have_opened(&ticket));
            if is_new && !may_be_theirs && !self.is_credited(&ticket.id, trace, record).await? {
                left.push(ticket);
            }
        }
        let only = left.pop();
        Ok(only.filter(|_| left.is_empty()))
    }

    /// What the log tells of these tickets, as far back as one of them may have been opened by the command.
    async fn traces(
        &self,
        record: &CommandRecord,
        candidates: &[Ticket],
    ) -> Result<HashMap<String, Trace>, ReadError> {
        let mut traces: HashMap<String, Trace> = HashMap::new();
        let mut at = self.log.seek(since(record)).await?;
        let mut looked_at = 0_usize;
        while looked_at < EVENTS_LOOKED_AT_MAX {
            let events = match self.log.read(at, EVENTS_AT_ONCE).await {
                Ok(events) => events,
                Err(ReadError::Trimmed { earliest }) if earliest > at => {
                    at = earliest;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(last) = events.last() else { break };
            at = last.seq;
            looked_at = looked_at.saturating_add(events.len());
            for StoredEvent { event, .. } in events.iter().map(AsRef::as_ref) {
                let is_one = *event.bot == *record.command.bot
                    && candidates.iter().any(|ticket| ticket.id == event.ticket_id);
                if !is_one {
                    continue;
                }
                let trace = traces.entry(event.ticket_id.clone()).or_default();
                if event.ticket_sequence == 1 {
                    trace.first = Some(event.receive_time);
                }
                if event.origin == Origin::Command
                    && let Ok(id) = Uuid::try_parse(&event.blip_id)
                {
                    trace.commands.push(id);
                }
            }
        }
        Ok(traces)
    }

    /// Whether another command is known to have opened the ticket.
    async fn is_credited(
        &self,
        ticket_id: &str,
        trace: Option<&Trace>,
        record: &CommandRecord,
    ) -> Result<bool, ReadError> {
        let wrote = trace.map(|trace| trace.commands.as_slice()).unwrap_or_default();
        for id in wrote.iter().filter(|id| **id != record.command.id) {
            let found = self.ledger.command(CommandKey::Id(*id)).await?;
            let returned = found.and_then(|found| found.end).and_then(|end| end.returned);
            if matches!(returned, Some(Returned::Ticket(opened)) if opened == ticket_id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Commands of the same kind whose end is not known either, and that may have ended late.
    async fn rivals(&self, record: &CommandRecord) -> Result<Vec<Rival>, ReadError> {
        let from = since(record).saturating_sub(LATE_MAX).unwrap_or(Timestamp::MIN);
        let unknown = self.ledger.unknown_since(from, FOLLOWED_MAX).await?;
        let (id, bot, method) = (record.command.id, &record.command.bot, &record.command.method);
        let is_one = |other: &CommandRecord| {
            other.command.id != id && other.command.bot == *bot && other.command.method == *method
        };
        Ok(unknown.into_iter().filter(is_one).map(Rival).collect())
    }
}

/// A command that may have opened a ticket.
#[derive(Debug)]
struct Rival(CommandRecord);

impl Rival {
    fn may_have_opened(&self, ticket: &Ticket) -> bool {
        let Self(record) = self;
        let Some(request) = memo::request_of(&record.command) else { return true };
        let ended = record.settle_time.unwrap_or(record.accept_time);
        let in_time = ticket.create_time.is_none_or(|created| created.duration_since(ended) <= LATE_MAX);
        in_time && !created_among(vec![ticket.clone()], since(record), &request.action).is_empty()
    }
}
