//! The odd shapes in which Blip's documents were seen: the same facts, spelled otherwise. Pure.

use serde_json::{Map, Value, json};

/// Numbers that come as text at times.
const QUOTED: [&str; 3] = ["sequentialId", "parentSequentialId", "agentSlots"];

/// Members whose spelling differs from page to page.
const RESPELLED: [(&str, &str); 3] =
    [("fullname", "fullName"), ("priority", "Priority"), ("campaignId", "CampaignId")];

/// What somebody wrote is left as it is.
const FREE: [&str; 6] = ["content", "document", "value", "customerInput", "metadata", "extras"];

/// Spells a document otherwise: numbers as text, other capitals, lists without `total` and under another type's
/// name, members nobody knows.
pub(crate) fn make_odd(resource: &mut Value) {
    match resource {
        Value::Array(items) => items.iter_mut().for_each(make_odd),
        Value::Object(members) => {
            *members = std::mem::take(members).into_iter().map(odd_member).collect();
            if members.contains_key("items") {
                members.remove("total");
            }
            if members.contains_key("customerIdentity") {
                decorate(members);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn odd_member((name, mut value): (String, Value)) -> (String, Value) {
    if !FREE.contains(&name.as_str()) {
        make_odd(&mut value);
    }
    if QUOTED.contains(&name.as_str()) && value.is_number() {
        value = Value::String(value.to_string());
    }
    if let ("itemType", Value::String(kind)) = (name.as_str(), &mut value) {
        // Typed with dashes, without, and as something else altogether.
        *kind = match kind.as_str() {
            "application/vnd.iris.ticket+json" => "application/vnd.iris.desk.open-ticket+json".to_owned(),
            known => match known.rsplit_once('.') {
                Some((before, last)) => format!("{before}.{}", last.replace('-', "")),
                None => known.to_owned(),
            },
        };
    }
    let respelled = RESPELLED.into_iter().find(|(usual, _)| *usual == name);
    (respelled.map_or(name, |(_, other)| other.to_owned()), value)
}

fn decorate(ticket: &mut Map<String, Value>) {
    ticket.insert("folderId".to_owned(), Value::Null);
    ticket.insert("isAutomaticDistribution".to_owned(), json!(true));
    ticket.insert("distributionType".to_owned(), json!("Redis"));
    if ticket.get("customerInput") == Some(&json!({})) {
        ticket.insert("customerInput".to_owned(), Value::Null);
    }
}
