//! Row 7: the whole log to one stream, beside a scan of the same pages in the same process as the store.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use deskgate::clock::{SystemClock, SystemIds};
use deskgate::domain::Seq;
use deskgate::domain::translate::event_of;
use deskgate::grpc::pb::start_position::Position;
use deskgate::grpc::pb::{StartPosition, SubscribeRequest};
use deskgate::lime::Envelope;
use deskgate::store::EventLog;
use deskgate::store::sqlite::{Config, SqliteLog};
use tokio::time::Instant;

use crate::process::{Server, store_in};
use crate::stats::{Rounds, median, real};
use crate::stream::{self, Channel};
use crate::table::{Line, Target, Unit};
use crate::webhooks::{self, BOT, Message};
use crate::{Settings, progress};

/// Events appended at once, to fill the store.
const BATCH: u64 = 500;

/// Events read at once, as readers do.
const PAGE: usize = 1_000;

pub(crate) fn run(settings: &Settings) -> Result<Vec<Line>> {
    let events = settings.pick(100_000, 20_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (to_serve, to_scan) = (settings.scratch.join("served"), settings.scratch.join("scanned"));
    fs::create_dir_all(&to_serve)?;
    fs::create_dir_all(&to_scan)?;
    progress(&format!("replay: filling a store with {events} events"));
    let total = runtime.block_on(fill(&store_in(&to_serve), events))?;
    copy(&to_serve, &to_scan)?;
    let server = Server::deskgate_over(&to_serve)?;
    let log = open(&store_in(&to_scan))?;
    let position = Some(Position::Earliest(true));
    let request = stream::framed(&SubscribeRequest {
        start: Some(StartPosition { position }),
        stop_when_caught_up: true,
        ..SubscribeRequest::default()
    })?;
    let mut rounds = Rounds::default();
    let mut processor = Vec::new();
    for round in 1..=settings.rounds {
        progress(&format!("replay, round {round} of {}", settings.rounds));
        let (ours, used) = settings.quiet.measure(&[&server], || {
            let before = server.processor_time()?;
            let ours = runtime.block_on(replay(&server, &request, total))?;
            Ok((ours, server.processor_time()?.saturating_sub(before)))
        })?;
        processor.push(used.as_secs_f64() / real(total));
        rounds.push(ours, settings.quiet.measure(&[], || runtime.block_on(scan(&log, total)))?);
    }
    let processor = median(processor.into_iter()) * 1e6;
    Ok(vec![Line {
        row: 7,
        what: format!("replay of {total} events to one stream"),
        yardstick: "scan of the same pages, decoded",
        unit: Unit::PerSecond,
        rounds,
        target: Target::AtLeast(0.5),
        note: format!("processor time of the server an event: {processor:.1} µs"),
    }])
}

fn open(path: &Path) -> Result<SqliteLog> {
    Ok(SqliteLog::open(Config::new(path), Arc::new(SystemClock), Arc::new(SystemIds))?)
}

/// Appends the tickets and `messages` of their customers; tells how many events that made.
async fn fill(path: &Path, messages: u64) -> Result<u64> {
    let log = open(path)?;
    let bot: Arc<str> = BOT.into();
    let event = |body: Bytes| {
        let envelope = Envelope::from_json(&body)?;
        anyhow::Ok(event_of(Arc::clone(&bot), envelope, body, String::new()).event)
    };
    let tickets = (0..webhooks::TICKETS).map(|number| event(webhooks::ticket_body(number).into()));
    log.append(tickets.collect::<Result<_>>()?).await?;
    let mut message = Message::bodies()?;
    for first in (0..messages).step_by(usize::try_from(BATCH)?) {
        let numbers = first..messages.min(first + BATCH);
        let events = numbers.map(|number| event(Bytes::copy_from_slice(message.number(number))));
        log.append(events.collect::<Result<_>>()?).await?;
    }
    let bounds = log.bounds().await?;
    let total = bounds.last.0 - bounds.trimmed.0;
    ensure!(total == messages + webhooks::TICKETS, "{total} events were stored");
    Ok(total)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.path().extension().is_none_or(|end| end != "lock") {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Events a second, from the request to the end of the stream.
async fn replay(server: &Server, request: &Bytes, total: u64) -> Result<f64> {
    let channel = Channel::connect(server.grpc).await?;
    let started = Instant::now();
    let messages = channel.subscribe(request.clone()).await?.drain().await?;
    let elapsed = started.elapsed();
    ensure!(messages >= total, "only {messages} messages came");
    Ok(real(total) / elapsed.as_secs_f64())
}

async fn scan(log: &SqliteLog, total: u64) -> Result<f64> {
    let started = Instant::now();
    let (mut after, mut read) = (Seq(0), 0);
    loop {
        let page = log.read(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        read += u64::try_from(page.len())?;
    }
    let elapsed = started.elapsed();
    ensure!(read == total, "only {read} events were read");
    Ok(real(total) / elapsed.as_secs_f64())
}
