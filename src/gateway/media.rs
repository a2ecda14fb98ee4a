//! Files behind media links, as callers take them: so many at a time, each within its time, none past a stop, however
//! slow its reader is. A file passes through in chunks and at its reader's pace; no more than two of them are held.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

pub use crate::blip::media::MediaError;

use crate::blip::media::{MediaApi, Opened};
use crate::shutdown::Shutdown;

/// How long a host may take until its answer begins.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Chunks that wait for their reader.
const CHUNKS_WAITING_MAX: usize = 1;
/// How long a file that is on its way may go on when the process stops.
const DRAIN: Duration = Duration::from_secs(3);

/// What an operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a file may take.
    pub time_max: Duration,
    /// Files on their way at a time, over all bots.
    pub fetches_max: usize,
}

/// The way to files, for all bots.
#[derive(Debug, Clone)]
pub struct Media {
    bots: Arc<BTreeMap<String, Arc<dyn MediaApi>>>,
    limits: Limits,
    turns: Arc<Semaphore>,
    shutdown: Shutdown,
}

/// Why a file did not come, or not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// As many are on their way as may be.
    #[error("{fetches_max} files are being fetched, as many as the gateway allows")]
    Busy {
        /// How many that is.
        fetches_max: usize,
    },
    /// The process stops.
    #[error("the gateway is stopping; fetch the file again in a moment")]
    Draining,
    /// It took too long.
    #[error("the file took longer than {} s, which is the most that is allowed (media.time_limit)", time_max.as_secs())]
    TooSlow {
        /// The limit.
        time_max: Duration,
    },
    /// Its host, or its link.
    #[error(transparent)]
    Media(#[from] MediaError),
}

/// A file that begins to come.
pub struct Fetched {
    /// Its MIME type; empty where it is not told.
    pub mime_type: String,
    /// Its size, where it is told.
    pub size_bytes: Option<u64>,
    /// Its bytes, fetched as they are taken. Ends after the first error.
    pub body: BoxStream<'static, Result<Bytes, FetchError>>,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fetched").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

impl Media {
    /// The way to files for `bots`, by short name.
    pub fn new(bots: BTreeMap<String, Arc<dyn MediaApi>>, limits: Limits, shutdown: Shutdown) -> Self {
        let turns = Arc::new(Semaphore::new(limits.fetches_max));
        Self { bots: Arc::new(bots), limits, turns, shutdown }
    }

    /// Asks for the file behind a link of a bot's customer. `with_key`: the link itself asks for the bot's key.
    pub async fn fetch(
        &self,
        bot: &str,
        uri: &str,
        with_key: bool,
        deadline: Option<Instant>,
    ) -> Result<Fetched, FetchError> {
        let Limits { time_max, fetches_max } = self.limits;
        if self.shutdown.is_draining() {
            return Err(FetchError::Draining);
        }
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else {
            return Err(FetchError::Busy { fetches_max });
        };
        let api = self.bots.get(bot).ok_or_else(|| MediaError::Unavailable("is of no bot".to_owned()))?;
        let now = Instant::now();
        let end = now + time_max;
        let open_by = deadline.unwrap_or(end).min(end).min(now + OPEN_TIMEOUT);
        let Opened { mime_type, size_bytes, body } = api.open(uri, with_key, open_by).await?;
        let (fed, chunks) = mpsc::channel(CHUNKS_WAITING_MAX);
        let (cut, fault) = oneshot::channel();
        let shutdown = self.shutdown.clone();
        let late = match deadline {
            Some(deadline) if deadline < end => {
                MediaError::Unavailable("did not send all of it in the time that the call has".to_owned())
                    .into()
            }
            Some(_) | None => FetchError::TooSlow { time_max },
        };
        let end = deadline.unwrap_or(end).min(end);
        // A task of its own: a reader that takes nothing must not hold its turn for ever.
        drop(self.shutdown.spawn(async move {
            let stopped = async {
                shutdown.soft().cancelled().await;
                sleep(DRAIN).await;
            };
            let fault = tokio::select! {
                biased;
                () = stopped => Some(FetchError::Draining),
                () = sleep_until(end) => Some(late),
                () = fed.closed() => None,
                given = feed(body, &fed) => given.err().map(FetchError::Media),
            };
            if let Some(fault) = fault {
                let _ = cut.send(fault); // its reader may have hung up
            }
            drop(turn);
        }));
        let passing = Passing { chunks, fault };
        Ok(Fetched { mime_type, size_bytes, body: stream::unfold(Some(passing), Passing::next).boxed() })
    }
}

/// Gives a file on as it is taken, until its end, or until nobody takes it.
async fn feed(
    mut body: BoxStream<'static, Result<Bytes, MediaError>>,
    fed: &mpsc::Sender<Bytes>,
) -> Result<(), MediaError> {
    while let Some(chunk) = body.next().await {
        if fed.send(chunk?).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A file on its way, as its reader sees it.
struct Passing {
    chunks: mpsc::Receiver<Bytes>,
    /// Why it does not come whole.
    fault: oneshot::Receiver<FetchError>,
}

impl Passing {
    async fn next(state: Option<Self>) -> Option<(Result<Bytes, FetchError>, Option<Self>)> {
        let mut passing = state?;
        if let Some(bytes) = passing.chunks.recv().await {
            return Some((Ok(bytes), Some(passing)));
        }
        // The other end says why it is gone, or all has come.
        let fault = (&mut passing.fault).await.ok()?;
        Some((Err(fault), None))
    }
}

#[cfg(test)]
mod tests;
