//! How far reading a bot back is, as a stream: what is new several times a second at most, and at the end what it came to.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::watch;
use tonic::Status;

use super::convert::{Invalid, InvalidField, span, timestamp};
use super::edge::RequestId;
use super::pb;
use super::status;
use crate::gateway::reconcile::Progress;
use crate::gateway::reconcile::plan::{Phase, ReaderFault, Report};
use crate::shutdown::Shutdown;

/// The least time between two messages.
const PAUSE: Duration = Duration::from_millis(200);

/// The moment since which ended tickets are looked for; one to come makes no sense.
pub(super) fn since_of(
    since: Option<prost_types::Timestamp>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Status> {
    let Some(since) = since else { return Ok(None) };
    match Timestamp::new(since.seconds, since.nanos) {
        Ok(since) if since <= now => Ok(Some(since)),
        Ok(_) | Err(_) => {
            let field = InvalidField::new("since", "this is no time that has been");
            Err(Invalid::from(field).into())
        }
    }
}

/// What is told, and from where on.
struct Telling {
    round: u64,
    progress: watch::Receiver<Progress>,
    shutdown: Shutdown,
    asked: u64,
    found: BTreeMap<&'static str, u64>,
    first: bool,
    over: bool,
}

/// Tells how far a round is until it is over.
pub(super) fn told(
    round: u64,
    progress: watch::Receiver<Progress>,
    shutdown: Shutdown,
    id: Option<RequestId>,
) -> BoxStream<'static, Result<pb::ReconcileBotResponse, Status>> {
    let (asked, found) = {
        let now = progress.borrow();
        (now.asked, now.found.clone())
    };
    let telling = Telling { round, progress, shutdown, asked, found, first: true, over: false };
    stream::unfold((telling, id), |(mut telling, id)| async move {
        let mut message = telling.next().await?;
        if let (Err(status), Some(id)) = (&mut message, &id) {
            id.tell(status);
        }
        Some((message, (telling, id)))
    })
    .boxed()
}

impl Telling {
    async fn next(&mut self) -> Option<Result<pb::ReconcileBotResponse, Status>> {
        if self.over {
            return None;
        }
        if !std::mem::replace(&mut self.first, false) {
            let soft = self.shutdown.soft();
            tokio::select! {
                changed = self.progress.changed() => if changed.is_err() {
                    self.over = true;
                    return Some(Err(status::draining()));
                },
                () = soft.cancelled() => {
                    self.over = true;
                    return Some(Err(status::draining()));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = soft.cancelled() => {}
            }
        }
        let progress = self.progress.borrow_and_update().clone();
        let message = self.message(&progress);
        self.over = message.report.is_some();
        Some(Ok(message))
    }

    fn message(&self, progress: &Progress) -> pb::ReconcileBotResponse {
        let report = progress.last.as_ref().filter(|report| report.number >= self.round);
        let phase = match (report, progress.phase) {
            (Some(_), _) => pb::ReconcilePhase::Done,
            (None, Some(_)) if progress.round < self.round => pb::ReconcilePhase::Waiting,
            (None, None) => pb::ReconcilePhase::Waiting,
            (None, Some(Phase::Living | Phase::Closed)) => pb::ReconcilePhase::Listing,
            (None, Some(Phase::Checking)) => pb::ReconcilePhase::Checking,
            (None, Some(Phase::Reading)) => pb::ReconcilePhase::Reading,
        };
        let runs = !matches!(phase, pb::ReconcilePhase::Done | pb::ReconcilePhase::Waiting);
        let count = |count: usize| if runs { u64::try_from(count).unwrap_or(u64::MAX) } else { 0 };
        let paused = progress.paused.then_some("paused");
        let trouble = progress.fault.map(ReaderFault::name).or(paused).unwrap_or_default();
        let found = progress.found.iter().filter_map(|(what, count)| {
            let before = self.found.get(what).copied().unwrap_or_default();
            let count = count.saturating_sub(before);
            (count > 0).then(|| ((*what).to_owned(), count))
        });
        pb::ReconcileBotResponse {
            phase: phase.into(),
            tickets_done: count(progress.done),
            tickets_total: count(progress.total),
            questions: progress.asked.saturating_sub(self.asked),
            found: found.collect(),
            trouble: trouble.to_owned(),
            report: report.map(report_to_pb),
        }
    }
}

fn report_to_pb(report: &Report) -> pb::ReconcileReport {
    let Report {
        number: _,
        started,
        took,
        asked,
        listed,
        checked,
        conversations,
        left_out,
        unread,
        complete,
        resumed: _,
    } = report;
    let count = |count: &usize| u64::try_from(*count).unwrap_or(u64::MAX);
    pb::ReconcileReport {
        start_time: Some(timestamp(*started)),
        duration: Some(span(*took)),
        questions: *asked,
        tickets_listed: count(listed),
        tickets_checked: *checked,
        conversations_read: *conversations,
        tickets_left_out: count(left_out),
        tickets_unread: count(unread),
        complete: *complete,
    }
}
