//! A circuit breaker: once a bot's way to Blip has failed so often in a row and for a while, calls are refused at
//! once, and one at a time tries whether it is back, after pauses that grow. Pure: time comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How many failures in a row open it.
pub const FAILURES_MAX: u32 = 10;
/// For how long they must have lasted: one broken connection fails many calls at once, and is no outage.
pub const FAILING_FOR: Duration = Duration::from_secs(1);
/// The pause before the first probe; doubles with each that fails.
pub const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);
/// After how long without an answer a probe no longer keeps others from trying.
pub const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// What the end of a call tells about Blip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It answered, with whatever: a refusal is an answer.
    Alive,
    /// No connection, no answer, or an answer that says it cannot (5xx).
    Dead,
    /// Nothing: the call ended for a cause of ours.
    Unclear,
}

/// How the breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Calls go out.
    Closed,
    /// One call is out, to try.
    HalfOpen,
    /// Calls are refused.
    Open,
}

/// The right to make one call; give it back by [`Breaker::ended`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    probe: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Closed { failures: u32, since: Option<Instant> },
    Open { until: Instant, pause: Duration },
    Probing { since: Instant, pause: Duration },
}

/// The breaker of one bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    mode: Mode,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { mode: Mode::CLOSED }
    }
}

impl Mode {
    const CLOSED: Self = Self::Closed { failures: 0, since: None };

    fn open(now: Instant, pause: Duration) -> Self {
        Self::Open { until: now.checked_add(pause).unwrap_or(now), pause }
    }
}

impl Breaker {
    /// Lets a call out, or answers when to ask again.
    pub fn admit(&mut self, now: Instant) -> Result<Pass, Duration> {
        let (from, pause, ask_again) = match self.mode {
            Mode::Closed { .. } => return Ok(Pass { probe: false }),
            Mode::Open { until, pause } => (until, pause, PAUSE_MAX),
            // Most likely the probe ends sooner than its time is up.
            Mode::Probing { since, pause } => {
                (since.checked_add(PROBE_PATIENCE).unwrap_or(since), pause, PAUSE_MIN)
            }
        };
        if now < from {
            return Err(from.saturating_duration_since(now).min(ask_again));
        }
        self.mode = Mode::Probing { since: now, pause };
        Ok(Pass { probe: true })
    }

    /// Whether a call would be refused, and when to ask again. Takes no pass.
    pub fn refusal(&self, now: Instant) -> Option<Duration> {
        let mut copy = *self;
        copy.admit(now).err()
    }

    /// Takes in how a call ended.
    pub fn ended(&mut self, pass: Pass, sign: Sign, now: Instant) {
        self.mode = match (sign, self.mode) {
            // Also of a call from before it opened: Blip has just answered.
            (Sign::Alive, _) => Mode::CLOSED,
            (Sign::Dead, Mode::Closed { failures, since }) => {
                let (failures, first) = (failures.saturating_add(1), since.unwrap_or(now));
                let lasted = now.saturating_duration_since(first) >= FAILING_FOR;
                if failures >= FAILURES_MAX && lasted {
                    Mode::open(now, PAUSE_MIN)
                } else {
                    Mode::Closed { failures, since: Some(first) }
                }
            }
            (Sign::Dead, Mode::Probing { pause, .. }) if pass.probe => {
                Mode::open(now, pause.saturating_mul(2).min(PAUSE_MAX))
            }
            // It told nothing: the next call may try at once.
            (Sign::Unclear, Mode::Probing { pause, .. }) if pass.probe => Mode::Open { until: now, pause },
            (Sign::Dead | Sign::Unclear, mode) => mode,
        };
    }

    /// How it stands.
    pub fn circuit(&self) -> Circuit {
        match self.mode {
            Mode::Closed { .. } => Circuit::Closed,
            Mode::Open { .. } => Circuit::Open,
            Mode::Probing { .. } => Circuit::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const FREE: Pass = Pass { probe: false };

    /// A breaker that has just opened.
    fn opened(at: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        breaker.ended(FREE, Sign::Dead, at.checked_sub(FAILING_FOR).unwrap());
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.circuit(), Circuit::Closed);
            breaker.ended(FREE, Sign::Dead, at);
        }
        assert_eq!(breaker.circuit(), Circuit::Open);
        breaker
    }

    fn start() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[test]
    fn only_failures_in_a_row_and_for_a_while_open_it() {
        let start = start();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.ended(FREE, Sign::Dead, start);
        }
        assert_eq!(breaker.circuit(), Circuit::Closed, "one broken connection with a hundred calls on it");
        breaker.ended(FREE, Sign::Alive, start);
        let late = start + FAILING_FOR;
        for round in 0..100 {
            let sign = if round % 5 == 0 { Sign::Alive } else { Sign::Dead };
            breaker.ended(FREE, sign, late + FAILING_FOR * round);
        }
        assert_eq!(breaker.circuit(), Circuit::Closed, "never ten in a row");
        opened(start);
    }

    #[test]
    fn one_probe_at_a_time_after_pauses_that_grow() {
        let mut now = start();
        let mut breaker = opened(now);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            let pause = Duration::from_secs(pause);
            assert_eq!(breaker.admit(now), Err(pause));
            now += pause;
            let probe = breaker.admit(now).unwrap();
            assert_eq!(breaker.circuit(), Circuit::HalfOpen);
            assert_eq!(breaker.refusal(now), Some(PAUSE_MIN));
            breaker.ended(FREE, Sign::Dead, now);
            assert_eq!(breaker.circuit(), Circuit::HalfOpen, "a call from before says nothing of the probe");
            breaker.ended(probe, Sign::Dead, now);
        }
        now += PAUSE_MAX;
        let probe = breaker.admit(now).unwrap();
        breaker.ended(probe, Sign::Alive, now);
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_probe_that_hangs_or_is_given_up_does_not_block_the_way() {
        let mut now = start();
        let mut breaker = opened(now);
        now += PAUSE_MIN;
        let given_up = breaker.admit(now).unwrap();
        breaker.ended(given_up, Sign::Unclear, now);
        breaker.admit(now).unwrap();
        assert!(breaker.admit(now).is_err());
        now += PROBE_PATIENCE;
        let third = breaker.admit(now).unwrap();
        breaker.ended(third, Sign::Alive, now);
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }

    proptest! {
        /// However calls end, and whenever: an answer closes it, and no refusal names a time that is too long.
        #[test]
        fn the_way_is_never_blocked_for_long(
            calls in vec((0_u64..5_000, 0_u8..8, any::<bool>()), 0..200),
        ) {
            let (mut breaker, mut now) = (Breaker::default(), start());
            for (wait, sign, probe) in calls {
                now += Duration::from_millis(wait);
                let sign = match sign { 0 => Sign::Alive, 1 => Sign::Unclear, _ => Sign::Dead };
                match breaker.admit(now) {
                    Ok(pass) => breaker.ended(pass, sign, now),
                    Err(pause) => {
                        prop_assert!(!pause.is_zero() && pause <= PAUSE_MAX);
                        breaker.ended(Pass { probe }, sign, now);
                    }
                }
                if sign == Sign::Alive {
                    prop_assert_eq!(breaker, Breaker::default());
                }
                prop_assert_eq!(breaker.refusal(now + PAUSE_MAX), None);
            }
        }
    }
}
