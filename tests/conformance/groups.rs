//! What groups are promised by their store: names and revisions, steps that are committed whole and may be committed
//! again, and parked events that outlive the log's.

use std::collections::{BTreeMap, BTreeSet};

use deskgate::domain::Seq;
use deskgate::domain::filter::EventFilter;
use deskgate::domain::group::{GroupSettings, TicketKey};
use deskgate::store::groups::{
    Attempted, Created, Group, GroupChanges, GroupId, GroupState, ParkChange, ParkedWanted, Updated,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::{Subject, message};

async fn made(store: &Subject, name: &str, floor: u64) -> Group {
    match store.groups().create_group(name.to_owned(), GroupSettings::default(), Seq(floor)).await.unwrap() {
        Created::Fresh(group) => *group,
        other => panic!("{other:?}"),
    }
}

async fn kept(store: &Subject, id: GroupId) -> GroupState {
    store.groups().load_group(id).await.unwrap().unwrap()
}

fn wanted() -> ParkedWanted {
    ParkedWanted { count_max: 100, bytes_max: usize::MAX, ..ParkedWanted::default() }
}

pub(crate) async fn made_once(store: &mut Subject) {
    let crm = made(store, "crm", 3).await;
    let bi = made(store, "bi", 0).await;
    assert!(bi.id > crm.id && crm.revision == 1);
    let again =
        store.groups().create_group("crm".to_owned(), GroupSettings::default(), Seq(9)).await.unwrap();
    assert_eq!(again, Created::Taken);
    let types = vec!["ticket.*".to_owned()];
    let changed = GroupSettings {
        filter: EventFilter { types, ..EventFilter::default() },
        max_attempts: 7,
        pin_retention: true,
        ..GroupSettings::default()
    };
    let update = |expected| store.groups().update_group(crm.id, expected, changed.clone());
    assert_eq!(update(Some(2)).await.unwrap(), Updated::Changed(1));
    assert_eq!(update(Some(1)).await.unwrap(), Updated::Done(2));
    assert_eq!(update(None).await.unwrap(), Updated::Done(3));
    let nobody = store.groups().update_group(GroupId(99), None, changed.clone()).await.unwrap();
    assert_eq!(nobody, Updated::Gone);
    for _ in 0..2 {
        let expected = [bi.clone(), Group { revision: 3, settings: changed.clone(), ..crm.clone() }];
        assert_eq!(store.groups().groups().await.unwrap(), expected);
        assert_eq!(kept(store, crm.id).await, GroupState { floor: Seq(3), ..GroupState::default() });
        store.restart();
    }
    assert_eq!(store.groups().delete_group(crm.id, Some(1)).await.unwrap(), Updated::Changed(3));
    assert_eq!(store.groups().delete_group(crm.id, Some(3)).await.unwrap(), Updated::Done(3));
    assert_eq!(store.groups().delete_group(crm.id, None).await.unwrap(), Updated::Gone);
    store.restart();
    assert!(store.groups().load_group(crm.id).await.unwrap().is_none());
    assert!(made(store, "crm", 0).await.id > bi.id, "a number is never used twice");
}

fn attempted(store: &Subject, attempts: u32, failure: &str) -> Attempted {
    Attempted {
        ticket: Some(TicketKey(u64::MAX - 1)),
        attempts,
        token: 40 + u64::from(attempts),
        lease_until: (attempts == 1).then(|| store.now()),
        retry_at: (attempts == 2).then(|| store.now()),
        failure: failure.to_owned(),
    }
}

pub(crate) async fn steps(store: &mut Subject) {
    let group = made(store, "crm", 0).await;
    let other = made(store, "bi", 0).await;
    let mut model = GroupState::default();
    let settled = |ranges: &[(u64, Option<u64>)]| -> BTreeMap<Seq, Option<Seq>> {
        ranges.iter().map(|(first, last)| (Seq(*first), last.map(Seq))).collect()
    };
    let steps = [
        GroupChanges {
            floor: Seq(2),
            token: 41,
            settled: settled(&[(4, Some(6)), (9, Some(9))]),
            attempts: [(3, 1, ""), (7, 2, "busy")]
                .map(|(seq, attempts, why)| (Seq(seq), Some(attempted(store, attempts, why))))
                .into(),
            ..GroupChanges::default()
        },
        GroupChanges {
            floor: Seq(6),
            token: 42,
            settled: settled(&[(4, None), (8, Some(9)), (9, None)]),
            attempts: [(Seq(3), None), (Seq(7), Some(attempted(store, 3, "expired")))].into(),
            ..GroupChanges::default()
        },
        GroupChanges {
            floor: Seq(1),
            token: 50,
            cleared: true,
            settled: settled(&[(5, Some(5))]),
            ..GroupChanges::default()
        },
    ];
    for step in steps {
        model.apply(&step);
        for _ in 0..2 {
            store.groups().commit(group.id, step.clone()).await.unwrap();
            assert_eq!(kept(store, group.id).await, model, "again is the same");
            store.restart();
        }
        assert_eq!(kept(store, other.id).await, GroupState::default(), "a group's own");
    }
    assert_eq!(store.groups().groups().await.unwrap()[1].floor, Seq(1));
    store.groups().commit(GroupId(99), GroupChanges::default()).await.unwrap();
}

fn listed(attempts: u32, reason: &str, store: &Subject) -> ParkChange {
    let (ticket, reason, time) = (Some(TicketKey(5)), reason.to_owned(), store.now());
    ParkChange::Listed { ticket, attempts, reason, time, replaying: false }
}

/// Answers which events are not parked, as nothing is left of them.
async fn park(
    store: &Subject,
    id: GroupId,
    changes: impl IntoIterator<Item = (u64, ParkChange)>,
) -> BTreeSet<Seq> {
    let parked = changes.into_iter().map(|(seq, change)| (Seq(seq), change)).collect();
    let changes = GroupChanges { floor: Seq(4), token: 9, parked, ..GroupChanges::default() };
    store.groups().commit(id, changes).await.unwrap()
}

async fn on_list(store: &Subject, id: GroupId, wanted: ParkedWanted) -> (Vec<(u64, u32, String)>, bool) {
    let page = store.groups().parked(id, wanted).await.unwrap();
    let events = page.events.into_iter();
    (events.map(|one| (one.event.seq.0, one.attempts, one.reason)).collect(), page.more)
}

pub(crate) async fn parked(store: &mut Subject) {
    for (ticket, text) in [("t1", "a"), ("t2", "b"), ("t1", "c"), ("t3", "d")] {
        store.put(message(ticket, text)).await;
    }
    let group = made(store, "crm", 0).await;
    let events = store.all_after(Seq(0)).await;
    let missing = park(store, group.id, [1, 2, 3].map(|seq| (seq, listed(3, "why", store)))).await;
    assert_eq!(missing, BTreeSet::new());
    let one = |seq: u64| (seq, 3, "why".to_owned());
    store.hours_pass(30);
    store.enforce_retention().await;
    for _ in 0..2 {
        assert_eq!(on_list(store, group.id, wanted()).await, (vec![one(1), one(2), one(3)], false));
        let page = ParkedWanted { after: Seq(1), count_max: 1, ..wanted() };
        assert_eq!(on_list(store, group.id, page).await, (vec![one(2)], true));
        let of_ticket = ParkedWanted { ticket_id: "t1".to_owned(), ..wanted() };
        assert_eq!(on_list(store, group.id, of_ticket).await, (vec![one(1), one(3)], false));
        let copy = store.groups().parked_event(group.id, Seq(2)).await.unwrap();
        assert_eq!(copy.as_ref(), Some(&events[1]), "the copy is whole");
        let ids = vec![events[0].event.id, events[3].event.id, Uuid::nil()];
        assert_eq!(store.groups().parked_seqs(group.id, ids).await.unwrap(), [Seq(1)].into());
        store.restart();
    }
    park(store, group.id, [(1, ParkChange::Replaying), (2, ParkChange::Gone), (4, ParkChange::Gone)]).await;
    for _ in 0..2 {
        assert_eq!(on_list(store, group.id, wanted()).await, (vec![one(3)], false));
        assert!(
            store.groups().parked_event(group.id, Seq(1)).await.unwrap().is_some(),
            "it is to come again"
        );
        assert!(store.groups().parked_event(group.id, Seq(2)).await.unwrap().is_none());
        let ids = vec![events[0].event.id];
        assert!(store.groups().parked_seqs(group.id, ids).await.unwrap().is_empty());
        store.restart();
    }
    assert_eq!(park(store, group.id, [(1, listed(5, "again", store))]).await, BTreeSet::new());
    let (again, _) = on_list(store, group.id, wanted()).await;
    assert_eq!(again, [(1, 5, "again".to_owned()), one(3)], "from its copy, as the log has it no more");
    let lost = [(3, listed(3, "why", store)), (4, listed(1, "gone", store))];
    assert_eq!(park(store, group.id, lost).await, [Seq(4)].into(), "it is said which");
    assert_eq!(
        on_list(store, group.id, wanted()).await.0.len(),
        2,
        "what the log no longer has cannot be parked"
    );
    assert_eq!(kept(store, group.id).await.parked.len(), 2);
}

pub(crate) async fn gone(store: &mut Subject) {
    store.put(message("t1", "a")).await;
    let (crm, bi) = (made(store, "crm", 0).await, made(store, "bi", 0).await);
    for id in [crm.id, bi.id] {
        let changes = GroupChanges {
            settled: [(Seq(3), Some(Seq(4)))].into(),
            attempts: [(Seq(2), Some(attempted(store, 1, "")))].into(),
            parked: [(Seq(1), listed(1, "why", store))].into(),
            ..GroupChanges::default()
        };
        store.groups().commit(id, changes).await.unwrap();
    }
    let before = kept(store, bi.id).await;
    assert!(!store.groups().sweep_groups().await.unwrap(), "nothing is nobody's");
    store.groups().delete_group(crm.id, None).await.unwrap();
    assert!(on_list(store, crm.id, wanted()).await.0.is_empty(), "at once, though it is not swept yet");
    store.groups().commit(crm.id, GroupChanges { floor: Seq(9), ..GroupChanges::default() }).await.unwrap();
    store.restart();
    while store.groups().sweep_groups().await.unwrap() {}
    assert_eq!(kept(store, bi.id).await, before);
    assert!(store.groups().parked_event(crm.id, Seq(1)).await.unwrap().is_none());
}

/// What is done to groups in any order.
#[derive(Debug, Clone)]
pub(crate) enum GroupOperation {
    Make { name: u8, floor: u64 },
    Change { id: u64, expected: Option<u64>, pin: bool },
    Delete { id: u64, expected: Option<u64> },
    Commit { id: u64, step: Step },
    Sweep,
}

/// A step of a group, whatever it may mean.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    floor: u64,
    cleared: bool,
    settled: Vec<(u64, Option<u64>)>,
    attempts: Vec<(u64, Option<u32>)>,
    parked: Vec<(u64, u8)>,
}

pub(crate) fn group_operation() -> impl Strategy<Value = GroupOperation> {
    let id = || 1_u64..4;
    let expected = || option::weighted(0.5, 1_u64..3);
    let step = (
        0_u64..20,
        prop::bool::weighted(0.1),
        vec((1_u64..9, option::of(1_u64..9)), 0..4),
        vec((1_u64..9, option::of(1_u32..4)), 0..4),
        vec((1_u64..9, 0_u8..4), 0..3),
    );
    let step = step.prop_map(|(floor, cleared, settled, attempts, parked)| Step {
        floor,
        cleared,
        settled,
        attempts,
        parked,
    });
    prop_oneof![
        2 => (0_u8..3, 0_u64..9).prop_map(|(name, floor)| GroupOperation::Make { name, floor }),
        1 => (id(), expected(), any::<bool>())
            .prop_map(|(id, expected, pin)| GroupOperation::Change { id, expected, pin }),
        1 => (id(), expected()).prop_map(|(id, expected)| GroupOperation::Delete { id, expected }),
        8 => (id(), step).prop_map(|(id, step)| GroupOperation::Commit { id, step }),
        1 => Just(GroupOperation::Sweep),
    ]
}

impl Step {
    fn changes(&self, store: &Subject) -> GroupChanges {
        let parked = |(seq, what): &(u64, u8)| {
            let change = match what {
                0 => ParkChange::Gone,
                1 => ParkChange::Replaying,
                attempts => listed(u32::from(*attempts), "why", store),
            };
            (Seq(*seq), change)
        };
        let attempts = |(seq, attempts): &(u64, Option<u32>)| {
            (Seq(*seq), attempts.map(|attempts| attempted(store, attempts, "why")))
        };
        GroupChanges {
            floor: Seq(self.floor),
            token: self.floor,
            cleared: self.cleared,
            settled: self.settled.iter().map(|(first, last)| (Seq(*first), last.map(Seq))).collect(),
            attempts: self.attempts.iter().map(attempts).collect(),
            parked: self.parked.iter().map(parked).collect(),
        }
    }
}

/// What a store answers, as text: comparable whatever the operation.
pub(crate) async fn apply(store: &Subject, operation: &GroupOperation) -> String {
    let groups = store.groups();
    match operation {
        GroupOperation::Make { name, floor } => {
            let made = groups.create_group(format!("g{name}"), GroupSettings::default(), Seq(*floor)).await;
            format!("{made:?}")
        }
        GroupOperation::Change { id, expected, pin } => {
            let settings = GroupSettings { pin_retention: *pin, ..GroupSettings::default() };
            format!("{:?}", groups.update_group(GroupId(*id), *expected, settings).await)
        }
        GroupOperation::Delete { id, expected } => {
            format!("{:?}", groups.delete_group(GroupId(*id), *expected).await)
        }
        GroupOperation::Commit { id, step } => {
            format!("{:?}", groups.commit(GroupId(*id), step.changes(store)).await)
        }
        GroupOperation::Sweep => {
            while groups.sweep_groups().await.unwrap() {}
            String::new()
        }
    }
}

/// All there is to see of groups.
pub(crate) async fn seen(store: &Subject) -> String {
    let mut seen = vec![format!("{:?}", store.groups().groups().await)];
    for id in (1..4).map(GroupId) {
        let (kept, page) = (store.groups().load_group(id).await, store.groups().parked(id, wanted()).await);
        seen.push(format!("{kept:?} {page:?}"));
    }
    seen.join(" ")
}
