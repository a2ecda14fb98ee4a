//! Events for the tests of this module's parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::{Content, ContentKind, Event, Fact, Flags, NewEvent, Origin, Payload, Seq, StoredEvent};

fn said(id: &str, text: &str) -> Payload {
    Payload::CustomerMessage {
        message_id: id.to_owned(),
        content: Content {
            media_type: "text/plain".to_owned(),
            kind: ContentKind::Text(text.to_owned()),
            ..Content::default()
        },
        metadata: BTreeMap::new(),
    }
}

/// A customer's message at position `seq`.
pub(super) fn message(seq: u64, ticket_id: &str, text: &str) -> StoredEvent {
    let event = Event {
        id: Uuid::from_u64_pair(1, seq),
        bot: Arc::from("suporte"),
        ticket_id: ticket_id.to_owned(),
        ticket_sequence: seq,
        origin: Origin::Webhook,
        receive_time: Timestamp::UNIX_EPOCH,
        event_time: None,
        blip_id: format!("m-{seq}"),
        flags: Flags::default(),
        traceparent: String::new(),
        customer_identity: "ana@wa.gw.msging.net".to_owned(),
        resolved_customer_identity: String::new(),
        team: "Suporte".to_owned(),
        agent_identity: "bia%40empresa.com@blip.ai".to_owned(),
        payload: said(&format!("m-{seq}"), text),
    };
    StoredEvent { seq: Seq(seq), event, raw: Bytes::from(format!(r#"{{"content":"{text}"}}"#)) }
}

/// The same on its way into a log.
pub(super) fn new_message(ticket_id: &str, text: &str) -> NewEvent {
    NewEvent {
        bot: Arc::from("suporte"),
        ticket_id: Some(ticket_id.to_owned()),
        dedup: None,
        origin: Origin::Webhook,
        event_time: None,
        blip_id: format!("id-{text}"),
        traceparent: String::new(),
        resolved_customer_identity: String::new(),
        fact: Fact::Told(said(&format!("id-{text}"), text)),
        raw: Bytes::from(format!(r#"{{"content":"{text}"}}"#)),
    }
}
