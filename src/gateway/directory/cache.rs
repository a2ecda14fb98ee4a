//! Lists kept for a moment: one question to Blip answers everybody who asks the same meanwhile, and everybody who
//! comes within half a minute after.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::domain::Fault;
use crate::lime::json;

/// How long a list is kept.
pub(super) const KEPT: Duration = Duration::from_secs(30);
/// The most lists kept or asked for at a time, over all bots.
const LISTS_MAX: usize = 256;
/// What those that are kept may take, as JSON, in bytes; one takes no more than Blip's answer may.
const BYTES_MAX: usize = 32 << 20;

/// A bot's list, by its URI.
pub(super) type Key = (String, String);
/// What was asked for, or why not.
pub(super) type Asked = Result<Kept, Fault>;

/// A list, and when Blip told it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// The items as they came.
    pub(super) items: Arc<Vec<Value>>,
    /// When they came.
    pub(super) at: Instant,
    /// How large they are, as JSON.
    bytes: usize,
}

impl Kept {
    /// Items that have just come.
    pub(super) fn new(items: Vec<Value>) -> Self {
        let bytes = json::bytes_of(&items);
        Self { items: Arc::new(items), at: Instant::now(), bytes }
    }
}

enum Entry {
    Kept(Kept),
    /// It is being asked for, until this time at most.
    Asking(Shared<BoxFuture<'static, Asked>>, Instant),
}

/// Lists by key.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<Key, Entry>>);

impl fmt::Debug for Cache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Cache")
    }
}

impl Cache {
    /// The list, from here if it is young enough; else `ask` gets it, once for all who want it now. `ask` is given the
    /// time by which it must end, and must go on if its caller hangs up.
    pub(super) async fn get<F>(&self, key: Key, deadline: Instant, ask: F) -> Asked
    where
        F: Fn(Instant) -> BoxFuture<'static, Asked>,
    {
        loop {
            let (asking, until) = match self.enter(&key, deadline, &ask)? {
                Entry::Kept(kept) => return Ok(kept),
                Entry::Asking(asking, until) => (asking, until),
            };
            let Ok(asked) = timeout_at(deadline, asking.clone()).await else {
                return Err(Fault::new("BLIP_UNAVAILABLE", "Blip did not answer in time").passing());
            };
            self.leave(&key, &asking, &asked);
            match asked {
                // Whoever asked had less time than we have.
                Err(_) if until < deadline && Instant::now() < deadline => {}
                // Whoever asked hung up, and nobody else came until now.
                Ok(kept) if kept.at.elapsed() >= KEPT => {}
                asked => return asked,
            }
        }
    }

    fn enter<F>(&self, key: &Key, deadline: Instant, ask: &F) -> Result<Entry, Fault>
    where
        F: Fn(Instant) -> BoxFuture<'static, Asked>,
    {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lists.get(key) {
            Some(Entry::Kept(kept)) if kept.at.elapsed() < KEPT => return Ok(Entry::Kept(kept.clone())),
            Some(Entry::Asking(asking, until)) => return Ok(Entry::Asking(asking.clone(), *until)),
            Some(Entry::Kept(_)) | None => {}
        }
        if lists.len() >= LISTS_MAX && !lists.contains_key(key) {
            make_room(&mut lists)?;
        }
        let asking = ask(deadline).shared();
        lists.insert(key.clone(), Entry::Asking(asking.clone(), deadline));
        Ok(Entry::Asking(asking, deadline))
    }

    /// Keeps what was asked for, or forgets that it was.
    fn leave(&self, key: &Key, asked_for: &Shared<BoxFuture<'static, Asked>>, asked: &Asked) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lists.get(key) {
            Some(Entry::Asking(asking, _)) if asking.ptr_eq(asked_for) => {}
            Some(Entry::Asking(..) | Entry::Kept(_)) | None => return,
        }
        match asked {
            Ok(kept) => {
                lists.insert(key.clone(), Entry::Kept(kept.clone()));
                while bytes(&lists) > BYTES_MAX
                    && let Some(oldest) = oldest(&lists)
                {
                    lists.remove(&oldest);
                }
            }
            Err(_) => _ = lists.remove(key),
        }
    }
}

/// Drops what is too old, else the oldest; what is being asked for stays.
fn make_room(lists: &mut HashMap<Key, Entry>) -> Result<(), Fault> {
    lists.retain(|_, entry| match entry {
        Entry::Kept(kept) => kept.at.elapsed() < KEPT,
        // Nobody waited for its end: it ended, or will for nobody.
        Entry::Asking(asking, until) => asking.peek().is_none() && Instant::now() < *until,
    });
    if lists.len() < LISTS_MAX {
        return Ok(());
    }
    let Some(key) = oldest(lists) else {
        let message = format!("{LISTS_MAX} lists are being asked for, as many as the gateway allows");
        return Err(Fault::new("QUOTA_EXCEEDED", message).with("retry_after_ms", &1000).passing());
    };
    lists.remove(&key);
    Ok(())
}

/// The list that was kept first.
fn oldest(lists: &HashMap<Key, Entry>) -> Option<Key> {
    let age = |entry: &Entry| match entry {
        Entry::Kept(kept) => Some(kept.at),
        Entry::Asking(..) => None,
    };
    let oldest = lists.iter().filter_map(|(key, entry)| Some((age(entry)?, key))).min();
    oldest.map(|(_, key)| key.clone())
}

/// What the kept lists take.
fn bytes(lists: &HashMap<Key, Entry>) -> usize {
    let of = |entry: &Entry| match entry {
        Entry::Kept(kept) => kept.bytes,
        Entry::Asking(..) => 0,
    };
    lists.values().map(of).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts the questions; each takes a second, and the first `failing` fail.
    fn asker(failing: usize) -> (impl Fn(Instant) -> BoxFuture<'static, Asked>, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let ask = move |_until| -> BoxFuture<'static, Asked> {
            let number = counter.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if number < failing {
                    return Err(Fault::new("BLIP_UNAVAILABLE", "no"));
                }
                Ok(Kept::new(vec![Value::from(number)]))
            }
            .boxed()
        };
        (ask, count)
    }

    fn key(number: usize) -> Key {
        ("suporte".to_owned(), format!("/{number}"))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_are_one_question_for_half_a_minute() {
        let (cache, (ask, count)) = (Cache::default(), asker(0));
        let many = (0..100).map(|_| cache.get(key(1), soon(), &ask));
        let answers = futures_util::future::join_all(many).await;
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap().items[0] == 0));
        assert_eq!(count.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(cache.get(key(1), soon(), &ask).await.unwrap().at.elapsed() < KEPT);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(cache.get(key(1), soon(), &ask).await.unwrap().items[0], 1);
        assert_eq!(cache.get(key(2), soon(), &ask).await.unwrap().items[0], 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_to_all_who_waited_and_not_kept() {
        let (cache, (ask, count)) = (Cache::default(), asker(1));
        let until = soon();
        let many = (0..9).map(|_| cache.get(key(1), until, &ask));
        assert!(futures_util::future::join_all(many).await.iter().all(Result::is_err));
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(cache.get(key(1), soon(), &ask).await.unwrap().items[0], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_more_time_is_not_bound_by_who_asked_first() {
        let (cache, (ask, count)) = (Cache::default(), asker(1));
        let hurried = cache.get(key(1), Instant::now() + Duration::from_secs(2), &ask);
        let patient = cache.get(key(1), soon(), &ask);
        let (hurried, patient) = futures_util::join!(hurried, patient);
        assert!(hurried.is_err() && patient.is_ok());
        assert_eq!(count.load(Ordering::Relaxed), 2);
        let late = cache.get(key(2), Instant::now() + Duration::from_millis(10), &ask).await;
        assert_eq!(late.unwrap_err().reason, "BLIP_UNAVAILABLE");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_waited_for_is_not_told_late() {
        let (cache, count) = (Cache::default(), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&count);
        // As the directory asks: in a task of its own.
        let ask = move |_until| -> BoxFuture<'static, Asked> {
            let number = counter.fetch_add(1, Ordering::Relaxed);
            let kept = Kept::new(vec![Value::from(number)]);
            async move { Ok(kept) }.boxed()
        };
        let unpolled = cache.enter(&key(1), soon(), &ask).unwrap();
        assert!(matches!(unpolled, Entry::Asking(..)));
        tokio::time::advance(KEPT).await;
        assert_eq!(cache.get(key(1), soon(), &ask).await.unwrap().items[0], 1);
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_kept_than_there_is_room_for() {
        let at_once = |_until| -> BoxFuture<'static, Asked> { async { Ok(Kept::new(Vec::new())) }.boxed() };
        let (cache, (ask, _)) = (Cache::default(), asker(0));
        for number in 0..LISTS_MAX + 10 {
            cache.get(key(number), soon(), at_once).await.unwrap();
        }
        let held = |cache: &Cache| cache.0.lock().unwrap().len();
        assert_eq!(held(&cache), LISTS_MAX);
        let crowded = Cache::default();
        let many = (0..=LISTS_MAX).map(|number| crowded.get(key(number), soon(), &ask));
        let refused = futures_util::future::join_all(many).await.into_iter().filter_map(Result::err);
        assert_eq!(refused.map(|fault| fault.reason).collect::<Vec<_>>(), ["QUOTA_EXCEEDED"]);
        assert_eq!(held(&crowded), LISTS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn large_lists_leave_room_for_each_other() {
        let part = BYTES_MAX / 4;
        let large = move |_until| -> BoxFuture<'static, Asked> {
            async move { Ok(Kept::new(vec![Value::from("x".repeat(part - 4))])) }.boxed()
        };
        let cache = Cache::default();
        for number in 0..9 {
            cache.get(key(number), soon(), large).await.unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let lists = cache.0.lock().unwrap();
        assert_eq!((lists.len(), bytes(&lists)), (4, BYTES_MAX));
        assert!((5..9).all(|number| lists.contains_key(&key(number))), "the newest");
    }
}
