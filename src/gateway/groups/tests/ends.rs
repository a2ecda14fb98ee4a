//! A group's task ends: everybody hears so, and why, however late they come.

use super::*;

/// What a member hears last.
async fn end_of(member: &Membership) -> GroupError {
    let heard = async {
        loop {
            if let ToMember::End(End::Failed(error)) = member.outbox.next().await {
                break error;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), heard).await.expect("it hears the end")
}

impl World {
    /// Waits until the group's task stands at the gate, and so many wait for it.
    async fn stands(&self, waiting: usize) {
        let handle = self.groups.known().get("crm").cloned().unwrap();
        let is_so = || {
            let waits = INPUTS_MAX - handle.inbox.capacity();
            self.store.came.load(Ordering::Acquire) > 0 && waits == waiting
        };
        while !is_so() {
            tokio::task::yield_now().await;
        }
    }

    fn deleting(&self) -> tokio::task::JoinHandle<Result<(), GroupError>> {
        let groups = self.groups.clone();
        self.groups.parts.shutdown.spawn(async move { groups.delete("crm", None).await })
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_a_group_is_deleted_hears_so() {
    let gone = GroupError::NotFound("crm".to_owned());
    // Taken in after the deletion, in one go with it.
    let world = World::new(ExpiredPolicy::Fail).await;
    let gate = world.store.gate.lock().await;
    let groups = world.groups.clone();
    let updating = async move { groups.update("crm", None, GroupSettings::default()).await };
    let updating = world.groups.parts.shutdown.spawn(updating);
    world.stands(0).await;
    let deleting = world.deleting();
    world.stands(1).await;
    let member = world.join().await;
    let settling = world.groups.settle("crm", Vec::new());
    drop(gate);
    assert_eq!(settling.await.unwrap_err(), gone);
    assert_eq!(end_of(&member).await, gone);
    assert!(updating.await.unwrap().is_ok() && deleting.await.unwrap().is_ok());
    // Never taken in.
    let world = World::new(ExpiredPolicy::Fail).await;
    let gate = world.store.gate.lock().await;
    let deleting = world.deleting();
    world.stands(0).await;
    let member = world.join().await;
    drop(gate);
    assert_eq!(end_of(&member).await, gone);
    assert!(deleting.await.unwrap().is_ok());
    assert_eq!(world.pull().await.unwrap_err(), gone);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_broke_down_is_not_said_to_be_gone() {
    let world = World::new(ExpiredPolicy::Fail).await;
    let broken = GroupError::Broken("crm".to_owned());
    let member = world.join().await;
    world.store.panics.store(true, Ordering::Release);
    let gate = world.store.gate.lock().await;
    world.put(1..=1).await;
    world.stands(0).await;
    let late = world.join().await;
    let pulling = world.pull();
    drop(gate);
    assert_eq!(pulling.await.unwrap_err(), broken);
    assert_eq!((end_of(&member).await, end_of(&late).await), (broken.clone(), broken.clone()));
    assert_eq!(world.groups.settle("crm", Vec::new()).await.unwrap_err(), broken);
    world.store.panics.store(false, Ordering::Release);
    // It begins again by itself.
    let pulled = loop {
        match world.pull().await {
            Ok(pulled) => break pulled,
            Err(error) => assert_eq!(error, broken),
        }
        tokio::time::sleep(READ_PAUSE).await;
    };
    assert_eq!(pulled.deliveries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_member_settled_is_answered_before_it_hears_the_end() {
    let world = World::new(ExpiredPolicy::Fail).await;
    world.put(1..=1).await;
    let member = world.join().await;
    let first = delivery(&member).await;
    let voice = member.voice();
    let settlement = || vec![("first".to_owned(), (Some(first.id), Outcome::Ack))];
    // It settles in the same step in which the group finds that it has lost events …
    let gate = world.store.gate.lock().await;
    let groups = world.groups.clone();
    let updating = async move { groups.update("crm", None, GroupSettings::default()).await };
    let updating = world.groups.parts.shutdown.spawn(updating);
    world.stands(0).await;
    world.put(2..=3).await;
    world.trim();
    voice.settle(7, settlement()).await.unwrap();
    drop(gate);
    assert!(updating.await.unwrap().is_ok());
    let done = vec![("first".to_owned(), SettleState::Done)];
    loop {
        match member.outbox.next().await {
            ToMember::Report { batch_id: 7, results } => break assert_eq!(results, done),
            ToMember::CaughtUp(_) => {}
            other @ (ToMember::Delivery(_)
            | ToMember::Report { .. }
            | ToMember::Gap(_)
            | ToMember::GoingAway(_)
            | ToMember::End(_)) => panic!("not answered: {other:?}"),
        }
    }
    assert!(matches!(end_of(&member).await, GroupError::Expired { .. }));
    // … or closes its side at once.
    world.groups.seek("crm", Seq(3)).await.unwrap();
    let member = world.join().await;
    let voice = member.voice();
    voice.settle(8, settlement()).await.unwrap();
    voice.stop(true).await.unwrap();
    loop {
        match member.outbox.next().await {
            ToMember::Report { batch_id: 8, .. } => break,
            ToMember::CaughtUp(_) => {}
            other @ (ToMember::Delivery(_)
            | ToMember::Report { .. }
            | ToMember::Gap(_)
            | ToMember::GoingAway(_)
            | ToMember::End(_)) => panic!("not answered: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_made_and_not_told_is_found() {
    let world = World::new(ExpiredPolicy::Fail).await;
    let settings = |max_attempts| GroupSettings { max_attempts, ..GroupSettings::default() };
    world.store.hides.store(true, Ordering::Release);
    assert!(matches!(world.groups.update("crm", Some(1), settings(7)).await, Err(GroupError::Store(_))));
    let changed = world.groups.update("crm", Some(1), settings(8)).await;
    assert!(matches!(changed, Err(GroupError::Changed { revision: 2, .. })), "{changed:?}");
    // Whoever looks again finds what there is, and can go on from it.
    let group = world.groups.group("crm").await.unwrap().group;
    assert_eq!((group.revision, group.settings.max_attempts), (2, 7));
    let changed = world.groups.update("crm", Some(2), settings(8)).await.unwrap().group;
    assert_eq!((changed.revision, changed.settings.max_attempts), (3, 8));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_was_done_and_not_told_is_found() {
    let world = World::new(ExpiredPolicy::Fail).await;
    let gone = GroupError::NotFound("crm".to_owned());
    let member = world.join().await;
    world.store.hides.store(true, Ordering::Release);
    assert!(matches!(world.groups.delete("crm", None).await, Err(GroupError::Store(_))));
    assert_eq!(world.groups.delete("crm", None).await, Err(gone.clone()));
    assert_eq!(end_of(&member).await, gone);
    assert!(world.groups.create("crm".to_owned(), GroupSettings::default(), Seq(0)).await.is_ok());
    world.put(1..=1).await;
    assert_eq!(world.pull().await.unwrap().deliveries.len(), 1, "the new one is at work");
}
