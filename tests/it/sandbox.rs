//! `deskgate sandbox`: nothing to configure, life within a moment, lines to paste.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use deskgate::grpc::pb;
use deskgate::grpc::pb::event_service_client::EventServiceClient;
use pb::start_position::Position;
use pb::subscribe_response::Message as Told;

use serde_json::json;

use crate::support::{Process, World, at};

fn refused(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_deskgate")).arg("sandbox").args(args).output().unwrap();
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_cannot_be_is_refused_by_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let said = refused(&["--desk-only", "--desk-listen", &taken]);
    assert!(said.contains(&format!("--desk-listen {taken}")), "{said}");
    let said = refused(&["--desk-only", "--desk-listen", "0.0.0.0:0"]);
    assert!(said.contains("--desk-listen") && said.contains("loopback"), "{said}");
    let said = refused(&["--desk-only", "--desk-listen", "127.0.0.1:0", "--control-listen", "0.0.0.0:0"]);
    assert!(said.contains("--control-listen") && said.contains("loopback"), "{said}");
    let said = refused(&["--desk-only", "--desk-listen", "127.0.0.1:0", "--control-listen", &taken]);
    assert!(said.contains(&format!("--control-listen {taken}")), "{said}");
    let said = refused(&["--desk-only", "--grpc-listen", "127.0.0.1:0"]);
    assert!(said.contains("--grpc-listen"), "{said}");
    let said = refused(&["--desk-only", "--desk-listen", "127.0.0.1:0", "--webhook-url", "gateway"]);
    assert!(said.contains("--webhook-url"), "{said}");
    let said = refused(&["--log-level", "wran"]);
    assert!(said.contains("did you mean `warn`?"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_alone_knows_its_target_from_the_start() {
    let folder = tempfile::TempDir::new().unwrap();
    let target = ["--webhook-url", "http://127.0.0.1:9/webhooks/suporte", "--webhook-token", "t0ken"];
    let args = [&["sandbox", "--desk-only", "--desk-listen", "127.0.0.1:0"], &target[..]].concat();
    let desk = Process::start(folder.path(), &args, &[]);
    let state = reqwest::get(format!("http://{}/state", desk.address("desk"))).await.unwrap();
    let state: serde_json::Value = serde_json::from_str(&state.text().await.unwrap()).unwrap();
    let webhook = serde_json::json!({"url": target[1], "header_name": "Authorization"});
    assert_eq!(state["webhook"], webhook);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_desk_goes_off_and_comes_back_under_the_gateway() {
    let world = World::start().await;
    let (customer, ticket) = world.customer("Bom dia").await;
    let switch = async |on: bool| {
        let switched = world.http.put(world.desk_url("/power")).body(json!({ "on": on }).to_string());
        assert!(switched.send().await.unwrap().status().is_success());
    };
    let assign = || pb::AssignRequest {
        ticket_id: ticket.clone(),
        agent: "maria.souza@example.com".to_owned(),
        ..pb::AssignRequest::default()
    };
    switch(false).await;
    let refused = world.http.post(world.blip_url("/commands")).send().await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    let mut calls = world.tickets().await;
    let mut request = tonic::Request::new(assign());
    request.set_timeout(Duration::from_secs(2));
    calls.assign(request).await.unwrap_err();
    let said = world.desk(&format!("/customers/{customer}/messages"), json!({"text": "alguém?"})).await;
    assert_eq!(said["delivery"]["status"], "delivered");
    switch(true).await;
    calls.assign(assign()).await.unwrap();
    assert_eq!(world.desk_state().await["tickets"][0]["status"], "Open");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_a_customer_at_once() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_deskgate"))
        .args(["sandbox", "--demo", "--desk-listen", "127.0.0.1:0", "--webhook-listen", "127.0.0.1:0"])
        .args(["--grpc-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line =
        lines.by_ref().find(|line| line.contains("EventService/Subscribe")).expect("the line to paste");
    assert!(line.trim_start().starts_with("grpcurl -plaintext"), "{line}");
    let address = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).unwrap().to_owned();
    let mut client = EventServiceClient::connect(format!("http://{address}")).await.unwrap();
    let request =
        pb::SubscribeRequest { start: Some(at(Position::Earliest(true))), limit: 2, ..Default::default() };
    let mut stream = client.subscribe(request).await.unwrap().into_inner();
    let mut types = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        if let Some(Told::Event(event)) = response.message {
            types.push(event.r#type);
        }
    }
    assert_eq!(types, ["ticket.created", "message.customer"]);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}
