//! Webhooks that fare badly by chance: lost, late, doubled, out of order. Pure, and the same for the same seed.
//!
//! The chance hangs on the seed and the webhook's body, not on when it is posted: tickets are posted at once, in no
//! order that could be repeated.

use serde::{Deserialize, Serialize};

use super::faults::Kind;
use super::ids::hash;

/// The shares of webhooks, each from 0 to 1, that meet something; one meets one thing at most.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weather {
    /// Never posted.
    #[serde(default)]
    pub(crate) lose: f64,
    /// Posted twice.
    #[serde(default)]
    pub(crate) duplicate: f64,
    /// Posted after the ticket's next one.
    #[serde(default)]
    pub(crate) reorder: f64,
    /// Posted late, by `delay_ms`.
    #[serde(default)]
    pub(crate) delay: f64,
    #[serde(default)]
    pub(crate) delay_ms: u64,
    /// Another seed, another run.
    #[serde(default)]
    pub(crate) seed: u64,
}

impl Weather {
    pub(crate) fn check(&self) -> Result<(), String> {
        let shares = [self.lose, self.duplicate, self.reorder, self.delay];
        if shares.iter().any(|share| !(0.0..=1.0).contains(share)) || shares.iter().sum::<f64>() > 1.0 {
            return Err("weather: each share is from 0 to 1, and so is their sum".to_owned());
        }
        Ok(())
    }

    /// What becomes of the webhook with this body; one that is held back already lets no other be.
    pub(crate) fn strikes(&self, body: &[u8], holding: bool) -> Option<Kind> {
        let high = u32::try_from(hash(self.seed, body) >> 32).unwrap_or(u32::MAX);
        let mut chance = f64::from(high) / (f64::from(u32::MAX) + 1.0);
        let fates = [
            (self.lose, Kind::Lose),
            (self.duplicate, Kind::Duplicate),
            (self.reorder, Kind::Reorder),
            (self.delay, Kind::Delay { ms: self.delay_ms, applied: false }),
        ];
        for (share, kind) in fates {
            if chance < share {
                return Some(kind).filter(|kind| !(holding && *kind == Kind::Reorder));
            }
            chance -= share;
        }
        None
    }
}
