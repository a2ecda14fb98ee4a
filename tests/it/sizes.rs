//! Answers that clients can take: pages end before 4 MiB, what Blip answers beyond that is an error with a reason, and
//! what it says of a failure is cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use deskgate::grpc::pb;
use deskgate::grpc::pb::directory_service_client::DirectoryServiceClient;
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::operator::deskgate;
use crate::support::{World, reason_of, ticket};

/// The largest page, encoded.
const PAGE_BYTES_MAX: usize = 3 << 20;
/// Messages of the conversation that the Blip of these tests has, and how long each is.
const MESSAGES: usize = 20;
const MESSAGE_BYTES: usize = 900_000;
/// The longest text of a failure that is kept.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// A Blip that answers at length. Counts who asks.
async fn verbose_blip() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    let router = Router::new().fallback(move |body: String| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { answer(&serde_json::from_str(&body).unwrap()) }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, asked)
}

fn answer(command: &Value) -> String {
    let uri = command["uri"].as_str().unwrap();
    let number = |name: &str| -> usize {
        let told = uri.split(['?', '&']).find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        told.and_then(|told| told.parse().ok()).unwrap_or_default()
    };
    let page = |items: &mut dyn Iterator<Item = Value>| json!({"items": items.skip(number("$skip")).take(number("$take")).collect::<Vec<_>>()});
    let long = || "x".repeat(1_000);
    let items = |name: &str| {
        let items: Vec<_> = (0..6_000).map(|at| json!({name: format!("{at}{}", long())})).collect();
        json!({"items": items})
    };
    let resource = if uri.starts_with("/size") {
        json!("x".repeat(number("bytes")))
    } else if uri.starts_with("/tickets/one/messages") {
        json!({"items": [json!({"id": "m", "direction": "sent", "type": "text/plain", "content": "x".repeat(5 << 20)})]})
    } else if uri.starts_with("/tickets/heavy/messages") {
        // As long as clients take, longer than is read, longer than clients take without what it says.
        let said = |(at, (content, metadata)): (usize, (usize, usize))| {
            json!({"id": format!("h{at}"), "direction": "sent", "type": "text/plain",
                   "content": "x".repeat(content), "metadata": {"#x": "y".repeat(metadata)}})
        };
        let heavy = [(1, 1), (1, 1), (9 << 20, 1), (9 << 20, 1), (1, 1), (1, 5 << 20), (1, 1)];
        page(&mut heavy.into_iter().enumerate().map(said))
    } else if uri.starts_with("/tickets?") {
        let listed =
            |(at, bytes): (usize, usize)| json!({"id": format!("t{at}"), "outro": "x".repeat(bytes)});
        page(&mut [1, 5 << 20, 1, 9 << 20].into_iter().enumerate().map(listed))
    } else if uri.starts_with("/attendants") {
        let person = |(at, bytes): (usize, usize)| json!({"identity": format!("a{at}@blip.ai"), "fullName": "x".repeat(bytes)});
        page(&mut [1, 5 << 20, 1].into_iter().enumerate().map(person))
    } else if uri.contains("/messages") {
        let said = |at| {
            json!({"id": format!("m{at}"), "direction": "sent", "type": "text/plain",
                               "content": "x".repeat(MESSAGE_BYTES)})
        };
        page(&mut (0..MESSAGES).map(said))
    } else if uri.starts_with("/contacts") {
        let extras: serde_json::Map<_, _> = (0..6_000).map(|at| (format!("k{at}"), json!(long()))).collect();
        json!({"name": "x", "extras": extras})
    } else if uri.contains("/tags") || uri.contains("/teams") {
        items("name")
    } else {
        json!({})
    };
    let (id, method) = (&command["id"], &command["method"]);
    if uri.starts_with("/deep") {
        let (open, close) = ("[".repeat(5_000), "]".repeat(5_000));
        return format!(r#"{{"id":{id},"method":{method},"status":"success","resource":{open}{close}}}"#);
    }
    json!({"id": id, "method": method, "status": "success", "type": "application/json", "resource": resource})
        .to_string()
}

impl World {
    /// The stand-in Desk, and the bot `grande` at a Blip that answers at length.
    async fn with_a_verbose_blip() -> (Self, Arc<AtomicUsize>) {
        let (address, asked) = verbose_blip().await;
        let more = format!(
            "[[bots]]\nname = \"grande\"\nidentity = \"grande@msging.net\"\nurl = \"http://{address}\"\n\
             key_env = \"SUPORTE_BLIP_KEY\"\nrates = {{ messages = 1000, notifications = 1000, commands = 1000 }}\n"
        );
        (Self::with(&more).await, asked)
    }

    async fn carry_out(
        &self,
        bot: &str,
        method: &str,
        uri: &str,
    ) -> Result<pb::ExecuteCommandResponse, Status> {
        let mut request = pb::ExecuteCommandRequest {
            bot: bot.to_owned(),
            method: method.to_owned(),
            uri: uri.to_owned(),
            ..Default::default()
        };
        if method == "set" {
            "text/plain".clone_into(&mut request.r#type);
            request.resource = Some(prost_types::Value {
                kind: Some(prost_types::value::Kind::StringValue("x".to_owned())),
            });
        }
        Ok(self.tickets().await.execute_command(request).await?.into_inner())
    }

    /// A whole conversation, page by page, as a client with the usual limits reads it; how many pages it took, and
    /// how many messages were left out.
    async fn conversation(&self, bot: &str, ticket_id: &str) -> (Vec<pb::TicketMessage>, usize, u32) {
        let mut request = pb::ListMessagesRequest {
            ticket_id: ticket_id.to_owned(),
            bot: bot.to_owned(),
            ..Default::default()
        };
        let (mut messages, mut pages, mut left_out) = (Vec::new(), 0, 0);
        loop {
            let page = self.tickets().await.list_messages(request.clone()).await.unwrap().into_inner();
            assert!(page.encoded_len() <= PAGE_BYTES_MAX, "{}", page.encoded_len());
            pages += 1;
            left_out += page.left_out;
            messages.extend(page.messages);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return (messages, pages, left_out);
            }
        }
    }
}

fn text_of(message: &pb::TicketMessage) -> &str {
    match message.content.as_ref().unwrap().kind.as_ref().unwrap() {
        pb::content::Kind::Text(text) => text,
        other => panic!("no text: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_end_before_clients_refuse_them() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    for number in 0..5 {
        let text = format!("{number}{}", "x".repeat(1_000_000));
        let request = pb::SendRequest { ticket_id: ticket_id.clone(), text, ..Default::default() };
        world.tickets().await.send(request).await.unwrap();
    }
    let (messages, pages, _) = world.conversation("", &ticket_id).await;
    let sent = messages.iter().filter(|message| message.content.as_ref().unwrap().media_type == "text/plain");
    let texts: Vec<_> = sent.map(|message| &text_of(message)[..1]).collect();
    assert_eq!((texts, pages), (vec!["o", "0", "1", "2", "3", "4"], 2));

    for number in 0..40 {
        let mut document: Value = serde_json::from_str(&ticket(&format!("t{number}"), "Waiting")).unwrap();
        document["content"]["outro"] = "x".repeat(240_000).into();
        assert_eq!(world.post(document.to_string()).await, 200);
    }
    let mut request = pb::ListTicketsRequest::default();
    let mut found = Vec::new();
    loop {
        let page = world.tickets().await.list_tickets(request.clone()).await.unwrap().into_inner();
        assert!(page.encoded_len() <= PAGE_BYTES_MAX, "{}", page.encoded_len());
        found.extend(page.tickets.into_iter().map(|ticket| ticket.ticket_id));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let expected = (0..40).rev().map(|number| format!("t{number}")).chain([ticket_id]);
    assert_eq!(found, expected.collect::<Vec<_>>(), "each once, the newest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_blip_says_of_a_failure_is_cut() {
    let world = World::start().await;
    let said = |length: usize| json!({"code": 66, "description": "ç".repeat(length)});
    let lay = |times: u64, length| {
        world.desk("/faults", json!({"on": "commands", "times": times, "kind": {"failure": said(length)}}))
    };
    lay(1, 450_000).await;
    let error = world.carry_out("", "set", "/x").await.unwrap_err();
    let (reason, metadata) = reason_of(&error);
    assert_eq!(reason, "BLIP_REJECTED");
    assert!(metadata["blip_description"].ends_with('…'), "{metadata:?}");
    let key = pb::get_command_request::Key::CommandId(metadata["command_id"].clone());
    let request = pb::GetCommandRequest { key: Some(key) };
    let command = world.tickets().await.get_command(request).await.unwrap().into_inner().command.unwrap();
    for text in [&command.error_message, &command.error_metadata["blip_description"]] {
        assert!((1_000..=TEXT_BYTES_MAX).contains(&text.len()), "{}", text.len());
        assert!(text.ends_with("(cut: 900000 bytes)") || text.contains("(cut: 900"), "{text}");
    }

    // As many of these as make more than a page.
    let failures = 400;
    lay(failures, 5_000).await;
    for _ in 0..failures {
        world.carry_out("", "set", "/x").await.unwrap_err();
    }
    let mut request = pb::ListCommandsRequest { page_size: 1_000, ..Default::default() };
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = world.tickets().await.list_commands(request.clone()).await.unwrap().into_inner();
        assert!(page.encoded_len() <= PAGE_BYTES_MAX, "{}", page.encoded_len());
        pages += 1;
        found.extend(page.commands.into_iter().map(|command| command.receipt.unwrap().command_id));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert!(pages > 1);
    assert_eq!(found.len(), 401);
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 401, "each once");
}

fn assert_too_large(error: &Status) {
    let (reason, _) = reason_of(error);
    assert_eq!(
        (error.code(), reason.as_str()),
        (Code::ResourceExhausted, "BLIP_ANSWER_TOO_LARGE"),
        "{error:?}"
    );
    assert!(error.get_error_details().retry_info().is_none(), "the same call fails again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_blip_answers_beyond_what_clients_take_is_an_error() {
    let (world, asked) = World::with_a_verbose_blip().await;
    let mut directory = DirectoryServiceClient::new(world.channel().await);
    let bot = || "grande".to_owned();
    assert_too_large(&directory.list_tags(pb::ListTagsRequest { bot: bot() }).await.unwrap_err());
    assert_too_large(&directory.list_teams(pb::ListTeamsRequest { bot: bot() }).await.unwrap_err());
    let customer = pb::GetCustomerRequest { bot: bot(), customer_identity: "a@0mn.io".to_owned() };
    assert_too_large(&directory.get_customer(customer).await.unwrap_err());

    // More often than what opens the circuit, which this is not about; and each costs Blip one question.
    let before = asked.load(Ordering::Relaxed);
    let uris = ["/size?bytes=5000000", "/size?bytes=9000000", "/deep"];
    for uri in uris.iter().cycle().take(15) {
        assert_too_large(&world.carry_out("grande", "get", uri).await.unwrap_err());
    }
    assert_eq!(asked.load(Ordering::Relaxed) - before, 15);
    world.carry_out("grande", "get", "/size?bytes=3000000").await.unwrap();

    // What may have changed something did, for all we know.
    for uri in ["/size?bytes=9000000", "/deep"] {
        let error = world.carry_out("grande", "set", uri).await.unwrap_err();
        assert_eq!(reason_of(&error).0, "OUTCOME_UNKNOWN", "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_of_any_length_is_read_whole() {
    let (world, _) = World::with_a_verbose_blip().await;
    let (messages, pages, _) = world.conversation("grande", "t").await;
    let ids: Vec<_> = messages.iter().map(|message| message.message_id.clone()).collect();
    assert_eq!(ids, (0..MESSAGES).map(|at| format!("m{at}")).collect::<Vec<_>>());
    assert!(messages.iter().all(|message| text_of(message).len() == MESSAGE_BYTES) && pages > 4);

    // One that no client could take is told without what it says.
    let (messages, ..) = world.conversation("grande", "one").await;
    let content = messages[0].content.clone().unwrap();
    assert_eq!((messages.len(), messages[0].message_id.as_str()), (1, "m"));
    assert_eq!(content.media_type, "text/plain");
    let Some(pb::content::Kind::Json(value)) = content.kind else { panic!("not JSON: {content:?}") };
    let Some(prost_types::value::Kind::StringValue(text)) = value.kind else { panic!("no text") };
    assert!(text.contains("left out") && text.len() < 200, "{text}");
}

/// What nobody can be told stands in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_can_be_told_is_left_out_of_a_list() {
    let (world, _) = World::with_a_verbose_blip().await;
    let (messages, _, left_out) = world.conversation("grande", "heavy").await;
    let ids: Vec<_> = messages.iter().map(|message| message.message_id.as_str()).collect();
    assert_eq!((ids, left_out), (vec!["h0", "h1", "h4", "h6"], 3));

    for page_size in [1, 100] {
        let bot = "grande".to_owned();
        let mut request = pb::ListTicketsRequest { bot, fresh: true, page_size, ..Default::default() };
        let (mut ids, mut left_out) = (Vec::new(), 0);
        loop {
            let page = world.tickets().await.list_tickets(request.clone()).await.unwrap().into_inner();
            ids.extend(page.tickets.into_iter().map(|ticket| ticket.ticket_id));
            left_out += page.left_out;
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!((ids, left_out), (vec!["t0".to_owned(), "t2".to_owned()], 2));
    }

    let mut request = pb::ListAgentsRequest { bot: "grande".to_owned(), ..Default::default() };
    let (mut agents, mut left_out) = (Vec::new(), 0);
    loop {
        let mut directory = DirectoryServiceClient::new(world.channel().await);
        let page = directory.list_agents(request.clone()).await.unwrap().into_inner();
        agents.extend(page.agents.into_iter().map(|agent| agent.agent_identity));
        left_out += page.left_out;
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!((agents, left_out), (vec!["a0@blip.ai".to_owned(), "a2@blip.ai".to_owned()], 1));

    for args in [["tickets", "list", "--fresh", "--bot=grande"].as_slice(), &["agents", "--bot=grande"]] {
        let (good, out, err) = deskgate(&world, args);
        assert!(good && out.lines().count() == 3 && err.contains("left out"), "{args:?}: {out}{err}");
    }
}
