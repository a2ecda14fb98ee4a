//! Row 4: events to many streams, as fast as they take them. The events are in the gateway's window of recent
//! ones; every stream reads it to the end and begins again, so that all of them are busy all the time and
//! ingest takes nothing of the machine. The yardstick sends the very frames that one of our streams was sent.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use deskgate::grpc::pb::start_position::Position;
use deskgate::grpc::pb::{StartPosition, SubscribeRequest};

use crate::load;
use crate::process::Server;
use crate::stats::{Rounds, median, real};
use crate::stream::{self, Channel, Fleet, Habit};
use crate::table::{Line, Target, Unit};
use crate::yardstick::frames;
use crate::{Settings, progress};

/// Well within what the gateway keeps in memory.
const EVENTS: u64 = 5_000;

const CONNECTIONS: usize = 10;

/// Left out of a measurement, at its beginning.
const WARM_UP: Duration = Duration::from_millis(500);

/// How many streams, and what must be reached.
const SIZES: [(usize, Target); 2] = [(100, Target::AtLeast(0.5)), (1_000, Target::AtLeast(0.5))];

pub(crate) fn run(settings: &Settings) -> Result<Vec<Line>> {
    let ours = Server::deskgate(&settings.scratch)?;
    load::post_messages(ours.webhook, EVENTS)?;
    let position = Some(Position::Earliest(true));
    let request = stream::framed(&SubscribeRequest {
        start: Some(StartPosition { position }),
        stop_when_caught_up: true,
        ..SubscribeRequest::default()
    })?;
    let (frames, messages) = record(&ours, &request)?;
    ensure!(messages >= EVENTS, "a stream got {messages} messages only");
    let file = settings.scratch.join("frames");
    frames::write(&file, &frames)?;
    let yardstick = Server::yardstick("frames", &file)?;
    let a_frame = real(messages) / real(u64::try_from(frames.len())?);
    let mut lines = Vec::new();
    for (streams, target) in SIZES {
        let mut rounds = Rounds::default();
        let (mut ours_cpu, mut yardstick_cpu) = (Vec::new(), Vec::new());
        for round in 1..=settings.rounds {
            progress(&format!("fan-out to {streams} streams, round {round} of {}", settings.rounds));
            let (ours, cpu) = measure(&ours, streams, &request, settings)?;
            ours_cpu.push(cpu);
            let (yardstick, cpu) = measure(&yardstick, streams, &request, settings)?;
            yardstick_cpu.push(cpu);
            rounds.push(ours, yardstick);
        }
        lines.push(Line {
            row: 4,
            what: format!("fan-out to {streams} streams, messages"),
            yardstick: "bare HTTP/2, the same frames",
            unit: Unit::PerSecond,
            rounds,
            target,
            note: format!(
                "{a_frame:.1} messages a frame; processor time of the server a message: ours {:.2} µs, \
                 yardstick {:.2} µs",
                median(ours_cpu.into_iter()) * 1e6,
                median(yardstick_cpu.into_iter()) * 1e6,
            ),
        });
    }
    Ok(lines)
}

/// The frames one stream is sent, and how many messages they hold.
fn record(server: &Server, request: &Bytes) -> Result<(Vec<Bytes>, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = Channel::connect(server.grpc).await?;
        let mut stream = channel.subscribe(request.clone()).await?;
        let (mut frames, mut messages) = (Vec::new(), 0);
        while let Some(frame) = stream.frame().await? {
            messages += frame.messages;
            frames.push(frame.bytes);
        }
        Ok((frames, messages))
    })
}

/// Messages a second over all streams, and the server's processor time for each.
fn measure(server: &Server, streams: usize, request: &Bytes, settings: &Settings) -> Result<(f64, f64)> {
    let fleet = Fleet {
        connections: CONNECTIONS,
        streams,
        request: request.clone(),
        habit: Habit::Repeat,
        greeted: false,
    };
    let fleet = fleet.sail(server.grpc)?;
    fleet.measure(WARM_UP);
    let before = server.processor_time()?;
    let achieved = fleet.measure(settings.window());
    let used = server.processor_time()?.saturating_sub(before);
    fleet.finish()?;
    Ok((achieved.per_second(), used.as_secs_f64() / real(achieved.count)))
}
