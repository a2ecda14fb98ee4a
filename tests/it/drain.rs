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

/// What came to Desk, by what it came on, once it is what is wanted.
async fn came(world: &World, is_wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    loop {
        let state = world.desk_state().await;
        let requests = state["requests"].as_array().unwrap();
        let on = requests.iter().map(|request| request["on"].as_str().unwrap().to_owned());
        let on: Vec<_> = on.collect();
        if is_wanted(&on) {
            return on;
        }
        let changes = world.desk_url(&format!("/changes/{}", state["revision"]));
        world.http.get(changes).send().await.unwrap();
    }
}

fn messages(on: &[String]) -> usize {
    on.iter().filter(|on| *on == "messages").count()
}

/// The messages that came to Desk, once there are so many at least.
async fn arrived(world: &World, count: usize) -> usize {
    messages(&came(world, |on| messages(on) >= count).await)
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

/// Messages have a rate of their own: those that wait for it are in no other command's way.
#[tokio::test(flavor = "multi_thread")]
async fn commands_do_not_wait_for_the_rate_of_messages() {
    const WAITING: usize = 30;
    let mut world = World::start().await;
    slow_down(&mut world, 1).await;
    for number in 0..WAITING {
        let (_, ticket_id) = world.customer("oi").await;
        world.tickets().await.send(send(&ticket_id, &number.to_string(), true)).await.unwrap();
    }
    let (_, ticket_id) = world.customer("oi").await;
    let assign = pb::AssignRequest {
        ticket_id: ticket_id.clone(),
        agent: "maria.souza@example.com".to_owned(),
        options: Some(pb::CommandOptions { accept_only: true, ..pb::CommandOptions::default() }),
        ..pb::AssignRequest::default()
    };
    world.tickets().await.assign(assign).await.unwrap();
    for count in 1.. {
        let told = timeout(PATIENCE, settled(&world, count)).await.unwrap();
        let (of, told) = told.last().unwrap();
        if *of == ticket_id {
            assert_eq!(told.state(), pb::CommandState::Succeeded);
            break;
        }
    }
    let sent = messages(&came(&world, |_| true).await);
    assert!(sent < WAITING - 16, "{sent} messages were sent before it");
}
