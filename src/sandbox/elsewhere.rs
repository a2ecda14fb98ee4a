//! What happens to tickets elsewhere: in Blip's own desk, by its rules, or by other clients. The gateway hears of it
//! by a webhook, or, as in life, not at all.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ControlError;
use super::control::{answer, parse};
use super::conversation::Outgoing;
use super::handle::{Handle, bad, outcome, refused};
use super::model::StatusChange;
use super::shared::{Shared, now};
use super::ticket::{Status, Ticket};
use super::webhooks::announce;

/// The paths of tickets.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/tickets/{id}", get(show).patch(edit))
        .route("/tickets/{id}/status", post(change_status))
        .route("/tickets/{id}/transfer", post(transfer))
        .route("/tickets/{id}/messages", post(send))
}

type App = State<Arc<Shared>>;

async fn show(State(shared): App, Path(id): Path<String>) -> Result<Response, ControlError> {
    let state = shared.state();
    let ticket = state.desk.ticket(&id).map_err(|_refusal| unknown(&id))?;
    let mut view = json!(ticket);
    if let Some(members) = view.as_object_mut() {
        members.insert("finished".to_owned(), json!(ticket.finished));
        members.insert("effects".to_owned(), json!(state.desk.effects.ticket(&ticket.id)));
    }
    Ok(answer(&view))
}

fn unknown(id: &str) -> ControlError {
    ControlError::NotFound(format!("no ticket {id}; GET /state lists them"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    status: String,
    agent_identity: Option<String>,
    closed_by: Option<String>,
    tags: Option<Vec<String>>,
    #[serde(default)]
    announce: bool,
}

async fn change_status(
    State(shared): App,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ControlError> {
    let Change { status, agent_identity, closed_by, tags, announce } = parse(&body)?;
    let status = Status::parse(&status).ok_or_else(|| bad("status: no such status"))?;
    let handle = Handle { shared };
    let pending = {
        let mut state = handle.shared.state();
        let ticket_id = state.desk.ticket(&id).map_err(|_refusal| unknown(&id))?.id.clone();
        let change = StatusChange { ticket_id, status, agent_identity, closed_by, tags };
        state.desk.change_status(change, now()).map_err(refused)?;
        handle.post_announcement(&mut state, announce)
    };
    handle.shared.changed();
    Ok(answer(&json!({ "ticket_id": id, "status": status, "delivery": outcome(pending).await })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Moving {
    team: Option<String>,
    agent_identity: Option<String>,
    /// The documents of the old ticket and of the new one.
    #[serde(default)]
    announce: bool,
}

async fn transfer(State(shared): App, Path(id): Path<String>, body: Bytes) -> Result<Response, ControlError> {
    let Moving { team, agent_identity, announce: wanted } = parse(&body)?;
    let (ticket, pending): (Ticket, Vec<_>) = {
        let mut state = shared.state();
        let moved = state.desk.transfer(&id, team.as_deref(), agent_identity, now());
        let announcements = state.desk.take_announcements();
        let posted = announcements.iter().filter(|_| wanted);
        let pending = posted.map(|announcement| announce(&shared, &mut state, announcement)).collect();
        (moved.map_err(refused)?, pending)
    };
    shared.changed();
    let mut deliveries = Vec::new();
    for report in pending {
        deliveries.push(outcome(Some(report)).await);
    }
    Ok(answer(&json!({ "ticket_id": ticket.id, "ticket": ticket, "deliveries": deliveries })))
}

/// Members of a ticket that somebody changes past all rules, and without a word.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    team: Option<String>,
    agent_identity: Option<String>,
    tags: Option<Vec<String>>,
    priority: Option<i64>,
    /// To make a ticket old.
    storage_date: Option<String>,
}

async fn edit(State(shared): App, Path(id): Path<String>, body: Bytes) -> Result<Response, ControlError> {
    let Edit { team, agent_identity, tags, priority, storage_date } = parse(&body)?;
    let dated = storage_date.as_ref().is_none_or(|date| date.parse::<jiff::Timestamp>().is_ok());
    if !dated {
        return Err(bad("storage_date: not a date like 2019-11-08T20:15:59.415Z"));
    }
    let ticket = {
        let mut state = shared.state();
        state.desk.ticket(&id).map_err(|_refusal| unknown(&id))?;
        state.desk.edit(&id, |ticket| {
            ticket.team = team.or_else(|| ticket.team.take());
            ticket.agent_identity = agent_identity.or_else(|| ticket.agent_identity.take());
            ticket.tags = tags.unwrap_or_else(|| std::mem::take(&mut ticket.tags));
            ticket.priority = priority.or(ticket.priority);
            ticket.storage_date = storage_date.unwrap_or_else(|| std::mem::take(&mut ticket.storage_date));
        });
        json!(state.desk.ticket(&id).ok())
    };
    shared.changed();
    Ok(answer(&ticket))
}

/// What an agent sends from elsewhere.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sending {
    id: Option<String>,
    text: Option<String>,
    #[serde(rename = "type")]
    media_type: Option<String>,
    content: Option<Value>,
    metadata: Option<Value>,
}

async fn send(State(shared): App, Path(id): Path<String>, body: Bytes) -> Result<Response, ControlError> {
    let Sending { id: message_id, text, media_type, content, metadata } = parse(&body)?;
    let content =
        text.map(Value::String).or(content).ok_or_else(|| bad("text, content: give one of them"))?;
    let item_id = {
        let mut state = shared.state();
        let ticket_id = state.desk.ticket(&id).map_err(|_refusal| unknown(&id))?.id.clone();
        let message = Outgoing {
            id: Some(message_id.unwrap_or_else(|| state.desk.ids.uuid())),
            to: format!("{ticket_id}@desk.msging.net/Webhook"),
            media_type: media_type.unwrap_or_else(|| "text/plain".to_owned()),
            content,
            metadata,
        };
        let delivered = state.desk.deliver(&message, now());
        let closed = || ControlError::Conflict(format!("the ticket {id} is closed"));
        delivered.ok_or_else(closed)?.1
    };
    shared.changed();
    Ok(answer(&json!({ "id": item_id })))
}
