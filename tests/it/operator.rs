//! The operator's commands on tickets, as a shell runs them.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::World;

/// Runs `deskgate ARGS` against the gateway; whether it was good, its stdout and its stderr.
pub(crate) fn deskgate(world: &World, args: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_deskgate"))
        .args(args)
        .env("DESKGATE_SERVER", world.gateway.address("grpc"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// The stdout of a run that has to be good.
pub(crate) fn good(world: &World, args: &[&str]) -> String {
    let (good, out, err) = deskgate(world, args);
    assert!(good, "{args:?}: {out}{err}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_from_the_queue_to_its_end() {
    let world = World::start().await;
    let (customer, id) = world.customer("Bom dia").await;
    let listed = good(&world, &["tickets", "list", "--status", "waiting"]);
    assert!(listed.starts_with("TICKET ") && listed.contains(&id) && listed.contains(&customer), "{listed}");
    assert!(good(&world, &["tickets", "assign", &id, "ana@empresa.com"]).starts_with("assigned (command "));
    assert!(good(&world, &["tickets", "send", &id, "Como posso ajudar?"]).starts_with("sent (command "));
    good(&world, &["tickets", "tags", &id, "boleto", "urgente"]);
    let shown = good(&world, &["tickets", "show", &id, "--fresh"]);
    for line in ["status     Open", "agent      ana@empresa.com", "tags       boleto, urgente"] {
        assert!(shown.lines().any(|shown| shown == line), "no {line:?} in {shown}");
    }
    let moved = good(&world, &["tickets", "transfer", &id, "Vendas", "--json"]);
    let moved: Value = serde_json::from_str(&moved).unwrap();
    let new = moved["newTicket"]["ticketId"].as_str().unwrap();
    assert!(good(&world, &["tickets", "close", new]).starts_with("closed (command "));
    assert!(good(&world, &["tickets", "close", new]).starts_with("was closed already"));
    let (ok, _, err) = deskgate(&world, &["tickets", "send", new, "?"]);
    assert!(!ok && err.contains("is closed") && err.contains("FailedPrecondition"), "{err}");
    let told = |name: &str| {
        let line = err.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {err}")).to_owned()
    };
    assert_eq!((told("reason").as_str(), told("x-request-id").len()), ("TICKET_CLOSED", 36));
    assert!(good(&world, &["commands", "show", &told("command_id")]).contains("TICKET_CLOSED"));
    let (ok, out, err) = deskgate(&world, &["tickets", "send", new, "?", "--json"]);
    let error = &serde_json::from_str::<Value>(&err).unwrap()["error"];
    assert!(!ok && out.is_empty() && error["message"].as_str().unwrap().contains("is closed"), "{err}");
    assert_eq!((&error["code"], &error["reason"]), (&json!("FailedPrecondition"), &json!("TICKET_CLOSED")));
    assert!(error["metadata"]["command_id"].is_string() && error["xRequestId"].is_string(), "{err}");

    let commands = good(&world, &["commands", "list", "--ticket", &id, "--json"]);
    let methods: Vec<_> = commands
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["method"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(methods, ["Transfer", "SetTags", "Send", "Assign"]);
    let failed = good(&world, &["commands", "list", "--state", "failed"]);
    // The head, and both messages to the closed ticket.
    assert!(failed.contains("TICKET_CLOSED") && failed.lines().count() == 3, "{failed}");
    let command = failed.lines().nth(1).unwrap().split(' ').next().unwrap();
    assert!(good(&world, &["commands", "show", command]).contains("why       TICKET_CLOSED"));
    assert!(!deskgate(&world, &["commands", "show", "--request-id", "nobody"]).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_closed_from_a_file_and_each_failure_is_told() {
    let world = World::start().await;
    let mut lines = vec!["# yesterday's".to_owned()];
    let mut ids = Vec::new();
    for number in 0..40 {
        let (customer, id) = world.customer("oi").await;
        if number == 7 {
            world.desk(&format!("/customers/{customer}/close"), json!({})).await;
        }
        lines.push(format!("{id}\t{customer}"));
        ids.push(id);
    }
    lines.push("nobody".to_owned());
    let refused = json!({"on": "commands", "match": {"resource_contains": ids[3]},
                         "kind": {"failure": {"code": 1, "description": "Hoje não"}}});
    world.desk("/faults", refused).await;
    let busy = json!({"on": "commands", "match": {"resource_contains": ids[5]},
                      "kind": {"status": {"code": 429, "retry_after": 0}}});
    world.desk("/faults", busy).await;
    let file = world.folder.path().join("tickets.txt");
    fs::write(&file, lines.join("\n")).unwrap();
    let close = ["tickets", "close", "--tag", "fim", "--file", file.to_str().unwrap()];
    let (ok, out, err) = deskgate(&world, &close);
    assert!(!ok, "{out}{err}");
    assert_eq!(out, "38 closed, 1 were closed already, 2 failed\n", "{err}");
    assert!(err.contains(&format!("{}: ", ids[3])) && err.contains("Hoje não"), "{err}");
    assert!(err.contains(" (BLIP_REJECTED, command_id="), "{err}");
    assert!(err.contains("nobody: ") && err.contains("41/41, 2 failed"), "{err}");
    let (ok, out, _) = deskgate(&world, &close);
    assert!(!ok && out.starts_with("1 closed, 39 were closed already, 1 failed"), "{out}");
    let left = good(&world, &["tickets", "list", "--fresh", "--json"]);
    assert_eq!(left, "", "none is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_named_twice_is_closed_once() {
    let world = World::start().await;
    let (first, second) = (world.customer("oi").await.1, world.customer("oi").await.1);
    let file = world.folder.path().join("tickets.txt");
    fs::write(&file, format!("{first}\n{second}\n{first}\n")).unwrap();
    let out = good(&world, &["tickets", "close", &first, &first, "--file", file.to_str().unwrap()]);
    assert_eq!(out, "2 closed, 0 were closed already, 0 failed\n");
    let third = world.customer("oi").await.1;
    assert!(good(&world, &["tickets", "close", &third, &third]).starts_with("closed (command "));
}
