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
    /// A watchdog since `started`; `usual` and `raised` are what an earlier process told.
    pub(super) fn new(
        silence: Silence,
        started: Timestamp,
        usual: Vec<Option<f64>>,
        raised: &[String],
    ) -> Self {
        let usual = if usual.len() == SLOTS { usual } else { vec![None; SLOTS] };
        let was = |reason: &str| raised.iter().any(|raised| raised == reason);
        let [missing, blind] = REASONS;
        Self {
            silence,
            started,
            last_webhook: None,
            looked_at: None,
            hour: (hour_of(started), 0, false),
            usual,
            missing: VecDeque::new(),
            refused: None,
            raised: was(missing).then_some(Cause::Lost),
            last_found: None,
            // Which it was is not known any more; the first that is seen, or none, is told.
            blind: was(blind).then_some(ReaderFault::ListRefused),
        }
    }

    /// How many webhooks usually come, for each hour of the week.
    pub(super) fn usual(&self) -> &[Option<f64>] {
        &self.usual
    }

    /// The reasons of the alerts that are raised.
    pub(super) fn raised(&self) -> Vec<String> {
        let [missing, blind] = REASONS;
        let missing = self.raised.map(|_| missing.to_owned());
        missing.into_iter().chain(self.blind.map(|_| blind.to_owned())).collect()
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
        }
        while self.missing.front().is_some_and(|(at, ..)| now.duration_since(*at) > MISSING_WINDOW)
            || self.missing.len() > 100_000
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
        let newest = self.missing.back().map(|(_, date, _)| *date);
        let heard = cause != Cause::Blocked || self.last_webhook > newest;
        if !(nothing && heard) {
            return None;
        }
        self.raised = None;
        self.missing.clear();
        Some(words::cleared(self.last_webhook))
    }

    /// The alert that webhooks are missing, if it is to be raised now.
    pub(super) fn alarm(&mut self, now: Timestamp) -> Option<Alert> {
        let oldest = self.missing.iter().map(|(_, date, _)| *date).min()?;
        let silent = self.is_silent(now, self.last_webhook.unwrap_or(self.started));
        if self.raised.is_some() || (self.missing.len() < MISSING_MIN && !silent) {
            return None;
        }
        let cause = if self.refused.is_some_and(|at| at >= self.started) {
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
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn watchdog(after: Option<SilenceAfter>, hours: Option<&str>) -> Watchdog {
        let hours = hours.map(|hours| Hours::parse(hours).unwrap());
        Watchdog::new(Silence { after, hours }, at("2024-05-02T12:00:00Z"), Vec::new(), &[])
    }

    #[test]
    fn a_silence_is_looked_into_once_for_each_time() {
        let mut watchdog = watchdog(Some(SilenceAfter::Time(Duration::from_mins(30))), None);
        assert!(!watchdog.should_look(at("2024-05-02T12:30:00Z")));
        assert!(watchdog.should_look(at("2024-05-02T12:30:01Z")));
        assert!(!watchdog.should_look(at("2024-05-02T12:59:00Z")));
        assert!(watchdog.should_look(at("2024-05-02T13:01:00Z")));
        watchdog.heard(at("2024-05-02T13:02:00Z"));
        assert!(!watchdog.should_look(at("2024-05-02T13:31:30Z")));
    }

    #[test]
    fn a_night_is_no_silence() {
        let half = Some(SilenceAfter::Time(Duration::from_mins(30)));
        let mut watchdog = watchdog(half, Some("mon-fri 09:00-18:00 -03:00"));
        watchdog.heard(at("2024-05-02T20:59:00Z"));
        assert!(!watchdog.should_look(at("2024-05-03T03:00:00Z")));
        assert!(!watchdog.should_look(at("2024-05-03T12:10:00Z")));
        assert!(watchdog.should_look(at("2024-05-03T12:31:00Z")));
    }

    #[test]
    fn what_is_usual_for_an_hour_is_learnt() {
        let mut watchdog = watchdog(Some(SilenceAfter::Learnt), None);
        let start = at("2024-05-02T13:00:00Z");
        let minute = |n: i64| start.checked_add(SignedDuration::from_mins(n)).unwrap();
        assert!(!watchdog.should_look(minute(59)), "nothing is known yet");
        for n in 0..24 * 60 {
            watchdog.heard(minute(n));
        }
        // One a minute, the day before.
        assert!(!watchdog.should_look(minute(24 * 60 + 9)));
        assert!(watchdog.should_look(minute(24 * 60 + 11)));
        let usual = watchdog.usual().to_vec();
        let mut next = Watchdog::new(
            Silence { after: Some(SilenceAfter::Learnt), hours: None },
            minute(48 * 60),
            usual,
            &[],
        );
        assert!(!next.should_look(minute(48 * 60 + 9)) && next.should_look(minute(48 * 60 + 11)));
    }

    #[test]
    fn missing_webhooks_are_told_once_and_again_when_they_come() {
        let mut watchdog = watchdog(None, None);
        let minute = |n: i64| at("2024-05-02T13:00:00Z").checked_add(SignedDuration::from_mins(n)).unwrap();
        watchdog.missed(minute(1), at("2024-05-02T11:00:00Z"), true);
        for n in 1..=2 {
            watchdog.missed(minute(n), minute(0), false);
            assert_eq!(watchdog.alarm(minute(n)), None, "a few may be lost");
        }
        watchdog.missed(minute(3), minute(1), true);
        let raised = watchdog.alarm(minute(3)).unwrap();
        assert_eq!((raised.reason, raised.raised), ("WEBHOOKS_MISSING", true));
        assert_eq!(raised.details["cause"], "blocked");
        assert_eq!((&raised.details["tickets"], &raised.details["messages"]), (&1.into(), &2.into()));
        assert_eq!(watchdog.alarm(minute(4)), None, "it is told once");
        assert_eq!(watchdog.raised(), ["WEBHOOKS_MISSING"]);
        assert_eq!(watchdog.round_done(minute(5)), None, "no webhook came since");
        watchdog.heard(minute(6));
        assert_eq!(watchdog.round_done(minute(2)), None, "that round found something");
        let cleared = watchdog.round_done(minute(7)).unwrap();
        assert_eq!((cleared.reason, cleared.raised), ("WEBHOOKS_MISSING", false));
        assert!(watchdog.raised().is_empty());
    }

    #[test]
    fn the_cause_is_told_by_what_else_was_seen() {
        let minute = |n: i64| at("2024-05-02T13:00:00Z").checked_add(SignedDuration::from_mins(n)).unwrap();
        let cause = |heard: bool, refused: bool| {
            let mut watchdog = watchdog(None, None);
            for n in 0..3 {
                watchdog.missed(minute(5), minute(n), false);
            }
            if heard {
                watchdog.heard(minute(1));
            }
            if refused {
                watchdog.refused(minute(1));
            }
            watchdog.alarm(minute(5)).unwrap().details["cause"].clone()
        };
        assert_eq!(cause(false, false), "blocked");
        assert_eq!(cause(true, false), "lost");
        assert_eq!(cause(true, true), "refused");
    }

    #[test]
    fn a_blind_reader_is_told_and_when_it_sees_again() {
        let mut watchdog = watchdog(None, None);
        assert_eq!(watchdog.reader(None), None);
        let raised = watchdog.reader(Some(ReaderFault::NoDesk)).unwrap();
        assert_eq!((raised.reason, raised.raised), ("RECONCILIATION_BLIND", true));
        assert!(raised.description.contains("router"), "{}", raised.description);
        assert_eq!(watchdog.reader(Some(ReaderFault::NoDesk)), None);
        assert!(!watchdog.reader(None).unwrap().raised);
    }
}
