//! What is read out of ticket documents and addresses, whatever their shape.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::*;
use crate::domain::event::{Fact, Payload};
use crate::domain::ticket::{Change, Ticket, TicketState, TicketStatus};
use crate::lime::{Envelope, document};

#[test]
fn who_is_behind_a_tunnel_is_an_identity() {
    let resolved = |originator: Value| {
        let metadata = json!({"#tunnel.originator": originator});
        let body = json!({"from": "t@desk.msging.net", "metadata": metadata, "event": "received"});
        let raw = Bytes::from(body.to_string());
        let told = event_of(Arc::from("suporte"), Envelope::from_json(&raw).unwrap(), raw, String::new());
        told.event.resolved_customer_identity
    };
    for node in [
        "5531@wa.gw.msging.net",
        "5531@wa.gw.msging.net/default",
        "5531%40wa.gw.msging.net",
        "5531%40wa.gw.msging.net%2F!iris-hosted-4",
        "demobot%40msging.net@tunnel.msging.net/5531%40wa.gw.msging.net",
    ] {
        assert_eq!(resolved(node.into()), "5531@wa.gw.msging.net", "{node}");
    }
    assert_eq!((resolved("".into()), resolved(Value::Null)), (String::new(), String::new()));
    let ticket = json!({"routingCustomerIdentity": "5531@wa.gw.msging.net/x"});
    let routed = ticket_of(ticket.as_object().unwrap()).routing_customer_identity;
    assert_eq!(routed, "5531@wa.gw.msging.net");
}

#[test]
fn any_status_is_taken_and_no_number_guessed() {
    use TicketStatus::{ClosedClientInactivity, Open, Unrecognized, Unspecified};
    for (status, expected, word) in [
        (json!("open"), Open, "open"),
        (json!(" CLOSEDCLIENTINACTIVITY "), ClosedClientInactivity, " CLOSEDCLIENTINACTIVITY "),
        (json!("OnHold"), Unrecognized, "OnHold"),
        (json!("None"), Unspecified, "None"),
        (json!(3), Unrecognized, "3"),
        (json!(true), Unrecognized, "true"),
        (json!(""), Unspecified, ""),
        (Value::Null, Unspecified, ""),
    ] {
        let document = json!({"id": "t", "status": status});
        let ticket = ticket_of(document.as_object().unwrap());
        assert_eq!((ticket.status, ticket.blip_status.as_str()), (expected, word), "{status}");
        assert!(ticket.more.is_empty());
    }
    let odd = json!({"id": "t", "status": ["Open"], "sequentialId": {"n": 1}, "tags": "x"});
    let ticket = ticket_of(odd.as_object().unwrap());
    assert_eq!((ticket.status, ticket.sequential_id), (Unspecified, None));
    assert_eq!(ticket.more.len(), 3, "what does not fit is kept as it came");
    let missing = ticket_of(&Map::new());
    assert_eq!((missing.status, missing.id.as_str()), (Unspecified, ""));
}

fn told(body: &Value) -> Translated {
    let raw = Bytes::from(body.to_string());
    event_of(Arc::from("suporte"), Envelope::from_json(&raw).unwrap(), raw, String::new())
}

fn ticket_in(members: &Value) -> Ticket {
    ticket_of(members.as_object().unwrap())
}

#[test]
fn a_ticket_happened_when_its_status_did() {
    let dates = json!({
        "id": "t",
        "storageDate": "2024-05-02T10:00:00Z",
        "openDate": "2024-05-02T11:00:00Z",
        "closeDate": "2024-05-02T12:00:00Z",
        "statusDate": "2024-05-02T13:00:00Z",
    });
    let happened = |status: &str, without: &[&str], metadata: Value| {
        let mut content = dates.clone();
        content["status"] = status.into();
        content.as_object_mut().unwrap().retain(|name, _| !without.contains(&name.as_str()));
        let body = json!({"from": "t@desk.msging.net", "type": document::TICKET, "content": content,
            "metadata": metadata});
        told(&body).event.event_time.map(|at| at.to_string()).unwrap_or_default()
    };
    let none = || json!({});
    for status in ["Waiting", "Open", "ClosedClient", "Unknown"] {
        assert_eq!(happened(status, &[], none()), "2024-05-02T13:00:00Z");
    }
    let undated = ["statusDate"];
    assert_eq!(happened("Transferred", &undated, none()), "2024-05-02T12:00:00Z");
    assert_eq!(happened("Open", &undated, none()), "2024-05-02T11:00:00Z");
    assert_eq!(happened("Waiting", &undated, none()), "2024-05-02T10:00:00Z");
    assert_eq!(happened("Assigned", &undated, none()), "");
    let created_only = ["statusDate", "closeDate", "openDate"];
    assert_eq!(happened("ClosedClient", &created_only, none()), "", "it was not closed when it was created");
    let posted = json!({"#envelope.timestamp": "1714654800123"});
    assert_eq!(happened("ClosedClient", &created_only, posted), "2024-05-02T13:00:00.123Z");
}

#[test]
fn every_member_of_a_ticket_is_kept() {
    let more = |members: Value| Value::Object(ticket_in(&members).more);
    assert_eq!(more(json!({"priority": 3_000_000_000_u64})), json!({"priority": 3_000_000_000_u64}));
    let input = json!({"type": "text/plain", "value": "a", "x": 1});
    let ticket = ticket_in(&json!({"CustomerInput": input}));
    assert_eq!(Value::Object(ticket.more), json!({"customerInput": {"x": 1}}));
    assert!(ticket.customer_input.is_some());
    for odd in [json!({"x": 1}), json!({"type": ["text/plain"], "value": "a"}), json!("a")] {
        let ticket = ticket_in(&json!({"customerInput": odd}));
        assert_eq!(
            (ticket.customer_input, Value::Object(ticket.more)),
            (None, json!({"customerInput": odd}))
        );
    }
    assert_eq!(ticket_in(&json!({"customerInput": {}})), Ticket::default());
    for (text, behind) in [("5531@wa.gw.msging.net/x", "5531@wa.gw.msging.net"), ("@", "")] {
        let ticket = ticket_in(&json!({"routingCustomerIdentity": text}));
        assert_eq!(ticket.routing_customer_identity, behind);
        assert_eq!(Value::Object(ticket.more), json!({"routingCustomerIdentity": text}));
    }
}

#[test]
fn a_list_without_labels_takes_them_away() {
    let mut state = TicketState::default();
    state.apply(&ticket_in(&json!({"id": "t", "status": "Open", "tags": ["a"]})));
    assert_eq!(state.apply(&ticket_in(&json!({"id": "t", "status": "Open"}))), Change::Updated(vec![]));
    let without = ticket_in(&json!({"id": "t", "status": "Open", "tags": []}));
    assert_eq!(state.apply(&without), Change::Updated(vec!["tags"]));
    assert_eq!(state.ticket.as_ref().unwrap().tags, Vec::<String>::new());
    assert_eq!(state.apply(&without), Change::Updated(vec![]));
    let mut first = TicketState::default();
    first.apply(&without);
    assert_eq!(first.ticket, state.ticket, "it is the same ticket however it lost them");
}

#[test]
fn what_is_too_long_for_its_place_is_kept_beside_it() {
    let long = "x".repeat(5_000);
    let ticket = ticket_in(&json!({"team": long, "status": long, "tags": [long, long, long, long]}));
    assert_eq!((ticket.team.len(), ticket.blip_status.len(), ticket.tags.len()), (0, 0, 0));
    assert_eq!(ticket.more.len(), 3);
    let input = json!({"type": "text/plain", "value": "x".repeat(70_000)});
    let ticket = ticket_in(&json!({"customerInput": input}));
    assert!(ticket.customer_input.is_none() && ticket.more.get("customerInput") == Some(&input));
}

#[test]
fn dates_that_no_client_can_print_are_kept_as_text() {
    for odd in ["0000-12-31T23:59:59Z", "-000001-01-01T00:00:00Z", "0001-01-01T00:00:00+03:00"] {
        let ticket = ticket_in(&json!({"statusDate": odd}));
        assert_eq!((ticket.status_time, ticket.more.get("statusDate")), (None, Some(&Value::from(odd))));
    }
    assert!(ticket_in(&json!({"statusDate": "0001-01-01T00:00:00Z"})).status_time.is_some());
    let body = json!({"from": "t@desk.msging.net", "type": "text/plain", "content": "oi",
        "metadata": {"#envelope.timestamp": "-99999999999999", "#wa.timestamp": "-99999999999"}});
    assert_eq!(told(&body).event.event_time, None);
}

#[test]
fn a_tickets_envelope_names_it_too() {
    let named = |id: &str, from: &str, content: Value| {
        let body = json!({"id": id, "from": from, "type": document::TICKET, "content": content});
        let Translated { event, suspicion, .. } = told(&body);
        (event.ticket_id.unwrap_or_default(), suspicion == Some(Suspicion::TicketIdsDiffer))
    };
    let is = |id: &str, differ: bool| (id.to_owned(), differ);
    assert_eq!(named("Ticket:A:Waiting", "A@desk.msging.net", json!({"id": "A"})), is("A", false));
    assert_eq!(named("fwd:ticket:B:Waiting", "A@desk.msging.net", json!({"id": "A"})), is("A", true));
    assert_eq!(named("Ticket:B:Waiting", "A@desk.msging.net", json!({})), is("A", true));
    assert_eq!(named("Ticket:B:Waiting", "postmaster@desk.msging.net", json!({})), is("B", false));
    assert_eq!(named("Ticket:B:Waiting", "postmaster@desk.msging.net", json!({"id": "A"})), is("A", true));
    for id in ["Ticket:B", "Ticket::Waiting", "B"] {
        assert_eq!(named(id, "postmaster@desk.msging.net", json!({})), is("", false), "{id}");
    }
    let message =
        json!({"id": "Ticket:B:x", "from": "A@desk.msging.net", "type": "text/plain", "content": "oi"});
    assert_eq!(told(&message).suspicion, None, "a message may have any id");
}

#[test]
fn whatsapps_own_typing_is_typing() {
    let typing = |content: Value| {
        let body = json!({"from": "t@desk.msging.net", "type": "application/json", "content": content});
        match told(&body).event.fact {
            Fact::Told(Payload::CustomerTyping { state }) => state,
            Fact::Told(payload) => payload.type_name().to_owned(),
            Fact::Ticket(_) | Fact::Tags(_) => String::new(),
        }
    };
    assert_eq!(typing(json!({"messaging_product": "whatsapp", "typing_indicator": {}})), "composing");
    let with_words = json!({"messaging_product": "whatsapp", "typing_indicator": {}, "text": {"body": "oi"}});
    assert_eq!(typing(with_words), "message.customer");
    assert_eq!(typing(json!({"typing_indicator": {}})), "message.customer");
}

#[test]
fn a_reason_is_kept_and_told_apart_whatever_it_is() {
    let read = |reason: Option<Value>| {
        let mut body = json!({"id": "m", "from": "t@desk.msging.net", "event": "failed"});
        if let Some(reason) = reason {
            body["reason"] = reason;
        }
        let event = told(&body).event;
        let Fact::Told(Payload::MessageStatusChanged { reason_code, reason_description, .. }) = event.fact
        else {
            panic!("no status")
        };
        (event.dedup, reason_code, reason_description)
    };
    let reason = |value| {
        let (_, code, description) = read(Some(value));
        (code, description)
    };
    assert_eq!(reason(json!({"code": "42", "description": "gone"})), (42, "gone".to_owned()));
    assert_eq!(reason(json!("gone")), (0, "gone".to_owned()));
    assert_eq!(reason(json!(42)), (42, String::new()));
    assert_eq!(reason(json!(["gone"])), (0, r#"["gone"]"#.to_owned()));
    let keys = [
        None,
        Some(json!("a")),
        Some(json!("b")),
        Some(json!({"code": 1})),
        Some(json!({"code": 1, "x": 2})),
    ];
    let keys: Vec<_> = keys.into_iter().map(|reason| read(reason).0.unwrap()).collect();
    let different: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len(), "other reasons are other events");
    assert_eq!(read(Some(json!({"Code": "1"}))).0, Some(keys[3]), "as it always was");
}

/// What no real sender calls anything is not told three times over.
#[test]
fn a_name_of_any_length_is_no_name() {
    let long = "x".repeat(4_097);
    let told = |body: Value| {
        let raw = Bytes::from(body.to_string());
        event_of(Arc::from("suporte"), Envelope::from_json(&raw).unwrap(), raw, String::new()).event
    };
    let message = |id: &str, from: &str| {
        let metadata = json!({"traceparent": long, "#tunnel.originator": format!("{long}@b")});
        json!({"id": id, "from": from, "type": "text/plain", "content": "oi", "metadata": metadata})
    };
    let event = told(message(&long, "t@desk.msging.net"));
    assert_eq!((event.blip_id.as_str(), event.traceparent.as_str()), ("", ""));
    assert_eq!(event.resolved_customer_identity, "");
    assert!(event.dedup.is_some(), "a repetition is recognised all the same");
    assert_ne!(event.dedup, told(message(&format!("{long}y"), "t@desk.msging.net")).dedup);
    assert_eq!(told(message(&long[1..], "t@desk.msging.net")).blip_id, long[1..]);
    assert_eq!(told(message("m", &format!("{long}@desk.msging.net"))).ticket_id, None);

    let document = json!({"id": "t", "team": long, "closedBy": long, "tags": [long, long, long, long, long], "status": "Open"});
    let ticket = ticket_of(document.as_object().unwrap());
    assert_eq!((ticket.team.as_str(), ticket.closed_by.as_str(), ticket.tags.len()), ("", "", 0));
    assert_eq!(
        (&ticket.more["team"], ticket.more.len()),
        (&json!(long), 3),
        "it is kept where it is told once"
    );
}
