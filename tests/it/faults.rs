//! The promises under fire: kill -9 at any instant, a full disk, a store that is not what it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use deskgate::grpc::pb;
use pb::start_position::Position;
use pb::subscribe_response::Message as Told;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Process, TOKEN, World, at, message};

/// How often the gateway is killed; `DESKGATE_TEST_KILLS` asks for more.
fn kills() -> usize {
    std::env::var_os("DESKGATE_TEST_KILLS").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(6)
}

/// Who posts: each has a ticket of its own and repeats a message until it hears 200.
const POSTERS: usize = 32;
/// After how many acknowledgements of a round the gateway is killed.
const ACKNOWLEDGED_MIN: usize = 300;

#[derive(Default)]
struct Posted {
    /// Message ids that heard 200, in the order they were posted, by ticket.
    acknowledged: BTreeMap<String, Vec<String>>,
    /// The next number of each poster.
    next: BTreeMap<usize, usize>,
}

/// Posts under load until the gateway dies; what was not acknowledged is posted again in the next round.
async fn load(world: &mut World, posted: &Arc<Mutex<Posted>>, kill_after: usize) {
    let count = Arc::new(AtomicUsize::new(0));
    let mut posters = JoinSet::new();
    for poster in 0..POSTERS {
        let (http, url, posted, count) =
            (world.http.clone(), world.webhook_url(), Arc::clone(posted), Arc::clone(&count));
        posters.spawn(async move {
            loop {
                let number = *posted.lock().unwrap().next.entry(poster).or_default();
                let (ticket, id) = (format!("ticket-{poster}"), format!("{poster}-{number}"));
                let request =
                    http.post(&url).header("Authorization", TOKEN).body(message(&ticket, &id, "oi"));
                match request.send().await {
                    Ok(answer) if answer.status() == 200 => {
                        let mut posted = posted.lock().unwrap();
                        posted.acknowledged.entry(ticket).or_default().push(id);
                        posted.next.insert(poster, number + 1);
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(answer) => assert_eq!(answer.status(), 503),
                    Err(_) => return,
                }
            }
        });
    }
    while count.load(Ordering::SeqCst) < kill_after {
        tokio::task::yield_now().await;
    }
    world.gateway.kill();
    while let Some(ended) = posters.join_next().await {
        ended.unwrap();
    }
}

/// Reads on from `cursor` until the stream breaks off or everything has been read.
async fn follow(world: &World, cursor: Option<String>, until_caught_up: bool) -> Vec<pb::Event> {
    let position = cursor.map_or(Position::Earliest(true), Position::AfterCursor);
    let request = pb::SubscribeRequest {
        start: Some(at(position)),
        stop_when_caught_up: until_caught_up,
        ..Default::default()
    };
    let mut stream = world.events().await.subscribe(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Ok(Some(response)) = stream.message().await {
        if let Some(Told::Event(event)) = response.message {
            events.push(event);
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let mut world = World::start().await;
    let posted = Arc::new(Mutex::new(Posted::default()));
    let mut resumed: Vec<pb::Event> = Vec::new();
    for round in 0..kills() {
        if round > 0 {
            world.restart().await;
        }
        let position = resumed
            .last()
            .map_or(Position::Earliest(true), |event| Position::AfterCursor(event.cursor.clone()));
        let request = pb::SubscribeRequest { start: Some(at(position)), ..Default::default() };
        let mut stream = world.events().await.subscribe(request).await.unwrap().into_inner();
        let reader = tokio::spawn(async move {
            let mut events = Vec::new();
            while let Ok(Some(response)) = stream.message().await {
                if let Some(Told::Event(event)) = response.message {
                    events.push(event);
                }
            }
            events
        });
        // Another instant of the batch each round.
        load(&mut world, &posted, ACKNOWLEDGED_MIN + round * 37).await;
        resumed.extend(reader.await.unwrap());
    }
    world.restart().await;
    let cursor = resumed.last().map(|event| event.cursor.clone());
    resumed.extend(follow(&world, cursor, true).await);
    let all = world.all_events().await;

    let posted = posted.lock().unwrap();
    let acknowledged: usize = posted.acknowledged.values().map(Vec::len).sum();
    let ids: Vec<_> = all.iter().map(|event| event.blip_id.clone()).collect();
    let distinct: BTreeSet<_> = ids.iter().cloned().collect();
    let found = posted.acknowledged.values().flatten().filter(|id| distinct.contains(*id)).count();
    let mut out_of_order = 0;
    for (ticket, expected) in &posted.acknowledged {
        let events: Vec<_> = all.iter().filter(|event| event.ticket_id == *ticket).collect();
        out_of_order +=
            events.iter().zip(1..).filter(|(event, sequence)| event.ticket_sequence != *sequence).count();
        let kept: Vec<_> =
            events.iter().map(|event| event.blip_id.clone()).filter(|id| expected.contains(id)).collect();
        out_of_order += usize::from(kept != *expected);
    }
    let duplicates = ids.len() - distinct.len();
    println!(
        "kills {}, acknowledged {acknowledged}, found {found}, in the log {}, duplicates {duplicates}, out of order {out_of_order}",
        kills(),
        ids.len()
    );
    assert_eq!((found, duplicates, out_of_order), (acknowledged, 0, 0));
    let seen: Vec<_> = resumed.iter().map(|event| event.event_id.as_str()).collect();
    let expected: Vec<_> = all.iter().map(|event| event.event_id.as_str()).collect();
    assert!(seen == expected, "a subscriber that resumed saw {} events of {}", seen.len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_flight_at_kill_9_is_looked_for_not_repeated() {
    let mut world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    for (number, kind) in
        [json!({"hang": {"applied": true}}), json!({"hang": {"applied": false}})].into_iter().enumerate()
    {
        let revision = world.desk_state().await["revision"].clone();
        world.desk("/faults", json!({"on": "messages", "kind": kind})).await;
        let mut tickets = world.tickets().await;
        let request = pb::SendRequest {
            ticket_id: ticket_id.clone(),
            text: "oi".to_owned(),
            options: Some(pb::CommandOptions { request_id: format!("r-{number}"), ..Default::default() }),
            ..Default::default()
        };
        let call = tokio::spawn(async move { tickets.send(request).await });
        // The request has reached Desk once its state has moved twice: the fault laid, the fault happened.
        let mut seen = revision;
        while world.desk_state().await["faults"]["waiting"]
            .as_array()
            .is_some_and(|waiting| !waiting.is_empty())
        {
            let answer = world.http.get(world.desk_url(&format!("/changes/{seen}"))).send().await.unwrap();
            let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            seen = answer["revision"].clone();
        }
        world.gateway.kill();
        call.await.unwrap().unwrap_err();
        world.restart().await;
        world.gateway.logged("settled a command in doubt");
        let key = pb::get_command_request::Key::RequestId(format!("r-{number}"));
        let found =
            world.tickets().await.get_command(pb::GetCommandRequest { key: Some(key) }).await.unwrap();
        let receipt = found.into_inner().command.unwrap().receipt.unwrap();
        let applied =
            world.desk_state().await["effects"][&receipt.command_id]["applied"].as_u64().unwrap_or_default();
        let expected = if number == 0 {
            (pb::CommandState::Succeeded, 1)
        } else {
            (pb::CommandState::OutcomeUnknown, 0)
        };
        assert_eq!((receipt.state(), applied), expected);
    }
    let types: Vec<_> = world.all_events().await.into_iter().map(|event| event.r#type).collect();
    // Neither caller got an end, so both are told.
    assert_eq!(types, ["ticket.created", "message.agent", "command.settled", "command.settled"]);
}

/// Waits until Desk has met every fault that was laid for it.
async fn faults_met(world: &World) {
    let waits = |state: &serde_json::Value| {
        state["faults"]["waiting"].as_array().is_some_and(|waiting| !waiting.is_empty())
    };
    while waits(&world.desk_state().await) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_a_close_that_did_not_end_are_told_after_kill_9() {
    let mut world = World::start().await;
    for (uri, applied) in [("change-tags", true), ("change-status", false)] {
        let (_, ticket_id) = world.customer("oi").await;
        let kind = json!({"hang": {"applied": applied}});
        world.desk("/faults", json!({"on": "commands", "match": {"uri_contains": uri}, "kind": kind})).await;
        let mut tickets = world.tickets().await;
        let close = pb::CloseRequest {
            ticket_id: ticket_id.clone(),
            tags: vec!["boleto".to_owned()],
            ..Default::default()
        };
        let call = tokio::spawn(async move { tickets.close(close).await });
        faults_met(&world).await;
        world.gateway.kill();
        call.await.unwrap().unwrap_err();
        world.restart().await;
        world.gateway.logged("settled a command in doubt");
        let events: Vec<_> =
            world.all_events().await.into_iter().filter(|event| event.ticket_id == ticket_id).collect();
        let types: Vec<_> = events.iter().map(|event| event.r#type.as_str()).collect();
        assert_eq!(types, ["ticket.created", "ticket.updated", "command.settled"], "{uri}");
        let asked = pb::GetTicketRequest { ticket_id, ..Default::default() };
        let known = world.tickets().await.get_ticket(asked).await.unwrap().into_inner().ticket.unwrap();
        assert_eq!(known.tags, ["boleto"], "{uri}");
    }
}

/// A small file system of its own, where that is permitted.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_503_and_recovers_by_itself() {
    let holder = tempfile::TempDir::new().unwrap();
    let path = holder.path().join("small");
    let Some(disk) = SmallDisk::mount(&path) else {
        println!(
            "no file system may be mounted here; the store's own suite fills a size-limited file instead"
        );
        return;
    };
    let ballast = path.join("ballast");
    fs::write(&ballast, vec![1; 3 * 1024 * 1024]).unwrap();
    let mut world = World::with(&format!("[store]\npath = {:?}", path.join("deskgate.db"))).await;
    let text = "x".repeat(50_000);
    let mut acknowledged = Vec::new();
    let refused = loop {
        let id = format!("m{}", acknowledged.len());
        let request = world.http.post(world.webhook_url()).header("Authorization", TOKEN);
        let answer = request.body(message("t", &id, &text)).send().await.unwrap();
        if answer.status() != 200 {
            break answer;
        }
        acknowledged.push(id);
        assert!(acknowledged.len() < 1_000, "a disk of 6 MiB never filled");
    };
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let ready = world.http.get(world.admin_url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let said = ready.text().await.unwrap();
    assert!(said.contains("full"), "{said}");

    fs::remove_file(&ballast).unwrap();
    // It finds the room without being asked to write: its log says so.
    world.gateway.wait_for_log("room again");
    while world.http.get(world.admin_url("/readyz")).send().await.unwrap().status() != 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.post(message("t", "after", "oi")).await, 200);
    acknowledged.push("after".to_owned());
    let kept: Vec<_> = world.all_events().await.into_iter().map(|event| event.blip_id).collect();
    assert_eq!(kept, acknowledged);
    drop(world);
    drop(disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_the_start_is_told() {
    let holder = tempfile::TempDir::new().unwrap();
    let path = holder.path().join("small");
    let Some(disk) = SmallDisk::mount(&path) else {
        println!("no file system may be mounted here");
        return;
    };
    let mut world = World::with(&format!("[store]\npath = {:?}", path.join("deskgate.db"))).await;
    assert_eq!(world.post(message("t", "m", "oi")).await, 200);
    world.gateway.signal("TERM");
    assert!(world.gateway.wait().success());
    let ballast = path.join("ballast");
    fs::write(&ballast, vec![1; 8 * 1024 * 1024]).unwrap_err();
    let secrets = [("SUPORTE_BLIP_KEY", "k"), ("SUPORTE_WEBHOOK_TOKEN", "t")];
    let mut process = Process::spawn(world.folder.path(), &["serve", "--config", "deskgate.toml"], &secrets);
    let status = process.wait();
    let log = process.rest_of_log();
    assert!(!status.success() && log.contains("there is no room"), "{log}");
    fs::remove_file(&ballast).unwrap();
    world.restart().await;
    assert_eq!(world.all_events().await.len(), 1);
    drop(world);
    drop(disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_trusted_stops_the_start_with_a_sentence() {
    let mut world = World::start().await;
    world.post(message("t", "m", "oi")).await;
    let folder = world.folder.path().to_owned();
    let serve = |expected: &str| {
        let mut process = Process::spawn(
            &folder,
            &["serve", "--config", "deskgate.toml"],
            &[("SUPORTE_BLIP_KEY", "k"), ("SUPORTE_WEBHOOK_TOKEN", "t")],
        );
        let status = process.wait();
        let log = process.rest_of_log();
        assert!(!status.success(), "{log}");
        assert!(log.contains(expected), "no {expected:?} in:\n{log}");
    };
    serve("another");
    world.gateway.signal("TERM");
    assert!(world.gateway.wait().success());
    let store = folder.join("deskgate.db");
    let good = fs::read(&store).unwrap();
    let version = 60..64;
    let mut newer = good.clone();
    newer[version].copy_from_slice(&9_999_u32.to_be_bytes());
    fs::write(&store, newer).unwrap();
    serve("newer");
    fs::write(&store, b"this is no database, and longer than a header of one hundred bytes, so that it is read as a file of another kind").unwrap();
    serve("deskgate.db");
    fs::write(&store, good).unwrap();
    world.restart().await;
    assert_eq!(world.all_events().await.len(), 1);
}
