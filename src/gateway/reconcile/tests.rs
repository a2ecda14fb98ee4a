//! The driver over a store in memory and a Blip that has nothing, in paused time: when rounds begin.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::time::Instant;

mod left;
mod store;

use super::*;
use crate::blip::{BlipError, Kind};
use crate::clock::{SequentialIds, SystemClock};
use crate::lime::{Command, Reason, Reply, ReplyStatus};
use crate::store::memory::MemoryLog;

/// A Blip with an empty desk unless told otherwise, which counts what it is asked, and on whose behalf.
#[derive(Debug, Default)]
struct Desk {
    asked: Mutex<Vec<String>>,
    failing: bool,
    /// So many questions break their asker.
    breaking: AtomicU32,
    /// Conversations are refused.
    mute: AtomicBool,
    /// The one ticket there is, and what was said in it.
    ticket: Mutex<Option<(Value, Vec<Value>)>>,
}

impl Desk {
    fn resource(&self, uri: &str) -> Value {
        let Some((ticket, said)) = self.ticket.lock().unwrap().clone() else { return json!({"items": []}) };
        let living = ticket["status"] == "Waiting";
        match uri {
            uri if uri.contains("/messages") => json!({"items": said}),
            uri if uri.starts_with("/ticket/") => ticket,
            uri if uri.contains("$closed=true") == living => json!({"items": []}),
            _ => json!({"items": [ticket]}),
        }
    }
}

#[async_trait]
impl BlipApi for Desk {
    fn for_caller(self: Arc<Self>, caller: Caller) -> Arc<dyn BlipApi> {
        assert_eq!(caller, Caller::background(), "it is never before a command");
        self
    }
    async fn turns(self: Arc<Self>, _: Kind, _: usize, _: Instant) -> Result<Arc<dyn BlipApi>, BlipError> {
        Ok(self)
    }
    async fn command(&self, command: &Command, _: Instant) -> Result<Reply, BlipError> {
        self.asked.lock().unwrap().push(command.uri.0.clone());
        let breaking = &self.breaking;
        let breaks = breaking.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        assert!(breaks.is_err(), "a question breaks its asker");
        if self.failing {
            return Err(BlipError::CircuitOpen { retry_after: Duration::from_secs(7) });
        }
        if self.mute.load(Ordering::Relaxed) && command.uri.0.contains("/messages") {
            let reason = Reason { code: Some(61), description: "Unable to perform operation".to_owned() };
            return Ok(Reply { id: None, media_type: String::new(), status: ReplyStatus::Failure(reason) });
        }
        let status = ReplyStatus::Success(self.resource(&command.uri.0));
        Ok(Reply { id: None, media_type: String::new(), status })
    }
    async fn message(&self, _: Vec<u8>, _: Instant) -> Result<Reply, BlipError> {
        unreachable!()
    }
    async fn notification(&self, _: Vec<u8>, _: Instant) -> Result<Reply, BlipError> {
        unreachable!()
    }
}

struct World {
    log: Arc<MemoryLog>,
    parts: Parts,
    blip: Arc<Desk>,
    reconcilers: Reconcilers,
    shutdown: Shutdown,
}

fn world(enabled: bool, failing: bool, silence: Option<Duration>) -> World {
    world_with(enabled, failing, silence, |_, _| {})
}

/// The same with other parts, or with something in them.
fn world_with(
    enabled: bool,
    failing: bool,
    silence: Option<Duration>,
    change: impl FnOnce(&mut Parts, &Arc<MemoryLog>),
) -> World {
    let week = Duration::from_hours(168);
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) =
        (Arc::new(SystemClock), Arc::new(SequentialIds::default()));
    let log = Arc::new(MemoryLog::new(week, week, Arc::clone(&clock), Arc::clone(&ids)));
    let after = silence.map(SilenceAfter::Time);
    let mut parts = Parts {
        log: log.clone(),
        ledger: log.clone(),
        keys: log.clone(),
        notebook: log.clone(),
        clock,
        ids,
        shutdown: Shutdown::new(),
        metrics: ReconcileMetrics::register(&mut Registry::default()),
        settings: Settings {
            enabled,
            share_percent: 10,
            interval: Duration::from_mins(15),
            grace: Duration::from_secs(30),
            earlier: None,
            lookback: Duration::from_hours(24),
            silence: Silence { after, hours: None },
        },
    };
    change(&mut parts, &log);
    World::started(parts, log, Arc::new(Desk { failing, ..Desk::default() }))
}

impl World {
    fn started(parts: Parts, log: Arc<MemoryLog>, blip: Arc<Desk>) -> Self {
        let api: Arc<dyn BlipApi> = blip.clone();
        let bot = BotParts { name: "suporte".into(), api, commands_per_second: 48 };
        let (reconcilers, shutdown) = (Reconcilers::start(&parts, vec![bot]), parts.shutdown.clone());
        Self { log, parts, blip, reconcilers, shutdown }
    }

    /// The next process, over the same store and the same Blip.
    async fn again(self) -> Self {
        let blip = Arc::clone(&self.blip);
        self.again_over(blip).await
    }

    /// The same with another Blip.
    async fn again_with(self, blip: Desk) -> Self {
        self.again_over(Arc::new(blip)).await
    }

    async fn again_over(self, blip: Arc<Desk>) -> Self {
        let (log, parts) = (Arc::clone(&self.log), self.parts.clone());
        self.stop().await;
        Self::started(Parts { shutdown: Shutdown::new(), ..parts }, log, blip)
    }

    async fn asked_after(&self, time: Duration) -> usize {
        tokio::time::sleep(time).await;
        self.blip.asked.lock().unwrap().len()
    }

    async fn stop(self) {
        self.shutdown.soft().cancel();
        self.shutdown.drained().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_round_comes_at_the_start_and_then_by_the_interval() {
    let world = world(true, false, None);
    assert_eq!(world.asked_after(Duration::from_mins(1)).await, 2, "a page of each list");
    assert_eq!(world.asked_after(Duration::from_mins(13)).await, 2);
    assert_eq!(world.asked_after(Duration::from_mins(2)).await, 4);
    let asked: Vec<_> = world.blip.asked.lock().unwrap().clone();
    assert!(asked[0].contains("status%20eq%20'Open'") && asked[1].contains("$closed=true"), "{asked:?}");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn webhooks_that_could_not_be_stored_begin_a_round() {
    let world = world(true, false, None);
    assert_eq!(world.asked_after(Duration::from_mins(1)).await, 2);
    for _ in 0..100 {
        world.reconcilers.troubled("suporte");
        world.reconcilers.troubled("nobody");
    }
    assert_eq!(world.asked_after(Duration::from_mins(1)).await, 4, "one, however many they are");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn switched_off_it_asks_only_on_demand() {
    let world = world(false, false, None);
    world.reconcilers.troubled("suporte");
    assert_eq!(world.asked_after(Duration::from_hours(1)).await, 0);
    let (round, mut progress) = world.reconcilers.demand("suporte", None).unwrap();
    let over = |progress: &Progress| progress.last.as_ref().is_some_and(|report| report.number >= round);
    progress.wait_for(over).await.unwrap();
    assert_eq!(world.asked_after(Duration::from_hours(1)).await, 2);
    assert!(world.reconcilers.demand("nobody", None).is_none());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn while_blip_does_not_answer_it_is_left_alone_as_long_as_was_told() {
    let world = world(true, true, None);
    let asked = world.asked_after(Duration::from_secs(70)).await;
    assert!((10..=11).contains(&asked), "every seven seconds: {asked}");
    let found: BTreeMap<_, _> = world.reconcilers.demand("suporte", None).unwrap().1.borrow().found.clone();
    assert!(found.is_empty());
    world.stop().await;
}

/// A fault of ours ends a bot's reading: it is told, and begins again.
#[tokio::test(start_paused = true)]
async fn a_reading_that_breaks_begins_again() {
    let world = world(false, false, None);
    world.blip.breaking.store(1, Ordering::Relaxed);
    let (round, mut progress) = world.reconcilers.demand("suporte", None).unwrap();
    let over = |progress: &Progress| progress.last.as_ref().is_some_and(|report| report.number >= round);
    let waited = tokio::time::timeout(Duration::from_mins(10), progress.wait_for(over)).await;
    assert!(waited.is_ok_and(|over| over.is_ok()), "who asked is told the end");
    assert_eq!(world.blip.asked.lock().unwrap().len(), 3, "one that broke, and a page of each list");
    // And it follows the log, once.
    let (again, mut progress) = world.reconcilers.demand("suporte", None).unwrap();
    assert!(again > round);
    let over = |progress: &Progress| progress.last.as_ref().is_some_and(|report| report.number >= again);
    progress.wait_for(over).await.unwrap();
    world.stop().await;
}

/// How far back somebody asked for is not forgotten by a restart.
#[tokio::test(start_paused = true)]
async fn what_was_asked_for_outlives_a_restart() {
    let world = world(false, true, None);
    let since = "2024-05-02T12:00:00Z".parse().unwrap();
    drop(world.reconcilers.demand("suporte", Some(since)).unwrap());
    world.asked_after(Duration::from_mins(1)).await;
    let next = world.again_with(Desk::default()).await;
    let (round, mut progress) = next.reconcilers.demand("suporte", None).unwrap();
    let over = |progress: &Progress| progress.last.as_ref().is_some_and(|report| report.number >= round);
    assert!(progress.wait_for(over).await.unwrap().last.as_ref().unwrap().complete);
    let asked: Vec<_> = next.blip.asked.lock().unwrap().clone();
    assert!(asked[1].contains("2024-05-02T12:00:00"), "{asked:?}");
    // It is done with.
    let (round, mut progress) = next.reconcilers.demand("suporte", None).unwrap();
    let over = |progress: &Progress| progress.last.as_ref().is_some_and(|report| report.number >= round);
    progress.wait_for(over).await.unwrap();
    let asked: Vec<_> = next.blip.asked.lock().unwrap().clone();
    assert!(!asked[3].contains("2024-05-02"), "{asked:?}");
    next.stop().await;
}
