//! `ConsumerService`: consumer groups, by stream and by call.

use tonic::{Request, Response, Status, Streaming};

use super::pb;
use super::pb::consumer_service_server::ConsumerService;
use super::status;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Consumers;

#[tonic::async_trait]
impl ConsumerService for Consumers {
    type ConsumeStream = tokio_stream::Empty<Result<pb::ConsumeResponse, Status>>;

    async fn consume(
        &self,
        _request: Request<Streaming<pb::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        Err(status::elsewhere())
    }

    async fn pull(&self, _request: Request<pb::PullRequest>) -> Result<Response<pb::PullResponse>, Status> {
        Err(status::elsewhere())
    }

    async fn settle(
        &self,
        _request: Request<pb::SettleRequest>,
    ) -> Result<Response<pb::SettleResponse>, Status> {
        Err(status::elsewhere())
    }

    async fn create_consumer_group(
        &self,
        _request: Request<pb::CreateConsumerGroupRequest>,
    ) -> Result<Response<pb::CreateConsumerGroupResponse>, Status> {
        Err(status::elsewhere())
    }

    async fn get_consumer_group(
        &self,
        _request: Request<pb::GetConsumerGroupRequest>,
    ) -> Result<Response<pb::GetConsumerGroupResponse>, Status> {
        Err(status::elsewhere())
    }

    async fn list_consumer_groups(
        &self,
        _request: Request<pb::ListConsumerGroupsRequest>,
    ) -> Result<Response<pb::ListConsumerGroupsResponse>, Status> {
        Err(status::elsewhere())
    }

    async fn update_consumer_group(
        &self,
        _request: Request<pb::UpdateConsumerGroupRequest>,
    ) -> Result<Response<pb::UpdateConsumerGroupResponse>, Status> {
        Err(status::elsewhere())
    }

    async fn delete_consumer_group(
        &self,
        _request: Request<pb::DeleteConsumerGroupRequest>,
    ) -> Result<Response<pb::DeleteConsumerGroupResponse>, Status> {
        Err(status::elsewhere())
    }

    async fn seek_consumer_group(
        &self,
        _request: Request<pb::SeekConsumerGroupRequest>,
    ) -> Result<Response<pb::SeekConsumerGroupResponse>, Status> {
        Err(status::elsewhere())
    }

    async fn list_parked_events(
        &self,
        _request: Request<pb::ListParkedEventsRequest>,
    ) -> Result<Response<pb::ListParkedEventsResponse>, Status> {
        Err(status::elsewhere())
    }

    async fn replay_parked_events(
        &self,
        _request: Request<pb::ReplayParkedEventsRequest>,
    ) -> Result<Response<pb::ReplayParkedEventsResponse>, Status> {
        Err(status::elsewhere())
    }

    async fn discard_parked_events(
        &self,
        _request: Request<pb::DiscardParkedEventsRequest>,
    ) -> Result<Response<pb::DiscardParkedEventsResponse>, Status> {
        Err(status::elsewhere())
    }
}
