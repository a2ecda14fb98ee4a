//! Row 5: what a subscriber that waits costs in memory, in two ways: all subscribe at once, as after a restart
//! of the gateway, which shows what opening leaves behind too; or one after the other.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use deskgate::grpc::pb::SubscribeRequest;

use crate::process::Server;
use crate::stats::{Rounds, real};
use crate::stream::{self, Fleet, Habit};
use crate::table::{Line, Target, Unit};
use crate::{Settings, progress};

const CONNECTIONS: usize = 10;

/// Until what was used to open the streams is given back.
const SETTLE: Duration = Duration::from_secs(1);

pub(crate) fn run(settings: &Settings) -> Result<Vec<Line>> {
    let streams = settings.pick(10_000, 2_000);
    // The longest silence there is, so that no heartbeat falls into the measurement.
    let heartbeat_interval = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = stream::framed(&SubscribeRequest { heartbeat_interval, ..SubscribeRequest::default() })?;
    let rounds = settings.rounds.min(3);
    [
        (Habit::StayAtOnce, "opened at once", Target::OursAtMost(3.0 * 1024.0)),
        (Habit::StayInTurn, "opened in turn", Target::None),
    ]
    .into_iter()
    .map(|(habit, how, target)| {
        let mut pairs = Rounds::default();
        for round in 1..=rounds {
            progress(&format!("idle streams, {how}, round {round} of {rounds}"));
            let fleet = |greeted| Fleet {
                connections: CONNECTIONS,
                streams,
                request: request.clone(),
                habit,
                greeted,
            };
            let ours = each(&Server::deskgate(&settings.scratch)?, &fleet(true))?;
            let yardstick = Server::yardstick("nothing", &settings.scratch)?;
            pairs.push(ours, each(&yardstick, &fleet(false))?);
        }
        Ok(Line {
            row: 5,
            what: format!("idle stream, of {streams} {how}"),
            yardstick: "bare HTTP/2, headers sent",
            unit: Unit::Bytes,
            rounds: pairs,
            target,
            note: String::new(),
        })
    })
    .collect()
}

/// Bytes a stream: a few are opened and closed first, for what is made once.
fn each(server: &Server, fleet: &Fleet) -> Result<f64> {
    Fleet { streams: CONNECTIONS, ..fleet.clone() }.sail(server.grpc)?.finish()?;
    thread::sleep(SETTLE);
    let before = server.resident()?;
    let crew = fleet.sail(server.grpc)?;
    thread::sleep(SETTLE);
    let after = server.resident()?;
    crew.finish()?;
    Ok(real(after.saturating_sub(before)) / real(u64::try_from(fleet.streams)?))
}
