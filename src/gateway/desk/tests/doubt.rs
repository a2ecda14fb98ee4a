//! What callers are told where it is not known what was recorded or done, and what becomes of it.

use super::*;

fn broken() -> AppendError {
    AppendError::Unknown("told to fail".to_owned())
}

fn said(error: &DeskError) -> &Fault {
    let DeskError::Fault(fault) = error else { panic!("{error:?}") };
    fault
}

/// A fact that a fault tells programs.
fn fact<'a>(fault: &'a Fault, name: &str) -> &'a str {
    fault.metadata.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

#[tokio::test(start_paused = true)]
async fn what_was_perhaps_queued_is_not_told_as_not_done() {
    let world = World::new(Faults { beginning: [broken()].into(), ..Faults::default() }, []);
    let queued = ActionRequest { accept_only: true, ..request() };
    let told =
        world.desk.execute(queued.clone(), Instant::now() + Duration::from_secs(10)).await.unwrap_err();
    let fault = said(&told);
    assert_eq!((fault.reason.as_str(), fault.frees_request_id), ("OUTCOME_UNKNOWN", false));
    let left = world.unsettled().await.remove(0);
    assert_eq!(fact(fault, "command_id"), left.command.id.to_string(), "it can be asked for");
    let again = world.desk.execute(queued, Instant::now() + Duration::from_secs(10)).await.unwrap();
    assert_eq!((again.replayed, again.record.command.id), (true, left.command.id));
    world.desk.recover();
    assert_eq!(world.end().await, Outcome::Done, "the next start sends it");
}

#[tokio::test(start_paused = true)]
async fn what_was_perhaps_begun_was_not_sent_and_may_hold_its_request_id() {
    let world = World::new(Faults { beginning: [broken()].into(), ..Faults::default() }, []);
    let told = world.close(Duration::from_secs(10)).await.unwrap_err();
    let fault = said(&told);
    assert_eq!((fault.reason.as_str(), fault.frees_request_id), ("STORE_UNAVAILABLE", false));
    let left = world.unsettled().await.remove(0);
    assert_eq!(fact(fault, "command_id"), left.command.id.to_string());
    assert!(world.blip.1.lock().unwrap().is_empty(), "nothing was sent");
    let open = || Ok(yes(json!({"id": "t", "status": "Open"})));
    world.blip.0.lock().unwrap().extend([open(), open(), open()]);
    world.desk.recover();
    assert!(matches!(world.end().await, Outcome::Unknown(_)));
    let asked = world.blip.1.lock().unwrap().clone();
    assert!(asked.iter().all(|uri| uri == "/ticket/t"), "nor ever is: {asked:?}");

    let world = World::new(Faults { beginning: [broken()].into(), ..Faults::default() }, []);
    let nameless = ActionRequest { request_id: String::new(), ..request() };
    let told = world.desk.execute(nameless, Instant::now() + Duration::from_secs(10)).await.unwrap_err();
    assert!(said(&told).frees_request_id, "there is none to be held");
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_time_ends_while_a_command_is_queued_can_ask_for_it() {
    let world = World::new(Faults { began_late: Duration::from_mins(1), ..Faults::default() }, []);
    let queued = ActionRequest { accept_only: true, ..request() };
    let told = world.desk.execute(queued, Instant::now() + Duration::from_secs(10)).await.unwrap_err();
    let left = world.unsettled().await.remove(0);
    assert_eq!(fact(said(&told), "command_id"), left.command.id.to_string());
}

#[tokio::test(start_paused = true)]
async fn an_end_is_told_to_the_log_whenever_its_caller_left() {
    let late = Duration::from_mins(1);
    for (faults, within, told) in [
        // In the tries to record it; after it was recorded; not at all.
        (Faults::settling(vec![AppendError::Full; 100]), 10, true),
        (Faults { settled_late: late, ..Faults::default() }, 10, true),
        (Faults { settled_late: late, ..Faults::default() }, 100, false),
    ] {
        let world = World::new(faults, []);
        assert_eq!(world.close(Duration::from_secs(within)).await.is_err(), told);
        assert_eq!(world.end().await, Outcome::Done);
        tokio::time::sleep(late).await;
        let expected: &[_] = if told { &["ticket.closed", "command.settled"] } else { &["ticket.closed"] };
        assert_eq!(world.types().await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_store_is_read_until_it_answers() {
    let closed = || Ok(yes(json!({"id": "t", "status": "ClosedAttendant"})));
    let world = World::new(Faults { reading: 9, ..Faults::default() }, [closed()]);
    world.store.begin(begun()).await.unwrap();
    world.desk.recover();
    assert_eq!(world.end().await, Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn labels_that_were_set_are_told_though_the_close_failed() {
    let tagged = |accept_only| {
        let action = Action::Close {
            by: CloseBy::Agent,
            tags: vec!["boleto".to_owned()],
            closed_by: String::new(),
            without_redirect: false,
        };
        ActionRequest { action, accept_only, ..request() }
    };
    let refused = || Err(BlipError::Refused { status: 400, text: String::new() });
    let world = World::new(Faults::default(), [Ok(yes(Value::Null)), refused()]);
    world.desk.execute(tagged(false), Instant::now() + Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(world.types().await, ["ticket.updated"]);

    // Queued, it is told once, however often the close is tried.
    let busy = || Err(BlipError::OverQuota { retry_after: Duration::from_secs(1) });
    let (done, pong) = (|| Ok(yes(Value::Null)), Ok(yes(Value::Null)));
    let world = World::new(Faults::default(), [pong, done(), busy(), done(), busy()]);
    world.tell("t", TicketStatus::Open, Origin::Webhook, "1").await;
    world.desk.execute(tagged(true), Instant::now() + Duration::from_secs(10)).await.unwrap();
    assert_eq!(world.end().await, Outcome::Done);
    assert_eq!(world.types().await, ["ticket.created", "ticket.updated", "ticket.closed", "command.settled"]);
}

#[tokio::test(start_paused = true)]
async fn labels_that_others_set_are_not_told_as_those_of_a_close_without_any() {
    let open = || Ok(yes(json!({"id": "t", "status": "Open", "tags": ["alheia"]})));
    let world = World::new(Faults::default(), [open(), open(), open()]);
    world.store.begin(begun()).await.unwrap();
    world.desk.recover();
    assert!(matches!(world.end().await, Outcome::Unknown(_)));
    assert_eq!(world.types().await, ["command.settled"]);
}

#[tokio::test(start_paused = true)]
async fn what_waited_before_a_restart_takes_its_room() {
    let memo = begun().memo.len();
    for (commands_max, bytes_max) in [(2, usize::MAX), (100, 2 * memo + memo / 2)] {
        let limits = QueueLimits { commands_max, bytes_max, ..QueueLimits::default() };
        let silence = || Err(BlipError::NotSent("no route".to_owned()));
        let world = World::with(limits, Faults::default(), (0..50).map(|_| silence()));
        for number in 0..3 {
            let command = NewCommand {
                id: Uuid::from_u128(100 + number),
                ticket_id: format!("t{number}"),
                request_id: String::new(),
                accept_only: true,
                ..begun()
            };
            world.store.begin(command).await.unwrap();
        }
        world.desk.recover();
        let ask = || {
            let queued = ActionRequest { accept_only: true, ..request() };
            world.desk.execute(queued, Instant::now() + Duration::from_secs(10))
        };
        let refused = ask().await.unwrap_err();
        assert_eq!(said(&refused).reason, "QUOTA_EXCEEDED", "{refused:?}");
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(world.unsettled().await, [], "Blip answered");
        ask().await.unwrap();
        assert_eq!(world.end().await, Outcome::Done);
    }
}
