//! Media over HTTP: files behind their links, and uploads, on the sandbox's own port.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::json;

use super::connection::Cutter;
use super::faults::{Facts, Kind, On};
use super::media::{Denied, File, Media};
use super::shared::{FileRequest, Shared, State as Inner, now, now_text};

/// A file that is uploaded, at most: as large as a document may be on the channels.
const UPLOAD_BYTES_MAX: usize = 100 << 20;

/// The paths of media.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/medias/{name}", get(open))
        .route("/secure-medias/{name}", get(signed))
        .route("/media/download/{token}", get(keyed))
        .route("/upload/{id}", post(upload).put(upload).layer(DefaultBodyLimit::max(UPLOAD_BYTES_MAX)))
}

type App = State<Arc<Shared>>;
type Connection = ConnectInfo<Cutter>;

/// What a link's query says of this name, decoded.
fn part(uri: &Uri, name: &str) -> String {
    super::lime::Uri::parse(&uri.to_string()).param(name).unwrap_or_default().to_owned()
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Missing => (StatusCode::NOT_FOUND, "there is no such file"),
            Self::Expired => (StatusCode::FORBIDDEN, "the link has expired, or its signature is wrong"),
            Self::Keyless => (StatusCode::UNAUTHORIZED, "the bot's key is wanted: Authorization: Key …"),
            Self::Full => (StatusCode::INSUFFICIENT_STORAGE, "the sandbox holds enough files"),
        };
        (status, text).into_response()
    }
}

async fn open(
    State(shared): App,
    connection: Connection,
    uri: Uri,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Response {
    let id = name.trim_start_matches("Media_").to_owned();
    answer(&shared, connection, (&Method::GET, &uri, &headers), |state| serve(state.desk.media.open(&id)))
        .await
}

async fn signed(
    State(shared): App,
    connection: Connection,
    uri: Uri,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Response {
    let (se, sig) = (part(&uri, "se"), part(&uri, "sig"));
    let id = name.trim_start_matches("Media_").to_owned();
    let find = |state: &mut Inner| serve(state.desk.media.signed(&id, &se, &sig, now()));
    answer(&shared, connection, (&Method::GET, &uri, &headers), find).await
}

async fn keyed(
    State(shared): App,
    connection: Connection,
    uri: Uri,
    headers: HeaderMap,
    Path(token): Path<String>,
) -> Response {
    let has_key = shared.account(&headers).is_some();
    let find = |state: &mut Inner| serve(state.desk.media.keyed(&token, has_key));
    answer(&shared, connection, (&Method::GET, &uri, &headers), find).await
}

async fn upload(
    State(shared): App,
    connection: Connection,
    method: Method,
    uri: Uri,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let sig = part(&uri, "sig");
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or("application/octet-stream");
    let take = |state: &mut Inner| {
        if !Media::is_upload(&id, &sig) {
            return Denied::Expired.into_response();
        }
        if let Err(denied) = state.desk.media.fill(&id, kind, body.clone()) {
            return denied.into_response();
        }
        let uri = state.desk.media.link(&id, now());
        let body = json!({ "mediaUri": uri }).to_string();
        (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    let response = answer(&shared, connection, (&method, &uri, &headers), take).await;
    shared.changed();
    response
}

fn serve(found: Result<&File, Denied>) -> Response {
    let file = match found {
        Ok(file) => file,
        Err(denied) => return denied.into_response(),
    };
    let Some(bytes) = &file.bytes else { return Denied::Missing.into_response() };
    let kind = HeaderValue::from_str(&file.media_type);
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    ([(header::CONTENT_TYPE, kind)], bytes.clone()).into_response()
}

/// Does what was asked, or what a fault on `media` has in its place.
async fn answer(
    shared: &Arc<Shared>,
    ConnectInfo(cutter): Connection,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    act: impl Fn(&mut Inner) -> Response,
) -> Response {
    if let Some(response) = shared.turned_away(&cutter).await {
        return response;
    }
    let uri = uri.to_string();
    let request = FileRequest {
        at: now_text(),
        method: method.to_string(),
        uri: uri.clone(),
        by: shared.account(headers),
        has_authorization: headers.contains_key(header::AUTHORIZATION),
    };
    let fault = {
        let mut state = shared.state();
        state.record_file_request(request);
        state.faults.take(On::Media, Facts { method: method.as_str(), uri: &uri, ..Facts::default() })
    };
    let act = || act(&mut shared.state());
    let cut = || {
        cutter.cut();
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    };
    match fault {
        None => act(),
        Some(Kind::Delay { ms, .. }) => {
            if shared.pause(ms).await {
                act()
            } else {
                cut()
            }
        }
        Some(Kind::Status { code, body, retry_after, ms, .. }) => {
            if !shared.pause(ms).await {
                return cut();
            }
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = (status, body.unwrap_or_default()).into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
        Some(Kind::Redirect { location }) => {
            let location = HeaderValue::from_str(&location).unwrap_or(HeaderValue::from_static("/"));
            (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
        }
        Some(Kind::DropAfter) => halved(act(), cutter).await,
        Some(Kind::Hang { .. }) => {
            shared.stop.cancelled().await;
            cut()
        }
        // The others cannot be laid here, or are as good as a reset.
        Some(
            Kind::DropBefore
            | Kind::Failure { .. }
            | Kind::Answer { .. }
            | Kind::Duplicate
            | Kind::Reorder
            | Kind::Lose,
        ) => cut(),
    }
}

/// The first half of an answer, and then a reset.
async fn halved(response: Response, cutter: Cutter) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, UPLOAD_BYTES_MAX).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let half = bytes.slice(..bytes.len() / 2);
    let pieces = stream::unfold((Some(half), cutter), |(half, cutter)| async move {
        if let Some(half) = half {
            return Some((Ok(half), (None, cutter)));
        }
        // What there is goes out first.
        tokio::task::yield_now().await;
        cutter.cut();
        Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)), (None, cutter)))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}
