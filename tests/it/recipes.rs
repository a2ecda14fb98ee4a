//! The programs of docs/CONSUMING.md, run as they stand there: killed, restarted, cut off; and each event has taken effect
//! once.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use deskgate::grpc::pb;
use rusqlite::Connection;
use tokio::time::Instant;

use crate::clients::tool;
use crate::crowd::{Language, Load, Notes, Outsider, Proxy, groups, make, status};
use crate::support::{PATIENCE, World, message};

fn python(folder: &Path, example: &str, arguments: &[&str]) -> Child {
    Command::new(tool("python/bin/python"))
        .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(example))
        .args(arguments)
        .current_dir(folder)
        .env("PYTHONPATH", tool("stubs"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Each row of `messages`: ticket, place in it, text; in the order they were written.
fn effects(database: &Path) -> Vec<(String, i64)> {
    let Ok(db) = Connection::open(database) else { return Vec::new() };
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    let Ok(mut rows) = db.prepare("SELECT ticket_id, number FROM messages ORDER BY rowid") else {
        return Vec::new();
    };
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Waits until there are so many effects.
async fn until(database: &Path, count: usize) {
    let began = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    while effects(database).len() < count {
        looks.tick().await;
        assert!(began.elapsed() < PATIENCE, "{} of {count}", effects(database).len());
    }
}

/// Each message once, each ticket's in order.
fn once_and_in_order(database: &Path, tickets: usize, each: i64) {
    let effects = effects(database);
    assert_eq!(i64::try_from(effects.len()).unwrap(), i64::try_from(tickets).unwrap() * each);
    for ticket in 0..tickets {
        let name = format!("ticket-{ticket}");
        let numbers: Vec<_> =
            effects.iter().filter(|(of, _)| *of == name).map(|(_, number)| *number).collect();
        assert_eq!(numbers, (1..=each).collect::<Vec<_>>(), "{name}");
    }
}

async fn with_group() -> World {
    let world = World::start().await;
    make(&mut groups(&world).await, pb::ConsumerGroup { group: "crm".to_owned(), ..Default::default() })
        .await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_survives_kills_of_both_sides() {
    let mut world = World::start().await;
    let proxy = Proxy::start(world.gateway.address("grpc")).await;
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("resume.db");
    let run = || python(folder.path(), "resume.py", &[&proxy.address]);
    let child = run();
    Load::on(&world).post(5, 20, "Olá").await;
    until(&database, 20).await;
    kill(child);
    let child = run();
    until(&database, 50).await;
    world.gateway.kill();
    world.restart().await;
    proxy.point_at(world.gateway.address("grpc"));
    until(&database, 100).await;
    kill(child);
    once_and_in_order(&database, 5, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_workers_takes_effect_once() {
    let world = with_group().await;
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("worker.db");
    let run = || python(folder.path(), "worker.py", &[&world.gateway.address("grpc"), "crm"]);
    let (first, second) = (run(), run());
    let posting = tokio::spawn(Load::on(&world).post(10, 20, "Olá"));
    until(&database, 30).await;
    kill(first);
    let third = run();
    posting.await.unwrap();
    until(&database, 200).await;
    once_and_in_order(&database, 10, 20);
    for mut worker in [second, third] {
        assert!(Command::new("kill").arg(worker.id().to_string()).status().unwrap().success());
        assert!(worker.wait().unwrap().success(), "it leaves as planned");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_work_off_what_there_is() {
    let world = with_group().await;
    let folder = tempfile::tempdir().unwrap();
    Load::on(&world).post(10, 5, "Olá").await;
    let mut child = python(folder.path(), "pull.py", &[&world.gateway.address("grpc"), "crm"]);
    assert!(child.wait().unwrap().success());
    once_and_in_order(&folder.path().join("pull.db"), 10, 5);
    let status = status(&mut groups(&world).await, "crm").await;
    assert_eq!((status.events_behind, status.in_flight), (0, 0), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_node_leaves_as_planned() {
    let world = with_group().await;
    Load::on(&world).post(10, 5, "Olá").await;
    let mut worker = Command::new("node")
        .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/worker.js"))
        .args([&world.gateway.address("grpc"), "crm"])
        .env("NODE_PATH", tool("node/node_modules"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(worker.stdout.take().unwrap()));
    let seen: Vec<_> = lines.take(50).map(Result::unwrap).collect();
    assert!(seen.iter().all(|line| line.starts_with("message.customer ticket-")), "{seen:?}");
    assert!(Command::new("kill").arg(worker.id().to_string()).status().unwrap().success());
    assert!(worker.wait().unwrap().success());
    let status = status(&mut groups(&world).await, "crm").await;
    assert_eq!((status.events_behind, status.in_flight), (0, 0), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_notices_a_stream_that_hangs() {
    let world = with_group().await;
    let proxy = Proxy::start(world.gateway.address("grpc")).await;
    let (python, node) = (Notes(tempfile::tempdir().unwrap()), Notes(tempfile::tempdir().unwrap()));
    let members = [
        Outsider::start(Language::Python, &proxy.address, "crm", python.0.path(), "python"),
        Outsider::start(Language::Node, &proxy.address, "crm", node.0.path(), "node"),
    ];
    let written = async |all: [u64; 2], number: &mut u32| {
        let began = Instant::now();
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        while python.bytes() <= all[0] || node.bytes() <= all[1] {
            looks.tick().await;
            *number += 1;
            assert_eq!(world.post(message(&format!("t{number}"), &format!("m{number}"), "Olá")).await, 200);
            assert!(began.elapsed() < PATIENCE, "cut off for good");
        }
    };
    let mut number = 0;
    written([0, 0], &mut number).await;
    proxy.cut_off();
    let before = [python.bytes() + 2_000, node.bytes() + 2_000]; // beyond what was on its way
    written(before, &mut number).await;
    drop(members);
}
