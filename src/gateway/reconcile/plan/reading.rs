//! A conversation that is read page by page, from its end back to where it is known. What is added meanwhile shifts
//! what was read to later pages, so that things are seen twice but never missed.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::errand::{Errand, What};
use super::listing::NOT_FOUND;
use super::round::Part;
use super::{Answer, Ask, Conversation, Finding, Now, Planner, Whose};
use crate::domain::translate::{ITEMS_MAX, ThreadItem};

/// Pages of one conversation that are read at most.
const PAGES_MAX: usize = 50;

/// Pages in which the ticket before is looked for, if something was said before this one.
const PAGES_BEFORE_MAX: usize = 5;

/// Tries of an errand after which it makes no round incomplete any more.
const TRIES_THAT_COUNT: u32 = 3;

/// A conversation under way.
#[derive(Debug)]
pub(super) struct Reading {
    errand: Errand,
    floor: Timestamp,
    /// When the ticket began.
    created: Timestamp,
    items: Vec<ThreadItem>,
    pages: usize,
    /// The conversation's beginning was read.
    whole: bool,
}

impl Reading {
    pub(super) fn position(&self) -> Option<u64> {
        self.errand.position
    }

    pub(super) fn errand(&self) -> &Errand {
        &self.errand
    }

    /// Whether something was said before the ticket, and it is not known whose that is.
    fn wants_the_ticket_before(&self) -> bool {
        let before = |item: &&ThreadItem| item.date < self.created;
        let mut earlier = self.items.iter().filter(before);
        let is_bounded = |item: &ThreadItem| item.begins.is_some();
        self.pages < PAGES_BEFORE_MAX
            && self.items.iter().any(|item| before(&item) && item.begins.is_none())
            && !earlier.any(is_bounded)
    }

    /// Whether there is more behind a page that is not full, up to which `seen` items came: by what Blip says of their
    /// number, or else as the ticket itself, which is the oldest of its own, was not among them.
    fn goes_on(&self, id: &str, seen: usize, total: Option<usize>) -> bool {
        match total {
            Some(total) => total > seen,
            None => self.items.iter().all(|item| item.begins.as_deref() != Some(id)),
        }
    }

    /// Whether it belongs to a ticket that a round found.
    pub(super) fn is_found(&self) -> bool {
        matches!(self.errand.what, What::Found { .. })
    }
}

impl Planner {
    /// The first question after a conversation.
    pub(super) fn begin_reading(&mut self, now: Now, errand: Errand) -> Ask {
        let id = errand.ticket_id.clone();
        let oldest = now.date.saturating_sub(self.rules.window).unwrap_or(now.date);
        let created = errand.created.unwrap_or(oldest);
        let earlier = created.saturating_sub(self.rules.earlier).unwrap_or(created);
        let floor = match &errand.what {
            // Nothing of it is in the log, however old it is.
            What::Found { unseen: true, .. } => earlier,
            // Of one that has ended, perhaps nothing could be read when it came.
            What::Found { unseen: false, .. } | What::Arrived | What::Ended => earlier.max(oldest),
            What::Living | What::Check => created.max(oldest),
        };
        self.readings.insert(
            id.clone(),
            Reading { errand, floor, created, items: Vec::new(), pages: 0, whole: false },
        );
        Ask::Said { id, skip: 0 }
    }

    pub(super) fn said_read(
        &mut self,
        now: Now,
        (id, skip): (&str, usize),
        whose: Whose,
        answer: Answer,
    ) -> Vec<Finding> {
        let (items, count, total) = match answer {
            Answer::Said { items, count, total } => (items, count, total),
            Answer::Refused { code, .. } => {
                let gone = code == Some(NOT_FOUND);
                let errand = self.readings.get(id).map(Reading::errand);
                let for_good = gone && errand.is_some_and(|errand| self.is_believed_gone(errand));
                if gone {
                    self.not_found(now, id);
                }
                return self.unheard(now, id, whose, (gone, for_good));
            }
            Answer::Tickets { .. } | Answer::Ticket(_) | Answer::KeyRefused | Answer::Failed { .. } => {
                return self.unheard(now, id, whose, (false, false));
            }
        };
        // The ticket itself is part of its conversation: nothing at all is no answer.
        if skip == 0 && count == 0 {
            return self.unheard(now, id, whose, (false, false));
        }
        self.reader.heard(now.at);
        let Some(reading) = self.readings.get_mut(id) else {
            self.answered(whose);
            return Vec::new();
        };
        let past = items.iter().any(|item| item.date < reading.floor);
        let floor = reading.floor;
        let is_news = items.iter().any(|item| reading.items.iter().all(|known| known.id != item.id));
        // Where other tickets began is to be known, however long ago that was.
        reading.items.extend(items.into_iter().filter(|item| item.date >= floor || item.begins.is_some()));
        reading.pages = reading.pages.saturating_add(1);
        reading.whole =
            count < ITEMS_MAX && !(is_news && reading.goes_on(id, skip.saturating_add(count), total));
        let more = !reading.whole && (!past || reading.wants_the_ticket_before());
        if more && reading.pages < PAGES_MAX {
            let next = Ask::Said { id: id.to_owned(), skip: skip.saturating_add(count) };
            self.again.push_front((next, whose));
            return Vec::new();
        }
        let out_of_reach = !past && !reading.whole;
        let asked = Part::Conversation(id.to_owned());
        self.given(&asked);
        if out_of_reach {
            self.not_given(asked);
        }
        if let Some(round) = &mut self.round {
            round.conversations = round.conversations.saturating_add(1);
            round.read.insert(id.to_owned());
        }
        self.read_through(id, whose, false)
    }

    /// Tickets whose conversation Blip did not give however often it was asked for; each once.
    pub fn take_given_up(&mut self) -> Vec<String> {
        std::mem::take(&mut self.to_tell)
    }

    /// A conversation, or its rest, was not given. Of a ticket that is `gone` there is none, unless it was listed; where
    /// that is so `for_good`, it is not asked for again.
    fn unheard(&mut self, now: Now, id: &str, whose: Whose, (gone, for_good): (bool, bool)) -> Vec<Finding> {
        let listed = self.round.as_ref().is_some_and(|round| round.listed.contains(id));
        // What is tried on for days holds no round up.
        let tries = self.readings.get(id).map_or(0, |reading| reading.errand.tries);
        if tries < TRIES_THAT_COUNT && (!gone || listed) {
            self.not_given(Part::Conversation(id.to_owned()));
        }
        let again = (!for_good || listed) && self.try_again(now, id);
        self.read_through(id, whose, again)
    }

    /// Whether a ticket that is said not to exist is believed to be gone: not at once, as it may have come this very
    /// moment, and only where Blip has shown others since its errand was tried before, as a key may see none.
    pub(super) fn is_believed_gone(&self, errand: &Errand) -> bool {
        errand.tried_before().is_some_and(|before| self.reader.has_seen_since(before))
    }

    /// Whether another errand waits that came to nothing, and will read as much: one for each time that a ticket is given to
    /// another agent would be many.
    fn is_tried_again(&self, errand: &Errand) -> bool {
        let as_much = |other: &Errand| other.what == What::Ended || other.what == errand.what;
        self.errands.of(&errand.ticket_id).any(|other| other.tries > 0 && as_much(other))
    }

    /// A conversation could not be read: it is tried later, a few times. Those of living tickets come with each round.
    /// Whether it will be. How far the log is followed does not wait for it: it is noted by itself.
    fn try_again(&mut self, now: Now, id: &str) -> bool {
        let Some(Reading { errand, .. }) = self.readings.get_mut(id) else { return false };
        let what = match errand.what {
            What::Living | What::Check => return false,
            What::Arrived => What::Arrived,
            What::Ended | What::Found { .. } => What::Ended,
        };
        // Of one that nobody had seen, what is older than can be told again is never told once its ticket is.
        let oldest = now.date.saturating_sub(self.rules.window).unwrap_or(now.date);
        let too_old = |created: Timestamp| created < oldest;
        let unseen = matches!(errand.what, What::Found { unseen: true, .. });
        if unseen && errand.created.is_some_and(too_old) && self.given_up.insert(id.to_owned()) {
            self.to_tell.push(id.to_owned());
        }
        let again = Errand { what, position: None, ..errand.clone() };
        if self.is_tried_again(&again) {
            return true;
        }
        if let Some(again) = again.again(now) {
            self.run_errand(again);
            return true;
        }
        if self.given_up.insert(id.to_owned()) {
            self.to_tell.push(id.to_owned());
        }
        false
    }

    fn read_through(&mut self, id: &str, whose: Whose, again: bool) -> Vec<Finding> {
        self.answered(whose);
        let Some(Reading { errand, floor, mut items, whole, .. }) = self.readings.remove(id) else {
            return Vec::new();
        };
        // What came meanwhile is seen twice; of one moment Blip's own order counts.
        let mut seen = BTreeSet::new();
        items.retain(|item| seen.insert((item.id.clone(), item.date)));
        items.reverse();
        items.sort_by_key(|item| item.date);
        vec![Finding::Conversation(Box::new(Conversation { errand, items, floor, whole, again }))]
    }
}
