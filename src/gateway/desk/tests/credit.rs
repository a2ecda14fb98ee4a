//! What is found of a command is its own: not what another one did, nor the customer.

use jiff::SignedDuration;

use super::*;
use crate::domain::{NewTicket, OutboundMessage, Returned};

pub(super) fn send(request_id: &str) -> ActionRequest {
    let message = OutboundMessage {
        content: crate::domain::translate::content_of(
            &crate::lime::MediaType::new("text/plain"),
            "oi".into(),
        ),
        document: "oi".into(),
        metadata: serde_json::Map::new(),
        agent_identity: String::new(),
    };
    let action = Action::Send(Box::new(message));
    ActionRequest { action, request_id: request_id.to_owned(), ..request() }
}

fn create(of: u128, request_id: &str) -> NewCommand {
    let new = NewTicket { customer_identity: CUSTOMER.to_owned(), ..NewTicket::default() };
    let action = Action::Create(Box::new(new));
    let request =
        ActionRequest { action, ticket_id: String::new(), request_id: request_id.to_owned(), ..request() };
    run::new_command(Uuid::from_u128(of), &request, memo::write(&request))
}

impl World {
    fn seconds_pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    /// A ticket of the customer, as Blip lists it now.
    fn listed(&self, ticket_id: &str) -> Value {
        json!({"id": ticket_id, "customerIdentity": CUSTOMER, "status": "Waiting",
               "storageDate": self.clock.now().to_string()})
    }

    /// The end of command 77 after a restart in which Blip lists these tickets.
    async fn found_among(&self, listed: &[Value]) -> Outcome {
        let answer = || Ok(yes(json!({"items": listed})));
        self.blip.0.lock().unwrap().extend([answer(), answer(), answer()]);
        self.desk.recover();
        self.end().await
    }
}

fn told_id(error: &DeskError) -> Uuid {
    let DeskError::Ended { record, .. } = error else { panic!("{error:?}") };
    record.command.id
}

#[tokio::test(start_paused = true)]
async fn nothing_else_runs_on_a_ticket_while_an_end_is_looked_for() {
    let lost = Err(BlipError::Unknown("reset".to_owned()));
    let nothing = || Ok(yes(json!({"items": []})));
    let world = World::new(Faults::default(), [lost, nothing(), nothing(), nothing()]);
    world.tell("t", TicketStatus::Waiting, Origin::Webhook, "1").await;
    let within = || Instant::now() + Duration::from_secs(100);
    let told = world.desk.execute(send("r"), within()).await.unwrap_err();
    assert!(matches!(told, DeskError::Ended { .. }), "{told:?}");
    let looks = || world.blip.1.lock().unwrap().iter().filter(|uri| uri.contains("/messages?")).count();
    assert_eq!(looks(), 3);
    *world.blip.2.lock().unwrap() = Duration::from_mins(1);
    let second = world.shutdown.spawn({
        let (desk, until) = (world.desk.clone(), within());
        async move { desk.execute(send("r2"), until).await }
    });
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(looks(), 3, "the other has the ticket");
    let second = second.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_mins(3)).await;
    assert!(looks() > 3, "it goes on then");
    let first = told_id(&told);
    let found = Ok(yes(json!({"items": [{"id": first.to_string(), "direction": "sent"}]})));
    world.blip.0.lock().unwrap().push_back(found);
    while world.end().await != Outcome::Done {}
    let events = world.store.read(Seq(0), 99).await.unwrap();
    let uncertain = |id: &str| {
        let said = |stored: &&Arc<StoredEvent>| matches!(&stored.event.payload, crate::domain::Payload::AgentMessage { command_id, .. } if command_id == id);
        events.iter().find(said).unwrap().event.flags.order_uncertain
    };
    assert!(uncertain(&first.to_string()), "the other was said before");
    assert!(!uncertain(&second.record.command.id.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_new_ticket_is_the_commands_that_opened_it() {
    let world = || World::new(Faults::default(), []);
    let done = |end: &Outcome| *end == Outcome::Done;

    let fresh = world();
    fresh.store.begin(create(77, "r")).await.unwrap();
    fresh.seconds_pass(1);
    assert!(done(&fresh.found_among(&[fresh.listed("n")]).await), "nobody else's");

    let told = world();
    told.store.begin(create(77, "r")).await.unwrap();
    told.seconds_pass(1);
    told.tell("n", TicketStatus::Waiting, Origin::Webhook, "1").await;
    assert!(done(&told.found_among(&[told.listed("n")]).await), "Blip told it first");

    let older = world();
    older.tell("n", TicketStatus::Waiting, Origin::Webhook, "1").await;
    older.seconds_pass(1);
    older.store.begin(create(77, "r")).await.unwrap();
    assert!(!done(&older.found_among(&[older.listed("n")]).await), "it was there before");

    let two = world();
    two.store.begin(create(77, "r")).await.unwrap();
    two.seconds_pass(1);
    assert!(!done(&two.found_among(&[two.listed("n"), two.listed("m")]).await), "one of them is another's");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_of_another_command_is_not_found_again() {
    let other = Uuid::from_u128(78);
    for known in [true, false] {
        let world = World::new(Faults::default(), []);
        world.store.begin(create(77, "r")).await.unwrap();
        world.store.begin(create(78, "other")).await.unwrap();
        world.seconds_pass(1);
        let outcome = if known { Outcome::Done } else { Outcome::Unknown(unknown("lost")) };
        let returned = known.then(|| Returned::Ticket("n".to_owned()));
        world.store.settle(other, End { outcome, attempts: 1, returned }, Vec::new()).await.unwrap();
        if known {
            world.tell("n", TicketStatus::Waiting, Origin::Webhook, "1").await;
            world.tell("n", TicketStatus::Waiting, Origin::Command, &other.to_string()).await;
        }
        let end = world.found_among(&[world.listed("n")]).await;
        assert!(matches!(end, Outcome::Unknown(_)), "it is, or may be, the other's: {end:?}");
    }
}
