//! What Desk keeps: tickets, their statuses, and the items of a conversation, as they look on the wire. Pure.
//!
//! Member order is that of the documented samples: the structs are serialized in the order they are written.

use std::borrow::Cow;

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

    /// Whether an agent has it.
    pub(crate) const fn is_attended(self) -> bool {
        match self {
            Self::Assigned | Self::Open => true,
            Self::Waiting
            | Self::ClosedAttendant
            | Self::ClosedClient
            | Self::ClosedClientInactivity
            | Self::Transferred => false,
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

    /// The names by which filters know its members; they match without case.
    pub(crate) const MEMBERS: [&str; 18] = [
        "id",
        "sequentialId",
        "ownerIdentity",
        "customerIdentity",
        "customerDomain",
        "provider",
        "status",
        "storageDate",
        "unreadMessages",
        "closed",
        "agentIdentity",
        "statusDate",
        "team",
        "openDate",
        "closeDate",
        "closedBy",
        "parentSequentialId",
        "priority",
    ];

    /// A member as text, for filters to compare; none where the document has none.
    pub(crate) fn member(&self, name: &str) -> Option<Cow<'_, str>> {
        let known = Self::MEMBERS.into_iter().find(|known| known.eq_ignore_ascii_case(name))?;
        match known {
            "id" => Some(self.id.as_str().into()),
            "sequentialId" => Some(self.sequential_id.to_string().into()),
            "ownerIdentity" => Some(self.owner_identity.as_str().into()),
            "customerIdentity" => Some(self.customer_identity.as_str().into()),
            "customerDomain" => Some(self.customer_domain.as_str().into()),
            "provider" => Some(self.provider.into()),
            "status" => Some(self.status.word().into()),
            "storageDate" => Some(self.storage_date.as_str().into()),
            "unreadMessages" => Some(self.unread_messages.to_string().into()),
            "closed" => Some(self.closed.to_string().into()),
            "agentIdentity" => self.agent_identity.as_deref().map(Cow::from),
            "statusDate" => self.status_date.as_deref().map(Cow::from),
            "team" => self.team.as_deref().map(Cow::from),
            "openDate" => self.open_date.as_deref().map(Cow::from),
            "closeDate" => self.close_date.as_deref().map(Cow::from),
            "closedBy" => self.closed_by.as_deref().map(Cow::from),
            "parentSequentialId" => self.parent_sequential_id.map(|number| number.to_string().into()),
            "priority" => self.priority.map(|priority| priority.to_string().into()),
            _ => None,
        }
    }
}

/// A ticket as commands answer it: with members that webhooks leave out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Read<'a> {
    #[serde(flatten)]
    ticket: &'a Ticket,
    sequential_suffix: &'static str,
    external_id: &'a str,
}

impl<'a> Read<'a> {
    pub(crate) fn new(ticket: &'a Ticket) -> Self {
        Self { ticket, sequential_suffix: "SBX", external_id: &ticket.id }
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
    /// Their tickets, as places in the list of all, oldest first; never on the wire.
    #[serde(skip)]
    pub(crate) tickets: Vec<usize>,
}

/// Someone who attends.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agent {
    pub(crate) identity: String,
    pub(crate) fullname: String,
    pub(crate) email: String,
    pub(crate) teams: Vec<String>,
    pub(crate) status: String,
    pub(crate) is_enabled: bool,
    #[serde(rename = "agentSlots")]
    pub(crate) slots: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_service_date: Option<String>,
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

    pub(crate) fn not_found() -> Self {
        Self::new(67, "The requested resource was not found")
    }

    /// What the resource of a command lacks.
    pub(crate) fn invalid(description: &str) -> Self {
        Self::new(21, description)
    }

    pub(crate) fn not_supported() -> Self {
        Self::new(62, "There's no processor available for requested resource type")
    }

    /// The one failure that is known to carry no code.
    pub(crate) fn take_too_large() -> Self {
        Self { code: None, description: Some("The take parameter can not be greater than 100".into()) }
    }
}
