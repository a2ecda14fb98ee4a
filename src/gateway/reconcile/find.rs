//! What of a conversation belongs to a ticket, what of that the log does not have, and where it finds its place. Pure.
//!
//! Blip answers a ticket's question with the customer's whole thread (R§4.1). A ticket's own item marks where it began;
//! what was said before belongs to the ticket before, until that ended. Where Blip does not show the items of others, the
//! log tells when they began. What was said before the first is of no other, nor is what another has told already.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::plan::{Conversation, Now, Rules};
use crate::domain::translate::{Speaker, ThreadItem};
use crate::domain::{DedupKey, Fact, NewEvent, Origin, Ticket, TicketState, TicketStatus};

/// Something that was said in a ticket.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) event: NewEvent,
    pub(super) key: DedupKey,
    /// Canonical.
    pub(super) id: String,
    pub(super) date: Timestamp,
    pub(super) speaker: Speaker,
    /// Before the ticket was made: no webhook was to tell it.
    pub(super) earlier: bool,
    /// So young that its webhook may still be on its way: it is left to that, for now.
    pub(super) fresh: bool,
    /// Blip tells that it was said in this ticket.
    sure: bool,
    /// Its place in the conversation.
    place: usize,
}

/// From when to when a ticket was, as far as the log knows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
    /// Its number.
    number: Option<i64>,
}

impl Span {
    /// That of a ticket.
    pub(super) fn of(ticket: &Ticket) -> Self {
        let ended = Some(ticket).filter(|ticket| ticket.status.is_terminal());
        let ended = ended.and_then(|ticket| ticket.close_time.or(ticket.status_time));
        Self { began: ticket.create_time, ended, number: ticket.sequential_id }
    }
}

/// What was said in a ticket, oldest first.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) said: Vec<Said>,
    /// Tells these from any others.
    pub(super) digest: u64,
}

impl Words {
    /// Whether all of it is to be in the log by now.
    pub(super) fn is_whole(&self) -> bool {
        self.said.iter().all(|said| !said.fresh)
    }
}

/// Other tickets in a conversation: what is to be known of them is when they were.
pub(super) fn others(conversation: &Conversation) -> BTreeSet<String> {
    let begun = conversation.items.iter().filter_map(|item| item.begins.clone());
    begun.filter(|id| id != conversation.ticket_id()).collect()
}

/// The customer's tickets that began after this one, if it has ended.
pub(super) fn later(ticket: &Ticket, others: &BTreeMap<String, Span>) -> Vec<String> {
    let Some(began) = ticket.create_time.filter(|_| ticket.status.is_terminal()) else { return Vec::new() };
    let later = others.iter().filter(|(_, other)| other.began.is_some_and(|other| other > began));
    later.map(|(id, _)| id.clone()).collect()
}

/// What of a conversation was said in its ticket, as it is known; the log may have `seen` something of it. `others` are
/// the customer's other tickets.
pub(super) fn words_of(
    bot: &Arc<str>,
    conversation: &Conversation,
    ticket: &Ticket,
    (seen, others): (bool, &BTreeMap<String, Span>),
    now: Now,
    rules: &Rules,
) -> Words {
    let own = conversation.items.iter().find(|item| item.begins.as_deref() == Some(conversation.ticket_id()));
    let created = ticket.create_time.or(own.map(|item| item.date)).unwrap_or(conversation.floor);
    // It may have been asked for long ago: only what the log's keys still recognise can be compared.
    let oldest = now.date.saturating_sub(rules.window).unwrap_or(now.date);
    let floor = if seen { conversation.floor.max(oldest) } else { conversation.floor };
    let mut words = Words::default();
    let mut hasher = DefaultHasher::new();
    let unshown = unshown(conversation, ticket, others);
    let before = before(conversation, ticket, created, (others, &unshown));
    let mut unshown = unshown.into_iter().peekable();
    let mut current: Option<&str> = None;
    let mut begun = own.is_none();
    for (place, item) in conversation.items.iter().enumerate() {
        while let Some((_, id)) =
            unshown.next_if(|(at, id)| *at < item.date || (*at == item.date && *id == ticket.id))
        {
            current = Some(id);
        }
        if let Some(begins) = &item.begins {
            begun |= *begins == ticket.id;
            current = Some(begins);
            continue;
        }
        let earlier = item.date < created || (item.date == created && !begun);
        let told = !earlier || rules.earlier > SignedDuration::ZERO;
        if !told || item.date < floor || !is_of(ticket, item, (earlier, before), (current, others)) {
            continue;
        }
        let age = now.date.duration_since(item.date);
        let fresh = !earlier && age < rules.grace && conversation.document().is_none();
        let Some(event) = item.event(bot, ticket) else { continue };
        let Some(key) = event.dedup else { continue };
        key.hash(&mut hasher);
        words.said.push(Said {
            event,
            key,
            id: item.id.clone(),
            date: item.date,
            speaker: item.speaker,
            earlier,
            fresh,
            sure: item.said_in.is_some(),
            place,
        });
    }
    words.digest = hasher.finish();
    words
}

/// When tickets began whose own items the conversation does not show, in that order.
fn unshown<'t>(
    conversation: &Conversation,
    ticket: &'t Ticket,
    others: &'t BTreeMap<String, Span>,
) -> Vec<(Timestamp, &'t str)> {
    let shown: BTreeSet<_> = conversation.items.iter().filter_map(|item| item.begins.as_deref()).collect();
    let own = ticket.create_time.map(|created| (created, ticket.id.as_str()));
    if own.is_none() && !shown.contains(ticket.id.as_str()) {
        // Those of others would pass for its end.
        return Vec::new();
    }
    let others = others.iter().filter_map(|(id, span)| Some((span.began?, id.as_str())));
    let mut unshown: Vec<_> = others.chain(own).filter(|(_, id)| !shown.contains(id)).collect();
    unshown.sort_unstable();
    unshown
}

/// The ticket before this one. What was said between the two is of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before<'t> {
    /// There was none.
    First,
    /// This one.
    Ticket(&'t str),
    /// There was one, and it is not known which.
    Unknown,
}

fn before<'t>(
    conversation: &'t Conversation,
    ticket: &Ticket,
    created: Timestamp,
    (others, unshown): (&BTreeMap<String, Span>, &[(Timestamp, &'t str)]),
) -> Before<'t> {
    let is_other = |id: &&str| *id != ticket.id;
    let items = conversation.items.iter().map(|item| (item.date, item.begins.as_deref()));
    let items = items.take_while(|(_, begins)| begins.as_ref().is_none_or(is_other));
    let shown = items.filter_map(|(date, begins)| Some((date, begins?)));
    let shown = shown.filter(|(began, _)| *began <= created);
    let unshown = unshown.iter().copied().filter(|(began, id)| *began < created && is_other(id));
    // Of one moment Blip's own order counts.
    let newest = unshown.chain(shown).max_by_key(|(began, _)| *began).map(|(_, id)| id);
    // A number of zero may be no number.
    let number = ticket.parent_sequential_id.filter(|number| *number != 0);
    let is_child = number.is_some() || !ticket.parent_ticket_id.is_empty();
    let is_parent = |id: &str| {
        let known = others.get(id).and_then(|other| other.number);
        id == ticket.parent_ticket_id || (number.is_some() && number == known)
    };
    match newest {
        Some(id) if !is_child || is_parent(id) => Before::Ticket(id),
        None if !is_child && conversation.whole => Before::First,
        Some(_) | None => Before::Unknown,
    }
}

/// Whether an item was said in the ticket.
fn is_of(
    ticket: &Ticket,
    item: &ThreadItem,
    (earlier, before): (bool, Before<'_>),
    (current, others): (Option<&str>, &BTreeMap<String, Span>),
) -> bool {
    if let Some(said_in) = &item.said_in {
        return *said_in == ticket.id;
    }
    if Span::of(ticket).ended.is_some_and(|ended| item.date > ended) {
        return false;
    }
    match current {
        Some(other) if other != ticket.id => {
            // Of the ticket before, until it ended; what came after that is of nobody but the next.
            let ended = others.get(other).and_then(|other| other.ended);
            earlier && before == Before::Ticket(other) && ended.is_some_and(|ended| item.date > ended)
        }
        // Before the ticket, and perhaps in one that is not seen here.
        None if earlier => before == Before::First,
        Some(_) | None => true,
    }
}

/// The keys that words would have in others of the customer's tickets, each with its place among the words: of those that
/// are not `known`, and of which Blip does not tell where they were said.
pub(super) fn keys_elsewhere(
    bot: &Arc<str>,
    conversation: &Conversation,
    (said, known): (&[Said], &[bool]),
    others: &BTreeMap<String, Span>,
) -> Vec<(usize, DedupKey)> {
    let unsure = said.iter().zip(known).enumerate().filter(|(_, (said, known))| !**known && !said.sure);
    let mut keys = Vec::new();
    for (at, (said, _)) in unsure {
        let Some(item) = conversation.items.get(said.place) else { continue };
        for other in others.keys() {
            let other = Ticket { id: other.clone(), ..Ticket::default() };
            keys.extend(item.event(bot, &other).and_then(|event| event.dedup).map(|key| (at, key)));
        }
    }
    keys
}

/// Leaves out what was told in another ticket.
pub(super) fn leave(words: &mut Words, known: &mut Vec<bool>, elsewhere: &[bool]) {
    let mut told = elsewhere.iter();
    words.said.retain(|_| !told.next().is_some_and(|told| *told));
    let mut told = elsewhere.iter();
    known.retain(|_| !told.next().is_some_and(|told| *told));
}

/// What the log knows of a ticket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'k> {
    /// How it stands.
    pub(super) state: &'k TicketState,
    /// It moved on since Blip was asked.
    pub(super) moved: bool,
    /// From when the newest is, at most, that it has.
    pub(super) newest: Timestamp,
    /// From when the newest is of what a conversation does not show.
    pub(super) aside: Option<Timestamp>,
}

/// The events that the log does not have, in order, each with whether its place is sure: it is not, where the log has
/// what came after. `known` tells which of the words the log has.
pub(super) fn missing(
    bot: &Arc<str>,
    document: Option<&Ticket>,
    Known { state, moved, newest, aside }: Known<'_>,
    words: Words,
    known: &[bool],
) -> Vec<(NewEvent, Kind)> {
    let unseen = state.last_sequence == 0;
    // By their place in the conversation: several may be of one moment.
    let newest_known = known.iter().rposition(|known| *known);
    let changed = state.ticket.as_ref().and_then(|ticket| {
        ticket.status_time.max(ticket.command_time).max(ticket.close_time).max(ticket.open_time)
    });
    let attended = document.and_then(attended_from).or_else(|| state.ticket.as_ref().and_then(attended_from));
    let mut events = Vec::new();
    // Known by its messages alone, it began before them.
    let undocumented = state.ticket.is_none();
    if let Some(document) = document.filter(|_| undocumented) {
        let created = told(bot, created_as(document));
        events.push((NewEvent { order_uncertain: !unseen, ..created }, Kind::Created));
    }
    // A new ticket that waits is told by now.
    let document = document.filter(|it| !(undocumented && it.status == TicketStatus::Waiting));
    let mut document = document.map(|document| {
        let kind = if document.status.is_terminal() { Kind::Ended } else { Kind::Changed };
        let event = told(bot, document.clone());
        (placed(event, (!unseen).then_some(newest)), kind)
    });
    for (place, (said, known)) in words.said.into_iter().zip(known).enumerate() {
        if *known || said.fresh {
            continue;
        }
        let late = moved
            || newest_known.is_some_and(|newest| place < newest)
            || changed.is_some_and(|changed| said.date <= changed)
            || aside.is_some_and(|aside| said.date < aside);
        let order_uncertain = said.earlier || late || state.is_closed();
        let kind = match said.speaker {
            Speaker::Customer if said.earlier => Kind::Earlier,
            Speaker::Customer => {
                Kind::Customer(attended.filter(|attended| said.date >= *attended).map(|_| said.date))
            }
            Speaker::Agent | Speaker::Bot => Kind::Agent,
        };
        // What became of the ticket before this was said stands before it.
        if let Some((event, kind)) = &mut document {
            event.order_uncertain |= *kind != Kind::Ended && event.event_time == Some(said.date);
        }
        let came_before = |(event, _): &mut (NewEvent, Kind)| {
            !said.earlier && event.event_time.is_some_and(|at| at < said.date)
        };
        events.extend(document.take_if(came_before));
        events.push((NewEvent { order_uncertain, ..said.event }, kind));
    }
    events.extend(document);
    events
}

/// From when on somebody attends, and Blip posts what the customer says (R§2.4): what was said before that no webhook
/// was to tell. `None` where nobody did so far.
fn attended_from(ticket: &Ticket) -> Option<Timestamp> {
    let attended = matches!(ticket.status, TicketStatus::Assigned | TicketStatus::Open);
    let now_attended = || ticket.status_time.or(ticket.command_time).or(ticket.create_time);
    ticket.open_time.or_else(|| now_attended().filter(|_| attended))
}

/// A ticket's document where the log ends, which has something of `newest`: its place is sure only if it is later. What was
/// said at the moment of a ticket's end was said before it.
pub(super) fn placed(document: NewEvent, newest: Option<Timestamp>) -> NewEvent {
    let ends = matches!(&document.fact, Fact::Ticket(ticket) if ticket.status.is_terminal());
    let sure = |newest| document.event_time.is_some_and(|at| at > newest || (ends && at == newest));
    let order_uncertain = newest.is_some_and(|newest| !sure(newest));
    NewEvent { order_uncertain, ..document }
}

/// What kind of fact was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A ticket.
    Created,
    /// Another status, agent, team.
    Changed,
    /// The end of a ticket.
    Ended,
    /// A customer's message; when it was said, where a webhook should have told it.
    Customer(Option<Timestamp>),
    /// The same, before the ticket.
    Earlier,
    /// An agent's message, sent elsewhere.
    Agent,
}

impl Kind {
    /// One of each.
    pub(super) const ALL: [Self; 6] =
        [Self::Created, Self::Changed, Self::Ended, Self::Customer(None), Self::Earlier, Self::Agent];

    /// The name for programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Created => "ticket_created",
            Self::Changed => "ticket_changed",
            Self::Ended => "ticket_ended",
            Self::Customer(_) => "message_customer",
            Self::Earlier => "message_earlier",
            Self::Agent => "message_agent",
        }
    }
}

/// A ticket as it began: what came of it later is told after what was said.
fn created_as(document: &Ticket) -> Ticket {
    let mut more = document.more.clone();
    for name in ["closed", "firstResponseDate", "averageAgentResponseTime"] {
        more.retain(|member, _| !member.eq_ignore_ascii_case(name));
    }
    Ticket {
        status: TicketStatus::Waiting,
        blip_status: TicketStatus::Waiting.as_blip().to_owned(),
        agent_identity: String::new(),
        closed_by: String::new(),
        tags: Vec::new(),
        untagged: false,
        open_time: None,
        close_time: None,
        status_time: None,
        more,
        ..document.clone()
    }
}

/// A ticket's document as an event of its own. It has no key: what it means depends on what was known.
pub(super) fn told(bot: &Arc<str>, document: Ticket) -> NewEvent {
    let own = if document.status.is_terminal() { document.close_time } else { None };
    let begun =
        if document.status == TicketStatus::Waiting { document.create_time } else { document.open_time };
    NewEvent {
        bot: Arc::clone(bot),
        ticket_id: Some(document.id.clone()),
        dedup: None,
        origin: Origin::Reconciliation,
        event_time: document.status_time.or(own).or(begun),
        blip_id: format!("Ticket:{}:{}", document.id, document.blip_status),
        traceparent: String::new(),
        resolved_customer_identity: String::new(),
        order_uncertain: false,
        fact: Fact::Ticket(document),
        raw: Bytes::new(),
    }
}

#[cfg(test)]
mod tests;
