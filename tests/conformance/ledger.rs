//! What the command ledger promises.

use deskgate::domain::{Fault, Outcome, Returned, Seq, TicketStatus};
use deskgate::store::{
    AppendError, Begun, CommandKey, CommandRecord, CommandsWanted, End, NewCommand, Page, Progress, Unsettled,
};
use uuid::Uuid;

use crate::support::{Subject, command, document, end, keyed, message};

fn fresh(begun: Begun) -> CommandRecord {
    match begun {
        Begun::Fresh(record, _) => record,
        Begun::Known(record) | Begun::Conflict(record) => panic!("not fresh: {record:?}"),
    }
}

fn id(of: u128) -> Uuid {
    Uuid::from_u128(of)
}

fn request(request_id: &str) -> CommandKey {
    CommandKey::Request { principal: "crm".to_owned(), request_id: request_id.to_owned() }
}

pub(crate) async fn begin_once(store: &mut Subject) {
    let first = fresh(store.ledger().begin(command(1, "r1", 7)).await.unwrap());
    assert_eq!((first.accept_time, &first.end, first.event_seq), (store.now(), &None, Seq(0)));
    store.restart();
    let again = store.ledger().begin(command(2, "r1", 7)).await.unwrap();
    assert_eq!(again, Begun::Known(first.clone()), "in flight");
    let settled = store.ledger().settle(id(1), end(Outcome::Done), vec![]).await.unwrap();
    store.restart();
    let again = store.ledger().begin(command(3, "r1", 7)).await.unwrap();
    assert_eq!(again, Begun::Known(settled.clone()), "settled");
    let same_id = store.ledger().begin(command(1, "", 7)).await.unwrap();
    assert_eq!(same_id, Begun::Known(settled), "its own id again, after an unknown end of the first try");
    fresh(store.ledger().begin(command(4, "", 7)).await.unwrap());
    fresh(store.ledger().begin(command(5, "", 7)).await.unwrap());
}

pub(crate) async fn conflict(store: &mut Subject) {
    let first = fresh(store.ledger().begin(command(1, "r1", 7)).await.unwrap());
    let other = store.ledger().begin(command(2, "r1", 8)).await.unwrap();
    assert_eq!(other, Begun::Conflict(first));
    let theirs = NewCommand { principal: "bi".to_owned(), ..command(3, "r1", 8) };
    fresh(store.ledger().begin(theirs).await.unwrap());
    assert_eq!(store.ledger().command(CommandKey::Id(id(2))).await.unwrap(), None);
}

pub(crate) async fn freed(store: &mut Subject) {
    fresh(store.ledger().begin(command(1, "r1", 7)).await.unwrap());
    let passing = Outcome::Failed(Fault::new("BLIP_UNAVAILABLE", "no connection").passing());
    let failed = store.ledger().settle(id(1), end(passing), vec![]).await.unwrap();
    store.restart();
    let named = store.ledger().command(request("r1")).await.unwrap();
    assert_eq!(named, Some(failed), "still found by its name");
    let second = fresh(store.ledger().begin(command(2, "r1", 8)).await.unwrap());
    assert_eq!(store.ledger().command(request("r1")).await.unwrap(), Some(second.clone()));
    let refused = Outcome::Failed(Fault::new("TICKET_CLOSED", "it is closed").with("ticket_id", "t1"));
    let refused = store.ledger().settle(id(2), end(refused), vec![]).await.unwrap();
    let third = store.ledger().begin(command(3, "r1", 8)).await.unwrap();
    assert_eq!(third, Begun::Known(refused), "a lasting failure keeps it");
}

pub(crate) async fn expiry(store: &mut Subject) {
    fresh(store.ledger().begin(command(1, "r1", 7)).await.unwrap());
    fresh(store.ledger().begin(command(2, "r2", 7)).await.unwrap());
    let settled = store.ledger().settle(id(1), end(Outcome::Done), vec![]).await.unwrap();
    store.hours_pass(72);
    store.enforce_retention().await;
    assert_eq!(store.ledger().begin(command(3, "r1", 7)).await.unwrap(), Begun::Known(settled));
    store.seconds_pass(1);
    fresh(store.ledger().begin(command(4, "r1", 9)).await.unwrap());
    store.enforce_retention().await;
    assert_eq!(store.ledger().command(CommandKey::Id(id(1))).await.unwrap(), None, "forgotten");
    assert!(
        matches!(store.ledger().begin(command(5, "r2", 7)).await.unwrap(), Begun::Known(_)),
        "in doubt: kept"
    );
}

pub(crate) async fn settle_once(store: &mut Subject) {
    store.put(document("t1", TicketStatus::Open)).await;
    fresh(store.ledger().begin(command(1, "r1", 7)).await.unwrap());
    store.seconds_pass(1);
    let echo = || vec![keyed(1, document("t1", TicketStatus::ClosedAttendant)), message("t1", "bye")];
    let settled = store.ledger().settle(id(1), end(Outcome::Done), echo()).await.unwrap();
    assert_eq!((settled.event_seq, settled.settle_time), (Seq(2), Some(store.now())));
    assert_eq!(store.all_after(Seq(1)).await.len(), 2);
    store.restart();
    store.seconds_pass(1);
    let unknown = Outcome::Unknown(Fault::new("OUTCOME_UNKNOWN", "it broke off"));
    let again = store.ledger().settle(id(1), end(unknown), echo()).await.unwrap();
    assert_eq!(again, settled, "the first end stands");
    assert_eq!(*store.log().tail().borrow(), Seq(3), "and no echo is appended twice");
    assert!(store.log().ticket("suporte", "t1").await.unwrap().unwrap().is_closed());
    assert_eq!(store.ledger().command(CommandKey::Id(id(1))).await.unwrap(), Some(settled));
    fresh(store.ledger().begin(command(2, "r2", 7)).await.unwrap());
    let known = vec![keyed(1, document("t1", TicketStatus::ClosedAttendant))];
    let second = store.ledger().settle(id(2), end(Outcome::AlreadyClosed), known).await.unwrap();
    assert_eq!(second.event_seq, Seq(0), "Blip's own echo was first");
    let nobody = store.ledger().settle(id(9), end(Outcome::Done), echo()).await;
    assert!(matches!(nobody, Err(AppendError::Unavailable(_))));
    assert_eq!(*store.log().tail().borrow(), Seq(3));
}

pub(crate) async fn queued(store: &mut Subject) {
    store.put(document("t1", TicketStatus::Open)).await;
    let queued = |of| NewCommand { accept_only: true, ..command(of, "", 7) };
    let first = fresh(store.ledger().begin(queued(1)).await.unwrap());
    assert_eq!((first.start_time, first.progress()), (None, Progress::Queued));
    store.restart();
    store.seconds_pass(1);
    let (started, state) = store.ledger().start(id(1)).await.unwrap().unwrap();
    assert_eq!((started.start_time, started.progress()), (Some(store.now()), Progress::Running));
    assert_eq!(state.last_sequence, 1, "with what is known of the ticket");
    store.restart();
    assert_eq!(store.ledger().command(CommandKey::Id(id(1))).await.unwrap(), Some(started));
    store.ledger().requeue(id(1)).await.unwrap();
    store.restart();
    assert_eq!(store.unsettled().await, [first], "nothing was sent after all");
    store.ledger().start(id(1)).await.unwrap().unwrap();
    store.ledger().settle(id(1), end(Outcome::Done), vec![]).await.unwrap();
    store.ledger().requeue(id(1)).await.unwrap();
    let settled = store.ledger().command(CommandKey::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(settled.progress(), Progress::Succeeded);
    assert!(settled.start_time.is_some(), "an end is not taken back");
    assert_eq!(store.ledger().start(id(1)).await.unwrap(), None);
    assert_eq!(store.ledger().start(id(9)).await.unwrap(), None, "there is none");
    let waited_for = fresh(store.ledger().begin(command(2, "", 7)).await.unwrap());
    assert_eq!(waited_for.progress(), Progress::Running, "its caller waits: it is sent at once");
}

pub(crate) async fn cleared_up(store: &mut Subject) {
    let unknown = |why: &str| Outcome::Unknown(Fault::new("OUTCOME_UNKNOWN", why));
    for of in 1..=3 {
        fresh(store.ledger().begin(command(of, "", 7)).await.unwrap());
        store.ledger().settle(id(of), end(unknown("it broke off")), vec![]).await.unwrap();
        store.seconds_pass(1);
    }
    store.restart();
    let again = store.ledger().settle(id(1), end(unknown("still")), vec![message("t1", "no")]).await.unwrap();
    assert!(
        matches!(&again.end.unwrap().outcome, Outcome::Unknown(fault) if fault.message == "it broke off")
    );
    let returned = Some(Returned::Ticket("t2".to_owned()));
    let known = End { returned, ..end(Outcome::Done) };
    let cleared = store.ledger().settle(id(1), known.clone(), vec![message("t1", "yes")]).await.unwrap();
    assert_eq!((cleared.end, cleared.event_seq), (Some(known.clone()), Seq(1)));
    assert_eq!(cleared.settle_time, Some(store.now()));
    let late = store.ledger().settle(id(1), end(Outcome::AlreadyClosed), vec![]).await.unwrap();
    assert_eq!(late.end, Some(known), "the first end that is known stands");
    store.restart();
    let of = |records: Vec<CommandRecord>| -> Vec<Uuid> { records.iter().map(|it| it.command.id).collect() };
    let all = store.ledger().unknown_since(jiff::Timestamp::MIN, 9).await.unwrap();
    assert_eq!(of(all), [id(3), id(2)], "the newest first");
    assert_eq!(of(store.ledger().unknown_since(jiff::Timestamp::MIN, 1).await.unwrap()), [id(3)]);
    assert_eq!(of(store.ledger().unknown_since(store.now(), 9).await.unwrap()), Vec::<Uuid>::new());
}

pub(crate) async fn pages(store: &mut Subject) {
    for of in 1..=7 {
        let ticket_id = if of % 2 == 0 { "even" } else { "odd" }.to_owned();
        fresh(store.ledger().begin(NewCommand { ticket_id, ..command(of, "", 7) }).await.unwrap());
    }
    store.ledger().settle(id(3), end(Outcome::Done), vec![]).await.unwrap();
    store.restart();
    let wanted = |ticket_id: &str, progress: &[Progress], before| CommandsWanted {
        ticket_id: ticket_id.to_owned(),
        progress: progress.to_vec(),
        count_max: 2,
        before,
    };
    let of =
        |page: &Page<CommandRecord>| -> Vec<Uuid> { page.items.iter().map(|it| it.command.id).collect() };
    let first = store.ledger().commands(wanted("odd", &[], None)).await.unwrap();
    assert_eq!(of(&first), [id(7), id(5)]);
    let second = store.ledger().commands(wanted("odd", &[], first.next)).await.unwrap();
    assert_eq!((of(&second), second.next), (vec![id(3), id(1)], None));
    let done = store.ledger().commands(wanted("", &[Progress::Succeeded], None)).await.unwrap();
    assert_eq!((of(&done), done.next), (vec![id(3)], None));
    let none = store.ledger().commands(wanted("nobody", &[], None)).await.unwrap();
    assert_eq!((of(&none), none.next), (vec![], None));
}

/// What Blip answered may be long, and no list shows it.
pub(crate) async fn pages_of_answers(store: &mut Subject) {
    let returned =
        || Returned::Document { media_type: "application/json".to_owned(), json: "x".repeat(1_000).into() };
    for of in 1..=3 {
        fresh(store.ledger().begin(command(of, "", 7)).await.unwrap());
        let answered = End { returned: Some(returned()), ..end(Outcome::Done) };
        store.ledger().settle(id(of), answered, vec![]).await.unwrap();
    }
    store.restart();
    let wanted = CommandsWanted { ticket_id: String::new(), progress: vec![], count_max: 9, before: None };
    let page = store.ledger().commands(wanted).await.unwrap();
    let told: Vec<_> = page.items.iter().map(|it| it.end.as_ref().unwrap().returned.clone()).collect();
    assert_eq!(told, [None, None, None]);
    let whole = store.ledger().command(CommandKey::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(whole.end.unwrap().returned, Some(returned()));
}

pub(crate) async fn unsettled(store: &mut Subject) {
    for of in 1..=3 {
        fresh(store.ledger().begin(command(of, "", 7)).await.unwrap());
    }
    store.ledger().settle(id(2), end(Outcome::Done), vec![]).await.unwrap();
    store.hours_pass(1_000);
    store.enforce_retention().await;
    store.restart();
    let in_doubt: Vec<_> = store.unsettled().await.iter().map(|record| record.command.id).collect();
    assert_eq!(in_doubt, [id(1), id(3)]);
}

pub(crate) async fn unsettled_pages(store: &mut Subject) {
    for of in 1..=6 {
        let memo = if of == 4 { "x".repeat(100) } else { "memo".to_owned() };
        let accept_only = of != 3;
        fresh(store.ledger().begin(NewCommand { memo, accept_only, ..command(of, "", 7) }).await.unwrap());
    }
    store.ledger().settle(id(6), end(Outcome::Done), vec![]).await.unwrap();
    store.restart();
    let wanted = |begun, count_max, bytes_max| Unsettled { begun, count_max, bytes_max, after: None };
    for (wanted, expected) in [
        (wanted(false, 2, 1_000), vec![vec![1, 2], vec![4, 5]]),
        (wanted(false, 9, 50), vec![vec![1, 2], vec![4], vec![5]]),
        (wanted(false, 9, 0), vec![vec![1], vec![2], vec![4], vec![5]]),
        (wanted(false, 4, 1_000), vec![vec![1, 2, 4, 5]]),
        (wanted(true, 9, 1_000), vec![vec![3]]),
    ] {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = store.ledger().unsettled(Unsettled { after, ..wanted }).await.unwrap();
            pages.push(page.items.iter().map(|it| it.command.id.as_u128()).collect::<Vec<_>>());
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pages, expected, "{wanted:?}");
    }
}

pub(crate) async fn knows_ticket(store: &mut Subject) {
    let Begun::Fresh(_, state) = store.ledger().begin(command(1, "", 7)).await.unwrap() else {
        panic!("not fresh")
    };
    assert_eq!((state.last_sequence, state.ticket), (0, None));
    assert_eq!(store.log().ticket("suporte", "t1").await.unwrap(), None, "looking makes no ticket");
    store.put(document("t1", TicketStatus::Transferred)).await;
    let Begun::Fresh(_, state) = store.ledger().begin(command(2, "", 7)).await.unwrap() else {
        panic!("not fresh")
    };
    assert!(state.is_closed() && state.last_sequence == 1);
}
