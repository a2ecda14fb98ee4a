//! One alert before a loss, one when it is averted; nothing for those who keep up.

use super::*;
use crate::clock::{ManualClock, SequentialIds};
use crate::domain::group::GroupSettings;
use crate::domain::{Fact, NewEvent, Origin, Payload};
use crate::store::groups::{Created, GroupChanges};
use crate::store::memory::MemoryLog;

struct World {
    clock: Arc<ManualClock>,
    log: Arc<MemoryLog>,
    unread: Unread,
}

fn world() -> World {
    let clock = Arc::new(ManualClock::new("2026-05-02T12:00:00Z".parse().unwrap()));
    let ids = Arc::new(SequentialIds::default());
    let log = Arc::new(MemoryLog::new(Duration::from_hours(48), Duration::ZERO, clock.clone(), ids));
    let unread = Unread::new(log.clone(), log.clone(), clock.clone());
    World { clock, log, unread }
}

impl World {
    async fn group(&self, name: &str, floor: u64, pin_retention: bool) -> GroupId {
        let settings = GroupSettings { pin_retention, ..GroupSettings::default() };
        let made = self.log.create_group(name.to_owned(), settings, Seq(floor)).await.unwrap();
        let Created::Fresh(group) = made else { panic!("{name} is there") };
        group.id
    }

    async fn settle(&self, id: GroupId, floor: u64) {
        self.log.commit(id, GroupChanges { floor: Seq(floor), ..GroupChanges::default() }).await.unwrap();
    }

    async fn pin(&self, id: GroupId, pin_retention: bool) {
        let settings = GroupSettings { pin_retention, ..GroupSettings::default() };
        self.log.update_group(id, None, settings).await.unwrap();
    }

    async fn message(&self) -> Seq {
        let payload = Payload::MessageDeleted { message_id: "m".to_owned() };
        let event = NewEvent {
            origin: Origin::Webhook,
            fact: Fact::Told(payload),
            ..alert(Arc::from("suporte"), "", String::new(), Map::new())
        };
        self.log.append(vec![event]).await.unwrap();
        *self.log.tail().borrow()
    }

    /// An hour passes, and somebody looks.
    async fn hour(&mut self) {
        self.clock.advance(SignedDuration::from_hours(1));
        self.unread.look().await.unwrap();
    }

    /// Reason and group of each alert.
    async fn alerts(&self) -> Vec<(String, String)> {
        let trimmed = self.log.bounds().await.unwrap().trimmed;
        let events = self.log.read(trimmed, 1_000).await.unwrap();
        let told = events.iter().filter_map(|stored| {
            let Payload::GatewayAlert { reason, details, description } = &stored.event.payload else {
                return None;
            };
            assert!(!description.is_empty() && stored.event.bot.is_empty());
            Some((reason.clone(), details.get("group")?.as_str()?.to_owned()))
        });
        told.collect()
    }
}

#[tokio::test]
async fn a_loss_is_told_once_and_so_is_its_end() {
    let mut world = world();
    world.message().await;
    let idle = world.group("idle", 0, false).await;
    world.group("pinned", 1, true).await;
    world.group("reads", 1, false).await;
    for _ in 0..35 {
        world.hour().await;
    }
    assert_eq!(world.alerts().await, [], "13 hours are left");
    for _ in 0..3 {
        world.hour().await;
    }
    let expiring = ("UNREAD_EVENTS_EXPIRE".to_owned(), "idle".to_owned());
    assert_eq!(world.alerts().await, std::slice::from_ref(&expiring), "once, and not for who keeps up");
    let last = world.message().await;
    world.settle(idle, last.0).await;
    world.hour().await;
    world.hour().await;
    let safe = ("UNREAD_EVENTS_SAFE".to_owned(), "idle".to_owned());
    assert_eq!(world.alerts().await, [expiring, safe]);
}

#[tokio::test]
async fn what_one_group_pins_is_lost_to_none() {
    let mut world = world();
    world.message().await;
    world.group("idle", 0, false).await;
    let pinned = world.group("pinned", 0, true).await;
    for _ in 0..60 {
        world.hour().await;
    }
    assert_eq!(world.alerts().await, [], "it is kept for the other");
    world.settle(pinned, 1).await;
    world.hour().await;
    assert_eq!(world.alerts().await, [("UNREAD_EVENTS_EXPIRE".to_owned(), "idle".to_owned())]);
}

#[tokio::test]
async fn who_pins_what_is_gone_already_still_holds_the_rest() {
    let mut world = world();
    let late = world.group("late", 0, false).await;
    world.message().await;
    world.clock.advance(SignedDuration::from_hours(49));
    assert_eq!(world.log.enforce_retention(), 1, "nobody held it");
    world.pin(late, true).await;
    world.message().await;
    world.group("pinned", 1, true).await;
    world.group("idle", 1, false).await;
    for _ in 0..60 {
        world.hour().await;
        assert_eq!(world.log.enforce_retention(), 0, "it is kept for the first");
    }
    let names: Vec<_> = world.alerts().await.into_iter().map(|(_, group)| group).collect();
    assert_eq!(names, ["late"], "it has lost one, and nobody loses another");
}

#[tokio::test]
async fn what_was_too_much_to_hold_back_is_held_for_none() {
    let mut world = world();
    let late = world.group("late", 0, true).await;
    world.message().await;
    world.hour().await;
    // As where the store is at the end of its room: what is held goes all the same.
    world.pin(late, false).await;
    world.clock.advance(SignedDuration::from_hours(49));
    assert_eq!(world.log.enforce_retention(), 1);
    world.pin(late, true).await;
    world.message().await;
    world.group("idle", 1, false).await;
    for _ in 0..47 {
        world.hour().await;
    }
    let names: Vec<_> = world.alerts().await.into_iter().map(|(_, group)| group).collect();
    assert_eq!(names, ["late", "idle"]);
}

#[tokio::test]
async fn a_group_that_is_gone_or_set_back_is_not_judged_by_what_it_was() {
    let mut world = world();
    for _ in 0..20 {
        world.message().await;
        world.hour().await;
    }
    let id = world.group("a", 20, false).await;
    world.hour().await;
    world.settle(id, 0).await;
    world.hour().await;
    assert_eq!(world.alerts().await, [], "one look after it was set back tells nothing yet");
    world.log.delete_group(id, None).await.unwrap();
    world.hour().await;
    assert!(world.unread.seen.is_empty());
}

#[test]
fn times_are_told_as_people_say_them() {
    let told =
        [(5, "5 s"), (119, "119 s"), (120, "2 min"), (7_199, "119 min"), (21_600, "6 h"), (700_000, "8 d")];
    for (seconds, text) in told {
        assert_eq!(about(Duration::from_secs(seconds)), text);
    }
}
