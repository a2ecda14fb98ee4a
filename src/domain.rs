//! What a contact center means: tickets, events, and what may be asked of Desk. Pure: no I/O, no `async`, no
//! clock. [`translate`] is the only code that knows both LIME and these types.

pub mod action;
pub mod content;
pub mod directory;
pub mod event;
pub mod filter;
pub mod group;
mod lane;
pub mod late;
pub mod ticket;
pub mod transfer;
pub mod translate;
mod weight;
pub mod words;

pub use crate::lime::document::{EXACT_MAX, whole};
pub use crate::lime::{Metadata, Method, json};
pub use action::{
    Action, ActionRequest, CloseBy, Fault, Fingerprint, NewTicket, OutboundMessage, Outcome, RawCommand,
    Returned,
};
pub use content::{
    Carousel, CarouselOption, Collection, Contact, Content, ContentKind, DocumentList, Earlier, Input,
    Location, MediaLink, Menu, MenuOption, Reaction, Reply, WebLink, is_mime,
};
pub use directory::{Agent, CustomReply, Customer, CustomerCard, Team};
pub use event::{
    DedupKey, Event, Fact, Flags, MessageStatus, NewEvent, Origin, Payload, Seq, SettledAs, StoredEvent,
    place,
};
pub use ticket::{Change, Ticket, TicketState, TicketStatus, canonical_ticket_id};
pub use transfer::{Kin, Successor};
