//! Commands: what reaches Desk, what the caller is told, what the log then holds.

use deskgate::grpc::pb;
use pb::get_command_request::Key;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{World, message, reason_of, ticket};

fn options(request_id: &str) -> pb::CommandOptions {
    pb::CommandOptions { request_id: request_id.to_owned(), ..Default::default() }
}

fn send(ticket_id: &str, text: &str, request_id: &str) -> pb::SendRequest {
    pb::SendRequest {
        ticket_id: ticket_id.to_owned(),
        text: text.to_owned(),
        options: Some(options(request_id)),
        ..Default::default()
    }
}

/// How often the envelopes of one command took effect at the stand-in Desk.
fn effects(state: &Value, command_id: &str) -> u64 {
    state["effects"][command_id]["applied"].as_u64().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_from_the_first_word_to_the_end() {
    let world = World::start().await;
    let (customer, ticket_id) = world.customer("Bom dia").await;
    let mut tickets = world.tickets().await;
    let assigned = tickets
        .assign(pb::AssignRequest {
            ticket_id: ticket_id.clone(),
            agent: "ana@empresa.com".to_owned(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let ticket = assigned.ticket.unwrap();
    assert_eq!(
        (ticket.status(), ticket.agent_identity.as_str()),
        (pb::TicketStatus::Open, "ana%40empresa.com@blip.ai")
    );
    let sent = tickets.send(send(&ticket_id, "Como posso ajudar?", "r-1")).await.unwrap().into_inner();
    assert_eq!(sent.receipt.as_ref().unwrap().state(), pb::CommandState::Succeeded);
    world.desk(&format!("/customers/{customer}/messages"), json!({"text": "Segunda via"})).await;
    let closed = tickets
        .close(pb::CloseRequest {
            ticket_id: ticket_id.clone(),
            tags: vec!["boleto".to_owned()],
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert!(!closed.already_closed);
    assert_eq!(closed.ticket.unwrap().status(), pb::TicketStatus::ClosedAttendant);

    let events = world.all_events().await;
    let types: Vec<_> = events.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(
        types,
        ["ticket.created", "ticket.assigned", "message.agent", "message.customer", "ticket.closed"]
    );
    assert!(events.iter().zip(1..).all(|(event, sequence)| event.ticket_sequence == sequence));
    assert_eq!(events[2].blip_id, sent.message_id);
    assert_eq!(events[2].agent_identity, "ana%40empresa.com@blip.ai");
    let received = world.customers_view(&customer).await["received"].as_array().unwrap().clone();
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(received[0]["content"], "Como posso ajudar?");

    let status = tickets.send(send(&ticket_id, "Mais alguma coisa?", "r-2")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::FailedPrecondition, "TICKET_CLOSED"));
    let again = pb::CloseRequest { ticket_id: ticket_id.clone(), ..Default::default() };
    assert!(tickets.close(again).await.unwrap().into_inner().already_closed);
    let got = tickets.get_ticket(pb::GetTicketRequest {
        ticket_id: ticket_id.clone(),
        fresh: true,
        ..Default::default()
    });
    let got = got.await.unwrap().into_inner();
    assert!(got.fresh);
    assert_eq!(got.ticket.unwrap().tags, ["boleto"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_one_effect_and_one_answer() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut tickets = world.tickets().await;
        let request = send(&ticket_id, "uma vez", "once");
        calls.spawn(async move { tickets.send(request).await.unwrap().into_inner() });
    }
    let answers = calls.join_all().await;
    let ids: std::collections::BTreeSet<_> = answers.iter().map(|answer| answer.message_id.clone()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|answer| !answer.receipt.as_ref().unwrap().replayed).count(), 1);
    assert_eq!(effects(&world.desk_state().await, ids.first().unwrap()), 1);

    let mut tickets = world.tickets().await;
    let status = tickets.send(send(&ticket_id, "outra coisa", "once")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::AlreadyExists, "REQUEST_ID_CONFLICT"));
    let found =
        tickets.get_command(pb::GetCommandRequest { key: Some(Key::RequestId("once".to_owned())) }).await;
    let command = found.unwrap().into_inner().command.unwrap();
    assert_eq!(
        (command.method.as_str(), command.receipt.unwrap().state()),
        ("Send", pb::CommandState::Succeeded)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_of_ten_request_ids_are_ten_effects() {
    let world = World::start().await;
    let mut tickets_of = Vec::new();
    for _ in 0..10 {
        tickets_of.push(world.customer("oi").await.1);
    }
    let tickets = world.tickets().await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let (mut tickets, which) = (tickets.clone(), number % 10);
        let request = send(&tickets_of[which], "uma vez", &format!("r-{which}"));
        calls.spawn(async move { (which, tickets.send(request).await.unwrap().into_inner()) });
    }
    let mut answers = vec![Vec::new(); 10];
    for (which, answer) in calls.join_all().await {
        answers[which].push(answer);
    }
    let state = world.desk_state().await;
    for answers in &answers {
        assert_eq!(answers.len(), 100);
        let first = answers.iter().filter(|answer| !answer.receipt.as_ref().unwrap().replayed).count();
        assert_eq!(first, 1, "one is answered by the doing, the others by the record");
        assert!(answers.iter().all(|answer| answer.message_id == answers[0].message_id));
        assert_eq!(effects(&state, &answers[0].message_id), 1);
    }
    let said = world.all_events().await.into_iter().filter(|event| event.r#type == "message.agent").count();
    assert_eq!(said, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_trials_change_nothing() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    let mut request = send(&ticket_id, "ensaio", "trial");
    request.options.as_mut().unwrap().validate_only = true;
    let receipt = tickets.send(request).await.unwrap().into_inner().receipt.unwrap();
    assert_eq!(receipt.state(), pb::CommandState::Unspecified, "nothing was done");
    let status = tickets
        .get_command(pb::GetCommandRequest { key: Some(Key::RequestId("trial".to_owned())) })
        .await
        .unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::NotFound, "COMMAND_NOT_FOUND"));

    world.post(message(&ticket_id, "m", "mais uma coisa")).await;
    let mut request = send(&ticket_id, "resposta", "late");
    request.options.as_mut().unwrap().if_ticket_sequence = 1;
    let status = tickets.send(request).await.unwrap_err();
    let (reason, metadata) = reason_of(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::Aborted, "TICKET_CHANGED"));
    assert_eq!(metadata["ticket_sequence"], "2");
    assert!(world.all_events().await.iter().all(|event| event.r#type != "message.agent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_over_http_200_are_failures() {
    let world = World::start().await;
    let mut tickets = world.tickets().await;
    let assign = |ticket_id: &str| pb::AssignRequest {
        ticket_id: ticket_id.to_owned(),
        agent: "ana@empresa.com".to_owned(),
        ..Default::default()
    };
    let status = tickets.assign(assign("nobody")).await.unwrap_err();
    let (reason, metadata) = reason_of(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::NotFound, "TICKET_NOT_FOUND"));
    assert_eq!(
        (metadata["blip_code"].as_str(), metadata["blip_uri"].as_str()),
        ("67", "/tickets/change-status")
    );

    let (_, ticket_id) = world.customer("oi").await;
    let fault = json!({"on": "commands", "match": {"method": "set"}, "kind": {"failure": {"description": "sem motivo"}}});
    world.desk("/faults", fault).await;
    let status = tickets.assign(assign(&ticket_id)).await.unwrap_err();
    let (reason, metadata) = reason_of(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::FailedPrecondition, "BLIP_REJECTED"));
    assert_eq!(metadata["blip_description"], "sem motivo");

    // Closed without a word to us: Blip refuses, and the ticket itself says why.
    let (customer, ticket_id) = world.customer("oi").await;
    world.desk(&format!("/customers/{customer}/close"), json!({"announce": false})).await;
    let status = tickets.assign(assign(&ticket_id)).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::FailedPrecondition, "TICKET_CLOSED"));
    let close = pb::CloseRequest { ticket_id, ..Default::default() };
    assert!(tickets.close(close).await.unwrap().into_inner().already_closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_looked_for_and_never_sent_twice() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    world.desk("/faults", json!({"on": "messages", "kind": "drop_after"})).await;
    let sent = tickets.send(send(&ticket_id, "chegou", "in-doubt")).await.unwrap().into_inner();
    assert_eq!(effects(&world.desk_state().await, &sent.message_id), 1);

    world.desk("/faults", json!({"on": "messages", "kind": "drop_before"})).await;
    let status = tickets.send(send(&ticket_id, "nunca chegou", "lost")).await.unwrap_err();
    let (reason, metadata) = reason_of(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::Unknown, "OUTCOME_UNKNOWN"));
    assert_eq!(effects(&world.desk_state().await, &metadata["command_id"]), 0);
    let again = tickets.send(send(&ticket_id, "nunca chegou", "lost")).await.unwrap_err();
    assert_eq!(reason_of(&again).0, "OUTCOME_UNKNOWN", "the same id asks nothing again");
    assert_eq!(effects(&world.desk_state().await, &metadata["command_id"]), 0);

    world.desk("/faults", json!({"on": "commands", "match": {"method": "set"}, "kind": "drop_after"})).await;
    let close = pb::CloseRequest { ticket_id: ticket_id.clone(), ..Default::default() };
    let closed = tickets.close(close).await.unwrap().into_inner();
    assert_eq!(closed.ticket.unwrap().status(), pb::TicketStatus::ClosedAttendant);
    let types: Vec<_> = world.all_events().await.into_iter().map(|event| event.r#type).collect();
    assert_eq!(types, ["ticket.created", "message.agent", "ticket.closed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_without_effect_frees_its_request_id() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    world.desk("/faults", json!({"on": "messages", "kind": {"status": {"code": 401}}})).await;
    let status = tickets.send(send(&ticket_id, "oi", "again")).await.unwrap_err();
    assert_eq!(
        (status.code(), reason_of(&status).0.as_str()),
        (Code::FailedPrecondition, "BLIP_CREDENTIAL_REJECTED")
    );
    let sent = tickets.send(send(&ticket_id, "oi", "again")).await.unwrap().into_inner();
    assert!(!sent.receipt.unwrap().replayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_all_named() {
    let world = World::start().await;
    let mut tickets = world.tickets().await;
    let status = tickets.assign(pb::AssignRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    let fields: std::collections::BTreeSet<String> = {
        use tonic_types::StatusExt;
        let details = status.get_error_details();
        details
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|violation| violation.field.clone())
            .collect()
    };
    assert_eq!(fields, std::collections::BTreeSet::from(["agent", "ticket_id"].map(str::to_owned)));
    world.post(ticket("t", "Waiting")).await;
    let status = tickets.send(send("t", "", "x")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    let bot = pb::SendRequest { bot: "nobody".to_owned(), ..send("t", "oi", "x") };
    let status = tickets.send(bot).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::NotFound, "BOT_UNKNOWN"));
}

/// Lays a fault for the next command whose URI contains this.
async fn lay(world: &World, uri: &str, kind: Value) {
    world.desk("/faults", json!({"on": "commands", "match": {"uri_contains": uri}, "kind": kind})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refusal_says_of_labels_is_not_said_of_the_close() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    lay(&world, "change-tags", json!({"failure": {"code": 64, "description": "Invalid argument"}})).await;
    let close = |tags: &[&str]| pb::CloseRequest {
        ticket_id: ticket_id.clone(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..Default::default()
    };
    let status = tickets.close(close(&["boleto"])).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::InvalidArgument, "BLIP_REJECTED"));
    lay(&world, "change-status", json!({"failure": {"code": 64, "description": "Invalid argument"}})).await;
    let status = tickets.close(close(&[])).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "BLIP_REJECTED", "the ticket, read, is open");
    // In doubt, then refused: the ticket shows the labels, so the close goes on.
    lay(&world, "change-tags", json!({"status": {"code": 500, "applied": true}})).await;
    lay(&world, "change-tags", json!({"failure": {"code": 34, "description": "Muitas"}})).await;
    assert!(!tickets.close(close(&["boleto"])).await.unwrap().into_inner().already_closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_does_not_hide_the_doubt_before_it() {
    let world = World::start().await;
    let mut tickets = world.tickets().await;
    for applied in [true, false] {
        let (_, ticket_id) = world.customer("oi").await;
        // What took effect is found before it is asked for again: then the refusal is left over.
        world.http.delete(world.desk_url("/faults")).send().await.unwrap();
        lay(&world, "change-status", json!({"status": {"code": 500, "applied": applied}})).await;
        lay(&world, "change-status", json!({"failure": {"code": 34, "description": "Muitas"}})).await;
        let request =
            pb::AssignRequest { ticket_id, agent: "ana@empresa.com".to_owned(), ..Default::default() };
        let answer = tickets.assign(request).await;
        if applied {
            assert_eq!(answer.unwrap().into_inner().ticket.unwrap().status(), pb::TicketStatus::Open);
        } else {
            let status = answer.unwrap_err();
            assert_eq!(reason_of(&status).0, "OUTCOME_UNKNOWN");
            assert!(status.message().contains("Muitas"), "{status:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_of_another_is_told_as_what_it_was() {
    let world = World::start().await;
    let (customer, ticket_id) = world.customer("oi").await;
    world.desk(&format!("/customers/{customer}/close"), json!({"announce": false})).await;
    lay(&world, "change-status", json!("drop_before")).await;
    let mut tickets = world.tickets().await;
    let close = pb::CloseRequest { ticket_id: ticket_id.clone(), ..Default::default() };
    let closed = tickets.close(close).await.unwrap().into_inner();
    assert!(closed.already_closed);
    assert_eq!(closed.ticket.unwrap().status(), pb::TicketStatus::ClosedClient);
    let events = world.all_events().await;
    let last = events.last().unwrap();
    assert_eq!((events.len(), last.r#type.as_str()), (2, "ticket.closed"));
    assert_eq!(last.origin(), pb::EventOrigin::Reconciliation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_learnt_from_blip_is_learnt_by_all() {
    let world = World::start().await;
    let mut tickets = world.tickets().await;
    for close_first in [false, true] {
        let (customer, ticket_id) = world.customer("oi").await;
        world.desk(&format!("/customers/{customer}/close"), json!({"announce": false})).await;
        if close_first {
            let close = pb::CloseRequest { ticket_id: ticket_id.clone(), ..Default::default() };
            assert!(tickets.close(close).await.unwrap().into_inner().already_closed);
        }
        let asked = || async { world.desk_state().await["requests"].as_array().map(Vec::len) };
        for again in [false, true] {
            let before = asked().await;
            let request = pb::AssignRequest {
                ticket_id: ticket_id.clone(),
                agent: "ana@empresa.com".to_owned(),
                ..Default::default()
            };
            let status = tickets.assign(request).await.unwrap_err();
            let (reason, metadata) = reason_of(&status);
            assert_eq!(
                (reason.as_str(), metadata["blip_status"].as_str()),
                ("TICKET_CLOSED", "ClosedClient")
            );
            assert_eq!(asked().await == before, close_first || again, "Blip is asked once");
        }
        let mut events = world.all_events().await;
        events.retain(|event| event.ticket_id == ticket_id);
        let told: Vec<_> = events.iter().map(|event| (event.r#type.as_str(), event.origin())).collect();
        assert_eq!(
            told,
            [
                ("ticket.created", pb::EventOrigin::Webhook),
                ("ticket.closed", pb::EventOrigin::Reconciliation)
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_taken_over_http_may_be_refused_in_its_body() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    let body = json!({"id": "1", "status": "failure", "reason": {"code": 81, "description": "sem gateway"}});
    let kind = json!({"status": {"code": 202, "body": body.to_string()}});
    world.desk("/faults", json!({"on": "messages", "kind": kind})).await;
    let status = tickets.send(send(&ticket_id, "oi", "refused")).await.unwrap_err();
    let (reason, metadata) = reason_of(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::Unavailable, "BLIP_UNAVAILABLE"));
    assert_eq!(
        (metadata["blip_description"].as_str(), metadata["blip_uri"].as_str()),
        ("sem gateway", "/messages")
    );

    let kind = json!({"status": {"code": 400, "body": "mensagem grande demais"}});
    world.desk("/faults", json!({"on": "messages", "kind": kind})).await;
    let status = tickets.send(send(&ticket_id, "oi", "too large")).await.unwrap_err();
    let (reason, metadata) = reason_of(&status);
    assert_eq!(
        (reason.as_str(), metadata["http_status"].as_str(), metadata["blip_description"].as_str()),
        ("BLIP_REJECTED", "400", "mensagem grande demais")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_does_not_wait_for_the_first_call() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    world.desk("/faults", json!({"on": "messages", "kind": "hang"})).await;
    let mut first = world.tickets().await;
    let request = send(&ticket_id, "uma coisa", "one");
    let running = tokio::spawn(async move { first.send(request).await });
    let mut tickets = world.tickets().await;
    let key = || Some(Key::RequestId("one".to_owned()));
    while tickets.get_command(pb::GetCommandRequest { key: key() }).await.is_err() {
        tokio::task::yield_now().await;
    }
    let mut request = tonic::Request::new(send(&ticket_id, "outra coisa", "one"));
    request.set_timeout(std::time::Duration::from_secs(20));
    let status = tickets.send(request).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::AlreadyExists, "REQUEST_ID_CONFLICT"));
    assert!(!running.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_a_ticket_nobody_has_is_not_sent() {
    let world = World::start().await;
    let mut tickets = world.tickets().await;
    let status = tickets.send(send("27a66000-0000-4000-8000-000000000000", "oi", "r")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::NotFound, "TICKET_NOT_FOUND"));
    assert!(world.all_events().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn capitals_name_the_same_ticket() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let capitals = ticket_id.to_uppercase();
    assert_eq!(world.post(message(&capitals, "m", "de novo")).await, 200);
    let mut tickets = world.tickets().await;
    tickets.close(pb::CloseRequest { ticket_id: capitals.clone(), ..Default::default() }).await.unwrap();
    let status = tickets.send(send(&capitals, "oi", "r")).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "TICKET_CLOSED");
    let events = world.all_events().await;
    assert!(
        events.iter().zip(1..).all(|(event, n)| event.ticket_id == ticket_id && event.ticket_sequence == n)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn blips_echo_of_a_command_is_no_second_one() {
    let world = World::start().await;
    let settings = json!({"announce_changes": true}).to_string();
    let answer = world.http.put(world.desk_url("/settings")).body(settings).send().await.unwrap();
    assert!(answer.status().is_success());
    let mut tickets = world.tickets().await;
    for _ in 0..6 {
        let (_, ticket_id) = world.customer("oi").await;
        let agent = "ana@empresa.com".to_owned();
        tickets
            .assign(pb::AssignRequest { ticket_id: ticket_id.clone(), agent, ..Default::default() })
            .await
            .unwrap();
        let closed = tickets.close(pb::CloseRequest { ticket_id, ..Default::default() }).await.unwrap();
        let ticket = closed.into_inner().ticket.unwrap();
        assert!(ticket.open_time.is_some() && ticket.close_time.is_some());
    }
    // Whichever of the two came first; the later one is an update.
    let events = world.all_events().await;
    let count = |name: &str| events.iter().filter(|event| event.r#type == name).count();
    assert_eq!((count("ticket.created"), count("ticket.assigned"), count("ticket.closed")), (6, 6, 6));
}
