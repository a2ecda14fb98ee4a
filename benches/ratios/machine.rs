//! What this was measured on, in one line.

use std::fs;

use crate::stats::real;

/// Cores, CPU model, kernel and load, as far as they can be read.
pub(crate) fn line() -> String {
    let cores =
        std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown CPU");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores, {}, Linux {}, load before {}",
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        load()
    )
}

/// How many tasks want to run, over the last minute: above 0.3 or so before a run, something else is running.
fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("?").to_owned()
}

/// How much of the processors others took since it was made: what makes figures of this run doubtful.
#[derive(Debug)]
pub(crate) struct Meter {
    all: u64,
    busy: u64,
    ours: u64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        let (all, busy) = machine_ticks();
        Self { all, busy, ours: own_ticks() }
    }

    /// A share of all processors, from 0 to 1. Servers count as ours once they are gone.
    pub(crate) fn others(&self) -> f64 {
        let now = Self::start();
        let busy = (now.busy - self.busy).saturating_sub(now.ours - self.ours);
        real(busy) / real((now.all - self.all).max(1))
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
