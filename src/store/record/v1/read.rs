//! From the stored form to the domain.

use std::borrow::Cow;
use std::sync::Arc;

use uuid::Uuid;

use super::{
    Text, Time, V1End, V1Event, V1Fault, V1Flags, V1MessageStatus, V1Origin, V1Outcome, V1Payload,
    V1Returned, V1SettledAs, V1Successor, V1Ticket, V1TicketStatus,
};
use crate::domain::{
    Content, Event, Fault, Flags, MessageStatus, Origin, Outcome, Payload, Returned, SettledAs, Successor,
    Ticket, TicketStatus,
};
use crate::store::End;
use crate::store::record::DecodeError;

pub(super) fn owned(from: Text<'_>) -> String {
    from.into_owned()
}

fn time(from: Option<Time>) -> Option<jiff::Timestamp> {
    from.map(|Time(time)| time)
}

impl V1Event<'_> {
    /// With what was left in the body.
    pub(in crate::store::record) fn completed(mut self, raw: &[u8]) -> Result<Self, DecodeError> {
        if let V1Payload::CustomerMessage { metadata, metadata_at: Some((from, to)), .. } = &mut self.what {
            let object = raw.get(*from..*to).ok_or(DecodeError::Outside)?;
            *metadata = Cow::Owned(serde_json::from_slice(object)?);
        }
        Ok(self)
    }
}

impl TryFrom<V1Event<'_>> for Event {
    type Error = uuid::Error;

    fn try_from(event: V1Event<'_>) -> Result<Self, uuid::Error> {
        let V1Event {
            id,
            bot,
            ticket,
            ticket_sequence,
            origin,
            received,
            happened,
            blip_id,
            flags,
            traceparent,
            customer,
            resolved_customer,
            team,
            agent,
            what,
        } = event;
        Ok(Self {
            id: Uuid::try_parse(&id)?,
            bot: Arc::from(&*bot),
            ticket_id: owned(ticket),
            ticket_sequence,
            origin: origin.into(),
            receive_time: received.0,
            event_time: time(happened),
            blip_id: owned(blip_id),
            flags: flags.into(),
            traceparent: owned(traceparent),
            customer_identity: owned(customer),
            resolved_customer_identity: owned(resolved_customer),
            team: owned(team),
            agent_identity: owned(agent),
            payload: what.into(),
        })
    }
}

impl From<V1Origin> for Origin {
    fn from(origin: V1Origin) -> Self {
        match origin {
            V1Origin::Webhook => Self::Webhook,
            V1Origin::Command => Self::Command,
            V1Origin::Reconciliation => Self::Reconciliation,
            V1Origin::Gateway => Self::Gateway,
        }
    }
}

impl From<V1Flags> for Flags {
    fn from(flags: V1Flags) -> Self {
        let V1Flags { order_uncertain, ticket_unknown, after_close, synthetic_id } = flags;
        Self { order_uncertain, ticket_unknown, after_close, synthetic_id }
    }
}

impl From<V1Payload<'_>> for Payload {
    fn from(payload: V1Payload<'_>) -> Self {
        match payload {
            V1Payload::TicketCreated(ticket) => Self::TicketCreated(ticket.into()),
            V1Payload::TicketAssigned(ticket) => Self::TicketAssigned(ticket.into()),
            V1Payload::TicketTransferred(ticket) => Self::TicketTransferred(ticket.into()),
            V1Payload::TicketClosed(ticket) => Self::TicketClosed(ticket.into()),
            V1Payload::TicketUpdated { ticket, changed } => {
                Self::TicketUpdated { ticket: ticket.into(), changed_fields: changed.into_owned() }
            }
            V1Payload::CustomerMessage { message_id, content, metadata, metadata_at: _ } => {
                Self::CustomerMessage {
                    message_id: owned(message_id),
                    content: content.into(),
                    metadata: metadata.into_owned(),
                }
            }
            V1Payload::AgentMessage { message_id, content, agent, command } => Self::AgentMessage {
                message_id: owned(message_id),
                content: content.into(),
                agent_identity: owned(agent),
                command_id: owned(command),
            },
            V1Payload::MessageStatusChanged { message_id, status, code, reason, word } => {
                Self::MessageStatusChanged {
                    message_id: owned(message_id),
                    status: status.into(),
                    reason_code: code,
                    reason_description: owned(reason),
                    blip_status: owned(word),
                }
            }
            V1Payload::MessageDeleted { message_id } => {
                Self::MessageDeleted { message_id: owned(message_id) }
            }
            V1Payload::CustomerTyping { state } => Self::CustomerTyping { state: owned(state) },
            V1Payload::TicketContext(content) => Self::TicketContext(content.into()),
            V1Payload::CommandSettled { command, method, end, reason, request } => Self::CommandSettled {
                command_id: owned(command),
                method: owned(method),
                end: end.into(),
                error_reason: owned(reason),
                request_id: owned(request),
            },
            V1Payload::GatewayAlert { reason, description, details } => Self::GatewayAlert {
                reason: owned(reason),
                description: owned(description),
                details: details.0.into_owned(),
            },
            V1Payload::Unknown { media_type, json } => {
                Self::Unknown { media_type: owned(media_type), json: json.0.into_owned() }
            }
        }
    }
}

impl From<V1SettledAs> for SettledAs {
    fn from(end: V1SettledAs) -> Self {
        match end {
            V1SettledAs::Succeeded => Self::Succeeded,
            V1SettledAs::Failed => Self::Failed,
            V1SettledAs::Unknown => Self::Unknown,
        }
    }
}

impl From<V1MessageStatus> for MessageStatus {
    fn from(status: V1MessageStatus) -> Self {
        match status {
            V1MessageStatus::Accepted => Self::Accepted,
            V1MessageStatus::Dispatched => Self::Dispatched,
            V1MessageStatus::Received => Self::Received,
            V1MessageStatus::Consumed => Self::Consumed,
            V1MessageStatus::Failed => Self::Failed,
            V1MessageStatus::Unrecognized => Self::Unrecognized,
        }
    }
}

impl From<V1TicketStatus> for TicketStatus {
    fn from(status: V1TicketStatus) -> Self {
        match status {
            V1TicketStatus::Unspecified => Self::Unspecified,
            V1TicketStatus::Waiting => Self::Waiting,
            V1TicketStatus::Assigned => Self::Assigned,
            V1TicketStatus::Open => Self::Open,
            V1TicketStatus::ClosedAttendant => Self::ClosedAttendant,
            V1TicketStatus::ClosedClient => Self::ClosedClient,
            V1TicketStatus::ClosedClientInactivity => Self::ClosedClientInactivity,
            V1TicketStatus::Transferred => Self::Transferred,
            V1TicketStatus::Unrecognized => Self::Unrecognized,
        }
    }
}

impl From<V1Ticket<'_>> for Ticket {
    fn from(ticket: V1Ticket<'_>) -> Self {
        let V1Ticket {
            id,
            status,
            blip_status,
            sequential_id,
            sequential_suffix,
            customer,
            customer_domain,
            routing_customer,
            tunnel_customer,
            agent,
            team,
            priority,
            tags,
            closed_by,
            parent_sequential_id,
            parent_ticket,
            successor,
            external_id,
            customer_input,
            created,
            opened,
            closed,
            status_changed,
            commanded,
            more,
        } = ticket;
        Self {
            id: owned(id),
            status: status.into(),
            blip_status: owned(blip_status),
            sequential_id,
            sequential_suffix: owned(sequential_suffix),
            customer_identity: owned(customer),
            customer_domain: owned(customer_domain),
            routing_customer_identity: owned(routing_customer),
            tunnel_customer_identity: owned(tunnel_customer),
            agent_identity: owned(agent),
            team: owned(team),
            priority,
            tags: tags.into_owned(),
            untagged: false,
            closed_by: owned(closed_by),
            parent_sequential_id,
            parent_ticket_id: owned(parent_ticket),
            successor: successor.map(Successor::from),
            external_id: owned(external_id),
            customer_input: customer_input.map(Content::from),
            create_time: time(created),
            open_time: time(opened),
            close_time: time(closed),
            status_time: time(status_changed),
            command_time: time(commanded),
            more: more.0.into_owned(),
        }
    }
}

impl From<V1Successor<'_>> for Successor {
    fn from(successor: V1Successor<'_>) -> Self {
        let V1Successor { ticket, team, agent } = successor;
        Self { ticket_id: owned(ticket), team: owned(team), agent_identity: owned(agent) }
    }
}

impl From<V1End<'_>> for End {
    fn from(end: V1End<'_>) -> Self {
        let V1End { outcome, attempts, returned } = end;
        let outcome = match outcome {
            V1Outcome::Done => Outcome::Done,
            V1Outcome::AlreadyClosed => Outcome::AlreadyClosed,
            V1Outcome::Failed(fault) => Outcome::Failed(fault.into()),
            V1Outcome::Unknown(fault) => Outcome::Unknown(fault.into()),
        };
        Self { outcome, attempts, returned: returned.map(Returned::from) }
    }
}

impl From<V1Returned<'_>> for Returned {
    fn from(returned: V1Returned<'_>) -> Self {
        match returned {
            V1Returned::Ticket(id) => Self::Ticket(owned(id)),
            V1Returned::Document { media_type, json } => {
                Self::Document { media_type: owned(media_type), json: json.0.into_owned() }
            }
        }
    }
}

impl From<V1Fault<'_>> for Fault {
    fn from(fault: V1Fault<'_>) -> Self {
        let V1Fault { reason, message, metadata, frees_request_id } = fault;
        Self {
            reason: owned(reason),
            message: owned(message),
            metadata: metadata.into_owned(),
            frees_request_id,
        }
    }
}
