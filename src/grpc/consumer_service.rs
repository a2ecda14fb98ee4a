//! `ConsumerService`: consumer groups, by stream ([`consume`]) and by call. Reads a request, asks the
//! groups, and answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream;
use tokio::time::{Instant, timeout};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use tower::Service;

use super::consume::{self, Around, Broken, Telling};
use super::convert::admin::{PAGE_SIZE, size_of};
use super::convert::group::{self as convert, settings};
use super::convert::start::{Start, heartbeat_of};
use super::convert::{Faults, Invalid, InvalidField, span, span_of};
use super::edge::{CountsItself, Principal, RequestId};
use super::event_service::REQUEST_BYTES_MAX;
use super::follow::{Place, Shared};
use super::pb;
use super::pb::consumer_service_server::{ConsumerService, ConsumerServiceServer};
use super::status;
use super::ticket_service::deadline_of;
use super::{page, position};
use crate::clock::Ids;
use crate::domain::Seq;
use crate::domain::filter::EventFilter;
use crate::gateway::groups::{GroupError, GroupView, Groups, Join, PULLED, Pulled};
use crate::store::groups::{ParkedPage, ParkedWanted};
use crate::store::page::{List, NameMark, PageMark};

/// The path of the stream.
const CONSUME: &str = "/deskgate.v1.ConsumerService/Consume";
/// How long a stream may take to say who it is.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Deliveries a member holds, unless asked otherwise.
const OUTSTANDING: u32 = 100;
/// The most it can ask for.
const OUTSTANDING_MAX: u32 = 1_000;
/// Deliveries of a pull, unless asked otherwise.
const PULL: usize = 10;
/// How often settings are read and written anew where others change them meanwhile.
const UPDATE_TRIES: u32 = 16;
/// The longest that a pull waits.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// The longest name of a member.
const MEMBER_BYTES_MAX: usize = 64;
/// What the events of a page may take in the store: told, they stay small enough to receive.
const PAGE_BYTES_MAX: usize = 2 << 20;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Consumers {
    groups: Groups,
    shared: Arc<Shared>,
    ids: Arc<dyn Ids>,
    /// The bots that are served; a filter names no other.
    bots: Arc<[String]>,
    heartbeat_min: Duration,
}

impl Consumers {
    /// The service on `groups`; its streams are among the shared ones.
    pub(super) fn new(
        groups: Groups,
        shared: Arc<Shared>,
        ids: Arc<dyn Ids>,
        bots: Vec<String>,
        heartbeat_min: Duration,
    ) -> Self {
        Self { groups, shared, ids, bots: bots.into(), heartbeat_min }
    }

    fn failed(&self, error: &GroupError) -> Status {
        status::of_group(error, self.shared.log.id())
    }

    fn check_bots(&self, filter: &EventFilter) -> Result<(), Status> {
        let mut named = filter.bots.iter().enumerate();
        match named.find(|(_, bot)| !self.bots.contains(bot)) {
            Some((index, bot)) => {
                Err(status::of_filter_bot(format!("consumer_group.filter.bots[{index}]"), bot, &self.bots))
            }
            None => Ok(()),
        }
    }

    fn to_pb(&self, view: &GroupView) -> pb::ConsumerGroup {
        let log = &self.shared.log;
        let telling =
            convert::Telling { log: log.id(), tail: *log.tail().borrow(), now: self.shared.clock.now() };
        convert::group_to_pb(view, telling)
    }

    async fn position(&self, start: &Start) -> Result<Seq, Status> {
        let log = &self.shared.log;
        let begin = position::find(log.as_ref(), self.shared.clock.as_ref(), start).await?;
        begin.not_expired(log.id(), start)?;
        Ok(begin.at)
    }

    async fn group(&self, name: &str) -> Result<GroupView, Status> {
        self.groups.group(name).await.map_err(|error| self.failed(&error))
    }

    /// What a stream says first.
    async fn first(&self, said: &mut Streaming<pb::ConsumeRequest>) -> Result<pb::ConsumeStart, Status> {
        use pb::consume_request::Message;
        let soft = self.shared.shutdown.soft();
        let first = tokio::select! {
            first = timeout(START_TIMEOUT, said.message()) => match first {
                Ok(first) => first,
                Err(_late) => return Err(status::no_start()),
            },
            () = soft.cancelled() => return Err(status::draining()),
        };
        match first?.ok_or_else(status::no_start)?.message {
            Some(Message::Start(start)) => Ok(start),
            Some(Message::Settle(_) | Message::Stop(_)) | None => Err(status::no_start()),
        }
    }

    async fn open(
        &self,
        mut said: Streaming<pb::ConsumeRequest>,
        (principal, id, broken): (String, Option<RequestId>, Broken),
    ) -> Result<Box<Telling>, Status> {
        let start = self.first(&mut said).await?;
        let (group, join, heartbeat) = joining(start, principal, self.heartbeat_min)?;
        let Shared { log, clock, streams_max, shutdown, metrics, .. } = &*self.shared;
        let place = Place::take(&self.shared).ok_or_else(|| status::too_many_streams(*streams_max))?;
        let membership = self.groups.join(&group, join).await.map_err(|error| self.failed(&error))?;
        let stream_id = self.ids.next().to_string();
        tracing::debug!(stream.id = stream_id, group, member = &*membership.name, "member came");
        let started = pb::ConsumeStarted {
            stream_id,
            member_id: membership.name.to_string(),
            consumer_group: Some(self.to_pb(&membership.view)),
            heartbeat_interval: Some(span(heartbeat)),
        };
        let (log, clock, metrics) = (Arc::clone(log), Arc::clone(clock), metrics.clone());
        let around = Around { log, clock, heartbeat, place, metrics, id };
        let (telling, reading) = consume::open(membership, started, around, (said, broken));
        drop(shutdown.spawn(reading));
        Ok(telling)
    }
}

/// Reads who wants to be a member, of which group, and how often it wants to hear something.
fn joining(
    start: pb::ConsumeStart,
    principal: String,
    heartbeat_min: Duration,
) -> Result<(String, Join, Duration), Invalid> {
    let pb::ConsumeStart { group, client_name, member_id, max_outstanding_events, heartbeat_interval } =
        start;
    let mut faults = Faults::default();
    let group = faults.take(convert::name_of(group, "start.group"));
    let is_plain =
        member_id.len() <= MEMBER_BYTES_MAX && member_id.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain {
        faults.add(
            "start.member_id",
            format!("must be at most {MEMBER_BYTES_MAX} printable ASCII characters without spaces"),
        );
    }
    if member_id == PULLED {
        faults.add(
            "start.member_id",
            format!("must not be {PULLED:?}: deliveries of Pull stand under that name"),
        );
    }
    let outstanding = match max_outstanding_events {
        0 => OUTSTANDING,
        asked => asked.min(OUTSTANDING_MAX),
    };
    let join = Join {
        name: member_id,
        client_name: convert::client_name_of(&client_name),
        principal,
        held_max: usize::try_from(outstanding).unwrap_or_default(),
    };
    let heartbeat = heartbeat_of(heartbeat_interval, heartbeat_min, "start.heartbeat_interval", &mut faults);
    faults.done((group, join, heartbeat))
}

/// Reads how much to pull, of which group, and how long to wait.
fn pulling(request: pb::PullRequest) -> Result<(String, usize, Duration, String), Invalid> {
    let pb::PullRequest { group, max_events, wait, client_name } = request;
    let mut faults = Faults::default();
    let group = faults.take(convert::name_of(group, "group"));
    let count_max = faults.take(
        size_of(max_events, PULL).map_err(|fault| InvalidField { field: "max_events".to_owned(), ..fault }),
    );
    let wait = wait.map(|wait| faults.take(span_of(wait, "wait"))).unwrap_or_default();
    let wait = Duration::try_from(wait).unwrap_or_else(|_| {
        faults.add("wait", "must not be negative");
        Duration::ZERO
    });
    let wait = wait.min(WAIT_MAX);
    faults.done((group, count_max, wait, convert::client_name_of(&client_name)))
}

fn principal_of<T>(request: &Request<T>) -> String {
    request.extensions().get::<Principal>().cloned().unwrap_or_default().0
}

fn named(group: String) -> Result<String, Invalid> {
    Ok(convert::name_of(group, "group")?)
}

#[tonic::async_trait]
impl ConsumerService for Consumers {
    type ConsumeStream = Pin<Box<dyn stream::Stream<Item = Result<pb::ConsumeResponse, Status>> + Send>>;

    async fn consume(
        &self,
        request: Request<Streaming<pb::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let principal = principal_of(&request);
        let id = request.extensions().get::<RequestId>().cloned();
        let broken = request.extensions().get::<Broken>().cloned().unwrap_or_default();
        let telling = self.open(request.into_inner(), (principal, id, broken)).await?;
        let mut response: Response<Self::ConsumeStream> =
            Response::new(Box::pin(stream::unfold(Some(telling), Telling::next)));
        response.extensions_mut().insert(CountsItself);
        Ok(response)
    }

    async fn pull(&self, request: Request<pb::PullRequest>) -> Result<Response<pb::PullResponse>, Status> {
        let deadline = deadline_of(request.metadata());
        let (group, count_max, wait, client_name) = pulling(request.into_inner())?;
        let wait = wait.min(deadline.saturating_duration_since(Instant::now()));
        let pulled = self.groups.pull(&group, count_max, wait, client_name).await;
        let Pulled { deliveries, caught_up, gap } = pulled.map_err(|error| self.failed(&error))?;
        let log = self.shared.log.id();
        let view = self.groups.event_view(&group).await.map_err(|error| self.failed(&error))?;
        let view = convert::view_of(view);
        Ok(Response::new(pb::PullResponse {
            deliveries: deliveries.iter().map(|one| convert::delivery_to_pb(one, log, view)).collect(),
            caught_up,
            gap: gap.map(|lost| convert::gap_to_pb(lost, log)),
        }))
    }

    async fn settle(
        &self,
        request: Request<pb::SettleRequest>,
    ) -> Result<Response<pb::SettleResponse>, Status> {
        let pb::SettleRequest { group, settlements } = request.into_inner();
        let group = named(group)?;
        let settlements = convert::settlements_of(settlements, "settlements", self.shared.log.id())?;
        let (names, settlements): (Vec<String>, Vec<_>) = settlements.into_iter().unzip();
        let states = self.groups.settle(&group, settlements).await.map_err(|error| self.failed(&error))?;
        let results = names.into_iter().zip(states).map(|(id, state)| convert::result_to_pb(id, state));
        Ok(Response::new(pb::SettleResponse { results: results.collect() }))
    }

    async fn create_consumer_group(
        &self,
        request: Request<pb::CreateConsumerGroupRequest>,
    ) -> Result<Response<pb::CreateConsumerGroupResponse>, Status> {
        let settings::Creating { name, settings, start } = settings::creating(request.into_inner())?;
        self.check_bots(&settings.filter)?;
        let floor = self.position(&start).await?;
        let view = self.groups.create(name, settings, floor).await.map_err(|error| self.failed(&error))?;
        tracing::info!(group = view.group.name, floor = floor.0, "a consumer group was made");
        Ok(Response::new(pb::CreateConsumerGroupResponse { consumer_group: Some(self.to_pb(&view)) }))
    }

    async fn get_consumer_group(
        &self,
        request: Request<pb::GetConsumerGroupRequest>,
    ) -> Result<Response<pb::GetConsumerGroupResponse>, Status> {
        let group = named(request.into_inner().group)?;
        let view = self.group(&group).await?;
        Ok(Response::new(pb::GetConsumerGroupResponse { consumer_group: Some(self.to_pb(&view)) }))
    }

    async fn list_consumer_groups(
        &self,
        request: Request<pb::ListConsumerGroupsRequest>,
    ) -> Result<Response<pb::ListConsumerGroupsResponse>, Status> {
        let pb::ListConsumerGroupsRequest { page_size, page_token } = request.into_inner();
        let count_max = size_of(page_size, PAGE_SIZE).map_err(Invalid::from)?;
        let after = self.group_after(&page_token)?;
        let listed = self.groups.groups(&after, count_max).await;
        let (views, more) = listed.map_err(|error| self.failed(&error))?;
        let log = self.shared.log.id();
        let mark = |view: &GroupView| NameMark { log, name: view.group.name.clone() }.to_string();
        let last = views.last().filter(|_| more).map(mark);
        Ok(Response::new(pb::ListConsumerGroupsResponse {
            consumer_groups: views.iter().map(|view| self.to_pb(view)).collect(),
            next_page_token: last.unwrap_or_default(),
        }))
    }

    async fn update_consumer_group(
        &self,
        request: Request<pb::UpdateConsumerGroupRequest>,
    ) -> Result<Response<pb::UpdateConsumerGroupResponse>, Status> {
        let updating = settings::updating(request.into_inner())?;
        // Without an etag, whoever comes between this reading and the writing is overwritten only where both meant to.
        let mut tries = UPDATE_TRIES;
        loop {
            let view = self.group(&updating.name).await?;
            let settings = updating.over(view.group.settings)?;
            self.check_bots(&settings.filter)?;
            let asked = convert::revision_of(&updating.etag, view.group.id);
            let expected = asked.unwrap_or(view.group.revision);
            match self.groups.update(&updating.name, Some(expected), settings).await {
                Ok(view) => {
                    let consumer_group = Some(self.to_pb(&view));
                    return Ok(Response::new(pb::UpdateConsumerGroupResponse { consumer_group }));
                }
                Err(GroupError::Changed { .. }) if asked.is_none() && tries > 1 => tries -= 1,
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    async fn delete_consumer_group(
        &self,
        request: Request<pb::DeleteConsumerGroupRequest>,
    ) -> Result<Response<pb::DeleteConsumerGroupResponse>, Status> {
        let pb::DeleteConsumerGroupRequest { group, etag } = request.into_inner();
        let group = named(group)?;
        let id = self.group(&group).await?.group.id;
        let deleted = self.groups.delete(&group, convert::revision_of(&etag, id)).await;
        deleted.map_err(|error| self.failed(&error))?;
        Ok(Response::new(pb::DeleteConsumerGroupResponse {}))
    }

    async fn seek_consumer_group(
        &self,
        request: Request<pb::SeekConsumerGroupRequest>,
    ) -> Result<Response<pb::SeekConsumerGroupResponse>, Status> {
        let pb::SeekConsumerGroupRequest { group, to, validate_only } = request.into_inner();
        let mut faults = Faults::default();
        let group = faults.take(convert::name_of(group, "group"));
        let is_given = to.as_ref().is_some_and(|to| to.position.is_some());
        if !is_given {
            faults.add("to", "is required: say where to");
        }
        let to = settings::group_start_of(to, "to", &mut faults);
        let to = faults.done(to)?.ok_or_else(|| InvalidField::new("to", "is required: say where to"));
        let to = settings::position_of(to.map_err(Invalid::from)?, "to.after_cursor");
        let view = self.group(&group).await?;
        let to = self.position(&to).await?;
        let events_affected = if validate_only {
            view.group.floor.0.abs_diff(to.0)
        } else {
            self.groups.seek(&group, to).await.map_err(|error| self.failed(&error))?
        };
        let view = self.group(&group).await?;
        Ok(Response::new(pb::SeekConsumerGroupResponse {
            consumer_group: Some(self.to_pb(&view)),
            events_affected,
        }))
    }

    async fn list_parked_events(
        &self,
        request: Request<pb::ListParkedEventsRequest>,
    ) -> Result<Response<pb::ListParkedEventsResponse>, Status> {
        let pb::ListParkedEventsRequest { group, ticket_id, page_size, page_token } = request.into_inner();
        let mut faults = Faults::default();
        let group = faults.take(convert::name_of(group, "group"));
        let count_max = faults.take(size_of(page_size, PAGE_SIZE));
        let (group, count_max) = faults.done((group, count_max))?;
        let after = self.parked_after(&page_token)?;
        let ticket_id = crate::domain::canonical_ticket_id(&ticket_id);
        let settings = self.group(&group).await?.group.settings;
        let wanted = ParkedWanted { after, ticket_id, count_max, bytes_max: PAGE_BYTES_MAX };
        let page = self.groups.parked(&group, wanted).await.map_err(|error| self.failed(&error))?;
        let ParkedPage { events, more } = page;
        let log = self.shared.log.id();
        let mark = |seq: Seq| PageMark { list: List::Parked, log, number: seq.0 }.to_string();
        let last = events.last().filter(|_| more).map(|parked| mark(parked.event.seq));
        Ok(Response::new(pb::ListParkedEventsResponse {
            parked_events: events.iter().map(|one| convert::parked_to_pb(one, log, &settings)).collect(),
            next_page_token: last.unwrap_or_default(),
        }))
    }

    async fn replay_parked_events(
        &self,
        request: Request<pb::ReplayParkedEventsRequest>,
    ) -> Result<Response<pb::ReplayParkedEventsResponse>, Status> {
        let pb::ReplayParkedEventsRequest { group, event_ids, all } = request.into_inner();
        let (group, events) = convert::parked_events_of(group, &event_ids, all)?;
        let replayed = self.groups.replay(&group, events).await.map_err(|error| self.failed(&error))?;
        tracing::info!(group, replayed, "parked events are delivered again");
        let replayed = u64::try_from(replayed).unwrap_or(u64::MAX);
        Ok(Response::new(pb::ReplayParkedEventsResponse { replayed }))
    }

    async fn discard_parked_events(
        &self,
        request: Request<pb::DiscardParkedEventsRequest>,
    ) -> Result<Response<pb::DiscardParkedEventsResponse>, Status> {
        let pb::DiscardParkedEventsRequest { group, event_ids, all, reason } = request.into_inner();
        let (group, events) = convert::parked_events_of(group, &event_ids, all)?;
        let discarded = self.groups.discard(&group, events).await.map_err(|error| self.failed(&error))?;
        let reason: String = reason.chars().take(500).collect();
        tracing::info!(group, discarded, reason, "parked events were given up");
        let discarded = u64::try_from(discarded).unwrap_or(u64::MAX);
        Ok(Response::new(pb::DiscardParkedEventsResponse { discarded }))
    }
}

impl Consumers {
    fn group_after(&self, page_token: &str) -> Result<String, Status> {
        let parse = |text: &str| NameMark::parse(text).map(|mark| (mark.log, mark.name));
        Ok(page::after(page_token, self.shared.log.id(), parse)?.unwrap_or_default())
    }

    fn parked_after(&self, page_token: &str) -> Result<Seq, Status> {
        let parse = |text: &str| PageMark::parse(List::Parked, text).map(|mark| (mark.log, Seq(mark.number)));
        Ok(page::after(page_token, self.shared.log.id(), parse)?.unwrap_or_default())
    }
}

/// The service as the router sees it: the member's half of a stream is watched.
#[derive(Debug, Clone)]
pub(super) struct Server(ConsumerServiceServer<Consumers>);

impl Server {
    /// Serves `consumers`.
    pub(super) fn new(consumers: Consumers) -> Self {
        Self(ConsumerServiceServer::new(consumers).max_decoding_message_size(REQUEST_BYTES_MAX))
    }
}

impl NamedService for Server {
    const NAME: &'static str = <ConsumerServiceServer<Consumers> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for Server {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != CONSUME {
            return self.0.call(request);
        }
        let broken = Broken::default();
        let mut request = request.map(|body| broken.watch(body));
        request.extensions_mut().insert(broken);
        self.0.call(request)
    }
}
