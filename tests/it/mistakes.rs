//! Callers' and operators' mistakes, on the built binary: each is told with a reason, none is carried out half.

use std::process::Command;

use deskgate::grpc::pb;
use pb::consume_request::Message as Ask;
use tokio_stream::wrappers::ReceiverStream;
use tonic_types::StatusExt as _;

use crate::crowd::{groups, make};
use crate::support::{World, reason_of};

/// Exit code and what is said of a command without a gateway.
fn said(args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deskgate"));
    let ended = command.args(args).envs(environment.iter().copied()).output().unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

#[test]
fn faulty_arguments_end_with_2_before_anything_is_asked() {
    let faults: [(&[&str], &str); 7] = [
        (&["consume", "crm", "--exec", ""], "--exec <CMD> is empty: give it a value"),
        (&["groups", "create", "crm", "--from", "15x"], "--from <POSITION>"),
        (&["groups", "create", "crm", "--ack-deadline", "30"], "--ack-deadline <TIME>"),
        (&["groups", "update", "crm"], "nothing to change: give a setting"),
        (&["groups", "list", "--server", "ftp://gateway"], "--server ftp://gateway: not a URL"),
        (&["reconcile", "--since", "xyz"], "--since <WHEN>"),
        (&["sandbox", "--log-format", "xml"], "--log-format xml: not `text` or `json`"),
    ];
    for (args, told) in faults {
        let (code, said) = said(args, &[]);
        assert!(code == Some(2) && said.contains(told), "{args:?}: {code:?} {said}");
    }
}

#[test]
fn an_empty_variable_is_not_set() {
    let (code, told) = said(&["consume", "crm"], &[("DESKGATE_CONSUME_EXEC", ""), ("DESKGATE_SERVER", "")]);
    assert!(code == Some(2) && told.contains("required arguments were not provided"), "{code:?} {told}");
    let (code, told) = said(&["groups", "list", "--server", "127.0.0.1:1"], &[("DESKGATE_GROUPS_JSON", "")]);
    assert!(code == Some(1) && told.contains("no gateway answers at 127.0.0.1:1"), "{code:?} {told}");
    let (_, told) = said(&["groups", "list"], &[("DESKGATE_SERVER", "")]);
    assert!(!told.contains("--server"), "the default counts: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_cannot_be_read_are_told_why() {
    let world = World::start().await;
    let mut client = groups(&world).await;
    make(&mut client, pb::ConsumerGroup { group: "crm".to_owned(), ..Default::default() }).await;

    let (asks, outgoing) = tokio::sync::mpsc::channel::<pb::ConsumeRequest>(1);
    drop(asks);
    let silent = client.consume(ReceiverStream::new(outgoing)).await.unwrap_err();
    assert_eq!(
        (silent.code(), reason_of(&silent).0.as_str()),
        (tonic::Code::InvalidArgument, "INVALID_FIELD")
    );
    assert!(silent.message().starts_with("start: is required"), "{silent:?}");

    let odd = Some(prost_types::Duration { seconds: 30, nanos: -5 });
    let group = pb::ConsumerGroup {
        group: "odd".to_owned(),
        ack_deadline: odd,
        min_backoff: Some(prost_types::Duration { seconds: 1, nanos: 1_000_000_000 }),
        ..Default::default()
    };
    let request = pb::CreateConsumerGroupRequest { consumer_group: Some(group) };
    let refused = client.create_consumer_group(request).await.unwrap_err();
    let fields: Vec<_> = violations(&refused);
    assert_eq!(fields, ["consumer_group.ack_deadline", "consumer_group.min_backoff"], "{refused:?}");
    let pull = pb::PullRequest { group: "crm".to_owned(), wait: odd, ..Default::default() };
    assert_eq!(violations(&client.pull(pull).await.unwrap_err()), ["wait"]);
    let (asks, outgoing) = tokio::sync::mpsc::channel(1);
    let start = pb::ConsumeStart { group: "crm".to_owned(), heartbeat_interval: odd, ..Default::default() };
    asks.send(pb::ConsumeRequest { message: Some(Ask::Start(start)) }).await.unwrap();
    let refused = client.consume(ReceiverStream::new(outgoing)).await.unwrap_err();
    assert_eq!(violations(&refused), ["start.heartbeat_interval"]);

    let settlement = pb::Settlement { delivery_id: "d".to_owned(), outcome: None };
    let batch =
        |count| pb::SettleRequest { group: "crm".to_owned(), settlements: vec![settlement.clone(); count] };
    let some = client.settle(batch(20)).await.unwrap_err();
    assert_eq!(violations(&some).len(), 20);
    assert!(some.message().ends_with(" more"), "{some:?}");
    let many = client.settle(batch(1_000)).await.unwrap_err();
    let left_out: usize = reason_of(&many).1["fields_not_named"].parse().unwrap();
    assert_eq!(violations(&many).len() + left_out, 1_000);
}

fn violations(status: &tonic::Status) -> Vec<String> {
    let told = status.get_details_bad_request().unwrap();
    told.field_violations.into_iter().map(|violation| violation.field).collect()
}
