//! The embedded store: one SQLite file, one writer thread with group commit, readers beside it.
//!
//! Callers hand their work to a bounded queue and wait. The writer (`writer`) takes whatever has queued, runs
//! it in one transaction (`batch`), syncs once and answers all. Nobody is answered before the sync, and no
//! reader sees an event before it. What must survive a crash is in the file alone: the caches in memory are
//! emptied by a rollback.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::rules::DEDUP_WINDOW_MIN;
use super::{
    AppendError, Appended, Begun, Bounds, CommandKey, CommandRecord, CommandsWanted, End, EventLog, Health,
    Ledger, LogId, NewCommand, Page, Quarantined, ReadError, TicketsWanted, Unsettled,
};
use crate::clock::{Clock, Ids};
use crate::domain::{NewEvent, Seq, StoredEvent, Ticket, TicketState};

mod answers;
mod batch;
mod checkpoint;
mod commands;
mod counters;
mod dedup;
mod failure;
mod group_changes;
mod groups;
mod job;
mod metrics;
mod notebook;
mod open_error;
mod pages;
mod quarantine;
mod reader;
mod recent;
mod retention;
mod schema;
mod sieve;
mod space;
mod tickets;
mod transaction;
mod writer;

pub use open_error::OpenError;
pub use space::SizeLimits;

use batch::Incoming;
use job::{Message, Typed, Work};
use writer::Writer;

/// Memory that what waits in the queue may take: more is `Busy`, however few callers it comes from.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// How the store is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file; its directory must exist.
    pub path: PathBuf,
    /// How long events are kept at least.
    pub retention: Duration,
    /// How long duplicates are recognised; never less than [`DEDUP_WINDOW_MIN`].
    pub dedup_window: Duration,
    /// Callers that may wait; one more is `Busy`.
    pub queue_max: usize,
    /// Events from which a commit takes no more in.
    pub batch_max: usize,
    /// The newest events kept in memory for readers at the tail.
    pub recent_events_max: usize,
    /// The bytes they may take.
    pub recent_bytes_max: usize,
    /// Tickets whose state is kept in memory.
    pub tickets_cached_max: usize,
    /// Reads that run at a time.
    pub readers_max: usize,
    /// How often retention runs.
    pub retention_interval: Duration,
    /// Past which size the oldest events go, and up to which groups may hold them back.
    pub size: SizeLimits,
    /// A cap on the file; past it the store is full.
    pub size_bytes_max: Option<u64>,
}

impl Config {
    /// The defaults, for a file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retention: Duration::from_hours(7 * 24),
            dedup_window: DEDUP_WINDOW_MIN,
            queue_max: 4_096,
            batch_max: 512,
            recent_events_max: 16_384,
            recent_bytes_max: 32 << 20,
            tickets_cached_max: 16_384,
            readers_max: 4,
            retention_interval: Duration::from_mins(1),
            size: SizeLimits::default(),
            size_bytes_max: None,
        }
    }
}

/// The store.
#[derive(Debug)]
pub struct SqliteLog {
    id: LogId,
    retention: Duration,
    size: SizeLimits,
    shared: Arc<Shared>,
    readers: reader::Readers,
    counters: Arc<counters::Counters>,
    inbox: SyncSender<Message>,
    thread: Mutex<Option<Held>>,
}

/// What is held while the store is open; let go in this order.
#[derive(Debug)]
struct Held {
    writer: JoinHandle<()>,
    lock: File,
}

/// What the writer tells everybody.
#[derive(Debug)]
struct Shared {
    tail: watch::Sender<Seq>,
    health: watch::Sender<Health>,
    recent: recent::Recent,
    commits: metrics::Commits,
    /// Everything up to here is gone.
    trimmed: RwLock<Seq>,
    queued_bytes: AtomicUsize,
    /// Bodies in quarantine.
    held: AtomicI64,
}

impl SqliteLog {
    /// Opens the store, making it if there is none.
    pub fn open(config: Config, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self, OpenError> {
        let Config {
            path,
            retention,
            dedup_window,
            queue_max,
            batch_max,
            recent_events_max,
            recent_bytes_max,
            tickets_cached_max,
            readers_max,
            retention_interval,
            size,
            size_bytes_max,
        } = config;
        let path = schema::resolve(&path)?;
        let lock = schema::lock(&path)?;
        let (db, found) = schema::open(&path, &*ids, size_bytes_max)?;
        let shared = Arc::new(Shared {
            tail: watch::Sender::new(found.last),
            health: watch::Sender::new(Health::Ready),
            recent: recent::Recent::new(found.last, recent_events_max, recent_bytes_max),
            commits: metrics::Commits::default(),
            trimmed: RwLock::new(found.trimmed),
            queued_bytes: AtomicUsize::new(0),
            held: AtomicI64::new(found.held),
        });
        let io = |source| OpenError::Io { path: path.clone(), source };
        let window = retention::micros_of(dedup_window.max(DEDUP_WINDOW_MIN));
        let now = micros(clock.now());
        let dedup = dedup::Dedup::load(&db, &path, window, now)
            .map_err(|error| OpenError::from_sqlite(&path, error))?;
        let counters = Arc::new(counters::Counters::load(&db, &path)?);
        let writer = Writer {
            db,
            shared: Arc::clone(&shared),
            clock,
            ids,
            checkpoints: checkpoint::Checkpoints::start(&path).map_err(io)?,
            tickets: tickets::Tickets::new(tickets_cached_max, Arc::clone(&counters)),
            counters: Arc::clone(&counters),
            answers: answers::Answers::start(),
            dedup,
            buffer: Vec::new(),
            last: found.last,
            last_time: found.last_time,
            batch_max,
            ages: retention::Ages::new(retention),
            space: space::Space::new(size, path.clone()),
            is_large: false,
            last_batch: (0, 0),
            retention: None,
            retention_asked: Vec::new(),
            retention_interval,
            retention_due: writer::after(retention_interval),
            sweep_prefix: u16::try_from(now.rem_euclid(i64::from(u16::MAX))).unwrap_or_default(),
            probe_due: Instant::now(),
        };
        let (inbox, queue) = sync_channel(queue_max);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(io)?;
        let readers = reader::Readers::new(path, readers_max);
        let thread = Mutex::new(Some(Held { writer: thread, lock }));
        Ok(Self { id: found.id, retention, size, shared, readers, counters, inbox, thread })
    }

    /// Adds what the store tells of itself to `registry`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        metrics::register(&self.shared, self.readers.path(), registry);
    }

    /// Writes what is queued, moves everything into the file and lets go of it. Blocks; dropping does the same.
    pub fn close(&self) {
        let held = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Held { writer, lock }) = held {
            let _ = self.inbox.send(Message::Close); // if nobody hears it, it has ended already
            if writer.join().is_err() {
                tracing::error!("the store's writer broke down");
            }
            self.readers.close();
            drop(lock);
        }
    }

    /// Removes what is older than it is kept, now; answers how many events went.
    pub async fn enforce_retention(&self) -> Result<u64, AppendError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Retain(reply))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// The newest position that anybody may see.
    fn published(&self) -> Seq {
        *self.shared.tail.borrow()
    }

    async fn submit<A: Send + 'static, T: Send + 'static>(
        &self,
        ask: A,
        size: (usize, usize),
        work: Work<A, T>,
    ) -> Result<T, AppendError> {
        let queued = self.shared.queued_bytes.fetch_add(size.1, Ordering::AcqRel);
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Typed { ask: Some(ask), size, work, done: None, reply });
        let sent =
            if queued < QUEUE_BYTES_MAX { self.send(Message::Write(job)) } else { Err(AppendError::Busy) };
        if let Err(error) = sent {
            self.shared.queued_bytes.fetch_sub(size.1, Ordering::AcqRel);
            return Err(error);
        }
        let broken = |_| Err(AppendError::Unknown("the writer broke off".to_owned()));
        answer.await.unwrap_or_else(broken)
    }

    fn send(&self, message: Message) -> Result<(), AppendError> {
        self.inbox.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => AppendError::Busy,
            TrySendError::Disconnected(_) => closed(),
        })
    }
}

impl Drop for SqliteLog {
    fn drop(&mut self) {
        self.close();
    }
}

fn closed() -> AppendError {
    AppendError::Unavailable("it is closed".to_owned())
}

fn no_such_command() -> AppendError {
    AppendError::Unavailable("there is no such command".to_owned())
}

fn size_of(events: &[NewEvent]) -> (usize, usize) {
    (events.len(), events.iter().map(NewEvent::weight).fold(0, usize::saturating_add))
}

#[async_trait]
impl EventLog for SqliteLog {
    async fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Appended>, AppendError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let size = size_of(&events);
        let events: Vec<_> = events.into_iter().map(Incoming::new).collect();
        self.submit(events, size, |batch, events| batch.append(events).map(Ok)).await
    }

    async fn quarantine(&self, body: Quarantined) -> Result<(), AppendError> {
        let size = (1, body.raw.len());
        self.submit(body, size, |batch, body| batch.quarantine(&body).map(Ok)).await
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Arc<StoredEvent>>, ReadError> {
        if let Some(events) = self.recent(after, limit) {
            return Ok(events);
        }
        let tail = self.published();
        self.readers.read(after, move |db| reader::page(db, after, tail, limit)).await
    }

    fn recent(&self, after: Seq, limit: usize) -> Option<Vec<Arc<StoredEvent>>> {
        self.shared.recent.after(after, limit)
    }

    fn tail(&self) -> watch::Receiver<Seq> {
        self.shared.tail.subscribe()
    }

    async fn seek(&self, at: Timestamp) -> Result<Seq, ReadError> {
        let tail = self.published();
        self.readers.read(Seq::default(), move |db| reader::seek(db, tail, at).map(Ok)).await
    }

    async fn bounds(&self) -> Result<Bounds, ReadError> {
        let tail = self.published();
        let extent = self.readers.read(Seq::default(), move |db| reader::extent(db, tail).map(Ok)).await?;
        let reader::Extent { trimmed, last, earliest_time, latest_time, live_bytes } = extent;
        Ok(Bounds {
            trimmed,
            last,
            earliest_time,
            latest_time,
            retention: self.retention,
            live_bytes,
            live_bytes_max: self.size.live_bytes_max(),
            store: "sqlite",
        })
    }

    fn id(&self) -> LogId {
        self.id
    }

    async fn ticket(&self, bot: &str, ticket_id: &str) -> Result<Option<TicketState>, ReadError> {
        let (bot, ticket_id) = (bot.to_owned(), ticket_id.to_owned());
        let counters = Arc::clone(&self.counters);
        let find = move |db: &rusqlite::Connection| {
            // In this order: a document is never older than the numbers beside it.
            let Some(row) = tickets::row_of(db, &bot, &ticket_id)? else { return Ok(Ok(None)) };
            let numbers = counters.of(row);
            let found = reader::one_view(db, |db| tickets::find(db, &bot, &ticket_id))?;
            let up_to_date = |(_, mut state): (i64, TicketState)| {
                numbers.add_to(&mut state);
                state
            };
            Ok(found.map(|found| found.map(up_to_date).map_err(corrupt)).transpose())
        };
        self.readers.look(Seq::default(), find).await
    }

    async fn tickets(&self, wanted: TicketsWanted) -> Result<Page<(String, Ticket)>, ReadError> {
        let find = move |db: &rusqlite::Connection| Ok(pages::tickets(db, &wanted)?.map_err(corrupt));
        self.readers.read(Seq::default(), find).await
    }

    async fn bots_of(&self, ticket_id: &str) -> Result<Vec<String>, ReadError> {
        let ticket_id = ticket_id.to_owned();
        self.readers.read(Seq::default(), move |db| tickets::bots_of(db, &ticket_id).map(Ok)).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }
}

#[async_trait]
impl Ledger for SqliteLog {
    async fn begin(&self, command: NewCommand) -> Result<Begun, AppendError> {
        let size = (1, command.memo.len());
        self.submit(command, size, |batch, command| batch.begin(command).map(Ok)).await
    }

    async fn start(&self, id: Uuid) -> Result<Option<(CommandRecord, Box<TicketState>)>, AppendError> {
        self.submit(id, (1, 0), |batch, id| batch.start(id).map(Ok)).await
    }

    async fn requeue(&self, id: Uuid) -> Result<(), AppendError> {
        self.submit(id, (1, 0), |batch, id| batch.requeue(id).map(Ok)).await
    }

    async fn settle(&self, id: Uuid, end: End, events: Vec<NewEvent>) -> Result<CommandRecord, AppendError> {
        let (count, bytes) = size_of(&events);
        let size = (count.saturating_add(1), bytes);
        let events: Vec<_> = events.into_iter().map(Incoming::new).collect();
        self.submit((id, end, events), size, |batch, (id, end, events)| {
            batch.settle(id, end, events).map(|record| record.ok_or_else(no_such_command))
        })
        .await
    }

    async fn command(&self, key: CommandKey) -> Result<Option<CommandRecord>, ReadError> {
        let find =
            move |db: &rusqlite::Connection| Ok(commands::find(db, &key)?.transpose().map_err(corrupt));
        self.readers.read(Seq::default(), find).await
    }

    async fn unsettled(&self, wanted: Unsettled) -> Result<Page<CommandRecord>, ReadError> {
        let find = move |db: &rusqlite::Connection| Ok(commands::unsettled(db, wanted)?.map_err(corrupt));
        self.readers.read(Seq::default(), find).await
    }

    async fn unknown_since(
        &self,
        since: Timestamp,
        count_max: usize,
    ) -> Result<Vec<CommandRecord>, ReadError> {
        let find = move |db: &rusqlite::Connection| {
            let found = commands::unknown_since(db, micros(since), count_max)?;
            Ok(found.into_iter().collect::<Result<_, _>>().map_err(corrupt))
        };
        self.readers.read(Seq::default(), find).await
    }

    async fn commands(&self, wanted: CommandsWanted) -> Result<Page<CommandRecord>, ReadError> {
        let find = move |db: &rusqlite::Connection| Ok(pages::commands(db, &wanted)?.map_err(corrupt));
        self.readers.read(Seq::default(), find).await
    }
}

/// Damage that has no position.
fn corrupt(what: String) -> ReadError {
    ReadError::Corrupt { at: Seq::default(), what }
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn seq(number: i64) -> Seq {
    Seq(u64::try_from(number).unwrap_or_default())
}

fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or_default()
}
