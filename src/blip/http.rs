//! Blip over HTTP: the bot's key, a deadline and a size limit on every call, its quota, and what each way of
//! failing allows to conclude.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::metrics::BlipMetrics;
use super::policy::{Bucket, Rates};
use super::{BlipApi, BlipError};
use crate::lime::{Command, Reply};

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How much of a refusal is told on.
const REFUSAL_CHARS_MAX: usize = 200;
/// How long Blip refuses after its quota was exceeded, where it does not say (R§10).
const PENALTY: Duration = Duration::from_mins(2);
/// The longest time we let Blip name: what is more is a mistake of its.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(10);

/// Where the current value of the bot's `Authorization` header comes from; asked on every call, so that a
/// rotated key is used at once.
pub type Authorization = Arc<dyn Fn() -> Option<HeaderValue> + Send + Sync>;

/// A client for any number of bots.
pub fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(64)
        .user_agent(concat!("deskgate/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// One bot's way to Blip.
pub struct HttpBlip {
    bot: String,
    metrics: BlipMetrics,
    client: Client,
    commands_url: String,
    messages_url: String,
    notifications_url: String,
    authorization: Authorization,
    commands: Mutex<Bucket>,
    messages: Mutex<Bucket>,
    notifications: Mutex<Bucket>,
}

impl fmt::Debug for HttpBlip {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HttpBlip").field("commands_url", &self.commands_url).finish_non_exhaustive()
    }
}

impl HttpBlip {
    /// The bot of this short name, at the HTTP endpoint `base_url` of its contract.
    pub fn new(
        bot: &str,
        client: Client,
        base_url: &str,
        authorization: Authorization,
        rates: Rates,
        metrics: BlipMetrics,
    ) -> Self {
        let base = base_url.trim_end_matches('/');
        Self {
            bot: bot.to_owned(),
            metrics,
            client,
            commands_url: format!("{base}/commands"),
            messages_url: format!("{base}/messages"),
            notifications_url: format!("{base}/notifications"),
            authorization,
            commands: Mutex::new(Bucket::new(rates.commands)),
            messages: Mutex::new(Bucket::new(rates.messages)),
            notifications: Mutex::new(Bucket::new(rates.notifications)),
        }
    }

    /// Waits for quota, posts, and answers the body of a 2xx.
    async fn post(
        &self,
        kind: &'static str,
        (url, bucket): (&str, &Mutex<Bucket>),
        json: Vec<u8>,
        deadline: Instant,
    ) -> Result<Vec<u8>, BlipError> {
        let asked = Instant::now();
        let ready = match lock(bucket).take(asked, deadline) {
            Ok(ready) => ready,
            Err(retry_after) => {
                let error = BlipError::OverQuota { retry_after };
                self.metrics.ended(&self.bot, kind, Some(&error), Duration::ZERO);
                return Err(error);
            }
        };
        sleep_until(ready).await;
        self.metrics.waited(ready.saturating_duration_since(asked));
        let sent = Instant::now();
        let result = self.exchange(url, bucket, json, deadline).await;
        self.metrics.ended(&self.bot, kind, result.as_ref().err(), sent.elapsed());
        result
    }

    async fn exchange(
        &self,
        url: &str,
        bucket: &Mutex<Bucket>,
        json: Vec<u8>,
        deadline: Instant,
    ) -> Result<Vec<u8>, BlipError> {
        let authorization = (self.authorization)()
            .ok_or_else(|| BlipError::NotSent("the bot's key is not known".to_owned()))?;
        let request = self
            .client
            .post(url)
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(json);
        let exchange = async {
            let response = request.send().await.map_err(|error| sort(&error))?;
            let status = response.status();
            let retry_after = retry_after(&response);
            let body = read(response).await?;
            Ok((status, retry_after, body))
        };
        let (status, retry_after, body) = timeout_at(deadline, exchange).await.unwrap_or_else(|_| {
            Err(BlipError::Unknown("the time ran out while waiting for it".to_owned()))
        })?;
        if status.is_success() {
            return Ok(body);
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            let until = Instant::now().checked_add(retry_after.unwrap_or(PENALTY));
            lock(bucket).pause(until.unwrap_or_else(Instant::now));
        }
        Err(refusal(status, retry_after, &body))
    }
}

#[async_trait]
impl BlipApi for HttpBlip {
    async fn command(&self, command: &Command, deadline: Instant) -> Result<Reply, BlipError> {
        let body =
            self.post("command", (&self.commands_url, &self.commands), command.to_json(), deadline).await?;
        let reply = Reply::from_json(&body).map_err(|unusable| BlipError::Unknown(unusable.to_string()))?;
        match &reply.id {
            Some(id) if *id != command.id => {
                Err(BlipError::Unknown("the reply is to another command".to_owned()))
            }
            _ => Ok(reply),
        }
    }

    async fn message(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError> {
        let body = self.post("message", (&self.messages_url, &self.messages), json, deadline).await?;
        Ok(Reply::from_message_answer(&body))
    }

    async fn notification(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError> {
        let way = (self.notifications_url.as_str(), &self.notifications);
        let body = self.post("notification", way, json, deadline).await?;
        Ok(Reply::from_message_answer(&body))
    }
}

fn lock(bucket: &Mutex<Bucket>) -> std::sync::MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a failed exchange allows to conclude: only where no connection stood is it sure that nothing was sent.
fn sort(error: &reqwest::Error) -> BlipError {
    let text = causes(error);
    if error.is_connect() || error.is_builder() { BlipError::NotSent(text) } else { BlipError::Unknown(text) }
}

/// An error and its causes in one line; never with the URL's query or any header.
fn causes(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    if causes.is_empty() { "the exchange broke off".to_owned() } else { causes.join(": ") }
}

async fn read(mut response: Response) -> Result<Vec<u8>, BlipError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| BlipError::Unknown(causes(&error)))? {
        if body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
            return Err(BlipError::Unknown(format!("the answer is over {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn refusal(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> BlipError {
    let code = status.as_u16();
    if status == StatusCode::TOO_MANY_REQUESTS {
        BlipError::Throttled { retry_after }
    } else if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        BlipError::Credential { status: code }
    } else if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        BlipError::Unknown(format!("HTTP {code}"))
    } else {
        let text = String::from_utf8_lossy(body).chars().take(REFUSAL_CHARS_MAX).collect();
        BlipError::Refused { status: code, text }
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    read_seconds(response.headers().get(RETRY_AFTER)?.to_str().ok()?)
}

fn read_seconds(text: &str) -> Option<Duration> {
    Some(Duration::from_secs(text.trim().parse().ok()?).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_come_again_is_a_sensible_one() {
        assert_eq!(read_seconds(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(read_seconds(&u64::MAX.to_string()), Some(RETRY_AFTER_MAX));
        assert_eq!(read_seconds("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
