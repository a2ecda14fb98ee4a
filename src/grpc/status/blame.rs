//! Which field of a request Blip's refusal is about. Blip names none: it is the one that says what Blip is to take, or that
//! the code speaks of.

use crate::domain::Fault;

/// LIME's code for an identity that is none.
const IDENTITY_INVALID: &str = "25";
/// LIME's code for an originator or a destination that is none.
const DESTINATION_INVALID: &str = "26";
/// LIME's code for a method or a URI that is none.
const URI_INVALID: &str = "27";

/// The field of `method`'s request, for a refusal that finds fault with what was asked.
pub(super) fn field_of(method: &str, fault: &Fault) -> Option<&'static str> {
    let told =
        |name: &str| fault.metadata.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    // The labels that go before a close.
    if method == "Close" && told("blip_uri").is_some_and(|uri| uri.ends_with("/change-tags")) {
        return Some("tags");
    }
    match (method, told("blip_code")) {
        ("ExecuteCommand", Some(IDENTITY_INVALID | DESTINATION_INVALID)) => Some("to"),
        ("ExecuteCommand", Some(URI_INVALID)) => Some("uri"),
        ("ExecuteCommand", _) => Some("resource"),
        ("Assign", _) => Some("agent"),
        ("Send", _) => Some("content"),
        ("Transfer", _) => Some("team"),
        ("SetTags", _) => Some("tags"),
        ("Create", _) => Some("customer_identity"),
        ("Close" | "Finish", _) => Some("ticket_id"),
        _ => None,
    }
}
