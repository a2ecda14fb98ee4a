//! `EventService`. `Subscribe` is served beside the generated code, which would encode each event for each
//! stream: its messages come encoded, and leave as they are.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use prost::Message as _;
use tonic::body::Body;
use tonic::codec::{Codec as _, Streaming};
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tower::Service;

use super::convert::start::{Expired, Listing, listing, subscription};
use super::convert::{event, span, timestamp};
use super::edge::{self, CountsItself, RequestId};
use super::follow::{Follower, Place, Shared};
use super::frame::{Frames, Out};
use super::page::PAGE_BYTES_MAX;
use super::pb;
use super::pb::event_service_server::{EventService, EventServiceServer};
use super::position;
use super::status;
use crate::clock::Ids;
use crate::domain::Seq;
use crate::store::{Bounds, Cursor, ReadError};

/// The path of the method that is served here.
const SUBSCRIBE: &str = "/deskgate.v1.EventService/Subscribe";
/// The largest request.
pub(super) const REQUEST_BYTES_MAX: usize = 4 << 20;
/// How many events are looked at for one page.
const SCAN_MAX: usize = 10_000;
/// How many events are read at once.
const READ_MAX: usize = 250;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Events {
    shared: Arc<Shared>,
    ids: Arc<dyn Ids>,
    /// The bots that are served; a filter names no other.
    bots: Arc<[String]>,
    heartbeat_min: Duration,
}

impl Events {
    /// The service on what its streams share.
    pub(super) fn new(
        shared: Arc<Shared>,
        ids: Arc<dyn Ids>,
        bots: Vec<String>,
        heartbeat_min: Duration,
    ) -> Self {
        Self { shared, ids, bots: bots.into(), heartbeat_min }
    }

    fn check_bots(&self, filter: &pb::EventFilter) -> Result<(), Status> {
        let mut named = filter.bots.iter().enumerate();
        match named.find(|(_, bot)| !self.bots.contains(bot)) {
            Some((index, bot)) => {
                Err(status::of_filter_bot(format!("filter.bots[{index}]"), bot, &self.bots))
            }
            None => Ok(()),
        }
    }

    fn cursor(&self, seq: Seq) -> String {
        Cursor { log: self.shared.log.id(), seq }.to_string()
    }

    /// Opens a stream: finds where it begins, and whether it may.
    pub(super) async fn open(&self, request: pb::SubscribeRequest, out: Out) -> Result<Follower, Status> {
        let client = request.client_name.chars().take(64).collect::<String>();
        let asked = subscription(request, self.heartbeat_min)?;
        self.check_bots(&asked.asked)?;
        let Shared { log, clock, streams_max, shutdown, .. } = &*self.shared;
        let place = Place::take(&self.shared).ok_or_else(|| status::too_many_streams(*streams_max))?;
        let begin = position::find(log.as_ref(), clock.as_ref(), &asked.start).await?;
        if asked.expired == Expired::Fail {
            begin.not_expired(log.id(), &asked.start)?;
        }
        if shutdown.is_draining() {
            return Err(status::draining());
        }
        let stream_id = self.ids.next();
        tracing::debug!(stream.id = %stream_id, client, at = begin.at.0, "stream opened");
        Ok(Follower::new(place, stream_id, asked, begin, out))
    }

    async fn subscribe(self, request: http::Request<Body>) -> http::Response<Body> {
        let id = request.extensions().get::<RequestId>().cloned();
        let out = Out::default();
        let opened = match message_of(request.into_body()).await {
            Ok(message) => self.open(message, out.clone()).await,
            Err(status) => Err(status),
        };
        let follower = match opened {
            Ok(follower) => follower,
            Err(status) => return status.into_http(),
        };
        let metrics = self.shared.metrics.clone();
        let frames = Frames::new(follower.run(), out, move |result| {
            edge::ended(&metrics, "Subscribe", result.as_ref().err(), id.as_ref());
            let mut trailers = HeaderMap::new();
            if let Some(id) = &id {
                id.write(&mut trailers);
            }
            trailers
        });
        let mut response = http::Response::new(Body::new(frames));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response.extensions_mut().insert(CountsItself);
        response
    }

    async fn list(&self, asked: Listing) -> Result<pb::ListEventsResponse, Status> {
        let log = &self.shared.log;
        let begin = position::find(log.as_ref(), self.shared.clock.as_ref(), &asked.start).await?;
        begin.not_expired(log.id(), &asked.start)?;
        let mut page = Page { at: begin.at, events: Vec::new(), bytes: 0, scanned: 0 };
        let mut at_oldest = begin.at_oldest;
        // Where every event is wanted, no more is read than is sent.
        let read_max = asked.filter.as_ref().map_or(asked.page_size.min(READ_MAX), |_| READ_MAX);
        loop {
            let read = match log.read(page.at, read_max).await {
                Err(ReadError::Trimmed { earliest }) if at_oldest && earliest > page.at => {
                    page.at = earliest;
                    continue;
                }
                read => read.map_err(|error| status::of_read(&error, log.id()))?,
            };
            at_oldest = false;
            let mut end = if read.is_empty() { Some(End::Log) } else { None };
            for stored in read {
                end = page.take(&stored, &asked, log.id());
                if end.is_some() {
                    break;
                }
            }
            if let Some(end) = end {
                let more = end == End::Page && page.at < *log.tail().borrow();
                let next_page_token = if more { self.cursor(page.at) } else { String::new() };
                return Ok(pb::ListEventsResponse { events: page.events, next_page_token });
            }
        }
    }
}

/// A page that fills up.
struct Page {
    at: Seq,
    events: Vec<pb::Event>,
    bytes: usize,
    scanned: usize,
}

/// Why a page ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing follows.
    Log,
    /// It is full.
    Page,
}

impl Page {
    /// Takes an event if it is wanted and there is room.
    fn take(
        &mut self,
        stored: &crate::domain::StoredEvent,
        asked: &Listing,
        log: crate::store::LogId,
    ) -> Option<End> {
        if asked.end_time.is_some_and(|end| stored.event.receive_time >= end) {
            return Some(End::Log);
        }
        if asked.filter.as_ref().is_none_or(|filter| filter.lets(&stored.event)) {
            let event = event::to_pb(stored, log, asked.view);
            self.bytes = self.bytes.saturating_add(event.encoded_len());
            if self.bytes > PAGE_BYTES_MAX && !self.events.is_empty() {
                return Some(End::Page);
            }
            self.events.push(event);
        }
        self.at = stored.seq;
        self.scanned = self.scanned.saturating_add(1);
        (self.events.len() >= asked.page_size || self.scanned >= SCAN_MAX).then_some(End::Page)
    }
}

#[tonic::async_trait]
impl EventService for Events {
    type SubscribeStream = tokio_stream::Empty<Result<pb::SubscribeResponse, Status>>;

    async fn subscribe(
        &self,
        _request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(status::elsewhere())
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<pb::ListEventsResponse>, Status> {
        let request = request.into_inner();
        let filter = request.filter.clone().unwrap_or_default();
        let asked = listing(request)?;
        self.check_bots(&filter)?;
        Ok(Response::new(self.list(asked).await?))
    }

    async fn get_log_info(
        &self,
        request: Request<pb::GetLogInfoRequest>,
    ) -> Result<Response<pb::GetLogInfoResponse>, Status> {
        let pb::GetLogInfoRequest {} = request.into_inner();
        let log = &self.shared.log;
        let bounds = log.bounds().await.map_err(|error| status::of_read(&error, log.id()))?;
        let Bounds {
            trimmed,
            last,
            earliest_time,
            latest_time,
            retention,
            live_bytes: _,
            live_bytes_max: _,
            store,
        } = bounds;
        Ok(Response::new(pb::GetLogInfoResponse {
            log_id: log.id().to_string(),
            earliest_cursor: self.cursor(trimmed),
            latest_cursor: self.cursor(last),
            earliest_time: earliest_time.map(timestamp),
            latest_time: latest_time.map(timestamp),
            retention: Some(span(retention)),
            store: store.to_owned(),
        }))
    }
}

/// The one message of a request.
async fn message_of(body: Body) -> Result<pb::SubscribeRequest, Status> {
    let mut codec = tonic_prost::ProstCodec::<pb::SubscribeResponse, pb::SubscribeRequest>::default();
    let mut messages = Streaming::new_request(codec.decoder(), body, None, Some(REQUEST_BYTES_MAX));
    messages.message().await?.ok_or_else(status::no_request)
}

/// The service as the router sees it.
#[derive(Debug, Clone)]
pub(super) struct Server {
    events: Events,
    generated: EventServiceServer<Events>,
}

impl Server {
    /// Serves `events`.
    pub(super) fn new(events: Events) -> Self {
        let generated = EventServiceServer::new(events.clone()).max_decoding_message_size(REQUEST_BYTES_MAX);
        Self { events, generated }
    }
}

impl NamedService for Server {
    const NAME: &'static str = <EventServiceServer<Events> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for Server {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != SUBSCRIBE {
            return self.generated.call(request);
        }
        let events = self.events.clone();
        Box::pin(async move { Ok(events.subscribe(request).await) })
    }
}
