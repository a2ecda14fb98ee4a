//! A log that is one file, written to at its end: the least a durable log can be. It finds an event its place as ours
//! does (once by its key, numbered within its ticket, into the projection) and writes the same record, but all it
//! knows is in memory, and nothing can be read, found by name or removed.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::Result;
use async_trait::async_trait;
use deskgate::clock::{Clock, Ids, SystemClock, SystemIds};
use deskgate::domain::{DedupKey, NewEvent, Seq, StoredEvent, Ticket, TicketState, place};
use deskgate::store::record::{self, Prepared};
use deskgate::store::{
    AppendError, Appended, Bounds, EventLog, Health, LogId, Page, Quarantined, ReadError, TicketsWanted,
};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

/// How many events one write and one flush take at most, and how many may wait: as ours.
const BATCH_MAX: usize = 1_024;
const QUEUE_MAX: usize = 8_192;

struct Job {
    events: Vec<(NewEvent, Option<Prepared>)>,
    answer: oneshot::Sender<Vec<Appended>>,
}

/// Callers to wake, each with what it is told.
type Answers = Vec<(oneshot::Sender<Vec<Appended>>, Vec<Appended>)>;

#[derive(Debug)]
pub(super) struct FileLog {
    queue: SyncSender<Job>,
    tail: watch::Receiver<Seq>,
    health: watch::Sender<Health>,
}

impl FileLog {
    /// An empty log in a new file. Callers are woken from within the runtime, as ours are.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path)?;
        let (queue, queued) = sync_channel(QUEUE_MAX);
        let (tell, mut told) = mpsc::unbounded_channel::<Answers>();
        let (tail, follow) = watch::channel(Seq::default());
        let writer = Writer {
            file,
            tell,
            tail,
            taken: HashMap::new(),
            tickets: HashMap::new(),
            key: String::new(),
            record: Vec::new(),
            buffer: Vec::new(),
            last: Seq::default(),
        };
        thread::spawn(move || writer.run(&queued));
        tokio::spawn(async move {
            while let Some(answers) = told.recv().await {
                for (answer, appended) in answers {
                    // A caller that hung up does not wait for its answer.
                    let _gone = answer.send(appended);
                }
            }
        });
        Ok(Self { queue, tail: follow, health: watch::Sender::new(Health::Ready) })
    }
}

struct Writer {
    file: File,
    tell: mpsc::UnboundedSender<Answers>,
    tail: watch::Sender<Seq>,
    taken: HashMap<DedupKey, Seq>,
    /// By bot and ticket.
    tickets: HashMap<String, TicketState>,
    key: String,
    record: Vec<u8>,
    buffer: Vec<u8>,
    last: Seq,
}

impl Writer {
    /// Runs until nobody can send any more, or the file takes no more.
    fn run(mut self, queued: &Receiver<Job>) {
        while let Ok(first) = queued.recv() {
            let now = SystemClock.now();
            let more = std::iter::from_fn(|| queued.try_recv().ok());
            let mut answers = Answers::new();
            for Job { events, answer } in std::iter::once(first).chain(more).take(BATCH_MAX) {
                let placed = events.into_iter().map(|(event, prepared)| self.append(event, prepared, now));
                let Ok(appended) = placed.collect() else { return };
                answers.push((answer, appended));
            }
            if self.file.write_all(&self.buffer).and_then(|()| self.file.sync_data()).is_err() {
                return;
            }
            self.buffer.clear();
            self.tail.send_replace(self.last);
            if self.tell.send(answers).is_err() {
                return;
            }
        }
    }

    fn append(&mut self, new: NewEvent, prepared: Option<Prepared>, now: Timestamp) -> Result<Appended> {
        let seq = Seq(self.last.0 + 1);
        if let Some(key) = new.dedup {
            if let Some(known) = self.taken.get(&key) {
                return Ok(Appended::Duplicate(*known));
            }
            self.taken.insert(key, seq);
        }
        let mut none = TicketState::default();
        let ticket = match &new.ticket_id {
            None => &mut none,
            Some(id) => {
                self.key.clear();
                self.key.extend([&*new.bot, "\n", id]);
                if !self.tickets.contains_key(&self.key) {
                    self.tickets.insert(self.key.clone(), TicketState::default());
                }
                self.tickets.get_mut(&self.key).unwrap_or(&mut none)
            }
        };
        let (event, raw) = place(new, ticket, SystemIds.next(), now);
        self.record.clear();
        match prepared {
            Some(prepared) => record::encode_prepared(&event, &prepared, &mut self.record)?,
            None => record::encode_event(&event, &mut self.record)?,
        }
        let check = record::checksum(record::VERSION, seq, &self.record, &raw);
        for number in [seq.0, u64::from(check), u64::try_from(self.record.len())?, u64::try_from(raw.len())?]
        {
            self.buffer.extend_from_slice(&number.to_le_bytes());
        }
        self.buffer.extend_from_slice(&self.record);
        self.buffer.extend_from_slice(&raw);
        self.last = seq;
        Ok(Appended::At(Arc::new(StoredEvent { seq, event, raw })))
    }
}

fn no_such_thing() -> ReadError {
    ReadError::Unavailable("nothing is read from this log".to_owned())
}

#[async_trait]
impl EventLog for FileLog {
    async fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Appended>, AppendError> {
        let prepare = |event: NewEvent| {
            let prepared = record::prepare(&event).unwrap_or_default();
            (event, prepared)
        };
        let (answer, answered) = oneshot::channel();
        let job = Job { events: events.into_iter().map(prepare).collect(), answer };
        self.queue.try_send(job).map_err(|_full| AppendError::Busy)?;
        answered.await.map_err(|_gone| AppendError::Unknown("the file takes no more".to_owned()))
    }

    async fn quarantine(&self, _body: Quarantined) -> Result<(), AppendError> {
        Err(AppendError::Unavailable("this log keeps none".to_owned()))
    }

    async fn read(&self, _after: Seq, _limit: usize) -> Result<Vec<Arc<StoredEvent>>, ReadError> {
        Err(no_such_thing())
    }

    fn recent(&self, _after: Seq, _limit: usize) -> Option<Vec<Arc<StoredEvent>>> {
        None
    }

    fn tail(&self) -> watch::Receiver<Seq> {
        self.tail.clone()
    }

    async fn seek(&self, _at: Timestamp) -> Result<Seq, ReadError> {
        Err(no_such_thing())
    }

    async fn bounds(&self) -> Result<Bounds, ReadError> {
        Err(no_such_thing())
    }

    fn id(&self) -> LogId {
        LogId([0; 8])
    }

    async fn ticket(&self, _bot: &str, _ticket_id: &str) -> Result<Option<TicketState>, ReadError> {
        Err(no_such_thing())
    }

    async fn tickets(&self, _wanted: TicketsWanted) -> Result<Page<(String, Ticket)>, ReadError> {
        Err(no_such_thing())
    }

    async fn bots_of(&self, _ticket_id: &str) -> Result<Vec<String>, ReadError> {
        Err(no_such_thing())
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}
