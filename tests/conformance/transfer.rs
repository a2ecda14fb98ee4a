//! Transfers: the old ticket and the new one are joined in whichever order they are told.

use std::sync::Arc;

use deskgate::domain::{
    Fact, NewEvent, Payload, Seq, StoredEvent, Successor, Ticket, TicketState, TicketStatus,
};
use deskgate::store::Appended;

use crate::support::{Subject, document, message};

fn with(event: NewEvent, change: impl FnOnce(&mut Ticket)) -> NewEvent {
    let NewEvent { fact: Fact::Ticket(mut ticket), .. } = event.clone() else { panic!("no document") };
    change(&mut ticket);
    NewEvent { fact: Fact::Ticket(ticket), ..event }
}

fn old(status: TicketStatus) -> NewEvent {
    with(document("old", status), |ticket| ticket.sequential_id = Some(140))
}

fn new() -> NewEvent {
    with(document("new", TicketStatus::Waiting), |ticket| {
        ticket.sequential_id = Some(142);
        ticket.parent_sequential_id = Some(140);
        "financeiro".clone_into(&mut ticket.team);
    })
}

/// Ticket, place in it and type, from the beginning.
async fn history(store: &Subject) -> Vec<(String, u64, &'static str)> {
    let told = |at: &Arc<StoredEvent>| {
        let event = &at.event;
        (event.ticket_id.clone(), event.ticket_sequence, event.payload.type_name())
    };
    store.all_after(Seq(0)).await.iter().map(told).collect()
}

fn owned(history: &[(&str, u64, &'static str)]) -> Vec<(String, u64, &'static str)> {
    history.iter().map(|(ticket, sequence, name)| ((*ticket).to_owned(), *sequence, *name)).collect()
}

/// Where each `ticket.transferred` says that its ticket goes on.
async fn moves(store: &Subject) -> Vec<(String, Option<Successor>)> {
    let events = store.all_after(Seq(0)).await;
    let moved = |at: &Arc<StoredEvent>| match &at.event.payload {
        Payload::TicketTransferred(ticket) => Some((ticket.id.clone(), ticket.successor.clone())),
        _ => None,
    };
    events.iter().filter_map(moved).collect()
}

async fn known(store: &Subject, ticket_id: &str) -> Ticket {
    let TicketState { ticket, .. } = store.log().ticket("suporte", ticket_id).await.unwrap().unwrap();
    ticket.unwrap()
}

fn goes_on() -> (String, Option<Successor>) {
    let (ticket_id, team) = ("new".to_owned(), "financeiro".to_owned());
    ("old".to_owned(), Some(Successor { ticket_id, team, agent_identity: String::new() }))
}

pub(crate) async fn old_first(store: &mut Subject) {
    store.append(vec![old(TicketStatus::Open), message("old", "a"), old(TicketStatus::Transferred)]).await;
    store.restart();
    let answered = store.append(vec![new()]).await;
    assert!(
        matches!(&answered[..], [Appended::At(at)] if at.event.ticket_id == "new"),
        "one answer an event"
    );
    let expected = [
        ("old", 1, "ticket.created"),
        ("old", 2, "message.customer"),
        ("old", 3, "ticket.transferred"),
        ("new", 1, "ticket.created"),
        ("old", 4, "ticket.transferred"),
    ];
    assert_eq!(history(store).await, owned(&expected));
    let told = [("old".to_owned(), None), goes_on()];
    assert_eq!(moves(store).await, told, "where it goes on is told once it is known");
    let raws: Vec<_> = store.all_after(Seq(3)).await.iter().map(|at| at.raw.clone()).collect();
    assert_eq!(raws[0], raws[1], "with the body that told it");
    assert_eq!(known(store, "new").await.parent_ticket_id, "old");

    store.restart();
    store.append(vec![new(), old(TicketStatus::Transferred), new()]).await;
    assert_eq!(moves(store).await, told, "and told once");
}

pub(crate) async fn new_first(store: &mut Subject) {
    store.append(vec![old(TicketStatus::Open), new()]).await;
    assert_eq!(known(store, "new").await.parent_ticket_id, "old");
    assert_eq!(known(store, "old").await.status, TicketStatus::Open, "its own document says how it ended");
    store.restart();
    store.append(vec![old(TicketStatus::Transferred), new(), old(TicketStatus::Transferred)]).await;
    assert_eq!(moves(store).await, [goes_on()]);
    let expected = [
        ("old", 1, "ticket.created"),
        ("new", 1, "ticket.created"),
        ("old", 2, "ticket.transferred"),
        ("new", 2, "ticket.updated"),
        ("old", 3, "ticket.updated"),
    ];
    assert_eq!(history(store).await, owned(&expected));
}

pub(crate) async fn old_unknown(store: &mut Subject) {
    store.append(vec![new(), old(TicketStatus::Transferred)]).await;
    assert_eq!(moves(store).await, [goes_on()]);
    let expected =
        [("new", 1, "ticket.created"), ("old", 1, "ticket.transferred"), ("new", 2, "ticket.updated")];
    assert_eq!(history(store).await, owned(&expected), "the new one is told where it came from");
    let last = store.all_after(Seq(2)).await;
    let Payload::TicketUpdated { ticket, changed_fields } = &last[0].event.payload else {
        panic!("{last:?}")
    };
    assert_eq!(
        (ticket.parent_ticket_id.as_str(), &changed_fields[..]),
        ("old", &["parent_ticket_id".to_owned()][..])
    );
    assert!(!last[0].event.flags.order_uncertain);
    store.append(vec![new(), old(TicketStatus::Transferred)]).await;
    assert_eq!(moves(store).await.len(), 1);
}

pub(crate) async fn chain(store: &mut Subject) {
    let third = with(new(), |ticket| {
        "third".clone_into(&mut ticket.id);
        (ticket.sequential_id, ticket.parent_sequential_id) = (Some(143), Some(142));
        "ana".clone_into(&mut ticket.agent_identity);
    });
    let third = NewEvent { ticket_id: Some("third".to_owned()), ..third };
    let new_moved = with(new(), |ticket| ticket.status = TicketStatus::Transferred);
    store.append(vec![third, new_moved, old(TicketStatus::Transferred)]).await;
    let moved = moves(store).await;
    let to =
        |moved: &(String, Option<Successor>)| moved.1.clone().map(|to| (to.ticket_id, to.agent_identity));
    assert_eq!(to(&moved[0]), Some(("third".to_owned(), "ana".to_owned())), "to an agent, as it waits");
    assert_eq!(to(&moved[1]), Some(("new".to_owned(), String::new())));
    assert_eq!(known(store, "third").await.parent_ticket_id, "new");
    assert_eq!(known(store, "new").await.parent_ticket_id, "old");
}

pub(crate) async fn strangers(store: &mut Subject) {
    let other_bot = NewEvent { bot: "vendas".into(), ..old(TicketStatus::Transferred) };
    store.append(vec![other_bot, new()]).await;
    assert_eq!(known(store, "new").await.parent_ticket_id, "", "numbers are counted per bot");
    // A bot made anew counts from the beginning: the newest of a number is meant, and nobody's child is taken.
    let again = with(old(TicketStatus::Waiting), |ticket| "again".clone_into(&mut ticket.id));
    let again = NewEvent { ticket_id: Some("again".to_owned()), ..again };
    let again_moved = with(again.clone(), |ticket| ticket.status = TicketStatus::Transferred);
    store.append(vec![old(TicketStatus::Transferred), again, again_moved]).await;
    let moved = moves(store).await;
    assert_eq!(moved.last().unwrap(), &("again".to_owned(), None));
    let own_parent = with(new(), |ticket| {
        "loop".clone_into(&mut ticket.id);
        (ticket.sequential_id, ticket.parent_sequential_id) = (Some(7), Some(7));
        ticket.status = TicketStatus::Transferred;
    });
    store.append(vec![NewEvent { ticket_id: Some("loop".to_owned()), ..own_parent }]).await;
    assert_eq!(known(store, "loop").await.parent_ticket_id, "");
}
