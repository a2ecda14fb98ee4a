//! One stream of `Subscribe`: a position in the log that moves on. No queue stands between the log and the
//! client; when the client does not read, nothing here runs.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;
use uuid::Uuid;

use super::convert::start::{Expired, Subscription};
use super::convert::{span, timestamp};
use super::frame::{self, Out};
use super::metrics::Metrics;
use super::pace::{Pace, Sendable};
use super::pb;
use super::pb::subscribe_response::Message;
use super::position::Begin;
use super::status;
use super::window::Window;
use crate::clock::Clock;
use crate::domain::{Seq, StoredEvent};
use crate::shutdown::Shutdown;
use crate::store::{Cursor, EventLog, ReadError};

/// When a client should come back after a planned end.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// What all streams share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) window: Window,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shutdown: Shutdown,
    pub(super) metrics: Metrics,
    /// Streams that are open.
    pub(super) streams: TaskTracker,
    pub(super) taken: AtomicUsize,
    pub(super) streams_max: usize,
}

/// A place among the streams there may be; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    _open: TaskTrackerToken,
}

impl Place {
    /// Takes a place, if there is one.
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let taken = shared.taken.fetch_add(1, Ordering::AcqRel);
        shared.metrics.streams.inc();
        let place = Self { shared: Arc::clone(shared), _open: shared.streams.token() };
        (taken < shared.streams_max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.taken.fetch_sub(1, Ordering::AcqRel);
        self.shared.metrics.streams.dec();
    }
}

/// How a read that runs ahead ends.
type Ahead = JoinHandle<Result<Vec<Arc<StoredEvent>>, ReadError>>;

/// A stream.
#[derive(Debug)]
pub(super) struct Follower {
    shared: Arc<Shared>,
    asked: Box<Subscription>,
    /// Everything up to here was sent, or is not wanted.
    at: Seq,
    /// How many events may still be sent.
    left: Option<u32>,
    /// `caught_up` was sent, and the stream has not fallen behind since.
    live: bool,
    /// Nothing was read yet, and the oldest event is where to start.
    at_oldest: bool,
    pace: Pace,
    ahead: Option<Ahead>,
    tail: watch::Receiver<Seq>,
    last_sent: Instant,
    out: Out,
    _place: Place,
}

/// Whether a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Goes,
    Ends,
}

impl Follower {
    /// A stream that begins where `begin` says and writes to `out`. What it is to say first is put out at
    /// once.
    pub(super) fn new(place: Place, stream_id: Uuid, asked: Subscription, begin: Begin, out: Out) -> Self {
        let shared = Arc::clone(&place.shared);
        let tail = shared.log.tail();
        let Begin { at, expired, at_oldest, bounds } = begin;
        let left = asked.limit;
        let asked = Box::new(asked);
        let mut follower = Self {
            shared,
            asked,
            at,
            left,
            live: false,
            at_oldest,
            pace: Pace::new(),
            ahead: None,
            tail,
            last_sent: Instant::now(),
            out,
            _place: place,
        };
        let (cursor, earliest_cursor) = (follower.cursor(at), follower.cursor(bounds.trimmed));
        let heartbeat_interval = Some(span(follower.asked.heartbeat));
        let effective_filter = Some(std::mem::take(&mut follower.asked.asked));
        follower.push(Message::Started(pb::StreamStarted {
            stream_id: stream_id.to_string(),
            cursor,
            earliest_cursor,
            heartbeat_interval,
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            effective_filter,
        }));
        if expired {
            follower.skip(bounds.trimmed);
        }
        follower
    }

    /// Sends what there is and what comes, until the caller has what it asked for.
    pub(super) async fn run(mut self) -> Result<(), Status> {
        let soft = self.shared.shutdown.soft().clone();
        let mut soft = pin!(soft.cancelled());
        let mut beat = pin!(sleep_until(self.due()));
        loop {
            self.room().await;
            if self.shared.shutdown.is_draining() {
                return Err(self.going_away());
            }
            if Instant::now() >= self.due() {
                self.checkpoint();
            }
            let tail = *self.tail.borrow_and_update();
            if self.at < tail {
                if self.advance(tail).await? == Next::Ends {
                    return Ok(());
                }
            } else if !self.live {
                self.live = true;
                self.ahead = None;
                self.caught_up();
                if self.asked.stop_when_caught_up {
                    return Ok(());
                }
            } else {
                tokio::select! {
                    biased;
                    () = soft.as_mut() => {}
                    changed = self.tail.changed() => {
                        if changed.is_err() {
                            return Err(status::internal("the log was closed under its readers"));
                        }
                    }
                    () = wait(beat.as_mut(), self.last_sent, self.asked.heartbeat) => {}
                }
            }
        }
    }

    /// Moves towards `tail`, by what the window has or by a page of the log.
    async fn advance(&mut self, tail: Seq) -> Result<Next, Status> {
        if self.ahead.is_none() {
            if let Some(next) = self.by_window(tail).await {
                return Ok(next);
            }
            if self.live {
                self.fell_behind(tail);
            }
        }
        self.by_log(tail).await
    }

    /// Moves on in the window; `None` if it does not reach back so far.
    async fn by_window(&mut self, tail: Seq) -> Option<Next> {
        if self.asked.filter.is_none() && self.left.is_none() {
            let chunk = self.shared.window.chunk(self.asked.view, self.at, tail)?;
            self.at = chunk.upto;
            self.sent(chunk.bytes, chunk.events);
            return Some(Next::Goes);
        }
        let entries = self.shared.window.entries(self.at, tail, self.pace.page())?;
        Some(self.pass(entries).await)
    }

    /// Moves on by a page of the log.
    async fn by_log(&mut self, tail: Seq) -> Result<Next, Status> {
        let page = match self.read().await {
            Ok(page) => page,
            Err(ReadError::Trimmed { earliest }) => return self.trimmed(earliest),
            Err(error) => return Err(status::of_read(&error, self.shared.log.id())),
        };
        let Some(last) = page.last().map(|stored| stored.seq) else {
            // Nothing is stored up to what was the tail before the read: positions may have holes.
            self.at = self.at.max(tail);
            return Ok(Next::Goes);
        };
        self.at_oldest = false;
        self.pace.read(page.iter().map(Sendable::weight));
        if self.pace.reads_ahead(tail.0.saturating_sub(last.0)) {
            self.ahead = Some(self.read_after(last));
        }
        Ok(self.pass(page).await)
    }

    async fn read(&mut self) -> Result<Vec<Arc<StoredEvent>>, ReadError> {
        match self.ahead.take() {
            None => self.shared.log.read(self.at, self.pace.page()).await,
            Some(ahead) => match ahead.await {
                Ok(result) => result,
                Err(broken) => Err(ReadError::Unavailable(broken.to_string())),
            },
        }
    }

    /// Begins to read the next page while this one is encoded and sent.
    fn read_after(&self, at: Seq) -> Ahead {
        let (log, page) = (Arc::clone(&self.shared.log), self.pace.page());
        self.shared.shutdown.spawn(async move { log.read(at, page).await })
    }

    /// Sends what is wanted of some events, and lets go of each. What is not sent yet stays in memory for as long
    /// as the client does not read: see [`Pace`].
    async fn pass<E: Sendable>(&mut self, events: Vec<E>) -> Next {
        let (log, view) = (self.shared.log.id(), self.asked.view);
        for event in events {
            let stored = event.stored();
            if self.asked.filter.as_ref().is_none_or(|filter| filter.lets(&stored.event)) {
                self.room().await;
                self.sent(event.framed(log, view), 1);
                self.left = self.left.map(|left| left.saturating_sub(1));
            }
            self.at = event.stored().seq;
            if self.left == Some(0) {
                return Next::Ends;
            }
        }
        tokio::task::consume_budget().await;
        Next::Goes
    }

    /// Waits until there is room for more.
    async fn room(&mut self) {
        if !self.out.has_room() {
            let begun = Instant::now();
            self.out.room().await;
            self.pace.waited(begun.elapsed());
        }
    }

    /// Retention has passed this stream.
    fn trimmed(&mut self, earliest: Seq) -> Result<Next, Status> {
        if earliest <= self.at {
            return Err(status::internal("the log says that what it still holds is gone"));
        }
        if self.at_oldest {
            self.at = earliest;
            return Ok(Next::Goes);
        }
        if self.asked.expired == Expired::Fail {
            return Err(status::of_read(&ReadError::Trimmed { earliest }, self.shared.log.id()));
        }
        self.skip(earliest);
        Ok(Next::Goes)
    }

    /// Says that events are missing, and goes on where the caller wants it.
    fn skip(&mut self, earliest: Seq) {
        let from_cursor = self.cursor(self.at);
        self.at = match self.asked.expired {
            Expired::Fail | Expired::Earliest => earliest,
            Expired::Latest => *self.tail.borrow_and_update(),
        };
        let to_cursor = self.cursor(self.at);
        let reason = "CURSOR_EXPIRED".to_owned();
        self.push(Message::Gap(pb::Gap { from_cursor, to_cursor, from_time: None, to_time: None, reason }));
    }

    fn checkpoint(&mut self) {
        let (cursor, server_time) = (self.cursor(self.at), Some(self.now()));
        let events_behind = self.tail.borrow().0.saturating_sub(self.at.0);
        self.push(Message::Checkpoint(pb::Checkpoint { cursor, server_time, events_behind }));
    }

    fn caught_up(&mut self) {
        let (cursor, server_time) = (self.cursor(self.at), Some(self.now()));
        self.push(Message::CaughtUp(pb::CaughtUp { cursor, server_time }));
    }

    fn fell_behind(&mut self, tail: Seq) {
        self.live = false;
        self.shared.metrics.fell_behind.inc();
        let (cursor, events_behind) = (self.cursor(self.at), tail.0.saturating_sub(self.at.0));
        self.push(Message::FellBehind(pb::FellBehind { cursor, events_behind }));
    }

    fn going_away(&mut self) -> Status {
        let resume_cursor = self.cursor(self.at);
        self.push(Message::GoingAway(pb::GoingAway {
            reason: "STREAM_DRAINING".to_owned(),
            resume_cursor,
            grace: None,
            reconnect_after: Some(span(RECONNECT_AFTER)),
        }));
        status::draining()
    }

    fn sent(&mut self, framed: Bytes, events: u32) {
        self.pace.sent(framed.len());
        self.out.push(framed);
        self.last_sent = Instant::now();
        self.shared.metrics.events_sent.inc_by(u64::from(events));
    }

    fn push(&mut self, message: Message) {
        self.out.push(frame::message(message));
        self.last_sent = Instant::now();
    }

    fn cursor(&self, seq: Seq) -> String {
        Cursor { log: self.shared.log.id(), seq }.to_string()
    }

    fn now(&self) -> prost_types::Timestamp {
        timestamp(self.shared.clock.now())
    }

    /// When a sign of life is due.
    fn due(&self) -> Instant {
        self.last_sent + self.asked.heartbeat
    }
}

/// Waits until nothing was sent for a heartbeat. The timer is set anew only when it goes off, not for every
/// message.
async fn wait(mut beat: Pin<&mut Sleep>, last_sent: Instant, heartbeat: Duration) {
    let due = last_sent + heartbeat;
    beat.as_mut().await;
    if beat.deadline() < due {
        beat.as_mut().reset(due);
        beat.as_mut().await;
    }
    beat.reset(Instant::now() + heartbeat);
}
