//! Records of commands, outward.

use std::collections::BTreeMap;

use super::{timestamp, value};
use crate::domain::{Fault, Outcome, Returned};
use crate::grpc::pb;
use crate::store::{CommandRecord, Cursor, LogId, Progress};

/// What every answer of a command begins with.
pub(in crate::grpc) fn receipt(record: &CommandRecord, log: LogId, replayed: bool) -> pb::CommandReceipt {
    let CommandRecord { command, accept_time, start_time: _, end, settle_time, event_seq } = record;
    let attempts = end.as_ref().map_or(0, |end| end.attempts);
    let id = command.id.to_string();
    let event_cursor = match event_seq.0 {
        0 => String::new(),
        _ => Cursor { log, seq: *event_seq }.to_string(),
    };
    pb::CommandReceipt {
        // The gateway's id is the envelope's: every attempt carries the same.
        blip_command_id: if attempts == 0 { String::new() } else { id.clone() },
        command_id: id,
        state: state_to_pb(record.progress()).into(),
        replayed,
        event_cursor,
        accept_time: Some(timestamp(*accept_time)),
        settle_time: settle_time.map(timestamp),
        attempts,
    }
}

/// What an answer to `validate_only` begins with: nothing was recorded, so there is no state to tell.
pub(in crate::grpc) fn validated() -> pb::CommandReceipt {
    pb::CommandReceipt::default()
}

/// How far a command has come, as callers see it.
pub(in crate::grpc) fn state_to_pb(progress: Progress) -> pb::CommandState {
    match progress {
        Progress::Queued => pb::CommandState::Queued,
        Progress::Running => pb::CommandState::Running,
        Progress::Succeeded => pb::CommandState::Succeeded,
        Progress::Failed => pb::CommandState::Failed,
        Progress::Unknown => pb::CommandState::OutcomeUnknown,
    }
}

/// The document that Blip answered to a command, with its type.
pub(in crate::grpc) fn document_of(record: &CommandRecord) -> (String, Option<prost_types::Value>) {
    match record.end.as_ref().and_then(|end| end.returned.as_ref()) {
        Some(Returned::Document { media_type, json }) => (media_type.clone(), Some(value::to_pb(json))),
        Some(Returned::Ticket(_)) | None => (String::new(), None),
    }
}

/// The whole record.
pub(in crate::grpc) fn to_pb(record: &CommandRecord, log: LogId) -> pb::Command {
    let command = &record.command;
    let fault = match record.end.as_ref().map(|end| &end.outcome) {
        Some(Outcome::Failed(fault) | Outcome::Unknown(fault)) => Some(fault),
        Some(Outcome::Done | Outcome::AlreadyClosed) | None => None,
    };
    let opened = match record.end.as_ref().and_then(|end| end.returned.as_ref()) {
        Some(Returned::Ticket(id)) if command.ticket_id.is_empty() => id,
        Some(Returned::Ticket(_) | Returned::Document { .. }) | None => &command.ticket_id,
    };
    pb::Command {
        receipt: Some(receipt(record, log, false)),
        method: command.method.clone(),
        ticket_id: opened.clone(),
        bot: command.bot.clone(),
        principal: command.principal.clone(),
        request_id: command.request_id.clone(),
        error_reason: fault.map(|fault| fault.reason.clone()).unwrap_or_default(),
        error_message: fault.map(|fault| fault.message.clone()).unwrap_or_default(),
        error_metadata: fault.map(|fault| recorded_metadata(fault, record)).unwrap_or_default(),
    }
}

/// The metadata of a recorded command's error.
pub(in crate::grpc) fn recorded_metadata(fault: &Fault, record: &CommandRecord) -> BTreeMap<String, String> {
    let command = &record.command;
    let mut metadata = fault_metadata(fault, &command.bot, &command.ticket_id);
    metadata.insert("command_id".to_owned(), command.id.to_string());
    metadata
}

/// The metadata that `error.proto` promises for a fault of a command on a ticket.
pub(in crate::grpc) fn fault_metadata(fault: &Fault, bot: &str, ticket_id: &str) -> BTreeMap<String, String> {
    let told = fault.metadata.iter().filter(|(key, value)| key != RETRY_AFTER_KEY && !value.is_empty());
    let mut metadata: BTreeMap<String, String> = told.cloned().collect();
    let known = match fault.reason.as_str() {
        "TICKET_NOT_FOUND" | "TICKET_CLOSED" | "TICKET_CHANGED" => Some(("ticket_id", ticket_id)),
        "QUOTA_EXCEEDED" | "BLIP_CIRCUIT_OPEN" | "BLIP_CREDENTIAL_REJECTED" => Some(("bot", bot)),
        _ => None,
    };
    if let Some((key, value)) = known {
        metadata.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    metadata
}

/// How long a fault says to wait, in milliseconds; told as `RetryInfo`, not as metadata.
pub(in crate::grpc) const RETRY_AFTER_KEY: &str = "retry_after_ms";
