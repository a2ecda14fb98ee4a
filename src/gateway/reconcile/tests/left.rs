//! What is left to be read: over refusals, over restarts, and for the tickets of the same customer.

use super::*;
use crate::domain::{Event, Fact, NewEvent, Origin, Payload, Seq, Ticket, TicketStatus};
use crate::gateway::reconcile::find;

fn ago(minutes: i64) -> Timestamp {
    SystemClock.now() - SignedDuration::from_mins(minutes)
}

fn item(id: &str, minutes: i64) -> Value {
    json!({"id": id, "direction": "received", "date": ago(minutes).to_string(), "type": "text/plain", "content": id})
}

fn began(id: &str, minutes: i64) -> Value {
    json!({"id": id, "direction": "received", "date": ago(minutes).to_string(),
        "type": "application/vnd.iris.ticket+json", "content": {"id": id}})
}

fn ticket(id: &str, minutes: i64) -> Ticket {
    Ticket {
        id: id.to_owned(),
        status: TicketStatus::Waiting,
        blip_status: "Waiting".to_owned(),
        customer_identity: "ana@0mn.io".to_owned(),
        create_time: Some(ago(minutes)),
        ..Ticket::default()
    }
}

fn ended(ticket: Ticket, minutes: i64) -> Ticket {
    let status = TicketStatus::ClosedClient;
    let (close_time, status_time) = (Some(ago(minutes)), Some(ago(minutes)));
    Ticket { status, blip_status: "ClosedClient".to_owned(), close_time, status_time, ..ticket }
}

fn webhook(ticket: Ticket) -> Vec<NewEvent> {
    let event = find::told(&"suporte".into(), ticket);
    vec![NewEvent { origin: Origin::Webhook, ..event }]
}

async fn told(log: &MemoryLog) -> Vec<Event> {
    let events = log.read(Seq(0), 200).await.unwrap();
    events.iter().map(|stored| stored.event.clone()).collect()
}

/// In which ticket a message was told.
async fn told_in(log: &MemoryLog, id: &str) -> Option<String> {
    let told = told(log).await.into_iter().find(|event| event.blip_id == id);
    told.map(|event| event.ticket_id.clone())
}

impl World {
    fn left(&self) -> Vec<plan::Errand> {
        self.reconcilers.bots["suporte"].planner().loose_ends().cloned().collect()
    }
}

/// A customer's ticket ends, and its conversation is refused for long. What was said between it and the customer's next is
/// that one's, and told once the conversation is given: also by the next process, which goes on with the tries.
#[tokio::test(start_paused = true)]
async fn what_was_said_between_two_tickets_outlives_refusals_and_a_restart() {
    let world = world_with(true, false, None, |parts, _| {
        parts.settings.earlier = Some(Duration::from_hours(1));
    });
    let (one, two) = (ticket("one", 50), ticket("two", 20));
    let document = json!({"id": "two", "status": "Waiting", "storageDate": ago(20).to_string(), "customerIdentity": "ana@0mn.io"});
    *world.blip.ticket.lock().unwrap() = Some((document.clone(), vec![began("two", 20), began("one", 50)]));
    world.log.append(webhook(one.clone())).await.unwrap();
    world.log.append(webhook(two)).await.unwrap();
    world.asked_after(Duration::from_mins(3)).await;
    *world.blip.ticket.lock().unwrap() =
        Some((document, vec![began("two", 20), item("between", 25), began("one", 50)]));
    world.blip.mute.store(true, Ordering::Relaxed);
    world.log.append(webhook(ended(one, 30))).await.unwrap();
    world.asked_after(Duration::from_mins(20)).await;
    let left = world.left();
    let of = |id: &str| left.iter().filter(|errand| errand.ticket_id == id).collect::<Vec<_>>();
    assert_eq!(of("two"), Vec::<&plan::Errand>::new(), "it is read once the first was, and once");
    assert!(of("one").len() == 1 && of("one")[0].tries >= 5, "{left:?}");
    let tries = of("one")[0].tries;
    let next = world.again().await;
    next.asked_after(Duration::from_secs(1)).await;
    let left = next.left();
    assert!(left.len() == 1 && left[0].tries == tries, "{left:?}");
    next.blip.mute.store(false, Ordering::Relaxed);
    next.asked_after(Duration::from_mins(40)).await;
    assert_eq!(told_in(&next.log, "between").await.as_deref(), Some("two"));
    assert_eq!(next.left(), []);
    next.stop().await;
}

/// A ticket is found whose conversation is refused at first: what was said to the bot before it is told with the rest.
#[tokio::test(start_paused = true)]
async fn what_was_said_before_a_found_ticket_is_told_when_it_is_given_at_last() {
    let world = world_with(true, false, None, |parts, _| {
        parts.settings.earlier = Some(Duration::from_hours(1));
    });
    let closed = json!({"id": "t", "status": "ClosedClient", "storageDate": ago(50).to_string(),
        "closeDate": ago(10).to_string(), "statusDate": ago(10).to_string(), "closed": true});
    *world.blip.ticket.lock().unwrap() =
        Some((closed, vec![item("m", 20), began("t", 50), item("before", 55)]));
    world.blip.mute.store(true, Ordering::Relaxed);
    world.asked_after(Duration::from_secs(20)).await;
    assert!(told(&world.log).await.iter().any(|event| matches!(event.payload, Payload::TicketClosed(_))));
    world.blip.mute.store(false, Ordering::Relaxed);
    world.asked_after(Duration::from_mins(5)).await;
    for id in ["m", "before"] {
        assert_eq!(told_in(&world.log, id).await.as_deref(), Some("t"), "{id}");
    }
    world.stop().await;
}

/// The process is killed before it has noted that a conversation is still to be read whose ticket it has told of.
#[tokio::test(start_paused = true)]
async fn what_was_not_noted_before_a_kill_is_read_all_the_same() {
    let world = world(true, false, None);
    world.asked_after(Duration::from_mins(1)).await;
    let noted = world.parts.notebook.note("suporte").await.unwrap().unwrap();
    let closed = json!({"id": "t", "status": "ClosedClient", "storageDate": ago(50).to_string(),
        "closeDate": ago(10).to_string(), "statusDate": ago(10).to_string(), "closed": true});
    *world.blip.ticket.lock().unwrap() = Some((closed, vec![item("m", 20), began("t", 50)]));
    world.blip.mute.store(true, Ordering::Relaxed);
    while !told(&world.log).await.iter().any(|event| matches!(event.payload, Payload::TicketClosed(_))) {
        world.asked_after(Duration::from_secs(1)).await;
    }
    assert_eq!(told_in(&world.log, "m").await, None);
    let (log, blip, parts) = (Arc::clone(&world.log), Arc::clone(&world.blip), world.parts.clone());
    world.stop().await;
    // As if it had not come to write another one.
    log.write_note("suporte", noted).await.unwrap();
    blip.mute.store(false, Ordering::Relaxed);
    let next = World::started(Parts { shutdown: Shutdown::new(), ..parts }, log, blip);
    next.asked_after(Duration::from_mins(5)).await;
    assert_eq!(told_in(&next.log, "m").await.as_deref(), Some("t"));
    next.stop().await;
}

/// A conversation shows no deletion and no context: a message found late has its place before those that are later.
#[tokio::test(start_paused = true)]
async fn a_message_found_after_a_later_deletion_is_flagged() {
    let world = world(true, false, None);
    let document = json!({"id": "t", "status": "Waiting", "storageDate": ago(50).to_string()});
    let thread = vec![item("m", 20), began("t", 50)];
    *world.blip.ticket.lock().unwrap() = Some((document.clone(), vec![began("t", 50)]));
    world.log.append(webhook(ticket("t", 50))).await.unwrap();
    world.asked_after(Duration::from_mins(1)).await;
    let deleted = NewEvent {
        origin: Origin::Webhook,
        event_time: Some(ago(10)),
        blip_id: "deletion".to_owned(),
        fact: Fact::Told(Payload::MessageDeleted { message_id: "m".to_owned() }),
        ..find::told(&"suporte".into(), ticket("t", 50))
    };
    world.log.append(vec![deleted]).await.unwrap();
    *world.blip.ticket.lock().unwrap() = Some((document, thread));
    world.asked_after(Duration::from_mins(20)).await;
    let told = told(&world.log).await;
    let found = told.iter().find(|event| event.blip_id == "m").unwrap();
    assert!(found.flags.order_uncertain, "{found:?}");
    world.stop().await;
}

/// What is read after a restart is the rest of a round: that it is as it should be ends no alert. A whole round does.
#[tokio::test(start_paused = true)]
async fn the_rest_of_a_round_ends_no_alert() {
    let world = world(true, false, None);
    let document = json!({"id": "t", "status": "Waiting", "storageDate": ago(50).to_string()});
    *world.blip.ticket.lock().unwrap() = Some((document, vec![began("t", 50)]));
    world.log.append(webhook(ticket("t", 50))).await.unwrap();
    world.asked_after(Duration::from_mins(1)).await;
    let (log, blip, parts) = (Arc::clone(&world.log), Arc::clone(&world.blip), world.parts.clone());
    world.stop().await;
    // As an earlier process that had raised an alert, and read this ticket's conversation in a round that it did not end.
    let noted = json!({"raised": ["WEBHOOKS_MISSING:lost"], "resume": "u"}).to_string();
    log.write_note("suporte", noted).await.unwrap();
    let next = World::started(Parts { shutdown: Shutdown::new(), ..parts }, log, blip);
    next.asked_after(Duration::from_mins(1)).await;
    assert!(next.reconcilers.bots["suporte"].has_read(), "a round is over");
    let alerts = async || {
        let told = told(&next.log).await;
        told.iter().filter(|event| matches!(event.payload, Payload::GatewayAlert { .. })).count()
    };
    assert_eq!(alerts().await, 0);
    next.asked_after(Duration::from_mins(16)).await;
    assert_eq!(alerts().await, 1);
    next.stop().await;
}

/// That Blip cannot be read is known from before a restart, and over only when it was read.
#[tokio::test(start_paused = true)]
async fn a_restart_does_not_end_that_blip_cannot_be_read() {
    let world = world(true, false, None);
    world.asked_after(Duration::from_mins(1)).await;
    let (log, blip, parts) = (Arc::clone(&world.log), Arc::clone(&world.blip), world.parts.clone());
    world.stop().await;
    let document = json!({"id": "t", "status": "Waiting", "storageDate": ago(50).to_string()});
    log.append(webhook(ticket("t", 50))).await.unwrap();
    blip.mute.store(true, Ordering::Relaxed);
    let noted = json!({"raised": ["RECONCILIATION_BLIND:nothing_found"]}).to_string();
    log.write_note("suporte", noted).await.unwrap();
    let next = World::started(Parts { shutdown: Shutdown::new(), ..parts }, log, blip);
    let alerts = async || {
        let told = told(&next.log).await;
        told.iter().filter(|event| matches!(event.payload, Payload::GatewayAlert { .. })).count()
    };
    next.asked_after(Duration::from_mins(2)).await;
    assert!(next.reconcilers.bots["suporte"].has_read(), "a round is over");
    assert_eq!(alerts().await, 0);
    *next.blip.ticket.lock().unwrap() = Some((document, vec![began("t", 50)]));
    next.blip.mute.store(false, Ordering::Relaxed);
    next.asked_after(Duration::from_mins(16)).await;
    assert_eq!(alerts().await, 1);
    next.stop().await;
}
