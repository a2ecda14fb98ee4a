//! Around every call: its `x-request-id`, a line in the log and a count when it ends, and the refusal of new
//! calls while the gateway stops. Never sees what a call says.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::metrics::{Metrics, code_name};
use super::status;
use crate::clock::Ids;
use crate::shutdown::Shutdown;

/// What a call is known by, in responses, errors and logs alike.
const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID_NAME);
const REQUEST_ID_NAME: &str = "x-request-id";
/// The longest that a caller may choose.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// How long calls have to say themselves what is known, when the process is about to give up, before it is said for them.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Where our own services are.
const OURS: &str = "/deskgate.v1.";

/// The id of a call.
#[derive(Debug, Clone)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    fn of(headers: &HeaderMap, ids: &dyn Ids) -> Self {
        let given = headers.get(REQUEST_ID).filter(|id| {
            let bytes = id.as_bytes();
            (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
        });
        let minted = || HeaderValue::try_from(ids.next().to_string());
        Self(given.cloned().map_or_else(minted, Ok).unwrap_or(HeaderValue::from_static("none")))
    }

    /// Writes it into a response's headers or trailers.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID, self.0.clone());
    }

    /// Writes it into the trailers of a stream that ends with an error.
    pub(super) fn tell(&self, status: &mut Status) {
        if let Ok(id) = self.as_str().parse() {
            status.metadata_mut().insert(REQUEST_ID_NAME, id);
        }
    }

    fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Who calls, where callers must say so. Put among a request's extensions by whoever checks.
#[derive(Debug, Clone, Default)]
pub(super) struct Principal(pub(super) String);

/// Marks a response whose end is counted by itself, as it comes later.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountsItself;

/// Notes the end of a call.
pub(super) fn ended(metrics: &Metrics, method: &'static str, error: Option<&Status>, id: Option<&RequestId>) {
    metrics.ended(method, error.map_or(Code::Ok, Status::code));
    let Some(error) = error else { return };
    let (code, reason) = (code_name(error.code()), status::reason_of(error));
    let request_id = id.map(RequestId::as_str).unwrap_or_default();
    match error.code() {
        Code::Internal | Code::DataLoss | Code::Unknown => {
            tracing::warn!(
                rpc.method = method,
                rpc.code = code,
                reason,
                request.id = request_id,
                "rpc failed"
            );
        }
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unavailable
        | Code::Unauthenticated => {
            tracing::info!(
                rpc.method = method,
                rpc.code = code,
                reason,
                request.id = request_id,
                "rpc failed"
            );
        }
    }
}

/// What the edge needs; the same for every call.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) ids: Arc<dyn Ids>,
    pub(super) metrics: Metrics,
    pub(super) shutdown: Shutdown,
    /// Calls that are not answered yet.
    pub(super) calls: TaskTracker,
}

impl<S> Layer<S> for Edge {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { edge: Arc::new(self.clone()), inner }
    }
}

/// A service with the edge around it.
#[derive(Debug, Clone)]
pub(super) struct Guarded<S> {
    edge: Arc<Edge>,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let edge = Arc::clone(&self.edge);
        let id = RequestId::of(request.headers(), edge.ids.as_ref());
        let method = method_of(request.uri().path());
        if edge.shutdown.is_draining() && request.uri().path().starts_with(OURS) {
            let response = finish(&edge, (method, ""), &id, status::draining().into_http());
            return Box::pin(async move { Ok(response) });
        }
        // Ours are known by their method; of others the path is told if there is nothing there.
        let path = if method.is_none() { request.uri().path().to_owned() } else { String::new() };
        request.extensions_mut().insert(id.clone());
        let token = edge.calls.token();
        let answer = self.inner.call(request);
        let parting = edge.shutdown.parting().clone();
        let given_up = async move {
            parting.cancelled().await;
            tokio::time::sleep(LAST_WORD).await;
        };
        Box::pin(async move {
            let response = tokio::select! {
                // What is there to be told is told.
                biased;
                answer = answer => answer?,
                () = given_up => given_up_on(method).into_http(),
            };
            drop(token);
            Ok(finish(&edge, (method, &path), &id, response))
        })
    }
}

/// What a caller hears whose call did not say itself what is known. Of what a command began nothing is known here.
fn given_up_on(method: Option<&str>) -> Status {
    match method {
        Some("Assign" | "Send" | "Close" | "Finish" | "Transfer" | "SetTags" | "Create") => {
            status::unfinished()
        }
        // `ExecuteCommand` may be a question, which never says anything itself, while commands do.
        Some(_) | None => status::draining(),
    }
}

fn finish(
    edge: &Edge,
    (method, path): (Option<&'static str>, &str),
    id: &RequestId,
    mut response: http::Response<Body>,
) -> http::Response<Body> {
    // The server's own errors come before our code is reached.
    let bare = || Status::from_header_map(response.headers());
    let bare = response.extensions().get::<Status>().cloned().or_else(bare);
    if let Some(told) = bare.and_then(|bare| status::of_server(&bare, method, path)) {
        response = told.into_http();
    }
    id.write(response.headers_mut());
    if let Some(method) = method
        && response.extensions().get::<CountsItself>().is_none()
    {
        ended(&edge.metrics, method, response.extensions().get::<Status>(), Some(id));
    }
    response
}

/// The name of one of our methods, from a set that does not grow by what callers send.
fn method_of(path: &str) -> Option<&'static str> {
    let (service, method) = path.strip_prefix(OURS)?.split_once('/')?;
    match (service, method) {
        ("EventService", "Subscribe") => Some("Subscribe"),
        ("EventService", "ListEvents") => Some("ListEvents"),
        ("EventService", "GetLogInfo") => Some("GetLogInfo"),
        ("TicketService", "Assign") => Some("Assign"),
        ("TicketService", "Send") => Some("Send"),
        ("TicketService", "Close") => Some("Close"),
        ("TicketService", "Finish") => Some("Finish"),
        ("TicketService", "Transfer") => Some("Transfer"),
        ("TicketService", "SetTags") => Some("SetTags"),
        ("TicketService", "Create") => Some("Create"),
        ("TicketService", "SetTyping") => Some("SetTyping"),
        ("TicketService", "MarkRead") => Some("MarkRead"),
        ("TicketService", "GetTicket") => Some("GetTicket"),
        ("TicketService", "ListTickets") => Some("ListTickets"),
        ("TicketService", "ListMessages") => Some("ListMessages"),
        ("TicketService", "GetCommand") => Some("GetCommand"),
        ("TicketService", "ListCommands") => Some("ListCommands"),
        ("TicketService", "ExecuteCommand") => Some("ExecuteCommand"),
        ("DirectoryService", "ListAgents") => Some("ListAgents"),
        ("DirectoryService", "ListTeams") => Some("ListTeams"),
        ("DirectoryService", "ListTags") => Some("ListTags"),
        ("DirectoryService", "ListReplies") => Some("ListReplies"),
        ("DirectoryService", "GetCustomer") => Some("GetCustomer"),
        ("DirectoryService", "RefreshMedia") => Some("RefreshMedia"),
        ("DirectoryService", "FetchMedia") => Some("FetchMedia"),
        ("DirectoryService", "CreateMediaUpload") => Some("CreateMediaUpload"),
        ("ConsumerService", "Consume") => Some("Consume"),
        ("ConsumerService", "Pull") => Some("Pull"),
        ("ConsumerService", "Settle") => Some("Settle"),
        ("ConsumerService", "CreateConsumerGroup") => Some("CreateConsumerGroup"),
        ("ConsumerService", "GetConsumerGroup") => Some("GetConsumerGroup"),
        ("ConsumerService", "ListConsumerGroups") => Some("ListConsumerGroups"),
        ("ConsumerService", "UpdateConsumerGroup") => Some("UpdateConsumerGroup"),
        ("ConsumerService", "DeleteConsumerGroup") => Some("DeleteConsumerGroup"),
        ("ConsumerService", "SeekConsumerGroup") => Some("SeekConsumerGroup"),
        ("ConsumerService", "ListParkedEvents") => Some("ListParkedEvents"),
        ("ConsumerService", "ReplayParkedEvents") => Some("ReplayParkedEvents"),
        ("ConsumerService", "DiscardParkedEvents") => Some("DiscardParkedEvents"),
        ("AdminService", "ListQuarantinedWebhooks") => Some("ListQuarantinedWebhooks"),
        ("AdminService", "ReplayQuarantinedWebhooks") => Some("ReplayQuarantinedWebhooks"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
