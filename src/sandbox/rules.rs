//! Rules, priority rules and queues: documents that are kept as they were written, and answered in the shapes Blip
//! has for them, which do not always fit. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::commands::{Answer, Call};
use super::effects::What;
use super::lime::{Document, member};
use super::model::{Desk, stamp};
use super::ticket::Refusal;

const RULE: &str = "application/vnd.iris.desk.rule+json";
const QUEUE: &str = "application/vnd.iris.desk.attendancequeue+json";

/// What rules there are, by the first segment of their URI and by id.
#[derive(Debug, Default)]
pub(crate) struct Rules(BTreeMap<(&'static str, String), Value>);

impl Rules {
    fn of(&self, kind: &'static str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |((of, _), _)| *of == kind).map(|(_, rule)| rule)
    }
}

/// Carries out a command on rules. A priority rule is answered as a rule, and one queue as all of them.
pub(crate) fn execute(desk: &mut Desk, call: &Call<'_>) -> Answer {
    let (kind, item_type) = match call.path.first() {
        Some(&"rules") => ("rules", RULE),
        Some(&"priority-rules") => ("priority-rules", RULE),
        Some(&"attendance-queues") => ("attendance-queues", QUEUE),
        _ => return Err(Refusal::not_supported()),
    };
    match (call.method(), call.path) {
        ("get", [_]) => Ok(Some(Document::page(item_type, desk.rules.of(kind), call.uri.page(100)?))),
        ("get", ["attendance-queues", id]) => {
            find(desk, kind, id)?;
            Ok(Some(Document::page(item_type, desk.rules.of(kind), (0, usize::MAX))))
        }
        ("get", [_, id]) => Ok(Some(Document::new(item_type, find(desk, kind, id)?))),
        ("set", [_]) => {
            let rule = call.command.resource.as_object();
            let rule = rule.ok_or_else(|| Refusal::new(22, "The document is null"))?.clone();
            keep(desk, kind, rule, call);
            Ok(done(desk, call))
        }
        ("delete", [_, id]) => {
            let key = (kind, id.to_ascii_lowercase());
            desk.rules.0.remove(&key).ok_or_else(Refusal::not_found)?;
            Ok(done(desk, call))
        }
        _ => Err(Refusal::not_supported()),
    }
}

fn find<'a>(desk: &'a Desk, kind: &'static str, id: &str) -> Result<&'a Value, Refusal> {
    desk.rules.0.get(&(kind, id.to_ascii_lowercase())).ok_or_else(Refusal::not_found)
}

fn keep(desk: &mut Desk, kind: &'static str, mut rule: Map<String, Value>, call: &Call<'_>) {
    let id = call.command.text("id").unwrap_or_else(|| desk.ids.uuid());
    rule.insert("id".to_owned(), json!(id));
    rule.insert("ownerIdentity".to_owned(), json!(desk.bot));
    if member(&call.command.resource, "storageDate").is_none() {
        rule.insert("storageDate".to_owned(), json!(stamp(call.now)));
    }
    desk.rules.0.insert((kind, id.to_ascii_lowercase()), Value::Object(rule));
}

fn done(desk: &mut Desk, call: &Call<'_>) -> Option<Document> {
    desk.effects.count(call.cause(&stamp(call.now)), What::Directory);
    None
}
