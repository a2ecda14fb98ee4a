//! What is read out of ticket documents and addresses, whatever their shape.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::*;
use crate::domain::ticket::TicketStatus;
use crate::lime::Envelope;

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

/// What no real sender calls anything is not told three times over.
#[test]
fn a_name_of_any_length_is_no_name() {
    let long = "x".repeat(8_193);
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

    let document = json!({"id": "t", "team": long, "closedBy": long, "tags": [long], "status": "Open"});
    let ticket = ticket_of(document.as_object().unwrap());
    assert_eq!((ticket.team.as_str(), ticket.closed_by.as_str(), ticket.tags.len()), ("", "", 0));
    assert_eq!(
        (&ticket.more["team"], ticket.more.len()),
        (&json!(long), 3),
        "it is kept where it is told once"
    );
}
