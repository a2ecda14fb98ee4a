//! Row 9: durable ingest beside the same as one would write it first in Python and in Node. Only when asked for:
//! it needs other languages, and for Node packages that are not ours.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::ingest::{FEW, measure};
use crate::load;
use crate::process::Server;
use crate::stats::Rounds;
use crate::table::{Line, Target, Unit};
use crate::webhooks::TOKEN;
use crate::{Settings, progress};

pub(crate) fn run(settings: &Settings) -> Result<Vec<Line>> {
    let mut commands = vec![("Python: http.server, sqlite3", Command::new("python3"), "ingest.py")];
    match &settings.node_modules {
        Some(modules) => {
            let mut node = Command::new("node");
            node.env("NODE_PATH", modules);
            commands.push(("Node: express, better-sqlite3", node, "ingest.js"));
        }
        None => progress("without --node-modules, which tells where express and better-sqlite3 are, no Node"),
    }
    let ours = Server::deskgate(&settings.scratch)?;
    load::seed_tickets(ours.webhook)?;
    let mut lines = Vec::new();
    for (name, mut command, program) in commands {
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/ratios/naive").join(program);
        let store = settings.scratch.join(name.split(':').next().unwrap_or(name));
        let other = Server::announcing(command.arg(program).arg(TOKEN).arg(store), name)?;
        load::seed_tickets(other.webhook)?;
        let mut rounds = Rounds::default();
        for round in 1..=settings.rounds {
            progress(&format!("{name}, round {round} of {}", settings.rounds));
            let ours = measure(&ours, FEW, settings)?;
            rounds.push(ours.per_second, measure(&other, FEW, settings)?.per_second);
        }
        lines.push(Line {
            row: 9,
            what: format!("durable ingest, {FEW} connections"),
            yardstick: name,
            unit: Unit::PerSecond,
            rounds,
            target: Target::AtLeast(15.0),
            note: String::new(),
        });
    }
    Ok(lines)
}
