//! Bodies made to hurt, as long as a body may be: each is answered 200, reaches every client, and the process does
//! not grow beyond its bounds.

use std::fs;
use std::process::Command;

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::clients::{grpcurl, tool};
use crate::support::{Process, World};

/// The default of `webhook.body_limit`.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What a gateway may ever take, in MiB; a debug build alone takes some fifty. One body that is kept as it is parsed
/// can take ninety times its length.
const MEMORY_MAX: usize = 320;

/// As many of `unit` as fit between `head` and `tail`, separated by commas.
fn filled(head: &str, unit: &str, tail: &str, bytes_max: usize) -> String {
    let count = (bytes_max - head.len() - tail.len() + 1) / (unit.len() + 1);
    format!("{head}{}{tail}", vec![unit; count].join(","))
}

/// The same with units that differ: `@` stands for a number.
fn numbered(head: &str, unit: &str, tail: &str) -> String {
    let mut body = head.to_owned();
    for number in 0.. {
        let unit = unit.replace('@', &format!("{number:x}"));
        if body.len() + unit.len() + tail.len() > BODY_BYTES_MAX {
            break;
        }
        body.push_str(&unit);
        body.push(',');
    }
    body.pop();
    body + tail
}

/// An envelope up to its content, and what comes behind it.
fn around(media_type: &str, id: usize, before: &str, after: &str) -> (String, String) {
    let from = format!(r#""id":"b{id}","from":"t{id}@desk.msging.net/Webhook""#);
    (format!(r#"{{{from},"type":"{media_type}","content":{before}"#), format!("{after}}}"))
}

const JSON: &str = "application/json";
const TICKET: &str = "application/vnd.iris.ticket+json";

/// A type, what the content begins with, what it has as often as there is room, how it ends.
const CONTENTS: [(&str, &str, &str, &str); 22] = [
    (JSON, "[", r#"{"":0}"#, "]"),
    (JSON, "[", "[]", "]"),
    (JSON, "[", "0", "]"),
    (JSON, "[", "1e999999999", "]"),
    (JSON, "[", r#""\u0001""#, "]"),
    (JSON, r#"{"a":["#, r#"{"$serde_json::private::Number":"1"}"#, "]}"),
    (JSON, "{", r#""@":0"#, "}"),
    (JSON, r#"{"a":{"#, r#""@":{"":[]}"#, "}}"),
    ("text/plain", "[", r#"{"":0}"#, "]"),
    ("application/vnd.lime.collection+json", r#"{"itemType":"text/plain","items":["#, r#""""#, "]}"),
    ("application/vnd.lime.select+json", r#"{"options":["#, "{}", "]}"),
    ("application/vnd.lime.select+json", r#"{"options":[{}],"x":["#, r#"{"":0}"#, "]}"),
    ("application/vnd.lime.document-select+json", r#"{"options":["#, r#"{"label":{"type":""}}"#, "]}"),
    ("application/vnd.lime.list+json", r#"{"items":["#, r#"{"value":0}"#, "]}"),
    ("application/vnd.lime.reaction+json", r#"{"emoji":{"values":["#, "9", "]}}"),
    ("application/vnd.lime.location+json", r#"{"latitude":1,"longitude":2,"x":["#, "0", "]}"),
    (TICKET, r#"{"extras":["#, r#"{"":0}"#, "]}"),
    (TICKET, r#"{"tags":["#, r#""a""#, "]}"),
    (TICKET, "{", r#""@":0"#, "}"),
    (TICKET, r#"{"customerInput":{"type":"application/json","value":["#, r#"{"":0}"#, "]}}"),
    ("application/vnd.lime.chatstate+json", "[", "0", "]"),
    ("application/vnd.lime.redirect+json", r#"{"context":["#, "0", "]}"),
];

/// Every bomb, each of a ticket of its own.
fn bombs() -> Vec<String> {
    let mut bombs = Vec::new();
    for (media_type, before, unit, after) in CONTENTS {
        let (head, tail) = around(media_type, bombs.len(), before, after);
        bombs.push(if unit.contains('@') {
            numbered(&head, unit, &tail)
        } else {
            filled(&head, unit, &tail, BODY_BYTES_MAX)
        });
    }
    // One long text, wherever a text may stand.
    for around in [
        r#"{"id":"L","from":"a@desk.msging.net","type":"text/plain","content":"x"}"#,
        r#"{"id":"1","from":"L@desk.msging.net","type":"text/plain","content":"x"}"#,
        r#"{"id":"2","from":"a@desk.msging.net","type":"L","content":"x"}"#,
        r#"{"id":"3","from":"a@desk.msging.net","type":"text/plain","content":"L"}"#,
        r#"{"id":"4","from":"a@desk.msging.net","type":"text/plain","content":"x","metadata":{"L":"x"}}"#,
        r#"{"id":"5","from":"a@desk.msging.net","type":"text/plain","content":"x","metadata":{"traceparent":"L"}}"#,
        r##"{"id":"6","from":"a@desk.msging.net","type":"text/plain","content":"x","metadata":{"#tunnel.originator":"L"}}"##,
        r#"{"id":"7","from":"a@desk.msging.net","event":"failed","reason":{"code":1,"description":"L"}}"#,
        r#"{"id":"L","from":"a@desk.msging.net","event":"received"}"#,
        r#"{"id":"8","from":"t@desk.msging.net","type":"application/vnd.iris.ticket+json","content":{"id":"L"}}"#,
        r#"{"id":"9","from":"u@desk.msging.net","type":"application/vnd.iris.ticket+json","content":{"customerIdentity":"L"}}"#,
        r#"{"id":"10","from":"v@desk.msging.net","type":"application/vnd.iris.ticket+json","content":{"closedBy":"L","status":"ClosedClient"}}"#,
        r#"{"L":0}"#,
    ] {
        let (head, tail) = around.split_once('L').unwrap();
        bombs.push(format!("{head}{}{tail}", "y".repeat(BODY_BYTES_MAX - around.len() + 1)));
    }
    // One number of a million digits; as deep as can be read, again and again; nothing but members, light and heavy.
    let (head, tail) = around(JSON, bombs.len(), "", "");
    bombs.push(format!("{head}{}{tail}", "9".repeat(BODY_BYTES_MAX - head.len() - tail.len())));
    let (head, tail) = around(TICKET, bombs.len(), r#"{"sequentialId":"#, "}");
    bombs.push(format!("{head}{}{tail}", "9".repeat(BODY_BYTES_MAX - head.len() - tail.len())));
    let (head, tail) = around(JSON, bombs.len(), "[", "]");
    bombs.push(filled(&head, &format!("{}{}", "[".repeat(125), "]".repeat(125)), &tail, BODY_BYTES_MAX));
    // Heavy, and around it heavy again.
    let (head, tail) = around(JSON, bombs.len(), "", "");
    let heavy = vec![r#"{"":0}"#; 7_000].join(",");
    let levels = (BODY_BYTES_MAX - 600) / (heavy.len() + 20);
    let nested = (0..levels).fold("[]".to_owned(), |inner, _| format!(r#"[{heavy},{{"a":{inner}}}]"#));
    let rest = " ".repeat(BODY_BYTES_MAX - head.len() - nested.len() - tail.len());
    bombs.push(format!("{head}{nested}{rest}{tail}"));
    bombs.push(numbered("{", r#""@":0"#, "}"));
    bombs.push(numbered("{", r#""@":[{"":0},{"":0},{"":0}]"#, "}"));
    bombs.push(numbered(r#"{"type":"text/plain","content":"x","metadata":{"#, r#""@":"""#, "}}"));
    bombs.push(numbered(r#"{"type":"text/plain","content":"x","metadata":{"#, r#""@":[{"":0}]"#, "}}"));
    assert!(bombs.iter().all(|body| (BODY_BYTES_MAX - 600..=BODY_BYTES_MAX).contains(&body.len())));
    bombs
}

/// The most memory that a process ever had, in MiB.
fn memory_ever(process: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

fn assert_bounded(world: &World) {
    let memory = memory_ever(&world.gateway);
    println!("{memory} MiB");
    assert!(memory <= MEMORY_MAX, "{memory} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bomb_is_kept_and_reaches_every_client() {
    let world = World::start().await;
    let bombs = bombs();
    for body in &bombs {
        assert_eq!(world.post(body.clone()).await, 200, "{}", &body[..100]);
    }
    // Decoded by `prost`, and as long as they came.
    let events = world.all_events().await;
    let events: Vec<_> = events.into_iter().filter(|event| event.r#type != "gateway.alert").collect();
    assert_eq!(events.len(), bombs.len());
    for (event, body) in events.iter().zip(&bombs) {
        assert!(event.raw_json == *body, "{} is another body", &body[..100]);
    }
    let count = world.all_events().await.len();
    let python = Command::new(tool("python/bin/python"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/reader.py"))
        .arg(world.gateway.address("grpc"))
        .env("PYTHONPATH", tool("stubs"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&python.stdout) + String::from_utf8_lossy(&python.stderr);
    let expected = ["ENVELOPE", "FULL", "RAW"].map(|view| format!("EVENT_VIEW_{view} {count}\n")).concat();
    assert_eq!(said, expected);
    let from = json!({"start": {"earliest": true}, "stop_when_caught_up": true, "view": "EVENT_VIEW_RAW"});
    let (good, said) = grpcurl(&world, &["-d", &from.to_string()], &["deskgate.v1.EventService/Subscribe"]);
    assert!(good, "{}", &said[said.len().saturating_sub(2_000)..]);
    assert_eq!(said.matches("\"eventId\"").count(), count);
    assert_bounded(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_one_byte_too_long_is_413() {
    let world = World::start().await;
    let (head, tail) = around(JSON, 0, "[", "]");
    let mut body = filled(&head, r#"{"":0}"#, &tail, BODY_BYTES_MAX);
    body.push_str(&" ".repeat(BODY_BYTES_MAX + 1 - body.len()));
    assert_eq!(world.post(body.clone()).await, 413);
    body.pop();
    assert_eq!(world.post(body).await, 200);
    let deep = format!("{}{}", "[".repeat(BODY_BYTES_MAX / 2), "]".repeat(BODY_BYTES_MAX / 2));
    assert_eq!(world.post(deep).await, 200, "quarantined");
    assert_eq!(world.all_events().await.len(), 1);
}

/// What is kept of the newest events, of tickets and for streams is bounded by the memory it takes.
#[tokio::test(flavor = "multi_thread")]
async fn many_bombs_take_no_more_memory_than_few() {
    let world = World::start().await;
    let heavy: [(&str, &str, &str, usize, usize); 4] = [
        (JSON, "[", "]", BODY_BYTES_MAX, 20),
        (TICKET, r#"{"extras":["#, "]}", BODY_BYTES_MAX, 20),
        (JSON, "[", "]", 12_000, 300),
        (TICKET, r#"{"extras":["#, "]}", 12_000, 300),
    ];
    let mut bodies = Vec::new();
    for (media_type, before, after, bytes_max, count) in heavy {
        for _ in 0..count {
            let (head, tail) = around(media_type, bodies.len(), before, after);
            bodies.push(filled(&head, r#"{"":0}"#, &tail, bytes_max));
        }
    }
    let count = bodies.len();
    let statuses: Vec<_> =
        stream::iter(bodies).map(|body| world.post(body)).buffer_unordered(8).collect().await;
    assert!(statuses.iter().all(|status| *status == 200));
    assert_eq!(world.all_events().await.len(), count);
    assert_bounded(&world);
}

/// A ticket holds what all its documents told: that must not become more than clients take.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_does_not_outgrow_its_readers() {
    let world = World::start().await;
    let long = "x".repeat(BODY_BYTES_MAX - 300);
    let members = [
        "customerIdentity",
        "agentIdentity",
        "team",
        "routingCustomerIdentity",
        "closedBy",
        "a",
        "b",
        "c",
        "d",
        "e",
    ];
    for (number, name) in members.into_iter().enumerate() {
        let document = json!({"id": "t", "status": "Open", name: long});
        let envelope = json!({"id": number.to_string(), "from": "t@desk.msging.net", "type": TICKET, "content": document});
        assert_eq!(world.post(envelope.to_string()).await, 200, "{name}");
    }
    let (head, tail) = around("text/plain", 0, "\"", "\"");
    assert_eq!(world.post(format!("{head}{long}{tail}").replace("t0@", "t@")).await, 200);
    assert_eq!(world.all_events().await.len(), members.len() + 1);
    assert_bounded(&world);
}
