//! Files behind media links, over HTTP. Follows no link that [`Rules`] does not allow, whatever redirects to it; connects
//! only to addresses it has checked, so that a name cannot mean one thing when it is looked at and another when it is
//! used; gives a bot's key to Blip alone; and never holds more of a file than a chunk.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::time::{Instant, timeout, timeout_at};

use super::http::Authorization;

pub mod rules;

pub use rules::{HostPattern, Rules};

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a host may send nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Links followed for one file; a key that is sent after all counts as one.
const HOPS_MAX: usize = 5;
/// What a host may send of a file before it is taken, over HTTP/2; over HTTP/1.1 it is less than half a megabyte.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// The same for all files of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Idle connections kept for a host.
const IDLE_MAX: usize = 4;
/// The most bytes given on at a time.
const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// The longest MIME type given on.
const MIME_BYTES_MAX: usize = 256;

/// One bot's way to files.
#[async_trait]
pub trait MediaApi: fmt::Debug + Send + Sync + 'static {
    /// Asks for the file behind a link, until `deadline` at most. `with_key`: the link itself asks for the bot's key.
    async fn open(&self, uri: &str, with_key: bool, deadline: Instant) -> Result<Opened, MediaError>;
}

/// A file that begins to come.
pub struct Opened {
    /// Its MIME type, where the host tells it.
    pub mime_type: String,
    /// Its size, where the host tells it.
    pub size_bytes: Option<u64>,
    /// Its bytes, fetched as they are taken. Ends after the first error.
    pub body: BoxStream<'static, Result<Bytes, MediaError>>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Opened").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

/// Why there is no file, or no more of it. Never tells a link: whoever has one may read the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The link, or one that it redirects to, may not be followed; why.
    #[error("{0}")]
    NotAllowed(String),
    /// The host does not give it.
    #[error("the host does not give the file (HTTP {status}): {}", meaning(*status))]
    NotFound {
        /// The HTTP status.
        status: u16,
    },
    /// The host does not take the bot's key.
    #[error("the host refused the bot's key (HTTP {status})")]
    Credential {
        /// The HTTP status.
        status: u16,
    },
    /// It is larger than an operator allows.
    #[error(
        "the file is larger than {limit_bytes} bytes, which is the most that is fetched (media.size_limit)"
    )]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The host could not be asked, or broke off.
    #[error("the file's host {0}")]
    Unavailable(String),
}

/// What a refusal of a host's means.
fn meaning(status: u16) -> &'static str {
    match status {
        401 => "it asks for a key, and is not among those that may have the bot's (media.key_hosts)",
        _ => "it is gone, or the link has expired; RefreshMedia tells a new one",
    }
}

/// A client that goes to checked addresses only; for any number of bots.
pub fn client() -> Result<Client, reqwest::Error> {
    client_with(Arc::new(|name: String| -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }))
}

fn client_with(lookup: Lookup) -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .dns_resolver(Arc::new(Checked(lookup)))
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .pool_max_idle_per_host(IDLE_MAX)
        .user_agent(concat!("deskgate/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// How a name is resolved.
type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Resolves names to addresses that may be asked; if one of them may not, to none.
struct Checked(Lookup);

/// A name leads where nobody may go.
#[derive(Debug, thiserror::Error)]
#[error("an address inside a private network")]
struct Inside;

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.0)(name.as_str().to_owned());
        Box::pin(async move {
            let found = found.await?;
            if found.iter().any(|address| !rules::may_lead_to(name.as_str(), *address)) {
                return Err(Inside.into());
            }
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// One bot's way to files, over HTTP.
pub struct HttpMedia {
    client: Client,
    rules: Arc<Rules>,
    /// Blip's API, whose host has the key anyway.
    api: Option<Url>,
    authorization: Authorization,
    size_bytes_max: u64,
}

impl fmt::Debug for HttpMedia {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HttpMedia").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl HttpMedia {
    /// Files of up to `size_bytes_max` for the bot of this key, whose API is at `base_url`. The client is one of
    /// [`client`]'s.
    pub fn new(
        client: Client,
        rules: Arc<Rules>,
        base_url: &str,
        authorization: Authorization,
        size_bytes_max: u64,
    ) -> Self {
        Self { client, rules, api: Url::parse(base_url).ok(), authorization, size_bytes_max }
    }

    fn may_have_key(&self, url: &Url) -> bool {
        let is_api = self.api.as_ref().is_some_and(|api| api.origin() == url.origin());
        is_api || self.rules.may_have_key(url)
    }

    async fn ask(&self, url: &Url, with_key: bool, deadline: Instant) -> Result<Response, MediaError> {
        let mut request = self.client.get(url.clone());
        if with_key {
            let key = (self.authorization)();
            let key = key.ok_or_else(|| {
                MediaError::Unavailable("needs the bot's key, which is not known".to_owned())
            })?;
            request = request.header(AUTHORIZATION, key);
        }
        match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(sort(&error, url)),
            Err(_) => Err(MediaError::Unavailable("did not answer in time".to_owned())),
        }
    }

    fn opened(&self, response: Response, with_key: bool) -> Result<Opened, MediaError> {
        let status = response.status();
        let code = status.as_u16();
        let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if refused && with_key {
            return Err(MediaError::Credential { status: code });
        }
        if status.is_server_error() || matches!(code, 408 | 425 | 429) {
            return Err(MediaError::Unavailable(format!("cannot give it now (HTTP {code})")));
        }
        if !status.is_success() {
            return Err(MediaError::NotFound { status: code });
        }
        let size_bytes = response.content_length();
        let limit_bytes = self.size_bytes_max;
        if size_bytes.is_some_and(|size| size > limit_bytes) {
            return Err(MediaError::TooLarge { limit_bytes });
        }
        let mime_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let mime_type = mime_type.filter(|text| text.len() <= MIME_BYTES_MAX).unwrap_or_default().to_owned();
        let coming = Coming { response, left: limit_bytes, limit_bytes, chunk: Bytes::new() };
        Ok(Opened { mime_type, size_bytes, body: stream::unfold(Some(coming), Coming::next).boxed() })
    }
}

#[async_trait]
impl MediaApi for HttpMedia {
    async fn open(&self, uri: &str, with_key: bool, deadline: Instant) -> Result<Opened, MediaError> {
        let mut url = self.rules.link(uri).map_err(MediaError::NotAllowed)?;
        let mut with_key = with_key && self.may_have_key(&url);
        for _ in 0..HOPS_MAX {
            let response = self.ask(&url, with_key, deadline).await?;
            if let Some(next) = redirected(&url, &response) {
                self.rules.check(&next).map_err(|why| MediaError::NotAllowed(format!("redirects: {why}")))?;
                // Who is next has not asked for the key.
                with_key = with_key && next.origin() == url.origin();
                url = next;
            } else if response.status() == StatusCode::UNAUTHORIZED && !with_key && self.may_have_key(&url) {
                with_key = true;
            } else {
                return self.opened(response, with_key);
            }
        }
        Err(MediaError::Unavailable("redirects again and again".to_owned()))
    }
}

/// Where a response sends us, if it does.
fn redirected(url: &Url, response: &Response) -> Option<Url> {
    let to = response
        .headers()
        .get(LOCATION)
        .filter(|_| matches!(response.status().as_u16(), 301..=303 | 307 | 308))?;
    url.join(to.to_str().ok()?).ok()
}

/// A file on its way.
struct Coming {
    response: Response,
    /// What it may still have.
    left: u64,
    limit_bytes: u64,
    /// Received and not given on.
    chunk: Bytes,
}

impl Coming {
    /// The next chunk; nothing after the last, or after an error.
    async fn next(state: Option<Self>) -> Option<(Result<Bytes, MediaError>, Option<Self>)> {
        let mut coming = state?;
        while coming.chunk.is_empty() {
            let received = match timeout(SILENCE_MAX, coming.response.chunk()).await {
                Ok(Ok(received)) => received?,
                Ok(Err(_)) => return Some((Err(MediaError::Unavailable("broke off".to_owned())), None)),
                Err(_) => return Some((Err(MediaError::Unavailable("fell silent".to_owned())), None)),
            };
            let size = u64::try_from(received.len()).unwrap_or(u64::MAX);
            let Some(left) = coming.left.checked_sub(size) else {
                return Some((Err(MediaError::TooLarge { limit_bytes: coming.limit_bytes }), None));
            };
            coming.left = left;
            coming.chunk = received;
        }
        let size = coming.chunk.len().min(CHUNK_BYTES_MAX);
        let given = coming.chunk.split_to(size);
        Some((Ok(given), Some(coming)))
    }
}

/// What a request that brought no response says.
fn sort(error: &reqwest::Error, url: &Url) -> MediaError {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if cause.is::<Inside>() {
            return MediaError::NotAllowed(rules::not_public(url.host_str().unwrap_or_default()));
        }
        next = cause.source();
    }
    let what = if error.is_connect() { "was not reached" } else { "broke off" };
    MediaError::Unavailable(what.to_owned())
}

#[cfg(test)]
mod tests;
