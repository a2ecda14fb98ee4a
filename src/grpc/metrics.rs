//! What the gRPC edge counts. The prefix of the names is given by whoever owns the registry.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tonic::Code;

/// The counters of this edge; clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    /// Streams of `Subscribe` that are open.
    pub(super) streams: Gauge,
    /// Events put on the way to subscribers.
    pub(super) events_sent: Counter,
    /// Streams that left the live window.
    pub(super) fell_behind: Counter,
    calls: Family<Call, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: &'static str,
    code: &'static str,
}

impl Metrics {
    /// Counters that `registry` tells about.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { streams, events_sent, fell_behind, calls } = metrics.clone();
        registry.register("grpc_streams", "Open streams of Subscribe", streams);
        registry.register("grpc_events_sent", "Events put on the way to subscribers", events_sent);
        registry.register("grpc_fell_behind", "Times a stream fell behind the newest events", fell_behind);
        registry.register("grpc_calls", "Ended calls by method and status", calls);
        metrics
    }

    /// Counts the end of a call.
    pub(super) fn ended(&self, method: &'static str, code: Code) {
        self.calls.get_or_create(&Call { method, code: code_name(code) }).inc();
    }
}

/// The published name of a status code.
pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
