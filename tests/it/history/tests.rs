//! The judge finds each kind of fault, and none where there is none.

use super::{Line, Truth, judge};

/// Two events of a ticket, one of another, one without.
fn truth() -> Vec<Truth> {
    [("a1", "a", 1), ("a2", "a", 2), ("b1", "b", 1), ("n", "", 0)]
        .map(|(id, ticket, sequence)| Truth {
            event_id: id.to_owned(),
            ticket: ticket.to_owned(),
            ticket_sequence: sequence,
        })
        .to_vec()
}

fn delivered(at: u64, event: &str, attempt: u64, token: u64) -> Line {
    let delivery_id = format!("{event}/{token}");
    Line::Delivered { at, delivery_id, event_id: event.to_owned(), attempt, token }
}

fn settle(at: u64, id: &str, outcome: &str, state: &str) -> [Line; 2] {
    [
        Line::Settling { at, delivery_id: id.to_owned(), outcome: outcome.to_owned() },
        Line::Settled { delivery_id: id.to_owned(), state: format!("SETTLE_STATE_{state}") },
    ]
}

/// A good run: `a1` is retried once, `b1` given back once, and lapsed once.
fn good() -> Vec<Line> {
    let mut lines = vec![delivered(10, "a1", 1, 1), delivered(11, "b1", 1, 2), delivered(12, "n", 1, 3)];
    lines.extend(settle(20, "a1/1", "retry", "DONE"));
    lines.push(Line::GivenBack { delivery_id: "b1/2".to_owned() });
    lines.extend(settle(21, "n/3", "ack", "DONE"));
    lines.extend([delivered(30, "a1", 2, 4), delivered(31, "b1", 1, 5), delivered(60, "b1", 2, 6)]);
    lines.extend(settle(40, "a1/4", "ack", "DONE"));
    lines.push(delivered(50, "a2", 1, 7));
    lines.extend(settle(55, "a2/7", "park", "DONE"));
    lines.extend(settle(70, "b1/6", "ack", "DONE"));
    lines.extend(settle(80, "b1/5", "ack", "STALE"));
    lines
}

/// The rules that a changed history breaks.
fn broken(change: impl FnOnce(&mut Vec<Line>)) -> Vec<&'static str> {
    let mut lines = good();
    change(&mut lines);
    let verdict = judge(&truth(), &lines, 0);
    assert!(!verdict.is_good());
    verdict.faults.keys().copied().collect()
}

fn change(lines: &mut [Line], id: &str, how: impl Fn(&mut Line)) {
    let of = |line: &&mut Line| matches!(line, Line::Delivered { delivery_id, .. } if delivery_id == id);
    how(lines.iter_mut().find(of).unwrap());
}

#[test]
fn a_good_history_is_good() {
    let verdict = judge(&truth(), &good(), 0);
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!((verdict.events, verdict.tickets, verdict.deliveries, verdict.redeliveries), (4, 2, 7, 3));
    assert_eq!((verdict.done, verdict.stale, verdict.unseen), (5, 1, 0));
    assert!(verdict.to_string().contains("every rule kept"), "{verdict}");
}

#[test]
fn an_event_that_never_came_is_missed() {
    let of_n = |line: &Line| match line {
        Line::Delivered { delivery_id, .. }
        | Line::Settling { delivery_id, .. }
        | Line::Settled { delivery_id, .. }
        | Line::GivenBack { delivery_id } => delivery_id.starts_with("n/"),
    };
    assert_eq!(broken(|lines| lines.retain(|line| !of_n(line))), ["every event is delivered"]);
}

#[test]
fn an_event_that_was_never_settled_is_missed() {
    let acks_n = |line: &Line| matches!(line, Line::Settling { delivery_id, .. } | Line::Settled { delivery_id, .. } if delivery_id == "n/3");
    assert_eq!(broken(|lines| lines.retain(|line| !acks_n(line))), ["every event is settled"]);
}

#[test]
fn an_event_that_is_not_in_the_log_is_found() {
    assert_eq!(broken(|lines| lines.push(delivered(90, "x", 1, 90))), ["no event is made up"]);
}

#[test]
fn two_of_a_ticket_at_once_are_found() {
    let early = |lines: &mut Vec<Line>| {
        change(lines, "a2/7", |line| {
            if let Line::Delivered { at, .. } = line {
                *at = 39;
            }
        });
    };
    assert_eq!(broken(early), ["one of a ticket at a time, in order"]);
}

#[test]
fn a_ticket_out_of_order_is_found() {
    let swap = |lines: &mut Vec<Line>| {
        for (id, to) in [("a1/1", "a2"), ("a1/4", "a2"), ("a2/7", "a1")] {
            change(lines, id, |line| {
                if let Line::Delivered { event_id, .. } = line {
                    to.clone_into(event_id);
                }
            });
        }
    };
    assert_eq!(broken(swap), ["fencing tokens grow", "one of a ticket at a time, in order"]);
}

#[test]
fn attempts_that_do_not_count_up_are_found() {
    let attempt_of = |id: &'static str, to: u64| {
        move |lines: &mut Vec<Line>| {
            change(lines, id, |line| {
                if let Line::Delivered { attempt, .. } = line {
                    *attempt = to;
                }
            });
        }
    };
    for (id, to) in [("a1/4", 1), ("a1/1", 0), ("n/3", 2), ("b1/5", 2), ("b1/6", 1)] {
        assert_eq!(broken(attempt_of(id, to)), ["attempts count up"], "{id} {to}");
    }
    let mut lines = good();
    attempt_of("n/3", 2)(&mut lines);
    let verdict = judge(&truth(), &lines, 1);
    assert!(verdict.is_good() && verdict.unseen == 1, "one that nobody saw, where one was killed: {verdict}");
}

#[test]
fn a_token_that_does_not_grow_is_found() {
    let token = |id: &'static str, to: u64| {
        move |lines: &mut Vec<Line>| {
            change(lines, id, |line| {
                if let Line::Delivered { token, .. } = line {
                    *token = to;
                }
            });
        }
    };
    assert_eq!(broken(token("a2/7", 4)), ["fencing tokens grow"], "as the event before it");
    assert_eq!(broken(token("b1/6", 5)), ["fencing tokens grow"], "as the attempt before it");
}

#[test]
fn settling_twice_is_found() {
    assert_eq!(broken(|lines| lines.extend(settle(90, "n/3", "ack", "DONE"))), ["none is settled twice"]);
    let late_but_done = |lines: &mut Vec<Line>| {
        for line in lines {
            if let Line::Settled { delivery_id, state } = line
                && delivery_id == "b1/5"
            {
                "SETTLE_STATE_DONE".clone_into(state);
            }
        }
    };
    let found = broken(late_but_done);
    assert_eq!(found, ["none is settled twice", "what is done does not come again"]);
}

#[test]
fn what_comes_again_after_its_end_is_found() {
    let again = |lines: &mut Vec<Line>| lines.push(delivered(95, "n", 2, 9));
    assert_eq!(broken(again), ["what is done does not come again"]);
}

#[test]
fn a_delivery_that_comes_twice_or_never_came_is_found() {
    assert_eq!(broken(|lines| lines.push(delivered(12, "n", 1, 3))), ["a delivery comes once"]);
    assert_eq!(
        broken(|lines| lines.extend(settle(90, "y/1", "ack", "DONE"))),
        ["what is settled was delivered"]
    );
    let odd = |lines: &mut Vec<Line>| lines.extend(settle(90, "n/3", "ack", "ODD"));
    assert_eq!(broken(odd), ["a settlement has a known state"]);
}
