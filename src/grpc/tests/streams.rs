//! Streams by themselves, on paused time: what they say, in which order, and when.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use prost::Message as _;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{after, cursor, earliest, edge, limits, numbers};
use crate::domain::Seq;
use crate::grpc::convert::View;
use crate::grpc::frame::{self, Frames, Out};
use crate::grpc::pb;
use crate::grpc::pb::subscribe_response::Message;
use crate::grpc::sample::{self, TestLog};
use crate::grpc::status;
use crate::grpc::window::Window;
use crate::grpc::{Grpc, Limits};
use crate::shutdown::Shutdown;
use crate::store::{EventLog as _, LogId};

/// The length that a framed message tells.
fn length_of(framed: &[u8]) -> usize {
    usize::try_from(framed.get(1..5).unwrap().get_u32()).unwrap()
}

/// A client of one stream.
struct Reader {
    frames: Frames,
    received: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Reader {
    async fn open(grpc: &Grpc, request: pb::SubscribeRequest) -> Result<Self, Status> {
        let out = Out::default();
        let follower = grpc.events.open(request, out.clone()).await?;
        let frames = Frames::new(follower.run(), out, |_| HeaderMap::new());
        Ok(Self { frames, received: BytesMut::new(), trailers: None })
    }

    /// The next message, or `None` at the end.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if self.received.len() >= 5 {
                let length = length_of(&self.received);
                self.received.advance(5);
                let message = self.received.split_to(length);
                return pb::SubscribeResponse::decode(message).unwrap().message;
            }
            let frame = std::future::poll_fn(|cx| Pin::new(&mut self.frames).poll_frame(cx)).await?.unwrap();
            match frame.into_data() {
                Ok(data) => self.received.extend_from_slice(&data),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
    }

    async fn event(&mut self) -> u64 {
        match self.next().await {
            Some(Message::Event(event)) => event.ticket_sequence,
            other => panic!("not an event: {other:?}"),
        }
    }

    async fn events(&mut self, count: u64) -> Vec<u64> {
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(self.event().await);
        }
        events
    }

    async fn begun(mut self) -> Self {
        assert!(matches!(self.next().await, Some(Message::Started(_))));
        self
    }

    /// The same, once it is live.
    async fn live(self) -> Self {
        let mut reader = self.begun().await;
        assert!(matches!(reader.next().await, Some(Message::CaughtUp(_))));
        reader
    }

    /// How the stream ended.
    async fn end(mut self) -> Status {
        assert_eq!(self.next().await, None);
        Status::from_header_map(&self.trailers.unwrap()).unwrap()
    }
}

fn all() -> pb::SubscribeRequest {
    pb::SubscribeRequest::default()
}

fn everything() -> pb::SubscribeRequest {
    pb::SubscribeRequest { start: Some(earliest()), ..all() }
}

fn world(recent_max: u64) -> (Arc<TestLog>, Grpc, Shutdown) {
    let log = TestLog::new(recent_max);
    let (grpc, shutdown) = edge(&log, limits());
    (log, grpc, shutdown)
}

#[tokio::test(start_paused = true)]
async fn an_empty_log_is_caught_up_and_then_live() {
    let (log, grpc, _shutdown) = world(100);
    let mut reader = Reader::open(&grpc, all()).await.unwrap();
    let Some(Message::Started(started)) = reader.next().await else { panic!("started comes first") };
    assert_eq!(started.cursor, cursor(0));
    assert_eq!(started.heartbeat_interval.unwrap().seconds, 15);
    assert_eq!(started.effective_filter, Some(pb::EventFilter::default()));
    let Some(Message::CaughtUp(caught_up)) = reader.next().await else { panic!("caught up") };
    assert_eq!(caught_up.server_time.unwrap().seconds, 1_000);
    log.say(numbers(1..=3));
    assert_eq!(reader.events(3).await, [1, 2, 3]);
    log.say(numbers(4..=4));
    assert_eq!(reader.event().await, 4);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_checkpoints() {
    let (log, grpc, _shutdown) = world(100);
    let mut reader = Reader::open(&grpc, all()).await.unwrap().live().await;
    for _ in 0..3 {
        let before = Instant::now();
        assert!(matches!(reader.next().await, Some(Message::Checkpoint(_))));
        let silence = before.elapsed();
        assert!(silence >= Duration::from_secs(15) && silence < Duration::from_millis(15_100), "{silence:?}");
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    log.say(numbers(1..=1));
    assert_eq!(reader.event().await, 1);
    let before = Instant::now();
    let Some(Message::Checkpoint(checkpoint)) = reader.next().await else { panic!("a checkpoint") };
    assert!(before.elapsed() >= Duration::from_secs(15), "an event is a sign of life");
    assert_eq!((checkpoint.cursor, checkpoint.events_behind), (cursor(1), 0));
}

#[tokio::test(start_paused = true)]
async fn checkpoints_come_while_a_filter_hides_everything() {
    let (log, grpc, shutdown) = world(100);
    let types = vec!["ticket.*".to_owned()];
    let filter = Some(pb::EventFilter { types, ..pb::EventFilter::default() });
    let mut reader =
        Reader::open(&grpc, pb::SubscribeRequest { filter, ..all() }).await.unwrap().live().await;
    let speaker = Arc::clone(&log);
    drop(shutdown.spawn(async move {
        for number in 1..=60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            speaker.say(numbers(number..=number));
        }
    }));
    let before = Instant::now();
    for _ in 0..3 {
        let Some(Message::Checkpoint(checkpoint)) = reader.next().await else { panic!("a checkpoint") };
        assert_ne!(checkpoint.cursor, cursor(0), "it moves on with what the filter hides");
    }
    assert!(before.elapsed() < Duration::from_millis(45_100), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn everything_comes_once_and_in_order() {
    for recent_max in [0, 10, 5_000] {
        let (log, grpc, _shutdown) = world(recent_max);
        log.say(numbers(1..=3_000));
        let mut reader = Reader::open(&grpc, everything()).await.unwrap().begun().await;
        assert_eq!(reader.events(2_000).await, (1..=2_000).collect::<Vec<_>>());
        log.say(numbers(3_001..=3_010));
        assert_eq!(reader.events(1_010).await, (2_001..=3_010).collect::<Vec<_>>());
        assert!(matches!(reader.next().await, Some(Message::CaughtUp(_))), "once it is all sent");
        let mut reader = Reader::open(&grpc, pb::SubscribeRequest { start: Some(after(3_005)), ..all() })
            .await
            .unwrap()
            .begun()
            .await;
        assert_eq!(reader.events(5).await, (3_006..=3_010).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_where_its_caller_asked() {
    let (log, grpc, _shutdown) = world(10);
    log.say(numbers(1..=1_000));
    for start in [earliest(), after(995)] {
        let request = pb::SubscribeRequest { start: Some(start), limit: 3, ..all() };
        let mut reader = Reader::open(&grpc, request).await.unwrap().begun().await;
        reader.events(3).await;
        assert_eq!(reader.end().await.code(), Code::Ok);
    }
    let request = pb::SubscribeRequest { stop_when_caught_up: true, ..everything() };
    let mut reader = Reader::open(&grpc, request).await.unwrap().begun().await;
    reader.events(1_000).await;
    assert!(matches!(reader.next().await, Some(Message::CaughtUp(_))));
    assert_eq!(reader.end().await.code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_falls_behind_and_loses_nothing() {
    let (log, grpc, _shutdown) = world(50);
    let mut reader = Reader::open(&grpc, all()).await.unwrap().live().await;
    log.say(numbers(1..=2));
    assert_eq!(reader.events(2).await, [1, 2]);
    log.say(numbers(3..=500));
    let Some(Message::FellBehind(fell_behind)) = reader.next().await else { panic!("it says so") };
    assert_eq!((fell_behind.cursor, fell_behind.events_behind), (cursor(2), 498));
    assert_eq!(reader.events(498).await, (3..=500).collect::<Vec<_>>());
    assert!(matches!(reader.next().await, Some(Message::CaughtUp(_))));
    log.say(numbers(501..=501));
    assert_eq!(reader.event().await, 501);
}

#[tokio::test(start_paused = true)]
async fn retention_that_passes_a_reader_is_told() {
    use pb::ExpiredCursorPolicy as Policy;
    for policy in [Policy::Unspecified, Policy::Earliest, Policy::Latest] {
        let (log, grpc, _shutdown) = world(50);
        let request = pb::SubscribeRequest { expired_cursor_policy: policy.into(), ..all() };
        let mut reader = Reader::open(&grpc, request).await.unwrap().live().await;
        log.say(numbers(1..=500));
        log.trim(400);
        assert!(matches!(reader.next().await, Some(Message::FellBehind(_))));
        if policy == Policy::Unspecified {
            let status = reader.end().await;
            assert_eq!(
                (status.code(), status::reason_of(&status).as_str()),
                (Code::OutOfRange, "CURSOR_EXPIRED")
            );
            continue;
        }
        let Some(Message::Gap(gap)) = reader.next().await else { panic!("it says so") };
        let to = if policy == Policy::Earliest { 400 } else { 500 };
        assert_eq!((gap.from_cursor, gap.to_cursor), (cursor(0), cursor(to)));
        reader.events(500 - to).await;
        assert!(matches!(reader.next().await, Some(Message::CaughtUp(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_must_be_a_position_of_the_log() {
    use pb::ExpiredCursorPolicy as Policy;
    let (log, grpc, _shutdown) = world(50);
    log.say(numbers(1..=500));
    log.trim(400);
    let foreign = crate::store::Cursor { log: LogId([1; 8]), seq: Seq(450) }.to_string();
    let (expired, future) = (cursor(399), cursor(501));
    for (text, reason) in [
        ("nonsense", "CURSOR_MALFORMED"),
        (foreign.as_str(), "CURSOR_FOREIGN"),
        (expired.as_str(), "CURSOR_EXPIRED"),
        (future.as_str(), "CURSOR_IN_FUTURE"),
    ] {
        let start = Some(super::start(pb::start_position::Position::AfterCursor(text.to_owned())));
        let status = Reader::open(&grpc, pb::SubscribeRequest { start, ..all() }).await.err().unwrap();
        assert_eq!(status::reason_of(&status), reason);
    }
    let expired_cursor_policy = Policy::Earliest.into();
    let request = pb::SubscribeRequest { start: Some(after(399)), expired_cursor_policy, ..all() };
    let mut reader = Reader::open(&grpc, request).await.unwrap();
    let Some(Message::Started(started)) = reader.next().await else { panic!("started comes first") };
    assert_eq!((started.cursor, started.earliest_cursor), (cursor(399), cursor(400)));
    let Some(Message::Gap(gap)) = reader.next().await else { panic!("a gap") };
    assert_eq!(
        (gap.from_cursor, gap.to_cursor, gap.reason.as_str()),
        (cursor(399), cursor(400), "CURSOR_EXPIRED")
    );
    assert_eq!(reader.event().await, 401);
}

#[tokio::test(start_paused = true)]
async fn a_planned_end_tells_where_to_resume() {
    let (log, grpc, shutdown) = world(50);
    let mut reader = Reader::open(&grpc, all()).await.unwrap().live().await;
    log.say(numbers(1..=2));
    assert_eq!(reader.events(2).await, [1, 2]);
    shutdown.soft().cancel();
    let Some(Message::GoingAway(going_away)) = reader.next().await else { panic!("it says goodbye") };
    assert_eq!((going_away.resume_cursor, going_away.reason.as_str()), (cursor(2), "STREAM_DRAINING"));
    let status = reader.end().await;
    assert_eq!((status.code(), status::reason_of(&status).as_str()), (Code::Unavailable, "STREAM_DRAINING"));
    let status = Reader::open(&grpc, all()).await.err().unwrap();
    assert_eq!(status::reason_of(&status), "STREAM_DRAINING");
}

#[tokio::test(start_paused = true)]
async fn there_are_only_so_many_streams() {
    let log = TestLog::new(50);
    let (grpc, _shutdown) = edge(&log, Limits { streams_max: 1, ..limits() });
    let reader = Reader::open(&grpc, all()).await.unwrap();
    let status = Reader::open(&grpc, all()).await.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status::reason_of(&status), "TOO_MANY_STREAMS");
    drop(reader);
    assert!(Reader::open(&grpc, all()).await.is_ok(), "a place that is given back can be taken");
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_is_small() {
    let (_log, grpc, _shutdown) = world(50);
    let follower = grpc.events.open(all(), Out::default()).await.unwrap();
    let size = size_of_val(&follower.run());
    assert!(size <= 1_024, "{size} bytes");
}

#[test]
fn the_window_shows_what_the_log_has() {
    let log = TestLog::new(2_000);
    log.say(numbers(1..=100));
    let window = Window::new(Arc::<TestLog>::clone(&log));
    log.say(numbers(101..=1_500));
    let tail = *log.tail().borrow();
    assert!(window.chunk(View::Full, Seq(99), tail).is_none(), "it begins where the log ended");
    let mut at = Seq(100);
    while at < tail {
        let chunk = window.chunk(View::Raw, at, tail).unwrap();
        assert!(chunk.bytes.len() < 2 * frame::CHUNK_BYTES);
        let expected: Vec<u8> = window
            .entries(at, tail, usize::try_from(chunk.events).unwrap())
            .unwrap()
            .iter()
            .flat_map(|entry| frame::event(&entry.stored, LogId([7; 8]), View::Raw).to_vec())
            .collect();
        assert_eq!(chunk.bytes, expected);
        assert_eq!(
            window.chunk(View::Raw, at, tail).unwrap().bytes.as_ptr(),
            chunk.bytes.as_ptr(),
            "made once"
        );
        at = chunk.upto;
    }
    assert_eq!(at, tail);
    assert!(window.chunk(View::Full, tail, tail).is_none() && window.entries(tail, tail, 9).is_none());
    log.say(numbers(1_501..=5_000));
    assert!(window.entries(at, *log.tail().borrow(), 9).is_none(), "the log's memory has moved on");
    log.say(numbers(5_001..=5_002));
    assert_eq!(window.entries(Seq(5_000), *log.tail().borrow(), 9).unwrap().len(), 2, "it begins anew");
    let framed = frame::event(&sample::message(1, "t", "a"), LogId([7; 8]), View::Full);
    assert_eq!(length_of(&framed) + 5, framed.len());
}
