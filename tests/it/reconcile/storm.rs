//! A storm: webhooks are dropped, the URL is blocked for a while, tickets end silently, the gateway is killed. Afterwards
//! everything is in the log once. The whole size is run with `DESKGATE_TEST_RECONCILE=2000`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use deskgate::grpc::pb;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::{counted, reconcile, text};
use crate::support::World;

/// Tickets unless told otherwise, and messages in each.
const TICKETS: usize = 100;
const MESSAGES: usize = 10;
/// Customers who write at a time.
const AT_ONCE: usize = 8;
/// Commands a second of the bot, and the share of it that reading back has.
const RATE: u64 = 1_000;
const SHARE_PERMILLE: u64 = 100;

/// What there is at Blip in the end.
#[derive(Default)]
struct Truth {
    /// By ticket: its messages, in order, each with whether an agent sent it; and whether it ended.
    tickets: BTreeMap<String, (Vec<(String, bool)>, bool)>,
}

/// The customers.
#[derive(Clone)]
struct Storm {
    http: reqwest::Client,
    desk: String,
    done: Arc<AtomicUsize>,
}

impl Storm {
    fn over(world: &World) -> Self {
        let desk = world.desk_url("");
        Self { http: world.http.clone(), desk, done: Arc::default() }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer =
            self.http.post(format!("{}{path}", self.desk)).body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    async fn put(&self, path: &str, body: Value) {
        let answer =
            self.http.put(format!("{}{path}", self.desk)).body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
    }

    async fn rage(&self, tickets: usize) -> Truth {
        let weather = json!({"lose": 0.2, "duplicate": 0.05, "seed": 7});
        self.put("/settings", json!({"weather": weather})).await;
        let written: Vec<_> = stream::iter(0..tickets)
            .map(|n| self.customer(n, tickets))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        self.put("/settings", json!({"weather": null})).await;
        Truth { tickets: written.into_iter().collect() }
    }

    /// One customer's conversation: of each three tickets one ends silently, each fifth an agent attends elsewhere.
    async fn customer(&self, n: usize, tickets: usize) -> (String, (Vec<(String, bool)>, bool)) {
        let opened = self.post("/customers", json!({"team": "Default"})).await;
        let (customer, ticket) = (text(&opened, "customer_identity"), text(&opened, "ticket_id").to_owned());
        let mut said = Vec::new();
        for k in 0..MESSAGES {
            let elsewhere = n.is_multiple_of(5) && k % 4 == 3;
            if elsewhere && k == 3 {
                let attended = json!({"status": "Open", "agent_identity": "ana%40x.com@blip.ai"});
                self.post(&format!("/tickets/{ticket}/status"), attended).await;
            }
            let path = if elsewhere {
                format!("/tickets/{ticket}/messages")
            } else {
                format!("/customers/{customer}/messages")
            };
            let id = format!("m-{n}-{k}");
            self.post(&path, json!({"text": format!("{k} de {n}"), "id": id})).await;
            said.push((id, elsewhere));
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        let ends = n.is_multiple_of(3);
        if ends {
            let silently = json!({"status": "ClosedClientInactivity"});
            self.post(&format!("/tickets/{ticket}/status"), silently).await;
        }
        if n == tickets / 2 {
            // As after many failures; short, so that most of the storm is to come.
            self.put("/block", json!({"ms": if tickets < 1_000 { 300 } else { 3_000 }})).await;
        }
        (ticket, (said, ends))
    }
}

impl Truth {
    /// What the log does not have yet.
    fn missing(&self, events: &[pb::Event]) -> usize {
        let mut has = BTreeSet::new();
        for event in events {
            has.insert((event.ticket_id.as_str(), event.r#type.as_str(), event.blip_id.as_str()));
        }
        let types: BTreeSet<_> = has.iter().map(|(ticket, what, _)| (*ticket, *what)).collect();
        let mut missing = 0;
        for (ticket, (said, ended)) in &self.tickets {
            missing += usize::from(!types.contains(&(ticket.as_str(), "ticket.created")));
            // Of a ticket that ended since, that it was attended may not be told.
            let attended = !*ended && said.iter().any(|(_, sent)| *sent);
            missing += usize::from(attended && !types.contains(&(ticket.as_str(), "ticket.assigned")));
            missing += usize::from(*ended && !types.contains(&(ticket.as_str(), "ticket.closed")));
            let has = |(id, sent): &&(String, bool)| {
                let what = if *sent { "message.agent" } else { "message.customer" };
                has.contains(&(ticket.as_str(), what, id.as_str()))
            };
            missing += said.iter().filter(|message| !has(message)).count();
        }
        missing
    }

    /// Every fact is there once, in its order or flagged, and nothing else.
    fn check(&self, events: &[pb::Event]) {
        let mut of_ticket: BTreeMap<&str, Vec<&pb::Event>> = BTreeMap::new();
        for event in events.iter().filter(|event| event.r#type != "gateway.alert") {
            of_ticket.entry(&event.ticket_id).or_default().push(event);
        }
        assert_eq!(of_ticket.len(), self.tickets.len());
        for (ticket, (said, ended)) in &self.tickets {
            let events = &of_ticket[ticket.as_str()];
            let times = |what: &str| events.iter().filter(|event| event.r#type == what).count();
            assert_eq!(times("ticket.created"), 1, "{ticket}");
            assert_eq!(times("ticket.closed"), usize::from(*ended), "{ticket}");
            let attended = usize::from(said.iter().any(|(_, sent)| *sent));
            let assigned = times("ticket.assigned");
            assert!(assigned == attended || (*ended && assigned < attended), "{ticket}");
            assert_eq!(times("message.customer") + times("message.agent"), said.len(), "{ticket}");
            // What happened, in this order; an agent begins to attend just before the first words of an agent's.
            let attended = said.iter().position(|(_, sent)| *sent);
            let place = |event: &pb::Event| match event.r#type.as_str() {
                "ticket.created" => 0,
                "ticket.assigned" => 2 * attended.unwrap_or_else(|| panic!("nobody attends: {event:?}")) + 1,
                "ticket.closed" => 2 * said.len() + 2,
                "message.customer" | "message.agent" => {
                    let at = said.iter().position(|(id, _)| *id == event.blip_id);
                    2 * at.unwrap_or_else(|| panic!("nobody said {event:?}")) + 2
                }
                other => panic!("nothing of the kind happened: {other}: {event:?}"),
            };
            let mut newest = None;
            let mut seen = BTreeSet::new();
            for (event, number) in events.iter().zip(1..) {
                assert_eq!(event.ticket_sequence, number, "{ticket} has a hole");
                let place = place(event);
                assert!(seen.insert(place), "twice: {event:?}");
                let flagged = event.flags.unwrap_or_default().order_uncertain;
                assert!(Some(place) > newest || flagged, "out of order and not flagged: {event:?}");
                newest = newest.max(Some(place));
            }
        }
    }
}

fn tickets() -> usize {
    std::env::var("DESKGATE_TEST_RECONCILE").map_or(TICKETS, |count| count.parse().unwrap())
}

/// Reads back until nothing is missing; answers the events and how many rounds it took.
async fn repaired(world: &World, truth: &Truth) -> (Vec<pb::Event>, usize) {
    // What is younger than the grace is left for the next round.
    for rounds in 1..=30 {
        let told = reconcile(world).await;
        assert!(told.report.is_some_and(|report| report.complete));
        let events = world.all_events().await;
        if truth.missing(&events) == 0 {
            return (events, rounds);
        }
    }
    let events = world.all_events().await;
    panic!("{} facts are still missing", truth.missing(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_storm_everything_is_in_the_log_once() {
    let (world, tickets) = (World::with(super::BUSY).await, tickets());
    let storm = Storm::over(&world);
    let start = Instant::now();
    let truth = storm.rage(tickets).await;
    let raged = start.elapsed();
    let lost = truth.missing(&world.all_events().await);
    assert!(lost > tickets, "the storm was none: {lost} of {tickets} tickets' facts");
    let (events, rounds) = repaired(&world, &truth).await;
    let took = start.elapsed();
    truth.check(&events);
    let again = reconcile(&world).await;
    assert!(again.found.is_empty(), "{again:?}");
    truth.check(&world.all_events().await);
    let asked = counted(&world, "deskgate_reconcile_questions_total").await;
    let granted = RATE * u64::try_from(start.elapsed().as_millis()).unwrap() / 1_000;
    let permille = asked * 1_000 / granted.max(1);
    println!(
        "{tickets} tickets, {} messages, {} ended silently: the storm took {raged:.1?} and left {lost} facts missing; all \
         were in the log once {:.1?} later ({rounds} rounds asked for); {asked} questions in all, {}.{} % of the bot's rate",
        tickets * MESSAGES,
        truth.tickets.values().filter(|(_, ended)| *ended).count(),
        took.saturating_sub(raged),
        permille / 10,
        permille % 10,
    );
    let found = counted(&world, "deskgate_reconcile_found_total").await;
    println!("found by reading back, over the whole run: {found}");
    assert!(found >= u64::try_from(lost).unwrap(), "{lost} were missing, and {found} found");
    assert!(permille <= SHARE_PERMILLE, "{permille}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_storm_and_three_kills_everything_is_in_the_log_once() {
    let (mut world, tickets) = (World::with(super::BUSY).await, tickets());
    let storm = Storm::over(&world);
    let raging = tokio::spawn({
        let storm = storm.clone();
        async move { storm.rage(tickets).await }
    });
    let start = Instant::now();
    for part in [1, 2] {
        while storm.done.load(Ordering::Relaxed) < tickets * MESSAGES * part / 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.gateway.kill();
        world.restart().await;
    }
    let truth = raging.await.unwrap();
    // In the middle of a round.
    let mut client = pb::admin_service_client::AdminServiceClient::new(world.channel().await);
    let request = pb::ReconcileBotRequest { bot: String::new(), since: None };
    let mut stream = client.reconcile_bot(request).await.unwrap().into_inner();
    loop {
        let progress = stream.message().await.unwrap().unwrap();
        assert!(progress.report.is_none(), "the round was over before it was broken off");
        if progress.tickets_total > 0 && progress.tickets_done > 0 {
            break;
        }
    }
    world.gateway.kill();
    world.restart().await;
    let (events, rounds) = repaired(&world, &truth).await;
    truth.check(&events);
    println!(
        "{tickets} tickets, killed three times: all in the log once after {:.1?} ({rounds} rounds asked for)",
        start.elapsed()
    );
}
