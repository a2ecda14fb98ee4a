//! Why a consumer group did not do what was asked, or why a stream of it ended.

use tonic::Status;

use super::{Failure, draining, of_read};
use crate::gateway::groups::GroupError;
use crate::grpc::convert::group::etag_of;
use crate::grpc::pb::ErrorReason;
use crate::store::{AppendError, Cursor, LogId};

/// A group whose cursors are of `log` did not do it.
pub(in crate::grpc) fn of_group(error: &GroupError, log: LogId) -> Status {
    let message = error.to_string();
    let failure = |reason, group: &str| Failure::new(reason, message.clone()).with("group", group);
    match error {
        GroupError::NotFound(name) => {
            failure(ErrorReason::GroupNotFound, name).about("consumer_group", name).into_status()
        }
        GroupError::Exists(name) => failure(ErrorReason::GroupExists, name).into_status(),
        GroupError::Busy { name, what: _ } => failure(ErrorReason::GroupBusy, name).into_status(),
        GroupError::Changed { name, id, revision } => {
            failure(ErrorReason::GroupChanged, name).with("etag", &etag_of(*id, *revision)).into_status()
        }
        GroupError::TakenOver { name, member: _ } => failure(ErrorReason::GroupChanged, name).into_status(),
        GroupError::Expired { name, earliest } => failure(ErrorReason::CursorExpired, name)
            .with("earliest_cursor", &Cursor { log, seq: *earliest })
            .into_status(),
        GroupError::Broken(name) => failure(ErrorReason::StoreUnavailable, name).into_status(),
        GroupError::Draining => draining(),
        GroupError::Store(error) => {
            tracing::warn!(%error, "a consumer group could not be written");
            let (reason, message) = match error {
                AppendError::Full => (ErrorReason::StorageFull, "the gateway's disk is full; call again"),
                AppendError::Busy | AppendError::Unavailable(_) | AppendError::Unknown(_) => {
                    (ErrorReason::StoreUnavailable, "the gateway cannot use its store now; call again")
                }
            };
            Failure::new(reason, message).into_status()
        }
        GroupError::Read(error) => of_read(error, log),
    }
}
