//! What envelopes did: counted by their ids, and told by ticket in order. Tests assert "once" on it. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// A change somebody made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// A message reached the customer.
    Message,
    /// The customer saw "typing…".
    Chatstate,
    /// A ticket's status was set.
    Status,
    /// The same, and the bot was not handed the customer back.
    StatusWithoutRedirect,
    /// A ticket the customer had closed was frozen.
    Finish,
    /// A ticket was closed in favor of another.
    Transfer,
    /// A ticket's tags were replaced.
    Tags,
    /// A ticket came to be.
    Created,
    /// A receipt was taken.
    Notification,
    /// A contact was written.
    Contact,
    /// An agent, a saved reply or a rule was written or removed.
    Directory,
}

/// How often an envelope id was seen, and what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Envelopes received with this id, whatever became of them.
    pub(crate) requests: u64,
    /// Changes made, of any kind: the sum of those below.
    pub(crate) applied: u64,
    pub(crate) messages_delivered: u64,
    pub(crate) chatstates: u64,
    pub(crate) status_changes: u64,
    pub(crate) finishes: u64,
    pub(crate) transfers: u64,
    pub(crate) tag_changes: u64,
    pub(crate) tickets_created: u64,
    pub(crate) notifications: u64,
    pub(crate) other_changes: u64,
}

impl Counts {
    fn count(&mut self, what: What) {
        self.applied += 1;
        *match what {
            What::Message => &mut self.messages_delivered,
            What::Chatstate => &mut self.chatstates,
            What::Status | What::StatusWithoutRedirect => &mut self.status_changes,
            What::Finish => &mut self.finishes,
            What::Transfer => &mut self.transfers,
            What::Tags => &mut self.tag_changes,
            What::Created => &mut self.tickets_created,
            What::Notification => &mut self.notifications,
            What::Contact | What::Directory => &mut self.other_changes,
        } += 1;
    }
}

/// One change of one ticket.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Effect {
    /// Its place among the changes of all tickets.
    pub(crate) number: u64,
    pub(crate) at: String,
    pub(crate) envelope_id: String,
    pub(crate) what: What,
    /// To what: the status, the tags, the message's content, the new ticket's id.
    pub(crate) detail: Value,
}

/// Who made a change, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause<'a> {
    pub(crate) envelope_id: &'a str,
    pub(crate) at: &'a str,
}

/// Everything that was done so far.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    by_id: BTreeMap<String, Counts>,
    by_ticket: BTreeMap<String, Vec<Effect>>,
    number: u64,
}

impl Effects {
    /// Notes that an envelope came, before anybody knows what will become of it.
    pub(crate) fn seen(&mut self, envelope_id: &str) {
        self.by_id.entry(envelope_id.to_owned()).or_default().requests += 1;
    }

    /// Counts a change under the envelope's id; those of envelopes without one are under the empty id.
    pub(crate) fn count(&mut self, cause: Cause<'_>, what: What) {
        self.by_id.entry(cause.envelope_id.to_owned()).or_default().count(what);
    }

    /// Counts a change, and tells it of the ticket.
    pub(crate) fn of_ticket(&mut self, cause: Cause<'_>, ticket_id: &str, what: What, detail: Value) {
        self.count(cause, what);
        self.tell(cause, ticket_id, what, detail);
    }

    /// Tells a change of one more ticket than it was counted for.
    pub(crate) fn tell(&mut self, cause: Cause<'_>, ticket_id: &str, what: What, detail: Value) {
        self.number += 1;
        let effect = Effect {
            number: self.number,
            at: cause.at.to_owned(),
            envelope_id: cause.envelope_id.to_owned(),
            what,
            detail,
        };
        self.by_ticket.entry(ticket_id.to_owned()).or_default().push(effect);
    }

    pub(crate) fn by_id(&self) -> &BTreeMap<String, Counts> {
        &self.by_id
    }

    pub(crate) fn by_ticket(&self) -> &BTreeMap<String, Vec<Effect>> {
        &self.by_ticket
    }

    /// What an envelope did; nothing at all, if it never came.
    pub(crate) fn id(&self, envelope_id: &str) -> Counts {
        self.by_id.get(envelope_id).copied().unwrap_or_default()
    }

    /// What was done to a ticket, oldest first.
    pub(crate) fn ticket(&self, ticket_id: &str) -> &[Effect] {
        self.by_ticket.get(ticket_id).map_or(&[], Vec::as_slice)
    }
}
