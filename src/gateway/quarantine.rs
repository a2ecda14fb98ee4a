//! Quarantine → event: bodies that could not be read when they came are read again by the translation of today,
//! a few at a time, so that webhooks hardly wait behind them. What is still unreadable stays where it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use crate::domain::translate::event_of;
use crate::domain::{DedupKey, NewEvent, Seq};
use crate::lime::Envelope;
use crate::shutdown::Shutdown;
use crate::store::quarantine::{Held, HeldId, HeldPage, Quarantine as Store, Readable, Released, Wanted};
use crate::store::{AppendError, ReadError};

/// Bodies that are released in one transaction, at most.
const BATCH_MAX: usize = 64;
/// Bytes of bodies that are read and released at once; one body may be longer.
const BATCH_BYTES_MAX: usize = 2 << 20;

/// What waits, and the way out.
#[derive(Debug, Clone)]
pub struct Quarantine {
    store: Arc<dyn Store>,
    shutdown: Shutdown,
}

/// Which bodies to read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Only those after this one.
    pub after: HeldId,
    /// Only this bot's; `None` for all.
    pub bot: Option<String>,
    /// Only these; `None` for all.
    pub ids: Option<BTreeSet<HeldId>>,
    /// How many at most.
    pub count_max: usize,
    /// Only say what would become of them.
    pub validate_only: bool,
    /// When to answer with what was done by then; one batch is tried whatever the time.
    pub deadline: Instant,
}

/// What became of some bodies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Each body that was looked at, in the order they came.
    pub bodies: Vec<(HeldId, Became)>,
    /// Set where more may wait: go on after this one.
    pub go_on_after: Option<HeldId>,
}

/// What became of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// An event of this type, at this position; neither is known of what was only tried.
    Event(Option<(Seq, &'static str)>),
    /// It was in the log already, at this position, which is not known where two bodies that were only tried are
    /// one. It left the quarantine.
    Duplicate(Option<Seq>),
    /// It still cannot be read, and stays.
    Unreadable(String),
    /// It is not in quarantine: somebody replayed it, it is older than events are kept, or it never was.
    Gone,
}

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The bodies could not be read from the store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not write.
    #[error(transparent)]
    Store(#[from] AppendError),
}

impl Quarantine {
    /// What waits in `store`; a long replay ends early when `shutdown` asks for it.
    pub fn new(store: Arc<dyn Store>, shutdown: Shutdown) -> Self {
        Self { store, shutdown }
    }

    /// A page of what waits.
    pub async fn held(&self, wanted: Wanted) -> Result<HeldPage, ReadError> {
        self.store.held(wanted).await
    }

    /// Reads bodies again and makes events of those that can be read now. What a batch did is durable, whatever
    /// becomes of the next: an error is told only where nothing was done before it.
    pub async fn replay(&self, replay: Replay) -> Result<Replayed, ReplayError> {
        let mut run = Run { replayed: Replayed::default(), tried: BTreeSet::new(), after: replay.after };
        loop {
            match self.batch(&replay, &mut run).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if run.replayed.bodies.is_empty() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a replay of the quarantine broke off; what was done is kept");
                    run.replayed.go_on_after = Some(run.after);
                    break;
                }
            }
            let done = run.replayed.bodies.len() >= replay.count_max;
            if done || Instant::now() >= replay.deadline || self.shutdown.is_draining() {
                run.replayed.go_on_after = Some(run.after);
                break;
            }
        }
        Ok(run.replayed)
    }

    /// Some bodies, read and released together; answers whether more may follow.
    async fn batch(&self, replay: &Replay, run: &mut Run) -> Result<bool, ReplayError> {
        let room = replay.count_max.saturating_sub(run.replayed.bodies.len()).min(BATCH_MAX);
        let ids: Option<Vec<HeldId>> = replay
            .ids
            .as_ref()
            .map(|ids| ids.iter().copied().filter(|id| *id > run.after).take(room).collect());
        let wanted = Wanted {
            after: run.after,
            bot: replay.bot.clone(),
            ids: ids.clone(),
            count_max: room,
            body_bytes_max: Some(BATCH_BYTES_MAX),
        };
        let HeldPage { bodies, more } = self.store.held(wanted).await?;
        // What the caller named and is not there is told too, up to where this batch reaches.
        let reached = bodies.last().filter(|_| more).map(|body| body.id);
        let named: Vec<HeldId> = ids
            .unwrap_or_default()
            .into_iter()
            .filter(|id| reached.is_none_or(|reached| *id <= reached))
            .collect();
        let last = bodies.iter().map(|body| body.id).chain(named.iter().copied()).max();

        let mut became: Vec<(HeldId, Became)> = Vec::with_capacity(room);
        let mut readable = Vec::new();
        for Held { id, bot, raw, receive_time: _, reason: _, size_bytes: _ } in bodies {
            match Envelope::from_json(&raw) {
                // What is suspicious about it shows in the event; here nobody is setting anything up.
                Ok(envelope) => {
                    let event = event_of(bot, envelope, raw, String::new()).event;
                    readable.push(Readable { id, event });
                }
                Err(unreadable) => became.push((id, Became::Unreadable(unreadable.to_string()))),
            }
        }
        if replay.validate_only {
            became.extend(self.tried(readable, &mut run.tried).await?);
        } else {
            became.extend(self.released(readable).await?);
        }
        let here: BTreeSet<HeldId> = became.iter().map(|(id, _)| *id).collect();
        became.extend(named.into_iter().filter(|id| !here.contains(id)).map(|id| (id, Became::Gone)));
        became.sort_by_key(|(id, _)| *id);
        run.replayed.bodies.append(&mut became);
        let Some(last) = last else { return Ok(false) };
        run.after = last;
        let more_named = replay.ids.as_ref().is_some_and(|ids| ids.iter().any(|id| *id > last));
        Ok(more || more_named)
    }

    /// Makes them events.
    async fn released(&self, readable: Vec<Readable>) -> Result<Vec<(HeldId, Became)>, AppendError> {
        let ids: Vec<HeldId> = readable.iter().map(|body| body.id).collect();
        let released = self.store.release(readable).await?;
        let became = released.into_iter().map(|released| match released {
            Released::At(stored) => Became::Event(Some((stored.seq, stored.event.payload.type_name()))),
            Released::Duplicate(seq) => Became::Duplicate(Some(seq)),
            Released::Gone => Became::Gone,
        });
        Ok(ids.into_iter().zip(became).collect())
    }

    /// Says what would become of them; `before` are the keys that bodies before these would take.
    async fn tried(
        &self,
        readable: Vec<Readable>,
        before: &mut BTreeSet<DedupKey>,
    ) -> Result<Vec<(HeldId, Became)>, AppendError> {
        let keys = readable.iter().filter_map(|body| body.event.dedup).collect();
        let mut taken = self.store.taken(keys).await?.into_iter();
        let became = |NewEvent { dedup, .. }: NewEvent| match dedup {
            None => Became::Event(None),
            Some(key) => match taken.next().flatten() {
                Some(seq) => Became::Duplicate(Some(seq)),
                None if !before.insert(key) => Became::Duplicate(None),
                None => Became::Event(None),
            },
        };
        let (ids, events): (Vec<HeldId>, Vec<NewEvent>) =
            readable.into_iter().map(|Readable { id, event }| (id, event)).unzip();
        Ok(ids.into_iter().zip(events.into_iter().map(became)).collect())
    }
}

/// How far a replay has come.
struct Run {
    replayed: Replayed,
    /// Keys that bodies before would have taken, had they not only been tried.
    tried: BTreeSet<DedupKey>,
    after: HeldId,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::clock::{ManualClock, SequentialIds};
    use crate::store::memory::MemoryLog;
    use crate::store::{EventLog as _, Quarantined};

    async fn log(bodies: impl IntoIterator<Item = String>) -> Arc<MemoryLog> {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let week = Duration::from_hours(168);
        let log = Arc::new(MemoryLog::new(week, week, clock, Arc::new(SequentialIds::default())));
        for raw in bodies {
            let body = Quarantined { bot: "suporte".into(), reason: "of old".to_owned(), raw: raw.into() };
            log.quarantine(body).await.unwrap();
        }
        log
    }

    fn message(id: &str) -> String {
        serde_json::json!({"id": id, "from": "t@desk.msging.net", "type": "text/plain", "content": "oi"})
            .to_string()
    }

    fn all(count_max: usize) -> Replay {
        let deadline = Instant::now() + Duration::from_hours(1);
        let after = HeldId::default();
        Replay { after, bot: None, ids: None, count_max, validate_only: false, deadline }
    }

    fn ids(numbers: &[u64]) -> BTreeSet<HeldId> {
        numbers.iter().copied().map(HeldId).collect()
    }

    fn short(replayed: &Replayed) -> Vec<(u64, &'static str)> {
        let word = |became: &Became| match became {
            Became::Event(_) => "event",
            Became::Duplicate(_) => "duplicate",
            Became::Unreadable(_) => "unreadable",
            Became::Gone => "gone",
        };
        replayed.bodies.iter().map(|(id, became)| (id.0, word(became))).collect()
    }

    #[tokio::test]
    async fn a_trial_says_what_a_replay_then_does() {
        let bodies = [message("a"), "[".to_owned(), message("a"), message("b"), message("")];
        let log = log(bodies).await;
        let quarantine = Quarantine::new(log.clone(), Shutdown::new());
        let expected = vec![(1, "event"), (2, "unreadable"), (3, "duplicate"), (4, "event"), (5, "event")];
        let trial = Replay { validate_only: true, ..all(100) };
        assert_eq!(short(&quarantine.replay(trial.clone()).await.unwrap()), expected);
        assert_eq!((log.quarantined().len(), *log.tail().borrow()), (5, Seq(0)), "nothing was done");
        let replayed = quarantine.replay(all(100)).await.unwrap();
        assert_eq!((short(&replayed), replayed.go_on_after), (expected, None));
        let [
            (_, Became::Event(Some((Seq(1), "message.customer")))),
            _,
            (_, Became::Duplicate(Some(Seq(1)))),
            ..,
        ] = &replayed.bodies[..]
        else {
            panic!("{replayed:?}")
        };
        assert_eq!(log.quarantined().len(), 1);
        let stored = log.read(Seq(0), 10).await.unwrap();
        assert!(stored.iter().all(|stored| stored.event.flags.order_uncertain));
        assert_eq!(stored[2].raw, message(""), "the exact body is kept");
        for replay in [trial, all(100)] {
            assert_eq!(short(&quarantine.replay(replay).await.unwrap()), [(2, "unreadable")]);
        }
    }

    #[tokio::test]
    async fn any_number_is_replayed_in_pieces_and_in_order() {
        let count = BATCH_MAX * 3 + 5;
        let log = log((0..count).map(|number| message(&number.to_string()))).await;
        let quarantine = Quarantine::new(log.clone(), Shutdown::new());
        let mut replay = all(BATCH_MAX + 7);
        let mut seen = 0;
        loop {
            let replayed = quarantine.replay(replay.clone()).await.unwrap();
            seen += replayed.bodies.len();
            let Some(after) = replayed.go_on_after else { break };
            assert_eq!(replayed.bodies.len(), BATCH_MAX + 7, "as many as asked for");
            replay.after = after;
        }
        assert_eq!(seen, count);
        let stored = log.read(Seq(0), count).await.unwrap();
        let order: Vec<_> =
            stored.iter().map(|stored| stored.event.blip_id.parse::<usize>().unwrap()).collect();
        assert_eq!(order, (0..count).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_is_named_is_answered_there_or_not() {
        let large = format!("{{\"id\":\"l\",\"x\":\"{}\"}}", "x".repeat(BATCH_BYTES_MAX / 2));
        let log = log([large.clone(), large.clone(), large, message("d")]).await;
        let quarantine = Quarantine::new(log.clone(), Shutdown::new());
        let named = Replay { ids: Some(ids(&[0, 2, 3, 4, 9])), ..all(100) };
        let replayed = quarantine.replay(named.clone()).await.unwrap();
        let expected = vec![(2, "event"), (3, "duplicate"), (4, "event"), (9, "gone")];
        assert_eq!((short(&replayed), replayed.go_on_after), (expected, None));
        let again = quarantine.replay(named).await.unwrap();
        assert_eq!(short(&again), [(2, "gone"), (3, "gone"), (4, "gone"), (9, "gone")]);
        assert_eq!(log.quarantined().len(), 1);
        let nobodys = Replay { bot: Some("vendas".to_owned()), ..all(100) };
        assert_eq!(quarantine.replay(nobodys).await.unwrap(), Replayed::default());
    }

    #[tokio::test]
    async fn time_and_a_stop_end_it_between_batches() {
        let log = log((0..BATCH_MAX * 2).map(|number| message(&number.to_string()))).await;
        let shutdown = Shutdown::new();
        let quarantine = Quarantine::new(log, shutdown.clone());
        let late = Replay { deadline: Instant::now(), ..all(1_000) };
        let replayed = quarantine.replay(late).await.unwrap();
        let next = HeldId(u64::try_from(BATCH_MAX).unwrap());
        assert_eq!((replayed.bodies.len(), replayed.go_on_after), (BATCH_MAX, Some(next)));
        let trial = Replay { validate_only: true, ..all(1_000) };
        shutdown.soft().cancel();
        assert_eq!(quarantine.replay(trial).await.unwrap().go_on_after, None, "all of one batch");
    }
}
