//! What a caller may ask of Desk, what became of it, and the rules that need no look at Blip.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::content::Content;
use super::lane;
use super::ticket::{TicketState, TicketStatus};
use super::words::cut;
use crate::lime::{Identity, Method};

/// Something asked of Desk: about one ticket, but for the last two.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Give the ticket to an agent; it becomes Open.
    Assign {
        /// The agent's identity, `ana%40empresa.com@blip.ai`.
        agent_identity: String,
    },
    /// Say something to the customer.
    Send(Box<OutboundMessage>),
    /// End the attendance.
    Close {
        /// On whose side.
        by: CloseBy,
        /// Labels to set first; empty leaves them.
        tags: Vec<String>,
        /// Identity to name as the one who closed; empty leaves it to Blip.
        closed_by: String,
        /// Do not hand the customer back to the bot.
        without_redirect: bool,
    },
    /// Freeze a ticket that the customer closed.
    Finish {
        /// Identity to name as the one who closed; empty leaves it to Blip, which names the bot.
        closed_by: String,
        /// Labels to finish with; empty leaves them.
        tags: Vec<String>,
    },
    /// Move the customer to a team, and there perhaps to an agent: another ticket goes on.
    Transfer {
        /// The team.
        team: String,
        /// The agent; empty for whoever of the team takes it.
        agent_identity: String,
    },
    /// Replace the ticket's labels.
    SetTags {
        /// All that it is to have.
        tags: Vec<String>,
    },
    /// Open a ticket for a customer.
    Create(Box<NewTicket>),
    /// Any LIME command that may change something.
    Execute(Box<RawCommand>),
}

/// A ticket to be opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewTicket {
    /// For whom.
    pub customer_identity: String,
    /// The queue; empty leaves it to Blip's rules.
    pub team: String,
    /// The agent; empty for none.
    pub agent_identity: String,
    /// What the customer wants, as a type and LIME's `content`.
    pub input: Option<(String, Value)>,
}

/// A LIME command as its caller wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct RawCommand {
    /// The verb.
    pub method: Method,
    /// The extension that carries it out.
    pub to: String,
    /// What it is about, percent-encoded.
    pub uri: String,
    /// The resource and its type.
    pub resource: Option<(String, Value)>,
}

/// A message on its way to the customer.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboundMessage {
    /// What it says, as readers of the log see it.
    pub content: Content,
    /// The same as LIME's `content`.
    pub document: Value,
    /// Passed on untouched.
    pub metadata: Map<String, Value>,
    /// Who speaks; empty for the ticket's agent.
    pub agent_identity: String,
}

/// On whose side an attendance ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseBy {
    /// `ClosedAttendant`
    Agent,
    /// `ClosedClient`
    Customer,
}

impl CloseBy {
    /// The status the ticket takes.
    pub fn status(self) -> TicketStatus {
        match self {
            Self::Agent => TicketStatus::ClosedAttendant,
            Self::Customer => TicketStatus::ClosedClient,
        }
    }
}

/// The identity of an agent given as people write it: an e-mail is encoded, an identity of Blip's stays as it
/// is, and so does whatever is neither.
///
/// ```
/// # use deskgate::domain::action::agent_identity_of;
/// assert_eq!(agent_identity_of("ana@empresa.com"), "ana%40empresa.com@blip.ai");
/// assert_eq!(agent_identity_of("ana%40empresa.com@blip.ai"), "ana%40empresa.com@blip.ai");
/// assert_eq!(agent_identity_of("suporte@msging.net"), "suporte@msging.net");
/// ```
pub fn agent_identity_of(text: &str) -> String {
    let text = text.trim();
    match text.split_once('@') {
        Some((name, domain)) if !name.contains('%') && !is_blips(domain) => Identity::agent(text).to_string(),
        Some(_) | None => text.to_owned(),
    }
}

/// Whether a domain is Blip's own, so that what lives there is an identity and no e-mail.
fn is_blips(domain: &str) -> bool {
    let domain = domain.split('/').next().unwrap_or_default().to_ascii_lowercase();
    matches!(domain.as_str(), "msging.net" | "0mn.io" | "blip.ai") || domain.ends_with(".msging.net")
}

/// An action, for whom, and under which conditions.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRequest {
    /// The bot's short name.
    pub bot: String,
    /// The ticket.
    pub ticket_id: String,
    /// What is asked.
    pub action: Action,
    /// Who asks: the client's name, empty while clients need none.
    pub principal: String,
    /// The caller's idempotency key; empty without one.
    pub request_id: String,
    /// Refuse if a `ticket.*` or `message.customer` event is newer than this; 0 is no condition.
    pub if_ticket_sequence: u64,
    /// Its caller waits for the record alone, and hears the end from the log.
    pub accept_only: bool,
}

/// A digest of what was asked: the same request id with another digest is a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 16]);

/// What became of an action.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Blip did it.
    Done,
    /// The ticket was closed already, which is what a close is for.
    AlreadyClosed,
    /// It did not happen.
    Failed(Fault),
    /// It may or may not have happened.
    Unknown(Fault),
}

/// What Blip answered to an action that was done.
#[derive(Debug, Clone, PartialEq)]
pub enum Returned {
    /// The id of the ticket that was opened.
    Ticket(String),
    /// A document.
    Document {
        /// Its type; empty where Blip told none.
        media_type: String,
        /// The document.
        json: Value,
    },
}

/// Why an action failed, or why its end is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The API's reason, such as `TICKET_CLOSED`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Facts for programs: `blip_code`, `blip_description`, `blip_uri`, `retry_after_ms`.
    pub metadata: Vec<(String, String)>,
    /// Nothing happened and the same request may pass later: its request id is free again.
    pub frees_request_id: bool,
}

/// The longest text of a fault, in bytes: Blip's words have no end of their own.
const FAULT_TEXT_BYTES_MAX: usize = 4 << 10;

impl Fault {
    /// A fault without metadata that keeps the request id.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: cut(message.into(), FAULT_TEXT_BYTES_MAX),
            metadata: Vec::new(),
            frees_request_id: false,
        }
    }

    /// The same, with a fact for programs.
    #[must_use]
    pub fn with(mut self, key: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.metadata.push((key.to_owned(), cut(value.to_string(), FAULT_TEXT_BYTES_MAX)));
        self
    }

    /// The same, as one that passes.
    #[must_use]
    pub fn passing(mut self) -> Self {
        self.frees_request_id = true;
        self
    }
}

impl Action {
    /// The name of the rpc.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Assign { .. } => "Assign",
            Self::Send(_) => "Send",
            Self::Close { .. } => "Close",
            Self::Finish { .. } => "Finish",
            Self::Transfer { .. } => "Transfer",
            Self::SetTags { .. } => "SetTags",
            Self::Create(_) => "Create",
            Self::Execute(_) => "ExecuteCommand",
        }
    }

    /// What it must not share with another action at the same time: the ticket, or the customer who is to get one.
    /// `None` where nothing is known of it.
    pub fn lane(&self, ticket_id: &str) -> Option<String> {
        match self {
            Self::Assign { .. }
            | Self::Send(_)
            | Self::Close { .. }
            | Self::Finish { .. }
            | Self::Transfer { .. }
            | Self::SetTags { .. } => Some(ticket_id.to_owned()),
            Self::Create(new) => Some(lane::of_customer(&new.customer_identity)),
            Self::Execute(raw) => lane::of_raw(raw),
        }
    }

    /// Everything that is asked, for its digest.
    fn asks(&self) -> Value {
        match self {
            Self::Assign { agent_identity } => json!([agent_identity]),
            Self::Send(message) => json!([
                message.content.media_type,
                message.document,
                message.metadata,
                message.agent_identity
            ]),
            Self::Close { by, tags, closed_by, without_redirect } => {
                json!([by.status().as_blip(), tags, closed_by, without_redirect])
            }
            Self::Finish { closed_by, tags } => json!([closed_by, tags]),
            Self::Transfer { team, agent_identity } => json!([team, agent_identity]),
            Self::SetTags { tags } => json!([tags]),
            Self::Create(new) => {
                let NewTicket { customer_identity, team, agent_identity, input } = new.as_ref();
                json!([customer_identity, team, agent_identity, input])
            }
            Self::Execute(raw) => {
                let RawCommand { method, to, uri, resource } = raw.as_ref();
                json!([method.as_str(), to, uri, resource])
            }
        }
    }
}

impl ActionRequest {
    /// The digest of everything that is asked, conditions included, bar the request id itself and how long its caller
    /// waits.
    pub fn fingerprint(&self) -> Fingerprint {
        let body = self.action.asks();
        let all = json!([self.bot, self.ticket_id, self.action.method(), self.if_ticket_sequence, body]);
        let digest: [u8; 32] = Sha256::digest(all.to_string()).into();
        let mut half = [0; 16];
        half.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Fingerprint(half)
    }

    /// What can be said before Blip is asked: an outcome that needs no asking, or `None` to go on. A ticket we
    /// never saw is Blip's to judge.
    pub fn judge(&self, state: &TicketState) -> Option<Outcome> {
        if self.if_ticket_sequence != 0 && state.activity_sequence > self.if_ticket_sequence {
            let newest = state.last_sequence;
            let message =
                format!("the ticket's newest ticket_sequence is {newest}; read its events and ask again");
            let fault = Fault::new("TICKET_CHANGED", message).with("ticket_id", &self.ticket_id);
            return Some(Outcome::Failed(fault.with("ticket_sequence", &newest)));
        }
        if !state.is_closed() {
            return None;
        }
        match &self.action {
            Action::Close { .. } => Some(Outcome::AlreadyClosed),
            Action::Finish { .. } if state.may_be_finished() => None,
            Action::Assign { .. }
            | Action::Send(_)
            | Action::Finish { .. }
            | Action::Transfer { .. }
            | Action::SetTags { .. } => Some(Outcome::Failed(closed(&self.ticket_id, state))),
            Action::Create(_) | Action::Execute(_) => None,
        }
    }
}

/// The fault of an action on a ticket that is known to be closed.
pub fn closed(ticket_id: &str, state: &TicketState) -> Fault {
    let status = state.ticket.as_ref().map(|ticket| ticket.blip_status.clone()).unwrap_or_default();
    let message = format!("ticket {ticket_id} is closed ({status}) and can no longer be updated");
    Fault::new("TICKET_CLOSED", message).with("ticket_id", ticket_id).with("blip_status", &status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ticket::Ticket;

    fn close(request_id: &str) -> ActionRequest {
        ActionRequest {
            bot: "suporte".to_owned(),
            ticket_id: "t".to_owned(),
            action: Action::Close {
                by: CloseBy::Agent,
                tags: vec![],
                closed_by: String::new(),
                without_redirect: false,
            },
            principal: String::new(),
            request_id: request_id.to_owned(),
            if_ticket_sequence: 0,
            accept_only: false,
        }
    }

    #[test]
    fn identities_of_blips_own_domains_are_no_emails() {
        for identity in [
            "suporte@msging.net",
            "postmaster@Desk.MSGING.net",
            "1654@messenger.gw.msging.net/device",
            "c@0MN.io",
            "ana@blip.ai",
        ] {
            assert_eq!(agent_identity_of(identity), identity);
        }
        for (email, identity) in [
            ("ana@notmsging.net", "ana%40notmsging.net@blip.ai"),
            ("ana@msging.net.br", "ana%40msging.net.br@blip.ai"),
        ] {
            assert_eq!(agent_identity_of(email), identity);
        }
    }

    #[test]
    fn the_fingerprint_is_of_the_question_not_of_its_id() {
        assert_eq!(close("a").fingerprint(), close("b").fingerprint());
        let other = ActionRequest { ticket_id: "u".to_owned(), ..close("a") };
        assert_ne!(close("a").fingerprint(), other.fingerprint());
    }

    #[test]
    fn closed_is_closed() {
        let ticket = Ticket { status: TicketStatus::ClosedClient, ..Ticket::default() };
        let state = TicketState { ticket: Some(ticket), ..TicketState::default() };
        assert_eq!(close("a").judge(&state), Some(Outcome::AlreadyClosed));
        let assign =
            ActionRequest { action: Action::Assign { agent_identity: "a".to_owned() }, ..close("a") };
        assert!(
            matches!(assign.judge(&state), Some(Outcome::Failed(fault)) if fault.reason == "TICKET_CLOSED")
        );
        assert_eq!(close("a").judge(&TicketState::default()), None);
    }

    #[test]
    fn a_finish_follows_a_customers_close_and_no_other() {
        let finish =
            ActionRequest { action: Action::Finish { closed_by: String::new(), tags: vec![] }, ..close("a") };
        for (status, refused) in [
            (TicketStatus::ClosedClient, false),
            (TicketStatus::ClosedClientInactivity, false),
            (TicketStatus::Open, false),
            (TicketStatus::ClosedAttendant, true),
            (TicketStatus::Transferred, true),
        ] {
            let ticket = Ticket { status, ..Ticket::default() };
            let state = TicketState { ticket: Some(ticket), ..TicketState::default() };
            assert_eq!(finish.judge(&state).is_some(), refused, "{status:?}");
        }
    }

    #[test]
    fn a_condition_looks_at_activity_only() {
        let request = ActionRequest { if_ticket_sequence: 3, ..close("a") };
        let state =
            |activity_sequence| TicketState { last_sequence: 9, activity_sequence, ..TicketState::default() };
        assert_eq!(request.judge(&state(3)), None);
        assert!(
            matches!(request.judge(&state(4)), Some(Outcome::Failed(fault)) if fault.reason == "TICKET_CHANGED")
        );
    }
}
