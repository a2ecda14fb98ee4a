//! A call that failed, as the operator's commands tell it: the sentence first, then a line for each fact that a script or
//! the gateway's log may be searched for; or all of it as one JSON object.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::{client, tail};

/// What the gateway said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) struct Failure {
    message: String,
    /// The status, as in `NotFound`.
    code: String,
    /// The reason of `docs/ERRORS.md`; empty where somebody else than the gateway answered.
    reason: String,
    /// The facts beside it, such as `command_id`.
    metadata: BTreeMap<String, String>,
    /// Fields at fault, and what is wrong with them.
    fields: Vec<(String, String)>,
    /// What the gateway's log knows the call by.
    call: String,
}

impl Failure {
    /// What `status` says.
    pub(super) fn of(status: &Status) -> Self {
        let (reason, metadata) = match status.get_details_error_info() {
            Some(info) => (info.reason, info.metadata.into_iter().collect()),
            None => (String::new(), BTreeMap::new()),
        };
        let violations = status.get_details_bad_request().map(|request| request.field_violations);
        let fields =
            violations.unwrap_or_default().into_iter().map(|at| (at.field, at.description)).collect();
        let call = status.metadata().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        Self {
            message: client::said_by(status),
            code: format!("{:?}", status.code()),
            reason,
            metadata,
            fields,
            call: call.to_owned(),
        }
    }

    /// The sentence, and in the same line by what it is found again: for one of many.
    pub(super) fn line(&self) -> String {
        let command = self.metadata.get("command_id").map(|id| format!("command_id={id}"));
        let facts = [self.reason.clone(), command.unwrap_or_default()];
        let facts = facts.into_iter().filter(|fact| !fact.is_empty()).collect::<Vec<_>>().join(", ");
        let message = tail::printable(&self.message);
        if facts.is_empty() { message } else { format!("{message} ({})", steady(&facts)) }
    }

    /// The same as an object; what is empty is left out.
    pub(super) fn to_json(&self) -> Value {
        let fields = self.fields.iter().map(|(field, what)| json!({"field": field, "description": what}));
        let all = [
            ("message", Value::from(self.message.as_str())),
            ("code", Value::from(self.code.as_str())),
            ("reason", Value::from(self.reason.as_str())),
            ("metadata", json!(self.metadata)),
            ("fieldViolations", fields.collect()),
            ("xRequestId", Value::from(self.call.as_str())),
        ];
        let is_empty = |value: &Value| match value {
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        };
        let all = all.into_iter().filter(|(_, value)| !is_empty(value));
        Value::Object(all.map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, code, reason, metadata, fields, call } = self;
        write!(out, "{} ({code})", steady(message))?;
        let mut tell = |name: &str, value: &str| match value {
            "" => Ok(()),
            value => write!(out, "\n  {}: {}", steady(name), steady(value)),
        };
        tell("reason", reason)?;
        metadata.iter().try_for_each(|(name, value)| tell(name, value))?;
        fields.iter().try_for_each(|(field, what)| tell(&format!("field {field}"), what))?;
        tell("x-request-id", call)
    }
}

/// An error of any kind as an object.
pub(super) fn json_of(error: &anyhow::Error) -> String {
    let told = match error.downcast_ref::<Failure>() {
        Some(failure) => failure.to_json(),
        None => Value::Object(Map::from_iter([("message".to_owned(), format!("{error:#}").into())])),
    };
    json!({ "error": told }).to_string()
}

/// What others wrote, whole.
fn steady(text: &str) -> String {
    tail::steady(text).collect()
}
