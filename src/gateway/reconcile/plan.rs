//! What to ask Blip next, given what the log knows and what came back. Pure: time is an argument, nothing is sent and
//! nothing is stored here.
//!
//! A *round* lists the tickets that live, lists those that ended lately, reads every ticket that the log has as living
//! and the list has not, and then each living ticket's conversation. *Errands* go before a round's questions: the
//! conversation of a ticket that arrived, or ended. Nobody's absence from a list closes a ticket: only its own
//! document does, read by its own id.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::domain::translate::ITEMS_MAX;
use crate::domain::{Change, Ticket, TicketState};

mod asking;
mod errand;
mod listing;
mod reader;
mod reading;
mod round;
mod share;
#[cfg(test)]
mod tests;
mod waiting;

pub use asking::{Answer, Ask, Conversation, Finding, Step, tickets_of};
pub use errand::{Errand, TRY_AGAIN_MAX, What};
pub use reader::ReaderFault;
pub use round::{Phase, Report};

use reader::Reader;
use reading::Reading;
use round::{Part, Round};
use waiting::Errands;

/// Questions that may be under way at a time.
const AT_ONCE: usize = 4;
/// Tickets that are watched at a time; more are told, and looked at when there is room.
pub const LIVING_MAX: usize = 200_000;
/// How often a question is asked that Blip does not answer.
const TRIES_MAX: u32 = 4;
/// The shortest and the longest pause after Blip could not be asked.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// How long a ticket's messages can be read after it was made (R§10).
const MESSAGES_AGE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far Blip's clock may be ahead of ours, as an age.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(-10);
/// How far back a list of ended tickets reaches behind the round before.
const OVERLAP: SignedDuration = SignedDuration::from_hours(1);

/// What is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The time between two questions.
    pub pace: Duration,
    /// The time between two rounds.
    pub interval: Duration,
    /// How young something may be and its webhook still be on its way.
    pub grace: SignedDuration,
    /// How far before a ticket its conversation is told; zero for not at all.
    pub earlier: SignedDuration,
    /// How far back the first round of all looks for tickets that ended.
    pub lookback: SignedDuration,
    /// How old something may be and still be told from what the log knows.
    pub window: SignedDuration,
    /// Errands that may wait at a time, but for what rounds find.
    pub errands_max: usize,
    /// Rounds begin by themselves.
    pub automatic: bool,
}

/// What time it is: for pauses, and for dates.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For pauses.
    pub at: Instant,
    /// For dates.
    pub date: Timestamp,
}

/// A ticket that lives, as far as the log knows.
#[derive(Debug, Clone, Copy, Default)]
struct Life {
    created: Option<Timestamp>,
    /// From when the newest is that the log has of it; `None` where that is not known.
    newest: Option<Timestamp>,
    /// From when the newest context or deletion is that it has: no conversation shows them.
    aside: Option<Timestamp>,
    /// What its conversation came to when it was last in the log wholly.
    seen: u64,
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Round,
    Errand,
}

/// Plans what a bot's reader asks.
#[derive(Debug)]
pub struct Planner {
    rules: Rules,
    living: BTreeMap<String, Life>,
    errands: Errands,
    readings: BTreeMap<String, Reading>,
    round: Option<Round>,
    /// The number of the round that ran last.
    number: u64,
    /// When the next one begins.
    due: Option<Instant>,
    /// From when on tickets that ended are to be listed, where somebody asked for more.
    since: Option<Timestamp>,
    /// Up to here everything that ended is known.
    covered: Option<Timestamp>,
    /// Where a round that was broken off by a restart goes on.
    resume: Option<String>,
    out: BTreeMap<Ask, Whose>,
    again: VecDeque<(Ask, Whose)>,
    /// Questions of errands that were asked in a row while a round waits.
    in_a_row: u32,
    /// How often questions failed that are asked again.
    tries: BTreeMap<Ask, u32>,
    next_ask: Option<Instant>,
    paused: Option<Instant>,
    failures: u32,
    take: usize,
    reader: Reader,
    /// Errands after single tickets that are under way.
    checking: BTreeMap<String, Errand>,
    /// What Blip does not give, and for how many rounds running.
    unread: BTreeMap<Part, u32>,
    /// Tickets whose conversation is asked for no more since the last round, and those that somebody has yet to hear of.
    given_up: BTreeSet<String>,
    to_tell: Vec<String>,
    /// Rounds running that were not complete.
    incomplete: u32,
}

impl Planner {
    /// A planner that knows nothing yet. `covered` and `resume` are what an earlier process told.
    pub fn new(rules: Rules, covered: Option<Timestamp>, resume: Option<String>) -> Self {
        Self {
            rules,
            living: BTreeMap::new(),
            errands: Errands::default(),
            readings: BTreeMap::new(),
            round: None,
            number: 0,
            due: None,
            since: None,
            covered,
            resume,
            out: BTreeMap::new(),
            again: VecDeque::new(),
            in_a_row: 0,
            tries: BTreeMap::new(),
            next_ask: None,
            paused: None,
            failures: 0,
            take: ITEMS_MAX,
            reader: Reader::default(),
            checking: BTreeMap::new(),
            unread: BTreeMap::new(),
            given_up: BTreeSet::new(),
            to_tell: Vec::new(),
            incomplete: 0,
        }
    }

    /// The log has this ticket: it lives, or it does not.
    pub fn log_has(&mut self, ticket_id: &str, lives: bool, created: Option<Timestamp>) {
        if !lives {
            self.living.remove(ticket_id);
        } else if let Some(life) = self.living.get_mut(ticket_id) {
            life.created = life.created.or(created);
        } else if self.living.len() < LIVING_MAX {
            self.living.insert(ticket_id.to_owned(), Life { created, ..Life::default() });
        }
    }

    /// The log has something of this ticket, from this moment.
    pub fn log_has_from(&mut self, ticket_id: &str, at: Timestamp) {
        if let Some(life) = self.living.get_mut(ticket_id) {
            life.newest = life.newest.max(Some(at));
        }
    }

    /// The log has a context or a deletion of this ticket, from this moment.
    pub fn log_has_aside(&mut self, ticket_id: &str, at: Timestamp) {
        if let Some(life) = self.living.get_mut(ticket_id) {
            life.aside = life.aside.max(Some(at));
        }
    }

    /// From when the newest of those is, as far as was seen since the start.
    pub fn aside(&self, ticket_id: &str) -> Option<Timestamp> {
        self.living.get(ticket_id)?.aside
    }

    /// From when the newest is, at most, that the log has of a ticket.
    pub fn newest(&self, ticket_id: &str, now: Now) -> Timestamp {
        self.living.get(ticket_id).and_then(|life| life.newest).unwrap_or(now.date)
    }

    /// A round is to begin as soon as it can; after the one that runs, if one does. Answers its number.
    pub fn demand(&mut self, now: Now, since: Option<Timestamp>) -> u64 {
        self.due = Some(now.at);
        // Whoever asks has perhaps just mended what was wrong.
        self.paused = None;
        // And is to have a whole round, not the rest of one that an earlier process left.
        if self.round.is_none() {
            self.resume = None;
        }
        if let Some(since) = since {
            self.look_back(since);
        }
        self.number.saturating_add(1)
    }

    /// What an earlier process knew to be wrong with reading: it is so until something is read that tells otherwise.
    pub fn suspect(&mut self, fault: Option<ReaderFault>) {
        if let Some(fault) = fault {
            self.reader.fault(fault);
        }
    }

    /// A round is to begin soon; nobody waits for it.
    pub fn hasten(&mut self, now: Now) {
        self.due = Some(now.at);
    }

    /// What to do now.
    pub fn next(&mut self, now: Now) -> Step {
        if self.rules.automatic && self.due.is_none() && self.round.is_none() {
            self.due = Some(now.at);
        }
        if let Some(report) = self.end_round(now) {
            return Step::Done(report);
        }
        if let Some(until) = self.paused.max(self.next_ask).filter(|until| *until > now.at) {
            return Step::Wait(until);
        }
        if self.out.len() >= AT_ONCE {
            return Step::Answers;
        }
        if self.round.is_none() && self.due.is_some_and(|due| due <= now.at) {
            self.begin_round(now);
        }
        if let Some((ask, whose)) = self.next_question(now) {
            // A question that was late may be caught up with, but no more than one.
            let from = self
                .next_ask
                .map_or(now.at, |next| next.max(now.at.checked_sub(self.rules.pace).unwrap_or(now.at)));
            self.next_ask = from.checked_add(self.rules.pace);
            if let Some(round) = &mut self.round {
                round.asked = round.asked.saturating_add(1);
            }
            self.out.insert(ask.clone(), whose);
            return Step::Ask(ask);
        }
        if let Some(report) = self.end_round(now) {
            return Step::Done(report);
        }
        let due = self.due.filter(|_| self.round.is_none());
        match [due, self.errands.due()].into_iter().flatten().min() {
            Some(until) if until > now.at => Step::Wait(until),
            Some(_) | None => Step::Answers,
        }
    }

    /// Takes in an answer, with what the log knows of the tickets in it; says what the log does not have.
    pub fn came_back(
        &mut self,
        now: Now,
        ask: &Ask,
        answer: Answer,
        known: &BTreeMap<String, TicketState>,
    ) -> Vec<Finding> {
        let Some(whose) = self.out.remove(ask) else { return Vec::new() };
        let failed = match &answer {
            // Where Blip was not asked at all, how long to leave it alone was told.
            Answer::Failed { retry_after, asked: false } => Some((*retry_after).max(PAUSE_MIN)),
            Answer::Failed { retry_after, asked: true } => Some(self.backoff().max(*retry_after)),
            Answer::KeyRefused => {
                self.reader.fault(ReaderFault::KeyRefused);
                Some(PAUSE_MAX)
            }
            Answer::Tickets { .. } | Answer::Ticket(_) | Answer::Said { .. } | Answer::Refused { .. } => None,
        };
        let mut answer = answer;
        if let Some(pause) = failed {
            self.pause(now, pause);
            let given_up = if answer == Answer::KeyRefused {
                self.give_up_round();
                whose == Whose::Round
            } else {
                self.is_hopeless(ask, &answer)
            };
            if !given_up {
                self.again.push_back((ask.clone(), whose));
                return Vec::new();
            }
            answer = Answer::Refused { code: None, description: String::new() };
        } else {
            self.failures = 0;
            self.reader.answered();
        }
        self.tries.remove(ask);
        match ask {
            Ask::Living { skip, take } => self.living_page(now, (*skip, *take), answer, known),
            Ask::Closed { skip, take, .. } => {
                self.closed_page((*skip, *take), answer, known);
                Vec::new()
            }
            Ask::Ticket { id } => self.ticket_read(now, id, whose, answer, known.get(id)),
            Ask::Said { id, skip } => self.said_read(now, (id, *skip), whose, answer),
        }
    }

    /// What was found could not be stored: the round that found it does not count as whole, and its errand is run again.
    pub fn not_stored(&mut self, now: Now, errand: Option<Errand>) {
        if let Some(round) = &mut self.round {
            round.complete = false;
        }
        if let Some(errand) = errand {
            self.run_errand(errand);
        }
        self.pause(now, Duration::from_secs(5));
    }

    /// A conversation is in the log wholly; `digest` tells it from every other state of it.
    pub fn stored(&mut self, ticket_id: &str, digest: u64) {
        if let Some(life) = self.living.get_mut(ticket_id) {
            life.seen = digest;
        }
    }

    /// Whether a conversation is as it was when it was last stored.
    pub fn is_stored(&self, ticket_id: &str, digest: u64) -> bool {
        self.living.get(ticket_id).is_some_and(|life| life.seen == digest)
    }

    /// Whether a round is due, or runs.
    pub fn is_asked(&self) -> bool {
        self.due.is_some() || self.round.is_some()
    }

    /// Takes over what was asked of a planner that is given up. A round that it did not end is begun anew.
    pub fn take_over(&mut self, before: &Self) {
        self.number = before.number;
        self.due = before.due.or(before.round.as_ref().map(|round| round.started.at));
        if before.is_asked() {
            self.resume = None;
        }
        if let Some(since) = before.owed() {
            self.look_back(since);
        }
    }

    /// The next round is to look for tickets that ended at least as far back.
    pub fn look_back(&mut self, since: Timestamp) {
        self.since = Some(self.since.map_or(since, |before| before.min(since)));
    }

    /// How far back somebody asked for who has not had it yet.
    pub fn owed(&self) -> Option<Timestamp> {
        self.since.into_iter().chain(self.round.as_ref().map(|round| round.since)).min()
    }

    /// Whether Blip is left alone for now, as it could not be asked.
    pub fn is_paused(&self, now: Now) -> bool {
        self.paused.is_some_and(|until| until > now.at)
    }

    /// How many tickets live, as far as the log knows.
    pub fn living(&self) -> usize {
        self.living.len()
    }

    /// What is wrong with reading from Blip, if anything is.
    pub fn reader_fault(&self) -> Option<ReaderFault> {
        self.reader.now()
    }

    /// Up to when everything that ended is known.
    pub fn covered(&self) -> Option<Timestamp> {
        self.covered
    }

    /// The first ticket whose conversation this round has still to read, for the next process to go on at.
    pub fn resume_at(&self) -> Option<String> {
        let under_way = self.out.iter().chain(self.again.iter().map(|(ask, whose)| (ask, whose)));
        let reading = under_way.filter_map(|(ask, whose)| match (ask, whose) {
            (Ask::Said { id, .. }, Whose::Round) => Some(id.clone()),
            _ => None,
        });
        let round = self.round.as_ref()?;
        reading.min().or_else(|| round.read_up_to.clone()).or_else(|| self.resume.clone())
    }

    /// The oldest position of the log from which an errand is still to be run.
    pub fn oldest_errand(&self) -> Option<u64> {
        let reading = self.readings.values().filter_map(Reading::position);
        self.errands.oldest_position().into_iter().chain(reading).min()
    }

    /// Whether a question has failed so often that it is given up: others may be answered.
    fn is_hopeless(&mut self, ask: &Ask, answer: &Answer) -> bool {
        if !matches!(answer, Answer::Failed { asked: true, .. }) {
            return false;
        }
        let tries = self.tries.entry(ask.clone()).or_default();
        *tries = tries.saturating_add(1);
        *tries >= TRIES_MAX
    }

    /// How long Blip is left alone after another question without an answer.
    fn backoff(&mut self) -> Duration {
        let backoff = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(self.failures.min(6)));
        self.failures = self.failures.saturating_add(1);
        backoff.min(PAUSE_MAX)
    }

    fn pause(&mut self, now: Now, pause: Duration) {
        self.paused = self.paused.max(now.at.checked_add(pause));
    }

    fn is_fresh(&self, now: Now, date: Option<Timestamp>) -> bool {
        // A clock of Blip's that is far ahead must not keep anything untold.
        let young = |age: SignedDuration| age < self.rules.grace && age > SKEW_MAX;
        date.is_some_and(|date| young(now.date.duration_since(date)))
    }
}

/// What a document may change that somebody should hear of.
const TOLD: [&str; 7] =
    ["status", "agent_identity", "team", "tags", "priority", "closed_by", "customer_identity"];

/// Whether a document tells what the log does not know.
fn is_news(known: &TicketState, document: &Ticket) -> bool {
    match known.clone().apply(document) {
        Change::Created | Change::Assigned | Change::Transferred | Change::Closed => true,
        Change::Updated(fields) => fields.iter().any(|field| TOLD.contains(field)),
        Change::Stale(_) => false,
    }
}
