//! What a document changes in the ticket that is known.

use super::*;

fn document(status: TicketStatus) -> Ticket {
    Ticket { id: "t".to_owned(), status, blip_status: status.as_blip().to_owned(), ..Ticket::default() }
}

#[test]
fn a_ticket_lives_once() {
    let mut state = TicketState::default();
    assert_eq!(state.apply(&document(TicketStatus::Waiting)), Change::Created);
    assert_eq!(state.apply(&document(TicketStatus::Waiting)), Change::Updated(vec![]));
    let open = Ticket { agent_identity: "ana".to_owned(), ..document(TicketStatus::Open) };
    assert_eq!(state.apply(&open), Change::Assigned);
    assert_eq!(state.apply(&open), Change::Updated(vec![]), "the echo of an assignment is no second one");
    assert_eq!(state.apply(&document(TicketStatus::Waiting)), Change::Stale(vec![]));
    assert_eq!(state.apply(&document(TicketStatus::ClosedClient)), Change::Closed);
    assert_eq!(state.apply(&open), Change::Stale(vec![]), "a closed ticket stays closed");
    assert!(state.is_closed());
}

#[test]
fn an_old_document_fills_what_is_not_known_and_changes_nothing() {
    let mut state = TicketState::default();
    let known = Ticket { customer_domain: "0mn.io".to_owned(), ..document(TicketStatus::ClosedClient) };
    state.apply(&known);
    let old = Ticket {
        customer_identity: "c@0mn.io".to_owned(),
        customer_domain: "other".to_owned(),
        agent_identity: "ana".to_owned(),
        team: "vendas".to_owned(),
        tags: vec!["x".to_owned()],
        sequential_id: Some(7),
        status_time: Some(Timestamp::UNIX_EPOCH),
        more: Map::from_iter([
            ("rating".to_owned(), Value::from(0)),
            ("closed".to_owned(), Value::from(false)),
        ]),
        ..document(TicketStatus::Open)
    };
    let filled = vec!["customer_identity", "team", "sequential_id", "more"];
    assert_eq!(state.apply(&old), Change::Stale(filled));
    let expected = Ticket {
        customer_identity: old.customer_identity.clone(),
        team: old.team.clone(),
        sequential_id: Some(7),
        more: Map::from_iter([("rating".to_owned(), Value::from(0))]),
        ..known
    };
    assert_eq!(state.ticket, Some(expected));
    assert_eq!(state.apply(&old), Change::Stale(vec![]));
}

#[test]
fn first_seen_dead_is_no_creation() {
    assert_eq!(TicketState::default().apply(&document(TicketStatus::Transferred)), Change::Transferred);
    assert_eq!(TicketState::default().apply(&document(TicketStatus::ClosedAttendant)), Change::Closed);
    assert_eq!(TicketState::default().apply(&document(TicketStatus::Unrecognized)), Change::Created);
}

#[test]
fn another_agent_is_another_assignment() {
    let mut state = TicketState::default();
    let with = |agent: &str| Ticket { agent_identity: agent.to_owned(), ..document(TicketStatus::Open) };
    state.apply(&with("ana"));
    assert_eq!(state.apply(&with("bia")), Change::Assigned);
}

#[test]
fn words_ignore_case_and_numbers_are_not_guessed() {
    assert_eq!(TicketStatus::from_blip("closedattendant"), TicketStatus::ClosedAttendant);
    assert_eq!(TicketStatus::from_blip("3"), TicketStatus::Unrecognized);
    assert_eq!(TicketStatus::from_blip(""), TicketStatus::Unspecified);
    assert_eq!(TicketStatus::from_blip("none"), TicketStatus::Unspecified);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn dated(status: TicketStatus, second: i64) -> Ticket {
    Ticket { status_time: Some(at(second)), ..document(status) }
}

/// Applies documents in turn, and answers what the last one changed and where the ticket stands then.
fn after(documents: &[Ticket]) -> (Change, TicketStatus) {
    let mut state = TicketState::default();
    let changes: Vec<_> = documents.iter().map(|document| state.apply(document)).collect();
    (changes.last().unwrap().clone(), state.ticket.unwrap().status)
}

#[test]
fn only_a_newer_document_takes_a_ticket_back() {
    use TicketStatus::{Assigned, Open, Waiting};
    let stale = |status| (Change::Stale(vec![]), status);
    assert_eq!(after(&[dated(Open, 0), dated(Waiting, 0)]), stale(Open));
    assert_eq!(after(&[dated(Open, 0), document(Waiting)]), stale(Open));
    assert_eq!(after(&[document(Assigned), dated(Waiting, 5)]), stale(Assigned));
    assert_eq!(after(&[dated(Waiting, 0), document(Open), dated(Waiting, 0)]), stale(Open));
    assert_eq!(after(&[dated(Open, 0), dated(Waiting, 1)]).1, Waiting);
    assert_eq!(after(&[document(Open), document(Assigned)]), stale(Open));
    assert_eq!(after(&[dated(Open, 0), dated(Assigned, 0)]), stale(Open));
    assert_eq!(after(&[dated(Open, 0), dated(Assigned, 1)]), (Change::Assigned, Assigned));
    let to_bia = Ticket { agent_identity: "bia".to_owned(), ..document(Assigned) };
    assert_eq!(after(&[document(Open), to_bia]), (Change::Assigned, Assigned), "another agent is news");
}

#[test]
fn what_a_command_of_ours_changed_is_dated_for_that() {
    use TicketStatus::{Open, Waiting};
    let mut state = TicketState::default();
    state.apply(&dated(Waiting, 0));
    assert_eq!(state.apply(&document(Open)), Change::Assigned);
    state.ticket.as_mut().unwrap().stamp(at(10));
    assert_eq!(state.apply(&dated(Waiting, 5)), Change::Stale(vec![]), "it waited before it was assigned");
    assert_eq!(state.apply(&dated(Open, 9)), Change::Updated(vec!["status_time"]), "clocks differ a little");
    assert_eq!(state.apply(&dated(Waiting, 11)), Change::Updated(vec!["status", "status_time"]));
}

#[test]
fn an_end_is_never_too_old() {
    use TicketStatus::{ClosedAttendant, ClosedClient, Open};
    assert_eq!(after(&[dated(Open, 1), dated(ClosedClient, 0)]), (Change::Closed, ClosedClient));
    let closed_twice = after(&[dated(ClosedAttendant, 1), dated(ClosedClient, 0)]);
    assert_eq!(closed_twice, (Change::Stale(vec![]), ClosedAttendant));
}

#[test]
fn one_identity_in_other_letters_is_the_same() {
    let with = |agent: &str, customer: &str| Ticket {
        agent_identity: agent.to_owned(),
        customer_identity: customer.to_owned(),
        closed_by: agent.to_owned(),
        ..document(TicketStatus::Open)
    };
    let mut state = TicketState::default();
    state.apply(&with("Ana%40empresa.com@blip.ai", "C@0mn.io"));
    let echo = with("ana%40empresa.com@blip.ai", "c@0MN.io");
    assert_eq!(state.apply(&echo), Change::Updated(vec![]));
    assert_eq!(
        state.ticket.as_ref().unwrap().agent_identity,
        "Ana%40empresa.com@blip.ai",
        "as it was first told"
    );
    assert_eq!(state.apply(&with("bia%40empresa.com@blip.ai", "C@0mn.io")), Change::Assigned);
}

#[test]
fn a_late_transfer_still_tells_where_it_goes_on() {
    use TicketStatus::Transferred;
    let to = |id: &str| Some(Successor { ticket_id: id.to_owned(), ..Successor::default() });
    let mut state = TicketState::default();
    state.apply(&dated(Transferred, 1));
    let late = Ticket { successor: to("new"), ..dated(Transferred, 0) };
    assert_eq!(state.apply(&late), Change::Transferred);
    assert_eq!(state.ticket.as_ref().unwrap().successor, to("new"));
    assert_eq!(state.apply(&late), Change::Stale(vec![]), "a pair is told once");
}
