//! Which events a reader wants: as it was asked for, and as it is asked of every event. What is wrong with a filter is
//! told by whoever takes it in; here, a name that stands for nothing matches nothing.

use super::action::agent_identity_of;
use super::event::EVENT_TYPES;
use super::{Event, canonical_ticket_id};

/// A filter as it was asked for: every field must match, by any of its values; one without values matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Short names.
    pub bots: Vec<String>,
    /// Names of types; a `*` at the end stands for any rest.
    pub types: Vec<String>,
    /// The same, not wanted.
    pub exclude_types: Vec<String>,
    /// Ids.
    pub ticket_ids: Vec<String>,
    /// Queues.
    pub teams: Vec<String>,
    /// Agents, by identity or e-mail.
    pub agent_identities: Vec<String>,
    /// Customers, also behind a router.
    pub customer_identities: Vec<String>,
}

impl EventFilter {
    /// Each field with its name in the API.
    pub fn lists(&self) -> [(&'static str, &[String]); 7] {
        let Self { bots, types, exclude_types, ticket_ids, teams, agent_identities, customer_identities } =
            self;
        [
            ("bots", bots),
            ("types", types),
            ("exclude_types", exclude_types),
            ("ticket_ids", ticket_ids),
            ("teams", teams),
            ("agent_identities", agent_identities),
            ("customer_identities", customer_identities),
        ]
    }
}

/// A filter that lets not everything pass. A field without values matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    bots: Vec<String>,
    /// Only where types are told; may then be empty, and lets nothing pass.
    types: Option<Vec<&'static str>>,
    ticket_ids: Vec<String>,
    teams: Vec<String>,
    agents: Vec<String>,
    customers: Vec<String>,
}

impl Filter {
    /// Makes a filter ready; `None` if it lets everything pass.
    pub fn of(asked: &EventFilter) -> Option<Box<Self>> {
        if asked.lists().iter().all(|(_, values)| values.is_empty()) {
            return None;
        }
        let EventFilter {
            bots,
            types,
            exclude_types,
            ticket_ids,
            teams,
            agent_identities,
            customer_identities,
        } = asked;
        let named = |names: &[String], known: &'static str| names.iter().any(|name| stands_for(name, known));
        let is_wanted =
            |known: &&'static str| (types.is_empty() || named(types, known)) && !named(exclude_types, known);
        let told = !types.is_empty() || !exclude_types.is_empty();
        Some(Box::new(Self {
            bots: bots.clone(),
            types: told.then(|| EVENT_TYPES.into_iter().filter(is_wanted).collect()),
            ticket_ids: ticket_ids.iter().map(|id| canonical_ticket_id(id)).collect(),
            teams: teams.clone(),
            agents: agent_identities.iter().map(|agent| agent_identity_of(agent)).collect(),
            customers: customer_identities.iter().map(|customer| customer.trim().to_owned()).collect(),
        }))
    }

    /// Whether an event is wanted.
    pub fn lets(&self, event: &Event) -> bool {
        let Self { bots, types, ticket_ids, teams, agents, customers } = self;
        let customer = |wanted: &String| {
            same_identity(wanted, &event.customer_identity)
                || same_identity(wanted, &event.resolved_customer_identity)
        };
        types.as_ref().is_none_or(|types| types.contains(&event.payload.type_name()))
            && (bots.is_empty() || bots.iter().any(|bot| **bot == *event.bot))
            && (ticket_ids.is_empty() || ticket_ids.contains(&event.ticket_id))
            && (teams.is_empty() || teams.contains(&event.team))
            && (agents.is_empty() || agents.iter().any(|agent| same_identity(agent, &event.agent_identity)))
            && (customers.is_empty() || customers.iter().any(customer))
    }
}

/// Whether a name in a filter stands for a type.
pub fn stands_for(name: &str, known: &str) -> bool {
    match name.strip_suffix('*') {
        Some(start) => known.starts_with(start),
        None => known == name,
    }
}

/// Identities are compared without regard to case.
fn same_identity(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
        || (!left.is_ascii() && !right.is_ascii() && left.to_lowercase() == right.to_lowercase())
}
