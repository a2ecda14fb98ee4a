//! Reading fails in each way there is, and no ticket that lives is closed; what is wrong is told.

use std::time::Duration;

use deskgate::grpc::pb;
use serde_json::{Value, json};

use super::{QUICK, alerts, count, detail, nudge, once, once_reconciled, reconcile, text, types};
use crate::support::{PATIENCE, World};

const TICKET: &str = "application/vnd.iris.ticket+json";
const LIST: &str = "application/vnd.lime.collection+json";
const MANY: u64 = 100_000;

fn fault(kind: &str, uri: &str, more: &Value) -> Value {
    let mut fault = json!({"on": "commands", "kind": kind, "times": MANY, "match": {"uri_contains": uri}});
    fault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fault
}

/// Every way in which reading fails: what it is called, what is wrong, and the cause that the alert names.
fn ways() -> Vec<(&'static str, Vec<Value>, &'static str)> {
    let empty = json!({"type": LIST, "resource": {"itemType": TICKET, "items": []}});
    let other =
        json!({"type": TICKET, "resource": {"id": "another", "status": "ClosedClient", "closed": true}});
    let nameless = json!({"type": TICKET, "resource": {"status": "ClosedAttendant", "closed": true}});
    let take = json!({"description": "The take parameter can not be greater than 100"});
    let not_found = json!({"code": 67, "description": "The requested resource was not found"});
    vec![
        ("67 for all, as with a router's key", vec![fault("failure", "", &not_found)], "no_desk"),
        ("empty lists", vec![fault("answer", "/tickets?", &empty)], "empty_list"),
        (
            "empty lists, and 67 for each ticket",
            vec![fault("answer", "/tickets?", &empty), fault("failure", "/ticket/", &not_found)],
            "nothing_found",
        ),
        (
            "empty lists, and another ticket's end for each ticket",
            vec![fault("answer", "/tickets?", &empty), fault("answer", "/ticket/", &other)],
            "",
        ),
        (
            "empty lists, and an end without a name for each ticket",
            vec![fault("answer", "/tickets?", &empty), fault("answer", "/ticket/", &nameless)],
            "",
        ),
        ("empty lists without members", vec![fault("answer", "/tickets?", &json!({}))], "empty_list"),
        ("empty conversations", vec![fault("answer", "/messages", &empty)], ""),
        ("pages that are too large", vec![fault("failure", "/tickets?", &take)], "list_refused"),
        (
            "a filter that Blip does not know",
            vec![fault(
                "failure",
                "$closed=true",
                &json!({"code": 61, "description": "Unable to perform operation"}),
            )],
            "no_closed_list",
        ),
        ("a key that is refused", vec![fault("status", "", &json!({"code": 401}))], "key_refused"),
        ("no permission", vec![fault("failure", "", &json!({"code": 35}))], "key_refused"),
        ("5xx", vec![fault("status", "", &json!({"code": 500}))], ""),
        ("resets", vec![fault("drop_before", "", &json!({}))], ""),
        ("no JSON", vec![fault("status", "", &json!({"code": 200, "body": "<html>"}))], ""),
    ]
}

async fn open(world: &World, count: usize) -> Vec<String> {
    let mut tickets = Vec::new();
    for _ in 0..count {
        tickets.push(world.customer("oi").await.1);
    }
    tickets
}

/// Whether an alert of this cause was raised.
fn is_raised(events: &[pb::Event], cause: &str) -> bool {
    alerts(events, "RECONCILIATION_BLIND").iter().any(|alert| detail(alert, "cause") == cause)
}

/// Whether each of so many faults that wait has happened at least once.
async fn all_happened(world: &World, faults: usize) -> bool {
    let told = world.http.get(world.desk_url("/faults")).send().await.unwrap().text().await.unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    let waiting = told["waiting"].as_array().unwrap();
    assert_eq!(waiting.len(), faults, "{told}");
    waiting.iter().all(|fault| fault["times"].as_u64().unwrap() < MANY)
}

/// How many questions were asked.
async fn asked(world: &World) -> u64 {
    super::counted(world, "deskgate_reconcile_questions_total").await
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_way_reading_fails_nothing_that_lives_is_closed() {
    for (name, faults, cause) in ways() {
        let world = World::with(QUICK).await;
        let tickets = open(&world, 8).await;
        reconcile(&world).await;
        for fault in &faults {
            world.desk("/faults", fault.clone()).await;
        }
        let (before, start) = (asked(&world).await, std::time::Instant::now());
        loop {
            // The end of a round may not come while Blip fails.
            nudge(&world).await;
            let events = world.all_events().await;
            let told = alerts(&events, "RECONCILIATION_BLIND")
                .into_iter()
                .find(|alert| detail(alert, "cause") == cause);
            if let Some(alert) = told {
                println!("{name}: {}", alert.description);
                break;
            }
            if cause.is_empty()
                && asked(&world).await > before + 10
                && all_happened(&world, faults.len()).await
            {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "{name}: no alert of {cause:?}: {:#?}", types(&events));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(all_happened(&world, faults.len()).await, "{name}: not all of it came to pass");
        let events = world.all_events().await;
        assert_eq!(count(&events, "ticket.closed") + count(&events, "ticket.transferred"), 0, "{name}");
        let cleared = world.http.delete(world.desk_url("/faults")).send().await.unwrap();
        assert!(cleared.status().is_success());
        // Blip answers again: what ended is found, and only that.
        let silently = json!({"status": "ClosedAttendant"});
        world.desk(&format!("/tickets/{}/status", tickets[3]), silently).await;
        let events = once_reconciled(&world, |events| count(events, "ticket.closed") > 0).await;
        let closed: Vec<_> = events.iter().filter(|event| event.r#type == "ticket.closed").collect();
        assert_eq!((closed.len(), closed[0].ticket_id.as_str()), (1, tickets[3].as_str()), "{name}");
        if !cause.is_empty() {
            let over = |events: &[pb::Event]| {
                alerts(events, "RECONCILIATION_BLIND")
                    .last()
                    .is_some_and(|alert| detail(alert, "state") == "cleared")
            };
            once_reconciled(&world, over).await;
        }
    }
}

/// A router's key (R§3.1): nothing is closed, and the alert says which key it is.
#[tokio::test]
async fn a_routers_key_is_recognised() {
    let world = World::with_key(QUICK, "cm91dGVyOnJvdXRlcg==").await;
    open(&world, 3).await;
    let events = once(&world, |events| is_raised(events, "no_desk")).await;
    println!("{}", alerts(&events, "RECONCILIATION_BLIND")[0].description);
    assert_eq!(count(&events, "ticket.closed"), 0);
}

/// Whoever waits for a round is told that the key is refused, and waits no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_ends_the_operators_wait() {
    let world = World::with(QUICK).await;
    open(&world, 3).await;
    reconcile(&world).await;
    world.desk("/faults", fault("status", "", &json!({"code": 401}))).await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_deskgate"));
    command.args(["reconcile", "suporte", "--server", &world.gateway.address("grpc")]).env_clear();
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends").unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not carried to its end: key_refused"), "{said}");
}

/// Pages that are shorter than asked for, pages that drift while they are turned, tickets older than their month.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_short_or_drift_close_nothing_and_lose_nothing() {
    let world = World::with(QUICK).await;
    let mut tickets = open(&world, 30).await;
    reconcile(&world).await;
    let settings = |settings: Value| {
        let request = world.http.put(world.desk_url("/settings")).body(settings.to_string());
        async move { assert!(request.send().await.unwrap().status().is_success()) }
    };
    let old = json!({"storage_date": "2020-01-01T00:00:00.000Z"});
    let request = world.http.patch(world.desk_url(&format!("/tickets/{}", tickets[0]))).body(old.to_string());
    assert!(request.send().await.unwrap().status().is_success());
    for odd in [
        json!({"list_page_max": 7, "list_drift": 0}),
        json!({"list_page_max": 7, "list_drift": 2}),
        json!({"list_page_max": null, "list_drift": 5}),
        json!({"odd_shapes": true}),
    ] {
        settings(odd.clone()).await;
        let unheard = world.desk("/customers", json!({"text": "oi", "announce": false})).await;
        tickets.push(text(&unheard, "ticket_id").to_owned());
        let newest = tickets.last().unwrap().clone();
        let events =
            once_reconciled(&world, |events| events.iter().any(|event| event.ticket_id == newest)).await;
        assert_eq!(count(&events, "ticket.closed"), 0, "{odd}");
    }
    let silently = json!({"status": "ClosedAttendant"});
    world.desk(&format!("/tickets/{}/status", tickets[0]), silently).await;
    let events = once_reconciled(&world, |events| count(events, "ticket.closed") > 0).await;
    let created = types(&events).keys().filter(|(_, what)| *what == "ticket.created").count();
    assert_eq!((created, count(&events, "ticket.created"), count(&events, "ticket.closed")), (34, 34, 1));
}
