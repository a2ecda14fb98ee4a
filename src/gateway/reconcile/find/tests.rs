//! Whose words they are, and where they find their place.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::domain::Payload;
use crate::domain::translate::items_of_thread;
use crate::gateway::reconcile::plan::{Errand, What};

const NOON: &str = "2024-05-02T12:00:00Z";

/// A moment, in minutes from noon.
fn minute(n: i64) -> Timestamp {
    NOON.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(n)
}

fn ticket_item(id: &str, at: i64) -> Value {
    json!({"id": id, "direction": "received", "date": minute(at).to_string(),
        "type": "application/vnd.iris.ticket+json", "content": {"id": id}})
}

fn said(id: &str, at: i64) -> Value {
    json!({"id": id, "direction": "received", "date": minute(at).to_string(), "type": "text/plain", "content": id})
}

fn rules() -> Rules {
    Rules {
        pace: std::time::Duration::from_millis(200),
        interval: std::time::Duration::from_mins(15),
        grace: SignedDuration::from_secs(30),
        earlier: SignedDuration::from_hours(1),
        lookback: SignedDuration::from_hours(24),
        window: SignedDuration::from_hours(70),
        errands_max: 50_000,
        automatic: true,
    }
}

fn conversation(thread: &[Value], whole: bool) -> Conversation {
    let items = items_of_thread(&json!({"items": thread}));
    let errand = Errand {
        ticket_id: "t".to_owned(),
        from: Instant::now(),
        created: Some(minute(0)),
        what: What::Living,
        position: None,
        tries: 0,
    };
    Conversation { errand, items, floor: minute(-60), whole, again: false }
}

fn ticket(status: TicketStatus, closed: Option<i64>) -> Ticket {
    Ticket {
        id: "t".to_owned(),
        status,
        create_time: Some(minute(0)),
        close_time: closed.map(minute),
        ..Ticket::default()
    }
}

fn ids(
    conversation: &Conversation,
    ticket: &Ticket,
    ends: &[(&str, Option<i64>)],
    rules: &Rules,
) -> Vec<String> {
    let span = |ended: &Option<i64>| Span { ended: ended.map(minute), ..Span::default() };
    ids_among(
        conversation,
        ticket,
        &ends.iter().map(|(id, ended)| (*id, span(ended))).collect::<Vec<_>>(),
        rules,
    )
}

fn ids_among(
    conversation: &Conversation,
    ticket: &Ticket,
    others: &[(&str, Span)],
    rules: &Rules,
) -> Vec<String> {
    let ends = others.iter().map(|(id, span)| ((*id).to_owned(), *span)).collect();
    let now = Now { at: Instant::now(), date: minute(600) };
    let words = words_of(&Arc::from("suporte"), conversation, ticket, (true, &ends), now, rules);
    words.said.into_iter().map(|said| said.id).collect()
}

#[test]
fn what_was_said_belongs_to_the_ticket_of_its_time() {
    let thread = [
        ticket_item("before", -50),
        said("of the ticket before", -40),
        said("to the bot", -20),
        ticket_item("t", 0),
        said("of this one", 5),
        said("to the bot again", 15),
        ticket_item("after", 20),
        said("of the ticket after", 25),
    ];
    let (conversation, closed) = (conversation(&thread, true), ticket(TicketStatus::ClosedClient, Some(10)));
    let ended = [("before", Some(-30)), ("after", None)];
    assert_eq!(ids(&conversation, &closed, &ended, &rules()), ["to the bot", "of this one"]);
    let unknown = [("before", None), ("after", None)];
    assert_eq!(ids(&conversation, &closed, &unknown, &rules()), ["of this one"], "it may not have ended");
    let off = Rules { earlier: SignedDuration::ZERO, ..rules() };
    assert_eq!(ids(&conversation, &closed, &ended, &off), ["of this one"]);
}

#[test]
fn words_before_a_ticket_are_its_own_only_where_that_is_sure() {
    let thread = [said("earlier", -20), ticket_item("t", 0), said("now", 5)];
    let open = ticket(TicketStatus::Open, None);
    assert_eq!(ids(&conversation(&thread, true), &open, &[], &rules()), ["earlier", "now"]);
    assert_eq!(ids(&conversation(&thread, false), &open, &[], &rules()), ["now"]);
}

#[test]
fn where_blip_tells_the_ticket_that_counts() {
    let mut here = said("here", 5);
    here["metadata"] = json!({"#message.ticketId": "t"});
    let mut elsewhere = said("elsewhere", 6);
    elsewhere["metadata"] = json!({"desk.ticketId": "other"});
    let thread = [ticket_item("t", 0), ticket_item("other", 1), here, elsewhere];
    assert_eq!(ids(&conversation(&thread, true), &ticket(TicketStatus::Open, None), &[], &rules()), ["here"]);
}

/// What is missing, each with whether its place is uncertain; `known` are those the log has.
fn placed_in(
    thread: &[Value],
    known: &[&str],
    sequence: u64,
    document: Option<&Ticket>,
) -> Vec<(String, bool)> {
    let (conversation, open) = (conversation(thread, true), ticket(TicketStatus::Open, None));
    let bot: Arc<str> = Arc::from("suporte");
    let now = Now { at: Instant::now(), date: minute(600) };
    let words = words_of(&bot, &conversation, &open, (sequence > 0, &BTreeMap::new()), now, &rules());
    let known: Vec<_> = words.said.iter().map(|said| known.contains(&said.id.as_str())).collect();
    let ticket = (sequence > 0).then_some(open);
    let state = TicketState { ticket, last_sequence: sequence, activity_sequence: 0 };
    let as_known = Known { state: &state, moved: false, newest: minute(600), aside: None };
    let missing = missing(&bot, document, as_known, words, &known);
    let told = missing.into_iter().map(|(event, _)| {
        let name = match &event.fact {
            Fact::Ticket(ticket) => ticket.blip_status.clone(),
            Fact::Told(Payload::CustomerMessage { message_id, .. }) => message_id.clone(),
            Fact::Told(_) | Fact::Tags(_) => panic!("{event:?}"),
        };
        (name, event.order_uncertain)
    });
    told.collect()
}

#[test]
fn a_place_is_sure_only_where_nothing_later_is_known() {
    let thread = [ticket_item("t", 0), said("a", 1), said("b", 2), said("c", 2), said("d", 3)];
    let told = |name: &str, uncertain| (name.to_owned(), uncertain);
    assert_eq!(
        placed_in(&thread, &["a", "c"], 3, None),
        [told("b", true), told("d", false)],
        "b and c are of one moment"
    );
    assert_eq!(placed_in(&thread, &["a", "b", "c", "d"], 5, None), []);
}

#[test]
fn a_ticket_nobody_told_of_is_told_whole_and_in_order() {
    let thread = [said("before", -1), ticket_item("t", 0), said("a", 1)];
    let mut closed = ticket(TicketStatus::ClosedClient, Some(10));
    closed.blip_status = "ClosedClient".to_owned();
    let told = |name: &str, uncertain| (name.to_owned(), uncertain);
    assert_eq!(
        placed_in(&thread, &[], 0, Some(&closed)),
        [told("Waiting", false), told("before", true), told("a", false), told("ClosedClient", false)]
    );
}

#[test]
fn what_became_of_a_ticket_stands_where_it_happened_or_is_flagged() {
    let thread = [ticket_item("t", 0), said("a", 1), said("b", 5)];
    let mut open = ticket(TicketStatus::Open, None);
    (open.blip_status, open.status_time) = ("Open".to_owned(), Some(minute(3)));
    let told = |name: &str, uncertain| (name.to_owned(), uncertain);
    assert_eq!(
        placed_in(&thread, &[], 0, Some(&open)),
        [told("Waiting", false), told("a", false), told("Open", false), told("b", false)],
        "a new ticket is told in its order"
    );
    // Of one that is known already the log has something newer.
    let event = super::told(&Arc::from("suporte"), open);
    let uncertain = |newest: i64| super::placed(event.clone(), Some(minute(newest))).order_uncertain;
    assert_eq!([2, 3, 4].map(uncertain), [false, true, true]);
    let undated = NewEvent { event_time: None, ..event.clone() };
    assert!(super::placed(undated, Some(minute(2))).order_uncertain, "nobody knows when that was");
    assert!(!super::placed(event, None).order_uncertain, "nothing is known");
}

/// What was said before any ticket is of the first: whether Blip shows that there was one, or the log tells.
#[test]
fn first_words_are_of_the_first_ticket() {
    let open = ticket(TicketStatus::Open, None);
    let shown = [said("first", -50), ticket_item("before", -40), said("later", -5), ticket_item("t", 0)];
    let ended =
        |began: Option<i64>| Span { began: began.map(minute), ended: Some(minute(-10)), number: Some(7) };
    let shown = conversation(&shown, true);
    assert_eq!(ids_among(&shown, &open, &[("before", ended(None))], &rules()), ["later"]);
    assert!(ids_among(&shown, &open, &[], &rules()).is_empty());
    // Blip shows the item of the ticket alone that is asked for.
    let alone =
        [said("first", -50), said("of before", -20), said("later", -5), ticket_item("t", 0), said("now", 5)];
    let alone = conversation(&alone, true);
    assert_eq!(ids_among(&alone, &open, &[("before", ended(Some(-40)))], &rules()), ["later", "now"]);
    let next = ("next", Span { began: Some(minute(3)), ..Span::default() });
    let others = [("before", ended(Some(-40))), next];
    assert_eq!(ids_among(&alone, &open, &others, &rules()), ["later"], "then it is over");
    let child = Ticket { parent_sequential_id: Some(7), ..open.clone() };
    assert_eq!(ids_among(&alone, &child, &[], &rules()), ["now"]);
    assert_eq!(ids_among(&alone, &open, &[], &rules()).len(), 4, "as far as anybody knows it is the first");
}

/// What was said between two tickets is of the next, and of none after that; of a transfer's child only what its parent,
/// which ended, no more had.
#[test]
fn words_between_two_tickets_are_of_the_next() {
    let open = ticket(TicketStatus::Open, None);
    let span = |began: i64, ended: i64, number: i64| Span {
        began: Some(minute(began)),
        ended: Some(minute(ended)),
        number: Some(number),
    };
    let thread = [
        ticket_item("one", -50),
        said("of two", -30),
        ticket_item("two", -30),
        said("of this one", -3),
        ticket_item("t", 0),
    ];
    let shown = conversation(&thread, true);
    let (one, two) = (("one", span(-50, -40, 6)), ("two", span(-30, -5, 7)));
    assert_eq!(ids_among(&shown, &open, &[one, two], &rules()), ["of this one"]);
    assert!(ids_among(&shown, &open, &[one], &rules()).is_empty(), "of two nothing is known");
    let alone = conversation(&[said("of two", -31), said("of this one", -3), ticket_item("t", 0)], true);
    assert_eq!(ids_among(&alone, &open, &[one, two], &rules()), ["of this one"]);
    let child = |number| Ticket { parent_sequential_id: Some(number), ..open.clone() };
    assert_eq!(ids_among(&alone, &child(7), &[one, two], &rules()), ["of this one"]);
    assert!(ids_among(&alone, &child(8), &[one, two], &rules()).is_empty(), "its parent is not known");
}
