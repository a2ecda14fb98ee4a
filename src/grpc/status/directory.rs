//! What the directory could not tell, and files that did not come.

use tonic::Status;

use super::{Failure, InvalidField, invalid_fields};
use crate::gateway::media::{FetchError, MediaError};
use crate::grpc::pb::ErrorReason;

/// Neither Blip nor the gateway knows the customer.
pub(in crate::grpc) fn customer_not_found(bot: &str, identity: &str) -> Status {
    Failure::new(ErrorReason::CustomerNotFound, format!("bot {bot} has no customer {identity}"))
        .with("customer_identity", identity)
        .about("customer", identity)
        .into_status()
}

/// An answer of `bytes` is larger than clients take, and cannot be told in parts.
pub(in crate::grpc) fn too_large(what: &str, bytes: usize, limit_bytes: usize) -> Status {
    let message = format!(
        "{what} would be an answer of {bytes} bytes, and clients take {limit_bytes}: ask Blip for a part of it, by \
         ExecuteCommand"
    );
    Failure::new(ErrorReason::BlipAnswerTooLarge, message).with("limit_bytes", &limit_bytes).into_status()
}

/// A file did not come, or not whole. Its link is told to nobody: whoever has it may read the file.
pub(in crate::grpc) fn of_fetch(error: FetchError, bot: &str) -> Status {
    let message = error.to_string();
    let failure = |reason| Failure::new(reason, message.clone());
    match error {
        FetchError::Busy { fetches_max: _ } => failure(ErrorReason::TooManyStreams),
        FetchError::Draining => failure(ErrorReason::StreamDraining),
        FetchError::TooSlow { time_max: _ } | FetchError::Media(MediaError::Unavailable(_)) => {
            failure(ErrorReason::BlipUnavailable)
        }
        FetchError::Media(MediaError::NotAllowed(why)) => {
            return invalid_fields(vec![InvalidField::new("uri", why)]);
        }
        FetchError::Media(MediaError::NotFound { status }) => {
            failure(ErrorReason::MediaNotFound).with("http_status", &status)
        }
        FetchError::Media(MediaError::Credential { status }) => {
            failure(ErrorReason::BlipCredentialRejected).with("bot", bot).with("http_status", &status)
        }
        FetchError::Media(MediaError::TooLarge { limit_bytes }) => {
            failure(ErrorReason::MediaTooLarge).with("limit_bytes", &limit_bytes)
        }
    }
    .into_status()
}

/// The caller let go of a stream; told to the log and the metrics alone.
pub(in crate::grpc) fn hung_up() -> Status {
    Status::cancelled("the caller let go of the stream")
}
