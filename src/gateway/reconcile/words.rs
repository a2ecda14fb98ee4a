//! What the watchdog's alerts say: what is wrong, why it probably is, and what to do. Never a customer's words.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::plan::ReaderFault;

/// Webhooks are missing.
const MISSING: &str = "WEBHOOKS_MISSING";
/// Blip cannot be read as it should.
const BLIND: &str = "RECONCILIATION_BLIND";
/// The reasons of alerts.
pub(super) const REASONS: [&str; 2] = [MISSING, BLIND];

/// An alert.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alert {
    /// What it is about, for programs.
    pub(super) reason: &'static str,
    /// It begins; otherwise it is over.
    pub(super) raised: bool,
    /// For people.
    pub(super) description: String,
    /// For programs.
    pub(super) details: Map<String, Value>,
}

/// Why webhooks probably are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// None comes.
    Blocked,
    /// Some come.
    Lost,
    /// The gateway refused some.
    Refused,
}

impl Cause {
    /// The name for programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Lost => "lost",
            Self::Refused => "refused",
        }
    }

    /// The cause of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Blocked, Self::Lost, Self::Refused].into_iter().find(|cause| cause.name() == name)
    }
}

/// An alert that is raised, as it is noted for the next process.
pub(super) fn note_of(reason: &str, cause: &str) -> String {
    format!("{reason}:{cause}")
}

/// The cause of an alert that was noted.
pub(super) fn noted<'n>(raised: &'n [String], reason: &str) -> Option<&'n str> {
    raised
        .iter()
        // The first build noted no cause.
        .map(|noted| noted.split_once(':').unwrap_or((noted, "")))
        .find(|(noted, _)| *noted == reason)
        .map(|(_, cause)| cause)
}

/// What is missing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missing {
    pub(super) cause: Cause,
    pub(super) tickets: usize,
    pub(super) messages: usize,
    /// From when the oldest of it is.
    pub(super) oldest: Timestamp,
    pub(super) last_webhook: Option<Timestamp>,
}

fn alert(reason: &'static str, raised: bool, description: String, details: Value) -> Alert {
    let mut details = match details {
        Value::Object(details) => details,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    let state = if raised { "raised" } else { "cleared" };
    details.insert("state".to_owned(), state.into());
    Alert { reason, raised, description, details }
}

/// Webhooks are missing.
pub(super) fn missing(missing: &Missing) -> Alert {
    let Missing { cause, tickets, messages, oldest, last_webhook } = *missing;
    let last =
        last_webhook.map_or_else(|| "none since the start".to_owned(), |at| format!("the last at {at:.0}"));
    let what = format!(
        "webhooks are missing: Blip shows {tickets} tickets and {messages} messages since {oldest:.0} that none told of \
         ({last}). They are read back and appended, later than they should be."
    );
    let why = match cause {
        Cause::Blocked => {
            "Blip seems to post none any more: it blocks a URL for hours after failures, or the URL leads nowhere. See \
             whether the webhook URL can be reached from the internet and answers 200 (a proxy, a certificate, a firewall), \
             then save the custom attendance channel again in Blip's portal with this URL and token"
        }
        Cause::Lost => {
            "Some come and others do not: Blip posts each once, and one that fails is gone. Look for what stands between: \
             time-outs and 5xx in the proxy's log, a second URL in the channel's settings, another receiver with the same bot"
        }
        Cause::Refused => {
            "The gateway itself refused some with 503, as it could not store them: see deskgate_store_ready, the free space \
             of the store's disk, and the log"
        }
    };
    let details = json!({
        "cause": cause.name(), "tickets": tickets, "messages": messages, "since": format!("{oldest:.0}"),
        "last_webhook_time": last_webhook.map(|at| format!("{at:.0}")),
    });
    alert(MISSING, true, format!("{what} {why}"), details)
}

/// They come again.
pub(super) fn cleared(last_webhook: Option<Timestamp>) -> Alert {
    let last = last_webhook.map(|at| format!(" (the last at {at:.0})")).unwrap_or_default();
    let text = format!(
        "webhooks come again{last}: a whole round of reading Blip back found nothing that they had not told. What was \
         missing is in the log, with origin reconciliation"
    );
    let details = json!({ "last_webhook_time": last_webhook.map(|at| format!("{at:.0}")) });
    alert(MISSING, false, text, details)
}

/// Blip cannot be read.
pub(super) fn blind(fault: ReaderFault) -> Alert {
    let why = match fault {
        ReaderFault::KeyRefused => {
            "Blip refuses the bot's key. Put the key of the bot that owns the desk where key_env or key_file looks for it"
        }
        ReaderFault::NoDesk => {
            "tickets cannot be listed with the bot's key: it seems to be a router's, or that of a bot without a desk. Put the \
             key of the bot that owns the desk where key_env or key_file looks for it; deskgate check --online proves it"
        }
        ReaderFault::ListRefused => {
            "Blip refuses to list the tickets that live. See the log for its words; if it goes on, ask Blip's support"
        }
        ReaderFault::NothingFound => {
            "Blip says of every ticket that it does not exist, also of those it listed. None is taken for closed. If it goes \
             on, see whether the key belongs to the bot whose tickets these are"
        }
        ReaderFault::EmptyList => {
            "Blip's list of living tickets is empty, and tickets live: each is read by itself, and none is taken for closed. \
             Tickets that no webhook tells of cannot be found meanwhile"
        }
        ReaderFault::ShortList => {
            "Blip's list of living tickets leaves many out that live: each is read by itself, and none is taken for closed. \
             Lists are read to their very end from now on"
        }
        ReaderFault::NoClosedList => {
            "Blip refuses to list the tickets that ended lately. A ticket that comes and ends without any webhook cannot be \
             found meanwhile; all others can"
        }
    };
    let text = format!("Blip cannot be read back as it should: {why}");
    alert(BLIND, true, text, json!({ "cause": fault.name() }))
}

/// It can.
pub(super) fn sees_again() -> Alert {
    let text = "Blip can be read back again; what was missed meanwhile is found by the next round".to_owned();
    alert(BLIND, false, text, json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_without_a_cause_is_read_too() {
        let raised = ["RECONCILIATION_BLIND".to_owned(), note_of("WEBHOOKS_MISSING", "blocked")];
        assert_eq!(noted(&raised, "RECONCILIATION_BLIND"), Some(""));
        assert_eq!(noted(&raised, "WEBHOOKS_MISSING"), Some("blocked"));
        assert_eq!(noted(&raised[..1], "WEBHOOKS_MISSING"), None);
    }
}
