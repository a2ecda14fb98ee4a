//! How the process stops: a soft token (finish what was accepted, begin nothing), a parting token (tell who still waits),
//! a hard token (give up), and the tracker every task goes through. A service that ends before it was asked to brings the rest down.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Handed to whatever spawns or waits; clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    parting: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Shutdown {
    /// A process that has not been asked to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same stop with tasks of its own, which are drained after the others.
    #[must_use]
    pub fn later(&self) -> Self {
        Self { tasks: TaskTracker::new(), ..self.clone() }
    }

    /// Cancelled when no new work may begin.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled a moment before work that still runs is abandoned: whoever waits for it is told what is known.
    pub fn parting(&self) -> &CancellationToken {
        &self.parting
    }

    /// Cancelled when work that still runs is to be abandoned.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Whether the process is stopping.
    pub fn is_draining(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Runs a service that should live as long as the process: an error, or an end nobody asked for, is
    /// recorded under `name` and stops everything.
    pub fn spawn_service<F>(&self, name: &'static str, service: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let shutdown = self.clone();
        self.tasks.spawn(async move {
            let result = service.await;
            match result {
                Ok(()) if shutdown.is_draining() => {}
                Ok(()) => shutdown.fail(format!("{name} ended unasked")),
                Err(error) => shutdown.fail(format!("{name}: {error:#}")),
            }
        });
    }

    /// Runs a piece of work that ends by itself and must be finished before the process exits.
    pub fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(work)
    }

    /// Records a failure and begins the stop.
    pub fn fail(&self, what: String) {
        tracing::error!(error = %what, "stopping because of a failure");
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        self.soft.cancel();
    }

    /// Waits until every tracked task has ended. Call after `soft` is cancelled.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What failed since the start, in order.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
