//! The planner against a model of Blip whose pages drift, whose reader fails in every way, and whose webhooks are lost:
//! nothing is ever closed that lives, and once Blip answers again, every fact is in the log once.

use proptest::prelude::*;

use super::*;

mod errands;
mod giving_up;
mod lists;
mod model;

use model::{Model, rules};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_fails_nothing_that_lives_is_closed_and_all_is_found_once(seed: u64) {
        let mut model = Model::new(seed);
        for _ in 0..40 {
            model.live();
            model.pass(Duration::from_secs(1));
        }
        model.troubled = true;
        model.run(1_500, true);
        model.troubled = false;
        model.pass(Duration::from_mins(2));
        // A demand takes up what the troubled rounds did not reach.
        for _ in 0..5 {
            model.planner.demand(model.now, None);
            let report = model.run(100_000, false);
            prop_assert!(report.is_some());
            model.pass(Duration::from_mins(20));
        }
        model.planner.demand(model.now, None);
        let report = model.run(100_000, false).unwrap();
        prop_assert!(report.complete, "{report:?}");
        prop_assert_eq!(model.planner.reader_fault(), None);
        model.check();
    }
}

/// 10,000 open tickets on the free plan's quota, of which a tenth is ours: how long a round takes.
#[test]
#[expect(clippy::print_stdout, reason = "how long it takes is to be seen")]
fn a_full_round_of_ten_thousand_tickets_is_planned() {
    let mut model = Model::new(7);
    let mut rules = rules();
    rules.pace = Duration::from_secs(1) * 10 / 48;
    model.planner = Planner::new(rules, None, None);
    for n in 0..10_000 {
        model.open(false);
        model.say(n, false);
    }
    model.pass(Duration::from_hours(1));
    let first = model.run(1_000_000, false).unwrap();
    assert!(first.complete && first.listed == 10_000, "{first:?}");
    model.check();
    model.planner.demand(model.now, None);
    let before = model.asked;
    let second = model.run(1_000_000, false).unwrap();
    let asked = model.asked - before;
    println!(
        "10,000 open tickets: the first round took {:?} with {} questions, the next {:?} with {asked}",
        first.took, first.asked, second.took
    );
    assert!(asked < 10_300, "a list page and a conversation each: {asked}");
    // 48 a second, a tenth of them: 4.8 questions a second.
    assert!(second.took < Duration::from_mins(37), "{:?}", second.took);
    let per_second = asked * 1_000 / u64::try_from(second.took.as_millis()).unwrap();
    assert!(per_second <= 4, "no more than the share: {per_second}");
}

#[test]
fn a_round_goes_on_where_a_restart_broke_it_off() {
    let mut model = Model::new(3);
    for n in 0..300 {
        model.open(true);
        model.say(n, true);
    }
    model.pass(Duration::from_hours(2));
    model.restart(None);
    while !matches!(model.planner.progress(), Some((_, Phase::Reading, 100.., _))) {
        assert_eq!(model.run(50, false), None);
    }
    let resume = model.planner.resume_at();
    assert!(resume.as_ref().is_some_and(|id| id.as_str() > "t00090"), "{:?}", model.planner.progress());
    model.restart(resume);
    let asked = model.asked;
    let report = model.run(100_000, false).unwrap();
    assert!(report.complete);
    assert!(model.asked - asked < 300 - 80, "{}", model.asked - asked);
    model.check();
}

#[test]
fn a_router_key_is_recognised_and_closes_nothing() {
    let mut model = Model::new(5);
    for _ in 0..8 {
        model.open(true);
    }
    model.pass(Duration::from_mins(5));
    let not_found = Answer::Refused { code: Some(67), description: String::new() };
    for _ in 0..60 {
        match model.planner.next(model.now) {
            Step::Ask(ask) => model.take_in(&ask, not_found.clone()),
            Step::Wait(until) => {
                let time = until.saturating_duration_since(model.now.at);
                model.pass(time);
            }
            Step::Done(report) => assert!(!report.complete),
            Step::Answers => panic!("nothing is under way"),
        }
    }
    assert!(matches!(model.planner.reader_fault(), Some(ReaderFault::NoDesk | ReaderFault::NothingFound)));
    assert_eq!(model.planner.living(), 8);
    model.run(1_000, false);
    assert_eq!(model.planner.reader_fault(), None);
    model.check();
}

#[test]
fn an_empty_list_is_told_and_closes_nothing() {
    let mut model = Model::new(5);
    for _ in 0..8 {
        model.open(true);
    }
    model.pass(Duration::from_mins(5));
    let mut report = None;
    for _ in 0..1_000 {
        match model.planner.next(model.now) {
            Step::Ask(ask @ (Ask::Living { .. } | Ask::Closed { .. })) => {
                model.take_in(&ask, Answer::Tickets { tickets: Vec::new(), count: 0, total: None });
            }
            Step::Ask(ask) => {
                let answer = model.answer(&ask);
                model.take_in(&ask, answer);
            }
            Step::Wait(until) => {
                let time = until.saturating_duration_since(model.now.at);
                model.pass(time);
            }
            Step::Done(done) => {
                report = Some(done);
                break;
            }
            Step::Answers => panic!("nothing is under way"),
        }
    }
    let report = report.unwrap();
    assert_eq!((report.listed, report.left_out), (0, 8));
    assert_eq!(model.planner.reader_fault(), Some(ReaderFault::EmptyList));
    model.planner.demand(model.now, None);
    model.run(10_000, false).unwrap();
    assert_eq!(model.planner.reader_fault(), None);
    model.check();
}

/// A conversation that Blip never gives, as if it broke on it, holds nobody up.
#[test]
fn a_question_that_is_never_answered_is_given_up() {
    let mut model = Model::new(5);
    for n in 0..20 {
        model.open(true);
        model.say(n, false);
    }
    model.pass(Duration::from_mins(5));
    model.restart(None);
    let mut report = None;
    for _ in 0..1_000 {
        match model.planner.next(model.now) {
            Step::Ask(ask @ Ask::Said { .. }) if matches!(&ask, Ask::Said { id, .. } if id == "t00003") => {
                model.take_in(&ask, Answer::Failed { retry_after: Duration::ZERO, asked: true });
            }
            Step::Ask(ask) => {
                let answer = model.answer(&ask);
                model.take_in(&ask, answer);
            }
            Step::Wait(until) => {
                let time = until.saturating_duration_since(model.now.at);
                model.pass(time);
            }
            Step::Done(done) => {
                report = Some(done);
                break;
            }
            Step::Answers => panic!("nothing is under way"),
        }
    }
    // Nineteen were read, and that one is missing is told.
    let report = report.unwrap();
    assert_eq!((report.complete, report.conversations, report.unread), (false, 19, 1), "{report:?}");
    model.planner.demand(model.now, None);
    model.run(1_000, false).unwrap();
    model.check();
}

/// Tickets that Blip has deleted are asked for in vain, and keep nobody else from being read.
#[test]
fn tickets_that_are_gone_hold_nobody_up() {
    let mut model = Model::new(5);
    for n in 0..60 {
        model.open(true);
        model.say(n, false);
    }
    model.pass(Duration::from_mins(5));
    model.restart(None);
    for _ in 0..30 {
        // The first thirty, which are checked first.
        model.attendances.remove(0);
    }
    model.planner.demand(model.now, None);
    let report = model.run(10_000, false).unwrap();
    assert!(report.complete && report.conversations >= 30, "{report:?}");
    assert_eq!(model.planner.reader_fault(), None);
    model.check();
}

/// Runs a round in which `way` answers some questions in Blip's place.
fn round(model: &mut Model, way: impl Fn(&Ask) -> Option<Answer>) -> Report {
    round_with(model, |ask, real| way(ask).unwrap_or(real))
}

/// The same where `way` changes the answers.
fn round_with(model: &mut Model, way: impl Fn(&Ask, Answer) -> Answer) -> Report {
    for _ in 0..10_000 {
        match model.planner.next(model.now) {
            Step::Ask(ask) => {
                let real = model.answer(&ask);
                model.take_in(&ask, way(&ask, real));
            }
            Step::Wait(until) => {
                let time = until.saturating_duration_since(model.now.at);
                model.pass(time);
            }
            Step::Done(report) => return report,
            Step::Answers => panic!("nothing is under way"),
        }
    }
    panic!("the round does not end");
}

/// An errand after the `n`th ticket.
fn errand(model: &Model, n: usize, what: What, position: Option<u64>) -> Errand {
    Errand { ticket_id: format!("t{n:05}"), from: model.now.at, created: None, what, position, tries: 0 }
}

/// What Blip says that cannot do something.
fn refused(code: i64) -> Answer {
    Answer::Refused { code: Some(code), description: "Unable to perform operation".to_owned() }
}

fn unanswered() -> Answer {
    Answer::Failed { retry_after: Duration::ZERO, asked: true }
}

/// A ticket that came and ended unseen is listed, and Blip does not give it: the round that missed it says so, and the
/// next one looks for it again.
#[test]
fn a_ticket_that_is_not_given_leaves_the_round_incomplete() {
    let not_named =
        || Answer::Ticket(Some(Box::new(Ticket { id: "t00099".to_owned(), ..Ticket::default() })));
    for given in [unanswered, || Answer::Ticket(None), not_named, || refused(61)] {
        let mut model = Model::new(5);
        for n in 0..5 {
            model.open(n > 0);
        }
        model.end(0, false);
        model.pass(Duration::from_hours(2));
        let is_it = |ask: &Ask| *ask == Ask::Ticket { id: "t00000".to_owned() };
        let report = round(&mut model, |ask| is_it(ask).then(given));
        assert!(!report.complete && report.unread == 1, "{:?}: {report:?}", given());
        assert_eq!(model.planner.covered(), None);
        let report = round(&mut model, |_| None);
        assert!(report.complete && report.unread == 0, "{report:?}");
        model.check();
    }
}

/// What Blip never gives holds the others up for three rounds, and is asked for in each round after that.
#[test]
fn what_is_never_given_is_set_aside() {
    let mut model = Model::new(5);
    for _ in 0..5 {
        model.open(true);
    }
    model.pass(Duration::from_hours(2));
    let said = |id: &str| Ask::Said { id: id.to_owned(), skip: 0 };
    let never = |ask: &Ask| (*ask == said("t00003")).then(unanswered);
    let told: Vec<_> = (0..4).map(|_| round(&mut model, never)).map(|it| (it.complete, it.unread)).collect();
    assert_eq!(told, [(false, 1), (false, 1), (true, 1), (true, 1)]);
    // Where nothing at all is given, nothing is set aside.
    for _ in 0..5 {
        let report = round(&mut model, |ask| matches!(ask, Ask::Said { .. }).then(unanswered));
        assert!(!report.complete && report.unread == 5, "{report:?}");
    }
    assert!(round(&mut model, |_| None).complete);
    model.check();
}

/// The key is refused for three days in the middle of a conversation: what the log has forgotten meanwhile is not told again.
#[test]
fn what_was_asked_for_long_ago_is_not_told_twice() {
    let mut model = Model::new(5);
    model.open(true);
    for _ in 0..5 {
        model.say(0, true);
        model.pass(Duration::from_mins(10));
    }
    // And a ticket that nobody told of until its conversation was asked for.
    model.open(false);
    model.say(1, false);
    model.pass(Duration::from_mins(10));
    let until = model.now.date + SignedDuration::from_hours(75);
    let mut told = false;
    while model.now.date < until {
        match model.planner.next(model.now) {
            Step::Ask(ask @ Ask::Said { .. }) => {
                model.take_in(&ask, Answer::KeyRefused);
                if model.planner.progress().is_some() && !std::mem::replace(&mut told, true) {
                    model.tell_all(1);
                }
            }
            Step::Ask(ask) => {
                let answer = model.answer(&ask);
                model.take_in(&ask, answer);
            }
            Step::Wait(at) => {
                let time = at.saturating_duration_since(model.now.at);
                model.pass(time);
            }
            Step::Done(report) => assert!(!report.complete, "a conversation was not given"),
            Step::Answers => panic!("nothing is under way"),
        }
    }
    assert!(told);
    round(&mut model, |_| None);
    model.check_once();
}

/// Somebody asks for three days, and the round breaks off: the next one looks as far back, and only that.
#[test]
fn how_far_back_was_asked_for_is_kept_until_it_was_done() {
    for automatic in [true, false] {
        let mut model = Model::new(5);
        model.planner = Planner::new(Rules { automatic, ..rules() }, Some(model.now.date), None);
        let since = model.now.date - SignedDuration::from_hours(72);
        let asked_since = std::cell::Cell::new(None);
        let look = |ask: &Ask| {
            if let Ask::Closed { since, .. } = ask {
                asked_since.set(Some(*since));
            }
            None
        };
        model.planner.demand(model.now, Some(since));
        assert!(!round(&mut model, |ask| matches!(ask, Ask::Living { .. }).then(|| refused(61))).complete);
        if automatic {
            model.pass(Duration::from_mins(2));
        } else {
            model.pass(Duration::from_hours(1));
            assert_eq!(model.planner.next(model.now), Step::Answers, "nothing begins by itself");
            model.planner.demand(model.now, None);
        }
        assert!(round(&mut model, look).complete);
        assert_eq!(asked_since.take(), Some(since), "as far as was asked for");
        model.planner.demand(model.now, None);
        assert!(round(&mut model, look).complete);
        assert!(asked_since.take().is_some_and(|asked| asked > since), "that is done");
    }
}

/// A list whose pages must be small is read to its end all the same, and one that does not end is no whole list.
#[test]
fn small_pages_are_no_crawl_and_a_list_without_an_end_is_not_whole() {
    let mut model = Model::new(5);
    for _ in 0..300 {
        model.open(true);
    }
    model.pass(Duration::from_hours(2));
    let too_large = || Answer::Refused {
        code: None,
        description: "The take parameter can not be greater than 10".to_owned(),
    };
    let (pages, seen) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let small = |ask: &Ask| match ask {
        Ask::Living { take, .. } if *take > 10 => Some(too_large()),
        Ask::Living { skip, .. } => {
            pages.set(pages.get() + 1);
            seen.set(seen.get().max(*skip));
            None
        }
        Ask::Closed { .. } | Ask::Ticket { .. } | Ask::Said { .. } => None,
    };
    let report = round(&mut model, small);
    assert!(report.complete && report.listed == 300, "{report:?}");
    assert!(pages.get() < 50, "{} pages of ten for 300 tickets", pages.get());
    // The same page again and again, whatever is asked for.
    let page = model.answer(&Ask::Living { skip: 0, take: 10 });
    let report = round(&mut model, |ask| matches!(ask, Ask::Living { .. }).then(|| page.clone()));
    assert!(!report.complete && report.asked < 1_000, "{report:?}");
    assert!(round(&mut model, |_| None).complete);
    // The same of those that ended, with tickets that live in it, and without.
    for n in 0..20 {
        model.end(n, true);
    }
    model.pass(Duration::from_mins(5));
    let since = Ask::Closed { since: model.now.date - SignedDuration::from_hours(24), skip: 0, take: 10 };
    for page in [page, model.answer(&since)] {
        let ended = std::cell::Cell::new(0);
        let same = |ask: &Ask| {
            let is_list = matches!(ask, Ask::Closed { .. });
            ended.set(ended.get() + usize::from(is_list));
            is_list.then(|| page.clone())
        };
        let report = round(&mut model, same);
        assert!(!report.complete && ended.get() == 2, "{} pages: {report:?}", ended.get());
    }
}

/// Only a word about the size of pages makes them smaller.
#[test]
fn a_mistake_is_no_complaint_about_the_take() {
    let mut model = Model::new(5);
    model.open(true);
    model.pass(Duration::from_hours(2));
    model.restart(None);
    let refused =
        || Answer::Refused { code: None, description: "There is a mistake in the filter".to_owned() };
    let report = round(&mut model, |ask| matches!(ask, Ask::Living { .. }).then(refused));
    assert!(!report.complete && report.asked == 1, "it is asked once: {report:?}");
    assert_eq!(model.planner.reader_fault(), Some(ReaderFault::ListRefused));
}

/// A desk with two tickets, and a key that sees none of them: told when it stays so.
#[test]
fn also_where_few_tickets_live_it_is_told_that_none_is_found() {
    let mut model = Model::new(5);
    for _ in 0..2 {
        model.open(true);
    }
    model.pass(Duration::from_hours(2));
    model.restart(None);
    let blind = |ask: &Ask| {
        Some(match ask {
            Ask::Living { .. } | Ask::Closed { .. } => {
                Answer::Tickets { tickets: Vec::new(), count: 0, total: None }
            }
            Ask::Ticket { .. } | Ask::Said { .. } => {
                Answer::Refused { code: Some(67), description: String::new() }
            }
        })
    };
    let told: Vec<_> =
        (0..3).map(|_| (round(&mut model, blind).complete, model.planner.reader_fault())).collect();
    let nothing = (false, Some(ReaderFault::NothingFound));
    assert_eq!(told[2], nothing, "{told:?}");
    assert!(told.iter().all(|(complete, _)| !complete), "nobody saw anything: {told:?}");
    assert!(round(&mut model, |_| None).complete);
    assert_eq!(model.planner.reader_fault(), None);
    model.check();
}
