//! `deskgate sandbox`: nothing to configure, life within a moment, lines to paste.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use deskgate::grpc::pb;
use deskgate::grpc::pb::event_service_client::EventServiceClient;
use pb::start_position::Position;
use pb::subscribe_response::Message as Told;

use crate::support::at;

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
