//! The way in: `POST /webhooks/{bot}`, with a key in a header or behind the bot's name. Blip hears 200 only once
//! its body is durable, and never a refusal for what a body says: 401 for a wrong key or bot, 413 for too much,
//! 503 with `Retry-After` for everything that passes. A key or a body is never logged, so no path is either.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use http::header::{ALLOW, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::auth::{Denied, Keys};
use crate::gateway::AppendError;
use crate::gateway::alerts::Mistake;
use crate::gateway::ingest::{Accepted, Ingest, Received};
use crate::gateway::notice::Notice;
use crate::shutdown::Shutdown;

mod body;
mod doze;
mod metrics;
mod serve;

use body::Unread;
use metrics::BotMetrics;

pub use metrics::WebhookMetrics;
pub use serve::serve;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longer ids of callers are replaced by ours.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// What makes an admitted webhook durable.
pub trait Accept: Send + Sync + 'static {
    /// Returns once it is; an error means that it may not be.
    fn accept(&self, received: Received) -> impl Future<Output = Result<Accepted, AppendError>> + Send;

    /// Tells of a webhook of `bot` that was refused, as its token is in this header. Returns at once.
    fn token_elsewhere(&self, bot: &Arc<str>, header: &str);
}

impl Accept for Ingest {
    fn accept(&self, received: Received) -> impl Future<Output = Result<Accepted, AppendError>> + Send {
        Ingest::accept(self, received)
    }

    fn token_elsewhere(&self, bot: &Arc<str>, header: &str) {
        self.alerts().tell(bot, &Mistake::TokenElsewhere { header: header.to_owned() });
    }
}

/// The kinds of line that anybody outside can cause.
#[derive(Debug, Default)]
struct Notices {
    denied: Notice,
    too_large: Notice,
    unavailable: Notice,
}

/// Answers webhooks.
pub struct Webhook<A> {
    accept: A,
    keys: Arc<Keys>,
    body_bytes_max: usize,
    doors: HashMap<Arc<str>, BotMetrics>,
    unknown: BotMetrics,
    metrics: WebhookMetrics,
    notices: Notices,
    shutdown: Shutdown,
    accepting: TaskTracker,
    request_ids: RequestIds,
}

/// What is answered, and why.
enum Answer {
    Durable(Accepted),
    Denied(Denied),
    TooLarge,
    Draining,
    NotStored(AppendError),
    Stalled,
    Gone,
    WrongMethod,
    WrongPath,
}

impl<A: Accept> Webhook<A> {
    /// Hands what `keys` admits, up to `body_bytes_max` each, to `accept`. The bots are those of `keys` now; the
    /// request ids minted here begin with the random half of `instance`, which no other process has.
    pub fn new(
        accept: A,
        keys: Arc<Keys>,
        body_bytes_max: usize,
        metrics: WebhookMetrics,
        shutdown: Shutdown,
        instance: Uuid,
    ) -> Self {
        let doors = keys.bots().into_iter().map(|bot| (Arc::clone(&bot), metrics.of(&bot))).collect();
        Self {
            accept,
            keys,
            body_bytes_max,
            doors,
            unknown: metrics.of_unknown(),
            metrics,
            notices: Notices::default(),
            shutdown,
            accepting: TaskTracker::new(),
            request_ids: RequestIds::new(instance),
        }
    }

    /// Waits until the webhooks accepted before the stop have their answer; the later ones hear 503. Call after
    /// the soft token is cancelled.
    pub async fn drained(&self) {
        self.accepting.close();
        self.accepting.wait().await;
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body + Unpin,
        B::Data: Buf,
    {
        let begun = Instant::now();
        let (parts, mut body) = request.into_parts();
        let request_id = self.request_ids.of(&parts.headers);
        let Some((bot, path_token)) = route(parts.uri.path()) else {
            return respond(&Answer::WrongPath, request_id);
        };
        let door = self.doors.get_key_value(bot);
        let answer = self.answer(door.map(|(name, _)| name), path_token.as_deref(), &parts, &mut body).await;
        let metrics = door.map_or(&self.unknown, |(_, metrics)| metrics);
        self.record(&answer, metrics, door.map_or("unknown", |(name, _)| name), &request_id);
        if matches!(answer, Answer::Durable(_)) {
            self.metrics.observe(begun.elapsed());
        }
        let unread = matches!(answer, Answer::Denied(_) | Answer::TooLarge | Answer::Draining);
        if unread && !parts.headers.contains_key(EXPECT) {
            body::discard(&mut body, matches!(answer, Answer::TooLarge)).await;
        }
        respond(&answer, request_id)
    }

    async fn answer<B>(
        &self,
        bot: Option<&Arc<str>>,
        path_token: Option<&str>,
        parts: &Parts,
        body: &mut B,
    ) -> Answer
    where
        B: Body + Unpin,
        B::Data: Buf,
    {
        if parts.method != Method::POST {
            return Answer::WrongMethod;
        }
        // Taken before looking, so that `drained` misses nobody who saw no stop.
        let _accepting = self.accepting.token();
        if self.shutdown.is_draining() {
            return Answer::Draining;
        }
        let Some(bot) = bot else { return Answer::Denied(Denied::UnknownBot) };
        if let Err(denied) = self.keys.check(bot, &parts.headers, path_token) {
            if let Denied::TokenElsewhere { header } = &denied {
                self.accept.token_elsewhere(bot, header);
            }
            return Answer::Denied(denied);
        }
        let announced =
            parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced
            .is_some_and(|length: u64| length > u64::try_from(self.body_bytes_max).unwrap_or(u64::MAX))
        {
            return Answer::TooLarge;
        }
        let body = match body::read(body, self.body_bytes_max, self.shutdown.soft()).await {
            Ok(body) => body,
            Err(Unread::TooLarge) => return Answer::TooLarge,
            Err(Unread::Stalled) => return Answer::Stalled,
            Err(Unread::Gone) => return Answer::Gone,
        };
        let received = Received { bot: Arc::clone(bot), body, traceparent: traceparent(&parts.headers) };
        match self.accept.accept(received).await {
            Ok(accepted) => Answer::Durable(accepted),
            Err(error) => Answer::NotStored(error),
        }
    }

    /// Counts and logs. What an outsider can cause at will is logged at a bounded rate.
    fn record(&self, answer: &Answer, metrics: &BotMetrics, bot: &str, request_id: &HeaderValue) {
        let id = request_id.to_str().unwrap_or_default();
        let (counter, notice, what): (_, _, Cow<'_, str>) = match answer {
            Answer::Durable(accepted) => {
                metrics.durable(*accepted).inc();
                tracing::debug!(bot, request.id = id, outcome = ?accepted, "webhook accepted");
                return;
            }
            // Told together with its alert.
            Answer::Denied(Denied::TokenElsewhere { .. }) => {
                metrics.denied.inc();
                return;
            }
            Answer::Denied(denied) => {
                (&metrics.denied, &self.notices.denied, format!("denied: {denied}").into())
            }
            Answer::TooLarge => {
                (&metrics.too_large, &self.notices.too_large, "its body exceeds webhook.body_limit".into())
            }
            Answer::NotStored(error) => {
                (&metrics.unavailable, &self.notices.unavailable, format!("not stored: {error}").into())
            }
            Answer::Stalled => {
                (&metrics.unavailable, &self.notices.unavailable, "its body did not arrive in time".into())
            }
            Answer::Draining => (&metrics.unavailable, &self.notices.unavailable, "shutting down".into()),
            Answer::Gone | Answer::WrongMethod | Answer::WrongPath => return,
        };
        counter.inc();
        if let Some(suppressed) = notice.permit() {
            tracing::warn!(bot, request.id = id, suppressed, "webhook refused, {what}");
        }
    }
}

impl<A> fmt::Debug for Webhook<A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Webhook").field("bots", &self.doors.keys()).finish_non_exhaustive()
    }
}

/// The bot and perhaps a key, from `/webhooks/{bot}` or `/webhooks/{bot}/{key}`. A key may contain slashes.
fn route(path: &str) -> Option<(&str, Option<Cow<'_, str>>)> {
    let rest = path.strip_prefix("/webhooks/")?;
    let (bot, token) = rest.split_once('/').unwrap_or((rest, ""));
    let token = (!token.is_empty()).then(|| percent_decode_str(token).decode_utf8_lossy());
    (!bot.is_empty()).then_some((bot, token))
}

/// The caller's trace context, if it is one (version 00: four fields of fixed length).
fn traceparent(headers: &HeaderMap) -> String {
    let well_formed = |text: &&str| {
        text.len() == 55
            && text.bytes().enumerate().all(|(at, byte)| match at {
                2 | 35 | 52 => byte == b'-',
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            })
    };
    let text = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).filter(well_formed);
    text.unwrap_or_default().to_owned()
}

fn respond(answer: &Answer, request_id: HeaderValue) -> Response<Full<Bytes>> {
    let (status, retry_after, text) = match answer {
        Answer::Durable(_) => (StatusCode::OK, None, ""),
        Answer::Denied(_) => (StatusCode::UNAUTHORIZED, None, "no valid key for this bot\n"),
        Answer::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None, "the body is too large\n"),
        Answer::Draining => (StatusCode::SERVICE_UNAVAILABLE, Some("5"), "shutting down, come again\n"),
        Answer::Stalled | Answer::Gone => {
            (StatusCode::SERVICE_UNAVAILABLE, Some("1"), "the body did not arrive in time\n")
        }
        Answer::NotStored(error) => {
            let retry_after = match error {
                AppendError::Busy => "1",
                AppendError::Full => "30",
                AppendError::Unavailable(_) | AppendError::Unknown(_) => "5",
            };
            (StatusCode::SERVICE_UNAVAILABLE, Some(retry_after), "not stored, come again\n")
        }
        Answer::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, None, "only POST\n"),
        Answer::WrongPath => (StatusCode::NOT_FOUND, None, "webhooks go to /webhooks/{bot}\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, request_id);
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// Request ids: the caller's, or a prefix no other process has and a number.
struct RequestIds {
    prefix: String,
    minted: AtomicU64,
}

impl RequestIds {
    fn new(instance: Uuid) -> Self {
        Self { prefix: format!("{:016x}-", instance.as_u64_pair().1), minted: AtomicU64::new(0) }
    }

    fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let printable = |value: &&HeaderValue| {
            let value = value.as_bytes();
            (1..=REQUEST_ID_CHARS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
        };
        headers.get(REQUEST_ID).filter(printable).cloned().unwrap_or_else(|| self.mint())
    }

    fn mint(&self) -> HeaderValue {
        let number = self.minted.fetch_add(1, Ordering::Relaxed);
        let mut text = String::with_capacity(40);
        text.push_str(&self.prefix);
        let _ = write!(text, "{number:x}"); // a string takes anything
        HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static("none"))
    }
}

#[cfg(test)]
mod tests;
