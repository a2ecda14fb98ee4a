//! A gateway that is killed while it sends what an outage has left: whatever only waits for the bot's rate was not sent, and
//! goes out after the next start.

use std::collections::BTreeMap;
use std::fs;

use deskgate::grpc::pb;
use tokio::time::timeout;

use crate::outbox::{received, send, settled};
use crate::support::{PATIENCE, World};

/// Messages, each on a ticket of its own.
const MESSAGES: usize = 8;

/// Restarts the gateway with another rate of messages.
pub(crate) async fn slow_down(world: &mut World, per_second: u32) {
    world.gateway.kill();
    let file = world.folder.path().join("deskgate.toml");
    let text = fs::read_to_string(&file).unwrap();
    let slower = text.replace("messages = 1000", &format!("messages = {per_second}"));
    assert_ne!(text, slower);
    fs::write(file, slower).unwrap();
    world.restart().await;
}

/// The messages that came to Desk, once there are so many at least.
async fn arrived(world: &World, count: usize) -> usize {
    loop {
        let state = world.desk_state().await;
        let requests = state["requests"].as_array().unwrap();
        let messages = requests.iter().filter(|request| request["on"] == "messages").count();
        if messages >= count {
            return messages;
        }
        let changes = world.desk_url(&format!("/changes/{}", state["revision"]));
        world.http.get(changes).send().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_rate_at_kill_9_is_sent_once() {
    let mut world = World::start().await;
    slow_down(&mut world, 1).await;
    let mut expected = BTreeMap::new();
    for number in 0..MESSAGES {
        let (_, ticket_id) = world.customer("oi").await;
        let text = format!("{ticket_id} {number}");
        world.tickets().await.send(send(&ticket_id, &text, true)).await.unwrap();
        expected.insert(ticket_id, vec![text]);
    }
    // One goes a second: at each kill, the next is not due yet, and all others wait behind it.
    let mut came = 0;
    for _ in 0..3 {
        came = timeout(PATIENCE, arrived(&world, came + 1)).await.unwrap();
        assert!(came < MESSAGES, "some are to wait still");
        world.gateway.kill();
        world.restart().await;
    }
    let told = settled(&world, MESSAGES).await;
    assert!(told.iter().all(|(_, told)| told.state() == pb::CommandState::Succeeded), "{told:?}");
    assert_eq!(received(&world).await, expected, "each message once");
}
