//! Stopping: what was accepted is finished, every stream is told where to go on, nothing new begins.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use deskgate::grpc::pb;
use pb::subscribe_response::Message as Told;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::{World, message, reason_of, ticket};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_tells_each_stream_and_exits_0() {
    let mut world = World::start().await;
    world.post(ticket("t", "Waiting")).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream =
            world.events().await.subscribe(pb::SubscribeRequest::default()).await.unwrap().into_inner();
        stream.message().await.unwrap();
        streams.push(stream);
    }
    world.gateway.signal("TERM");
    let mut resume = Vec::new();
    for stream in &mut streams {
        let mut going = None;
        let status = loop {
            match stream.message().await {
                Ok(Some(response)) => {
                    if let Some(Told::GoingAway(told)) = response.message {
                        assert!(going.replace(told).is_none(), "told once");
                    }
                }
                Ok(None) => panic!("a planned end is not OK"),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::Unavailable, "STREAM_DRAINING"));
        resume.push(going.expect("GoingAway before the end").resume_cursor);
    }
    assert!(world.gateway.wait().success());
    world.restart().await;
    world.post(message("t", "m", "oi")).await;
    for cursor in resume {
        let position = pb::start_position::Position::AfterCursor(cursor);
        let request = pb::SubscribeRequest {
            start: Some(crate::support::at(position)),
            stop_when_caught_up: true,
            ..Default::default()
        };
        assert_eq!(world.read(request).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_flight_is_finished_and_new_webhooks_hear_503() {
    let mut world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    world.desk("/faults", json!({"on": "messages", "kind": {"delay": {"ms": 1500}}})).await;
    let mut tickets = world.tickets().await;
    let request = pb::SendRequest { ticket_id, text: "até logo".to_owned(), ..Default::default() };
    let call = tokio::spawn(async move { tickets.send(request).await });
    while world.desk_state().await["faults"]["waiting"].as_array().is_some_and(|waiting| !waiting.is_empty())
    {
        tokio::task::yield_now().await;
    }
    world.gateway.signal("TERM");
    world.gateway.wait_for_log("stopping");
    let answer = world.http.post(world.webhook_url()).header("Authorization", crate::support::TOKEN);
    let answer = answer.body(message("t", "late", "oi")).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let receipt = call.await.unwrap().unwrap().into_inner().receipt.unwrap();
    assert_eq!(receipt.state(), pb::CommandState::Succeeded);
    assert!(world.gateway.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_aborts() {
    let mut world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    world.desk("/faults", json!({"on": "messages", "kind": {"hang": {}}})).await;
    let mut tickets = world.tickets().await;
    let request = pb::SendRequest { ticket_id, text: "oi".to_owned(), ..Default::default() };
    let call = tokio::spawn(async move { tickets.send(request).await });
    while world.desk_state().await["faults"]["waiting"].as_array().is_some_and(|waiting| !waiting.is_empty())
    {
        tokio::task::yield_now().await;
    }
    world.gateway.signal("TERM");
    world.gateway.wait_for_log("stopping");
    world.gateway.signal("TERM");
    let status = world.gateway.wait();
    assert!(!status.success() || status.signal().is_some(), "{status:?}");
    call.await.unwrap().unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_does_not_hold_up_the_stop() {
    let mut world = World::start().await;
    let mut admin = TcpStream::connect(world.gateway.address("admin")).await.unwrap();
    admin.write_all(b"GET /liv").await.unwrap();
    let mut webhook = TcpStream::connect(world.gateway.address("webhook")).await.unwrap();
    let token = crate::support::TOKEN;
    let head = format!(
        "POST /webhooks/suporte HTTP/1.1\r\nhost: a\r\nauthorization: {token}\r\ncontent-length: 9\r\n\r\n{{"
    );
    webhook.write_all(head.as_bytes()).await.unwrap();
    // Somebody else is answered, so the gateway has read what came before.
    assert_eq!(world.post(ticket("t", "Waiting")).await, 200);
    world.gateway.signal("TERM");
    let (begun, mut answer) = (Instant::now(), String::new());
    webhook.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "nothing was accepted: {answer}");
    assert!(world.gateway.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blip_that_hangs_does_not_spoil_the_stop() {
    let mut world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    world.desk("/faults", json!({"on": "messages", "kind": {"hang": {}}})).await;
    let reads = json!({"on": "commands", "match": {"uri_contains": "/ticket/"}, "kind": {"hang": {}}});
    world.desk("/faults", reads).await;
    let mut tickets = world.tickets().await;
    let request =
        pb::SendRequest { ticket_id: ticket_id.clone(), text: "oi".to_owned(), ..Default::default() };
    let call = tokio::spawn(async move { tickets.send(request).await });
    let mut tickets = world.tickets().await;
    let request = pb::GetTicketRequest { ticket_id, fresh: true, ..Default::default() };
    let read = tokio::spawn(async move { tickets.get_ticket(request).await });
    while world.desk_state().await["faults"]["waiting"].as_array().is_some_and(|waiting| !waiting.is_empty())
    {
        tokio::task::yield_now().await;
    }
    // Somebody reads the store beside it, as a backup does: its log cannot be emptied meanwhile.
    let beside = rusqlite::Connection::open(world.folder.path().join("deskgate.db")).unwrap();
    beside.execute_batch("BEGIN; SELECT * FROM sqlite_schema").unwrap();
    let begun = Instant::now();
    world.gateway.signal("TERM");
    assert!(world.gateway.wait().success(), "the command is in the ledger, and the next start looks for it");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let log = world.gateway.rest_of_log();
    assert!(log.contains("accepted work was abandoned") && log.contains("\"commands\":1"), "{log}");
    let status = call.await.unwrap().unwrap_err();
    let (reason, metadata) = reason_of(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::Unknown, "OUTCOME_UNKNOWN"), "{status:?}");
    assert!(log.contains(&metadata["command_id"]), "{metadata:?} {log}");
    let status = read.await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::Unavailable, "STREAM_DRAINING"));
}
