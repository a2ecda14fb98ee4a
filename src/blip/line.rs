//! Waiting for a bot's rate: who waits sleeps until its turn, its deadline or an end of the waiting, whichever is
//! first. Only the one whose turn is next keeps the time; it wakes the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::policy::Caller;
use super::policy::queue::{Place, Queue, Verdict};

/// How long after its turn a call may go as if it were still its turn: less than the margin that the rate has.
const LATE: Duration = Duration::from_millis(10);

/// How many calls of one bot and envelope kind may wait.
const WAITING_MAX: usize = 1_000;

/// Why a call did not get its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It would come too late, or the queue is full; there is room for it in this much time.
    TooLate(Duration),
    /// Nobody is to go for now.
    Dismissed,
}

/// The queue of one bot and envelope kind.
#[derive(Debug)]
pub(super) struct Line {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    waiters: BTreeMap<Place, Waiter>,
    /// Who keeps the time.
    keeper: Option<Place>,
    gauge: Gauge,
}

#[derive(Debug, Default)]
struct Waiter {
    wake: Arc<Notify>,
    end: Option<Result<(), Refused>>,
}

impl Line {
    /// For a rate; how many wait is told to `gauge`.
    pub(super) fn new(per_second: u32, gauge: Gauge) -> Self {
        let queue = Queue::new(per_second, WAITING_MAX);
        Self { state: Mutex::new(State { queue, waiters: BTreeMap::new(), keeper: None, gauge }) }
    }

    /// Waits for a turn, which comes before `deadline`, with some time left for the call, or is refused as soon as that is
    /// sure. Dropping the future
    /// leaves the queue.
    pub(super) async fn turn(&self, caller: &Caller, deadline: Instant) -> Result<(), Refused> {
        let Some((place, wake)) = self.lock().enter(caller, deadline)? else { return Ok(()) };
        let waiting = Waiting { line: self, place };
        loop {
            let until = {
                let mut state = self.lock();
                let now = Instant::now();
                state.advance(now);
                match state.end_of(place) {
                    Some(end) => return end,
                    None => state.until(place, now).map_or(deadline, |until| until.min(deadline)),
                }
            };
            tokio::select! {
                () = wake.notified() => {}
                () = sleep_until(until) => {}
            }
            if Instant::now() >= deadline && self.lock().end_of(place).is_none() {
                drop(waiting);
                return Err(Refused::TooLate(self.lock().queue.turned_away(caller, Instant::now())));
            }
        }
    }

    /// Whether a call may go whose turn `came` then. Where that is a while ago, Blip will count it as of now, and so does the
    /// rate: what was held up together does not go together beyond it, and who may not go waits for another turn.
    pub(super) fn goes(&self, came: Instant) -> bool {
        let now = Instant::now();
        now.saturating_duration_since(came) <= LATE || self.lock().queue.goes_late(came, now)
    }

    /// Lets nobody go before `until`: Blip said so. Whoever cannot wait so long is told.
    pub(super) fn pause(&self, until: Instant) {
        let mut state = self.lock();
        state.queue.pause(until);
        state.sweep();
    }

    /// Halves the rate for a while; answers the new one, calls a second, if it changed.
    pub(super) fn slow(&self) -> Option<usize> {
        let mut state = self.lock();
        let rate = state.queue.slow(Instant::now());
        state.sweep();
        rate
    }

    /// Sends everybody away who waits.
    pub(super) fn dismiss(&self) {
        let mut state = self.lock();
        let places: Vec<_> = state.waiters.keys().copied().collect();
        for place in places {
            state.queue.leave(place);
            state.end(place, Err(Refused::Dismissed));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// `None` for a call that goes at once.
    fn enter(&mut self, caller: &Caller, deadline: Instant) -> Result<Option<(Place, Arc<Notify>)>, Refused> {
        let entered = self.queue.enter(caller, Instant::now(), deadline).map_err(Refused::TooLate)?;
        let Some(place) = entered else { return Ok(None) };
        let waiter = Waiter::default();
        let wake = Arc::clone(&waiter.wake);
        self.waiters.insert(place, waiter);
        self.sweep();
        Ok(Some((place, wake)))
    }

    /// Tells those for whom it is too late now, and lets go whose turn has come.
    fn sweep(&mut self) {
        let now = Instant::now();
        let late = self.queue.sweep(now);
        self.tell(late);
        self.advance(now);
    }

    fn advance(&mut self, now: Instant) {
        let told = self.queue.advance(now);
        self.tell(told);
        let next = self.queue.next(now).map(|(place, _)| place);
        if next != self.keeper {
            self.keeper = next;
            if let Some(waiter) = next.and_then(|place| self.waiters.get(&place)) {
                waiter.wake.notify_one();
            }
        }
        self.gauge.set(i64::try_from(self.queue.waiting()).unwrap_or(i64::MAX));
    }

    fn tell(&mut self, told: Vec<(Place, Verdict)>) {
        for (place, verdict) in told {
            self.end(
                place,
                match verdict {
                    Verdict::Go => Ok(()),
                    Verdict::TooLate(retry_after) => Err(Refused::TooLate(retry_after)),
                },
            );
        }
    }

    fn end(&mut self, place: Place, end: Result<(), Refused>) {
        if let Some(waiter) = self.waiters.get_mut(&place) {
            waiter.end.get_or_insert(end);
            waiter.wake.notify_one();
        }
    }

    fn end_of(&self, place: Place) -> Option<Result<(), Refused>> {
        self.waiters.get(&place)?.end
    }

    /// Until when this one sleeps, if it keeps the time.
    fn until(&mut self, place: Place, now: Instant) -> Option<Instant> {
        self.queue.next(now).filter(|(next, _)| *next == place).map(|(_, turn)| turn)
    }
}

/// A place in the line, given back when dropped.
struct Waiting<'a> {
    line: &'a Line,
    place: Place,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        state.queue.leave(self.place);
        state.waiters.remove(&self.place);
        state.advance(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::blip::policy::bucket::WINDOW;

    fn line(rate: u32) -> Line {
        Line::new(rate, Gauge::default())
    }

    async fn times(line: &Line, callers: &[&str], patience: Duration) -> Vec<Result<Duration, Refused>> {
        let start = Instant::now();
        let turn = async |name: &&str| {
            let end = line.turn(&Caller::client(name), start + patience).await;
            end.map(|()| start.elapsed())
        };
        join_all(callers.iter().map(turn)).await
    }

    /// In halves of a window, as timers have a grain of a millisecond.
    fn halves(time: Duration) -> u128 {
        time.as_millis() / (WINDOW.as_millis() / 2)
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_by_the_rate_and_callers_take_them_in_turn() {
        let line = line(2);
        let mut callers = vec!["flood"; 6];
        callers.push("calm");
        let times = times(&line, &callers, Duration::from_mins(1)).await;
        let times: Vec<_> = times.into_iter().map(|time| halves(time.unwrap())).collect();
        assert_eq!(times, [0, 0, 2, 4, 5, 6, 3]);
        assert_eq!(line.lock().gauge.get(), 0);
        assert!(line.lock().waiters.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_makes_room_and_the_next_one_keeps_the_time() {
        let line = line(1);
        line.turn(&Caller::client("a"), Instant::now() + WINDOW).await.unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        let (a, b) = (Caller::client("a"), Caller::client("b"));
        let mut first = Box::pin(line.turn(&a, deadline));
        let mut second = Box::pin(line.turn(&b, deadline));
        assert!(
            futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending()
        );
        drop(first);
        let start = Instant::now();
        second.await.unwrap();
        assert_eq!(halves(start.elapsed()), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_line_refuses_at_once_and_says_when_there_is_room() {
        let line = line(1);
        let (flood, calm) = (Caller::client("flood"), Caller::client("calm"));
        let deadline = Instant::now() + Duration::from_hours(10);
        let mut waiting = Vec::new();
        let mut refused = 0;
        for _ in 0..WAITING_MAX + 100 {
            let mut turn = Box::pin(line.turn(&flood, deadline));
            match futures_util::poll!(&mut turn) {
                std::task::Poll::Pending => waiting.push(turn),
                std::task::Poll::Ready(Ok(())) => {}
                std::task::Poll::Ready(Err(Refused::TooLate(wait))) => {
                    assert!(wait > Duration::from_secs(1_000), "{wait:?}");
                    refused += 1;
                }
                std::task::Poll::Ready(end) => panic!("{end:?}"),
            }
        }
        assert_eq!((waiting.len(), refused), (WAITING_MAX, 99));
        assert_eq!(line.lock().gauge.get(), 1_000);
        let newest = waiting.pop().unwrap();
        tokio::select! {
            turn = line.turn(&calm, deadline) => turn.unwrap(),
            _ = join_all(waiting) => panic!("the flood went first"),
        }
        let newest = newest.await;
        assert!(matches!(newest, Err(Refused::TooLate(_))), "it made room: {newest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_and_a_dismissal_are_told_at_once() {
        let line = line(1);
        line.turn(&Caller::client("a"), Instant::now() + WINDOW).await.unwrap();
        let start = Instant::now();
        let waiting = times(&line, &["a", "b"], Duration::from_secs(5));
        let pausing = async {
            tokio::task::yield_now().await;
            line.pause(start + Duration::from_secs(9));
        };
        let (told, ()) = tokio::join!(waiting, pausing);
        assert_eq!((told.iter().filter(|end| end.is_err()).count(), start.elapsed()), (2, Duration::ZERO));
        let waiting = times(&line, &["a", "b"], Duration::from_mins(1));
        let dismissing = async {
            tokio::task::yield_now().await;
            line.dismiss();
        };
        let (told, ()) = tokio::join!(waiting, dismissing);
        assert_eq!(told, [Err(Refused::Dismissed); 2]);
        assert_eq!((start.elapsed(), line.lock().waiters.len()), (Duration::ZERO, 0));
    }

    /// Blip counts calls as they come: three that went late are a window's worth from then on.
    #[tokio::test(start_paused = true)]
    async fn who_goes_late_counts_from_then_on() {
        let line = line(3);
        let (caller, start) = (Caller::client("a"), Instant::now());
        let deadline = start + Duration::from_mins(1);
        for _ in 0..3 {
            line.turn(&caller, deadline).await.unwrap();
        }
        let late = Duration::from_millis(300);
        tokio::time::advance(late).await;
        for _ in 0..3 {
            assert!(line.goes(start));
        }
        line.turn(&caller, deadline).await.unwrap();
        assert!(start.elapsed() >= late + WINDOW, "{:?}", start.elapsed());
        assert!(line.goes(Instant::now()));
        line.turn(&caller, deadline).await.unwrap();
        assert!(start.elapsed() < late + 2 * WINDOW, "one in time changes nothing: {:?}", start.elapsed());
    }

    /// One that went late is one all the same.
    #[tokio::test(start_paused = true)]
    async fn who_goes_late_counts_once() {
        let line = line(3);
        let (caller, start) = (Caller::client("a"), Instant::now());
        let deadline = start + Duration::from_mins(1);
        line.turn(&caller, deadline).await.unwrap();
        tokio::time::advance(Duration::from_millis(20)).await;
        assert!(line.goes(start));
        for _ in 0..2 {
            line.turn(&caller, deadline).await.unwrap();
        }
        assert!(start.elapsed() < WINDOW, "three in a window: {:?}", start.elapsed());
    }

    /// Turns that a stall held up are not made up for all at once.
    #[tokio::test(start_paused = true)]
    async fn what_was_held_up_together_keeps_to_the_rate() {
        let line = line(3);
        let (caller, start) = (Caller::client("a"), Instant::now());
        let deadline = start + Duration::from_mins(1);
        let mut came = Vec::new();
        for _ in 0..9 {
            line.turn(&caller, deadline).await.unwrap();
            came.push(Instant::now());
        }
        tokio::time::advance(WINDOW / 10).await;
        let go: Vec<_> = came.into_iter().map(|came| line.goes(came)).collect();
        assert_eq!(go.iter().filter(|goes| **goes).count(), 3, "{go:?}");
        // The others are behind these.
        let stalled = start.elapsed();
        line.turn(&caller, deadline).await.unwrap();
        assert!(start.elapsed() >= stalled + WINDOW, "{:?}", start.elapsed());
    }
}
