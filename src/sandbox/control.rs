//! The control side: to act as a customer, to look at everything, to make it misbehave. Plain JSON, described in
//! [`crate::sandbox`].

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::faults::Fault;
use super::handle::Handle;
use super::shared::{Shared, State as Inner};
use super::ticket::{Customer, Direction};
use super::webhooks::{post_raw, release_held};
use super::{ControlError, WebhookConfig};

/// How long `GET /changes/{revision}` waits.
const CHANGES_WAIT: Duration = Duration::from_secs(20);

/// The paths of the control side.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/customers", get(customers).post(open))
        .route("/customers/{identity}", get(customer))
        .route("/customers/{identity}/messages", post(say))
        .route("/customers/{identity}/close", post(close))
        .route("/state", get(everything))
        .route("/changes/{revision}", get(changes))
        .route("/webhooks", post(raw_webhook))
        .route("/webhook", put(set_webhook))
        .route("/settings", get(settings).put(set_settings))
        .route("/faults", get(faults).post(lay_fault).delete(clear_faults))
        .route("/effects", get(effects))
        .route("/effects/{id}", get(effects_of))
        .merge(super::levers::router())
        .merge(super::elsewhere::router())
        .fallback(no_such_path)
}

type App = State<Arc<Shared>>;

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
        };
        let mut response = answer(&json!({ "error": self.to_string() }));
        *response.status_mut() = status;
        response
    }
}

/// A JSON answer.
pub(crate) fn answer(body: &impl Serialize) -> Response {
    match serde_json::to_vec_pretty(body) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A JSON body; an empty one is an object without members.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, ControlError> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ControlError::BadRequest(error.to_string()))
}

async fn open(State(shared): App, body: Bytes) -> Result<Response, ControlError> {
    Ok(answer(&Handle { shared }.open(parse(&body)?).await?))
}

async fn say(
    State(shared): App,
    Path(customer): Path<String>,
    body: Bytes,
) -> Result<Response, ControlError> {
    Ok(answer(&Handle { shared }.say(&customer, parse(&body)?).await?))
}

async fn close(
    State(shared): App,
    Path(customer): Path<String>,
    body: Bytes,
) -> Result<Response, ControlError> {
    Ok(answer(&Handle { shared }.close(&customer, parse(&body)?).await?))
}

async fn customers(State(shared): App) -> Response {
    let state = shared.state();
    let views: Vec<Value> = state.desk.customers().iter().map(|customer| view(&state, customer)).collect();
    answer(&json!({ "customers": views }))
}

async fn customer(State(shared): App, Path(identity): Path<String>) -> Result<Response, ControlError> {
    let state = shared.state();
    let found = state.desk.customer(&identity);
    let customer = found.ok_or_else(|| {
        ControlError::NotFound(format!("no customer {identity}; GET /customers lists them"))
    })?;
    Ok(answer(&view(&state, customer)))
}

/// A customer, with the tickets, and with what agents sent set apart.
fn view(state: &Inner, customer: &Customer) -> Value {
    let own = |identity: &str| identity.eq_ignore_ascii_case(&customer.identity);
    let tickets: Vec<_> =
        state.desk.tickets().iter().filter(|ticket| own(&ticket.customer_identity)).collect();
    let received: Vec<_> = customer.thread.iter().filter(|item| item.direction == Direction::Sent).collect();
    json!({
        "identity": customer.identity,
        "name": customer.name,
        "domain": customer.domain,
        "originator": customer.originator,
        "active_ticket_id": state.desk.active_ticket(&customer.identity).map(|ticket| &ticket.id),
        "tickets": tickets,
        "received": received,
        "thread": customer.thread,
        "chatstates": customer.chatstates,
    })
}

async fn everything(State(shared): App) -> Response {
    let state = shared.state();
    let revision = *shared.watch().borrow();
    answer(&json!({
        "revision": revision,
        "bot": { "name": shared.bot.name, "identity": shared.bot.identity },
        "webhook": webhook_view(&state),
        "router": { "identity": shared.router.identity },
        "power": super::levers::power_view(&shared),
        "settings": state.settings,
        "faults": faults_view(&state),
        "teams": state.desk.people.teams,
        "agents": state.desk.people.agents,
        "tags": state.desk.people.tags,
        "replies": state.desk.people.replies,
        "media": state.desk.media.view(),
        "tickets": state.desk.tickets(),
        "customers": state.desk.customers(),
        "effects": state.desk.effects.by_id(),
        "effects_by_ticket": state.desk.effects.by_ticket(),
        "notifications": state.desk.notifications,
        "delivery_totals": state.delivery_totals,
        "requests": state.requests,
        "file_requests": state.file_requests,
        "deliveries": state.deliveries,
    }))
}

/// Waits until the revision is past the one given, and tells the new one; for a while only.
async fn changes(State(shared): App, Path(revision): Path<u64>) -> Response {
    let mut watch = shared.watch();
    tokio::select! {
        // Its sender lives as long as the sandbox.
        _ = watch.wait_for(|now| *now > revision) => {}
        () = tokio::time::sleep(CHANGES_WAIT) => {}
        () = shared.stop.cancelled() => {}
    }
    let revision = *watch.borrow();
    answer(&json!({ "revision": revision }))
}

/// The target; the header's value is a secret of somebody's.
fn webhook_view(state: &Inner) -> Option<Value> {
    let webhook = state.webhook.as_ref()?;
    Some(json!({ "url": webhook.url, "header_name": webhook.header.as_ref().map(|(name, _)| name) }))
}

async fn raw_webhook(State(shared): App, body: Bytes) -> Response {
    answer(&json!({ "delivery": post_raw(&shared, body.to_vec()).await }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    url: String,
    header_name: Option<String>,
    header_value: Option<String>,
}

async fn set_webhook(State(shared): App, body: Bytes) -> Result<Response, ControlError> {
    let Target { url, header_name, header_value } = parse(&body)?;
    let header = match (header_name, header_value) {
        (Some(name), Some(value)) => Some((name, value)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(ControlError::BadRequest("header_name, header_value: give both, or neither".into()));
        }
    };
    let webhook = WebhookConfig { url, header };
    webhook.check().map_err(ControlError::BadRequest)?;
    let state = {
        Handle { shared: Arc::clone(&shared) }.set_webhook(webhook);
        shared.state()
    };
    Ok(answer(&json!({ "webhook": webhook_view(&state) })))
}

async fn settings(State(shared): App) -> Response {
    answer(&shared.state().settings)
}

async fn set_settings(State(shared): App, body: Bytes) -> Result<Response, ControlError> {
    let changes = parse(&body)?;
    let mut state = shared.state();
    let before = state.settings.weather.is_some();
    state.settings.apply(changes).map_err(ControlError::BadRequest)?;
    state.buckets.clear();
    if before && state.settings.weather.is_none() {
        release_held(&shared, &mut state);
    }
    let Inner { settings, desk, .. } = &mut *state;
    settings.tell(desk);
    Ok(answer(&state.settings))
}

fn faults_view(state: &Inner) -> Value {
    json!({ "waiting": state.faults.waiting(), "happened": state.faults.happened() })
}

async fn faults(State(shared): App) -> Response {
    answer(&faults_view(&shared.state()))
}

async fn lay_fault(State(shared): App, body: Bytes) -> Result<Response, ControlError> {
    let fault: Fault = serde_json::from_value(spelled_out(parse(&body)?))
        .map_err(|error| ControlError::BadRequest(error.to_string()))?;
    let mut state = shared.state();
    state.faults.lay(fault).map_err(ControlError::BadRequest)?;
    Ok(answer(&faults_view(&state)))
}

async fn clear_faults(State(shared): App) -> Response {
    let mut state = shared.state();
    state.faults.clear();
    release_held(&shared, &mut state);
    answer(&faults_view(&state))
}

/// Only what envelopes did: less to carry than the whole state.
async fn effects(State(shared): App) -> Response {
    let state = shared.state();
    answer(&json!({ "by_id": state.desk.effects.by_id(), "by_ticket": state.desk.effects.by_ticket() }))
}

async fn effects_of(State(shared): App, Path(id): Path<String>) -> Response {
    answer(&shared.state().desk.effects.id(&id))
}

async fn no_such_path() -> ControlError {
    ControlError::NotFound(
        "no such path; Blip's are POST /commands, /messages, /notifications, ours /customers, /tickets, /state, \
         /effects, /changes, /webhooks, /webhook, /settings, /faults, /power, /block, /directory, /media"
            .into(),
    )
}

/// `{"kind": "delay", "ms": 5}` and `{"kind": {"delay": {"ms": 5}}}` mean the same.
fn spelled_out(mut fault: Map<String, Value>) -> Value {
    let kind = fault.get("kind").and_then(Value::as_str).map(str::to_owned);
    if let Some(kind) = kind {
        let named = ["on", "match", "times", "skip", "kind"];
        let details: Map<String, Value> = fault
            .iter()
            .filter(|(name, _)| !named.contains(&name.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let bare = ["drop_before", "drop_after", "duplicate", "reorder", "lose"].contains(&kind.as_str());
        if !bare {
            fault.retain(|name, _| named.contains(&name.as_str()));
            fault.insert("kind".to_owned(), json!({ kind: details }));
        }
    }
    Value::Object(fault)
}
