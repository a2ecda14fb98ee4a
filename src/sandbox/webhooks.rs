//! Posting to the gateway: in order per ticket, once, recorded. A webhook that fails is not tried again; whether
//! Blip would is undocumented.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::WebhookConfig;
use super::faults::{Facts, Kind, On};
use super::model::{Announcement, ticket_webhook};
use super::shapes::make_odd;
use super::shared::{Shared, State, now_text};
use super::ticket::{Refusal, TICKET};

/// How long the gateway may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an answer is recorded, in characters.
const ANSWER_CHARS_MAX: usize = 500;

/// An envelope as Blip posts it, in the order of members of the samples.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Envelope {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<Content>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Refusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Value>,
}

/// What an envelope holds: a ticket keeps its order of members, anything else has none.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Content {
    Ticket(Box<super::ticket::Ticket>),
    Json(Value),
}

/// What became of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `delivered` (2xx), `refused` (another status), `failed` (no answer), `held` or `lost` (by a fault or the
    /// weather), `blocked` (for earlier failures), `not_posted` (by a setting), `no_webhook` (no target is set).
    pub status: &'static str,
    /// The gateway's HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Report {
    pub(crate) const fn bare(status: &'static str) -> Self {
        Self { status, http_status: None, error: None }
    }
}

/// A webhook that was posted, or should have been, as `GET /state` shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delivery {
    pub(crate) at: String,
    pub(crate) ticket_id: String,
    pub(crate) envelope_id: String,
    #[serde(flatten)]
    pub(crate) report: Report,
    /// The beginning of the gateway's answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) answer: String,
    /// The body, as posted.
    pub(crate) body: String,
}

/// The webhooks of one ticket that wait to be posted.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    jobs: VecDeque<Job>,
    held: Option<Job>,
    running: bool,
}

#[derive(Debug)]
struct Job {
    envelope_id: String,
    media_type: String,
    body: Vec<u8>,
    done: Option<oneshot::Sender<Report>>,
}

/// Queues an envelope of a ticket, and tells later what became of it. Call it under the lock that made the change.
pub(crate) fn enqueue(
    shared: &Arc<Shared>,
    state: &mut State,
    ticket_id: &str,
    envelope: &Envelope,
) -> oneshot::Receiver<Report> {
    let (done, report) = oneshot::channel();
    let queue = state.queues.entry(ticket_id.to_owned()).or_default();
    queue.jobs.push_back(Job {
        envelope_id: envelope.id.clone().unwrap_or_default(),
        media_type: envelope.media_type.clone().unwrap_or_default(),
        body: serde_json::to_vec(envelope).unwrap_or_default(),
        done: Some(done),
    });
    run(shared, queue, ticket_id);
    report
}

/// Queues the document of a ticket.
pub(crate) fn announce(
    shared: &Arc<Shared>,
    state: &mut State,
    announcement: &Announcement,
) -> oneshot::Receiver<Report> {
    let (id, ticket) = ticket_webhook(&announcement.ticket);
    let content = if state.settings.odd_shapes {
        let mut odd = serde_json::to_value(&ticket).unwrap_or_default();
        make_odd(&mut odd);
        Content::Json(odd)
    } else {
        Content::Ticket(Box::new(ticket))
    };
    let envelope = Envelope {
        media_type: Some(TICKET.to_owned()),
        from: format!("{}@desk.msging.net/Webhook", announcement.ticket.id),
        id: Some(id),
        content: Some(content),
        to: None,
        event: None,
        reason: None,
        metadata: None,
    };
    enqueue(shared, state, &announcement.ticket.id, &envelope)
}

/// Posts what commands caused, as far as the settings want it.
pub(crate) fn announce_effects(shared: &Arc<Shared>, state: &mut State) {
    for announcement in state.desk.take_announcements() {
        let wanted =
            if announcement.is_new { state.settings.announce_new } else { state.settings.announce_changes };
        if wanted {
            drop(announce(shared, state, &announcement));
        }
    }
}

/// Lets go of everything a fault holds back.
pub(crate) fn release_held(shared: &Arc<Shared>, state: &mut State) {
    for (ticket_id, queue) in &mut state.queues {
        if let Some(job) = queue.held.take() {
            queue.jobs.push_back(job);
            run(shared, queue, ticket_id);
        }
    }
}

/// Posts any bytes as they are, past queues and faults.
pub(crate) async fn post_raw(shared: &Shared, body: Vec<u8>) -> Report {
    post(shared, "", &Job { envelope_id: String::new(), media_type: String::new(), body, done: None }).await
}

fn run(shared: &Arc<Shared>, queue: &mut Queue, ticket_id: &str) {
    if !queue.running {
        queue.running = true;
        shared.tracker.spawn(drain(Arc::clone(shared), ticket_id.to_owned()));
    }
}

/// Posts the webhooks of one ticket until none is left.
async fn drain(shared: Arc<Shared>, ticket_id: String) {
    loop {
        let (job, fault) = {
            let mut state = shared.state();
            let State { queues, faults, settings, .. } = &mut *state;
            let Some(queue) = queues.get_mut(&ticket_id) else { return };
            let Some(job) = queue.jobs.pop_front() else {
                queue.running = false;
                if queue.held.is_none() {
                    queues.remove(&ticket_id);
                }
                return;
            };
            let body = String::from_utf8_lossy(&job.body);
            let facts = Facts {
                id: &job.envelope_id,
                to: &ticket_id,
                resource: &body,
                media_type: &job.media_type,
                holding: queue.held.is_some(),
                ..Facts::default()
            };
            let fault = faults.take(On::Webhooks, facts).or_else(|| {
                let weather = settings.weather.as_ref();
                weather.and_then(|weather| weather.strikes(&job.body, queue.held.is_some()))
            });
            (job, fault)
        };
        deliver(&shared, &ticket_id, job, fault).await;
    }
}

async fn deliver(shared: &Shared, ticket_id: &str, mut job: Job, fault: Option<Kind>) {
    let report = match fault {
        Some(Kind::Lose) => record(shared, ticket_id, &job, Report::bare("lost"), String::new()),
        Some(Kind::Reorder) => {
            tell(&mut job, Report::bare("held"));
            if let Some(queue) = shared.state().queues.get_mut(ticket_id) {
                queue.held = Some(job);
            }
            return;
        }
        Some(Kind::Duplicate) => {
            let first = post(shared, ticket_id, &job).await;
            post(shared, ticket_id, &job).await;
            first
        }
        Some(Kind::Delay { ms, .. }) => {
            shared.pause(ms).await;
            post(shared, ticket_id, &job).await
        }
        // The others cannot be laid on webhooks.
        Some(
            Kind::Status { .. }
            | Kind::DropBefore
            | Kind::DropAfter
            | Kind::Failure { .. }
            | Kind::Answer { .. }
            | Kind::Redirect { .. }
            | Kind::Hang { .. },
        )
        | None => post(shared, ticket_id, &job).await,
    };
    tell(&mut job, report);
    let held = shared.state().queues.get_mut(ticket_id).and_then(|queue| queue.held.take());
    if let Some(held) = held {
        post(shared, ticket_id, &held).await;
    }
}

fn tell(job: &mut Job, report: Report) {
    if let Some(done) = job.done.take() {
        // Nobody listens where a command was the cause.
        let _ = done.send(report);
    }
}

async fn post(shared: &Shared, ticket_id: &str, job: &Job) -> Report {
    let (target, blocked) = {
        let state = shared.state();
        (state.webhook.clone(), state.block.is_on(Instant::now()))
    };
    let Some(target) = target else {
        return record(shared, ticket_id, job, Report::bare("no_webhook"), String::new());
    };
    if blocked {
        return record(shared, ticket_id, job, Report::bare("blocked"), String::new());
    }
    let sent = tokio::select! {
        sent = send(shared, &target, job.body.clone()) => sent,
        () = shared.stop.cancelled() => Err("the sandbox is stopping".to_owned()),
    };
    let (report, answer) = match sent {
        Ok((code, answer)) => {
            let status = if (200..300).contains(&code) { "delivered" } else { "refused" };
            (Report { status, http_status: Some(code), error: None }, answer)
        }
        Err(error) => (Report { status: "failed", http_status: None, error: Some(error) }, String::new()),
    };
    {
        let mut state = shared.state();
        let State { block, settings, .. } = &mut *state;
        block.heard(settings.blocking.as_ref(), report.status == "delivered", Instant::now());
    }
    record(shared, ticket_id, job, report, answer)
}

async fn send(shared: &Shared, target: &WebhookConfig, body: Vec<u8>) -> Result<(u16, String), String> {
    let mut request = shared.client.post(&target.url).timeout(TIMEOUT).body(body);
    request = request.header("content-type", "application/json");
    if let Some((name, value)) = &target.header {
        request = request.header(name, value);
    }
    let response = request.send().await.map_err(|error| chain(&error))?;
    let status = response.status().as_u16();
    let answer = response.text().await.map_err(|error| chain(&error))?;
    Ok((status, answer.chars().take(ANSWER_CHARS_MAX).collect()))
}

fn record(shared: &Shared, ticket_id: &str, job: &Job, report: Report, answer: String) -> Report {
    let delivery = Delivery {
        at: now_text(),
        ticket_id: ticket_id.to_owned(),
        envelope_id: job.envelope_id.clone(),
        report: report.clone(),
        answer,
        body: String::from_utf8_lossy(&job.body).into_owned(),
    };
    shared.state().record_delivery(delivery);
    shared.changed();
    report
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
