//! Versions 1 and 2 of the records. Released: only ever read and written, never changed but by a payload, or an optional
//! member, that no older record has. The names in here are stored.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use self::content::V1Content;
use super::{Foreign, Members, Text, Time};
use crate::domain::Metadata;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[derive(Serialize, Deserialize)]
pub(super) struct V1Event<'a> {
    id: Text<'a>,
    bot: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    ticket: Text<'a>,
    #[serde(default)]
    ticket_sequence: u64,
    origin: V1Origin,
    received: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    happened: Option<Time>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    blip_id: Text<'a>,
    #[serde(default, skip_serializing_if = "V1Flags::is_empty")]
    flags: V1Flags,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    traceparent: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    customer: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    resolved_customer: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    team: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    agent: Text<'a>,
    what: V1Payload<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum V1Origin {
    Webhook,
    Command,
    Reconciliation,
    Gateway,
}

#[expect(clippy::struct_excessive_bools, reason = "as the domain has them")]
#[derive(Default, Serialize, Deserialize)]
struct V1Flags {
    #[serde(default, skip_serializing_if = "is_false")]
    order_uncertain: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    ticket_unknown: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    after_close: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    synthetic_id: bool,
}

impl V1Flags {
    fn is_empty(&self) -> bool {
        let Self { order_uncertain, ticket_unknown, after_close, synthetic_id } = self;
        !(*order_uncertain || *ticket_unknown || *after_close || *synthetic_id)
    }
}

#[derive(Serialize, Deserialize)]
enum V1Payload<'a> {
    #[serde(rename = "ticket.created")]
    TicketCreated(V1Ticket<'a>),
    #[serde(rename = "ticket.assigned")]
    TicketAssigned(V1Ticket<'a>),
    #[serde(rename = "ticket.transferred")]
    TicketTransferred(V1Ticket<'a>),
    #[serde(rename = "ticket.closed")]
    TicketClosed(V1Ticket<'a>),
    #[serde(rename = "ticket.updated")]
    TicketUpdated {
        ticket: V1Ticket<'a>,
        #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
        changed: Cow<'a, [String]>,
    },
    #[serde(rename = "message.customer")]
    CustomerMessage {
        message_id: Text<'a>,
        content: V1Content<'a>,
        #[serde(default, skip_serializing_if = "no_texts")]
        metadata: Cow<'a, Metadata>,
        /// Since version 2, instead of the metadata: where their object begins in the raw body, and where it ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata_at: Option<(usize, usize)>,
    },
    #[serde(rename = "message.agent")]
    AgentMessage {
        message_id: Text<'a>,
        content: V1Content<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        agent: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        command: Text<'a>,
    },
    #[serde(rename = "message.status")]
    MessageStatusChanged {
        message_id: Text<'a>,
        status: V1MessageStatus,
        #[serde(default, skip_serializing_if = "is_zero")]
        code: i64,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        reason: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        word: Text<'a>,
    },
    #[serde(rename = "message.deleted")]
    MessageDeleted { message_id: Text<'a> },
    #[serde(rename = "customer.typing")]
    CustomerTyping { state: Text<'a> },
    #[serde(rename = "ticket.context")]
    TicketContext(V1Content<'a>),
    #[serde(rename = "command.settled")]
    CommandSettled {
        command: Text<'a>,
        method: Text<'a>,
        end: V1SettledAs,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        reason: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        request: Text<'a>,
    },
    #[serde(rename = "gateway.alert")]
    GatewayAlert {
        reason: Text<'a>,
        description: Text<'a>,
        #[serde(default, skip_serializing_if = "Members::is_empty")]
        details: Members<'a>,
    },
    #[serde(rename = "unknown")]
    Unknown {
        #[serde(default, skip_serializing_if = "str::is_empty")]
        media_type: Text<'a>,
        json: Foreign<'a>,
    },
}

fn no_texts(texts: &Metadata) -> bool {
    texts.is_empty()
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum V1SettledAs {
    Succeeded,
    Failed,
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum V1MessageStatus {
    Accepted,
    Dispatched,
    Received,
    Consumed,
    Failed,
    Unrecognized,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum V1TicketStatus {
    Unspecified,
    Waiting,
    Assigned,
    Open,
    ClosedAttendant,
    ClosedClient,
    ClosedClientInactivity,
    Transferred,
    Unrecognized,
}

#[derive(Serialize, Deserialize)]
pub(super) struct V1Ticket<'a> {
    id: Text<'a>,
    status: V1TicketStatus,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    blip_status: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequential_id: Option<i64>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    sequential_suffix: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    customer: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    customer_domain: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    routing_customer: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    tunnel_customer: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    agent: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    team: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    tags: Cow<'a, [String]>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    closed_by: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent_sequential_id: Option<i64>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    parent_ticket: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    successor: Option<V1Successor<'a>>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    external_id: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_input: Option<V1Content<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status_changed: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commanded: Option<Time>,
    #[serde(default, skip_serializing_if = "Members::is_empty")]
    more: Members<'a>,
}

#[derive(Serialize, Deserialize)]
struct V1Successor<'a> {
    ticket: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    team: Text<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    agent: Text<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct V1End<'a> {
    outcome: V1Outcome<'a>,
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    returned: Option<V1Returned<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum V1Returned<'a> {
    Ticket(Text<'a>),
    Document {
        #[serde(default, skip_serializing_if = "str::is_empty")]
        media_type: Text<'a>,
        json: Foreign<'a>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum V1Outcome<'a> {
    Done,
    AlreadyClosed,
    Failed(V1Fault<'a>),
    Unknown(V1Fault<'a>),
}

#[derive(Serialize, Deserialize)]
struct V1Fault<'a> {
    reason: Text<'a>,
    message: Text<'a>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    metadata: Cow<'a, [(String, String)]>,
    #[serde(default, skip_serializing_if = "is_false")]
    frees_request_id: bool,
}

mod content;
mod read;
mod write;

pub(super) use write::{V1Placed, V1Told};
