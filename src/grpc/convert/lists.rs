//! What callers list of tickets, conversations and commands, and what they get.

use prost::Message as _;

use super::admin::{PAGE_SIZE, size_of};
use super::event::status_to_pb;
use super::request::{check_name, check_ticket_id};
use super::{Faults, Invalid, content, timestamp, unknown_number, value};
use crate::domain::action::agent_identity_of;
use crate::domain::translate::{Listed, ThreadMessage};
use crate::domain::{TicketStatus, canonical_ticket_id};
use crate::grpc::pb;
use crate::store::{CommandsWanted, Progress, TicketsWanted};

/// The longest content of a message, encoded: a page has room for it.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// A list of tickets that makes sense. Where it goes on is not yet read.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::grpc) struct Tickets {
    /// Of the log.
    pub(in crate::grpc) wanted: TicketsWanted,
    /// The same for Blip.
    pub(in crate::grpc) listed: Listed,
    /// Ask Blip.
    pub(in crate::grpc) fresh: bool,
    /// Where to go on.
    pub(in crate::grpc) page_token: String,
}

/// Reads a `ListTickets`.
pub(in crate::grpc) fn tickets(request: pb::ListTicketsRequest) -> Result<Tickets, Invalid> {
    let pb::ListTicketsRequest {
        bot,
        statuses,
        team,
        agent,
        customer_identity,
        page_size,
        page_token,
        fresh,
    } = request;
    let mut faults = Faults::default();
    for (field, text) in
        [("bot", &bot), ("team", &team), ("agent", &agent), ("customer_identity", &customer_identity)]
    {
        check_name(text, field, false, &mut faults);
        if fresh && text.contains('\'') {
            faults.add(field, "must not have an apostrophe: Blip cannot look for it");
        }
    }
    let statuses: Vec<_> = statuses
        .into_iter()
        .enumerate()
        .filter_map(|(index, number)| status_of(number, &format!("statuses[{index}]"), &mut faults))
        .collect();
    let closed = statuses.iter().filter(|status| status.is_terminal()).count();
    if fresh && closed != 0 && closed != statuses.len() {
        faults.add("statuses", "must, with fresh, be either all closed or all not: Blip lists these apart");
    }
    if fresh && statuses.iter().any(|status| status.as_blip().is_empty()) {
        faults.add("statuses", "must, with fresh, be ones that Blip has a word for");
    }
    let count_max = faults.take(size_of(page_size, PAGE_SIZE));
    let agent_identity = agent_identity_of(&agent);
    let listed = Listed {
        statuses: statuses.clone(),
        team: team.clone(),
        agent_identity: agent_identity.clone(),
        customer_identity: customer_identity.clone(),
    };
    let wanted =
        TicketsWanted { bot, statuses, team, agent_identity, customer_identity, count_max, before: None };
    faults.done(Tickets { wanted, listed, fresh, page_token })
}

fn status_of(number: i32, field: &str, faults: &mut Faults) -> Option<TicketStatus> {
    match pb::TicketStatus::try_from(number) {
        Ok(pb::TicketStatus::Unspecified) => Some(TicketStatus::Unspecified),
        Ok(pb::TicketStatus::Waiting) => Some(TicketStatus::Waiting),
        Ok(pb::TicketStatus::Assigned) => Some(TicketStatus::Assigned),
        Ok(pb::TicketStatus::Open) => Some(TicketStatus::Open),
        Ok(pb::TicketStatus::ClosedAttendant) => Some(TicketStatus::ClosedAttendant),
        Ok(pb::TicketStatus::ClosedClient) => Some(TicketStatus::ClosedClient),
        Ok(pb::TicketStatus::ClosedClientInactivity) => Some(TicketStatus::ClosedClientInactivity),
        Ok(pb::TicketStatus::Transferred) => Some(TicketStatus::Transferred),
        Ok(pb::TicketStatus::Unrecognized) => Some(TicketStatus::Unrecognized),
        Err(_) => {
            let fault = unknown_number(field, number);
            faults.add(fault.field, fault.description);
            None
        }
    }
}

/// A part of a conversation that makes sense. Where it goes on is not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::grpc) struct Messages {
    /// Of this ticket.
    pub(in crate::grpc) ticket_id: String,
    /// Its bot, or nothing.
    pub(in crate::grpc) bot: String,
    /// The most to send.
    pub(in crate::grpc) count_max: usize,
    /// Where to go on.
    pub(in crate::grpc) page_token: String,
}

/// Reads a `ListMessages`.
pub(in crate::grpc) fn messages(request: pb::ListMessagesRequest) -> Result<Messages, Invalid> {
    let pb::ListMessagesRequest { ticket_id, bot, page_size, page_token } = request;
    let mut faults = Faults::default();
    check_ticket_id(&ticket_id, &mut faults);
    check_name(&bot, "bot", false, &mut faults);
    let count_max = faults.take(size_of(page_size, PAGE_SIZE));
    faults.done(Messages { ticket_id: canonical_ticket_id(&ticket_id), bot, count_max, page_token })
}

/// A message as readers see it.
pub(in crate::grpc) fn message_to_pb(message: ThreadMessage) -> pb::TicketMessage {
    let ThreadMessage { message_id, direction, content: said, status, create_time, metadata } = message;
    let whole = content::to_pb(&said);
    let bytes = whole.encoded_len();
    let content = if bytes > MESSAGE_BYTES_MAX { left_out(whole, bytes) } else { whole };
    pb::TicketMessage {
        message_id,
        direction,
        content: Some(content),
        status: status.map_or(pb::MessageStatus::Unspecified, status_to_pb).into(),
        create_time: create_time.map(timestamp),
        metadata: metadata.iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect(),
    }
}

/// Content that is larger than clients take, without what it says.
fn left_out(whole: pb::Content, bytes: usize) -> pb::Content {
    let pb::Content { media_type, kind: _, more: _ } = whole;
    let word = format!("left out: {bytes} bytes are more than clients take");
    let kind = Some(pb::content::Kind::Json(value::to_pb(&word.into())));
    pb::Content { media_type, kind, more: None }
}

/// Reads a `ListCommands`; where it goes on is not yet read.
pub(in crate::grpc) fn commands(
    request: pb::ListCommandsRequest,
) -> Result<(CommandsWanted, String), Invalid> {
    let pb::ListCommandsRequest { ticket_id, states, page_size, page_token } = request;
    let mut faults = Faults::default();
    if !ticket_id.is_empty() {
        check_ticket_id(&ticket_id, &mut faults);
    }
    let progress = states
        .into_iter()
        .enumerate()
        .filter_map(|(index, number)| progress_of(number, &format!("states[{index}]"), &mut faults))
        .collect();
    let count_max = faults.take(size_of(page_size, PAGE_SIZE));
    let ticket_id = canonical_ticket_id(&ticket_id);
    faults.done((CommandsWanted { ticket_id, progress, count_max, before: None }, page_token))
}

fn progress_of(number: i32, field: &str, faults: &mut Faults) -> Option<Progress> {
    match pb::CommandState::try_from(number) {
        Ok(pb::CommandState::Queued) => Some(Progress::Queued),
        Ok(pb::CommandState::Running) => Some(Progress::Running),
        Ok(pb::CommandState::Succeeded) => Some(Progress::Succeeded),
        Ok(pb::CommandState::Failed) => Some(Progress::Failed),
        Ok(pb::CommandState::OutcomeUnknown) => Some(Progress::Unknown),
        Ok(pb::CommandState::Unspecified) => {
            faults.add(field, "is a state that no recorded command has");
            None
        }
        Err(_) => {
            let fault = unknown_number(field, number);
            faults.add(fault.field, fault.description);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fields;
    use super::*;

    #[test]
    fn blip_is_asked_only_what_it_can_answer() {
        let mixed = vec![pb::TicketStatus::Open.into(), pb::TicketStatus::ClosedClient.into()];
        let request = |fresh| pb::ListTicketsRequest {
            statuses: mixed.clone(),
            team: "D'Or".to_owned(),
            fresh,
            ..pb::ListTicketsRequest::default()
        };
        assert_eq!(fields(tickets(request(true))), ["team", "statuses"]);
        let asked = tickets(request(false)).unwrap();
        assert_eq!((asked.wanted.statuses.len(), asked.wanted.count_max), (2, 100));
    }

    #[test]
    fn unknown_numbers_are_named_by_their_place() {
        let request = pb::ListCommandsRequest { states: vec![3, 0, 9], ..pb::ListCommandsRequest::default() };
        assert_eq!(fields(commands(request)), ["states[1]", "states[2]"]);
        let request = pb::ListTicketsRequest { statuses: vec![14], ..pb::ListTicketsRequest::default() };
        assert_eq!(fields(tickets(request)), ["statuses[0]"]);
    }
}
