//! Clients a user has: grpcurl with nothing but reflection, and Python with stubs of its own. `tests/run`
//! installs both under `target/tools`.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{World, message, ticket};

pub(crate) fn tool(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(name);
    assert!(path.exists(), "{} is not there: `tests/run` installs it", path.display());
    path
}

pub(crate) fn grpcurl(world: &World, args: &[&str], rest: &[&str]) -> (bool, String) {
    let output = Command::new(tool("bin/grpcurl"))
        .arg("-plaintext")
        .args(args)
        .arg(world.gateway.address("grpc"))
        .args(rest)
        .output()
        .unwrap();
    let Output { status, stdout, stderr } = output;
    (
        status.success(),
        format!("{}{}", String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_lists_describes_subscribes_and_calls() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("Olá").await;
    let (good, said) = grpcurl(&world, &[], &["list"]);
    assert!(good, "{said}");
    for service in ["deskgate.v1.EventService", "deskgate.v1.TicketService", "grpc.health.v1.Health"] {
        assert!(said.contains(service), "{said}");
    }
    let (good, said) = grpcurl(&world, &[], &["describe", "deskgate.v1.EventService.Subscribe"]);
    assert!(good && said.contains("returns ( stream .deskgate.v1.SubscribeResponse )"), "{said}");
    let (good, said) = grpcurl(&world, &[], &["grpc.health.v1.Health/Check"]);
    assert!(good && said.contains("SERVING"), "{said}");

    let from = json!({"start": {"earliest": true}, "limit": 1, "view": "EVENT_VIEW_RAW"}).to_string();
    let (good, said) = grpcurl(&world, &["-d", &from], &["deskgate.v1.EventService/Subscribe"]);
    assert!(
        good && said.contains("ticketCreated") && said.contains("rawJson") && said.contains("Olá"),
        "{said}"
    );

    let call = |method: &str, request: Value| {
        grpcurl(&world, &["-d", &request.to_string()], &[&format!("deskgate.v1.TicketService/{method}")])
    };
    let (good, said) = call("Assign", json!({"ticket_id": ticket_id, "agent": "ana@empresa.com"}));
    assert!(good && said.contains("TICKET_STATUS_OPEN"), "{said}");
    let (good, said) =
        call("Send", json!({"ticket_id": ticket_id, "text": "Oi!", "options": {"request_id": "r1"}}));
    assert!(good && said.contains("COMMAND_STATE_SUCCEEDED"), "{said}");
    let (good, said) = call("Close", json!({"ticket_id": ticket_id}));
    assert!(good && said.contains("TICKET_STATUS_CLOSED_ATTENDANT"), "{said}");
    let (good, said) = call("Send", json!({"ticket_id": ticket_id, "text": "?"}));
    assert!(!good && said.contains("FailedPrecondition") && said.contains("google.rpc.ErrorInfo"), "{said}");
    assert!(said.contains("TICKET_CLOSED"), "{said}");
}

/// The lines of the README that send more than text, run as they stand there but for the address and the ids.
#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_lines_send_every_kind_of_content() {
    let world = World::start().await;
    let (customer, ticket_id) = world.customer("Olá").await;
    let path = format!("{}:{}", tool("bin").display(), std::env::var("PATH").unwrap());
    let readme = include_str!("../../README.md");
    for line in readme.lines().filter(|line| line.starts_with("grpcurl") && line.contains("\"content\"")) {
        let line = line
            .replace("127.0.0.1:50051", &world.gateway.address("grpc"))
            .replace('…', &ticket_id)
            .replace("MESSAGE_ID", "c5ef8560");
        let output = Command::new("sh").args(["-c", &line]).env("PATH", &path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("COMMAND_STATE_SUCCEEDED"), "{line}: {said}");
    }
    let view = world.customers_view(&customer).await;
    let received = view["received"].as_array().unwrap();
    let types: Vec<_> = received.iter().map(|message| message["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "application/vnd.lime.select+json",
            "application/vnd.lime.media-link+json",
            "application/vnd.lime.reply+json",
            "application/json"
        ],
        "{view}"
    );
    assert_eq!(received[2]["content"]["inReplyTo"]["id"], "c5ef8560");
    assert_eq!(received[3]["content"]["type"], "template");
}

/// The lines of the README that leave a message while Blip is off, and those that follow them, run as they stand there.
#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_lines_leave_a_message_to_be_sent() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("Olá").await;
    let path = format!("{}:{}", tool("bin").display(), std::env::var("PATH").unwrap());
    let readme = include_str!("../../README.md");
    let desk = world.desk_url("").replace("http://", "");
    let mut said = Vec::new();
    for line in readme.lines().skip_while(|line| !line.contains("/power")).take_while(|line| *line != "```") {
        let line = line
            .replace("127.0.0.1:50051", &world.gateway.address("grpc"))
            .replace("127.0.0.1:8090", &desk)
            .replace('…', &ticket_id);
        let output = Command::new("sh").args(["-c", &line]).env("PATH", &path).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {stderr}");
        said.push(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let signs =
        ["\"on\": false", "COMMAND_STATE_QUEUED", "\"on\": true", "newTicket", "TICKET_STATUS_WAITING"];
    assert_eq!(said.len(), signs.len(), "{said:?}");
    assert!(said.iter().zip(signs).all(|(said, sign)| said.contains(sign)), "{said:?}");
    let types: Vec<_> = world
        .all_events()
        .await
        .into_iter()
        .filter(|event| event.ticket_id == ticket_id)
        .map(|event| event.r#type)
        .collect();
    assert_eq!(types, ["ticket.created", "message.agent", "command.settled", "ticket.transferred"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_subscribes_and_answers() {
    let world = World::start().await;
    world.post(ticket("t-python", "Waiting")).await;
    world.post(message("t-python", "m", "Olá, Python ☕")).await;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(tool("python/bin/python"))
        .arg(root.join("tests/clients/subscriber.py"))
        .arg(world.gateway.address("grpc"))
        .env("PYTHONPATH", tool("stubs"))
        .env("PYTHONIOENCODING", "utf-8")
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines,
        ["ticket.created t-python #1", "message.customer t-python #2 Olá, Python ☕", "TICKET_NOT_FOUND 67"]
    );
}
