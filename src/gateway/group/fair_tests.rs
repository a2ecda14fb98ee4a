//! Members that let leases expire, beside others that are busy.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::store::groups::GroupState;

const ACK_DEADLINE: Duration = Duration::from_secs(30);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or_default()
}

/// One and two hold one event at most. One let its lease of the first event expire; two settled the second at 20 s,
/// has the third since, and says that it takes long.
fn one_lapsed_and_one_busy(events: u64) -> Group {
    let rules = Rules {
        ack_deadline: ACK_DEADLINE,
        max_attempts: 3,
        min_backoff: Duration::ZERO,
        max_backoff: Duration::ZERO,
        blocks: false,
    };
    let mut group = Group::restore(rules, GroupState::default(), at(0));
    for id in [1, 2] {
        group.join(MemberId(id), 1, 1_000, false);
        group.set_room(MemberId(id), 1);
    }
    for seq in 1..=events {
        group.offer(Seq(seq), None, 1);
    }
    let leases = group.lease(at(0), 9);
    assert_eq!(given(&leases), [(1, 1), (2, 2)]);
    settle(&mut group, &leases[1], Outcome::Ack, 20);
    group.set_room(MemberId(2), 1);
    let leases = group.lease(at(20), 9);
    assert_eq!(given(&leases), [(3, 2)]);
    settle(&mut group, &leases[0], Outcome::Extend(Duration::from_mins(10)), 21);
    for held in group.overdue(at(31)) {
        group.expire(held.seq, held.token, at(31));
    }
    group.set_room(MemberId(1), 1);
    group
}

fn settle(group: &mut Group, lease: &Lease, outcome: Outcome, seconds: i64) {
    let settled = group.settle((lease.seq, lease.token), outcome, at(seconds), 0);
    assert!(matches!(settled, Settled::Done(_)), "{settled:?}");
}

fn given(leases: &[Lease]) -> Vec<(u64, u64)> {
    leases.iter().map(|lease| (lease.seq.0, lease.member.0)).collect()
}

#[test]
fn it_is_given_what_nobody_failed_at_though_something_older_waits() {
    let mut group = one_lapsed_and_one_busy(5);
    let leases = group.lease(at(31), 9);
    assert_eq!(given(&leases), [(4, 1)], "one at a time");
    settle(&mut group, &leases[0], Outcome::Ack, 32);
    group.set_room(MemberId(1), 1);
    assert_eq!(
        given(&group.lease(at(32), 9)),
        [(1, 1)],
        "it settles, so it can be trusted with the older one"
    );
}

#[test]
fn who_is_busy_is_not_waited_for_for_ever() {
    let mut group = one_lapsed_and_one_busy(3);
    assert_eq!(given(&group.lease(at(49), 9)), [], "the other may settle any moment");
    assert_eq!(given(&group.lease(at(50), 9)), [(1, 1)]);
}

/// Who takes long is there all the same: the other gets one at a time, and no event's last attempt.
#[test]
fn while_another_is_busy_no_last_attempt_is_risked() {
    let mut group = one_lapsed_and_one_busy(3);
    assert_eq!(given(&group.lease(at(50), 9)), [(1, 1)], "the second attempt");
    for held in group.overdue(at(81)) {
        group.expire(held.seq, held.token, at(81));
    }
    group.set_room(MemberId(1), 1);
    assert_eq!(given(&group.lease(at(81), 9)), [], "the third is its last");
    assert_eq!(group.leave(MemberId(2), true, at(82)), 1);
    assert_eq!(given(&group.lease(at(82), 9)), [(1, 1)], "nobody else is there");
}
