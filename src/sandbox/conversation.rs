//! What passes between customer and agents: the half of Desk that moves messages. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::effects::What;
use super::model::{Desk, stamp};
use super::ticket::{Direction, Item, Status};

/// What marks "typing…"; it is shown, never kept.
pub(crate) const CHATSTATE: &str = "application/vnd.lime.chatstate+json";

/// A message on its way to a customer.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: Option<String>,
    pub(crate) to: String,
    pub(crate) media_type: String,
    pub(crate) content: Value,
    pub(crate) metadata: Option<Value>,
}

/// A message a customer wrote.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) id: Option<String>,
    pub(crate) ticket_id: Option<String>,
    pub(crate) media_type: String,
    pub(crate) content: Value,
    pub(crate) metadata: Option<Value>,
}

impl Desk {
    /// Delivers what an agent sends, and says to whom and under which id. To a closed ticket, or to somebody
    /// unknown, nothing is delivered, and nothing said: Blip accepts first and looks later.
    pub(crate) fn deliver(&mut self, message: &Outgoing, now: Timestamp) -> Option<(String, Option<String>)> {
        let (name, domain) = split_node(&message.to)?;
        let ticket = if domain.eq_ignore_ascii_case("desk.msging.net") {
            Some(self.ticket(name).ok().filter(|ticket| !ticket.closed)?.clone())
        } else {
            None
        };
        let identity = match &ticket {
            Some(ticket) => ticket.customer_identity.clone(),
            None => self.customer(&format!("{name}@{domain}"))?.identity.clone(),
        };
        let envelope_id = message.id.clone().unwrap_or_default();
        let kept_id = message.id.as_ref().map(|id| format!("fwd:fwd:{id}"));
        let ticket_id = ticket.map(|ticket| ticket.id);
        let typing = message.media_type.eq_ignore_ascii_case(CHATSTATE);
        let what = if typing { What::Chatstate } else { What::Message };
        let of = ticket_id.as_deref().unwrap_or(&identity);
        self.applied(&envelope_id, of, what, message.content.clone(), now);
        if typing {
            let state = json!({
                "at": stamp(now), "ticket_id": ticket_id, "content": message.content,
            });
            self.customer_mut(&identity)?.chatstates.push(state);
            return Some((identity, None));
        }
        let metadata = self.agent_metadata(message, ticket_id.as_deref(), now);
        let item = Item {
            id: kept_id.clone(),
            direction: Direction::Sent,
            media_type: message.media_type.clone(),
            content: message.content.clone(),
            date: stamp(now),
            status: Some("dispatched"),
            metadata: Some(metadata),
            ticket_id: ticket_id.clone(),
            read: false,
        };
        self.push_item(&identity, item);
        self.edit(ticket_id.as_deref().unwrap_or_default(), |ticket| {
            ticket.first_response_date.get_or_insert_with(|| stamp(now));
        });
        Some((identity, kept_id))
    }

    /// Takes what a customer wrote. The item is kept under the id without any `fwd:`.
    pub(crate) fn hear(&mut self, identity: &str, message: Incoming, now: Timestamp) {
        if message.media_type.eq_ignore_ascii_case(CHATSTATE) {
            return;
        }
        let counted = message.ticket_id.clone().unwrap_or_default();
        let item = Item {
            id: message.id,
            direction: Direction::Received,
            media_type: message.media_type,
            content: message.content,
            date: stamp(now),
            status: Some("dispatched"),
            metadata: message.metadata,
            ticket_id: message.ticket_id,
            read: false,
        };
        self.push_item(identity, item);
        self.edit(&counted, |ticket| ticket.unread_messages = ticket.unread_messages.saturating_add(1));
    }

    /// A receipt from our side. `consumed` marks the customer's message as read, and opens a ticket that was
    /// only `Assigned`.
    pub(crate) fn notified(&mut self, envelope_id: &str, to: &str, event: &str, now: Timestamp) {
        let name = split_node(to).map_or(to, |(name, _)| name);
        self.applied(envelope_id, name, What::Notification, json!(event), now);
        self.notifications.push(json!({ "at": stamp(now), "id": envelope_id, "to": to, "event": event }));
        let Ok(ticket) = self.ticket(name).cloned() else { return };
        if !event.eq_ignore_ascii_case("consumed") || ticket.closed {
            return;
        }
        let canonical = canonical(envelope_id);
        let Some(customer) = self.customer_mut(&ticket.customer_identity) else { return };
        let unread = customer.thread.iter_mut().find(|item| {
            item.direction == Direction::Received && !item.read && item.id.as_deref() == Some(canonical)
        });
        if let Some(item) = unread {
            item.read = true;
            self.edit(&ticket.id, |ticket| ticket.unread_messages = ticket.unread_messages.saturating_sub(1));
        }
        if ticket.status == Status::Assigned {
            let opened = self.update(&ticket.id, |ticket, _| {
                ticket.status = Status::Open;
                ticket.status_date = Some(stamp(now));
                ticket.open_date = Some(stamp(now));
            });
            debug_assert!(opened.is_ok(), "the ticket was just read");
        }
    }

    fn agent_metadata(&mut self, message: &Outgoing, ticket_id: Option<&str>, now: Timestamp) -> Value {
        let mut metadata = message.metadata.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
        metadata.insert("#messageEmitter".to_owned(), json!("Human"));
        metadata.insert("#uniqueId".to_owned(), json!(self.ids.uuid()));
        metadata.insert("date_created".to_owned(), json!(now.as_millisecond().to_string()));
        if let Some(id) = ticket_id {
            metadata.insert("#message.ticketId".to_owned(), json!(id));
        }
        Value::Object(metadata)
    }
}

/// Name and domain of `name@domain/instance`. The name may itself be an encoded node, and is left so.
pub(crate) fn split_node(node: &str) -> Option<(&str, &str)> {
    let (name, rest) = node.split_once('@')?;
    Some((name, rest.split_once('/').map_or(rest, |(domain, _)| domain)))
}

/// An id without the `fwd:` each hop puts before it.
pub(crate) fn canonical(id: &str) -> &str {
    let mut id = id.trim();
    while let Some((head, tail)) = id.split_at_checked(4) {
        if !head.eq_ignore_ascii_case("fwd:") {
            break;
        }
        id = tail.trim_start();
    }
    id
}
