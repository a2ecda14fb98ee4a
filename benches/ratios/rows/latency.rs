//! Row 6: how long a webhook takes to reach a subscriber when little is going on, beside the same without a
//! disk plus what the disk alone takes.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use deskgate::grpc::pb::SubscribeRequest;
use rusqlite::Connection as Database;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::load::{self, Connection};
use crate::process::Server;
use crate::stats::{Rounds, percentile};
use crate::stream::{self, Channel, Subscription};
use crate::table::{Line, Target, Unit};
use crate::webhooks::{self, Message};
use crate::{Settings, progress};

/// Webhooks a second, and how far apart they are.
const GAP: Duration = Duration::from_millis(10);

/// Connections that take turns, so that one slow answer delays nobody's start.
const CONNECTIONS: u32 = 8;

/// About what one event takes in the store.
const ROW_BYTES: usize = 1_536;

/// How long the last event may take to arrive.
const ARRIVE_WITHIN: Duration = Duration::from_secs(5);

pub(crate) fn run(settings: &Settings) -> Result<Vec<Line>> {
    let count = settings.pick(500, 100);
    let ours = Server::deskgate(&settings.scratch)?;
    load::seed_tickets(ours.webhook)?;
    let memory = Server::yardstick("memory", &settings.scratch)?;
    load::seed_tickets(memory.webhook)?;
    let database = bare_database(&settings.scratch.join("bare.db"))?;
    let (mut p50, mut p99) = (Rounds::default(), Rounds::default());
    let mut parts = Vec::new();
    for round in 1..=settings.rounds {
        progress(&format!("latency, round {round} of {}", settings.rounds));
        let mut measured = settings.quiet.measure(&[&ours], || latencies(&ours, count, settings))?;
        let mut in_memory = settings.quiet.measure(&[&memory], || latencies(&memory, count, settings))?;
        let mut commit = settings.quiet.measure(&[], || commits(&database, count))?;
        let (in_memory, commit) = (percentile(&mut in_memory, 50), percentile(&mut commit, 50));
        let yardstick = (in_memory + commit).as_secs_f64();
        p50.push(percentile(&mut measured, 50).as_secs_f64(), yardstick);
        p99.push(percentile(&mut measured, 99).as_secs_f64(), yardstick);
        parts.push((in_memory, commit));
    }
    let note = parts
        .iter()
        .map(|(memory, commit)| {
            format!("{:.2} + {:.2}", memory.as_secs_f64() * 1e3, commit.as_secs_f64() * 1e3)
        })
        .collect::<Vec<_>>()
        .join(", ");
    let line = |what: &str, rounds, target, note| Line {
        row: 6,
        what: format!("webhook to subscriber at 100/s, {what}"),
        yardstick: "p50 over memory + p50 of a commit",
        unit: Unit::Seconds,
        rounds,
        target,
        note,
    };
    Ok(vec![
        line("p50", p50, Target::AtMost(1.45), String::new()),
        line("p99", p99, Target::AtMost(4.3), format!("memory + commit of each round, in ms: {note}")),
    ])
}

/// When each message was sent, and how long those that arrived took.
#[derive(Debug)]
struct Flights {
    first: u64,
    sent: Mutex<Vec<Option<Instant>>>,
}

impl Flights {
    fn with<T>(&self, number: u64, act: impl FnOnce(&mut Option<Instant>) -> T) -> Option<T> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at).map(act)
    }
}

/// Posts `count` messages, a hundred a second, and waits for each in a stream.
fn latencies(server: &Server, count: usize, settings: &Settings) -> Result<Vec<Duration>> {
    let first = settings.numbers.fetch_add(u64::try_from(count)?, Ordering::Relaxed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let request = stream::framed(&SubscribeRequest::default())?;
        let channel = Channel::connect(server.grpc).await?;
        let mut subscription = channel.subscribe(request).await?;
        subscription.frame().await?.context("the stream ended before its first message")?;
        let flights = Arc::new(Flights { first, sent: Mutex::new(vec![None; count]) });
        let mut posters = JoinSet::new();
        let start = Instant::now() + GAP;
        for turn in 0..CONNECTIONS {
            let connection = Connection::open(server.webhook).await?;
            let numbers = (first + u64::from(turn)..first + u64::try_from(count)?).step_by(8);
            posters.spawn(post(connection, numbers, start + GAP * turn, Arc::clone(&flights)));
        }
        let arrived = arrivals(&mut subscription, &flights, count).await?;
        while let Some(ended) = posters.join_next().await {
            ended??;
        }
        Ok(arrived)
    })
}

async fn post(
    mut connection: Connection,
    numbers: impl Iterator<Item = u64>,
    start: Instant,
    flights: Arc<Flights>,
) -> Result<()> {
    let mut message = Message::requests()?;
    let mut turn = interval_at(start, GAP * CONNECTIONS);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in numbers {
        turn.tick().await;
        let request = message.number(number);
        flights.with(number, |sent| *sent = Some(Instant::now()));
        let status = connection.post(request).await?;
        ensure!(status == 200, "a webhook was answered {status}");
    }
    Ok(())
}

async fn arrivals(subscription: &mut Subscription, flights: &Flights, count: usize) -> Result<Vec<Duration>> {
    let mut arrived = Vec::new();
    while arrived.len() < count {
        let frame = tokio::time::timeout(ARRIVE_WITHIN, subscription.frame()).await;
        let frame = frame.with_context(|| format!("{} of {count} arrived", arrived.len()))??;
        let now = Instant::now();
        let frame = frame.context("the stream ended")?;
        let mut rest = frame.bytes.as_ref();
        while let Some((number, more)) = webhooks::find_number(rest) {
            rest = more;
            // An id may stand in an event more than once: the first takes the time out.
            let sent = flights.with(number, Option::take).flatten();
            arrived.extend(sent.map(|sent| now - sent));
        }
    }
    Ok(arrived)
}

/// A database set up as the store's is, with a table and nothing else.
pub(super) fn bare_database(path: &Path) -> Result<Database> {
    let database = Database::open(path)?;
    database.pragma_update(None, "page_size", 8_192)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    database.execute_batch("CREATE TABLE bare (seq INTEGER PRIMARY KEY, record BLOB NOT NULL)")?;
    Ok(database)
}

/// How long commits of one row take, a hundred a second.
pub(super) fn commits(database: &Database, count: usize) -> Result<Vec<Duration>> {
    let row = vec![7_u8; ROW_BYTES];
    let mut insert = database.prepare("INSERT INTO bare (record) VALUES (?1)")?;
    (0..count)
        .map(|_| {
            thread::sleep(GAP);
            let started = Instant::now();
            insert.execute([&row])?;
            Ok(started.elapsed())
        })
        .collect()
}
