//! A bound on the store's size, on the built binary: the oldest events go, who has not read them is warned first and told
//! then, and the file stays small.

use deskgate::grpc::pb;
use pb::consume_request::Message as Ask;
use pb::event::Payload;
use pb::start_position::Position;
use prost_types::value::Kind;
use tokio_stream::wrappers::ReceiverStream;

use crate::crowd::{Load, groups, make};
use crate::support::{World, at, reason_of};

/// Events of some 32 KiB, twice on the disk: what is kept within 64 MiB is five hundred or so.
const TEXT_BYTES: usize = 32 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_warned_before_it_loses_events_and_told_when_it_has() {
    let world = World::with("[store]\nmax_size = \"64MiB\"\n").await;
    let mut client = groups(&world).await;
    make(
        &mut client,
        pb::ConsumerGroup { group: "crm".to_owned(), pin_retention: true, ..Default::default() },
    )
    .await;
    let mut alerts = world
        .events()
        .await
        .subscribe(pb::SubscribeRequest {
            filter: Some(pb::EventFilter { types: vec!["gateway.alert".to_owned()], ..Default::default() }),
            start: Some(at(Position::Earliest(true))),
            limit: 1,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let mut warning = tokio::spawn(async move {
        loop {
            let told = alerts.message().await.unwrap().expect("an alert");
            if let Some(pb::subscribe_response::Message::Event(event)) = told.message {
                return event;
            }
        }
    });
    let (text, load) = ("x".repeat(TEXT_BYTES), Load::on(&world));
    load.clone().post(20, 15, &text).await;
    // The gateway looks each second, and foresees the end only while something comes.
    let mut alert = None;
    for more in 0..200 {
        load.one(&format!("more-{}", more % 20), &more.to_string(), &text).await;
        if let Ok(told) = tokio::time::timeout(std::time::Duration::from_millis(25), &mut warning).await {
            alert = Some(told.unwrap());
            break;
        }
    }
    let alert = alert.expect("a warning");
    assert_eq!(trimmed_position(&world).await, 0, "there is time to do something");
    assert_eq!((alert.bot.as_str(), alert.origin()), ("", pb::EventOrigin::Gateway));
    let Some(Payload::GatewayAlert(alert)) = alert.payload else { panic!("{alert:?}") };
    assert_eq!(alert.reason, "UNREAD_EVENTS_EXPIRE", "{}", alert.description);
    let details = alert.details.unwrap().fields;
    assert_eq!(details["group"].kind, Some(Kind::StringValue("crm".to_owned())));
    let posting = tokio::spawn(async move { load.post(20, 185, &text).await });
    let (database, posted) = (world.folder.path().join("deskgate.db"), posting.abort_handle());
    let watching = tokio::spawn(async move {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(5));
        let mut most = 0;
        while !posted.is_finished() {
            looks.tick().await;
            most = most.max(on_disk(&database));
        }
        most
    });
    posting.await.unwrap();
    let most = watching.await.unwrap();
    println!("of 64 MiB, {} KiB at most while 128 MiB came", most >> 10);
    assert!((32 << 20..64 << 20).contains(&most), "{most} bytes");
    assert!(trimmed_position(&world).await > 1_000);

    let ended = ended_at_once(&mut client).await;
    let (reason, metadata) = reason_of(&ended);
    assert_eq!(reason, "CURSOR_EXPIRED", "{ended:?}");
    // Where it says that the log begins, it begins.
    let to = at(Position::AfterCursor(metadata["earliest_cursor"].clone()));
    let seek = pb::SeekConsumerGroupRequest { group: "crm".to_owned(), to: Some(to), validate_only: false };
    let moved = client.seek_consumer_group(seek).await.unwrap().into_inner();
    assert!(moved.events_affected > 1_000, "{moved:?}");
    let pull = pb::PullRequest { group: "crm".to_owned(), max_events: 5, ..Default::default() };
    let pulled = client.pull(pull).await.unwrap().into_inner();
    assert!(!pulled.deliveries.is_empty() && pulled.gap.is_none(), "{pulled:?}");
}

/// How a member's stream ends that is not to last.
async fn ended_at_once(client: &mut crate::crowd::Groups) -> tonic::Status {
    let (asks, outgoing) = tokio::sync::mpsc::channel(1);
    let start = pb::ConsumeStart { group: "crm".to_owned(), ..Default::default() };
    asks.send(pb::ConsumeRequest { message: Some(Ask::Start(start)) }).await.unwrap();
    match client.consume(ReceiverStream::new(outgoing)).await {
        Err(status) => status,
        Ok(stream) => {
            let mut stream = stream.into_inner();
            loop {
                if let Err(status) = stream.message().await {
                    break status;
                }
            }
        }
    }
}

/// What the database and its log take.
fn on_disk(database: &std::path::Path) -> u64 {
    let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
    size(database) + size(&database.with_extension("db-wal"))
}

/// Up to where events are gone.
async fn trimmed_position(world: &World) -> u64 {
    let metrics = world.http.get(world.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
    let trimmed = metrics.lines().find_map(|line| line.strip_prefix("deskgate_store_trimmed_position "));
    trimmed.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_events_go_one_by_one_and_who_keeps_up_loses_none() {
    const BODY_BYTES: usize = 1_000_000;
    const EVENTS: usize = 120;
    let world = World::with("[store]\nmax_size = \"64MiB\"\n").await;
    let mut live = world
        .events()
        .await
        .max_decoding_message_size(32 << 20)
        .subscribe(pb::SubscribeRequest { limit: u32::try_from(EVENTS).unwrap(), ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    let reading = tokio::spawn(async move {
        let mut seen = 0;
        while let Some(told) = live.message().await.unwrap() {
            seen += usize::from(matches!(told.message, Some(pb::subscribe_response::Message::Event(_))));
        }
        seen
    });
    let text = "x".repeat(BODY_BYTES);
    let load = Load::on(&world);
    let mut most = 0;
    for round in 0..EVENTS {
        load.one("ticket", &round.to_string(), &text).await;
        let size =
            |name: &str| std::fs::metadata(world.folder.path().join(name)).map_or(0, |file| file.len());
        most = most.max(size("deskgate.db") + size("deskgate.db-wal"));
        if round > 40 {
            let kept = u64::try_from(round).unwrap() - trimmed_position(&world).await;
            assert!(kept >= 14, "{kept} are kept after {round}: 36 MiB of 64 are for them, body and record");
        }
    }
    assert_eq!(reading.await.unwrap(), EVENTS);
    assert!(most < 64 << 20, "{most} bytes on the disk");
}
