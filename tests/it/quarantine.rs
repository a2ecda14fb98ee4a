//! The quarantine from outside: listed, looked at, replayed, over gRPC and by the command. A body that an earlier
//! version could not read is put there through the store.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::Arc;

use deskgate::clock::{SystemClock, SystemIds};
use deskgate::grpc::pb;
use deskgate::grpc::pb::admin_service_client::AdminServiceClient;
use deskgate::store::sqlite::{Config, SqliteLog};
use deskgate::store::{EventLog as _, Quarantined};
use pb::ReplayOutcome::{Duplicate, Gone, Replayed, Unreadable};
use pb::start_position::Position;
use pb::subscribe_response::Message as Told;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::{PATIENCE, World, at, message, reason_of, ticket};

impl World {
    async fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel().await).max_decoding_message_size(4 << 20)
    }

    /// Puts bodies into quarantine as a version before this one did, and starts the gateway again.
    async fn hold(&mut self, bodies: impl IntoIterator<Item = String>) {
        self.gateway.signal("TERM");
        assert!(self.gateway.wait().success());
        let config = Config::new(self.folder.path().join("deskgate.db"));
        let log = SqliteLog::open(config, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
        let keep = |body: String| Quarantined {
            bot: "suporte".into(),
            reason: "an earlier version could not read it".to_owned(),
            raw: body.into(),
        };
        futures_util::future::try_join_all(bodies.into_iter().map(|body| log.quarantine(keep(body))))
            .await
            .unwrap();
        log.close();
        self.restart().await;
    }

    /// Runs `deskgate quarantine ARGS`.
    fn quarantine(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deskgate"));
        command.arg("quarantine").args(args).env_clear().env("DESKGATE_SERVER", self.gateway.address("grpc"));
        command.current_dir(self.folder.path()).output().unwrap()
    }

    /// The same, which succeeds; what it says on stdout.
    fn says(&self, args: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.quarantine(args);
        assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    async fn waiting(&self) -> String {
        let metrics = self.http.get(self.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with("deskgate_store_quarantined "));
        line.unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_what_cannot_be_read_does_not_flood_the_log() {
    let mut world = World::start().await;
    for _ in 0..50 {
        assert_eq!(world.post("<xml>").await, 200);
    }
    assert_eq!(world.waiting().await, "50");
    world.gateway.signal("TERM");
    assert!(world.gateway.wait().success());
    let log = world.gateway.rest_of_log();
    let lines = log.lines().filter(|line| line.contains("kept in quarantine"));
    // One at once, and another every few seconds.
    assert!((1..25).contains(&lines.count()), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_version_can_read_becomes_events_once() {
    let mut world = World::start().await;
    assert_eq!(world.post(ticket("t", "Open")).await, 200);
    assert_eq!(world.post(message("t", "known", "oi")).await, 200);
    assert_eq!(world.post("<xml>").await, 200);
    let held =
        [message("t", "known", "oi"), message("t", "late", "olá"), "[1]".to_owned(), ticket("u", "Waiting")];
    world.hold(held).await;
    assert_eq!(world.waiting().await, "5");

    let mut admin = world.admin().await;
    let replay = |validate_only| pb::ReplayQuarantinedWebhooksRequest {
        all: true,
        validate_only,
        ..Default::default()
    };
    let short = |response: &pb::ReplayQuarantinedWebhooksResponse| -> Vec<_> {
        response.results.iter().map(|result| (result.id.clone(), result.outcome())).collect()
    };
    let expected: Vec<_> =
        [("1", Unreadable), ("2", Duplicate), ("3", Replayed), ("4", Unreadable), ("5", Replayed)]
            .map(|(id, outcome)| (id.to_owned(), outcome))
            .into();
    let trial = admin.replay_quarantined_webhooks(replay(true)).await.unwrap().into_inner();
    assert_eq!(short(&trial), expected);
    assert_eq!((world.waiting().await.as_str(), world.all_events().await.len()), ("5", 2));

    let done = admin.replay_quarantined_webhooks(replay(false)).await.unwrap().into_inner();
    assert_eq!(short(&done), expected);
    assert_eq!((done.replayed, done.duplicates, done.unreadable, done.gone), (2, 1, 2, 0));
    assert_eq!(done.results[2].event_type, "message.customer");
    assert_eq!(done.results[4].event_type, "ticket.created");
    assert_eq!(world.waiting().await, "2");
    let events = world.all_events().await;
    assert_eq!(done.results[1].event_cursor, events[1].cursor, "the event that it was already");
    assert_eq!(done.results[2].event_cursor, events[2].cursor);
    let late = &events[2];
    assert_eq!((late.blip_id.as_str(), late.ticket_sequence), ("late", 3));
    assert_eq!(late.raw_json, message("t", "late", "olá"));
    let uncertain: Vec<_> =
        events.iter().map(|event| event.flags.unwrap_or_default().order_uncertain).collect();
    assert_eq!(uncertain, [false, false, true, true]);

    let again = admin.replay_quarantined_webhooks(replay(false)).await.unwrap().into_inner();
    assert_eq!((again.replayed, again.duplicates, again.unreadable), (0, 0, 2));
    let named = pb::ReplayQuarantinedWebhooksRequest { ids: ids(&["3", "1"]), ..Default::default() };
    let named = admin.replay_quarantined_webhooks(named).await.unwrap().into_inner();
    assert_eq!(short(&named), [("1".to_owned(), Unreadable), ("3".to_owned(), Gone)]);
    assert_eq!(world.post(message("t", "late", "olá")).await, 200);
    assert_eq!(world.all_events().await, events, "its own repetition is a duplicate");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_named_and_pages_stay_small() {
    let mut world = World::start().await;
    let mut admin = world.admin().await;
    let listed = |request| {
        let mut admin = admin.clone();
        async move { admin.list_quarantined_webhooks(request).await }
    };
    let list = pb::ListQuarantinedWebhooksRequest::default;
    let bot = pb::ListQuarantinedWebhooksRequest { bot: "vendas".to_owned(), ..list() };
    let error = listed(bot).await.unwrap_err();
    assert_eq!((error.code(), reason_of(&error).0.as_str()), (Code::NotFound, "BOT_UNKNOWN"));
    let negative = pb::ListQuarantinedWebhooksRequest { page_size: -1, ..list() };
    let error = listed(negative).await.unwrap_err();
    assert_eq!((error.code(), reason_of(&error).0.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    let cursor = world.events().await.get_log_info(pb::GetLogInfoRequest {}).await.unwrap().into_inner();
    let token = pb::ListQuarantinedWebhooksRequest { page_token: cursor.latest_cursor, ..list() };
    let error = listed(token).await.unwrap_err();
    assert_eq!((error.code(), reason_of(&error).0.as_str()), (Code::InvalidArgument, "CURSOR_MALFORMED"));
    let neither = pb::ReplayQuarantinedWebhooksRequest::default();
    let error = admin.replay_quarantined_webhooks(neither).await.unwrap_err();
    assert_eq!((error.code(), reason_of(&error).0.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));

    let bodies: Vec<_> = (0..9).map(|number| format!("{number} {}", "x".repeat(900_000))).collect();
    world.hold(bodies.clone()).await;
    // An ordinary client: it takes 4 MiB.
    let mut admin = world.admin().await;
    let mut request = pb::ListQuarantinedWebhooksRequest { include_body: true, ..list() };
    let mut pages = Vec::new();
    loop {
        let page = admin.list_quarantined_webhooks(request.clone()).await.unwrap().into_inner();
        pages.push(page.webhooks);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let sizes: Vec<_> = pages.iter().map(Vec::len).collect();
    assert_eq!(sizes, [3, 3, 3]);
    let listed: Vec<_> = pages.into_iter().flatten().collect();
    assert!(listed.iter().zip(&bodies).all(|(held, body)| held.body == body.as_bytes()));
    let (first, body) = (&listed[0], &bodies[0]);
    assert_eq!((first.id.as_str(), first.bot.as_str()), ("1", "suporte"));
    assert_eq!(usize::try_from(first.size_bytes).unwrap(), body.len());
    let small = pb::ListQuarantinedWebhooksRequest { page_size: 4, ids: ids(&["9", "2", "77"]), ..list() };
    let page = admin.list_quarantined_webhooks(small).await.unwrap().into_inner();
    let seen: Vec<_> = page.webhooks.iter().map(|held| (held.id.as_str(), held.body.len())).collect();
    assert_eq!((seen, page.next_page_token.as_str()), (vec![("2", 0), ("9", 0)], ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lists_shows_and_replays() {
    let mut world = World::start().await;
    let empty = world.quarantine(&["list"]);
    assert!(empty.status.success() && empty.stdout.is_empty(), "{empty:?}");
    assert_eq!(String::from_utf8(empty.stderr).unwrap(), "-- nothing is in quarantine\n");
    assert_eq!(world.post(vec![0x1b, b'[', b'2', b'J', 0xff]).await, 200);
    world.hold([message("t", "a", "oi"), message("t", "b", "oi")]).await;

    let table = world.says(&["list"]);
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().take(4).collect()).collect();
    assert_eq!(rows[0], ["ID", "RECEIVED", "BOT", "BYTES"]);
    assert_eq!((rows.len(), rows[1][0], rows[1][2], rows[1][3]), (4, "1", "suporte", "5"));
    assert!(table.lines().nth(2).unwrap().ends_with("an earlier version could not read it"), "{table}");
    let lines = world.says(&["list", "--json", "--limit", "2", "--bot", "suporte"]);
    let listed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((listed.len(), &listed[0]["id"], &listed[0]["sizeBytes"]), (2, &json!("1"), &json!("5")));
    assert!(listed[0]["receiveTime"].is_string() && listed[0]["body"].is_null(), "{lines}");

    assert_eq!(world.says(&["show", "1"]), "\u{fffd}[2J\u{fffd}\n");
    assert_eq!(world.quarantine(&["show", "1", "--raw"]).stdout, [0x1b, b'[', b'2', b'J', 0xff]);
    assert_eq!(world.says(&["show", "1", "--output", "body.bin"]), "");
    assert_eq!(std::fs::read(world.folder.path().join("body.bin")).unwrap(), [0x1b, b'[', b'2', b'J', 0xff]);
    assert_eq!(world.says(&["show", "2"]), message("t", "a", "oi") + "\n");

    let said = |output: &Output| {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    for (args, code, expected) in [
        (&["show", "77"][..], 1, "77 is not in quarantine"),
        (&["list", "--bot", "vendas"], 1, "no bot is called vendas"),
        (&["list", "--server", "127.0.0.1:1"], 1, "no gateway answers at 127.0.0.1:1"),
        (&["replay"], 2, "--all"),
        (&["replay", "1", "--all"], 2, "cannot be used with"),
        (&["replay", "1", "77"], 1, "2 of the webhooks named could not be replayed"),
    ] {
        let output = world.quarantine(args);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
    }

    let trial = world.says(&["replay", "--all", "--validate-only"]);
    assert_eq!(trial, "would be: 2 replayed, 0 in the log already, 1 still unreadable\n");
    assert!(world.all_events().await.is_empty());
    let one = world.says(&["replay", "3"]);
    let cursor = &world.all_events().await[0].cursor;
    let expected = "1 replayed, 0 in the log already, 0 still unreadable\n";
    assert_eq!(one, format!("3        replayed message.customer {cursor}\n{expected}"));
    let rest = world.says(&["replay", "--all", "--bot", "suporte", "--json"]);
    let rest: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<_> = rest.iter().map(|result| (&result["id"], &result["outcome"])).collect();
    let unreadable = (&json!("1"), &json!("REPLAY_OUTCOME_UNREADABLE"));
    assert_eq!(outcomes, [unreadable, (&json!("2"), &json!("REPLAY_OUTCOME_REPLAYED"))]);
    let again = world.says(&["replay", "--all"]);
    assert_eq!(again, "0 replayed, 0 in the log already, 1 still unreadable\n");
    let ids: Vec<_> = world.all_events().await.into_iter().map(|event| event.blip_id).collect();
    assert_eq!(ids, ["b", "a"], "once each, in the order they were asked for");
}

/// A message without an id: nothing but the quarantine itself can keep it from coming twice.
fn anonymous(number: usize) -> String {
    json!({"type": "text/plain", "content": number.to_string(), "from": "t@desk.msging.net/Webhook"})
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_a_replay_loses_and_doubles_nothing() {
    const HELD: usize = 3_000;
    let mut world = World::start().await;
    world
        .hold((0..HELD).map(|number| if number % 50 == 7 { "[".to_owned() } else { anonymous(number) }))
        .await;
    let expected: Vec<_> = (0..HELD).filter(|number| number % 50 != 7).map(anonymous).collect();
    let mut kills = 0;
    loop {
        let before = world.all_events().await.len();
        if before == expected.len() {
            break;
        }
        let request = pb::SubscribeRequest { start: Some(at(Position::Latest(true))), ..Default::default() };
        let mut stream = world.events().await.subscribe(request).await.unwrap().into_inner();
        // Two at once: what one takes is gone for the other.
        let mut replays = JoinSet::new();
        for _ in 0..2 {
            let mut admin = world.admin().await;
            replays.spawn(async move {
                let mut request = pb::ReplayQuarantinedWebhooksRequest { all: true, ..Default::default() };
                while let Ok(page) = admin.replay_quarantined_webhooks(request.clone()).await {
                    request.page_token = page.into_inner().next_page_token;
                    if request.page_token.is_empty() {
                        return;
                    }
                }
            });
        }
        // Another instant each round: after so many events it is killed, wherever it is then.
        let mut left = (1 + kills * 333).min(expected.len() - before);
        while left > 0 {
            match timeout(PATIENCE, stream.message()).await.unwrap() {
                Ok(Some(response)) => left -= usize::from(matches!(response.message, Some(Told::Event(_)))),
                other => panic!("the stream ended: {other:?}"),
            }
        }
        world.gateway.kill();
        kills += 1;
        while let Some(ended) = replays.join_next().await {
            ended.unwrap();
        }
        world.restart().await;
        assert!(kills < 50, "it never ends");
    }
    let events = world.all_events().await;
    println!("kills {kills}, held {HELD}, events {}", events.len());
    let bodies: Vec<_> = events.iter().map(|event| event.raw_json.clone()).collect();
    let distinct: BTreeSet<_> = bodies.iter().cloned().collect();
    assert_eq!(distinct, expected.iter().cloned().collect(), "nothing is lost");
    assert_eq!(bodies.len(), expected.len(), "nothing comes twice");
    assert!(events.iter().zip(1..).all(|(event, sequence)| event.ticket_sequence == sequence));
    assert_eq!(world.waiting().await, (HELD - expected.len()).to_string(), "the rest is still there");
    assert!(kills > 1, "it was killed in the middle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_replay_tells_how_far_it_is() {
    let mut world = World::start().await;
    world.hold((0..600).map(anonymous)).await;
    let Output { status, stdout, stderr } = world.quarantine(&["replay", "--all"]);
    assert!(status.success());
    let told = String::from_utf8(stderr).unwrap();
    assert!(told.starts_with("-- so far 250 replayed"), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
    assert_eq!(
        String::from_utf8(stdout).unwrap(),
        "600 replayed, 0 in the log already, 0 still unreadable\n"
    );
    let bodies: Vec<_> = world.all_events().await.into_iter().map(|event| event.raw_json).collect();
    assert_eq!(bodies, (0..600).map(anonymous).collect::<Vec<_>>(), "in the order they came");
}
