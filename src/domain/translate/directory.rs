//! What is asked of Blip's directories, and how their answers are read: by shape, never by the type they say. What
//! cannot be read is left out; nothing here fails.

use serde_json::{Map, Value};

use super::DESK_POSTMASTER;
use super::content::content_of;
use crate::domain::content::{Contact, ContentKind};
use crate::domain::directory::{Agent, CustomReply, CustomerCard, Team};
use crate::lime::document::{self, MediaType, Members};
use crate::lime::node::{decode_component, encode_component};
use crate::lime::{Command, Identity, LimeUri, Method, text_of};

#[cfg(test)]
mod tests;

/// Who knows whom a router's tunnel leads to.
const TUNNEL_POSTMASTER: &str = "postmaster@tunnel.msging.net";
/// Who renews links to files.
const MEDIA_POSTMASTER: &str = "postmaster@media.msging.net";
/// The domain of customers behind a router.
const TUNNEL: &str = "tunnel.msging.net";
/// What an agent's status stands for where it is a number.
const STATUSES: [&str; 4] = ["Offline", "Pause", "Online", "Invisible"];

/// The most items Blip lists at a time.
pub const TAKE_MAX: usize = 100;

/// A list of a bot's desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// The people.
    Agents,
    /// The teams, all of them.
    Teams,
    /// The teams, with how many are online.
    TeamsOnline,
    /// The tags in use.
    Tags,
    /// The categories of saved replies.
    Categories,
    /// The saved replies of a category, by its id.
    Replies(String),
}

impl List {
    /// The URI of `take` items after the first `skip`; of a list that Blip does not page, all.
    pub fn uri(&self, skip: usize, take: usize) -> String {
        let page = format!("$skip={skip}&$take={take}&$ascending=true");
        match self {
            Self::Agents => format!("/attendants?{page}"),
            Self::Teams => "/teams".to_owned(),
            Self::TeamsOnline => "/teams/agents-online".to_owned(),
            Self::Tags => "/tags/active".to_owned(),
            Self::Categories => format!("/replies?{page}"),
            Self::Replies(category) => format!("/replies/{}?{page}", encode_component(category)),
        }
    }
}

/// The command that reads a list by its URI.
pub fn list_command(id: &str, uri: &str) -> Command {
    get(id, DESK_POSTMASTER, uri.to_owned())
}

/// The command that reads a customer's contact, kept by `crm`.
pub fn contact_command(id: &str, crm: &str, identity: &Identity) -> Command {
    get(id, crm, format!("/contacts/{}", encode_component(&identity.to_string())))
}

/// The command that tells, with a router's key, who is behind one of its tunnels.
pub fn tunnel_command(id: &str, identity: &Identity) -> Command {
    get(id, TUNNEL_POSTMASTER, format!("/tunnels/{}", encode_component(&identity.name)))
}

/// The command that renews a link.
pub fn refresh_command(id: &str, uri: &str) -> Command {
    let resource = Some((document::TEXT.to_owned(), Value::from(uri)));
    Command { method: Method::Set, resource, ..get(id, MEDIA_POSTMASTER, "/refresh-media-uri".to_owned()) }
}

/// The command that asks where a file may go.
pub fn upload_command(id: &str, secure: bool) -> Command {
    get(id, MEDIA_POSTMASTER, format!("/upload-media-uri?secure={secure}"))
}

fn get(id: &str, to: &str, uri: String) -> Command {
    Command { id: id.to_owned(), to: to.to_owned(), method: Method::Get, uri: LimeUri(uri), resource: None }
}

/// Whether a customer is known by a router's tunnel only.
pub fn is_tunnel(identity: &Identity) -> bool {
    identity.is_at(TUNNEL)
}

/// The items of a list, however it is put: a collection, an array, or the only item itself.
pub fn items_of(resource: Value) -> Vec<Value> {
    match resource {
        Value::Array(items) => items,
        Value::Object(mut object) => {
            let name = object.keys().find(|name| name.eq_ignore_ascii_case("items")).cloned();
            match name.and_then(|name| object.remove(&name)) {
                Some(Value::Array(items)) => items,
                Some(Value::Null) => Vec::new(),
                Some(item) => vec![item],
                // A collection without items is an empty one.
                None if Members(&object).get("itemType").is_some() => Vec::new(),
                None if object.is_empty() => Vec::new(),
                None => vec![Value::Object(object)],
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// Reads agents; whoever has no identity is none.
pub fn agents_of(items: &[Value]) -> Vec<Agent> {
    objects(items).filter_map(agent_of).collect()
}

fn agent_of(object: &Map<String, Value>) -> Option<Agent> {
    let members = Members(object);
    let identity = text(members, "identity");
    let mut email = text(members, "email");
    if email.is_empty() {
        let name = Identity::named(&identity).map(|identity| decode_component(&identity.name));
        email = name.filter(|name| name.contains('@')).unwrap_or_default();
    }
    if identity.is_empty() && email.is_empty() {
        return None;
    }
    let teams = members.get("teams").and_then(Value::as_array);
    let status = text(members, "status");
    let numbered = status.parse().ok().and_then(|number: usize| STATUSES.get(number));
    Some(Agent {
        identity: if identity.is_empty() { Identity::agent(&email).to_string() } else { identity },
        email,
        full_name: text(members, "fullName"),
        teams: teams.into_iter().flatten().map(text_of).filter(|team| !team.is_empty()).collect(),
        status: numbered.map_or(status, |name| (*name).to_owned()),
        slots: count(members, "agentSlots").or_else(|| count(members, "slots")).unwrap_or_default(),
        tickets_in_service: count(members, "ticketsInService").unwrap_or_default(),
    })
}

/// Reads teams: all of `named`, and what `online` has beside them, with the counts of `online`, which are live.
pub fn teams_of(named: &[Value], online: &[Value]) -> Vec<Team> {
    let mut teams: Vec<Team> = objects(named).filter_map(|object| team_of(Members(object))).collect();
    for team in objects(online).filter_map(|object| team_of(Members(object))) {
        match teams.iter_mut().find(|known| known.name == team.name) {
            Some(known) => known.agents_online = team.agents_online,
            None => teams.push(team),
        }
    }
    teams
}

fn team_of(members: Members<'_>) -> Option<Team> {
    let name = Some(text(members, "name")).filter(|name| !name.is_empty())?;
    Some(Team { name, agents_online: count(members, "agentsOnline").unwrap_or_default() })
}

/// Reads tags; a bare text is one too.
pub fn tags_of(items: &[Value]) -> Vec<String> {
    let name = |item: &Value| match item {
        Value::Object(object) => text(Members(object), "name"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => text_of(item),
    };
    items.iter().map(name).filter(|name| !name.is_empty()).collect()
}

/// Reads saved replies, or their categories.
pub fn replies_of(items: &[Value]) -> Vec<CustomReply> {
    objects(items).map(|object| reply_of(Members(object))).filter(|reply| !reply.id.is_empty()).collect()
}

fn reply_of(members: Members<'_>) -> CustomReply {
    let media_type = Some(text(members, "type")).filter(|media_type| !media_type.is_empty());
    let media_type = media_type.unwrap_or_else(|| document::TEXT.to_owned());
    let content = members.get("document").cloned();
    CustomReply {
        id: text(members, "id"),
        category: text(members, "category"),
        name: text(members, "name"),
        content: content.map(|content| content_of(&MediaType::new(&media_type), content)),
        dynamic: text(members, "isDynamicContent").eq_ignore_ascii_case("true"),
    }
}

/// Reads a contact; `None` for what is none.
pub fn card_of(resource: Value) -> Option<CustomerCard> {
    let originator = |object: &Map<String, Value>| {
        let extras = Members(object).get("extras").and_then(Value::as_object);
        extras.map(|extras| named(&text(Members(extras), "tunnel.originator"))).unwrap_or_default()
    };
    let Value::Object(object) = &resource else { return None };
    if object.is_empty() {
        return None;
    }
    let originator = originator(object);
    let content = content_of(&MediaType::new(document::CONTACT), resource);
    let (contact, mut more) = if let ContentKind::Contact(contact) = content.kind {
        (contact, content.more)
    } else if let ContentKind::Json(Value::Object(object)) = content.kind {
        (Contact::default(), object)
    } else {
        return None;
    };
    more.retain(|name, _| !name.eq_ignore_ascii_case("identity"));
    Some(CustomerCard { contact, more, originator })
}

/// Who is behind a tunnel; empty where it does not say.
pub fn originator_of(resource: &Value) -> String {
    resource.as_object().map(|object| named(&text(Members(object), "originator"))).unwrap_or_default()
}

/// A link, as a text or in a document of one.
pub fn link_of(resource: &Value) -> Option<String> {
    let found = match resource {
        Value::String(text) => text.trim().to_owned(),
        Value::Object(object) => text(Members(object), "uri"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => return None,
    };
    Some(found).filter(|link| !link.is_empty())
}

/// An identity without instance; empty where there is none.
fn named(text: &str) -> String {
    let known =
        Identity::named(text).filter(|identity| !identity.name.is_empty() && !identity.domain.is_empty());
    known.map(|identity| identity.to_string()).unwrap_or_default()
}

fn objects(items: &[Value]) -> impl Iterator<Item = &Map<String, Value>> {
    items.iter().filter_map(Value::as_object)
}

fn text(members: Members<'_>, name: &str) -> String {
    members.text(name).ok().flatten().unwrap_or_default()
}

/// What is no count is not told.
fn count(members: Members<'_>, name: &str) -> Option<i32> {
    let number = members.integer(name).ok().flatten()?;
    i32::try_from(number).ok().filter(|number| *number >= 0)
}
