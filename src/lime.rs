//! LIME, the wire protocol: envelopes, addresses, commands, documents. Pure: no I/O, no `async`, no notion of
//! what a contact center is. Reading is lenient (unknown members, other spellings, text for numbers), writing
//! follows the documented form.

pub mod command;
pub mod document;
pub mod envelope;
pub mod json;
pub mod metadata;
pub mod node;

pub use command::{Command, LimeUri, Method, Reason, Reply, ReplyStatus, Unusable};
pub use document::{MediaType, Members, text_of};
pub use envelope::{Body, Envelope, Message, Notification, Unreadable, canonical_id};
pub use metadata::Metadata;
pub use node::{Identity, Node};
