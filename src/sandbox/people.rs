//! Who works at the desk, and what they say: teams, agents, tags and saved replies, and the commands on them. Pure.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::commands::{Answer, Call};
use super::effects::What;
use super::lime::{Document, member};
use super::model::{Desk, stamp};
use super::ticket::{Agent, Refusal};

/// The queue of direct transfers.
pub(crate) const DIRECT_TRANSFER: &str = "DIRECT_TRANSFER";

const ATTENDANT: &str = "application/vnd.iris.desk.attendant+json";
const CUSTOM_REPLY: &str = "application/vnd.iris.desk.custom-reply+json";
const TEAM: &str = "application/vnd.iris.desk.team+json";
const TAG: &str = "application/vnd.iris.desk.tag-tickets-summary+json";

/// The people of a desk, and their words.
#[derive(Debug)]
pub(crate) struct People {
    pub(crate) teams: Vec<String>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) tags: Vec<String>,
    pub(crate) replies: Vec<Value>,
}

impl People {
    /// A few of each, to begin with.
    pub(crate) fn new() -> Self {
        let reply = |id: &str, category: &str, name: &str, document: &str| {
            json!({
                "id": id, "category": category, "name": name, "document": document,
                "type": "text/plain", "isDynamicContent": document.contains("${"),
            })
        };
        Self {
            teams: ["Default", "Suporte", "Financeiro", "Vendas", DIRECT_TRANSFER].map(String::from).into(),
            agents: vec![
                agent(
                    "Maria Souza",
                    "maria.souza@example.com",
                    "Online",
                    &["Default", "Suporte", "Financeiro"],
                ),
                agent("João Lima", "joao.lima@example.com", "Online", &["Default", "Vendas"]),
                agent("Bia Rocha", "bia.rocha@example.com", "Pause", &["Financeiro"]),
            ],
            tags: ["vendas", "suporte", "financeiro"].map(String::from).into(),
            replies: vec![
                reply("9e4a2a6c-e9c0-401f-a1b9-9cb45528a680", "greetings", "Hi friend", "Some text"),
                reply("3f2b6f0e-57b0-4a0e-9c75-0f7b3f8f6d11", "greetings", "By name", "Oi, ${contact.name}!"),
                reply(
                    "b7c1b3d2-1d7f-4a3c-8a55-6f1f0a0e9d22",
                    "billing",
                    "Second copy",
                    "Segue a segunda via.",
                ),
            ],
        }
    }

    /// The team of this name, as Desk spells it.
    pub(crate) fn team(&self, name: &str) -> Result<String, Refusal> {
        let found = self.teams.iter().find(|team| team.eq_ignore_ascii_case(name));
        found.cloned().ok_or_else(Refusal::not_found)
    }

    fn hire(&mut self, agent: Agent) {
        match self.agents.iter_mut().find(|known| known.identity.eq_ignore_ascii_case(&agent.identity)) {
            Some(known) => *known = agent,
            None => self.agents.push(agent),
        }
    }

    /// An agent who took a ticket is in service from now on.
    pub(crate) fn took(&mut self, identity: &str, now: Timestamp) {
        let known = self.agents.iter_mut().find(|known| known.identity.eq_ignore_ascii_case(identity));
        if let Some(agent) = known {
            agent.last_service_date = Some(stamp(now));
        }
    }

    fn category<'a>(&'a self, category: &'a str) -> impl Iterator<Item = &'a Value> {
        self.replies.iter().filter(move |reply| is_of(reply, category))
    }
}

fn is_of(reply: &Value, category: &str) -> bool {
    let name = reply.get("category").and_then(Value::as_str);
    name.is_some_and(|name| name.eq_ignore_ascii_case(category))
}

/// An agent by e-mail; the identity is the e-mail, encoded, at `blip.ai`.
fn agent(fullname: &str, email: &str, status: &str, teams: &[&str]) -> Agent {
    Agent {
        identity: format!("{}@blip.ai", email.replace('@', "%40")),
        fullname: fullname.to_owned(),
        email: email.to_owned(),
        teams: teams.iter().map(|&team| team.to_owned()).collect(),
        status: status.to_owned(),
        is_enabled: true,
        slots: 3,
        last_service_date: None,
    }
}

/// What `PUT /directory` of the control side takes: each list replaces the one there was.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Staffing {
    teams: Option<Vec<String>>,
    agents: Option<Vec<Newcomer>>,
    tags: Option<Vec<String>>,
    replies: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Newcomer {
    email: String,
    fullname: Option<String>,
    status: Option<String>,
    #[serde(default)]
    teams: Vec<String>,
}

impl People {
    pub(crate) fn staff(&mut self, staffing: Staffing) {
        let Staffing { teams, agents, tags, replies } = staffing;
        self.teams = teams.unwrap_or_else(|| std::mem::take(&mut self.teams));
        self.tags = tags.unwrap_or_else(|| std::mem::take(&mut self.tags));
        self.replies = replies.unwrap_or_else(|| std::mem::take(&mut self.replies));
        if let Some(agents) = agents {
            self.agents.clear();
            for Newcomer { email, fullname, status, teams } in agents {
                let teams: Vec<&str> = teams.iter().map(String::as_str).collect();
                let name = fullname.as_deref().unwrap_or(&email);
                self.hire(agent(name, &email, status.as_deref().unwrap_or("Online"), &teams));
            }
        }
    }
}

/// Carries out a command on people, teams, tags or replies.
pub(crate) fn execute(desk: &mut Desk, call: &Call<'_>) -> Answer {
    match (call.method(), call.path) {
        ("get", ["teams"]) => Ok(Some(teams(desk, |_| 0))),
        ("get", ["teams", "agents-online"]) => Ok(Some(teams(desk, |team| {
            let here = desk.people.agents.iter().filter(|agent| agent.status == "Online");
            here.filter(|agent| agent.teams.iter().any(|name| name == team)).count()
        }))),
        ("get", ["attendants"]) => attendants(desk, call),
        ("get", ["tags", "active"]) => Ok(Some(tags(desk))),
        ("get", ["replies"]) => Ok(Some(categories(desk, call.uri.page(20)?))),
        ("get", ["replies", category]) => {
            let page = call.uri.page(100)?;
            Ok(Some(Document::page(CUSTOM_REPLY, desk.people.category(category), page)))
        }
        ("set", ["attendants"]) => {
            add_attendants(desk, &call.command.resource)?;
            Ok(done(desk, call))
        }
        ("delete", ["attendants", identity]) => {
            let agents = &mut desk.people.agents;
            let before = agents.len();
            agents.retain(|agent| !agent.identity.eq_ignore_ascii_case(identity));
            if agents.len() == before { Err(Refusal::not_found()) } else { Ok(done(desk, call)) }
        }
        ("set", ["replies", category]) => {
            set_replies(desk, category, &call.command.resource)?;
            Ok(done(desk, call))
        }
        ("delete", ["replies", category]) => {
            let replies = &mut desk.people.replies;
            let before = replies.len();
            replies.retain(|reply| !is_of(reply, category));
            if replies.len() == before { Err(Refusal::not_found()) } else { Ok(done(desk, call)) }
        }
        _ => Err(Refusal::not_supported()),
    }
}

fn done(desk: &mut Desk, call: &Call<'_>) -> Option<Document> {
    desk.effects.count(call.cause(&stamp(call.now)), What::Directory);
    None
}

fn teams(desk: &Desk, online: impl Fn(&str) -> usize) -> Document {
    let teams = desk.people.teams.iter().map(|name| json!({ "name": name, "agentsOnline": online(name) }));
    Document::page(TEAM, teams, (0, usize::MAX))
}

/// In the order they came, unless the command asks for the names up or down.
fn attendants(desk: &Desk, call: &Call<'_>) -> Answer {
    let page = call.uri.page(20)?;
    let mut agents: Vec<&Agent> = desk.people.agents.iter().collect();
    if call.uri.param("ascending").is_some() {
        agents.sort_by_key(|agent| agent.fullname.to_lowercase());
        if !call.uri.flag("ascending") {
            agents.reverse();
        }
    }
    let mut attended = HashMap::<String, u64>::new();
    for ticket in desk.tickets().iter().filter(|ticket| ticket.status.is_attended()) {
        let agent = ticket.agent_identity.as_deref().unwrap_or_default().to_ascii_lowercase();
        *attended.entry(agent).or_default() += 1;
    }
    let items = agents.into_iter().map(|agent| Attendant {
        agent,
        tickets_in_service: attended.get(&agent.identity.to_ascii_lowercase()).copied().unwrap_or_default(),
    });
    Ok(Some(Document::page(ATTENDANT, items, page)))
}

/// An agent as commands answer it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attendant<'a> {
    #[serde(flatten)]
    agent: &'a Agent,
    tickets_in_service: u64,
}

fn tags(desk: &Desk) -> Document {
    let mut counts = std::collections::BTreeMap::<&str, (u64, u64)>::new();
    for name in &desk.people.tags {
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
    Document::page(TAG, items, (0, usize::MAX))
}

fn categories(desk: &Desk, page: (usize, usize)) -> Document {
    let mut names: Vec<&str> = Vec::new();
    for name in desk.people.replies.iter().filter_map(|reply| reply.get("category")?.as_str()) {
        if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            names.push(name);
        }
    }
    let items =
        names.into_iter().map(|name| json!({ "id": name, "category": name, "isDynamicContent": false }));
    Document::page(CUSTOM_REPLY, items, page)
}

fn add_attendants(desk: &mut Desk, resource: &Value) -> Result<(), Refusal> {
    let one = std::slice::from_ref(resource);
    let items = member(resource, "items").and_then(Value::as_array).map_or(one, Vec::as_slice);
    let mut newcomers = Vec::new();
    for item in items {
        let identity = member(item, "identity").and_then(Value::as_str);
        let identity = identity.ok_or_else(|| Refusal::new(25, "The attendant identity is required"))?;
        let email = identity.trim_end_matches("@blip.ai").replace("%40", "@");
        let teams = member(item, "teams").and_then(Value::as_array).cloned().unwrap_or_default();
        let teams: Vec<&str> = teams.iter().filter_map(Value::as_str).collect();
        newcomers.push(agent(&email, &email, "Offline", &teams));
    }
    for newcomer in newcomers {
        desk.people.hire(newcomer);
    }
    Ok(())
}

/// Replaces a category's replies, and so makes the category if it is new.
fn set_replies(desk: &mut Desk, category: &str, resource: &Value) -> Result<(), Refusal> {
    let items = member(resource, "items").and_then(Value::as_array);
    let items = items.ok_or_else(|| Refusal::new(22, "The document is null"))?;
    let named = items.iter().map(|item| {
        let text = |name: &str| member(item, name).and_then(Value::as_str).map(str::to_owned);
        json!({
            "id": text("id").unwrap_or_else(|| category.to_owned()),
            "category": category,
            "name": text("name"),
            "document": member(item, "document"),
            "type": text("type").unwrap_or_else(|| "text/plain".to_owned()),
            "isDynamicContent": member(item, "isDynamicContent").and_then(Value::as_bool).unwrap_or_default(),
        })
    });
    let named: Vec<Value> = named.collect();
    desk.people.replies.retain(|reply| !is_of(reply, category));
    desk.people.replies.extend(named);
    Ok(())
}
