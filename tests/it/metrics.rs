//! The metrics list: what `/metrics` serves and what `docs/METRICS.md` documents are the same.

use std::collections::BTreeSet;

use deskgate::grpc::pb;
use deskgate::grpc::pb::consumer_service_client::ConsumerServiceClient;

use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_documented() {
    let world = World::start().await;
    let (_, ticket_id) = world.customer("oi").await;
    let request = pb::SendRequest { ticket_id, text: "oi".to_owned(), ..Default::default() };
    world.tickets().await.send(request).await.unwrap();
    let group = pb::ConsumerGroup { group: "crm".to_owned(), ..Default::default() };
    let request = pb::CreateConsumerGroupRequest { consumer_group: Some(group) };
    let mut groups = ConsumerServiceClient::new(world.channel().await);
    groups.create_consumer_group(request).await.unwrap();
    let served = world.http.get(world.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
    let served: BTreeSet<_> = served
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            if kind == "counter" { format!("{name}_total") } else { name.to_owned() }
        })
        .collect();
    let documented: BTreeSet<_> = include_str!("../../docs/METRICS.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(served, documented);
}
