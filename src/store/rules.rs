//! What every store decides alike.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Appended, CommandRecord};
use crate::domain::{Outcome, Seq};

/// The shortest window in which duplicates are recognised.
pub const DEDUP_WINDOW_MIN: Duration = Duration::from_hours(72);

/// How long a request id is remembered after its command was accepted, and a settled command at least.
pub const REQUEST_IDS_KEPT: Duration = Duration::from_hours(72);

/// Whether a command still holds its request id: not once it ended in a way that frees it, nor once it ended
/// and is old.
pub fn is_held(record: &CommandRecord, now: Timestamp) -> bool {
    let Some(end) = &record.end else { return true };
    let freed = match &end.outcome {
        Outcome::Failed(fault) => fault.frees_request_id,
        Outcome::Done | Outcome::AlreadyClosed | Outcome::Unknown(_) => false,
    };
    let kept = SignedDuration::try_from(REQUEST_IDS_KEPT).unwrap_or(SignedDuration::MAX);
    !freed && now.duration_since(record.accept_time) <= kept
}

/// The method of the commands that send a message, under their own id.
pub(super) const SENDS: &str = "Send";

/// The position of the first event that was appended; 0 when none was.
pub(super) fn first_of(appended: &[Appended]) -> Seq {
    let at = |answer: &Appended| match answer {
        Appended::At(stored) => Some(stored.seq),
        Appended::Duplicate(_) => None,
    };
    appended.iter().find_map(at).unwrap_or_default()
}
