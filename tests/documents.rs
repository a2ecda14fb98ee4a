//! Every document of the custom attendance channel, translated: the event it becomes when it is the first thing
//! known of its ticket, and how its content is read. `tests/data/webhooks.jsonl` holds one document a line.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of a test crate")]

use std::sync::Arc;

use bytes::Bytes;
use deskgate::domain::translate::{content_document, content_of, event_of};
use deskgate::domain::{ContentKind, Event, Payload, TicketState, place};
use deskgate::lime::{Envelope, MediaType, text_of};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value};
use uuid::Uuid;

#[path = "fuzz/lossless.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets are another crate")]
mod lossless;

#[path = "fuzz/types.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets are another crate")]
mod types;

use lossless::plain;
use types::MEDIA_TYPES;

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

/// The name by which the JSON parser tells itself of numbers.
const SECRET: &str = "$serde_json::private::Number";

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
            proptest::collection::btree_map(
                prop_oneof![6 => ".{0,12}", 1 => Just(SECRET.to_owned())],
                inner,
                0..6
            )
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

#[test]
fn each_content_is_written_back_as_it_came() {
    let mut count = 0;
    for document in documents() {
        let body = document["body"].as_str().unwrap();
        let (Payload::CustomerMessage { content, .. } | Payload::TicketContext(content)) =
            translate(body).payload
        else {
            continue;
        };
        let original: Value = serde_json::from_str(body).unwrap();
        let original = original.get("content").or(original.get("Content")).unwrap_or(&Value::Null);
        if matches!(content.kind, ContentKind::Json(_)) {
            assert_eq!(&content_document(&content), original, "{}", document["name"]);
            continue;
        }
        assert_eq!(plain(&content_document(&content)), plain(original), "{}", document["name"]);
        count += 1;
    }
    assert!(count >= 10, "only {count} typed documents");
}

/// Any JSON, with many of the members that documents have.
fn document_like() -> impl Strategy<Value = Value> {
    let names = "uri type title text size target latitude longitude name phoneNumber options order value scope \
                 header label items itemType validation rule regex replied inReplyTo id direction emoji values \
                 inReactionTo icon";
    let names: Vec<_> = names.split_whitespace().collect();
    let leaf = prop_oneof![
        2 => json(),
        1 => (0..70_000_u32).prop_map(Value::from),
        1 => "[a-z]{1,8}".prop_map(Value::from),
        2 => proptest::sample::select(MEDIA_TYPES.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 8, move |inner| {
        let name = proptest::sample::select(names.clone());
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => proptest::collection::vec((name, inner), 0..8)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

/// Changes one value of a document: the steps choose the way down.
fn mutate(value: &mut Value, steps: &[usize], new: &Value) {
    let count =
        value.as_object().map(Map::len).or_else(|| value.as_array().map(Vec::len)).unwrap_or_default();
    match (steps, value) {
        ([step, rest @ ..], Value::Object(object)) if count > 0 => {
            mutate(object.values_mut().nth(step % count).unwrap(), rest, new);
        }
        ([step, rest @ ..], Value::Array(items)) if count > 0 => mutate(&mut items[step % count], rest, new),
        (_, Value::Object(object)) if new.is_object() => {
            object.extend(new.as_object().unwrap().clone());
        }
        (_, value) => *value = new.clone(),
    }
}

/// A document that fits its type, changed in a few places; or any JSON, as any type.
fn content_like() -> impl Strategy<Value = (String, Value)> {
    let samples: Vec<(String, Value)> = include_str!("data/content.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|sample| (sample["type"].as_str().unwrap().to_owned(), sample["document"].clone()))
        .collect();
    let change = (proptest::collection::vec(any::<usize>(), 0..6), document_like());
    let changed = (proptest::sample::select(samples), proptest::collection::vec(change, 0..3)).prop_map(
        |((media_type, mut document), changes)| {
            for (steps, new) in changes {
                mutate(&mut document, &steps, &new);
            }
            (media_type, document)
        },
    );
    let any_type = proptest::sample::select(MEDIA_TYPES.to_vec()).prop_map(str::to_owned);
    prop_oneof![3 => changed, 1 => (any_type, document_like())]
}

proptest! {
    #[test]
    fn any_content_is_written_back_as_it_came((media_type, value) in content_like()) {
        let content = content_of(&MediaType::new(&media_type), value.clone());
        let written = content_document(&content);
        if let ContentKind::Json(read) = content.kind {
            prop_assert_eq!(&read, &value);
        } else if let ContentKind::Text(_) = content.kind {
            prop_assert_eq!(written, Value::from(text_of(&value)));
        } else {
            prop_assert_eq!(plain(&written), plain(&value), "{} {}", media_type, value);
        }
    }

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
