//! Desk's rules: what may become of a ticket, and what each envelope does. Pure: no I/O, no clock, no tasks.
//!
//! Every change is counted under the id of the envelope that caused it, and every ticket that came to be or
//! changed is noted as an [`Announcement`], for the shell to post or not.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::contacts::Contacts;
use super::effects::{Cause, Effects, What};
use super::ids::Ids;
use super::media::Media;
use super::people::{DIRECT_TRANSFER, People};
use super::rules::Rules;
use super::ticket::{Customer, Direction, Item, Refusal, Status, TICKET, Ticket};

/// The domain of customers behind a router.
pub(crate) const TUNNEL: &str = "tunnel.msging.net";

/// A ticket that came to be, or changed.
#[derive(Clone, Debug)]
pub(crate) struct Announcement {
    pub(crate) ticket: Ticket,
    pub(crate) is_new: bool,
}

/// How a conversation begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewTicket {
    pub(crate) customer_identity: String,
    pub(crate) agent_identity: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) priority: Option<i64>,
    pub(crate) customer_input: Option<Value>,
    pub(crate) parent_sequential_id: Option<u64>,
}

/// A status somebody asks for.
#[derive(Clone, Debug)]
pub(crate) struct StatusChange {
    pub(crate) ticket_id: String,
    pub(crate) status: Status,
    pub(crate) agent_identity: Option<String>,
    pub(crate) closed_by: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
}

/// Whose key an envelope came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Account {
    /// The bot that owns the desk.
    Desk,
    /// The router before it: it sees no tickets, but the customers as they really are.
    Router,
}

/// What differs from contract to contract.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Tickets may be made for, or transferred to, one agent: the REDIS distribution.
    pub(crate) agent_distribution: bool,
    /// A close that says who closed is refused.
    pub(crate) refuse_closed_by: bool,
    /// The code of a command on a ticket that is closed already: 64 was seen.
    pub(crate) closed_code: i64,
    /// The most tickets that a page of them has, whatever is asked; and whether it then says how many there are.
    pub(crate) list_page_max: Option<usize>,
    /// By how many tickets a list has moved up with each page that is turned: so many ended meanwhile.
    pub(crate) list_drift: usize,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            agent_distribution: true,
            refuse_closed_by: false,
            closed_code: 64,
            list_page_max: None,
            list_drift: 0,
        }
    }
}

/// The whole of Blip Desk for one bot.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) bot: String,
    pub(crate) router: String,
    pub(crate) ids: Ids,
    pub(crate) habits: Habits,
    pub(crate) people: People,
    pub(crate) rules: Rules,
    pub(crate) contacts: Contacts,
    pub(crate) media: Media,
    pub(crate) effects: Effects,
    /// Receipts that came in, oldest first.
    pub(crate) notifications: Vec<Value>,
    tickets: Vec<Ticket>,
    ticket_index: HashMap<String, usize>,
    customers: Vec<Customer>,
    customer_index: HashMap<String, usize>,
    announcements: Vec<Announcement>,
}

impl Desk {
    pub(crate) fn new(bot: String, router: String, seed: u64) -> Self {
        Self {
            bot,
            router,
            ids: Ids::new(seed),
            habits: Habits::default(),
            people: People::new(),
            rules: Rules::default(),
            contacts: Contacts::default(),
            media: Media::default(),
            effects: Effects::default(),
            notifications: Vec::new(),
            tickets: Vec::new(),
            ticket_index: HashMap::new(),
            customers: Vec::new(),
            customer_index: HashMap::new(),
            announcements: Vec::new(),
        }
    }

    pub(crate) fn tickets(&self) -> &[Ticket] {
        &self.tickets
    }

    pub(crate) fn customers(&self) -> &[Customer] {
        &self.customers
    }

    pub(crate) fn ticket(&self, id: &str) -> Result<&Ticket, Refusal> {
        let at = self.ticket_index.get(&id.to_ascii_lowercase());
        at.and_then(|&at| self.tickets.get(at)).ok_or_else(Refusal::not_found)
    }

    pub(crate) fn customer(&self, identity: &str) -> Option<&Customer> {
        self.customer_index.get(&identity.to_ascii_lowercase()).and_then(|&at| self.customers.get(at))
    }

    /// The customer's newest ticket that is not closed.
    pub(crate) fn active_ticket(&self, identity: &str) -> Option<&Ticket> {
        let tickets = &self.customer(identity)?.tickets;
        tickets.iter().rev().filter_map(|&at| self.tickets.get(at)).find(|ticket| !ticket.closed)
    }

    /// What happened since the last call, oldest first.
    pub(crate) fn take_announcements(&mut self) -> Vec<Announcement> {
        std::mem::take(&mut self.announcements)
    }

    /// Counts a change under the id of the envelope that caused it, and tells it of the ticket.
    pub(crate) fn applied(
        &mut self,
        envelope_id: &str,
        ticket_id: &str,
        what: What,
        detail: Value,
        now: Timestamp,
    ) {
        let id = self.ticket(ticket_id).map_or_else(|_| ticket_id.to_owned(), |ticket| ticket.id.clone());
        self.effects.of_ticket(Cause { envelope_id, at: &stamp(now) }, &id, what, detail);
    }

    /// The customer of this identity, made if new.
    pub(crate) fn ensure_customer(&mut self, identity: &str, name: Option<&str>, channel: Option<&str>) {
        if self.customer(identity).is_some() {
            return;
        }
        let domain = identity.split_once('@').map_or("", |(_, domain)| domain);
        let number = 5_531_900_000_001_u64.saturating_add(u64::try_from(self.customers.len()).unwrap_or(0));
        let routed = domain.eq_ignore_ascii_case(TUNNEL);
        let channel = channel.unwrap_or(if routed { "wa.gw.msging.net" } else { domain });
        self.customer_index.insert(identity.to_ascii_lowercase(), self.customers.len());
        let customer = Customer {
            identity: identity.to_owned(),
            name: name.unwrap_or("Ana Exemplo").to_owned(),
            domain: channel.to_owned(),
            originator: routed.then(|| format!("{number}@{channel}")),
            thread: Vec::new(),
            chatstates: Vec::new(),
            tickets: Vec::new(),
        };
        self.contacts.meet(&customer, &self.router);
        self.customers.push(customer);
    }

    /// Makes a ticket in the queue, and the customer if new.
    pub(crate) fn open(&mut self, new: NewTicket, now: Timestamp) -> Ticket {
        self.ensure_customer(&new.customer_identity, None, None);
        let domain = self.customer(&new.customer_identity).map(|customer| customer.domain.clone());
        let ticket = Ticket {
            id: self.ids.uuid(),
            sequential_id: u64::try_from(self.tickets.len()).unwrap_or(u64::MAX).saturating_add(1),
            owner_identity: self.bot.clone(),
            customer_identity: new.customer_identity,
            customer_domain: domain.unwrap_or_default(),
            provider: "Webhook",
            status: Status::Waiting,
            storage_date: stamp(now),
            rating: 0,
            unread_messages: 0,
            closed: false,
            agent_identity: new.agent_identity,
            status_date: None,
            team: new.team,
            open_date: None,
            first_response_date: None,
            close_date: None,
            closed_by: None,
            tags: Vec::new(),
            parent_sequential_id: new.parent_sequential_id,
            priority: new.priority,
            customer_input: new.customer_input,
            finished: false,
        };
        let item = Item {
            id: Some(ticket.id.clone()),
            direction: Direction::Received,
            media_type: TICKET.to_owned(),
            content: serde_json::to_value(&ticket).unwrap_or_default(),
            date: stamp(now),
            status: None,
            metadata: None,
            ticket_id: Some(ticket.id.clone()),
            read: true,
        };
        self.push_item(&ticket.customer_identity, item);
        let place = self.tickets.len();
        if let Some(customer) = self.customer_mut(&ticket.customer_identity) {
            customer.tickets.push(place);
        }
        self.ticket_index.insert(ticket.id.to_ascii_lowercase(), place);
        self.tickets.push(ticket.clone());
        self.announcements.push(Announcement { ticket: ticket.clone(), is_new: true });
        ticket
    }

    /// Moves a ticket that is not closed to another status. A closed one answers 64, whatever is asked.
    pub(crate) fn change_status(&mut self, change: StatusChange, now: Timestamp) -> Result<(), Refusal> {
        if self.ticket(&change.ticket_id)?.closed {
            return Err(self.already_closed());
        }
        if self.habits.refuse_closed_by && change.closed_by.is_some() {
            return Err(Refusal::new(66, "The ticket can not be closed by the requested identity"));
        }
        let attended = match change.status {
            Status::Open | Status::Assigned => true,
            Status::ClosedAttendant | Status::ClosedClient | Status::ClosedClientInactivity => false,
            Status::Waiting | Status::Transferred => {
                return Err(Refusal::new(24, "The ticket status can not be set to the requested value"));
            }
        };
        if attended && change.agent_identity.as_deref().unwrap_or_default().is_empty() {
            return Err(Refusal::invalid("The agent identity is required"));
        }
        self.update(&change.ticket_id, |ticket, bot| {
            ticket.status = change.status;
            ticket.status_date = Some(stamp(now));
            if attended {
                ticket.agent_identity.clone_from(&change.agent_identity);
            }
            if change.status == Status::Open && ticket.open_date.is_none() {
                ticket.open_date = Some(stamp(now));
            }
            if change.status.is_closed() {
                let usual = match change.status {
                    Status::ClosedAttendant => ticket.agent_identity.clone(),
                    Status::ClosedClient => Some(ticket.customer_identity.clone()),
                    Status::Waiting
                    | Status::Assigned
                    | Status::Open
                    | Status::ClosedClientInactivity
                    | Status::Transferred => Some(bot.to_owned()),
                };
                ticket.closed = true;
                ticket.close_date = Some(stamp(now));
                ticket.closed_by = change.closed_by.or(usual);
            }
            if let Some(tags) = change.tags {
                ticket.tags = tags;
            }
        })?;
        if let (true, Some(agent)) = (attended, &change.agent_identity) {
            self.people.took(agent, now);
        }
        Ok(())
    }

    /// Freezes a ticket the customer closed. Without `closed_by` it is the bot's doing.
    pub(crate) fn finish(
        &mut self,
        ticket_id: &str,
        closed_by: Option<String>,
        tags: Option<Vec<String>>,
    ) -> Result<(), Refusal> {
        let ticket = self.ticket(ticket_id)?;
        if ticket.is_frozen() {
            return Err(self.already_closed());
        }
        if ticket.status != Status::ClosedClient {
            return Err(Refusal::new(66, "Only a ticket closed by the customer can be finished"));
        }
        self.update(ticket_id, |ticket, bot| {
            ticket.finished = true;
            ticket.closed_by = Some(closed_by.unwrap_or_else(|| bot.to_owned()));
            if let Some(tags) = tags {
                ticket.tags = tags;
            }
        })
    }

    /// Closes the ticket as `Transferred` and opens its successor in the queue, which keeps customer and priority.
    pub(crate) fn transfer(
        &mut self,
        ticket_id: &str,
        team: Option<&str>,
        agent: Option<String>,
        now: Timestamp,
    ) -> Result<Ticket, Refusal> {
        let old = self.ticket(ticket_id)?.clone();
        if old.closed {
            return Err(self.already_closed());
        }
        self.check_agent(agent.as_deref())?;
        let team = match (team, &agent) {
            (Some(team), _) => self.people.team(team)?,
            (None, Some(_)) => DIRECT_TRANSFER.to_owned(),
            (None, None) => return Err(Refusal::invalid("A team or an agent is required")),
        };
        self.update(ticket_id, |ticket, _| {
            ticket.status = Status::Transferred;
            ticket.closed = true;
            ticket.status_date = Some(stamp(now));
            ticket.close_date = Some(stamp(now));
        })?;
        Ok(self.open(
            NewTicket {
                customer_identity: old.customer_identity,
                agent_identity: agent,
                team: Some(team),
                priority: old.priority,
                customer_input: old.customer_input,
                parent_sequential_id: Some(old.sequential_id),
            },
            now,
        ))
    }

    /// Replaces the ticket's tags.
    pub(crate) fn set_tags(&mut self, ticket_id: &str, tags: Vec<String>) -> Result<(), Refusal> {
        if self.ticket(ticket_id)?.is_frozen() {
            return Err(self.already_closed());
        }
        self.update(ticket_id, |ticket, _| ticket.tags = tags)
    }

    fn already_closed(&self) -> Refusal {
        Refusal::new(self.habits.closed_code, "Invalid argument")
    }

    /// A ticket for one agent needs a bot with agent distribution.
    pub(crate) fn check_agent(&self, agent: Option<&str>) -> Result<(), Refusal> {
        if agent.is_some() && !self.habits.agent_distribution {
            return Err(Refusal::new(66, "The distribution to an agent is not enabled"));
        }
        Ok(())
    }

    /// Keeps an item of the customer's conversation.
    pub(crate) fn push_item(&mut self, identity: &str, item: Item) {
        if let Some(customer) = self.customer_mut(identity) {
            customer.thread.push(item);
        }
    }

    pub(crate) fn customer_mut(&mut self, identity: &str) -> Option<&mut Customer> {
        let at = self.customer_index.get(&identity.to_ascii_lowercase()).copied();
        at.and_then(|at| self.customers.get_mut(at))
    }

    /// Edits a ticket without telling anyone: counters and dates.
    pub(crate) fn edit(&mut self, id: &str, edit: impl FnOnce(&mut Ticket)) {
        let at = self.ticket_index.get(&id.to_ascii_lowercase()).copied();
        if let Some(ticket) = at.and_then(|at| self.tickets.get_mut(at)) {
            edit(ticket);
        }
    }

    /// Edits a ticket and notes that it changed.
    pub(crate) fn update(&mut self, id: &str, edit: impl FnOnce(&mut Ticket, &str)) -> Result<(), Refusal> {
        let at = self.ticket_index.get(&id.to_ascii_lowercase()).copied();
        let ticket = at.and_then(|at| self.tickets.get_mut(at)).ok_or_else(Refusal::not_found)?;
        edit(ticket, &self.bot);
        self.announcements.push(Announcement { ticket: ticket.clone(), is_new: false });
        Ok(())
    }
}

/// The webhook that tells of a ticket: its id, and its document.
pub(crate) fn ticket_webhook(ticket: &Ticket) -> (String, Ticket) {
    let id = format!("Ticket:{}:{}", ticket.id, ticket.status.word());
    let mut ticket = ticket.clone();
    if ticket.status != Status::Waiting {
        ticket.customer_input = None;
    }
    (id, ticket)
}

/// A date as Blip writes it, to the millisecond.
pub(crate) fn stamp(at: Timestamp) -> String {
    format!("{at:.3}")
}
