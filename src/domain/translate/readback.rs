//! What Blip shows when a conversation is read back, as the events its webhooks would have been: of one item both make
//! the same event, under the same key, so that a fact found in both ways is in the log once.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::inbound::{Translated, event_of};
use super::lookup::{Listed, list_tickets};
use super::{DESK, DESK_POSTMASTER};
use crate::domain::event::{Fact, NewEvent, Origin, Payload};
use crate::domain::ticket::{Ticket, TicketStatus, canonical_ticket_id};
use crate::lime::document::{self, MediaType, Members};
use crate::lime::envelope::metadata_of;
use crate::lime::{Command, Envelope, LimeUri, Method, canonical_id};

/// The command that lists tickets which live: `skip` and `take`.
pub fn living(id: &str, page: (usize, usize)) -> Command {
    let statuses = vec![TicketStatus::Open, TicketStatus::Waiting, TicketStatus::Assigned];
    list_tickets(id, &Listed { statuses, ..Listed::default() }, page)
}

/// The command that lists tickets which were made since then and have ended: `skip` and `take`.
pub fn ended_since(id: &str, since: Timestamp, (skip, take): (usize, usize)) -> Command {
    let filter = format!("storageDate%20ge%20datetimeoffset'{since:.3}'");
    let uri = LimeUri(format!("/tickets?$filter={filter}&$closed=true&$skip={skip}&$take={take}"));
    Command { id: id.to_owned(), to: DESK_POSTMASTER.to_owned(), method: Method::Get, uri, resource: None }
}

/// How many items Blip says a whole list has, where it does.
pub fn total_of(resource: &Value) -> Option<usize> {
    let total = Members(resource.as_object()?).integer("total").ok().flatten()?;
    usize::try_from(total).ok()
}

/// Who spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The customer.
    Customer,
    /// A person of the company.
    Agent,
    /// The bot: no event tells of it.
    Bot,
}

/// One item of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadItem {
    /// Canonical.
    pub id: String,
    /// Who spoke.
    pub speaker: Speaker,
    /// When.
    pub date: Timestamp,
    /// The ticket that began here, where the item is a ticket.
    pub begins: Option<String>,
    /// The ticket it was said in, where Blip tells.
    pub said_in: Option<String>,
    /// Who of the company spoke, where Blip tells.
    pub agent_identity: String,
    object: Map<String, Value>,
}

/// The items of a conversation, in the order of the answer. One without an id could not be recognised when it comes
/// again, and one without a date not be placed: those are left out.
pub fn items_of_thread(resource: &Value) -> Vec<ThreadItem> {
    let items = resource.as_object().and_then(|object| Members(object).get("items"));
    let items = items.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item_of(item.as_object()?)).collect()
}

fn item_of(object: &Map<String, Value>) -> Option<ThreadItem> {
    let members = Members(object);
    let text = |name| members.text(name).ok().flatten();
    let raw_id = text("id").filter(|id| !canonical_id(id).is_empty())?;
    let date = members.date("date").ok().flatten()?;
    let metadata = metadata_of(members.get("metadata"));
    let is_ticket = MediaType::new(&text("type").unwrap_or_default()).essence() == document::TICKET;
    let begins = is_ticket.then(|| {
        let told = members.get("content").and_then(Value::as_object);
        let told = told.and_then(|ticket| Members(ticket).text("id").ok().flatten());
        canonical_ticket_id(&told.filter(|id| !id.is_empty()).unwrap_or_else(|| raw_id.clone()))
    });
    let said_in = metadata.get("#message.ticketId").or_else(|| metadata.get("desk.ticketId"));
    let agent = metadata.get("#message.agentIdentity").unwrap_or_default();
    let speaker = if text("direction").is_some_and(|word| word.eq_ignore_ascii_case("received")) {
        Speaker::Customer
    } else {
        // What passed the desk on its way carries the mark of it.
        let forwarded = raw_id.trim_start().len() > canonical_id(&raw_id).len();
        let of_bot = metadata.get("#stateId").is_some();
        let by_person =
            metadata.get("#messageEmitter").map_or(!of_bot && (forwarded || !agent.is_empty()), |emitter| {
                emitter.eq_ignore_ascii_case("human")
            });
        if by_person { Speaker::Agent } else { Speaker::Bot }
    };
    Some(ThreadItem {
        id: canonical_id(&raw_id).to_owned(),
        speaker,
        date,
        begins,
        said_in: said_in.map(canonical_ticket_id),
        agent_identity: agent.to_owned(),
        object: object.clone(),
    })
}

impl ThreadItem {
    /// The event that the item is, in this ticket of `bot`; `None` where no event tells such a thing: a ticket's own
    /// document, what the bot said, what a conversation does not keep.
    pub fn event(&self, bot: &Arc<str>, ticket: &Ticket) -> Option<NewEvent> {
        if self.speaker == Speaker::Bot || self.begins.is_some() {
            return None;
        }
        let members = Members(&self.object);
        let mut envelope = Map::new();
        envelope.insert("id".to_owned(), self.id.clone().into());
        envelope.insert("from".to_owned(), format!("{}@{DESK}/Webhook", ticket.id).into());
        for name in ["type", "content", "metadata"] {
            if let Some(value) = members.get(name) {
                envelope.insert(name.to_owned(), value.clone());
            }
        }
        let raw = Bytes::from(Value::Object(envelope).to_string());
        let envelope = Envelope::from_json(&raw).ok()?;
        let Translated { event, .. } = event_of(Arc::clone(bot), envelope, raw, String::new());
        let mut event = NewEvent { origin: Origin::Reconciliation, event_time: Some(self.date), ..event };
        let in_ticket = event.ticket_id.as_deref() == Some(ticket.id.as_str());
        event.fact = match event.fact {
            Fact::Told(Payload::CustomerMessage { message_id, content, metadata: _ })
                if self.speaker == Speaker::Agent =>
            {
                let attending = || ticket.agent_identity.clone();
                let named = Some(self.agent_identity.clone()).filter(|named| !named.is_empty());
                Fact::Told(Payload::AgentMessage {
                    message_id,
                    content,
                    agent_identity: named.unwrap_or_else(attending),
                    command_id: String::new(),
                })
            }
            Fact::Told(
                told @ (Payload::CustomerMessage { .. }
                | Payload::MessageDeleted { .. }
                | Payload::TicketContext(_)),
            ) if self.speaker == Speaker::Customer => Fact::Told(told),
            Fact::Ticket(_) | Fact::Tags(_) | Fact::Told(_) => return None,
        };
        (in_ticket && event.dedup.is_some()).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn posted(body: &Value) -> NewEvent {
        let raw = Bytes::from(body.to_string());
        event_of(Arc::from("suporte"), Envelope::from_json(&raw).unwrap(), raw, String::new()).event
    }

    fn read_back(item: &Value) -> Option<NewEvent> {
        let items = items_of_thread(&json!({"items": [item]}));
        let ticket = Ticket { id: "t".to_owned(), agent_identity: "bia".to_owned(), ..Ticket::default() };
        items.first().and_then(|item| item.event(&Arc::from("suporte"), &ticket))
    }

    #[test]
    fn a_message_is_the_same_by_webhook_and_read_back() {
        let link = |signature: &str| json!({"type": "image/png", "uri": format!("https://x.net/a.png?se=1&sig={signature}"), "size": 3});
        for (media_type, posted_content, read_content) in [
            ("text/plain", json!("oi"), json!("oi")),
            ("text/plain; charset=utf-8", json!("oi"), json!("oi")),
            (
                "application/json",
                json!({"a": 1.50, "b": [null, 9_007_199_254_740_993_i64]}),
                json!({"b": [null, 9_007_199_254_740_993_i64], "a": 1.50}),
            ),
            ("application/vnd.lime.media-link+json", link("one"), link("two")),
        ] {
            let webhook = posted(&json!({"id": "fwd:fwd:m1", "from": "t@desk.msging.net/Webhook",
                "type": media_type, "content": posted_content, "metadata": {"#uniqueId": "u"}}));
            let read = read_back(&json!({"id": "m1", "direction": "received", "type": media_type,
                "content": read_content, "date": "2024-05-02T12:00:00Z", "metadata": {"$originator": "x"}}));
            let read = read.unwrap();
            assert_eq!(
                (read.dedup, &read.ticket_id, &read.blip_id),
                (webhook.dedup, &webhook.ticket_id, &webhook.blip_id),
                "{media_type}"
            );
            assert_eq!(read.origin, Origin::Reconciliation);
            assert_eq!(read.event_time, "2024-05-02T12:00:00Z".parse().ok());
        }
    }

    #[test]
    fn other_words_under_the_same_id_are_another_event() {
        let item = |text: &str| {
            read_back(&json!({"id": "m", "direction": "received", "type": "text/plain", "content": text,
                "date": "2024-05-02T12:00:00Z"}))
        };
        assert_ne!(item("oi").unwrap().dedup, item("ola").unwrap().dedup);
    }

    #[test]
    fn who_spoke_is_told_by_marks() {
        let said = |direction: &str, id: &str, metadata: Value| {
            let item = json!({"id": id, "direction": direction, "type": "text/plain", "content": "oi",
                "date": "2024-05-02T12:00:00Z", "metadata": metadata});
            items_of_thread(&json!({"items": [item]}))[0].speaker
        };
        assert_eq!(said("received", "m", json!({})), Speaker::Customer);
        assert_eq!(said("sent", "fwd:fwd:m", json!({"#messageEmitter": "Human"})), Speaker::Agent);
        assert_eq!(said("sent", "fwd:fwd:m", json!({})), Speaker::Agent);
        assert_eq!(said("sent", "m", json!({"#message.agentIdentity": "ana"})), Speaker::Agent);
        assert_eq!(said("sent", "m", json!({})), Speaker::Bot);
        assert_eq!(said("sent", "fwd:m", json!({"#stateId": "1"})), Speaker::Bot);
        assert_eq!(said("sent", "fwd:m", json!({"#messageEmitter": "Bot"})), Speaker::Bot);
    }

    #[test]
    fn an_agents_words_are_told_as_an_agents() {
        let event = read_back(&json!({"id": "fwd:fwd:m", "direction": "sent", "type": "text/plain",
            "content": "oi", "date": "2024-05-02T12:00:00Z", "metadata": {"#messageEmitter": "Human"}}));
        let Fact::Told(Payload::AgentMessage { message_id, agent_identity, command_id, .. }) =
            event.unwrap().fact
        else {
            panic!("no message of an agent")
        };
        assert_eq!((message_id.as_str(), agent_identity.as_str(), command_id.as_str()), ("m", "bia", ""));
    }

    #[test]
    fn what_cannot_be_told_or_recognised_is_left_out() {
        let item = |members: Value| {
            let mut item = json!({"id": "m", "direction": "received", "type": "text/plain", "content": "oi",
                "date": "2024-05-02T12:00:00Z"});
            item.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            read_back(&item)
        };
        assert!(item(json!({})).is_some());
        assert!(item(json!({"id": null})).is_none());
        assert!(item(json!({"date": "soon"})).is_none());
        assert!(item(json!({"type": "application/vnd.iris.ticket+json", "content": {"id": "t"}})).is_none());
        assert!(item(json!({"direction": "sent"})).is_none());
        assert!(
            item(json!({"type": "application/vnd.lime.chatstate+json", "content": {"state": "composing"}}))
                .is_none()
        );
    }
}
