//! Agents, teams, tags, replies, contacts and tunnels, and what a router's key sees of them.

use serde_json::{Value, json};

use crate::sandbox::commands::execute;
use crate::sandbox::lime::{Command, response};
use crate::sandbox::model::{Account, Desk, TUNNEL};
use crate::sandbox::tests::rules::{ROUTER, desk, get, items, now, set};

fn as_account(desk: &mut Desk, by: Account, to: &str, method: &str, uri: &str, resource: &Value) -> Value {
    let envelope = json!({"id": "e", "to": format!("postmaster@{to}"), "method": method, "uri": uri,
                          "resource": resource});
    let command = Command::read(&envelope).unwrap();
    let result = execute(desk, by, &command, now());
    serde_json::from_slice(&response(&command, ROUTER, &result, false)).unwrap()
}

#[test]
fn a_router_sees_customers_and_no_desk() {
    let mut desk = desk();
    let identity = format!("2bdcd8d0@{TUNNEL}");
    desk.ensure_customer(&identity, Some("Ana"), None);
    let mut ask = |by, to: &str, uri: &str| as_account(&mut desk, by, to, "get", uri, &Value::Null);
    for uri in ["/tickets", "/ticket/1", "/attendants", "/rules", "/teams"] {
        assert_eq!(ask(Account::Router, "desk.msging.net", uri)["reason"]["code"], 67, "{uri}");
    }
    let tunnel = ask(Account::Router, TUNNEL, "/tunnels/2bdcd8d0");
    assert_eq!(tunnel["type"], "application/vnd.iris.tunnel+json");
    let originator = tunnel["resource"]["originator"].as_str().unwrap().to_owned();
    assert_eq!(
        (&tunnel["resource"]["owner"], &tunnel["resource"]["destination"]),
        (&json!(ROUTER), &json!("sandbox@msging.net"))
    );
    assert_eq!(ask(Account::Desk, TUNNEL, "/tunnels/2bdcd8d0")["reason"]["code"], 67);
    assert_eq!(ask(Account::Router, TUNNEL, "/tunnels/nobody")["reason"]["code"], 67);
    let real = ask(Account::Router, "crm.msging.net", &format!("/contacts/{originator}"));
    assert_eq!(
        (&real["resource"]["identity"], &real["resource"]["name"]),
        (&json!(originator), &json!("Ana"))
    );
    let seen = ask(Account::Desk, "crm.msging.net", &format!("/contacts/{identity}"));
    assert_eq!(seen["resource"]["extras"]["tunnel.originator"], json!(originator));
    assert_eq!(
        ask(Account::Desk, "crm.msging.net", &format!("/contacts/{originator}"))["reason"]["code"],
        67
    );
    assert_eq!(ask(Account::Router, "msging.net", "/ping")["status"], "success");
}

#[test]
fn merging_a_contact_keeps_what_setting_it_erases() {
    let mut desk = desk();
    let contact = "/contacts/5531900000001@wa.gw.msging.net";
    let mut act = |method: &str, uri: &str, resource: &Value| {
        as_account(&mut desk, Account::Desk, "crm.msging.net", method, uri, resource)
    };
    let first =
        json!({"identity": "5531900000001@wa.gw.msging.net", "name": "Ana", "extras": {"plan": "Gold"}});
    assert_eq!(act("merge", "/contacts", &first)["status"], "success");
    let second = json!({"identity": "5531900000001@wa.gw.msging.net", "city": "BH", "extras": {"age": "30"}});
    act("merge", "/contacts", &second);
    let known = act("get", contact, &Value::Null);
    assert_eq!((&known["resource"]["name"], &known["resource"]["city"]), (&json!("Ana"), &json!("BH")));
    assert_eq!(known["resource"]["extras"], json!({"plan": "Gold", "age": "30"}));
    act("set", "/contacts", &second);
    let known = act("get", contact, &Value::Null);
    assert_eq!(
        (&known["resource"]["name"], &known["resource"]["extras"]),
        (&Value::Null, &json!({"age": "30"}))
    );
    assert_eq!(act("merge", "/contacts", &json!({"name": "x"}))["reason"]["code"], 25);
    assert_eq!(act("get", "/contacts/x@y", &Value::Null)["reason"]["code"], 67);
}

#[test]
fn attendants_come_twenty_at_a_time_in_the_order_asked() {
    let mut desk = desk();
    let many: Vec<_> = (0..130)
        .map(|number| json!({"identity": format!("agent{number:03}%40example.com@blip.ai"), "teams": ["Vendas"]}))
        .collect();
    let collection =
        json!({"total": 130, "itemType": "application/vnd.iris.desk.attendant+json", "items": many});
    assert_eq!(set(&mut desk, "s", "/attendants", &collection)["status"], "success");
    assert_eq!(desk.effects.id("s").applied, 1);
    let page = get(&mut desk, "/attendants");
    assert_eq!((items(&page).len(), &page["resource"]["total"]), (20, &json!(133)));
    let (mut seen, mut skip) = (Vec::new(), 0);
    loop {
        let page = get(&mut desk, &format!("/attendants?$skip={skip}&$take=100&$ascending=true"));
        let count = items(&page).len();
        seen.extend(items(&page).iter().map(|item| item["fullname"].as_str().unwrap().to_lowercase()));
        skip += count;
        if count < 100 {
            break;
        }
    }
    assert_eq!(seen.len(), 133);
    assert!(seen.is_sorted());
    let gone = "/attendants/agent000%2540example.com@blip.ai";
    let mut delete = || as_account(&mut desk, Account::Desk, "desk.msging.net", "delete", gone, &Value::Null);
    assert_eq!(delete()["status"], "success");
    assert_eq!(delete()["reason"]["code"], 67);
}

#[test]
fn replies_are_written_read_and_removed_by_category() {
    let mut desk = desk();
    let categories = get(&mut desk, "/replies");
    let names: Vec<_> = items(&categories).iter().map(|item| item["category"].as_str().unwrap()).collect();
    assert_eq!(names, ["greetings", "billing"]);
    let reply = json!({"items": [{"name": "Bye", "document": "Até logo", "type": "text/plain", "id": "r1"}]});
    assert_eq!(set(&mut desk, "r", "/replies/farewell", &reply)["status"], "success");
    assert_eq!(
        items(&get(&mut desk, "/replies/farewell")),
        &[
            json!({"id": "r1", "category": "farewell", "name": "Bye", "document": "Até logo", "type": "text/plain",
                 "isDynamicContent": false})
        ]
    );
    assert_eq!(items(&get(&mut desk, "/replies/Greetings")).len(), 2);
    assert_eq!(get(&mut desk, "/replies/nothing")["resource"].get("total"), None);
    let mut delete = || {
        as_account(&mut desk, Account::Desk, "desk.msging.net", "delete", "/replies/farewell", &Value::Null)
    };
    assert_eq!(delete()["status"], "success");
    assert_eq!(delete()["reason"]["code"], 67);
}

#[test]
fn what_agents_attend_is_counted() {
    let mut desk = desk();
    let created = set(&mut desk, "n", "/tickets", &json!({"customerIdentity": "x@0mn.io"}));
    let id = created["resource"]["id"].as_str().unwrap().to_owned();
    let agent = "maria.souza%40example.com@blip.ai";
    set(
        &mut desk,
        "a",
        "/tickets/change-status",
        &json!({"id": id, "status": "Open", "agentIdentity": agent}),
    );
    let page = get(&mut desk, "/attendants");
    let maria = items(&page).iter().find(|item| item["identity"] == agent).unwrap();
    assert_eq!(
        (&maria["ticketsInService"], &maria["lastServiceDate"]),
        (&json!(1), &json!("2019-11-08T20:15:59.415Z"))
    );
    set(&mut desk, "t", &format!("/tickets/{id}/change-tags"), &json!({"id": id, "tags": ["novo"]}));
    let tags = get(&mut desk, "/tags/active");
    assert!(items(&tags).contains(&json!({"name": "novo", "closedTickets": 0, "ticketsCount": 1})));
}

#[test]
fn rules_and_queues_come_back_in_the_shapes_blip_has_for_them() {
    let mut desk = desk();
    let rule = json!({"id": "R1", "title": "City Rule", "team": "Default", "isActive": true});
    assert_eq!(set(&mut desk, "r", "/rules", &rule)["status"], "success");
    assert_eq!(get(&mut desk, "/rules/r1")["resource"]["ownerIdentity"], "sandbox@msging.net");
    set(&mut desk, "p", "/priority-rules", &json!({"id": "p1", "urgency": 1000}));
    let answer = get(&mut desk, "/priority-rules/p1");
    assert_eq!(answer["type"], "application/vnd.iris.desk.rule+json");
    for id in ["q1", "q2"] {
        set(&mut desk, "q", "/attendance-queues", &json!({"id": id, "name": id, "Priority": 0}));
    }
    let one = get(&mut desk, "/attendance-queues/q1");
    assert_eq!((items(&one).len(), &items(&one)[0]["Priority"]), (2, &json!(0)));
    let mut delete =
        || as_account(&mut desk, Account::Desk, "desk.msging.net", "delete", "/rules/R1", &Value::Null);
    assert_eq!(delete()["status"], "success");
    assert_eq!(delete()["reason"]["code"], 67);
}

#[test]
fn the_numbers_of_the_day_follow_from_the_tickets() {
    let mut desk = desk();
    for _ in 0..3 {
        let new = json!({"customerIdentity": "x@0mn.io", "team": "Vendas"});
        set(&mut desk, "n", "/tickets", &new);
    }
    let id = desk.tickets()[0].id.clone();
    let agent = "maria.souza%40example.com@blip.ai";
    set(
        &mut desk,
        "a",
        "/tickets/change-status",
        &json!({"id": id, "status": "Open", "agentIdentity": agent}),
    );
    let waiting = get(&mut desk, "/monitoring/waiting-tickets?version=2");
    assert_eq!((items(&waiting).len(), &items(&waiting)[0]["queueTime"]), (2, &json!("00:00:00")));
    assert_eq!(waiting["resource"]["itemType"], "application/vnd.iris.desk.open-ticket-summary+json");
    let open = get(&mut desk, "/monitoring/open-tickets?version=2");
    assert_eq!(items(&open)[0]["agentIdentity"], agent);
    let sums = get(&mut desk, "/monitoring/tickets?version=2");
    assert_eq!((&sums["resource"]["waiting"], &sums["resource"]["open"]), (&json!(2), &json!(1)));
    let teams = get(&mut desk, "/monitoring/teams?version=2");
    let sales = items(&teams).iter().find(|team| team["name"] == "Vendas").unwrap();
    assert_eq!((&sales["waitingTickets"], &sales["openedTickets"]), (&json!(2), &json!(1)));
    assert_eq!(items(&get(&mut desk, "/monitoring/attendants?version=2"))[0]["openedTickets"], 1);
}
