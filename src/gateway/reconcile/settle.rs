//! What was read is compared with the log, and what is missing appended. It is tried on while the store cannot: what was
//! found must not be forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::driver::Bot;
use super::find::{self, Kind, Known, Said};
use super::plan::Conversation;
use crate::domain::translate::Speaker;
use crate::domain::{NewEvent, Payload};
use crate::store::{Appended, CommandKey, ReadError};

/// The pause before the store is tried again; doubles with each.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long it is tried to store what was found: less than there is between what is told and what the log forgets.
const STORE_TIME_MAX: Duration = Duration::from_mins(30);

impl Bot {
    /// Compares a conversation with the log. `asked_at` is how far its ticket was when it was asked for.
    pub(super) async fn conversation_read(&self, conversation: &Conversation, asked_at: Option<u64>) {
        let stored = self.compare(conversation, asked_at).await;
        if let Err(error) = &stored {
            tracing::warn!(bot = %self.name, %error, "a conversation could not be compared with the log; it is read again");
        }
        if !stored.unwrap_or(false) {
            // Where the process stops now, its note has the next one begin there.
            self.planner().not_stored(self.now(), Some(conversation.errand.clone()));
        }
    }

    /// Appends what the log does not have; whether all of it is there now.
    async fn compare(&self, conversation: &Conversation, asked_at: Option<u64>) -> Result<bool, ReadError> {
        let (log, id) = (&self.parts.log, conversation.ticket_id());
        let state = log.ticket(&self.name, id).await?.unwrap_or_default();
        let told = |status: bool| state.ticket.is_none() || (status && !state.is_closed());
        let document = conversation.document().filter(|document| told(document.status.is_terminal()));
        let Some(ticket) = document.or(state.ticket.as_ref()) else { return Ok(true) };
        let mut ends = BTreeMap::new();
        for other in find::others(conversation) {
            let ended = log.ticket(&self.name, &other).await?.and_then(|state| state.ticket);
            ends.insert(other, ended.and_then(|ticket| ticket.close_time));
        }
        let seen = state.last_sequence > 0;
        let words = find::words_of(&self.name, conversation, ticket, (seen, &ends), self.now(), &self.rules);
        let (whole, digest) = (words.is_whole(), words.digest);
        if document.is_none() && self.planner().is_stored(id, digest) {
            return Ok(true);
        }
        let known = self.known_words(&words.said).await?;
        let moved = asked_at != Some(state.last_sequence);
        let newest = self.planner().newest(id, self.now());
        let as_known = Known { state: &state, moved, newest };
        let events = find::missing(&self.name, document, as_known, words, &known);
        let stored = events.is_empty() || self.append(events).await;
        if stored && whole {
            self.planner().stored(id, digest);
        }
        Ok(stored)
    }

    /// Which of the words the log has: by their keys, and those that commands of ours sent by their ids.
    async fn known_words(&self, said: &[Said]) -> Result<Vec<bool>, ReadError> {
        let keys = said.iter().map(|said| said.key).collect();
        let taken = self.parts.keys.taken(keys).await;
        let taken = taken.map_err(|error| ReadError::Unavailable(error.to_string()))?;
        let mut known: Vec<bool> = taken.iter().map(Option::is_some).collect();
        for (said, known) in said.iter().zip(&mut known) {
            if *known || said.speaker != Speaker::Agent {
                continue;
            }
            if let Ok(uuid) = Uuid::try_parse(&said.id) {
                *known = self.parts.ledger.command(CommandKey::Id(uuid)).await?.is_some();
            }
        }
        Ok(known)
    }

    /// Appends what was found; whether it is in the log. What cannot be stored for long is given up: what the log has
    /// by then is another thing.
    pub(super) async fn append(&self, found: Vec<(NewEvent, Kind)>) -> bool {
        let (events, kinds): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let Ok(Some(appended)) = timeout(STORE_TIME_MAX, self.store(events)).await else { return false };
        self.appended(&appended, &kinds);
        true
    }

    /// Appends events, trying on while the store cannot; `None` where the process stops first.
    pub(super) async fn store(&self, events: Vec<NewEvent>) -> Option<Vec<Appended>> {
        let mut pause = PAUSE;
        loop {
            let error = match self.parts.log.append(events.clone()).await {
                Ok(appended) => return Some(appended),
                Err(error) => error,
            };
            tracing::warn!(bot = %self.name, %error, "what was read back could not be stored; trying on");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.parts.shutdown.soft().cancelled() => return None,
            }
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    fn appended(&self, appended: &[Appended], kinds: &[Kind]) {
        for (appended, kind) in appended.iter().zip(kinds) {
            let Appended::At(stored) = appended else { continue };
            let event = &stored.event;
            self.count(*kind, event);
            let mut planner = self.planner();
            if matches!(kind, Kind::Created | Kind::Changed | Kind::Ended) {
                let created = if let Payload::TicketCreated(ticket) = &event.payload {
                    ticket.create_time
                } else {
                    None
                };
                planner.log_has(&event.ticket_id, *kind != Kind::Ended, created);
            }
            planner.log_has_from(&event.ticket_id, event.event_time.unwrap_or(event.receive_time));
        }
    }
}
