//! The numbers of the day, as far as they follow from the tickets. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::commands::{Answer, Call};
use super::lime::Document;
use super::model::Desk;
use super::ticket::{Refusal, Status, Ticket};

const OPEN_TICKET: &str = "application/vnd.iris.desk.open-ticket-summary+json";

/// Carries out a command on `/monitoring`.
pub(crate) fn execute(desk: &Desk, call: &Call<'_>) -> Answer {
    let ("get", ["monitoring", what]) = (call.method(), call.path) else {
        return Err(Refusal::not_supported());
    };
    let tickets = desk.tickets();
    let page = call.uri.page(100)?;
    Ok(Some(match *what {
        "tickets" => summary(tickets),
        "open-tickets" => {
            let open = tickets.iter().filter(|ticket| ticket.status.is_attended());
            Document::page(OPEN_TICKET, open.map(|ticket| row(ticket, call.now)), page)
        }
        // The same item type, without an agent.
        "waiting-tickets" => {
            let waiting = tickets.iter().filter(|ticket| ticket.status == Status::Waiting);
            Document::page(OPEN_TICKET, waiting.map(|ticket| row(ticket, call.now)), page)
        }
        "teams" => {
            let item = "application/vnd.iris.desk.teamticketssummary+json";
            Document::page(item, desk.people.teams.iter().map(|team| of_team(tickets, team)), page)
        }
        "attendants" => {
            let item = "application/vnd.iris.desk.attendantticketssummary+json";
            let rows = desk.people.agents.iter().map(|agent| {
                let (mut row, own) = (json!({}), |ticket: &&Ticket| {
                    let theirs = ticket.agent_identity.as_ref();
                    theirs.is_some_and(|identity| identity.eq_ignore_ascii_case(&agent.identity))
                });
                put(&mut row, "identity", json!(agent.identity));
                put(&mut row, "status", json!(agent.status));
                totals(&mut row, tickets.iter().filter(own));
                row
            });
            Document::page(item, rows, page)
        }
        _ => return Err(Refusal::not_supported()),
    }))
}

fn put(row: &mut Value, name: &str, value: Value) {
    if let Some(members) = row.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn summary(tickets: &[Ticket]) -> Document {
    let count = |status: Status| tickets.iter().filter(|ticket| ticket.status == status).count();
    Document::new(
        "application/vnd.iris.desk.ticketssummary+json",
        json!({
            "waiting": count(Status::Waiting),
            "open": count(Status::Open) + count(Status::Assigned),
            "closed": tickets.iter().filter(|ticket| ticket.closed).count(),
            "closedAttendant": count(Status::ClosedAttendant),
            "closedClient": count(Status::ClosedClient) + count(Status::ClosedClientInactivity),
            "transferred": count(Status::Transferred),
            "missed": 0,
        }),
    )
}

/// A ticket in a list: how long it waited, or has waited so far.
fn row(ticket: &Ticket, now: Timestamp) -> Value {
    let stored: Option<Timestamp> = ticket.storage_date.parse().ok();
    let since = |end: Option<Timestamp>| Some(span(end?.duration_since(stored?)));
    let date = |date: &Option<String>| date.as_ref().and_then(|date| date.parse::<Timestamp>().ok());
    let mut row = json!({
        "id": ticket.id, "sequentialId": ticket.sequential_id, "customerIdentity": ticket.customer_identity,
        "team": ticket.team, "queueTime": since(date(&ticket.open_date).or(Some(now))),
    });
    if let Some(agent) = &ticket.agent_identity {
        put(&mut row, "agentIdentity", json!(agent));
    }
    if let Some(time) = since(date(&ticket.first_response_date)) {
        put(&mut row, "firstResponseTime", json!(time));
    }
    row
}

fn of_team(tickets: &[Ticket], team: &str) -> Value {
    let own = |ticket: &&Ticket| ticket.team.as_ref().is_some_and(|of| of.eq_ignore_ascii_case(team));
    let waiting = tickets.iter().filter(own).filter(|ticket| ticket.status == Status::Waiting).count();
    let mut row = json!({ "name": team, "waitingTickets": waiting });
    totals(&mut row, tickets.iter().filter(own));
    row
}

fn totals<'a>(row: &mut Value, tickets: impl Iterator<Item = &'a Ticket>) {
    let (mut open, mut closed) = (0_u64, 0_u64);
    for ticket in tickets {
        open += u64::from(ticket.status.is_attended());
        closed += u64::from(ticket.closed);
    }
    put(row, "openedTickets", json!(open));
    put(row, "closedTickets", json!(closed));
    put(row, "averageAttendanceTime", json!("00:00:00"));
    put(row, "averageResponseTime", json!("00:00:00"));
}

/// A time span as Blip writes it: `[d.]hh:mm:ss`.
fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let rest = format!("{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    if days > 0 { format!("{days}.{rest}") } else { rest }
}
