//! Judges what a group's consumers saw. Given the log's truth and what each consumer wrote down before it settled,
//! tells whether every event was delivered, each ticket's in order and never two at once, attempts and fencing tokens
//! right, and nothing settled twice. It knows nothing of how the gateway does it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::Value;

mod tests;

/// Faults shown of each rule.
const SHOWN_MAX: usize = 5;

/// An event of the log, in its order.
#[derive(Debug, Clone)]
pub(crate) struct Truth {
    pub(crate) event_id: String,
    /// Bot and ticket; empty without one.
    pub(crate) ticket: String,
    pub(crate) ticket_sequence: u64,
}

/// A line that a consumer wrote, with the machine's monotonic clock in nanoseconds: all run on one machine.
#[derive(Debug, Clone)]
pub(crate) enum Line {
    /// A delivery came; written before it is worked on.
    Delivered { at: u64, delivery_id: String, event_id: String, attempt: u64, token: u64 },
    /// A settlement is about to be sent: `ack`, `retry` or `park`.
    Settling { at: u64, delivery_id: String, outcome: String },
    /// What became of it, as the API names it.
    Settled { delivery_id: String, state: String },
    /// Its consumer leaves as planned: it is given back, and the attempt does not count.
    GivenBack { delivery_id: String },
}

impl Line {
    fn parse(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text =
            |name: &str| value[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned();
        let number = |name: &str| value[name].as_u64().unwrap_or_else(|| panic!("no {name}: {line}"));
        let delivery_id = text("delivery_id");
        match text("what").as_str() {
            "delivered" => Self::Delivered {
                at: number("at"),
                delivery_id,
                event_id: text("event_id"),
                attempt: number("attempt"),
                token: number("token"),
            },
            "settling" => Self::Settling { at: number("at"), delivery_id, outcome: text("outcome") },
            "settled" => Self::Settled { delivery_id, state: text("state") },
            "given_back" => Self::GivenBack { delivery_id },
            other => panic!("{other}: {line}"),
        }
    }
}

/// A delivery, as far as is known.
#[derive(Debug, Default)]
struct Delivery {
    event_id: String,
    at: u64,
    attempt: u64,
    token: u64,
    /// When it was first about to be settled, and whether for good.
    settling: Option<(u64, bool)>,
    /// `DONE` came for it so many times.
    done: usize,
    given_back: bool,
}

impl Delivery {
    /// It was to be acked or parked.
    fn ends(&self) -> bool {
        self.settling.is_some_and(|(_, for_good)| for_good)
    }
}

/// What is wrong, by rule, and how much there was to judge.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) events: usize,
    pub(crate) tickets: usize,
    pub(crate) deliveries: usize,
    pub(crate) redeliveries: usize,
    pub(crate) done: usize,
    /// Settlements that came to nothing, as the delivery was no longer theirs.
    pub(crate) stale: usize,
    /// Attempts that nobody wrote down: their consumer or the gateway was killed first.
    pub(crate) unseen: u64,
    pub(crate) faults: BTreeMap<&'static str, Vec<String>>,
}

impl Verdict {
    fn fault(&mut self, rule: &'static str, what: String) {
        self.faults.entry(rule).or_default().push(what);
    }

    pub(crate) fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, tickets, deliveries, redeliveries, done, stale, unseen, faults } = self;
        write!(
            out,
            "{events} events of {tickets} tickets; {deliveries} deliveries, {redeliveries} of them again, {unseen} more \
             that nobody saw; {done} settled, {stale} too late: {}",
            if faults.is_empty() { "every rule kept" } else { "FAULTS" }
        )?;
        for (rule, found) in faults {
            write!(out, "\n  {rule}: {}", found.len())?;
            for what in found.iter().take(SHOWN_MAX) {
                write!(out, "\n    {what}")?;
            }
        }
        Ok(())
    }
}

/// The lines of all files in `folder`; a line that a kill cut off is no line.
pub(crate) fn read(folder: &Path) -> Vec<Line> {
    let mut lines = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let mut whole: Vec<_> = text.split('\n').collect();
        whole.pop(); // empty, or cut off
        lines.extend(whole.into_iter().map(Line::parse));
    }
    lines
}

/// Judges a run in which nothing parked is replayed and no group is set back. Every event of `truth` is to be settled by
/// its end. No more than `unseen_max` attempts may be such as no consumer wrote down: 0 where nobody was killed.
pub(crate) fn judge(truth: &[Truth], lines: &[Line], unseen_max: u64) -> Verdict {
    let mut verdict = Verdict { events: truth.len(), ..Verdict::default() };
    let deliveries = deliveries_of(lines, &mut verdict);
    let known: HashMap<&str, &Truth> = truth.iter().map(|event| (event.event_id.as_str(), event)).collect();
    let mut by_event: HashMap<&str, Vec<&Delivery>> = HashMap::new();
    for delivery in deliveries.values() {
        if known.contains_key(delivery.event_id.as_str()) {
            by_event.entry(&delivery.event_id).or_default().push(delivery);
        } else {
            verdict.fault("no event is made up", format!("{delivery:?}"));
        }
    }
    for tries in by_event.values_mut() {
        tries.sort_by_key(|delivery| (delivery.token, delivery.at));
    }
    verdict.deliveries = deliveries.len();
    verdict.redeliveries = deliveries.len().saturating_sub(by_event.len());
    let mut tickets: BTreeMap<&str, Vec<&Truth>> = BTreeMap::new();
    for event in truth {
        let tries = by_event.get(event.event_id.as_str()).map(Vec::as_slice).unwrap_or_default();
        one_event(event, tries, &mut verdict);
        if !event.ticket.is_empty() {
            tickets.entry(&event.ticket).or_default().push(event);
        }
    }
    verdict.tickets = tickets.len();
    for (ticket, events) in tickets {
        let of = |event: &Truth| by_event.get(event.event_id.as_str()).map(Vec::as_slice).unwrap_or_default();
        one_ticket(ticket, events.iter().map(|event| (event.ticket_sequence, of(event))), &mut verdict);
    }
    if verdict.unseen > unseen_max {
        let what = format!("{} attempts nobody saw, where {unseen_max} may be", verdict.unseen);
        verdict.fault("attempts count up", what);
    }
    verdict
}

fn deliveries_of(lines: &[Line], verdict: &mut Verdict) -> BTreeMap<String, Delivery> {
    let mut deliveries: BTreeMap<String, Delivery> = BTreeMap::new();
    for line in lines {
        if let Line::Delivered { at, delivery_id, event_id, attempt, token } = line {
            let delivery = Delivery {
                event_id: event_id.clone(),
                at: *at,
                attempt: *attempt,
                token: *token,
                ..Delivery::default()
            };
            if deliveries.insert(delivery_id.clone(), delivery).is_some() {
                verdict.fault("a delivery comes once", delivery_id.clone());
            }
        }
    }
    for line in lines {
        let id = match line {
            Line::Delivered { .. } => continue,
            Line::Settling { delivery_id, .. }
            | Line::Settled { delivery_id, .. }
            | Line::GivenBack { delivery_id, .. } => delivery_id,
        };
        let Some(delivery) = deliveries.get_mut(id) else {
            verdict.fault("what is settled was delivered", id.clone());
            continue;
        };
        match line {
            Line::Delivered { .. } => {}
            Line::Settling { at, outcome, .. } => {
                // Said again after an answer that never came: the first time counts.
                delivery.settling.get_or_insert((*at, outcome != "retry"));
            }
            Line::GivenBack { .. } => delivery.given_back = true,
            Line::Settled { state, .. } => match state.as_str() {
                "SETTLE_STATE_DONE" => {
                    delivery.done += 1;
                    verdict.done += 1;
                }
                "SETTLE_STATE_ALREADY_DONE" | "SETTLE_STATE_TRY_AGAIN" => {}
                "SETTLE_STATE_STALE" | "SETTLE_STATE_UNKNOWN_DELIVERY" => verdict.stale += 1,
                other => verdict.fault("a settlement has a known state", format!("{id}: {other}")),
            },
        }
    }
    deliveries
}

/// An event is delivered, its attempts count up, it is done once and not delivered again then.
fn one_event(event: &Truth, tries: &[&Delivery], verdict: &mut Verdict) {
    let id = &event.event_id;
    if tries.is_empty() {
        return verdict.fault(
            "every event is delivered",
            format!("{id} #{} of {}", event.ticket_sequence, event.ticket),
        );
    }
    let mut expected = 1;
    for (at, delivery) in tries.iter().enumerate() {
        if delivery.attempt < expected {
            let before = at.checked_sub(1).map(|before| tries[before].given_back);
            let what = format!("{id}: {} where {expected} is next; given back: {before:?}", delivery.attempt);
            verdict.fault("attempts count up", what);
        }
        verdict.unseen += delivery.attempt.saturating_sub(expected);
        expected = delivery.attempt + u64::from(!delivery.given_back);
    }
    if let Some(pair) = tries.windows(2).find(|pair| pair[0].token == pair[1].token) {
        verdict.fault("fencing tokens grow", format!("{id}: {} twice", pair[0].token));
    }
    let ended: Vec<_> = (0..tries.len()).filter(|at| tries[*at].done > 0 && tries[*at].ends()).collect();
    if ended.len() > 1 || tries.iter().any(|delivery| delivery.done > 1) {
        let done: usize = tries.iter().map(|delivery| delivery.done).sum();
        verdict.fault("none is settled twice", format!("{id}: DONE {done} times"));
    }
    if !tries.iter().any(|delivery| delivery.ends()) {
        verdict.fault("every event is settled", id.clone());
    }
    if let Some(last) = ended.first()
        && last + 1 < tries.len()
    {
        let what = format!("{id}: attempt {} after that which ended it", tries[last + 1].attempt);
        verdict.fault("what is done does not come again", what);
    }
}

/// Nothing of an event comes before the earlier one of its ticket is about to be settled for good, by the delivery that
/// counts; and all its tokens are higher. Deliveries that have lapsed may be read, and settled in vain, at any time.
fn one_ticket<'a>(
    ticket: &str,
    events: impl Iterator<Item = (u64, &'a [&'a Delivery])>,
    verdict: &mut Verdict,
) {
    let mut earlier: Option<(u64, u64, u64)> = None;
    for (sequence, tries) in events {
        let Some(first) = tries.iter().map(|delivery| delivery.at).min() else { continue };
        let tokens = || tries.iter().map(|delivery| delivery.token);
        if let Some((of, settled, token)) = earlier {
            if first < settled {
                let what =
                    format!("{ticket}: #{sequence} came {} ns before #{of} was settled", settled - first);
                verdict.fault("one of a ticket at a time, in order", what);
            }
            if tokens().min() <= Some(token) {
                let what = format!("{ticket}: {:?} of #{sequence} after {token} of #{of}", tokens().min());
                verdict.fault("fencing tokens grow", what);
            }
        }
        let ending = || tries.iter().filter(|delivery| delivery.ends());
        let counts = ending().find(|delivery| delivery.done > 0).or_else(|| ending().next_back());
        let settled = counts.and_then(|delivery| delivery.settling).map_or(first, |(at, _)| at);
        earlier = Some((sequence, settled, tokens().max().unwrap_or_default()));
    }
}
