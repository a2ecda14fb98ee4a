//! A group as it is told.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::Seq;
use crate::gateway::group::Counts;
use crate::store::groups::Group;

/// A group and how it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupView {
    /// Its settings and its floor.
    pub group: Group,
    /// How many there are of what.
    pub counts: Counts,
    /// Tickets whose events wait for a parked one.
    pub blocked_tickets: usize,
    /// Who is connected.
    pub members: Vec<MemberView>,
    /// The oldest position that is not settled, and when its event was received; as of a moment ago.
    pub oldest: Option<(Seq, Timestamp)>,
}

/// A member and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberView {
    /// Its name.
    pub name: Arc<str>,
    /// Its program.
    pub client_name: Arc<str>,
    /// Whose credentials it uses.
    pub principal: Arc<str>,
    /// Deliveries that it has not settled.
    pub in_flight: usize,
    /// Since when.
    pub since: Timestamp,
}
