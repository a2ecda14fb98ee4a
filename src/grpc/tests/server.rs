//! The server over a real port, with a client as others would write it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;

use super::{after, cursor, earliest, edge, limits, numbers};
use crate::grpc::Limits;
use crate::grpc::pb;
use crate::grpc::pb::event_service_client::EventServiceClient;
use crate::grpc::pb::subscribe_response::Message;
use crate::grpc::pb::ticket_service_client::TicketServiceClient;
use crate::grpc::sample::TestLog;
use crate::shutdown::Shutdown;

struct World {
    log: Arc<TestLog>,
    shutdown: Shutdown,
    channel: Channel,
    served: JoinHandle<anyhow::Result<()>>,
}

impl World {
    async fn start(limits: Limits) -> Self {
        let log = TestLog::new(1_000);
        let (grpc, shutdown) = edge(&log, limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = shutdown.spawn(grpc.serve(listener));
        let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
        Self { log, shutdown, channel, served }
    }

    fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel.clone())
    }

    fn tickets(&self) -> TicketServiceClient<Channel> {
        TicketServiceClient::new(self.channel.clone())
    }

    async fn subscribe(&self, request: pb::SubscribeRequest) -> Stream {
        self.events().subscribe(request).await.unwrap().into_inner()
    }
}

type Stream = tonic::Streaming<pb::SubscribeResponse>;

async fn next(stream: &mut Stream) -> Message {
    stream.message().await.unwrap().unwrap().message.unwrap()
}

async fn event(stream: &mut Stream) -> pb::Event {
    loop {
        if let Message::Event(event) = next(stream).await {
            return event;
        }
    }
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.domain, "deskgate");
    info.reason
}

#[tokio::test]
async fn a_stream_lives_and_is_resumed() {
    let world = World::start(limits()).await;
    let mut stream = world.subscribe(pb::SubscribeRequest::default()).await;
    assert!(matches!(next(&mut stream).await, Message::Started(_)));
    assert!(matches!(next(&mut stream).await, Message::CaughtUp(_)));
    world.log.say(numbers(1..=1));
    let first = event(&mut stream).await;
    assert_eq!(first.r#type, "message.customer");
    drop(stream);
    world.log.say(numbers(2..=100));
    let start = Some(super::start(pb::start_position::Position::AfterCursor(first.cursor)));
    let mut stream = world.subscribe(pb::SubscribeRequest { start, limit: 99, ..Default::default() }).await;
    for number in 2..=100 {
        assert_eq!(event(&mut stream).await.ticket_sequence, number);
    }
    assert!(stream.message().await.unwrap().is_none(), "it ends with OK");
}

#[tokio::test]
async fn a_heartbeat_comes_over_the_wire() {
    let world = World::start(limits()).await;
    let heartbeat_interval = Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 });
    let mut stream = world.subscribe(pb::SubscribeRequest { heartbeat_interval, ..Default::default() }).await;
    while !matches!(next(&mut stream).await, Message::Checkpoint(_)) {}
}

#[tokio::test]
async fn a_planned_stop_ends_streams_and_then_the_server() {
    let world = World::start(limits()).await;
    let mut stream = world.subscribe(pb::SubscribeRequest::default()).await;
    world.log.say(numbers(1..=3));
    while event(&mut stream).await.ticket_sequence < 3 {}
    world.shutdown.soft().cancel();
    let Message::GoingAway(going_away) = next(&mut stream).await else { panic!("it says goodbye") };
    assert_eq!(going_away.resume_cursor, cursor(3));
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "STREAM_DRAINING"));
    assert!(status.metadata().contains_key("x-request-id"));
    world.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nothing_up() {
    let world = World::start(Limits { goodbye: Duration::from_millis(20), ..limits() }).await;
    let large = "x".repeat(64 << 10);
    world.log.say((0..200).map(|_| large.clone()));
    let start = Some(earliest());
    let mut unread = world.subscribe(pb::SubscribeRequest { start, ..Default::default() }).await;
    assert!(matches!(next(&mut unread).await, Message::Started(_)));
    world.log.say(numbers(1..=1));
    world.shutdown.soft().cancel();
    world.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_watches_health_is_told_and_holds_nothing_up() {
    let world = World::start(limits()).await;
    let mut health = HealthClient::new(world.channel.clone());
    let request = HealthCheckRequest { service: "deskgate.v1.EventService".to_owned() };
    let mut statuses = health.watch(request).await.unwrap().into_inner();
    assert_eq!(statuses.message().await.unwrap().unwrap().status, 1);
    world.shutdown.soft().cancel();
    assert_eq!(statuses.message().await.unwrap().unwrap().status, 2);
    while let Ok(Some(_)) = statuses.message().await {}
    world.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn calls_are_known_by_their_id() {
    let world = World::start(limits()).await;
    let mut request = Request::new(pb::GetLogInfoRequest {});
    request.metadata_mut().insert("x-request-id", "mine-1".parse().unwrap());
    let response = world.events().get_log_info(request).await.unwrap();
    assert_eq!(response.metadata().get("x-request-id").unwrap(), "mine-1");
    let pb::GetLogInfoResponse { log_id, latest_cursor, store, .. } = response.into_inner();
    assert_eq!((log_id.as_str(), store.as_str()), ("0707070707070707", "test"));
    assert_eq!(latest_cursor, cursor(0));
    let response = world.events().subscribe(pb::SubscribeRequest::default()).await.unwrap();
    assert!(response.metadata().contains_key("x-request-id"), "one is made where none is given");
    let request = pb::SubscribeRequest { view: 9, ..Default::default() };
    let status = world.events().subscribe(request).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
    assert!(status.metadata().contains_key("x-request-id"));
}

#[tokio::test]
async fn pages_follow_each_other() {
    let world = World::start(limits()).await;
    world.log.say(numbers(1..=250));
    let end_time = Some(prost_types::Timestamp { seconds: 241, nanos: 0 });
    let mut request = pb::ListEventsRequest { end_time, page_size: 100, ..Default::default() };
    let mut seen = Vec::new();
    for page in [100, 100, 40] {
        let response = world.events().list_events(request.clone()).await.unwrap().into_inner();
        assert_eq!(response.events.len(), page);
        seen.extend(response.events.iter().map(|event| event.ticket_sequence));
        request.page_token = response.next_page_token;
    }
    assert_eq!(request.page_token, "", "nothing follows");
    assert_eq!(seen, (1..=240).collect::<Vec<_>>());
    let large = "x".repeat(1 << 20);
    world.log.say((0..8).map(|_| large.clone()));
    let mut request = pb::ListEventsRequest { start: Some(after(250)), ..Default::default() };
    let mut seen = 0;
    loop {
        let response = world.events().list_events(request.clone()).await.unwrap().into_inner();
        seen += response.events.len();
        request.page_token = response.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 8, "pages stay small enough to receive");
    let request = pb::ListEventsRequest { page_size: -1, ..Default::default() };
    assert_eq!(reason(&world.events().list_events(request).await.unwrap_err()), "INVALID_FIELD");
}

#[tokio::test]
async fn faults_of_commands_are_told() {
    let world = World::start(limits()).await;
    let request = pb::CloseRequest::default();
    assert_eq!(reason(&world.tickets().close(request).await.unwrap_err()), "INVALID_FIELD");
    let request =
        pb::CloseRequest { ticket_id: "t".to_owned(), bot: "vendas".to_owned(), ..Default::default() };
    let status = world.tickets().close(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "BOT_UNKNOWN"));
    let key = Some(pb::get_command_request::Key::RequestId("r-1".to_owned()));
    let status = world.tickets().get_command(pb::GetCommandRequest { key }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "COMMAND_NOT_FOUND"));
}

async fn call(world: &World, path: &'static str, message: Vec<u8>) -> Status {
    let mut client = tonic::client::Grpc::new(world.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Bytes, pb::CloseResponse>::default();
    let request = Request::new(Bytes::from(message));
    client.unary(request, http::uri::PathAndQuery::from_static(path), codec).await.unwrap_err()
}

#[tokio::test]
async fn what_the_server_refuses_by_itself_is_told_as_all_else() {
    let world = World::start(limits()).await;
    for path in ["/deskgate.v1.TicketService/Send", "/deskgate.v1.EventService/Subscribe"] {
        let method = path.rsplit('/').next().unwrap();
        // The message has one field, 1, of these bytes.
        let status = call(&world, path, vec![0xff; 5 << 20]).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        assert_eq!(status.message(), "the request is larger than 4 MiB");
        assert!(status.metadata().contains_key("x-request-id"));
        let status = call(&world, path, vec![0xff]).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        assert!(status.message().starts_with(&format!("not a valid {method}Request: ")), "{status}");
    }
    for path in ["/deskgate.v1.TicketService/Open", "/somebody.Elses/Rpc"] {
        let status = call(&world, path, Vec::new()).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "RPC_UNKNOWN"));
        assert!(status.message().starts_with(&format!("there is no such rpc: {path};")), "{status}");
    }
}

#[tokio::test]
async fn filters_name_bots_there_are() {
    let world = World::start(limits()).await;
    let filter = Some(pb::EventFilter { bots: vec!["vendas".to_owned()], ..Default::default() });
    let request = pb::SubscribeRequest { filter: filter.clone(), ..Default::default() };
    let subscribed = world.events().subscribe(request).await.unwrap_err();
    let request = pb::ListEventsRequest { filter, ..Default::default() };
    let listed = world.events().list_events(request).await.unwrap_err();
    for status in [subscribed, listed] {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "BOT_UNKNOWN"));
        assert_eq!(field(&status), "filter.bots[0]");
    }
}

#[tokio::test]
async fn cursors_are_blamed_by_their_field() {
    let world = World::start(limits()).await;
    let at = |cursor: &str| super::start(pb::start_position::Position::AfterCursor(cursor.to_owned()));
    let request = pb::SubscribeRequest { start: Some(at("")), ..Default::default() };
    let status = world.events().subscribe(request).await.unwrap_err();
    assert_eq!(
        (reason(&status).as_str(), field(&status).as_str()),
        ("CURSOR_MALFORMED", "start.after_cursor")
    );
    assert!(status.message().contains("leave `start` out"), "{status}");
    let request = pb::ListEventsRequest { page_token: cursor(9), ..Default::default() };
    let status = world.events().list_events(request).await.unwrap_err();
    assert_eq!((reason(&status).as_str(), field(&status).as_str()), ("CURSOR_IN_FUTURE", "page_token"));
}

fn field(status: &Status) -> String {
    let request = status.get_details_bad_request().unwrap();
    request.field_violations.into_iter().next().unwrap().field
}

#[tokio::test]
async fn the_api_describes_itself() {
    let world = World::start(limits()).await;
    for symbol in ["deskgate.v1.TicketService", "google.rpc.ErrorInfo", "grpc.health.v1.Health"] {
        let message_request = Some(MessageRequest::FileContainingSymbol(symbol.to_owned()));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let mut client = ServerReflectionClient::new(world.channel.clone());
        let mut answers =
            client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{symbol}: {answer:?}");
    }
}
