//! What must wait for what.

use serde_json::json;

use super::*;
use crate::domain::{Method, RawCommand};
use crate::lime::Reason;

#[tokio::test(start_paused = true)]
async fn a_command_of_the_callers_own_waits_for_its_ticket() {
    let silence = || Err(BlipError::NotSent("no route".to_owned()));
    let world = World::new(Faults::default(), (0..1_000).map(|_| silence()));
    let queued = ActionRequest { accept_only: true, ..request() };
    world.desk.execute(queued, Instant::now() + Duration::from_secs(10)).await.unwrap();
    let raw = |ticket: &str| RawCommand {
        method: Method::Set,
        to: "postmaster@desk.msging.net".to_owned(),
        uri: format!("/tickets/{ticket}/change-tags"),
        resource: Some(("application/json".to_owned(), json!({}))),
    };
    for (ticket, reason) in [("t", "QUOTA_EXCEEDED"), ("u", "BLIP_UNAVAILABLE")] {
        let request = ActionRequest {
            ticket_id: String::new(),
            action: Action::Execute(Box::new(raw(ticket))),
            request_id: String::new(),
            ..request()
        };
        let told = world.desk.execute(request, Instant::now() + Duration::from_secs(10)).await.unwrap_err();
        let fault = if let DeskError::Ended { record, .. } = &told {
            let end = record.end.as_ref().unwrap();
            let Outcome::Failed(fault) = &end.outcome else { panic!("{end:?}") };
            fault
        } else {
            let DeskError::Fault(fault) = &told else { panic!("{told:?}") };
            fault
        };
        assert_eq!(fault.reason, reason, "{ticket}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_says_of_a_request_id_what_the_call_would() {
    let world = World::new(Faults::default(), []);
    assert!(world.desk.validate(&request()).await.is_ok());
    world.close(Duration::from_secs(10)).await.unwrap();
    assert!(world.desk.validate(&request()).await.is_ok(), "it would get its answer again");
    let other = ActionRequest { action: Action::SetTags { tags: Vec::new() }, ..request() };
    let told = world.desk.validate(&other).await.unwrap_err();
    assert!(matches!(told, DeskError::Conflict(_)), "{told:?}");
    let failed = Outcome::Failed(Fault::new("AGENT_NOT_FOUND", "no such agent"));
    let command = NewCommand { request_id: "s".to_owned(), ..begun() };
    world.store.begin(command).await.unwrap();
    world
        .store
        .settle(begun().id, End { outcome: failed, attempts: 1, returned: None }, vec![])
        .await
        .unwrap();
    let same = ActionRequest { request_id: "s".to_owned(), ..request() };
    let told = world.desk.validate(&same).await.unwrap_err();
    assert!(matches!(told, DeskError::Ended { replayed: true, .. }), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn who_still_waits_at_the_end_is_told_what_is_known() {
    let world = World::new(Faults::settling(vec![AppendError::Full; 100_000]), []);
    let long = Duration::from_mins(9);
    let other = ActionRequest { request_id: "other".to_owned(), ..request() };
    let calls = async {
        tokio::join!(world.close(long), world.close(long), world.desk.execute(other, Instant::now() + long))
    };
    let parting = async {
        tokio::time::sleep(Duration::from_secs(24)).await;
        world.shutdown.soft().cancel();
        world.shutdown.parting().cancel();
    };
    let ((first, again, behind), ()) = tokio::join!(calls, parting);
    let id = world.unsettled().await.remove(0).command.id;
    let Err(DeskError::Fault(fault)) = first else { panic!("{first:?}") };
    assert_eq!(
        (fault.reason.as_str(), fault.metadata),
        ("OUTCOME_UNKNOWN", vec![("command_id".to_owned(), id.to_string())])
    );
    let Err(DeskError::Ended { record, replayed: true }) = again else { panic!("{again:?}") };
    assert_eq!((record.command.id, record.end), (id, None));
    let Err(DeskError::Fault(fault)) = behind else { panic!("{behind:?}") };
    assert_eq!(fault.reason, "STREAM_DRAINING");
    // What was said is so: room comes, the first one ends, and the one behind it is not begun.
    world.store.faults.lock().unwrap().settling.clear();
    world.shutdown.drained().await;
    let key = CommandKey::Request { principal: String::new(), request_id: "other".to_owned() };
    assert_eq!((world.unsettled().await.len(), world.store.command(key).await), (0, Ok(None)));
}

/// One that asks something else under the same request id hears so at the end too.
#[tokio::test(start_paused = true)]
async fn who_waits_at_the_end_for_anothers_request_id_hears_of_the_conflict() {
    let world = World::new(Faults::default(), []);
    let takes = Duration::from_mins(1);
    *world.blip.2.lock().unwrap() = takes;
    let until = Instant::now() + takes * 9;
    let send = |request_id| world.desk.execute(credit::send(request_id), until);
    // The second is begun when the first has ended; the third, which waits for it, came before that.
    let calls = async { tokio::join!(send("before"), send("r"), world.close(takes * 9)) };
    let parting = async {
        tokio::time::sleep(takes * 3 / 2).await;
        world.shutdown.soft().cancel();
        world.shutdown.parting().cancel();
    };
    let ((before, first, differs), ()) = tokio::join!(calls, parting);
    before.unwrap();
    let Err(DeskError::Fault(fault)) = first else { panic!("{first:?}") };
    assert_eq!(fault.reason, "OUTCOME_UNKNOWN");
    let Err(DeskError::Conflict(record)) = differs else { panic!("{differs:?}") };
    assert_eq!((record.command.method.as_str(), record.command.request_id.as_str()), ("Send", "r"));
    world.shutdown.drained().await;
}

/// Blip takes a message to any address: what is queued goes out only once Blip has told that the ticket is there.
#[tokio::test(start_paused = true)]
async fn what_is_queued_to_a_ticket_never_seen_waits_until_blip_tells_of_it() {
    let send = ActionRequest { accept_only: true, ..credit::send("r") };
    let pong = || Ok(yes(Value::Null));
    let reason = Reason { code: Some(67), description: "not found".to_owned() };
    let missing = Reply { id: None, media_type: String::new(), status: ReplyStatus::Failure(reason) };
    let reason = Reason { code: Some(41), description: "not now".to_owned() };
    let busy = || Reply { status: ReplyStatus::Failure(reason.clone()), ..yes(Value::Null) };
    for (told, reason) in [(missing, "TICKET_NOT_FOUND"), (yes(json!({"id": "t", "status": "Open"})), "")] {
        let lost = || Err(BlipError::Unknown("reset".to_owned()));
        let full = Err(BlipError::OverQuota { retry_after: Duration::from_secs(1) });
        // After each without an answer Blip is asked whether it is there at all.
        let answers = [pong(), lost(), pong(), full, Ok(busy()), pong(), lost(), pong(), Ok(told)];
        let world = World::new(Faults::default(), answers);
        world.desk.execute(send.clone(), Instant::now() + Duration::from_secs(10)).await.unwrap();
        let end = world.end().await;
        let failed = if let Outcome::Failed(fault) = &end { fault.reason.as_str() } else { "" };
        assert_eq!(failed, reason, "{end:?}");
        let asked = world.blip.1.lock().unwrap().clone();
        assert_eq!(asked.iter().filter(|uri| *uri == "/ticket/t").count(), 5, "{asked:?}");
        assert!(world.blip.0.lock().unwrap().is_empty());
    }
}
