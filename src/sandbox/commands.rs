//! What each command does: the table of addresses, methods and URIs over [`Desk`]. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::effects::{Cause, What};
use super::lime::{Command, Document, Uri, member};
use super::model::{Account, Desk, NewTicket, StatusChange, stamp};
use super::ticket::{Read, Refusal, Status, TICKET};
use super::{contacts, listing, media, monitoring, people, rules};

/// Success, with or without a document, or a reason.
pub(crate) type Answer = Result<Option<Document>, Refusal>;

/// A command on its way through the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) by: Account,
    pub(crate) command: &'a Command,
    pub(crate) uri: &'a Uri,
    /// The segments of the URI's path, decoded.
    pub(crate) path: &'a [&'a str],
    pub(crate) now: Timestamp,
}

impl<'a> Call<'a> {
    pub(crate) fn method(&self) -> &'a str {
        &self.command.method
    }

    pub(crate) fn cause(&self, at: &'a str) -> Cause<'a> {
        Cause { envelope_id: &self.command.id, at }
    }
}

/// Carries out a command.
pub(crate) fn execute(desk: &mut Desk, by: Account, command: &Command, now: Timestamp) -> Answer {
    let uri = Uri::parse(&command.uri);
    let path: Vec<&str> = uri.path.iter().map(String::as_str).collect();
    let call = Call { by, command, uri: &uri, path: &path, now };
    if !["get", "set", "merge", "delete", "subscribe", "unsubscribe", "observe"].contains(&call.method()) {
        return Err(Refusal::new(63, "The command method is not supported"));
    }
    let domain = super::conversation::split_node(&command.to).map_or("msging.net", |(_, domain)| domain);
    match domain.to_ascii_lowercase().as_str() {
        // A router has no desk: no tickets, no attendants, no rules.
        "desk.msging.net" if by == Account::Router => Err(Refusal::not_found()),
        "desk.msging.net" => on_desk(desk, &call),
        "crm.msging.net" => contacts::contacts(desk, &call),
        "tunnel.msging.net" => contacts::tunnels(desk, &call),
        "media.msging.net" => media::execute(desk, &call),
        "msging.net" => match (call.method(), call.path) {
            ("get", ["ping"]) => Ok(Some(Document::new("application/vnd.lime.ping+json", json!({})))),
            ("get", ["threads", identity]) => listing::thread(desk, &call, identity),
            (_, ["contacts", ..]) => contacts::contacts(desk, &call),
            _ => Err(Refusal::not_supported()),
        },
        _ => Err(Refusal::new(42, "Destination not found")),
    }
}

fn on_desk(desk: &mut Desk, call: &Call<'_>) -> Answer {
    match (call.method(), call.path) {
        (_, ["teams" | "attendants" | "tags" | "replies", ..]) => people::execute(desk, call),
        (_, ["rules" | "priority-rules" | "attendance-queues", ..]) => rules::execute(desk, call),
        (_, ["monitoring", ..]) => monitoring::execute(desk, call),
        ("get", _) => listing::execute(desk, call),
        ("set", _) => set(desk, call),
        _ => Err(Refusal::not_supported()),
    }
}

fn set(desk: &mut Desk, call: &Call<'_>) -> Answer {
    let (command, now) = (call.command, call.now);
    match call.path {
        ["tickets", "change-status"] => change_status(desk, call, What::Status),
        ["tickets", "change-status-without-redirect"] => {
            change_status(desk, call, What::StatusWithoutRedirect)
        }
        ["tickets", id, "close"] => {
            desk.finish(id, command.text("closedBy"), command.texts("tags"))?;
            desk.applied(&command.id, id, What::Finish, json!(command.texts("tags")), now);
            Ok(None)
        }
        ["tickets", id, "transfer"] => {
            let (team, agent) = (command.text("team"), command.text("agentIdentity"));
            let ticket = desk.transfer(id, team.as_deref(), agent, now)?;
            desk.applied(&command.id, id, What::Transfer, json!(ticket.id), now);
            let at = stamp(now);
            desk.effects.tell(call.cause(&at), &ticket.id, What::Created, json!(ticket.parent_sequential_id));
            Ok(Some(Document::new(TICKET, Read::new(&ticket))))
        }
        ["tickets", id, "change-tags"] => {
            let tags = command.texts("tags").ok_or_else(|| Refusal::invalid("The tags are required"))?;
            desk.set_tags(id, tags.clone())?;
            desk.applied(&command.id, id, What::Tags, json!(tags), now);
            Ok(None)
        }
        ["tickets"] => create(desk, call, command.text("customerIdentity"), None),
        ["tickets", identity] if identity.contains('@') => {
            let input = json!({ "type": "text/plain", "value": command.resource });
            create(desk, call, Some((*identity).to_owned()), Some(input))
        }
        _ => Err(Refusal::not_supported()),
    }
}

fn change_status(desk: &mut Desk, call: &Call<'_>, what: What) -> Answer {
    let command = call.command;
    if !command.resource.is_object() {
        return Err(Refusal::new(22, "The document is null"));
    }
    let ticket_id = command.text("id").ok_or_else(|| Refusal::invalid("The ticket id is required"))?;
    let status = command.text("status").and_then(|word| Status::parse(&word));
    let status = status.ok_or_else(|| Refusal::new(24, "The ticket status is invalid"))?;
    let change = StatusChange {
        ticket_id: ticket_id.clone(),
        status,
        agent_identity: command.text("agentIdentity"),
        closed_by: command.text("closedBy"),
        tags: command.texts("tags"),
    };
    desk.change_status(change, call.now)?;
    let mut detail = json!({ "status": status });
    if let (true, Some(detail), Some(agent)) =
        (status.is_attended(), detail.as_object_mut(), command.text("agentIdentity"))
    {
        detail.insert("agent".to_owned(), json!(agent));
    }
    desk.applied(&command.id, &ticket_id, what, detail, call.now);
    Ok(None)
}

fn create(desk: &mut Desk, call: &Call<'_>, identity: Option<String>, input: Option<Value>) -> Answer {
    let command = call.command;
    let customer_identity = identity
        .filter(|identity| identity.contains('@'))
        .ok_or_else(|| Refusal::new(25, "The customer identity is required"))?;
    let agent_identity = command.text("agentIdentity");
    desk.check_agent(agent_identity.as_deref())?;
    let team = command.text("team").map(|team| desk.people.team(&team)).transpose()?;
    let input = input.or_else(|| member(&command.resource, "customerInput").cloned());
    let ticket = desk.open(
        NewTicket {
            customer_identity,
            agent_identity,
            team: Some(team.unwrap_or_else(|| "Default".to_owned())),
            priority: Some(0),
            customer_input: Some(input.unwrap_or_else(|| json!({}))),
            parent_sequential_id: None,
        },
        call.now,
    );
    desk.applied(&command.id, &ticket.id, What::Created, json!(ticket.customer_identity), call.now);
    Ok(Some(Document::new(TICKET, Read::new(&ticket))))
}
