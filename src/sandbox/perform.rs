//! What an envelope does, and how that may go wrong: the quota, then a fault if one is laid, then the effect.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::commands::{Answer, execute};
use super::conversation::Outgoing;
use super::faults::{Facts, Kind, On};
use super::lime::{Command, Document, member, response};
use super::model::Account;
use super::shared::{Shared, now};
use super::ticket::Refusal;
use super::webhooks::{Envelope, announce_effects, enqueue};

/// What a caller gets.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Answer {
        status: StatusCode,
        body: Vec<u8>,
        retry_after: Option<u64>,
    },
    /// The connection is cut.
    Cut,
}

impl Verdict {
    fn bare(status: StatusCode) -> Self {
        Self::Answer { status, body: Vec::new(), retry_after: None }
    }

    fn json(body: Vec<u8>) -> Self {
        Self::Answer { status: StatusCode::OK, body, retry_after: None }
    }
}

/// An envelope of one of the three kinds, well formed.
#[derive(Clone, Debug)]
pub(crate) enum Incoming {
    Command(Command),
    Message(Outgoing),
    Notification { id: String, to: String, event: String },
}

/// Takes an envelope: the quota, then a fault if one is laid, then the effect.
pub(crate) async fn take(
    shared: Arc<Shared>,
    on: On,
    by: Account,
    envelope: Value,
    incoming: Incoming,
) -> Verdict {
    let (number, admitted, fault) = {
        let mut state = shared.state();
        let resource = member(&envelope, "resource").or_else(|| member(&envelope, "content"));
        let resource = resource.map(Value::to_string).unwrap_or_default();
        let facts = facts(&envelope, &resource);
        state.desk.effects.seen(facts.id);
        let quota = state.settings.quota.clone();
        let buckets = state.buckets.entry(by).or_default();
        let admitted = quota.is_none_or(|quota| buckets.admit(&quota, on, Instant::now()));
        let fault = if admitted { state.faults.take(on, facts) } else { None };
        (state.record_request(on, by, envelope, fault.clone()), admitted, fault)
    };
    shared.changed();
    let verdict = if admitted {
        misbehave(&shared, by, &incoming, fault).await
    } else {
        Verdict::bare(StatusCode::TOO_MANY_REQUESTS)
    };
    if let Verdict::Answer { status, .. } = &verdict {
        shared.state().record_answer(number, status.as_u16());
    }
    verdict
}

fn facts<'a>(envelope: &'a Value, resource: &'a str) -> Facts<'a> {
    let text = |name: &str| member(envelope, name).and_then(Value::as_str).unwrap_or_default();
    Facts {
        id: text("id"),
        media_type: text("type"),
        method: text("method"),
        uri: text("uri"),
        to: text("to"),
        resource,
        holding: false,
    }
}

/// Applies the envelope, or not, and answers, or not, as the fault will have it.
async fn misbehave(shared: &Arc<Shared>, by: Account, incoming: &Incoming, fault: Option<Kind>) -> Verdict {
    match fault {
        None => apply(shared, by, incoming),
        Some(Kind::Delay { ms, applied }) => {
            let early = applied.then(|| apply(shared, by, incoming));
            if !shared.pause(ms).await {
                return Verdict::Cut;
            }
            early.unwrap_or_else(|| apply(shared, by, incoming))
        }
        Some(Kind::Status { code, body, retry_after, ms, applied }) => {
            if applied {
                apply(shared, by, incoming);
            }
            if !shared.pause(ms).await {
                return Verdict::Cut;
            }
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Verdict::Answer { status, body: body.unwrap_or_default().into_bytes(), retry_after }
        }
        Some(Kind::DropAfter) => {
            apply(shared, by, incoming);
            Verdict::Cut
        }
        Some(Kind::Failure { code, description, applied }) => {
            if applied {
                apply(shared, by, incoming);
            }
            fail(shared, by, incoming, Refusal { code, description })
        }
        Some(Kind::Answer { media_type, resource, applied }) => {
            if applied {
                apply(shared, by, incoming);
            }
            let Incoming::Command(command) = incoming else { return Verdict::Cut };
            let document = media_type.map(|media_type| Document { media_type, resource });
            Verdict::json(answer(shared, by, command, &Ok(document)))
        }
        Some(Kind::Hang { applied }) => {
            if applied {
                apply(shared, by, incoming);
            }
            shared.stop.cancelled().await;
            Verdict::Cut
        }
        // All but the first cannot be laid here.
        Some(Kind::DropBefore | Kind::Redirect { .. } | Kind::Duplicate | Kind::Reorder | Kind::Lose) => {
            Verdict::Cut
        }
    }
}

/// A command fails in its answer; a message is accepted, and fails later, by a notification.
fn fail(shared: &Arc<Shared>, by: Account, incoming: &Incoming, refusal: Refusal) -> Verdict {
    match incoming {
        Incoming::Command(command) => Verdict::json(answer(shared, by, command, &Err(refusal))),
        Incoming::Message(message) => {
            let mut state = shared.state();
            if let Some(id) = &message.id {
                let failed = Envelope {
                    from: "postmaster@msging.net/#az-iris2".to_owned(),
                    reason: Some(refusal),
                    ..receipt(shared, &message.to, id, "failed")
                };
                let ticket = message.to.split('@').next().unwrap_or_default();
                drop(enqueue(shared, &mut state, ticket, &failed));
            }
            Verdict::bare(StatusCode::ACCEPTED)
        }
        Incoming::Notification { .. } => Verdict::bare(StatusCode::ACCEPTED),
    }
}

/// The response to a command, in the shape the settings want.
fn answer(shared: &Shared, by: Account, command: &Command, result: &Answer) -> Vec<u8> {
    let odd = shared.state().settings.odd_shapes;
    response(command, shared.identity(by), result, odd)
}

/// Does what the envelope asks.
fn apply(shared: &Arc<Shared>, by: Account, incoming: &Incoming) -> Verdict {
    let mut state = shared.state();
    let verdict = match incoming {
        Incoming::Command(command) => {
            let result = execute(&mut state.desk, by, command, now());
            let odd = state.settings.odd_shapes;
            Verdict::json(response(command, shared.identity(by), &result, odd))
        }
        Incoming::Message(message) => {
            let delivered = if by == Account::Desk { state.desk.deliver(message, now()) } else { None };
            if let (Some((customer, Some(id))), true) = (delivered, state.settings.announce_receipts) {
                let ticket = message.to.split('@').next().unwrap_or_default();
                for event in ["received", "consumed"] {
                    let receipt = receipt(shared, &customer, &id, event);
                    drop(enqueue(shared, &mut state, ticket, &receipt));
                }
            }
            Verdict::bare(StatusCode::ACCEPTED)
        }
        Incoming::Notification { id, to, event } => {
            if by == Account::Desk {
                state.desk.notified(id, to, event, now());
            }
            Verdict::bare(StatusCode::ACCEPTED)
        }
    };
    announce_effects(shared, &mut state);
    drop(state);
    shared.changed();
    verdict
}

/// What a customer's phone says of an agent's message.
fn receipt(shared: &Shared, customer: &str, id: &str, event: &'static str) -> Envelope {
    Envelope {
        media_type: None,
        content: None,
        id: Some(id.to_owned()),
        from: customer.to_owned(),
        to: Some(shared.bot.identity.clone()),
        event: Some(event),
        reason: None,
        metadata: Some(json!({ "#message.to": customer })),
    }
}
