//! What a part of the gateway notes down for the next process: a text for each bot, opaque to the store. It makes work
//! that was begun go on; nothing depends on it that was promised to anybody.

use std::fmt;

use async_trait::async_trait;

use super::{AppendError, ReadError};

/// The notes of the reconciler.
#[async_trait]
pub trait Notebook: fmt::Debug + Send + Sync + 'static {
    /// A bot's note; `None` before the first.
    async fn note(&self, bot: &str) -> Result<Option<String>, ReadError>;

    /// Replaces a bot's note; returns once it is durable.
    async fn write_note(&self, bot: &str, note: String) -> Result<(), AppendError>;
}
