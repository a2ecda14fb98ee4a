//! Envelope → event, action → what is sent, reply → outcome. The only code that knows both LIME and the
//! domain. Never fails and never loses an id: what it cannot read becomes `unknown`, with the whole envelope.

mod content;
mod inbound;
mod outbound;
mod suspicion;
#[cfg(test)]
mod tests;
mod ticket;

pub use content::{add, clash, content_document, content_of, reading};
pub use inbound::{Translated, event_of};
pub use outbound::{
    Judgement, Step, get_ticket, has_labels, has_message, outcome_of, read_back, refusal, steps_of,
    ticket_confirms,
};
pub use suspicion::{Stray, Suspicion};
pub use ticket::ticket_of;

/// The longest text that has a place of its own, in bytes: an id, or a node of Blip's encoded in another, is shorter.
/// Such texts stand in an event several times, and clients take no more than 4 MiB.
const TEXT_BYTES_MAX: usize = 4_096;

/// Desk's domain: the only sender of a custom attendance channel.
pub const DESK: &str = "desk.msging.net";
/// Who carries out desk commands.
pub const DESK_POSTMASTER: &str = "postmaster@desk.msging.net";
