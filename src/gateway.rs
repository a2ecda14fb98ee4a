//! The use cases: a webhook becomes an event ([`ingest`]), now or when it can be read ([`quarantine`]); an rpc
//! becomes a command ([`desk`]); and what webhooks, and Blip ([`credential`]), show of a wrong setup is told
//! ([`alerts`]).

pub mod alerts;
pub mod credential;
pub mod desk;
pub mod ingest;
mod lanes;
pub mod notice;
pub mod quarantine;

pub use crate::store::{AppendError, ReadError};
