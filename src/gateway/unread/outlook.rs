//! When a group loses what it has not read, by the pace of two looks. Pure.
//!
//! Age takes the oldest unread event once it is as old as events are kept; how fast it ages is how fast the group falls
//! behind. Size takes the oldest events as others come: so many fit, and the group stands so far before the newest.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::Seq;
use crate::store::Bounds;

/// Never warns earlier than this before.
const DANGER_MAX: Duration = Duration::from_hours(24);

/// The log and a group in it, at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) at: Timestamp,
    pub(super) settled_through: Seq,
    /// Age takes nothing from it: it pins what it has not read, or another group pins that.
    pub(super) pinned: bool,
    /// How long ago the first event after `settled_through` was received; zero without one.
    pub(super) oldest_unread: Duration,
    pub(super) trimmed: Seq,
    pub(super) last: Seq,
    pub(super) retention: Duration,
    pub(super) live_bytes: u64,
    pub(super) live_bytes_max: Option<u64>,
}

impl Sight {
    pub(super) fn events_behind(&self) -> u64 {
        self.last.0.saturating_sub(self.settled_through.0)
    }

    /// How many events fit, if events go on to be of the size they are.
    fn events_max(&self) -> Option<u64> {
        fitting(self.last.0.saturating_sub(self.trimmed.0), self.live_bytes, self.live_bytes_max?)
    }
}

/// How many events fit into `max` bytes where `kept` take `live`.
fn fitting(kept: u64, live: u64, max: u64) -> Option<u64> {
    let fit = u128::from(kept).saturating_mul(max.into()).checked_div(live.into())?;
    (kept > 0).then(|| u64::try_from(fit).unwrap_or(u64::MAX))
}

/// Whether one `share`th of what fits has come between `then` and `now`: by bytes while there is room, and by events
/// once what comes drives out as much.
pub(super) fn much_came(then: &Bounds, now: &Bounds, share: u64) -> bool {
    let Some(max) = now.live_bytes_max else { return false };
    let grown = now.live_bytes.saturating_sub(then.live_bytes);
    let came = now.last.0.saturating_sub(then.last.0);
    let fits = fitting(now.last.0.saturating_sub(now.trimmed.0), now.live_bytes, max);
    came > 0 && (grown >= max / share || fits.is_some_and(|fits| came >= fits / share))
}

/// After which time the group loses events if all goes on as between `then` and `now`; `None` if never.
pub(super) fn time_left(then: &Sight, now: &Sight) -> Option<Duration> {
    if now.events_behind() == 0 {
        return None;
    }
    if now.settled_through < now.trimmed {
        return Some(Duration::ZERO);
    }
    let by_age = if now.pinned { None } else { by_age(then, now) };
    [by_age, by_size(then, now)].into_iter().flatten().min()
}

/// How much time left is too little: a quarter of what the log holds.
pub(super) fn danger_within(then: &Sight, now: &Sight) -> Duration {
    let came = now.last.0.saturating_sub(then.last.0);
    let fits = now.events_max().and_then(|events| at_pace(elapsed(then, now), events, came));
    let held = fits.unwrap_or(Duration::MAX).min(now.retention);
    DANGER_MAX.min(held / 4)
}

fn by_age(then: &Sight, now: &Sight) -> Option<Duration> {
    let aged = now.oldest_unread.checked_sub(then.oldest_unread)?;
    let left = now.retention.saturating_sub(now.oldest_unread);
    at_pace(elapsed(then, now), millis(left), millis(aged))
}

fn by_size(then: &Sight, now: &Sight) -> Option<Duration> {
    let came = now.last.0.saturating_sub(then.last.0);
    let settled = now.settled_through.0.saturating_sub(then.settled_through.0);
    let room = now.events_max()?.saturating_sub(now.events_behind());
    at_pace(elapsed(then, now), room, came.saturating_sub(settled))
}

/// How long `left` lasts where `gone` took `elapsed`.
fn at_pace(elapsed: Duration, left: u64, gone: u64) -> Option<Duration> {
    let time = u128::from(left).saturating_mul(elapsed.as_millis()).checked_div(gone.into())?;
    (!elapsed.is_zero()).then(|| Duration::from_millis(u64::try_from(time).unwrap_or(u64::MAX)))
}

fn elapsed(then: &Sight, now: &Sight) -> Duration {
    Duration::try_from(now.at.duration_since(then.at)).unwrap_or_default()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    /// Twelve hours of a log that takes a thousand events an hour, with a group that stands so far back.
    fn sight(hours: u64, settled_through: u64, oldest_unread_hours: u64) -> Sight {
        Sight {
            at: Timestamp::from_second(i64::try_from(hours * HOUR).unwrap()).unwrap(),
            settled_through: Seq(settled_through),
            pinned: false,
            oldest_unread: Duration::from_secs(oldest_unread_hours * HOUR),
            trimmed: Seq(0),
            last: Seq(hours * 1_000),
            retention: Duration::from_hours(48),
            live_bytes: hours * 1_000_000,
            live_bytes_max: None,
        }
    }

    #[test]
    fn a_group_that_stands_still_loses_when_its_next_event_is_too_old() {
        let (then, now) = (sight(40, 0, 40), sight(42, 0, 42));
        assert_eq!(time_left(&then, &now), Some(Duration::from_hours(6)));
        assert_eq!(danger_within(&then, &now), Duration::from_hours(12), "a quarter of two days");
        let pinned = |sight| Sight { pinned: true, ..sight };
        assert_eq!(time_left(&pinned(then), &pinned(now)), None, "age takes nothing from it");
    }

    #[test]
    fn a_group_that_only_falls_behind_has_longer_and_one_that_catches_up_loses_nothing() {
        let slow = (sight(40, 20_000, 20), sight(42, 21_000, 21));
        assert_eq!(time_left(&slow.0, &slow.1), Some(Duration::from_hours(54)), "an hour's age in two hours");
        let fast = (sight(40, 20_000, 20), sight(42, 25_000, 17));
        assert_eq!(time_left(&fast.0, &fast.1), None);
        assert_eq!(time_left(&sight(40, 40_000, 0), &sight(42, 42_000, 0)), None, "it has read everything");
    }

    #[test]
    fn size_takes_events_at_the_pace_they_come_also_before_it_takes_the_first() {
        let bound = |sight| Sight { live_bytes_max: Some(50_000_000), pinned: true, ..sight };
        let (then, now) = (bound(sight(40, 1_000, 1)), bound(sight(42, 1_000, 3)));
        assert_eq!(
            time_left(&then, &now),
            Some(Duration::from_hours(9)),
            "50,000 fit, it stands 41,000 back"
        );
        let trimmed = |sight| Sight { trimmed: Seq(2_000), ..bound(sight) };
        assert_eq!(
            time_left(&trimmed(sight(40, 0, 1)), &trimmed(sight(42, 0, 1))),
            Some(Duration::ZERO),
            "lost"
        );
    }

    #[test]
    fn a_flood_is_seen_by_its_bytes_or_by_its_events() {
        let bounds = |trimmed, last, live_bytes| Bounds {
            trimmed: Seq(trimmed),
            last: Seq(last),
            earliest_time: None,
            latest_time: None,
            retention: Duration::from_hours(48),
            live_bytes,
            live_bytes_max: Some(32_000_000),
            store: "sqlite",
        };
        let then = bounds(0, 1_000, 1_000_000);
        assert!(!much_came(&then, &then, 32));
        assert!(!much_came(&then, &bounds(0, 1_100, 1_100_000), 32), "32,000 fit");
        assert!(much_came(&then, &bounds(0, 1_001, 2_000_000), 32), "one, but large");
        let full = bounds(10_000, 42_000, 32_000_000);
        assert!(!much_came(&full, &bounds(10_900, 42_900, 32_000_000), 32));
        assert!(much_came(&full, &bounds(11_000, 43_000, 32_000_000), 32), "each drives one out");
        let unbounded = |bounds| Bounds { live_bytes_max: None, ..bounds };
        assert!(!much_came(&unbounded(then.clone()), &unbounded(full), 32));
    }

    #[test]
    fn one_look_tells_nothing() {
        let now = sight(42, 0, 42);
        assert_eq!(time_left(&now, &now), None);
        assert_eq!(time_left(&sight(0, 0, 0), &sight(0, 0, 0)), None);
    }
}
