//! What is asked for no more, and who hears of it.

use super::*;

/// The conversation of a ticket that ended is refused again and again: that it is given up is told, and counted.
#[test]
fn a_conversation_that_is_given_up_is_told() {
    let mut model = Model::new(5);
    for _ in 0..3 {
        model.open(true);
    }
    model.pass(Duration::from_hours(2));
    model.end(0, true);
    let ended = errand(&model, 0, What::Ended, None);
    model.planner.run_errand(ended);
    let refuse = |ask: &Ask| matches!(ask, Ask::Said { id, .. } if id == "t00000").then(|| refused(61));
    let (mut told, mut counted) = (Vec::new(), 0);
    let began = model.now.at;
    for _ in 0..2_000 {
        counted = round(&mut model, refuse).unread;
        told.extend(model.planner.take_given_up());
        if !told.is_empty() {
            break;
        }
    }
    let hours = model.now.at.duration_since(began).as_secs() / 3_600;
    assert!((60..72).contains(&hours), "as long as it could be told: {hours} h");
    // Whether it was during a round or between two.
    counted = counted.max(round(&mut model, refuse).unread);
    assert_eq!((told, counted), (vec!["t00000".to_owned()], 1));
    assert_eq!((round(&mut model, refuse).unread, model.planner.take_given_up()), (0, Vec::new()));
}

/// Whoever waits for a round hears at once that the key is refused; it is asked again each minute.
#[test]
fn a_refused_key_ends_a_round() {
    let mut model = Model::new(5);
    for _ in 0..5 {
        model.open(false);
    }
    model.pass(Duration::from_hours(2));
    for what in [
        |ask: &Ask| matches!(ask, Ask::Living { .. }),
        |ask: &Ask| matches!(ask, Ask::Closed { .. }),
        |ask: &Ask| matches!(ask, Ask::Ticket { .. } | Ask::Said { .. }),
    ] {
        model.planner.demand(model.now, None);
        let before = model.now.date;
        let report = round(&mut model, |ask| what(ask).then_some(Answer::KeyRefused));
        assert!(!report.complete, "{report:?}");
        assert!(model.now.date.duration_since(before) < SignedDuration::from_secs(30), "it is told at once");
        assert_eq!(model.planner.reader_fault(), Some(ReaderFault::KeyRefused));
    }
    let before = model.now.date;
    let report = round(&mut model, |_| None);
    assert!(report.complete && model.planner.reader_fault().is_none(), "{report:?}");
    assert!(model.now.date.duration_since(before) < SignedDuration::from_mins(3), "it is asked again");
    model.check();
}

/// However often a round was not complete before, one that ended as the key is refused is tried again within a minute.
#[test]
fn after_a_refused_key_the_next_round_is_a_minute_later() {
    let mut model = Model::new(5);
    for _ in 0..3 {
        model.open(true);
    }
    model.pass(Duration::from_hours(2));
    for _ in 0..5 {
        let list_refused = || Answer::Refused { code: Some(61), description: "no".to_owned() };
        assert!(!round(&mut model, |ask| matches!(ask, Ask::Living { .. }).then(list_refused)).complete);
    }
    for _ in 0..3 {
        assert!(!round(&mut model, |_| Some(Answer::KeyRefused)).complete);
        let pause = model.planner.due.unwrap().duration_since(model.now.at);
        assert!(pause <= Duration::from_mins(1), "{pause:?}");
    }
    assert!(round(&mut model, |_| None).complete);
}

/// What Blip gives when it is asked again does not leave the round incomplete that asked.
#[test]
fn what_is_given_later_in_a_round_is_not_missing() {
    let mut model = Model::new(5);
    for _ in 0..400 {
        model.open(true);
    }
    model.pass(Duration::from_hours(2));
    model.restart(None);
    model.end(0, true);
    let first = std::cell::Cell::new(true);
    let report = round(&mut model, |ask| {
        let is_it = matches!(ask, Ask::Said { id, .. } if id == "t00000");
        (is_it && first.replace(false)).then(|| refused(61))
    });
    assert!(!first.get());
    assert_eq!((report.complete, report.unread), (true, 0), "{report:?}");
    model.check();
}

/// A ticket that nobody had seen is told of though its conversation is refused; what was said in it before the time in which
/// it can be told is lost then, and that is said.
#[test]
fn what_an_old_ticket_found_late_loses_is_told() {
    let mut model = Model::new(5);
    model.open(false);
    model.say(0, false);
    model.pass(Duration::from_hours(100));
    let refuse = |ask: &Ask| matches!(ask, Ask::Said { .. }).then(|| refused(61));
    let unread = round(&mut model, refuse).unread;
    assert_eq!((unread, model.planner.take_given_up()), (1, vec!["t00000".to_owned()]));
    let unread = round(&mut model, |_| None).unread;
    assert_eq!((unread, model.planner.take_given_up()), (0, Vec::new()));
}
