//! A round: from its first list to the last conversation.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::errand::{Errand, What};
use super::{Ask, MESSAGES_AGE, Now, OVERLAP, Planner, ReaderFault, Whose};

/// How far a round has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Living tickets are listed.
    Living,
    /// Tickets that ended are listed.
    Closed,
    /// Tickets are read that a list left out, or has otherwise than the log.
    Checking,
    /// Conversations are read.
    Reading,
}

/// What a round came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Its number.
    pub number: u64,
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// Questions that Blip was asked meanwhile.
    pub asked: u64,
    /// Living tickets that Blip listed.
    pub listed: usize,
    /// Tickets that were read one by one.
    pub checked: u64,
    /// Conversations that were read.
    pub conversations: u64,
    /// Tickets that the list left out though they live.
    pub left_out: usize,
    /// Tickets that Blip did not give, or not their conversation.
    pub unread: usize,
    /// It was carried to its end.
    pub complete: bool,
    /// It went on where an earlier process had broken off: what that one had read, it did not read again.
    pub resumed: bool,
}

/// What a round asks Blip for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// As many living tickets as it says there are.
    ListOfLiving,
    /// The same of those that ended.
    ListOfEnded,
    /// The ticket of this id.
    Ticket(String),
    /// Its conversation.
    Conversation(String),
}

/// A round under way.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) started: Now,
    pub(super) since: Timestamp,
    pub(super) phase: Phase,
    pub(super) skip: usize,
    pub(super) pages: usize,
    pub(super) asked: u64,
    /// Living tickets that were listed.
    pub(super) listed: BTreeSet<String>,
    /// Tickets that the list of those that ended has.
    pub(super) listed_ended: BTreeSet<String>,
    pub(super) to_check: VecDeque<String>,
    /// Every ticket that was to be checked.
    pub(super) checks: BTreeSet<String>,
    /// The last ticket whose conversation was asked for.
    pub(super) read_up_to: Option<String>,
    /// Tickets whose conversation was read for another reason.
    pub(super) read: BTreeSet<String>,
    /// Questions of this round without an answer.
    pub(super) open: usize,
    pub(super) conversations: u64,
    pub(super) left_out: usize,
    /// What Blip did not give.
    pub(super) unread: BTreeSet<Part>,
    /// How many it gave.
    pub(super) given: u64,
    pub(super) complete: bool,
    /// Nothing more is asked.
    pub(super) broken_off: bool,
}

impl Round {
    /// Has a ticket read by its id, once.
    pub(super) fn check(&mut self, id: &str) {
        if self.checks.insert(id.to_owned()) {
            self.to_check.push_back(id.to_owned());
        }
    }

    pub(super) fn break_off(&mut self) {
        self.complete = false;
        self.broken_off = true;
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        (self.phase, self.skip, self.pages) = (phase, 0, 0);
    }
}

impl Planner {
    pub(super) fn begin_round(&mut self, now: Now) {
        self.due = None;
        self.number = self.number.saturating_add(1);
        let back = |from: Timestamp, by| from.saturating_sub(by).unwrap_or(from);
        let usual = match self.covered {
            Some(covered) => back(covered, OVERLAP),
            None => back(now.date, self.rules.lookback),
        };
        let since = self.since.take().map_or(usual, |since| since.min(usual));
        self.round = Some(Round {
            started: now,
            since,
            phase: Phase::Living,
            skip: 0,
            pages: 0,
            asked: 0,
            listed: BTreeSet::new(),
            listed_ended: BTreeSet::new(),
            to_check: VecDeque::new(),
            checks: BTreeSet::new(),
            read_up_to: None,
            read: BTreeSet::new(),
            open: 0,
            conversations: 0,
            left_out: 0,
            unread: BTreeSet::new(),
            given: 0,
            complete: true,
            broken_off: false,
        });
    }

    /// The round's next question.
    pub(super) fn of_round(&mut self, now: Now) -> Option<Ask> {
        let take = self.take;
        let round = self.round.as_mut()?;
        if round.broken_off {
            return None;
        }
        let ask = match round.phase {
            // One page after the other.
            Phase::Living | Phase::Closed if round.open > 0 => None,
            Phase::Living => Some(Ask::Living { skip: round.skip, take }),
            Phase::Closed => Some(Ask::Closed { since: round.since, skip: round.skip, take }),
            Phase::Checking => self.check_of_round().or_else(|| self.conversation_of_round(now)),
            Phase::Reading => self.conversation_of_round(now),
        };
        if ask.is_some()
            && let Some(round) = &mut self.round
        {
            round.open = round.open.saturating_add(1);
        }
        ask
    }

    fn check_of_round(&mut self) -> Option<Ask> {
        while let Some(id) = self.round.as_mut()?.to_check.pop_front() {
            let ask = Ask::Ticket { id };
            if !self.is_under_way(&ask) {
                return Some(ask);
            }
        }
        let round = self.round.as_mut()?;
        if round.open == 0 {
            round.enter(Phase::Reading);
        }
        None
    }

    fn conversation_of_round(&mut self, now: Now) -> Option<Ask> {
        let resume = self.resume.clone();
        let round = self.round.as_mut().filter(|round| round.phase == Phase::Reading)?;
        let from = match (&round.read_up_to, resume) {
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Some(from)) => Bound::Included(from),
            (None, None) => Bound::Unbounded,
        };
        for (id, life) in self.living.range((from, Bound::Unbounded)) {
            round.read_up_to = Some(id.clone());
            let old = life.created.is_some_and(|created| now.date.duration_since(created) > MESSAGES_AGE);
            if old || round.read.contains(id) || self.readings.contains_key(id) {
                continue;
            }
            let (id, created) = (id.clone(), life.created);
            let errand =
                Errand { ticket_id: id, from: now.at, created, what: What::Living, position: None, tries: 0 };
            return Some(self.begin_reading(now, errand));
        }
        None
    }

    /// A question of the round has its answer.
    pub(super) fn answered(&mut self, whose: Whose) {
        if let (Whose::Round, Some(round)) = (whose, &mut self.round) {
            round.open = round.open.saturating_sub(1);
        }
    }

    /// The key is refused: whoever waits for the round is to hear of it, and another one follows.
    pub(super) fn give_up_round(&mut self) {
        let Some(round) = &mut self.round else { return };
        round.break_off();
        for (ask, whose) in std::mem::take(&mut self.again) {
            if whose == Whose::Errand {
                self.again.push_back((ask, whose));
                continue;
            }
            self.answered(whose);
            self.tries.remove(&ask);
            if let Ask::Said { id, .. } = ask {
                self.readings.remove(&id);
            }
        }
    }

    /// Blip gave something that was asked for, perhaps not at once.
    pub(super) fn given(&mut self, part: &Part) {
        if let Some(round) = &mut self.round {
            round.given = round.given.saturating_add(1);
            round.unread.remove(part);
        }
    }

    /// Blip did not give a ticket, or not its conversation.
    pub(super) fn not_given(&mut self, part: Part) {
        if let Some(round) = &mut self.round {
            round.unread.insert(part);
        }
    }

    /// Whether Blip gave all that a round asked for, but for what it has not given for long while it gave others.
    fn is_all_given(&mut self, round: &Round) -> bool {
        let some = round.given > 0;
        let rounds = |part: &Part| {
            let before = self.unread.get(part).copied().unwrap_or_default();
            (part.clone(), before.saturating_add(u32::from(some)))
        };
        self.unread = round.unread.iter().map(rounds).collect();
        round.unread.is_empty() || (some && self.unread.values().all(|rounds| *rounds >= ROUNDS_UNREAD))
    }

    /// The round's report, once nothing of it is left.
    pub(super) fn end_round(&mut self, now: Now) -> Option<Report> {
        let round = self.round.as_ref()?;
        let through = round.phase == Phase::Reading && !self.is_conversation_left(round);
        let refused = self.reader.now() == Some(ReaderFault::KeyRefused);
        let waits = self.errands_of_round() && !(refused && round.broken_off);
        if round.open > 0 || !(through || round.broken_off) || waits {
            return None;
        }
        let mut round = self.round.take()?;
        let listed = round.complete && !round.broken_off;
        if !round.broken_off {
            round.complete &= self.is_all_given(&round);
        }
        let believed = self.reader.round_ended(round.listed.len(), round.left_out, round.complete);
        round.complete &= believed;
        let resumed = self.resume.take().is_some();
        self.cover(&round, listed && believed);
        // Somebody may have given it another key meanwhile: that is seen to each minute.
        let more = u32::from(!refused);
        self.incomplete = if round.complete { 0 } else { self.incomplete.saturating_add(more) };
        let doublings = if refused { 0 } else { self.incomplete.saturating_sub(1).min(16) };
        let retry = RETRY.saturating_mul(2_u32.saturating_pow(doublings));
        let pause = if round.complete { self.rules.interval } else { self.rules.interval.min(retry) };
        let next = now.at.checked_add(pause).filter(|_| self.rules.automatic);
        self.due = self.due.or(next);
        Some(Report {
            number: self.number,
            started: round.started.date,
            took: now.at.saturating_duration_since(round.started.at),
            asked: round.asked,
            listed: round.listed.len(),
            checked: u64::try_from(round.checks.len()).unwrap_or(u64::MAX),
            conversations: round.conversations,
            left_out: round.left_out,
            unread: tickets_unread(&round.unread, &std::mem::take(&mut self.given_up)),
            complete: round.complete,
            resumed,
        })
    }

    /// Notes up to when everything that ended is known after a round, and how far the next one looks back; `listed` is
    /// whether its lists can be believed.
    fn cover(&mut self, round: &Round, listed: bool) {
        let is_list = |part: &Part| matches!(part, Part::ListOfLiving | Part::ListOfEnded);
        // What ended is known also where some conversations are missing: those are asked for again by themselves.
        // A list that only a number calls short, and has for long, is as good as whole.
        let tolerated = |part: &Part| self.unread.get(part).is_some_and(|rounds| *rounds >= ROUNDS_UNREAD);
        let is_known =
            |part: &Part| matches!(part, Part::Conversation(_)) || (is_list(part) && tolerated(part));
        let ends_known = listed && round.given > 0 && round.unread.iter().all(is_known);
        let whole = round.complete && !round.unread.iter().any(is_list);
        let began = round.started.date;
        // Perhaps a list is short indeed: the next ones look farther back, but not back to the first such round.
        let back = if whole { SignedDuration::ZERO } else { self.rules.lookback };
        let upto = began.saturating_sub(back).unwrap_or(began);
        if round.complete || ends_known {
            self.covered = Some(self.covered.map_or(upto, |covered| covered.max(upto)));
        }
        if !round.complete {
            self.look_back(if ends_known { round.since.max(upto) } else { round.since });
        }
    }

    fn is_conversation_left(&self, round: &Round) -> bool {
        match (&round.read_up_to, &self.resume) {
            (Some(after), _) => {
                self.living.range((Bound::Excluded(after.clone()), Bound::Unbounded)).next().is_some()
            }
            (None, Some(from)) => self.living.range(from.clone()..).next().is_some(),
            (None, None) => !self.living.is_empty(),
        }
    }

    /// Whether an errand waits that the round found.
    fn errands_of_round(&self) -> bool {
        self.errands.has_found() || self.readings.values().any(super::reading::Reading::is_found)
    }

    /// How far the round has come: its number and phase, and of how many tickets how many were done.
    pub fn progress(&self) -> Option<(u64, Phase, usize, usize)> {
        let round = self.round.as_ref()?;
        let (done, total) = match round.phase {
            Phase::Living | Phase::Closed => (0, 0),
            Phase::Checking => (round.checks.len().saturating_sub(round.to_check.len()), round.checks.len()),
            Phase::Reading => {
                let upto = round.read_up_to.as_ref();
                let left = upto.map_or(self.living.len(), |after| {
                    self.living.range((Bound::Excluded(after.clone()), Bound::Unbounded)).count()
                });
                (self.living.len().saturating_sub(left), self.living.len())
            }
        };
        Some((self.number, round.phase, done, total))
    }
}

/// When a round is tried again that was not complete; twice as long after each that is not either.
const RETRY: Duration = Duration::from_mins(1);
/// In how many rounds running Blip does not give a ticket, while it gives others, before they are complete without it.
const ROUNDS_UNREAD: u32 = 3;

/// How many tickets these are.
fn tickets_unread(unread: &BTreeSet<Part>, given_up: &BTreeSet<String>) -> usize {
    let unread = unread.iter().filter_map(|part| match part {
        Part::Ticket(id) | Part::Conversation(id) => Some(id),
        Part::ListOfLiving | Part::ListOfEnded => None,
    });
    unread.chain(given_up).collect::<BTreeSet<_>>().len()
}

/// The date of an instant that is `date` now; kept here as rounds are measured in both.
pub(super) fn later(now: Now, by: SignedDuration) -> Instant {
    let by = Duration::try_from(by).unwrap_or_default();
    now.at.checked_add(by).unwrap_or(now.at)
}
