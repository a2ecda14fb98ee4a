//! Row 5: what a subscriber that waits costs in memory.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use deskgate::grpc::pb::SubscribeRequest;

use crate::process::Server;
use crate::stats::{Rounds, real};
use crate::stream::{self, Habit};
use crate::table::{Line, Target, Unit};
use crate::{Settings, progress};

const CONNECTIONS: usize = 10;

/// Until what was used to open the streams is given back.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn run(settings: &Settings) -> Result<Line> {
    let streams = settings.pick(10_000, 2_000);
    // The longest silence there is, so that no heartbeat falls into the measurement.
    let heartbeat_interval = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = stream::framed(&SubscribeRequest { heartbeat_interval, ..SubscribeRequest::default() })?;
    let mut rounds = Rounds::default();
    for round in 1..=settings.rounds.min(3) {
        progress(&format!("idle streams, round {round}"));
        let ours = Server::deskgate(&settings.scratch)?;
        let ours = each(&ours, streams, &request, Habit::HoldAfterFirst)?;
        let yardstick = Server::yardstick("nothing", &settings.scratch)?;
        rounds.push(ours, each(&yardstick, streams, &request, Habit::Hold)?);
    }
    Ok(Line {
        row: 5,
        what: format!("memory of an idle stream, of {streams}"),
        yardstick: "bare HTTP/2, headers sent",
        unit: Unit::Bytes,
        rounds,
        target: Target::OursAtMost(3.0 * 1024.0),
        note: String::new(),
    })
}

/// Bytes a stream: a few are opened and closed first, for what is made once.
fn each(server: &Server, streams: usize, request: &Bytes, habit: Habit) -> Result<f64> {
    stream::fleet(server.grpc, (CONNECTIONS, CONNECTIONS), request, habit)?.finish()?;
    thread::sleep(SETTLE / 4);
    let before = server.resident()?;
    let fleet = stream::fleet(server.grpc, (CONNECTIONS, streams), request, habit)?;
    thread::sleep(SETTLE);
    let after = server.resident()?;
    fleet.finish()?;
    Ok(real(after.saturating_sub(before)) / real(u64::try_from(streams)?))
}
