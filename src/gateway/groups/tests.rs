//! Groups over a log in memory that trims when told, and over a store that fails when told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::clock::{ManualClock, SequentialIds};
use crate::domain::group::ExpiredPolicy;
use crate::domain::{Content, ContentKind, Event, Fact, Flags, NewEvent, Origin, Payload, StoredEvent};
use crate::gateway::group::Outcome;
use crate::store::AppendError;
use crate::store::groups::{GroupChanges, GroupId, GroupState, Updated};
use crate::store::memory::MemoryLog;

mod ends;
mod idle;

fn said(text: u64) -> Payload {
    let kind = ContentKind::Text(text.to_string());
    let content = Content { media_type: "text/plain".to_owned(), kind, ..Content::default() };
    Payload::CustomerMessage { message_id: text.to_string(), content, metadata: [].into_iter().collect() }
}

/// An event of a ticket of its own.
pub(super) fn event(seq: u64) -> StoredEvent {
    let event = Event {
        id: Uuid::from_u128(u128::from(seq)),
        bot: "suporte".into(),
        ticket_id: format!("t{seq}"),
        ticket_sequence: 1,
        origin: Origin::Webhook,
        receive_time: Timestamp::UNIX_EPOCH,
        event_time: None,
        blip_id: String::new(),
        flags: Flags::default(),
        traceparent: String::new(),
        customer_identity: String::new(),
        resolved_customer_identity: String::new(),
        team: String::new(),
        agent_identity: String::new(),
        payload: said(seq),
    };
    StoredEvent { seq: Seq(seq), event, raw: Bytes::new() }
}

/// A store that fails, or takes its time, when told.
#[derive(Debug)]
struct Faulty {
    inner: Arc<MemoryLog>,
    /// So many commits fail.
    failures: AtomicUsize,
    /// Commits panic.
    panics: AtomicBool,
    /// What is done to a group itself is done, and told as failed.
    hides: AtomicBool,
    /// Who wants to change something waits for this.
    gate: tokio::sync::Mutex<()>,
    /// So many came to the gate.
    came: AtomicUsize,
}

impl Faulty {
    fn new(inner: Arc<MemoryLog>) -> Self {
        Self {
            inner,
            failures: AtomicUsize::default(),
            panics: AtomicBool::default(),
            hides: AtomicBool::default(),
            gate: tokio::sync::Mutex::default(),
            came: AtomicUsize::default(),
        }
    }

    async fn pass_the_gate(&self) {
        self.came.fetch_add(1, Ordering::AcqRel);
        drop(self.gate.lock().await);
        assert!(!self.panics.load(Ordering::Acquire), "as the test wants it");
    }

    fn unless_hidden(&self, updated: Updated) -> Result<Updated, AppendError> {
        if self.hides.swap(false, Ordering::AcqRel) {
            return Err(AppendError::Unknown("as the test wants it".to_owned()));
        }
        Ok(updated)
    }

    fn fails(&self) -> Result<(), AppendError> {
        let left = self.failures.load(Ordering::Acquire);
        if left == 0 {
            return Ok(());
        }
        self.failures.store(left - 1, Ordering::Release);
        Err(AppendError::Full)
    }
}

#[async_trait]
impl GroupStore for Faulty {
    async fn create_group(
        &self,
        name: String,
        settings: GroupSettings,
        floor: Seq,
    ) -> Result<Created, AppendError> {
        self.inner.create_group(name, settings, floor).await
    }

    async fn update_group(
        &self,
        id: GroupId,
        expected: Option<u64>,
        settings: GroupSettings,
    ) -> Result<Updated, AppendError> {
        self.pass_the_gate().await;
        self.unless_hidden(self.inner.update_group(id, expected, settings).await?)
    }

    async fn delete_group(&self, id: GroupId, expected: Option<u64>) -> Result<Updated, AppendError> {
        self.pass_the_gate().await;
        self.unless_hidden(self.inner.delete_group(id, expected).await?)
    }

    async fn sweep_groups(&self) -> Result<bool, AppendError> {
        self.inner.sweep_groups().await
    }

    async fn groups(&self) -> Result<Vec<Group>, ReadError> {
        self.inner.groups().await
    }

    async fn load_group(&self, id: GroupId) -> Result<Option<GroupState>, ReadError> {
        self.inner.load_group(id).await
    }

    /// Half of its failures come after the step was written.
    async fn commit(&self, id: GroupId, changes: GroupChanges) -> Result<BTreeSet<Seq>, AppendError> {
        self.pass_the_gate().await;
        if self.failures.load(Ordering::Acquire).is_multiple_of(2) {
            self.inner.commit(id, changes.clone()).await?;
        }
        self.fails()?;
        self.inner.commit(id, changes).await
    }

    async fn parked(&self, id: GroupId, wanted: ParkedWanted) -> Result<ParkedPage, ReadError> {
        self.inner.parked(id, wanted).await
    }

    async fn parked_seqs(&self, id: GroupId, event_ids: Vec<Uuid>) -> Result<BTreeSet<Seq>, ReadError> {
        self.inner.parked_seqs(id, event_ids).await
    }

    async fn parked_event(&self, id: GroupId, seq: Seq) -> Result<Option<Arc<StoredEvent>>, ReadError> {
        self.inner.parked_event(id, seq).await
    }
}

struct World {
    clock: Arc<ManualClock>,
    log: Arc<MemoryLog>,
    store: Arc<Faulty>,
    groups: Groups,
}

impl World {
    async fn new(expired: ExpiredPolicy) -> Self {
        let clock = Arc::new(ManualClock::new("2024-05-02T12:00:00Z".parse().unwrap()));
        let ids: Arc<dyn Ids> = Arc::new(SequentialIds::default());
        let day = Duration::from_hours(24);
        let log = Arc::new(MemoryLog::new(day, day, clock.clone(), Arc::clone(&ids)));
        let store = Arc::new(Faulty::new(log.clone()));
        let parts = GroupParts {
            log: log.clone(),
            store: store.clone(),
            clock: clock.clone(),
            ids,
            shutdown: Shutdown::new(),
        };
        let groups = Groups::start(parts, &mut Registry::default());
        let settings = GroupSettings { expired, ..GroupSettings::default() };
        groups.create("crm".to_owned(), settings, Seq(0)).await.unwrap();
        Self { clock, log, store, groups }
    }

    async fn put(&self, texts: std::ops::RangeInclusive<u64>) {
        self.put_large(texts, 0).await;
    }

    /// Each with a body of so many bytes.
    async fn put_large(&self, texts: std::ops::RangeInclusive<u64>, bytes: usize) {
        for text in texts {
            let new = NewEvent {
                bot: "suporte".into(),
                ticket_id: Some(format!("t{text}")),
                dedup: None,
                origin: Origin::Webhook,
                event_time: None,
                blip_id: String::new(),
                traceparent: String::new(),
                resolved_customer_identity: String::new(),
                order_uncertain: false,
                fact: Fact::Told(said(text)),
                raw: Bytes::from(vec![b'x'; bytes]),
            };
            self.log.append(vec![new]).await.unwrap();
        }
    }

    /// Everything there is grows too old.
    fn trim(&self) {
        self.clock.advance(SignedDuration::from_hours(30));
        self.log.enforce_retention();
    }

    async fn join(&self) -> Membership {
        self.groups.join("crm", Join { held_max: 100, ..Join::default() }).await.unwrap()
    }

    async fn pull(&self) -> Result<Pulled, GroupError> {
        self.groups.pull("crm", 100, Duration::from_secs(5), String::new()).await
    }
}

async fn delivery(member: &Membership) -> Delivery {
    loop {
        match member.outbox.next().await {
            ToMember::Delivery(delivery) => return *delivery,
            ToMember::CaughtUp(_) => {}
            other @ (ToMember::Report { .. }
            | ToMember::Gap(_)
            | ToMember::GoingAway(_)
            | ToMember::End(_)) => {
                panic!("no delivery: {other:?}")
            }
        }
    }
}

async fn gap(member: &Membership) -> Lost {
    let heard = async {
        loop {
            match member.outbox.next().await {
                ToMember::Gap(lost) => break lost,
                ToMember::CaughtUp(_) => {}
                other @ (ToMember::Delivery(_)
                | ToMember::Report { .. }
                | ToMember::GoingAway(_)
                | ToMember::End(_)) => panic!("no gap: {other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), heard).await.expect("a gap")
}

#[tokio::test]
async fn what_retention_has_passed_is_told_by_policy() {
    let world = World::new(ExpiredPolicy::Fail).await;
    world.put(1..=3).await;
    world.trim();
    world.put(4..=5).await;
    let expired = GroupError::Expired { name: "crm".to_owned(), earliest: Seq(3) };
    assert_eq!(world.pull().await.unwrap_err(), expired);
    let member = world.join().await;
    assert!(matches!(member.outbox.next().await, ToMember::End(End::Failed(error)) if error == expired));
    assert_eq!(world.groups.seek("crm", Seq(3)).await.unwrap(), 3);
    let pulled = world.pull().await.unwrap();
    let seqs: Vec<u64> = pulled.deliveries.iter().map(|delivery| delivery.event.seq.0).collect();
    assert!(seqs == [4, 5] && pulled.gap.is_none() && pulled.caught_up);

    for (policy, to, expected) in
        [(ExpiredPolicy::Earliest, Seq(3), vec![4, 5, 6]), (ExpiredPolicy::Latest, Seq(5), vec![6])]
    {
        let world = World::new(policy).await;
        world.put(1..=3).await;
        world.trim();
        world.put(4..=5).await;
        let member = world.join().await;
        let lost = Lost { after: Seq(0), to };
        assert!(matches!(member.outbox.next().await, ToMember::Gap(told) if told == lost), "{policy:?}");
        world.put(6..=6).await;
        let mut seqs = Vec::new();
        while seqs.len() < expected.len() {
            seqs.push(delivery(&member).await.event.seq.0);
        }
        assert_eq!(seqs, expected);
        drop(member);
        // Who only pulls hears of it too, once.
        let pulled = world.pull().await.unwrap();
        assert_eq!((pulled.gap, pulled.deliveries.len()), (Some(lost), expected.len()));
    }
}

#[tokio::test]
async fn what_was_out_and_is_gone_is_lost_and_told() {
    let world = World::new(ExpiredPolicy::Earliest).await;
    world.put(1..=2).await;
    let member = world.join().await;
    let (first, second) = (delivery(&member).await, delivery(&member).await);
    world.put(3..=3).await;
    let third = delivery(&member).await;
    world.trim();
    // Retention has left no copy to park: that is told, like any other loss.
    let park = Outcome::Park { reason: "broken".to_owned() };
    let states = world.groups.settle("crm", vec![(Some(first.id), park)]).await.unwrap();
    assert_eq!(states, [SettleState::Done]);
    assert_eq!(gap(&member).await, Lost { after: Seq(0), to: Seq(1) });
    assert_eq!(world.groups.group("crm").await.unwrap().counts.parked, 0, "it is not said to be kept");
    let retry = || Outcome::Retry { delay: Some(Duration::ZERO), reason: "busy".to_owned() };
    let states = world.groups.settle("crm", vec![(Some(second.id), retry())]).await.unwrap();
    assert_eq!(states, [SettleState::Done]);
    assert_eq!(gap(&member).await.to, Seq(3));
    let states = world.groups.settle("crm", vec![(Some(third.id), Outcome::Ack)]).await.unwrap();
    assert_eq!(states, [SettleState::Done], "what is out can be settled all the same");
    let view = world.groups.group("crm").await.unwrap();
    assert_eq!((view.group.floor, view.counts.in_flight), (Seq(3), 0));
}

#[tokio::test]
async fn while_the_store_cannot_write_nothing_is_sent_or_said_to_be_done() {
    let world = World::new(ExpiredPolicy::Fail).await;
    world.put(1..=2).await;
    let member = world.join().await;
    let (first, second) = (delivery(&member).await, delivery(&member).await);
    world.store.failures.store(4, Ordering::Release);
    let states = world.groups.settle("crm", vec![(Some(first.id), Outcome::Ack)]).await.unwrap();
    assert_eq!(states, [SettleState::TryAgain]);
    let states = world.groups.settle("crm", vec![(Some(second.id), Outcome::Ack)]).await.unwrap();
    assert_eq!(states, [SettleState::TryAgain]);
    loop {
        let both = vec![(Some(first.id), Outcome::Ack), (Some(second.id), Outcome::Ack)];
        let states = world.groups.settle("crm", both).await.unwrap();
        if !states.contains(&SettleState::TryAgain) {
            assert_eq!(states, [SettleState::AlreadyDone, SettleState::Done]);
            break;
        }
        tokio::task::yield_now().await;
    }
    world.store.failures.store(3, Ordering::Release);
    world.put(3..=3).await;
    let third = delivery(&member).await;
    assert_eq!((third.event.seq, third.attempt), (Seq(3), 1));
    assert_eq!(world.store.failures.load(Ordering::Acquire), 0, "it was sent after it was written");
    assert_eq!(world.log.load_group(third.id.group).await.unwrap().unwrap().attempts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_hurts_nobody_else() {
    let world = World::new(ExpiredPolicy::Fail).await;
    let stuck = world.join().await;
    let busy = world.join().await;
    world.put(1..=100).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 100 {
        let next = delivery(&busy).await;
        assert_eq!((next.attempt, seen.insert(next.event.seq)), (1, true), "nobody has seen another attempt");
        let states = world.groups.settle("crm", vec![(Some(next.id), Outcome::Ack)]).await.unwrap();
        assert_eq!(states, [SettleState::Done]);
    }
    let view = world.groups.group("crm").await.unwrap();
    assert_eq!((view.group.floor, view.counts.in_flight, view.counts.parked), (Seq(100), 0, 0));
    // It reads again.
    while stuck.outbox.take().is_some() {}
    world.put(101..=110).await;
    assert!(delivery(&stuck).await.event.seq > Seq(100));
}

#[tokio::test(start_paused = true)]
async fn who_settles_nothing_uses_up_nobodys_attempts() {
    const EVENTS: u64 = 40;
    let world = World::new(ExpiredPolicy::Fail).await;
    let hangs = world.join().await;
    let works = world.groups.join("crm", Join { held_max: 1, ..Join::default() }).await.unwrap();
    world.put(1..=EVENTS).await;
    let reads_on = async {
        loop {
            drop(delivery(&hangs).await);
        }
    };
    let settles = async {
        let mut attempts = BTreeMap::new();
        while world.groups.group("crm").await.unwrap().group.floor < Seq(EVENTS) {
            let next = delivery(&works).await;
            attempts.insert(next.event.seq, next.attempt);
            // It has more to do than it can, all the time.
            tokio::time::sleep(Duration::from_secs(20)).await;
            let states = world.groups.settle("crm", vec![(Some(next.id), Outcome::Ack)]).await.unwrap();
            assert_eq!(states, [SettleState::Done]);
        }
        attempts
    };
    let attempts = tokio::select! {
        () = reads_on => unreachable!("it reads on"),
        attempts = settles => attempts,
        () = tokio::time::sleep(Duration::from_hours(1)) => panic!("{:?}", world.groups.group("crm").await),
    };
    let view = world.groups.group("crm").await.unwrap();
    assert_eq!((view.counts.parked, attempts.len()), (0, 40), "{attempts:?}");
    assert!(attempts.values().all(|attempt| *attempt <= 2), "{attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_again_weighs_what_it_weighs() {
    const EVENTS: u64 = 30;
    let world = World::new(ExpiredPolicy::Fail).await;
    world.put_large(1..=EVENTS, 700 << 10).await;
    for again in [false, true] {
        let mut pulled_count = 0;
        while pulled_count < EVENTS {
            let pulled = world.pull().await.unwrap().deliveries;
            let bytes: usize = pulled.iter().map(|delivery| delivery.event.weight()).sum();
            assert!(!pulled.is_empty() && bytes <= PULL_BYTES_MAX, "{bytes} bytes, again: {again}");
            pulled_count += u64::try_from(pulled.len()).unwrap();
            let outcome = if again { Outcome::Ack } else { Outcome::Park { reason: "broken".to_owned() } };
            let all = pulled.iter().map(|delivery| (Some(delivery.id), outcome.clone())).collect();
            let states = world.groups.settle("crm", all).await.unwrap();
            assert!(states.iter().all(|state| *state == SettleState::Done));
        }
        // The log does not have them any more; their copies are larger than is read at once.
        world.trim();
        let replayed = world.groups.replay("crm", ParkedEvents::All).await.unwrap();
        assert_eq!(replayed, if again { 0 } else { 30 });
    }
    assert_eq!(world.groups.group("crm").await.unwrap().counts, Counts::default());
}

/// What is read at once is shared by all who pull: who gets nothing of it has room for what is read next.
#[tokio::test(start_paused = true)]
async fn nobody_who_pulls_goes_away_empty_while_there_is_something() {
    let world = World::new(ExpiredPolicy::Fail).await;
    world.put_large(1..=40, 700 << 10).await;
    let mut parked = 0;
    while parked < 40 {
        let pulled = world.pull().await.unwrap().deliveries;
        parked += pulled.len();
        let park = || Outcome::Park { reason: "broken".to_owned() };
        let all = pulled.iter().map(|delivery| (Some(delivery.id), park())).collect();
        world.groups.settle("crm", all).await.unwrap();
    }
    // Copies, of which nobody knows yet what they weigh.
    world.trim();
    assert_eq!(world.groups.replay("crm", ParkedEvents::All).await.unwrap(), 40);
    let pull = || world.groups.pull("crm", 2, Duration::from_secs(5), String::new());
    let pulls = futures_util::future::join_all((0..20).map(|_| pull())).await;
    let counts: Vec<_> = pulls.into_iter().map(|pulled| pulled.unwrap().deliveries.len()).collect();
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_out_of_a_log_that_does_not_have_it_is_lost_once() {
    let world = World::new(ExpiredPolicy::Earliest).await;
    world.put(1..=1).await;
    let attempted = crate::store::groups::Attempted {
        ticket: None,
        attempts: 1,
        token: 1,
        lease_until: None,
        retry_at: None,
        failure: String::new(),
    };
    let attempts = [(Seq(9), Some(attempted))].into();
    let changes = GroupChanges { token: 1, attempts, ..GroupChanges::default() };
    let id = world.groups.group("crm").await.unwrap().group.id;
    world.log.commit(id, changes).await.unwrap();
    let parts = GroupParts { shutdown: Shutdown::new(), ..world.groups.parts.clone() };
    let restarted = World { groups: Groups::start(parts, &mut Registry::default()), ..world };
    let member = restarted.join().await;
    assert_eq!(gap(&member).await, Lost { after: Seq(8), to: Seq(9) });
    assert_eq!(delivery(&member).await.event.seq, Seq(1));
    restarted.put(2..=2).await;
    assert_eq!(delivery(&member).await.event.seq, Seq(2), "and it goes on");
}
