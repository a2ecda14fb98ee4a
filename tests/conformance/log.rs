//! What the event log promises.

use deskgate::domain::{Fact, MessageStatus, NewEvent, Outcome, Payload, Seq, Ticket, TicketStatus};
use deskgate::store::{Appended, NewCommand, Page, Quarantined, ReadError, TicketsWanted};
use jiff::SignedDuration;

use crate::support::{Subject, command, document, end, event, keyed, message};

pub(crate) async fn order(store: &mut Subject) {
    let events = vec![
        document("t1", TicketStatus::Waiting),
        message("t1", "a"),
        message("t2", "b"),
        event("suporte", None, Fact::Told(Payload::CustomerTyping { state: "composing".to_owned() })),
        message("t1", "c"),
    ];
    let appended = store.append(events).await;
    let stored = store.all_after(Seq(0)).await;
    assert_eq!(appended, stored.iter().cloned().map(Appended::At).collect::<Vec<_>>());
    let places: Vec<_> =
        stored.iter().map(|at| (at.seq.0, &*at.event.ticket_id, at.event.ticket_sequence)).collect();
    assert_eq!(places, [(1, "t1", 1), (2, "t1", 2), (3, "t2", 1), (4, "", 0), (5, "t1", 3)]);
    store.restart();
    assert_eq!(store.all_after(Seq(0)).await, stored, "the same after a restart");
    assert_eq!(store.all_after(Seq(3)).await, stored[3..]);
    assert_eq!(store.log().read(Seq(0), 2).await.unwrap().len(), 2);
    assert!(store.log().read(Seq(0), 0).await.unwrap().is_empty());
    assert!(store.log().read(Seq(5), 10).await.unwrap().is_empty(), "nothing at the tail");
    assert!(store.log().append(vec![]).await.unwrap().is_empty());
}

pub(crate) async fn callers_at_once(store: &mut Subject) {
    let one = |n: u8| store.append(vec![keyed(n % 100, message(&format!("t{}", n % 3), "a"))]);
    let answers: Vec<_> = futures_util::future::join_all((0..200).map(one)).await.concat();
    let fresh = answers.iter().filter(|answer| matches!(answer, Appended::At(_))).count();
    assert_eq!(fresh, 100, "each key once");
    let stored = store.all_after(Seq(0)).await;
    assert_eq!(stored.iter().map(|at| at.seq.0).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
    for ticket in ["t0", "t1", "t2"] {
        let of_it = stored.iter().filter(|at| at.event.ticket_id == ticket);
        let sequences: Vec<_> = of_it.map(|at| at.event.ticket_sequence).collect();
        assert!(!sequences.is_empty());
        assert_eq!(sequences, (1..).take(sequences.len()).collect::<Vec<u64>>());
    }
}

pub(crate) async fn duplicates(store: &mut Subject) {
    let twice =
        vec![keyed(1, message("t1", "a")), keyed(1, message("t1", "a")), keyed(2, message("t1", "b"))];
    let appended = store.append(twice).await;
    assert_eq!(appended[1], Appended::Duplicate(Seq(1)), "also within one call");
    assert!(matches!(&appended[2], Appended::At(stored) if stored.seq == Seq(2)), "and leaves no hole");
    store.restart();
    assert_eq!(store.append(vec![keyed(2, message("t1", "b"))]).await, [Appended::Duplicate(Seq(2))]);
    store.hours_pass(48);
    assert_eq!(store.enforce_retention().await, 2);
    store.restart();
    let again = store.append(vec![keyed(1, message("t1", "a"))]).await;
    assert_eq!(again, [Appended::Duplicate(Seq(1))], "keys outlive their events");
    let same = store.append(vec![message("t1", "a"), message("t1", "a")]).await;
    assert!(
        same.iter().all(|answer| matches!(answer, Appended::At(_))),
        "without a key nothing is a duplicate"
    );
}

pub(crate) async fn duplicates_expire(store: &mut Subject) {
    store.put(keyed(1, message("t1", "a"))).await;
    store.hours_pass(72);
    assert_eq!(store.append(vec![keyed(1, message("t1", "a"))]).await, [Appended::Duplicate(Seq(1))]);
    store.seconds_pass(1);
    assert_eq!(store.put(keyed(1, message("t1", "a"))).await.seq, Seq(2));
    store.hours_pass(71);
    store.restart();
    assert_eq!(store.append(vec![keyed(1, message("t1", "a"))]).await, [Appended::Duplicate(Seq(2))]);
}

pub(crate) async fn sequences_outlive_retention(store: &mut Subject) {
    store.append(vec![message("t1", "a"), message("t1", "b"), message("t2", "c")]).await;
    store.hours_pass(25);
    assert_eq!(store.enforce_retention().await, 3);
    store.restart();
    assert_eq!(store.put(message("t1", "d")).await.event.ticket_sequence, 3);
    assert_eq!(store.put(message("t2", "e")).await.event.ticket_sequence, 2);
    assert_eq!(store.log().ticket("suporte", "t1").await.unwrap().unwrap().last_sequence, 3);
}

pub(crate) async fn trimmed(store: &mut Subject) {
    for text in ["a", "b", "c"] {
        store.put(message("t1", text)).await;
        store.hours_pass(10);
    }
    // 30, 20 and 10 hours old.
    assert_eq!(store.enforce_retention().await, 1);
    for _ in 0..2 {
        let gone = Err(ReadError::Trimmed { earliest: Seq(1) });
        assert_eq!(store.log().read(Seq(0), 10).await, gone);
        assert_eq!(store.log().recent(Seq(0), 10), None);
        assert_eq!(store.all_after(Seq(1)).await.len(), 2);
        let bounds = store.log().bounds().await.unwrap();
        assert_eq!((bounds.trimmed, bounds.last), (Seq(1), Seq(3)));
        let ages = [bounds.earliest_time, bounds.latest_time].map(|at| store.now() - at.unwrap());
        assert_eq!(ages.map(|age| age.get_seconds() / 3600), [20, 10]);
        store.restart();
    }
    assert_eq!(store.enforce_retention().await, 0);
}

pub(crate) async fn never_reused(store: &mut Subject) {
    store.append(vec![message("t1", "a"), message("t1", "b")]).await;
    store.hours_pass(25);
    assert_eq!(store.enforce_retention().await, 2);
    let empty = store.log().bounds().await.unwrap();
    assert_eq!((empty.trimmed, empty.last, empty.earliest_time), (Seq(2), Seq(2), None));
    assert!(store.log().read(Seq(2), 10).await.unwrap().is_empty());
    store.restart();
    assert_eq!(*store.log().tail().borrow(), Seq(2));
    assert_eq!(store.put(message("t1", "c")).await.seq, Seq(3));
}

pub(crate) async fn seek(store: &mut Subject) {
    let start = store.now();
    assert_eq!(store.log().seek(start).await.unwrap(), Seq(0), "an empty log");
    for text in ["a", "b", "c", "d"] {
        store.append(vec![message("t1", text), message("t2", text)]).await;
        store.seconds_pass(10);
    }
    for (seconds, before) in [(-5, 0), (0, 0), (1, 2), (10, 2), (11, 4), (30, 6), (31, 8), (1_000, 8)] {
        let at = start + SignedDuration::from_secs(seconds);
        assert_eq!(store.log().seek(at).await.unwrap(), Seq(before), "{seconds} s");
    }
    let hair = start + SignedDuration::from_nanos(1);
    assert_eq!(store.log().seek(hair).await.unwrap(), Seq(2));
    store.hours_pass(24);
    store.seconds_pass(-25);
    assert_eq!(store.enforce_retention().await, 4);
    assert_eq!(store.log().seek(start).await.unwrap(), Seq(4), "the first there is");
}

pub(crate) async fn time_never_goes_back(store: &mut Subject) {
    let first = store.put(message("t1", "a")).await;
    store.hours_pass(-5);
    let second = store.put(message("t1", "b")).await;
    assert_eq!(second.event.receive_time, first.event.receive_time);
    store.restart();
    assert_eq!(store.put(message("t1", "c")).await.event.receive_time, first.event.receive_time);
    store.hours_pass(6);
    assert!(store.put(message("t1", "d")).await.event.receive_time > first.event.receive_time);
}

pub(crate) async fn tail_and_recent(store: &mut Subject) {
    let tail = store.log().tail();
    assert_eq!(*tail.borrow(), Seq(0));
    let stored = store.put(message("t1", "a")).await;
    assert_eq!(*tail.borrow(), Seq(1));
    assert_eq!(store.log().recent(Seq(0), 10).unwrap(), [stored]);
    assert_eq!(store.log().recent(Seq(1), 10).unwrap(), []);
    store.append(vec![keyed(1, message("t1", "b")), message("t1", "c")]).await;
    store.append(vec![keyed(1, message("t1", "b"))]).await;
    assert_eq!(*tail.borrow(), Seq(3), "a duplicate moves nothing");
    assert_eq!(store.log().recent(Seq(1), 1).unwrap()[0].seq, Seq(2));
}

pub(crate) async fn tickets(store: &mut Subject) {
    store.append(vec![document("t1", TicketStatus::Waiting), document("t1", TicketStatus::Open)]).await;
    let mut other = message("t1", "a");
    other.bot = "vendas".into();
    store.put(other).await;
    for _ in 0..2 {
        let log = store.log();
        let ours = log.ticket("suporte", "t1").await.unwrap().unwrap();
        assert_eq!((ours.last_sequence, ours.activity_sequence), (2, 2));
        assert_eq!(ours.ticket.unwrap().status, TicketStatus::Open);
        let theirs = log.ticket("vendas", "t1").await.unwrap().unwrap();
        assert_eq!((theirs.last_sequence, theirs.ticket), (1, None));
        assert_eq!(log.ticket("suporte", "t2").await.unwrap(), None);
        assert_eq!(log.bots_of("t1").await.unwrap(), ["suporte", "vendas"]);
        assert!(log.bots_of("t2").await.unwrap().is_empty());
        store.restart();
    }
}

pub(crate) async fn ticket_pages(store: &mut Subject) {
    for of in 1..=5 {
        let status = if of % 2 == 0 { TicketStatus::Open } else { TicketStatus::Waiting };
        store.put(document(&format!("t{of}"), status)).await;
        store.put(message(&format!("m{of}"), "no document tells of it")).await;
    }
    store.put(NewEvent { bot: "vendas".into(), ..document("t9", TicketStatus::Open) }).await;
    store.restart();
    let of = |page: &Page<(String, Ticket)>| -> Vec<String> {
        page.items.iter().map(|(bot, ticket)| format!("{bot} {}", ticket.id)).collect()
    };
    let wanted = |count_max, before| TicketsWanted { count_max, before, ..TicketsWanted::default() };
    let first = store.log().tickets(wanted(2, None)).await.unwrap();
    assert_eq!(of(&first), ["vendas t9", "suporte t5"], "the newest first");
    let second = store.log().tickets(wanted(9, first.next)).await.unwrap();
    assert_eq!(of(&second), ["suporte t4", "suporte t3", "suporte t2", "suporte t1"]);
    assert_eq!(second.next, None);
    let open = TicketsWanted {
        bot: "suporte".to_owned(),
        statuses: vec![TicketStatus::Open],
        team: "VENDAS".to_owned(),
        ..wanted(9, None)
    };
    assert_eq!(of(&store.log().tickets(open.clone()).await.unwrap()), ["suporte t4", "suporte t2"]);
    let ana = TicketsWanted { agent_identity: "ana".to_owned(), ..open };
    assert!(store.log().tickets(ana).await.unwrap().items.is_empty());
}

pub(crate) async fn tags(store: &mut Subject) {
    let tags = |tags: &[&str]| {
        event("suporte", Some("t1"), Fact::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect()))
    };
    let changed = |payload: &Payload| match payload {
        Payload::TicketUpdated { ticket, changed_fields } => (ticket.tags.clone(), changed_fields.clone()),
        other => panic!("{other:?}"),
    };
    let stranger = store.put(tags(&["a"])).await;
    assert!(stranger.event.flags.ticket_unknown);
    let created = store.put(document("t1", TicketStatus::Waiting)).await;
    assert_eq!(created.event.payload.type_name(), "ticket.created", "its tags were not its creation");
    for (given, fields) in [(vec!["a", "b"], vec!["tags"]), (vec!["a", "b"], vec![]), (vec![], vec!["tags"])]
    {
        let told = store.put(tags(&given)).await;
        let given: Vec<String> = given.into_iter().map(str::to_owned).collect();
        let fields: Vec<String> = fields.into_iter().map(str::to_owned).collect();
        assert_eq!(changed(&told.event.payload), (given.clone(), fields));
        store.restart();
        let known = store.log().ticket("suporte", "t1").await.unwrap().unwrap();
        assert_eq!(known.ticket.unwrap().tags, given);
    }
}

pub(crate) async fn closed_flags(store: &mut Subject) {
    let open = store.append(vec![document("t1", TicketStatus::Open), message("t1", "a")]).await;
    store.restart();
    store.put(document("t1", TicketStatus::ClosedClient)).await;
    store.restart();
    let late = store.put(message("t1", "b")).await;
    assert!(late.event.flags.after_close && !late.event.flags.ticket_unknown);
    assert_eq!(late.event.team, "vendas", "as the ticket stood");
    assert!(open.iter().all(|answer| matches!(answer, Appended::At(at) if !at.event.flags.after_close)));
    let stale = store.put(document("t1", TicketStatus::Open)).await;
    assert!(stale.event.flags.order_uncertain);
    assert!(store.log().ticket("suporte", "t1").await.unwrap().unwrap().is_closed(), "closed stays closed");
    assert!(store.put(message("t9", "c")).await.event.flags.ticket_unknown);
}

pub(crate) async fn quarantined(store: &mut Subject) {
    let body = Quarantined { bot: "suporte".into(), reason: "no JSON".to_owned(), raw: "<xml>".into() };
    store.log().quarantine(body).await.unwrap();
    assert_eq!(*store.log().tail().borrow(), Seq(0), "it takes no position");
    store.hours_pass(25);
    assert_eq!(store.enforce_retention().await, 0, "and is no event");
}

pub(crate) async fn statuses(store: &mut Subject) {
    let sent = NewCommand { method: "Send".to_owned(), ..command(7, "", 1) };
    let closed = command(8, "", 1);
    for command in [&sent, &closed] {
        store.ledger().begin(command.clone()).await.unwrap();
    }
    let id = sent.id.to_string();
    // Before the command's end is recorded: Blip may be quicker than the answer to us.
    let first = store.put(status(&id, None)).await;
    assert_eq!((first.event.ticket_id.as_str(), first.event.ticket_sequence), ("t1", 1));
    store.ledger().settle(sent.id, end(Outcome::Done), vec![message("t1", "a")]).await.unwrap();
    store.restart();
    let upper = id.to_uppercase();
    for (message_id, told, ticket_id, sequence) in [
        (id.as_str(), None, "t1", 3),
        (upper.as_str(), None, "t1", 4),
        // The address may be that of another ticket of the customer's.
        (id.as_str(), Some("t2"), "t1", 5),
        (&closed.id.to_string(), None, "", 0),
        ("wamid.x", None, "", 0),
        ("wamid.x", Some("t2"), "t2", 1),
        ("", None, "", 0),
    ] {
        let event = &store.put(status(message_id, told)).await.event;
        let placed = (event.ticket_id.as_str(), event.ticket_sequence);
        assert_eq!(placed, (ticket_id, sequence), "{message_id} {told:?}");
    }
    let other_bot = NewEvent { bot: "vendas".into(), ..status(&id, None) };
    assert_eq!(store.put(other_bot).await.event.ticket_id, "", "ids are a bot's own");
    store.hours_pass(72);
    store.enforce_retention().await;
    assert_eq!(store.put(status(&id, None)).await.event.ticket_id, "t1");
    store.seconds_pass(1);
    store.enforce_retention().await;
    assert_eq!(store.put(status(&id, None)).await.event.ticket_id, "", "as long as the command is kept");
}

fn status(message_id: &str, ticket_id: Option<&str>) -> NewEvent {
    let payload = Payload::MessageStatusChanged {
        message_id: message_id.to_owned(),
        status: MessageStatus::Received,
        reason_code: 0,
        reason_description: String::new(),
        blip_status: "received".to_owned(),
    };
    event("suporte", ticket_id, Fact::Told(payload))
}

pub(crate) async fn who_is_behind_a_tunnel(store: &mut Subject) {
    let told = |customer: &str, event: NewEvent| NewEvent {
        resolved_customer_identity: customer.to_owned(),
        ..event
    };
    store.append(vec![document("t1", TicketStatus::Open)]).await;
    store.restart();
    let said = store.put(told("5531@wa.gw.msging.net", message("t1", "a"))).await;
    assert_eq!(said.event.resolved_customer_identity, "5531@wa.gw.msging.net");
    store.restart();
    let later = [message("t1", "b"), document("t1", TicketStatus::ClosedClient), message("t1", "c")];
    for event in later {
        let event = store.put(event).await;
        assert_eq!(
            event.event.resolved_customer_identity, "5531@wa.gw.msging.net",
            "it is known from then on"
        );
    }
    let other = store.put(told("another@wa.gw.msging.net", message("t1", "d"))).await;
    assert_eq!(
        other.event.resolved_customer_identity, "another@wa.gw.msging.net",
        "an event's own comes first"
    );
    let stranger = store.put(message("t2", "a")).await;
    assert_eq!(stranger.event.resolved_customer_identity, "");
}
