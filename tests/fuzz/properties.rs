//! What must hold of any input, whoever sent it. The fuzz targets call these functions with whatever they come upon,
//! `tests/corpus.rs` with the committed inputs. Each panics where a promise is broken.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use deskgate::domain::action::agent_identity_of;
use deskgate::domain::translate::{
    Step, Translated, content_document, content_of, event_of, get_ticket, reading, steps_of,
};
use deskgate::domain::{
    Action, ContentKind, Event, Flags, Metadata, NewEvent, Origin, OutboundMessage, Payload, Seq,
    StoredEvent, TicketState, canonical_ticket_id, place,
};
use deskgate::grpc::{inspect, pb};
use deskgate::lime::node::{decode_component, encode_component};
use deskgate::lime::{Body, Envelope, Identity, MediaType, Members, Node, canonical_id, json, text_of};
use deskgate::store::record::{self, VERSION};
use deskgate::store::{Cursor, LogId};
use jiff::Timestamp;
use pb::content::Kind;
use pb::subscribe_response::Message as Told;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use uuid::Uuid;

pub mod choices;
pub mod lossless;
pub mod types;

use choices::Choices;
use lossless::plain;

/// What every client library takes in one message unless it is told otherwise.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The longest text that is taken for an id.
const NAME_BYTES_MAX: usize = 4_096;
/// How deep the parser follows JSON.
const JSON_LEVELS_MAX: usize = 127;
/// An event's id, and a command's.
const ID: Uuid = Uuid::from_bytes([7; 16]);
/// The log that events are told of.
const LOG: LogId = LogId([7; 8]);

/// The bytes are the body of a webhook: an object is an event that keeps its id and its exact body, comes back from the
/// store as it was, and can be read by every client; anything else is refused, for the quarantine.
pub fn envelope(body: &[u8]) {
    let raw = Bytes::copy_from_slice(body);
    let Ok(envelope) = Envelope::from_json(&raw) else {
        assert!(!is_object(body), "an object went to quarantine");
        return;
    };
    let Translated { event: new, .. } =
        event_of(Arc::from("suporte"), envelope.clone(), raw.clone(), String::new());
    let again = event_of(Arc::from("suporte"), envelope, raw.clone(), String::new()).event;
    assert_eq!(new, again, "one body, two events");
    assert_eq!(new.raw, raw, "the exact body is kept");
    let read = Envelope::read(body).unwrap();
    let id = Members(read.as_object().unwrap()).text("id").ok().flatten().unwrap_or_default();
    let id = canonical_id(&id);
    assert_eq!(new.dedup.is_none(), id.is_empty(), "what has an id is recognised by it");
    assert_eq!(new.blip_id, if id.len() <= NAME_BYTES_MAX { id } else { "" }, "the id is lost");
    let prepared = record::prepare(&new).unwrap();
    let (event, kept) = place(new, &mut TicketState::default(), ID, Timestamp::UNIX_EPOCH);
    assert_eq!(kept, raw, "the exact body is kept");
    assert_eq!(event.ticket_id.is_empty(), event.ticket_sequence == 0);
    if let Payload::Unknown { json, .. } = &event.payload {
        assert_eq!(json, &read, "what is not understood is told whole");
    }
    if let Some(prepared) = prepared {
        let mut record = Vec::new();
        record::encode_prepared(&event, &prepared, &mut record).unwrap();
        assert_eq!(record::decode_event(VERSION, &record, &raw).unwrap(), event, "written in two pieces");
    }
    reaches_every_client(event, raw);
}

/// Whether a body is one JSON object, by a parser that keeps nothing.
fn is_object(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    std::str::from_utf8(body).is_ok_and(|text| {
        text.trim_ascii_start().starts_with('{')
            && serde_json::from_str::<IgnoredAny>(text).is_ok()
            && levels(text) <= JSON_LEVELS_MAX
    })
}

/// How deep JSON nests.
fn levels(json: &str) -> usize {
    let (mut level, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                level += 1;
                deepest = deepest.max(level);
            }
            b'}' | b']' if !in_text => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// An event comes back from the store as it was, and from the wire in every client's hands.
fn reaches_every_client(event: Event, raw: Bytes) {
    let mut record = Vec::new();
    record::encode_event(&event, &mut record).unwrap();
    assert_eq!(
        record::decode_event(VERSION, &record, &raw).unwrap(),
        event,
        "the record tells another event"
    );
    let stored = StoredEvent { seq: Seq(7), event, raw };
    let bytes = inspect::event(&stored, LOG);
    can_be_read("deskgate.v1.SubscribeResponse", &bytes);
    let Some(Told::Event(told)) = pb::SubscribeResponse::decode(&*bytes).unwrap().message else {
        panic!("not an event")
    };
    assert_eq!(told.raw_json, String::from_utf8_lossy(&stored.raw), "the exact body is told");
    assert_eq!(told.event_id, ID.to_string());
    assert_eq!(told.cursor, Cursor { log: LOG, seq: Seq(7) }.to_string());
    let id = if stored.event.flags.synthetic_id { "" } else { &stored.event.blip_id };
    assert_eq!((told.blip_id.as_str(), &told.ticket_id), (id, &stored.event.ticket_id));
    assert_eq!(told.r#type, stored.event.payload.type_name());
    assert!(told.payload.is_some());
}

/// Every client library decodes a message and shows it as JSON: it is not too long, not too deep (`prost` and
/// `prost-reflect` follow 100 levels, as most do), and has no number that Protocol Buffers' JSON has no word for.
fn can_be_read(name: &str, bytes: &[u8]) {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).unwrap());
    assert!(bytes.len() <= MESSAGE_BYTES_MAX, "{} bytes", bytes.len());
    let message = DynamicMessage::decode(pool.get_message_by_name(name).unwrap(), bytes).unwrap();
    assert_eq!(message.unknown_fields().count(), 0);
    let shown = serde_json::to_string(&message).unwrap();
    assert!(levels(&shown) <= JSON_LEVELS_MAX, "no parser reads JSON so deep");
}

/// The bytes are a type, a line feed and a document. Where there is no such document, one is made of them: typical
/// members in odd places. Its reading loses nothing, and what is written of it reads the same.
pub fn content(bytes: &[u8]) {
    let (first, rest) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or_default());
    let (media_type, document) = match json::from_slice(rest) {
        Ok(document) => (String::from_utf8_lossy(first).into_owned(), document),
        Err(_) => Choices::new(bytes).content(),
    };
    let media_type = MediaType::new(&media_type);
    let content = content_of(&media_type, document.clone());
    assert_eq!(content.media_type, media_type.as_str());
    let written = content_document(&content);
    match &content.kind {
        ContentKind::Json(read) => assert_eq!(read, &document),
        ContentKind::Text(_) => assert_eq!(written, text_of(&document)),
        ContentKind::Media(_)
        | ContentKind::Location(_)
        | ContentKind::Contact(_)
        | ContentKind::WebLink(_)
        | ContentKind::Menu(_)
        | ContentKind::Carousel(_)
        | ContentKind::List(_)
        | ContentKind::Input(_)
        | ContentKind::Collection(_)
        | ContentKind::Reply(_)
        | ContentKind::Reaction(_)
        | ContentKind::Sensitive(_) => {
            assert_eq!(plain(&written), plain(&document), "{written}\nwas {document}");
        }
    }
    assert_eq!(content_of(&media_type, written.clone()), content, "{written}");
    let payload = Payload::CustomerMessage {
        message_id: String::new(),
        content: content.clone(),
        metadata: Metadata::default(),
    };
    reaches_every_client(event_with(payload), Bytes::new());
    can_be_read("deskgate.v1.Content", &inspect::content(&content).encode_to_vec());
}

fn event_with(payload: Payload) -> Event {
    Event {
        id: ID,
        bot: Arc::from("suporte"),
        ticket_id: "t".to_owned(),
        ticket_sequence: 1,
        origin: Origin::Webhook,
        receive_time: Timestamp::UNIX_EPOCH,
        event_time: None,
        blip_id: "m".to_owned(),
        flags: Flags::default(),
        traceparent: String::new(),
        customer_identity: String::new(),
        resolved_customer_identity: String::new(),
        team: String::new(),
        agent_identity: String::new(),
        payload,
    }
}

/// The bytes are a `SendRequest`; where they are none, they choose a document, whose reading is to be sent. If it is accepted, what goes to Blip is a message for the ticket with the same id,
/// type, document and metadata, and the inbound side reads what the caller meant out of it.
pub fn proto_to_lime(bytes: &[u8]) {
    let request = pb::SendRequest::decode(bytes).unwrap_or_else(|_| {
        let (media_type, document) = Choices::new(bytes).content();
        let content = Some(inspect::content(&reading(&media_type, document)));
        pb::SendRequest { ticket_id: "t".to_owned(), content, ..pb::SendRequest::default() }
    });
    let kind = request.content.as_ref().and_then(|content| content.kind.as_ref());
    let typed = kind.filter(|kind| !matches!(kind, Kind::Json(_))).map(discriminant);
    let metadata = request.metadata.clone();
    let asked = match inspect::send(request) {
        Ok(asked) => asked,
        Err(faults) => {
            assert!(faults.iter().all(|(field, why)| !field.is_empty() && !why.is_empty()), "{faults:?}");
            return;
        }
    };
    let steps = steps_of("id-1", &asked.ticket_id, &asked.action);
    let Action::Send(message) = asked.action else { panic!("another action") };
    let OutboundMessage { content, document, .. } = *message;
    let [Step::Message(json)] = steps.as_slice() else { panic!("not one message") };
    assert!(is_object(json));
    let envelope = Envelope::from_json(json).unwrap();
    assert_eq!(envelope.id.as_deref(), Some("id-1"));
    let to = envelope.to.unwrap();
    assert_eq!(to.to_string(), format!("{}@desk.msging.net/Webhook", asked.ticket_id));
    assert_eq!((to.identity.name, to.identity.domain.as_str()), (asked.ticket_id, "desk.msging.net"));
    let kept: BTreeMap<_, _> =
        envelope.metadata.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    assert_eq!(kept, metadata, "metadata is passed on");
    let Body::Message(sent) = envelope.body else { panic!("no message: {:?}", envelope.body) };
    assert_eq!((sent.media_type.as_str(), &sent.content), (content.media_type.as_str(), &document));
    assert_eq!(reading(&content.media_type, sent.content), content, "it would come back as something else");
    if let Some(meant) = typed {
        let told = inspect::content(&content).kind.unwrap();
        assert_eq!(discriminant(&told), meant, "it was meant as another kind: {told:?}");
    }
    let payload = Payload::AgentMessage {
        message_id: "id-1".to_owned(),
        content,
        agent_identity: String::new(),
        command_id: "id-1".to_owned(),
    };
    reaches_every_client(event_with(payload), Bytes::new());
}

/// The bytes are a text that stands for an address, an id, or a component of a URI. Reading and showing one undo each
/// other, one layer of encoding is one layer, and no text breaks out of its place in a URI.
pub fn node(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let text = text.as_ref();
    if let Some(node) = Node::parse(text) {
        let shown = node.to_string();
        let again = Node::parse(&shown).unwrap();
        assert_eq!((&again, again.to_string()), (&node, shown), "shown and read");
        assert!(!node.identity.name.contains('@') && !node.identity.domain.contains('/'));
    } else {
        assert!(matches!(text.trim(), "" | "@"));
    }
    let encoded = encode_component(text);
    assert!(
        encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)),
        "{encoded}"
    );
    assert_eq!(decode_component(&encoded), text);
    if let Some(named) = Identity::named(text) {
        assert!(!named.domain.contains('/'), "{named}");
    }
    let uri = get_ticket("id-1", text).uri.0;
    assert_eq!(uri, format!("/ticket/{encoded}"), "one component of a path");

    let agent = agent_identity_of(text);
    assert_eq!(agent_identity_of(&agent), agent, "an identity stays as it is");
    let ticket_id = canonical_ticket_id(text);
    assert_eq!(canonical_ticket_id(&ticket_id), ticket_id);
    let id = canonical_id(text);
    assert_eq!(canonical_id(id), id);
    assert!(text.contains(id));

    let names_ticket = addressed(text).ticket_id;
    let at_desk = Node::parse(text).filter(|node| node.identity.is_at("desk.msging.net"));
    let expected = at_desk.map(|node| canonical_ticket_id(&node.identity.name));
    let expected = expected.filter(|name| {
        (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.eq_ignore_ascii_case("postmaster")
    });
    assert_eq!(names_ticket, expected, "a desk node stands for its ticket");
    let nested = format!("{encoded}@desk.msging.net/Webhook");
    let usable = (1..=NAME_BYTES_MAX).contains(&encoded.len()) && !encoded.eq_ignore_ascii_case("postmaster");
    assert_eq!(addressed(&nested).ticket_id, usable.then(|| canonical_ticket_id(&encoded)));
}

/// A message from an address.
fn addressed(from: &str) -> NewEvent {
    let members = [("from", from), ("type", "text/plain"), ("content", "oi")];
    let body: Map<String, Value> =
        members.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
    let raw = Bytes::from(Value::Object(body).to_string());
    let envelope = Envelope::from_json(&raw).unwrap();
    event_of(Arc::from("suporte"), envelope, raw, String::new()).event
}
