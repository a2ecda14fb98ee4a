//! Blip over HTTP: the bot's key, a deadline and a size limit on every call, its quota, and what each way of
//! failing allows to conclude. Nothing is sent past its deadline, nor while the bot's circuit is open. A call's turn can
//! be had before it is made.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::fmt::rfc2822;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Body, Client, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::departure::Departure;
use super::gate::Gate;
use super::line::{Line, Refused};
use super::metrics::BlipMetrics;
use super::policy::Rates;
use super::policy::breaker::Sign;
use super::{BlipApi, BlipError, Caller, Kind};
use crate::lime::{Command, Reply, ReplyStatus, Unusable};

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

/// How long to stay away where Blip refuses one call for its quota, by LIME, and does not say.
const QUOTA_PAUSE: Duration = Duration::from_secs(10);
/// How long Blip must have been silent before a call that ran out of time speaks against it.
const SILENCE_MIN: Duration = Duration::from_secs(10);

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
    shared: Arc<Shared>,
    caller: Caller,
    /// Turns that it had and has not used, by envelope kind.
    commands_due: Due,
    messages_due: Due,
}

/// Turns that were had and are not used, by when they came; the oldest is used first.
#[derive(Debug, Default)]
struct Due(Mutex<VecDeque<Instant>>);

impl Due {
    fn came(&self) {
        self.lock().push_back(Instant::now());
    }

    fn take(&self) -> Option<Instant> {
        self.lock().pop_front()
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all callers of a bot share.
struct Shared {
    bot: String,
    metrics: BlipMetrics,
    client: Client,
    authorization: Authorization,
    gate: Gate,
    commands: Way,
    messages: Way,
    notifications: Way,
}

/// Where envelopes of one kind go.
struct Way {
    kind: &'static str,
    url: String,
    line: Line,
}

/// What came back with a status of success.
struct Answer {
    body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl fmt::Debug for HttpBlip {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HttpBlip").field("bot", &self.shared.bot).finish_non_exhaustive()
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
        let way = |kind, path: &str, rate| {
            let line = Line::new(rate, metrics.waiting(bot, kind));
            Way { kind, url: format!("{base}{path}"), line }
        };
        let shared = Shared {
            commands: way("command", "/commands", rates.commands),
            messages: way("message", "/messages", rates.messages),
            notifications: way("notification", "/notifications", rates.notifications),
            gate: Gate::new(bot, metrics.circuit(bot)),
            bot: bot.to_owned(),
            metrics,
            client,
            authorization,
        };
        Self::of(Arc::new(shared), Caller::client(""))
    }

    fn of(shared: Arc<Shared>, caller: Caller) -> Self {
        Self { shared, caller, commands_due: Due::default(), messages_due: Due::default() }
    }

    /// Waits for a turn.
    async fn wait(&self, way: &Way, deadline: Instant) -> Result<(), BlipError> {
        let Shared { bot, metrics, .. } = self.shared.as_ref();
        let asked = Instant::now();
        let turn = self.shared.turn(way, &self.caller, deadline).await;
        match &turn {
            Ok(()) => metrics.waited(asked.elapsed()),
            Err(error) => metrics.ended(bot, way.kind, Some(error), Duration::ZERO),
        }
        turn
    }

    /// Where calls of this kind go, and the turns that are kept for them.
    fn kept(&self, kind: Kind) -> (&Way, &Due) {
        match kind {
            Kind::Command => (&self.shared.commands, &self.commands_due),
            Kind::Message => (&self.shared.messages, &self.messages_due),
        }
    }

    /// Waits for a turn, and keeps it.
    async fn wait_for(&self, kind: Kind, deadline: Instant) -> Result<(), BlipError> {
        let (way, due) = self.kept(kind);
        self.wait(way, deadline).await?;
        due.came();
        Ok(())
    }

    /// Takes one of the turns that are `due`, or waits for one, also where that one is too old; posts, and answers what `read` makes of a 2xx.
    async fn post(
        &self,
        way: &Way,
        due: Option<&Due>,
        json: Vec<u8>,
        deadline: Instant,
        read: impl Fn(&[u8]) -> Result<Reply, BlipError> + Send,
    ) -> Result<Reply, BlipError> {
        let Shared { bot, metrics, .. } = self.shared.as_ref();
        match due.and_then(Due::take) {
            Some(came) if way.line.goes(came) => {}
            Some(_) | None => self.wait(way, deadline).await?,
        }
        let pass = match self.shared.gate.admit() {
            Ok(pass) => pass,
            Err(retry_after) => {
                let error = BlipError::CircuitOpen { retry_after };
                metrics.ended(bot, way.kind, Some(&error), Duration::ZERO);
                return Err(error);
            }
        };
        let sent = Instant::now();
        let (answer, sign) = self.shared.exchange(&way.url, json, deadline).await;
        if pass.ended(sign) {
            self.shared.ways().into_iter().for_each(|way| way.line.dismiss());
        }
        let result = answer.and_then(|answer| within_quota(read(&answer.body)?, answer.retry_after));
        if let Err(BlipError::Throttled { retry_after, reason }) = &result {
            self.shared.throttled(way, *retry_after, reason.is_none());
        }
        metrics.ended(bot, way.kind, result.as_ref().err(), sent.elapsed());
        result
    }
}

impl Shared {
    fn ways(&self) -> [&Way; 3] {
        [&self.commands, &self.messages, &self.notifications]
    }

    /// Waits for a turn; for none where calls do not go out anyway.
    async fn turn(&self, way: &Way, caller: &Caller, deadline: Instant) -> Result<(), BlipError> {
        if let Some(retry_after) = self.gate.refusal() {
            return Err(BlipError::CircuitOpen { retry_after });
        }
        match way.line.turn(caller, deadline).await {
            Ok(()) => Ok(()),
            Err(Refused::TooLate(retry_after)) => Err(BlipError::OverQuota { retry_after }),
            Err(Refused::Dismissed) => {
                let retry_after = self.gate.refusal().unwrap_or_default();
                Err(BlipError::CircuitOpen { retry_after })
            }
        }
    }

    /// Slows a way down as Blip refused for its own quota; where `all` of it is refused, until Blip takes it again.
    fn throttled(&self, way: &Way, retry_after: Duration, all: bool) {
        if let Some(until) = Instant::now().checked_add(retry_after).filter(|_| all) {
            way.line.pause(until);
        }
        if let Some(per_second) = way.line.slow() {
            let (bot, kind, pause_ms) = (&self.bot, way.kind, retry_after.as_millis());
            tracing::warn!(bot, kind, per_second, pause_ms, "Blip refused for its quota: the rate is halved");
        }
    }

    /// Posts, and says what the end tells of Blip.
    async fn exchange(
        &self,
        url: &str,
        json: Vec<u8>,
        deadline: Instant,
    ) -> (Result<Answer, BlipError>, Sign) {
        let Some(authorization) = (self.authorization)() else {
            return (Err(BlipError::NotSent("the bot's key is not known".to_owned())), Sign::Unclear);
        };
        let (departure, body) = Departure::of(json);
        let request = self
            .client
            .post(url)
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Body::wrap(body));
        let sent = Instant::now();
        let exchange = async {
            let response = request.send().await.map_err(|error| sort(&error, &departure))?;
            let (status, retry_after) = (response.status(), retry_after(response.headers()));
            Ok((status, retry_after, read(response).await?))
        };
        match timeout_at(deadline, exchange).await {
            Ok(Ok((status, retry_after, body))) if status.is_success() => {
                (Ok(Answer { body, retry_after }), Sign::Alive)
            }
            Ok(Ok((status, retry_after, body))) => {
                let sign = if status.is_server_error() { Sign::Dead } else { Sign::Alive };
                (Err(refusal(status, retry_after, &body)), sign)
            }
            // It answers, and at length.
            Ok(Err(error @ BlipError::TooLarge(_))) => (Err(error), Sign::Alive),
            Ok(Err(error)) => (Err(error), Sign::Dead),
            Err(_) => {
                let sign = if sent.elapsed() >= SILENCE_MIN { Sign::Dead } else { Sign::Unclear };
                let error = if departure.call_off() {
                    BlipError::NotSent("no connection stood before the time ran out".to_owned())
                } else {
                    BlipError::Unknown("the time ran out while waiting for it".to_owned())
                };
                (Err(error), sign)
            }
        }
    }
}

#[async_trait]
impl BlipApi for HttpBlip {
    fn for_caller(self: Arc<Self>, caller: Caller) -> Arc<dyn BlipApi> {
        Arc::new(Self::of(Arc::clone(&self.shared), caller))
    }

    async fn turns(
        self: Arc<Self>,
        kind: Kind,
        count: usize,
        deadline: Instant,
    ) -> Result<Arc<dyn BlipApi>, BlipError> {
        let ready = Self::of(Arc::clone(&self.shared), self.caller.clone());
        for _ in 0..count {
            ready.wait_for(kind, deadline).await?;
        }
        Ok(Arc::new(ready))
    }

    async fn turn(&self, kind: Kind, deadline: Instant) -> Result<(), BlipError> {
        let (_, due) = self.kept(kind);
        if due.is_empty() { self.wait_for(kind, deadline).await } else { Ok(()) }
    }

    async fn command(&self, command: &Command, deadline: Instant) -> Result<Reply, BlipError> {
        let read = |body: &[u8]| {
            let reply = Reply::from_json(body).map_err(|why| unusable(&why))?;
            match &reply.id {
                Some(id) if *id != command.id => {
                    Err(BlipError::Unknown("the reply is to another command".to_owned()))
                }
                _ => Ok(reply),
            }
        };
        self.post(&self.shared.commands, Some(&self.commands_due), command.to_json(), deadline, read).await
    }

    async fn message(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError> {
        let read = |body: &[u8]| Ok(Reply::from_message_answer(body));
        self.post(&self.shared.messages, Some(&self.messages_due), json, deadline, read).await
    }

    async fn notification(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError> {
        let read = |body: &[u8]| Ok(Reply::from_message_answer(body));
        self.post(&self.shared.notifications, None, json, deadline, read).await
    }
}

/// A reply, unless it refuses for Blip's quota, or that of the channel's gateway.
fn within_quota(reply: Reply, retry_after: Option<Duration>) -> Result<Reply, BlipError> {
    match reply.status {
        ReplyStatus::Failure(reason) if matches!(reason.code, Some(34 | 85)) => {
            let retry_after = retry_after.unwrap_or(QUOTA_PAUSE);
            Err(BlipError::Throttled { retry_after, reason: Some(reason) })
        }
        ReplyStatus::Success(_) | ReplyStatus::Failure(_) | ReplyStatus::Pending => Ok(reply),
    }
}

/// What an answer that cannot be read allows to conclude.
fn unusable(why: &Unusable) -> BlipError {
    match why {
        Unusable::TooDeep => BlipError::TooLarge(why.to_string()),
        Unusable::NotJson(_) | Unusable::NoStatus => BlipError::Unknown(why.to_string()),
    }
}

/// What a failed exchange allows to conclude: only where no connection stood, or it was turned away, is it sure that nothing
/// was done.
fn sort(error: &reqwest::Error, departure: &Departure) -> BlipError {
    let text = causes(error);
    let not_sent = error.is_connect() || error.is_builder() || departure.call_off() || is_turned_away(error);
    if not_sent { BlipError::NotSent(text) } else { BlipError::Unknown(text) }
}

/// Whether the other side says, by HTTP/2, that it has not looked at the request: it closes, or took it in no more.
fn is_turned_away(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            let closing = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (closing || refused);
        }
        next = cause.source();
    }
    false
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
            return Err(BlipError::TooLarge(format!("over {} MiB", ANSWER_BYTES_MAX >> 20)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn refusal(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> BlipError {
    let code = status.as_u16();
    if status == StatusCode::TOO_MANY_REQUESTS {
        BlipError::Throttled { retry_after: retry_after.unwrap_or(PENALTY), reason: None }
    } else if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        BlipError::Credential { status: code }
    } else if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        BlipError::Unknown(format!("HTTP {code}"))
    } else {
        let text = String::from_utf8_lossy(body).chars().take(REFUSAL_CHARS_MAX).collect();
        BlipError::Refused { status: code, text }
    }
}

/// When to come again: so many seconds, or a date, which is compared with the date of the answer itself.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let told = text(RETRY_AFTER)?.trim();
    let date = |text: &str| rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let wait = if let Ok(seconds) = told.parse() {
        Duration::from_secs(seconds)
    } else {
        Duration::try_from(date(told)?.duration_since(date(text(DATE)?)?)).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lime::Reason;

    #[test]
    fn a_time_to_come_again_is_a_sensible_one() {
        let told = |told: &str, date: &str| {
            let told = [(RETRY_AFTER, told.parse().unwrap()), (DATE, date.parse().unwrap())];
            retry_after(&told.into_iter().collect())
        };
        let date = "Wed, 21 Oct 2026 07:28:00 GMT";
        assert_eq!(told(" 7 ", ""), Some(Duration::from_secs(7)));
        assert_eq!(told(&u64::MAX.to_string(), ""), Some(RETRY_AFTER_MAX));
        assert_eq!(told("Wed, 21 Oct 2026 07:29:30 GMT", date), Some(Duration::from_secs(90)));
        assert_eq!(told(date, "Wed, 21 Oct 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!((told("soon", date), told(date, ""), told("-1", date)), (None, None, None));
    }

    /// Every status that may come allows one conclusion (R§3.2).
    #[test]
    fn statuses_are_sorted_by_what_they_allow_to_conclude() {
        for code in 300..600 {
            let status = StatusCode::from_u16(code).unwrap();
            let error = refusal(status, None, "não".as_bytes());
            let expected = match code {
                401 | 403 => BlipError::Credential { status: code },
                408 | 500.. => BlipError::Unknown(format!("HTTP {code}")),
                429 => BlipError::Throttled { retry_after: PENALTY, reason: None },
                _ => BlipError::Refused { status: code, text: "não".to_owned() },
            };
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn a_refusal_for_quota_is_one_however_it_is_said() {
        let failure = |code| {
            let reason = Reason { code, description: "Muitas".to_owned() };
            Reply { id: None, media_type: String::new(), status: ReplyStatus::Failure(reason) }
        };
        for code in [34, 85] {
            let Err(BlipError::Throttled { retry_after, reason }) = within_quota(failure(Some(code)), None)
            else {
                panic!("{code}")
            };
            assert_eq!((retry_after, reason.unwrap().code), (QUOTA_PAUSE, Some(code)));
        }
        for code in [None, Some(33), Some(86)] {
            assert_eq!(within_quota(failure(code), None).unwrap(), failure(code));
        }
    }
}
