//! Row 10: a log worked off by a consumer group of eight members, each event acked, beside one plain `Subscribe` of the same
//! log. Both sides are read by the same kind of client in this process, so what decoding costs weighs on both alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use deskgate::grpc::pb::consume_request::Message as Ask;
use deskgate::grpc::pb::consume_response::Message as Told;
use deskgate::grpc::pb::consumer_service_client::ConsumerServiceClient;
use deskgate::grpc::pb::event_service_client::EventServiceClient;
use deskgate::grpc::pb::settlement::Outcome;
use deskgate::grpc::pb::start_position::Position;
use deskgate::grpc::pb::subscribe_response::Message as Heard;
use deskgate::grpc::pb::{self, StartPosition};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::load;
use crate::process::Server;
use crate::stats::{Rounds, median, real};
use crate::table::{Line, Target, Unit};
use crate::{Settings, progress};

const MEMBERS: usize = 8;

/// Events that a member may hold.
const HELD_MAX: u32 = 200;

pub(crate) fn run(settings: &Settings) -> Result<Vec<Line>> {
    let events = settings.pick(50_000, 5_000);
    let server = Server::deskgate(&settings.scratch)?;
    load::post_messages(server.webhook, events)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut rounds, mut processor) = (Rounds::default(), Vec::new());
    for round in 1..=settings.rounds {
        progress(&format!("a group, round {round} of {}", settings.rounds));
        let name = format!("round-{round}");
        let (ours, used) = settings.quiet.measure(&[&server], || {
            let before = server.processor_time()?;
            let (count, rate) = runtime.block_on(group(&server, &name))?;
            Ok((rate, server.processor_time()?.saturating_sub(before).as_secs_f64() / real(count)))
        })?;
        processor.push(used);
        let plain = settings.quiet.measure(&[&server], || runtime.block_on(plain(&server)))?;
        rounds.push(ours, plain.1);
    }
    Ok(vec![Line {
        row: 10,
        what: format!("a group of {MEMBERS} works off {events} events, each acked"),
        yardstick: "one plain Subscribe of the same",
        unit: Unit::PerSecond,
        rounds,
        target: Target::None,
        note: format!("processor time of the server an event: {:.1} µs", median(processor.into_iter()) * 1e6),
    }])
}

async fn connect(server: &Server) -> Result<Channel> {
    Ok(Channel::from_shared(format!("http://{}", server.grpc))?.connect().await?)
}

fn earliest() -> StartPosition {
    StartPosition { position: Some(Position::Earliest(true)) }
}

/// Events there are, and how many a second one stream has of them.
async fn plain(server: &Server) -> Result<(u64, f64)> {
    let mut client = EventServiceClient::new(connect(server).await?);
    let request = pb::SubscribeRequest {
        start: Some(earliest()),
        stop_when_caught_up: true,
        ..pb::SubscribeRequest::default()
    };
    let started = Instant::now();
    let mut stream = client.subscribe(request).await?.into_inner();
    let mut count = 0;
    while let Some(heard) = stream.message().await? {
        count += u64::from(matches!(heard.message, Some(Heard::Event(_))));
    }
    Ok((count, real(count) / started.elapsed().as_secs_f64()))
}

/// The same of a new group, from its first member until everything is acked.
async fn group(server: &Server, name: &str) -> Result<(u64, f64)> {
    let (total, _) = plain(server).await?;
    let mut client = ConsumerServiceClient::new(connect(server).await?);
    let group =
        pb::ConsumerGroup { group: name.to_owned(), start: Some(earliest()), ..pb::ConsumerGroup::default() };
    client.create_consumer_group(pb::CreateConsumerGroupRequest { consumer_group: Some(group) }).await?;
    let (acked, over) = (Arc::new(AtomicU64::new(0)), watch::Sender::new(false));
    let started = Instant::now();
    let mut members = JoinSet::new();
    for _ in 0..MEMBERS {
        let channel = connect(server).await?;
        members.spawn(member(channel, name.to_owned(), total, Arc::clone(&acked), over.clone()));
    }
    while let Some(ended) = members.join_next().await {
        ended??;
    }
    let elapsed = started.elapsed();
    ensure!(acked.load(Ordering::Acquire) == total, "not everything was acked once");
    client
        .delete_consumer_group(pb::DeleteConsumerGroupRequest { group: name.to_owned(), etag: String::new() })
        .await?;
    Ok((total, real(total) / elapsed.as_secs_f64()))
}

async fn member(
    channel: Channel,
    group: String,
    total: u64,
    acked: Arc<AtomicU64>,
    over: watch::Sender<bool>,
) -> Result<()> {
    let (asks, outgoing) = mpsc::channel(1_024);
    let ask = |message| asks.send(pb::ConsumeRequest { message: Some(message) });
    let start = pb::ConsumeStart { group, max_outstanding_events: HELD_MAX, ..pb::ConsumeStart::default() };
    ask(Ask::Start(start)).await?;
    let mut stream =
        ConsumerServiceClient::new(channel).consume(ReceiverStream::new(outgoing)).await?.into_inner();
    let mut ended = over.subscribe();
    loop {
        let told = tokio::select! {
            told = stream.message() => told?.context("a stream ended")?,
            () = async { drop(ended.wait_for(|over| *over).await) } => return Ok(()),
        };
        match told.message {
            Some(Told::Delivery(delivery)) => {
                let outcome = Some(Outcome::Ack(pb::Ack {}));
                let settlements = vec![pb::Settlement { delivery_id: delivery.delivery_id, outcome }];
                ask(Ask::Settle(pb::SettleBatch { batch_id: 0, settlements })).await?;
            }
            Some(Told::Settled(report)) => {
                let done =
                    report.results.iter().filter(|result| result.state() == pb::SettleState::Done).count();
                let before = acked.fetch_add(u64::try_from(done)?, Ordering::AcqRel);
                if before + u64::try_from(done)? >= total {
                    over.send_replace(true);
                }
            }
            Some(
                Told::Started(_)
                | Told::Checkpoint(_)
                | Told::CaughtUp(_)
                | Told::Gap(_)
                | Told::GoingAway(_)
                | Told::Stopped(_),
            )
            | None => {}
        }
    }
}
