//! What else there is to pull on the control side: the staff, the power, the block, the files.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{get, post, put};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ControlError;
use super::control::{answer, parse};
use super::media::Guard;
use super::power::Outage;
use super::shared::{Shared, now};

/// What `POST /media` takes, and the largest file it makes.
const MEDIA_BODY_MAX: usize = 128 << 20;

/// The paths of these.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/directory", put(set_directory))
        .route("/power", get(power).put(set_power))
        .route("/block", put(block))
        .route("/media", post(add_media).layer(DefaultBodyLimit::max(MEDIA_BODY_MAX)))
}

type App = State<Arc<Shared>>;

async fn set_directory(State(shared): App, body: Bytes) -> Result<Response, ControlError> {
    let staffing = parse(&body)?;
    let mut state = shared.state();
    let people = &mut state.desk.people;
    people.staff(staffing);
    Ok(answer(&json!({
        "teams": people.teams, "agents": people.agents, "tags": people.tags, "replies": people.replies,
    })))
}

pub(crate) fn power_view(shared: &Shared) -> Value {
    let outage = shared.power.outage();
    json!({ "on": outage.is_none(), "as": outage })
}

async fn power(State(shared): App) -> Response {
    answer(&power_view(&shared))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    on: bool,
    #[serde(rename = "as")]
    outage: Option<Outage>,
}

async fn set_power(State(shared): App, body: Bytes) -> Result<Response, ControlError> {
    let Switch { on, outage } = parse(&body)?;
    let usual = if shared.has_control { Outage::Refuse } else { Outage::Reset };
    let outage = (!on).then_some(outage.unwrap_or(usual));
    if outage == Some(Outage::Refuse) && !shared.has_control {
        return Err(ControlError::Conflict(
            "as: `refuse` would cut you off as well; start the sandbox with a control listener".into(),
        ));
    }
    tokio::select! {
        () = shared.power.turn(outage) => {}
        () = shared.stop.cancelled() => return Err(ControlError::Conflict("the sandbox is stopping".into())),
    }
    shared.changed();
    Ok(answer(&power_view(&shared)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hold {
    ms: u64,
}

async fn block(State(shared): App, body: Bytes) -> Result<Response, ControlError> {
    let Hold { ms } = parse(&body)?;
    shared.state().block.hold(Duration::from_millis(ms), Instant::now());
    Ok(answer(&json!({ "blocked_ms": ms })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFile {
    text: Option<String>,
    base64: Option<String>,
    size: Option<usize>,
    #[serde(rename = "type")]
    media_type: Option<String>,
    title: Option<String>,
    guard: Option<Guard>,
    #[serde(default)]
    expired: bool,
}

/// Makes a file, and the media link a customer may send of it.
async fn add_media(State(shared): App, body: Bytes) -> Result<Response, ControlError> {
    let NewFile { text, base64, size, media_type, title, guard, expired } = parse(&body)?;
    let bytes = match (text, base64, size) {
        (Some(text), None, None) => text.into_bytes(),
        (None, Some(text), None) => {
            STANDARD.decode(text).map_err(|error| ControlError::BadRequest(format!("base64: {error}")))?
        }
        (None, None, Some(size)) if size <= MEDIA_BODY_MAX => vec![b'x'; size],
        _ => return Err(ControlError::BadRequest("text, base64, size: give one of them".into())),
    };
    let (media_type, length) = (media_type.unwrap_or_else(|| "text/plain".to_owned()), bytes.len());
    let guard = guard.unwrap_or(Guard::Open);
    let mut state = shared.state();
    let desk = &mut state.desk;
    let id = desk.media.reserve(&mut desk.ids, guard);
    let full = |_denied| ControlError::Conflict("the sandbox holds enough files".into());
    desk.media.fill(&id, &media_type, bytes.into()).map_err(full)?;
    let at = if expired { jiff::Timestamp::UNIX_EPOCH } else { now() };
    let mut content = json!({
        "type": media_type, "uri": desk.media.link(&id, at), "size": length,
    });
    if let Some(members) = content.as_object_mut() {
        members.extend(title.map(|title| ("title".to_owned(), json!(title))));
        members.extend((guard == Guard::Keyed).then(|| ("authorizationRealm".to_owned(), json!("blip"))));
    }
    Ok(answer(&json!({ "id": id, "type": "application/vnd.lime.media-link+json", "content": content })))
}
