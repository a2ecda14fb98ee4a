//! Never over the rate, nobody starved, nobody told later than need be.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::blip::policy::bucket::WINDOW;

fn far(now: Instant) -> Instant {
    now + Duration::from_hours(1)
}

/// A queue, and who has which place.
struct World {
    queue: Queue,
    callers: BTreeMap<Place, String>,
    now: Instant,
}

impl World {
    /// With the first window's calls gone, all from one caller, so that everybody waits.
    fn busy(rate: u32, waiting_max: usize) -> Self {
        let mut world = Self::idle(rate, waiting_max);
        for _ in 0..rate {
            assert_eq!(world.client("first"), Ok(None));
        }
        world
    }

    fn idle(rate: u32, waiting_max: usize) -> Self {
        Self { queue: Queue::new(rate, waiting_max), callers: BTreeMap::new(), now: Instant::now() }
    }

    fn enter(&mut self, caller: &Caller, deadline: Instant) -> Result<Option<Place>, Duration> {
        let place = self.queue.enter(caller, self.now, deadline)?;
        self.callers.extend(place.map(|place| (place, caller.principal.to_string())));
        Ok(place)
    }

    fn client(&mut self, principal: &str) -> Result<Option<Place>, Duration> {
        self.enter(&Caller::client(principal), far(self.now))
    }

    fn background(&mut self) -> Result<Option<Place>, Duration> {
        self.enter(&Caller::background(), far(self.now))
    }

    /// Goes on to the next turn; who may go then.
    fn next(&mut self) -> Vec<String> {
        let Some((_, turn)) = self.queue.next(self.now) else { return Vec::new() };
        self.now = self.now.max(turn);
        let told = self.queue.advance(self.now);
        let gone = told.into_iter().filter(|(_, verdict)| *verdict == Verdict::Go);
        gone.map(|(place, _)| self.callers[&place].clone()).collect()
    }

    /// Who goes in the next `turns` turns.
    fn order(&mut self, turns: usize) -> Vec<String> {
        (0..turns).flat_map(|_| self.next()).collect()
    }
}

#[test]
fn a_flood_delays_others_by_one_call() {
    let mut world = World::busy(2, 1_000);
    for _ in 0..500 {
        world.client("flood").unwrap();
    }
    assert_eq!(world.order(2), ["flood", "flood"]);
    for _ in 0..2 {
        world.client("calm").unwrap();
    }
    assert_eq!(world.order(5), ["flood", "calm", "flood", "calm", "flood"]);
    // Nor does it matter that he asks only when he was answered.
    for _ in 0..50 {
        world.client("calm").unwrap();
        assert_eq!(world.order(2), ["flood", "calm"]);
    }
}

#[test]
fn a_full_queue_makes_room_at_the_cost_of_the_longest_row() {
    let mut world = World::busy(1, 4);
    let places: Vec<_> = (0..4).map(|_| world.client("flood").unwrap().unwrap()).collect();
    assert_eq!(world.client("flood"), Err(WINDOW * 5), "its own flood, and when there would be room");
    world.client("calm").unwrap();
    let told = world.queue.advance(world.now);
    let expected = places.last().map(|last| (*last, Verdict::TooLate(WINDOW * 5))).unwrap();
    assert_eq!((told, world.queue.waiting()), (vec![expected], 4));
    world.client("calm").unwrap();
    world.client("calm").unwrap_err();
    assert_eq!(world.order(5), ["flood", "calm", "flood", "calm"]);

    let mut world = World::busy(1, 3);
    for name in ["a", "b", "c"] {
        world.client(name).unwrap();
    }
    world.client("d").unwrap_err(); // everybody has one: nobody has to go
}

#[test]
fn background_never_goes_before_a_command_and_has_its_share() {
    let mut world = World::idle(8, 1_000);
    let start = world.now;
    let at_once = (0..20).filter(|_| world.background().unwrap().is_none()).count();
    assert_eq!(at_once, 2, "a fourth of the rate, although nobody else calls");
    for _ in 0..6 {
        assert_eq!(world.client("human"), Ok(None), "the rest is for commands");
    }
    for _ in 0..8 {
        world.client("human").unwrap().unwrap();
    }
    assert_eq!(world.order(9), ["human", "human", "human", "human", "human", "human", "human", "human", ""]);
    world.order(1);
    let took = (world.now - start).as_millis();
    assert!(took.abs_diff((WINDOW * 5 / 2).as_millis()) <= 10, "evenly, as the share allows: {took} ms");
    let mut slow = World::idle(1, 10);
    assert_eq!(slow.background(), Ok(None), "one a second at least");
}

#[test]
fn background_makes_room_for_commands() {
    let mut world = World::busy(1, 2);
    world.background().unwrap();
    world.background().unwrap();
    world.background().unwrap_err();
    world.client("a").unwrap();
    world.client("b").unwrap();
    world.background().unwrap_err();
    assert_eq!(world.order(3), ["a", "b"]);
}

#[test]
fn who_would_be_late_is_told_at_once() {
    let mut world = World::busy(1, 10);
    let soon = world.now + WINDOW * 2;
    assert_eq!(world.enter(&Caller::client("a"), world.now + WINDOW), Err(WINDOW));
    assert_eq!(world.queue.waiting(), 0, "and takes no place");
    world.enter(&Caller::client("a"), soon).unwrap();
    let pushed = world.client("a").unwrap().unwrap();
    assert_eq!(world.enter(&Caller::client("a"), soon), Err(WINDOW * 4), "behind the first that was told");
    let in_time = world.enter(&Caller::client("b"), world.now + WINDOW * 3).unwrap().unwrap();
    assert!(world.queue.sweep(world.now).is_empty());
    world.queue.pause(world.now + WINDOW * 4);
    let told: Vec<_> = world.queue.sweep(world.now).into_iter().map(|(place, _)| place).collect();
    assert!(!told.contains(&pushed) && told.contains(&in_time) && told.len() == 2, "{told:?}");
    assert_eq!(world.order(1), ["a"]);
    assert_eq!(world.queue.waiting(), 0);
    let woken_late = world.enter(&Caller::client("a"), world.now + WINDOW * 3 / 2).unwrap().unwrap();
    world.now += WINDOW * 2;
    let told = world.queue.advance(world.now);
    let late = |verdict| matches!(verdict, Verdict::TooLate(wait) if wait >= RETURN_MIN);
    assert!(
        told.len() == 1 && told.iter().all(|(place, end)| *place == woken_late && late(*end)),
        "{told:?}"
    );
    let past = world.now;
    world.now += WINDOW * 9;
    assert_eq!(world.enter(&Caller::client("a"), past), Err(RETURN_MIN), "nothing goes past its deadline");
}

#[test]
fn a_promised_turn_may_slip_while_there_is_time_for_the_call() {
    let slip = Duration::from_millis(50);
    // Granted with so much left, or refused, though nobody foresaw it.
    for (left, goes) in [(EXCHANGE_MIN + Duration::from_millis(1), true), (EXCHANGE_MIN, false)] {
        let mut world = World::busy(1, 10);
        // Its turn would leave too little.
        world.enter(&Caller::client("a"), world.now + WINDOW + EXCHANGE_MIN).unwrap_err();
        let deadline = world.now + WINDOW * 3 / 2;
        let place = world.enter(&Caller::client("a"), deadline).unwrap().unwrap();
        world.queue.pause(world.now + WINDOW + slip);
        assert!(world.queue.sweep(world.now).is_empty());
        world.now = deadline - left;
        let told = world.queue.advance(world.now);
        assert!(
            matches!(told.as_slice(), [(one, end)] if *one == place && (*end == Verdict::Go) == goes),
            "{told:?}"
        );
    }
    // Where it is sure before, it is told then.
    let mut world = World::busy(1, 10);
    let deadline = world.now + WINDOW * 3 / 2;
    let place = world.enter(&Caller::client("a"), deadline).unwrap().unwrap();
    world.queue.pause(deadline - EXCHANGE_MIN);
    let told = world.queue.sweep(world.now);
    assert!(matches!(told.as_slice(), [(one, Verdict::TooLate(_))] if *one == place), "{told:?}");
}

#[test]
fn each_who_is_turned_away_hears_another_time() {
    let mut world = World::busy(1, 10);
    let soon = world.now + WINDOW / 2;
    let told: Vec<_> = (0..3).map(|_| world.enter(&Caller::client("a"), soon).unwrap_err()).collect();
    assert_eq!(told, [WINDOW, WINDOW * 2, WINDOW * 3]);
    assert_eq!(world.enter(&Caller::client("b"), soon), Err(WINDOW), "it is not to pay for another's haste");
    // When these have passed, it begins anew; and it goes no further than for so many.
    world.now += WINDOW * 9;
    world.client("a").unwrap();
    let soon = world.now + WINDOW / 2;
    let told = (0..99).map(|_| world.enter(&Caller::client("a"), soon).unwrap_err());
    let told: Vec<_> = told.collect();
    let furthest = WINDOW * u32::try_from(FORETOLD_MAX + 1).unwrap();
    assert_eq!((told.first(), told.last()), (Some(&WINDOW), Some(&furthest)));
}

#[test]
fn who_is_overtaken_is_told_at_once() {
    let mut world = World::busy(1, 10);
    world.client("a").unwrap();
    let second = world.enter(&Caller::client("a"), world.now + WINDOW * 3).unwrap().unwrap();
    world.client("b").unwrap();
    assert_eq!(world.queue.sweep(world.now), [(second, Verdict::TooLate(WINDOW * 3))]);
}

#[derive(Debug, Clone)]
enum Op {
    Enter { caller: u8, background: bool, patience: u64 },
    Leave(usize),
    Wait(u64),
    Pause(u64),
    Slow,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_u8..4, prop::bool::weighted(0.2), 0_u64..9_000)
            .prop_map(|(caller, background, patience)| Op::Enter { caller, background, patience }),
        1 => any::<prop::sample::Index>().prop_map(|index| Op::Leave(index.index(1_000))),
        3 => (0_u64..900).prop_map(Op::Wait),
        1 => (0_u64..2_000).prop_map(Op::Pause),
        1 => Just(Op::Slow),
    ]
}

proptest! {
    /// Whatever happens: no window has more than the rate, background its share, none that waited goes with too
    /// little time left, each is told once, a caller's calls keep their order, and the bound holds.
    #[test]
    fn the_promises_hold(rate in 1_u32..6, waiting_max in 1_usize..12, ops in vec(op(), 1..120)) {
        let (mut queue, mut now) = (Queue::new(rate, waiting_max), Instant::now());
        let mut waiting: BTreeMap<Place, (u8, bool, Instant)> = BTreeMap::new();
        let (mut gone, mut background_gone) = (Vec::new(), Vec::new());
        for op in ops {
            let mut told = Vec::new();
            match op {
                Op::Enter { caller, background, patience } => {
                    let deadline = now + Duration::from_millis(patience);
                    let urgency = if background { Urgency::Background } else { Urgency::Command };
                    let who = Caller { principal: caller.to_string().into(), urgency };
                    match queue.enter(&who, now, deadline) {
                        Ok(Some(place)) => _ = waiting.insert(place, (caller, background, deadline)),
                        Ok(None) => {
                            prop_assert!(now < deadline);
                            let overtaken = |(_, other, _): &(u8, bool, Instant)| background || !other;
                            prop_assert!(!waiting.values().any(overtaken));
                            gone.push(now);
                            background_gone.extend(background.then_some(now));
                        }
                        Err(_) => {}
                    }
                }
                Op::Leave(index) => {
                    if let Some(place) = waiting.keys().nth(index % waiting.len().max(1)).copied() {
                        waiting.remove(&place);
                        queue.leave(place);
                    }
                }
                Op::Wait(millis) => now += Duration::from_millis(millis),
                Op::Pause(millis) => queue.pause(now + Duration::from_millis(millis)),
                Op::Slow => _ = queue.slow(now),
            }
            told.extend(queue.sweep(now));
            told.extend(queue.advance(now));
            for (place, verdict) in told {
                let (caller, background, deadline) = waiting.remove(&place).expect("told once");
                if verdict == Verdict::Go {
                    prop_assert!(now + EXCHANGE_MIN < deadline);
                    let earlier = |(other, (who, kind, _)): (&Place, &(u8, bool, Instant))| {
                        *other < place && (*who, *kind) == (caller, background)
                    };
                    prop_assert!(!waiting.iter().any(earlier));
                    if background {
                        prop_assert!(waiting.values().all(|(_, background, _)| *background));
                        background_gone.push(now);
                    }
                    gone.push(now);
                }
            }
            prop_assert_eq!(queue.waiting(), waiting.len());
            prop_assert!(waiting.len() <= waiting_max);
            // Nobody waits who could go.
            prop_assert!(queue.next(now).is_none_or(|(_, turn)| turn > now));
        }
        for (times, rate) in [(gone, rate), (background_gone, (rate / BACKGROUND_PART).max(1))] {
            let rate = usize::try_from(rate).unwrap();
            for (earlier, later) in times.iter().zip(times.iter().skip(rate)) {
                prop_assert!(later.duration_since(*earlier) >= WINDOW);
            }
        }
    }

    /// However many each has waiting, callers are served alike for as long as they have something waiting.
    #[test]
    fn callers_share_alike(rate in 1_u32..8, loads in vec(1_usize..40, 2..6)) {
        let mut world = World::busy(rate, 1_000);
        for (caller, load) in loads.iter().enumerate() {
            for _ in 0..*load {
                world.client(&caller.to_string()).unwrap();
            }
        }
        let mut served = vec![0_usize; loads.len()];
        for caller in std::iter::from_fn(|| Some(world.next()).filter(|gone| !gone.is_empty())).flatten() {
            served[caller.parse::<usize>().unwrap()] += 1;
            let unserved = |caller: usize| served[caller] < loads[caller];
            let most = served.iter().max().unwrap();
            for caller in (0..loads.len()).filter(|caller| unserved(*caller)) {
                prop_assert!(served[caller] + 1 >= *most, "{served:?} of {loads:?}");
            }
        }
        prop_assert_eq!(served, loads);
    }

    /// What a refusal foretells is when the call would have gone.
    #[test]
    fn a_wait_is_foretold(rate in 1_u32..5, others in vec(0_u8..4, 0..30), caller in 0_u8..4) {
        let mut world = World::busy(rate, 1_000);
        for other in others {
            world.client(&other.to_string()).unwrap();
        }
        let caller = Caller::client(&caller.to_string());
        let start = world.now;
        let foretold = world.queue.enter(&caller, start, start).unwrap_err();
        let place = world.queue.enter(&caller, start, far(start)).unwrap().unwrap();
        while !world.queue.advance(world.now).iter().any(|(told, _)| *told == place) {
            world.now = world.queue.next(world.now).unwrap().1;
        }
        let took = world.now.duration_since(start);
        prop_assert!(took.abs_diff(foretold) < Duration::from_micros(1), "{took:?}, not {foretold:?}");
    }
}
