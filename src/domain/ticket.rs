//! Tickets: the document, its statuses, and what a new document changes in the one we know.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::content::Content;
use super::transfer::Successor;

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
    /// Who attends.
    pub agent_identity: String,
    /// The queue.
    pub team: String,
    /// Lower is sooner.
    pub priority: Option<i32>,
    /// Labels.
    pub tags: Vec<String>,
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
    /// Every other member, as it came.
    pub more: Map<String, Value>,
}

/// What a ticket may gather of its documents, as [`Ticket::weight`] tells.
const KEPT_BYTES_MAX: usize = 1 << 20;

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
    /// Older than what is known, or reviving a closed ticket: kept as an event. What it says of the attendance
    /// is not applied; the fields it alone could tell, by their name in the API, possibly none, are.
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

    /// Merges `document` and says what it changed.
    pub fn apply(&mut self, document: &Ticket) -> Change {
        let Some(known) = &mut self.ticket else {
            self.ticket = Some(document.clone());
            let status = document.status;
            return if status.is_terminal() { Change::ended(status) } else { Change::Created };
        };
        if known.refuses(document) {
            return Change::Stale(known.fill(document));
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
    /// Sets the times that a command of ours implies and no document of Blip's has told.
    pub(super) fn stamp(&mut self, now: Timestamp) {
        if self.status == TicketStatus::Open {
            self.open_time.get_or_insert(now);
        } else if self.status.is_terminal() {
            self.close_time.get_or_insert(now);
            if let Some(closed) = self.more.get_mut("closed") {
                *closed = Value::Bool(true);
            }
        }
    }

    /// Whether `document` speaks of an earlier time: it would revive a closed ticket or undo a newer status.
    fn refuses(&self, document: &Self) -> bool {
        let revives = self.status.is_terminal() && !document.status.is_terminal();
        let earlier =
            matches!((document.status_time, self.status_time), (Some(theirs), Some(ours)) if theirs < ours);
        let requeues = document.status == TicketStatus::Waiting
            && matches!(self.status, TicketStatus::Assigned | TicketStatus::Open)
            && document.status_time.is_none();
        revives || earlier || requeues
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
        self.stay_within_bounds(document);
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
        texts!(sequential_suffix, customer_identity, customer_domain, agent_identity, team, closed_by);
        texts!(parent_ticket_id, external_id, tags);
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
        self.stay_within_bounds(document);
        changed
    }

    /// Every event of a ticket tells all that its documents told, and must not become more than clients take: past
    /// the bound it is only what the newest tells.
    fn stay_within_bounds(&mut self, newest: &Self) {
        if self.weight() > KEPT_BYTES_MAX {
            self.more.clone_from(&newest.more);
            self.customer_input.clone_from(&newest.customer_input);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(status: TicketStatus) -> Ticket {
        Ticket { id: "t".to_owned(), status, blip_status: status.as_blip().to_owned(), ..Ticket::default() }
    }

    #[test]
    fn a_ticket_gathers_no_more_than_its_readers_take() {
        let long = |name: &str, length: usize| {
            let more = Map::from_iter([(name.to_owned(), Value::from("x".repeat(length)))]);
            Ticket { more, ..document(TicketStatus::Open) }
        };
        let mut state = TicketState::default();
        for (name, length, kept) in
            [("a", 400_000, vec!["a"]), ("b", 400_000, vec!["a", "b"]), ("c", 400_000, vec!["c"])]
        {
            state.apply(&long(name, length));
            let known = state.ticket.as_ref().unwrap();
            assert_eq!(known.more.keys().collect::<Vec<_>>(), kept, "past the bound, the newest alone");
        }
        state.apply(&document(TicketStatus::ClosedClient));
        state.apply(&long("d", 900_000));
        assert_eq!(state.ticket.unwrap().more.keys().collect::<Vec<_>>(), ["d"], "late documents too");
    }

    #[test]
    fn a_ticket_lives_once() {
        let mut state = TicketState::default();
        assert_eq!(state.apply(&document(TicketStatus::Waiting)), Change::Created);
        assert_eq!(state.apply(&document(TicketStatus::Waiting)), Change::Updated(vec![]));
        let open = Ticket { agent_identity: "ana".to_owned(), ..document(TicketStatus::Open) };
        assert_eq!(state.apply(&open), Change::Assigned);
        assert_eq!(state.apply(&open), Change::Updated(vec![]), "the echo of an assignment is no second one");
        assert_eq!(state.apply(&document(TicketStatus::Waiting)), Change::Stale(vec![]));
        assert_eq!(state.apply(&document(TicketStatus::ClosedClient)), Change::Closed);
        assert_eq!(state.apply(&open), Change::Stale(vec![]), "a closed ticket stays closed");
        assert!(state.is_closed());
    }

    #[test]
    fn an_old_document_fills_what_is_not_known_and_changes_nothing() {
        let mut state = TicketState::default();
        let known = Ticket { customer_domain: "0mn.io".to_owned(), ..document(TicketStatus::ClosedClient) };
        state.apply(&known);
        let old = Ticket {
            customer_identity: "c@0mn.io".to_owned(),
            customer_domain: "other".to_owned(),
            agent_identity: "ana".to_owned(),
            team: "vendas".to_owned(),
            tags: vec!["x".to_owned()],
            sequential_id: Some(7),
            status_time: Some(Timestamp::UNIX_EPOCH),
            more: Map::from_iter([
                ("rating".to_owned(), Value::from(0)),
                ("closed".to_owned(), Value::from(false)),
            ]),
            ..document(TicketStatus::Open)
        };
        let filled = vec!["customer_identity", "team", "sequential_id", "more"];
        assert_eq!(state.apply(&old), Change::Stale(filled));
        let expected = Ticket {
            customer_identity: old.customer_identity.clone(),
            team: old.team.clone(),
            sequential_id: Some(7),
            more: Map::from_iter([("rating".to_owned(), Value::from(0))]),
            ..known
        };
        assert_eq!(state.ticket, Some(expected));
        assert_eq!(state.apply(&old), Change::Stale(vec![]));
    }

    #[test]
    fn first_seen_dead_is_no_creation() {
        assert_eq!(TicketState::default().apply(&document(TicketStatus::Transferred)), Change::Transferred);
        assert_eq!(TicketState::default().apply(&document(TicketStatus::ClosedAttendant)), Change::Closed);
        assert_eq!(TicketState::default().apply(&document(TicketStatus::Unrecognized)), Change::Created);
    }

    #[test]
    fn another_agent_is_another_assignment() {
        let mut state = TicketState::default();
        let with = |agent: &str| Ticket { agent_identity: agent.to_owned(), ..document(TicketStatus::Open) };
        state.apply(&with("ana"));
        assert_eq!(state.apply(&with("bia")), Change::Assigned);
    }

    #[test]
    fn words_ignore_case_and_numbers_are_not_guessed() {
        assert_eq!(TicketStatus::from_blip("closedattendant"), TicketStatus::ClosedAttendant);
        assert_eq!(TicketStatus::from_blip("3"), TicketStatus::Unrecognized);
        assert_eq!(TicketStatus::from_blip(""), TicketStatus::Unspecified);
        assert_eq!(TicketStatus::from_blip("none"), TicketStatus::Unspecified);
    }
}
