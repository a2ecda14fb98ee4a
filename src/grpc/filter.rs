//! Which events a reader wants: the API's filter, checked once and then asked for every event.

use crate::domain::action::agent_identity_of;
use crate::domain::event::EVENT_TYPES;
use crate::domain::{Event, canonical_ticket_id};
use crate::grpc::convert::Faults;
use crate::grpc::pb;

/// The most values in one field.
const VALUES_MAX: usize = 1_000;

/// A filter that lets not everything pass. A field without values matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    bots: Vec<String>,
    /// Only where types are told; may then be empty, and lets nothing pass.
    types: Option<Vec<&'static str>>,
    ticket_ids: Vec<String>,
    teams: Vec<String>,
    agents: Vec<String>,
    customers: Vec<String>,
}

impl Filter {
    /// Reads a filter; `None` if it lets everything pass.
    pub(super) fn of(asked: &pb::EventFilter, faults: &mut Faults) -> Option<Box<Self>> {
        let pb::EventFilter {
            bots,
            types,
            exclude_types,
            ticket_ids,
            teams,
            agent_identities,
            customer_identities,
        } = asked;
        let lists = [
            ("bots", bots),
            ("types", types),
            ("exclude_types", exclude_types),
            ("ticket_ids", ticket_ids),
            ("teams", teams),
            ("agent_identities", agent_identities),
            ("customer_identities", customer_identities),
        ];
        for (name, _) in lists.into_iter().filter(|(_, values)| values.len() > VALUES_MAX) {
            faults.add(format!("filter.{name}"), format!("must have at most {VALUES_MAX} values"));
        }
        no_empty_values(&lists, faults);
        if lists.iter().all(|(_, values)| values.is_empty()) {
            return None;
        }
        let wanted = known_types(types, "filter.types", faults);
        let unwanted = known_types(exclude_types, "filter.exclude_types", faults);
        let is_wanted =
            |name: &&'static str| (types.is_empty() || wanted.contains(name)) && !unwanted.contains(name);
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
    pub(super) fn lets(&self, event: &Event) -> bool {
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

/// An empty text matches nothing, or what nobody meant: its author forgot to fill it in.
fn no_empty_values(lists: &[(&str, &Vec<String>)], faults: &mut Faults) {
    for (name, values) in lists {
        if let Some(index) = values.iter().position(|value| value.trim().is_empty()) {
            faults.add(
                format!("filter.{name}[{index}]"),
                "must not be empty: leave it out to match everything",
            );
        }
    }
}

/// The types that `asked` names; a name that stands for none is a fault.
fn known_types(asked: &[String], field: &str, faults: &mut Faults) -> Vec<&'static str> {
    let mut known = Vec::new();
    for (index, name) in asked.iter().enumerate() {
        let matches = |known: &&'static str| match name.strip_suffix('*') {
            Some(start) => known.starts_with(start),
            None => *known == name,
        };
        let before = known.len();
        known.extend(EVENT_TYPES.into_iter().filter(matches));
        if known.len() == before && !name.trim().is_empty() {
            let all = EVENT_TYPES.join(", ");
            faults.add(format!("{field}[{index}]"), format!("matches no type of event; there are: {all}"));
        }
    }
    known
}

/// Identities are compared without regard to case.
fn same_identity(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
        || (!left.is_ascii() && !right.is_ascii() && left.to_lowercase() == right.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::convert::Invalid;
    use crate::grpc::sample;

    fn lets(asked: &pb::EventFilter) -> bool {
        let mut faults = Faults::default();
        let filter = Filter::of(asked, &mut faults);
        faults.done(()).unwrap();
        filter.is_none_or(|filter| filter.lets(&sample::message(1, "t-1", "Olá").event))
    }

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn an_event_passes_when_it_matches_every_field() {
        let filter = pb::EventFilter::default;
        assert!(lets(&filter()));
        assert!(lets(&pb::EventFilter { types: texts(&["ticket.closed", "message.*"]), ..filter() }));
        assert!(!lets(&pb::EventFilter { types: texts(&["ticket.*"]), ..filter() }));
        assert!(!lets(&pb::EventFilter {
            types: texts(&["*"]),
            exclude_types: texts(&["message.*"]),
            ..filter()
        }));
        assert!(!lets(&pb::EventFilter { exclude_types: texts(&["message.customer"]), ..filter() }));
        assert!(lets(&pb::EventFilter { ticket_ids: texts(&["t-0", "t-1"]), ..filter() }));
        assert!(!lets(&pb::EventFilter { ticket_ids: texts(&["T-1"]), ..filter() }));
        assert!(!lets(&pb::EventFilter { bots: texts(&["vendas"]), ..filter() }));
        assert!(!lets(&pb::EventFilter {
            teams: texts(&["suporte"]),
            bots: texts(&["suporte"]),
            ..filter()
        }));
    }

    #[test]
    fn people_are_named_as_one_likes() {
        let filter = pb::EventFilter::default;
        for agent in ["bia@empresa.com", "BIA@empresa.com", "Bia%40empresa.com@blip.ai"] {
            assert!(lets(&pb::EventFilter { agent_identities: texts(&[agent]), ..filter() }), "{agent}");
        }
        assert!(lets(&pb::EventFilter { customer_identities: texts(&["ANA@wa.gw.msging.net"]), ..filter() }));
        assert!(!lets(&pb::EventFilter {
            customer_identities: texts(&["eva@wa.gw.msging.net"]),
            ..filter()
        }));
    }

    #[test]
    fn an_empty_value_is_a_fault() {
        let mut faults = Faults::default();
        let ticket_ids = texts(&["t-1", ""]);
        let types = texts(&[""]);
        Filter::of(&pb::EventFilter { ticket_ids, types, ..pb::EventFilter::default() }, &mut faults);
        let Err(Invalid::Fields(faults)) = faults.done(()) else { panic!("faults") };
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["filter.types[0]", "filter.ticket_ids[1]"]);
    }

    #[test]
    fn a_name_that_stands_for_nothing_is_a_fault() {
        let mut faults = Faults::default();
        let asked = pb::EventFilter {
            types: texts(&["ticket.*", "tickets.*", "message"]),
            ..pb::EventFilter::default()
        };
        Filter::of(&asked, &mut faults);
        let Err(Invalid::Fields(faults)) = faults.done(()) else { panic!("faults") };
        assert_eq!(faults[0].field, "filter.types[1]");
        assert_eq!(faults[1].field, "filter.types[2]");
        assert!(faults[0].description.contains("message.customer"));
    }
}
