//! Every document of the custom attendance channel, translated: the event it becomes when it is the first thing
//! known of its ticket, and how its content is read. `tests/data/webhooks.jsonl` holds one document a line.

#![expect(clippy::unwrap_used, reason = "helpers of a test crate")]

use std::sync::Arc;

use bytes::Bytes;
use deskgate::domain::translate::event_of;
use deskgate::domain::{ContentKind, Event, Payload, TicketState, place};
use deskgate::lime::Envelope;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

fn documents() -> impl Iterator<Item = Value> {
    include_str!("data/webhooks.jsonl").lines().map(|line| serde_json::from_str(line).unwrap())
}

fn translate(body: &str) -> Event {
    let raw = Bytes::copy_from_slice(body.as_bytes());
    let envelope = Envelope::from_json(&raw).unwrap();
    let new = event_of(Arc::from("suporte"), envelope, raw.clone(), String::new()).event;
    let (event, kept) = place(new, &mut TicketState::default(), Uuid::nil(), Timestamp::UNIX_EPOCH);
    assert_eq!(kept, raw, "the exact body is kept");
    event
}

fn content_kind(payload: &Payload) -> &'static str {
    let (Payload::CustomerMessage { content, .. } | Payload::TicketContext(content)) = payload else {
        return "";
    };
    match content.kind {
        ContentKind::Text(_) => "text",
        ContentKind::Media(_) => "media",
        ContentKind::Location(_) => "location",
        ContentKind::Contact(_) => "contact",
        ContentKind::WebLink(_) => "web_link",
        ContentKind::Menu(_) => "menu",
        ContentKind::Carousel(_) => "carousel",
        ContentKind::List(_) => "list",
        ContentKind::Input(_) => "input",
        ContentKind::Collection(_) => "collection",
        ContentKind::Reply(_) => "reply",
        ContentKind::Reaction(_) => "reaction",
        ContentKind::Sensitive(_) => "sensitive",
        ContentKind::Json(_) => "json",
    }
}

#[test]
fn each_document_becomes_its_event() {
    let mut count = 0;
    for document in documents() {
        let text = |name: &str| document[name].as_str().unwrap().to_owned();
        let event = translate(&text("body"));
        let read = (event.payload.type_name(), content_kind(&event.payload));
        assert_eq!(read, (text("first_event").as_str(), text("content").as_str()), "{}", text("name"));
        count += 1;
    }
    assert!(count >= 40, "only {count} documents");
}

#[test]
fn one_message_forwarded_any_number_of_times_is_one() {
    let key = |name: &str| {
        let document = documents().find(|document| document["name"] == name).unwrap();
        let raw = Bytes::from(document["body"].as_str().unwrap().to_owned());
        event_of(Arc::from("suporte"), Envelope::from_json(&raw).unwrap(), raw, String::new()).event.dedup
    };
    assert!(key("message-text-single-fwd").is_some());
    assert_eq!(key("message-text-single-fwd"), key("message-text-plain-id"));
    assert_ne!(key("message-text-single-fwd"), key("message-text"), "same words, another id");
    assert_ne!(key("message-text-single-fwd"), key("message-location"), "same id, another content");
    assert_eq!(key("message-chatstate-composing"), None, "without an id nothing is a duplicate");
    let tickets = ["ticket-waiting", "ticket-waiting-no-input", "ticket-open"].map(key);
    assert!(tickets[0] != tickets[1] && tickets[1] != tickets[2]);
}

#[test]
fn ids_addresses_and_times_survive() {
    let tunnel = documents().find(|document| document["name"] == "message-text-tunnel-metadata").unwrap();
    let event = translate(tunnel["body"].as_str().unwrap());
    assert_eq!(event.blip_id, "wamid.HBgNNTUzMTkwMDAwMDAwMRUCABIYFDNFQjBDN0Y3MEExMTIyMzM0NDU1AA==");
    assert_eq!(event.ticket_id, "76f5bc38-b476-4895-a0c6-016ed1288ba0");
    assert_eq!(event.resolved_customer_identity, "5531900000001@wa.gw.msging.net");
    assert_eq!(event.event_time.unwrap().as_millisecond(), 1_685_645_059_613);
    assert!(event.flags.ticket_unknown);
}

/// Any JSON, of modest size and depth.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |number| number.is_finite().then(|| Value::from(number))),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(".{0,12}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An envelope-like object: the known members, each with anything in it.
fn envelope_like() -> impl Strategy<Value = Value> {
    let names = ["id", "from", "to", "type", "content", "event", "reason", "metadata", "method", "Content"];
    let types = prop_oneof![
        Just("text/plain"),
        Just("application/vnd.iris.ticket+json"),
        Just("application/vnd.lime.media-link+json"),
        Just("application/vnd.lime.location+json"),
        Just("application/vnd.lime.chatstate+json"),
        Just("application/vnd.lime.redirect+json"),
    ];
    let member = (proptest::sample::select(names.to_vec()), json());
    (proptest::collection::vec(member, 0..8), proptest::option::of(types), any::<bool>()).prop_map(
        |(members, media_type, from_desk)| {
            let mut object: serde_json::Map<_, _> =
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            if let Some(media_type) = media_type {
                object.insert("type".to_owned(), media_type.into());
            }
            if from_desk {
                object.insert("from".to_owned(), "t-1@desk.msging.net/Webhook".into());
            }
            Value::Object(object)
        },
    )
}

proptest! {
    #[test]
    fn any_object_is_an_event_and_keeps_its_id(value in envelope_like()) {
        let event = translate(&value.to_string());
        let id = value["id"].as_str().map(deskgate::lime::canonical_id).unwrap_or_default();
        if !id.is_empty() {
            prop_assert_eq!(&event.blip_id, id);
        }
        prop_assert!(!event.blip_id.is_empty());
        prop_assert_eq!(event.ticket_id.is_empty(), event.ticket_sequence == 0);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::from_json(&bytes);
    }
}
