//! What to do after each failure, and when the next call may go out. Pure: time comes in as an argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::BlipError;

/// Calls a second Blip grants a bot, by envelope kind (R§10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// `/messages`.
    pub messages: u32,
    /// `/notifications`.
    pub notifications: u32,
    /// `/commands`.
    pub commands: u32,
}

impl Rates {
    /// What the free plan grants.
    pub const FREE: Self = Self { messages: 3, notifications: 6, commands: 48 };
    /// What the paid plan grants.
    pub const PAID: Self = Self { messages: 50, notifications: 100, commands: 200 };
}

/// What the rates are counted over.
const WINDOW: Duration = Duration::from_secs(1);

/// A sliding window: any second has at most its rate of grants, the first ones at once.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_second: usize,
    /// The newest grants, oldest first, at most a second's worth.
    granted: VecDeque<Instant>,
    paused_until: Option<Instant>,
}

impl Bucket {
    /// A bucket that grants `per_second` calls a second; 0 counts as 1.
    pub fn new(per_second: u32) -> Self {
        let per_second = usize::try_from(per_second.max(1)).unwrap_or(usize::MAX);
        Self { per_second, granted: VecDeque::new(), paused_until: None }
    }

    /// Takes one call's token: answers when it may go out, `now` or later but before `deadline`; or, if that
    /// is not possible, takes nothing and answers how long until it would be.
    pub fn take(&mut self, now: Instant, deadline: Instant) -> Result<Instant, Duration> {
        let full = self.granted.len() >= self.per_second;
        let room = full.then(|| self.granted.front().map(|oldest| *oldest + WINDOW)).flatten();
        // Never before the newest grant: calls go out in the order they asked.
        let bounds = [room, self.granted.back().copied(), self.paused_until];
        let ready = bounds.into_iter().flatten().fold(now, Instant::max);
        if ready > now && ready >= deadline {
            return Err(ready.saturating_duration_since(now));
        }
        if full {
            self.granted.pop_front();
        }
        self.granted.push_back(ready);
        Ok(ready)
    }

    /// Grants nothing before `until`: Blip said so.
    pub fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |old| old.max(until)));
    }
}

/// What to do after a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send the same again, this much later.
    Repeat(Duration),
    /// It may have been done: look.
    Look,
    /// It was not done, and will not be by trying on.
    GiveUp,
}

/// How often the same step is sent at most.
pub const ATTEMPTS_MAX: u32 = 3;
/// The pause before the second attempt; doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Decides after attempt number `attempt` (from 1) failed with `error` and `left` remains until the deadline.
/// What sets a state may be repeated even when it was perhaps done; all else is looked for.
pub fn next_step(error: &BlipError, attempt: u32, sets_state: bool, left: Duration) -> Next {
    let pause = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    let may_repeat = attempt < ATTEMPTS_MAX && left > pause;
    match error {
        BlipError::NotSent(_) if may_repeat => Next::Repeat(pause),
        BlipError::Unknown(_) if may_repeat && sets_state => Next::Repeat(pause),
        BlipError::Unknown(_) => Next::Look,
        BlipError::NotSent(_)
        | BlipError::OverQuota { .. }
        | BlipError::Throttled { .. }
        | BlipError::Credential { .. }
        | BlipError::Refused { .. } => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_grants_its_rate_at_once_and_no_more() {
        let start = Instant::now();
        let far = start + Duration::from_mins(1);
        let mut bucket = Bucket::new(3);
        let granted: Vec<_> =
            (0..7).map(|_| bucket.take(start, far).unwrap().duration_since(start).as_millis()).collect();
        assert_eq!(granted, [0, 0, 0, 1000, 1000, 1000, 2000]);
    }

    proptest! {
        #[test]
        fn no_second_has_more_grants_than_the_rate(
            rate in 1_u32..9,
            calls in vec((0_u64..700, 0_u64..4_000, prop::option::weighted(0.1, 0_u64..3_000)), 1..80),
        ) {
            let mut bucket = Bucket::new(rate);
            let mut now = Instant::now();
            let mut granted = Vec::new();
            for (wait, patience, pause) in calls {
                now += Duration::from_millis(wait);
                if let Some(pause) = pause {
                    bucket.pause(now + Duration::from_millis(pause));
                }
                let deadline = now + Duration::from_millis(patience);
                if let Ok(ready) = bucket.take(now, deadline) {
                    prop_assert!(ready == now || ready < deadline);
                    granted.push(ready);
                }
            }
            let rate = usize::try_from(rate).unwrap();
            for (earlier, later) in granted.iter().zip(granted.iter().skip(rate)) {
                prop_assert!(later.duration_since(*earlier) >= Duration::from_secs(1));
            }
        }
    }

    #[test]
    fn a_wait_past_the_deadline_is_refused_and_takes_nothing() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1);
        bucket.take(start, start).unwrap();
        let wait = bucket.take(start, start + Duration::from_millis(500)).unwrap_err();
        assert!(wait > Duration::from_millis(900), "{wait:?}");
        assert_eq!(bucket.take(start, start).unwrap_err(), wait, "the refusal took no token");
        bucket.pause(start + Duration::from_mins(2));
        assert!(bucket.take(start, start + Duration::from_secs(100)).is_err());
    }

    #[test]
    fn only_what_sets_a_state_is_repeated_in_doubt() {
        let left = Duration::from_secs(10);
        let unknown = BlipError::Unknown(String::new());
        assert!(matches!(next_step(&unknown, 1, true, left), Next::Repeat(_)));
        assert_eq!(next_step(&unknown, 1, false, left), Next::Look);
        assert_eq!(next_step(&unknown, ATTEMPTS_MAX, true, left), Next::Look);
        assert!(matches!(next_step(&BlipError::NotSent(String::new()), 1, false, left), Next::Repeat(_)));
        assert_eq!(next_step(&BlipError::Credential { status: 401 }, 1, true, left), Next::GiveUp);
    }
}
