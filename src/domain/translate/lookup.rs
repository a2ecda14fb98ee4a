//! What is asked of Blip to know how things stand, and what the answers show: of an action that was perhaps done, and of
//! tickets and conversations.

use jiff::Timestamp;
use serde_json::Value;

use super::answer::ticket_in_reply;
use super::{DESK_POSTMASTER, content_of};
use crate::domain::Metadata;
use crate::domain::action::Action;
use crate::domain::content::Content;
use crate::domain::event::MessageStatus;
use crate::domain::ticket::{Ticket, TicketStatus};
use crate::lime::document::Members;
use crate::lime::envelope::metadata_of;
use crate::lime::node::{encode_component, encode_text};
use crate::lime::{Command, LimeUri, MediaType, Method, canonical_id};

/// The most items that Blip gives at once; it refuses more.
pub const ITEMS_MAX: usize = 100;

/// The command that tells what became of `action`; `None` where nothing can.
pub fn read_back(id: &str, ticket_id: &str, action: &Action) -> Option<Command> {
    let id = format!("{id}-look");
    match action {
        Action::Assign { .. }
        | Action::Close { .. }
        | Action::Finish { .. }
        | Action::Transfer { .. }
        | Action::SetTags { .. } => Some(get_ticket(&id, ticket_id)),
        Action::Send(_) => Some(messages(&id, ticket_id, Order::NewestFirst, (0, ITEMS_MAX))),
        Action::Create(new) => {
            Some(list_tickets(&id, &Listed::living_of(&new.customer_identity), (0, ITEMS_MAX)))
        }
        Action::Execute(_) => None,
    }
}

/// The command that reads one ticket: the singular form, as the plural answers 62 (R§4.1).
pub fn get_ticket(id: &str, ticket_id: &str) -> Command {
    get(id, format!("/ticket/{}", encode_component(ticket_id)))
}

/// Which end of a conversation comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Its beginning.
    OldestFirst,
    /// Its end.
    NewestFirst,
}

/// The command that reads a part of a ticket's conversation: `skip` and `take`. Behind a router it must be asked for
/// in its own way (R§4.1), which does no harm without one.
pub fn messages(id: &str, ticket_id: &str, order: Order, (skip, take): (usize, usize)) -> Command {
    let ascending = order == Order::OldestFirst;
    let ticket = encode_component(ticket_id);
    let query = format!("$skip={skip}&$take={take}&$ascending={ascending}&getFromOwnerIfTunnel=true");
    get(id, format!("/tickets/{ticket}/messages?{query}"))
}

/// Which tickets to list; what is empty is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// In any of these states.
    pub statuses: Vec<TicketStatus>,
    /// Of this queue.
    pub team: String,
    /// Of this agent.
    pub agent_identity: String,
    /// Of this customer.
    pub customer_identity: String,
}

impl Listed {
    /// A customer's tickets that are not closed, as Blip's own library asks for them.
    pub fn living_of(customer_identity: &str) -> Self {
        Self {
            customer_identity: customer_identity.to_owned(),
            statuses: vec![TicketStatus::Open, TicketStatus::Waiting, TicketStatus::Assigned],
            ..Self::default()
        }
    }

    /// A customer's closed tickets.
    pub fn closed_of(customer_identity: &str) -> Self {
        use TicketStatus::{ClosedAttendant, ClosedClient, ClosedClientInactivity, Transferred};
        Self {
            customer_identity: customer_identity.to_owned(),
            statuses: vec![ClosedAttendant, ClosedClient, ClosedClientInactivity, Transferred],
            ..Self::default()
        }
    }

    /// Whether it asks for closed tickets, which Blip lists apart.
    pub fn is_of_closed(&self) -> bool {
        !self.statuses.is_empty() && self.statuses.iter().all(|status| status.is_terminal())
    }

    /// What Blip is asked for it, but for the part of the list.
    pub fn uri(&self) -> String {
        let filter = self.filter();
        let filter = if filter.is_empty() { filter } else { format!("$filter={filter}&") };
        let closed = if self.is_of_closed() { "$closed=true&" } else { "" };
        format!("/tickets?{filter}{closed}")
    }

    fn filter(&self) -> String {
        let Self { statuses, team, agent_identity, customer_identity } = self;
        let equals = |name: &str, value: &str| format!("{name}%20eq%20'{}'", encode_text(value));
        let mut conditions: Vec<String> =
            [("customerIdentity", customer_identity), ("team", team), ("agentIdentity", agent_identity)]
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| equals(name, value))
                .collect();
        let statuses: Vec<_> = statuses.iter().map(|status| equals("status", word_of(*status))).collect();
        match statuses.as_slice() {
            [] => {}
            [one] => conditions.push(one.clone()),
            several if conditions.is_empty() => conditions.push(several.join("%20or%20")),
            several => conditions.push(format!("({})", several.join("%20or%20"))),
        }
        conditions.join("%20and%20")
    }
}

/// The word of a status in a filter: the one there is a sample of is in lower case.
fn word_of(status: TicketStatus) -> &'static str {
    if status == TicketStatus::Waiting { "waiting" } else { status.as_blip() }
}

/// The command that lists tickets: `skip` and `take`.
pub fn list_tickets(id: &str, listed: &Listed, (skip, take): (usize, usize)) -> Command {
    get(id, format!("{}$skip={skip}&$take={take}", listed.uri()))
}

fn get(id: &str, uri: String) -> Command {
    let (id, to) = (id.to_owned(), DESK_POSTMASTER.to_owned());
    Command { id, to, method: Method::Get, uri: LimeUri(uri), resource: None }
}

/// Whether a ticket, as Blip shows it, shows that `action` took effect. `known` is what the log knew of it before.
pub fn ticket_confirms(action: &Action, ticket: &Ticket, known: Option<&Ticket>) -> bool {
    match action {
        Action::Assign { agent_identity } => {
            let is_theirs = |ticket: &Ticket| ticket.agent_identity.eq_ignore_ascii_case(agent_identity);
            // Desk assigns by itself too: that shows nothing where it may have been so before.
            let before = |known: &Ticket| known.status == TicketStatus::Assigned && is_theirs(known);
            let newly = ticket.status == TicketStatus::Assigned && known.is_some_and(|known| !before(known));
            is_theirs(ticket) && (ticket.status == TicketStatus::Open || newly)
        }
        // A close is what was asked for only as the status asked for, and with the labels that go before it.
        Action::Close { by, .. } => ticket.status == by.status() && has_labels(action, ticket),
        Action::Finish { closed_by, tags } => {
            let owner = Members(&ticket.more).text("ownerIdentity").ok().flatten().unwrap_or_default();
            let by = if closed_by.is_empty() { &owner } else { closed_by };
            // The close before it may have named the same one already: then that shows nothing.
            let shown_before = known.is_some_and(|known| known.closed_by.eq_ignore_ascii_case(by));
            let frozen = !by.is_empty() && !shown_before && ticket.closed_by.eq_ignore_ascii_case(by);
            ticket.status.is_terminal() && frozen && tags.iter().all(|tag| ticket.tags.contains(tag))
        }
        Action::SetTags { .. } => has_labels(action, ticket),
        // These are shown by something else than the ticket itself.
        Action::Transfer { .. } | Action::Send(_) | Action::Create(_) | Action::Execute(_) => false,
    }
}

/// Whether a ticket has the labels that `action` was to set.
pub fn has_labels(action: &Action, ticket: &Ticket) -> bool {
    match action {
        Action::Close { tags, .. } => tags.iter().all(|tag| ticket.tags.contains(tag)),
        Action::SetTags { tags } => {
            tags.iter().all(|tag| ticket.tags.contains(tag))
                && ticket.tags.iter().all(|tag| tags.contains(tag))
        }
        Action::Assign { .. }
        | Action::Send(_)
        | Action::Finish { .. }
        | Action::Transfer { .. }
        | Action::Create(_)
        | Action::Execute(_) => false,
    }
}

/// The ticket that goes on where `old` was transferred as `action` asked: it names the old one's number, and is where
/// the customer was to go.
pub fn successor_among(tickets: Vec<Ticket>, old: &Ticket, action: &Action) -> Option<Ticket> {
    let Action::Transfer { team, agent_identity } = action else { return None };
    let number = old.sequential_id?;
    tickets.into_iter().find(|ticket| {
        let there = ticket.team.eq_ignore_ascii_case(team)
            || (!agent_identity.is_empty() && ticket.agent_identity.eq_ignore_ascii_case(agent_identity));
        ticket.parent_sequential_id == Some(number) && there
    })
}

/// The tickets that `action` may have opened: of its customer, not older than `since`, where it was to be, and with what
/// was to be said. The customer may have opened one too, by writing, and a transfer opens others.
pub fn created_among(mut tickets: Vec<Ticket>, since: Timestamp, action: &Action) -> Vec<Ticket> {
    let Action::Create(new) = action else { return Vec::new() };
    let fits = |asked: &str, has: &str| asked.is_empty() || asked.eq_ignore_ascii_case(has);
    let input = new
        .input
        .as_ref()
        .map(|(media_type, document)| content_of(&MediaType::new(media_type), document.clone()));
    tickets.retain(|ticket| {
        ticket.customer_identity.eq_ignore_ascii_case(&new.customer_identity)
            && ticket.create_time.is_some_and(|created| created >= since)
            && ticket.parent_sequential_id.is_none()
            && fits(&new.team, &ticket.team)
            && fits(&new.agent_identity, &ticket.agent_identity)
            && (ticket.customer_input.is_none() || ticket.customer_input == input)
    });
    tickets
}

/// Whether the reply to a look at a conversation holds a message of this id.
pub fn has_message(resource: &Value, id: &str) -> bool {
    items_of(resource)
        .filter_map(Value::as_object)
        .any(|item| Members(item).text("id").ok().flatten().is_some_and(|found| canonical_id(&found) == id))
}

/// The items of a collection, in its order.
pub fn items_of(resource: &Value) -> impl Iterator<Item = &Value> {
    let items =
        resource.as_object().and_then(|object| Members(object).get("items")).and_then(Value::as_array);
    items.into_iter().flatten()
}

/// How many items a page has: Blip's `total` counts the whole query, or is not there.
pub fn items_in(resource: &Value) -> usize {
    items_of(resource).count()
}

/// The tickets of a list, by their shape, as some answers give them another type.
pub fn tickets_in(resource: &Value) -> Vec<Ticket> {
    items_of(resource).filter_map(ticket_in_reply).collect()
}

/// One item of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadMessage {
    /// Canonical.
    pub message_id: String,
    /// `sent` or `received`, as the bot sees it.
    pub direction: String,
    /// What was said.
    pub content: Content,
    /// How far it has come, where Blip tells.
    pub status: Option<MessageStatus>,
    /// When.
    pub create_time: Option<Timestamp>,
    /// As texts; nulls left out.
    pub metadata: Metadata,
}

/// An item of a conversation, if it is one.
pub fn message_in(item: &Value) -> Option<ThreadMessage> {
    item.as_object().map(|item| message_of(Members(item)))
}

fn message_of(item: Members<'_>) -> ThreadMessage {
    let text = |name| item.text(name).ok().flatten().unwrap_or_default();
    let media_type = MediaType::new(&text("type"));
    let status = text("status");
    ThreadMessage {
        message_id: canonical_id(&text("id")).to_owned(),
        direction: text("direction").to_ascii_lowercase(),
        content: content_of(&media_type, item.get("content").cloned().unwrap_or_default()),
        status: (!status.is_empty()).then(|| MessageStatus::from_blip(&status)),
        create_time: item.date("date").ok().flatten(),
        metadata: metadata_of(item.get("metadata")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::action::{CloseBy, NewTicket};

    fn ticket(json: &Value) -> Ticket {
        ticket_in_reply(json).unwrap()
    }

    #[test]
    fn a_close_is_confirmed_by_its_own_status_and_labels() {
        let confirms = |tags: &[&str], status: &str, has: &[&str]| {
            let close = Action::Close {
                by: CloseBy::Agent,
                tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                closed_by: String::new(),
                without_redirect: false,
            };
            ticket_confirms(&close, &ticket(&json!({"id": "t", "status": status, "tags": has})), None)
        };
        assert!(confirms(&[], "ClosedAttendant", &[]) && confirms(&[], "ClosedAttendant", &["a"]));
        for status in ["ClosedClient", "Transferred", "Open"] {
            assert!(!confirms(&[], status, &[]), "{status}");
        }
        assert!(confirms(&["a"], "ClosedAttendant", &["b", "a"]));
        assert!(!confirms(&["a"], "ClosedAttendant", &["b"]), "somebody else closed it");
    }

    /// Desk assigns tickets to agents too, and then they have yet to be opened.
    #[test]
    fn an_assignment_is_confirmed_by_what_was_not_there_before() {
        let assign = Action::Assign { agent_identity: "ana%40e.com@blip.ai".to_owned() };
        let with =
            |status: &str, agent: &str| ticket(&json!({"id": "t", "status": status, "agentIdentity": agent}));
        let ours = |status: &str| with(status, "Ana%40e.com@blip.ai");
        assert!(ticket_confirms(&assign, &ours("Open"), None));
        assert!(ticket_confirms(&assign, &ours("Open"), Some(&ours("Assigned"))));
        assert!(ticket_confirms(&assign, &ours("Assigned"), Some(&with("Waiting", ""))));
        assert!(!ticket_confirms(&assign, &ours("Assigned"), Some(&ours("Assigned"))));
        assert!(!ticket_confirms(&assign, &ours("Assigned"), None), "nobody knows since when");
        assert!(!ticket_confirms(&assign, &with("Open", "bia"), None));
    }

    #[test]
    fn a_finish_is_confirmed_by_who_closed_where_that_is_new() {
        let finish = |closed_by: &str| Action::Finish { closed_by: closed_by.to_owned(), tags: vec![] };
        let shown = ticket(&json!({"id": "t", "status": "ClosedClient", "closedBy": "bot@msging.net",
                                   "ownerIdentity": "bot@msging.net"}));
        let before = |closed_by: &str| Ticket { closed_by: closed_by.to_owned(), ..Ticket::default() };
        assert!(ticket_confirms(&finish(""), &shown, Some(&before("c@0mn.io"))));
        assert!(!ticket_confirms(&finish(""), &shown, Some(&before("bot@msging.net"))));
        assert!(!ticket_confirms(&finish("ana"), &shown, None));
    }

    #[test]
    fn a_transfer_is_found_by_number_and_place() {
        let transfer = Action::Transfer { team: "Vendas".to_owned(), agent_identity: String::new() };
        let old = Ticket { sequential_id: Some(7), ..Ticket::default() };
        let found = |team: &str, parent: i64| {
            let new = ticket(&json!({"id": "n", "team": team, "parentSequentialId": parent}));
            successor_among(vec![new], &old, &transfer).is_some()
        };
        assert!(found("vendas", 7));
        assert!(!found("vendas", 6) && !found("Financeiro", 7), "another's transfer is not ours");
    }

    #[test]
    fn a_new_ticket_is_found_by_customer_and_time() {
        let new = NewTicket { customer_identity: "c@0mn.io".to_owned(), ..NewTicket::default() };
        let create = Action::Create(Box::new(new));
        let since = "2024-05-02T12:00:00Z".parse().unwrap();
        let found = |customer: &str, date: &str| {
            let new = ticket(&json!({"id": "n", "customerIdentity": customer, "storageDate": date}));
            !created_among(vec![new], since, &create).is_empty()
        };
        assert!(found("C@0mn.io", "2024-05-02T12:00:00.001Z"));
        assert!(!found("c@0mn.io", "2024-05-02T11:59:59.999Z") && !found("d@0mn.io", "2024-05-02T12:00:01Z"));
    }

    /// What the customer wrote meanwhile opens a ticket too, and so does a transfer.
    #[test]
    fn a_new_ticket_says_what_it_was_to_say() {
        let text = |text: &str| ("text/plain".to_owned(), json!(text));
        let since = "2024-05-02T12:00:00Z".parse().unwrap();
        let found = |input: Option<(String, Value)>, more: Value| {
            let customer_identity = "c@0mn.io".to_owned();
            let create =
                Action::Create(Box::new(NewTicket { customer_identity, input, ..NewTicket::default() }));
            let mut new =
                json!({"id": "n", "customerIdentity": "c@0mn.io", "storageDate": "2024-05-02T12:00:01Z"});
            new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            !created_among(vec![ticket(&new)], since, &create).is_empty()
        };
        let said = |text: &str| json!({"customerInput": {"type": "text/plain", "value": text}});
        assert!(found(Some(text("oi")), said("oi")) && found(Some(text("oi")), json!({})));
        assert!(found(None, json!({"customerInput": {}})) && found(None, json!({})));
        assert!(!found(Some(text("oi")), said("bom dia")) && !found(None, said("oi")));
        assert!(!found(None, json!({"parentSequentialId": 7})));
    }

    #[test]
    fn lists_are_asked_for_as_documented() {
        let waiting = Listed { statuses: vec![TicketStatus::Waiting], ..Listed::default() };
        let uri = |listed: &Listed, page| list_tickets("1", listed, page).uri.0;
        assert_eq!(uri(&waiting, (0, 100)), "/tickets?$filter=status%20eq%20'waiting'&$skip=0&$take=100");
        assert_eq!(uri(&Listed::default(), (0, 10)), "/tickets?$skip=0&$take=10");
        assert_eq!(
            uri(&Listed::living_of("c@0mn.io"), (100, 100)),
            "/tickets?$filter=customerIdentity%20eq%20'c@0mn.io'%20and%20(status%20eq%20'Open'%20or%20status%20eq%20'waiting'\
             %20or%20status%20eq%20'Assigned')&$skip=100&$take=100"
        );
        let of_agent = Listed {
            statuses: vec![TicketStatus::ClosedClient],
            agent_identity: "ana%40empresa.com@blip.ai".to_owned(),
            team: "Segunda via".to_owned(),
            ..Listed::default()
        };
        assert_eq!(
            uri(&of_agent, (0, 100)),
            "/tickets?$filter=team%20eq%20'Segunda%20via'%20and%20agentIdentity%20eq%20'ana%2540empresa.com@blip.ai'\
             %20and%20status%20eq%20'ClosedClient'&$closed=true&$skip=0&$take=100"
        );
    }
}
