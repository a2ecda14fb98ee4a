//! What a ticket's document tells. Nothing of it is lost: what its place does not take stays in `more`.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::inbound::customer_named;
use super::{TEXT_BYTES_MAX, content_of};
use crate::domain::content::Content;
use crate::domain::ticket::{Ticket, TicketStatus, canonical_ticket_id};
use crate::lime::document::{Members, Misfit, weight};
use crate::lime::{MediaType, text_of};

/// All labels of a ticket, in bytes.
const TAGS_BYTES_MAX: usize = 16 << 10;
/// What opened a ticket, in bytes of its JSON: it stands in every event that has the whole ticket.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// Every member with a place of its own in [`Ticket`]. The address behind a router is read, and stays in `more` as it
/// came.
const TICKET_MEMBERS: [&str; 19] = [
    "id",
    "status",
    "sequentialId",
    "sequentialSuffix",
    "customerIdentity",
    "customerDomain",
    "agentIdentity",
    "team",
    "priority",
    "tags",
    "closedBy",
    "parentSequentialId",
    "externalId",
    "customerInput",
    "storageDate",
    "openDate",
    "closeDate",
    "statusDate",
    "parentTicketId",
];

/// A document's members, and those that its reading has no place for.
struct Reading<'a> {
    members: Members<'a>,
    more: Map<String, Value>,
}

impl Reading<'_> {
    /// What a member is read as; where it is something else, or too much, it stays as it came.
    fn fit<T>(&mut self, name: &str, read: Result<Option<T>, Misfit>) -> Option<T> {
        read.unwrap_or_else(|Misfit| {
            if let Some(value) = self.members.get(name) {
                self.more.insert(name.to_owned(), value.clone());
            }
            None
        })
    }

    fn text(&mut self, name: &str) -> String {
        let read = self.members.text(name).and_then(|text| match text {
            Some(text) if text.len() > TEXT_BYTES_MAX => Err(Misfit),
            text => Ok(text),
        });
        self.fit(name, read).unwrap_or_default()
    }

    fn integer(&mut self, name: &str) -> Option<i64> {
        self.fit(name, self.members.integer(name))
    }

    fn priority(&mut self) -> Option<i32> {
        let read = self.members.integer("priority");
        let read = read.and_then(|number| number.map(i32::try_from).transpose().or(Err(Misfit)));
        self.fit("priority", read)
    }

    fn date(&mut self, name: &str) -> Option<Timestamp> {
        self.fit(name, self.members.date(name))
    }

    /// The labels; `None` where the document tells none, which is not to tell that there are none.
    fn tags(&mut self) -> Option<Vec<String>> {
        let read = match self.members.get("tags") {
            None => Ok(None),
            Some(tags @ Value::Array(list)) if weight(tags) <= TAGS_BYTES_MAX => {
                Ok(Some(list.iter().map(text_of).collect()))
            }
            Some(_) => Err(Misfit),
        };
        self.fit("tags", read)
    }

    /// What opened the ticket: `{type, value}`, or `{}`, or nothing.
    fn customer_input(&mut self) -> Option<Content> {
        let read = match self.members.get("customerInput") {
            None => Ok(None),
            Some(Value::Object(object)) if object.is_empty() => Ok(None),
            Some(input @ Value::Object(object)) if weight(input) <= INPUT_BYTES_MAX => {
                input_of(Members(object)).map(Some)
            }
            Some(_) => Err(Misfit),
        };
        let (content, rest) = self.fit("customerInput", read)?;
        if !rest.is_empty() {
            self.more.insert("customerInput".to_owned(), Value::Object(rest));
        }
        Some(content)
    }
}

/// What a `{type, value}` holds, and its other members.
fn input_of(container: Members<'_>) -> Result<(Content, Map<String, Value>), Misfit> {
    let media_type = container.text("type")?;
    let value = container.get("value");
    if media_type.is_none() && value.is_none() {
        return Err(Misfit);
    }
    let media_type = MediaType::new(&media_type.unwrap_or_default());
    let content = content_of(&media_type, value.cloned().unwrap_or_default());
    Ok((content, container.rest(&["type", "value"])))
}

/// Reads a ticket document. A member that is not what its place asks for stays in `more`.
pub fn ticket_of(object: &Map<String, Value>) -> Ticket {
    let members = Members(object);
    let mut reading = Reading { members, more: members.rest(&TICKET_MEMBERS) };
    let blip_status = reading.text("status");
    let tags = reading.tags();
    let routing = members.text("routingCustomerIdentity").ok().flatten();
    Ticket {
        id: reading.text("id"),
        status: TicketStatus::from_blip(&blip_status),
        blip_status,
        sequential_id: reading.integer("sequentialId"),
        sequential_suffix: reading.text("sequentialSuffix"),
        customer_identity: reading.text("customerIdentity"),
        customer_domain: reading.text("customerDomain"),
        routing_customer_identity: routing.as_deref().map(customer_named).unwrap_or_default(),
        tunnel_customer_identity: String::new(),
        agent_identity: reading.text("agentIdentity"),
        team: reading.text("team"),
        priority: reading.priority(),
        untagged: tags.as_ref().is_some_and(Vec::is_empty),
        tags: tags.unwrap_or_default(),
        closed_by: reading.text("closedBy"),
        parent_sequential_id: reading.integer("parentSequentialId"),
        parent_ticket_id: canonical_ticket_id(&reading.text("parentTicketId")),
        successor: None,
        external_id: reading.text("externalId"),
        customer_input: reading.customer_input(),
        create_time: reading.date("storageDate"),
        open_time: reading.date("openDate"),
        close_time: reading.date("closeDate"),
        status_time: reading.date("statusDate"),
        command_time: None,
        more: reading.more,
    }
}

/// When what a document tells happened, where it says so: a date of something else is none.
pub(super) fn happened(ticket: &Ticket) -> Option<Timestamp> {
    let own = match ticket.status {
        TicketStatus::Waiting => ticket.create_time,
        TicketStatus::Open => ticket.open_time,
        TicketStatus::ClosedAttendant
        | TicketStatus::ClosedClient
        | TicketStatus::ClosedClientInactivity
        | TicketStatus::Transferred => ticket.close_time,
        TicketStatus::Unspecified | TicketStatus::Assigned | TicketStatus::Unrecognized => None,
    };
    ticket.status_time.or(own)
}
