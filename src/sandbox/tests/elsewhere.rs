//! What happens to tickets elsewhere, told or not, and the odd spellings it is told in.

use serde_json::{Value, json};

use crate::sandbox::tests::world::{World, assign};

#[tokio::test]
async fn a_silent_change_is_only_read_back() {
    let world = World::start().await;
    let (customer, ticket) = world.open().await;
    let posted = world.bodies().len();
    let silent = json!({"text": "alguém?", "id": "m1", "announce": false});
    let said = world.control(&format!("/customers/{customer}/messages"), &silent).await;
    assert_eq!(said["delivery"]["status"], "not_posted");
    let sent = world.control(&format!("/tickets/{ticket}/messages"), &json!({"text": "um momento"})).await;
    assert!(sent["id"].as_str().unwrap().starts_with("fwd:fwd:"), "{sent}");
    let moved = world.control(&format!("/tickets/{ticket}/transfer"), &json!({"team": "Vendas"})).await;
    let new = moved["ticket_id"].as_str().unwrap();
    let closed =
        world.control(&format!("/tickets/{new}/status"), &json!({"status": "ClosedAttendant"})).await;
    assert_eq!(closed["delivery"]["status"], "not_posted");
    assert_eq!(world.bodies().len(), posted);
    let old = world.command("desk.msging.net", "get", &format!("/ticket/{ticket}"), &Value::Null).await;
    assert_eq!(old["resource"]["status"], "Transferred");
    let uri = format!("/tickets/{new}/messages?$take=100&$ascending=true");
    let messages = world.command("desk.msging.net", "get", &uri, &Value::Null).await;
    let texts: Vec<_> =
        messages["resource"]["items"].as_array().unwrap().iter().map(|item| &item["content"]).collect();
    assert!(texts.contains(&&json!("alguém?")) && texts.contains(&&json!("um momento")), "{texts:?}");
    let (status, _) = world.call("POST", &format!("/tickets/{new}/messages"), &json!({"text": "oi"})).await;
    assert_eq!(status, 409);
    let (status, _) = world.call("POST", "/tickets/nobody/status", &json!({"status": "Open"})).await;
    assert_eq!(status, 404);
    world.stop().await;
}

#[tokio::test]
async fn a_change_may_be_announced_and_an_old_ticket_has_no_messages() {
    let world = World::start().await;
    let (_, ticket) = world.open().await;
    let change = json!({"status": "Open", "agent_identity": "x%40example.com@blip.ai", "announce": true});
    let changed = world.control(&format!("/tickets/{ticket}/status"), &change).await;
    assert_eq!(changed["delivery"]["status"], "delivered");
    let moved = world
        .control(&format!("/tickets/{ticket}/transfer"), &json!({"team": "Vendas", "announce": true}))
        .await;
    let fates: Vec<_> = moved["deliveries"].as_array().unwrap().iter().map(|fate| &fate["status"]).collect();
    assert_eq!(fates, ["delivered", "delivered"]);
    let new = moved["ticket_id"].as_str().unwrap();
    let uri = format!("/tickets/{new}/messages");
    let items = |answer: &Value| answer["resource"]["items"].as_array().unwrap().len();
    assert!(items(&world.command("desk.msging.net", "get", &uri, &Value::Null).await) > 0);
    let edit = json!({"storage_date": "2019-11-08T20:15:59.415Z", "tags": ["velho"]});
    let edited = world.call("PATCH", &format!("/tickets/{new}"), &edit).await.1;
    assert_eq!(edited["tags"], json!(["velho"]));
    assert_eq!(items(&world.command("desk.msging.net", "get", &uri, &Value::Null).await), 0);
    world.stop().await;
}

#[tokio::test]
async fn documents_are_spelled_oddly_when_the_settings_say_so() {
    let world = World::start().await;
    world.lever("PUT", "/settings", &json!({"odd_shapes": true})).await;
    let (_, ticket) = world.open().await;
    let posted: Value = serde_json::from_str(&world.bodies()[0]).unwrap();
    assert_eq!(posted["content"]["sequentialId"], "1");
    assert_eq!(posted["content"]["customerInput"]["value"], "Hello world!");
    let list = world.command("desk.msging.net", "get", "/tickets", &Value::Null).await;
    assert_eq!(list["resource"].get("total"), None);
    assert_eq!(list["resource"]["itemType"], "application/vnd.iris.desk.open-ticket+json");
    assert_eq!(
        (&list["resource"]["items"][0]["id"], &list["resource"]["items"][0]["folderId"]),
        (&json!(ticket), &Value::Null)
    );
    let people = world.command("desk.msging.net", "get", "/attendants", &Value::Null).await;
    assert_eq!(people["resource"]["items"][0]["fullName"], "Maria Souza");
    let created =
        world.command("desk.msging.net", "set", "/tickets", &json!({"customerIdentity": "x@0mn.io"})).await;
    assert_eq!(
        (&created["resource"]["Priority"], &created["resource"]["customerInput"]),
        (&json!(0), &Value::Null)
    );
    world.stop().await;
}

#[tokio::test]
async fn contracts_differ_where_the_settings_say_so() {
    let world = World::start().await;
    let (_, ticket) = world.open().await;
    let settings = json!({"agent_distribution": false, "refuse_closed_by": true, "closed_code": 61});
    world.lever("PUT", "/settings", &settings).await;
    let refused = |answer: Value| assert_eq!(answer["reason"]["code"], 66, "{answer}");
    let agent = "joao.lima%40example.com@blip.ai";
    let desk = "desk.msging.net";
    let uri = format!("/tickets/{ticket}/transfer");
    refused(world.command(desk, "set", &uri, &json!({"team": "Vendas", "agentIdentity": agent})).await);
    refused(
        world
            .command(
                desk,
                "set",
                "/tickets",
                &json!({"customerIdentity": "x@0mn.io", "agentIdentity": agent}),
            )
            .await,
    );
    let mut close = json!({"id": ticket, "status": "ClosedAttendant", "closedBy": agent});
    refused(world.command(desk, "set", "/tickets/change-status", &close).await);
    close.as_object_mut().unwrap().remove("closedBy");
    let again = close.clone();
    assert_eq!(world.command(desk, "set", "/tickets/change-status", &close).await["status"], "success");
    let again = world.command(desk, "set", "/tickets/change-status", &again).await;
    assert_eq!(again["reason"]["code"], 61);
    world.stop().await;
}

#[tokio::test]
async fn each_key_has_a_quota_of_its_own() {
    let world = World::start().await;
    let (_, ticket) = world.open().await;
    world.lever("PUT", "/settings", &json!({"quota": {"commands": 1}})).await;
    let mut codes = Vec::new();
    for key in ["secret", "secret", "cm91dGVyOnJvdXRlcg==", "unknown"] {
        let request = world.client.post(format!("http://{}/commands", world.address));
        let request =
            request.header("authorization", format!("Key {key}")).body(assign("a", &ticket).to_string());
        codes.push(request.send().await.unwrap().status().as_u16());
    }
    assert_eq!(codes, [200, 429, 200, 401]);
    let state = world.lever("GET", "/state", &Value::Null).await;
    let by: Vec<_> = state["requests"].as_array().unwrap().iter().map(|request| &request["by"]).collect();
    assert_eq!(by, ["desk", "desk", "router"]);
    assert_eq!(state["effects"]["a"]["applied"], 1);
    world.stop().await;
}
