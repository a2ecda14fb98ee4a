//! What tests of groups under fire share: members in other languages that write down what they see, a proxy that stops
//! forwarding, load that outlasts a gateway, and members of our own.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use deskgate::grpc::pb;
use deskgate::grpc::pb::consumer_service_client::ConsumerServiceClient;
use pb::consume_request::Message as Ask;
use pb::consume_response::Message as Told;
use pb::settlement::Outcome;
use pb::start_position::Position;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::clients::tool;
use crate::history::{Line, Truth};
use crate::support::{PATIENCE, TOKEN, World, at, message};

pub(crate) type Groups = ConsumerServiceClient<Channel>;

/// Where clients connect: to the gateway, wherever it is, or to nobody while it is frozen.
pub(crate) struct Proxy {
    pub(crate) address: String,
    target: Arc<Mutex<String>>,
    /// Of the connections that are made now.
    frozen: Arc<Mutex<watch::Sender<bool>>>,
}

impl Proxy {
    pub(crate) async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (target, frozen) =
            (Arc::new(Mutex::new(target)), Arc::new(Mutex::new(watch::Sender::new(false))));
        let proxy = Self { address, target: Arc::clone(&target), frozen: Arc::clone(&frozen) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, frozen) = (target.lock().unwrap().clone(), frozen.lock().unwrap().subscribe());
                tokio::spawn(async move {
                    let Ok(gateway) = TcpStream::connect(target).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_gateway, to_gateway) = gateway.into_split();
                    let up = forward(from_client, to_gateway, frozen.clone());
                    let down = forward(from_gateway, to_client, frozen);
                    tokio::select! { () = up => {}, () = down => {} } // then both are closed
                });
            }
        });
        proxy
    }

    /// The gateway is elsewhere now.
    pub(crate) fn point_at(&self, target: String) {
        *self.target.lock().unwrap() = target;
    }

    /// Connections stay, and nothing passes: what a cut cable looks like.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.lock().unwrap().send_replace(frozen);
    }

    /// The same for the connections there are, for good; later ones pass.
    pub(crate) fn cut_off(&self) {
        let frozen = std::mem::replace(&mut *self.frozen.lock().unwrap(), watch::Sender::new(false));
        frozen.send_replace(true);
        std::mem::forget(frozen); // where it is dropped, they would end
    }
}

async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut frozen: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else { return };
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// A member that is a process of its own.
pub(crate) struct Outsider(Child);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Language {
    Python,
    Node,
}

impl Outsider {
    /// Joins `group` by way of `server`; writes into a file of its own in `history`, and fails at some of the events.
    pub(crate) fn start(language: Language, server: &str, group: &str, history: &Path, name: &str) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut command = match language {
            Language::Python => {
                let mut command = Command::new(tool("python/bin/python"));
                let path = std::env::join_paths([tool("stubs"), root.join("examples")]).unwrap();
                command.arg(root.join("tests/clients/member.py"));
                command.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            Language::Node => {
                let mut command = Command::new("node");
                command.arg(root.join("tests/clients/member.js"));
                command.env("NODE_PATH", tool("node/node_modules"));
                command
            }
        };
        command.arg(server).arg(group).arg(history.join(format!("{name}.jsonl"))).arg("5");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// As a power cut would.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Posts messages as Blip does; what the gateway does not take is posted again until it does.
#[derive(Clone)]
pub(crate) struct Load {
    http: reqwest::Client,
    url: Arc<Mutex<String>>,
}

impl Load {
    pub(crate) fn on(world: &World) -> Self {
        Self { http: world.http.clone(), url: Arc::new(Mutex::new(world.webhook_url())) }
    }

    /// The gateway is elsewhere now.
    pub(crate) fn point_at(&self, world: &World) {
        *self.url.lock().unwrap() = world.webhook_url();
    }

    /// Messages of as many tickets in turn, each ticket's one after the other.
    pub(crate) async fn post(self, tickets: usize, each: usize, text: &str) {
        let (turns, text) = (Arc::new(tokio::sync::Semaphore::new(32)), Arc::<str>::from(text));
        let mut all = tokio::task::JoinSet::new();
        for ticket in 0..tickets {
            let (load, turns, text) = (self.clone(), Arc::clone(&turns), Arc::clone(&text));
            all.spawn(async move {
                for number in 0..each {
                    let _turn = turns.acquire().await.unwrap();
                    load.one(&format!("ticket-{ticket}"), &format!("{ticket}-{number}"), &text).await;
                }
            });
        }
        while let Some(posted) = all.join_next().await {
            posted.unwrap();
        }
    }

    pub(crate) async fn one(&self, ticket: &str, id: &str, text: &str) {
        let body = message(ticket, id, text);
        let mut again = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            let url = self.url.lock().unwrap().clone();
            let request = self.http.post(url).header("Authorization", format!("Key {TOKEN}"));
            if request.body(body.clone()).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            again.tick().await;
        }
    }
}

/// A member of our own.
pub(crate) struct Member {
    asks: mpsc::Sender<pb::ConsumeRequest>,
    stream: tonic::Streaming<pb::ConsumeResponse>,
    /// What it has written down.
    pub(crate) lines: Vec<Line>,
    began: tokio::time::Instant,
    /// Deliveries that came while something else was waited for.
    early: VecDeque<pb::Delivery>,
}

impl Member {
    /// Joins, and has heard `started`.
    pub(crate) async fn join(
        groups: &mut Groups,
        group: &str,
        max: u32,
        began: tokio::time::Instant,
    ) -> Self {
        let (asks, outgoing) = mpsc::channel(1_024);
        let start = pb::ConsumeStart {
            group: group.to_owned(),
            max_outstanding_events: max,
            heartbeat_interval: Some(seconds(5)),
            ..Default::default()
        };
        asks.send(pb::ConsumeRequest { message: Some(Ask::Start(start)) }).await.unwrap();
        let stream = groups.consume(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        let mut member = Self { asks, stream, lines: Vec::new(), began, early: VecDeque::new() };
        let first = member.told().await;
        assert!(matches!(first, Told::Started(_)), "{first:?}");
        member
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap()
    }

    /// The next message but signs of life.
    pub(crate) async fn told(&mut self) -> Told {
        loop {
            let told = timeout(PATIENCE, self.stream.message()).await.unwrap().unwrap();
            match told.unwrap().message {
                Some(Told::Checkpoint(_)) | None => {}
                Some(Told::Delivery(delivery)) => {
                    self.lines.push(Line::Delivered {
                        at: self.now(),
                        delivery_id: delivery.delivery_id.clone(),
                        event_id: delivery.event.clone().unwrap().event_id,
                        attempt: delivery.attempt.into(),
                        token: delivery.fencing_token,
                    });
                    return Told::Delivery(delivery);
                }
                Some(Told::Settled(report)) => {
                    self.lines.extend(report.results.iter().map(written));
                    return Told::Settled(report);
                }
                Some(told) => return told,
            }
        }
    }

    /// The next delivery, whatever else comes before it.
    pub(crate) async fn delivery(&mut self) -> pb::Delivery {
        if let Some(delivery) = self.early.pop_front() {
            return delivery;
        }
        loop {
            if let Told::Delivery(delivery) = self.told().await {
                return delivery;
            }
        }
    }

    /// The next report on settlements.
    pub(crate) async fn report(&mut self) -> pb::SettleReport {
        loop {
            match self.told().await {
                Told::Settled(report) => return report,
                Told::Delivery(delivery) => self.early.push_back(delivery),
                _ => {}
            }
        }
    }

    pub(crate) async fn settle(&mut self, delivery: &pb::Delivery, outcome: Outcome) {
        self.note(delivery, &outcome);
        let settlements =
            vec![pb::Settlement { delivery_id: delivery.delivery_id.clone(), outcome: Some(outcome) }];
        let batch = Ask::Settle(pb::SettleBatch { batch_id: 7, settlements });
        self.asks.send(pb::ConsumeRequest { message: Some(batch) }).await.unwrap();
    }

    /// Writes down that it is about to be settled.
    pub(crate) fn note(&mut self, delivery: &pb::Delivery, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Ack(_) => "ack",
            Outcome::Retry(_) => "retry",
            Outcome::Park(_) => "park",
            Outcome::Extend(_) => return,
        };
        let (delivery_id, at) = (delivery.delivery_id.clone(), self.now());
        self.lines.push(Line::Settling { at, delivery_id, outcome: outcome.to_owned() });
    }
}

pub(crate) fn written(result: &pb::SettleResult) -> Line {
    Line::Settled { delivery_id: result.delivery_id.clone(), state: result.state().as_str_name().to_owned() }
}

pub(crate) fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

pub(crate) fn ack() -> Outcome {
    Outcome::Ack(pb::Ack {})
}

pub(crate) async fn groups(world: &World) -> Groups {
    ConsumerServiceClient::new(world.channel().await)
}

/// Makes a group that begins with the oldest event.
pub(crate) async fn make(groups: &mut Groups, group: pb::ConsumerGroup) {
    let start = Some(at(Position::Earliest(true)));
    let consumer_group = Some(pb::ConsumerGroup { start, ..group });
    groups.create_consumer_group(pb::CreateConsumerGroupRequest { consumer_group }).await.unwrap();
}

pub(crate) async fn status(groups: &mut Groups, group: &str) -> pb::ConsumerGroupStatus {
    let request = pb::GetConsumerGroupRequest { group: group.to_owned() };
    groups.get_consumer_group(request).await.unwrap().into_inner().consumer_group.unwrap().status.unwrap()
}

/// What the log holds, in its order.
pub(crate) async fn truth(world: &World) -> Vec<Truth> {
    let request = pb::SubscribeRequest {
        start: Some(at(Position::Earliest(true))),
        stop_when_caught_up: true,
        view: pb::EventView::Envelope.into(),
        ..Default::default()
    };
    let events = world.read(request).await.into_iter();
    let ticket = |event: &pb::Event| match event.ticket_sequence {
        0 => String::new(),
        _ => format!("{}/{}", event.bot, event.ticket_id),
    };
    let truth: Vec<_> = events
        .map(|event| Truth {
            ticket: ticket(&event),
            event_id: event.event_id,
            ticket_sequence: event.ticket_sequence,
        })
        .collect();
    let mut last: HashMap<&str, u64> = HashMap::new();
    for event in truth.iter().filter(|event| !event.ticket.is_empty()) {
        let before = last.insert(&event.ticket, event.ticket_sequence).unwrap_or_default();
        assert_eq!(event.ticket_sequence, before + 1, "the log itself has no holes");
    }
    truth
}

/// A folder for what members write down, and how much they have written.
pub(crate) struct Notes(pub(crate) TempDir);

impl Notes {
    pub(crate) fn bytes(&self) -> u64 {
        fs::read_dir(self.0.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }
}
