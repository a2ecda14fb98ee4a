//! Clients take turns, and leave room for each other.

use std::task::Poll;

use futures_util::poll;

use super::*;

/// A command that its caller leaves to be done, on a ticket of its own.
fn left_by(principal: &str, number: usize) -> ActionRequest {
    ActionRequest {
        principal: principal.to_owned(),
        ticket_id: format!("{principal} {number}"),
        request_id: String::new(),
        accept_only: true,
        ..request()
    }
}

fn silence() -> Result<Reply, BlipError> {
    Err(BlipError::NotSent("no route".to_owned()))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn is_refused(told: &Result<Done, DeskError>) -> bool {
    matches!(told, Err(DeskError::Fault(fault)) if fault.reason == "QUOTA_EXCEEDED")
}

#[tokio::test(start_paused = true)]
async fn what_one_client_left_waits_only_its_turn_behind_anothers_flood() {
    let world = World::new(Faults::default(), [silence(), silence()]);
    for number in 0..60 {
        world.desk.execute(left_by("flood", number), soon()).await.unwrap();
    }
    world.desk.execute(left_by("crm", 0), soon()).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.unsettled().await, []);
    let mut went = world.blip.3.lock().unwrap().clone();
    went.retain(|caller| &*caller.principal != gate::PINGER);
    let place = went.iter().position(|caller| &*caller.principal == "crm").unwrap();
    // Those that were on their way before go first, and one more.
    assert!(place <= QUEUED_AT_ONCE + 1, "{place} of {}", went.len());
}

#[tokio::test(start_paused = true)]
async fn a_ping_waits_behind_no_clients_commands() {
    let world = World::new(Faults::default(), []);
    world.desk.execute(left_by("", 0), soon()).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.unsettled().await, []);
    let went = world.blip.3.lock().unwrap().clone();
    assert_eq!(went, [Caller::client(gate::PINGER), Caller::client("")]);
}

#[tokio::test(start_paused = true)]
async fn no_client_takes_all_the_room() {
    let memo = memo::write(&request()).len();
    for (commands_max, bytes_max) in [(100, usize::MAX), (usize::MAX, 100 * memo)] {
        let limits = QueueLimits { commands_max, bytes_max, ..QueueLimits::default() };
        let world = World::with(limits, Faults::default(), (0..1_000).map(|_| silence()));
        let mut took = [0, 0, 0];
        for (count, principal) in took.iter_mut().zip(["flood", "crm", "bi"]) {
            for number in 0.. {
                let told = world.desk.execute(left_by(principal, number), soon()).await;
                if is_refused(&told) {
                    break;
                }
                told.unwrap();
                *count += 1;
            }
        }
        assert_eq!(took, [80, 16, 4], "four fifths of what is there");
    }
}

/// Takes all the room that "flood" has for calls, by callers that are gone at once.
async fn fill(world: &World) {
    let waits = ActionRequest { accept_only: false, ..left_by("flood", 0) };
    let mut left = 0;
    loop {
        // It waits for the ticket.
        match poll!(Box::pin(world.desk.execute(waits.clone(), soon()))) {
            Poll::Pending => left += 1,
            Poll::Ready(told) => {
                assert!(is_refused(&told), "{told:?}");
                break;
            }
        }
        assert!(left <= CALLS_MAX, "there is no end of it");
    }
    assert!(left > CALLS_MAX / 2, "{left}");
}

#[tokio::test(start_paused = true)]
async fn callers_that_left_leave_room_for_others() {
    let answers = [Ok(yes(Value::Null))].into_iter().chain((0..1_000).map(|_| silence()));
    let world = World::new(Faults::default(), answers);
    let done = ActionRequest { principal: "flood".to_owned(), ..request() };
    world.desk.execute(done.clone(), soon()).await.unwrap();
    world.desk.execute(left_by("flood", 0), soon()).await.unwrap();
    fill(&world).await;
    // What is known is told all the same, and what its request id is taken by.
    let again = world.desk.execute(done.clone(), soon()).await.unwrap();
    assert!(again.replayed && again.record.end.is_some(), "{again:?}");
    let other = ActionRequest { action: Action::SetTags { tags: Vec::new() }, ..done };
    let told = world.desk.execute(other, soon()).await;
    assert!(matches!(told, Err(DeskError::Conflict(_))), "{told:?}");
    let other = world.desk.execute(left_by("crm", 0), soon()).await;
    assert!(other.is_ok(), "{other:?}");
    // Its time over, each gives back its room.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let told = world.desk.execute(left_by("flood", 1), soon()).await;
    assert!(told.is_ok(), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_nobody_hears_that_nothing_was_begun_of_what_was() {
    let world = World::new(Faults::default(), (0..1_000).map(|_| silence()));
    let left = ActionRequest { request_id: "left".to_owned(), ..left_by("flood", 0) };
    let first = world.desk.execute(left.clone(), soon()).await.unwrap();
    fill(&world).await;
    let again = world.desk.execute(left.clone(), soon()).await.unwrap();
    assert!(again.replayed && again.record.command.id == first.record.command.id, "{again:?}");
    let waits = ActionRequest { accept_only: false, ..left };
    let told = world.desk.execute(waits, soon()).await;
    assert!(
        matches!(&told, Err(DeskError::Ended { record, replayed: true }) if record.command.id == first.record.command.id),
        "it may be under way: {told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_nobody_waits_for_the_store() {
    let world = World::new(Faults::default(), (0..1_000).map(|_| silence()));
    world.desk.execute(left_by("flood", 0), soon()).await.unwrap();
    fill(&world).await;
    world.store.faults.lock().unwrap().looked_late = Duration::from_hours(1);
    let asked = Instant::now();
    let named = ActionRequest { request_id: "r".to_owned(), ..left_by("flood", 1) };
    let told = world.desk.execute(named, soon()).await;
    assert!(is_unknown(&told), "an earlier call may have begun it: {told:?}");
    let told = world.desk.execute(left_by("flood", 1), soon()).await;
    assert!(is_refused(&told), "it has no name: {told:?}");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

fn is_unknown(told: &Result<Done, DeskError>) -> bool {
    matches!(told, Err(DeskError::Fault(fault)) if fault.reason == "OUTCOME_UNKNOWN")
}
