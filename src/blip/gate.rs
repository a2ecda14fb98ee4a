//! The circuit breaker of a bot, shared by its calls: tells of every change in the log and the metrics.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::policy::breaker::{self, Breaker, Circuit, Sign};

/// Lets calls out while Blip can be expected to answer.
#[derive(Debug)]
pub(super) struct Gate {
    bot: String,
    breaker: Mutex<Breaker>,
    gauge: Gauge,
}

/// The right to make one call. Dropped before its end, it tells nothing of Blip.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    pass: Option<breaker::Pass>,
}

impl Gate {
    /// For the bot of this name; how it stands is told to `gauge`.
    pub(super) fn new(bot: &str, gauge: Gauge) -> Self {
        Self { bot: bot.to_owned(), breaker: Mutex::default(), gauge }
    }

    /// When to ask again, if no call goes out now.
    pub(super) fn refusal(&self) -> Option<Duration> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).refusal(Instant::now())
    }

    /// Lets a call out, or answers when to ask again.
    pub(super) fn admit(&self) -> Result<Pass<'_>, Duration> {
        let pass = self.change(Breaker::admit).0?;
        Ok(Pass { gate: self, pass: Some(pass) })
    }

    /// Answers what `change` does, and whether the gate has just closed to calls.
    fn change<T>(&self, change: impl FnOnce(&mut Breaker, Instant) -> T) -> (T, bool) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, before) = (Instant::now(), breaker.circuit());
        let done = change(&mut breaker, now);
        let after = breaker.circuit();
        if before == after {
            return (done, false);
        }
        self.gauge.set(match after {
            Circuit::Closed => 0,
            Circuit::HalfOpen => 1,
            Circuit::Open => 2,
        });
        let (bot, pause_ms) = (&self.bot, breaker.refusal(now).unwrap_or_default().as_millis());
        match after {
            Circuit::Open => tracing::warn!(
                bot,
                pause_ms,
                "Blip does not answer: the circuit is open, and calls are refused until a probe is answered"
            ),
            Circuit::HalfOpen => tracing::info!(bot, "trying whether Blip answers: the circuit is half open"),
            Circuit::Closed => tracing::info!(bot, "Blip answers again: the circuit is closed"),
        }
        (done, before == Circuit::Closed)
    }
}

impl Pass<'_> {
    /// Takes in how the call ended; whether that was one failure too many, and no more calls go out.
    pub(super) fn ended(mut self, sign: Sign) -> bool {
        self.give_back(sign)
    }

    fn give_back(&mut self, sign: Sign) -> bool {
        let Some(pass) = self.pass.take() else { return false };
        self.gate.change(|breaker, now| breaker.ended(pass, sign, now)).1
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.give_back(Sign::Unclear);
    }
}
