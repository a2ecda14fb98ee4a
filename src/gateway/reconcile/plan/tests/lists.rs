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
