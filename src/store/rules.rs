//! What every store decides alike.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Appended, CommandRecord, CommandsWanted, End, Page, TicketsWanted, Unsettled};
use crate::domain::{Outcome, Returned, Seq, Ticket};

/// How much of a list one page looks at: what is rare is found over several, and no reader holds up the others.
pub const LOOKED_AT_MAX: usize = 4_096;

/// The shortest window in which duplicates are recognised.
pub const DEDUP_WINDOW_MIN: Duration = Duration::from_hours(72);

/// How long a request id is remembered after its command was accepted, and a settled command at least.
pub const REQUEST_IDS_KEPT: Duration = Duration::from_hours(72);

/// Whether a command still holds its request id: not once it ended in a way that frees it, nor once it ended
/// and is old.
pub fn is_held(record: &CommandRecord, now: Timestamp) -> bool {
    let Some(end) = &record.end else { return true };
    let freed = match &end.outcome {
        Outcome::Failed(fault) => fault.frees_request_id,
        Outcome::Done | Outcome::AlreadyClosed | Outcome::Unknown(_) => false,
    };
    let kept = SignedDuration::try_from(REQUEST_IDS_KEPT).unwrap_or(SignedDuration::MAX);
    !freed && now.duration_since(record.accept_time) <= kept
}

/// Whether an end is recorded over the one there is: once, but for one that was unknown, when it is known after all.
pub fn replaces(new: &End, known: Option<&End>) -> bool {
    let is_unknown = |end: &End| matches!(end.outcome, Outcome::Unknown(_));
    known.is_none_or(|known| is_unknown(known) && !is_unknown(new))
}

impl TicketsWanted {
    /// Whether a ticket of `bot` is one of these.
    pub fn wants(&self, bot: &str, ticket: &Ticket) -> bool {
        let Self { bot: of, statuses, team, agent_identity, customer_identity, count_max: _, before: _ } =
            self;
        let fits = |wanted: &str, has: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(has);
        (of.is_empty() || of == bot)
            && (statuses.is_empty() || statuses.contains(&ticket.status))
            && fits(team, &ticket.team)
            && fits(agent_identity, &ticket.agent_identity)
            && (fits(customer_identity, &ticket.customer_identity)
                || fits(customer_identity, &ticket.routing_customer_identity))
    }
}

impl CommandsWanted {
    /// Whether a command is one of these.
    pub fn wants(&self, record: &CommandRecord) -> bool {
        let Self { ticket_id, progress, count_max: _, before: _ } = self;
        (ticket_id.is_empty() || *ticket_id == record.command.ticket_id)
            && (progress.is_empty() || progress.contains(&record.progress()))
    }
}

/// A command as a page has it: without what Blip answered, of which as many as a page has items are more than may be held.
pub(super) fn listed(mut record: CommandRecord) -> CommandRecord {
    if let Some(end) = &mut record.end {
        end.returned.take_if(|returned| matches!(returned, Returned::Document { .. }));
    }
    record
}

/// A page of commands without an end, as far as it has come.
pub(super) struct Gathered {
    wanted: Unsettled,
    bytes: usize,
    last: Option<u64>,
    page: Page<CommandRecord>,
}

impl Gathered {
    /// An empty one.
    pub(super) fn new(wanted: Unsettled) -> Self {
        Self { wanted, bytes: 0, last: wanted.after, page: Page { items: Vec::new(), next: None } }
    }

    /// Takes the next command, number `n`, in; `false` where the page ended before it.
    pub(super) fn take(&mut self, n: u64, record: CommandRecord) -> bool {
        let items = &mut self.page.items;
        self.bytes = self.bytes.saturating_add(record.command.memo.len());
        let full = items.len() >= self.wanted.count_max || self.bytes > self.wanted.bytes_max;
        if full && !items.is_empty() {
            self.page.next = self.last;
            return false;
        }
        self.last = Some(n);
        items.push(record);
        true
    }

    /// The page.
    pub(super) fn end(self) -> Page<CommandRecord> {
        self.page
    }
}

/// The method of the commands that send a message, under their own id.
pub(super) const SENDS: &str = "Send";

/// The position of the first event that was appended; 0 when none was.
pub(super) fn first_of(appended: &[Appended]) -> Seq {
    let at = |answer: &Appended| match answer {
        Appended::At(stored) => Some(stored.seq),
        Appended::Duplicate(_) => None,
    };
    appended.iter().find_map(at).unwrap_or_default()
}
