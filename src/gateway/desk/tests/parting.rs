//! What callers hear that still wait when the process is about to give up: only what is so.

use super::*;

/// Longer than anybody waits.
const NEVER: Duration = Duration::from_hours(1);

fn said(told: Result<Done, DeskError>) -> Fault {
    let Err(DeskError::Fault(fault)) = told else { panic!("{told:?}") };
    fault
}

#[tokio::test(start_paused = true)]
async fn what_was_not_recorded_was_not_begun() {
    for fault in [AppendError::Full, AppendError::Busy, AppendError::Unavailable("told to fail".to_owned())] {
        let world = World::new(Faults { beginning: [fault].into(), ..Faults::default() }, []);
        let (call, unnamed) = (Call::default(), ActionRequest { request_id: String::new(), ..request() });
        world.desk.inner.begin(begun(), &call).await.unwrap_err();
        assert_eq!(call.begun(), None, "no command has this id");
        let told = world.desk.inner.last_word(&call, &unnamed).await;
        assert_eq!(said(told).reason, "STREAM_DRAINING");
    }
    let world = World::new(Faults::default(), []);
    world.store.begin(begun()).await.unwrap();
    let other = ActionRequest { ticket_id: "other".to_owned(), ..request() };
    let other = run::new_command(Uuid::from_u128(78), &other, memo::write(&other));
    let call = Call::default();
    assert!(matches!(world.desk.inner.begin(other, &call).await, Ok(Begun::Conflict(_))));
    assert_eq!(call.begun(), None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_there_is_given() {
    for _ in 0..20 {
        let world = World::new(Faults::default(), []);
        let mut call = std::pin::pin!(world.close(NEVER));
        // The call begins, and is not looked at again before there is an answer and the process gives up.
        assert!(tokio::time::timeout(Duration::ZERO, &mut call).await.is_err());
        assert_eq!(world.end().await, Outcome::Done);
        world.shutdown.soft().cancel();
        world.shutdown.parting().cancel();
        assert!(matches!(call.await, Ok(Done { replayed: false, .. })));
    }
}

/// A call waits for an earlier one of its request id, and the process gives up.
async fn behind(world: &World, request: ActionRequest) -> Result<Done, DeskError> {
    let first = world.close(NEVER);
    let second = async {
        tokio::task::yield_now().await;
        world.desk.execute(request, Instant::now() + NEVER).await
    };
    let parting = async {
        tokio::time::sleep(Duration::from_secs(24)).await;
        world.shutdown.soft().cancel();
        world.shutdown.parting().cancel();
    };
    tokio::join!(first, second, parting).1
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_up_in_time_is_not_known() {
    let faults =
        Faults { settling: vec![AppendError::Full; 100_000].into(), looked_late: NEVER, ..Faults::default() };
    let world = World::new(faults, []);
    let begun = Instant::now();
    let fault = said(behind(&world, request()).await);
    assert_eq!((fault.reason.as_str(), fault.metadata.as_slice()), ("OUTCOME_UNKNOWN", [].as_slice()));
    assert!(
        begun.elapsed() < Duration::from_millis(24_500),
        "before the edge says it: {:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_id_of_another_request_is_told_as_such() {
    let world = World::new(Faults::default(), []);
    world.store.begin(begun()).await.unwrap();
    let told = world.desk.inner.last_word(&Call::default(), &request()).await;
    assert!(matches!(told, Err(DeskError::Ended { replayed: true, .. })), "{told:?}");
    let other = ActionRequest { ticket_id: "other".to_owned(), ..request() };
    let told = world.desk.inner.last_word(&Call::default(), &other).await;
    assert!(matches!(told, Err(DeskError::Conflict(_))), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_after_callers_were_told() {
    let world = World::new(Faults::default(), []);
    world.shutdown.parting().cancel();
    world.desk.inner.begin(begun(), &Call::default()).await.unwrap_err();
    assert_eq!(world.unsettled().await, []);
}
