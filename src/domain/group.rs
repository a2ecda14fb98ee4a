//! Consumer groups as their owners settle them. How a group works is the gateway's to say.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::Event;
use super::filter::EventFilter;

/// How a group works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Which events it wants.
    pub filter: EventFilter,
    /// Where it began.
    pub start: GroupStart,
    /// How long a member has to settle a delivery.
    pub ack_deadline: Duration,
    /// Deliveries of an event before it is parked.
    pub max_attempts: u32,
    /// The wait after the first retry.
    pub min_backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
    /// What becomes of a ticket while one of its events is parked.
    pub park_policy: ParkPolicy,
    /// Whether the log keeps what the group has not settled.
    pub pin_retention: bool,
    /// How much of each event its members are sent.
    pub view: EventView,
    /// What to do where unsettled events are gone.
    pub expired: ExpiredPolicy,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            filter: EventFilter::default(),
            start: GroupStart::Latest,
            ack_deadline: Duration::from_secs(30),
            max_attempts: 10,
            min_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_mins(1),
            park_policy: ParkPolicy::Continue,
            pin_retention: false,
            view: EventView::Full,
            expired: ExpiredPolicy::Fail,
        }
    }
}

/// Where a group began, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupStart {
    /// After the newest event.
    Latest,
    /// At the oldest.
    Earliest,
    /// After this cursor.
    After(String),
    /// At the first event received then or later.
    At(Timestamp),
    /// The same, this long ago.
    Ago(SignedDuration),
}

/// What becomes of a ticket while one of its events is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkPolicy {
    /// It goes on.
    Continue,
    /// Its later events wait.
    Block,
}

/// How much of each event a reader is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventView {
    /// Without payload and raw body.
    Envelope,
    /// Without raw body.
    Full,
    /// Everything.
    Raw,
}

/// What a reader wants where events are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiredPolicy {
    /// To be told, and to stop.
    Fail,
    /// To go on at the oldest.
    Earliest,
    /// To go on after the newest.
    Latest,
}

/// A ticket as a group knows it: a digest of bot and id. Two tickets that shared one would only wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketKey(pub u64);

impl TicketKey {
    /// The ticket that an event belongs to; `None` for one that stands alone.
    pub fn of(event: &Event) -> Option<Self> {
        if event.ticket_id.is_empty() {
            return None;
        }
        let mut digest = Sha256::new();
        digest.update(event.bot.as_bytes());
        digest.update([0]);
        digest.update(event.ticket_id.as_bytes());
        let digest: [u8; 32] = digest.finalize().into();
        digest.first_chunk().map(|first| Self(u64::from_be_bytes(*first)))
    }
}
