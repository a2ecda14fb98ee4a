//! One stream of `Consume`. Two sides that never wait for each other: what the member says is read by a task of its own,
//! what it is told is taken from its outbox as fast as the client reads. When the client is gone, both are dropped, and
//! with them the membership.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tonic::{Status, Streaming};

use super::convert::group as convert;
use super::convert::{InvalidField, View, span, timestamp};
use super::edge::{self, RequestId};
use super::follow::Place;
use super::metrics::Metrics;
use super::pb;
use super::pb::consume_request::Message as Said;
use super::pb::consume_response::Message;
use super::status;
use crate::clock::Clock;
use crate::domain::Seq;
use crate::gateway::groups::{End, Membership, ToMember, Voice};
use crate::store::{Cursor, EventLog, LogId};

/// When a client should come back after a planned end.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Tells whether a client's half of a stream broke off: what is below hides that from who reads it.
#[derive(Debug, Clone, Default)]
pub(super) struct Broken(Arc<AtomicBool>);

impl Broken {
    /// The same body, watched.
    pub(super) fn watch(&self, body: Body) -> Body {
        Body::new(Watched { body, broken: self.clone() })
    }

    fn is_so(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

struct Watched {
    body: Body,
    broken: Broken,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // A reset stream ends here like one that was closed, but for this.
        let is_broken = match &polled {
            Poll::Ready(None) => !self.body.is_end_stream(),
            Poll::Ready(Some(Err(_))) => true,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => false,
        };
        if is_broken {
            self.broken.0.store(true, Ordering::Release);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a stream needs beside its membership.
pub(super) struct Around {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) heartbeat: Duration,
    pub(super) place: Place,
    pub(super) metrics: Metrics,
    pub(super) id: Option<RequestId>,
}

/// What is told on a stream.
pub(super) struct Telling {
    started: Option<pb::ConsumeStarted>,
    membership: Membership,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    view: View,
    heartbeat: Duration,
    last_sent: Instant,
    /// What was said makes no sense.
    fault: Option<oneshot::Receiver<Status>>,
    count: Count,
    _reading: DropGuard,
    _place: Place,
}

/// One message of a stream, and what is left of it.
type Told = (Result<pb::ConsumeResponse, Status>, Option<Box<Telling>>);

/// Both sides of a stream: what is told, and the task that reads.
pub(super) fn open(
    membership: Membership,
    started: pb::ConsumeStarted,
    around: Around,
    (said, broken): (Streaming<pb::ConsumeRequest>, Broken),
) -> (Box<Telling>, impl Future<Output = ()> + Send + 'static) {
    let Around { log, clock, heartbeat, place, metrics, id } = around;
    let (told, fault) = oneshot::channel();
    let reading = CancellationToken::new();
    let reader = Reader { voice: membership.voice(), said, broken, log: log.id(), fault: told };
    let task = {
        let over = reading.clone();
        async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = reader.run() => {}
            }
        }
    };
    let telling = Telling {
        started: Some(started),
        view: convert::view_of(membership.view.group.settings.view),
        membership,
        log,
        clock,
        heartbeat,
        last_sent: Instant::now(),
        fault: Some(fault),
        count: Count { metrics, id, ended: false },
        _reading: reading.drop_guard(),
        _place: place,
    };
    (Box::new(telling), task)
}

impl Telling {
    /// The next message.
    pub(super) async fn next(state: Option<Box<Self>>) -> Option<Told> {
        let mut telling = state?;
        if let Some(started) = telling.started.take() {
            return Some(telling.say(Message::Started(started)));
        }
        loop {
            let due = telling.last_sent + telling.heartbeat;
            tokio::select! {
                biased;
                fault = fault_of(&mut telling.fault) => match fault {
                    Ok(status) => return Some(telling.end(Err(status))),
                    // Nothing more is said, and nothing was wrong.
                    Err(_) => telling.fault = None,
                },
                item = telling.membership.outbox.next() => return Some(telling.pass(item)),
                () = sleep_until(due) => {
                    let floor = telling.membership.floor();
                    let checkpoint = pb::Checkpoint {
                        cursor: telling.cursor(floor),
                        server_time: Some(timestamp(telling.clock.now())),
                        events_behind: telling.log.tail().borrow().0.saturating_sub(floor.0),
                    };
                    return Some(telling.say(Message::Checkpoint(checkpoint)));
                }
            }
        }
    }

    fn pass(self: Box<Self>, item: ToMember) -> Told {
        let log = self.log.id();
        match item {
            ToMember::Delivery(delivery) => {
                let delivery = convert::delivery_to_pb(&delivery, log, self.view);
                self.say(Message::Delivery(delivery))
            }
            ToMember::Report { batch_id, results } => {
                let results =
                    results.into_iter().map(|(id, state)| convert::result_to_pb(id, state)).collect();
                self.say(Message::Settled(pb::SettleReport { batch_id, results }))
            }
            ToMember::CaughtUp(at) => {
                let (cursor, server_time) = (self.cursor(at), Some(timestamp(self.clock.now())));
                self.say(Message::CaughtUp(pb::CaughtUp { cursor, server_time }))
            }
            ToMember::Gap(lost) => self.say(Message::Gap(convert::gap_to_pb(lost, log))),
            ToMember::GoingAway(grace) => {
                let going_away = pb::GoingAway {
                    reason: "STREAM_DRAINING".to_owned(),
                    resume_cursor: self.cursor(self.membership.floor()),
                    grace: Some(span(grace)),
                    reconnect_after: Some(span(RECONNECT_AFTER)),
                };
                self.say(Message::GoingAway(going_away))
            }
            ToMember::End(End::Stopped(unsettled)) => {
                let unsettled = u64::try_from(unsettled).unwrap_or(u64::MAX);
                self.end(Ok(pb::ConsumeStopped { unsettled }))
            }
            ToMember::End(End::Failed(error)) => self.end(Err(status::of_group(&error, log))),
        }
    }

    fn say(mut self: Box<Self>, message: Message) -> Told {
        self.last_sent = Instant::now();
        (Ok(pb::ConsumeResponse { message: Some(message) }), Some(self))
    }

    fn end(mut self: Box<Self>, end: Result<pb::ConsumeStopped, Status>) -> Told {
        self.count.end(end.as_ref().err());
        let last = end.map(|stopped| pb::ConsumeResponse { message: Some(Message::Stopped(stopped)) });
        (last, None)
    }

    fn cursor(&self, seq: Seq) -> String {
        Cursor { log: self.log.id(), seq }.to_string()
    }
}

/// What is wrong with what was said; never comes once nothing more is said.
async fn fault_of(
    fault: &mut Option<oneshot::Receiver<Status>>,
) -> Result<Status, oneshot::error::RecvError> {
    match fault {
        Some(fault) => fault.await,
        None => std::future::pending().await,
    }
}

/// What is said on a stream.
struct Reader {
    voice: Voice,
    said: Streaming<pb::ConsumeRequest>,
    broken: Broken,
    log: LogId,
    fault: oneshot::Sender<Status>,
}

impl Reader {
    /// Hands on what the member says, until it says no more.
    async fn run(mut self) {
        loop {
            let said = match self.said.message().await {
                Ok(Some(pb::ConsumeRequest { message })) => message,
                Ok(None) if !self.broken.is_so() => {
                    drop(self.voice.stop(true).await);
                    return;
                }
                Ok(None) | Err(_) => {
                    drop(self.voice.broke().await);
                    return;
                }
            };
            let wrong = |field: &str, fault: &str| {
                Status::from(super::convert::Invalid::from(InvalidField::new(field, fault)))
            };
            let done = match said {
                Some(Said::Settle(pb::SettleBatch { batch_id, settlements })) => {
                    match convert::settlements_of(settlements, "settle.settlements", self.log) {
                        Ok(settlements) => {
                            // If the group has ended, its end is on the way.
                            drop(self.voice.settle(batch_id, settlements).await);
                            Ok(())
                        }
                        Err(invalid) => Err(invalid.into()),
                    }
                }
                Some(Said::Stop(pb::ConsumeStop {})) => {
                    drop(self.voice.stop(false).await);
                    Ok(())
                }
                Some(Said::Start(_)) => Err(wrong("start", "must be the first message, and only the first")),
                None => Err(wrong("message", "is required: start, settle or stop")),
            };
            if let Err(status) = done {
                drop(self.fault.send(status));
                return;
            }
        }
    }
}

/// Counts the end of a stream, whoever ends it.
struct Count {
    metrics: Metrics,
    id: Option<RequestId>,
    ended: bool,
}

impl Count {
    fn end(&mut self, error: Option<&Status>) {
        if !std::mem::replace(&mut self.ended, true) {
            edge::ended(&self.metrics, "Consume", error, self.id.as_ref());
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.end(Some(&status::hung_up()));
    }
}
