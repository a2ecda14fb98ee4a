//! The one thread that writes. It takes whatever has queued, puts it into one transaction, syncs once,
//! publishes, answers all. It never waits for more to come: the running sync is the wait.

use std::fmt;
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answers::{Answers, Ended};
use super::batch::{Batch, Statements};
use super::checkpoint::{self, Checkpoints};
use super::counters::Counters;
use super::dedup::Dedup;
use super::failure::{Verdict, WriteError};
use super::job::{Job, Message};
use super::retention::{Ages, BYTES_PER_STEP, Limits, ROWS_PER_STEP, Run, holds};
use super::space::{PAGES_PER_STEP, Space};
use super::tickets::Tickets;
use super::transaction::{run_cached, unsynced};
use super::{Shared, micros, time};
use crate::clock::{Clock, Ids};
use crate::domain::{Seq, StoredEvent};
use crate::store::{AppendError, Health};

/// How often a full disk is tried again when nobody asks.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// What a probe writes: enough that success means there is room for events again.
const PROBE_BYTES: u32 = 256 << 10;

/// Bytes from which a batch takes no more in.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// The thread's state.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) checkpoints: Checkpoints,
    pub(super) tickets: Tickets,
    pub(super) counters: Arc<Counters>,
    pub(super) answers: Answers,
    pub(super) dedup: Dedup,
    pub(super) buffer: Vec<u8>,
    pub(super) last: Seq,
    pub(super) last_time: i64,
    pub(super) batch_max: usize,
    pub(super) ages: Ages,
    pub(super) space: Space,
    /// The store has grown too large.
    pub(super) is_large: bool,
    /// Events of the last batch and their bytes: retention goes at the pace they come in.
    pub(super) last_batch: (usize, usize),
    pub(super) retention: Option<Run>,
    /// Who asked for a run; one that is under way does not count.
    pub(super) retention_asked: Vec<oneshot::Sender<Result<u64, AppendError>>>,
    pub(super) retention_interval: Duration,
    pub(super) retention_due: Instant,
    pub(super) sweep_prefix: u16,
    pub(super) probe_due: Instant,
}

impl fmt::Debug for Writer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Writer").field("last", &self.last).finish_non_exhaustive()
    }
}

/// Says so when the thread ends in a way nobody planned.
struct Alarm(Arc<Shared>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.health.send_replace(Health::Failed("the store's writer broke down".to_owned()));
        }
    }
}

impl Writer {
    /// Runs until closed.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        let _alarm = Alarm(Arc::clone(&self.shared));
        loop {
            self.last_batch = (0, 0);
            let message = if self.retention.is_some() || self.is_large || !self.retention_asked.is_empty() {
                inbox.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            } else {
                inbox.recv_timeout(self.patience())
            };
            let open = match message {
                Ok(message) => self.take(message, inbox),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if !open {
                break;
            }
            self.look_after();
        }
        self.end(inbox);
    }

    /// How long to wait for work before looking after other things.
    fn patience(&self) -> Duration {
        let due = if self.is_full() { self.retention_due.min(self.probe_due) } else { self.retention_due };
        due.saturating_duration_since(Instant::now())
    }

    /// Takes `first` and whatever else has queued; `false` when told to end.
    fn take(&mut self, first: Message, inbox: &Receiver<Message>) -> bool {
        let mut jobs = Vec::with_capacity(64);
        let (mut events, mut bytes) = (0_usize, 0_usize);
        let mut next = Some(first);
        let mut open = true;
        while let Some(message) = next {
            match message {
                Message::Write(job) => {
                    let size = job.size();
                    events = events.saturating_add(size.0.max(1));
                    bytes = bytes.saturating_add(size.1);
                    jobs.push(job);
                }
                Message::Retain(reply) => {
                    self.retention_asked.push(reply);
                }
                Message::Close => {
                    open = false;
                    break;
                }
            }
            let room = events < self.batch_max && bytes < BATCH_BYTES_MAX;
            next = if room { inbox.try_recv().ok() } else { None };
        }
        self.shared.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
        if !jobs.is_empty() {
            self.commit(jobs);
        }
        open
    }

    fn commit(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let health = self.shared.health.borrow().clone();
        if let Health::Failed(what) = health {
            self.refuse(jobs, AppendError::Unavailable(what));
            return;
        }
        match self.transaction(&mut jobs) {
            Ok(gone) => {
                // A full store stays so until a probe finds more room than this batch took, which may have been the last.
                self.answers.tell(Ended { jobs, committed: Ok(()), gone });
                if self.dedup.owes_step() {
                    self.move_keys();
                }
                if self.counters.are_many() {
                    self.write_numbers();
                }
            }
            Err((error, committing)) => {
                let told = self.failed(&error, committing);
                self.refuse(jobs, told);
            }
        }
        self.tickets.turn();
    }

    /// Answers the events that had to leave the memory of the newest; or what failed, and whether while committing.
    fn transaction(
        &mut self,
        jobs: &mut [Box<dyn Job>],
    ) -> Result<Vec<Arc<StoredEvent>>, (WriteError, bool)> {
        let begun = Instant::now();
        let now = self.now();
        run_cached(&self.db, "BEGIN IMMEDIATE").map_err(|error| (error, false))?;
        let (worked, fresh, held) = {
            let mut batch = Batch {
                db: &self.db,
                statements: Statements::of(&self.db).map_err(|error| (error.into(), false))?,
                ids: &*self.ids,
                tickets: &mut self.tickets,
                dedup: &mut self.dedup,
                buffer: &mut self.buffer,
                now,
                next: Seq(self.last.0.saturating_add(1)),
                fresh: Vec::with_capacity(jobs.len()),
                held: 0,
            };
            let worked = jobs.iter_mut().try_for_each(|job| job.run(&mut batch));
            (worked, mem::take(&mut batch.fresh), batch.held)
        };
        worked.and_then(|()| self.tickets.write_back(&self.db)).map_err(|error| (error, false))?;
        run_cached(&self.db, "COMMIT").map_err(|error| (error, true))?;
        self.shared.commits.committed(begun, jobs.len());
        self.shared.held.fetch_add(held, Ordering::AcqRel);
        let bytes = fresh.iter().map(|(_, bytes)| bytes).sum();
        self.dedup.committed();
        self.tickets.committed(fresh.len());
        self.checkpoints.written(&self.db, jobs.len(), bytes);
        self.last_batch = (fresh.len(), bytes);
        let Some((newest, _)) = fresh.last() else { return Ok(Vec::new()) };
        assert!(newest.seq > self.last, "positions only grow");
        self.last = newest.seq;
        self.last_time = micros(now);
        let gone = self.shared.recent.publish(fresh.into_iter().map(|(event, _)| event).collect());
        self.shared.tail.send_replace(self.last);
        match self.space.written(&self.db, bytes) {
            Ok(is_large) => self.is_large |= is_large,
            Err(error) => tracing::warn!(%error, "the store's size could not be read"),
        }
        Ok(gone)
    }

    fn refuse(&self, jobs: Vec<Box<dyn Job>>, error: AppendError) {
        self.answers.tell(Ended { jobs, committed: Err(error), gone: Vec::new() });
    }

    /// Rolls back and decides what the error means.
    fn failed(&mut self, error: &WriteError, committing: bool) -> AppendError {
        if !self.db.is_autocommit()
            && let Err(error) = run_cached(&self.db, "ROLLBACK")
        {
            tracing::error!(%error, "the store cannot roll back");
        }
        self.tickets.clear();
        self.dedup.rolled_back();
        self.probe_due = after(PROBE_INTERVAL);
        match error.verdict() {
            Verdict::Full => {
                if !self.is_full() {
                    tracing::error!(
                        "the disk that holds the store is full; nothing is accepted until there is room"
                    );
                    self.shared.health.send_replace(Health::Full);
                }
                AppendError::Full
            }
            Verdict::Passing => {
                tracing::error!(%error, "the store could not write a batch");
                AppendError::Unavailable(error.to_string())
            }
            Verdict::Fatal => {
                tracing::error!(%error, "the store has failed; nothing is accepted until the process is started again");
                self.shared.health.send_replace(Health::Failed(error.to_string()));
                if committing && error.is_in_doubt() {
                    AppendError::Unknown(error.to_string())
                } else {
                    AppendError::Unavailable(error.to_string())
                }
            }
        }
    }

    /// Whatever is due beside batches.
    fn look_after(&mut self) {
        if matches!(*self.shared.health.borrow(), Health::Failed(_)) {
            self.retention_due = after(self.retention_interval);
            self.refuse_retention("the store has failed");
            return;
        }
        let now = Instant::now();
        if self.is_full() && now >= self.probe_due {
            self.probe();
        }
        match &mut self.retention {
            None => self.begin_retention(now),
            Some(run) if self.is_large => {
                run.too_large();
                self.is_large = false;
                self.write_numbers(); // as for a run that begins
            }
            Some(_) => {}
        }
        let rows = usize::try_from(ROWS_PER_STEP).unwrap_or(usize::MAX);
        let (events, bytes) = self.last_batch;
        for _ in 0..=events.div_euclid(rows).saturating_add(bytes.div_euclid(BYTES_PER_STEP)) {
            self.go_on_with_retention();
        }
    }

    /// Begins a run where one is due: at its time, when somebody asks, or because the store is too large.
    fn begin_retention(&mut self, now: Instant) {
        let due = now >= self.retention_due || !self.retention_asked.is_empty();
        if !due && !self.is_large {
            return;
        }
        let limits = self.limits().unwrap_or_else(|error| {
            tracing::warn!(%error, "what retention has to keep to could not be read: nothing goes");
            Limits { live_bytes_max: None, holds: Some(Seq::default()), pinned_bytes_max: u64::MAX }
        });
        self.is_large = false;
        if due {
            self.retention_due = after(self.retention_interval);
            self.retention = Some(Run::new(mem::take(&mut self.retention_asked), limits));
        } else {
            self.retention = Some(Run::by_size(limits));
        }
        self.write_numbers(); // what they stand in as yet may be about to go
    }

    fn limits(&self) -> rusqlite::Result<Limits> {
        let holds = holds(&self.db)?;
        let pinned_bytes_max = if holds.is_some() { self.space.pinned_bytes_max(&self.db)? } else { 0 };
        Ok(Limits { live_bytes_max: self.space.live_bytes_max(), holds, pinned_bytes_max })
    }

    fn go_on_with_retention(&mut self) {
        let Some(mut run) = self.retention.take() else { return };
        let stepped = self.step(&mut run);
        let done = run.is_done();
        let removed = run.removed;
        self.retention = Some(run);
        match stepped {
            Ok(()) if !done => {}
            Ok(()) => self.end_retention(&Ok(removed)),
            Err(error) => {
                let told = self.failed(&error, false);
                self.end_retention(&Err(told));
            }
        }
    }

    /// Moves some keys to where they stay, at the pace they come in.
    fn move_keys(&mut self) {
        let now = self.last_time;
        match unsynced(&self.db, || Ok(self.dedup.step(&self.db, now)?)) {
            Ok(moved) => {
                self.checkpoints.written(&self.db, moved.len(), 0);
                self.dedup.stepped(moved);
            }
            Err(error) => {
                self.dedup.abandon();
                self.failed(&error, false);
            }
        }
    }

    /// Writes the tickets' numbers to where they stay.
    fn write_numbers(&mut self) {
        if self.counters.are_written() {
            return;
        }
        match unsynced(&self.db, || Ok(self.counters.write(&self.db, self.last.0)?)) {
            Ok(written) => {
                self.checkpoints.written(&self.db, written, 0);
                self.counters.written();
            }
            Err(error) => {
                self.failed(&error, false);
            }
        }
    }

    /// One step of retention.
    fn step(&mut self, run: &mut Run) -> Result<(), WriteError> {
        let now = micros(self.now());
        let step = || Ok(run.step(&self.db, &mut self.dedup, &mut self.sweep_prefix, self.ages, now)?);
        let trimmed = unsynced(&self.db, step)?;
        self.shared.held.fetch_sub(mem::take(&mut run.held), Ordering::AcqRel);
        if let Some(trimmed) = trimmed {
            self.shared.recent.trim(trimmed);
            *self.shared.trimmed.write().unwrap_or_else(PoisonError::into_inner) = trimmed;
            self.checkpoints.written(&self.db, 256, 0);
        }
        if mem::take(&mut run.gave_back) {
            self.checkpoints.written(&self.db, PAGES_PER_STEP, PAGES_PER_STEP.saturating_mul(8 << 10));
        } else if run.is_done() {
            self.checkpoints.shrink(&self.db);
        }
        Ok(())
    }

    fn end_retention(&mut self, told: &Result<u64, AppendError>) {
        if let Some(run) = self.retention.take() {
            for reply in run.waiting {
                let _ = reply.send(told.clone()); // nobody may be waiting
            }
        }
    }

    fn refuse_retention(&mut self, what: &str) {
        if self.retention.is_some() || !self.retention_asked.is_empty() {
            let waiting = mem::take(&mut self.retention_asked);
            self.retention.get_or_insert_with(|| Run::by_size(Limits::default())).waiting.extend(waiting);
            self.end_retention(&Err(AppendError::Unavailable(what.to_owned())));
        }
    }

    /// Whether there is room again, without waiting for somebody to ask.
    fn probe(&mut self) {
        self.probe_due = after(PROBE_INTERVAL);
        let tried = (|| {
            run_cached(&self.db, "BEGIN IMMEDIATE")?;
            self.db.execute(
                "INSERT OR REPLACE INTO quarantine VALUES (-1, 0, '', 'probe', zeroblob(?1))",
                [PROBE_BYTES],
            )?;
            run_cached(&self.db, "COMMIT")?;
            self.db.execute("DELETE FROM quarantine WHERE n = -1", [])?;
            Ok::<_, WriteError>(())
        })();
        match tried {
            Ok(()) => {
                tracing::info!("the store has room again");
                self.shared.health.send_replace(Health::Ready);
            }
            Err(error) => {
                self.failed(&error, false);
            }
        }
    }

    fn is_full(&self) -> bool {
        *self.shared.health.borrow() == Health::Full
    }

    /// Now, to the microsecond, and never earlier than the newest event.
    fn now(&self) -> Timestamp {
        time(micros(self.clock.now()).max(self.last_time))
    }

    /// Writes what is still queued, and leaves the file in one piece.
    fn end(mut self, inbox: &Receiver<Message>) {
        while let Ok(message) = inbox.try_recv() {
            self.take(message, inbox);
        }
        self.refuse_retention("the store is closing");
        if !matches!(*self.shared.health.borrow(), Health::Failed(_)) {
            self.write_numbers();
        }
        self.checkpoints.stop();
        if !matches!(*self.shared.health.borrow(), Health::Failed(_)) {
            checkpoint::finish(&self.db);
        }
    }
}

pub(super) fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now)
}
