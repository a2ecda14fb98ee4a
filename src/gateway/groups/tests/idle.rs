//! Nobody is there: a group looks past what it does not want, and no further.

use super::*;
use crate::domain::filter::EventFilter;

impl World {
    /// A group that wants only this ticket's.
    async fn group_of(&self, ticket: &str) {
        let filter = EventFilter { ticket_ids: vec![ticket.to_owned()], ..EventFilter::default() };
        let settings = GroupSettings { filter, ..GroupSettings::default() };
        self.groups.create("one".to_owned(), settings, Seq(0)).await.unwrap();
    }

    /// Waits until the store knows that the group has settled everything up to `floor`.
    async fn stands_at(&self, floor: u64) {
        let stood = async {
            loop {
                let groups = self.store.groups().await.unwrap();
                if groups.iter().any(|group| group.name == "one" && group.floor == Seq(floor)) {
                    break;
                }
                tokio::time::sleep(READ_PAUSE).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), stood)
            .await
            .expect("it looks past what it does not want");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_nobody_is_there_for_looks_past_what_it_does_not_want() {
    let world = World::new(ExpiredPolicy::Fail).await;
    world.group_of("t700").await;
    world.put(1..=600).await;
    world.stands_at(600).await;
    world.trim();
    let pulled = world.groups.pull("one", 10, Duration::ZERO, String::new()).await.unwrap();
    assert!(pulled.caught_up && pulled.gap.is_none(), "nothing is lost to it: {pulled:?}");
    // What it wants holds it where it is.
    world.put(601..=1_400).await;
    world.stands_at(699).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.stands_at(699).await;
    world.trim();
    let error = world.groups.pull("one", 10, Duration::ZERO, String::new()).await.unwrap_err();
    assert!(matches!(error, GroupError::Expired { .. }), "{error}");
}
