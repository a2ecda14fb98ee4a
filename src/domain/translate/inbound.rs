//! What Blip posted, as an event.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::suspicion::{Stray, Suspicion};
use super::ticket::happened;
pub(super) use super::ticket::ticket_of;
use super::{DESK, TEXT_BYTES_MAX, content_of};
use crate::domain::content::MEDIA_TYPE_BYTES_MAX;
use crate::domain::event::{DedupKey, Fact, MessageStatus, NewEvent, Origin, Payload};
use crate::domain::ticket::{Ticket, canonical_ticket_id};
use crate::lime::document::{self, Members, is_of_our_era, parse_date};
use crate::lime::{
    Body, Envelope, Identity, MediaType, Message, Metadata, Node, Notification, Reason, canonical_id, text_of,
};

/// A new event, and what an operator should be told about how it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Translated {
    /// The event.
    pub event: NewEvent,
    /// Set where the envelope looks like a mistake in the setup.
    pub suspicion: Option<Suspicion>,
    /// The bot that a ticket's document says it belongs to; empty where none says.
    pub owner_identity: String,
}

/// Turns an envelope into an event of `bot`, keeping `raw` as it came. An id, an address or a type that is too long to
/// be one is taken as none: it is in `raw`.
pub fn event_of(bot: Arc<str>, envelope: Envelope, raw: Bytes, traceparent: String) -> Translated {
    let Envelope { id, from, to, mut metadata, body } = envelope;
    let posted = time_of(&metadata);
    let short = |key| metadata.get(key).filter(|text| text.len() <= TEXT_BYTES_MAX);
    let originator = short("#tunnel.originator").map(customer_named).unwrap_or_default();
    let traceparent = if traceparent.is_empty() {
        short("traceparent").unwrap_or_default().to_owned()
    } else {
        traceparent
    };
    let whole_id = id.as_deref().map(canonical_id).unwrap_or_default();
    let blip_id = name_of(whole_id).to_owned();
    let from_desk = from.as_ref().and_then(desk_ticket);
    let foreign = from.as_ref().is_some_and(|from| !from.identity.is_at(DESK));
    let (about, suspicion) = match body {
        Body::Notification(notification) => {
            let ticket_id = from_desk.or_else(|| to.as_ref().and_then(desk_ticket));
            (About::notification(notification, ticket_id, &blip_id), None)
        }
        Body::Message(message) if !foreign => {
            let about = About::message(message, from_desk.clone(), &blip_id, &mut metadata, &raw);
            let named = ticket_named(&blip_id).filter(|_| matches!(about.fact, Fact::Ticket(_)));
            let differ = [&from_desk, &named].into_iter().any(|id| id.is_some() && *id != about.ticket_id);
            (about, differ.then_some(Suspicion::TicketIdsDiffer))
        }
        Body::Message(message) => {
            let parsed = digest_of(message.media_type.essence(), &message.content);
            (
                About::unknown(&message.media_type, &raw, "message", parsed),
                Some(Suspicion::NotFromDesk(Stray::Message)),
            )
        }
        Body::Other(object) => {
            let media_type = Members(&object).text("type").ok().flatten().unwrap_or_default();
            let media_type = type_of(&MediaType::new(&media_type));
            let suspicion = Stray::of(&object, foreign, from.is_none()).map(Suspicion::NotFromDesk);
            let json = Value::Object(object);
            let parsed = digest_of("", &json);
            let payload = Payload::Unknown { media_type, json };
            (About::told(from_desk, payload, "other", parsed), suspicion)
        }
    };
    let About { ticket_id, fact, kind, parsed } = about;
    let dedup = (!whole_id.is_empty())
        .then(|| dedup_key(&bot, ticket_id.as_deref().unwrap_or_default(), kind, whole_id, &parsed));
    let event_time = match &fact {
        Fact::Ticket(ticket) => happened(ticket).or(posted),
        Fact::Tags(_) | Fact::Told(_) => posted,
    };
    let owner_identity = match &fact {
        Fact::Ticket(ticket) => Members(&ticket.more).text("ownerIdentity").ok().flatten(),
        Fact::Tags(_) | Fact::Told(_) => None,
    };
    let event = NewEvent {
        bot,
        ticket_id,
        dedup,
        origin: Origin::Webhook,
        event_time,
        blip_id,
        traceparent,
        resolved_customer_identity: originator,
        order_uncertain: false,
        fact,
        raw,
    };
    Translated { event, suspicion, owner_identity: owner_identity.unwrap_or_default() }
}

/// The id that an envelope came with, as it stands in its body.
pub fn envelope_id(raw: &[u8]) -> Option<String> {
    Envelope::from_json(raw).ok()?.id
}

/// A digest of an envelope's own part, once parsed.
type Digest32 = [u8; 32];

/// What an envelope is about: the parts that differ by kind.
struct About {
    ticket_id: Option<String>,
    fact: Fact,
    kind: &'static str,
    /// What, beside the ids, makes two deliveries one.
    parsed: Digest32,
}

impl About {
    fn told(ticket_id: Option<String>, payload: Payload, kind: &'static str, parsed: Digest32) -> Self {
        Self { ticket_id, fact: Fact::Told(payload), kind, parsed }
    }

    fn unknown(media_type: &MediaType, raw: &Bytes, kind: &'static str, parsed: Digest32) -> Self {
        let json = Envelope::read(raw).unwrap_or_default();
        Self::told(None, Payload::Unknown { media_type: type_of(media_type), json }, kind, parsed)
    }

    fn notification(notification: Notification, ticket_id: Option<String>, blip_id: &str) -> Self {
        let Notification { event, reason } = notification;
        let whole = !Reason::is_all_of(&reason);
        let Reason { code, description } = Reason::from_value(&reason).unwrap_or_default();
        let mut told = vec![code.into(), description.clone().into()];
        // What the two do not tell makes a difference too.
        told.extend(whole.then_some(reason));
        let parsed = digest_of(&event.to_ascii_lowercase(), &Value::Array(told));
        let payload = Payload::MessageStatusChanged {
            message_id: blip_id.to_owned(),
            status: MessageStatus::from_blip(&event),
            reason_code: code.unwrap_or_default(),
            reason_description: description,
            blip_status: if event.len() <= TEXT_BYTES_MAX { event } else { String::new() },
        };
        Self::told(ticket_id, payload, "notification", parsed)
    }

    fn message(
        message: Message,
        from_desk: Option<String>,
        blip_id: &str,
        metadata: &mut Metadata,
        raw: &Bytes,
    ) -> Self {
        let Message { media_type, content } = message;
        let parsed = match unsigned(&media_type, &content) {
            Some(same) => digest_of(media_type.essence(), &same),
            None => digest_of(media_type.essence(), &content),
        };
        let kind = "message";
        if let Some(ticket) = ticket_in(&media_type, &content) {
            let told = (!ticket.id.is_empty()).then(|| canonical_ticket_id(&ticket.id));
            let ticket_id = told.or(from_desk).or_else(|| ticket_named(blip_id));
            if let Some(ticket_id) = ticket_id {
                let ticket = Ticket { id: ticket_id.clone(), ..ticket };
                return Self { ticket_id: Some(ticket_id), fact: Fact::Ticket(ticket), kind, parsed };
            }
            return Self::unknown(&media_type, raw, kind, parsed);
        }
        let Some(ticket_id) = from_desk else {
            return Self::unknown(&media_type, raw, kind, parsed);
        };
        let message_id = blip_id.to_owned();
        let payload = if media_type.essence() == document::CHAT_STATE {
            let state = content.as_object().and_then(|object| Members(object).text("state").ok().flatten());
            Payload::CustomerTyping { state: state.unwrap_or_else(|| text_of(&content)) }
        } else if is_typing(&media_type, &content) {
            Payload::CustomerTyping { state: "composing".to_owned() }
        } else if media_type.essence() == document::DELETED {
            Payload::MessageDeleted { message_id }
        } else if blip_id.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("context:")) {
            Payload::TicketContext(content_of(&media_type, content))
        } else {
            let content = content_of(&media_type, content);
            Payload::CustomerMessage { message_id, content, metadata: std::mem::take(metadata) }
        };
        Self::told(Some(ticket_id), payload, kind, parsed)
    }
}

/// A file's link without its signature, which Blip makes anew each time it shows the message (R§6); `None` for all that
/// has none.
fn unsigned(media_type: &MediaType, content: &Value) -> Option<Value> {
    let link = content.as_object().filter(|_| media_type.essence() == document::MEDIA_LINK)?;
    let bare = |value: &Value| {
        let (bare, query) = value.as_str()?.split_once('?')?;
        let signed = query.split('&').any(|part| part.starts_with("sig="));
        signed.then(|| Value::from(bare))
    };
    let mut same = link.clone();
    let mut changed = false;
    for (name, value) in &mut same {
        if ["uri", "previewuri"].contains(&name.to_ascii_lowercase().as_str())
            && let Some(bare) = bare(value)
        {
            *value = bare;
            changed = true;
        }
    }
    changed.then_some(Value::Object(same))
}

/// A name, an address or an id; nothing where it is too long to be one.
fn name_of(text: &str) -> &str {
    if text.len() <= TEXT_BYTES_MAX { text } else { "" }
}

/// The customer that a node names, as an identity.
pub(super) fn customer_named(node: &str) -> String {
    Identity::named(name_of(node)).map(String::from).unwrap_or_default()
}

/// The type of what is kept as it came.
fn type_of(media_type: &MediaType) -> String {
    Some(media_type.as_str()).filter(|text| text.len() <= MEDIA_TYPE_BYTES_MAX).unwrap_or_default().to_owned()
}

/// The ticket a desk node stands for.
fn desk_ticket(node: &Node) -> Option<String> {
    let named = node.identity.is_at(DESK) && !name_of(&node.identity.name).is_empty();
    (named && !node.identity.name.eq_ignore_ascii_case("postmaster"))
        .then(|| canonical_ticket_id(&node.identity.name))
}

/// The ticket in the id of a ticket's own envelope, `Ticket:{id}:{status}`.
fn ticket_named(blip_id: &str) -> Option<String> {
    let (head, rest) = blip_id.split_at_checked("Ticket:".len())?;
    let (id, _) = rest.rsplit_once(':')?;
    (head.eq_ignore_ascii_case("Ticket:") && !id.is_empty()).then(|| canonical_ticket_id(id))
}

/// Whether content is the form in which `WhatsApp` itself says that somebody types; with anything else beside it, it
/// is a message.
fn is_typing(media_type: &MediaType, content: &Value) -> bool {
    let Value::Object(object) = content else { return false };
    media_type.essence() == "application/json"
        && object.len() == 2
        && object.contains_key("messaging_product")
        && object.get("typing_indicator").is_some_and(Value::is_object)
}

/// The ticket document a message carries, itself or as the context of a redirect.
fn ticket_in(media_type: &MediaType, content: &Value) -> Option<Ticket> {
    let object = content.as_object()?;
    match media_type.essence() {
        document::TICKET => Some(ticket_of(object)),
        document::REDIRECT => {
            let container = Members(Members(object).get("context")?.as_object()?);
            let inner = MediaType::new(&container.text("type").ok().flatten()?);
            let value = container.get("value").and_then(Value::as_object);
            value.filter(|_| inner.essence() == document::TICKET).map(ticket_of)
        }
        _ => None,
    }
}

/// When a message was made, from the metadata that tells, the most exact first.
fn time_of(metadata: &Metadata) -> Option<Timestamp> {
    let number = |key: &str| metadata.get(key).and_then(|text| text.trim().parse::<i64>().ok());
    let millis = |key| number(key).and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let seconds = |key| number(key).and_then(|seconds| Timestamp::from_second(seconds).ok());
    millis("#envelope.timestamp")
        .filter(is_of_our_era)
        .or_else(|| millis("date_created").filter(is_of_our_era))
        .or_else(|| metadata.get("#envelope.storageDate").and_then(parse_date))
        .or_else(|| seconds("#wa.timestamp").filter(is_of_our_era))
}

/// The digest of what makes two deliveries one; metadata is left out, members sort by name.
fn dedup_key(bot: &str, ticket_id: &str, kind: &str, blip_id: &str, parsed: &Digest32) -> DedupKey {
    let mut hash = Sha256::new();
    for part in [bot, ticket_id, kind, blip_id] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.update(parsed);
    let digest: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    DedupKey(half)
}

/// The digest of a type, or an event's name, and what belongs to it. A JSON value always serializes, and its objects
/// are ordered maps: equal values give equal text.
fn digest_of(name: &str, value: &Value) -> Digest32 {
    let mut hash = Sha256::new();
    hash.update(u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(name);
    match value {
        Value::String(text) => {
            hash.update([1]);
            hash.update(text);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            hash.update([0]);
            hash.update(value.to_string());
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(from: &str, media_type: &str, content: &Value) -> Translated {
        let body = serde_json::json!({"id": "1", "from": from, "type": media_type, "content": content});
        let raw = Bytes::from(body.to_string());
        event_of(Arc::from("suporte"), Envelope::from_json(&raw).unwrap(), raw, String::new())
    }

    #[test]
    fn desk_speaks_under_other_names_too() {
        let document = serde_json::json!({"id": "t", "status": "Open"});
        let told = translated("postmaster@desk.msging.net/#az-1", document::TICKET, &document);
        assert_eq!((told.event.ticket_id.as_deref(), told.suspicion), (Some("t"), None));
        assert!(matches!(told.event.fact, Fact::Ticket(_)));
        let told = translated("postmaster@desk.msging.net", document::TEXT, &"oi".into());
        assert_eq!((told.event.ticket_id, told.suspicion), (None, None));
        assert!(matches!(told.event.fact, Fact::Told(Payload::Unknown { .. })));
        let told = translated("postmaster@msging.net", document::TICKET, &document);
        assert_eq!(told.suspicion, Some(Suspicion::NotFromDesk(Stray::Message)));
    }
}
