//! The rate of one bot and envelope kind: a sliding window that grants at most so many calls in any second, the
//! first ones at once. What has to wait goes out evenly, so that a whole second's calls do not go to whoever has
//! most of them waiting. And what Blip's own refusals do to it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What the rates are counted over: a second, and a margin, as calls take a varying time on their way and Blip
/// counts them as they come. It refuses whoever is over for two minutes (R§10).
pub const WINDOW: Duration = Duration::from_millis(1_050);
/// After how long without another refusal a slowed rate doubles again.
const EASE_AFTER: Duration = Duration::from_secs(30);
/// How often the rate is halved at most: to a sixteenth.
const HALVINGS_MAX: u32 = 4;
/// How late a timer may wake us and the calls of that time still go out, so that lateness does not add up.
const GRAIN: Duration = Duration::from_millis(10);

/// Grants calls, never more than the rate in any window.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_window: usize,
    /// The newest grants, oldest first, at most a window's worth.
    granted: VecDeque<Instant>,
    /// When the newest one was due.
    due: Option<Instant>,
    paused_until: Option<Instant>,
    /// How often the rate was halved, and from when on the last time counts.
    slowed: Option<(u32, Instant)>,
}

impl Bucket {
    /// A bucket that grants `per_second` calls a second; 0 counts as 1.
    pub fn new(per_second: u32) -> Self {
        let per_window = usize::try_from(per_second.max(1)).unwrap_or(usize::MAX);
        Self { per_window, granted: VecDeque::new(), due: None, paused_until: None, slowed: None }
    }

    /// Whether a call may go out now, before which none waits.
    pub fn is_free(&self, now: Instant) -> bool {
        self.freed(self.rate(now), 0).is_none_or(|freed| freed <= now)
    }

    /// When the first, second, … of those that wait may go out: `now` or later. Exact while nothing but these calls
    /// changes the bucket and a slowed rate does not ease.
    pub fn turns(&self, now: Instant) -> impl Iterator<Item = Instant> + '_ {
        self.due_times(now).map(move |due| due.max(now))
    }

    /// Takes the token of a call that is free to go.
    pub fn grant_free(&mut self, now: Instant) {
        self.due = Some(now);
        self.note(now);
    }

    /// Takes the token of a call that waited, and whose turn has come.
    pub fn grant_turn(&mut self, now: Instant) {
        let due = self.due_times(now).next().map(|due| due.min(now));
        self.due = due;
        self.note(now);
    }

    /// Whether a call whose token `came` then may go only now: the window counts it from here on, and not from there. Where
    /// that would be too many, as others were held up with it, its token is lost, and it has to wait for another.
    pub fn goes_late(&mut self, came: Instant, now: Instant) -> bool {
        if let Some(at) = self.granted.iter().rposition(|granted| *granted <= came) {
            self.granted.remove(at);
        }
        let goes = self.is_free(now);
        if goes {
            self.note(now);
        }
        goes
    }

    fn note(&mut self, now: Instant) {
        if self.granted.len() >= self.per_window {
            self.granted.pop_front();
        }
        // Never before the newest one: the window is read as sorted.
        self.granted.push_back(self.granted.back().map_or(now, |newest| now.max(*newest)));
    }

    /// The same as [`turns`](Self::turns), also where they are just past.
    fn due_times(&self, now: Instant) -> impl Iterator<Item = Instant> + '_ {
        let rate = self.rate(now);
        let gap = WINDOW.checked_div(u32::try_from(rate).unwrap_or(u32::MAX)).unwrap_or_default();
        let earliest = now.checked_sub(GRAIN).unwrap_or(now);
        let mut last = self.due;
        (0_usize..).map(move |ahead| {
            let even = last.and_then(|last| last.checked_add(gap));
            let due = self.freed(rate, ahead).max(even).map_or(earliest, |due| due.max(earliest));
            last = Some(due);
            due
        })
    }

    /// When there is room for a call before which `ahead` go: a grant frees its place a window later. (From `rate`
    /// calls on, going evenly is enough.)
    fn freed(&self, rate: usize, ahead: usize) -> Option<Instant> {
        let place = self.granted.len().saturating_add(ahead).checked_sub(rate);
        let freed = place.and_then(|place| self.granted.get(place)).and_then(|at| at.checked_add(WINDOW));
        freed.max(self.paused_until)
    }

    /// Grants nothing before `until`: Blip said so.
    pub fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |old| old.max(until)));
    }

    /// Halves the rate, as Blip refused for its own quota; it doubles again step by step, once a pause is over. What
    /// calls of one window hear, or those under way when a pause began, counts once. Answers whether it changed.
    pub fn slow(&mut self, now: Instant) -> bool {
        let (halvings, at) = (self.halvings(now), self.slowed.map(|(_, at)| at));
        if at.is_some_and(|at| now.saturating_duration_since(at) < WINDOW) {
            return false;
        }
        let from = self.paused_until.map_or(now, |until| until.max(now));
        self.slowed = Some((halvings.saturating_add(1).min(HALVINGS_MAX), from));
        true
    }

    /// Calls a window now.
    pub fn rate(&self, now: Instant) -> usize {
        self.per_window.checked_shr(self.halvings(now)).unwrap_or_default().max(1)
    }

    fn halvings(&self, now: Instant) -> u32 {
        self.slowed.map_or(0, |(halvings, at)| {
            let steps = now.saturating_duration_since(at).as_secs() / EASE_AFTER.as_secs();
            halvings.saturating_sub(u32::try_from(steps).unwrap_or(u32::MAX))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Takes one call as soon as it may go.
    fn take(bucket: &mut Bucket, now: Instant) -> Instant {
        if bucket.is_free(now) {
            bucket.grant_free(now);
            return now;
        }
        let turn = bucket.turns(now).next().unwrap();
        bucket.grant_turn(turn);
        turn
    }

    #[test]
    fn a_window_grants_its_rate_at_once_and_then_evenly() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3);
        for _ in 0..3 {
            assert!(bucket.is_free(start));
            bucket.grant_free(start);
        }
        assert!(!bucket.is_free(start));
        let turns: Vec<_> = bucket.turns(start).take(5).map(|turn| (turn - start).as_millis()).collect();
        assert_eq!(turns, [1_050, 1_400, 1_750, 2_100, 2_450]);
        // Woken a little late, it catches up.
        bucket.grant_turn(start + Duration::from_millis(1_053));
        let next = bucket.turns(start).next().unwrap();
        assert_eq!((next - start).as_millis(), 1_400);
    }

    proptest! {
        #[test]
        fn no_second_has_more_grants_than_the_rate(
            rate in 1_u32..9,
            calls in vec(
                (0_u64..700, prop::option::weighted(0.1, 0_u64..3_000), prop::bool::weighted(0.1), any::<bool>()),
                1..80,
            ),
        ) {
            let (mut bucket, mut now, mut granted) = (Bucket::new(rate), Instant::now(), Vec::new());
            for (wait, pause, slow, waited) in calls {
                now += Duration::from_millis(wait);
                if let Some(pause) = pause {
                    bucket.pause(now + Duration::from_millis(pause));
                }
                if slow {
                    bucket.slow(now);
                }
                let turn = bucket.turns(now).next().unwrap();
                prop_assert!(turn >= now);
                if waited && turn == now {
                    bucket.grant_turn(now);
                    granted.push(now);
                } else if !waited && bucket.is_free(now) {
                    bucket.grant_free(now);
                    granted.push(now);
                }
            }
            let rate = usize::try_from(rate).unwrap();
            for (earlier, later) in granted.iter().zip(granted.iter().skip(rate)) {
                prop_assert!(later.duration_since(*earlier) >= WINDOW);
            }
        }

        #[test]
        fn what_is_foretold_comes_true(
            rate in 1_u32..6,
            before in vec(0_u64..900, 0..20),
            pause in prop::option::of(0_u64..3_000),
        ) {
            let (mut bucket, mut now) = (Bucket::new(rate), Instant::now());
            for wait in before {
                now = take(&mut bucket, now + Duration::from_millis(wait));
            }
            if let Some(pause) = pause {
                bucket.pause(now + Duration::from_millis(pause));
            }
            let foretold: Vec<_> = bucket.turns(now).take(20).collect();
            for turn in foretold {
                let next = bucket.turns(now).next().unwrap();
                let (late, early) = (next.duration_since(turn), turn.duration_since(next));
                prop_assert!(late <= GRAIN && early <= GRAIN, "{late:?} late, {early:?} early");
                now = next;
                bucket.grant_turn(now);
            }
        }
    }

    #[test]
    fn a_refusal_halves_the_rate_once_and_time_gives_it_back() {
        let start = Instant::now();
        let mut bucket = Bucket::new(50);
        let after = |secs: u64| start + Duration::from_secs(secs);
        assert!(bucket.slow(start));
        assert!(!bucket.slow(start + Duration::from_millis(500)), "calls of the same window");
        assert_eq!(bucket.rate(start), 25);
        assert!(bucket.slow(after(2)));
        assert_eq!((bucket.rate(after(2)), bucket.rate(after(32)), bucket.rate(after(62))), (12, 25, 50));
        for step in 100..110 {
            bucket.slow(after(step * 2));
        }
        assert_eq!(bucket.rate(after(218)), 3, "never to a standstill");
        let mut paused = Bucket::new(50);
        paused.pause(after(120));
        assert!(paused.slow(start) && !paused.slow(after(60)));
        assert_eq!(
            (paused.rate(after(149)), paused.rate(after(150))),
            (25, 50),
            "counted from the pause's end"
        );
        let mut one = Bucket::new(1);
        one.slow(start);
        assert_eq!(one.rate(start), 1);
    }
}
