//! From the domain to the stored form, borrowing.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{
    Foreign, Members, Text, Time, V1Content, V1End, V1Event, V1Fault, V1Flags, V1MessageStatus, V1Origin,
    V1Outcome, V1Payload, V1Returned, V1SettledAs, V1Successor, V1Ticket, V1TicketStatus,
};
use crate::domain::{
    Event, Fact, Fault, Flags, MessageStatus, Metadata, NewEvent, Origin, Outcome, Payload, Returned,
    SettledAs, Successor, Ticket, TicketStatus,
};
use crate::store::End;

pub(super) fn text(from: &str) -> Text<'_> {
    Cow::Borrowed(from)
}

impl<'a> From<&'a Event> for V1Event<'a> {
    fn from(event: &'a Event) -> Self {
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
        Self {
            id: Cow::Owned(id.to_string()),
            bot: text(bot),
            ticket: text(ticket_id),
            ticket_sequence: *ticket_sequence,
            origin: (*origin).into(),
            received: Time(*receive_time),
            happened: event_time.map(Time),
            blip_id: text(blip_id),
            flags: (*flags).into(),
            traceparent: text(traceparent),
            customer: text(customer_identity),
            resolved_customer: text(resolved_customer_identity),
            team: text(team),
            agent: text(agent_identity),
            what: payload.into(),
        }
    }
}

/// The members of [`V1Event`] that are known before the event has its place.
#[derive(Serialize)]
pub(in crate::store::record) struct V1Told<'a> {
    bot: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    ticket: Text<'a>,
    origin: V1Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    happened: Option<Time>,
    #[serde(skip_serializing_if = "str::is_empty")]
    blip_id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    traceparent: Text<'a>,
    what: V1Payload<'a>,
}

impl<'a> V1Told<'a> {
    /// `None` where what is told depends on what was known.
    pub(in crate::store::record) fn of(new: &'a NewEvent) -> Option<Self> {
        let NewEvent {
            bot,
            ticket_id,
            dedup: _,
            origin,
            event_time,
            blip_id,
            traceparent,
            resolved_customer_identity: _,
            order_uncertain: _,
            fact,
            raw,
        } = new;
        let Fact::Told(payload) = fact else { return None };
        Some(Self {
            bot: text(bot),
            ticket: text(ticket_id.as_deref().unwrap_or_default()),
            origin: (*origin).into(),
            happened: event_time.map(Time),
            blip_id: text(blip_id),
            traceparent: text(traceparent),
            what: V1Payload::from(payload).beside(raw),
        })
    }
}

impl V1Payload<'_> {
    /// The same, with metadata left where they stand in the body: most of a record would be theirs.
    fn beside(mut self, raw: &[u8]) -> Self {
        if let Self::CustomerMessage { metadata, metadata_at, .. } = &mut self
            && let Some(place) = metadata.place()
            && let Some(object) = raw.get(place.clone())
            && object.starts_with(b"{")
            && object.ends_with(b"}")
        {
            debug_assert_eq!(serde_json::from_slice::<Metadata>(object).ok().as_ref(), Some(&**metadata));
            *metadata_at = Some((place.start, place.end));
            *metadata = Cow::default();
        }
        self
    }
}

/// An event's id, written without being a text first: the store's writer does it for every event.
struct Id(Uuid);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

/// The other members of [`V1Event`].
#[derive(Serialize)]
pub(in crate::store::record) struct V1Placed<'a> {
    id: Id,
    ticket_sequence: u64,
    received: Time,
    #[serde(skip_serializing_if = "str::is_empty")]
    blip_id: Text<'a>,
    #[serde(skip_serializing_if = "V1Flags::is_empty")]
    flags: V1Flags,
    #[serde(skip_serializing_if = "str::is_empty")]
    customer: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    resolved_customer: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    team: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    agent: Text<'a>,
}

impl<'a> V1Placed<'a> {
    pub(in crate::store::record) fn of(event: &'a Event) -> Self {
        let Event {
            id,
            bot: _,
            ticket_id: _,
            ticket_sequence,
            origin: _,
            receive_time,
            event_time: _,
            blip_id,
            flags,
            traceparent: _,
            customer_identity,
            resolved_customer_identity,
            team,
            agent_identity,
            payload: _,
        } = event;
        Self {
            id: Id(*id),
            ticket_sequence: *ticket_sequence,
            received: Time(*receive_time),
            // Blip's own was written with what was told.
            blip_id: if flags.synthetic_id { text(blip_id) } else { Cow::default() },
            flags: (*flags).into(),
            customer: text(customer_identity),
            resolved_customer: text(resolved_customer_identity),
            team: text(team),
            agent: text(agent_identity),
        }
    }
}

impl From<Origin> for V1Origin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Webhook => Self::Webhook,
            Origin::Command => Self::Command,
            Origin::Reconciliation => Self::Reconciliation,
            Origin::Gateway => Self::Gateway,
        }
    }
}

impl From<Flags> for V1Flags {
    fn from(flags: Flags) -> Self {
        let Flags { order_uncertain, ticket_unknown, after_close, synthetic_id } = flags;
        Self { order_uncertain, ticket_unknown, after_close, synthetic_id }
    }
}

impl<'a> From<&'a Payload> for V1Payload<'a> {
    fn from(payload: &'a Payload) -> Self {
        match payload {
            Payload::TicketCreated(ticket) => Self::TicketCreated(ticket.into()),
            Payload::TicketAssigned(ticket) => Self::TicketAssigned(ticket.into()),
            Payload::TicketTransferred(ticket) => Self::TicketTransferred(ticket.into()),
            Payload::TicketClosed(ticket) => Self::TicketClosed(ticket.into()),
            Payload::TicketUpdated { ticket, changed_fields } => {
                Self::TicketUpdated { ticket: ticket.into(), changed: Cow::Borrowed(changed_fields) }
            }
            Payload::CustomerMessage { message_id, content, metadata } => Self::CustomerMessage {
                message_id: text(message_id),
                content: content.into(),
                metadata: Cow::Borrowed(metadata),
                metadata_at: None,
            },
            Payload::AgentMessage { message_id, content, agent_identity, command_id } => Self::AgentMessage {
                message_id: text(message_id),
                content: content.into(),
                agent: text(agent_identity),
                command: text(command_id),
            },
            Payload::MessageStatusChanged {
                message_id,
                status,
                reason_code,
                reason_description,
                blip_status,
            } => Self::MessageStatusChanged {
                message_id: text(message_id),
                status: (*status).into(),
                code: *reason_code,
                reason: text(reason_description),
                word: text(blip_status),
            },
            Payload::MessageDeleted { message_id } => Self::MessageDeleted { message_id: text(message_id) },
            Payload::CustomerTyping { state } => Self::CustomerTyping { state: text(state) },
            Payload::TicketContext(content) => Self::TicketContext(content.into()),
            Payload::CommandSettled { command_id, method, end, error_reason, request_id } => {
                Self::CommandSettled {
                    command: text(command_id),
                    method: text(method),
                    end: (*end).into(),
                    reason: text(error_reason),
                    request: text(request_id),
                }
            }
            Payload::GatewayAlert { reason, description, details } => Self::GatewayAlert {
                reason: text(reason),
                description: text(description),
                details: Members(Cow::Borrowed(details)),
            },
            Payload::Unknown { media_type, json } => {
                Self::Unknown { media_type: text(media_type), json: Foreign(Cow::Borrowed(json)) }
            }
        }
    }
}

impl From<SettledAs> for V1SettledAs {
    fn from(end: SettledAs) -> Self {
        match end {
            SettledAs::Succeeded => Self::Succeeded,
            SettledAs::Failed => Self::Failed,
            SettledAs::Unknown => Self::Unknown,
        }
    }
}

impl From<MessageStatus> for V1MessageStatus {
    fn from(status: MessageStatus) -> Self {
        match status {
            MessageStatus::Accepted => Self::Accepted,
            MessageStatus::Dispatched => Self::Dispatched,
            MessageStatus::Received => Self::Received,
            MessageStatus::Consumed => Self::Consumed,
            MessageStatus::Failed => Self::Failed,
            MessageStatus::Unrecognized => Self::Unrecognized,
        }
    }
}

impl From<TicketStatus> for V1TicketStatus {
    fn from(status: TicketStatus) -> Self {
        match status {
            TicketStatus::Unspecified => Self::Unspecified,
            TicketStatus::Waiting => Self::Waiting,
            TicketStatus::Assigned => Self::Assigned,
            TicketStatus::Open => Self::Open,
            TicketStatus::ClosedAttendant => Self::ClosedAttendant,
            TicketStatus::ClosedClient => Self::ClosedClient,
            TicketStatus::ClosedClientInactivity => Self::ClosedClientInactivity,
            TicketStatus::Transferred => Self::Transferred,
            TicketStatus::Unrecognized => Self::Unrecognized,
        }
    }
}

impl<'a> From<&'a Ticket> for V1Ticket<'a> {
    fn from(ticket: &'a Ticket) -> Self {
        let Ticket {
            id,
            status,
            blip_status,
            sequential_id,
            sequential_suffix,
            customer_identity,
            customer_domain,
            routing_customer_identity,
            tunnel_customer_identity,
            agent_identity,
            team,
            priority,
            tags,
            untagged: _,
            closed_by,
            parent_sequential_id,
            parent_ticket_id,
            successor,
            external_id,
            customer_input,
            create_time,
            open_time,
            close_time,
            status_time,
            command_time,
            more,
        } = ticket;
        Self {
            id: text(id),
            status: (*status).into(),
            blip_status: text(blip_status),
            sequential_id: *sequential_id,
            sequential_suffix: text(sequential_suffix),
            customer: text(customer_identity),
            customer_domain: text(customer_domain),
            routing_customer: text(routing_customer_identity),
            tunnel_customer: text(tunnel_customer_identity),
            agent: text(agent_identity),
            team: text(team),
            priority: *priority,
            tags: Cow::Borrowed(tags),
            closed_by: text(closed_by),
            parent_sequential_id: *parent_sequential_id,
            parent_ticket: text(parent_ticket_id),
            successor: successor.as_ref().map(V1Successor::from),
            external_id: text(external_id),
            customer_input: customer_input.as_ref().map(V1Content::from),
            created: create_time.map(Time),
            opened: open_time.map(Time),
            closed: close_time.map(Time),
            status_changed: status_time.map(Time),
            commanded: command_time.map(Time),
            more: Members(Cow::Borrowed(more)),
        }
    }
}

impl<'a> From<&'a Successor> for V1Successor<'a> {
    fn from(successor: &'a Successor) -> Self {
        let Successor { ticket_id, team, agent_identity } = successor;
        Self { ticket: text(ticket_id), team: text(team), agent: text(agent_identity) }
    }
}

impl<'a> From<&'a End> for V1End<'a> {
    fn from(end: &'a End) -> Self {
        let End { outcome, attempts, returned } = end;
        let outcome = match outcome {
            Outcome::Done => V1Outcome::Done,
            Outcome::AlreadyClosed => V1Outcome::AlreadyClosed,
            Outcome::Failed(fault) => V1Outcome::Failed(fault.into()),
            Outcome::Unknown(fault) => V1Outcome::Unknown(fault.into()),
        };
        Self { outcome, attempts: *attempts, returned: returned.as_ref().map(V1Returned::from) }
    }
}

impl<'a> From<&'a Returned> for V1Returned<'a> {
    fn from(returned: &'a Returned) -> Self {
        match returned {
            Returned::Ticket(id) => Self::Ticket(text(id)),
            Returned::Document { media_type, json } => {
                Self::Document { media_type: text(media_type), json: Foreign(Cow::Borrowed(json)) }
            }
        }
    }
}

impl<'a> From<&'a Fault> for V1Fault<'a> {
    fn from(fault: &'a Fault) -> Self {
        let Fault { reason, message, metadata, frees_request_id } = fault;
        Self {
            reason: text(reason),
            message: text(message),
            metadata: Cow::Borrowed(metadata),
            frees_request_id: *frees_request_id,
        }
    }
}
