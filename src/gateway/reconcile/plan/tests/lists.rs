//! What a list says of its own end.

use super::*;

/// A page without anything, of a list that is to have more, is no end of it: nothing follows from what it does not name.
#[test]
fn an_empty_page_where_more_is_told_of_cuts_a_list() {
    for (living, first) in [(true, 0), (true, 2), (false, 0), (false, 1)] {
        let mut model = Model::new(5);
        for _ in 0..6 {
            model.open(true);
        }
        for n in 4..6 {
            model.end(n, false);
        }
        model.pass(Duration::from_hours(2));
        model.restart(None);
        // Some items at most, and then nothing, of fifty.
        let cut = |ask: &Ask, real: Answer| match (ask, real) {
            (Ask::Living { skip, .. }, Answer::Tickets { mut tickets, .. }) if living => {
                tickets.truncate(if *skip == 0 { first } else { 0 });
                let count = tickets.len();
                Answer::Tickets { tickets, count, total: Some(50) }
            }
            (Ask::Closed { skip, .. }, Answer::Tickets { mut tickets, .. }) if !living => {
                tickets.truncate(if *skip == 0 { first } else { 0 });
                let count = tickets.len();
                Answer::Tickets { tickets, count, total: Some(50) }
            }
            (_, real) => real,
        };
        let report = round_with(&mut model, cut);
        assert!(!report.complete, "{living} {first}: {report:?}");
        assert_eq!(model.planner.covered(), None, "it is looked at again");
        assert_eq!(model.planner.living(), 4, "those that ended were read by their ids");
        let report = round(&mut model, |_| None);
        assert!(report.complete, "{report:?}");
        model.check();
    }
}

/// Lists whose total is always too large: it is looked at more than once, and then rounds are whole all the same. What is
/// asked for meanwhile reaches back no farther with each of them.
#[test]
fn a_total_that_is_always_too_large_does_not_fail_rounds_for_ever() {
    for one_page_more in [false, true] {
        let mut model = Model::new(5);
        for _ in 0..6 {
            model.open(true);
        }
        model.end(5, false);
        model.pass(Duration::from_hours(2));
        model.restart(None);
        let last = model.answer(&Ask::Living { skip: 0, take: 100 });
        let too_large = |ask: &Ask, real: Answer| match real {
            Answer::Tickets { tickets, count: 0, .. } if one_page_more && tickets.is_empty() => {
                match (ask, &last) {
                    // After its end a list begins anew.
                    (Ask::Living { .. }, Answer::Tickets { tickets, count, .. }) => {
                        Answer::Tickets { tickets: tickets.clone(), count: *count, total: Some(5_000) }
                    }
                    _ => Answer::Tickets { tickets, count: 0, total: Some(5_000) },
                }
            }
            Answer::Tickets { tickets, count, .. } => Answer::Tickets { tickets, count, total: Some(5_000) },
            other @ (Answer::Ticket(_)
            | Answer::Said { .. }
            | Answer::Refused { .. }
            | Answer::KeyRefused
            | Answer::Failed { .. }) => other,
        };
        let told: Vec<_> = (0..5).map(|_| round_with(&mut model, too_large)).collect();
        let whole: Vec<_> = told.iter().map(|it| it.complete).collect();
        assert_eq!(whole, [false, false, true, true, true], "{one_page_more}: {told:?}");
        assert!(told.iter().all(|it| it.unread == 0), "no ticket is missing: {told:?}");
        let day = SignedDuration::from_hours(24);
        for _ in 0..200 {
            round_with(&mut model, too_large);
        }
        let reach = model.now.date.duration_since(model.planner.covered().unwrap());
        assert!(reach < day + SignedDuration::from_hours(1), "{reach:?}");
        assert!(reach > day - SignedDuration::from_hours(1), "should there be more, it is found: {reach:?}");
        assert_eq!(model.planner.owed(), None);
        assert!(round(&mut model, |_| None).complete);
        assert!(
            model.now.date.duration_since(model.planner.covered().unwrap()) < SignedDuration::from_mins(1)
        );
        model.check();
    }
}

/// Where nothing else is given either, an empty list of many says nothing, however often.
#[test]
fn an_empty_list_of_many_is_never_whole_where_nothing_is_given() {
    let mut model = Model::new(5);
    model.pass(Duration::from_hours(2));
    for _ in 0..6 {
        let report =
            round_with(&mut model, |_, _| Answer::Tickets { tickets: Vec::new(), count: 0, total: Some(50) });
        assert!(!report.complete, "{report:?}");
    }
    assert_eq!(model.planner.covered(), None);
    assert!(round(&mut model, |_| None).complete);
}

/// Rounds of three days, in each of which Blip fails to give another conversation, and says of lists that they have `total`
/// items where that is not what they have. How far back the last one listed what ended.
fn conversations_in_turn_are_missing(model: &mut Model, total: Option<usize>) -> SignedDuration {
    for _ in 0..20 {
        model.open(true);
    }
    model.pass(Duration::from_hours(2));
    let began = model.now.date;
    let (turn, reach) = (std::cell::Cell::new(0), std::cell::Cell::new(SignedDuration::ZERO));
    loop {
        turn.set((turn.get() + 1) % 20);
        let now = model.now.date;
        let report = round_with(model, |ask, real| match (ask, real) {
            (Ask::Said { id, .. }, _) if *id == format!("t{:05}", turn.get()) => refused(61),
            (ask, Answer::Tickets { tickets, count, total: real }) => {
                if let Ask::Closed { since, .. } = ask {
                    reach.set(now.duration_since(*since));
                }
                Answer::Tickets { tickets, count, total: total.or(real) }
            }
            (_, real) => real,
        });
        assert!(!report.complete && report.unread == 1, "{report:?}");
        if model.now.date.duration_since(began) >= SignedDuration::from_hours(72) {
            return reach.get();
        }
    }
}

/// No round is whole, and yet none lists what ended days ago.
#[test]
fn conversations_that_are_missing_do_not_make_lists_longer_and_longer() {
    let mut model = Model::new(5);
    let reach = conversations_in_turn_are_missing(&mut model, None);
    assert!(reach < SignedDuration::from_hours(26), "{reach:?}");
    // What comes and ends meanwhile is found.
    model.open(false);
    model.end(20, false);
    model.pass(Duration::from_hours(5));
    assert!(round(&mut model, |_| None).complete);
    model.check();
}

/// However small Blip makes the pages of a conversation, and whether or not it tells of how many items it is.
#[test]
fn a_conversation_in_small_pages_is_read_to_its_beginning() {
    for total in [None, Some(51), Some(500)] {
        let mut model = Model::new(5);
        model.open(false);
        for _ in 0..50 {
            model.pass(Duration::from_mins(1));
            model.say(0, false);
        }
        model.pass(Duration::from_hours(2));
        let report = round_with(&mut model, |_, real| {
            if let Answer::Said { mut items, count, .. } = real {
                items.truncate(20);
                Answer::Said { items, count: count.min(20), total }
            } else {
                real
            }
        });
        assert!(report.complete, "{report:?}");
        model.check();
    }
}

/// One that has the same page for whatever part is asked for has an end all the same.
#[test]
fn a_conversation_that_repeats_itself_has_an_end() {
    let mut model = Model::new(5);
    model.open(true);
    model.say(0, true);
    model.pass(Duration::from_hours(2));
    model.end(0, true);
    let asked = std::cell::Cell::new(0);
    let again = std::cell::RefCell::new(None);
    let report = round_with(&mut model, |ask, real| match (ask, real) {
        (Ask::Said { .. }, real @ Answer::Said { .. }) => {
            asked.set(asked.get() + 1);
            let Answer::Said { items, count, .. } = again.borrow_mut().get_or_insert(real).clone() else {
                unreachable!("it is a conversation")
            };
            Answer::Said { items, count, total: Some(1_000) }
        }
        (_, real) => real,
    });
    assert!(report.complete && (2..=4).contains(&asked.get()), "{report:?} after {} questions", asked.get());
}

/// A list that only its wrong number calls short does not make that otherwise.
#[test]
fn nor_do_they_where_a_number_is_wrong_as_well() {
    let reach = conversations_in_turn_are_missing(&mut Model::new(5), Some(5_000));
    assert!(reach < SignedDuration::from_hours(26), "{reach:?}");
}

/// Whoever asks for a round has a whole one, and not the rest of one that an earlier process left.
#[test]
fn a_round_that_is_asked_for_is_no_rest_of_another() {
    let mut model = Model::new(5);
    for _ in 0..3 {
        model.open(true);
    }
    model.pass(Duration::from_hours(2));
    assert!(round(&mut model, |_| None).complete);
    model.say(0, false);
    model.pass(Duration::from_hours(2));
    model.restart(Some("t00002".to_owned()));
    model.planner.demand(model.now, None);
    let report = round(&mut model, |_| None);
    assert!(report.complete && !report.resumed, "{report:?}");
    model.check();
}
