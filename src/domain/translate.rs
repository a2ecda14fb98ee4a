//! Envelope → event, action → what is sent, reply → outcome. The only code that knows both LIME and the
//! domain. Never fails and never loses an id: what it cannot read becomes `unknown`, with the whole envelope.

mod answer;
mod content;
pub mod directory;
mod inbound;
mod lookup;
mod outbound;
mod readback;
mod suspicion;
#[cfg(test)]
mod tests;
mod ticket;

pub use answer::{Judgement, elsewhere, outcome_of, refusal, ticket_in_reply};
pub use content::{add, clash, content_document, content_of, reading};
pub use inbound::{Translated, envelope_id, event_of};
pub use lookup::{
    ITEMS_MAX, Listed, Order, ThreadMessage, created_among, get_ticket, has_labels, has_message, items_in,
    items_of, list_tickets, message_in, messages, read_back, successor_among, ticket_confirms, tickets_in,
};
pub use outbound::{Step, read_receipt, steps_of, typing};
pub use readback::{Speaker, ThreadItem, ended_since, items_of_thread, living, total_of};
pub use suspicion::{Stray, Suspicion};
pub use ticket::ticket_of;

/// The longest text that has a place of its own, in bytes: an id, or a node of Blip's encoded in another, is shorter.
/// Such texts stand in an event several times, and clients take no more than 4 MiB.
const TEXT_BYTES_MAX: usize = 4_096;

/// Desk's domain: the only sender of a custom attendance channel.
pub const DESK: &str = "desk.msging.net";
/// Who carries out desk commands.
pub const DESK_POSTMASTER: &str = "postmaster@desk.msging.net";
