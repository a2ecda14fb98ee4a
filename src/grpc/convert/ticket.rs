//! Tickets, outward.

use super::{content, timestamp, value};
use crate::domain::{Ticket, TicketStatus};
use crate::grpc::pb;

/// A ticket of `bot` as readers see it.
pub(in crate::grpc) fn to_pb(ticket: &Ticket, bot: &str) -> pb::Ticket {
    let Ticket {
        id,
        status,
        blip_status,
        sequential_id,
        sequential_suffix,
        customer_identity,
        customer_domain,
        routing_customer_identity,
        tunnel_customer_identity: _,
        agent_identity,
        team,
        priority,
        tags,
        untagged: _,
        closed_by,
        parent_sequential_id,
        parent_ticket_id,
        successor: _,
        external_id,
        customer_input,
        create_time,
        open_time,
        close_time,
        status_time,
        command_time: _,
        more,
    } = ticket;
    let mut more = value::struct_to_pb(more);
    // A ticket that an earlier version stored has it in its own place alone.
    let told = more.as_ref().is_some_and(|more| {
        more.fields.keys().any(|name| name.eq_ignore_ascii_case("routingCustomerIdentity"))
    });
    if !told && !routing_customer_identity.is_empty() {
        let behind = value::to_pb(&routing_customer_identity.as_str().into());
        let fields = &mut more.get_or_insert_default().fields;
        fields.insert("routingCustomerIdentity".to_owned(), behind);
    }
    pb::Ticket {
        ticket_id: id.clone(),
        bot: bot.to_owned(),
        status: status_to_pb(*status).into(),
        blip_status: blip_status.clone(),
        sequential_id: *sequential_id,
        sequential_suffix: sequential_suffix.clone(),
        customer_identity: customer_identity.clone(),
        customer_domain: customer_domain.clone(),
        agent_identity: agent_identity.clone(),
        team: team.clone(),
        priority: *priority,
        tags: tags.clone(),
        closed_by: closed_by.clone(),
        parent_sequential_id: *parent_sequential_id,
        parent_ticket_id: parent_ticket_id.clone(),
        external_id: external_id.clone(),
        customer_input: customer_input.as_ref().map(content::to_pb),
        create_time: create_time.map(timestamp),
        open_time: open_time.map(timestamp),
        close_time: close_time.map(timestamp),
        status_time: status_time.map(timestamp),
        more,
    }
}

fn status_to_pb(status: TicketStatus) -> pb::TicketStatus {
    match status {
        TicketStatus::Unspecified => pb::TicketStatus::Unspecified,
        TicketStatus::Waiting => pb::TicketStatus::Waiting,
        TicketStatus::Assigned => pb::TicketStatus::Assigned,
        TicketStatus::Open => pb::TicketStatus::Open,
        TicketStatus::ClosedAttendant => pb::TicketStatus::ClosedAttendant,
        TicketStatus::ClosedClient => pb::TicketStatus::ClosedClient,
        TicketStatus::ClosedClientInactivity => pb::TicketStatus::ClosedClientInactivity,
        TicketStatus::Transferred => pb::TicketStatus::Transferred,
        TicketStatus::Unrecognized => pb::TicketStatus::Unrecognized,
    }
}
