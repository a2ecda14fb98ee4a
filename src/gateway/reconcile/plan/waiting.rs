//! The errands that wait. Each step of the planner looks here, so that none of it may take longer for many than for few.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::errand::{Errand, What};

/// Where an errand stands: by when it may be run, and then in the order they came.
type Place = (Instant, u64);

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Errands {
    waiting: BTreeMap<Place, Errand>,
    /// How many have come.
    came: u64,
    by_ticket: BTreeMap<String, Vec<Place>>,
    /// Where the log told of them.
    positions: BTreeSet<(u64, Place)>,
    /// Those of tickets that the log does not have so.
    found: BTreeSet<Place>,
}

impl Errands {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn add(&mut self, errand: Errand) {
        self.came = self.came.saturating_add(1);
        let place = (errand.from, self.came);
        self.by_ticket.entry(errand.ticket_id.clone()).or_default().push(place);
        self.positions.extend(errand.position.map(|position| (position, place)));
        if is_found(&errand) {
            self.found.insert(place);
        }
        self.waiting.insert(place, errand);
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Errand> {
        self.waiting.values()
    }

    /// Those about a ticket.
    pub(super) fn of(&self, ticket_id: &str) -> impl Iterator<Item = &Errand> {
        let places = self.by_ticket.get(ticket_id).into_iter().flatten();
        places.filter_map(|place| self.waiting.get(place))
    }

    /// When the first may be run.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(from, _)| *from)
    }

    /// The oldest position at which the log told of one.
    pub(super) fn oldest_position(&self) -> Option<u64> {
        self.positions.first().map(|(position, _)| *position)
    }

    /// Whether one waits that is about a ticket which the log does not have so.
    pub(super) fn has_found(&self) -> bool {
        !self.found.is_empty()
    }

    /// Takes the first that may be run.
    pub(super) fn take(&mut self, now: Instant) -> Option<Errand> {
        let place = *self.waiting.keys().next()?;
        self.take_at(place, now)
    }

    /// Takes the first that may be run of those about a ticket which the log does not have so.
    pub(super) fn take_found(&mut self, now: Instant) -> Option<Errand> {
        let place = *self.found.first()?;
        self.take_at(place, now)
    }

    fn take_at(&mut self, place: Place, now: Instant) -> Option<Errand> {
        if place.0 > now {
            return None;
        }
        let errand = self.waiting.remove(&place)?;
        if let Some(places) = self.by_ticket.get_mut(&errand.ticket_id) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.by_ticket.remove(&errand.ticket_id);
            }
        }
        if let Some(position) = errand.position {
            self.positions.remove(&(position, place));
        }
        self.found.remove(&place);
        Some(errand)
    }
}

fn is_found(errand: &Errand) -> bool {
    matches!(errand.what, What::Found { .. })
}
