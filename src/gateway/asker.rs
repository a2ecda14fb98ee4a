//! Who asks Blip something through us, of which bot, and until when: callers of a bot take turns.

use std::sync::Arc;

use tokio::time::Instant;

use crate::blip::{BlipApi, Caller};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The bot's short name.
    pub bot: &'a str,
    /// The client's name; empty while clients need none.
    pub principal: &'a str,
    /// When an answer must be there.
    pub deadline: Instant,
}

impl Asker<'_> {
    /// The bot's way to Blip, on the asker's behalf.
    pub(super) fn way(&self, api: &Arc<dyn BlipApi>) -> Arc<dyn BlipApi> {
        Arc::clone(api).for_caller(Caller::client(self.principal))
    }
}
