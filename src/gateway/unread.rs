//! Warns before a consumer group loses events that it has not read: an event `gateway.alert` once, while there is
//! time to do something, and another one when the danger is over. It only looks; what goes is retention's to say.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::alerts::alert;
use crate::clock::Clock;
use crate::domain::Seq;
use crate::shutdown::Shutdown;
use crate::store::groups::{Group, GroupId, GroupStore};
use crate::store::{Bounds, EventLog, ReadError};

mod outlook;

use outlook::{Sight, danger_within, much_came, time_left};

/// Between two looks, where events are kept for long.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);

/// Between two glances at how much has come, where the store's size is bounded: a flood fills it within seconds.
const GLANCE_INTERVAL: Duration = Duration::from_secs(1);

/// So much of what fits has come since the last look that the next one is due: a warning comes at a quarter.
const GLANCE_SHARE: u64 = 32;

/// Looks that an estimate goes back over: half an hour.
const LOOKS_MAX: usize = 30;

/// The alert's reason while a group is about to lose events.
const EXPIRING: &str = "UNREAD_EVENTS_EXPIRE";
/// And once it no longer is.
const SAFE: &str = "UNREAD_EVENTS_SAFE";

/// Watches over what groups have not read.
#[derive(Debug)]
pub struct Unread {
    log: Arc<dyn EventLog>,
    groups: Arc<dyn GroupStore>,
    clock: Arc<dyn Clock>,
    seen: HashMap<GroupId, Seen>,
    hold: Hold,
}

/// What the last look saw of the group that holds back the most.
#[derive(Debug, Default)]
struct Hold {
    by: Option<GroupId>,
    trimmed: Seq,
    /// Retention went on past what it holds back: that is too much, and is held no more.
    is_overrun: bool,
}

impl Hold {
    /// Where it is held back from, if it is. That retention is past there says nothing by itself: what is gone may have
    /// gone before it was held.
    fn look(&mut self, groups: &[Group], trimmed: Seq) -> Option<Seq> {
        let pinning = groups.iter().filter(|group| group.settings.pin_retention);
        let lowest = pinning.min_by_key(|group| (group.floor, group.id));
        let (by, floor) = (lowest.map(|group| group.id), lowest.map(|group| group.floor));
        let is_past = floor.is_some_and(|floor| floor < trimmed);
        let went_on = self.by == by && self.trimmed < trimmed;
        self.is_overrun = is_past && (self.is_overrun || went_on);
        (self.by, self.trimmed) = (by, trimmed);
        floor.filter(|_| !self.is_overrun)
    }
}

/// What is kept of one group.
#[derive(Debug, Default)]
struct Seen {
    looks: VecDeque<Sight>,
    alerted: bool,
}

impl Seen {
    /// Looks that follow soon on one another stand for one: half an hour stays in sight also in a flood.
    fn remember(&mut self, sight: Sight) {
        let spacing = look_interval(sight.retention);
        let soon = |last: &Sight| sight.at.duration_since(last.at).unsigned_abs() < spacing;
        if self.looks.len() > 1 && self.looks.iter().nth_back(1).is_some_and(soon) {
            self.looks.pop_back();
        }
        if self.looks.len() >= LOOKS_MAX {
            self.looks.pop_front();
        }
        self.looks.push_back(sight);
    }
}

impl Unread {
    /// Watches the groups that read `log`.
    pub fn new(log: Arc<dyn EventLog>, groups: Arc<dyn GroupStore>, clock: Arc<dyn Clock>) -> Self {
        Self { log, groups, clock, seen: HashMap::new(), hold: Hold::default() }
    }

    /// Looks now and then, in a task of its own, until the process is told to stop.
    pub fn watch(mut self, shutdown: &Shutdown) {
        let soft = shutdown.soft().clone();
        drop(shutdown.spawn(async move {
            loop {
                let looked = self.look().await;
                if let Err(error) = &looked {
                    tracing::debug!(%error, "whether groups lose events could not be looked at");
                }
                tokio::select! {
                    () = self.next_look(looked.ok()) => {}
                    () = soft.cancelled() => return,
                }
            }
        }));
    }

    /// Waits until it is time to look again: after a while, or as soon as much has come since `then`.
    async fn next_look(&self, then: Option<Bounds>) {
        let Some(then) = then else { return tokio::time::sleep(LOOK_INTERVAL).await };
        let interval = look_interval(then.retention);
        let much = async {
            loop {
                tokio::time::sleep(GLANCE_INTERVAL).await;
                if self.log.bounds().await.is_ok_and(|now| much_came(&then, &now, GLANCE_SHARE)) {
                    return;
                }
            }
        };
        if then.live_bytes_max.is_none() {
            return tokio::time::sleep(interval).await;
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = much => {}
        }
    }

    /// Looks once; answers what it saw of the log.
    async fn look(&mut self) -> Result<Bounds, ReadError> {
        let groups = self.groups.groups().await?;
        self.seen.retain(|id, _| groups.iter().any(|group| group.id == *id));
        let bounds = self.log.bounds().await?;
        let holds = self.hold.look(&groups, bounds.trimmed);
        for group in groups {
            let is_held = holds.is_some_and(|held| group.floor >= held);
            let sight = Sight { pinned: is_held, ..self.sight(&bounds, &group).await? };
            let seen = self.seen.entry(group.id).or_default();
            if seen.looks.back().is_some_and(|last| last.settled_through > sight.settled_through) {
                seen.looks.clear(); // it was set back: how fast it was tells nothing
            }
            seen.remember(sight);
            let Some(then) = seen.looks.front() else { continue };
            let (left, danger) = (time_left(then, &sight), danger_within(then, &sight));
            let told = match left {
                Some(left) if !seen.alerted && left <= danger => losing(&group, &sight, left),
                Some(left) if seen.alerted && left <= danger.saturating_mul(2) => continue,
                Some(_) | None if seen.alerted => safe(&group, &sight),
                Some(_) | None => continue,
            };
            let (reason, description, details) = told;
            tracing::warn!(group = group.name, reason, "{description}");
            match self.log.append(vec![alert(Arc::from(""), reason, description, details)]).await {
                Ok(_) => seen.alerted = reason == EXPIRING,
                Err(error) => {
                    tracing::warn!(%error, "an alert could not be stored; the next look tries again");
                }
            }
        }
        Ok(bounds)
    }

    async fn sight(&self, bounds: &Bounds, group: &Group) -> Result<Sight, ReadError> {
        let settled_through = group.floor;
        let next = match self.log.read(settled_through, 1).await {
            Ok(events) => events.first().map(|stored| stored.event.receive_time),
            Err(ReadError::Trimmed { .. }) => bounds.earliest_time,
            Err(error) => return Err(error),
        };
        let now = self.clock.now();
        let age = |received: Timestamp| now.duration_since(received).max(SignedDuration::ZERO).unsigned_abs();
        Ok(Sight {
            at: now,
            settled_through,
            pinned: group.settings.pin_retention,
            oldest_unread: next.map_or(Duration::ZERO, age),
            trimmed: bounds.trimmed,
            last: bounds.last,
            retention: bounds.retention,
            live_bytes: bounds.live_bytes,
            live_bytes_max: bounds.live_bytes_max,
        })
    }
}

/// Between two looks when nothing hurries.
fn look_interval(retention: Duration) -> Duration {
    LOOK_INTERVAL.min(retention / 30).max(Duration::from_secs(1))
}

/// A reason, what it means for people, and the details, for programs.
type Words = (&'static str, String, Map<String, Value>);

fn losing(group: &Group, sight: &Sight, left: Duration) -> Words {
    let name = &group.name;
    let (behind, when) = (sight.events_behind(), about(left));
    let kept = if group.settings.pin_retention {
        "store.max_size and store.pin_max_size say"
    } else {
        "store.retention and store.max_size say"
    };
    let text = format!(
        "the group {name} loses events that it has not read, at this pace in about {when}: it is {behind} events \
         behind, the oldest received {} ago. Give it more members, or mend what holds them up; {kept} how much is kept",
        about(sight.oldest_unread)
    );
    let details = json!({
        "group": name, "events_behind": behind.to_string(), "seconds_left": left.as_secs().to_string(),
        "oldest_unread_seconds": sight.oldest_unread.as_secs().to_string(),
    });
    (EXPIRING, text, object(details))
}

fn safe(group: &Group, sight: &Sight) -> Words {
    let (group, behind) = (&group.name, sight.events_behind());
    let text = format!("the group {group} no longer loses unread events: it is {behind} events behind");
    (SAFE, text, object(json!({"group": group, "events_behind": behind.to_string()})))
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(object) = value { object } else { Map::new() }
}

/// A time as people say it.
fn about(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("min", 60)];
    let unit = units.into_iter().find(|(_, size)| seconds >= size * 2);
    unit.map_or_else(|| format!("{seconds} s"), |(unit, size)| format!("{} {unit}", seconds / size))
}

#[cfg(test)]
mod tests;
