//! What each command does: the table of methods and URIs over [`Desk`]. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::filter::Filter;
use super::lime::{Command, Document, Uri, member};
use super::model::{Desk, NewTicket, StatusChange, TUNNEL};
use super::ticket::{Refusal, Status, TICKET};

const THREAD_MESSAGE: &str = "application/vnd.iris.thread-message+json";
const CONTACT: &str = "application/vnd.lime.contact+json";

/// Success, with or without a document, or a reason.
pub(crate) type Answer = Result<Option<Document>, Refusal>;

/// Carries out a command.
pub(crate) fn execute(desk: &mut Desk, command: &Command, now: Timestamp) -> Answer {
    let uri = Uri::parse(&command.uri);
    let path: Vec<&str> = uri.path.iter().map(String::as_str).collect();
    let domain = super::conversation::split_node(&command.to).map_or("msging.net", |(_, domain)| domain);
    match domain.to_ascii_lowercase().as_str() {
        "desk.msging.net" => match command.method.as_str() {
            "get" => get(desk, &path, &uri),
            "set" => set(desk, command, &path, now),
            "delete" => delete(desk, command, &path),
            "merge" | "subscribe" | "unsubscribe" | "observe" => Err(Refusal::not_supported()),
            _ => Err(Refusal::new(63, "The command method is not supported")),
        },
        "crm.msging.net" => contacts(desk, command, &path),
        "tunnel.msging.net" => tunnels(desk, command, &path),
        "media.msging.net" => media(desk, command, &path),
        "msging.net" => match (command.method.as_str(), path.as_slice()) {
            ("get", ["ping"]) => Ok(Some(Document::new("application/vnd.lime.ping+json", json!({})))),
            (_, ["contacts", ..]) => contacts(desk, command, &path),
            _ => Err(Refusal::not_supported()),
        },
        _ => Err(Refusal::new(42, "Destination not found")),
    }
}

fn set(desk: &mut Desk, command: &Command, path: &[&str], now: Timestamp) -> Answer {
    match path {
        ["tickets", "change-status" | "change-status-without-redirect"] => {
            change_status(desk, command, now)?;
            desk.applied(&command.id, |effects| &mut effects.status_changes);
            Ok(None)
        }
        ["tickets", id, "close"] => {
            desk.finish(id, command.text("closedBy"), command.texts("tags"))?;
            desk.applied(&command.id, |effects| &mut effects.finishes);
            Ok(None)
        }
        ["tickets", id, "transfer"] => {
            let (team, agent) = (command.text("team"), command.text("agentIdentity"));
            let ticket = desk.transfer(id, team.as_deref(), agent, now)?;
            desk.applied(&command.id, |effects| &mut effects.transfers);
            Ok(Some(Document::new(TICKET, ticket)))
        }
        ["tickets", id, "change-tags"] => {
            let tags = command.texts("tags").ok_or_else(|| Refusal::new(21, "The tags are required"))?;
            desk.set_tags(id, tags)?;
            desk.applied(&command.id, |effects| &mut effects.tag_changes);
            Ok(None)
        }
        ["tickets"] => create(desk, command, command.text("customerIdentity"), None, now),
        ["tickets", identity] if identity.contains('@') => {
            let input = json!({ "type": "text/plain", "value": command.resource });
            create(desk, command, Some((*identity).to_owned()), Some(input), now)
        }
        ["attendants"] => {
            add_attendants(desk, &command.resource)?;
            desk.applied(&command.id, |effects| &mut effects.other_changes);
            Ok(None)
        }
        _ => Err(Refusal::not_supported()),
    }
}

fn change_status(desk: &mut Desk, command: &Command, now: Timestamp) -> Result<(), Refusal> {
    if !command.resource.is_object() {
        return Err(Refusal::new(22, "The document is null"));
    }
    let ticket_id = command.text("id").ok_or_else(|| Refusal::new(21, "The ticket id is required"))?;
    let status = command.text("status").and_then(|word| Status::parse(&word));
    let status = status.ok_or_else(|| Refusal::new(24, "The ticket status is invalid"))?;
    let change = StatusChange {
        ticket_id,
        status,
        agent_identity: command.text("agentIdentity"),
        closed_by: command.text("closedBy"),
        tags: command.texts("tags"),
    };
    desk.change_status(change, now)
}

fn create(
    desk: &mut Desk,
    command: &Command,
    identity: Option<String>,
    input: Option<Value>,
    now: Timestamp,
) -> Answer {
    let customer_identity = identity
        .filter(|identity| identity.contains('@'))
        .ok_or_else(|| Refusal::new(25, "The customer identity is required"))?;
    let team = command.text("team").map(|team| desk.team(&team)).transpose()?;
    let input = input.or_else(|| member(&command.resource, "customerInput").cloned());
    let ticket = desk.open(
        NewTicket {
            customer_identity,
            agent_identity: command.text("agentIdentity"),
            team: Some(team.unwrap_or_else(|| "Default".to_owned())),
            priority: Some(0),
            customer_input: Some(input.unwrap_or_else(|| json!({}))),
            parent_sequential_id: None,
        },
        now,
    );
    desk.applied(&command.id, |effects| &mut effects.tickets_created);
    Ok(Some(Document::new(TICKET, ticket)))
}

fn get(desk: &Desk, path: &[&str], uri: &Uri) -> Answer {
    match path {
        ["ticket", id] => Ok(Some(Document::new(TICKET, desk.ticket(id)?))),
        ["tickets"] => tickets(desk, uri),
        ["tickets", "history", "metadata"] => {
            let filter = uri.param("filter").map(Filter::parse).transpose()?;
            let found =
                wire(desk).filter(|ticket| filter.as_ref().is_none_or(|filter| filter.accepts(ticket)));
            let with_metadata = found.map(|mut ticket| {
                ticket.insert("metadata".to_owned(), json!([]));
                ticket
            });
            Ok(Some(Document::page(TICKET, with_metadata, uri.page(20)?)))
        }
        ["tickets", id, "messages"] => messages(desk, id, uri),
        ["teams"] => Ok(Some(teams(desk, |_| 0))),
        ["teams", "agents-online"] => Ok(Some(teams(desk, |team| {
            let here = desk.agents.iter().filter(|agent| agent.status == "Online");
            here.filter(|agent| agent.teams.iter().any(|name| name == team)).count()
        }))),
        ["attendants"] => {
            Ok(Some(Document::page("application/vnd.iris.desk.attendant+json", &desk.agents, uri.page(20)?)))
        }
        ["tags", "active"] => Ok(Some(tags(desk))),
        ["replies"] => Ok(Some(categories(desk, uri.page(20)?))),
        ["replies", category] => {
            let wanted = |reply: &&Value| {
                reply
                    .get("category")
                    .and_then(Value::as_str)
                    .is_some_and(|name| name.eq_ignore_ascii_case(category))
            };
            let found = desk.replies.iter().filter(wanted);
            Ok(Some(Document::page("application/vnd.iris.desk.custom-reply+json", found, uri.page(100)?)))
        }
        ["monitoring", "tickets"] => Ok(Some(summary(desk))),
        _ => Err(Refusal::not_supported()),
    }
}

fn delete(desk: &mut Desk, command: &Command, path: &[&str]) -> Answer {
    let ["attendants", identity] = path else { return Err(Refusal::not_supported()) };
    let before = desk.agents.len();
    desk.agents.retain(|agent| !agent.identity.eq_ignore_ascii_case(identity));
    if desk.agents.len() == before {
        return Err(Refusal::not_found());
    }
    desk.applied(&command.id, |effects| &mut effects.other_changes);
    Ok(None)
}

/// Without `$closed=true`, and without a word of the status, a list is of the tickets that are not closed.
fn tickets(desk: &Desk, uri: &Uri) -> Answer {
    let page = uri.page(20)?;
    let filter = uri.param("filter").map(Filter::parse).transpose()?;
    let by_status =
        filter.as_ref().is_some_and(|filter| filter.mentions("status") || filter.mentions("closed"));
    let closed = uri.flag("closed");
    let found = wire(desk).filter(|ticket| {
        let is_closed = ticket.get("closed").and_then(Value::as_bool).unwrap_or_default();
        let kind = if closed { is_closed } else { by_status || !is_closed };
        kind && filter.as_ref().is_none_or(|filter| filter.accepts(ticket))
    });
    Ok(Some(Document::page(TICKET, found, page)))
}

/// The tickets as objects of the wire, for filters to look at.
fn wire(desk: &Desk) -> impl Iterator<Item = Map<String, Value>> {
    desk.tickets().iter().filter_map(|ticket| json!(ticket).as_object().cloned())
}

/// The conversation of the ticket's customer, all of it, newest first unless asked otherwise.
fn messages(desk: &Desk, id: &str, uri: &Uri) -> Answer {
    let page = uri.page(20)?;
    let ticket = desk.ticket(id)?;
    let behind_router = ticket.customer_identity.to_ascii_lowercase().ends_with(TUNNEL);
    let hidden = behind_router && !uri.flag("getFromOwnerIfTunnel");
    let only_ticket = uri.flag("attendanceTranscriptionOnly");
    let thread = desk.customer(&ticket.customer_identity).map(|customer| customer.thread.as_slice());
    let mut items: Vec<_> = thread
        .unwrap_or_default()
        .iter()
        .filter(|item| !hidden && (!only_ticket || item.ticket_id.as_deref() == Some(ticket.id.as_str())))
        .collect();
    if !uri.flag("ascending") {
        items.reverse();
    }
    Ok(Some(Document::page(THREAD_MESSAGE, items, page)))
}

fn teams(desk: &Desk, online: impl Fn(&str) -> usize) -> Document {
    let teams = desk.teams.iter().map(|name| json!({ "name": name, "agentsOnline": online(name) }));
    Document::page("application/vnd.iris.desk.team+json", teams, (0, usize::MAX))
}

fn tags(desk: &Desk) -> Document {
    let mut counts = std::collections::BTreeMap::<&str, (u64, u64)>::new();
    for name in ["vendas", "suporte", "financeiro"] {
        counts.insert(name, (0, 0));
    }
    for ticket in desk.tickets() {
        for tag in &ticket.tags {
            let (closed, all) = counts.entry(tag).or_default();
            *closed += u64::from(ticket.closed);
            *all += 1;
        }
    }
    let items = counts
        .into_iter()
        .map(|(name, (closed, all))| json!({ "name": name, "closedTickets": closed, "ticketsCount": all }));
    Document::page("application/vnd.iris.desk.tag-tickets-summary+json", items, (0, usize::MAX))
}

fn categories(desk: &Desk, page: (usize, usize)) -> Document {
    let mut names: Vec<&str> =
        desk.replies.iter().filter_map(|reply| reply.get("category")?.as_str()).collect();
    names.dedup();
    let items =
        names.into_iter().map(|name| json!({ "id": name, "category": name, "isDynamicContent": false }));
    Document::page("application/vnd.iris.desk.custom-reply+json", items, page)
}

fn summary(desk: &Desk) -> Document {
    let count = |status: Status| desk.tickets().iter().filter(|ticket| ticket.status == status).count();
    let closed = desk.tickets().iter().filter(|ticket| ticket.closed).count();
    Document::new(
        "application/vnd.iris.desk.ticketssummary+json",
        json!({
            "waiting": count(Status::Waiting),
            "open": count(Status::Open) + count(Status::Assigned),
            "closed": closed,
            "closedAttendant": count(Status::ClosedAttendant),
            "closedClient": count(Status::ClosedClient) + count(Status::ClosedClientInactivity),
            "transferred": count(Status::Transferred),
            "missed": 0,
        }),
    )
}

fn add_attendants(desk: &mut Desk, resource: &Value) -> Result<(), Refusal> {
    let one = std::slice::from_ref(resource);
    let items = member(resource, "items").and_then(Value::as_array).map_or(one, Vec::as_slice);
    for item in items {
        let identity = member(item, "identity").and_then(Value::as_str);
        let identity = identity.ok_or_else(|| Refusal::new(25, "The attendant identity is required"))?;
        let email = identity.trim_end_matches("@blip.ai").replace("%40", "@");
        let teams = member(item, "teams").and_then(Value::as_array).cloned().unwrap_or_default();
        let teams: Vec<&str> = teams.iter().filter_map(Value::as_str).collect();
        let agent = super::directory::agent(&email, &email, "Offline", &teams);
        desk.agents.retain(|known| !known.identity.eq_ignore_ascii_case(identity));
        desk.agents.push(agent);
    }
    Ok(())
}

fn contacts(desk: &mut Desk, command: &Command, path: &[&str]) -> Answer {
    match (command.method.as_str(), path) {
        ("get", ["contacts", identity]) => contact(desk, identity),
        ("set" | "merge", ["contacts"]) => {
            let identity = command.text("identity").filter(|identity| identity.contains('@'));
            let identity = identity.ok_or_else(|| Refusal::new(25, "The contact identity is required"))?;
            desk.ensure_customer(&identity, None, None);
            if let (Some(customer), Some(name)) = (desk.customer_mut(&identity), command.text("name")) {
                customer.name = name;
            }
            desk.applied(&command.id, |effects| &mut effects.other_changes);
            Ok(None)
        }
        _ => Err(Refusal::not_supported()),
    }
}

fn contact(desk: &Desk, identity: &str) -> Answer {
    let customer = desk.customer(identity).ok_or_else(Refusal::not_found)?;
    let mut extras = Map::new();
    if let Some(originator) = &customer.originator {
        extras.insert("tunnel.owner".to_owned(), json!("router@msging.net"));
        extras.insert("tunnel.originator".to_owned(), json!(originator));
    }
    let contact = json!({ "identity": customer.identity, "name": customer.name, "extras": extras });
    Ok(Some(Document::new(CONTACT, contact)))
}

fn tunnels(desk: &Desk, command: &Command, path: &[&str]) -> Answer {
    let ("get", ["tunnels", name]) = (command.method.as_str(), path) else {
        return Err(Refusal::not_supported());
    };
    let customer = desk.customer(&format!("{name}@{TUNNEL}")).ok_or_else(Refusal::not_found)?;
    Ok(Some(Document::new(
        "application/vnd.iris.tunnel+json",
        json!({ "owner": "router@msging.net", "originator": customer.originator, "destination": desk.bot }),
    )))
}

fn media(desk: &mut Desk, command: &Command, path: &[&str]) -> Answer {
    match (command.method.as_str(), path) {
        ("set", ["refresh-media-uri"]) => {
            let old = command.resource.as_str().filter(|uri| !uri.is_empty());
            let old = old.ok_or_else(|| Refusal::new(22, "The document is null"))?;
            let bare = old.split('?').next().unwrap_or(old);
            Ok(Some(Document::new("text/plain", format!("{bare}?sig={}&secure=true", desk.ids.uuid()))))
        }
        ("get", ["upload-media-uri"]) => {
            let id = desk.ids.uuid();
            Ok(Some(Document::new(
                "text/plain",
                format!("https://blipmediastore.blob.core.windows.net/media/{id}"),
            )))
        }
        _ => Err(Refusal::not_supported()),
    }
}
