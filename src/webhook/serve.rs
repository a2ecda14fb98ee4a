//! The connections: HTTP/1.1 and HTTP/2 on one port, bounded in number and in idleness. A stop lets the requests
//! that run have their answer.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::doze::Doze;
use super::{Accept, Webhook};
use crate::gateway::notice::Notice;
use crate::shutdown::Shutdown;

/// Connections held at a time; more wait unaccepted.
const CONNECTIONS_MAX: usize = 4096;

/// A connection on which nothing happens for one to two of these is closed. Longer than the pools of common clients
/// keep one (100 s), lest they send on a connection we are closing.
const IDLE_LOOK: Duration = Duration::from_secs(150);

/// How long a connection has to end by itself after the stop.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Pause after a failed accept, which is most often one of too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Headers beyond this get 431.
const HEADER_BYTES_MAX: usize = 64 * 1024;
const HTTP2_STREAMS_MAX: u32 = 256;
const HTTP2_PING_INTERVAL: Duration = Duration::from_mins(1);

/// Serves until `stop`, then lets connections end; the hard token ends them at once. While the soft token is
/// cancelled and `stop` is not, new webhooks are answered 503.
pub async fn serve<A: Accept>(
    listener: TcpListener,
    webhook: Arc<Webhook<A>>,
    shutdown: Shutdown,
    stop: CancellationToken,
) {
    let http = builder();
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let notice = Notice::default();
    let accepting = async {
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let socket = accept(&listener, &notice).await;
            let end = (stop.clone(), shutdown.hard().clone());
            let serving = connection(socket, http.clone(), Arc::clone(&webhook), end);
            connections.spawn(async move {
                serving.await;
                drop(slot);
            });
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = shutdown.hard().cancelled() => {}
        () = accepting => {}
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    // An answer is one small piece: to send it so costs the kernel less than to gather it from a list.
    http.http1().max_buf_size(HEADER_BYTES_MAX).writev(false);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .max_concurrent_streams(HTTP2_STREAMS_MAX);
    http
}

async fn accept(listener: &TcpListener, notice: &Notice) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return socket,
            Err(error) => {
                if let Some(suppressed) = notice.permit() {
                    tracing::warn!(%error, suppressed, "a webhook connection could not be accepted");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<A: Accept>(
    socket: TcpStream,
    http: Builder<TokioExecutor>,
    webhook: Arc<Webhook<A>>,
    (stop, hard): (CancellationToken, CancellationToken),
) {
    // Only latency is lost without it.
    let _ = socket.set_nodelay(true);
    let handler = Arc::new(Handler { webhook, begun: AtomicU64::new(0), ended: AtomicU64::new(0) });
    let service = service_fn(|request: Request<Incoming>| {
        let running = Running::begin(&handler);
        async move { Ok::<_, Infallible>(running.0.webhook.handle(request).await) }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
    let end = Doze::new(async {
        tokio::select! {
            () = hard.cancelled() => End::Hard,
            () = stop.cancelled() => End::Gentle,
            () = handler.idle() => End::Gentle,
        }
    });
    tokio::select! {
        biased;
        // A connection's own errors are its caller's business: it broke off, or spoke no HTTP.
        _ = connection.as_mut() => return,
        end = end => match end {
            End::Hard => return,
            End::Gentle => {}
        },
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = hard.cancelled() => {}
        () = handler.quiet() => {}
    }
}

/// How a connection is ended.
enum End {
    Gentle,
    Hard,
}

/// A connection's requests, counted.
struct Handler<A> {
    webhook: Arc<Webhook<A>>,
    begun: AtomicU64,
    ended: AtomicU64,
}

impl<A> Handler<A> {
    /// Waits until nothing has happened for one to two looks.
    async fn idle(&self) {
        let mut begun_before = 0;
        loop {
            sleep(IDLE_LOOK).await;
            let begun = self.begun.load(Ordering::Relaxed);
            if begun == begun_before && begun == self.ended.load(Ordering::Relaxed) {
                return;
            }
            begun_before = begun;
        }
    }

    /// Waits until nothing has run for [`CLOSE_GRACE`]: what is left of the connection is a caller that neither
    /// finishes a request nor hangs up.
    async fn quiet(&self) {
        loop {
            let before = self.begun.load(Ordering::Relaxed);
            sleep(CLOSE_GRACE).await;
            let begun = self.begun.load(Ordering::Relaxed);
            if begun == before && begun == self.ended.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Counts a request's end, also where its caller hangs up and it is dropped.
struct Running<A>(Arc<Handler<A>>);

impl<A> Running<A> {
    fn begin(handler: &Arc<Handler<A>>) -> Self {
        handler.begun.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(handler))
    }
}

impl<A> Drop for Running<A> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}
