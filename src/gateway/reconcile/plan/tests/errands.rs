//! Errands that come to nothing, that are many, and that come faster than they can be run.

use super::*;

fn said_of(ask: &Ask, n: usize) -> bool {
    matches!(ask, Ask::Said { id, .. } if *id == format!("t{n:05}"))
}

/// What is asked for again is noted by the ticket's id: how far the log was followed does not wait for it.
#[test]
fn what_is_asked_for_again_does_not_hold_the_log_up() {
    let mut model = Model::new(5);
    for _ in 0..3 {
        model.open(true);
    }
    model.pass(Duration::from_hours(2));
    model.end(0, true);
    let ended = errand(&model, 0, What::Ended, Some(7));
    model.planner.run_errand(ended);
    assert_eq!(model.planner.oldest_errand(), Some(7));
    round(&mut model, |ask| said_of(ask, 0).then(|| refused(61)));
    assert_eq!(model.planner.oldest_errand(), None);
    let left: Vec<_> = model.planner.loose_ends().filter(|it| it.tries > 0).cloned().collect();
    assert!(left.iter().any(|it| it.ticket_id == "t00000" && it.what == What::Ended), "{left:?}");
}

/// Blip says of a ticket that there is none, and shows others: it is not asked for three days long.
#[test]
fn what_is_gone_is_not_asked_for_again_and_again() {
    let mut model = Model::new(5);
    for _ in 0..3 {
        model.open(true);
    }
    model.pass(Duration::from_hours(2));
    model.end(0, true);
    let asked = std::cell::Cell::new(0);
    let gone = |ask: &Ask| {
        said_of(ask, 0).then(|| {
            asked.set(asked.get() + 1);
            refused(67)
        })
    };
    for _ in 0..20 {
        model.planner.demand(model.now, None);
        round(&mut model, gone);
        model.pass(Duration::from_mins(1));
    }
    // That it had come is read, and that it has ended: each once more.
    assert!((2..=4).contains(&asked.get()), "{} times in {:?}", asked.get(), model.now);
    assert_eq!(model.planner.errands.len(), 0);
    assert_eq!(model.planner.take_given_up(), Vec::<String>::new(), "that there is none is an answer");
}

/// A key that sees nothing says the same of everything: what was to be read is read once it sees.
#[test]
fn what_a_blind_key_says_is_gone_is_asked_for_again() {
    let mut model = Model::new(5);
    for _ in 0..3 {
        model.open(true);
    }
    model.say(0, false);
    model.pass(Duration::from_hours(2));
    model.end(0, true);
    for _ in 0..10 {
        let report = round(&mut model, |ask| {
            Some(match ask {
                Ask::Living { .. } | Ask::Closed { .. } => {
                    Answer::Tickets { tickets: Vec::new(), count: 0, total: None }
                }
                Ask::Ticket { .. } | Ask::Said { .. } => refused(67),
            })
        });
        assert!(!report.complete, "{report:?}");
    }
    let until = model.now.date + SignedDuration::from_hours(5);
    while model.now.date < until {
        round(&mut model, |_| None);
    }
    model.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However many conversations are to be read meanwhile, a round asks what it has to, and ends.
    #[test]
    fn a_round_ends_however_fast_errands_come(seed: u64, faster in 1..4_usize, tickets in 2..15_usize) {
        let (mut model, tickets) = (Model::new(seed), 4 * tickets);
        for n in 0..tickets {
            // Of one in four nobody told: the round finds it.
            model.open(n % 4 != 0);
            model.say(n, false);
        }
        model.pass(Duration::from_hours(2));
        model.restart(None);
        let mut asked = 0;
        let report = loop {
            match model.planner.next(model.now) {
                Step::Ask(ask) => {
                    asked += 1;
                    for n in 0..faster {
                        let told = (asked * 7 + n) % tickets / 4 * 4 + 1;
                        let errand = errand(&model, told, What::Arrived, Some(1));
                        model.planner.run_errand(errand);
                    }
                    let answer = model.answer(&ask);
                    model.take_in(&ask, answer);
                }
                Step::Wait(until) => {
                    let time = until.saturating_duration_since(model.now.at);
                    model.pass(time);
                }
                Step::Done(report) => break report,
                Step::Answers => panic!("nothing is under way"),
            }
            prop_assert!(asked < 10 * (tickets + 10), "the round does not end: {:?}", model.planner.progress());
        };
        prop_assert!(report.complete, "{report:?}");
        model.check();
    }
}

/// 10,000 conversations wait, as after a long stop of ours: what each step costs is to be seen.
#[test]
#[expect(clippy::print_stdout, reason = "what it costs is to be seen")]
fn a_step_costs_little_however_many_errands_wait() {
    let mut model = Model::new(5);
    for _ in 0..20 {
        model.open(true);
    }
    model.pass(Duration::from_hours(2));
    model.restart(None);
    for n in 0..10_000 {
        let later = errand(&model, 20 + n, What::Ended, Some(1));
        let from = model.now.at + Duration::from_hours(1);
        model.planner.run_errand(Errand { from, ..later });
    }
    let (began, mut steps) = (tokio::time::Instant::now(), 0);
    for _ in 0..2_000 {
        steps += 1;
        match model.planner.next(model.now) {
            Step::Ask(ask) => {
                let answer = model.answer(&ask);
                model.take_in(&ask, answer);
            }
            // As when the log wakes it: nothing is due yet.
            Step::Wait(_) => model.pass(Duration::from_millis(10)),
            Step::Done(_) | Step::Answers => {}
        }
        std::hint::black_box(model.planner.oldest_errand());
    }
    println!("10,000 errands wait: {steps} steps took {:?}", began.elapsed());
    assert_eq!(model.planner.errands.len(), 10_000);
}

/// A ticket goes from one agent to the next while its conversation is refused: it is asked for again once, not once for each.
#[test]
fn what_is_asked_for_again_is_so_once_for_a_ticket() {
    let mut model = Model::new(5);
    for _ in 0..3 {
        model.open(true);
    }
    model.say(0, false);
    model.pass(Duration::from_hours(2));
    let refuse = |ask: &Ask| said_of(ask, 0).then(|| refused(61));
    for _ in 0..10 {
        model.assign(0, true);
        model.pass(Duration::from_mins(1));
        model.planner.demand(model.now, None);
        round(&mut model, refuse);
    }
    let left = |model: &Model| model.planner.loose_ends().filter(|it| it.ticket_id == "t00000").count();
    assert_eq!(left(&model), 1);
    model.end(0, true);
    for _ in 0..3 {
        model.pass(Duration::from_mins(1));
        model.planner.demand(model.now, None);
        round(&mut model, refuse);
    }
    assert!(model.planner.loose_ends().any(|it| it.what == What::Ended), "that it ended is not forgotten");
    assert!(left(&model) <= 2, "it is read once more as it ended");
    let until = model.now.date + SignedDuration::from_hours(5);
    while model.now.date < until {
        round(&mut model, |_| None);
    }
    assert_eq!(left(&model), 0);
    model.check();
}
