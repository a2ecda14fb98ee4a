//! The sandbox over real HTTP: what it posts, and what it answers.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::sandbox::commands::execute;
use crate::sandbox::demo::{Pace, play};
use crate::sandbox::lime::Command;
use crate::sandbox::model::Account;
use crate::sandbox::tests::world::{World, assign};
use crate::sandbox::{Closing, Config, Sandbox, shared};

#[tokio::test]
async fn a_conversation_opens_with_the_documented_webhook() {
    let world = World::start().await;
    let (customer, ticket) = world.open().await;
    let (body, token) = world.inbox.lock().unwrap()[0].clone();
    let date = serde_json::from_str::<Value>(&body).unwrap()["content"]["storageDate"].clone();
    let expected = format!(
        concat!(
            r#"{{"type":"application/vnd.iris.ticket+json","content":{{"id":"{0}","sequentialId":1,"#,
            r#""ownerIdentity":"sandbox@msging.net","customerIdentity":"{1}","customerDomain":"wa.gw.msging.net","#,
            r#""provider":"Webhook","status":"Waiting","storageDate":{2},"rating":0,"unreadMessages":0,"#,
            r#""closed":false,"customerInput":{{"type":"text/plain","value":"Hello world!"}}}},"#,
            r#""id":"Ticket:{0}:Waiting","from":"{0}@desk.msging.net/Webhook"}}"#
        ),
        ticket, customer, date
    );
    assert_eq!((body, token.as_str()), (expected, "t"));
    let said =
        world.control(&format!("/customers/{customer}/messages"), &json!({"text": "oi", "id": "m1"})).await;
    assert_eq!(said["envelope_id"], "fwd:fwd:m1");
    assert_eq!(
        world.bodies()[1],
        format!(
            r#"{{"type":"text/plain","content":"oi","id":"fwd:fwd:m1","from":"{ticket}@desk.msging.net/Webhook"}}"#
        )
    );
    let closed = world.control(&format!("/customers/{customer}/close"), &json!({})).await;
    assert_eq!(closed["status"], "ClosedClient");
    assert_eq!(world.ids()[2], format!("Ticket:{ticket}:ClosedClient"));
    let (status, error) =
        world.call("POST", &format!("/customers/{customer}/messages"), &json!({"text": "oi"})).await;
    assert_eq!(status, 409, "{error}");
    world.stop().await;
}

#[tokio::test]
async fn blips_paths_answer_as_blips() {
    let world = World::start().await;
    let (customer, ticket) = world.open().await;
    let (status, _) = world.call("POST", "/commands", &assign("a", &ticket)).await;
    assert_eq!(status, 401);
    let (status, _) = world.blip("/commands", &json!({"method": "get", "uri": "/ping"})).await.unwrap();
    assert_eq!(status, 400);
    let (status, answer) = world.blip("/commands", &assign("a1", &ticket)).await.unwrap();
    assert_eq!((status, &answer["status"]), (200, &json!("success")));
    let message = json!({"id": "m", "to": format!("{ticket}@desk.msging.net/Webhook"), "type": "text/plain",
                         "content": "olá"});
    let (status, answer) = world.blip("/messages", &message).await.unwrap();
    assert_eq!((status, answer), (202, Value::Null));
    let (_, seen) = world.call("GET", &format!("/customers/{customer}"), &json!({})).await;
    assert_eq!(seen["received"][0]["content"], "olá");
    world.control(&format!("/customers/{customer}/close"), &json!({"announce": false})).await;
    assert_eq!(world.blip("/messages", &message).await.unwrap().0, 202);
    let (_, state) = world.call("GET", "/state", &json!({})).await;
    assert_eq!(state["effects"]["m"]["messages_delivered"], 1);
    assert_eq!(state["effects"]["m"]["requests"], 2);
    assert_eq!(state["effects"]["a1"]["applied"], 1);
    world.stop().await;
}

#[tokio::test]
async fn webhooks_are_duplicated_reordered_and_lost_on_demand() {
    let world = World::start().await;
    let (customer, _) = world.open().await;
    let say = format!("/customers/{customer}/messages");
    for (fault, id, fate) in
        [("duplicate", "m1", "delivered"), ("lose", "m2", "lost"), ("reorder", "m3", "held")]
    {
        world.control("/faults", &json!({"on": "webhooks", "kind": fault})).await;
        let said = world.control(&say, &json!({"text": "oi", "id": id})).await;
        assert_eq!(said["delivery"]["status"], fate);
    }
    world.control(&say, &json!({"text": "oi", "id": "m4"})).await;
    world.control("/faults", &json!({"on": "webhooks", "kind": "reorder"})).await;
    world.control(&say, &json!({"text": "oi", "id": "m5"})).await;
    world.call("DELETE", "/faults", &json!({})).await;
    world.control(&say, &json!({"text": "oi", "id": "m6"})).await;
    let ids = world.ids();
    assert_eq!(ids[1..], ["m1", "m1", "m4", "m3", "m5", "m6"].map(|id| format!("fwd:fwd:{id}")));
    world.stop().await;
}

#[tokio::test]
async fn a_cut_connection_gives_no_answer_whether_or_not_it_took_effect() {
    let world = World::start().await;
    let (_, ticket) = world.open().await;
    world
        .control("/faults", &json!({"on": "commands", "kind": "drop_before", "match": {"method": "set"}}))
        .await;
    let error = world.blip("/commands", &assign("a1", &ticket)).await.unwrap_err();
    assert!(error.is_request() && error.status().is_none(), "{error:?}");
    world.control("/faults", &json!({"on": "commands", "kind": "drop_after"})).await;
    world.blip("/commands", &assign("a2", &ticket)).await.unwrap_err();
    let (_, state) = world.call("GET", "/state", &json!({})).await;
    assert_eq!(state["effects"]["a1"]["applied"], 0);
    assert_eq!(state["effects"]["a2"]["status_changes"], 1);
    assert_eq!(state["tickets"][0]["status"], "Open");
    assert_eq!(state["requests"][0]["http_status"], Value::Null);
    world.stop().await;
}

#[tokio::test]
async fn failures_statuses_and_hangs_happen_as_often_as_asked() {
    let world = World::start().await;
    let (_, ticket) = world.open().await;
    let status = json!({"on": "commands", "times": 2, "kind": {"status": {"code": 504, "applied": true}}});
    world.control("/faults", &status).await;
    let failure = json!({"on": "commands", "kind": "failure", "description": "no code"});
    world.control("/faults", &failure).await;
    assert_eq!(world.blip("/commands", &assign("a1", &ticket)).await.unwrap().0, 504);
    assert_eq!(world.blip("/commands", &assign("a1", &ticket)).await.unwrap().0, 504);
    let (code, answer) = world.blip("/commands", &assign("a1", &ticket)).await.unwrap();
    assert_eq!((code, &answer["reason"]), (200, &json!({"description": "no code"})));
    let (_, state) = world.call("GET", "/state", &json!({})).await;
    assert_eq!(
        (&state["effects"]["a1"]["requests"], &state["effects"]["a1"]["applied"]),
        (&json!(3), &json!(2))
    );
    let (code, error) = world.call("POST", "/faults", &json!({"on": "webhooks", "kind": "hang"})).await;
    assert_eq!(code, 400, "{error}");
    world.control("/faults", &json!({"on": "commands", "kind": "hang"})).await;
    let envelope = assign("a2", &ticket);
    let hanging = world.blip("/commands", &envelope);
    let mut watch = world.handle.watch();
    let arrival = async {
        while !world.handle.shared.state().desk.effects.by_id().contains_key("a2") {
            watch.changed().await.unwrap();
        }
        world.cancel.cancel();
    };
    let (hung, ()) = tokio::join!(hanging, arrival);
    assert!(hung.is_err());
    world.stop().await;
}

#[tokio::test]
async fn over_the_quota_is_429_for_a_while() {
    let world = World::start().await;
    let quota = json!({"quota": {"commands": 2}, "announce_changes": true});
    assert_eq!(world.call("PUT", "/settings", &quota).await.0, 200);
    let ping = json!({"id": "p", "to": "postmaster@msging.net", "method": "get", "uri": "/ping"});
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(world.blip("/commands", &ping).await.unwrap().0);
    }
    assert_eq!(codes, [200, 200, 429, 429]);
    assert_eq!(world.call("PUT", "/settings", &json!({"quota": null})).await.0, 200);
    assert_eq!(world.blip("/commands", &ping).await.unwrap().0, 200);
    let (code, _) = world.call("PUT", "/settings", &json!({"qouta": null})).await;
    assert_eq!(code, 400);
    let raw = world.call("POST", "/webhooks", &json!(["anything"])).await.1;
    assert_eq!(raw["delivery"]["http_status"], 200);
    assert_eq!(world.bodies(), [r#"["anything"]"#]);
    world.stop().await;
}

#[tokio::test]
async fn changes_are_announced_when_the_settings_say_so() {
    let world = World::start().await;
    let (_, ticket) = world.open().await;
    world.blip("/commands", &assign("a1", &ticket)).await.unwrap();
    world.call("PUT", "/settings", &json!({"announce_changes": true, "announce_receipts": true})).await;
    world.blip("/commands", &assign("a2", &ticket)).await.unwrap();
    let message = json!({"id": "m", "to": format!("{ticket}@desk.msging.net/Webhook"), "type": "text/plain",
                         "content": "olá"});
    world.blip("/messages", &message).await.unwrap();
    let ids = world.webhooks(4).await;
    assert_eq!(ids[1..], [&format!("Ticket:{ticket}:Open"), "fwd:fwd:m", "fwd:fwd:m"]);
    let transfer = json!({"id": "t", "to": "postmaster@desk.msging.net", "method": "set",
                          "uri": format!("/tickets/{ticket}/transfer"), "resource": {"team": "Vendas"}});
    let (_, answer) = world.blip("/commands", &transfer).await.unwrap();
    let new = answer["resource"]["id"].as_str().unwrap();
    let ids = world.webhooks(6).await;
    assert!(ids.contains(&format!("Ticket:{ticket}:Transferred")), "{ids:?}");
    assert!(ids.contains(&format!("Ticket:{new}:Waiting")), "{ids:?}");
    let (_, state) = world.call("GET", "/state", &json!({})).await;
    let before = state["revision"].as_u64().unwrap() - 1;
    let (_, changes) = world.call("GET", &format!("/changes/{before}"), &json!({})).await;
    assert_eq!(changes["revision"], state["revision"]);
    world.stop().await;
}

#[tokio::test]
async fn the_demo_answers_and_comes_back() {
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
    let handle = Sandbox::bind(config).await.unwrap().handle();
    let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
    let hasty = Pace { pause: Duration::ZERO, next: Duration::ZERO };
    let playing = tracker.spawn(play(handle.clone(), cancel.clone(), hasty));
    let mut watch = handle.watch();
    let said = |at: usize| {
        let state = handle.shared.state();
        state.desk.customers().get(at).map_or(0, |customer| customer.thread.len())
    };
    while said(0) < 5 {
        watch.changed().await.unwrap();
    }
    let customer = handle.shared.state().desk.customers()[0].identity.clone();
    let ticket = handle.shared.state().desk.tickets()[0].id.clone();
    assert_eq!(handle.attendance(&customer), Some(("Waiting", None)));
    let command = Command::read(&assign("a", &ticket)).unwrap();
    execute(&mut handle.shared.state().desk, Account::Desk, &command, shared::now()).unwrap();
    handle.shared.changed();
    while said(0) < 6 {
        watch.changed().await.unwrap();
    }
    handle.close(&customer, Closing::default()).await.unwrap();
    while said(1) < 2 {
        watch.changed().await.unwrap();
    }
    cancel.cancel();
    playing.await.unwrap();
}
