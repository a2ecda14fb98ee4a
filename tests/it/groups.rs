//! Consumer groups, as their members and their operators see them from other processes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use deskgate::grpc::pb;
use deskgate::grpc::pb::consumer_service_client::ConsumerServiceClient;
use pb::consume_request::Message as Said;
use pb::consume_response::Message as Told;
use pb::settlement::Outcome;
use pb::start_position::Position;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::support::{PATIENCE, World, at, message, reason_of};

type Client = ConsumerServiceClient<Channel>;

impl World {
    async fn consumers(&self) -> Client {
        ConsumerServiceClient::new(self.channel().await)
    }

    /// A group from the beginning on, with quick retries.
    async fn group(&self, name: &str, change: impl FnOnce(&mut pb::ConsumerGroup)) -> pb::ConsumerGroup {
        let mut group = pb::ConsumerGroup {
            group: name.to_owned(),
            start: Some(at(Position::Earliest(true))),
            min_backoff: Some(millis(10)),
            max_backoff: Some(millis(20)),
            ..pb::ConsumerGroup::default()
        };
        change(&mut group);
        let request = pb::CreateConsumerGroupRequest { consumer_group: Some(group) };
        let made = self.consumers().await.create_consumer_group(request).await.unwrap();
        made.into_inner().consumer_group.unwrap()
    }

    async fn status(&self, group: &str) -> pb::ConsumerGroupStatus {
        let request = pb::GetConsumerGroupRequest { group: group.to_owned() };
        let got = self.consumers().await.get_consumer_group(request).await.unwrap().into_inner();
        got.consumer_group.unwrap().status.unwrap()
    }

    /// Waits until a group's status is as it should be.
    async fn until(&self, group: &str, is_so: impl Fn(&pb::ConsumerGroupStatus) -> bool) {
        let looked = async {
            while !is_so(&self.status(group).await) {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, looked).await.is_ok();
        assert!(in_time, "not so: {:?}", self.status(group).await);
    }

    async fn messages(&self, ticket: &str, texts: std::ops::Range<u32>) {
        for text in texts {
            assert_eq!(self.post(message(ticket, &format!("{ticket}-{text}"), &text.to_string())).await, 200);
        }
    }

    async fn pull(&self, group: &str, max_events: i32) -> pb::PullResponse {
        let wait = Some(prost_types::Duration { seconds: 30, nanos: 0 });
        let request =
            pb::PullRequest { group: group.to_owned(), max_events, wait, ..pb::PullRequest::default() };
        self.consumers().await.pull(request).await.unwrap().into_inner()
    }

    async fn settle(&self, group: &str, delivery_id: &str, outcome: Outcome) -> pb::SettleState {
        let settlement = pb::Settlement { delivery_id: delivery_id.to_owned(), outcome: Some(outcome) };
        let request = pb::SettleRequest { group: group.to_owned(), settlements: vec![settlement] };
        let results = self.consumers().await.settle(request).await.unwrap().into_inner().results;
        assert_eq!(results[0].delivery_id, delivery_id);
        results[0].state()
    }
}

fn millis(millis: i32) -> prost_types::Duration {
    prost_types::Duration { seconds: i64::from(millis / 1_000), nanos: millis % 1_000 * 1_000_000 }
}

fn ack() -> Outcome {
    Outcome::Ack(pb::Ack {})
}

fn retry(reason: &str) -> Outcome {
    Outcome::Retry(pb::Retry { delay: None, reason: reason.to_owned() })
}

fn text_of(delivery: &pb::Delivery) -> (String, String) {
    let event = delivery.event.clone().unwrap();
    let Some(pb::event::Payload::CustomerMessage(said)) = event.payload else { panic!("{event:?}") };
    let Some(pb::content::Kind::Text(text)) = said.content.unwrap().kind else { panic!("no text") };
    (event.ticket_id, text)
}

/// A member on a stream.
struct Member {
    said: Option<mpsc::Sender<pb::ConsumeRequest>>,
    told: Streaming<pb::ConsumeResponse>,
    started: pb::ConsumeStarted,
    /// Deliveries that came while something else was awaited.
    came: VecDeque<pb::Delivery>,
}

impl Member {
    async fn join(world: &World, group: &str) -> Self {
        Self::start(world, pb::ConsumeStart { group: group.to_owned(), ..Default::default() }).await.unwrap()
    }

    async fn start(world: &World, start: pb::ConsumeStart) -> Result<Self, Status> {
        let (said, saying) = mpsc::channel(16);
        said.send(request(Said::Start(start))).await.unwrap();
        let mut client = world.consumers().await;
        let mut told = client.consume(ReceiverStream::new(saying)).await?.into_inner();
        let started = match told.message().await?.unwrap().message.unwrap() {
            Told::Started(started) => started,
            other => panic!("not the first: {other:?}"),
        };
        Ok(Self { said: Some(said), told, started, came: VecDeque::new() })
    }

    async fn say(&self, message: Said) {
        self.said.as_ref().unwrap().send(request(message)).await.unwrap();
    }

    /// The next message, or how the stream ended.
    async fn next(&mut self) -> Result<Option<Told>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.told.message()).await.unwrap();
        Ok(next?.map(|response| response.message.unwrap()))
    }

    async fn delivery(&mut self) -> pb::Delivery {
        if let Some(delivery) = self.came.pop_front() {
            return delivery;
        }
        loop {
            match self.next().await.unwrap().unwrap() {
                Told::Delivery(delivery) => return delivery,
                Told::CaughtUp(_) | Told::Checkpoint(_) => {}
                other => panic!("no delivery: {other:?}"),
            }
        }
    }

    async fn settle(&mut self, delivery: &pb::Delivery, outcome: Outcome) -> pb::SettleState {
        let delivery_id = delivery.delivery_id.clone();
        let settlement = pb::Settlement { delivery_id, outcome: Some(outcome) };
        self.say(Said::Settle(pb::SettleBatch { batch_id: 7, settlements: vec![settlement] })).await;
        loop {
            match self.next().await.unwrap().unwrap() {
                Told::Settled(report) => {
                    assert_eq!(report.batch_id, 7);
                    return report.results[0].state();
                }
                Told::Delivery(delivery) => self.came.push_back(delivery),
                Told::CaughtUp(_) | Told::Checkpoint(_) => {}
                other => panic!("no report: {other:?}"),
            }
        }
    }

    /// Everything until the end, and how it ended.
    async fn rest(&mut self) -> (Vec<Told>, Result<(), Status>) {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Ok(Some(told)) => all.push(told),
                Ok(None) => return (all, Ok(())),
                Err(status) => return (all, Err(status)),
            }
        }
    }
}

fn request(message: Said) -> pb::ConsumeRequest {
    pb::ConsumeRequest { message: Some(message) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_settled_in_every_way() {
    let world = World::start().await;
    world.group("crm", |group| (group.ack_deadline, group.max_attempts) = (Some(millis(1_000)), 3)).await;
    world.messages("t", 0..3).await;
    let mut member = Member::join(&world, "crm").await;
    assert_eq!(member.started.heartbeat_interval.unwrap().seconds, 15);
    assert_eq!(member.started.consumer_group.as_ref().unwrap().max_attempts, 3);

    let first = member.delivery().await;
    assert_eq!((text_of(&first).1.as_str(), first.attempt, first.last_failure.as_str()), ("0", 1, ""));
    assert_eq!(member.settle(&first, retry("busy")).await, pb::SettleState::Done);
    assert_eq!(member.settle(&first, ack()).await, pb::SettleState::AlreadyDone);
    let second = member.delivery().await;
    assert_eq!((text_of(&second).1.as_str(), second.attempt, second.last_failure.as_str()), ("0", 2, "busy"));
    assert!(second.fencing_token > first.fencing_token);
    // Its time passes.
    let third = member.delivery().await;
    assert_eq!((third.attempt, third.last_failure.as_str()), (3, "the ack deadline passed"));
    assert_eq!(member.settle(&second, ack()).await, pb::SettleState::Stale);
    let by = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    assert_eq!(member.settle(&third, Outcome::Extend(pb::Extend { by })).await, pb::SettleState::Done);
    assert_eq!(world.status("crm").await.in_flight, 1);
    assert_eq!(member.settle(&third, retry("hopeless")).await, pb::SettleState::Done);

    let next = member.delivery().await;
    assert_eq!((text_of(&next).1.as_str(), next.attempt, next.predecessor_parked), ("1", 1, true));
    let reason = "no such customer".to_owned();
    assert_eq!(member.settle(&next, Outcome::Park(pb::Park { reason })).await, pb::SettleState::Done);
    let last = member.delivery().await;
    assert_eq!(member.settle(&last, ack()).await, pb::SettleState::Done);
    let garbage = pb::Delivery { delivery_id: "garbage".to_owned(), ..last.clone() };
    assert_eq!(member.settle(&garbage, ack()).await, pb::SettleState::UnknownDelivery);

    let request = pb::ListParkedEventsRequest { group: "crm".to_owned(), ..Default::default() };
    let parked =
        world.consumers().await.list_parked_events(request).await.unwrap().into_inner().parked_events;
    let told: Vec<_> = parked.iter().map(|one| (one.attempts, one.reason.as_str())).collect();
    assert_eq!(told, [(3, "hopeless"), (1, "no such customer")]);
    let status = world.status("crm").await;
    assert_eq!((status.events_behind, status.in_flight, status.parked, status.members.len()), (0, 0, 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_work_and_keep_each_tickets_order() {
    const TICKETS: u32 = 20;
    const EACH: u32 = 10;
    const MEMBERS: usize = 50;
    let world = World::start().await;
    world.group("crm", |_| {}).await;
    let mut working = Vec::new();
    let (sender, mut acked) = mpsc::channel(1_024);
    for _ in 0..MEMBERS {
        let mut member = Member::join(&world, "crm").await;
        let sender = sender.clone();
        working.push(tokio::spawn(async move {
            loop {
                let next = match member.came.pop_front() {
                    Some(delivery) => Some(Told::Delivery(delivery)),
                    None => member.next().await.unwrap(),
                };
                match next {
                    Some(Told::Delivery(delivery)) => {
                        // Told before it is acked, so what is told is in order.
                        sender.send(text_of(&delivery)).await.unwrap();
                        assert_eq!(member.settle(&delivery, ack()).await, pb::SettleState::Done);
                    }
                    Some(_) => {}
                    None => panic!("nobody asked for an end"),
                }
            }
        }));
    }
    drop(sender);
    for text in 0..EACH {
        for ticket in 0..TICKETS {
            world.messages(&format!("t{ticket}"), text..text + 1).await;
        }
    }
    let mut seen: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for _ in 0..TICKETS * EACH {
        let (ticket, text) = tokio::time::timeout(PATIENCE, acked.recv()).await.unwrap().unwrap();
        seen.entry(ticket).or_default().push(text.parse().unwrap());
    }
    let expected: Vec<u32> = (0..EACH).collect();
    assert!(seen.len() == 20 && seen.values().all(|texts| *texts == expected), "{seen:?}");
    world.until("crm", |status| status.events_behind == 0 && status.members.len() == MEMBERS).await;
    let names: BTreeSet<String> =
        world.status("crm").await.members.into_iter().map(|member| member.member_id).collect();
    assert_eq!(names.len(), MEMBERS);
    for work in working {
        work.abort();
    }
    world.until("crm", |status| status.members.is_empty()).await;
}

/// A member that takes a delivery and breaks off, by hand: a client's own stream would first say goodbye.
async fn raw_member_breaks_off(world: &World, how: Option<h2::Reason>) {
    let socket = tokio::net::TcpStream::connect(world.gateway.address("grpc")).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let call = http::Request::post(format!(
        "http://{}/deskgate.v1.ConsumerService/Consume",
        world.gateway.address("grpc")
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers");
    let (answer, mut sending) = client.send_request(call.body(()).unwrap(), false).unwrap();
    let start = Said::Start(pb::ConsumeStart { group: "crm".to_owned(), ..Default::default() });
    let message = prost::Message::encode_to_vec(&request(start));
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&message);
    sending.send_data(frame.into(), false).unwrap();
    let mut body = answer.await.unwrap().into_body();
    // An attempt that the client has not taken would not count.
    let mut came = Vec::new();
    while !has_delivery(&came) {
        came.extend_from_slice(&body.data().await.unwrap().unwrap());
    }
    world.until("crm", |status| status.in_flight == 1 && status.members.len() == 1).await;
    match how {
        Some(reason) => sending.send_reset(reason),
        None => connection.abort(),
    }
    world.until("crm", |status| status.in_flight == 0 && status.members.is_empty()).await;
}

/// Whether framed messages among `bytes` have a delivery.
fn has_delivery(mut bytes: &[u8]) -> bool {
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let Some((message, rest)) = rest.split_at_checked(usize::try_from(length).unwrap()) else {
            return false;
        };
        let told = <pb::ConsumeResponse as prost::Message>::decode(message).unwrap();
        if matches!(told.message, Some(Told::Delivery(_))) {
            return true;
        }
        bytes = rest;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_held_is_free_the_moment_its_stream_ends() {
    let world = World::start().await;
    world.group("crm", |_| {}).await;
    world.messages("t", 0..2).await;
    // Broken off, by a reset or with its connection: the attempt counts.
    raw_member_breaks_off(&world, Some(h2::Reason::CANCEL)).await;
    raw_member_breaks_off(&world, None).await;
    let mut member = Member::join(&world, "crm").await;
    let delivery = member.delivery().await;
    assert_eq!((delivery.attempt, delivery.last_failure.as_str()), (3, "the consumer's stream broke off"));
    // Half-closed: it does not.
    member.said = None;
    let (told, end) = member.rest().await;
    assert!(end.is_ok());
    assert!(matches!(told.last(), Some(Told::Stopped(stopped)) if stopped.unsettled == 1), "{told:?}");
    // Stopped: what it has can be settled.
    let mut member = Member::join(&world, "crm").await;
    let delivery = member.delivery().await;
    assert_eq!(delivery.attempt, 3);
    member.say(Said::Stop(pb::ConsumeStop {})).await;
    assert_eq!(member.settle(&delivery, ack()).await, pb::SettleState::Done);
    let (told, end) = member.rest().await;
    assert!(end.is_ok());
    assert!(matches!(told.last(), Some(Told::Stopped(stopped)) if stopped.unsettled == 0), "{told:?}");
    // Taken over by another of its name.
    let start = || pb::ConsumeStart {
        group: "crm".to_owned(),
        member_id: "worker-1".to_owned(),
        client_name: "tests".to_owned(),
        ..Default::default()
    };
    let mut before = Member::start(&world, start()).await.unwrap();
    let delivery = before.delivery().await;
    let mut after = Member::start(&world, start()).await.unwrap();
    let again = after.delivery().await;
    assert_eq!((text_of(&delivery), again.attempt), (text_of(&again), 2));
    let (_, end) = before.rest().await;
    let status = end.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::Aborted, "GROUP_CHANGED"));
    assert_eq!(after.settle(&delivery, ack()).await, pb::SettleState::Stale);
    // By the other way, while the stream is open.
    assert_eq!(world.settle("crm", &again.delivery_id, ack()).await, pb::SettleState::Done);
    world.until("crm", |status| status.events_behind == 0 && status.in_flight == 0).await;
    let members = world.status("crm").await.members;
    assert_eq!((members[0].member_id.as_str(), members[0].client_name.as_str()), ("worker-1", "tests"));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_survive_crashes_and_planned_restarts_burn_none() {
    let mut world = World::start().await;
    world.group("crm", |_| {}).await;
    world.messages("t", 0..1).await;
    world.messages("u", 0..1).await;
    let pulled = world.pull("crm", 1).await.deliveries.remove(0);
    let mut member = Member::join(&world, "crm").await;
    assert_eq!(member.delivery().await.attempt, 1);
    world.gateway.kill();
    world.restart().await;
    // What was pulled is still whose it was.
    let mut member = Member::join(&world, "crm").await;
    let delivery = member.delivery().await;
    assert_eq!((delivery.attempt, text_of(&delivery).0.as_str()), (2, "u"));
    let status = world.status("crm").await;
    assert_eq!((status.in_flight, status.members.len()), (2, 2), "{status:?}");
    world.gateway.signal("TERM");
    let (told, end) = member.rest().await;
    let going = told.iter().filter_map(|told| match told {
        Told::GoingAway(going) => Some(going.grace.unwrap().seconds),
        _ => None,
    });
    assert_eq!(going.collect::<Vec<_>>(), [3]);
    let status = end.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::Unavailable, "STREAM_DRAINING"));
    assert!(world.gateway.wait().success());
    world.restart().await;
    let mut member = Member::join(&world, "crm").await;
    let again = member.delivery().await;
    assert_eq!((again.attempt, text_of(&again).0.as_str()), (2, "u"), "a planned restart burns none");
    assert!(again.fencing_token > delivery.fencing_token);
    assert_eq!(world.settle("crm", &pulled.delivery_id, ack()).await, pb::SettleState::Done);
    // Within the grace, what is in hand can still be settled.
    world.gateway.signal("TERM");
    let told = loop {
        if let Told::GoingAway(going) = member.next().await.unwrap().unwrap() {
            break going;
        }
    };
    assert_eq!(told.reason, "STREAM_DRAINING");
    assert_eq!(member.settle(&again, ack()).await, pb::SettleState::Done);
    assert_eq!(member.rest().await.1.unwrap_err().code(), Code::Unavailable);
    assert!(world.gateway.wait().success());
    world.restart().await;
    assert_eq!(world.status("crm").await.events_behind, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_still_is_told_after_a_restart_with_nobody_there() {
    let mut world = World::start().await;
    world.group("crm", |group| group.park_policy = pb::ParkPolicy::BlockTicket.into()).await;
    world.messages("t", 0..3).await;
    world.messages("u", 0..1).await;
    let first = world.pull("crm", 1).await.deliveries.remove(0);
    let park = Outcome::Park(pb::Park { reason: "broken".to_owned() });
    assert_eq!(world.settle("crm", &first.delivery_id, park).await, pb::SettleState::Done);
    world.gateway.kill();
    world.restart().await;
    world.until("crm", |status| status.blocked_tickets == 1).await;
    let next = world.pull("crm", 10).await;
    assert_eq!(next.deliveries.iter().map(|one| text_of(one).0).collect::<Vec<_>>(), ["u"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_moves_replays_and_discards() {
    let world = World::start().await;
    world.group("crm", |group| group.park_policy = pb::ParkPolicy::BlockTicket.into()).await;
    world.messages("t", 0..3).await;
    let park = || Outcome::Park(pb::Park { reason: "broken".to_owned() });
    let mut member = Member::join(&world, "crm").await;
    let first = member.delivery().await;
    assert_eq!(member.settle(&first, park()).await, pb::SettleState::Done);
    let status = world.status("crm").await;
    assert_eq!((status.blocked_tickets, status.parked), (1, 1), "known as soon as the settlement is told");
    let event_id = first.event.as_ref().unwrap().event_id.clone();
    let replay = |event_ids: Vec<String>, all| pb::ReplayParkedEventsRequest {
        group: "crm".to_owned(),
        event_ids,
        all,
    };
    let mut client = world.consumers().await;
    let replayed = client.replay_parked_events(replay(vec![event_id.clone()], false)).await.unwrap();
    assert_eq!(replayed.into_inner().replayed, 1);
    let again = member.delivery().await;
    assert_eq!((text_of(&again).1.as_str(), again.attempt), ("0", 1));
    assert_eq!(member.settle(&again, park()).await, pb::SettleState::Done);
    let discard = pb::DiscardParkedEventsRequest {
        group: "crm".to_owned(),
        all: true,
        ..pb::DiscardParkedEventsRequest::default()
    };
    assert_eq!(client.discard_parked_events(discard).await.unwrap().into_inner().discarded, 1);
    for text in ["1", "2"] {
        let delivery = member.delivery().await;
        assert_eq!((text_of(&delivery).1.as_str(), delivery.predecessor_parked), (text, false));
        assert_eq!(member.settle(&delivery, ack()).await, pb::SettleState::Done);
    }
    assert_eq!(
        client.replay_parked_events(replay(vec![event_id], false)).await.unwrap().into_inner().replayed,
        0
    );

    let seek = |validate_only| pb::SeekConsumerGroupRequest {
        group: "crm".to_owned(),
        to: Some(at(Position::Ago(prost_types::Duration { seconds: 86_400, nanos: 0 }))),
        validate_only,
    };
    let trial = client.seek_consumer_group(seek(true)).await.unwrap().into_inner();
    assert_eq!(trial.events_affected, 3);
    assert_eq!(world.status("crm").await.events_behind, 0, "nothing was done");
    let moved = client.seek_consumer_group(seek(false)).await.unwrap().into_inner();
    assert_eq!((moved.events_affected, moved.consumer_group.unwrap().status.unwrap().events_behind), (3, 3));
    let fenced = member.delivery().await;
    assert_eq!((text_of(&fenced).1.as_str(), fenced.attempt), ("0", 1));
    client.seek_consumer_group(seek(false)).await.unwrap();
    assert_eq!(member.settle(&fenced, ack()).await, pb::SettleState::Stale);
    for text in ["0", "1", "2"] {
        let delivery = member.delivery().await;
        assert_eq!(text_of(&delivery).1, text);
        assert_eq!(member.settle(&delivery, ack()).await, pb::SettleState::Done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_administered_by_name_and_etag() {
    let world = World::start().await;
    let made = world.group("crm", |_| {}).await;
    assert_eq!((made.max_attempts, made.ack_deadline.unwrap().seconds), (10, 30));
    let mut client = world.consumers().await;
    let create = |group: pb::ConsumerGroup| pb::CreateConsumerGroupRequest { consumer_group: Some(group) };
    let twice = pb::ConsumerGroup { group: "crm".to_owned(), ..Default::default() };
    let status = client.create_consumer_group(create(twice)).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::AlreadyExists, "GROUP_EXISTS"));
    let bad = pb::ConsumerGroup {
        group: "CRM".to_owned(),
        filter: Some(pb::EventFilter { types: vec!["x.y".to_owned()], ..Default::default() }),
        ack_deadline: Some(millis(10)),
        max_attempts: 101,
        min_backoff: Some(millis(1)),
        park_policy: 9,
        etag: "1".to_owned(),
        ..Default::default()
    };
    let status = client.create_consumer_group(create(bad)).await.unwrap_err();
    let faulty: Vec<String> = {
        use tonic_types::StatusExt as _;
        let violations = status.get_error_details().bad_request().unwrap().field_violations.clone();
        violations.into_iter().map(|violation| violation.field).collect()
    };
    let fields =
        ["etag", "group", "filter.types[0]", "ack_deadline", "max_attempts", "min_backoff", "park_policy"];
    assert_eq!(faulty, fields.map(|field| format!("consumer_group.{field}")));

    let update = |etag: &str, change: fn(&mut pb::ConsumerGroup), paths: &[&str]| {
        let mut group =
            pb::ConsumerGroup { group: "crm".to_owned(), etag: etag.to_owned(), ..Default::default() };
        change(&mut group);
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        pb::UpdateConsumerGroupRequest {
            consumer_group: Some(group),
            update_mask: Some(prost_types::FieldMask { paths }),
        }
    };
    let changed = client.update_consumer_group(update(&made.etag, |group| group.max_attempts = 3, &[])).await;
    let changed = changed.unwrap().into_inner().consumer_group.unwrap();
    assert!(
        changed.max_attempts == 3 && changed.min_backoff == made.min_backoff && changed.etag != made.etag
    );
    let stale = client.update_consumer_group(update(&made.etag, |group| group.max_attempts = 4, &[])).await;
    let (reason, metadata) = reason_of(&stale.unwrap_err());
    assert_eq!((reason.as_str(), &metadata["etag"]), ("GROUP_CHANGED", &changed.etag));
    let reset = client.update_consumer_group(update("", |_| {}, &["max_attempts"])).await;
    assert_eq!(reset.unwrap().into_inner().consumer_group.unwrap().max_attempts, 10);
    let status = client.update_consumer_group(update("", |_| {}, &["start"])).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "INVALID_FIELD");

    let start =
        pb::ConsumeStart { group: "crm".to_owned(), member_id: "pull".to_owned(), ..Default::default() };
    let status = Member::start(&world, start).await.err().unwrap();
    let (reason, _) = reason_of(&status);
    assert!(reason == "INVALID_FIELD" && status.message().contains("start.member_id"), "{status:?}");
    for name in ["a", "b"] {
        world.group(name, |_| {}).await;
    }
    let list = |page_token: String| pb::ListConsumerGroupsRequest { page_size: 2, page_token };
    let page = client.list_consumer_groups(list(String::new())).await.unwrap().into_inner();
    let names: Vec<_> = page.consumer_groups.iter().map(|group| group.group.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let status = client.list_consumer_groups(list("b".to_owned())).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "CURSOR_MALFORMED", "a name is no token");
    let page = client.list_consumer_groups(list(page.next_page_token)).await.unwrap().into_inner();
    assert_eq!((page.consumer_groups[0].group.as_str(), page.next_page_token.as_str()), ("crm", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_group_ends_its_streams() {
    let world = World::start().await;
    world.group("crm", |_| {}).await;
    let mut client = world.consumers().await;
    let mut member = Member::join(&world, "crm").await;
    let delete =
        |etag: &str| pb::DeleteConsumerGroupRequest { group: "crm".to_owned(), etag: etag.to_owned() };
    let status = client.delete_consumer_group(delete("1-9")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::Aborted, "GROUP_CHANGED"));
    client.delete_consumer_group(delete("")).await.unwrap();
    let status = member.rest().await.1.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::NotFound, "GROUP_NOT_FOUND"));
    let status = Member::start(&world, pb::ConsumeStart { group: "crm".to_owned(), ..Default::default() });
    assert_eq!(reason_of(&status.await.err().unwrap()).0, "GROUP_NOT_FOUND");
    world.group("crm", |_| {}).await;
    let metrics = world.http.get(world.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("deskgate_group_lag_events{group=\"crm\"} 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_and_its_change_decide_what_comes() {
    let world = World::start().await;
    world
        .group("crm", |group| {
            let types = vec!["message.*".to_owned()];
            group.filter = Some(pb::EventFilter { types, ..Default::default() });
        })
        .await;
    world.post(crate::support::ticket("t", "Waiting")).await;
    world.messages("t", 0..1).await;
    let pulled = world.pull("crm", 5).await;
    assert_eq!(pulled.deliveries.len(), 1);
    assert!(pulled.caught_up);
    assert_eq!(text_of(&pulled.deliveries[0]).1, "0");
    assert_eq!(world.settle("crm", &pulled.deliveries[0].delivery_id, ack()).await, pb::SettleState::Done);
    let empty = pb::PullRequest { group: "crm".to_owned(), ..Default::default() };
    let empty = world.consumers().await.pull(empty).await.unwrap().into_inner();
    assert!(empty.deliveries.is_empty() && empty.caught_up);
    assert_eq!(world.status("crm").await.events_behind, 0);

    // Of what waits, another filter wants something else.
    world.messages("t", 1..2).await;
    assert_eq!(world.post(crate::support::ticket("t", "Open")).await, 200);
    let types = vec!["ticket.*".to_owned()];
    let changed = pb::ConsumerGroup {
        group: "crm".to_owned(),
        filter: Some(pb::EventFilter { types, ..Default::default() }),
        ..Default::default()
    };
    let request = pb::UpdateConsumerGroupRequest { consumer_group: Some(changed), update_mask: None };
    world.consumers().await.update_consumer_group(request).await.unwrap();
    let pulled = world.pull("crm", 5).await;
    let types: Vec<_> =
        pulled.deliveries.iter().map(|delivery| delivery.event.clone().unwrap().r#type).collect();
    assert_eq!(types, ["ticket.assigned"]);
    assert_eq!(world.settle("crm", &pulled.deliveries[0].delivery_id, ack()).await, pb::SettleState::Done);
    world.until("crm", |status| status.events_behind == 0).await;
}
