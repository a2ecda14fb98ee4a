//! The gRPC edge: the public API over HTTP/2, with health and reflection. It reads requests, asks the log or
//! the gateway, and writes answers; what the API's types mean inside is `convert`'s to say, and how errors
//! look is `status`'s.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::server::NamedService as _;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::clock::{Clock, Ids};
use crate::gateway::desk::Desk;
use crate::gateway::directory::Directory;
use crate::gateway::groups::Groups;
use crate::gateway::media::Media;
use crate::gateway::quarantine::Quarantine;
use crate::gateway::reconcile::Reconcilers;
use crate::shutdown::Shutdown;
use crate::store::EventLog;

mod admin_service;
mod consume;
mod consumer_service;
mod convert;
mod deadline;
mod directory_service;
mod edge;
mod event_service;
mod filter;
mod follow;
mod frame;
mod incoming;
#[doc(hidden)]
pub mod inspect;
mod metrics;
mod pace;
mod page;
pub mod pb;
mod position;
mod reconcile;
mod status;
mod ticket_service;
mod window;

use admin_service::Admin;
use consumer_service::{Consumers, Server as ConsumerServer};
use directory_service::Directories;
use event_service::{Events, REQUEST_BYTES_MAX, Server as EventServer};
use pb::admin_service_server::AdminServiceServer;
use pb::directory_service_server::DirectoryServiceServer;
use pb::ticket_service_server::TicketServiceServer;
use ticket_service::Tickets;

/// How often a silent connection is asked whether it still stands.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long it has to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a client may send on a connection before we take it in; requests are small.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// The same for one stream.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// How long an answer has to leave once nothing else is left to do.
const FLUSH: Duration = Duration::from_millis(500);

/// What callers may pile up, and what tests shorten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Streams of `Subscribe` that may be open at once, over all connections.
    pub streams_max: usize,
    /// Calls that may be open at once on one connection, streams among them.
    pub calls_per_connection_max: u32,
    /// The shortest heartbeat that a caller can ask for.
    pub heartbeat_min: Duration,
    /// How long a stream has, when the process stops, to say goodbye to a client that does not read.
    pub goodbye: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams_max: 20_000,
            calls_per_connection_max: 20_000,
            heartbeat_min: Duration::from_secs(5),
            goodbye: Duration::from_secs(5),
        }
    }
}

/// What the edge stands on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Read by `EventService`.
    pub log: Arc<dyn EventLog>,
    /// Asked by `TicketService`.
    pub desk: Desk,
    /// Asked by `DirectoryService`.
    pub directory: Directory,
    /// Asked by `DirectoryService` for files.
    pub media: Media,
    /// Asked by `AdminService`.
    pub quarantine: Quarantine,
    /// Asked by `AdminService` to read a bot back.
    pub reconcilers: Reconcilers,
    /// Asked by `ConsumerService`.
    pub groups: Groups,
    /// The clock that readers are told of.
    pub clock: Arc<dyn Clock>,
    /// Names streams, and calls that bring no id.
    pub ids: Arc<dyn Ids>,
    /// When to stop.
    pub shutdown: Shutdown,
    /// What callers may pile up.
    pub limits: Limits,
}

/// The edge, ready to serve.
#[derive(Debug)]
pub struct Grpc {
    parts: Parts,
    events: Events,
    consumers: Consumers,
    edge: edge::Edge,
    streams: TaskTracker,
}

impl Grpc {
    /// Puts the edge together; `registry` will tell what it counts.
    pub fn new(parts: Parts, registry: &mut Registry) -> Self {
        let metrics = metrics::Metrics::register(registry);
        let Parts { log, desk, groups, clock, ids, shutdown, limits, .. } = &parts;
        let streams = TaskTracker::new();
        let shared = follow::Shared {
            log: Arc::clone(log),
            window: window::Window::new(Arc::clone(log)),
            clock: Arc::clone(clock),
            shutdown: shutdown.clone(),
            metrics: metrics.clone(),
            streams: streams.clone(),
            taken: AtomicUsize::new(0),
            streams_max: limits.streams_max,
        };
        let (shared, heartbeat_min) = (Arc::new(shared), limits.heartbeat_min);
        let consumers =
            Consumers::new(groups.clone(), Arc::clone(&shared), Arc::clone(ids), desk.bots(), heartbeat_min);
        let events = Events::new(shared, Arc::clone(ids), desk.bots(), heartbeat_min);
        let (ids, shutdown) = (Arc::clone(ids), shutdown.clone());
        let edge = edge::Edge { ids, metrics, shutdown, calls: TaskTracker::new() };
        Self { parts, events, consumers, edge, streams }
    }

    /// Serves until the process stops: then streams end with a resume point, calls that were begun are
    /// answered, and whoever does not read is cut off.
    pub async fn serve(self, listener: TcpListener) -> anyhow::Result<()> {
        let Self { parts, events, consumers, edge, streams } = self;
        let Parts { log, desk, directory, media, quarantine, reconcilers, clock, shutdown, limits, .. } =
            parts;
        let cut = CancellationToken::new();
        let (reporter, health) = tonic_health::server::health_reporter();
        report(&reporter, ServingStatus::Serving).await;
        let open = Open { calls: edge.calls.clone(), streams: streams.clone(), goodbye: limits.goodbye };
        drop(shutdown.spawn(stop(shutdown.clone(), open, reporter, cut.clone())));

        let admin = Admin::new(quarantine, (reconcilers, clock), desk.bots(), (log.id(), shutdown.clone()));
        let admin = AdminServiceServer::new(admin).max_decoding_message_size(REQUEST_BYTES_MAX);
        let directories = Directories::new(directory, media, log.id(), edge.metrics.clone(), streams);
        let directories =
            DirectoryServiceServer::new(directories).max_decoding_message_size(REQUEST_BYTES_MAX);
        let tickets = TicketServiceServer::new(Tickets::new(desk, log.id()))
            .max_decoding_message_size(REQUEST_BYTES_MAX);
        let soft = shutdown.soft().clone();
        tonic::transport::Server::builder()
            .max_concurrent_streams(limits.calls_per_connection_max)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(edge)
            .add_service(EventServer::new(events))
            .add_service(tickets)
            .add_service(directories)
            .add_service(ConsumerServer::new(consumers))
            .add_service(admin)
            .add_service(health)
            .add_service(reflection().build_v1().context("reflection v1")?)
            .add_service(reflection().build_v1alpha().context("reflection v1alpha")?)
            .serve_with_incoming_shutdown(
                incoming::accept(listener, soft.clone(), cut.clone()),
                soft.cancelled(),
            )
            .await
            .context("the gRPC server")?;
        // Whatever ended the server, its connections end with it.
        cut.cancel();
        Ok(())
    }
}

/// Serves the API on `listener` until the process stops; `registry` is told what it counts.
pub async fn serve(listener: TcpListener, parts: Parts, registry: &mut Registry) -> anyhow::Result<()> {
    Grpc::new(parts, registry).serve(listener).await
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// The names under which health is told: the whole, and each service.
const HEALTH_NAMES: [&str; 6] = [
    "",
    EventServer::NAME,
    TicketServiceServer::<Tickets>::NAME,
    DirectoryServiceServer::<Directories>::NAME,
    ConsumerServer::NAME,
    AdminServiceServer::<Admin>::NAME,
];

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        reporter.set_service_status(name, status).await;
    }
}

/// What has begun and not ended.
struct Open {
    calls: TaskTracker,
    streams: TaskTracker,
    goodbye: Duration,
}

/// Sees to the end: tells health, gives everyone the time to finish, then cuts what is left.
async fn stop(shutdown: Shutdown, open: Open, mut reporter: HealthReporter, cut: CancellationToken) {
    tokio::select! {
        // The server may end by itself, and nothing is left to see to.
        () = cut.cancelled() => return,
        () = shutdown.soft().cancelled() => {}
    }
    report(&reporter, ServingStatus::NotServing).await;
    let Open { calls, streams, goodbye } = open;
    calls.close();
    streams.close();
    let done = async {
        // Streams end at once, but for those whose client does not read.
        drop(tokio::time::timeout(goodbye, streams.wait()).await);
        calls.wait().await;
        // Ends those who watch health, which no one else would.
        for name in HEALTH_NAMES {
            reporter.clear_service_status(name).await;
        }
        tokio::time::sleep(FLUSH).await;
    };
    tokio::select! {
        () = cut.cancelled() => {}
        () = shutdown.hard().cancelled() => {}
        () = done => {}
    }
    cut.cancel();
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
