//! When an alert is raised, why, and when it is over.

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn watchdog(after: Option<SilenceAfter>, hours: Option<&str>) -> Watchdog {
    let hours = hours.map(|hours| Hours::parse(hours).unwrap());
    Watchdog::new(Silence { after, hours }, at("2024-05-02T12:00:00Z"), Vec::new(), &[])
}

#[test]
fn a_silence_is_looked_into_once_for_each_time() {
    let mut watchdog = watchdog(Some(SilenceAfter::Time(Duration::from_mins(30))), None);
    assert!(!watchdog.should_look(at("2024-05-02T12:30:00Z")));
    assert!(watchdog.should_look(at("2024-05-02T12:30:01Z")));
    assert!(!watchdog.should_look(at("2024-05-02T12:59:00Z")));
    assert!(watchdog.should_look(at("2024-05-02T13:01:00Z")));
    watchdog.heard(at("2024-05-02T13:02:00Z"));
    assert!(!watchdog.should_look(at("2024-05-02T13:31:30Z")));
}

#[test]
fn a_night_is_no_silence() {
    let half = Some(SilenceAfter::Time(Duration::from_mins(30)));
    let mut watchdog = watchdog(half, Some("mon-fri 09:00-18:00 -03:00"));
    watchdog.heard(at("2024-05-02T20:59:00Z"));
    assert!(!watchdog.should_look(at("2024-05-03T03:00:00Z")));
    assert!(!watchdog.should_look(at("2024-05-03T12:10:00Z")));
    assert!(watchdog.should_look(at("2024-05-03T12:31:00Z")));
}

#[test]
fn what_is_usual_for_an_hour_is_learnt() {
    let mut watchdog = watchdog(Some(SilenceAfter::Learnt), None);
    let start = at("2024-05-02T13:00:00Z");
    let minute = |n: i64| start.checked_add(SignedDuration::from_mins(n)).unwrap();
    assert!(!watchdog.should_look(minute(59)), "nothing is known yet");
    for n in 0..24 * 60 {
        watchdog.heard(minute(n));
    }
    // One a minute, the day before.
    assert!(!watchdog.should_look(minute(24 * 60 + 9)));
    assert!(watchdog.should_look(minute(24 * 60 + 11)));
    let usual = watchdog.usual().to_vec();
    let mut next = Watchdog::new(
        Silence { after: Some(SilenceAfter::Learnt), hours: None },
        minute(48 * 60),
        usual,
        &[],
    );
    assert!(!next.should_look(minute(48 * 60 + 9)) && next.should_look(minute(48 * 60 + 11)));
}

#[test]
fn missing_webhooks_are_told_once_and_again_when_they_come() {
    let mut watchdog = watchdog(None, None);
    let minute = |n: i64| at("2024-05-02T13:00:00Z").checked_add(SignedDuration::from_mins(n)).unwrap();
    watchdog.missed(minute(1), at("2024-05-02T11:00:00Z"), true);
    for n in 1..=2 {
        watchdog.missed(minute(n), minute(0), false);
        assert_eq!(watchdog.alarm(minute(n)), None, "a few may be lost");
    }
    watchdog.missed(minute(3), minute(1), true);
    let raised = watchdog.alarm(minute(3)).unwrap();
    assert_eq!((raised.reason, raised.raised), ("WEBHOOKS_MISSING", true));
    assert_eq!(raised.details["cause"], "blocked");
    assert_eq!((&raised.details["tickets"], &raised.details["messages"]), (&1.into(), &2.into()));
    assert_eq!(watchdog.alarm(minute(4)), None, "it is told once");
    assert_eq!(watchdog.raised(), ["WEBHOOKS_MISSING:blocked"]);
    assert_eq!(watchdog.round_done(minute(5)), None, "no webhook came since");
    watchdog.heard(minute(6));
    assert_eq!(watchdog.round_done(minute(2)), None, "that round found something");
    let cleared = watchdog.round_done(minute(7)).unwrap();
    assert_eq!((cleared.reason, cleared.raised), ("WEBHOOKS_MISSING", false));
    assert!(watchdog.raised().is_empty());
}

#[test]
fn the_cause_is_told_by_what_else_was_seen() {
    let minute = |n: i64| at("2024-05-02T13:00:00Z").checked_add(SignedDuration::from_mins(n)).unwrap();
    let cause = |heard: bool, refused: bool| {
        let mut watchdog = watchdog(None, None);
        for n in 0..3 {
            watchdog.missed(minute(5), minute(n), false);
        }
        if heard {
            watchdog.heard(minute(1));
        }
        if refused {
            watchdog.refused(minute(1));
        }
        watchdog.alarm(minute(5)).unwrap().details["cause"].clone()
    };
    assert_eq!(cause(false, false), "blocked");
    assert_eq!(cause(true, false), "lost");
    assert_eq!(cause(true, true), "refused");
}

#[test]
fn a_blind_reader_is_told_and_when_it_sees_again() {
    let mut watchdog = watchdog(None, None);
    assert_eq!(watchdog.reader(None), None);
    let raised = watchdog.reader(Some(ReaderFault::NoDesk)).unwrap();
    assert_eq!((raised.reason, raised.raised), ("RECONCILIATION_BLIND", true));
    assert!(raised.description.contains("router"), "{}", raised.description);
    assert_eq!(watchdog.reader(Some(ReaderFault::NoDesk)), None);
    assert!(!watchdog.reader(None).unwrap().raised);
}

/// Minutes after the watchdog's start, and an hour.
fn minute(n: i64) -> Timestamp {
    at("2024-05-02T13:00:00Z").checked_add(SignedDuration::from_mins(n)).unwrap()
}

#[test]
fn what_was_missing_long_ago_does_not_count_any_more() {
    let mut watchdog = watchdog(Some(SilenceAfter::Time(Duration::from_mins(10))), None);
    watchdog.missed(minute(0), minute(0), false);
    watchdog.missed(minute(1), minute(1), false);
    watchdog.heard(minute(2));
    assert_eq!(watchdog.alarm(minute(3)), None, "two may be lost");
    // A quiet hour: nothing of it is missing.
    assert_eq!(watchdog.alarm(minute(60)), None, "what was missing then is not this silence's");
    watchdog.missed(minute(61), minute(61), false);
    assert!(watchdog.alarm(minute(61)).is_some(), "this is");
}

#[test]
fn a_block_is_not_over_because_time_has_passed() {
    let mut watchdog = watchdog(None, None);
    watchdog.heard(minute(-1));
    for n in 0..3 {
        watchdog.missed(minute(n), minute(n), false);
    }
    assert_eq!(watchdog.alarm(minute(3)).unwrap().details["cause"], "blocked");
    assert_eq!(watchdog.alarm(minute(90)), None);
    assert_eq!(watchdog.round_done(minute(91)), None, "no webhook has come since");
    watchdog.heard(minute(92));
    assert!(watchdog.round_done(minute(93)).is_some());
}

#[test]
fn a_refusal_explains_only_what_is_missing_since() {
    let mut watchdog = watchdog(None, None);
    watchdog.refused(minute(0));
    for n in 0..3 {
        watchdog.missed(minute(5), minute(n), false);
    }
    assert_eq!(watchdog.alarm(minute(5)).unwrap().details["cause"], "refused");
    assert!(watchdog.round_done(minute(6)).is_some());
    // In the afternoon webhooks stop coming: that is another thing.
    for n in 0..3 {
        watchdog.missed(minute(245), minute(240 + n), false);
    }
    assert_eq!(watchdog.alarm(minute(245)).unwrap().details["cause"], "blocked");
}

#[test]
fn the_next_process_knows_what_was_raised_and_why() {
    let mut before = watchdog(None, None);
    for n in 0..3 {
        before.missed(minute(n), minute(n), false);
    }
    assert!(before.alarm(minute(3)).is_some() && before.reader(Some(ReaderFault::NoDesk)).is_some());
    let raised = before.raised();
    let silence = Silence { after: None, hours: None };
    let mut after = Watchdog::new(silence, minute(10), Vec::new(), &raised);
    assert_eq!(after.raised(), raised);
    assert_eq!(after.reader(Some(ReaderFault::NoDesk)), None, "that is known");
    assert_eq!(after.round_done(minute(11)), None, "a block ends with a webhook");
    after.heard(minute(12));
    assert!(after.round_done(minute(13)).is_some_and(|alert| !alert.raised));
}
