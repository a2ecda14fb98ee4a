//! A Blip that no connection ever stands to: nothing leaves, and callers are told so, however little time they have.

use std::fs;
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
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::support::{PATIENCE, World, reason_of};

/// The way to a Blip at this URL.
fn way(client: reqwest::Client, url: &str) -> Arc<dyn BlipApi> {
    let authorization = Arc::new(|| Some(HeaderValue::from_static("Key a2V5")));
    Arc::new(HttpBlip::new("suporte", client, url, authorization, Rates::PAID, blip_metrics()))
}

/// Connections that may wait to be accepted; the system lets one more wait.
const BACKLOG: u32 = 1;

/// A peer that takes no more connections: as many wait to be accepted as may.
async fn full() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(BACKLOG).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..=BACKLOG {
        waiting.push(TcpStream::connect(address).await.unwrap());
    }
    // The last one stands for us a moment before it waits there.
    let begun = Instant::now();
    while waiting_at(address.port()) <= BACKLOG {
        assert!(begun.elapsed() < PATIENCE, "the queue does not fill");
        tokio::task::yield_now().await;
    }
    (address, listener, waiting)
}

/// How many connections wait to be accepted at a port of ours, as the system tells.
fn waiting_at(port: u16) -> u32 {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let listening = sockets.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_it = fields.get(3) == Some(&"0A") && fields[1].ends_with(&format!(":{port:04X}"));
        is_it.then(|| fields[4].to_owned())
    });
    let listening = listening.unwrap();
    let (_, waiting) = listening.split_once(':').unwrap();
    u32::from_str_radix(waiting, 16).unwrap()
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

/// An HTTP/2 frame of the connection itself.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, 0], &0_u32.to_be_bytes(), payload].concat()
}

/// An HTTP/2 server that answers the first request by closing: it says why, and which request was the last it looked at.
async fn closing(listener: TcpListener, last: u32, reason: h2::Reason) {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_exact(&mut [0; PREFACE]).await.unwrap();
    stream.write_all(&frame(SETTINGS, &[])).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.unwrap();
        if head[3] == HEADERS {
            break;
        }
    }
    let told = [last.to_be_bytes(), u32::from(reason).to_be_bytes()].concat();
    stream.write_all(&frame(GOAWAY, &told)).await.unwrap();
    // What still comes is read, so that what was said is not lost to a reset.
    stream.shutdown().await.unwrap();
    while stream.read(&mut [0; 1_024]).await.is_ok_and(|count| count > 0) {}
}

/// Or that it closes, and has not looked at it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_closing_server_did_not_look_at_was_not_done() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (planned, broken) = (h2::Reason::NO_ERROR, h2::Reason::INTERNAL_ERROR);
    // The first request of a connection has the number 1.
    for (last, reason, not_done) in [(0, planned, true), (1, planned, false), (0, broken, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(closing(listener, last, reason));
        let plain = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
        let sent = way(plain, &url).message(b"{}".to_vec(), Instant::now() + PATIENCE).await;
        assert!(matches!(sent, Err(BlipError::NotSent(_) | BlipError::Unknown(_))), "{sent:?}");
        assert_eq!(matches!(sent, Err(BlipError::NotSent(_))), not_done, "{last} {reason:?}: {sent:?}");
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
