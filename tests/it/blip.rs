//! Blip refuses, fails and comes back: what callers are told, what is sent meanwhile, and that it mends by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deskgate::app::blip_metrics;
use deskgate::blip::http::{HttpBlip, client};
use deskgate::blip::policy::Rates;
use deskgate::blip::{BlipApi, BlipError, Caller, Kind};
use deskgate::grpc::pb;
use deskgate::lime::{Command, LimeUri, Method, ReplyStatus};
use pb::event::Payload;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{KEY, PATIENCE, World, reason_of};

/// Reads a ticket from Blip.
async fn read(world: &World, ticket_id: &str) -> Result<pb::Ticket, Status> {
    let request = pb::GetTicketRequest { ticket_id: ticket_id.to_owned(), fresh: true, ..Default::default() };
    let answer = world.tickets().await.get_ticket(request).await?;
    Ok(answer.into_inner().ticket.unwrap())
}

async fn send(world: &World, ticket_id: &str) -> Result<pb::SendResponse, Status> {
    let request =
        pb::SendRequest { ticket_id: ticket_id.to_owned(), text: "oi".to_owned(), ..Default::default() };
    Ok(world.tickets().await.send(request).await?.into_inner())
}

async fn lay(world: &World, on: &str, times: u64, kind: Value) {
    world.desk("/faults", json!({"on": on, "times": times, "kind": kind})).await;
}

async fn clear(world: &World) {
    world.http.delete(world.desk_url("/faults")).send().await.unwrap().error_for_status().unwrap();
}

/// How many envelopes of a kind came to Desk.
async fn arrived(world: &World, on: &str) -> usize {
    let state = world.desk_state().await;
    let requests = state["requests"].as_array().unwrap();
    requests.iter().filter(|request| request["on"] == on).count()
}

async fn metric(world: &World, name: &str) -> String {
    let metrics = world.http.get(world.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}

fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info().and_then(|info| info.retry_delay)
}

/// Every reason code of LIME (R§9), and what is none.
#[tokio::test(flavor = "multi_thread")]
async fn every_reason_code_has_its_status() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let rows: [(&[i64], Code, &str); 7] = [
        (&[13, 31, 32, 35], Code::FailedPrecondition, "BLIP_CREDENTIAL_REJECTED"),
        (&[34, 85], Code::ResourceExhausted, "BLIP_QUOTA_EXCEEDED"),
        (&[11, 12, 14, 16, 41, 51, 81, 86], Code::Unavailable, "BLIP_UNAVAILABLE"),
        (&[33, 42, 43, 44, 67, 83], Code::NotFound, "TICKET_NOT_FOUND"),
        (&[17, 18, 21, 22, 23, 24, 25, 26, 27, 64, 71, 82], Code::InvalidArgument, "BLIP_REJECTED"),
        (&[1, 15, 61, 62, 63, 65, 66, 84, 87, 101], Code::FailedPrecondition, "BLIP_REJECTED"),
        (&[0, -1, 2, 28, 36, 60, 99, 999, i64::MAX], Code::FailedPrecondition, "BLIP_REJECTED"),
    ];
    let coded = rows
        .iter()
        .flat_map(|(codes, status, reason)| codes.iter().map(|code| (Some(*code), *status, *reason)));
    let missing = (None, Code::FailedPrecondition, "BLIP_REJECTED");
    for (code, expected, reason) in coded.chain([missing]) {
        lay(&world, "commands", 1, json!({"failure": {"code": code, "description": "não deu"}})).await;
        let status = read(&world, &ticket_id).await.unwrap_err();
        let (told, metadata) = reason_of(&status);
        assert_eq!((status.code(), told.as_str()), (expected, reason), "{code:?}: {status:?}");
        if code != Some(67) {
            assert_eq!(metadata.get("blip_code").cloned(), code.map(|code| code.to_string()), "{code:?}");
            assert_eq!(metadata["blip_description"], "não deu");
            assert!(metadata["blip_uri"].contains(&ticket_id), "{metadata:?}");
        }
        let passing = matches!(expected, Code::Unavailable | Code::ResourceExhausted);
        assert_eq!(retry_delay(&status).is_some(), passing, "{code:?}");
        let details = status.get_error_details();
        assert_eq!(details.resource_info().is_some(), expected == Code::NotFound, "{code:?}");
        let blamed = details.bad_request().is_some_and(|told| told.field_violations[0].field == "ticket_id");
        assert_eq!(blamed, expected == Code::InvalidArgument, "{code:?}");
    }
    read(&world, &ticket_id).await.unwrap();
}

/// Every HTTP status that tells something of its own, and some that do not, on a read and on a message.
#[tokio::test(flavor = "multi_thread")]
async fn every_http_status_has_its_status() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    for http in
        [300, 302, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 418, 422, 500, 502, 503, 504, 599]
    {
        let rejected = (Code::FailedPrecondition, "BLIP_REJECTED");
        let credential = (Code::FailedPrecondition, "BLIP_CREDENTIAL_REJECTED");
        let (of_read, of_send) = match http {
            401 | 403 => (credential, credential),
            408 | 500.. => ((Code::Unavailable, "BLIP_UNAVAILABLE"), (Code::Unknown, "OUTCOME_UNKNOWN")),
            _ => (rejected, rejected),
        };
        // A read is asked for three times, where that may help.
        let times = if of_read.0 == Code::Unavailable { 3 } else { 1 };
        // Later looks for messages that were perhaps sent are commands, too.
        let fault = json!({"on": "commands", "times": times, "match": {"uri_contains": "/ticket/"},
                           "kind": {"status": {"code": http}}});
        world.desk("/faults", fault).await;
        let read = read(&world, &ticket_id).await.unwrap_err();
        lay(&world, "messages", 1, json!({"status": {"code": http}})).await;
        let sent = send(&world, &ticket_id).await.unwrap_err();
        for (status, (expected, reason)) in [(read, of_read), (sent, of_send)] {
            let (told, metadata) = reason_of(&status);
            assert_eq!((status.code(), told.as_str()), (expected, reason), "{http}: {status:?}");
            assert_eq!(retry_delay(&status).is_some(), expected == Code::Unavailable, "{http}");
            if expected == Code::FailedPrecondition {
                assert_eq!(metadata["http_status"], http.to_string());
            }
        }
    }
    send(&world, &ticket_id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_blip_throttles_is_held_back_as_long_as_it_says() {
    let mut world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    lay(&world, "messages", 1, json!({"status": {"code": 429, "retry_after": 1}})).await;
    let status = send(&world, &ticket_id).await.unwrap_err();
    assert_eq!(
        (status.code(), reason_of(&status).0.as_str()),
        (Code::ResourceExhausted, "BLIP_QUOTA_EXCEEDED")
    );
    assert_eq!(retry_delay(&status), Some(Duration::from_secs(1)));
    world.gateway.wait_for_log("the rate is halved");
    send(&world, &ticket_id).await.unwrap(); // it waits until Blip takes it

    lay(&world, "messages", 1, json!({"status": {"code": 429, "retry_after": 300}})).await;
    send(&world, &ticket_id).await.unwrap_err();
    let before = arrived(&world, "messages").await;
    let status = send(&world, &ticket_id).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    let delay = retry_delay(&status).unwrap();
    assert!(delay > Duration::from_secs(200) && delay <= Duration::from_mins(5), "{delay:?}");
    assert_eq!(arrived(&world, "messages").await, before, "nothing was sent");
    read(&world, &ticket_id).await.unwrap(); // commands have a rate of their own
}

/// The circuit's way, from the first failures until Blip answers again.
async fn opens_and_closes(world: &mut World, ticket_id: &str, restore: impl AsyncFnOnce(&mut World)) {
    let gauge = "deskgate_blip_circuit_state{bot=\"suporte\"}";
    assert_eq!(metric(world, gauge).await, "0");
    let mut reasons = Vec::new();
    let refused = loop {
        let status = read(world, ticket_id).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        reasons.push(reason_of(&status).0);
        if reasons.last().unwrap() == "BLIP_CIRCUIT_OPEN" {
            break status;
        }
    };
    let failures = reasons.iter().filter(|reason| *reason == "BLIP_UNAVAILABLE").count();
    // Ten failures open it, and each read asks three times.
    assert!(failures >= 3, "{reasons:?}");
    assert_eq!(reason_of(&refused).1["bot"], "suporte");
    assert!(retry_delay(&refused).unwrap() <= Duration::from_secs(30));
    world.gateway.wait_for_log("the circuit is open");
    assert_ne!(metric(world, gauge).await, "0");
    // One breaker for all kinds; a send that comes when it is time to try is told otherwise.
    while reason_of(&send(world, ticket_id).await.unwrap_err()).0 != "BLIP_CIRCUIT_OPEN" {}
    // Calls keep coming, so that there is one to try.
    let prober = tokio::spawn(probe(world.tickets().await, ticket_id.to_owned()));
    world.gateway.wait_for_log("the circuit is half open");
    prober.abort();
    restore(world).await;
    let deadline = Instant::now() + PATIENCE;
    while let Err(status) = read(world, ticket_id).await {
        if status.code() == Code::NotFound {
            break; // a new Desk does not know the ticket, but answers
        }
        assert!(Instant::now() < deadline, "{status:?}");
        tokio::time::sleep(retry_delay(&status).unwrap()).await;
    }
    world.gateway.wait_for_log("the circuit is closed");
    assert_eq!(metric(world, gauge).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_circuit_opens_on_server_errors_and_closes_by_itself() {
    let mut world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    for on in ["commands", "messages"] {
        lay(&world, on, 1_000_000, json!({"status": {"code": 503}})).await;
    }
    opens_and_closes(&mut world, &ticket_id, async |world: &mut World| clear(world).await).await;
    send(&world, &ticket_id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_circuit_opens_when_nobody_listens_and_closes_by_itself() {
    let mut world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let address = world.desk.address("desk");
    world.desk.kill();
    opens_and_closes(&mut world, &ticket_id, async |world: &mut World| world.restart_desk(&address).await)
        .await;
}

/// Asks again whenever an answer says to.
async fn probe(
    mut tickets: pb::ticket_service_client::TicketServiceClient<tonic::transport::Channel>,
    ticket_id: String,
) {
    loop {
        let request =
            pb::GetTicketRequest { ticket_id: ticket_id.clone(), fresh: true, ..Default::default() };
        let delay = tickets.get_ticket(request).await.err().and_then(|status| retry_delay(&status));
        tokio::time::sleep(delay.unwrap_or(Duration::from_millis(100)).min(Duration::from_secs(1))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_circuit_is_open_nothing_is_sent() {
    let mut world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    lay(&world, "commands", 1_000_000, json!({"status": {"code": 503}})).await;
    while reason_of(&read(&world, &ticket_id).await.unwrap_err()).0 != "BLIP_CIRCUIT_OPEN" {}
    world.gateway.wait_for_log("the circuit is open");
    let failed = async || world.desk_state().await["faults"]["happened"].as_u64().unwrap();
    let before = failed().await;
    let mut refused = 0;
    for _ in 0..200 {
        refused +=
            u64::from(reason_of(&read(&world, &ticket_id).await.unwrap_err()).0 == "BLIP_CIRCUIT_OPEN");
    }
    // A probe or two may have fallen into this time, never more.
    let probes = failed().await - before;
    // One whose probe failed is refused when it asks again.
    assert!(refused <= 200 && refused + probes >= 200, "{refused} refused, {probes} probes");
    assert!(probes <= 5, "{probes} probes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_told_once_and_opens_no_circuit() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    lay(&world, "commands", 20, json!({"status": {"code": 401}})).await;
    lay(&world, "commands", 10, json!({"failure": {"code": 31, "description": "negado"}})).await;
    for _ in 0..30 {
        let status = read(&world, &ticket_id).await.unwrap_err();
        assert_eq!(
            (status.code(), reason_of(&status).0.as_str()),
            (Code::FailedPrecondition, "BLIP_CREDENTIAL_REJECTED")
        );
    }
    read(&world, &ticket_id).await.unwrap();
    assert_eq!(metric(&world, "deskgate_blip_circuit_state{bot=\"suporte\"}").await, "0");
    let counted = "deskgate_setup_mistakes_total{bot=\"suporte\",reason=\"BLIP_CREDENTIAL_REJECTED\"}";
    assert_eq!(metric(&world, counted).await, "30");
    let filter = pb::EventFilter { types: vec!["gateway.*".to_owned()], ..Default::default() };
    let start = pb::start_position::Position::Earliest(true);
    let request = pb::SubscribeRequest {
        filter: Some(filter),
        start: Some(crate::support::at(start)),
        limit: 1,
        ..Default::default()
    };
    let event = world.read(request).await.remove(0);
    let Some(Payload::GatewayAlert(alert)) = event.payload else { panic!("{event:?}") };
    assert_eq!(alert.reason, "BLIP_CREDENTIAL_REJECTED");
    assert!(
        alert.description.contains("HTTP 401") && alert.description.contains("key_env"),
        "{}",
        alert.description
    );
    let types: Vec<_> = world.all_events().await.into_iter().map(|event| event.r#type).collect();
    assert_eq!(types, ["ticket.created", "gateway.alert"], "one an hour");
}

/// The bot's way to the stand-in Desk itself, without a gateway around it.
fn way(world: &World, rates: Rates) -> Arc<dyn BlipApi> {
    let key = HeaderValue::from_str(&format!("Key {KEY}")).unwrap();
    let url = format!("http://{}", world.desk.address("desk"));
    let authorization = Arc::new(move || Some(key.clone()));
    Arc::new(HttpBlip::new("suporte", client().unwrap(), &url, authorization, rates, blip_metrics()))
}

fn ping(id: usize) -> Command {
    Command {
        id: format!("ping-{id}"),
        to: "postmaster@msging.net".to_owned(),
        method: Method::Get,
        uri: LimeUri("/ping".to_owned()),
        resource: None,
    }
}

/// Desk itself counts, and refuses for two minutes whoever is over its rate.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_keeps_to_the_rate_and_starves_nobody() {
    let world = World::start().await;
    let quota = json!({"quota": {"messages": 20, "notifications": 20, "commands": 20}});
    let settings = world.http.put(world.desk_url("/settings")).body(quota.to_string());
    settings.send().await.unwrap().error_for_status().unwrap();
    let api = way(&world, Rates { messages: 20, notifications: 20, commands: 20 });
    let (flood, calm) = (Caller::client("flood"), Caller::client("calm"));
    let (flood, calm) = (Arc::clone(&api).for_caller(flood), api.for_caller(calm));
    let flooded = Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    for id in 0..100 {
        let (flood, flooded) = (Arc::clone(&flood), Arc::clone(&flooded));
        calls.spawn(async move {
            flood.command(&ping(id), Instant::now() + PATIENCE).await.unwrap();
            flooded.fetch_add(1, Ordering::SeqCst);
        });
    }
    while flooded.load(Ordering::SeqCst) < 20 {
        tokio::task::yield_now().await;
    }
    for id in 1_000..1_010 {
        calm.command(&ping(id), Instant::now() + PATIENCE).await.unwrap();
    }
    assert!(flooded.load(Ordering::SeqCst) < 90, "the flood went first");
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

/// Receipts have a rate and a way of their own.
#[tokio::test(flavor = "multi_thread")]
async fn notifications_arrive() {
    let world = World::start().await;
    let api = way(&world, Rates::PAID);
    let receipt = json!({"id": "m-1", "to": "c@desk.msging.net", "event": "consumed"}).to_string();
    api.notification(receipt.into_bytes(), Instant::now() + PATIENCE).await.unwrap();
    assert_eq!(arrived(&world, "notifications").await, 1);
}

/// A close with labels is two calls: their turns are had together, and nobody's waiting comes between them.
#[tokio::test(flavor = "multi_thread")]
async fn turns_that_were_had_are_used_however_many_wait() {
    let world = World::start().await;
    let api = way(&world, Rates { messages: 2, notifications: 2, commands: 2 });
    let far = Instant::now() + PATIENCE * 60;
    let ready = Arc::clone(&api).turns(Kind::Command, 2, far).await.unwrap();
    // More than could have their turns while we have patience.
    let mut waiting: Vec<_> = (0..500).map(|_| api.turn(Kind::Command, far)).collect();
    for turn in &mut waiting {
        assert!(futures_util::poll!(turn).is_pending(), "the rate is used up");
    }
    for id in 0..2 {
        ready.turn(Kind::Command, Instant::now() + PATIENCE).await.unwrap();
        let answer = ready.command(&ping(id), Instant::now() + PATIENCE).await.unwrap();
        assert!(matches!(answer.status, ReplyStatus::Success(_)), "{answer:?}");
    }
    let third = ready.command(&ping(3), Instant::now() + PATIENCE).await;
    assert!(matches!(third, Err(BlipError::OverQuota { .. })), "{third:?}");
}
