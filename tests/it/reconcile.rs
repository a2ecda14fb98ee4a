//! What webhooks did not tell is found by reading Blip back, and is in the log once.

use std::collections::BTreeMap;
use std::time::Duration;

use deskgate::grpc::pb;
use serde_json::json;

use crate::support::{PATIENCE, World};

const QUICK: &str = "[reconcile]\ninterval = \"10s\"\ngrace = \"1s\"\nearlier = \"off\"";

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

fn types(events: &[pb::Event]) -> BTreeMap<(String, String), u32> {
    let mut types = BTreeMap::new();
    for event in events {
        *types.entry((event.ticket_id.clone(), event.r#type.clone())).or_default() += 1;
    }
    types
}

#[tokio::test]
async fn what_no_webhook_told_is_found() {
    let world = World::with(QUICK).await;
    let unheard = world.desk("/customers", json!({"text": "oi", "announce": false})).await;
    let (customer, ticket) =
        (unheard["customer_identity"].as_str().unwrap(), unheard["ticket_id"].as_str().unwrap());
    let say = |text: &str| json!({"text": text, "announce": false});
    world.desk(&format!("/customers/{customer}/messages"), say("um")).await;
    world
        .desk(
            &format!("/tickets/{ticket}/status"),
            json!({"status": "Open", "agent_identity": "ana%40x.com@blip.ai"}),
        )
        .await;
    world.desk(&format!("/tickets/{ticket}/messages"), json!({"text": "dois"})).await;
    world.desk(&format!("/tickets/{ticket}/status"), json!({"status": "ClosedAttendant"})).await;
    let closed = |events: &[pb::Event]| events.iter().any(|event| event.r#type == "ticket.closed");
    let events = once(&world, closed).await;
    let told: Vec<_> = events.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(told, ["ticket.created", "message.customer", "message.agent", "ticket.closed"]);
    for event in &events {
        assert_eq!(event.origin, i32::from(pb::EventOrigin::Reconciliation));
        assert!(event.event_time.is_some());
        assert_eq!(event.flags.unwrap_or_default(), pb::EventFlags::default(), "{event:?}");
    }
}
