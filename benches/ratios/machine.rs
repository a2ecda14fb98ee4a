//! What this was measured on, in one line.

use std::fs;

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
