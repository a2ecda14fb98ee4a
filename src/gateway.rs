//! The use cases: a webhook becomes an event ([`ingest`]), now or when it can be read ([`quarantine`]); an rpc
//! becomes a command ([`desk`]).

pub mod desk;
pub mod ingest;
mod lanes;
pub mod quarantine;

pub use crate::store::{AppendError, ReadError};
