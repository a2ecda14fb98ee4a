//! What was read is compared with the log, and what is missing appended. It is tried on while the store cannot: what was
//! found must not be forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::driver::Bot;
use super::find::{self, Kind, Known, Said, Span};
use super::plan::{Conversation, Errand, What};
use crate::domain::translate::Speaker;
use crate::domain::{DedupKey, NewEvent, Payload, Ticket, TicketState};
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
            // Where the process stops now, its note has the next one begin there. What is asked for again is so anyway.
            let asked_again = conversation.again && conversation.document().is_none();
            let errand = (!asked_again).then(|| conversation.errand.clone());
            self.planner().not_stored(self.now(), errand);
        }
    }

    /// Appends what the log does not have; whether all of it is there now.
    async fn compare(&self, conversation: &Conversation, asked_at: Option<u64>) -> Result<bool, ReadError> {
        let (log, id) = (&self.parts.log, conversation.ticket_id());
        let state = log.ticket(&self.name, id).await?.unwrap_or_default();
        let told = |status: bool| state.ticket.is_none() || (status && !state.is_closed());
        let document = conversation.document().filter(|document| told(document.status.is_terminal()));
        let Some(ticket) = document.or(state.ticket.as_ref()) else { return Ok(true) };
        let others = self.others(conversation, ticket).await?;
        let seen = state.last_sequence > 0;
        let mut words =
            find::words_of(&self.name, conversation, ticket, (seen, &others), self.now(), &self.rules);
        let (whole, digest) = (words.is_whole(), words.digest);
        if document.is_none() && self.planner().is_stored(id, digest) {
            return Ok(true);
        }
        let mut known = self.known_words(&words.said).await?;
        let elsewhere = self.told_elsewhere(conversation, &words.said, &known, &others).await?;
        find::leave(&mut words, &mut known, &elsewhere);
        let moved = asked_at != Some(state.last_sequence);
        let newest = self.planner().newest(id, self.now());
        let aside = self.planner().aside(id);
        let as_known = Known { state: &state, moved, newest, aside };
        let events = find::missing(&self.name, document, as_known, words, &known);
        let stored = events.is_empty() || self.append(events).await;
        if stored && whole {
            self.planner().stored(id, digest);
        }
        if stored {
            self.read_after(conversation, ticket, &others).await?;
        }
        Ok(stored)
    }

    /// Has the conversations of a customer's later tickets read once it is known when the one before ended: what was said
    /// in between is theirs. Once, when it was read, or is given up.
    async fn read_after(
        &self,
        conversation: &Conversation,
        ticket: &Ticket,
        others: &BTreeMap<String, Span>,
    ) -> Result<(), ReadError> {
        let ends = matches!(conversation.errand.what, What::Ended | What::Found { .. });
        if !ends || conversation.again || self.rules.earlier.is_zero() {
            return Ok(());
        }
        for id in find::later(ticket, others) {
            if self.planner().is_to_be_read(&id) {
                continue;
            }
            let state = self.parts.log.ticket(&self.name, &id).await?;
            let Some(TicketState { ticket: Some(next), .. }) = state else { continue };
            let (from, created, what) = (self.now().at, next.create_time, What::Arrived);
            self.planner().run_errand(Errand {
                ticket_id: id,
                from,
                created,
                what,
                position: None,
                tries: 0,
            });
        }
        Ok(())
    }

    /// The customer's other tickets: those that the conversation shows, and those that the log has.
    async fn others(
        &self,
        conversation: &Conversation,
        ticket: &Ticket,
    ) -> Result<BTreeMap<String, Span>, ReadError> {
        let mut ids = find::others(conversation);
        ids.extend(self.customers().of(&ticket.customer_identity));
        ids.extend(Some(ticket.parent_ticket_id.clone()).filter(|id| !id.is_empty()));
        ids.remove(&ticket.id);
        let mut others = BTreeMap::new();
        for id in ids {
            let known = self.parts.log.ticket(&self.name, &id).await?.and_then(|state| state.ticket);
            others.insert(id, known.as_ref().map(Span::of).unwrap_or_default());
        }
        Ok(others)
    }

    /// Which of the words that the log does not have in this ticket it has in another of the customer's.
    async fn told_elsewhere(
        &self,
        conversation: &Conversation,
        said: &[Said],
        known: &[bool],
        others: &BTreeMap<String, Span>,
    ) -> Result<Vec<bool>, ReadError> {
        let keys = find::keys_elsewhere(&self.name, conversation, (said, known), others);
        let (places, keys): (Vec<usize>, Vec<DedupKey>) = keys.into_iter().unzip();
        let mut elsewhere = vec![false; said.len()];
        if keys.is_empty() {
            return Ok(elsewhere);
        }
        let taken = self.parts.keys.taken(keys).await;
        let taken = taken.map_err(|error| ReadError::Unavailable(error.to_string()))?;
        for (place, _) in places.into_iter().zip(taken).filter(|(_, taken)| taken.is_some()) {
            if let Some(told) = elsewhere.get_mut(place) {
                *told = true;
            }
        }
        Ok(elsewhere)
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
            if let Payload::TicketCreated(ticket) = &event.payload {
                self.customers().add(&ticket.customer_identity, &event.ticket_id);
            }
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
