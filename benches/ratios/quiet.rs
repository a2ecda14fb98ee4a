//! How much others take of the machine while we measure: it makes figures doubtful. With patience, a measurement
//! waits until they take little, and is repeated when they did not leave it at that.

use std::cell::Cell;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::process::Server;
use crate::stats::real;

/// The share of all processors that others may take in a quiet measurement.
const OTHERS_MAX: f64 = 0.05;

/// How long others must have taken little before a measurement begins.
const LOOK: Duration = Duration::from_millis(500);

/// Waits for a quiet machine, as long as it may.
#[derive(Debug)]
pub(crate) struct Quiet {
    patience: Duration,
    worst: Cell<Option<f64>>,
}

impl Quiet {
    /// Every measurement may wait this long.
    pub(crate) fn with(patience: Duration) -> Self {
        Self { patience, worst: Cell::new(None) }
    }

    /// Measures while little else runs: what `servers` and this process take is ours.
    pub(crate) fn measure<T>(&self, servers: &[&Server], mut act: impl FnMut() -> Result<T>) -> Result<T> {
        let give_up = Instant::now() + self.patience;
        loop {
            while Instant::now() < give_up {
                let meter = Meter::start(servers)?;
                thread::sleep(LOOK);
                if meter.others(servers)? <= OTHERS_MAX {
                    break;
                }
            }
            let meter = Meter::start(servers)?;
            let measured = act()?;
            let others = meter.others(servers)?;
            if others <= OTHERS_MAX || Instant::now() >= give_up {
                self.worst.set(Some(others.max(self.worst.get().unwrap_or_default())));
                return Ok(measured);
            }
        }
    }

    /// The largest share others took in a measurement that counts, since this was asked last; none where
    /// nothing hangs on it.
    pub(crate) fn worst(&self) -> Option<f64> {
        self.worst.take()
    }
}

/// Counts from when it was made.
#[derive(Debug)]
struct Meter {
    all: u64,
    busy: u64,
    ours: u64,
}

impl Meter {
    fn start(servers: &[&Server]) -> Result<Self> {
        let (all, busy) = machine_ticks();
        let servers: u64 = servers.iter().map(|server| server.ticks()).sum::<Result<_>>()?;
        Ok(Self { all, busy, ours: servers + own_ticks() })
    }

    /// What others took, as a share of all processors, from 0 to 1.
    fn others(&self, servers: &[&Server]) -> Result<f64> {
        let now = Self::start(servers)?;
        let busy = (now.busy - self.busy).saturating_sub(now.ours - self.ours);
        Ok(real(busy) / real((now.all - self.all).max(1)))
    }
}

/// Ticks of all processors since the start: all there were, and those taken by a process, or by other guests of
/// the same host. Interrupts are nobody's.
fn machine_ticks() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    let ticks: Vec<u64> = fields.take(8).filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, .., steal] = ticks.as_slice() else { return (0, 0) };
    (ticks.iter().sum(), user + nice + system + steal)
}

/// Ticks of this process and of its children that have ended.
fn own_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
    fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum()
}
