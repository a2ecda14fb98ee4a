//! The event stream, as a client in another process sees it.

use deskgate::grpc::pb;
use pb::start_position::Position;
use pb::subscribe_response::Message as Told;
use tonic::Code;

use crate::support::{World, at, message, reason_of, ticket};

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_request_begins_at_once_and_follows() {
    let world = World::start().await;
    world.post(ticket("before", "Waiting")).await;
    let mut stream =
        world.events().await.subscribe(pb::SubscribeRequest::default()).await.unwrap().into_inner();
    let started = match stream.message().await.unwrap().unwrap().message.unwrap() {
        Told::Started(started) => started,
        other => panic!("{other:?}"),
    };
    assert!(!started.stream_id.is_empty() && !started.cursor.is_empty());
    assert_eq!(started.heartbeat_interval.unwrap().seconds, 15);
    assert!(matches!(stream.message().await.unwrap().unwrap().message.unwrap(), Told::CaughtUp(_)));
    world.post(ticket("t", "Waiting")).await;
    world.post(message("t", "m", "oi")).await;
    for (sequence, name) in [(1, "ticket.created"), (2, "message.customer")] {
        let Told::Event(event) = stream.message().await.unwrap().unwrap().message.unwrap() else { panic!() };
        assert_eq!(
            (event.ticket_id.as_str(), event.ticket_sequence, event.r#type.as_str()),
            ("t", sequence, name)
        );
        assert_eq!(event.raw_json, "", "raw only where it is asked for");
        assert_eq!(event.customer_identity, "c@0mn.io");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_start_position_and_resuming_misses_nothing() {
    let world = World::start().await;
    for number in 0..50 {
        world.post(message("t", &format!("m{number}"), "oi")).await;
    }
    let all = world.all_events().await;
    assert_eq!(all.len(), 50);
    let read = async |position| {
        let request = pb::SubscribeRequest {
            start: Some(at(position)),
            stop_when_caught_up: true,
            ..Default::default()
        };
        world.read(request).await.into_iter().map(|event| event.ticket_sequence).collect::<Vec<_>>()
    };
    assert_eq!(read(Position::Latest(true)).await, Vec::<u64>::new());
    assert_eq!(read(Position::AfterCursor(all[19].cursor.clone())).await, (21..=50).collect::<Vec<_>>());
    assert_eq!(read(Position::Ago(prost_types::Duration { seconds: 3_600, nanos: 0 })).await.len(), 50);
    let since = all[30].receive_time.unwrap();
    let expected: Vec<_> = all
        .iter()
        .filter(|event| {
            let time = event.receive_time.unwrap();
            (time.seconds, time.nanos) >= (since.seconds, since.nanos)
        })
        .map(|event| event.ticket_sequence)
        .collect();
    assert_eq!(read(Position::AtTime(since)).await, expected);
    let limited =
        pb::SubscribeRequest { start: Some(at(Position::Earliest(true))), limit: 7, ..Default::default() };
    assert_eq!(world.read(limited).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_views_and_pages() {
    let world = World::start().await;
    for name in ["a", "b"] {
        world.post(ticket(name, "Waiting")).await;
        world.post(message(name, "m", "oi")).await;
    }
    let read = async |filter, view: pb::EventView| {
        world
            .read(pb::SubscribeRequest {
                filter: Some(filter),
                view: view.into(),
                start: Some(at(Position::Earliest(true))),
                stop_when_caught_up: true,
                ..Default::default()
            })
            .await
    };
    let types = |types: &[&str]| types.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let filter =
        pb::EventFilter { types: types(&["ticket.*"]), ticket_ids: types(&["b"]), ..Default::default() };
    let events = read(filter, pb::EventView::Envelope).await;
    assert_eq!(events.len(), 1);
    assert!(
        events[0].payload.is_none() && events[0].ticket_id == "b" && events[0].r#type == "ticket.created"
    );
    let filter = pb::EventFilter { customer_identities: types(&["C@0MN.io"]), ..Default::default() };
    assert_eq!(read(filter, pb::EventView::Full).await.len(), 4);
    let filter = pb::EventFilter { exclude_types: types(&["message.*"]), ..Default::default() };
    assert_eq!(read(filter, pb::EventView::Full).await.len(), 2);

    let mut client = world.events().await;
    let mut page = pb::ListEventsRequest { page_size: 3, ..Default::default() };
    let first = client.list_events(page.clone()).await.unwrap().into_inner();
    page.page_token = first.next_page_token;
    let second = client.list_events(page).await.unwrap().into_inner();
    assert_eq!((first.events.len(), second.events.len()), (3, 1));
    assert_eq!(second.next_page_token, "");
    let info = client.get_log_info(pb::GetLogInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.store.as_str(), info.retention.unwrap().seconds), ("sqlite", 7 * 86_400));
    assert_eq!(info.latest_cursor, second.events[0].cursor);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_names_its_field() {
    let world = World::start().await;
    world.post(ticket("t", "Waiting")).await;
    let refused = async |request| {
        let mut client = world.events().await;
        match client.subscribe(request).await {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        }
    };
    let after = |cursor: &str| pb::SubscribeRequest {
        start: Some(at(Position::AfterCursor(cursor.to_owned()))),
        ..Default::default()
    };
    let status = refused(after("nonsense")).await;
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::InvalidArgument, "CURSOR_MALFORMED"));
    let other = World::start().await;
    other.post(ticket("t", "Waiting")).await;
    let foreign = other.all_events().await[0].cursor.clone();
    let status = refused(after(&foreign)).await;
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::InvalidArgument, "CURSOR_FOREIGN"));
    let filter = pb::EventFilter { types: vec!["ticket.opened".to_owned()], ..Default::default() };
    let status = refused(pb::SubscribeRequest { filter: Some(filter), ..Default::default() }).await;
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    assert!(status.message().contains("ticket.created"), "{}", status.message());
}
