//! Events: the facts in the log, and how a new fact finds its place in a ticket's history.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::content::Content;
use super::ticket::{Change, Ticket, TicketState};
use crate::lime::Metadata;

/// A position in the log: 1 for the first event; 0 is before it. Never used twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// What makes two deliveries one event: a digest over bot, ticket, envelope kind, canonical id and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DedupKey(pub [u8; 16]);

/// How an event came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Blip posted it.
    Webhook,
    /// A command of ours was accepted by Blip.
    Command,
    /// Found missing by reading Blip back.
    Reconciliation,
    /// The gateway's own.
    Gateway,
}

/// What a reader should know before trusting an event's place.
#[expect(clippy::struct_excessive_bools, reason = "four independent facts, as the API tells them")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// It may have happened earlier than its place says.
    pub order_uncertain: bool,
    /// No document of its ticket had been seen.
    pub ticket_unknown: bool,
    /// Its ticket was closed already.
    pub after_close: bool,
    /// Blip gave no id; ours stands in, and a repetition would not be recognised.
    pub synthetic_id: bool,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageStatus {
    /// Blip's server took it.
    Accepted,
    /// It left the server.
    Dispatched,
    /// It reached the device.
    Received,
    /// It was read.
    Consumed,
    /// It will not arrive.
    Failed,
    /// A word this build does not know.
    Unrecognized,
}

impl MessageStatus {
    /// Reads Blip's word, whatever its case.
    pub fn from_blip(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "accepted" => Self::Accepted,
            "dispatched" => Self::Dispatched,
            "received" => Self::Received,
            "consumed" => Self::Consumed,
            "failed" => Self::Failed,
            _ => Self::Unrecognized,
        }
    }
}

/// How a command ended whose caller did not wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettledAs {
    /// Blip did it.
    Succeeded,
    /// It did not happen.
    Failed,
    /// It may or may not have happened.
    Unknown,
}

/// What an event tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// `ticket.created`
    TicketCreated(Ticket),
    /// `ticket.assigned`
    TicketAssigned(Ticket),
    /// `ticket.transferred`
    TicketTransferred(Ticket),
    /// `ticket.closed`
    TicketClosed(Ticket),
    /// `ticket.updated`
    TicketUpdated {
        /// The document as it stands after the update.
        ticket: Ticket,
        /// The API names of the fields that changed.
        changed_fields: Vec<String>,
    },
    /// `message.customer`
    CustomerMessage {
        /// Canonical.
        message_id: String,
        /// What the customer said.
        content: Content,
        /// As texts; nulls left out.
        metadata: Metadata,
    },
    /// `message.agent`
    AgentMessage {
        /// Canonical.
        message_id: String,
        /// What the agent said.
        content: Content,
        /// Who spoke; empty when not told.
        agent_identity: String,
        /// The command that sent it.
        command_id: String,
    },
    /// `message.status`
    MessageStatusChanged {
        /// Canonical id of the message concerned.
        message_id: String,
        /// What became of it.
        status: MessageStatus,
        /// Blip's reason code; 0 without one.
        reason_code: i64,
        /// Blip's reason, for people.
        reason_description: String,
        /// The status in Blip's own word; empty where an earlier version stored it.
        blip_status: String,
    },
    /// `message.deleted`
    MessageDeleted {
        /// Canonical.
        message_id: String,
    },
    /// `customer.typing`
    CustomerTyping {
        /// `composing`, `paused`, … as it came.
        state: String,
    },
    /// `ticket.context`
    TicketContext(Content),
    /// `command.settled`
    CommandSettled {
        /// The command.
        command_id: String,
        /// The rpc.
        method: String,
        /// How it ended.
        end: SettledAs,
        /// Why it failed or is unknown; empty otherwise.
        error_reason: String,
        /// What its caller called it; empty without a name.
        request_id: String,
    },
    /// `gateway.alert`
    GatewayAlert {
        /// What is wrong, as a constant word.
        reason: String,
        /// What is wrong and what to do, for people.
        description: String,
        /// What varies, for programs.
        details: Map<String, Value>,
    },
    /// `unknown`
    Unknown {
        /// The envelope's type, where it has one.
        media_type: String,
        /// The whole envelope.
        json: Value,
    },
}

impl Payload {
    /// The stable dotted name.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::TicketCreated(_) => "ticket.created",
            Self::TicketAssigned(_) => "ticket.assigned",
            Self::TicketTransferred(_) => "ticket.transferred",
            Self::TicketClosed(_) => "ticket.closed",
            Self::TicketUpdated { .. } => "ticket.updated",
            Self::CustomerMessage { .. } => "message.customer",
            Self::AgentMessage { .. } => "message.agent",
            Self::MessageStatusChanged { .. } => "message.status",
            Self::MessageDeleted { .. } => "message.deleted",
            Self::CustomerTyping { .. } => "customer.typing",
            Self::TicketContext(_) => "ticket.context",
            Self::CommandSettled { .. } => "command.settled",
            Self::GatewayAlert { .. } => "gateway.alert",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Whether `if_ticket_sequence` looks at it: the ticket itself, or the customer's words.
    pub fn is_activity(&self) -> bool {
        let name = self.type_name();
        name.starts_with("ticket.") || name == "message.customer"
    }
}

/// Every type there is, in the order of the API's documentation.
pub const EVENT_TYPES: [&str; 14] = [
    "ticket.created",
    "ticket.assigned",
    "ticket.transferred",
    "ticket.closed",
    "ticket.updated",
    "ticket.context",
    "message.customer",
    "message.agent",
    "message.status",
    "message.deleted",
    "customer.typing",
    "command.settled",
    "gateway.alert",
    "unknown",
];

/// A fact on its way into the log: all that is known without the ticket's history.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The bot's short name.
    pub bot: Arc<str>,
    /// The ticket it belongs to, if any.
    pub ticket_id: Option<String>,
    /// What it is recognised by when it comes again; `None` is never a duplicate.
    pub dedup: Option<DedupKey>,
    /// How it came to be.
    pub origin: Origin,
    /// When it happened, where Blip tells.
    pub event_time: Option<Timestamp>,
    /// Canonical envelope id; empty when Blip gave none.
    pub blip_id: String,
    /// W3C trace context of the request that brought it; empty without one.
    pub traceparent: String,
    /// The customer behind a tunnel, where metadata tells.
    pub resolved_customer_identity: String,
    /// It came so late that what happened after it may be in the log already.
    pub order_uncertain: bool,
    /// What happened.
    pub fact: Fact,
    /// The exact body it came in; empty for our own events.
    pub raw: Bytes,
}

impl NewEvent {
    /// Whether its metadata tells of its ticket what is not known yet: the ticket is then to be written, whatever the
    /// event is.
    pub fn teaches(&self, known: &TicketState) -> bool {
        let unknown = |ticket: &Ticket| ticket.resolved_customer_identity().is_empty();
        !self.resolved_customer_identity.is_empty() && known.ticket.as_ref().is_some_and(unknown)
    }

    /// The message that a status speaks of, if it may be one of ours: it then belongs to the ticket that the message
    /// was sent in, whichever address it came from. `None` for everything else.
    pub fn speaks_of(&self) -> Option<Uuid> {
        match &self.fact {
            Fact::Told(Payload::MessageStatusChanged { message_id, .. }) => Uuid::try_parse(message_id).ok(),
            Fact::Told(_) | Fact::Ticket(_) | Fact::Tags(_) => None,
        }
    }

    /// Whether it changes what is known of its ticket, beside its numbers.
    pub fn changes_document(&self) -> bool {
        match &self.fact {
            Fact::Ticket(_) | Fact::Tags(_) => true,
            Fact::Told(_) => false,
        }
    }
}

/// What happened, as far as it can be told without the ticket's history.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A ticket document: what it means depends on what was known.
    Ticket(Ticket),
    /// The labels a ticket has now, which may be none: no document can tell that.
    Tags(Vec<String>),
    /// Something that means the same whatever was known.
    Told(Payload),
}

/// An event with its place in its ticket's history; `cursor` and position are the log's.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Stable for ever.
    pub id: Uuid,
    /// The bot's short name.
    pub bot: Arc<str>,
    /// Empty when it belongs to no ticket.
    pub ticket_id: String,
    /// 1, 2, 3 … per bot and ticket; 0 without a ticket.
    pub ticket_sequence: u64,
    /// How it came to be.
    pub origin: Origin,
    /// When the log took it; never earlier than its predecessor's.
    pub receive_time: Timestamp,
    /// When it happened, where Blip tells.
    pub event_time: Option<Timestamp>,
    /// Canonical envelope id; the event's own id when Blip gave none; empty for what is not Blip's.
    pub blip_id: String,
    /// See [`Flags`].
    pub flags: Flags,
    /// W3C trace context; empty without one.
    pub traceparent: String,
    /// As the ticket stood then.
    pub customer_identity: String,
    /// Who is behind a tunnel.
    pub resolved_customer_identity: String,
    /// As the ticket stood then.
    pub team: String,
    /// As the ticket stood then.
    pub agent_identity: String,
    /// What it tells.
    pub payload: Payload,
}

/// An event at its position.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Its position.
    pub seq: Seq,
    /// The event.
    pub event: Event,
    /// The exact body it came in; empty for our own events.
    pub raw: Bytes,
}

/// Gives a new fact its place: decides what a ticket document meant, numbers the event within its ticket and
/// moves the ticket's state on. Stores call this inside the transaction that writes both.
pub fn place(new: NewEvent, state: &mut TicketState, id: Uuid, receive_time: Timestamp) -> (Event, Bytes) {
    let NewEvent {
        bot,
        ticket_id,
        dedup: _,
        origin,
        event_time,
        blip_id,
        traceparent,
        resolved_customer_identity,
        order_uncertain,
        fact,
        raw,
    } = new;
    let synthetic_id = blip_id.is_empty() && origin != Origin::Gateway;
    let mut flags = Flags { synthetic_id, ..Flags::default() };
    let has_ticket = ticket_id.is_some();
    if has_ticket {
        flags.ticket_unknown = state.ticket.is_none() && !matches!(fact, Fact::Ticket(_));
        flags.after_close = state.is_closed();
    }
    let payload = match fact {
        Fact::Told(payload) => payload,
        Fact::Ticket(document) => told(state, &document, (origin, receive_time), &mut flags),
        Fact::Tags(tags) => {
            let (ticket, fields) = state.label(ticket_id.as_deref().unwrap_or_default(), tags);
            updated(ticket, fields)
        }
    };
    flags.order_uncertain |= order_uncertain;
    let mut ticket_sequence = 0;
    if has_ticket {
        state.last_sequence = state.last_sequence.saturating_add(1);
        ticket_sequence = state.last_sequence;
        if payload.is_activity() {
            state.activity_sequence = ticket_sequence;
        }
    }
    state.learn(&resolved_customer_identity);
    let known = state.ticket.as_ref().filter(|_| has_ticket);
    let as_known =
        |field: fn(&Ticket) -> &String| known.map(|ticket| field(ticket).clone()).unwrap_or_default();
    let resolved = if resolved_customer_identity.is_empty() {
        as_known(Ticket::resolved_customer_identity)
    } else {
        resolved_customer_identity
    };
    let event = Event {
        id,
        bot,
        ticket_id: ticket_id.unwrap_or_default(),
        ticket_sequence,
        origin,
        receive_time,
        event_time,
        blip_id: if synthetic_id { id.to_string() } else { blip_id },
        flags,
        traceparent,
        customer_identity: as_known(|ticket| &ticket.customer_identity),
        resolved_customer_identity: resolved,
        team: as_known(|ticket| &ticket.team),
        agent_identity: as_known(|ticket| &ticket.agent_identity),
        payload,
    };
    (event, raw)
}

/// What a ticket document tells. A command's goes by the same rule as Blip's own: if Blip's echo came first, it
/// changes nothing any more, and is no second assignment or end.
fn told(
    state: &mut TicketState,
    document: &Ticket,
    (origin, receive_time): (Origin, Timestamp),
    flags: &mut Flags,
) -> Payload {
    // Also of an end, which is told all the same.
    flags.order_uncertain = state.ticket.as_ref().is_some_and(|known| known.is_later_than(document));
    let mut change = state.apply(document);
    if origin == Origin::Command {
        // A ticket we never saw was not created by being assigned: only a document that names its customer is a
        // new ticket's own.
        if change == Change::Created && document.customer_identity.is_empty() {
            change = Change::Assigned;
        }
        if let Some(known) = &mut state.ticket {
            known.stamp(receive_time);
        }
    }
    let after = state.told(document);
    match change {
        Change::Created => Payload::TicketCreated(after),
        Change::Assigned => Payload::TicketAssigned(after),
        Change::Transferred => Payload::TicketTransferred(after),
        Change::Closed => Payload::TicketClosed(after),
        Change::Updated(fields) => updated(after, fields),
        Change::Stale(filled) => {
            flags.order_uncertain = true;
            updated(after, filled)
        }
    }
}

/// A document that changed `fields`.
pub(super) fn updated(ticket: Ticket, fields: Vec<&'static str>) -> Payload {
    Payload::TicketUpdated { ticket, changed_fields: fields.into_iter().map(str::to_owned).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ticket::TicketStatus;

    fn document(status: TicketStatus, second: i64) -> NewEvent {
        let status_time = Timestamp::from_second(second).ok();
        let ticket = Ticket { id: "t".to_owned(), status, status_time, ..Ticket::default() };
        NewEvent {
            bot: Arc::from("suporte"),
            ticket_id: Some("t".to_owned()),
            dedup: None,
            origin: Origin::Webhook,
            event_time: None,
            blip_id: "1".to_owned(),
            traceparent: String::new(),
            resolved_customer_identity: String::new(),
            order_uncertain: false,
            fact: Fact::Ticket(ticket),
            raw: Bytes::new(),
        }
    }

    #[test]
    fn what_is_older_than_the_ticket_says_so() {
        use TicketStatus::{ClosedClient, Open};
        let mut state = TicketState::default();
        let mut told = |status, second| {
            let event = place(document(status, second), &mut state, Uuid::nil(), Timestamp::UNIX_EPOCH).0;
            (event.payload.type_name(), event.flags.order_uncertain)
        };
        assert_eq!(told(Open, 5), ("ticket.created", false));
        assert_eq!(told(Open, 4), ("ticket.updated", true));
        assert_eq!(told(ClosedClient, 3), ("ticket.closed", true));
        assert_eq!(told(ClosedClient, 6), ("ticket.updated", false));
    }
}
