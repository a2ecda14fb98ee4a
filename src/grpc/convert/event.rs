//! Events, outward.

use super::{View, content, ticket, timestamp, value};
use crate::domain::{
    Event, Flags, MessageStatus, Origin, Payload, SettledAs, StoredEvent, Successor, Ticket,
};
use crate::grpc::pb;
use crate::store::{Cursor, LogId};

/// An event of the log `log` as readers see it through `view`.
pub(in crate::grpc) fn to_pb(stored: &StoredEvent, log: LogId, view: View) -> pb::Event {
    let StoredEvent { seq, event, raw } = stored;
    let Event {
        id,
        bot,
        ticket_id,
        ticket_sequence,
        origin,
        receive_time,
        event_time,
        blip_id,
        flags,
        traceparent,
        customer_identity,
        resolved_customer_identity,
        team,
        agent_identity,
        payload,
    } = event;
    let raw_json = match view {
        View::Raw => String::from_utf8_lossy(raw).into_owned(),
        View::Envelope | View::Full => String::new(),
    };
    pb::Event {
        event_id: id.to_string(),
        cursor: Cursor { log, seq: *seq }.to_string(),
        r#type: payload.type_name().to_owned(),
        bot: bot.as_ref().to_owned(),
        ticket_id: ticket_id.clone(),
        ticket_sequence: *ticket_sequence,
        origin: origin_to_pb(*origin).into(),
        receive_time: Some(timestamp(*receive_time)),
        event_time: event_time.map(timestamp),
        blip_id: if flags.synthetic_id { String::new() } else { blip_id.clone() },
        flags: flags_to_pb(*flags),
        traceparent: traceparent.clone(),
        customer_identity: customer_identity.clone(),
        resolved_customer_identity: resolved_customer_identity.clone(),
        team: team.clone(),
        agent_identity: agent_identity.clone(),
        payload: (view != View::Envelope).then(|| payload_to_pb(payload, bot)),
        raw_json,
    }
}

fn origin_to_pb(origin: Origin) -> pb::EventOrigin {
    match origin {
        Origin::Webhook => pb::EventOrigin::Webhook,
        Origin::Command => pb::EventOrigin::Command,
        Origin::Reconciliation => pb::EventOrigin::Reconciliation,
        Origin::Gateway => pb::EventOrigin::Gateway,
    }
}

fn flags_to_pb(flags: Flags) -> Option<pb::EventFlags> {
    let Flags { order_uncertain, ticket_unknown, after_close, synthetic_id } = flags;
    let any = flags != Flags::default();
    any.then_some(pb::EventFlags { order_uncertain, ticket_unknown, after_close, synthetic_id })
}

fn payload_to_pb(payload: &Payload, bot: &str) -> pb::event::Payload {
    use pb::event::Payload as To;
    match payload {
        Payload::TicketCreated(document) => {
            To::TicketCreated(pb::TicketCreated { ticket: Some(ticket::to_pb(document, bot)) })
        }
        Payload::TicketAssigned(document) => {
            To::TicketAssigned(pb::TicketAssigned { ticket: Some(ticket::to_pb(document, bot)) })
        }
        Payload::TicketTransferred(document) => To::TicketTransferred(transferred(document, bot)),
        Payload::TicketClosed(document) => To::TicketClosed(closed(document, bot)),
        Payload::TicketUpdated { ticket: document, changed_fields } => To::TicketUpdated(pb::TicketUpdated {
            ticket: Some(ticket::to_pb(document, bot)),
            changed_fields: changed_fields.clone(),
        }),
        Payload::CustomerMessage { message_id, content: said, metadata } => {
            To::CustomerMessage(pb::CustomerMessage {
                message_id: message_id.clone(),
                content: Some(content::to_pb(said)),
                metadata: metadata.iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect(),
            })
        }
        Payload::AgentMessage { message_id, content: said, agent_identity, command_id } => {
            To::AgentMessage(pb::AgentMessage {
                message_id: message_id.clone(),
                content: Some(content::to_pb(said)),
                agent_identity: agent_identity.clone(),
                command_id: command_id.clone(),
            })
        }
        Payload::MessageStatusChanged {
            message_id,
            status,
            reason_code,
            reason_description,
            blip_status,
        } => To::MessageStatusChanged(pb::MessageStatusChanged {
            message_id: message_id.clone(),
            status: status_to_pb(*status).into(),
            reason_code: i32::try_from(*reason_code).unwrap_or(i32::MAX),
            reason_description: reason_description.clone(),
            blip_status: blip_status.clone(),
        }),
        Payload::MessageDeleted { message_id } => {
            To::MessageDeleted(pb::MessageDeleted { message_id: message_id.clone() })
        }
        Payload::CustomerTyping { state } => To::CustomerTyping(pb::CustomerTyping { state: state.clone() }),
        Payload::TicketContext(said) => {
            To::TicketContext(pb::TicketContext { content: Some(content::to_pb(said)) })
        }
        Payload::CommandSettled { command_id, method, end, error_reason, request_id } => {
            To::CommandSettled(pb::CommandSettled {
                command_id: command_id.clone(),
                method: method.clone(),
                state: settled_to_pb(*end).into(),
                error_reason: error_reason.clone(),
                request_id: request_id.clone(),
            })
        }
        Payload::GatewayAlert { reason, description, details } => To::GatewayAlert(pb::GatewayAlert {
            reason: reason.clone(),
            description: description.clone(),
            details: value::struct_to_pb(details),
        }),
        Payload::Unknown { media_type, json } => {
            To::Unknown(pb::UnknownEvent { media_type: media_type.clone(), json: Some(value::to_pb(json)) })
        }
    }
}

fn closed(document: &Ticket, bot: &str) -> pb::TicketClosed {
    pb::TicketClosed {
        ticket: Some(ticket::to_pb(document, bot)),
        closed_by: document.closed_by.clone(),
        tags: document.tags.clone(),
    }
}

fn transferred(document: &Ticket, bot: &str) -> pb::TicketTransferred {
    let Successor { ticket_id, team, agent_identity } = document.successor.clone().unwrap_or_default();
    pb::TicketTransferred {
        ticket: Some(ticket::to_pb(document, bot)),
        new_ticket_id: ticket_id,
        to_team: team,
        to_agent_identity: agent_identity,
    }
}

fn settled_to_pb(end: SettledAs) -> pb::CommandState {
    match end {
        SettledAs::Succeeded => pb::CommandState::Succeeded,
        SettledAs::Failed => pb::CommandState::Failed,
        SettledAs::Unknown => pb::CommandState::OutcomeUnknown,
    }
}

/// How far a message has come, as readers see it.
pub(super) fn status_to_pb(status: MessageStatus) -> pb::MessageStatus {
    match status {
        MessageStatus::Accepted => pb::MessageStatus::Accepted,
        MessageStatus::Dispatched => pb::MessageStatus::Dispatched,
        MessageStatus::Received => pb::MessageStatus::Received,
        MessageStatus::Consumed => pb::MessageStatus::Consumed,
        MessageStatus::Failed => pb::MessageStatus::Failed,
        MessageStatus::Unrecognized => pb::MessageStatus::Unrecognized,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;
    use prost::Message as _;
    use serde_json::{Map, Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::domain::translate::event_of;
    use crate::domain::{Seq, TicketState, place};
    use crate::grpc::sample;
    use crate::lime::Envelope;
    use crate::lime::document::{COLLECTION, TICKET};

    #[test]
    fn views_leave_out_what_they_promise() {
        let log = LogId([7; 8]);
        let stored = sample::message(1, "t-1", "Olá");
        let full = to_pb(&stored, log, View::Full);
        assert_eq!(full.r#type, "message.customer");
        assert_eq!(full.raw_json, "");
        assert!(full.flags.is_none() && full.payload.is_some());
        let envelope = to_pb(&stored, log, View::Envelope);
        assert_eq!(envelope, pb::Event { payload: None, ..full.clone() });
        let raw = to_pb(&stored, log, View::Raw);
        assert_eq!(raw, pb::Event { raw_json: r#"{"content":"Olá"}"#.to_owned(), ..full.clone() });
        assert_eq!(Cursor::parse(&full.cursor).unwrap(), Cursor { log, seq: stored.seq });
    }

    /// The events of one ticket, as clients get them, and how large the largest is.
    fn largest(bodies: &[Value]) -> usize {
        let mut state = TicketState::default();
        let sizes = bodies.iter().map(|body| {
            let raw = Bytes::from(body.to_string());
            assert!(raw.len() <= BODY_BYTES_MAX, "no body that would be taken");
            let envelope = Envelope::from_json(&raw).unwrap();
            let new = event_of("suporte".into(), envelope, raw, String::new()).event;
            let (event, raw) = place(new, &mut state, Uuid::nil(), Timestamp::UNIX_EPOCH);
            to_pb(&StoredEvent { seq: Seq(1), event, raw }, LogId([7; 8]), View::Raw).encoded_len()
        });
        sizes.max().unwrap()
    }

    /// The largest that `webhook.body_limit` can be.
    const BODY_BYTES_MAX: usize = 1536 << 10;

    #[test]
    fn no_body_makes_an_event_that_clients_refuse() {
        let room = 1_572_000;
        let long = "x".repeat(room);
        let zeros = |bytes: usize| Value::Array(vec![0.into(); bytes / 2]);
        let from = "t@desk.msging.net/Webhook";
        let ticket = |content: Value| json!({"from": from, "type": TICKET, "content": content});
        let text = |members: Value| {
            let mut body = json!({"from": from, "type": "text/plain", "content": "oi"});
            body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            body
        };
        let mut bodies: Vec<Value> =
            ["id", "status", "team", "agentIdentity", "customerIdentity", "closedBy", "x"]
                .iter()
                .map(|name| ticket(json!({ *name: long })))
                .collect();
        let members: Map<_, _> = (0..150_000).map(|n| (format!("{n:x}"), Value::from(0))).collect();
        bodies.extend([
            ticket(json!({"tags": vec!["xxxxxxx"; room / 10], "status": "ClosedClient"})),
            ticket(json!({"customerInput": {"type": "application/json", "value": zeros(room)}})),
            ticket(Value::Object(members)),
            text(json!({"id": long})),
            text(json!({"from": format!("{long}@desk.msging.net")})),
            json!({"from": format!("{long}@desk.msging.net"), "type": TICKET, "content": {}}),
            json!({"from": "someone@0mn.io", "type": long, "content": "oi"}),
            json!({"type": long, "method": "get"}),
            text(json!({"metadata": {"#tunnel.originator": long}})),
            text(json!({"metadata": {"traceparent": long}})),
            text(json!({"content": long})),
            text(json!({"type": COLLECTION, "content": {"itemType": "application/json",
                "items": vec![zeros(room / 900); 890]}})),
            text(json!({"type": "application/json", "content": zeros(180_000), "metadata": {"x": "x".repeat(1_390_000)}})),
            json!({"from": from, "event": long}),
            json!({"from": from, "event": "failed", "reason": {"description": long}}),
        ]);
        for body in bodies {
            let bytes = largest(std::slice::from_ref(&body));
            assert!(bytes <= 4 << 20, "{bytes} bytes of {}", &body.to_string()[..120]);
        }
        let many: Vec<_> = (0..5).map(|n| ticket(json!({ format!("x{n}"): "x".repeat(900_000) }))).collect();
        assert!(largest(&many) <= 4 << 20, "{}", largest(&many));
        let texts = ["team", "agentIdentity", "customerIdentity", "closedBy", "externalId"];
        let many: Vec<_> = texts.iter().map(|name| ticket(json!({ *name: "x".repeat(900_000) }))).collect();
        assert!(largest(&many) <= 4 << 20, "{}", largest(&many));
    }

    #[test]
    fn an_id_of_ours_is_not_told_as_blips() {
        let mut stored = sample::message(1, "t-1", "Olá");
        stored.event.flags.synthetic_id = true;
        let event = to_pb(&stored, LogId([7; 8]), View::Full);
        assert_eq!(event.blip_id, "");
        assert!(event.flags.unwrap().synthetic_id);
    }
}
