//! The use cases: a webhook becomes an event ([`ingest`]), now or when it can be read ([`quarantine`]); an rpc
//! becomes a command ([`desk`]), or a question to Blip ([`directory`], [`media`]); and what webhooks, and Blip
//! ([`credential`]), show of a wrong setup is told ([`alerts`]), as is what a group is about to lose ([`unread`]).
//! Whoever asks Blip something is an [`asker`].

pub mod alerts;
pub mod asker;
pub mod credential;
pub mod desk;
pub mod directory;
pub mod group;
pub mod groups;
pub mod ingest;
mod lanes;
pub mod media;
pub mod notice;
pub mod quarantine;
pub mod reconcile;
pub mod unread;

pub use crate::store::{AppendError, ReadError};
