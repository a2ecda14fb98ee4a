//! Rounds and what is made of them. Ours and its yardstick are measured one after the other in every round, and
//! a ratio is taken within its round: the machine drifts by more than a round takes.

use std::time::Duration;

/// Pairs measured one after the other.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pairs: Vec<(f64, f64)>,
}

impl Rounds {
    pub(crate) fn push(&mut self, ours: f64, yardstick: f64) {
        self.pairs.push((ours, yardstick));
    }

    pub(crate) fn ours(&self) -> f64 {
        median(self.pairs.iter().map(|(ours, _)| *ours))
    }

    pub(crate) fn yardstick(&self) -> f64 {
        median(self.pairs.iter().map(|(_, yardstick)| *yardstick))
    }

    /// The median of each round's own ratio.
    pub(crate) fn ratio(&self) -> f64 {
        median(self.ratios())
    }

    /// The lowest and the highest ratio of a round.
    pub(crate) fn spread(&self) -> (f64, f64) {
        self.ratios().fold((f64::INFINITY, 0.0), |(low, high), ratio| (low.min(ratio), high.max(ratio)))
    }

    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.pairs.iter().map(|(ours, yardstick)| ours / yardstick)
    }
}

/// The value in the middle; of an even number, the mean of the two. Not a number when there is none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
    f64::midpoint(lower, upper)
}

/// The value that `percent` of the samples do not exceed.
pub(crate) fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let at = (samples.len() * percent).div_ceil(100).saturating_sub(1);
    samples.get(at).copied().unwrap_or_default()
}

/// A count as a number to calculate with.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}
