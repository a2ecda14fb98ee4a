//! Row 4: events to many streams, in two ways. *From the window*, as fast as the streams take them: the events
//! are in the gateway's memory, every stream reads them to the end and begins again, so that all are busy all
//! the time and ingest takes nothing of the machine. *Live*: 64 webhooks at a time, the next 64 once every
//! stream has all of them, which counts the wake-ups and the webhooks too. The yardstick sends the very
//! messages that one of our streams was sent.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use deskgate::grpc::pb::start_position::Position;
use deskgate::grpc::pb::{StartPosition, SubscribeRequest};
use tokio::time::Instant;

use crate::load::{self, Posters};
use crate::process::Server;
use crate::stats::{Rounds, median, real};
use crate::stream::{self, Channel, Fleet, Habit};
use crate::table::{Line, Target, Unit};
use crate::yardstick::{LIVE_BATCH, frames};
use crate::{Settings, progress};

/// Well within what the gateway keeps in memory.
const EVENTS: u64 = 5_000;

const CONNECTIONS: usize = 10;

/// Left out of a measurement, at its beginning.
const WARM_UP: Duration = Duration::from_millis(500);

/// How often a live round looks whether every stream has everything.
const LOOK_EVERY: Duration = Duration::from_micros(50);

/// The longest a live batch may take.
const BATCH_WITHIN: Duration = Duration::from_secs(30);

const SIZES: [usize; 2] = [100, 1_000];

pub(crate) fn run(settings: &Settings) -> Result<Vec<Line>> {
    let ours = Server::deskgate(&settings.scratch)?;
    load::post_messages(ours.webhook, EVENTS)?;
    let position = Some(Position::Earliest(true));
    let from_window = stream::framed(&SubscribeRequest {
        start: Some(StartPosition { position }),
        stop_when_caught_up: true,
        ..SubscribeRequest::default()
    })?;
    let (recorded, messages) = record(&ours, &from_window)?;
    ensure!(messages >= EVENTS, "a stream got {messages} messages only");
    let a_frame = real(messages) / real(u64::try_from(recorded.len())?);
    let replayed = Kind {
        what: "from the window",
        yardstick_name: "bare HTTP/2, the same frames",
        request: from_window,
        yardstick: with_frames(settings, "frames", &recorded)?,
        measure: replaying,
        target: Target::AtLeast(0.5),
        note: format!("{a_frame:.1} messages a frame; "),
    };
    let live = Kind {
        what: "live",
        yardstick_name: "axum + bare HTTP/2, the same messages",
        request: stream::framed(&SubscribeRequest::default())?,
        yardstick: with_frames(settings, "live", &[batch_of(&recorded)?])?,
        measure: living,
        target: Target::None,
        note: String::new(),
    };
    let mut lines = Vec::new();
    for kind in [replayed, live] {
        for streams in SIZES {
            lines.push(kind.line(&ours, streams, settings)?);
        }
    }
    Ok(lines)
}

/// One way to measure, with what it is compared with.
struct Kind {
    what: &'static str,
    yardstick_name: &'static str,
    request: Bytes,
    yardstick: Server,
    measure: fn(&Server, &Fleet, &Settings) -> Result<(f64, f64)>,
    target: Target,
    note: String,
}

impl Kind {
    fn line(&self, ours: &Server, streams: usize, settings: &Settings) -> Result<Line> {
        let (mut rounds, mut ours_cpu, mut yardstick_cpu) = (Rounds::default(), Vec::new(), Vec::new());
        let fleet = Fleet {
            connections: CONNECTIONS,
            streams,
            request: self.request.clone(),
            habit: Habit::Repeat,
            greeted: false,
        };
        for round in 1..=settings.rounds {
            progress(&format!("{streams} streams {}, round {round} of {}", self.what, settings.rounds));
            let (ours, cpu) = settings.quiet.measure(&[ours], || (self.measure)(ours, &fleet, settings))?;
            ours_cpu.push(cpu);
            let (yardstick, cpu) = settings
                .quiet
                .measure(&[&self.yardstick], || (self.measure)(&self.yardstick, &fleet, settings))?;
            yardstick_cpu.push(cpu);
            rounds.push(ours, yardstick);
        }
        Ok(Line {
            row: 4,
            what: format!("{streams} streams {}, messages", self.what),
            yardstick: self.yardstick_name,
            unit: Unit::PerSecond,
            rounds,
            target: self.target,
            note: format!(
                "{}processor time of the server a message: ours {:.2} µs, yardstick {:.2} µs",
                self.note,
                median(ours_cpu.into_iter()) * 1e6,
                median(yardstick_cpu.into_iter()) * 1e6,
            ),
        })
    }
}

fn with_frames(settings: &Settings, kind: &str, to_send: &[Bytes]) -> Result<Server> {
    let file = settings.scratch.join(format!("{kind}.frames"));
    frames::write(&file, to_send)?;
    Server::yardstick(kind, &file)
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

/// As many events as a live batch has, as one piece.
fn batch_of(frames: &[Bytes]) -> Result<Bytes> {
    let mut rest = Bytes::from(frames.concat());
    // The greeting is no event.
    stream::split_message(&mut rest).context("no greeting")?;
    let events: Option<Vec<Bytes>> = (0..LIVE_BATCH).map(|_| stream::split_message(&mut rest)).collect();
    Ok(events.context("too few events")?.concat().into())
}

/// Messages a second over all streams, and the server's processor time for each.
fn replaying(server: &Server, fleet: &Fleet, settings: &Settings) -> Result<(f64, f64)> {
    let crew = fleet.sail(server.grpc)?;
    crew.measure(WARM_UP);
    let before = server.processor_time()?;
    let achieved = crew.measure(settings.window());
    let used = server.processor_time()?.saturating_sub(before);
    crew.finish()?;
    Ok((achieved.per_second(), used.as_secs_f64() / real(achieved.count)))
}

/// The same, where streams wait for what comes.
fn living(server: &Server, fleet: &Fleet, settings: &Settings) -> Result<(f64, f64)> {
    let crew = Fleet { habit: Habit::StayAtOnce, ..fleet.clone() }.sail(server.grpc)?;
    let mut posters = Posters::open(server.webhook, usize::try_from(LIVE_BATCH)?)?;
    // Until the greetings are over.
    thread::sleep(WARM_UP);
    let streams = u64::try_from(fleet.streams)?;
    let (greetings, before, started) = (crew.board.done(), server.processor_time()?, Instant::now());
    let mut events = 0;
    while started.elapsed() < settings.window() {
        posters.post_each(&settings.numbers)?;
        events += LIVE_BATCH;
        let posted = Instant::now();
        while crew.board.done() < greetings + events * streams {
            ensure!(posted.elapsed() < BATCH_WITHIN, "a batch did not reach every stream");
            thread::sleep(LOOK_EVERY);
        }
    }
    let elapsed = started.elapsed();
    let used = server.processor_time()?.saturating_sub(before);
    crew.finish()?;
    let messages = real(events * streams);
    Ok((messages / elapsed.as_secs_f64(), used.as_secs_f64() / messages))
}
