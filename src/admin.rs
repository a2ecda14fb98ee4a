//! Probes and metrics, on their own port: `/livez`, `/readyz`, `/metrics`. It changes nothing, and shows nothing of
//! a customer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::shutdown::Shutdown;
use crate::store::Health;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a connection has to end by itself after the stop.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Whether the process should be sent work.
#[derive(Debug, Clone)]
pub struct Readiness {
    shutdown: Shutdown,
    store: watch::Receiver<Health>,
}

impl Readiness {
    /// Ready while nothing stops and the store can write.
    pub fn new(shutdown: Shutdown, store: watch::Receiver<Health>) -> Self {
        Self { shutdown, store }
    }

    /// What stands against it, a line each; empty when it is ready.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.shutdown.is_draining() {
            reasons.push("draining: the process is stopping".to_owned());
        }
        match &*self.store.borrow() {
            Health::Ready => {}
            Health::Full => reasons.push("store: the disk is full".to_owned()),
            Health::Failed(what) => reasons.push(format!("store: {}", what.replace(['\r', '\n'], " "))),
        }
        reasons
    }
}

#[derive(Debug, Clone)]
struct Admin {
    readiness: Readiness,
    registry: Arc<Registry>,
}

/// The routes.
pub fn router(readiness: Readiness, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Admin { readiness, registry })
}

/// Serves until `stop`, so that a draining process can still be watched, and cuts connections that then do not end;
/// the hard token ends it at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
    stop: CancellationToken,
) -> io::Result<()> {
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        sleep(CLOSE_GRACE).await;
    };
    tokio::select! {
        result = serving => result,
        () = overdue => Ok(()),
        () = shutdown.hard().cancelled() => Ok(()),
    }
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let reasons = admin.readiness.reasons();
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt;
    use hyper_util::rt::TokioIo;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    /// Status, content type and body of what a real client gets.
    async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String, String) {
        let socket = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(socket).await.unwrap();
        let driving = Shutdown::new().spawn(connection);
        let request = Request::get(path).header("host", "a").header("connection", "close");
        let response = sender.send_request(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        driving.await.unwrap().unwrap();
        let content_type = parts.headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap());
        (parts.status.as_u16(), content_type.to_owned(), text)
    }

    #[tokio::test]
    async fn probes_and_metrics_follow_the_process_until_it_is_stopped() {
        let (shutdown, stop) = (Shutdown::new(), CancellationToken::new());
        let (health, watched) = watch::channel(Health::Ready);
        let mut registry = crate::telemetry::registry();
        registry.register("things", "Things", Counter::<u64>::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = router(Readiness::new(shutdown.clone(), watched), Arc::new(registry));
        let serving = shutdown.spawn(serve(listener, router, shutdown.clone(), stop.clone()));

        assert_eq!(get(address, "/livez").await.0, 200);
        assert_eq!(get(address, "/readyz").await.0, 200);
        let (status, content_type, text) = get(address, "/metrics").await;
        assert_eq!((status, content_type.as_str()), (200, OPENMETRICS));
        assert!(text.contains("deskgate_things_total 0") && text.ends_with("# EOF\n"), "{text}");
        assert_eq!(get(address, "/").await.0, 404);

        health.send_replace(Health::Full);
        let (status, _, text) = get(address, "/readyz").await;
        assert_eq!((status, text.as_str()), (503, "store: the disk is full\n"));
        health.send_replace(Health::Failed("fsync\nfailed".to_owned()));
        shutdown.soft().cancel();
        let (status, _, text) = get(address, "/readyz").await;
        assert_eq!(status, 503);
        assert_eq!(text, "draining: the process is stopping\nstore: fsync failed\n");
        assert_eq!(get(address, "/livez").await.0, 200);
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET /liv").await.unwrap();
        stop.cancel();
        // Who stops in the middle of a line does not hold it up.
        timeout(CLOSE_GRACE * 3, serving).await.unwrap().unwrap().unwrap();
    }
}
