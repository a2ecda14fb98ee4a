//! What commands are compared with: a gRPC service that passes each message on at once and keeps nothing. And the
//! desk that both it and ours send to, which takes everything.

use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use deskgate::grpc::pb;
use http::{Request, Response};
use reqwest::Client;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;
use tower::Service;

/// Connections that stay open to the desk; as many as ours keeps.
const IDLE_MAX: usize = 64;

/// Takes every message.
pub(super) fn desk() -> Router {
    Router::new().route("/messages", post(|_body: Bytes| async { StatusCode::ACCEPTED }))
}

/// Serves `Send` alone: one message posted to the desk whose address `argument` is, one answer.
pub(super) async fn pass_on(listener: TcpListener, argument: &Path) -> Result<()> {
    let desk = argument.to_str().context("the desk's address is no text")?;
    // As main does for ours; nobody else has installed one.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().tcp_nodelay(true).pool_max_idle_per_host(IDLE_MAX).build()?;
    let sends = Sends { client, url: format!("http://{desk}/messages") };
    let incoming = TcpListenerStream::new(listener).map(|socket| {
        let socket = socket?;
        socket.set_nodelay(true)?;
        std::io::Result::Ok(socket)
    });
    Ok(tonic::transport::Server::builder().add_service(sends).serve_with_incoming(incoming).await?)
}

#[derive(Debug, Clone)]
struct Sends {
    client: Client,
    url: String,
}

impl Sends {
    async fn send(self, request: pb::SendRequest) -> Result<pb::SendResponse, Status> {
        let id = request.options.map(|options| options.request_id).unwrap_or_default();
        let to = format!("{}@desk.msging.net", request.ticket_id);
        let body = json!({ "id": id, "to": to, "type": "text/plain", "content": request.text }).to_string();
        let posting = self.client.post(&self.url).header("content-type", "application/json").body(body);
        let answer = posting.send().await.map_err(|error| Status::unavailable(error.to_string()))?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(Status::unavailable(answer.status().to_string()));
        }
        Ok(pb::SendResponse { message_id: id, ..pb::SendResponse::default() })
    }
}

impl NamedService for Sends {
    const NAME: &'static str = "deskgate.v1.TicketService";
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl UnaryService<pb::SendRequest> for Sends {
    type Response = pb::SendResponse;
    type Future = Later<Result<tonic::Response<pb::SendResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<pb::SendRequest>) -> Self::Future {
        let sends = self.clone();
        Box::pin(async move { Ok(tonic::Response::new(sends.send(request.into_inner()).await?)) })
    }
}

impl Service<Request<Body>> for Sends {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Later<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let sends = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<pb::SendResponse, pb::SendRequest>::default();
            Ok(Grpc::new(codec).unary(sends, request).await)
        })
    }
}
