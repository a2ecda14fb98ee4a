//! Tickets through their whole life, as the stand-in Desk tells it: transfers, and what became of messages.

use deskgate::grpc::pb;
use pb::event::Payload;
use pb::start_position::Position;
use pb::subscribe_response::Message as Told;
use serde_json::json;

use crate::support::{KEY, World, at, ticket};

/// The first events from the beginning, as many as are asked for: waits until they are there.
async fn first(world: &World, count: u32) -> Vec<pb::Event> {
    world
        .read(pb::SubscribeRequest {
            start: Some(at(Position::Earliest(true))),
            limit: count,
            view: pb::EventView::Raw.into(),
            ..Default::default()
        })
        .await
}

async fn settings(world: &World, settings: serde_json::Value) {
    let answer = world.http.put(world.desk_url("/settings")).body(settings.to_string()).send().await.unwrap();
    assert!(answer.status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_sent_message_belongs_to_its_ticket() {
    let world = World::start().await;
    settings(&world, json!({"announce_receipts": true})).await;
    let (customer, ticket_id) = world.customer("oi").await;
    let request =
        pb::SendRequest { ticket_id: ticket_id.clone(), text: "Bom dia".to_owned(), ..Default::default() };
    let message_id = world.tickets().await.send(request).await.unwrap().into_inner().message_id;
    let events = first(&world, 4).await;
    let mut statuses = Vec::new();
    for event in &events {
        assert_eq!(event.ticket_id, ticket_id, "{event:?}");
        assert_eq!(event.customer_identity, customer);
        if let Some(Payload::MessageStatusChanged(told)) = &event.payload {
            assert!(event.raw_json.contains(&format!("\"from\":\"{customer}\"")), "{}", event.raw_json);
            assert_eq!(told.message_id, message_id);
            statuses.push(told.status());
        }
    }
    assert_eq!(statuses, [pb::MessageStatus::Received, pb::MessageStatus::Consumed]);
    let sequences: Vec<_> = events.iter().map(|event| event.ticket_sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4]);

    let stranger = json!({"id": "wamid.x", "from": customer, "event": "received"});
    assert_eq!(world.post(stranger.to_string()).await, 200);
    assert_eq!(world.all_events().await[4].ticket_id, "", "nobody tells whose message it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_names_the_ticket_that_goes_on() {
    let world = World::start().await;
    settings(&world, json!({"announce_changes": true})).await;
    let (_, old) = world.customer("oi").await;
    let command = json!({
        "id": "transfer", "to": "postmaster@desk.msging.net", "method": "set",
        "uri": format!("/tickets/{old}/transfer"), "type": "application/vnd.iris.ticket+json",
        "resource": {"team": "Financeiro"},
    });
    let request = world.http.post(world.blip_url("/commands")).header("Authorization", format!("Key {KEY}"));
    let reply = request.body(command.to_string()).send().await.unwrap().text().await.unwrap();
    let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
    let new = reply["resource"]["id"].as_str().unwrap().to_owned();

    // Each ticket's webhooks go their own way: which comes first is not known.
    let request =
        pb::SubscribeRequest { start: Some(at(Position::Earliest(true))), ..pb::SubscribeRequest::default() };
    let mut stream = world.events().await.subscribe(request).await.unwrap().into_inner();
    let moved = loop {
        if let Some(Told::Event(event)) = stream.message().await.unwrap().unwrap().message
            && let Some(Payload::TicketTransferred(moved)) = event.payload
            && !moved.new_ticket_id.is_empty()
        {
            assert_eq!(event.ticket_id, old);
            break moved;
        }
    };
    assert_eq!((moved.new_ticket_id.as_str(), moved.to_team.as_str()), (new.as_str(), "Financeiro"));
    assert_eq!(moved.ticket.as_ref().unwrap().status(), pb::TicketStatus::Transferred);
    let events = world.all_events().await;
    let created = events.iter().find(|event| event.ticket_id == new).unwrap();
    let Some(Payload::TicketCreated(created)) = &created.payload else { panic!("{created:?}") };
    assert_eq!(created.ticket.as_ref().unwrap().parent_ticket_id, old);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_ticket_may_be_told_first() {
    let world = World::start().await;
    let new = ticket("new", "Waiting").replace("138,", "139,\"parentSequentialId\":138,\"team\":\"Vendas\",");
    for body in [ticket("old", "Open"), ticket("old", "Transferred"), new.clone(), new] {
        assert_eq!(world.post(body).await, 200);
    }
    let events = world.all_events().await;
    let types: Vec<_> =
        events.iter().map(|event| (event.ticket_id.as_str(), event.r#type.as_str())).collect();
    let expected = [
        ("old", "ticket.created"),
        ("old", "ticket.transferred"),
        ("new", "ticket.created"),
        ("old", "ticket.transferred"),
    ];
    assert_eq!(types, expected);
    let Some(Payload::TicketTransferred(moved)) = &events[3].payload else { panic!("{:?}", events[3]) };
    assert_eq!((moved.new_ticket_id.as_str(), moved.to_team.as_str()), ("new", "Vendas"));
    assert_eq!(events[3].raw_json, events[2].raw_json, "the body that told it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_ticket_may_be_told_first() {
    let mut world = World::start().await;
    let new = ticket("new", "Waiting").replace("138,", "139,\"parentSequentialId\":138,\"team\":\"Vendas\",");
    assert_eq!(world.post(ticket("old", "Open")).await, 200);
    assert_eq!(world.post(new.clone()).await, 200);
    world.gateway.kill();
    world.restart().await;
    assert_eq!(world.post(ticket("old", "Transferred")).await, 200);
    assert_eq!(world.post(new).await, 200);
    let events = world.all_events().await;
    let types: Vec<_> =
        events.iter().map(|event| (event.ticket_id.as_str(), event.r#type.as_str())).collect();
    assert_eq!(types, [("old", "ticket.created"), ("new", "ticket.created"), ("old", "ticket.transferred")]);
    let Some(Payload::TicketTransferred(moved)) = &events[2].payload else { panic!("{:?}", events[2]) };
    assert_eq!((moved.new_ticket_id.as_str(), moved.to_team.as_str()), ("new", "Vendas"));
}
