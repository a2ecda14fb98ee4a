//! `AdminService`: what waits in quarantine, and the way out of it; and reading a bot back on demand.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status};

use super::convert::admin::{self, Listing, Replaying};
use super::convert::request::Said;
use super::edge::RequestId;
use super::page::{self, PAGE_BYTES_MAX};
use super::pb;
use super::pb::admin_service_server::AdminService;
use super::reconcile;
use super::status::{self, About};
use super::ticket_service::deadline_of;
use crate::clock::Clock;
use crate::gateway::desk::DeskError;
use crate::gateway::quarantine::{Quarantine, Replay};
use crate::gateway::reconcile::Reconcilers;
use crate::shutdown::Shutdown;
use crate::store::LogId;
use crate::store::quarantine::{HeldId, HeldMark, HeldPage, Wanted};

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    quarantine: Quarantine,
    reconcilers: Reconcilers,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    /// The bots that are served; a request names no other.
    bots: Vec<String>,
    log: LogId,
}

impl Admin {
    /// The service on `quarantine` and `reconcilers`; its cursors and page tokens are of `log`.
    pub(super) fn new(
        quarantine: Quarantine,
        (reconcilers, clock): (Reconcilers, Arc<dyn Clock>),
        bots: Vec<String>,
        (log, shutdown): (LogId, Shutdown),
    ) -> Self {
        Self { quarantine, reconcilers, clock, shutdown, bots, log }
    }

    /// The bot named, or the only one there is.
    fn the_bot(&self, bot: String) -> Result<String, Status> {
        if !bot.is_empty() {
            return self.check_bot(Some(&bot)).map(|()| bot);
        }
        match self.bots.as_slice() {
            [only] => Ok(only.clone()),
            bots => {
                let error = DeskError::BotNeeded { candidates: bots.to_vec() };
                Err(status::of_desk(
                    error,
                    About { bot: "", ticket_id: "", log: self.log, said: Said::AsUsual },
                ))
            }
        }
    }

    fn check_bot(&self, bot: Option<&str>) -> Result<(), Status> {
        let Some(bot) = bot.filter(|bot| !self.bots.iter().any(|known| known == bot)) else { return Ok(()) };
        let error = DeskError::BotUnknown { bot: bot.to_owned(), known: self.bots.clone() };
        Err(status::of_desk(error, About { bot, ticket_id: "", log: self.log, said: Said::AsUsual }))
    }

    fn after(&self, page_token: &str) -> Result<HeldId, Status> {
        let parse = |text: &str| HeldMark::parse(text).map(|mark| (mark.log, mark.id));
        Ok(page::after(page_token, self.log, parse)?.unwrap_or_default())
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    type ReconcileBotStream = BoxStream<'static, Result<pb::ReconcileBotResponse, Status>>;

    async fn reconcile_bot(
        &self,
        request: Request<pb::ReconcileBotRequest>,
    ) -> Result<Response<Self::ReconcileBotStream>, Status> {
        let id = request.extensions().get::<RequestId>().cloned();
        let pb::ReconcileBotRequest { bot, since } = request.into_inner();
        let since = reconcile::since_of(since, self.clock.now())?;
        let bot = self.the_bot(bot)?;
        let Some((round, progress)) = self.reconcilers.demand(&bot, since) else {
            return Err(self.check_bot(Some(&bot)).err().unwrap_or_else(status::draining));
        };
        tracing::info!(bot, round, "reading back was asked for");
        Ok(Response::new(reconcile::told(round, progress, self.shutdown.clone(), id)))
    }

    async fn list_quarantined_webhooks(
        &self,
        request: Request<pb::ListQuarantinedWebhooksRequest>,
    ) -> Result<Response<pb::ListQuarantinedWebhooksResponse>, Status> {
        let Listing { bot, ids, include_body, page_size, page_token } = admin::listing(request.into_inner())?;
        self.check_bot(bot.as_deref())?;
        let wanted = Wanted {
            after: self.after(&page_token)?,
            bot,
            ids: ids.map(|ids| ids.into_iter().collect()),
            count_max: page_size,
            body_bytes_max: include_body.then_some(PAGE_BYTES_MAX),
        };
        let page = self.quarantine.held(wanted).await;
        let HeldPage { bodies, more } = page.map_err(|error| status::of_read(&error, self.log))?;
        let last = bodies.last().filter(|_| more).map(|body| HeldMark { log: self.log, id: body.id });
        Ok(Response::new(pb::ListQuarantinedWebhooksResponse {
            webhooks: bodies.into_iter().map(admin::webhook_to_pb).collect(),
            next_page_token: last.map(|mark| mark.to_string()).unwrap_or_default(),
        }))
    }

    async fn replay_quarantined_webhooks(
        &self,
        request: Request<pb::ReplayQuarantinedWebhooksRequest>,
    ) -> Result<Response<pb::ReplayQuarantinedWebhooksResponse>, Status> {
        let deadline = deadline_of(request.metadata());
        let Replaying { bot, ids, validate_only, count_max, page_token } =
            admin::replaying(request.into_inner())?;
        self.check_bot(bot.as_deref())?;
        let after = self.after(&page_token)?;
        let replay = Replay { after, bot, ids, count_max, validate_only, deadline };
        let replayed = self.quarantine.replay(replay).await;
        let replayed = replayed.map_err(|error| status::of_replay(&error, self.log))?;
        let response = admin::replayed_to_pb(replayed, self.log);
        let pb::ReplayQuarantinedWebhooksResponse { replayed, duplicates, unreadable, .. } = response;
        if !validate_only && replayed.saturating_add(duplicates) > 0 {
            tracing::info!(replayed, duplicates, unreadable, "quarantined webhooks were replayed");
        }
        Ok(Response::new(response))
    }
}
