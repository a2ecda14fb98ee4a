//! Which events a reader wants: the API's filter, checked once; what it lets pass is `domain`'s to say.

use crate::domain::event::EVENT_TYPES;
use crate::domain::filter::{EventFilter, Filter, stands_for};
use crate::grpc::convert::Faults;
use crate::grpc::pb;

/// The most values in one field.
const VALUES_MAX: usize = 1_000;

/// Reads a filter; `None` if it lets everything pass.
pub(super) fn filter_of(asked: &pb::EventFilter, faults: &mut Faults) -> Option<Box<Filter>> {
    Filter::of(&asked_of(asked, faults))
}

/// A filter as it was asked for, with its faults noted.
pub(super) fn asked_of(asked: &pb::EventFilter, faults: &mut Faults) -> EventFilter {
    let pb::EventFilter {
        bots,
        types,
        exclude_types,
        ticket_ids,
        teams,
        agent_identities,
        customer_identities,
    } = asked.clone();
    let asked =
        EventFilter { bots, types, exclude_types, ticket_ids, teams, agent_identities, customer_identities };
    let lists = asked.lists();
    for (name, _) in lists.iter().filter(|(_, values)| values.len() > VALUES_MAX) {
        faults.add(format!("filter.{name}"), format!("must have at most {VALUES_MAX} values"));
    }
    no_empty_values(&lists, faults);
    known_types(&asked.types, "filter.types", faults);
    known_types(&asked.exclude_types, "filter.exclude_types", faults);
    asked
}

/// The same as the API tells it.
pub(super) fn filter_to_pb(asked: &EventFilter) -> pb::EventFilter {
    let EventFilter { bots, types, exclude_types, ticket_ids, teams, agent_identities, customer_identities } =
        asked.clone();
    pb::EventFilter { bots, types, exclude_types, ticket_ids, teams, agent_identities, customer_identities }
}

/// An empty text matches nothing, or what nobody meant: its author forgot to fill it in.
fn no_empty_values(lists: &[(&str, &[String])], faults: &mut Faults) {
    for (name, values) in lists {
        if let Some(index) = values.iter().position(|value| value.trim().is_empty()) {
            faults.add(
                format!("filter.{name}[{index}]"),
                "must not be empty: leave it out to match everything",
            );
        }
    }
}

/// A name that stands for no type is a fault.
fn known_types(asked: &[String], field: &str, faults: &mut Faults) {
    for (index, name) in asked.iter().enumerate() {
        let is_known = EVENT_TYPES.into_iter().any(|known| stands_for(name, known));
        if !is_known && !name.trim().is_empty() {
            let all = EVENT_TYPES.join(", ");
            faults.add(format!("{field}[{index}]"), format!("matches no type of event; there are: {all}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::convert::Invalid;
    use crate::grpc::sample;

    fn lets(asked: &pb::EventFilter) -> bool {
        let mut faults = Faults::default();
        let filter = filter_of(asked, &mut faults);
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
        filter_of(&pb::EventFilter { ticket_ids, types, ..pb::EventFilter::default() }, &mut faults);
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
        filter_of(&asked, &mut faults);
        let Err(Invalid::Fields(faults)) = faults.done(()) else { panic!("faults") };
        assert_eq!(faults[0].field, "filter.types[1]");
        assert_eq!(faults[1].field, "filter.types[2]");
        assert!(faults[0].description.contains("message.customer"));
    }
}
