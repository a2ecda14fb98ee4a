//! Tickets: the document, its statuses, and what a new document changes in the one we know.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::content::Content;
use super::transfer::Successor;
use crate::lime::Node;
use crate::lime::document::weight;

/// Members without a field in one event, in bytes of their JSON: with the body that brought them it stays below the
/// 4 MiB that clients take.
const MORE_TOLD_MAX: usize = 1 << 20;
/// Members without a field that are kept for later events.
const MORE_KEPT_MAX: usize = 256 << 10;

/// Where an attendance stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TicketStatus {
    /// The document told none, or `None`, which Blip has for "not defined".
    #[default]
    Unspecified,
    /// In the queue.
    Waiting,
    /// Given to an agent who has not read it yet.
    Assigned,
    /// In attendance.
    Open,
    /// Closed by the agent.
    ClosedAttendant,
    /// Closed by or for the customer.
    ClosedClient,
    /// Closed because the customer went silent.
    ClosedClientInactivity,
    /// Closed by a transfer; another ticket goes on.
    Transferred,
    /// A word this build does not know.
    Unrecognized,
}

impl TicketStatus {
    /// Every status that has a word on the wire, with the documented spelling.
    pub const WORDS: [(Self, &'static str); 7] = [
        (Self::Waiting, "Waiting"),
        (Self::Assigned, "Assigned"),
        (Self::Open, "Open"),
        (Self::ClosedAttendant, "ClosedAttendant"),
        (Self::ClosedClient, "ClosedClient"),
        (Self::ClosedClientInactivity, "ClosedClientInactivity"),
        (Self::Transferred, "Transferred"),
    ];

    /// Reads Blip's word, whatever its case. Numbers are not public and stay unrecognized.
    pub fn from_blip(word: &str) -> Self {
        match Self::WORDS.iter().find(|(_, known)| known.eq_ignore_ascii_case(word.trim())) {
            Some((status, _)) => *status,
            None if matches!(word.trim().to_ascii_lowercase().as_str(), "" | "none") => Self::Unspecified,
            None => Self::Unrecognized,
        }
    }

    /// Blip's word; empty where there is none.
    pub fn as_blip(self) -> &'static str {
        Self::WORDS.iter().find(|(status, _)| *status == self).map_or("", |(_, word)| word)
    }

    /// Whether Blip says in so many words that the attendance goes on.
    pub fn is_living(self) -> bool {
        matches!(self, Self::Waiting | Self::Assigned | Self::Open)
    }

    /// Whether the attendance is over for good.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::ClosedAttendant | Self::ClosedClient | Self::ClosedClientInactivity | Self::Transferred => {
                true
            }
            Self::Unspecified | Self::Waiting | Self::Assigned | Self::Open | Self::Unrecognized => false,
        }
    }
}

/// A ticket document. Empty texts and `None` are members the document does not have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ticket {
    /// Opaque; usually a UUID.
    pub id: String,
    /// Where it stands.
    pub status: TicketStatus,
    /// The status in Blip's own word.
    pub blip_status: String,
    /// The number people see; per bot.
    pub sequential_id: Option<i64>,
    /// Shown after the number.
    pub sequential_suffix: String,
    /// The customer; a tunnel's address behind a router.
    pub customer_identity: String,
    /// The customer's channel.
    pub customer_domain: String,
    /// The real customer behind a router, where the document tells.
    pub routing_customer_identity: String,
    /// The same as the metadata of an envelope of this ticket told it.
    pub tunnel_customer_identity: String,
    /// Who attends.
    pub agent_identity: String,
    /// The queue.
    pub team: String,
    /// Lower is sooner.
    pub priority: Option<i32>,
    /// Labels.
    pub tags: Vec<String>,
    /// The document says that there are no labels, `[]`, as others do not speak of them. Never set in what is known.
    pub untagged: bool,
    /// Who closed it.
    pub closed_by: String,
    /// Number of the ticket this one was transferred from.
    pub parent_sequential_id: Option<i64>,
    /// Id of the ticket this one was transferred from, where we know it.
    pub parent_ticket_id: String,
    /// The ticket that goes on after a transfer, where we know it. No document of Blip's tells.
    pub successor: Option<Successor>,
    /// Usually the id again.
    pub external_id: String,
    /// What opened it.
    pub customer_input: Option<Content>,
    /// When it was created.
    pub create_time: Option<Timestamp>,
    /// When attendance began.
    pub open_time: Option<Timestamp>,
    /// When it was closed.
    pub close_time: Option<Timestamp>,
    /// When the status last changed.
    pub status_time: Option<Timestamp>,
    /// When a command of ours last changed it, by our own clock. No document of Blip's tells.
    pub command_time: Option<Timestamp>,
    /// Every other member, as it came.
    pub more: Map<String, Value>,
}

/// A ticket's id in the one spelling the log knows it by: UUIDs, which some systems print in capitals, in small
/// letters; anything else, which is opaque, as it is.
///
/// ```
/// use deskgate::domain::ticket::canonical_ticket_id;
/// assert_eq!(canonical_ticket_id("76F5BC38-B476-4895-A0C6-016ED1288BA0"), "76f5bc38-b476-4895-a0c6-016ed1288ba0");
/// assert_eq!(canonical_ticket_id("76FED1288BA0"), "76FED1288BA0");
/// ```
pub fn canonical_ticket_id(id: &str) -> String {
    let hyphen = |at| matches!(at, 8 | 13 | 18 | 23);
    let is_uuid = id.len() == 36
        && id
            .bytes()
            .enumerate()
            .all(|(at, byte)| if hyphen(at) { byte == b'-' } else { byte.is_ascii_hexdigit() });
    if is_uuid { id.to_ascii_lowercase() } else { id.to_owned() }
}

/// What a ticket document meant, given what was known before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// First seen, and alive.
    Created,
    /// Now Assigned or Open, or with another agent.
    Assigned,
    /// Closed by a transfer, or known to be, and now also where it goes on.
    Transferred,
    /// Closed in any other way.
    Closed,
    /// Anything else; the fields that changed, by their name in the API, possibly none.
    Updated(Vec<&'static str>),
    /// Older than what is known, or taking the ticket back to where it was: kept as an event. What it says of the
    /// attendance is not applied; the fields it alone could tell, by their name in the API, possibly none, are.
    Stale(Vec<&'static str>),
}

impl Change {
    fn ended(status: TicketStatus) -> Self {
        if status == TicketStatus::Transferred { Self::Transferred } else { Self::Closed }
    }
}

/// What the log knows of one ticket. Outlives retention.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TicketState {
    /// The newest document; `None` for a ticket known only by its messages.
    pub ticket: Option<Ticket>,
    /// The `ticket_sequence` of its newest event.
    pub last_sequence: u64,
    /// The `ticket_sequence` of its newest `ticket.*` or `message.customer` event.
    pub activity_sequence: u64,
}

impl TicketState {
    /// Whether the ticket is known to be closed.
    pub fn is_closed(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| ticket.status.is_terminal())
    }

    /// Whether the ticket is known to be closed in the one way that can still be finished: by its customer.
    pub fn may_be_finished(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| {
            matches!(ticket.status, TicketStatus::ClosedClient | TicketStatus::ClosedClientInactivity)
        })
    }

    /// Replaces the ticket's labels, with none perhaps; answers the document as it stands then, and the API names of the
    /// fields that changed. Of a ticket that no document has told yet nothing is kept.
    pub(super) fn label(&mut self, ticket_id: &str, tags: Vec<String>) -> (Ticket, Vec<&'static str>) {
        let Some(known) = &mut self.ticket else {
            return (Ticket { id: ticket_id.to_owned(), tags, ..Ticket::default() }, vec!["tags"]);
        };
        let changed = if known.tags == tags { Vec::new() } else { vec!["tags"] };
        known.tags = tags;
        (known.clone(), changed)
    }

    /// Keeps who is behind the tunnel, as an envelope's metadata told, where nobody did before.
    pub(super) fn learn(&mut self, customer: &str) {
        if let Some(known) = &mut self.ticket
            && known.resolved_customer_identity().is_empty()
        {
            customer.clone_into(&mut known.tunnel_customer_identity);
        }
    }

    /// Merges `document` and says what it changed.
    pub fn apply(&mut self, document: &Ticket) -> Change {
        let Some(known) = &mut self.ticket else {
            self.ticket = Some(Ticket { untagged: false, ..document.clone() });
            let status = document.status;
            return if status.is_terminal() { Change::ended(status) } else { Change::Created };
        };
        if known.refuses(document) {
            // Its pair is told once: now, or never.
            let goes_on = known.successor.is_none() && document.successor.is_some();
            let filled = known.fill(document);
            return if goes_on { Change::Transferred } else { Change::Stale(filled) };
        }
        let before = known.clone();
        let changed = known.merge(document);
        let status_changed = before.status != known.status;
        let attended = matches!(known.status, TicketStatus::Assigned | TicketStatus::Open);
        let goes_on = known.status == TicketStatus::Transferred && before.successor != known.successor;
        if goes_on || (status_changed && known.status.is_terminal()) {
            Change::ended(known.status)
        } else if attended && (status_changed || before.agent_identity != known.agent_identity) {
            Change::Assigned
        } else {
            Change::Updated(changed)
        }
    }

    /// The ticket as `newest` told it, and with it all that was known before, to be told. What it is known by from then
    /// on is less, as it stands in every later event, and every document may add to it.
    pub(super) fn told(&mut self, newest: &Ticket) -> Ticket {
        let Some(known) = &mut self.ticket else { return newest.clone() };
        known.bound_more(&newest.more, MORE_TOLD_MAX);
        let told = known.clone();
        known.bound_more(&newest.more, MORE_KEPT_MAX);
        told
    }

    /// Takes over what a document that waited may still tell of a ticket that went on without it, and says what:
    /// never where the attendance stands. `None` where it can be applied after all: nothing is known yet, it
    /// closes the ticket, or its own date is the newest.
    pub(super) fn fill_late(&mut self, document: &Ticket) -> Option<Vec<&'static str>> {
        let known = self.ticket.as_mut()?;
        let newer = document.status_time.is_some() && document.status_time > known.status_time;
        (!newer && !document.status.is_terminal()).then(|| known.fill(document))
    }
}

impl Ticket {
    /// Who is behind a router, where the document or the metadata of an envelope told; empty otherwise.
    pub fn resolved_customer_identity(&self) -> &String {
        let routed = &self.routing_customer_identity;
        if routed.is_empty() { &self.tunnel_customer_identity } else { routed }
    }

    /// Leaves members without a field out until the rest has `bytes_max`: first those that the newest document does
    /// not have, and of these the largest.
    fn bound_more(&mut self, newest: &Map<String, Value>, bytes_max: usize) {
        let bytes_of = |(name, value): (&String, &Value)| name.len().saturating_add(weight(value));
        let mut bytes = self.more.iter().map(bytes_of).fold(0, usize::saturating_add);
        if bytes <= bytes_max {
            return;
        }
        let sized = self
            .more
            .iter()
            .map(|(name, value)| (!newest.contains_key(name), bytes_of((name, value)), name.clone()));
        let mut sized: Vec<_> = sized.collect();
        sized.sort_unstable();
        while let Some((_, size, name)) = sized.pop().filter(|_| bytes > bytes_max) {
            bytes = bytes.saturating_sub(size);
            self.more.remove(&name);
        }
    }

    /// Sets the times that a command of ours implies and no document of Blip's has told.
    pub(super) fn stamp(&mut self, now: Timestamp) {
        self.command_time = Some(now);
        if self.status == TicketStatus::Open {
            self.open_time.get_or_insert(now);
        } else if self.status.is_terminal() {
            self.close_time.get_or_insert(now);
            if let Some(closed) = self.more.get_mut("closed") {
                *closed = Value::Bool(true);
            }
        }
    }

    /// Whether `document` speaks of an earlier time: it would revive a closed ticket, or undo a newer status. An end
    /// is never too old for a ticket that is open: nothing else will tell it.
    fn refuses(&self, document: &Self) -> bool {
        if document.status.is_terminal() {
            return self.status.is_terminal() && self.is_later_than(document);
        }
        self.status.is_terminal() || self.is_later_than(document) || self.is_ahead_of(document)
    }

    /// Whether both tell when their status changed, and this one's did later.
    pub(super) fn is_later_than(&self, document: &Self) -> bool {
        matches!((self.status_time, document.status_time), (Some(ours), Some(theirs)) if ours > theirs)
    }

    /// Whether `document` tells of a step that this ticket has gone already: it waits while somebody attends, or its
    /// agent has yet to look. Only a date after all we know shows that it went back.
    fn is_ahead_of(&self, document: &Self) -> bool {
        let back = match (self.status, document.status) {
            (TicketStatus::Assigned | TicketStatus::Open, TicketStatus::Waiting) => true,
            (TicketStatus::Open, TicketStatus::Assigned) => {
                document.agent_identity.is_empty()
                    || same_identity(&self.agent_identity, &document.agent_identity)
            }
            _ => false,
        };
        let newer = match (self.status_time, document.status_time) {
            (Some(ours), Some(theirs)) => Some(theirs) > self.command_time.max(Some(ours)),
            _ => false,
        };
        back && !newer
    }

    /// Takes over what an old document tells of the ticket itself, where nothing is known yet: never where the
    /// attendance stands, who attends, or how it ended. Answers the API names of those fields.
    fn fill(&mut self, document: &Self) -> Vec<&'static str> {
        let mut filled = Vec::new();
        macro_rules! texts {
            ($($field:ident),*) => {$(
                if self.$field.is_empty() && !document.$field.is_empty() {
                    self.$field.clone_from(&document.$field);
                    filled.push(stringify!($field));
                }
            )*};
        }
        macro_rules! options {
            ($($field:ident),*) => {$(
                if self.$field.is_none() && document.$field.is_some() {
                    self.$field.clone_from(&document.$field);
                    filled.push(stringify!($field));
                }
            )*};
        }
        texts!(sequential_suffix, customer_identity, customer_domain, team, parent_ticket_id, external_id);
        options!(sequential_id, priority, parent_sequential_id, customer_input, create_time, open_time);
        if self.successor.is_none() {
            self.successor.clone_from(&document.successor);
        }
        if self.routing_customer_identity.is_empty() {
            self.routing_customer_identity.clone_from(&document.routing_customer_identity);
        }
        let before = self.more.len();
        for (name, value) in document.more.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("closed")) {
            if !self.more.contains_key(name) {
                self.more.insert(name.clone(), value.clone());
            }
        }
        if self.more.len() > before {
            filled.push("more");
        }
        filled
    }

    /// Takes over every member the document has; answers the API names of those that changed.
    fn merge(&mut self, document: &Self) -> Vec<&'static str> {
        let mut changed = Vec::new();
        let mut take = |name, differs: bool| {
            if differs {
                changed.push(name);
            }
            differs
        };
        if document.status != TicketStatus::Unspecified
            && take("status", self.blip_status != document.blip_status || self.status != document.status)
        {
            self.status = document.status;
            self.blip_status.clone_from(&document.blip_status);
        }
        macro_rules! texts {
            ($($field:ident),*) => {$(
                if !document.$field.is_empty() && take(stringify!($field), self.$field != document.$field) {
                    self.$field.clone_from(&document.$field);
                }
            )*};
        }
        macro_rules! options {
            ($($field:ident),*) => {$(
                if document.$field.is_some() && take(stringify!($field), self.$field != document.$field) {
                    self.$field.clone_from(&document.$field);
                }
            )*};
        }
        macro_rules! identities {
            ($($field:ident),*) => {$(
                let differs = !same_identity(&self.$field, &document.$field);
                if !document.$field.is_empty() && take(stringify!($field), differs) {
                    self.$field.clone_from(&document.$field);
                }
            )*};
        }
        texts!(sequential_suffix, customer_domain, team, parent_ticket_id, external_id, tags);
        if document.untagged && take("tags", !self.tags.is_empty()) {
            self.tags.clear();
        }
        identities!(customer_identity, agent_identity, closed_by);
        options!(sequential_id, priority, parent_sequential_id, customer_input);
        options!(create_time, open_time, close_time, status_time);
        if !document.routing_customer_identity.is_empty() {
            self.routing_customer_identity.clone_from(&document.routing_customer_identity);
        }
        if self.successor.is_none() {
            self.successor.clone_from(&document.successor);
        }
        let differs = document.more.iter().any(|(name, value)| self.more.get(name) != Some(value));
        if take("more", differs) {
            self.more.extend(document.more.clone());
        }
        changed
    }
}

/// Whether two texts name one identity, whatever their letters; what is no address is compared as it is.
fn same_identity(one: &str, other: &str) -> bool {
    let identity = |text| Node::parse(text).map(|node| node.identity);
    one == other || identity(one).is_some_and(|one| Some(one) == identity(other))
}

#[cfg(test)]
mod tests;
