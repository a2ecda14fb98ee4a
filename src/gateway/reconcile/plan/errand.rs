//! What is read before a round's questions: a ticket, or its conversation, as soon as it may be.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::reading::Reading;
use super::{Ask, Now, Planner};
use crate::domain::Ticket;

/// Errands that a round may find at a time beyond those that are followed: what is more is left to the next round.
const FOUND_MAX: usize = 50_000;

/// How often an errand is tried that comes to nothing, how long after the first time, and then twice as long each time,
/// up to a bound: all in all for as long as what is read could still be told, some three days.
const TRIES_MAX: u32 = 26;
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// The longest pause before an errand is tried again.
pub const TRY_AGAIN_MAX: Duration = Duration::from_hours(4);

/// Something to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Errand {
    /// The ticket's id.
    pub ticket_id: String,
    /// Not before: a webhook may still be on its way.
    pub from: Instant,
    /// When the ticket was made.
    pub created: Option<Timestamp>,
    /// What it is about.
    pub what: What,
    /// Where the log's reader stood.
    pub position: Option<u64>,
    /// How often it came to nothing.
    pub tries: u32,
}

impl Errand {
    /// The same, later; `None` where it was tried often enough.
    pub(super) fn again(self, now: Now) -> Option<Self> {
        let pause = pause_after(self.tries);
        let tries = self.tries.saturating_add(1);
        let from = now.at.checked_add(pause).unwrap_or(now.at);
        (tries < TRIES_MAX).then_some(Self { from, tries, ..self })
    }

    /// When it was tried before, or later; `None` where this is the first time.
    pub(super) fn tried_before(&self) -> Option<Instant> {
        self.from.checked_sub(pause_after(self.tries.checked_sub(1)?))
    }
}

/// How long an errand waits that had come to nothing so often before it did again.
fn pause_after(tries: u32) -> Duration {
    TRY_AGAIN.saturating_mul(2_u32.saturating_pow(tries)).min(TRY_AGAIN_MAX)
}

/// What is to be read.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The conversation of a ticket that has just come.
    Arrived,
    /// The conversation of a ticket that has ended.
    Ended,
    /// The conversation of a ticket that lives, once a round.
    Living,
    /// The conversation of a ticket which the log does not have so.
    Found {
        /// The ticket, as Blip shows it.
        document: Box<Ticket>,
        /// The log has nothing of it.
        unseen: bool,
    },
    /// The ticket itself.
    Check,
}

impl Planner {
    /// Whether there is room for an errand that the log tells of.
    pub fn has_room(&self) -> bool {
        self.errands.len() < self.rules.errands_max
    }

    /// A conversation is to be read before all else. What the log tells of needs [room](Self::has_room).
    pub fn run_errand(&mut self, errand: Errand) {
        if self.errands.len() < self.rules.errands_max.saturating_add(FOUND_MAX) {
            self.errands.add(errand);
        } else if let Some(round) = &mut self.round {
            // The next round finds it again.
            round.complete = false;
        }
    }

    /// Whether a ticket's conversation is to be read anyway, from before the ticket on, and has not been begun.
    pub fn is_to_be_read(&self, ticket_id: &str) -> bool {
        self.errands.of(ticket_id).any(|errand| matches!(errand.what, What::Arrived | What::Ended))
    }

    /// What is still to be read, and neither the log tells of nor a round would find again.
    pub fn loose_ends(&self) -> impl Iterator<Item = &Errand> {
        let under_way = self.readings.values().map(Reading::errand).chain(self.checking.values());
        self.errands.all().chain(under_way).filter(|errand| {
            errand.position.is_none() && matches!(errand.what, What::Arrived | What::Ended | What::Check)
        })
    }

    /// The question of the first errand that may be run.
    pub(super) fn errand(&mut self, now: Now) -> Option<Ask> {
        // Each is taken or put back once.
        for _ in 0..self.errands.len() {
            let errand = self.errands.take(now.at)?;
            if let Some(ask) = self.ask_of(now, errand) {
                return Some(ask);
            }
        }
        None
    }

    /// The same of those that the round found, and waits for.
    pub(super) fn found_errand(&mut self, now: Now) -> Option<Ask> {
        let errand = self.errands.take_found(now.at)?;
        self.ask_of(now, errand)
    }

    /// An errand's question; `None` where it is put off, or asked already.
    fn ask_of(&mut self, now: Now, errand: Errand) -> Option<Ask> {
        let id = errand.ticket_id.clone();
        if errand.what == What::Check {
            let ask = Ask::Ticket { id };
            if self.is_under_way(&ask) {
                return None;
            }
            self.checking.insert(errand.ticket_id.clone(), errand);
            return Some(ask);
        }
        if self.readings.contains_key(&id) {
            let later = now.at.checked_add(self.rules.pace).unwrap_or(now.at);
            self.errands.add(Errand { from: later, ..errand });
            return None;
        }
        Some(self.begin_reading(now, errand))
    }

    /// A ticket that was to be looked at later was not given: later still, or by a round that looks back as far.
    pub(super) fn check_again(&mut self, now: Now, errand: Option<Errand>) {
        let Some(errand) = errand else { return };
        let created = errand.created;
        if let Some(again) = errand.again(now) {
            self.run_errand(again);
        } else if let Some(since) = created.or(self.covered) {
            self.look_back(since);
        }
    }
}
