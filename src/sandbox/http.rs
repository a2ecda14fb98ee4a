//! Blip's side of the sandbox: `POST /commands`, `/messages`, `/notifications`, answered as Blip answers.
//!
//! What an envelope does runs in a task of its own, in [`super::perform`]: a caller that hangs up changes nothing,
//! as in life.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;

use super::connection::Cutter;
use super::conversation::Outgoing;
use super::faults::On;
use super::lime::{Command, member};
use super::perform::{Incoming, Verdict, take};
use super::shared::Shared;

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

async fn receive(
    shared: Arc<Shared>,
    on: On,
    ConnectInfo(cutter): Connection,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    if let Some(response) = shared.turned_away(&cutter).await {
        return response;
    }
    let Some(by) = shared.account(headers) else { return StatusCode::UNAUTHORIZED.into_response() };
    let envelope: Value = match serde_json::from_slice(body) {
        Ok(envelope) => envelope,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let incoming = match read(on, &envelope) {
        Ok(incoming) => incoming,
        Err(error) => return (StatusCode::BAD_REQUEST, error).into_response(),
    };
    let task = shared.tracker.spawn(take(Arc::clone(&shared), on, by, envelope, incoming));
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

fn read(on: On, envelope: &Value) -> Result<Incoming, &'static str> {
    let text = |name: &str| member(envelope, name).and_then(Value::as_str).map(str::to_owned);
    match on {
        On::Commands => Command::read(envelope).map(Incoming::Command),
        On::Messages | On::Webhooks | On::Media => Ok(Incoming::Message(Outgoing {
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
