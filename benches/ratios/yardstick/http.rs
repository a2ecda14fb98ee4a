//! What durable ingest is compared with: a handler that does nothing, one that appends to a file, and our own
//! ingest with a commit for every event.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

/// How many bodies one write and one flush take at most.
const BATCH_MAX: usize = 1_024;

/// The same as ours is meant to queue.
const QUEUE_MAX: usize = 8_192;

const PATH: &str = "/webhooks/{bot}";

/// Answers 200 to whatever is posted.
pub(super) fn bare() -> Router {
    Router::new().route(PATH, post(|_body: Bytes| async { StatusCode::OK }))
}

/// Answers 200 to whatever is posted, and moves the number on with every `batch`th.
pub(super) fn counting(batch: u64) -> (Router, watch::Receiver<u64>) {
    let (number, watched) = watch::channel(0);
    let taken = AtomicU64::new(0);
    let state = Arc::new((number, taken));
    let count = move |State(state): State<Arc<(watch::Sender<u64>, AtomicU64)>>, _body: Bytes| async move {
        let taken = state.1.fetch_add(1, Ordering::Relaxed) + 1;
        if taken.is_multiple_of(batch) {
            state.0.send_replace(taken);
        }
        StatusCode::OK
    };
    (Router::new().route(PATH, post(count)).with_state(state), watched)
}

/// Answers 200 once the body is on the disk, behind those that came before it.
pub(super) fn append(file: &Path) -> Result<Router> {
    let mut file = File::create(file)?;
    let (queue, mut queued) = mpsc::channel::<(Bytes, oneshot::Sender<()>)>(QUEUE_MAX);
    thread::spawn(move || {
        let (mut buffer, mut waiting) = (Vec::new(), Vec::new());
        while let Some(first) = queued.blocking_recv() {
            let more = std::iter::from_fn(|| queued.try_recv().ok());
            for (body, answer) in std::iter::once(first).chain(more).take(BATCH_MAX) {
                buffer.extend_from_slice(&body);
                waiting.push(answer);
            }
            if file.write_all(&buffer).and_then(|()| file.sync_data()).is_err() {
                break;
            }
            buffer.clear();
            for answer in waiting.drain(..) {
                // A caller that hung up does not wait for its answer.
                let _gone = answer.send(());
            }
        }
    });
    Ok(Router::new().route(PATH, post(appended)).with_state(queue))
}

async fn appended(
    State(queue): State<mpsc::Sender<(Bytes, oneshot::Sender<()>)>>,
    body: Bytes,
) -> StatusCode {
    let (answer, answered) = oneshot::channel();
    if queue.try_send((body, answer)).is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    answered.await.map_or(StatusCode::INTERNAL_SERVER_ERROR, |()| StatusCode::OK)
}

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, router: Router) -> Result<()> {
    let listener = listener.tap_io(|socket| {
        let _best_effort = socket.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}
