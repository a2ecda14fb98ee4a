//! The table that comes out.

use std::fmt;

use crate::stats::Rounds;

/// What a ratio, or our own figure, must reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// The ratio, at least.
    AtLeast(f64),
    /// The ratio, at most.
    AtMost(f64),
    /// Our own figure, at most.
    OursAtMost(f64),
    /// Measured to be known.
    None,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) row: u8,
    pub(crate) what: String,
    pub(crate) yardstick: &'static str,
    pub(crate) unit: Unit,
    pub(crate) rounds: Rounds,
    pub(crate) target: Target,
    /// What helps to judge it, such as the server's processor time.
    pub(crate) note: String,
}

/// How a figure is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    /// Per second.
    PerSecond,
    /// Seconds, written as milliseconds.
    Seconds,
    /// Bytes, written as KiB.
    Bytes,
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Self::PerSecond if figure >= 1e6 => format!("{:.2} M/s", figure / 1e6),
            Self::PerSecond if figure >= 1e3 => format!("{:.1} k/s", figure / 1e3),
            Self::PerSecond => format!("{figure:.0} /s"),
            Self::Seconds => format!("{:.2} ms", figure * 1e3),
            Self::Bytes => format!("{:.2} KiB", figure / 1024.0),
        }
    }
}

impl Line {
    fn verdict(&self) -> &'static str {
        let ratio = self.rounds.ratio();
        let reached = match self.target {
            Target::AtLeast(bound) => ratio >= bound,
            Target::AtMost(bound) => ratio <= bound,
            Target::OursAtMost(bound) => self.rounds.ours() <= bound,
            Target::None => return "",
        };
        if reached { "ok" } else { "MISS" }
    }

    fn target(&self) -> String {
        match self.target {
            Target::AtLeast(bound) => format!("≥ {bound}"),
            Target::AtMost(bound) => format!("≤ {bound}"),
            Target::OursAtMost(bound) => format!("≤ {}", self.unit.show(bound)),
            Target::None => "–".to_owned(),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.rounds.spread();
        write!(
            out,
            "{:<3} {:<40} {:>11} {:>11}  {:<38} {:>5.2} ({low:.2} to {high:.2})  {:<10} {}",
            self.row,
            self.what,
            self.unit.show(self.rounds.ours()),
            self.unit.show(self.rounds.yardstick()),
            self.yardstick,
            self.rounds.ratio(),
            self.target(),
            self.verdict(),
        )?;
        if self.note.is_empty() { Ok(()) } else { write!(out, "\n    {}", self.note) }
    }
}

/// The head of the table.
pub(crate) fn head() -> String {
    format!(
        "{:<3} {:<40} {:>11} {:>11}  {:<38} {:<20}  {:<10}",
        "row", "what", "ours", "yardstick", "which is", "ratio (its rounds)", "target"
    )
}
