//! Reading tickets back: one, lists with filters and pages, their messages. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::commands::{Answer, Call};
use super::filter::Filter;
use super::lime::Document;
use super::model::{Account, Desk, TUNNEL};
use super::ticket::{Item, Read, Refusal, TICKET, Ticket};

const THREAD_MESSAGE: &str = "application/vnd.iris.thread-message+json";

/// A page of tickets or messages, where the command asks for no other.
const PAGE: usize = 20;

/// How long a ticket's messages can be read after it was made, and how long a thread goes back.
const TICKET_MESSAGES_AGE: SignedDuration = SignedDuration::from_hours(31 * 24);
const THREAD_AGE: SignedDuration = SignedDuration::from_hours(92 * 24);

/// Carries out a command that reads.
pub(crate) fn execute(desk: &Desk, call: &Call<'_>) -> Answer {
    match call.path {
        ["ticket", id] => Ok(Some(Document::new(TICKET, Read::new(desk.ticket(id)?)))),
        ["tickets"] => tickets(desk, call),
        ["tickets", "history", "metadata"] => history(desk, call),
        ["tickets", "history-merged", identity] => {
            let own = |ticket: &&Ticket| ticket.customer_identity.eq_ignore_ascii_case(identity);
            let found = desk.tickets().iter().filter(own).map(Read::new);
            Ok(Some(Document::page(TICKET, found, call.uri.page(PAGE)?)))
        }
        ["tickets", id, "messages"] => messages(desk, call, id),
        _ => Err(Refusal::not_supported()),
    }
}

/// Without `$closed=true`, and without a word of the status, a list is of the tickets that are not closed.
fn tickets(desk: &Desk, call: &Call<'_>) -> Answer {
    let page = call.uri.page(PAGE)?;
    let filter = call.uri.param("filter").map(Filter::parse).transpose()?;
    let by_status =
        filter.as_ref().is_some_and(|filter| filter.mentions("status") || filter.mentions("closed"));
    let closed = call.uri.flag("closed");
    let found = desk.tickets().iter().filter(|ticket| {
        let kind = if closed { ticket.closed } else { by_status || !ticket.closed };
        kind && filter.as_ref().is_none_or(|filter| filter.accepts(ticket))
    });
    let (skip, take) = page;
    let turned = skip.checked_div(take).unwrap_or_default();
    let found = found.map(Read::new).skip(turned.saturating_mul(desk.habits.list_drift));
    let Some(page_max) = desk.habits.list_page_max else {
        return Ok(Some(Document::page(TICKET, found, page)));
    };
    let mut short = Document::page(TICKET, found, (skip, take.min(page_max)));
    if let Some(members) = short.resource.as_object_mut() {
        members.remove("total");
    }
    Ok(Some(short))
}

fn history(desk: &Desk, call: &Call<'_>) -> Answer {
    let page = call.uri.page(PAGE)?;
    let filter = call.uri.param("filter").map(Filter::parse).transpose()?;
    let accepted = |ticket: &&Ticket| filter.as_ref().is_none_or(|filter| filter.accepts(ticket));
    let found = desk.tickets().iter().filter(accepted);
    let with_metadata = found.map(|ticket| {
        let mut ticket = json!(Read::new(ticket));
        if let Some(members) = ticket.as_object_mut() {
            members.insert("metadata".to_owned(), json!([]));
        }
        ticket
    });
    Ok(Some(Document::page(TICKET, with_metadata, page)))
}

/// The conversation of the ticket's customer, all of it, newest first unless asked otherwise. Behind a router it is
/// with the router's bot, and must be asked for; a month after the ticket it is gone.
fn messages(desk: &Desk, call: &Call<'_>, id: &str) -> Answer {
    let uri = call.uri;
    let page = uri.page(PAGE)?;
    let ticket = desk.ticket(id)?;
    let behind_router = ticket.customer_identity.to_ascii_lowercase().ends_with(TUNNEL);
    let hidden = behind_router && !uri.flag("getFromOwnerIfTunnel");
    let expired = is_older(&ticket.storage_date, TICKET_MESSAGES_AGE, call.now);
    let only_ticket = uri.flag("attendanceTranscriptionOnly");
    let thread = desk.customer(&ticket.customer_identity).map(|customer| customer.thread.as_slice());
    let of_ticket = |item: &&Item| !only_ticket || item.ticket_id.as_deref() == Some(ticket.id.as_str());
    let items = thread.unwrap_or_default().iter().filter(|_| !hidden && !expired).filter(of_ticket);
    Ok(Some(ordered(items, uri.flag("ascending"), page)))
}

/// The conversation with a customer, whatever the tickets.
pub(crate) fn thread(desk: &Desk, call: &Call<'_>, identity: &str) -> Answer {
    let uri = call.uri;
    let page = uri.page(PAGE)?;
    let known = match call.by {
        Account::Desk => desk.customer(identity),
        Account::Router => desk.customers().iter().find(|customer| {
            let originator = customer.originator.as_ref();
            originator.is_some_and(|originator| originator.eq_ignore_ascii_case(identity))
        }),
    };
    let customer = known.ok_or_else(Refusal::not_found)?;
    let ascending = uri.param("direction").is_some_and(|word| word.eq_ignore_ascii_case("asc"));
    let from = uri.param("storageDate").and_then(|date| date.parse::<Timestamp>().ok());
    let items = customer.thread.iter().filter(|item| {
        let wanted = match (from, item.date.parse::<Timestamp>()) {
            (Some(from), Ok(date)) => {
                if ascending {
                    date >= from
                } else {
                    date <= from
                }
            }
            _ => true,
        };
        wanted && item.media_type != TICKET && !is_older(&item.date, THREAD_AGE, call.now)
    });
    Ok(Some(ordered(items, ascending, page)))
}

fn ordered<'a>(items: impl Iterator<Item = &'a Item>, ascending: bool, page: (usize, usize)) -> Document {
    let mut items: Vec<_> = items.collect();
    if !ascending {
        items.reverse();
    }
    Document::page(THREAD_MESSAGE, items, page)
}

fn is_older(date: &str, age: SignedDuration, now: Timestamp) -> bool {
    date.parse::<Timestamp>().is_ok_and(|date| now.duration_since(date) > age)
}
