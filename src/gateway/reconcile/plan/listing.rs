//! Lists and single tickets: what each page says, and what it does not.

use std::collections::BTreeMap;

use super::errand::{Errand, What};
use super::round::{Part, Phase, later};
use super::{Answer, Finding, LIVING_MAX, Life, MESSAGES_AGE, Now, Planner, ReaderFault, Whose, is_news};
use crate::domain::{Ticket, TicketState};

/// Pages that are asked of one list at most.
const PAGES_MAX: usize = 5_000;
/// One part in so many of a page is asked for again with the next: tickets that end meanwhile move the rest up.
const PAGE_OVERLAP: usize = 10;
/// LIME's code for what does not exist.
pub(super) const NOT_FOUND: i64 = 67;
/// The smallest page that is asked for, where Blip refuses larger ones.
const TAKE_MIN: usize = 10;

impl Planner {
    pub(super) fn living_page(
        &mut self,
        now: Now,
        page: (usize, usize),
        answer: Answer,
        known: &BTreeMap<String, TicketState>,
    ) -> Vec<Finding> {
        self.answered(Whose::Round);
        let (tickets, count, total) = match answer {
            Answer::Tickets { tickets, count, total } => (tickets, count, total),
            Answer::Refused { code, description } => {
                self.list_refused(code, &description);
                return Vec::new();
            }
            Answer::Ticket(_) | Answer::Said { .. } | Answer::KeyRefused | Answer::Failed { .. } => {
                return Vec::new();
            }
        };
        self.reader.listed();
        let mut findings = Vec::new();
        let before = self.listed_so_far();
        for ticket in tickets {
            if let Some(finding) = self.listed(now, ticket, known) {
                findings.push(finding);
            }
        }
        if self.turn(page, count, total, (before, self.listed_so_far())) {
            return findings;
        }
        self.check_absent(now);
        if let Some(round) = &mut self.round {
            round.enter(Phase::Closed);
        }
        findings
    }

    /// A ticket that Blip lists as living.
    fn listed(&mut self, now: Now, ticket: Ticket, known: &BTreeMap<String, TicketState>) -> Option<Finding> {
        let round = self.round.as_mut()?;
        if !round.listed.insert(ticket.id.clone()) {
            return None;
        }
        if ticket.status.is_terminal() {
            round.check(&ticket.id);
            return None;
        }
        let state = known.get(&ticket.id).filter(|state| state.last_sequence > 0);
        let Some(state) = state else {
            if !self.is_fresh(now, ticket.create_time) {
                self.found(now, ticket, true);
            }
            return None;
        };
        if state.is_closed() {
            return None;
        }
        if state.ticket.is_none() {
            self.found(now, ticket, false);
            return None;
        }
        if self.living.len() < LIVING_MAX {
            let life = Life { created: ticket.create_time, ..Life::default() };
            self.living.entry(ticket.id.clone()).or_insert(life);
        }
        let news = !self.is_fresh(now, ticket.status_time) && is_news(state, &ticket);
        news.then(|| Finding::Ticket(Box::new(ticket)))
    }

    /// A ticket that the log does not have so: it is told together with what was said in it.
    fn found(&mut self, now: Now, ticket: Ticket, unseen: bool) {
        let (ticket_id, created) = (ticket.id.clone(), ticket.create_time);
        let what = What::Found { document: Box::new(ticket), unseen };
        self.run_errand(Errand { ticket_id, from: now.at, created, what, position: None, tries: 0 });
    }

    /// Whether the list goes on after a page that brought what is listed from `before` to `after`; a page that is not full
    /// ends it, unless there is reason to doubt that, and so does one that brought nothing, as there would be no end of such.
    /// Where more is told of than it has come to, it is cut, and not whole.
    fn turn(
        &mut self,
        (skip, take): (usize, usize),
        count: usize,
        total: Option<usize>,
        (before, after): (usize, usize),
    ) -> bool {
        let patient = self.reader.patient;
        let Some(round) = &mut self.round else { return false };
        let seen = skip.saturating_add(count);
        let more = total.is_some_and(|total| total > seen);
        let goes_on = count > 0 && (count >= take || more || patient);
        round.pages = round.pages.saturating_add(1);
        let is_cut = round.pages >= PAGES_MAX;
        if goes_on && after > before && !is_cut {
            let overlap = count.checked_div(PAGE_OVERLAP).unwrap_or_default();
            // A page that is not full has nothing after it that could have moved up.
            round.skip = if count >= take { seen.saturating_sub(overlap) } else { seen };
            return true;
        }
        // Of what it did not bring there is more, if it is full, or if more are told of than were listed. That may be a
        // wrong number: where it always is, rounds are whole without it.
        let is_short = if count == 0 { more } else { goes_on && total.is_some_and(|total| total > before) };
        if goes_on && (is_cut || count >= take) {
            round.complete = false;
        } else if is_short {
            let ended = round.phase == Phase::Closed;
            round.unread.insert(if ended { Part::ListOfEnded } else { Part::ListOfLiving });
        }
        false
    }

    fn listed_so_far(&self) -> usize {
        self.round.as_ref().map_or(0, |round| round.listed.len())
    }

    /// Has every ticket read that lives and was not listed: that it was not says nothing.
    fn check_absent(&mut self, now: Now) {
        let Some(round) = &mut self.round else { return };
        let began = round.started.date.saturating_sub(self.rules.grace).unwrap_or(now.date);
        for (id, life) in &self.living {
            let came_meanwhile = life.created.is_some_and(|created| created > began);
            if !came_meanwhile && !round.listed.contains(id) {
                round.check(id);
            }
        }
    }

    pub(super) fn closed_page(
        &mut self,
        page: (usize, usize),
        answer: Answer,
        known: &BTreeMap<String, TicketState>,
    ) {
        self.answered(Whose::Round);
        let (tickets, count, total) = match answer {
            Answer::Tickets { tickets, count, total } => (tickets, count, total),
            Answer::Refused { code, description } => {
                // The rest of the round is as good without.
                if !self.smaller_page(&description) {
                    if !is_unanswered(code, &description) {
                        self.reader.fault(ReaderFault::NoClosedList);
                    }
                    if let Some(round) = &mut self.round {
                        round.complete = false;
                        round.enter(Phase::Checking);
                    }
                }
                return;
            }
            Answer::Ticket(_) | Answer::Said { .. } | Answer::KeyRefused | Answer::Failed { .. } => return,
        };
        let listed = |planner: &Self| planner.round.as_ref().map_or(0, |round| round.listed_ended.len());
        let before = listed(self);
        if let Some(round) = &mut self.round {
            round.listed_ended.extend(tickets.iter().map(|ticket| ticket.id.clone()));
            let ended = tickets.iter().filter(|ticket| ticket.status.is_terminal());
            for ticket in ended {
                if known.get(&ticket.id).is_none_or(|state| !state.is_closed()) {
                    round.check(&ticket.id);
                }
            }
        }
        if self.turn(page, count, total, (before, listed(self))) {
            return;
        }
        if let Some(round) = &mut self.round {
            round.enter(Phase::Checking);
        }
    }

    fn list_refused(&mut self, code: Option<i64>, description: &str) {
        if code.is_none() && self.smaller_page(description) {
            return;
        }
        // A router's key finds nothing, or hears that there is no such thing (R§3.1).
        let no_desk = matches!(code, Some(62 | NOT_FOUND));
        if !is_unanswered(code, description) {
            self.reader.fault(if no_desk { ReaderFault::NoDesk } else { ReaderFault::ListRefused });
        }
        if let Some(round) = &mut self.round {
            round.break_off();
        }
    }

    /// Blip refuses pages of this size: asks for smaller ones, while there are any.
    fn smaller_page(&mut self, description: &str) -> bool {
        let mut words = description.split(|letter: char| !letter.is_alphanumeric());
        let too_large = words.any(|word| word.eq_ignore_ascii_case("take")) && self.take > TAKE_MIN;
        if too_large {
            self.take = (self.take / 2).max(TAKE_MIN);
        }
        too_large
    }

    /// The answer to a question after one ticket. Only the ticket itself, named as it was asked for, says anything.
    pub(super) fn ticket_read(
        &mut self,
        now: Now,
        id: &str,
        whose: Whose,
        answer: Answer,
        known: Option<&TicketState>,
    ) -> Vec<Finding> {
        self.answered(whose);
        let errand = self.checking.remove(id);
        let ticket = match answer {
            Answer::Ticket(Some(ticket)) if ticket.id == id => ticket,
            Answer::Refused { code: Some(NOT_FOUND), .. } => {
                let errand = errand.filter(|errand| !self.is_believed_gone(errand));
                self.not_found(now, id);
                self.check_again(now, errand);
                return Vec::new();
            }
            Answer::Tickets { .. }
            | Answer::Ticket(_)
            | Answer::Said { .. }
            | Answer::Refused { .. }
            | Answer::KeyRefused
            | Answer::Failed { .. } => {
                self.not_given(Part::Ticket(id.to_owned()));
                self.check_again(now, errand);
                return Vec::new();
            }
        };
        self.reader.found(now.at);
        self.given(&Part::Ticket(id.to_owned()));
        let state = known.filter(|state| state.last_sequence > 0);
        if state.is_some_and(TicketState::is_closed) {
            return Vec::new();
        }
        if ticket.status.is_terminal() {
            if self.is_fresh(now, ticket.status_time.or(ticket.close_time)) {
                let (ticket_id, created) = (ticket.id, ticket.create_time);
                let from = later(now, self.rules.grace);
                self.run_errand(Errand {
                    ticket_id,
                    from,
                    created,
                    what: What::Check,
                    position: None,
                    tries: 0,
                });
            } else {
                self.found(now, *ticket, state.is_none());
            }
            return Vec::new();
        }
        let Some(state) = state.filter(|state| state.ticket.is_some()) else {
            let unseen = state.is_none();
            if ticket.status.is_living() && !self.is_fresh(now, ticket.create_time) {
                self.found(now, *ticket, unseen);
            }
            return Vec::new();
        };
        if let Some(round) = &mut self.round
            && whose == Whose::Round
            && ticket.status.is_living()
        {
            round.left_out = round.left_out.saturating_add(1);
        }
        let news = !self.is_fresh(now, ticket.status_time) && is_news(state, &ticket);
        news.then_some(Finding::Ticket(ticket)).into_iter().collect()
    }

    /// A ticket is said not to exist: that closes nothing. Where all are, reading is no use.
    pub(super) fn not_found(&mut self, now: Now, id: &str) {
        let listed = self.listed_so_far();
        let created = self.living.get(id).and_then(|life| life.created);
        let of_late = created.is_some_and(|created| now.date.duration_since(created) < MESSAGES_AGE);
        if self.reader.not_found(listed, of_late)
            && let Some(round) = &mut self.round
        {
            round.break_off();
        }
    }
}

/// Whether this is no refusal, but a question given up.
fn is_unanswered(code: Option<i64>, description: &str) -> bool {
    code.is_none() && description.is_empty()
}
