//! Misbehavior on demand: which envelope gets which fault. Pure; the shells carry the faults out.
//!
//! Faults wait in the order they were asked for; each envelope takes the first that fits, and uses it up once.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a fault is laid on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum On {
    /// `POST /commands`.
    Commands,
    /// `POST /messages`.
    Messages,
    /// `POST /notifications`.
    Notifications,
    /// What the sandbox posts to the gateway.
    Webhooks,
    /// `GET` of a media link, and uploads.
    Media,
}

/// Which envelopes a fault is for; what is absent fits all. Texts match in part, without case.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    /// The command's method, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    /// Part of the command's URI, or of a media link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uri_contains: Option<String>,
    /// Part of the envelope's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id_contains: Option<String>,
    /// Part of the envelope's MIME type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) type_contains: Option<String>,
    /// Part of where the envelope goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to_contains: Option<String>,
    /// Part of the command's resource, or of the message's content, as JSON without blanks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resource_contains: Option<String>,
}

/// How it goes wrong.
///
/// `applied` tells whether the envelope takes effect before it goes wrong; without it, it has none (or, for a
/// delay, only when the delay is over).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Kind {
    /// Answer late. The effect comes even if the caller has hung up meanwhile.
    Delay {
        /// How late.
        ms: u64,
        /// Take effect first, then wait.
        #[serde(default)]
        applied: bool,
    },
    /// Answer with an HTTP status.
    Status {
        /// The status, 200 to 599.
        code: u16,
        /// The answer's body.
        #[serde(default)]
        body: Option<String>,
        /// Seconds, for a `Retry-After` header.
        #[serde(default)]
        retry_after: Option<u64>,
        /// How late.
        #[serde(default)]
        ms: u64,
        /// Take effect all the same.
        #[serde(default)]
        applied: bool,
    },
    /// Reset the connection, with no effect and no answer.
    DropBefore,
    /// Take effect, then reset the connection with no answer.
    DropAfter,
    /// Answer 200 with a LIME failure; a message is accepted, and fails by a notification.
    Failure {
        /// `reason.code`; may be missing, as in life.
        #[serde(default)]
        code: Option<i64>,
        /// `reason.description`.
        #[serde(default)]
        description: Option<String>,
        /// Take effect all the same.
        #[serde(default)]
        applied: bool,
    },
    /// Answer 200 with success, and with this document or none, whatever is true; commands only.
    Answer {
        /// The document's MIME type.
        #[serde(default, rename = "type")]
        media_type: Option<String>,
        /// The document.
        #[serde(default)]
        resource: Value,
        /// Take effect all the same.
        #[serde(default)]
        applied: bool,
    },
    /// Never answer.
    Hang {
        /// Take effect all the same.
        #[serde(default)]
        applied: bool,
    },
    /// Send a media link on to another place.
    Redirect {
        /// Where to.
        location: String,
    },
    /// Deliver twice; webhooks only.
    Duplicate,
    /// Hold back, and deliver after the ticket's next one; webhooks only.
    Reorder,
    /// Do not deliver; webhooks only.
    Lose,
}

impl Kind {
    fn fits(&self, on: On) -> bool {
        match self {
            Self::Delay { .. } => true,
            Self::Status { .. } | Self::DropBefore | Self::DropAfter | Self::Hang { .. } => {
                on != On::Webhooks
            }
            Self::Failure { .. } => matches!(on, On::Commands | On::Messages),
            Self::Answer { .. } => on == On::Commands,
            Self::Redirect { .. } => on == On::Media,
            Self::Duplicate | Self::Reorder | Self::Lose => on == On::Webhooks,
        }
    }
}

/// A fault to lay, as `POST /faults` takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// What it is laid on.
    pub(crate) on: On,
    /// Which envelopes it is for.
    #[serde(rename = "match", default)]
    pub(crate) matching: Match,
    /// How often it is to happen; once unless told.
    #[serde(default = "once")]
    pub(crate) times: u64,
    /// How many that fit are let through first.
    #[serde(default)]
    pub(crate) skip: u64,
    /// How it goes wrong.
    pub(crate) kind: Kind,
}

const fn once() -> u64 {
    1
}

/// What a fault can be matched by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) id: &'a str,
    pub(crate) media_type: &'a str,
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) to: &'a str,
    /// The resource or the content, as text.
    pub(crate) resource: &'a str,
    /// A webhook of the ticket is held back already: a second one cannot be.
    pub(crate) holding: bool,
}

/// The faults that wait.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: Vec<Fault>,
    /// How many have happened.
    happened: u64,
}

/// At most this many faults wait.
const WAITING_MAX: usize = 1_000;

impl Faults {
    /// Lays a fault; the error says what makes no sense.
    pub(crate) fn lay(&mut self, fault: Fault) -> Result<(), String> {
        if !fault.kind.fits(fault.on) {
            return Err(format!("kind: {} cannot happen to {}", word(&fault.kind), word(&fault.on)));
        }
        if let Kind::Status { code, .. } = &fault.kind
            && !(200..=599).contains(code)
        {
            return Err(format!("kind.status.code: {code} is not between 200 and 599"));
        }
        if fault.times == 0 || self.waiting.len() >= WAITING_MAX {
            return Err(format!("times: at least 1, and at most {WAITING_MAX} faults wait"));
        }
        self.waiting.push(fault);
        Ok(())
    }

    /// Takes the first fault that fits.
    pub(crate) fn take(&mut self, on: On, facts: Facts<'_>) -> Option<Kind> {
        let at = self.waiting.iter_mut().position(|fault| {
            let found = fault.on == on && fits(fault, facts);
            let skipped = found && fault.skip > 0;
            fault.skip = fault.skip.saturating_sub(u64::from(skipped));
            found && !skipped
        })?;
        let fault = self.waiting.get_mut(at)?;
        fault.times -= 1;
        let kind = fault.kind.clone();
        if fault.times == 0 {
            self.waiting.remove(at);
        }
        self.happened += 1;
        Some(kind)
    }

    pub(crate) fn waiting(&self) -> &[Fault] {
        &self.waiting
    }

    pub(crate) const fn happened(&self) -> u64 {
        self.happened
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

fn fits(fault: &Fault, facts: Facts<'_>) -> bool {
    let part = |part: &Option<String>, of: &str| {
        part.as_ref().is_none_or(|part| of.to_ascii_lowercase().contains(&part.to_ascii_lowercase()))
    };
    let Match { method, uri_contains, id_contains, type_contains, to_contains, resource_contains } =
        &fault.matching;
    !(facts.holding && fault.kind == Kind::Reorder)
        && method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(facts.method))
        && part(uri_contains, facts.uri)
        && part(id_contains, facts.id)
        && part(type_contains, facts.media_type)
        && part(to_contains, facts.to)
        && part(resource_contains, facts.resource)
}

fn word(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
