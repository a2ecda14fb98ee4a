//! What webhooks did not tell is found by reading Blip back, and is in the log once; what lives is never closed, whichever
//! way reading fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deskgate::grpc::pb;
use deskgate::grpc::pb::admin_service_client::AdminServiceClient;
use serde_json::{Value, json};

use crate::support::{PATIENCE, World};

mod customers;
mod faults;
mod storm;

/// Reading back that waits for nothing. No round begins by itself once the first is over.
const QUICK: &str = "[reconcile]\ninterval = \"1d\"\ngrace = \"1s\"\nearlier = \"off\"";
/// The same, that goes on.
const BUSY: &str = "[reconcile]\ninterval = \"10s\"\ngrace = \"1s\"\nearlier = \"off\"";

/// Waits until the log is as it should be, and answers its events.
async fn once(world: &World, is_so: impl Fn(&[pb::Event]) -> bool) -> Vec<pb::Event> {
    let start = std::time::Instant::now();
    loop {
        let events = world.all_events().await;
        if is_so(&events) {
            return events;
        }
        assert!(start.elapsed() < PATIENCE, "{:#?}", types(&events));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn types(events: &[pb::Event]) -> BTreeMap<(&str, &str), u32> {
    let mut types = BTreeMap::new();
    for event in events {
        *types.entry((event.ticket_id.as_str(), event.r#type.as_str())).or_default() += 1;
    }
    types
}

fn count(events: &[pb::Event], what: &str) -> usize {
    events.iter().filter(|event| event.r#type == what).count()
}

/// Has the bot read back, and answers the last that is told.
async fn reconcile(world: &World) -> pb::ReconcileBotResponse {
    let mut client = AdminServiceClient::new(world.channel().await);
    let request = pb::ReconcileBotRequest { bot: "suporte".to_owned(), since: None };
    let mut stream = client.reconcile_bot(request).await.unwrap().into_inner();
    let mut last = None;
    while let Some(progress) = stream.message().await.unwrap() {
        last = Some(progress);
    }
    last.unwrap()
}

/// Has the bot read back, and does not wait for the end.
async fn nudge(world: &World) {
    let mut client = AdminServiceClient::new(world.channel().await);
    let mut stream = client.reconcile_bot(pb::ReconcileBotRequest::default()).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
}

fn alerts<'e>(events: &'e [pb::Event], reason: &str) -> Vec<&'e pb::GatewayAlert> {
    let told = events.iter().filter_map(|event| match &event.payload {
        Some(pb::event::Payload::GatewayAlert(alert)) if alert.reason == reason => Some(alert),
        _ => None,
    });
    told.collect()
}

fn detail(alert: &pb::GatewayAlert, name: &str) -> String {
    let value = alert.details.as_ref().and_then(|details| details.fields.get(name)?.kind.clone());
    match value {
        Some(prost_types::value::Kind::StringValue(text)) => text,
        Some(prost_types::value::Kind::NumberValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[tokio::test]
async fn what_no_webhook_told_is_found() {
    let world = World::with(BUSY).await;
    let opened = world.desk("/customers", json!({"text": "oi", "announce": false})).await;
    let (customer, ticket) = (text(&opened, "customer_identity"), text(&opened, "ticket_id"));
    let say = json!({"text": "um", "announce": false});
    world.desk(&format!("/customers/{customer}/messages"), say).await;
    let assigned = json!({"status": "Open", "agent_identity": "ana%40x.com@blip.ai"});
    world.desk(&format!("/tickets/{ticket}/status"), assigned).await;
    world.desk(&format!("/tickets/{ticket}/messages"), json!({"text": "dois"})).await;
    world.desk(&format!("/tickets/{ticket}/status"), json!({"status": "ClosedAttendant"})).await;
    let events = once(&world, |events| count(events, "ticket.closed") > 0).await;
    let told: Vec<_> = events.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(told, ["ticket.created", "message.customer", "message.agent", "ticket.closed"]);
    for event in &events {
        assert_eq!(event.origin, i32::from(pb::EventOrigin::Reconciliation));
        assert!(event.event_time.is_some());
        assert_eq!(event.flags.unwrap_or_default(), pb::EventFlags::default(), "{event:?}");
    }
}

/// What the customer said before there was a ticket is told with it, and what our own commands did is not told twice.
#[tokio::test]
async fn first_words_are_told_and_our_own_are_not_told_again() {
    let world = World::with("[reconcile]\ninterval = \"1d\"\ngrace = \"1s\"").await;
    let (_, ticket_id) = world.customer("bom dia").await;
    let events = once(&world, |events| count(events, "message.customer") > 0).await;
    assert!(events[1].flags.unwrap().order_uncertain, "it was said before the ticket: {:?}", events[1]);
    let mut tickets = world.tickets().await;
    let assign = pb::AssignRequest {
        ticket_id: ticket_id.clone(),
        agent: "ana@x.com".to_owned(),
        ..Default::default()
    };
    tickets.assign(assign).await.unwrap();
    let send =
        pb::SendRequest { ticket_id: ticket_id.clone(), text: "pois não".to_owned(), ..Default::default() };
    tickets.send(send).await.unwrap();
    world.desk(&format!("/tickets/{ticket_id}/messages"), json!({"text": "de outro lugar"})).await;
    tickets.close(pb::CloseRequest { ticket_id, ..Default::default() }).await.unwrap();
    let events = once(&world, |events| count(events, "message.agent") > 1).await;
    assert!(reconcile(&world).await.report.unwrap().complete);
    let after = world.all_events().await;
    assert_eq!(types(&events), types(&after), "nothing is told twice");
    let told: Vec<_> = after.iter().map(|event| event.r#type.as_str()).collect();
    let expected = [
        "ticket.created",
        "message.customer",
        "ticket.assigned",
        "message.agent",
        "ticket.closed",
        "message.agent",
    ];
    assert_eq!(told, expected);
    let flags = after[5].flags.unwrap();
    assert!(flags.order_uncertain && flags.after_close, "{flags:?}");
}

/// Somebody attends to a ticket: from then on Blip posts what the customer says.
async fn attend(world: &World, ticket_id: &str) {
    let assign = pb::AssignRequest {
        ticket_id: ticket_id.to_owned(),
        agent: "ana@x.com".to_owned(),
        ..Default::default()
    };
    world.tickets().await.assign(assign).await.unwrap();
}

/// What customers say while they wait Blip posts to nobody: it is found, and nothing is wrong with webhooks.
#[tokio::test]
async fn words_of_those_who_wait_are_no_missing_webhooks() {
    let world = World::with(QUICK).await;
    let settings = world.http.put(world.desk_url("/settings"));
    let settings = settings.body(json!({"deliver_while_waiting": false}).to_string()).send().await.unwrap();
    assert!(settings.status().is_success());
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let (customer, ticket) = world.customer("oi").await;
        world.desk(&format!("/customers/{customer}/messages"), json!({"text": "alguém aí?"})).await;
        waiting.push(ticket);
    }
    let found = |events: &[pb::Event]| count(events, "message.customer") == 4;
    once_reconciled(&world, found).await;
    // Nor once somebody attends.
    for ticket in &waiting {
        attend(&world, ticket).await;
    }
    assert!(reconcile(&world).await.report.unwrap().complete);
    let events = world.all_events().await;
    assert!(found(&events) && alerts(&events, "WEBHOOKS_MISSING").is_empty(), "{:#?}", types(&events));
}

/// Blip blocks the URL: the alert says so with what to do, and again when webhooks come.
#[tokio::test]
async fn a_blocked_url_is_told_and_its_end() {
    let world = World::with(QUICK).await;
    let (customer, ticket) = world.customer("oi").await;
    attend(&world, &ticket).await;
    reconcile(&world).await;
    let answer = world.http.put(world.desk_url("/block")).body(json!({"ms": 3_600_000}).to_string());
    assert!(answer.send().await.unwrap().status().is_success());
    for n in 0..4 {
        let said =
            world.desk(&format!("/customers/{customer}/messages"), json!({"text": format!("{n}")})).await;
        assert_eq!(said["delivery"]["status"], "blocked");
    }
    let raised = once_reconciled(&world, |events| alerts(events, "WEBHOOKS_MISSING").len() == 1).await;
    let alert = alerts(&raised, "WEBHOOKS_MISSING")[0];
    println!("raised: {}", alert.description);
    assert_eq!((detail(alert, "state"), detail(alert, "cause")), ("raised".to_owned(), "blocked".to_owned()));
    assert!(alert.description.contains("save the custom attendance channel again"), "{}", alert.description);
    let gauge = "deskgate_reconcile_alert{bot=\"suporte\",reason=\"WEBHOOKS_MISSING\"} ";
    assert!(metrics(&world).await.contains(&format!("{gauge}1")));
    // Where webhooks are posted is set anew, which ends the block.
    let target = json!({"url": world.webhook_url(), "header_name": "Authorization",
        "header_value": format!("Key {}", crate::support::TOKEN)});
    world.http.put(world.desk_url("/webhook")).body(target.to_string()).send().await.unwrap();
    let said = world.desk(&format!("/customers/{customer}/messages"), json!({"text": "de volta"})).await;
    assert_eq!(said["delivery"]["http_status"], 200, "{said}");
    let cleared = once_reconciled(&world, |events| alerts(events, "WEBHOOKS_MISSING").len() == 2).await;
    let alert = alerts(&cleared, "WEBHOOKS_MISSING")[1];
    println!("cleared: {}", alert.description);
    assert_eq!(detail(alert, "state"), "cleared");
    assert!(metrics(&world).await.contains(&format!("{gauge}0")));
    assert_eq!(count(&cleared, "message.customer"), 5);
}

/// Reads back again and again until the log is as it should be.
async fn once_reconciled(world: &World, is_so: impl Fn(&[pb::Event]) -> bool) -> Vec<pb::Event> {
    let start = std::time::Instant::now();
    loop {
        reconcile(world).await;
        let events = world.all_events().await;
        if is_so(&events) {
            return events;
        }
        assert!(start.elapsed() < PATIENCE, "{:#?}", types(&events));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn metrics(world: &World) -> String {
    world.http.get(world.admin_url("/metrics")).send().await.unwrap().text().await.unwrap()
}

/// The sum of a counter's series that have this in their line.
async fn counted(world: &World, name: &str) -> u64 {
    let metrics = metrics(world).await;
    let series = metrics.lines().filter(|line| line.starts_with(name));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// The operator's command: what it came to, for people and for scripts, and what it says of a wrong bot.
#[tokio::test]
async fn the_operator_has_a_bot_read_back() {
    let world = World::with(QUICK).await;
    reconcile(&world).await;
    world.desk("/customers", json!({"text": "oi", "announce": false})).await;
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_deskgate"));
        command.arg("reconcile").args(arguments).args(["--server", &world.gateway.address("grpc")]);
        let output = command.env_clear().output().unwrap();
        let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), said(output.stdout), said(output.stderr))
    };
    // Until it is older than the grace, it is left to its webhook.
    let start = std::time::Instant::now();
    let (out, progress) = loop {
        let (code, out, progress) = run(&["suporte", "--since", "2h"]);
        assert_eq!(code, Some(0), "{out}{progress}");
        if !out.contains("nothing was missing") {
            break (out, progress);
        }
        assert!(start.elapsed() < PATIENCE, "{out}{progress}");
    };
    assert!(out.contains("1 ticket_created") && out.contains("1 living tickets listed"), "{out}");
    assert!(progress.contains("-- done"), "{progress}");
    let (code, out, _) = run(&["--json"]);
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (code, &last["phase"], &last["report"]["complete"]),
        (Some(0), &json!("RECONCILE_PHASE_DONE"), &json!(true))
    );
    let (code, _, said) = run(&["nobody"]);
    assert!(code == Some(1) && said.contains("nobody"), "{said}");
    let ids: BTreeSet<_> = world.all_events().await.into_iter().map(|event| event.ticket_id).collect();
    assert_eq!(ids.len(), 1);
}

/// A transfer made elsewhere: the old ticket ends as transferred, the new one is known, and they are joined.
#[tokio::test]
async fn a_silent_transfer_is_found() {
    let world = World::with(QUICK).await;
    let (_, old) = world.customer("oi").await;
    let moved = world.desk(&format!("/tickets/{old}/transfer"), json!({"team": "Default"})).await;
    // The new ticket's own webhook may have told of it; the old one's end nobody has.
    let new = text(&moved, "ticket_id");
    let events = once_reconciled(&world, |events| count(events, "ticket.transferred") > 0).await;
    let transferred = events.iter().find(|event| event.r#type == "ticket.transferred").unwrap();
    assert_eq!(transferred.ticket_id, old);
    let events = once_reconciled(&world, |events| types(events).contains_key(&(new, "ticket.created"))).await;
    let joined = events.iter().any(|event| match &event.payload {
        Some(pb::event::Payload::TicketTransferred(told)) => told.new_ticket_id == new,
        _ => false,
    });
    assert!(joined, "{:#?}", types(&events));
    assert_eq!(count(&events, "ticket.closed"), 0);
}

/// While Blip does not answer, nothing is concluded, and the round goes on once it does.
#[tokio::test]
async fn a_round_waits_out_an_outage() {
    let world = World::with(QUICK).await;
    let (_, ticket) = world.customer("oi").await;
    reconcile(&world).await;
    let power = |body: Value| {
        let request = world.http.put(world.desk_url("/power")).body(body.to_string());
        async move { assert!(request.send().await.unwrap().status().is_success()) }
    };
    power(json!({"on": false, "as": "unavailable"})).await;
    world.desk(&format!("/tickets/{ticket}/status"), json!({"status": "ClosedClient"})).await;
    let mut client = AdminServiceClient::new(world.channel().await);
    let mut stream = client.reconcile_bot(pb::ReconcileBotRequest::default()).await.unwrap().into_inner();
    loop {
        let progress = stream.message().await.unwrap().unwrap();
        assert!(progress.report.is_none(), "{progress:?}");
        if progress.trouble == "paused" {
            break;
        }
    }
    assert_eq!(count(&world.all_events().await, "ticket.closed"), 0);
    power(json!({"on": true})).await;
    let events = once_reconciled(&world, |events| count(events, "ticket.closed") > 0).await;
    assert!(alerts(&events, "RECONCILIATION_BLIND").is_empty(), "an outage is nobody's mistake");
}

/// A webhook comes after its fact was found: the log has it once.
#[tokio::test]
async fn a_webhook_that_comes_late_tells_nothing_twice() {
    let world = World::with(QUICK).await;
    let late = json!({"on": "webhooks", "kind": "delay", "ms": 5_000});
    world.desk("/faults", late.clone()).await;
    let (opened, found) = tokio::join!(
        world.desk("/customers", json!({"text": "oi"})),
        once_reconciled(&world, |events| count(events, "ticket.created") > 0),
    );
    assert_eq!(found[0].origin, i32::from(pb::EventOrigin::Reconciliation), "it was found first");
    let customer = text(&opened, "customer_identity");
    let before = count(&world.all_events().await, "message.customer");
    world.desk("/faults", late).await;
    let path = format!("/customers/{customer}/messages");
    let (said, found) = tokio::join!(
        world.desk(&path, json!({"text": "um"})),
        once_reconciled(&world, |events| count(events, "message.customer") > before),
    );
    let newest = found.last().unwrap();
    assert_eq!(newest.origin, i32::from(pb::EventOrigin::Reconciliation), "it was found first: {newest:?}");
    // Both webhooks have come by now, and been taken.
    assert_eq!(said["delivery"]["http_status"], 200, "{said}");
    let events = world.all_events().await;
    assert_eq!((count(&events, "ticket.created"), count(&events, "message.customer")), (1, before + 1));
}
