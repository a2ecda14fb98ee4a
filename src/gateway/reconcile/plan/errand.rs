//! What is read before a round's questions: a ticket, or its conversation, as soon as it may be.

use std::collections::VecDeque;
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
const TRY_AGAIN_MAX: Duration = Duration::from_hours(4);

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
        let pause = TRY_AGAIN.saturating_mul(2_u32.saturating_pow(self.tries)).min(TRY_AGAIN_MAX);
        let tries = self.tries.saturating_add(1);
        let from = now.at.checked_add(pause).unwrap_or(now.at);
        (tries < TRIES_MAX).then_some(Self { from, tries, ..self })
    }
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

/// Those that wait, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Errands(VecDeque<Errand>);

impl Errands {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, errand: Errand) {
        self.0.push_back(errand);
    }

    /// Those that the log does not tell of: what rounds found.
    pub(super) fn loose(&self) -> impl Iterator<Item = &Errand> {
        self.0.iter().filter(|errand| errand.position.is_none())
    }

    /// When the first may be run.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().map(|errand| errand.from).min()
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = u64> {
        self.0.iter().filter_map(|errand| errand.position)
    }

    /// Whether one waits that is about a ticket which the log does not have so.
    pub(super) fn found(&self) -> bool {
        self.0.iter().any(|errand| matches!(errand.what, What::Found { .. }))
    }

    fn take(&mut self, now: Instant) -> Option<Errand> {
        let at = self.0.iter().position(|errand| errand.from <= now)?;
        self.0.remove(at)
    }
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

    /// What rounds found that is still to be read, and no round would find again: conversations, and tickets, by their ids.
    pub fn loose_ends(&self) -> (Vec<String>, Vec<String>) {
        let under_way =
            self.readings.values().map(Reading::errand).filter(|errand| errand.position.is_none());
        let all = self.errands.loose().chain(under_way).chain(self.checking.values());
        let (mut said, mut tickets) = (Vec::new(), Vec::new());
        for errand in all {
            match errand.what {
                What::Arrived | What::Ended => said.push(errand.ticket_id.clone()),
                What::Check => tickets.push(errand.ticket_id.clone()),
                What::Living | What::Found { .. } => {}
            }
        }
        (said, tickets)
    }

    /// The question of the first errand that may be run.
    pub(super) fn errand(&mut self, now: Now) -> Option<Ask> {
        // Each is taken or put back once.
        for _ in 0..self.errands.0.len() {
            let errand = self.errands.take(now.at)?;
            let busy = self.readings.contains_key(&errand.ticket_id);
            let id = errand.ticket_id.clone();
            if errand.what == What::Check {
                let ask = Ask::Ticket { id };
                if self.out.contains_key(&ask) {
                    continue;
                }
                self.checking.insert(errand.ticket_id.clone(), errand);
                return Some(ask);
            }
            if busy {
                let later = now.at.checked_add(self.rules.pace).unwrap_or(now.at);
                self.errands.add(Errand { from: later, ..errand });
                continue;
            }
            return Some(self.begin_reading(now, errand));
        }
        None
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
