//! Which field of a request Blip's refusal is about. Blip names none: it is the one that says what Blip is to take, or that
//! the code speaks of.

use crate::domain::Fault;
use crate::grpc::convert::request::Said;

/// LIME's code for an identity that is none.
const IDENTITY_INVALID: &str = "25";
/// LIME's code for an originator or a destination that is none.
const DESTINATION_INVALID: &str = "26";
/// LIME's code for a method or a URI that is none.
const URI_INVALID: &str = "27";

/// The field of `method`'s request, for a refusal that finds fault with what was asked.
pub(super) fn field_of(method: &str, fault: &Fault, said: Said) -> Option<&'static str> {
    // The labels that go before a close.
    if method == "Close" && told(fault, "blip_uri").is_some_and(|uri| uri.ends_with("/change-tags")) {
        return Some("tags");
    }
    match (method, told(fault, "blip_code")) {
        ("ExecuteCommand", Some(IDENTITY_INVALID | DESTINATION_INVALID)) => Some("to"),
        ("ExecuteCommand", Some(URI_INVALID)) => Some("uri"),
        ("ExecuteCommand", _) => Some("resource"),
        // A team is no identity.
        ("Assign", _) | ("Transfer", Some(IDENTITY_INVALID | DESTINATION_INVALID)) => Some("agent"),
        ("Send", _) => match said {
            Said::In(field) => Some(field),
            Said::AsUsual | Said::InCommand => Some("content"),
        },
        ("Transfer", _) => Some("team"),
        ("SetTags", _) => Some("tags"),
        ("Create", _) => Some("customer_identity"),
        ("Close" | "Finish", _) => Some("ticket_id"),
        _ => None,
    }
}

/// The same of what is not recorded; about no ticket, where `ticket_id` is empty.
pub(super) fn field_of_read(fault: &Fault, said: Said, ticket_id: &str) -> Option<&'static str> {
    match (said, told(fault, "blip_code")) {
        (Said::In(field), _) => Some(field),
        (Said::InCommand, Some(IDENTITY_INVALID | DESTINATION_INVALID)) => Some("to"),
        (Said::InCommand, _) => Some("uri"),
        (Said::AsUsual, _) => Some("ticket_id").filter(|_| !ticket_id.is_empty()),
    }
}

fn told<'a>(fault: &'a Fault, name: &str) -> Option<&'a str> {
    fault.metadata.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}
