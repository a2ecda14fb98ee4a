//! The use cases: a webhook becomes an event ([`ingest`]), an rpc becomes a command ([`desk`]).

pub mod desk;
pub mod ingest;
mod lanes;

pub use crate::store::{AppendError, ReadError};
