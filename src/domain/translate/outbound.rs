//! What is asked of Desk, as LIME.

use serde_json::{Map, Value, json};

use super::{DESK, DESK_POSTMASTER};
use crate::domain::action::{Action, NewTicket, OutboundMessage, RawCommand};
use crate::lime::command::{message_json, notification_json};
use crate::lime::document;
use crate::lime::node::encode_component;
use crate::lime::{Command, LimeUri, Method};

/// One thing to send; an action is one or more, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A command; `sets_state` where sending it twice is sending it once.
    Command {
        /// What to send.
        command: Command,
        /// Safe to repeat.
        sets_state: bool,
    },
    /// A message, as JSON; never repeated once perhaps sent.
    Message(Vec<u8>),
}

/// How the URI that labels a ticket ends.
pub(super) const CHANGE_TAGS: &str = "/change-tags";

/// What to send for `action`, under ids derived from `id`: every attempt carries the same.
pub fn steps_of(id: &str, ticket_id: &str, action: &Action) -> Vec<Step> {
    let id = id.to_owned();
    match action {
        Action::Assign { agent_identity } => {
            let resource = json!({"id": ticket_id, "status": "Open", "agentIdentity": agent_identity});
            vec![set(id, "/tickets/change-status".to_owned(), resource, true)]
        }
        Action::Send(message) => {
            let OutboundMessage { content, document, metadata, agent_identity: _ } = message.as_ref();
            let to = ticket_node(ticket_id);
            vec![Step::Message(message_json(Some(&id), &to, &content.media_type, document, metadata))]
        }
        Action::Close { by, tags, closed_by, without_redirect } => {
            let mut steps = Vec::new();
            if !tags.is_empty() {
                steps.push(label(format!("{id}-tags"), ticket_id, tags));
            }
            let mut resource = json!({"id": ticket_id, "status": by.status().as_blip()});
            add(&mut resource, "closedBy", closed_by);
            let uri = if *without_redirect {
                "/tickets/change-status-without-redirect"
            } else {
                "/tickets/change-status"
            };
            steps.push(set(id, uri.to_owned(), resource, true));
            steps
        }
        Action::Finish { closed_by, tags } => {
            let mut resource = json!({});
            add(&mut resource, "closedBy", closed_by);
            if !tags.is_empty()
                && let Some(object) = resource.as_object_mut()
            {
                object.insert("tags".to_owned(), json!(tags));
            }
            vec![set(id, about(ticket_id, "/close"), resource, false)]
        }
        Action::Transfer { team, agent_identity } => {
            let mut resource = json!({});
            add(&mut resource, "agentIdentity", agent_identity);
            add(&mut resource, "team", team);
            vec![set(id, about(ticket_id, "/transfer"), resource, false)]
        }
        Action::SetTags { tags } => vec![label(id, ticket_id, tags)],
        Action::Create(new) => vec![create(id, new)],
        Action::Execute(raw) => {
            let RawCommand { method, to, uri, resource } = raw.as_ref();
            let (to, uri, resource) = (to.clone(), LimeUri(uri.clone()), resource.clone());
            let command = Command { id, to, method: *method, uri, resource };
            vec![Step::Command { command, sets_state: false }]
        }
    }
}

/// The documented forms differ: text that says what the customer wants stands for itself, beside the customer in
/// the URI; everything else is a ticket's document.
fn create(id: String, new: &NewTicket) -> Step {
    let NewTicket { customer_identity, team, agent_identity, input } = new;
    if let Some((media_type, document)) = input
        && media_type == document::TEXT
        && team.is_empty()
        && agent_identity.is_empty()
    {
        let uri = format!("/tickets/{}", encode_component(customer_identity));
        return set_document(id, uri, (media_type.clone(), document.clone()), false);
    }
    let mut resource = json!({"customerIdentity": customer_identity});
    add(&mut resource, "agentIdentity", agent_identity);
    add(&mut resource, "team", team);
    if let (Some((media_type, document)), Some(object)) = (input, resource.as_object_mut()) {
        object.insert("customerInput".to_owned(), json!({"type": media_type, "value": document}));
    }
    set(id, "/tickets".to_owned(), resource, false)
}

fn label(id: String, ticket_id: &str, tags: &[String]) -> Step {
    set(id, about(ticket_id, CHANGE_TAGS), json!({"id": ticket_id, "tags": tags}), true)
}

/// A member with a text, where there is one.
fn add(resource: &mut Value, name: &str, text: &str) {
    if let Some(object) = resource.as_object_mut().filter(|_| !text.is_empty()) {
        object.insert(name.to_owned(), text.into());
    }
}

fn about(ticket_id: &str, what: &str) -> String {
    format!("/tickets/{}{what}", encode_component(ticket_id))
}

fn set(id: String, uri: String, resource: Value, sets_state: bool) -> Step {
    set_document(id, uri, (document::TICKET.to_owned(), resource), sets_state)
}

fn set_document(id: String, uri: String, resource: (String, Value), sets_state: bool) -> Step {
    let (to, uri, resource) = (DESK_POSTMASTER.to_owned(), LimeUri(uri), Some(resource));
    Step::Command { command: Command { id, to, method: Method::Set, uri, resource }, sets_state }
}

impl Step {
    /// Where it goes.
    pub fn uri(&self) -> &str {
        match self {
            Self::Command { command, .. } => &command.uri.0,
            Self::Message(_) => "/messages",
        }
    }

    /// Whether it only labels the ticket.
    pub fn is_labels(&self) -> bool {
        self.uri().ends_with(CHANGE_TAGS)
    }
}

/// The address of a ticket on the custom channel.
fn ticket_node(ticket_id: &str) -> String {
    format!("{ticket_id}@{DESK}/Webhook")
}

/// The message that tells a ticket's customer whether an agent is typing. It has no id: nobody hears of it again.
pub fn typing(ticket_id: &str, composing: bool) -> Vec<u8> {
    let state = if composing { "composing" } else { "paused" };
    message_json(None, &ticket_node(ticket_id), document::CHAT_STATE, &json!({"state": state}), &Map::new())
}

/// The notification that a ticket's customer's message was read. Its id is the message's as it came (R§3.3).
pub fn read_receipt(ticket_id: &str, envelope_id: &str) -> Vec<u8> {
    notification_json(envelope_id, &ticket_node(ticket_id), "consumed")
}
