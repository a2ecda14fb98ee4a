//! Files behind media links, as callers take them: so many at a time, each within its time, none past a stop. A file
//! passes through in chunks and at its reader's pace; it is never held.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use crate::blip::media::MediaError;

use crate::blip::media::{MediaApi, Opened};
use crate::shutdown::Shutdown;

/// How long a host may take until its answer begins.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
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
        let soft = self.shutdown.soft().clone();
        let passing = Passing { body, end, time_max, soft, cut: None, _turn: turn };
        Ok(Fetched { mime_type, size_bytes, body: stream::unfold(Some(passing), Passing::next).boxed() })
    }
}

/// A file on its way.
struct Passing {
    body: BoxStream<'static, Result<Bytes, MediaError>>,
    end: Instant,
    time_max: Duration,
    soft: CancellationToken,
    /// When it is cut, once the process stops.
    cut: Option<Instant>,
    _turn: OwnedSemaphorePermit,
}

impl Passing {
    async fn next(state: Option<Self>) -> Option<(Result<Bytes, FetchError>, Option<Self>)> {
        let mut passing = state?;
        if passing.cut.is_none() && passing.soft.is_cancelled() {
            passing.cut = Some(Instant::now() + DRAIN);
        }
        let stopped = match passing.cut {
            Some(at) => Either::Left(sleep_until(at)),
            None => Either::Right(async {
                passing.soft.cancelled().await;
                tokio::time::sleep(DRAIN).await;
            }),
        };
        let fault = tokio::select! {
            biased;
            () = stopped => FetchError::Draining,
            () = sleep_until(passing.end) => FetchError::TooSlow { time_max: passing.time_max },
            chunk = passing.body.next() => match chunk? {
                Ok(bytes) => return Some((Ok(bytes), Some(passing))),
                Err(error) => FetchError::Media(error),
            },
        };
        Some((Err(fault), None))
    }
}
