//! Webhook → event: reads the envelope, translates it, and returns once the log has it on disk. Content is
//! never refused: what cannot be read goes to quarantine by the same path.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::NewEvent;
use crate::domain::translate::{Suspicion, Translated, event_of};
use crate::lime::Envelope;
use crate::store::{AppendError, Appended, EventLog, Quarantined};

/// A webhook whose sender was admitted.
#[derive(Debug, Clone)]
pub struct Received {
    /// The bot's short name.
    pub bot: Arc<str>,
    /// The exact body.
    pub body: Bytes,
    /// W3C trace context; empty without one.
    pub traceparent: String,
}

/// What became of a webhook, once it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is an event of this type.
    Event(&'static str),
    /// It was in the log already.
    Duplicate,
    /// It could not be read, and is kept for a person.
    Quarantined,
}

/// The way in.
#[derive(Debug, Clone)]
pub struct Ingest {
    log: Arc<dyn EventLog>,
}

impl Ingest {
    /// Ingest into `log`.
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log }
    }

    /// Makes one webhook durable. An error means Blip must hear 503: nothing is known to be stored, and a
    /// repetition is harmless.
    pub async fn accept(&self, received: Received) -> Result<Accepted, AppendError> {
        let Received { bot, body, traceparent } = received;
        let envelope = match Envelope::from_json(&body) {
            Ok(envelope) => envelope,
            Err(unreadable) => {
                let reason = unreadable.to_string();
                tracing::warn!(%bot, bytes = body.len(), %reason, "webhook body could not be read: kept in quarantine");
                self.log.quarantine(Quarantined { bot, reason, raw: body }).await?;
                return Ok(Accepted::Quarantined);
            }
        };
        let Translated { event, suspicion } = event_of(bot, envelope, body, traceparent);
        if let Some(suspicion) = suspicion {
            warn_about(suspicion, &event);
        }
        let appended = self.log.append(vec![event]).await?;
        match appended.first() {
            Some(Appended::At(stored)) => Ok(Accepted::Event(stored.event.payload.type_name())),
            Some(Appended::Duplicate(_)) => Ok(Accepted::Duplicate),
            None => Err(AppendError::Unknown("the store answered nothing for an event".to_owned())),
        }
    }
}

fn warn_about(suspicion: Suspicion, event: &NewEvent) {
    match suspicion {
        Suspicion::NotFromDesk => tracing::warn!(
            bot = %event.bot,
            "a webhook did not come from a desk ticket and is kept as `unknown`: is a data webhook (Integrations > \
             Webhook) or the bot's own message URL pointed at the gateway? Only the custom attendance channel \
             belongs here"
        ),
        Suspicion::TicketIdsDiffer => tracing::warn!(
            bot = %event.bot,
            ticket.id = event.ticket_id.as_deref().unwrap_or_default(),
            "the ids in a ticket envelope differ; the document's own was taken"
        ),
    }
}
