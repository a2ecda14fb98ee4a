//! The rate of one bot and envelope kind: a sliding window that grants at most so many calls in any second, the
//! first ones at once; and what Blip's own refusals do to it.

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

/// Grants calls, never more than the rate in any window.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_window: usize,
    /// The newest grants, oldest first, at most a window's worth.
    granted: VecDeque<Instant>,
    paused_until: Option<Instant>,
    /// How often the rate was halved, and when last.
    slowed: Option<(u32, Instant)>,
}

impl Bucket {
    /// A bucket that grants `per_second` calls a second; 0 counts as 1.
    pub fn new(per_second: u32) -> Self {
        let per_window = usize::try_from(per_second.max(1)).unwrap_or(usize::MAX);
        Self { per_window, granted: VecDeque::new(), paused_until: None, slowed: None }
    }

    /// When one more call may go out after `ahead` others did, as soon as each may: `now` or later. Exact while
    /// nothing but these calls changes the bucket and a slowed rate does not ease.
    pub fn ready(&self, now: Instant, ahead: usize) -> Instant {
        let start = self.paused_until.map_or(now, |until| until.max(now));
        let rate = self.rate(now);
        // A grant frees its place a window later: that of the call itself if `rate` are ahead, and so on.
        let windows = u32::try_from(ahead.checked_div(rate).unwrap_or_default()).unwrap_or(u32::MAX);
        let within = ahead.checked_rem(rate).unwrap_or_default();
        let place = self.granted.len().saturating_add(within).checked_sub(rate);
        let freed = place.and_then(|place| self.granted.get(place)).and_then(|at| at.checked_add(WINDOW));
        let first = freed.map_or(start, |freed| freed.max(start));
        first.checked_add(WINDOW.saturating_mul(windows)).unwrap_or(first)
    }

    /// Takes one call's token now; the caller has asked [`ready`](Self::ready).
    pub fn grant(&mut self, now: Instant) {
        if self.granted.len() >= self.per_window {
            self.granted.pop_front();
        }
        // Never before the newest one: the window is read as sorted.
        self.granted.push_back(self.granted.back().map_or(now, |newest| now.max(*newest)));
    }

    /// Grants nothing before `until`: Blip said so.
    pub fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |old| old.max(until)));
    }

    /// Halves the rate, as Blip refused for its own quota; it doubles again step by step. What calls of one
    /// window hear counts once. Answers whether it changed.
    pub fn slow(&mut self, now: Instant) -> bool {
        let (halvings, at) = (self.halvings(now), self.slowed.map(|(_, at)| at));
        if at.is_some_and(|at| now.saturating_duration_since(at) < WINDOW) {
            return false;
        }
        self.slowed = Some((halvings.saturating_add(1).min(HALVINGS_MAX), now));
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
        let ready = bucket.ready(now, 0);
        bucket.grant(ready);
        ready
    }

    #[test]
    fn a_window_grants_its_rate_at_once_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3);
        let granted: Vec<_> = (0..7).map(|_| take(&mut bucket, start).duration_since(start)).collect();
        let (none, once, twice) = (Duration::ZERO, WINDOW, WINDOW * 2);
        assert_eq!(granted, [none, none, none, once, once, once, twice]);
    }

    proptest! {
        #[test]
        fn no_second_has_more_grants_than_the_rate(
            rate in 1_u32..9,
            calls in vec((0_u64..700, prop::option::weighted(0.1, 0_u64..3_000), prop::bool::weighted(0.1)), 1..80),
        ) {
            let (mut bucket, mut now, mut granted) = (Bucket::new(rate), Instant::now(), Vec::new());
            for (wait, pause, slow) in calls {
                now += Duration::from_millis(wait);
                if let Some(pause) = pause {
                    bucket.pause(now + Duration::from_millis(pause));
                }
                if slow {
                    bucket.slow(now);
                }
                let ready = bucket.ready(now, 0);
                prop_assert!(ready >= now);
                if ready == now {
                    bucket.grant(now);
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
            ahead in 0_usize..20,
        ) {
            let (mut bucket, mut now) = (Bucket::new(rate), Instant::now());
            for wait in before {
                now = bucket.ready(now + Duration::from_millis(wait), 0);
                bucket.grant(now);
            }
            if let Some(pause) = pause {
                bucket.pause(now + Duration::from_millis(pause));
            }
            let foretold = bucket.ready(now, ahead);
            let mut at = now;
            for _ in 0..ahead {
                at = take(&mut bucket, at);
            }
            prop_assert_eq!(foretold, bucket.ready(at, 0));
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
        let mut one = Bucket::new(1);
        one.slow(start);
        assert_eq!(one.rate(start), 1);
    }
}
