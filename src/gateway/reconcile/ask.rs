//! A question as Blip is asked it, and what its reply says.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::plan::{Answer, Ask};
use crate::blip::{BlipApi, BlipError};
use crate::domain::translate::{self, ITEMS_MAX, Order};
use crate::lime::{Command, Reason, ReplyStatus};

/// How long one question may take, the wait for its turn among it.
const ASK_TIMEOUT: Duration = Duration::from_mins(1);

/// Asks, and sorts what came of it. Nothing here is tried again: the planner says what is asked next.
pub(super) async fn ask(api: &dyn BlipApi, id: &str, ask: &Ask) -> Answer {
    let reply = match api.command(&command_of(id, ask), Instant::now() + ASK_TIMEOUT).await {
        Ok(reply) => reply,
        Err(error) => return failed(error),
    };
    match reply.status {
        ReplyStatus::Success(resource) => answered(ask, &resource),
        ReplyStatus::Failure(reason) => refused(reason),
        ReplyStatus::Pending => unanswered(),
    }
}

fn command_of(id: &str, ask: &Ask) -> Command {
    match ask {
        Ask::Living { skip, take } => translate::living(id, (*skip, *take)),
        Ask::Closed { since, skip, take } => translate::ended_since(id, *since, (*skip, *take)),
        Ask::Ticket { id: ticket } => translate::get_ticket(id, ticket),
        Ask::Said { id: ticket, skip } => {
            translate::messages(id, ticket, Order::NewestFirst, (*skip, ITEMS_MAX))
        }
    }
}

fn answered(ask: &Ask, resource: &Value) -> Answer {
    match ask {
        Ask::Living { .. } | Ask::Closed { .. } => Answer::Tickets {
            tickets: translate::tickets_in(resource),
            count: translate::items_in(resource),
            total: translate::total_of(resource),
        },
        Ask::Ticket { .. } => Answer::Ticket(translate::ticket_in_reply(resource).map(Box::new)),
        Ask::Said { .. } => Answer::Said {
            items: translate::items_of_thread(resource),
            count: translate::items_in(resource),
            total: translate::total_of(resource),
        },
    }
}

fn refused(reason: Reason) -> Answer {
    match translate::refusal("", "", &reason).reason.as_str() {
        "BLIP_CREDENTIAL_REJECTED" => Answer::KeyRefused,
        "BLIP_UNAVAILABLE" | "BLIP_QUOTA_EXCEEDED" => unanswered(),
        _ => Answer::Refused { code: reason.code, description: reason.description },
    }
}

fn unanswered() -> Answer {
    Answer::Failed { retry_after: Duration::ZERO, asked: true }
}

fn failed(error: BlipError) -> Answer {
    match error {
        BlipError::OverQuota { retry_after }
        | BlipError::CircuitOpen { retry_after }
        | BlipError::Throttled { retry_after, reason: _ } => Answer::Failed { retry_after, asked: false },
        BlipError::Credential { .. } => Answer::KeyRefused,
        BlipError::Refused { status: _, text } => Answer::Refused { code: None, description: text },
        BlipError::NotSent(_) => Answer::Failed { retry_after: Duration::ZERO, asked: false },
        BlipError::Unknown(_) | BlipError::TooLarge(_) => unanswered(),
    }
}

/// A question's kind, for metrics.
pub(super) fn kind_of(ask: &Ask) -> &'static str {
    match ask {
        Ask::Living { .. } => "living",
        Ask::Closed { .. } => "ended",
        Ask::Ticket { .. } => "ticket",
        Ask::Said { .. } => "conversation",
    }
}
