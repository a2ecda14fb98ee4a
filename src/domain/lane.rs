//! What commands must not do to one ticket, or for one customer, at the same time: the lane they go in, one after the other.

use super::action::RawCommand;
use super::ticket::canonical_ticket_id;
use super::translate::DESK;
use crate::lime::node::{Node, decode_component};

/// A customer's lane. No ticket's id has an `@`.
pub(super) fn of_customer(identity: &str) -> String {
    identity.to_ascii_lowercase()
}

/// The lane of a caller's own LIME command: the ticket, or the customer, that its URI names, or else its resource. `None`
/// where it names none, or goes to another extension than Desk.
pub(super) fn of_raw(raw: &RawCommand) -> Option<String> {
    Node::parse(&raw.to).filter(|to| to.identity.is_at(DESK))?;
    let path = raw.uri.split(['?', '#']).next().unwrap_or_default();
    // A URI may be absolute: `lime://{identity}/{path}`.
    let path =
        path.strip_prefix("lime://").map_or(Some(path), |rest| rest.split_once('/').map(|(_, path)| path))?;
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    parts
        .next()
        .filter(|list| list.eq_ignore_ascii_case("tickets") || list.eq_ignore_ascii_case("ticket"))?;
    let name = match parts.next() {
        Some(name) if !name.to_ascii_lowercase().starts_with("change-status") => decode_component(name),
        Some(_) | None => {
            let (_, resource) = raw.resource.as_ref()?;
            resource.get("id").or_else(|| resource.get("customerIdentity"))?.as_str()?.to_owned()
        }
    };
    Some(if name.contains('@') { of_customer(&name) } else { canonical_ticket_id(&name) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::lime::Method;

    fn lane(to: &str, uri: &str, resource: Value) -> Option<String> {
        let resource = Some(("application/json".to_owned(), resource));
        of_raw(&RawCommand { method: Method::Set, to: to.to_owned(), uri: uri.to_owned(), resource })
    }

    #[test]
    fn a_command_of_the_callers_own_goes_in_the_lane_of_what_it_names() {
        let id = "76f5bc38-b476-4895-a0c6-016ed1288ba0";
        let desk = "postmaster@Desk.msging.net";
        for uri in [
            format!("/tickets/{}/change-tags", id.to_uppercase()),
            format!("/ticket/{id}?$a=b"),
            format!("lime://suporte@msging.net/tickets/{id}/close"),
        ] {
            assert_eq!(lane(desk, &uri, Value::Null).as_deref(), Some(id), "{uri}");
        }
        for uri in ["/tickets/change-status", "/tickets/change-status-without-redirect"] {
            assert_eq!(lane(desk, uri, json!({"id": id})).as_deref(), Some(id));
        }
        assert_eq!(lane(desk, "/tickets/C%400mn.io", Value::Null).as_deref(), Some("c@0mn.io"));
        assert_eq!(
            lane(desk, "/tickets", json!({"customerIdentity": "C@0mn.io"})).as_deref(),
            Some("c@0mn.io")
        );
        for (to, uri) in [
            ("postmaster@crm.msging.net", format!("/tickets/{id}/close")),
            (desk, "/teams".to_owned()),
            (desk, "/tickets".to_owned()),
            (desk, "lime://x".to_owned()),
            (desk, String::new()),
        ] {
            assert_eq!(lane(to, &uri, Value::Null), None, "{to} {uri}");
        }
    }
}
