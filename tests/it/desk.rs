//! The rest of Desk by rpc: what reaches the stand-in, what the caller is told, what the log then holds.

use deskgate::grpc::pb;
use pb::event::Payload;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{World, reason_of, ticket};

fn options(request_id: &str) -> pb::CommandOptions {
    pb::CommandOptions { request_id: request_id.to_owned(), ..Default::default() }
}

/// The stand-in posts documents of changes too, as Blip may.
async fn announce_changes(world: &World) {
    let settings = json!({"announce_changes": true}).to_string();
    let answer = world.http.put(world.desk_url("/settings")).body(settings).send().await.unwrap();
    assert!(answer.status().is_success());
}

/// Lays a fault for the next command whose URI contains this.
async fn lay(world: &World, uri: &str, kind: Value) {
    world.desk("/faults", json!({"on": "commands", "match": {"uri_contains": uri}, "kind": kind})).await;
}

/// Types of a ticket's events, in order.
async fn types_of(world: &World, ticket_id: &str) -> Vec<String> {
    let events = world.all_events().await;
    events.into_iter().filter(|event| event.ticket_id == ticket_id).map(|event| event.r#type).collect()
}

/// How often what one command sent took effect.
async fn effects(world: &World, receipt: &pb::CommandReceipt) -> u64 {
    world.desk_state().await["effects"][&receipt.command_id]["applied"].as_u64().unwrap_or_default()
}

fn transfer(ticket_id: &str, team: &str, request_id: &str) -> pb::TransferRequest {
    pb::TransferRequest {
        ticket_id: ticket_id.to_owned(),
        team: team.to_owned(),
        options: Some(options(request_id)),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_two_tickets_and_two_events() {
    for announced in [false, true] {
        let world = World::start().await;
        if announced {
            announce_changes(&world).await;
        }
        let (_, old) = world.customer("oi").await;
        let mut tickets = world.tickets().await;
        let answer = tickets.transfer(transfer(&old, "Financeiro", "r")).await.unwrap().into_inner();
        let new = answer.new_ticket.unwrap();
        assert_eq!((new.team.as_str(), new.status()), ("Financeiro", pb::TicketStatus::Waiting));
        assert_eq!((new.parent_ticket_id.as_str(), new.bot.as_str()), (old.as_str(), "suporte"));

        let events = world.all_events().await;
        let count = |name: &str, ticket_id: &str| {
            events.iter().filter(|event| event.r#type == name && event.ticket_id == ticket_id).count()
        };
        assert_eq!((count("ticket.created", &old), count("ticket.created", &new.ticket_id)), (1, 1));
        let moved = events.iter().filter_map(|event| match &event.payload {
            Some(Payload::TicketTransferred(told)) if !told.new_ticket_id.is_empty() => Some(told.clone()),
            _ => None,
        });
        let moved: Vec<_> = moved.collect();
        assert_eq!(moved.len(), 1, "told once where the customer went: {events:?}");
        assert_eq!(
            (moved[0].new_ticket_id.as_str(), moved[0].to_team.as_str()),
            (new.ticket_id.as_str(), "Financeiro")
        );

        let again = tickets.transfer(transfer(&old, "Financeiro", "r")).await.unwrap().into_inner();
        assert!(again.receipt.as_ref().unwrap().replayed);
        assert_eq!(again.new_ticket.unwrap().ticket_id, new.ticket_id, "the same answer");
        assert_eq!(effects(&world, &again.receipt.unwrap()).await, 1);
        let status = tickets.transfer(transfer(&old, "Vendas", "r-2")).await.unwrap_err();
        let (reason, metadata) = reason_of(&status);
        assert_eq!((reason.as_str(), metadata["blip_status"].as_str()), ("TICKET_CLOSED", "Transferred"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_to_an_agent_or_to_nowhere() {
    let world = World::start().await;
    let (_, old) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    let status = tickets.transfer(transfer(&old, "Nenhum", "")).await.unwrap_err();
    let (reason, metadata) = reason_of(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::NotFound, "TEAM_NOT_FOUND"));
    assert_eq!((metadata["team"].as_str(), metadata["blip_code"].as_str()), ("Nenhum", "67"));
    lay(&world, "/transfer", json!({"failure": {"code": 67, "description": "Not found"}})).await;
    let nobody =
        pb::TransferRequest { agent: "nobody@empresa.com".to_owned(), ..transfer(&old, "Vendas", "") };
    let (reason, metadata) = reason_of(&tickets.transfer(nobody).await.unwrap_err());
    assert_eq!(reason, "AGENT_NOT_FOUND", "the team is there");
    assert_eq!(metadata["agent"], "nobody%40empresa.com@blip.ai");
    // Where Blip does not list its teams, nobody knows.
    lay(&world, "/teams", json!({"failure": {"code": 1, "description": "Erro"}})).await;
    let (reason, _) = reason_of(&tickets.transfer(transfer(&old, "Nenhum", "")).await.unwrap_err());
    assert_eq!(reason, "BLIP_NOT_FOUND");
    let request = pb::TransferRequest { agent: "ana@empresa.com".to_owned(), ..transfer(&old, "Vendas", "") };
    let new = tickets.transfer(request).await.unwrap().into_inner().new_ticket.unwrap();
    assert_eq!((new.team.as_str(), new.agent_identity.as_str()), ("Vendas", "ana%40empresa.com@blip.ai"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_transfer_is_looked_for_and_never_sent_twice() {
    let world = World::start().await;
    let mut tickets = world.tickets().await;
    for (number, kind) in ["drop_after", "drop_before"].into_iter().enumerate() {
        let (_, old) = world.customer("oi").await;
        lay(&world, "/transfer", json!(kind)).await;
        let answer = tickets.transfer(transfer(&old, "Vendas", &format!("r-{number}"))).await;
        if kind == "drop_after" {
            let answer = answer.unwrap().into_inner();
            let new = answer.new_ticket.unwrap();
            assert_eq!(new.parent_ticket_id, old);
            assert_eq!(effects(&world, &answer.receipt.unwrap()).await, 1);
            assert_eq!(types_of(&world, &old).await, ["ticket.created", "ticket.transferred"]);
        } else {
            let status = answer.unwrap_err();
            assert_eq!(reason_of(&status).0, "OUTCOME_UNKNOWN");
            assert_eq!(types_of(&world, &old).await, ["ticket.created"]);
        }
    }
    // Somebody else moved the customer elsewhere meanwhile: that is not ours.
    let (_, old) = world.customer("oi").await;
    lay(&world, "/transfer", json!("drop_before")).await;
    world.desk(&format!("/tickets/{old}/transfer"), json!({"team": "Suporte"})).await;
    let status = tickets.transfer(transfer(&old, "Vendas", "r-9")).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "OUTCOME_UNKNOWN");
    assert!(types_of(&world, &old).await.contains(&"ticket.transferred".to_owned()), "what was seen is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_replaced_and_told() {
    let world = World::start().await;
    announce_changes(&world).await;
    let (_, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    for tags in [vec!["boleto", "urgente"], vec![]] {
        let tags: Vec<String> = tags.into_iter().map(str::to_owned).collect();
        lay(&world, "/change-tags", json!("drop_after")).await;
        let request =
            pb::SetTagsRequest { ticket_id: ticket_id.clone(), tags: tags.clone(), ..Default::default() };
        tickets.set_tags(request).await.unwrap();
        let get = pb::GetTicketRequest { ticket_id: ticket_id.clone(), ..Default::default() };
        assert_eq!(tickets.get_ticket(get).await.unwrap().into_inner().ticket.unwrap().tags, tags);
    }
    let told: Vec<_> = world
        .all_events()
        .await
        .into_iter()
        .filter_map(|event| match event.payload {
            Some(Payload::TicketUpdated(told)) if told.changed_fields.contains(&"tags".to_owned()) => {
                Some(told.ticket.unwrap().tags.len())
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, [2, 0], "each change once, whoever told it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_follows_a_customers_close() {
    let world = World::start().await;
    let (customer, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    let finish = |request_id: &str| pb::FinishRequest {
        ticket_id: ticket_id.clone(),
        tags: vec!["desistiu".to_owned()],
        options: Some(options(request_id)),
        ..Default::default()
    };
    let status = tickets.finish(finish("early")).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "BLIP_REJECTED", "Blip takes it after the customer's close only");
    world.desk(&format!("/customers/{customer}/close"), json!({})).await;
    lay(&world, "/close", json!("drop_after")).await;
    let finished = tickets.finish(finish("once")).await.unwrap().into_inner();
    assert_eq!(finished.ticket.unwrap().tags, ["desistiu"]);
    assert_eq!(effects(&world, &finished.receipt.unwrap()).await, 1, "looked for, not sent again");
    let status = tickets.finish(finish("twice")).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "TICKET_CLOSED", "it is frozen");
    assert_eq!(types_of(&world, &ticket_id).await, ["ticket.created", "ticket.closed", "ticket.updated"]);

    let (_, ticket_id) = world.customer("oi").await;
    tickets.close(pb::CloseRequest { ticket_id: ticket_id.clone(), ..Default::default() }).await.unwrap();
    let before = world.desk_state().await["requests"].as_array().map(Vec::len);
    let finish = pb::FinishRequest { ticket_id, ..Default::default() };
    let status = tickets.finish(finish).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "TICKET_CLOSED");
    assert_eq!(world.desk_state().await["requests"].as_array().map(Vec::len), before, "Blip is not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_opened_for_a_customer() {
    let world = World::start().await;
    announce_changes(&world).await;
    let mut tickets = world.tickets().await;
    let customer = |name: &str| format!("{name}.suporte@0mn.io");
    let text =
        pb::Content { kind: Some(pb::content::Kind::Text("Quero ajuda".to_owned())), ..Default::default() };
    for (number, (team, agent, input)) in
        [("", "", None), ("", "", Some(text.clone())), ("Vendas", "ana@empresa.com", Some(text))]
            .into_iter()
            .enumerate()
    {
        let request = pb::CreateRequest {
            customer_identity: customer(&number.to_string()),
            team: team.to_owned(),
            agent: agent.to_owned(),
            customer_input: input.clone(),
            options: Some(options(&format!("r-{number}"))),
            ..Default::default()
        };
        // In doubt every time: found by customer and date, and not sent again.
        lay(&world, "/tickets", json!("drop_after")).await;
        let created = tickets.create(request.clone()).await.unwrap().into_inner();
        let (receipt, ticket) = (created.receipt.unwrap(), created.ticket.unwrap());
        assert_eq!(ticket.customer_identity, customer(&number.to_string()));
        assert_eq!(effects(&world, &receipt).await, 1);
        if let Some(input) = input {
            assert_eq!(ticket.customer_input.unwrap().kind, input.kind);
        }
        assert_eq!(types_of(&world, &ticket.ticket_id).await[0], "ticket.created");
        let again = tickets.create(request).await.unwrap().into_inner();
        assert_eq!(again.ticket.unwrap().ticket_id, ticket.ticket_id);
        let key = pb::get_command_request::Key::CommandId(receipt.command_id);
        let command = tickets.get_command(pb::GetCommandRequest { key: Some(key) }).await.unwrap();
        assert_eq!(command.into_inner().command.unwrap().ticket_id, ticket.ticket_id);
    }
    let created = world.all_events().await;
    let created = created.iter().filter(|event| event.r#type == "ticket.created").count();
    assert_eq!(created, 3, "Blip's own announcements are no second creation");

    lay(&world, "/tickets", json!("drop_before")).await;
    let request = pb::CreateRequest { customer_identity: customer("x"), ..Default::default() };
    assert_eq!(reason_of(&tickets.create(request).await.unwrap_err()).0, "OUTCOME_UNKNOWN");
    let request = pb::CreateRequest {
        customer_identity: customer("y"),
        team: "Nenhum".to_owned(),
        ..Default::default()
    };
    assert_eq!(reason_of(&tickets.create(request).await.unwrap_err()).0, "TEAM_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_and_reading_reach_the_customer() {
    let world = World::start().await;
    let (customer, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    for composing in [true, false] {
        let request = pb::SetTypingRequest { ticket_id: ticket_id.clone(), composing, bot: String::new() };
        tickets.set_typing(request).await.unwrap();
    }
    let shown = world.customers_view(&customer).await["chatstates"].clone();
    let shown: Vec<_> =
        shown.as_array().unwrap().iter().map(|shown| shown["content"]["state"].clone()).collect();
    assert_eq!(shown, ["composing", "paused"]);

    let said = world.desk(&format!("/customers/{customer}/messages"), json!({"text": "alô"})).await;
    let message_id = said["id"].as_str().unwrap().to_owned();
    let envelope_id = said["envelope_id"].as_str().unwrap().to_owned();
    let read = pb::MarkReadRequest { ticket_id: ticket_id.clone(), message_id, bot: String::new() };
    tickets.mark_read(read).await.unwrap();
    let state = world.desk_state().await;
    assert_eq!(state["effects"][&envelope_id]["notifications"], 1, "under the id that it came with: {state}");

    tickets.close(pb::CloseRequest { ticket_id: ticket_id.clone(), ..Default::default() }).await.unwrap();
    let request = pb::SetTypingRequest { ticket_id, composing: true, bot: String::new() };
    assert_eq!(reason_of(&tickets.set_typing(request).await.unwrap_err()).0, "TICKET_CLOSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_listed_from_the_log_and_from_blip() {
    let world = World::start().await;
    let mut tickets = world.tickets().await;
    let mut opened = Vec::new();
    for number in 0..5 {
        let opening = json!({"text": "oi", "team": if number == 0 { "Vendas" } else { "Suporte" }});
        let answer = world.desk("/customers", opening).await;
        opened.push(answer["ticket_id"].as_str().unwrap().to_owned());
    }
    world.post(ticket("only-here", "ClosedAttendant")).await;
    let close = pb::CloseRequest { ticket_id: opened[4].clone(), ..Default::default() };
    tickets.close(close).await.unwrap();
    for fresh in [false, true] {
        let mut request = pb::ListTicketsRequest {
            statuses: vec![pb::TicketStatus::Waiting.into(), pb::TicketStatus::Open.into()],
            page_size: 3,
            fresh,
            ..Default::default()
        };
        let mut found = Vec::new();
        loop {
            let page = tickets.list_tickets(request.clone()).await.unwrap().into_inner();
            assert!(page.tickets.len() <= 3);
            found.extend(page.tickets.into_iter().map(|ticket| ticket.ticket_id));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        found.sort();
        let mut expected = opened[..4].to_vec();
        expected.sort();
        assert_eq!(found, expected, "fresh: {fresh}");
        let team = pb::ListTicketsRequest { team: "Vendas".to_owned(), fresh, ..Default::default() };
        let page = tickets.list_tickets(team).await.unwrap().into_inner();
        assert_eq!(page.tickets.iter().map(|ticket| &ticket.ticket_id).collect::<Vec<_>>(), [&opened[0]]);
        let closed = vec![pb::TicketStatus::ClosedAttendant.into()];
        let closed = pb::ListTicketsRequest { statuses: closed, fresh, ..Default::default() };
        let page = tickets.list_tickets(closed).await.unwrap().into_inner();
        assert_eq!(page.tickets.len(), if fresh { 1 } else { 2 });
    }
    let by_team = |team: &str, page_token| pb::ListTicketsRequest {
        team: team.to_owned(),
        fresh: true,
        page_size: 1,
        page_token,
        ..Default::default()
    };
    let first = tickets.list_tickets(by_team("Suporte", String::new())).await.unwrap().into_inner();
    let error = tickets.list_tickets(by_team("Vendas", first.next_page_token)).await.unwrap_err();
    assert_eq!(reason_of(&error).0, "CURSOR_MALFORMED", "it is of another list");
    let messages = |ticket_id: &String, page_token| pb::ListMessagesRequest {
        ticket_id: ticket_id.clone(),
        page_size: 1,
        page_token,
        ..Default::default()
    };
    let first = tickets.list_messages(messages(&opened[0], String::new())).await.unwrap().into_inner();
    let token = first.next_page_token;
    assert!(!token.is_empty());
    let error = tickets.list_messages(messages(&opened[1], token.clone())).await.unwrap_err();
    assert_eq!(reason_of(&error).0, "CURSOR_MALFORMED", "it would pass over messages of the other ticket");
    tickets.list_messages(messages(&opened[0], token)).await.unwrap();

    let token = "nonsense".to_owned();
    let request = pb::ListTicketsRequest { page_token: token, ..Default::default() };
    assert_eq!(reason_of(&tickets.list_tickets(request).await.unwrap_err()).0, "CURSOR_MALFORMED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_read_beyond_blips_first_hundred() {
    let world = World::start().await;
    let (customer, ticket_id) = world.customer("oi").await;
    for number in 0..240 {
        let said = json!({"text": format!("m{number}"), "announce": false});
        world.desk(&format!("/customers/{customer}/messages"), said).await;
    }
    let mut tickets = world.tickets().await;
    for page_size in [0, 90, 150, 1_000] {
        let mut request =
            pb::ListMessagesRequest { ticket_id: ticket_id.clone(), page_size, ..Default::default() };
        let mut said = Vec::new();
        loop {
            let page = tickets.list_messages(request.clone()).await.unwrap().into_inner();
            said.extend(page.messages.into_iter().filter_map(|message| {
                assert_eq!(message.direction, "received");
                match message.content.unwrap().kind {
                    Some(pb::content::Kind::Text(text)) => Some(text),
                    _ => None,
                }
            }));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let mut expected = vec!["oi".to_owned()];
        expected.extend((0..240).map(|number| format!("m{number}")));
        assert_eq!(said, expected, "pages of {page_size}, oldest first");
    }
    let request = pb::ListMessagesRequest { ticket_id: "nobody".to_owned(), ..Default::default() };
    assert_eq!(reason_of(&tickets.list_messages(request).await.unwrap_err()).0, "TICKET_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_listed_newest_first() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let mut tickets = world.tickets().await;
    for number in 0..5 {
        let request = pb::SendRequest {
            ticket_id: ticket_id.clone(),
            text: "oi".to_owned(),
            options: Some(options(&format!("r-{number}"))),
            ..Default::default()
        };
        tickets.send(request).await.unwrap();
    }
    let failing = pb::TransferRequest { team: "Nenhum".to_owned(), ..transfer(&ticket_id, "", "bad") };
    tickets.transfer(failing).await.unwrap_err();
    let mut request = pb::ListCommandsRequest {
        ticket_id: ticket_id.clone(),
        states: vec![pb::CommandState::Succeeded.into()],
        page_size: 2,
        ..Default::default()
    };
    let mut found = Vec::new();
    loop {
        let page = tickets.list_commands(request.clone()).await.unwrap().into_inner();
        found.extend(page.commands.into_iter().map(|command| command.request_id));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, ["r-4", "r-3", "r-2", "r-1", "r-0"]);
    let failed =
        pb::ListCommandsRequest { states: vec![pb::CommandState::Failed.into()], ..Default::default() };
    let page = tickets.list_commands(failed).await.unwrap().into_inner();
    assert_eq!(page.commands.len(), 1);
    assert_eq!(
        (page.commands[0].method.as_str(), page.commands[0].error_reason.as_str()),
        ("Transfer", "TEAM_NOT_FOUND")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_lime_command_can_be_carried_out() {
    let world = World::start().await;
    world.customer("oi").await;
    let mut tickets = world.tickets().await;
    let execute = |method: &str, uri: &str| pb::ExecuteCommandRequest {
        method: method.to_owned(),
        uri: uri.to_owned(),
        ..Default::default()
    };
    let read =
        tickets.execute_command(execute("get", "/monitoring/tickets?version=2")).await.unwrap().into_inner();
    assert_eq!(read.r#type, "application/vnd.iris.desk.ticketssummary+json");
    let Some(prost_types::value::Kind::StructValue(summary)) = read.resource.unwrap().kind else { panic!() };
    assert_eq!(summary.fields["waiting"].kind, Some(prost_types::value::Kind::NumberValue(1.0)));
    assert_eq!(read.receipt.unwrap(), pb::CommandReceipt::default(), "a read is not recorded");
    let status = tickets.execute_command(execute("get", "/nowhere")).await.unwrap_err();
    assert_eq!(reason_of(&status).1["blip_code"], "62");

    let fields = [("identity", "c@0mn.io"), ("name", "Ana")].map(|(name, text)| {
        let kind = Some(prost_types::value::Kind::StringValue(text.to_owned()));
        (name.to_owned(), prost_types::Value { kind })
    });
    let contact = prost_types::Struct { fields: fields.into() };
    let merge = pb::ExecuteCommandRequest {
        to: "postmaster@crm.msging.net".to_owned(),
        r#type: "application/vnd.lime.contact+json".to_owned(),
        resource: Some(prost_types::Value { kind: Some(prost_types::value::Kind::StructValue(contact)) }),
        options: Some(options("merge")),
        ..execute("merge", "/contacts")
    };
    for replayed in [false, true] {
        let merged = tickets.execute_command(merge.clone()).await.unwrap().into_inner();
        let receipt = merged.receipt.unwrap();
        assert_eq!((receipt.replayed, receipt.state()), (replayed, pb::CommandState::Succeeded));
        assert_eq!(effects(&world, &receipt).await, 1);
    }
    // In doubt it is neither repeated nor looked for.
    lay(&world, "/contacts", json!("drop_after")).await;
    let lost = pb::ExecuteCommandRequest { options: Some(options("lost")), ..merge };
    let status = tickets.execute_command(lost).await.unwrap_err();
    assert_eq!(reason_of(&status).0, "OUTCOME_UNKNOWN");
}
