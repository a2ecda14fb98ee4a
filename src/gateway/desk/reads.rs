//! What is read of tickets, from the log or from Blip; and what is told Blip that leaves nothing behind: that an agent
//! types, that a message was read.

use crate::blip::{BlipError, ask};
use crate::domain::action::{RawCommand, closed};
use crate::domain::translate::{self, ITEMS_MAX, Listed, Order, ThreadMessage};
use crate::domain::{Fault, Payload, Seq, StoredEvent, Ticket};
use crate::lime::{Command, LimeUri, Reply, ReplyStatus, canonical_id, json};
use crate::store::{Page, TicketsWanted};
use serde_json::Value;

use super::super::asker::Asker;
use super::{Desk, DeskError, carry};

/// Lists of Blip's that are asked for, for one of our pages, at most.
const LISTS_MAX: usize = 16;
/// JSON that is enough for one of our pages, whatever was asked for.
const PART_BYTES_ENOUGH: usize = 3 << 20;
/// Events that are looked through for a customer's message, and how many at once.
const EVENTS_LOOKED_AT_MAX: usize = 16_384;
const EVENTS_AT_ONCE: usize = 1_024;

/// A ticket, and how we know.
#[derive(Debug, Clone, PartialEq)]
pub struct TicketView {
    /// The document.
    pub ticket: Ticket,
    /// Its newest event; 0 for a ticket we never saw.
    pub ticket_sequence: u64,
    /// Blip was asked.
    pub fresh: bool,
}

/// A part of a list that Blip has.
#[derive(Debug, Clone, PartialEq)]
pub struct AtBlip<T> {
    /// In Blip's order; each with how many of Blip's to pass over for those after it.
    pub items: Vec<(u64, T)>,
    /// The same for the next part; `None` at the end.
    pub next: Option<u64>,
    /// Items that stood before `next` and could not be read.
    pub left_out: u32,
}

/// A part of a ticket's conversation.
pub type Messages = AtBlip<ThreadMessage>;

impl Desk {
    /// A ticket as the log knows it, or as Blip does if `fresh` or never seen. `None` if neither knows it.
    pub async fn ticket(
        &self,
        asker: Asker<'_>,
        ticket_id: &str,
        fresh: bool,
    ) -> Result<Option<TicketView>, DeskError> {
        let state = self.inner.log.ticket(asker.bot, ticket_id).await?.unwrap_or_default();
        let ticket_sequence = state.last_sequence;
        if let Some(ticket) = state.ticket.filter(|_| !fresh) {
            return Ok(Some(TicketView { ticket, ticket_sequence, fresh: false }));
        }
        let command = translate::get_ticket(&self.inner.ids.next().to_string(), ticket_id);
        match self.ask(asker, "GetTicket", &command).await {
            Ok(reply) => Ok(resource_of(&reply).as_object().map(|object| TicketView {
                ticket: translate::ticket_of(object),
                ticket_sequence,
                fresh: true,
            })),
            Err(DeskError::Fault(fault)) if has_code(&fault, "67") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of the tickets that the log knows.
    pub async fn tickets(&self, wanted: TicketsWanted) -> Result<Page<(String, Ticket)>, DeskError> {
        if !wanted.bot.is_empty() {
            self.inner.bot(&wanted.bot)?;
        }
        Ok(self.inner.log.tickets(wanted).await?)
    }

    /// A part of the tickets that Blip has: at most `count`, after the first `skip`.
    pub async fn tickets_at_blip(
        &self,
        asker: Asker<'_>,
        listed: &Listed,
        (skip, count): (u64, usize),
    ) -> Result<AtBlip<Ticket>, DeskError> {
        let command = |id: &str, page| translate::list_tickets(id, listed, page);
        let read = self.part(asker, "ListTickets", (skip, count), command, translate::ticket_in_reply).await;
        read.map_err(elsewhere)
    }

    /// A part of a ticket's conversation, oldest first: at most `count` messages, after the first `skip`.
    pub async fn messages(
        &self,
        asker: Asker<'_>,
        ticket_id: &str,
        (skip, count): (u64, usize),
    ) -> Result<Messages, DeskError> {
        let command = |id: &str, page| translate::messages(id, ticket_id, Order::OldestFirst, page);
        self.part(asker, "ListMessages", (skip, count), command, translate::message_in).await
    }

    /// Part of a list, gathered from as many of Blip's own pages as it takes: they end where one is not full. Where Blip
    /// answers more than can be read, it is asked for less at a time. One item that cannot be read by itself ends the part
    /// before it, and is a part of its own, which leaves it out.
    async fn part<T>(
        &self,
        asker: Asker<'_>,
        method: &str,
        (skip, count): (u64, usize),
        command: impl Fn(&str, (usize, usize)) -> Command,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<AtBlip<T>, DeskError> {
        let mut at = skip;
        let mut items = Vec::new();
        let (mut bytes, mut take_max) = (0_usize, ITEMS_MAX);
        for _ in 0..LISTS_MAX {
            let take = count.saturating_sub(items.len()).min(take_max);
            let page = (usize::try_from(at).unwrap_or(usize::MAX), take);
            let command = command(&self.inner.ids.next().to_string(), page);
            let reply = match self.ask(asker, method, &command).await {
                Ok(reply) => reply,
                Err(DeskError::Fault(fault)) if fault.reason == carry::TOO_LARGE => {
                    if !items.is_empty() {
                        break;
                    }
                    if take <= 1 {
                        return Ok(AtBlip { items, next: Some(at.saturating_add(1)), left_out: 1 });
                    }
                    take_max = take / 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut got = 0_usize;
            for item in translate::items_of(resource_of(&reply)) {
                (at, got) = (at.saturating_add(1), got.saturating_add(1));
                bytes = bytes.saturating_add(json::bytes_of(item));
                items.extend(read(item).map(|item| (at, item)));
            }
            if got < take {
                return Ok(AtBlip { items, next: None, left_out: 0 });
            }
            if items.len() >= count || bytes >= PART_BYTES_ENOUGH {
                break;
            }
        }
        Ok(AtBlip { items, next: Some(at), left_out: 0 })
    }

    /// The answer to a caller's own LIME command that only reads: a type and a document, or nothing and null.
    pub async fn read(&self, asker: Asker<'_>, raw: RawCommand) -> Result<(String, Value), DeskError> {
        let RawCommand { method, to, uri, resource } = raw;
        let command =
            Command { id: self.inner.ids.next().to_string(), to, method, uri: LimeUri(uri), resource };
        let answer = self.ask(asker, "ExecuteCommand", &command).await;
        let reply = answer.map_err(elsewhere)?;
        Ok((reply.media_type.clone(), resource_of(&reply).clone()))
    }

    /// Tells a ticket's customer whether an agent is typing.
    pub async fn set_typing(
        &self,
        asker: Asker<'_>,
        ticket_id: &str,
        composing: bool,
    ) -> Result<(), DeskError> {
        let state = self.inner.log.ticket(asker.bot, ticket_id).await?.unwrap_or_default();
        if state.is_closed() {
            return Err(DeskError::Fault(closed(ticket_id, &state)));
        }
        let api = asker.way(&self.inner.api(asker.bot)?);
        let answer = api.message(translate::typing(ticket_id, composing), asker.deadline).await;
        judge("SetTyping", "/messages", answer).map(drop)
    }

    /// Tells Blip that a customer's message was read.
    pub async fn mark_read(
        &self,
        asker: Asker<'_>,
        ticket_id: &str,
        message_id: &str,
    ) -> Result<(), DeskError> {
        let api = asker.way(&self.inner.api(asker.bot)?);
        let envelope_id = self.envelope_id(asker.bot, ticket_id, message_id);
        let receipt = translate::read_receipt(ticket_id, &envelope_id);
        judge("MarkRead", "/notifications", api.notification(receipt, asker.deadline).await).map(drop)
    }

    /// The id that a customer's message came with, where it is among the newest events; else as the channel's sample
    /// has it (R§2.4, R§3.3).
    fn envelope_id(&self, bot: &str, ticket_id: &str, message_id: &str) -> String {
        let canonical = canonical_id(message_id);
        if canonical != message_id {
            return message_id.to_owned();
        }
        let log = &self.inner.log;
        let is_it = |stored: &StoredEvent| {
            *stored.event.bot == *bot
                && stored.event.ticket_id == ticket_id
                && matches!(&stored.event.payload, Payload::CustomerMessage { message_id, .. } if message_id == canonical)
        };
        let (mut end, mut looked_at) = (log.tail().borrow().0, 0_usize);
        while end > 0 && looked_at < EVENTS_LOOKED_AT_MAX {
            let start = end.saturating_sub(u64::try_from(EVENTS_AT_ONCE).unwrap_or(u64::MAX));
            let Some(events) = log.recent(Seq(start), EVENTS_AT_ONCE) else { break };
            let raw = events.iter().rev().find(|stored| is_it(stored)).map(|stored| &stored.raw);
            if let Some(id) = raw.and_then(|raw| translate::envelope_id(raw)) {
                return id;
            }
            end = start;
            looked_at = looked_at.saturating_add(EVENTS_AT_ONCE);
        }
        format!("fwd:fwd:{canonical}")
    }

    /// Asks what only reads: on the caller's behalf, and again where that may help and there is time.
    async fn ask(&self, asker: Asker<'_>, method: &str, command: &Command) -> Result<Reply, DeskError> {
        let api = asker.way(&self.inner.api(asker.bot)?);
        judge(method, &command.uri.0, ask(api.as_ref(), command, asker.deadline).await)
    }
}

/// An answer that is success, or the fault that it is.
fn judge(method: &str, uri: &str, answer: Result<Reply, BlipError>) -> Result<Reply, DeskError> {
    let reply = answer.map_err(|error| DeskError::Fault(carry::unread(&error, uri)))?;
    match &reply.status {
        ReplyStatus::Success(_) => Ok(reply),
        ReplyStatus::Failure(reason) => Err(DeskError::Fault(translate::refusal(method, uri, reason))),
        ReplyStatus::Pending => {
            Err(DeskError::Fault(Fault::new("BLIP_UNAVAILABLE", "Blip did not answer").passing()))
        }
    }
}

/// The same error of what is about no ticket.
fn elsewhere(error: DeskError) -> DeskError {
    if let DeskError::Fault(fault) = error { DeskError::Fault(translate::elsewhere(fault)) } else { error }
}

fn resource_of(reply: &Reply) -> &Value {
    match &reply.status {
        ReplyStatus::Success(resource) => resource,
        ReplyStatus::Failure(_) | ReplyStatus::Pending => &Value::Null,
    }
}

fn has_code(fault: &Fault, code: &str) -> bool {
    fault.metadata.iter().any(|(key, value)| key == "blip_code" && value == code)
}
