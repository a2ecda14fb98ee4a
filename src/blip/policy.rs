//! What to do after each failure, and when the next call may go out: the rate in `bucket`, whose turn it is in
//! `queue`, whether to try at all in `breaker`. Pure: time and chance come in as arguments.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::BlipError;

pub mod breaker;
pub mod bucket;
pub mod queue;
pub mod rows;

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

/// How urgent a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for it.
    Command,
    /// Nobody does: it never goes before a command, and has a share of the rate at most.
    Background,
}

/// On whose behalf a bot calls Blip: callers take turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The client of ours; empty for the gateway itself.
    pub principal: Arc<str>,
    /// How urgent it is.
    pub urgency: Urgency,
}

impl Caller {
    /// A client who waits for the answer.
    pub fn client(principal: &str) -> Self {
        Self { principal: principal.into(), urgency: Urgency::Command }
    }

    /// The gateway, for work that can wait.
    pub fn background() -> Self {
        Self { principal: "".into(), urgency: Urgency::Background }
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
/// The longest pause before the second attempt; doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// Decides after attempt number `attempt` (from 1) failed with `error` and `left` remains until the deadline.
/// What sets a state may be repeated even when it was perhaps done; all else is looked for. `random`, of all values
/// alike, spreads what failed together.
pub fn next_step(error: &BlipError, attempt: u32, sets_state: bool, left: Duration, random: u32) -> Next {
    let pause = backoff(attempt, random);
    let again = |pause: Duration| attempt < ATTEMPTS_MAX && left > pause;
    match error {
        BlipError::NotSent(_) if again(pause) => Next::Repeat(pause),
        BlipError::Unknown(_) if again(pause) && sets_state => Next::Repeat(pause),
        BlipError::Unknown(_) | BlipError::TooLarge(_) => Next::Look,
        BlipError::NotSent(_)
        | BlipError::OverQuota { .. }
        | BlipError::CircuitOpen { .. }
        | BlipError::Throttled { .. }
        | BlipError::Credential { .. }
        | BlipError::Refused { .. } => Next::GiveUp,
    }
}

/// The pause after attempt number `attempt` (from 1): anything up to a bound that doubles ("full jitter").
fn backoff(attempt: u32, random: u32) -> Duration {
    let bound = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// A value for the pause after an attempt of the command `id`: ids are random, so what failed together is spread,
/// and one command is repeated in the same rhythm wherever it is looked at.
pub fn chance(id: &str, attempt: u32) -> u32 {
    let mut hasher = DefaultHasher::new();
    (id, attempt).hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_sets_a_state_is_repeated_in_doubt() {
        let left = Duration::from_secs(10);
        let step = |error: &BlipError, attempt, sets_state| next_step(error, attempt, sets_state, left, 7);
        let unknown = BlipError::Unknown(String::new());
        assert!(matches!(step(&unknown, 1, true), Next::Repeat(_)));
        assert_eq!(step(&unknown, 1, false), Next::Look);
        assert_eq!(step(&unknown, ATTEMPTS_MAX, true), Next::Look);
        let too_large = BlipError::TooLarge(String::new());
        assert_eq!(step(&too_large, 1, true), Next::Look, "the next answer would be as large");
        assert!(matches!(step(&BlipError::NotSent(String::new()), 1, false), Next::Repeat(_)));
        assert_eq!(step(&BlipError::Credential { status: 401 }, 1, true), Next::GiveUp);
        let retry_after = Duration::ZERO;
        assert_eq!(step(&BlipError::CircuitOpen { retry_after }, 1, true), Next::GiveUp);
        assert_eq!(step(&BlipError::Throttled { retry_after, reason: None }, 1, true), Next::GiveUp);
    }

    proptest! {
        #[test]
        fn pauses_keep_to_a_bound_that_doubles(attempt in 1_u32..6, random: u32, left in 0_u64..2_000) {
            let pause = backoff(attempt, random);
            prop_assert!(pause <= PAUSE_MIN * 2_u32.pow(attempt - 1));
            let left = Duration::from_millis(left);
            match next_step(&BlipError::NotSent(String::new()), attempt, false, left, random) {
                Next::Repeat(told) => prop_assert!(told == pause && pause < left),
                Next::GiveUp => prop_assert!(attempt >= ATTEMPTS_MAX || pause >= left),
                Next::Look => prop_assert!(false, "nothing was sent"),
            }
        }
    }

    #[test]
    fn what_failed_together_is_spread() {
        let mut fourths = [0; 4];
        for number in 0..400 {
            let chance = chance(&format!("0192f1b4-7a6e-7000-8000-{number:012x}"), 1);
            fourths[usize::try_from(chance >> 30).unwrap()] += 1;
        }
        assert!(fourths.iter().all(|count| (60..140).contains(count)), "{fourths:?}");
        assert_ne!(chance("a", 1), chance("a", 2));
    }
}
