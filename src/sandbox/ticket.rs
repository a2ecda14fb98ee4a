//! What Desk keeps: tickets, their statuses, and the items of a conversation, as they look on the wire. Pure.
//!
//! Member order is that of the documented samples: the structs are serialized in the order they are written.

use serde::Serialize;
use serde_json::Value;

/// MIME type of a ticket document.
pub(crate) const TICKET: &str = "application/vnd.iris.ticket+json";

/// A ticket's status. There is no way back out of a closed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Status {
    Waiting,
    Assigned,
    Open,
    ClosedAttendant,
    ClosedClient,
    ClosedClientInactivity,
    Transferred,
}

impl Status {
    const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Assigned,
        Self::Open,
        Self::ClosedAttendant,
        Self::ClosedClient,
        Self::ClosedClientInactivity,
        Self::Transferred,
    ];

    /// Reads a status word; Blip matches them without case.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word().eq_ignore_ascii_case(word))
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Assigned => "Assigned",
            Self::Open => "Open",
            Self::ClosedAttendant => "ClosedAttendant",
            Self::ClosedClient => "ClosedClient",
            Self::ClosedClientInactivity => "ClosedClientInactivity",
            Self::Transferred => "Transferred",
        }
    }

    pub(crate) const fn is_closed(self) -> bool {
        match self {
            Self::Waiting | Self::Assigned | Self::Open => false,
            Self::ClosedAttendant | Self::ClosedClient | Self::ClosedClientInactivity | Self::Transferred => {
                true
            }
        }
    }
}

/// One attendance, as Blip writes it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ticket {
    pub(crate) id: String,
    pub(crate) sequential_id: u64,
    pub(crate) owner_identity: String,
    pub(crate) customer_identity: String,
    pub(crate) customer_domain: String,
    pub(crate) provider: &'static str,
    pub(crate) status: Status,
    pub(crate) storage_date: String,
    pub(crate) rating: u8,
    pub(crate) unread_messages: u64,
    pub(crate) closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent_identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) open_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_response_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) close_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) closed_by: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent_sequential_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) customer_input: Option<Value>,
    /// Whether the attendance was finished for good after the customer's close; never on the wire.
    #[serde(skip)]
    pub(crate) finished: bool,
}

impl Ticket {
    /// Whether nothing about it may change any more: closed, unless a customer's close still waits to be finished.
    pub(crate) fn is_frozen(&self) -> bool {
        self.status.is_closed() && (self.finished || self.status != Status::ClosedClient)
    }
}

/// Which way an item of a conversation went, seen from the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    /// From the bot or its agents to the customer.
    Sent,
    /// From the customer.
    Received,
}

/// One item of a conversation, as `/tickets/{id}/messages` shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) direction: Direction,
    #[serde(rename = "type")]
    pub(crate) media_type: String,
    pub(crate) content: Value,
    pub(crate) date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Value>,
    /// The ticket it belongs to; never on the wire.
    #[serde(skip)]
    pub(crate) ticket_id: Option<String>,
    /// Whether the item was marked as read; never on the wire.
    #[serde(skip)]
    pub(crate) read: bool,
}

/// A customer and everything said with them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Customer {
    pub(crate) identity: String,
    pub(crate) name: String,
    /// The channel, which behind a router is not the identity's domain.
    pub(crate) domain: String,
    /// The identity on the router's side, where there is a router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) originator: Option<String>,
    pub(crate) thread: Vec<Item>,
    /// Chatstates seen from agents ("typing…"), newest last.
    pub(crate) chatstates: Vec<Value>,
}

/// Someone who attends.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agent {
    pub(crate) identity: String,
    pub(crate) fullname: String,
    pub(crate) email: String,
    pub(crate) teams: Vec<String>,
    pub(crate) status: &'static str,
    pub(crate) is_enabled: bool,
    #[serde(rename = "agentSlots")]
    pub(crate) slots: u8,
}

/// Why Desk refused a command: the `reason` of a LIME failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
}

impl Refusal {
    pub(crate) fn new(code: i64, description: impl Into<String>) -> Self {
        Self { code: Some(code), description: Some(description.into()) }
    }

    /// 64, what Blip answers about a ticket that is already closed.
    pub(crate) fn already_closed() -> Self {
        Self::new(64, "Invalid argument")
    }

    pub(crate) fn not_found() -> Self {
        Self::new(67, "The requested resource was not found")
    }

    pub(crate) fn not_supported() -> Self {
        Self::new(62, "There's no processor available for requested resource type")
    }

    /// The one failure that is known to carry no code.
    pub(crate) fn take_too_large() -> Self {
        Self { code: None, description: Some("The take parameter can not be greater than 100".into()) }
    }
}

/// How often an envelope id was seen, and what it did. Tests assert "once" on these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Effects {
    /// Envelopes received with this id, whatever became of them.
    pub(crate) requests: u64,
    /// Changes made, of any kind: the sum of those below.
    pub(crate) applied: u64,
    pub(crate) messages_delivered: u64,
    pub(crate) status_changes: u64,
    pub(crate) finishes: u64,
    pub(crate) transfers: u64,
    pub(crate) tag_changes: u64,
    pub(crate) tickets_created: u64,
    pub(crate) notifications: u64,
    pub(crate) other_changes: u64,
}
