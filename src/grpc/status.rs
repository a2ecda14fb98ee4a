//! Errors → `tonic::Status`: the only place where one is built. Exhaustive over our errors. What went wrong
//! inside goes to the log, once; the client gets a sentence, a reason and the facts it can act on.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::convert::command::{RETRY_AFTER_KEY, fault_metadata, recorded_metadata};
use super::convert::request::Said;
use super::convert::{Invalid, InvalidField};
use super::pb::ErrorReason;
use super::position::CursorError;
use crate::domain::{Fault, Outcome};
use crate::gateway::desk::DeskError;
use crate::gateway::quarantine::ReplayError;
use crate::store::{AppendError, CommandRecord, Cursor, LogId, ReadError};

mod blame;
mod directory;
mod group;
mod room;

pub(super) use directory::{customer_not_found, hung_up, of_fetch, too_large};
pub(super) use group::of_group;
use room::{NOT_NAMED, cut, named, sum_of};

/// The `domain` of every `ErrorInfo`.
const DOMAIN: &str = "deskgate";
/// When to call again, where nothing else is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// What tonic says of a message over the limit, among other words.
const TOO_LARGE: &str = "decoded message length too large";
/// What prost's errors begin with.
const UNDECODABLE: &str = "failed to decode Protobuf message: ";
/// LIME's codes that find fault with what was asked (STYLE §3.7).
const INVALID_ARGUMENT_CODES: [i64; 14] = [17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 64, 71, 82];

/// What is told about a failed call.
#[derive(Debug)]
struct Failure {
    reason: ErrorReason,
    message: String,
    metadata: BTreeMap<String, String>,
    fields: Vec<InvalidField>,
    resource: Option<(&'static str, String)>,
    retry_after: Option<Duration>,
}

impl Failure {
    fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: BTreeMap::new(),
            fields: Vec::new(),
            resource: None,
            retry_after: passes(reason).then_some(RETRY_AFTER),
        }
    }

    fn with(mut self, key: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    fn about(mut self, kind: &'static str, name: impl Into<String>) -> Self {
        self.resource = Some((kind, name.into()));
        self
    }

    /// Names the field, where Blip finds fault with what was asked.
    fn blaming(mut self, field: Option<&str>) -> Self {
        let blames = self.reason == ErrorReason::BlipRejected
            && code(self.reason, &self.metadata) == Code::InvalidArgument;
        if let Some(field) = field.filter(|_| blames) {
            self.fields.push(InvalidField::new(field, self.message.clone()));
        }
        self
    }

    fn into_status(self) -> Status {
        let Self { reason, message, mut metadata, fields, resource, retry_after } = self;
        let code = code(reason, &metadata);
        let (named, left_out) = named(fields);
        if left_out > 0 {
            metadata.insert(NOT_NAMED.to_owned(), left_out.to_string());
        }
        let metadata: HashMap<String, String> =
            metadata.into_iter().map(|(key, value)| (key, cut(value))).collect();
        let mut details = ErrorDetails::new();
        details.set_error_info(reason_name(reason), DOMAIN, metadata);
        if retry_after.is_some() {
            details.set_retry_info(retry_after);
        }
        for InvalidField { field, description } in named {
            details.add_bad_request_violation(field, description);
        }
        if let Some((kind, name)) = resource {
            details.set_resource_info(kind, cut(name), "", "");
        }
        Status::with_error_details(code, cut(message), details)
    }
}

/// The name as it is published: without the enum's prefix.
fn reason_name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

/// The status of a reason; only Blip's refusals have two.
fn code(reason: ErrorReason, metadata: &BTreeMap<String, String>) -> Code {
    match reason {
        ErrorReason::InvalidField
        | ErrorReason::CursorMalformed
        | ErrorReason::CursorForeign
        | ErrorReason::ContentNotSupported => Code::InvalidArgument,
        ErrorReason::RequestIdConflict | ErrorReason::GroupExists => Code::AlreadyExists,
        ErrorReason::CursorExpired | ErrorReason::CursorInFuture => Code::OutOfRange,
        ErrorReason::TicketNotFound
        | ErrorReason::AgentNotFound
        | ErrorReason::TeamNotFound
        | ErrorReason::BotUnknown
        | ErrorReason::BlipNotFound
        | ErrorReason::CommandNotFound
        | ErrorReason::CustomerNotFound
        | ErrorReason::MediaNotFound
        | ErrorReason::GroupNotFound => Code::NotFound,
        ErrorReason::CommandExpired => Code::DeadlineExceeded,
        ErrorReason::TicketClosed | ErrorReason::BlipCredentialRejected => Code::FailedPrecondition,
        ErrorReason::TicketChanged | ErrorReason::GroupChanged => Code::Aborted,
        ErrorReason::StreamDraining
        | ErrorReason::BlipUnavailable
        | ErrorReason::BlipCircuitOpen
        | ErrorReason::StoreUnavailable
        | ErrorReason::StorageFull => Code::Unavailable,
        ErrorReason::TooManyStreams
        | ErrorReason::GroupBusy
        | ErrorReason::MediaTooLarge
        | ErrorReason::BlipAnswerTooLarge
        | ErrorReason::QuotaExceeded
        | ErrorReason::BlipQuotaExceeded => Code::ResourceExhausted,
        ErrorReason::BlipRejected => {
            let blip_code = metadata.get("blip_code").and_then(|code| code.parse().ok());
            let blames_the_caller = blip_code.is_some_and(|code: i64| INVALID_ARGUMENT_CODES.contains(&code));
            if blames_the_caller { Code::InvalidArgument } else { Code::FailedPrecondition }
        }
        ErrorReason::OutcomeUnknown => Code::Unknown,
        ErrorReason::StoreCorrupt => Code::DataLoss,
        ErrorReason::RpcUnknown => Code::Unimplemented,
        ErrorReason::Unspecified | ErrorReason::Internal => Code::Internal,
    }
}

/// Whether the same call may succeed later: such errors carry `RetryInfo`.
fn passes(reason: ErrorReason) -> bool {
    // It will be as large the next time.
    if matches!(reason, ErrorReason::MediaTooLarge | ErrorReason::BlipAnswerTooLarge) {
        return false;
    }
    match code(reason, &BTreeMap::new()) {
        Code::Unavailable | Code::ResourceExhausted => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Fields(fields) => invalid_fields(fields),
            Invalid::Content { media_type, description } => {
                let failure = Failure::new(ErrorReason::ContentNotSupported, description.clone());
                let field = InvalidField::new("content.media_type", description);
                Failure { fields: vec![field], ..failure.with("media_type", &media_type) }.into_status()
            }
        }
    }
}

fn invalid_fields(fields: Vec<InvalidField>) -> Status {
    Failure { message: sum_of(&fields), fields, ..Failure::new(ErrorReason::InvalidField, "") }.into_status()
}

impl From<CursorError> for Status {
    fn from(error: CursorError) -> Self {
        of_position(&error).into_status()
    }
}

/// The cursor in `field` is no position to read from.
pub(super) fn of_cursor(error: &CursorError, field: &str) -> Status {
    let fields = vec![InvalidField::new(field, error.to_string())];
    Failure { fields, ..of_position(error) }.into_status()
}

fn of_position(error: &CursorError) -> Failure {
    let message = error.to_string();
    let failure = |reason| Failure::new(reason, message);
    match error {
        CursorError::Empty | CursorError::Malformed | CursorError::OtherList => {
            failure(ErrorReason::CursorMalformed)
        }
        CursorError::Foreign { log } => failure(ErrorReason::CursorForeign).with("log_id", log),
        CursorError::Expired { earliest } => {
            failure(ErrorReason::CursorExpired).with("earliest_cursor", earliest)
        }
        CursorError::InFuture { latest } => {
            failure(ErrorReason::CursorInFuture).with("latest_cursor", latest)
        }
    }
}

/// The log `log` could not be read.
pub(super) fn of_read(error: &ReadError, log: LogId) -> Status {
    match error {
        ReadError::Trimmed { earliest } => {
            CursorError::Expired { earliest: Cursor { log, seq: *earliest } }.into()
        }
        ReadError::Corrupt { .. } => {
            tracing::error!(%error, "the store holds a damaged record");
            let message = "the store holds a damaged record, which is not sent";
            Failure::new(ErrorReason::StoreCorrupt, message).into_status()
        }
        ReadError::Unavailable(_) => {
            tracing::warn!(%error, "the store could not be read");
            let message = "the gateway cannot read its store now; call again";
            Failure::new(ErrorReason::StoreUnavailable, message).into_status()
        }
    }
}

fn of_append(error: &AppendError) -> Status {
    tracing::warn!(%error, "a command could not be recorded");
    let (reason, message) = match error {
        AppendError::Full => (ErrorReason::StorageFull, "the gateway's disk is full; nothing was done"),
        AppendError::Busy | AppendError::Unavailable(_) => {
            (ErrorReason::StoreUnavailable, "the gateway cannot use its store now; nothing was done")
        }
        // The desk says more of a command.
        AppendError::Unknown(_) => (
            ErrorReason::OutcomeUnknown,
            "the gateway's store broke off; whether anything was done is not known",
        ),
    };
    Failure::new(reason, message).into_status()
}

/// Quarantined webhooks of `log` could not be replayed.
pub(super) fn of_replay(error: &ReplayError, log: LogId) -> Status {
    let error = match error {
        ReplayError::Read(error) => return of_read(error, log),
        ReplayError::Store(error) => error,
    };
    tracing::warn!(%error, "quarantined webhooks could not be replayed");
    let (reason, message) = match error {
        AppendError::Full => (ErrorReason::StorageFull, "the gateway's disk is full; nothing was replayed"),
        AppendError::Busy | AppendError::Unavailable(_) => {
            (ErrorReason::StoreUnavailable, "the gateway cannot use its store now; nothing was replayed")
        }
        AppendError::Unknown(_) => (
            ErrorReason::StoreUnavailable,
            "the gateway's store broke off; call again, what was replayed is not replayed twice",
        ),
    };
    Failure::new(reason, message).into_status()
}

/// What a failed call was about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// The bot's short name.
    pub(super) bot: &'a str,
    /// The ticket.
    pub(super) ticket_id: &'a str,
    /// Whose cursors to tell.
    pub(super) log: LogId,
    /// What Blip was to take.
    pub(super) said: Said,
}

/// A filter names a bot that is not configured.
pub(super) fn of_filter_bot(field: String, bot: &str, known: &[String]) -> Status {
    let message = DeskError::BotUnknown { bot: bot.to_owned(), known: known.to_vec() }.to_string();
    let fields = vec![InvalidField::new(field, message.as_str())];
    let failure = Failure { fields, ..Failure::new(ErrorReason::BotUnknown, message) };
    failure.with("bot", bot).about("bot", bot).into_status()
}

/// The desk did not do what was asked.
pub(super) fn of_desk(error: DeskError, about: About<'_>) -> Status {
    let message = error.to_string();
    match error {
        DeskError::BotUnknown { bot, known: _ } => {
            Failure::new(ErrorReason::BotUnknown, message).with("bot", &bot).about("bot", bot).into_status()
        }
        DeskError::BotNeeded { candidates: _ } => invalid_fields(vec![InvalidField::new("bot", message)]),
        DeskError::Conflict(record) => Failure::new(ErrorReason::RequestIdConflict, message)
            .with("request_id", &record.command.request_id)
            .with("command_id", &record.command.id)
            .into_status(),
        DeskError::Ended { record, replayed } => of_ended(&record, replayed, message, about.said),
        DeskError::Fault(fault) => {
            let metadata = fault_metadata(&fault, about.bot, about.ticket_id);
            let field = blame::field_of_read(&fault, about.said, about.ticket_id);
            of_fault(&fault, metadata, about.ticket_id).blaming(field).into_status()
        }
        DeskError::Store(error) => of_append(&error),
        DeskError::Read(error) => of_read(&error, about.log),
    }
}

/// A recorded command that did not succeed, or whose end is not known yet.
fn of_ended(record: &CommandRecord, replayed: bool, message: String, said: Said) -> Status {
    let failure = match record.end.as_ref().map(|end| &end.outcome) {
        Some(Outcome::Failed(fault) | Outcome::Unknown(fault)) => {
            let failure = of_fault(fault, recorded_metadata(fault, record), &record.command.ticket_id);
            failure.blaming(blame::field_of(&record.command.method, fault, said))
        }
        Some(Outcome::Done | Outcome::AlreadyClosed) | None => {
            Failure::new(ErrorReason::OutcomeUnknown, message).with("command_id", &record.command.id)
        }
    };
    if replayed { failure.with("replayed", &true) } else { failure }.into_status()
}

fn of_fault(fault: &Fault, metadata: BTreeMap<String, String>, ticket_id: &str) -> Failure {
    let name = format!("ERROR_REASON_{}", fault.reason);
    let reason = ErrorReason::from_str_name(&name).unwrap_or(ErrorReason::Internal);
    let mut failure = Failure { metadata, ..Failure::new(reason, fault.message.clone()) };
    let wait = fault.metadata.iter().find(|(key, _)| key == RETRY_AFTER_KEY);
    if let Some(millis) = wait.and_then(|(_, millis)| millis.parse().ok()) {
        failure.retry_after = failure.retry_after.map(|_| Duration::from_millis(millis));
    }
    // Under a request id that may be taken the same call would not be carried out.
    failure.retry_after = failure.retry_after.filter(|_| fault.frees_request_id);
    let told = |key: &str| failure.metadata.get(key).cloned().unwrap_or_default();
    match fault.reason.as_str() {
        "TICKET_NOT_FOUND" => failure.about("ticket", ticket_id),
        "AGENT_NOT_FOUND" => {
            let agent = told("agent");
            failure.about("agent", agent)
        }
        "TEAM_NOT_FOUND" => {
            let team = told("team");
            failure.about("team", team)
        }
        "BLIP_NOT_FOUND" => {
            let uri = told("blip_uri");
            failure.about("blip_resource", uri)
        }
        _ => failure,
    }
}

/// Neither the gateway nor Blip knows the ticket.
pub(super) fn ticket_not_found(about: About<'_>) -> Status {
    let About { bot, ticket_id, log: _, said: _ } = about;
    Failure::new(ErrorReason::TicketNotFound, format!("bot {bot} has no ticket {ticket_id}"))
        .with("ticket_id", ticket_id)
        .about("ticket", ticket_id)
        .into_status()
}

/// No command is recorded under this key.
pub(super) fn command_not_found(key: &str) -> Status {
    Failure::new(ErrorReason::CommandNotFound, "no command is recorded under this id, or it was forgotten")
        .about("command", key)
        .into_status()
}

/// The gateway is stopping.
pub(super) fn draining() -> Status {
    Failure::new(ErrorReason::StreamDraining, "the gateway is shutting down; call again").into_status()
}

/// The gateway stops, and what became of a command is not known here.
pub(super) fn unfinished() -> Status {
    let message = "the gateway stops before it is known what became of the command; GetCommand by request_id tells it after \
                   the next start";
    Failure::new(ErrorReason::OutcomeUnknown, message).into_status()
}

/// As many streams are open as may be.
pub(super) fn too_many_streams(streams_max: usize) -> Status {
    let message = format!("{streams_max} streams are open, as many as the gateway allows");
    Failure::new(ErrorReason::TooManyStreams, message).into_status()
}

/// A fault of our own.
pub(super) fn internal(what: &str) -> Status {
    tracing::error!(what, "a call failed by a fault of the gateway");
    let message = "a fault of the gateway itself; its log tells more under the response's x-request-id";
    Failure::new(ErrorReason::Internal, message).into_status()
}

/// The first message of a stream did not come.
pub(super) fn no_start() -> Status {
    let fault = InvalidField::new("start", "is required: it must be the first message, and come at once");
    invalid_fields(vec![fault])
}

/// The request ended without a message.
pub(super) fn no_request() -> Status {
    let message = "the request has no message: send one, which may be empty";
    Failure::new(ErrorReason::InvalidField, message).into_status()
}

/// A method that this server does not serve in this way; the router asks another.
pub(super) fn elsewhere() -> Status {
    Status::unimplemented("this method is served by another part of the gateway")
}

/// What the server itself said before our code was reached, as we say it; `None` where it may stay as it is.
/// `method` is ours, or else nothing of ours is at `path`.
pub(super) fn of_server(bare: &Status, method: Option<&str>, path: &str) -> Option<Status> {
    if !bare.details().is_empty() {
        return None;
    }
    let said = bare.message();
    let Some(method) = method else {
        let is_unknown = bare.code() == Code::Unimplemented && said.is_empty();
        let message = format!("there is no such rpc: {path}; grpcurl list shows what there is");
        return is_unknown.then(|| Failure::new(ErrorReason::RpcUnknown, message).into_status());
    };
    let message = match bare.code() {
        Code::OutOfRange if said.contains(TOO_LARGE) => "the request is larger than 4 MiB".to_owned(),
        Code::Internal => {
            let why = said.strip_prefix(UNDECODABLE).unwrap_or(said);
            format!("not a valid {method}Request: {why}")
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
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
        | Code::DataLoss
        | Code::Unauthenticated => return None,
    };
    Some(Failure::new(ErrorReason::InvalidField, message).into_status())
}

/// The reason a status carries, for logs; empty for those that are not ours.
pub(super) fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[cfg(test)]
mod tests;
