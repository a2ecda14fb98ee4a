//! What Deskgate costs, as ratios to simple programs measured in the same run: `cargo bench --bench ratios`.
//! `docs/PERFORMANCE.md` tells what each row means. Nothing here asserts a time.

#![expect(clippy::disallowed_methods, reason = "load generators and yardsticks end with their process")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table and the progress are the output")]

mod crew;
mod load;
mod machine;
mod process;
mod quiet;
mod rows;
mod stats;
mod stream;
mod table;
mod webhooks;
mod yardstick;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use crate::load::Numbers;
use crate::quiet::Quiet;
use crate::table::Line;

/// Measures Deskgate against its yardsticks and prints the table.
#[derive(Debug, Parser)]
struct Args {
    /// Shorter rounds and smaller sizes: shows that everything can be measured, not how fast it is.
    #[arg(long)]
    quick: bool,

    /// Only this row, 1 to 10; may be repeated.
    #[arg(long = "row", value_name = "N")]
    rows: Vec<u8>,

    /// How many rounds each ratio is the median of.
    #[arg(long)]
    rounds: Option<usize>,

    /// How long each measurement may wait until others leave the machine alone, and be repeated when they do not.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    patience: u64,

    /// Where the stores lie; a disk in memory would make durability free.
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    dir: PathBuf,

    /// For row 9, which is measured only when asked for: where `npm install` has put express and better-sqlite3.
    #[arg(long, value_name = "DIR")]
    node_modules: Option<PathBuf>,

    /// Given by cargo; without it, as under `cargo test`, nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,

    /// Be this server of ours instead.
    #[arg(long, hide = true, requires = "argument")]
    yardstick: Option<String>,

    /// What that server works on.
    #[arg(long, hide = true)]
    argument: Option<PathBuf>,
}

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Settings {
    quick: bool,
    rows: Vec<u8>,
    rounds: usize,
    quiet: Quiet,
    node_modules: Option<PathBuf>,
    /// A folder for stores, on the disk to be measured.
    scratch: PathBuf,
    /// Where the numbers of messages come from: no two posts of a run are duplicates.
    numbers: Numbers,
}

impl Settings {
    fn wants(&self, row: u8) -> bool {
        self.rows.contains(&row)
    }

    /// One or the other, in a quick run.
    fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// How long one measurement takes.
    fn window(&self) -> Duration {
        self.pick(Duration::from_secs(2), Duration::from_millis(500))
    }
}

/// Where the numbers of measured messages begin.
const FIRST_NUMBER: u64 = 1 << 32;

fn main() -> Result<()> {
    let args = Args::parse();
    if let (Some(kind), Some(argument)) = (&args.yardstick, &args.argument) {
        return yardstick::run(kind, argument);
    }
    if !args.bench {
        println!("nothing is measured here: cargo bench --bench ratios");
        return Ok(());
    }
    let scratch = tempfile::tempdir_in(&args.dir)?;
    let settings = Settings {
        quick: args.quick,
        rounds: args.rounds.unwrap_or(if args.quick { 1 } else { 5 }).max(1),
        rows: if args.rows.is_empty() { (1..=8).chain([10]).collect() } else { args.rows },
        quiet: Quiet::with(Duration::from_secs(args.patience)),
        node_modules: args.node_modules,
        scratch: scratch.path().to_owned(),
        // Those below are for what is there before a measurement.
        numbers: Arc::new(AtomicU64::new(FIRST_NUMBER)),
    };
    println!("{}", machine::line());
    let measured = measure(&settings)?;
    println!("\n{}", table::head());
    for (lines, others) in measured {
        for line in lines {
            println!("{line}");
        }
        if let Some(others) = others {
            println!("    others took at most {:.0} % of the processors in a measurement", others * 100.0);
        }
    }
    Ok(())
}

/// Measures a few rows that share a measurement.
type Measure = fn(&Settings) -> Result<Vec<Line>>;

/// What is wanted, group by group, each with the most that others took of the processors.
fn measure(settings: &Settings) -> Result<Vec<(Vec<Line>, Option<f64>)>> {
    let groups: [(&[u8], Measure); 8] = [
        (&[1, 2, 3], rows::ingest::run),
        (&[4], rows::fanout::run),
        (&[5], rows::idle::run),
        (&[6], rows::latency::run),
        (&[7], rows::replay::run),
        (&[8], rows::commands::run),
        (&[9], rows::naive::run),
        (&[10], rows::group::run),
    ];
    let mut measured = Vec::new();
    for (rows, run) in groups {
        if rows.iter().any(|row| settings.wants(*row)) {
            let lines = run(settings)?;
            measured.push((lines, settings.quiet.worst()));
        }
    }
    Ok(measured)
}

/// Tells how far the run is.
fn progress(what: &str) {
    eprintln!("  {what}");
}
