//! Whether webhooks seem blocked or lost, and whether Blip can be read at all. Pure: what it is told, it counts; it says
//! when somebody should look, and when an alert is raised or over.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::hours::Hours;
use super::plan::ReaderFault;
use super::words::{self, Alert, Cause, Missing, REASONS};

/// Facts that webhooks should have told from which on an alert is raised, and within what time.
const MISSING_MIN: usize = 3;
const MISSING_WINDOW: SignedDuration = SignedDuration::from_mins(30);
/// Of them that are kept.
const MISSING_MAX: usize = 100_000;
/// How far Blip's clock may be ahead of ours.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(10);
/// The hours of a week.
const SLOTS: usize = 168;
/// How many usual pauses a silence must last to be one: that is chance once in twenty thousand times.
const PAUSES: f64 = 10.0;
/// The shortest silence that is looked into, where it is learnt.
const SILENCE_MIN: SignedDuration = SignedDuration::from_mins(10);
/// Webhooks an hour below which silence says nothing.
const RATE_MIN: f64 = 3.0;
/// How much an hour counts of what is usual.
const LEARNING: f64 = 0.3;

/// When silence is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// `None` for never.
    pub after: Option<SilenceAfter>,
    /// When it counts; `None` for always.
    pub hours: Option<Hours>,
}

/// How long a silence must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceAfter {
    /// Longer than is usual for the hour.
    Learnt,
    /// Longer than this.
    Time(Duration),
}

/// A bot's watchdog.
#[derive(Debug)]
pub(super) struct Watchdog {
    silence: Silence,
    started: Timestamp,
    last_webhook: Option<Timestamp>,
    /// From when the newest is that was missing; kept while an alert is raised.
    newest_missing: Option<Timestamp>,
    looked_at: Option<Timestamp>,
    /// Webhooks of the hour that runs: its number since 1970, and whether it was watched from its beginning.
    hour: (i64, u32, bool),
    usual: Vec<Option<f64>>,
    /// What was found that webhooks should have told: when, and from when it was.
    missing: VecDeque<(Timestamp, Timestamp, bool)>,
    /// When a webhook was refused for want of room.
    refused: Option<Timestamp>,
    raised: Option<Cause>,
    /// When something was found last.
    last_found: Option<Timestamp>,
    blind: Option<ReaderFault>,
}

impl Watchdog {
    /// A watchdog since `started`; `usual` and `raised` are what an earlier process noted.
    pub(super) fn new(
        silence: Silence,
        started: Timestamp,
        usual: Vec<Option<f64>>,
        raised: &[String],
    ) -> Self {
        let usual = if usual.len() == SLOTS { usual } else { vec![None; SLOTS] };
        let [missing, blind] = REASONS;
        let cause_of = |reason| words::noted(raised, reason);
        Self {
            silence,
            started,
            last_webhook: None,
            newest_missing: None,
            looked_at: None,
            hour: (hour_of(started), 0, false),
            usual,
            missing: VecDeque::new(),
            refused: None,
            raised: cause_of(missing).map(|cause| Cause::named(cause).unwrap_or(Cause::Lost)),
            last_found: None,
            blind: cause_of(blind).map(|cause| ReaderFault::named(cause).unwrap_or(ReaderFault::ListRefused)),
        }
    }

    /// How many webhooks usually come, for each hour of the week.
    pub(super) fn usual(&self) -> &[Option<f64>] {
        &self.usual
    }

    /// Why Blip cannot be read, where that was told and is not over.
    pub(super) fn blind(&self) -> Option<ReaderFault> {
        self.blind
    }

    /// The alerts that are raised, each with its cause, to be noted.
    pub(super) fn raised(&self) -> Vec<String> {
        let [missing, blind] = REASONS;
        let missing = self.raised.map(|cause| words::note_of(missing, cause.name()));
        missing.into_iter().chain(self.blind.map(|fault| words::note_of(blind, fault.name()))).collect()
    }

    /// A webhook came.
    pub(super) fn heard(&mut self, at: Timestamp) {
        self.roll(at);
        if hour_of(at) == self.hour.0 {
            self.hour.1 = self.hour.1.saturating_add(1);
        }
        self.last_webhook = self.last_webhook.max(Some(at));
    }

    /// A webhook was refused for want of room.
    pub(super) fn refused(&mut self, at: Timestamp) {
        self.refused = Some(at);
    }

    /// Something was found, from `date`, that a webhook should have told. What is older than this process was perhaps
    /// posted to nobody.
    pub(super) fn missed(&mut self, now: Timestamp, date: Timestamp, is_ticket: bool) {
        self.last_found = Some(now);
        if date >= self.started {
            self.missing.push_back((now, date, is_ticket));
            self.newest_missing = self.newest_missing.max(Some(date));
        }
        self.forget(now);
    }

    /// What was found long ago says nothing of now.
    fn forget(&mut self, now: Timestamp) {
        while self.missing.front().is_some_and(|(at, ..)| now.duration_since(*at) > MISSING_WINDOW)
            || self.missing.len() > MISSING_MAX
        {
            self.missing.pop_front();
        }
    }

    /// Whether the bot has been silent for so long that somebody should look; once for each such time.
    pub(super) fn should_look(&mut self, now: Timestamp) -> bool {
        self.roll(now);
        let since = self.last_webhook.max(Some(self.started)).max(self.looked_at);
        let silent = self.is_silent(now, since.unwrap_or(self.started));
        if silent {
            self.looked_at = Some(now);
        }
        silent
    }

    fn is_silent(&self, now: Timestamp, since: Timestamp) -> bool {
        let longest = match self.silence.after {
            None => return false,
            Some(SilenceAfter::Time(time)) => SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX),
            Some(SilenceAfter::Learnt) => match self.longest_pause(now) {
                Some(longest) => longest,
                None => return false,
            },
        };
        // The night before is no silence.
        let before = now.saturating_sub(longest).unwrap_or(now);
        let counts = self.silence.hours.is_none_or(|hours| hours.contain(now) && hours.contain(before));
        counts && now.duration_since(since) > longest
    }

    /// The longest pause between webhooks that is still usual for this hour; `None` where that is not known.
    fn longest_pause(&self, now: Timestamp) -> Option<SignedDuration> {
        let slot = slot_of(hour_of(now));
        let known = self.usual.get(slot).copied().flatten();
        // The same hour of the quietest other day.
        let others = (0..7).filter_map(|day| self.usual.get((slot % 24) + day * 24).copied().flatten());
        let rate = known.or_else(|| others.min_by(f64::total_cmp))?;
        if rate < RATE_MIN {
            return None;
        }
        let longest = Duration::try_from_secs_f64(3_600.0 * PAUSES / rate).ok()?;
        Some(SignedDuration::try_from(longest).ok()?.max(SILENCE_MIN))
    }

    /// Learns from the hours that are over.
    fn roll(&mut self, now: Timestamp) {
        let (hour, count, whole) = self.hour;
        let next = hour_of(now);
        if next <= hour {
            return;
        }
        let mut learn = |hour: i64, count: f64| {
            if let Some(usual) = self.usual.get_mut(slot_of(hour)) {
                *usual = Some(usual.map_or(count, |before| before + LEARNING * (count - before)));
            }
        };
        if whole {
            learn(hour, f64::from(count));
        }
        // Hours without any: watched, as this process ran.
        for quiet in hour.saturating_add(1)..next.min(hour.saturating_add(168)) {
            learn(quiet, 0.0);
        }
        self.hour = (next, 0, true);
    }

    /// A round was carried to its end, begun at `began`.
    pub(super) fn round_done(&mut self, began: Timestamp) -> Option<Alert> {
        let cause = self.raised?;
        let nothing = self.last_found.is_none_or(|found| found < began);
        let heard = cause != Cause::Blocked || self.last_webhook > self.newest_missing;
        if !(nothing && heard) {
            return None;
        }
        self.raised = None;
        self.refused = None;
        self.newest_missing = None;
        self.missing.clear();
        Some(words::cleared(self.last_webhook))
    }

    /// The alert that webhooks are missing, if it is to be raised now.
    pub(super) fn alarm(&mut self, now: Timestamp) -> Option<Alert> {
        self.forget(now);
        let oldest = self.missing.iter().map(|(_, date, _)| *date).min()?;
        let silent = self.is_silent(now, self.last_webhook.unwrap_or(self.started));
        if self.raised.is_some() || (self.missing.len() < MISSING_MIN && !silent) {
            return None;
        }
        // Blip's clock may be ahead of ours.
        let since = oldest.saturating_sub(SKEW_MAX).unwrap_or(oldest);
        let cause = if self.refused.is_some_and(|at| at >= since) {
            Cause::Refused
        } else if self.last_webhook.is_none_or(|last| last < oldest) {
            Cause::Blocked
        } else {
            Cause::Lost
        };
        self.raised = Some(cause);
        let tickets = self.missing.iter().filter(|(.., is_ticket)| *is_ticket).count();
        let messages = self.missing.len().saturating_sub(tickets);
        let missing = Missing { cause, tickets, messages, oldest, last_webhook: self.last_webhook };
        Some(words::missing(&missing))
    }

    /// The alert that Blip cannot be read, or that it can again.
    pub(super) fn reader(&mut self, fault: Option<ReaderFault>) -> Option<Alert> {
        if fault == self.blind {
            return None;
        }
        self.blind = fault;
        Some(match fault {
            Some(fault) => words::blind(fault),
            None => words::sees_again(),
        })
    }
}

fn hour_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(3_600)
}

fn slot_of(hour: i64) -> usize {
    usize::try_from(hour.rem_euclid(168)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
