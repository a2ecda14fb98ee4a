//! Mistakes in the setup: what an operator finds in the log, the metrics and the stream, and that no webhook suffers.

use deskgate::grpc::pb;
use pb::event::Payload;
use pb::start_position::Position;
use prost_types::value::Kind;

use crate::support::{TOKEN, World, at, message, ticket};

/// The first alert, once it is there.
async fn first_alert(world: &World) -> (pb::Event, pb::GatewayAlert) {
    let filter = pb::EventFilter { types: vec!["gateway.*".to_owned()], ..Default::default() };
    let request = pb::SubscribeRequest {
        filter: Some(filter),
        start: Some(at(Position::Earliest(true))),
        limit: 1,
        ..Default::default()
    };
    let event = world.read(request).await.remove(0);
    let Some(Payload::GatewayAlert(alert)) = event.payload.clone() else { panic!("{event:?}") };
    (event, alert)
}

fn detail(alert: &pb::GatewayAlert, name: &str) -> String {
    match alert.details.as_ref().and_then(|details| details.fields.get(name)?.kind.clone()) {
        Some(Kind::StringValue(text)) => text,
        other => panic!("{name}: {other:?}"),
    }
}

async fn counted(world: &World, reason: &str) -> u64 {
    let metrics = world.http.get(world.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
    let start = format!("deskgate_setup_mistakes_total{{bot=\"suporte\",reason=\"{reason}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start} in\n{metrics}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_another_header_is_named_and_never_shown() {
    let mut world = World::start().await;
    for _ in 0..30 {
        let request = world.http.post(world.webhook_url()).header("X-Blip-Auth", format!("Key {TOKEN}"));
        assert_eq!(request.body(ticket("t", "Waiting")).send().await.unwrap().status().as_u16(), 401);
    }
    let (event, alert) = first_alert(&world).await;
    assert_eq!((event.r#type.as_str(), event.bot.as_str()), ("gateway.alert", "suporte"));
    assert_eq!(
        (event.origin(), event.ticket_id.as_str(), event.ticket_sequence),
        (pb::EventOrigin::Gateway, "", 0)
    );
    assert_eq!((event.blip_id.as_str(), event.flags), ("", None));
    assert_eq!(alert.reason, "TOKEN_IN_OTHER_HEADER");
    assert_eq!(detail(&alert, "header"), "x-blip-auth");
    assert!(alert.description.contains("webhook_header of [[bots]] suporte"), "{}", alert.description);
    let line = world.gateway.wait_for_log("x-blip-auth");
    assert!(line.contains("WARN") && line.contains("webhook_header"), "{line}");
    assert_eq!(world.post(message("t", "m", "oi")).await, 200);
    let types: Vec<_> = world.all_events().await.into_iter().map(|event| event.r#type).collect();
    assert_eq!(types, ["gateway.alert", "message.customer"], "one an hour");
    assert_eq!(counted(&world, "TOKEN_IN_OTHER_HEADER").await, 30);

    world.gateway.kill();
    assert!(!world.gateway.rest_of_log().contains(TOKEN));
    world.restart().await;
    let (again, _) = first_alert(&world).await;
    assert_eq!(again.event_id, event.event_id, "it is durable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_webhook_is_recognised_and_its_bodies_are_kept() {
    let mut world = World::start().await;
    let bodies = [
        r#"{"type":"text/plain","content":"aloooo","id":"b2","from":"4f.suporte@0mn.io/default","to":"suporte@msging.net"}"#,
        r#"{"identity":"5531900000001@wa.gw.msging.net","category":"atendimento","action":"transbordo"}"#,
        r#"{"identity":"5531900000001@wa.gw.msging.net","lastMessageDate":"2025-02-10T12:00:00.120Z"}"#,
    ];
    for _ in 0..10 {
        for body in bodies {
            assert_eq!(world.post(body).await, 200);
        }
    }
    let (_, alert) = first_alert(&world).await;
    assert_eq!((alert.reason.as_str(), detail(&alert, "kind").as_str()), ("NOT_FROM_DESK", "message"));
    assert!(alert.description.contains("Integrations > Webhook"), "{}", alert.description);
    world.gateway.wait_for_log("did not come from a desk ticket");
    assert_eq!(counted(&world, "NOT_FROM_DESK").await, 30);
    let events = world.all_events().await;
    let of = |name: &str| events.iter().filter(|event| event.r#type == name).count();
    assert_eq!((of("gateway.alert"), of("unknown")), (1, 21), "one has an id, and is one");
    world.gateway.kill();
    let log = world.gateway.rest_of_log();
    let lines = log.lines().filter(|line| line.contains("did not come from a desk ticket")).count();
    assert!((1..30).contains(&lines), "{lines} lines");
    assert!(!log.contains("5531900000001") && !log.contains("aloooo"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_of_another_bot_are_told_and_taken() {
    let world = World::start().await;
    let routed = ticket("a", "Waiting")
        .replace("\"provider\"", "\"routingOwnerIdentity\":\"r@msging.net\",\"provider\"");
    assert_eq!(world.post(routed).await, 200);
    assert_eq!(
        world.post(ticket("b", "Waiting").replace("suporte@msging.net", "Suporte@MSGING.net")).await,
        200
    );
    for name in ["c", "d"] {
        assert_eq!(world.post(ticket(name, "Waiting").replace("suporte@", "vendas@")).await, 200);
    }
    let (_, alert) = first_alert(&world).await;
    assert_eq!(alert.reason, "TICKET_OF_OTHER_BOT");
    assert_eq!(detail(&alert, "owner_identity"), "vendas@msging.net");
    assert_eq!(detail(&alert, "configured_identity"), "suporte@msging.net");
    assert_eq!(counted(&world, "TICKET_OF_OTHER_BOT").await, 2);
    let types: Vec<_> = world.all_events().await.into_iter().map(|event| event.r#type).collect();
    assert_eq!(types.iter().filter(|name| *name == "ticket.created").count(), 4);
    assert_eq!(types.len(), 5);
}
