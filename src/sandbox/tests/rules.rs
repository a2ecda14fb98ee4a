//! Blip's rules, on the model alone.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sandbox::commands::execute;
use crate::sandbox::conversation::{Incoming, Outgoing, canonical};
use crate::sandbox::lime::{Command, response};
use crate::sandbox::model::{Account, Desk, NewTicket};

const BOT: &str = "sandbox@msging.net";
pub(super) const ROUTER: &str = "router@msging.net";
const CUSTOMER: &str = "5531999990001@wa.gw.msging.net";
const AGENT: &str = "maria.souza%40example.com@blip.ai";

pub(super) fn now() -> Timestamp {
    "2019-11-08T20:15:59.415Z".parse().unwrap()
}

pub(super) fn desk() -> Desk {
    Desk::new(BOT.into(), ROUTER.into(), 7)
}

fn open(desk: &mut Desk) -> String {
    desk.open(NewTicket { customer_identity: CUSTOMER.into(), ..NewTicket::default() }, now()).id
}

/// Runs a command as it would come over HTTP, and gives the whole response.
fn run(desk: &mut Desk, envelope: &Value) -> Value {
    let command = Command::read(envelope).unwrap();
    let result = execute(desk, Account::Desk, &command, now());
    serde_json::from_slice(&response(&command, BOT, &result, false)).unwrap()
}

pub(super) fn get(desk: &mut Desk, uri: &str) -> Value {
    run(desk, &json!({"id": "g", "to": "postmaster@desk.msging.net", "method": "get", "uri": uri}))
}

pub(super) fn set(desk: &mut Desk, id: &str, uri: &str, resource: &Value) -> Value {
    run(
        desk,
        &json!({"id": id, "to": "postmaster@desk.msging.net", "method": "set", "uri": uri,
                "type": "application/vnd.iris.ticket+json", "resource": resource}),
    )
}

fn change(desk: &mut Desk, id: &str, ticket: &str, status: &str) -> Value {
    let resource = json!({"id": ticket, "status": status, "agentIdentity": AGENT});
    set(desk, id, "/tickets/change-status", &resource)
}

#[test]
fn an_assignment_opens_the_ticket_and_answers_without_resource() {
    let mut desk = desk();
    let id = open(&mut desk);
    let answer = change(&mut desk, "a1", &id, "open");
    assert_eq!(
        answer,
        json!({"method": "set", "status": "success", "id": "a1",
               "from": "postmaster@desk.msging.net/#az-iris2", "to": BOT,
               "metadata": {"#command.uri": "lime://sandbox@msging.net/tickets/change-status"}})
    );
    let ticket = get(&mut desk, &format!("/ticket/{id}"));
    assert_eq!(ticket["resource"]["status"], "Open");
    assert_eq!(ticket["resource"]["agentIdentity"], AGENT);
    assert_eq!(desk.effects.id("a1").status_changes, 1);
}

#[test]
fn a_closed_ticket_answers_64_and_stays_closed() {
    let mut desk = desk();
    let id = open(&mut desk);
    assert_eq!(change(&mut desk, "c1", &id, "ClosedAttendant")["status"], "success");
    for status in ["ClosedAttendant", "ClosedClient", "Open"] {
        let answer = change(&mut desk, "c2", &id, status);
        assert_eq!(answer["status"], "failure");
        assert_eq!(answer["reason"], json!({"code": 64, "description": "Invalid argument"}));
    }
    let transfer = set(&mut desk, "t", &format!("/tickets/{id}/transfer"), &json!({"team": "Vendas"}));
    assert_eq!(transfer["reason"]["code"], 64);
    let tags = set(&mut desk, "g", &format!("/tickets/{id}/change-tags"), &json!({"tags": ["x"]}));
    assert_eq!(tags["reason"]["code"], 64);
    let finish = set(&mut desk, "f", &format!("/tickets/{id}/close"), &json!({}));
    assert_eq!(finish["reason"]["code"], 64);
    assert_eq!(get(&mut desk, &format!("/ticket/{id}"))["resource"]["status"], "ClosedAttendant");
    assert_eq!(desk.effects.id("c2").applied, 0);
}

#[test]
fn only_a_customers_close_can_be_finished_and_only_once() {
    let mut desk = desk();
    let id = open(&mut desk);
    let uri = format!("/tickets/{id}/close");
    assert_eq!(set(&mut desk, "f0", &uri, &json!({}))["reason"]["code"], 66);
    change(&mut desk, "c", &id, "ClosedClient");
    assert_eq!(set(&mut desk, "f1", &uri, &json!({"tags": ["done"]}))["status"], "success");
    assert_eq!(set(&mut desk, "f2", &uri, &json!({}))["reason"]["code"], 64);
    let ticket = &get(&mut desk, &format!("/ticket/{id}"))["resource"];
    assert_eq!((&ticket["tags"], &ticket["closedBy"]), (&json!(["done"]), &json!(BOT)));
}

#[test]
fn a_transfer_makes_a_new_waiting_ticket() {
    let mut desk = desk();
    let id = open(&mut desk);
    change(&mut desk, "a", &id, "Assigned");
    let answer = set(&mut desk, "t1", &format!("/tickets/{id}/transfer"), &json!({"team": "financeiro"}));
    let new = &answer["resource"];
    assert_eq!(answer["type"], "application/vnd.iris.ticket+json");
    assert_ne!(new["id"], json!(id));
    assert_eq!((&new["sequentialId"], &new["parentSequentialId"]), (&json!(2), &json!(1)));
    assert_eq!((&new["status"], &new["team"]), (&json!("Waiting"), &json!("Financeiro")));
    assert_eq!(new["customerIdentity"], CUSTOMER);
    let old = get(&mut desk, &format!("/ticket/{id}"));
    assert_eq!(
        (&old["resource"]["status"], &old["resource"]["closed"]),
        (&json!("Transferred"), &json!(true))
    );
    assert_eq!(desk.effects.id("t1").transfers, 1);
    let nowhere =
        set(&mut desk, "t2", &format!("/tickets/{}/transfer", text(&new["id"])), &json!({"team": "Nope"}));
    assert_eq!(nowhere["reason"]["code"], 67);
}

#[test]
fn unknown_things_fail_with_the_codes_of_blip() {
    let mut desk = desk();
    let id = open(&mut desk);
    assert_eq!(get(&mut desk, &format!("/tickets/{id}"))["reason"]["code"], 62);
    assert_eq!(get(&mut desk, "/nothing/here")["reason"]["code"], 62);
    assert_eq!(get(&mut desk, "/ticket/nobody")["reason"]["code"], 67);
    assert_eq!(change(&mut desk, "x", "nobody", "Open")["reason"]["code"], 67);
    assert_eq!(
        get(&mut desk, "/tickets?$take=101")["reason"],
        json!({"description": "The take parameter can not be greater than 100"})
    );
    assert_eq!(
        get(&mut desk, "/tickets?$filter=status%20eq%20'closed'")["reason"]["description"],
        "Unable to perform operation 'status eq 'closed''"
    );
}

#[test]
fn lists_filter_page_and_count() {
    let mut desk = desk();
    let first = open(&mut desk);
    for _ in 0..4 {
        open(&mut desk);
    }
    change(&mut desk, "o", &first, "Open");
    let waiting = get(&mut desk, "/tickets?$filter=status%20eq%20'waiting'&$skip=1&$take=2");
    assert_eq!((&waiting["resource"]["total"], items(&waiting).len()), (&json!(4), 2));
    let both = format!(
        "/tickets?$filter=customerIdentity%20eq%20'{CUSTOMER}'%20and%20(status%20eq%20'Open'%20or%20status%20eq%20'Assigned')"
    );
    assert_eq!(items(&get(&mut desk, &both)).len(), 1);
    change(&mut desk, "c", &first, "ClosedAttendant");
    assert_eq!(items(&get(&mut desk, "/tickets")).len(), 4);
    let closed =
        format!("/tickets?$filter=(CustomerIdentity%20eq%20'{CUSTOMER}')&$closed=true&$skip=0&$take=100");
    assert_eq!(items(&get(&mut desk, &closed)).len(), 1);
    let none = get(&mut desk, "/tickets?$filter=substringof('xyz',CustomerIdentity)");
    assert_eq!(none["resource"], json!({"itemType": "application/vnd.iris.ticket+json", "items": []}));
    assert_eq!(items(&get(&mut desk, "/tickets?$filter=sequentialId%20ge%204")).len(), 2);
}

#[test]
fn messages_keep_both_directions_under_the_ids_of_blip() {
    let mut desk = desk();
    let id = open(&mut desk);
    let said = Incoming {
        id: Some("m1".into()),
        ticket_id: Some(id.clone()),
        media_type: "text/plain".into(),
        content: json!("oi"),
        metadata: None,
    };
    desk.hear(CUSTOMER, said, now());
    let sent = Outgoing {
        id: Some("a1".into()),
        to: format!("{id}@desk.msging.net/Webhook"),
        media_type: "text/plain".into(),
        content: json!("olá"),
        metadata: None,
    };
    assert!(desk.deliver(&sent, now()).is_some());
    let uri = format!("/tickets/{id}/messages?$take=100&$ascending=true&getFromOwnerIfTunnel=true");
    let list = get(&mut desk, &uri);
    let ids: Vec<_> = items(&list).iter().map(|item| (text(&item["id"]), text(&item["direction"]))).collect();
    assert_eq!(ids, [(id.as_str(), "received"), ("m1", "received"), ("fwd:fwd:a1", "sent")]);
    assert_eq!(items(&list)[2]["metadata"]["#messageEmitter"], "Human");
    change(&mut desk, "c", &id, "ClosedAttendant");
    assert!(desk.deliver(&sent, now()).is_none());
    assert_eq!(desk.effects.id("a1").messages_delivered, 1);
}

#[test]
fn behind_a_router_messages_must_be_asked_for_and_end_with_the_month() {
    let mut desk = desk();
    let customer = "2bdcd8d0@tunnel.msging.net";
    let id = desk.open(NewTicket { customer_identity: customer.into(), ..NewTicket::default() }, now()).id;
    let said = |number: usize, ticket_id: Option<String>| Incoming {
        id: Some(format!("m{number}")),
        ticket_id,
        media_type: "text/plain".into(),
        content: json!("oi"),
        metadata: None,
    };
    for number in 0..150 {
        desk.hear(customer, said(number, (number >= 10).then(|| id.clone())), now());
    }
    let uri = format!("/tickets/{id}/messages?$take=100");
    assert_eq!(items(&get(&mut desk, &uri)).len(), 0);
    let asked = format!("{uri}&getFromOwnerIfTunnel=true");
    let first = get(&mut desk, &asked);
    assert_eq!((items(&first).len(), &first["resource"]["total"]), (100, &json!(151)));
    assert_eq!(items(&first)[0]["id"], "m149");
    assert_eq!(items(&get(&mut desk, &format!("{asked}&$skip=100"))).len(), 51);
    let own = format!("{asked}&attendanceTranscriptionOnly=true&$skip=100");
    assert_eq!(items(&get(&mut desk, &own)).len(), 41);
    assert_eq!(
        items(&get(&mut desk, &format!("/tickets/{id}/messages?getFromOwnerIfTunnel=true"))).len(),
        20
    );
    desk.edit(&id, |ticket| ticket.storage_date = "2019-10-01T00:00:00.000Z".into());
    assert_eq!(items(&get(&mut desk, &asked)).len(), 0);
    let thread =
        json!({"id": "t", "method": "get", "uri": format!("/threads/{customer}?$take=100&direction=asc")});
    let thread = run(&mut desk, &thread);
    assert_eq!((&items(&thread)[0]["id"], &thread["resource"]["total"]), (&json!("m0"), &json!(150)));
    let merged = get(&mut desk, "/tickets/history-merged/2bdcd8d0%40tunnel.msging.net");
    assert_eq!(items(&merged)[0]["id"], json!(id));
}

#[test]
fn an_assigned_ticket_opens_when_the_message_is_read() {
    let mut desk = desk();
    let id = open(&mut desk);
    change(&mut desk, "a", &id, "Assigned");
    desk.notified("fwd:fwd:m1", &format!("{id}@desk.msging.net/Webhook"), "consumed", now());
    assert_eq!(get(&mut desk, &format!("/ticket/{id}"))["resource"]["status"], "Open");
}

#[test]
fn a_ping_and_the_directory_answer() {
    let mut desk = desk();
    let ping =
        run(&mut desk, &json!({"id": "p", "to": "postmaster@msging.net", "method": "get", "uri": "/ping"}));
    assert_eq!((&ping["type"], &ping["resource"]), (&json!("application/vnd.lime.ping+json"), &json!({})));
    assert_eq!(ping["from"], "postmaster@msging.net/#az-iris2");
    assert_eq!(items(&get(&mut desk, "/attendants?$take=2")).len(), 2);
    assert_eq!(
        items(&get(&mut desk, "/teams/agents-online"))[0],
        json!({"name": "Default", "agentsOnline": 2})
    );
    let created = set(&mut desk, "n", "/tickets", &json!({"customerIdentity": "x@0mn.io"}));
    assert_eq!(created["resource"]["customerInput"], json!({}));
    assert_eq!(get(&mut desk, "/tags/active")["status"], "success");
}

#[test]
fn ids_lose_every_forward_prefix() {
    for id in ["m", "fwd:m", "fwd:fwd:m", "FWD: fwd:  m "] {
        assert_eq!(canonical(id), "m");
    }
}

pub(super) fn items(answer: &Value) -> &Vec<Value> {
    answer["resource"]["items"].as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
