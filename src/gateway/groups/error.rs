//! What can go wrong with a group.

use crate::domain::Seq;
use crate::store::groups::GroupId;
use crate::store::{AppendError, ReadError};

/// Why a group did not do what was asked, or why a membership ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// There is no such group.
    #[error("there is no consumer group {0}")]
    NotFound(String),
    /// There is one of this name.
    #[error("there is a consumer group {0} already")]
    Exists(String),
    /// There are as many members, or groups, as may be.
    #[error("there is no room for more: {what}")]
    Busy {
        /// Which group.
        name: String,
        /// What there is too much of.
        what: String,
    },
    /// Its settings are of another revision.
    #[error("the settings of consumer group {name} were changed")]
    Changed {
        /// Which group.
        name: String,
        /// Its number.
        id: GroupId,
        /// Their revision.
        revision: u64,
    },
    /// Another member came under the same name.
    #[error("another stream has joined consumer group {name} as {member}")]
    TakenOver {
        /// Which group.
        name: String,
        /// The member's name.
        member: String,
    },
    /// Events that it has not settled are gone.
    #[error("events that consumer group {name} has not settled are no longer kept")]
    Expired {
        /// Which group.
        name: String,
        /// Everything up to here is gone.
        earliest: Seq,
    },
    /// Its task broke down, and begins again from what is on disk.
    #[error("consumer group {0} broke down; it goes on in a moment")]
    Broken(String),
    /// The gateway stops.
    #[error("the gateway is shutting down")]
    Draining,
    /// The store could not write.
    #[error(transparent)]
    Store(#[from] AppendError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}
