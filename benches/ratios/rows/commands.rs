//! Row 8: commands a second and how long one takes, beside a service that passes them on and keeps nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use deskgate::grpc::pb;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::latency::{bare_database, commits};
use crate::crew::{Board, Crew};
use crate::load::{self, Numbers, share};
use crate::process::Server;
use crate::stats::{Rounds, median, percentile, real};
use crate::stream::{self, Channel};
use crate::table::{Line, Target, Unit};
use crate::{Settings, progress, webhooks};

/// How many call at the same time, each on a ticket of its own.
const CALLERS: usize = 64;

/// Over how many connections.
const CONNECTIONS: usize = 8;

const SEND: &str = "http://localhost/deskgate.v1.TicketService/Send";

/// What our ledger may add to a lone call, beside two commits.
const ADDED_MAX: Duration = Duration::from_micros(250);

/// Left out of a measurement, at its beginning.
const WARM_UP: Duration = Duration::from_millis(300);

pub(crate) fn run(settings: &Settings) -> Result<Vec<Line>> {
    let desk = Server::yardstick("desk", Path::new("-"))?;
    let ours = Server::deskgate_before(desk.webhook, &settings.scratch)?;
    load::seed_tickets(ours.webhook)?;
    let passing = Server::yardstick("passing", Path::new(&desk.webhook.to_string()))?;
    let database = bare_database(&settings.scratch.join("bare-commands.db"))?;
    let (mut many, mut lone, mut notes, mut parts) =
        (Rounds::default(), Rounds::default(), Vec::new(), Vec::new());
    let count = settings.pick(300, 50);
    for round in 1..=settings.rounds {
        progress(&format!("commands, round {round} of {}", settings.rounds));
        let measured = rate(&ours, &desk, settings)?;
        let without = rate(&passing, &desk, settings)?;
        many.push(measured.0, without.0);
        notes.push((measured.1, without.1));
        let all = [&ours, &passing, &desk];
        let mut alone = settings.quiet.measure(&all, || one_by_one(ours.grpc, count, &settings.numbers))?;
        let mut passed =
            settings.quiet.measure(&all, || one_by_one(passing.grpc, count, &settings.numbers))?;
        let mut commit = settings.quiet.measure(&[], || commits(&database, count))?;
        let (alone, passed) = (percentile(&mut alone, 50), percentile(&mut passed, 50));
        let allowed = percentile(&mut commit, 50) * 2 + ADDED_MAX;
        lone.push(alone.saturating_sub(passed).as_secs_f64(), allowed.as_secs_f64());
        parts.push(format!("{:.2} - {:.2}", alone.as_secs_f64() * 1e3, passed.as_secs_f64() * 1e3));
    }
    let note = format!(
        "processor time of the server a command: ours {:.1} µs, yardstick {:.1} µs",
        median(notes.iter().map(|(ours, _)| *ours)) * 1e6,
        median(notes.iter().map(|(_, yardstick)| *yardstick)) * 1e6,
    );
    Ok(vec![
        Line {
            row: 8,
            what: format!("commands, {CALLERS} callers"),
            yardstick: "tonic and reqwest without a ledger",
            unit: Unit::PerSecond,
            rounds: many,
            target: Target::AtLeast(0.5),
            note,
        },
        Line {
            row: 8,
            what: "what is added to one caller's p50".to_owned(),
            yardstick: "two commits + 0.25 ms",
            unit: Unit::Seconds,
            rounds: lone,
            target: Target::AtMost(1.0),
            note: format!("ours - yardstick of each round, in ms: {}", parts.join(", ")),
        },
    ])
}

/// Commands a second, and processor time of the server for one.
fn rate(server: &Server, desk: &Server, settings: &Settings) -> Result<(f64, f64)> {
    settings.quiet.measure(&[server, desk], || {
        let (address, numbers) = (server.grpc, Numbers::clone(&settings.numbers));
        let crew = Crew::start(move |index, board| {
            call_all(address, share(CONNECTIONS, index), index, Numbers::clone(&numbers), board)
        });
        crew.wait_ready(CALLERS)?;
        crew.measure(WARM_UP);
        let before = server.processor_time()?;
        let achieved = crew.measure(settings.window());
        let used = server.processor_time()?.saturating_sub(before);
        crew.finish()?;
        Ok((achieved.per_second(), used.as_secs_f64() / real(achieved.count)))
    })
}

async fn call_all(
    address: SocketAddr,
    connections: usize,
    index: usize,
    numbers: Numbers,
    board: Board,
) -> Result<()> {
    let mut callers = JoinSet::new();
    let each = CALLERS / CONNECTIONS;
    for connection in 0..connections {
        let channel = Channel::connect(address).await?;
        for caller in 0..each {
            let ticket = (index * CALLERS + connection * each + caller).try_into()?;
            callers.spawn(call_on(channel.clone(), ticket, Numbers::clone(&numbers), board.clone()));
        }
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

async fn call_on(channel: Channel, ticket: u64, numbers: Numbers, board: Board) -> Result<()> {
    board.ready();
    while !board.is_stopped() {
        channel.call(SEND, request(ticket, &numbers)?).await?;
        board.add(1);
    }
    Ok(())
}

/// How long calls take one after the other.
fn one_by_one(address: SocketAddr, count: usize, numbers: &Numbers) -> Result<Vec<Duration>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = Channel::connect(address).await?;
        let mut took = Vec::new();
        for _ in 0..count {
            let request = request(0, numbers)?;
            let started = Instant::now();
            channel.call(SEND, request).await?;
            took.push(started.elapsed());
        }
        Ok(took)
    })
}

/// An answer to a customer, under a request id of its own.
fn request(ticket: u64, numbers: &Numbers) -> Result<Bytes> {
    let number = numbers.fetch_add(1, Ordering::Relaxed);
    stream::framed(&pb::SendRequest {
        ticket_id: webhooks::ticket_id(ticket),
        text: "Bom dia! Em que posso ajudar?".to_owned(),
        options: Some(pb::CommandOptions {
            request_id: format!("bench-{number}"),
            ..pb::CommandOptions::default()
        }),
        ..pb::SendRequest::default()
    })
}
