//! Blip's documented commands, each answered in the shape of its documented response. `samples.jsonl` has one pair a
//! line.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::sandbox::commands::execute;
use crate::sandbox::conversation::Outgoing;
use crate::sandbox::lime::{Command, response};
use crate::sandbox::model::{Account, Desk};
use crate::sandbox::tests::rules::now;

const BOT: &str = "demobot@msging.net";
const CUSTOMER: &str = "255d0787b7b2bc.demobot@0mn.io";
const ROUTED: &str = "2bdcd8d0-9e69-484f-a88a-d5a529708864@tunnel.msging.net";
const AGENT: &str = "maria.souza%40example.com@blip.ai";
/// The ticket of the samples; the desk has another.
const TICKET: &str = "76f5bc38-b476-4895-a0c6-016ed1288ba0";

/// What a document may have beside the members of its sample: Blip shows others elsewhere.
const OPTIONAL: [&str; 18] = [
    "agentIdentity",
    "statusDate",
    "openDate",
    "closeDate",
    "closedBy",
    "firstResponseDate",
    "customerInput",
    "ticketsInService",
    "lastServiceDate",
    "isEnabled",
    "agentSlots",
    "storageDate",
    "ownerIdentity",
    "metadata",
    "status",
    "tags",
    "total",
    "parentSequentialId",
];

/// What a sample has, and a desk need not: somebody wrote it there.
const CHANCE: [&str; 6] = ["gender", "group", "plan", "metadata", "customerInput", "lastServiceDate"];

fn run(desk: &mut Desk, envelope: &Value) -> Value {
    let command = Command::read(envelope).unwrap();
    let router = command.to.contains("tunnel");
    let by = if router { Account::Router } else { Account::Desk };
    let result = execute(desk, by, &command, now());
    serde_json::from_slice(&response(&command, BOT, &result, false)).unwrap()
}

fn set(desk: &mut Desk, uri: &str, resource: &Value) -> Value {
    let command = json!({"id": "s", "to": "postmaster@desk.msging.net", "method": "set", "uri": uri,
                         "resource": resource});
    run(desk, &command)
}

/// A desk in which the command makes sense, and its ticket.
fn desk_for(name: &str) -> (Desk, String) {
    let mut desk = Desk::new(BOT.into(), "demorouter@msging.net".into(), 7);
    desk.media.base = "http://127.0.0.1".into();
    desk.ensure_customer(ROUTED, None, None);
    let created = set(&mut desk, "/tickets", &json!({"customerIdentity": CUSTOMER, "team": "Default"}));
    let id = created["resource"]["id"].as_str().unwrap().to_owned();
    let status = match name {
        "attendants" | "list-tickets" | "monitoring-open-tickets" => "Open",
        "finish-close" => "ClosedClient",
        _ => "Waiting",
    };
    if status != "Waiting" {
        let change = json!({"id": id, "status": status, "agentIdentity": AGENT});
        assert_eq!(set(&mut desk, "/tickets/change-status", &change)["status"], "success");
    }
    let rule = json!({"id": "r", "title": "t", "team": "Default", "isActive": true, "property": "Message",
        "relation": "Equals", "values": ["x"], "operator": "Or", "priority": 3,
        "conditions": [{"property": "Message", "relation": "Equals", "values": ["x"]}]});
    set(&mut desk, "/rules", &rule);
    let message = Outgoing {
        id: Some("m".into()),
        to: format!("{id}@desk.msging.net/Webhook"),
        media_type: "text/plain".into(),
        content: json!("oi"),
        metadata: None,
    };
    desk.deliver(&message, now());
    (desk, id)
}

/// What differs in shape, as paths; lists are compared by their first items.
fn differences(path: &str, sample: &Value, ours: &Value, found: &mut Vec<String>) {
    match (sample, ours) {
        (Value::Object(sample), Value::Object(ours)) => members(path, sample, ours, found),
        (Value::Array(sample), Value::Array(ours)) => {
            if let (Some(sample), Some(ours)) = (sample.first(), ours.first()) {
                differences(&format!("{path}[0]"), sample, ours, found);
            } else if sample.is_empty() != ours.is_empty() {
                found.push(format!("{path}: {} for {}", ours.len(), sample.len()));
            }
        }
        _ if std::mem::discriminant(sample) != std::mem::discriminant(ours) => {
            found.push(format!("{path}: {ours} for {sample}"));
        }
        _ => {}
    }
}

fn members(path: &str, sample: &Map<String, Value>, ours: &Map<String, Value>, found: &mut Vec<String>) {
    let names: BTreeSet<_> = sample.keys().chain(ours.keys()).collect();
    for name in names {
        let path = format!("{path}.{name}");
        match (sample.get(name), ours.get(name)) {
            (Some(sample), Some(ours)) => {
                if name == "itemType" || name == "type" {
                    if sample != ours {
                        found.push(format!("{path}: {ours} for {sample}"));
                    }
                } else if !["content", "metadata", "customerInput"].contains(&name.as_str()) {
                    differences(&path, sample, ours, found);
                }
            }
            (Some(_), None) if !CHANCE.contains(&name.as_str()) => {
                found.push(format!("{path} is missing"));
            }
            (None, Some(_)) if !OPTIONAL.contains(&name.as_str()) => {
                found.push(format!("{path} is too much"));
            }
            _ => {}
        }
    }
}

#[test]
fn each_documented_command_is_answered_in_its_documented_shape() {
    let mut found = Vec::new();
    for line in include_str!("samples.jsonl").lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        let name = sample["name"].as_str().unwrap();
        let (mut desk, id) = desk_for(name);
        let command: Value =
            serde_json::from_str(&sample["command"].to_string().replace(TICKET, &id)).unwrap();
        let answer = run(&mut desk, &command);
        assert_eq!(answer["id"], command["id"], "{name}");
        assert_eq!(answer["status"], "success", "{name}: {answer}");
        if let Some(expected) = sample.get("response") {
            let mut expected = expected.clone();
            expected["metadata"] = json!({});
            differences(name, &expected, &answer, &mut found);
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
