//! Who waits for a bot's rate, and who is next. Callers take turns, each its own calls in order, so that one who
//! floods delays the others by one call each, and only itself by more. What runs in the background goes when no
//! command waits, and has a share of the rate at most. Pure: it grants when it is told what time it is.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::rows::Rows;
use super::{Caller, Urgency};

/// Background calls have one part in so many of the rate, and one call a second at least.
pub const BACKGROUND_PART: u32 = 4;
/// How much of a call's time, at most, is left for the call itself by a turn that is promised: a tenth of it otherwise, but
/// never less than the least. A turn that slips then, by a late timer or for another caller's sake, is granted as long as
/// that least time is left.
const EXCHANGE_MAX: Duration = Duration::from_millis(500);
/// What is left of a call's time, at the least, where its turn comes: with less it would be sent, and nobody would hear of its
/// end. A call that goes at once waits for nothing, and its time is its caller's to choose.
const EXCHANGE_MIN: Duration = Duration::from_millis(100);
/// The shortest time after which who is turned away is asked to come again.
const RETURN_MIN: Duration = Duration::from_millis(100);
/// Calls that were turned away and told when to come, of whom it is remembered, so that each hears another time.
const FORETOLD_MAX: usize = 32;

/// A call that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

/// What becomes of a call that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its turn has come, and its token is taken.
    Go,
    /// Its turn comes too late for a call, or it had to make room; there is room for it in this much time.
    TooLate(Duration),
}

#[derive(Debug)]
struct Waiting {
    place: Place,
    /// Its turn must come before: from then on there is no time for the call.
    until: Instant,
}

/// Everything that waits for one bot's rate of one envelope kind.
#[derive(Debug)]
pub struct Queue {
    bucket: Bucket,
    /// What background calls have of it.
    share: Bucket,
    commands: Rows<Waiting>,
    background: Rows<Waiting>,
    waiting: usize,
    waiting_max: usize,
    next_place: u64,
    /// Whoever made room for others, and is not told yet.
    displaced: Vec<(Place, Verdict)>,
    /// Whose calls were turned away, and when these are to come again.
    foretold: VecDeque<(Arc<str>, Instant)>,
}

impl Queue {
    /// An empty queue for a rate, in which `waiting_max` calls may wait.
    pub fn new(per_second: u32, waiting_max: usize) -> Self {
        Self {
            bucket: Bucket::new(per_second),
            share: Bucket::new(per_second / BACKGROUND_PART),
            commands: Rows::default(),
            background: Rows::default(),
            waiting: 0,
            waiting_max,
            next_place: 0,
            displaced: Vec::new(),
            foretold: VecDeque::new(),
        }
    }

    /// Lets a call go at once, if nobody waits before it and the rate allows it: `None`. Else it waits; or is told at
    /// once, and nothing is kept, if its turn would come so late that no time is left for the call, or if the queue is full:
    /// then the newest call of the longest row makes room, unless that is this caller's.
    /// Follow it with [`sweep`](Self::sweep).
    pub fn enter(
        &mut self,
        caller: &Caller,
        now: Instant,
        deadline: Instant,
    ) -> Result<Option<Place>, Duration> {
        let Caller { principal, urgency } = caller;
        if now < deadline && self.goes_at_once(*urgency, now) {
            return Ok(None);
        }
        let late = self.turn_of(principal, *urgency, 0, now) >= promised_by(now, deadline);
        if late || (self.waiting >= self.waiting_max && !self.make_room(caller, now)) {
            return Err(self.turned_away(caller, now));
        }
        let place = Place(self.next_place);
        self.next_place = self.next_place.wrapping_add(1);
        self.waiting = self.waiting.saturating_add(1);
        self.rows(*urgency).push(principal, Waiting { place, until: latest(deadline, EXCHANGE_MIN) });
        Ok(Some(place))
    }

    /// Takes out a call that no longer wants its turn; nothing if it had it.
    pub fn leave(&mut self, place: Place) {
        let left = self.commands.remove(&[place]).saturating_add(self.background.remove(&[place]));
        self.waiting = self.waiting.saturating_sub(left);
    }

    /// Notes that a call of this caller is turned away; answers when there is room for it: its turn, if it came now and
    /// those of its caller that were told before it had come.
    pub fn turned_away(&mut self, caller: &Caller, now: Instant) -> Duration {
        let Caller { principal, urgency } = caller;
        self.foretold.retain(|(_, at)| *at > now);
        let before = self.foretold.iter().filter(|(who, _)| who == principal).count();
        let turn = self.turn_of(principal, *urgency, before, now);
        let wait = turn.saturating_duration_since(now).max(RETURN_MIN);
        if self.foretold.len() < FORETOLD_MAX
            && let Some(at) = now.checked_add(wait)
        {
            self.foretold.push_back((Arc::clone(principal), at));
        }
        wait
    }

    /// What time brings: every call whose turn has come, or for whom it comes too late by now.
    pub fn advance(&mut self, now: Instant) -> Vec<(Place, Verdict)> {
        let mut told = std::mem::take(&mut self.displaced);
        while let Some((urgency, turn)) = self.head(now)
            && turn <= now
        {
            let Some((principal, Waiting { place, until })) = self.rows(urgency).pop() else { break };
            self.waiting = self.waiting.saturating_sub(1);
            if until <= now {
                let wait = self.turned_away(&Caller { principal, urgency }, now);
                told.push((place, Verdict::TooLate(wait)));
                continue;
            }
            self.bucket.grant_turn(now);
            if urgency == Urgency::Background {
                self.share.grant_turn(now);
            }
            told.push((place, Verdict::Go));
        }
        told
    }

    /// Tells those for whom it is too late as things stand: others entered before them, or Blip wants a pause.
    pub fn sweep(&mut self, now: Instant) -> Vec<(Place, Verdict)> {
        let late = self.late(now);
        if late.is_empty() {
            return Vec::new();
        }
        let mut places: Vec<_> = late.iter().map(|(_, place)| *place).collect();
        places.sort_unstable();
        let left = self.commands.remove(&places).saturating_add(self.background.remove(&places));
        self.waiting = self.waiting.saturating_sub(left);
        let told = late.into_iter().map(|(caller, place)| {
            let wait = self.turned_away(&caller, now);
            (place, Verdict::TooLate(wait))
        });
        told.collect()
    }

    /// The call whose turn is next, and when it comes.
    pub fn next(&mut self, now: Instant) -> Option<(Place, Instant)> {
        let (urgency, turn) = self.head(now)?;
        self.rows(urgency).first().map(|place| (place, turn))
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether a call may go only now, whose turn came a while ago; if not, its turn is lost.
    pub fn goes_late(&mut self, came: Instant, now: Instant) -> bool {
        self.bucket.goes_late(came, now)
    }

    /// Grants nothing before `until`: Blip said so.
    pub fn pause(&mut self, until: Instant) {
        self.bucket.pause(until);
    }

    /// Halves the rate for a while; answers the new one, if it changed.
    pub fn slow(&mut self, now: Instant) -> Option<usize> {
        self.share.slow(now);
        self.bucket.slow(now).then(|| self.bucket.rate(now))
    }

    /// Takes the token of a call that need not wait.
    fn goes_at_once(&mut self, urgency: Urgency, now: Instant) -> bool {
        let waiting =
            self.commands.first().or(self.background.first().filter(|_| urgency == Urgency::Background));
        let shared = urgency == Urgency::Command || self.share.is_free(now);
        let free = waiting.is_none() && shared && self.bucket.is_free(now);
        if free {
            self.bucket.grant_free(now);
            if urgency == Urgency::Background {
                self.share.grant_free(now);
            }
        }
        free
    }

    /// Whose turn is next, and when.
    fn head(&self, now: Instant) -> Option<(Urgency, Instant)> {
        let turn = self.bucket.turns(now).next()?;
        if self.commands.first().is_some() {
            return Some((Urgency::Command, turn));
        }
        self.background.first()?;
        Some((Urgency::Background, self.share.turns(now).next()?.max(turn)))
    }

    fn late(&self, now: Instant) -> Vec<(Caller, Place)> {
        let mut turns = self.bucket.turns(now).peekable();
        let of = |urgency| move |(principal, place)| (Caller { principal, urgency }, place);
        let commands = self.commands.late(&mut turns).into_iter().map(of(Urgency::Command));
        let mut late: Vec<_> = commands.collect();
        let turns = turns.zip(self.share.turns(now)).map(|(turn, share)| turn.max(share));
        let background = self.background.late(&mut turns.peekable()).into_iter();
        late.extend(background.map(of(Urgency::Background)));
        late
    }

    /// When one more call of this caller would have its turn, as things stand and if so many more came before it.
    fn turn_of(&self, principal: &str, urgency: Urgency, before: usize, now: Instant) -> Instant {
        let (ahead, shared) = match urgency {
            Urgency::Command => (self.commands.ahead_of(principal).saturating_add(before), None),
            Urgency::Background => {
                let ahead = self.background.ahead_of(principal).saturating_add(before);
                (ahead.saturating_add(self.commands.len()), self.share.turns(now).nth(ahead))
            }
        };
        self.bucket.turns(now).nth(ahead).max(shared).unwrap_or(now)
    }

    /// Makes room for a call of `caller`, at the cost of who has the most waiting: of the background first.
    fn make_room(&mut self, caller: &Caller, now: Instant) -> bool {
        // A row is longer only if it still is when the newcomer has joined its own.
        let longer = |rows: &Rows<Waiting>| rows.len_of(&caller.principal).saturating_add(2);
        let (displaced, urgency) = match caller.urgency {
            Urgency::Command if self.background.first().is_some() => {
                (self.background.displace(1), Urgency::Background)
            }
            Urgency::Command => (self.commands.displace(longer(&self.commands)), Urgency::Command),
            Urgency::Background => (self.background.displace(longer(&self.background)), Urgency::Background),
        };
        let Some((principal, place)) = displaced else { return false };
        self.waiting = self.waiting.saturating_sub(1);
        let wait = self.turned_away(&Caller { principal, urgency }, now);
        self.displaced.push((place, Verdict::TooLate(wait)));
        true
    }

    fn rows(&mut self, urgency: Urgency) -> &mut Rows<Waiting> {
        match urgency {
            Urgency::Command => &mut self.commands,
            Urgency::Background => &mut self.background,
        }
    }
}

impl Rows<Waiting> {
    fn first(&self) -> Option<Place> {
        Some(self.0.front()?.waiting.front()?.place)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|row| row.waiting.len()).sum()
    }

    fn len_of(&self, principal: &str) -> usize {
        self.0.iter().find(|row| &*row.principal == principal).map_or(0, |row| row.waiting.len())
    }

    /// How many calls go before one more of this caller: its own, and of each other's as many, or one more where
    /// the other's turn is before.
    fn ahead_of(&self, principal: &str) -> usize {
        let own = self.len_of(principal);
        let mut before = 1;
        let others = self.0.iter().map(|row| {
            if &*row.principal == principal {
                before = 0;
                return own;
            }
            row.waiting.len().min(own.saturating_add(before))
        });
        others.sum()
    }

    /// Takes out the newest call of the longest row, if that has so many at least.
    fn displace(&mut self, len_min: usize) -> Option<(Arc<str>, Place)> {
        let longest = self.0.iter_mut().max_by_key(|row| row.waiting.len());
        let row = longest.filter(|row| row.waiting.len() >= len_min)?;
        let displaced = row.waiting.pop_back().map(|waiting| (Arc::clone(&row.principal), waiting.place));
        self.0.retain(|row| !row.waiting.is_empty());
        displaced
    }

    /// Those whose turn comes too late; the others take one of the `turns` each.
    fn late(&self, turns: &mut Peekable<impl Iterator<Item = Instant>>) -> Vec<(Arc<str>, Place)> {
        let mut late = Vec::new();
        let mut rows: VecDeque<_> = self.0.iter().map(|row| (&row.principal, row.waiting.iter())).collect();
        while let Some((principal, mut row)) = rows.pop_front() {
            for waiting in row.by_ref() {
                if turns.next_if(|turn| *turn < waiting.until).is_some() {
                    rows.push_back((principal, row));
                    break;
                }
                late.push((Arc::clone(principal), waiting.place));
            }
        }
        late
    }

    /// Takes out what is at these places, which are sorted; answers how many there were.
    fn remove(&mut self, places: &[Place]) -> usize {
        let before = self.len();
        for row in &mut self.0 {
            row.waiting.retain(|waiting| places.binary_search(&waiting.place).is_err());
        }
        self.0.retain(|row| !row.waiting.is_empty());
        before.saturating_sub(self.len())
    }
}

/// Until when a turn can be promised to a call.
fn promised_by(now: Instant, deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(now);
    latest(deadline, (left / 10).clamp(EXCHANGE_MIN, EXCHANGE_MAX))
}

/// Until when so much time is left before a deadline.
fn latest(deadline: Instant, left: Duration) -> Instant {
    deadline.checked_sub(left).unwrap_or(deadline)
}

#[cfg(test)]
mod tests;
