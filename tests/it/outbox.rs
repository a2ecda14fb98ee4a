//! Commands that nobody waits for: durable when accepted, in order per ticket, across outages and restarts, and told when
//! they end. And ends that were unknown, until a later look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deskgate::grpc::pb;
use pb::event::Payload;
use pb::get_command_request::Key;
use pb::start_position::Position;
use pb::subscribe_response::Message as Told;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{World, at, reason_of};

/// How many messages an outage holds back, over how many tickets; `DESKGATE_TEST_OUTBOX` asks for more messages.
fn messages() -> usize {
    std::env::var_os("DESKGATE_TEST_OUTBOX").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(120)
}

/// Over how many tickets these go.
fn tickets() -> usize {
    (messages() / 10).clamp(1, 200)
}

pub(crate) fn send(ticket_id: &str, text: &str, accept_only: bool) -> pb::SendRequest {
    pb::SendRequest {
        ticket_id: ticket_id.to_owned(),
        text: text.to_owned(),
        options: Some(pb::CommandOptions { request_id: text.to_owned(), accept_only, ..Default::default() }),
        ..Default::default()
    }
}

async fn power(world: &World, on: bool, how: &str) {
    let switch = if on { json!({"on": true}) } else { json!({"on": false, "as": how}) };
    let answer = world.http.put(world.desk_url("/power")).body(switch.to_string()).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// Reads events from the beginning until so many commands are settled.
pub(crate) async fn settled(world: &World, count: usize) -> Vec<(String, pb::CommandSettled)> {
    let request = pb::SubscribeRequest { start: Some(at(Position::Earliest(true))), ..Default::default() };
    let mut stream = world.events().await.subscribe(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    while found.len() < count {
        let response = stream.message().await.unwrap().unwrap();
        if let Some(Told::Event(event)) = response.message
            && let Some(Payload::CommandSettled(told)) = event.payload
        {
            found.push((event.ticket_id, told));
        }
    }
    found
}

async fn command(world: &World, request_id: &str) -> pb::Command {
    let key = Some(Key::RequestId(request_id.to_owned()));
    let found = world.tickets().await.get_command(pb::GetCommandRequest { key }).await;
    found.unwrap().into_inner().command.unwrap()
}

/// What customers got, by ticket, in the order it reached them.
pub(crate) async fn received(world: &World) -> BTreeMap<String, Vec<String>> {
    let state = world.desk_state().await;
    let tickets = state["effects_by_ticket"].as_object().unwrap();
    let messages = |effects: &Value| {
        let said = effects.as_array().unwrap().iter().filter(|effect| effect["what"] == "message");
        said.map(|effect| effect["detail"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    tickets.iter().map(|(ticket, effects)| (ticket.clone(), messages(effects))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_wait_is_told_by_an_event() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    let accepted = tickets.send(send(&ticket_id, "um", true)).await.unwrap().into_inner();
    let receipt = accepted.receipt.unwrap();
    assert_eq!((receipt.state(), receipt.replayed), (pb::CommandState::Queued, false));
    assert_eq!(accepted.message_id, receipt.command_id);
    // The same call that waits gets the end; the same call that does not, how far it is.
    let waited = tickets.send(send(&ticket_id, "um", false)).await.unwrap().into_inner().receipt.unwrap();
    assert_eq!(
        (waited.command_id.as_str(), waited.state()),
        (receipt.command_id.as_str(), pb::CommandState::Succeeded)
    );
    let again = tickets.send(send(&ticket_id, "um", true)).await.unwrap().into_inner().receipt.unwrap();
    assert!(again.replayed && again.state() == pb::CommandState::Succeeded);
    let told = settled(&world, 1).await.remove(0);
    assert_eq!(
        (told.0.as_str(), told.1.command_id.as_str()),
        (ticket_id.as_str(), receipt.command_id.as_str())
    );
    assert_eq!((told.1.method.as_str(), told.1.request_id.as_str()), ("Send", "um"));
    assert_eq!((told.1.state(), told.1.error_reason.as_str()), (pb::CommandState::Succeeded, ""));
    let types: Vec<_> = world.all_events().await.into_iter().map(|event| event.r#type).collect();
    assert_eq!(types, ["ticket.created", "message.agent", "command.settled"], "what it did comes first");

    // What is sure to fail is told at once, and by no event.
    tickets.close(pb::CloseRequest { ticket_id: ticket_id.clone(), ..Default::default() }).await.unwrap();
    let status = tickets.send(send(&ticket_id, "dois", true)).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::FailedPrecondition, "TICKET_CLOSED"));
    // What Blip alone can refuse is told by the event.
    let unknown_team = pb::TransferRequest {
        ticket_id: world.customer("oi").await.1,
        team: "Nenhum".to_owned(),
        options: Some(pb::CommandOptions { accept_only: true, ..Default::default() }),
        ..Default::default()
    };
    tickets.transfer(unknown_team).await.unwrap();
    let told = settled(&world, 2).await.remove(1).1;
    assert_eq!((told.state(), told.error_reason.as_str()), (pb::CommandState::Failed, "TEAM_NOT_FOUND"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_loses_nothing_doubles_nothing_and_keeps_the_order() {
    let mut world = World::start().await;
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..tickets() {
        expected.insert(world.customer("oi").await.1, Vec::new());
    }
    power(&world, false, "reset").await;
    let ids: Vec<String> = expected.keys().cloned().collect();
    let each = messages() / tickets();
    for (round, killed) in [(0, true), (1, true), (2, false)] {
        let mut accepting = JoinSet::new();
        for ticket_id in ids.clone() {
            let mut tickets = world.tickets().await;
            let texts: Vec<String> = (0..each / 3 + usize::from(round < each % 3))
                .map(|n| format!("{ticket_id} {round} {n}"))
                .collect();
            accepting.spawn(async move {
                for text in &texts {
                    let receipt =
                        tickets.send(send(&ticket_id, text, true)).await.unwrap().into_inner().receipt;
                    assert_eq!(receipt.unwrap().state(), pb::CommandState::Queued);
                }
                (ticket_id, texts)
            });
        }
        while let Some(accepted) = accepting.join_next().await {
            let (ticket_id, texts) = accepted.unwrap();
            expected.get_mut(&ticket_id).unwrap().extend(texts);
        }
        if killed {
            world.gateway.kill();
            world.restart().await;
        }
    }
    let accepted: usize = expected.values().map(Vec::len).sum();
    assert!(received(&world).await.values().all(Vec::is_empty), "Blip is off");
    power(&world, true, "").await;
    let told = settled(&world, accepted).await;
    assert!(told.iter().all(|(_, told)| told.state() == pb::CommandState::Succeeded), "{told:?}");
    let got = received(&world).await;
    let wrong: Vec<_> = expected.iter().filter(|(ticket, texts)| got.get(*ticket) != Some(texts)).collect();
    println!(
        "accepted {accepted}, told {}, got {}, tickets with a difference {}",
        told.len(),
        got.values().map(Vec::len).sum::<usize>(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "each message once, in order: {wrong:?}");
    let said = world.all_events().await.into_iter().filter(|event| event.r#type == "message.agent").count();
    assert_eq!(said, accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_too_long_expires_and_frees_its_id() {
    let world = World::with("[commands]\naccept_only_expiry = \"1s\"").await;
    let (_, ticket_id) = world.customer("oi").await;
    power(&world, false, "reset").await;
    let mut tickets = world.tickets().await;
    for text in ["um", "dois"] {
        tickets.send(send(&ticket_id, text, true)).await.unwrap();
    }
    let told = settled(&world, 2).await;
    assert_eq!(told.iter().map(|(_, told)| told.request_id.as_str()).collect::<Vec<_>>(), ["um", "dois"]);
    for (_, told) in told {
        assert_eq!((told.state(), told.error_reason.as_str()), (pb::CommandState::Failed, "COMMAND_EXPIRED"));
    }
    power(&world, true, "").await;
    let sent = tickets.send(send(&ticket_id, "um", false)).await.unwrap().into_inner().receipt.unwrap();
    assert!(!sent.replayed, "nothing was sent before");
    assert_eq!(received(&world).await[&ticket_id], ["um"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_wait_than_may() {
    let world = World::with("[commands]\nqueue_max = 2").await;
    let (_, ticket_id) = world.customer("oi").await;
    power(&world, false, "reset").await;
    let mut tickets = world.tickets().await;
    for text in ["um", "dois"] {
        tickets.send(send(&ticket_id, text, true)).await.unwrap();
    }
    let status = tickets.send(send(&ticket_id, "tres", true)).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    let again = tickets.send(send(&ticket_id, "um", true)).await.unwrap().into_inner().receipt.unwrap();
    assert!(again.replayed, "what is accepted is answered all the same");
    let list =
        pb::ListCommandsRequest { states: vec![pb::CommandState::Queued.into()], ..Default::default() };
    assert_eq!(tickets.list_commands(list).await.unwrap().into_inner().commands.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_caller_comes_after_what_was_accepted_before() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    power(&world, false, "reset").await;
    let mut tickets = world.tickets().await;
    tickets.send(send(&ticket_id, "um", true)).await.unwrap();
    tickets.send(send(&ticket_id, "dois", true)).await.unwrap();
    let mut impatient = tonic::Request::new(send(&ticket_id, "tres", false));
    impatient.set_timeout(Duration::from_millis(400));
    let status = tickets.send(impatient).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "QUOTA_EXCEEDED", "what is not sent in time never is");
    let patient = send(&ticket_id, "quatro", false);
    let mut waiting = tickets.clone();
    let waiting = tokio::spawn(async move { waiting.send(patient).await.unwrap() });
    power(&world, true, "").await;
    waiting.await.unwrap();
    assert_eq!(received(&world).await[&ticket_id], ["um", "dois", "quatro"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_perhaps_sent_at_kill_9_goes_before_what_was_not() {
    let mut world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    world.desk("/faults", json!({"on": "messages", "kind": {"hang": {"applied": true}}})).await;
    for text in ["um", "dois", "tres"] {
        tickets.send(send(&ticket_id, text, true)).await.unwrap();
    }
    // The first has reached Desk once its fault is used up.
    loop {
        let state = world.desk_state().await;
        if state["faults"]["waiting"].as_array().is_some_and(Vec::is_empty) {
            break;
        }
        let changes = world.desk_url(&format!("/changes/{}", state["revision"]));
        world.http.get(changes).send().await.unwrap();
    }
    assert_eq!(command(&world, "um").await.receipt.unwrap().state(), pb::CommandState::Running);
    assert_eq!(command(&world, "dois").await.receipt.unwrap().state(), pb::CommandState::Queued);
    world.gateway.kill();
    world.restart().await;
    let told = settled(&world, 3).await;
    let ends: Vec<_> = told.iter().map(|(_, told)| (told.request_id.as_str(), told.state())).collect();
    let done = pb::CommandState::Succeeded;
    assert_eq!(ends, [("um", done), ("dois", done), ("tres", done)]);
    assert_eq!(received(&world).await[&ticket_id], ["um", "dois", "tres"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_end_is_cleared_up_by_a_later_look() {
    let mut world = World::start().await;
    let mut tickets = world.tickets().await;
    for restart in [false, true] {
        let (_, ticket_id) = world.customer("oi").await;
        world.desk("/faults", json!({"on": "messages", "kind": "drop_after"})).await;
        let blind = json!({"on": "commands", "match": {"uri_contains": "/messages"}, "times": 3,
                           "kind": {"status": {"code": 500}}});
        world.desk("/faults", blind).await;
        let text = format!("chegou {restart}");
        let status = tickets.send(send(&ticket_id, &text, false)).await.unwrap_err();
        assert_eq!(reason_of(&status).0, "OUTCOME_UNKNOWN");
        if restart {
            world.gateway.kill();
            world.restart().await;
            tickets = world.tickets().await;
        }
        let told = settled(&world, if restart { 2 } else { 1 }).await.pop().unwrap().1;
        assert_eq!((told.state(), told.request_id.as_str()), (pb::CommandState::Succeeded, text.as_str()));
        let receipt = command(&world, &text).await.receipt.unwrap();
        assert_eq!(receipt.state(), pb::CommandState::Succeeded);
        let again = tickets.send(send(&ticket_id, &text, false)).await.unwrap().into_inner().receipt.unwrap();
        assert!(again.replayed);
        assert_eq!(received(&world).await[&ticket_id], [text]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_a_close_with_an_unknown_end_are_told_by_a_later_look() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    for (uri, kind) in [("change-tags", json!("drop_after")), ("/ticket/", json!({"failure": {"code": 11}}))]
    {
        let fault = json!({"on": "commands", "match": {"uri_contains": uri}, "times": 9, "kind": kind});
        world.desk("/faults", fault).await;
    }
    let close = pb::CloseRequest { ticket_id, tags: vec!["boleto".to_owned()], ..Default::default() };
    let status = world.tickets().await.close(close).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "OUTCOME_UNKNOWN");
    world.http.delete(world.desk_url("/faults")).send().await.unwrap();
    let request = pb::SubscribeRequest { start: Some(at(Position::Earliest(true))), ..Default::default() };
    let mut stream = world.events().await.subscribe(request).await.unwrap().into_inner();
    let updated = loop {
        if let Some(Told::Event(event)) = stream.message().await.unwrap().unwrap().message
            && let Some(Payload::TicketUpdated(updated)) = event.payload
        {
            break updated;
        }
    };
    assert_eq!(updated.ticket.unwrap().tags, ["boleto"], "the close itself is as unknown as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_its_caller_did_not_wait_for_is_told() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    world.desk("/faults", json!({"on": "messages", "kind": {"delay": {"ms": 1500}}})).await;
    let call = tickets.send(send(&ticket_id, "devagar", false));
    // The caller hangs up.
    tokio::time::timeout(Duration::from_millis(400), call).await.unwrap_err();
    let told = settled(&world, 1).await.remove(0).1;
    assert_eq!((told.state(), told.request_id.as_str()), (pb::CommandState::Succeeded, "devagar"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_what_waits_to_the_next_start() {
    let mut world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    power(&world, false, "reset").await;
    let mut tickets = world.tickets().await;
    for text in ["um", "dois"] {
        tickets.send(send(&ticket_id, text, true)).await.unwrap();
    }
    world.gateway.signal("TERM");
    assert!(world.gateway.wait().success());
    let log = world.gateway.rest_of_log();
    assert!(!log.contains("abandoned"), "nothing was begun: {log}");
    power(&world, true, "").await;
    world.restart().await;
    assert!(settled(&world, 2).await.iter().all(|(_, told)| told.state() == pb::CommandState::Succeeded));
    assert_eq!(received(&world).await[&ticket_id], ["um", "dois"]);
}

/// How often the gateway is killed; `DESKGATE_TEST_KILLS` asks for more.
fn kills() -> usize {
    std::env::var_os("DESKGATE_TEST_KILLS").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(4)
}

/// Leaves messages on one ticket, one after the other, each until it is accepted; goes on where it was.
async fn leave(world: &World, ticket_id: &str, next: usize, accepted: &AtomicUsize) -> usize {
    let mut tickets = world.tickets().await;
    for number in next.. {
        let text = format!("{ticket_id} {number}");
        match tickets.send(send(ticket_id, &text, true)).await {
            Ok(_) => accepted.fetch_add(1, Ordering::SeqCst),
            // The gateway is gone: the same is left again in the next round.
            Err(_) => return number,
        };
    }
    unreachable!("it is killed before")
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_instant_doubles_nothing_and_forgets_nothing() {
    let mut world = World::start().await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(world.customer("oi").await.1);
    }
    let mut next = vec![0; ids.len()];
    for round in 0..kills() {
        let accepted = Arc::new(AtomicUsize::new(0));
        let world_now = &world;
        let leaving = ids.iter().zip(&next).map(|(id, next)| leave(world_now, id, *next, &accepted));
        // Another instant of the commands' lives each round.
        let until = 60 + round * 13;
        let killer = async {
            while accepted.load(Ordering::SeqCst) < until {
                tokio::task::yield_now().await;
            }
            world_now.gateway.signal("KILL");
        };
        next = futures_util::future::join(futures_util::future::join_all(leaving), killer).await.0;
        world.gateway.wait();
        world.restart().await;
    }
    // What was being accepted when the gateway died may have been: ask for it once more, and wait for every end.
    let mut tickets = world.tickets().await;
    let mut ends = BTreeMap::new();
    for (id, next) in ids.iter().zip(&next) {
        for number in 0..=*next {
            let text = format!("{id} {number}");
            let told = match tickets.send(send(id, &text, false)).await {
                Ok(_) => "OK".to_owned(),
                Err(status) => reason_of(&status).0,
            };
            ends.insert((id.clone(), number), told);
        }
    }
    let got = received(&world).await;
    let count = |told: &str| ends.values().filter(|end| *end == told).count();
    let (done, unknown) = (count("OK"), count("OUTCOME_UNKNOWN"));
    println!("kills {}, commands {}, done {done}, unknown {unknown}", kills(), ends.len());
    assert_eq!(done + unknown, ends.len(), "{ends:?}");
    // Of a ticket one command at a time is marked as perhaps sent. Where that is killed between its mark and its call,
    // Desk never saw it, and nobody can know: no more than one a ticket and kill.
    assert!(unknown <= kills() * ids.len(), "{ends:?}");
    for id in &ids {
        let numbers: Vec<usize> =
            got[id].iter().map(|text| text.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|one, other| one < other), "{id}: twice, or out of order: {numbers:?}");
        for ((of, number), told) in ends.iter().filter(|((of, _), _)| of == id) {
            // What came to Desk is found there.
            let there = numbers.contains(number);
            assert_eq!(there, told == "OK", "{of} {number} was told {told}");
        }
    }
    let said = world.all_events().await.into_iter().filter(|event| event.r#type == "message.agent").count();
    assert_eq!(said, done, "an event for each that was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_called_both_ways_is_one_command() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let tickets = world.tickets().await;
    world.desk("/faults", json!({"on": "messages", "kind": {"delay": {"ms": 1000}}})).await;
    let slow = send(&ticket_id, "devagar", false);
    let mut first = tickets.clone();
    let first = tokio::spawn(async move { first.send(slow).await.unwrap() });
    while world.desk_state().await["faults"]["waiting"].as_array().is_some_and(|waiting| !waiting.is_empty())
    {
        tokio::task::yield_now().await;
    }
    // One waits behind it for the ticket's turn; then the same is left to be done.
    let mut waiting = tickets.clone();
    let mut request = tonic::Request::new(send(&ticket_id, "um", false));
    request.set_timeout(Duration::from_secs(20));
    let waiting = tokio::spawn(async move { waiting.send(request).await });
    let mut leaving = tickets.clone();
    let left = leaving.send(send(&ticket_id, "um", true)).await.unwrap().into_inner().receipt.unwrap();
    first.await.unwrap();
    let waited = waiting.await.unwrap().unwrap().into_inner().receipt.unwrap();
    assert_eq!(waited.command_id, left.command_id);
    assert_eq!(waited.state(), pb::CommandState::Succeeded);
    assert_eq!(received(&world).await[&ticket_id], ["devagar", "um"]);
}
