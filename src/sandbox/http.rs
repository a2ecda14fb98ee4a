//! Blip's side of the sandbox: `POST /commands`, `/messages`, `/notifications`, answered as Blip answers.
//!
//! What an envelope does runs in a task of its own: a caller that hangs up changes nothing, as in life.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::time::Instant;

use super::commands::execute;
use super::connection::Cutter;
use super::conversation::Outgoing;
use super::faults::{Facts, Kind, On};
use super::lime::{Command, member, response};
use super::shared::{Shared, now};
use super::ticket::Refusal;
use super::webhooks::{Envelope, announce_effects, enqueue};

/// The three paths of Blip's HTTP API.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/commands", post(commands))
        .route("/messages", post(messages))
        .route("/notifications", post(notifications))
}

type Connection = ConnectInfo<Cutter>;

async fn commands(
    State(shared): State<Arc<Shared>>,
    connection: Connection,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    receive(shared, On::Commands, connection, &headers, &body).await
}

async fn messages(
    State(shared): State<Arc<Shared>>,
    connection: Connection,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    receive(shared, On::Messages, connection, &headers, &body).await
}

async fn notifications(
    State(shared): State<Arc<Shared>>,
    connection: Connection,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    receive(shared, On::Notifications, connection, &headers, &body).await
}

/// What a caller gets.
#[derive(Clone, Debug)]
enum Verdict {
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
enum Incoming {
    Command(Command),
    Message(Outgoing),
    Notification { id: String, to: String, event: String },
}

async fn receive(
    shared: Arc<Shared>,
    on: On,
    ConnectInfo(cutter): Connection,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    if !authorized(headers, &shared.bot.key) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let envelope: Value = match serde_json::from_slice(body) {
        Ok(envelope) => envelope,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let incoming = match read(on, &envelope) {
        Ok(incoming) => incoming,
        Err(error) => return (StatusCode::BAD_REQUEST, error).into_response(),
    };
    let task = shared.tracker.spawn(take(Arc::clone(&shared), on, envelope, incoming));
    match task.await.unwrap_or(Verdict::Cut) {
        Verdict::Cut => {
            cutter.cut();
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Verdict::Answer { status, body, retry_after } => {
            let is_json = body.first() == Some(&b'{');
            let mut response = (status, body).into_response();
            let kind = if is_json { "application/json" } else { "text/plain" };
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
    }
}

/// Blip wants `Authorization: Key …`.
fn authorized(headers: &HeaderMap, key: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' '));
    given.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("key") && given.trim() == key)
}

fn read(on: On, envelope: &Value) -> Result<Incoming, &'static str> {
    let text = |name: &str| member(envelope, name).and_then(Value::as_str).map(str::to_owned);
    match on {
        On::Commands => Command::read(envelope).map(Incoming::Command),
        On::Messages | On::Webhooks => Ok(Incoming::Message(Outgoing {
            id: text("id"),
            to: text("to").ok_or("a message needs a destination")?,
            media_type: text("type").ok_or("a message needs a type")?,
            content: member(envelope, "content").cloned().ok_or("a message needs a content")?,
            metadata: member(envelope, "metadata").cloned(),
        })),
        On::Notifications => Ok(Incoming::Notification {
            id: text("id").ok_or("a notification needs the id of its message")?,
            to: text("to").unwrap_or_default(),
            event: text("event").ok_or("a notification needs an event")?,
        }),
    }
}

/// Takes an envelope: the quota, then a fault if one is laid, then the effect.
async fn take(shared: Arc<Shared>, on: On, envelope: Value, incoming: Incoming) -> Verdict {
    let (number, admitted, fault) = {
        let mut state = shared.state();
        let facts = facts(&envelope);
        state.desk.effects_of(facts.id).requests += 1;
        let quota = state.settings.quota.clone();
        let admitted = quota.is_none_or(|quota| state.buckets.admit(&quota, on, Instant::now()));
        let fault = if admitted { state.faults.take(on, facts) } else { None };
        (state.record_request(on, envelope, fault.clone()), admitted, fault)
    };
    shared.changed();
    let verdict = if admitted {
        misbehave(&shared, &incoming, fault).await
    } else {
        Verdict::bare(StatusCode::TOO_MANY_REQUESTS)
    };
    if let Verdict::Answer { status, .. } = &verdict {
        shared.state().record_answer(number, status.as_u16());
    }
    verdict
}

fn facts(envelope: &Value) -> Facts<'_> {
    let text = |name: &str| member(envelope, name).and_then(Value::as_str).unwrap_or_default();
    Facts {
        id: text("id"),
        media_type: text("type"),
        method: text("method"),
        uri: text("uri"),
        holding: false,
    }
}

/// Applies the envelope, or not, and answers, or not, as the fault will have it.
async fn misbehave(shared: &Arc<Shared>, incoming: &Incoming, fault: Option<Kind>) -> Verdict {
    match fault {
        None => apply(shared, incoming),
        Some(Kind::Delay { ms, applied }) => {
            let early = applied.then(|| apply(shared, incoming));
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                () = shared.stop.cancelled() => return Verdict::Cut,
            }
            early.unwrap_or_else(|| apply(shared, incoming))
        }
        Some(Kind::Status { code, body, retry_after, applied }) => {
            if applied {
                apply(shared, incoming);
            }
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Verdict::Answer { status, body: body.unwrap_or_default().into_bytes(), retry_after }
        }
        Some(Kind::DropAfter) => {
            apply(shared, incoming);
            Verdict::Cut
        }
        Some(Kind::Failure { code, description, applied }) => {
            if applied {
                apply(shared, incoming);
            }
            fail(shared, incoming, Refusal { code, description })
        }
        Some(Kind::Hang { applied }) => {
            if applied {
                apply(shared, incoming);
            }
            shared.stop.cancelled().await;
            Verdict::Cut
        }
        // The last three cannot be laid here.
        Some(Kind::DropBefore | Kind::Duplicate | Kind::Reorder | Kind::Lose) => Verdict::Cut,
    }
}

fn fail(shared: &Shared, incoming: &Incoming, refusal: Refusal) -> Verdict {
    match incoming {
        Incoming::Command(command) => Verdict::json(response(command, &shared.bot.identity, &Err(refusal))),
        Incoming::Message(_) | Incoming::Notification { .. } => Verdict::bare(StatusCode::ACCEPTED),
    }
}

/// Does what the envelope asks.
fn apply(shared: &Arc<Shared>, incoming: &Incoming) -> Verdict {
    let mut state = shared.state();
    let verdict = match incoming {
        Incoming::Command(command) => {
            let result = execute(&mut state.desk, command, now());
            Verdict::json(response(command, &shared.bot.identity, &result))
        }
        Incoming::Message(message) => {
            let delivered = state.desk.deliver(message, now());
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
            state.desk.notified(id, to, event, now());
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
        metadata: Some(serde_json::json!({ "#message.to": customer })),
    }
}
