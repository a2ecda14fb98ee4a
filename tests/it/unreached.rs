//! A Blip that no connection ever stands to: nothing leaves, and callers are told so, however little time they have.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use deskgate::app::blip_metrics;
use deskgate::blip::http::{HttpBlip, client};
use deskgate::blip::policy::Rates;
use deskgate::blip::{BlipApi, BlipError};
use deskgate::grpc::pb;
use pb::get_command_request::Key;
use reqwest::header::HeaderValue;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tonic::{Code, Request};

use crate::support::{PATIENCE, World, reason_of};

/// The way to a Blip at this URL.
fn way(client: reqwest::Client, url: &str) -> Arc<dyn BlipApi> {
    let authorization = Arc::new(|| Some(HeaderValue::from_static("Key a2V5")));
    Arc::new(HttpBlip::new("suporte", client, url, authorization, Rates::PAID, blip_metrics()))
}

/// A peer that takes no more connections: as many wait to be accepted as may.
async fn full() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (address, listener, waiting)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_had_a_connection_was_not_sent() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (address, _listener, _waiting) = full().await;
    let api = way(client().unwrap(), &format!("http://{address}"));
    let sent = api.message(b"{}".to_vec(), Instant::now() + Duration::from_millis(300)).await;
    assert!(matches!(sent, Err(BlipError::NotSent(_))), "{sent:?}");

    // One that does not get beyond TLS is none.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = way(client().unwrap(), &format!("https://{}", silent.local_addr().unwrap()));
    let sent = api.message(b"{}".to_vec(), Instant::now() + Duration::from_millis(300)).await;
    assert!(matches!(sent, Err(BlipError::NotSent(_))), "{sent:?}");

    // One that stands, and then nothing comes, is in doubt.
    let api = way(client().unwrap(), &format!("http://{}", silent.local_addr().unwrap()));
    let sent = api.message(b"{}".to_vec(), Instant::now() + Duration::from_millis(300)).await;
    assert!(matches!(sent, Err(BlipError::Unknown(_))), "{sent:?}");
}

/// Over HTTP/2 a server can say that it has not looked at a request.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_turned_away_was_not_done() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (reason, not_done) in [(h2::Reason::REFUSED_STREAM, true), (h2::Reason::INTERNAL_ERROR, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_reset(reason);
            }
        });
        let plain = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
        let sent = way(plain, &url).message(b"{}".to_vec(), Instant::now() + PATIENCE).await;
        assert_eq!(matches!(sent, Err(BlipError::NotSent(_))), not_done, "{reason:?}: {sent:?}");
        serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_little_time_is_told_that_nothing_was_sent() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = format!(
        "[[bots]]\nname = \"mudo\"\nidentity = \"mudo@msging.net\"\nurl = \"https://{}\"\nkey_env = \"SUPORTE_BLIP_KEY\"\n\
         webhook_token_env = [\"SUPORTE_WEBHOOK_TOKEN\"]",
        silent.local_addr().unwrap()
    );
    let world = World::with(&other).await;
    for text in ["um", "dois"] {
        let mut request = Request::new(pb::SendRequest {
            bot: "mudo".to_owned(),
            ticket_id: "t".to_owned(),
            text: text.to_owned(),
            options: Some(pb::CommandOptions { request_id: text.to_owned(), ..Default::default() }),
            ..Default::default()
        });
        request.set_timeout(Duration::from_secs(2));
        let status = world.tickets().await.send(request).await.unwrap_err();
        assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::Unavailable, "BLIP_UNAVAILABLE"));
        let key = Some(Key::RequestId(text.to_owned()));
        let found = world.tickets().await.get_command(pb::GetCommandRequest { key }).await;
        let receipt = found.unwrap().into_inner().command.unwrap().receipt.unwrap();
        assert_eq!(receipt.state(), pb::CommandState::Failed, "its request id is free");
    }
}
