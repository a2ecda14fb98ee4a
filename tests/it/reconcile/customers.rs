//! One customer, several tickets: what was said is told in the ticket it belongs to, and in no other.

use super::*;

/// Rounds all the time, and what was said before a ticket.
const EARLIER: &str = "[reconcile]\ninterval = \"10s\"\ngrace = \"1s\"";

/// What customers said, each with its ticket, in the order of the log.
fn said(events: &[pb::Event]) -> Vec<(String, String)> {
    let told = events.iter().filter_map(|event| match &event.payload {
        Some(pb::event::Payload::CustomerMessage(message)) => {
            let content = message.content.as_ref().unwrap().kind.as_ref().unwrap();
            let pb::content::Kind::Text(text) = content else { panic!("{content:?}") };
            Some((text.clone(), event.ticket_id.clone()))
        }
        _ => None,
    });
    told.collect()
}

fn has_said(events: &[pb::Event], what: &str) -> bool {
    said(events).iter().any(|(text, _)| text == what)
}

async fn transfer(world: &World, ticket_id: &str) -> String {
    let request = pb::TransferRequest {
        ticket_id: ticket_id.to_owned(),
        team: "Default".to_owned(),
        ..Default::default()
    };
    let moved = world.tickets().await.transfer(request).await.unwrap().into_inner();
    moved.new_ticket.unwrap().ticket_id
}

/// Waits until what happens next has another date than what happened last.
async fn another_moment() {
    let start = jiff::Timestamp::now().as_millisecond();
    while jiff::Timestamp::now().as_millisecond() < start + 2 {
        tokio::task::yield_now().await;
    }
}

/// A customer who is passed on and on, and one who comes back: their first words are told once, over a restart too.
#[tokio::test]
async fn first_words_are_of_the_first_ticket_alone() {
    let mut world = World::with(EARLIER).await;
    let (customer, first) = world.customer("bom dia").await;
    once(&world, |events| has_said(events, "bom dia")).await;
    let mut last = first.clone();
    for n in 0..3 {
        last = transfer(&world, &last).await;
        let text = format!("{n}");
        world.desk(&format!("/customers/{customer}/messages"), json!({"text": text})).await;
        once(&world, |events| has_said(events, &text)).await;
    }
    let close = pb::CloseRequest { ticket_id: last, ..Default::default() };
    world.tickets().await.close(close).await.unwrap();
    world.gateway.kill();
    world.restart().await;
    another_moment().await;
    let back = json!({"text": "de volta", "identity": customer});
    let back = world.desk("/customers", back).await;
    let again = text(&back, "ticket_id").to_owned();
    let events = once(&world, |events| has_said(events, "de volta")).await;
    assert!(said(&events).contains(&("de volta".to_owned(), again)), "{:#?}", said(&events));
    assert!(reconcile(&world).await.report.unwrap().complete);
    let told = said(&world.all_events().await);
    assert_eq!(told.len(), 5, "each is told once: {told:#?}");
    assert!(told.contains(&("bom dia".to_owned(), first)), "{told:#?}");
}

/// The same where no webhook told of any of the tickets.
#[tokio::test]
async fn of_tickets_that_are_found_each_has_its_own_words() {
    let world = World::with(EARLIER).await;
    world.desk("/faults", json!({"on": "webhooks", "kind": "lose", "times": 1_000})).await;
    let opened = world.desk("/customers", json!({"text": "um"})).await;
    let (customer, first) = (text(&opened, "customer_identity"), text(&opened, "ticket_id"));
    another_moment().await;
    world.desk(&format!("/customers/{customer}/close"), json!({"announce": false})).await;
    another_moment().await;
    let opened = world.desk("/customers", json!({"text": "dois", "identity": customer})).await;
    let second = text(&opened, "ticket_id");
    another_moment().await;
    let moved = world.desk(&format!("/tickets/{second}/transfer"), json!({"team": "Default"})).await;
    another_moment().await;
    let third = text(&moved, "ticket_id");
    world.desk(&format!("/customers/{customer}/messages"), json!({"text": "três"})).await;
    let expected = [("um", first), ("dois", second), ("três", third)];
    let is_told = |events: &[pb::Event]| expected.iter().all(|(text, _)| has_said(events, text));
    once_reconciled(&world, is_told).await;
    assert!(reconcile(&world).await.report.unwrap().complete);
    let mut told = said(&world.all_events().await);
    told.sort();
    let mut expected = expected.map(|(text, ticket)| (text.to_owned(), ticket.to_owned()));
    expected.sort();
    assert_eq!(told, expected);
}
