//! `DirectoryService`: reads a request, asks the gateway, and tells what Blip knows. Files pass through as they are
//! taken.

use std::pin::Pin;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::convert::directory::{self as convert, Of};
use super::convert::request::Said;
use super::convert::span;
use super::edge::{self, CountsItself, RequestId};
use super::metrics::Metrics;
use super::page;
use super::pb;
use super::pb::directory_service_server::DirectoryService;
use super::status::{self, About};
use super::ticket_service::{asker, deadline_of, principal_of};
use crate::gateway::directory::{Directory, DirectoryError, Listed};
use crate::gateway::media::{FetchError, Fetched, Media};
use crate::store::LogId;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Directories {
    directory: Directory,
    media: Media,
    log: LogId,
    metrics: Metrics,
    /// Files that are on their way.
    streams: TaskTracker,
}

impl Directories {
    /// The service on `directory` and `media`; its streams are among `streams`.
    pub(super) fn new(
        directory: Directory,
        media: Media,
        log: LogId,
        metrics: Metrics,
        streams: TaskTracker,
    ) -> Self {
        Self { directory, media, log, metrics, streams }
    }

    fn bot_of(&self, bot: &str) -> Result<String, Status> {
        self.directory.bot_of(bot).map_err(|error| self.failed(error, bot))
    }

    fn failed(&self, error: DirectoryError, bot: &str) -> Status {
        self.failed_on(Said::AsUsual, error, bot)
    }

    fn failed_on(&self, said: Said, error: DirectoryError, bot: &str) -> Status {
        status::of_desk(error, About { bot, ticket_id: "", log: self.log, said })
    }
}

/// How long a caller gives us, where it says so.
fn given(metadata: &MetadataMap) -> Option<Instant> {
    metadata.contains_key("grpc-timeout").then(|| deadline_of(metadata))
}

#[tonic::async_trait]
impl DirectoryService for Directories {
    async fn list_agents(
        &self,
        request: Request<pb::ListAgentsRequest>,
    ) -> Result<Response<pb::ListAgentsResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let pb::ListAgentsRequest { bot, page_size, page_token } = request.into_inner();
        let take = convert::take_of(page_size)?;
        let bot = self.bot_of(&bot)?;
        let of = Of { method: "ListAgents", bot: &bot, what: "" };
        let skip = of.skip(&page_token).map_err(|error| status::of_cursor(&error, "page_token"))?;
        let listed =
            self.directory.agents(asker(&bot, &principal, deadline), convert::page(skip, take)).await;
        let Listed { items, age, next_skip } = listed.map_err(|error| self.failed(error, &bot))?;
        let (agents, left_out) = page::told(items.into_iter().map(convert::agent_to_pb));
        let answer = pb::ListAgentsResponse {
            agents,
            next_page_token: of.token(next_skip),
            left_out,
            age: Some(span(age)),
        };
        page::whole(answer, "the page of agents")
    }

    async fn list_teams(
        &self,
        request: Request<pb::ListTeamsRequest>,
    ) -> Result<Response<pb::ListTeamsResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let pb::ListTeamsRequest { bot } = request.into_inner();
        let bot = self.bot_of(&bot)?;
        let listed = self.directory.teams(asker(&bot, &principal, deadline)).await;
        let Listed { items, age, next_skip: _ } = listed.map_err(|error| self.failed(error, &bot))?;
        let teams = items.into_iter().map(convert::team_to_pb).collect();
        page::whole(pb::ListTeamsResponse { teams, age: Some(span(age)) }, "the list of teams")
    }

    async fn list_tags(
        &self,
        request: Request<pb::ListTagsRequest>,
    ) -> Result<Response<pb::ListTagsResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let pb::ListTagsRequest { bot } = request.into_inner();
        let bot = self.bot_of(&bot)?;
        let listed = self.directory.tags(asker(&bot, &principal, deadline)).await;
        let Listed { items, age, next_skip: _ } = listed.map_err(|error| self.failed(error, &bot))?;
        page::whole(pb::ListTagsResponse { tags: items, age: Some(span(age)) }, "the list of tags")
    }

    async fn list_replies(
        &self,
        request: Request<pb::ListRepliesRequest>,
    ) -> Result<Response<pb::ListRepliesResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let (bot, category, take, page_token) = convert::replies(request.into_inner())?;
        let bot = self.bot_of(&bot)?;
        let of = Of { method: "ListReplies", bot: &bot, what: &category };
        let skip = of.skip(&page_token).map_err(|error| status::of_cursor(&error, "page_token"))?;
        let asker = asker(&bot, &principal, deadline);
        let listed = self.directory.replies(asker, &category, convert::page(skip, take)).await;
        let Listed { items, age, next_skip } = listed.map_err(|error| self.failed(error, &bot))?;
        let (replies, left_out) = page::told(items.into_iter().map(convert::reply_to_pb));
        let answer = pb::ListRepliesResponse {
            replies,
            next_page_token: of.token(next_skip),
            left_out,
            age: Some(span(age)),
        };
        page::whole(answer, "the page of replies")
    }

    async fn get_customer(
        &self,
        request: Request<pb::GetCustomerRequest>,
    ) -> Result<Response<pb::GetCustomerResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let (bot, name) = convert::customer(request.into_inner())?;
        let bot = self.bot_of(&bot)?;
        let found = self.directory.customer(asker(&bot, &principal, deadline), &name).await;
        let found = found.map_err(|error| self.failed_on(Said::In("customer_identity"), error, &bot))?;
        let customer = found.ok_or_else(|| status::customer_not_found(&bot, &name))?;
        let customer = Some(convert::customer_to_pb(customer));
        page::whole(pb::GetCustomerResponse { customer }, "the customer's contact")
    }

    async fn refresh_media(
        &self,
        request: Request<pb::RefreshMediaRequest>,
    ) -> Result<Response<pb::RefreshMediaResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let pb::RefreshMediaRequest { bot, uri } = request.into_inner();
        let uri = convert::link(uri)?;
        let bot = self.bot_of(&bot)?;
        let renewed = self.directory.refresh(asker(&bot, &principal, deadline), &uri).await;
        let uri = renewed.map_err(|error| self.failed_on(Said::In("uri"), error, &bot))?;
        Ok(Response::new(pb::RefreshMediaResponse { uri }))
    }

    type FetchMediaStream =
        Pin<Box<dyn stream::Stream<Item = Result<pb::FetchMediaResponse, Status>> + Send>>;

    async fn fetch_media(
        &self,
        request: Request<pb::FetchMediaRequest>,
    ) -> Result<Response<Self::FetchMediaStream>, Status> {
        let deadline = given(request.metadata());
        let id = request.extensions().get::<RequestId>().cloned();
        let pb::FetchMediaRequest { bot, uri, authorization_realm } = request.into_inner();
        let uri = convert::link(uri)?;
        let with_key = convert::asks_for_key(&authorization_realm)?;
        let bot = self.bot_of(&bot)?;
        let fetched = self.media.fetch(&bot, &uri, with_key, deadline).await;
        let Fetched { mime_type, size_bytes, body } =
            fetched.map_err(|error| status::of_fetch(error, &bot))?;
        let first = pb::FetchMediaResponse {
            mime_type,
            size_bytes: size_bytes.and_then(|size| i64::try_from(size).ok()).unwrap_or_default(),
            chunk: Vec::new(),
        };
        let count = Count { metrics: self.metrics.clone(), id, ended: false, _open: self.streams.token() };
        let passing = Passing { first: Some(first), body, bot, count };
        let mut response: Response<Self::FetchMediaStream> =
            Response::new(Box::pin(stream::unfold(Some(passing), Passing::next)));
        response.extensions_mut().insert(CountsItself);
        Ok(response)
    }

    async fn create_media_upload(
        &self,
        request: Request<pb::CreateMediaUploadRequest>,
    ) -> Result<Response<pb::CreateMediaUploadResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let pb::CreateMediaUploadRequest { bot, secure } = request.into_inner();
        let bot = self.bot_of(&bot)?;
        let asked = self.directory.upload(asker(&bot, &principal, deadline), secure).await;
        let upload_uri = asked.map_err(|error| self.failed(error, &bot))?;
        Ok(Response::new(pb::CreateMediaUploadResponse { upload_uri }))
    }
}

/// A file on its way to a caller.
struct Passing {
    first: Option<pb::FetchMediaResponse>,
    body: BoxStream<'static, Result<bytes::Bytes, FetchError>>,
    bot: String,
    count: Count,
}

impl Passing {
    async fn next(state: Option<Self>) -> Option<(Result<pb::FetchMediaResponse, Status>, Option<Self>)> {
        let mut passing = state?;
        if let Some(first) = passing.first.take() {
            return Some((Ok(first), Some(passing)));
        }
        match passing.body.next().await {
            Some(Ok(bytes)) => {
                let response = pb::FetchMediaResponse { chunk: bytes.into(), ..Default::default() };
                Some((Ok(response), Some(passing)))
            }
            Some(Err(error)) => {
                let mut status = status::of_fetch(error, &passing.bot);
                passing.count.end(Some(&status));
                if let Some(id) = &passing.count.id {
                    id.tell(&mut status);
                }
                Some((Err(status), None))
            }
            None => {
                passing.count.end(None);
                None
            }
        }
    }
}

/// Counts the end of a stream, whoever ends it.
struct Count {
    metrics: Metrics,
    id: Option<RequestId>,
    ended: bool,
    _open: TaskTrackerToken,
}

impl Count {
    fn end(&mut self, error: Option<&Status>) {
        if !std::mem::replace(&mut self.ended, true) {
            edge::ended(&self.metrics, "FetchMedia", error, self.id.as_ref());
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.end(Some(&status::hung_up()));
    }
}
