//! What to do after each failure, and when the next call may go out. Pure: time comes in as an argument.

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

/// A token bucket that holds one second's worth, kept as the time at which it will be full again.
#[derive(Debug, Clone)]
pub struct Bucket {
    interval: Duration,
    burst: Duration,
    full_at: Option<Instant>,
}

impl Bucket {
    /// A full bucket that grants `per_second` calls a second; 0 counts as 1.
    pub fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { interval, burst: interval.saturating_mul(per_second.saturating_sub(1)), full_at: None }
    }

    /// Takes one call's token: answers when it may go out, `now` or later but before `deadline`; or, if that
    /// is not possible, takes nothing and answers how long until it would be.
    pub fn take(&mut self, now: Instant, deadline: Instant) -> Result<Instant, Duration> {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        let ready = full_at.checked_sub(self.burst).map_or(now, |ready| ready.max(now));
        if ready > now && ready >= deadline {
            return Err(ready.saturating_duration_since(now));
        }
        self.full_at = Some(full_at + self.interval);
        Ok(ready)
    }

    /// Grants nothing before `until`: Blip said so.
    pub fn pause(&mut self, until: Instant) {
        let full_at = until + self.burst;
        self.full_at = Some(self.full_at.map_or(full_at, |old| old.max(full_at)));
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
    use super::*;

    #[test]
    fn a_second_grants_its_rate_and_no_more() {
        let start = Instant::now();
        let far = start + Duration::from_mins(1);
        let mut bucket = Bucket::new(3);
        let granted: Vec<_> =
            (0..6).map(|_| bucket.take(start, far).unwrap().duration_since(start)).collect();
        assert!(granted.iter().take(3).all(Duration::is_zero), "{granted:?}");
        assert!(
            granted[5] >= Duration::from_millis(990) && granted[5] <= Duration::from_millis(1010),
            "{granted:?}"
        );
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
