//! Waiting for a bot's rate: a turn that comes in time is waited for, and whoever is turned away hears when to come again.

use std::time::Duration;

use deskgate::grpc::pb;
use tokio::time::timeout;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::drain::slow_down;
use crate::support::{PATIENCE, World, reason_of};

/// Waits until so many messages wait for the rate.
async fn until_waiting(world: &World, count: usize) {
    let gauge = format!("deskgate_blip_waiting{{bot=\"suporte\",kind=\"message\"}} {count}");
    loop {
        let answer = world.http.get(world.admin_url("/metrics")).send().await.unwrap();
        if answer.text().await.unwrap().lines().any(|line| line == gauge) {
            return;
        }
    }
}

/// Says something in a ticket, within this time if one is given.
async fn say(world: &World, ticket_id: &str, within: Option<Duration>) -> Result<(), tonic::Status> {
    let (ticket_id, text) = (ticket_id.to_owned(), "oi".to_owned());
    let mut request = Request::new(pb::SendRequest { ticket_id, text, ..Default::default() });
    if let Some(within) = within {
        request.set_timeout(within);
    }
    world.tickets().await.send(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_in_time_is_waited_for_and_who_is_turned_away_hears_when_to_come() {
    let mut world = World::start().await;
    slow_down(&mut world, 1).await;
    let mut tickets = Vec::new();
    for _ in 0..6 {
        tickets.push(world.customer("oi").await.1);
    }
    say(&world, &tickets[0], None).await.unwrap();
    let say = |number: usize, within| say(&world, &tickets[number], within);
    let others = async { tokio::join!(say(1, None), say(2, None), say(3, None)) };
    let after = async {
        timeout(PATIENCE, until_waiting(&world, 3)).await.unwrap();
        // The one's turn is 4.2 s away at most, the other's two seconds at least.
        tokio::join!(say(4, Some(Duration::from_millis(5_500))), say(5, Some(Duration::from_secs(1))))
    };
    let ((first, second, third), (in_time, late)) = tokio::join!(others, after);
    for answer in [first, second, third, in_time] {
        answer.unwrap();
    }
    let status = late.unwrap_err();
    let reason = reason_of(&status).0;
    assert_eq!((status.code(), reason.as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    let told = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(told >= Duration::from_millis(100), "{told:?}");
}
