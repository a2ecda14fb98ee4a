//! Every mutation in every kind of trouble: whether it took effect is what the fault says, and once at most.

use serde_json::{Value, json};

use crate::sandbox::tests::world::World;

/// What an agent's screen does: the path, and the envelope.
fn mutations(ticket: &str, ended: &str) -> Vec<(&'static str, &'static str, Value)> {
    let desk = |uri: String, resource: Value| {
        json!({"to": "postmaster@desk.msging.net", "method": "set", "uri": uri,
               "type": "application/vnd.iris.ticket+json", "resource": resource})
    };
    let (agent, uri) = ("maria.souza%40example.com@blip.ai", "/tickets/change-status");
    let node = format!("{ticket}@desk.msging.net/Webhook");
    vec![
        (
            "assign",
            "/commands",
            desk(uri.into(), json!({"id": ticket, "status": "Open", "agentIdentity": agent})),
        ),
        (
            "tags",
            "/commands",
            desk(format!("/tickets/{ticket}/change-tags"), json!({"id": ticket, "tags": ["x"]})),
        ),
        ("send", "/messages", json!({"to": node, "type": "text/plain", "content": "olá"})),
        (
            "typing",
            "/messages",
            json!({"to": node, "type": "application/vnd.lime.chatstate+json",
                                       "content": {"state": "composing"}}),
        ),
        ("read", "/notifications", json!({"to": node, "event": "consumed"})),
        ("finish", "/commands", desk(format!("/tickets/{ended}/close"), json!({"tags": ["x"]}))),
        ("create", "/commands", desk("/tickets".into(), json!({"customerIdentity": "x@0mn.io"}))),
        (
            "create with context",
            "/commands",
            json!({"to": "postmaster@desk.msging.net", "method": "set",
            "uri": "/tickets/y%400mn.io", "type": "text/plain", "resource": "I need a human!"}),
        ),
        ("close", "/commands", desk(uri.into(), json!({"id": ticket, "status": "ClosedAttendant"}))),
    ]
}

/// Last, as they end the ticket.
fn endings(ticket: &str) -> Vec<(&'static str, &'static str, Value)> {
    let desk = |uri: String, resource: Value| {
        json!({"to": "postmaster@desk.msging.net", "method": "set", "uri": uri,
               "type": "application/vnd.iris.ticket+json", "resource": resource})
    };
    let quiet = "/tickets/change-status-without-redirect";
    vec![
        ("close quietly", "/commands", desk(quiet.into(), json!({"id": ticket, "status": "ClosedClient"}))),
        ("transfer", "/commands", desk(format!("/tickets/{ticket}/transfer"), json!({"team": "Vendas"}))),
        (
            "transfer to agent",
            "/commands",
            desk(
                format!("/tickets/{ticket}/transfer"),
                json!({"team": "Vendas", "agentIdentity": "joao.lima%40example.com@blip.ai"}),
            ),
        ),
    ]
}

/// A fault, what the caller gets of it (an HTTP status, or nothing), and whether the envelope took effect.
fn troubles() -> Vec<(Value, Option<u16>, bool)> {
    vec![
        (json!({"kind": "drop_before"}), None, false),
        (json!({"kind": "drop_after"}), None, true),
        (json!({"kind": "status", "code": 500}), Some(500), false),
        (json!({"kind": "status", "code": 502, "applied": true}), Some(502), true),
        (json!({"kind": "status", "code": 429, "retry_after": 1}), Some(429), false),
        (json!({"kind": "status", "code": 504, "ms": 5, "applied": true}), Some(504), true),
        (json!({"kind": "delay", "ms": 5}), Some(200), true),
        (json!({"kind": "delay", "ms": 5, "applied": true}), Some(200), true),
        (json!({"kind": "failure", "code": 61, "description": "no"}), Some(200), false),
        (json!({"kind": "failure", "description": "no code"}), Some(200), false),
        (json!({"kind": "failure", "code": 61, "applied": true}), Some(200), true),
    ]
}

/// A ticket that waits, and one the customer closed.
async fn tickets(world: &World) -> (String, String) {
    let (_, ticket) = world.open().await;
    let (customer, ended) = world.open().await;
    world.control(&format!("/customers/{customer}/close"), &json!({"announce": false})).await;
    (ticket, ended)
}

#[tokio::test]
async fn each_mutation_goes_wrong_in_each_way_and_says_what_it_did() {
    let world = World::start().await;
    let mut number = 0;
    for (fault, status, applied) in troubles() {
        let (ticket, ended) = tickets(&world).await;
        let mut all = mutations(&ticket, &ended);
        for at in 0..endings(&ticket).len() {
            let (another, _) = tickets(&world).await;
            all.push(endings(&another).swap_remove(at));
        }
        for (name, path, mut envelope) in all {
            number += 1;
            let id = format!("e{number}");
            envelope["id"] = json!(id);
            let on = path.trim_start_matches('/');
            if on == "notifications" && fault["kind"] == "failure" {
                continue;
            }
            let mut fault = fault.clone();
            fault["on"] = json!(on);
            fault["match"] = json!({"id_contains": id});
            world.control("/faults", &fault).await;
            let answer = world.blip(path, &envelope).await;
            let heard = answer.as_ref().ok().map(|(status, _)| *status);
            let expected = status.map(|status| if status == 200 && on != "commands" { 202 } else { status });
            assert_eq!(heard, expected, "{name}: {fault}");
            if let (Ok((200, answer)), "failure") = (&answer, fault["kind"].as_str().unwrap()) {
                assert_eq!(
                    (&answer["status"], &answer["reason"]["code"]),
                    (&json!("failure"), &fault["code"]),
                    "{name}"
                );
            }
            let effects = world.lever("GET", &format!("/effects/{id}"), &Value::Null).await;
            assert_eq!(effects["applied"], u64::from(applied), "{name}: {fault}");
            assert_eq!(effects["requests"], 1);
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn effects_are_told_by_ticket_in_order() {
    let world = World::start().await;
    let (ticket, ended) = tickets(&world).await;
    for (at, (_, path, mut envelope)) in mutations(&ticket, &ended).into_iter().enumerate() {
        envelope["id"] = json!(format!("e{at}"));
        world.blip(path, &envelope).await.unwrap();
    }
    let told = world.lever("GET", &format!("/tickets/{ticket}"), &Value::Null).await;
    let effects = told["effects"].as_array().unwrap();
    let what: Vec<_> = effects.iter().map(|effect| effect["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["status", "tags", "message", "chatstate", "notification", "status"]);
    assert_eq!(effects[2]["detail"], "olá");
    assert_eq!((&effects[0]["envelope_id"], &effects[0]["detail"]["status"]), (&json!("e0"), &json!("Open")));
    let (_, moved) = world.open().await;
    let (_, _, mut transfer) = endings(&moved).swap_remove(1);
    transfer["id"] = json!("t");
    let (_, answer) = world.blip("/commands", &transfer).await.unwrap();
    let new = answer["resource"]["id"].as_str().unwrap();
    let effects = world.lever("GET", "/effects", &Value::Null).await;
    assert_eq!(effects["by_ticket"][&moved][0]["detail"], json!(new));
    assert_eq!(effects["by_ticket"][new][0]["what"], "created");
    assert_eq!(effects["by_id"]["t"]["applied"], 1);
    let state = world.lever("GET", "/state", &Value::Null).await;
    assert_eq!(state["notifications"][0]["event"], "consumed");
    world.stop().await;
}

#[tokio::test]
async fn a_message_that_fails_is_told_by_a_notification() {
    let world = World::start().await;
    let (ticket, _) = tickets(&world).await;
    let before = world.bodies().len();
    let fault = json!({"on": "messages", "kind": "failure", "code": 87, "description": "blocked", "skip": 1,
                       "match": {"resource_contains": "olá", "to_contains": ticket}});
    world.control("/faults", &fault).await;
    for (id, text) in [("m1", "olá"), ("m2", "oi"), ("m3", "olá")] {
        let message = json!({"id": id, "to": format!("{ticket}@desk.msging.net/Webhook"), "type": "text/plain",
                             "content": text});
        assert_eq!(world.blip("/messages", &message).await.unwrap().0, 202);
    }
    world.webhooks(before + 1).await;
    let failed: Value = serde_json::from_str(&world.bodies()[before]).unwrap();
    assert_eq!((&failed["id"], &failed["event"]), (&json!("m3"), &json!("failed")));
    assert_eq!(failed["reason"], json!({"code": 87, "description": "blocked"}));
    assert_eq!(world.lever("GET", "/effects/m3", &Value::Null).await["applied"], 0);
    assert_eq!(world.lever("GET", "/effects/m1", &Value::Null).await["applied"], 1);
    world.stop().await;
}

#[tokio::test]
async fn an_answer_may_be_a_lie() {
    let world = World::start().await;
    world.open().await;
    let lie = json!({"on": "commands", "kind": "answer", "type": "application/vnd.lime.collection+json",
                     "resource": {"itemType": "application/vnd.iris.ticket+json", "items": []},
                     "match": {"method": "get", "uri_contains": "/tickets?"}});
    world.control("/faults", &lie).await;
    let list = async |world: &World| {
        world.command("desk.msging.net", "get", "/tickets?$take=10", &Value::Null).await
    };
    let lied = list(&world).await;
    assert_eq!(
        (&lied["status"], lied["resource"]["items"].as_array().unwrap().len()),
        (&json!("success"), 0)
    );
    assert_eq!(list(&world).await["resource"]["total"], 1);
    world.stop().await;
}
