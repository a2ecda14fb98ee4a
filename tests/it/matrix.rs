//! Every fault on the way to Blip × every command that changes something: how often the stand-in saw it take effect, what
//! the caller was told, and what `GetCommand` says then. Run with `--nocapture` to read the matrix.

use std::time::Duration;

use deskgate::grpc::pb;
use pb::get_command_request::Key;
use pb::ticket_service_client::TicketServiceClient;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::support::{World, reason_of};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mutation {
    Assign,
    Send,
    Close,
    Finish,
    Transfer,
    SetTags,
    Create,
    Execute,
}

use Mutation::{Assign, Close, Create, Execute, Finish, Send, SetTags, Transfer};

const ALL: [Mutation; 8] = [Assign, Send, Close, Finish, Transfer, SetTags, Create, Execute];

impl Mutation {
    /// Whether doing it twice is doing it once.
    fn sets_state(self) -> bool {
        matches!(self, Assign | Close | SetTags)
    }

    /// Whether what became of it can be found out.
    fn shows(self) -> bool {
        self != Execute
    }

    /// The fault, on what this sends and on nothing else.
    fn fault(self, kind: &Value) -> Value {
        let on = if self == Send { "messages" } else { "commands" };
        let matching = match self {
            Send => json!({}),
            Execute => json!({"method": "merge"}),
            Assign | Close | Finish | Transfer | SetTags | Create => json!({"method": "set"}),
        };
        json!({"on": on, "kind": kind, "match": matching})
    }

    /// Calls it; the receipt, or the error.
    async fn call(
        self,
        mut tickets: TicketServiceClient<Channel>,
        ticket_id: String,
        timeout: Duration,
    ) -> Result<pb::CommandReceipt, Status> {
        macro_rules! ask {
            ($rpc:ident, $request:expr) => {{
                let mut request = Request::new($request);
                request.set_timeout(timeout);
                tickets.$rpc(request).await.map(|answer| answer.into_inner().receipt.unwrap())
            }};
        }
        let options =
            Some(pb::CommandOptions { request_id: self.request_id(&ticket_id), ..Default::default() });
        let agent = "ana@empresa.com".to_owned();
        match self {
            Assign => ask!(assign, pb::AssignRequest { ticket_id, agent, options, ..Default::default() }),
            Send => {
                let text = "oi".to_owned();
                ask!(send, pb::SendRequest { ticket_id, text, options, ..Default::default() })
            }
            Close => ask!(close, pb::CloseRequest { ticket_id, options, ..Default::default() }),
            Finish => ask!(finish, pb::FinishRequest { ticket_id, options, ..Default::default() }),
            Transfer => {
                let team = "Vendas".to_owned();
                ask!(transfer, pb::TransferRequest { ticket_id, team, options, ..Default::default() })
            }
            SetTags => {
                let tags = vec!["boleto".to_owned()];
                ask!(set_tags, pb::SetTagsRequest { ticket_id, tags, options, ..Default::default() })
            }
            Create => {
                let customer_identity = format!("{ticket_id}@0mn.io");
                ask!(create, pb::CreateRequest { customer_identity, options, ..Default::default() })
            }
            Execute => {
                let kind = prost_types::value::Kind::StringValue(format!("{ticket_id}@0mn.io"));
                let identity = prost_types::Value { kind: Some(kind) };
                let contact = prost_types::Struct { fields: [("identity".to_owned(), identity)].into() };
                let kind = Some(prost_types::value::Kind::StructValue(contact));
                let request = pb::ExecuteCommandRequest {
                    method: "merge".to_owned(),
                    to: "postmaster@crm.msging.net".to_owned(),
                    uri: "/contacts".to_owned(),
                    r#type: "application/vnd.lime.contact+json".to_owned(),
                    resource: Some(prost_types::Value { kind }),
                    options,
                    ..Default::default()
                };
                ask!(execute_command, request)
            }
        }
    }

    fn request_id(self, ticket_id: &str) -> String {
        format!("{self:?} {ticket_id}")
    }
}

/// What became of one call.
#[derive(Debug)]
struct Row {
    mutation: Mutation,
    /// "OK", or the reason of the error.
    told: String,
    state: pb::CommandState,
    applied: u64,
}

/// A ticket that the mutation can be asked of.
async fn ticket_for(world: &World, mutation: Mutation) -> String {
    let (customer, ticket_id) = world.customer("oi").await;
    if mutation == Finish {
        world.desk(&format!("/customers/{customer}/close"), json!({})).await;
    }
    ticket_id
}

async fn row(world: &World, mutation: Mutation, ticket_id: &str, told: String) -> Row {
    let key = Some(Key::RequestId(mutation.request_id(ticket_id)));
    let found = world.tickets().await.get_command(pb::GetCommandRequest { key }).await.unwrap();
    let receipt = found.into_inner().command.unwrap().receipt.unwrap();
    let state = world.desk_state().await;
    let applied = state["effects"][&receipt.command_id]["applied"].as_u64().unwrap_or_default();
    Row { mutation, told, state: receipt.state(), applied }
}

/// Every mutation, each under a fault of its own.
async fn under(name: &str, kind: Value, timeout: Duration) -> Vec<Row> {
    let world = World::start().await;
    let mut rows = Vec::new();
    for mutation in ALL {
        let ticket_id = ticket_for(&world, mutation).await;
        world.desk("/faults", mutation.fault(&kind)).await;
        let answer = mutation.call(world.tickets().await, ticket_id.clone(), timeout).await;
        let told = answer.map_or_else(|status| reason_of(&status).0, |_| "OK".to_owned());
        rows.push(row(&world, mutation, &ticket_id, told).await);
    }
    tell(name, &rows);
    rows
}

/// Prints the rows, and checks what holds for all of them.
fn tell(name: &str, rows: &[Row]) {
    for Row { mutation, told, state, applied } in rows {
        let state = state.as_str_name().trim_start_matches("COMMAND_STATE_");
        println!(
            "{name:<22} {:<9} effects {applied}  told {told:<22} GetCommand {state}",
            format!("{mutation:?}")
        );
        assert!(*applied <= 1, "{name}: {mutation:?} took effect {applied} times");
        match told.as_str() {
            "OUTCOME_UNKNOWN" | CUT_OFF => {}
            // Blip takes a message first and may fail it later, without a word over HTTP: the rows of a failure over
            // HTTP 200 lay just that, and a message accepted is all that can be told.
            "OK" if *mutation == Send && name.starts_with("200, failure") => {
                assert_eq!((state, *applied), ("SUCCEEDED", 0), "{name}: {mutation:?}");
            }
            "OK" => assert_eq!((state, *applied), ("SUCCEEDED", 1), "{name}: {mutation:?}"),
            _ => assert_eq!((state, *applied), ("FAILED", 0), "{name}: {mutation:?}"),
        }
    }
}

/// What a caller is told whose gateway is killed.
const CUT_OFF: &str = "(cut off)";

const PATIENT: Duration = Duration::from_secs(30);

fn told(rows: &[Row], expected: impl Fn(Mutation) -> (&'static str, u64)) {
    for Row { mutation, told, state, applied } in rows {
        assert_eq!((told.as_str(), *applied), expected(*mutation), "{mutation:?}, {state:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_are_no_effect_and_told_so() {
    let world = World::start().await;
    let mut asked = Vec::new();
    for mutation in ALL {
        asked.push((mutation, ticket_for(&world, mutation).await));
    }
    let power =
        |on: bool| world.http.put(world.desk_url("/power")).body(json!({"on": on}).to_string()).send();
    assert!(power(false).await.unwrap().status().is_success());
    let mut rows = Vec::new();
    for (mutation, ticket_id) in asked {
        let answer = mutation.call(world.tickets().await, ticket_id.clone(), PATIENT).await;
        rows.push(row(&world, mutation, &ticket_id, reason_of(&answer.unwrap_err()).0).await);
    }
    assert!(power(true).await.unwrap().status().is_success());
    tell("connection refused", &rows);
    let fits = |told: &str| ["BLIP_UNAVAILABLE", "BLIP_CIRCUIT_OPEN"].contains(&told);
    assert!(rows.iter().all(|row| fits(&row.told) && row.applied == 0), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_before_it_took_effect_is_repeated_where_that_is_safe() {
    for (name, kind) in [("reset before", json!("drop_before")), ("500", json!({"status": {"code": 500}}))] {
        let rows = under(name, kind, PATIENT).await;
        told(&rows, |mutation| if mutation.sets_state() { ("OK", 1) } else { ("OUTCOME_UNKNOWN", 0) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_took_effect_before_its_answer_was_lost_is_found() {
    for (name, kind) in [
        ("reset after applying", json!("drop_after")),
        ("500 after applying", json!({"status": {"code": 500, "applied": true}})),
        ("504 after applying", json!({"status": {"code": 504, "applied": true}})),
    ] {
        let rows = under(name, kind, PATIENT).await;
        told(&rows, |mutation| if mutation.shows() { ("OK", 1) } else { ("OUTCOME_UNKNOWN", 1) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_no_effect() {
    let rows = under("429", json!({"status": {"code": 429, "retry_after": 0}}), PATIENT).await;
    told(&rows, |_| ("BLIP_QUOTA_EXCEEDED", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn slower_than_the_caller_waits_is_never_told_as_not_done() {
    for applied in [false, true] {
        let name = if applied { "slow, applied" } else { "slow, not applied" };
        let kind = json!({"hang": {"applied": applied}});
        let rows = under(name, kind, Duration::from_millis(1_500)).await;
        // What is found, or repeated, in the little time that is left depends on that time.
        let fits = |row: &Row| row.told == "OUTCOME_UNKNOWN" || (row.told == "OK" && row.mutation.shows());
        assert!(rows.iter().all(fits), "{rows:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_over_http_200_are_failures_of_their_own_kind() {
    for (name, kind) in [
        ("200, failure 1", json!({"failure": {"code": 1, "description": "Erro"}})),
        ("200, failure, no code", json!({"failure": {"description": "Erro"}})),
    ] {
        let rows = under(name, kind, PATIENT).await;
        // A message is accepted first, and fails later.
        told(&rows, |mutation| if mutation == Send { ("OK", 0) } else { ("BLIP_REJECTED", 0) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_while_blip_is_asked() {
    for applied in [false, true] {
        let mut world = World::start().await;
        let mut rows = Vec::new();
        for mutation in ALL {
            let ticket_id = ticket_for(&world, mutation).await;
            world.desk("/faults", mutation.fault(&json!({"hang": {"applied": applied}}))).await;
            let tickets = world.tickets().await;
            let asked = ticket_id.clone();
            let call = tokio::spawn(async move { mutation.call(tickets, asked, PATIENT).await });
            // It has reached Desk once the fault is used up.
            loop {
                let state = world.desk_state().await;
                if state["faults"]["waiting"].as_array().is_some_and(Vec::is_empty) {
                    break;
                }
                let changes = world.desk_url(&format!("/changes/{}", state["revision"]));
                world.http.get(changes).send().await.unwrap();
            }
            world.gateway.kill();
            call.await.unwrap().unwrap_err();
            world.restart().await;
            world.gateway.logged("settled a command in doubt");
            rows.push(row(&world, mutation, &ticket_id, CUT_OFF.to_owned()).await);
        }
        tell(if applied { "kill -9, applied" } else { "kill -9, not applied" }, &rows);
        for row in rows {
            let found = applied && row.mutation.shows();
            let expected = if found { pb::CommandState::Succeeded } else { pb::CommandState::OutcomeUnknown };
            assert_eq!((row.state, row.applied), (expected, u64::from(applied)), "{row:?}");
        }
    }
}
