//! Rows 1 to 3: durable ingest, beside doing nothing, beside the same over a plain file, beside a commit for every
//! event.

use std::time::Duration;

use anyhow::Result;

use crate::load;
use crate::process::Server;
use crate::stats::{Rounds, median, real};
use crate::table::{Line, Target, Unit};
use crate::{Settings, progress};

/// Left out of a measurement, at its beginning.
const WARM_UP: Duration = Duration::from_millis(300);

/// How many connections Blip might use, and many more.
pub(super) const FEW: usize = 64;
const MANY: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Yardstick {
    Bare,
    File,
    Append,
    OneCommit,
}

/// A line of the table, and what it needs.
const LINES: [(u8, Yardstick, usize, Target); 7] = [
    (1, Yardstick::Bare, FEW, Target::AtLeast(0.35)),
    (1, Yardstick::Bare, MANY, Target::AtLeast(0.5)),
    (2, Yardstick::File, FEW, Target::AtLeast(0.75)),
    (2, Yardstick::File, MANY, Target::None),
    (2, Yardstick::Append, FEW, Target::None),
    (2, Yardstick::Append, MANY, Target::None),
    (3, Yardstick::OneCommit, FEW, Target::AtLeast(5.0)),
];

impl Yardstick {
    fn name(self) -> &'static str {
        match self {
            Self::Bare => "axum answering 200",
            Self::File => "ours appending to a file",
            Self::Append => "bodies to a file, nothing else",
            Self::OneCommit => "ours with one commit an event",
        }
    }

    fn start(self, settings: &Settings) -> Result<Server> {
        match self {
            Self::Bare => Server::yardstick("bare", &settings.scratch),
            Self::Append => Server::yardstick("append", &settings.scratch.join("appended")),
            Self::File => {
                let server = Server::yardstick("file", &settings.scratch.join("log"))?;
                load::seed_tickets(server.webhook)?;
                Ok(server)
            }
            Self::OneCommit => {
                let folder = tempfile::tempdir_in(&settings.scratch)?;
                let server = Server::yardstick("one-commit", folder.path())?.keeping(folder);
                load::seed_tickets(server.webhook)?;
                Ok(server)
            }
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) per_second: f64,
    /// Processor time of the server, a request.
    processor: f64,
    refused: u64,
}

pub(crate) fn run(settings: &Settings) -> Result<Vec<Line>> {
    let ours = Server::deskgate(&settings.scratch)?;
    load::seed_tickets(ours.webhook)?;
    let wanted = LINES.iter().filter(|(row, ..)| settings.wants(*row));
    let mut kinds: Vec<Yardstick> = Vec::new();
    for (_, kind, ..) in wanted.clone() {
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    let servers: Vec<(Yardstick, Server)> =
        kinds.into_iter().map(|kind| Ok((kind, kind.start(settings)?))).collect::<Result<_>>()?;
    let mut lines: Vec<_> = wanted.map(|wanted| (wanted, Vec::new())).collect();
    for round in 1..=settings.rounds {
        progress(&format!("ingest, round {round} of {}", settings.rounds));
        for connections in [FEW, MANY] {
            let mut ours_now = None;
            for ((_, kind, at, _), results) in &mut lines {
                let server = servers.iter().find(|(other, _)| other == kind).map(|(_, server)| server);
                let (Some(server), true) = (server, *at == connections) else { continue };
                let ours_now = match ours_now {
                    Some(measured) => measured,
                    None => *ours_now.insert(measure(&ours, connections, settings)?),
                };
                results.push((ours_now, measure(server, connections, settings)?));
            }
        }
    }
    Ok(lines.into_iter().map(|(wanted, results)| line(*wanted, &results)).collect())
}

pub(super) fn measure(server: &Server, connections: usize, settings: &Settings) -> Result<Measured> {
    settings.quiet.measure(&[server], || {
        let crew = load::start(server.webhook, connections, &settings.numbers)?;
        crew.measure(WARM_UP);
        let before = server.processor_time()?;
        let achieved = crew.measure(settings.window());
        let used = server.processor_time()?.saturating_sub(before);
        crew.finish()?;
        Ok(Measured {
            per_second: achieved.per_second(),
            processor: used.as_secs_f64() / real(achieved.count),
            refused: achieved.refused,
        })
    })
}

fn line(
    (row, kind, connections, target): (u8, Yardstick, usize, Target),
    results: &[(Measured, Measured)],
) -> Line {
    let mut rounds = Rounds::default();
    for (ours, yardstick) in results {
        rounds.push(ours.per_second, yardstick.per_second);
    }
    let refused: u64 = results.iter().map(|(ours, _)| ours.refused).sum();
    let refusals = if refused > 0 { format!("; {refused} of ours were answered 503") } else { String::new() };
    let note = format!(
        "processor time of the server a request: ours {:.1} µs, yardstick {:.1} µs{refusals}",
        median(results.iter().map(|(ours, _)| ours.processor)) * 1e6,
        median(results.iter().map(|(_, yardstick)| yardstick.processor)) * 1e6,
    );
    Line {
        row,
        what: format!("durable ingest, {connections} connections"),
        yardstick: kind.name(),
        unit: Unit::PerSecond,
        rounds,
        target,
        note,
    }
}
