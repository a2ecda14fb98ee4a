//! The operator's commands on consumer groups, and a shell script as a consumer, as a shell runs them; and the
//! README's card.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::clients::tool;
use crate::operator::{deskgate, good};
use crate::support::{World, message};

/// Three events of one ticket and one of another.
async fn world() -> World {
    let world = World::start().await;
    for (ticket, id) in [("t1", "m1"), ("t1", "m2"), ("t2", "m3"), ("t1", "m4")] {
        assert_eq!(world.post(message(ticket, id, "Olá")).await, 200);
    }
    world
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn lines_of(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_from_its_making_to_its_end() {
    let world = world().await;
    let (_, _, said) = deskgate(&world, &["groups", "list"]);
    assert!(said.contains("no groups"), "{said}");
    let made = good(
        &world,
        &["groups", "create", "crm", "--from", "earliest", "--ack-deadline", "1m", "--park", "block"],
    );
    assert!(made.starts_with("made crm"), "{made}");
    assert!(deskgate(&world, &["groups", "create", "crm"]).2.contains("AlreadyExists"));
    let listed = good(&world, &["groups", "list"]);
    let [head, row] = lines_of(&listed)[..] else { panic!("{listed}") };
    assert!(head.starts_with("GROUP") && row.starts_with("crm "), "{listed}");
    assert_eq!(row.split_whitespace().nth(1), Some("4"), "{listed}");
    let shown = good(&world, &["groups", "show", "crm"]);
    for line in [
        "behind           4 events",
        "ack deadline     60s",
        "park policy      block_ticket",
        "in flight        0",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no {line:?} in {shown}");
    }
    assert!(shown.contains("members          none"), "{shown}");

    good(
        &world,
        &["groups", "update", "crm", "--max-attempts", "3", "--type", "message.*", "--reset", "park"],
    );
    let shown = json(&good(&world, &["groups", "show", "crm", "--json"]));
    assert_eq!(
        (shown["maxAttempts"].as_u64(), shown["ackDeadline"].as_str()),
        (Some(3), Some("60s")),
        "{shown}"
    );
    assert_eq!(shown["parkPolicy"], "PARK_POLICY_CONTINUE_TICKET");
    assert_eq!(shown["filter"]["types"][0], "message.*");
    let stale = ["groups", "delete", "crm", "--etag", "nonsense"];
    assert!(!deskgate(&world, &stale).0, "another etag");
    assert!(!deskgate(&world, &["groups", "update", "crm"]).0, "nothing to change");
    let (done, _, said) = deskgate(&world, &["groups", "update", "crm", "--max-attempts", "0"]);
    assert!(!done && said.contains("1..=100"), "0 is no number of attempts: {said}");
    let both = ["groups", "update", "crm", "--max-attempts", "5", "--reset", "max-attempts"];
    let (done, _, said) = deskgate(&world, &both);
    assert!(!done && said.contains("max_attempts"), "either one or the other: {said}");

    let asked = good(&world, &["groups", "seek", "crm", "latest", "--validate-only"]);
    assert_eq!(asked, "would move crm over 4 events\n");
    assert_eq!(good(&world, &["groups", "seek", "crm", "latest"]), "moved crm over 4 events\n");
    assert!(good(&world, &["groups", "show", "crm"]).contains("behind           0 events"));
    assert_eq!(good(&world, &["groups", "seek", "crm", "1d"]), "moved crm over 4 events\n");
    assert_eq!(good(&world, &["groups", "delete", "crm"]), "deleted crm\n");
    assert!(deskgate(&world, &["groups", "show", "crm"]).2.contains("NotFound"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_script_is_a_consumer() {
    let world = world().await;
    let out = world.folder.path().join("handled");
    good(
        &world,
        &["groups", "create", "crm", "--from", "earliest", "--min-backoff", "10ms", "--max-attempts", "2"],
    );
    // Fails once at m1, always at m3.
    let script = format!(
        "line=$(cat); case \"$line\" in *\"m1\"*) test $DESKGATE_ATTEMPT = 2 || exit 7;; *\"m3\"*) exit 9;; esac; \
         echo \"$DESKGATE_TICKET_ID $DESKGATE_TICKET_SEQUENCE $DESKGATE_ATTEMPT $DESKGATE_LAST_FAILURE\" >> {}",
        out.display()
    );
    let child = Command::new(env!("CARGO_BIN_EXE_deskgate"))
        .args(["consume", "crm", "--exec", &script])
        .env("DESKGATE_SERVER", world.gateway.address("grpc"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(50));
    let began = tokio::time::Instant::now();
    loop {
        looks.tick().await;
        let status = json(&good(&world, &["groups", "show", "crm", "--json"]))["status"].clone();
        if status.get("eventsBehind").is_none_or(|behind| behind == "0") {
            break;
        }
        assert!(began.elapsed() < crate::support::PATIENCE, "{status}");
    }
    signal(&child, "-TERM");
    let ended = child.wait_with_output();
    let ended = ended.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("exit code 7") && said.contains("member "), "{said}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "t1 1 2 exit code 7\nt1 2 1 \nt1 3 1 \n", "{said}");

    let parked = good(&world, &["parked", "list", "crm"]);
    let [_, row] = lines_of(&parked)[..] else { panic!("{parked}") };
    assert!(row.contains(" t2 ") && row.ends_with("exit code 9"), "{parked}");
    let event = row.split(' ').next().unwrap();
    assert!(
        !deskgate(&world, &["parked", "discard", "crm", event, "0190f3c2-0000-7000-8000-000000000000"]).0
    );
    assert_eq!(deskgate(&world, &["parked", "list", "crm"]).1, "", "it is given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_replayed_and_a_run_can_end_by_itself() {
    let world = world().await;
    good(&world, &["groups", "create", "crm", "--from", "earliest", "--max-attempts", "1"]);
    let said = deskgate(&world, &["consume", "crm", "--exec", "exit 1", "--stop"]).2;
    assert!(
        said.contains("exit code 1; its attempts are used up") && !said.contains("comes again"),
        "{said}"
    );
    let parked = good(&world, &["parked", "list", "crm", "--json", "--limit", "3"]);
    let reasons: Vec<_> = parked.lines().map(|line| json(line)["reason"].clone()).collect();
    assert_eq!(reasons, ["exit code 1"; 3], "of four");
    assert_eq!(good(&world, &["parked", "replay", "crm", "--all"]), "4 events are delivered again\n");
    let out = world.folder.path().join("events");
    let exec = format!("cat >> {}", out.display());
    good(&world, &["consume", "crm", "--exec", &exec, "--stop", "--max-outstanding", "1"]);
    let events = fs::read_to_string(out).unwrap();
    assert_eq!(
        events.lines().map(|line| json(line)["type"].clone()).collect::<Vec<_>>(),
        ["message.customer"; 4]
    );
    assert!(!deskgate(&world, &["consume", "nobody", "--exec", "true"]).0);
}

/// What a run of `deskgate consume` is, as a terminal has it: the commands that it runs belong to it.
fn consume(world: &World, exec: &str) -> Child {
    use std::os::unix::process::CommandExt as _;
    Command::new(env!("CARGO_BIN_EXE_deskgate"))
        .args(["consume", "crm", "--exec", exec])
        .env("DESKGATE_SERVER", world.gateway.address("grpc"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap()
}

/// A signal to it alone.
fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// What takes one event, and ends once there is a file `go`.
fn patient(world: &World) -> String {
    let folder = world.folder.path().display();
    format!(
        "cd {folder}; touch begun; while ! test -e go; do sleep 0.02; done; echo $DESKGATE_ATTEMPT >> out"
    )
}

/// Ctrl-C: everything in the foreground hears it.
fn interrupt(child: &Child) {
    let everything = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-INT", "--", &everything]).status().unwrap().success());
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
    let began = tokio::time::Instant::now();
    while !is_so() {
        looks.tick().await;
        assert!(began.elapsed() < crate::support::PATIENCE, "not so: {what}");
    }
}

fn is_settled(world: &World) -> bool {
    let status = json(&good(world, &["groups", "show", "crm", "--json"]))["status"].clone();
    status.get("eventsBehind").is_none_or(|behind| behind == "0")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_lets_what_runs_end_and_a_second_one_ends_it() {
    let world = World::start().await;
    let path = |name: &str| world.folder.path().join(name);
    good(&world, &["groups", "create", "crm", "--from", "earliest"]);
    assert_eq!(world.post(message("t1", "m1", "Olá")).await, 200);
    let script = patient(&world);
    let mut child = consume(&world, &script);
    until("it runs", || path("begun").exists()).await;
    interrupt(&child);
    let mut said = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(said.any(|line| line.unwrap().contains("waiting for 1 that run")), "nothing is waited for");
    fs::write(path("go"), "").unwrap();
    let rest: Vec<_> = said.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    assert_eq!(fs::read_to_string(path("out")).unwrap(), "1\n", "{rest:?}");
    assert!(is_settled(&world), "{rest:?}");

    assert_eq!(world.post(message("t1", "m2", "Olá")).await, 200);
    let script =
        format!("cd {}; sleep 1000 & echo $! > id; mv id sleeper; wait", world.folder.path().display());
    let mut child = consume(&world, &script);
    until("it sleeps", || path("sleeper").exists()).await;
    interrupt(&child);
    let mut said = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(said.any(|line| line.unwrap().contains("waiting for 1 that run")), "nothing is waited for");
    // The terminal is closed: that counts as much.
    signal(&child, "-HUP");
    assert!(child.wait().unwrap().success());
    let sleeper = fs::read_to_string(path("sleeper")).unwrap();
    let state = || fs::read_to_string(format!("/proc/{}/stat", sleeper.trim())).unwrap_or_default();
    until("what it began is gone, too", || state().is_empty() || state().contains(") Z ")).await;
    assert!(!is_settled(&world));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_closed_lets_what_runs_end() {
    let world = World::start().await;
    let path = |name: &str| world.folder.path().join(name);
    good(&world, &["groups", "create", "crm", "--from", "earliest"]);
    assert_eq!(world.post(message("t1", "m1", "Olá")).await, 200);
    let script = patient(&world);
    let hang_up = |child: &Child| signal(child, "-HUP");
    let mut child = consume(&world, &script);
    until("it runs", || path("begun").exists()).await;
    // Nobody reads any more.
    drop(child.stderr.take());
    hang_up(&child);
    fs::write(path("go"), "").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_to_string(path("out")).unwrap(), "1\n");
    assert!(is_settled(&world));

    for file in ["begun", "go"] {
        fs::remove_file(path(file)).unwrap();
    }
    assert_eq!(world.post(message("t1", "m2", "Olá")).await, 200);
    let mut child = consume(&world, &script);
    until("it runs", || path("begun").exists()).await;
    // Both the system and the shell say so.
    hang_up(&child);
    let mut said = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(said.any(|line| line.unwrap().contains("waiting for 1 that run")), "nothing is waited for");
    hang_up(&child);
    fs::write(path("go"), "").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_to_string(path("out")).unwrap(), "1\n1\n");
    assert!(is_settled(&world));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_while_the_store_cannot_write_is_not_done_again() {
    let world = World::start().await;
    let path = |name: &str| world.folder.path().join(name);
    good(&world, &["groups", "create", "crm", "--from", "earliest", "--ack-deadline", "20s"]);
    for ticket in ["t1", "t2"] {
        assert_eq!(world.post(message(ticket, ticket, "Olá")).await, 200);
    }
    let script = format!(
        "cd {}; t=$DESKGATE_TICKET_ID; touch begun-$t; while ! test -e go-$t; do sleep 0.02; done; \
         echo $t $DESKGATE_ATTEMPT >> out",
        world.folder.path().display()
    );
    let mut child = consume(&world, &script);
    until("both run", || path("begun-t1").exists() && path("begun-t2").exists()).await;
    let locked = rusqlite::Connection::open(path("deskgate.db")).unwrap();
    locked.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    locked.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut said = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    // The first is on its way to the disk, the second is refused.
    for ticket in ["go-t1", "go-t2"] {
        fs::write(path(ticket), "").unwrap();
        assert!(said.any(|line| line.unwrap().contains("try_again")), "it hears that it is not on disk");
    }
    locked.execute_batch("ROLLBACK").unwrap();
    until("both are settled", || is_settled(&world)).await;
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let rest: Vec<_> = said.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    assert_eq!(fs::read_to_string(path("out")).unwrap(), "t1 1\nt2 1\n", "{rest:?}");
}

/// The README's lines that take work from a group and settle it, as they stand there.
#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_lines_pull_and_settle() {
    let world = world().await;
    let path = format!("{}:{}", tool("bin").display(), std::env::var("PATH").unwrap());
    let readme = include_str!("../../README.md");
    let lines = readme.lines().filter(|line| line.starts_with("grpcurl") && line.contains("ConsumerService"));
    let (mut delivery, mut said) = (String::new(), Vec::new());
    for line in lines {
        let line = line.replace("127.0.0.1:50051", &world.gateway.address("grpc")).replace('…', &delivery);
        let output = Command::new("sh").args(["-c", &line]).env("PATH", &path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        if line.contains("/Pull") {
            json(&text)["deliveries"][0]["deliveryId"].as_str().unwrap().clone_into(&mut delivery);
        }
        said.push(text);
    }
    let signs = ["\"group\": \"crm\"", "fencingToken", "SETTLE_STATE_DONE", "eventsBehind"];
    assert_eq!(said.len(), signs.len(), "{said:?}");
    assert!(said.iter().zip(signs).all(|(said, sign)| said.contains(sign)), "{said:?}");
}
