//! What an envelope shows of a mistake in the setup.

use serde_json::{Map, Value};

use crate::lime::Members;

/// A likely mistake in the setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// The sender is not Desk: the body of a data webhook, or of a bot's own messages.
    NotFromDesk(Stray),
    /// The ids in the envelope name different tickets; the document's own won.
    TicketIdsDiffer,
}

/// What comes from elsewhere than Desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stray {
    /// An envelope of somebody else's.
    Message,
    /// An event track, as data webhooks send it.
    Event,
    /// A contact, as data webhooks send it.
    Contact,
}

impl Stray {
    /// Its name in an alert.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Event => "event",
            Self::Contact => "contact",
        }
    }

    /// Tells what an object is that is neither message nor notification; events have a category, contacts the date
    /// of their last message. Without any of these and without a sender it may be anybody's trial.
    pub(super) fn of(object: &Map<String, Value>, foreign: bool, from_nobody: bool) -> Option<Self> {
        let has = |name| Members(object).get(name).is_some();
        match (foreign, from_nobody) {
            (true, _) | (_, true) if has("category") => Some(Self::Event),
            (true, _) | (_, true) if has("lastMessageDate") => Some(Self::Contact),
            (true, _) => Some(Self::Message),
            (false, _) => None,
        }
    }
}
